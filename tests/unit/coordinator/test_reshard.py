"""The driver: which step it takes on which report, what it freezes, and until when."""

from __future__ import annotations

from dataclasses import replace

import pytest

from kubebraid.base.limits import (
    RESHARD_ACTIVE_MAX,
    RESHARD_FREEZE_MS,
    RESHARD_LAG_MAX,
    RESHARD_RETRY_MS,
    RESHARD_SILENT_MS,
    RESHARD_TRIES_MAX,
)
from kubebraid.base.reshard import Action, Control, Migration, Phase, Report
from kubebraid.coordinator.migrations import Step
from kubebraid.coordinator.reshard import Resharding
from kubebraid.coordinator.state import State
from kubebraid.coordinator.transition import Acquire, apply
from tests.unit.coordinator.reshard_kit import (
    at,
    founded,
    hashed,
    move,
    only,
    planned,
    report,
    split,
)


class Stand:
    """A driver on a state that its steps change at once, unless a test holds them back."""

    def __init__(self, state: State, last: int = 90) -> None:
        self.driver = Resharding()
        self.state = state
        self.ms = 10_000
        self.last = dict.fromkeys((1, 2, 3), last)
        for step in self.driver.next(state, self.last, self.ms):  # it has seen the state ...
            self.driver.answered(step, None)  # ... and the log has taken nothing

    def heard(self, *reports: Report) -> None:
        for told in reports:
            self.driver.heard(told)

    def next(self, after_ms: int = 0) -> list[Step]:
        self.ms += after_ms
        return list(self.driver.next(self.state, self.last, self.ms))

    def take(self, *steps: Step) -> None:
        """The log takes them and answers."""
        for step in steps:
            before = self.state
            self.state = apply(before, step)
            self.driver.answered(step, self.state is not before)

    def run(self, *reports: Report) -> Phase:
        """Until nothing more follows from these reports."""
        self.heard(*reports)
        for _ in range(20):
            steps = self.next()
            if not steps:
                break
            self.take(*steps)
        return only(self.state).phase


def stand(phase: Phase, migration: Migration | None = None, **changed: object) -> Stand:
    return Stand(at(phase, migration, **changed))


# -- to and fro ------------------------------------------------------------------------------------


def test_migration_goes_through_all_phases_by_the_reports_alone() -> None:
    made = Stand(planned(move()))
    assert made.run() is Phase.PREPARING
    assert made.run(report(verified=False)) is Phase.PREPARING
    assert made.run(report(lag=RESHARD_LAG_MAX + 1)) is Phase.PREPARING
    assert made.run(report()) is Phase.FROZEN
    assert made.run(report(ends=((2, 90),))) is Phase.COMMITTED
    assert made.state.tablets.by_id()[2].begin == 90
    assert made.run(report(served=True)) is Phase.DRAINING
    assert made.run(report("s0", served=True)) is Phase.DONE


def test_split_is_done_when_its_targets_are_served() -> None:
    made = stand(Phase.FROZEN, split())
    assert made.run(report("s0", ends=((2, 90),))) is Phase.COMMITTED
    assert made.run(report("s0", served=True)) is Phase.DONE


def test_kept_source_is_done_once_it_has_heard_that_it_lost_them() -> None:
    made = stand(Phase.COMMITTED, keep_source=True)
    assert made.run(report(served=True)) is Phase.DRAINING
    assert made.run(report("s0", served=True)) is Phase.DONE


def test_manual_one_waits_for_words() -> None:
    made = stand(Phase.PREPARING, manual=True)
    assert made.run(report()) is Phase.READY
    made.state = apply(made.state, Control("m1", Action.SWITCH))
    assert made.run(report(ends=((2, 90),))) is Phase.COMMITTED
    assert made.run(report(served=True), report("s0", served=True)) is Phase.DRAINING
    made.state = apply(made.state, Control("m1", Action.COMPLETE))
    assert made.run() is Phase.DONE


def test_reversal_is_not_done_by_what_was_served_on_the_way_there() -> None:
    """The new source (the target of before) had said that it served, in the earlier freeze."""
    made = stand(Phase.FROZEN, manual=True)
    assert made.run(report(ends=((2, 90),))) is Phase.COMMITTED
    assert made.run(report(served=True)) is Phase.DRAINING
    made.state = apply(made.state, Control("m1", Action.REVERSE))
    assert made.run(report("s0")) is Phase.FROZEN
    assert made.run(report("s0", ends=((2, 90),), freeze=2)) is Phase.COMMITTED
    assert made.run(report("s0", served=True, freeze=2)) is Phase.DRAINING
    assert made.run(report("s1", served=True, freeze=2)) is Phase.DONE


@pytest.mark.parametrize("phase", [Phase.PREPARING, Phase.READY])
def test_copy_that_cannot_go_on_ends_it(phase: Phase) -> None:
    made = stand(phase)
    assert made.run(report(failed="no space on s1")) is Phase.ABORTED
    assert only(made.state).why == "no space on s1"


@pytest.mark.parametrize(
    "phase", [Phase.PREPARING, Phase.READY, Phase.FROZEN, Phase.COMMITTED, Phase.DRAINING]
)
def test_report_of_another_process_counts_for_nothing(phase: Phase) -> None:
    made = stand(phase)
    both = [report(name, process=6, ends=((2, 90),), served=True) for name in ("s0", "s1")]
    assert made.run(*both) is phase


def test_report_of_a_shard_that_has_no_part_is_dropped() -> None:
    made = stand(Phase.PREPARING)
    assert made.run(report("s2"), report(id="m9")) is Phase.PREPARING


# -- the freeze ------------------------------------------------------------------------------------


def test_inv18_nothing_is_fixed_before_all_ends_are_durable_at_the_target() -> None:
    """The worked example of the module, with one revision handed out in between."""
    made = stand(Phase.FROZEN)
    made.heard(report(ends=((2, 89),)))
    assert made.next() == []
    assert made.driver.switching() == frozenset()
    made.heard(report(ends=((2, 90),)))
    (commit,) = made.next()
    assert (commit.after, commit.ends) == (Phase.COMMITTED, ((2, 90),))
    assert made.driver.switching() == {2}


def test_inv18_commit_has_the_sequencers_end_and_not_a_higher_one() -> None:
    """A target that closed above H must not make the new tablet begin above it."""
    made = stand(Phase.FROZEN)
    made.heard(report(ends=((2, 95),)))
    (commit,) = made.next()
    assert commit.ends == ((2, 90),)


def test_commit_of_unknown_outcome_is_submitted_again_as_it_was() -> None:
    made = stand(Phase.FROZEN)
    made.heard(report(ends=((2, 90),)))
    (commit,) = made.next()
    assert made.next() == [], "one at a time"
    made.driver.answered(commit, None)
    made.last[2] = 90
    assert made.next() == [commit]


def test_m05_what_is_fixed_stays_frozen_behind_the_deadline_until_the_log_says_so() -> None:
    made = stand(Phase.FROZEN)
    made.heard(report(ends=((2, 90),)))
    (commit,) = made.next()
    made.driver.answered(commit, None)
    (back,) = made.next(RESHARD_FREEZE_MS)
    assert back.after is Phase.READY
    assert made.driver.switching() == {2}
    made.driver.answered(back, None)
    assert made.next() == [back]
    assert made.driver.switching() == {2}
    made.take(back)
    made.next()
    assert made.driver.switching() == frozenset()


def test_m05_commit_that_wins_over_the_deadline_is_the_end_of_the_freeze_too() -> None:
    made = stand(Phase.FROZEN)
    made.heard(report(ends=((2, 90),)))
    (commit,) = made.next()
    made.driver.answered(commit, None)
    (back,) = made.next(RESHARD_FREEZE_MS)
    made.state = apply(made.state, commit)
    made.take(back)
    made.next()
    assert only(made.state).phase is Phase.COMMITTED
    assert made.driver.switching() == frozenset()


def test_m05_ends_fixed_in_one_freeze_are_not_those_of_the_next() -> None:
    """Both changes of phase are heard of at once."""
    made = stand(Phase.FROZEN)
    made.heard(report(ends=((2, 90),)))
    (commit,) = made.next()
    migration = only(made.state)
    made.state = replace(made.state, migrations=(migration._replace(freeze=2),))
    made.driver.answered(commit, changed=False)
    made.last[2] = 95
    assert made.next() == []
    assert made.driver.switching() == frozenset()


def test_inv18_ends_that_another_freeze_had_sealed_commit_nothing() -> None:
    """No revision was handed out since, but a lease may have been granted."""
    made = stand(Phase.FROZEN)
    made.state = replace(made.state, migrations=(only(made.state)._replace(freeze=2),))
    made.heard(report(ends=((2, 90),)))
    assert made.next() == []
    assert made.driver.switching() == frozenset()
    made.heard(report(ends=((2, 90),), freeze=2))
    assert [step.after for step in made.next()] == [Phase.COMMITTED]


def test_commit_that_the_log_took_in_vain_is_not_repeated() -> None:
    made = stand(Phase.FROZEN)
    made.heard(report(ends=((2, 90),)))
    (commit,) = made.next()
    made.driver.answered(commit, changed=False)
    assert made.next() == []
    assert [step.after for step in made.next(RESHARD_FREEZE_MS)] == [Phase.READY]


def test_deadline_wakes_the_driver_and_the_pause_that_was_asked_counts() -> None:
    made = Stand(at(Phase.FROZEN, pause_ms=80))
    assert made.next() == []
    assert made.driver.next_deadline_ms() == made.ms + 80
    assert made.next(79) == []
    assert [step.after for step in made.next(1)] == [Phase.READY]


def test_switch_is_tried_again_later_and_later_and_then_given_up() -> None:
    made = stand(Phase.READY)
    made.heard(report())
    waits = []
    for _ in range(RESHARD_TRIES_MAX):
        since = made.ms
        while only(made.state).phase is Phase.READY:
            made.heard(report())
            made.take(*made.next(10))
        waits.append(made.ms - since)
        made.next()
        made.heard(report())
        made.take(*made.next(RESHARD_FREEZE_MS))
        made.next()
    assert only(made.state).phase is Phase.ABORTED
    assert [wait // RESHARD_RETRY_MS for wait in waits] == [0, 1, 2, 4, 8]


def test_no_switch_begins_while_the_source_is_away() -> None:
    made = stand(Phase.READY)
    assert made.run(report(away=True)) is Phase.READY
    assert made.next(60_000) == []
    assert made.run(report()) is Phase.FROZEN


def test_no_switch_begins_on_what_a_target_said_long_ago() -> None:
    made = stand(Phase.READY, tries=3)
    assert made.run(report()) is Phase.READY, "it waits after the last try"
    assert made.next(60_000) == []
    assert made.run(report()) is Phase.FROZEN


@pytest.mark.parametrize("away", ["s0", "s1"])
def test_a_switch_that_met_a_shard_away_is_no_try(away: str) -> None:
    made = stand(Phase.FROZEN)
    assert made.run(report(away=away == "s0")) is Phase.FROZEN
    (step,) = made.next(RESHARD_FREEZE_MS if away == "s0" else RESHARD_SILENT_MS)
    made.take(step)
    migration = only(made.state)
    assert (migration.phase, migration.tries) == (Phase.READY, 0)
    assert migration.why == f"{away} could not be reached: the switch waits for it"


def test_a_switch_that_takes_too_long_is_a_try() -> None:
    made = stand(Phase.FROZEN)
    assert made.run(report()) is Phase.FROZEN
    made.take(*made.next(RESHARD_FREEZE_MS))
    assert (only(made.state).phase, only(made.state).tries) == (Phase.READY, 1)


def test_operator_is_told_that_the_source_does_not_answer() -> None:
    made = stand(Phase.READY, manual=True)
    made.heard(report(away=True))
    made.next()
    said = made.driver.hinders(made.state, Control("m1", Action.SWITCH))
    assert said == "s0 does not answer s1; try again when it does"


def test_manual_one_is_not_given_up() -> None:
    made = stand(Phase.FROZEN, manual=True, tries=RESHARD_TRIES_MAX + 1)
    made.next()
    assert [step.after for step in made.next(RESHARD_FREEZE_MS)] == [Phase.READY]


# -- turns -----------------------------------------------------------------------------------------


def test_turns_are_taken_in_order_and_few_at_a_time() -> None:
    names = {1: "s1", 2: "s2", 3: "s1"}
    plan = []
    for tablet in founded().tablets.tablets:
        to = names[tablet.id]
        moved = replace(tablet, shard=to)
        plan.append(move(f"m{tablet.id}", to, sources=(tablet.id,), targets=(moved,)))
    made = Stand(planned(*plan))
    steps = made.next()
    assert [step.id for step in steps] == ["m1", "m2"]
    assert len(steps) == RESHARD_ACTIVE_MAX
    made.take(*steps)
    assert made.next() == []


def two(first: Phase, second: Phase) -> Stand:
    """m1 moves tablet 2 to s1, m2 tablet 3 to s2."""
    target = replace(founded().tablets.tablets[2], shard="s2")
    other = move("m2", "s2", sources=(3,), targets=(target,))
    made = planned(move(), other)
    phases = zip(made.migrations, (first, second), strict=True)
    there = tuple(m._replace(phase=p, freeze=int(p >= Phase.FROZEN)) for m, p in phases)
    return Stand(replace(made, migrations=there))


def test_of_two_that_are_ready_one_is_frozen_first() -> None:
    made = two(Phase.READY, Phase.READY)
    made.heard(report(), report("s2", id="m2"))
    (freeze,) = made.next()
    assert (freeze.id, freeze.after) == ("m1", Phase.FROZEN)
    made.heard(report("s2", id="m2"))
    assert made.next() == [], "the first is on its way"
    made.take(freeze)
    assert made.next() == []
    made.heard(report(ends=((2, 90),)))
    made.take(*made.next())
    assert made.next() == [], "the target has yet to serve"
    made.heard(report(served=True))
    made.take(*made.next())
    assert [(step.id, step.after) for step in made.next()] == [("m2", Phase.FROZEN)]


@pytest.mark.parametrize("phase", [Phase.PLANNED, Phase.PREPARING, Phase.READY])
def test_nothing_is_submitted_before_the_commit_of_what_is_frozen(phase: Phase) -> None:
    """The log carries one command after the other."""
    made = two(Phase.FROZEN, phase)
    made.heard(report("s2", id="m2"))
    assert made.next() == []
    made.heard(report(ends=((2, 90),)))
    assert [step.id for step in made.next()] == ["m1"]


def test_two_that_operators_froze_go_on_side_by_side() -> None:
    made = two(Phase.FROZEN, Phase.FROZEN)
    made.heard(report(ends=((2, 90),)), report("s2", id="m2", ends=((3, 90),)))
    assert [step.id for step in made.next()] == ["m1", "m2"]


def test_others_do_not_wait_for_a_target_that_is_down() -> None:
    made = two(Phase.COMMITTED, Phase.READY)
    made.heard(report("s2", id="m2"))
    assert made.next(RESHARD_FREEZE_MS - 1) == []
    assert made.driver.next_deadline_ms() == made.ms + 1
    assert [(step.id, step.after) for step in made.next(1)] == [("m2", Phase.FROZEN)]


def test_two_of_the_same_shards_take_turns() -> None:
    other = founded().tablets.tablets[2]
    second = move("m2", sources=(3,), targets=(replace(other, shard="s1"),))
    made = Stand(planned(move(), second))
    (first,) = made.next()
    assert first.id == "m1"
    made.heard(report(verified=False))
    assert made.next() == [], "the first is on its way"
    made.take(first)
    assert made.next() == []


@pytest.mark.parametrize(
    ("phase", "then"),
    [(Phase.DRAINING, None), (Phase.DONE, Phase.PREPARING), (Phase.ABORTED, Phase.ABORTED)],
)
def test_what_waits_for_another_shares_its_fate(phase: Phase, then: Phase | None) -> None:
    before = at(phase, manual=True)
    follows = move("m2", "s2", source="s0", after="m1")
    made = Stand(replace(before, migrations=(*before.migrations, follows)))
    found = [step.after for step in made.next() if step.id == "m2"]
    assert found == ([] if then is None else [then])


def test_plan_that_the_map_does_not_fit_any_more_is_ended_with_the_reason() -> None:
    made = Stand(founded())
    state = planned(move())
    elsewhere = tuple(replace(t, shard="s2") for t in state.tablets.tablets)
    made.state = replace(state, tablets=replace(state.tablets, tablets=elsewhere))
    (step,) = made.next()
    assert step.after is Phase.ABORTED
    assert "is of s2" in step.why


# -- for operators ---------------------------------------------------------------------------------


SWITCH = Control("m1", Action.SWITCH)


@pytest.mark.parametrize(
    ("told", "asked", "why"),
    [
        (None, SWITCH, "has said nothing"),
        (report(verified=False), SWITCH, "not been verified"),
        (report(lag=RESHARD_LAG_MAX + 1), SWITCH, "lags"),
        (report(took_ms=51), SWITCH._replace(lag_ms=50), "took 51 ms"),
        (report(took_ms=50), SWITCH._replace(lag_ms=50), ""),
        (report(took_ms=5_000), SWITCH, ""),
        (None, Control("m1", Action.CANCEL), ""),
        (None, Control("m9", Action.SWITCH), ""),
    ],
)
def test_switch_is_hindered_by_what_the_report_says(
    told: Report | None, asked: Control, why: str
) -> None:
    made = stand(Phase.READY, manual=True)
    if told is not None:
        made.heard(told)
    found = made.driver.hinders(made.state, asked)
    assert (why in found) if why else (found == "")


def test_progress_tells_reports_times_and_the_pause() -> None:
    """It ends when the target serves, not when the log has heard of it."""
    made = Stand(at(Phase.FROZEN))
    made.next()
    ends = report(ends=((2, 90),))
    made.heard(ends)
    made.take(*made.next(30))
    made.heard(report(served=True))
    steps = made.next(12)
    made.ms += 7
    made.take(*steps)
    made.next()
    (told,) = made.driver.progress(made.state, made.ms + 100)
    assert (told.migration.phase, told.phase_ms, told.switch_ms) == (Phase.DRAINING, 100, 42)
    assert told.reports == (report(served=True),)


def test_new_sequencer_waits_for_the_reports_of_its_own_time() -> None:
    """Nobody else's memory is in the state: the shards say it again."""
    taken = apply(at(Phase.FROZEN), Acquire("b#1", 1, 0, 10))
    made = Stand(taken)
    assert made.run() is Phase.READY
    assert made.run(report()) is Phase.FROZEN
    (told,) = made.driver.progress(made.state, made.ms)
    assert told.switch_ms == 0


def test_what_is_forgotten_in_the_state_is_forgotten_here() -> None:
    made = stand(Phase.PREPARING, hashed(2))
    made.heard(report("s0", verified=False))
    made.state = replace(made.state, migrations=())
    made.next()
    assert made.driver.progress(made.state, made.ms) == ()
    made.state = at(Phase.PREPARING, hashed(2))
    made.next()
    assert made.driver.progress(made.state, made.ms)[0].reports == ()
