"""Steps and operators' words in the log: what counts, what is late, what is refused."""

from __future__ import annotations

from dataclasses import replace

import pytest

from kubebraid.base.limits import RESHARD_ENDED_MAX
from kubebraid.base.ports import Adoption
from kubebraid.base.reshard import ENDED, UNDECIDED, Action, Control, Phase
from kubebraid.coordinator.migrations import control
from kubebraid.coordinator.state import State
from kubebraid.coordinator.transition import Acquire, StartShard, apply, refusal
from tests.unit.coordinator.reshard_kit import (
    at,
    commit,
    move,
    only,
    split,
    step,
)


def said(state: State, action: Action, **changed: object) -> State | str:
    return control(state, Control("m1", action)._replace(**changed))  # type: ignore[arg-type]


# -- steps ---------------------------------------------------------------------------------------


def test_commit_makes_the_map() -> None:
    """The worked example of the module."""
    before = at(Phase.FROZEN)
    made = commit(before, (2, 90))
    after = apply(before, made)
    tablet = after.tablets.by_id()[2]
    assert (tablet.shard, tablet.oepoch, tablet.begin) == ("s1", 2, 90)
    assert after.tablets.version == before.tablets.version + 1
    migration = only(after)
    assert (migration.phase, migration.ends) == (Phase.COMMITTED, ((2, 90),))
    assert migration.version == after.tablets.version
    assert apply(after, made) is after


@pytest.mark.parametrize("cepoch", [0, 2])
def test_m02_commit_of_another_reign_does_nothing(cepoch: int) -> None:
    before = at(Phase.FROZEN)
    assert apply(before, replace(commit(before, (2, 90)), cepoch=cepoch)) is before


def test_m02_takeover_frees_what_was_frozen_and_the_late_commit_does_nothing() -> None:
    frozen = at(Phase.FROZEN)
    late = commit(frozen, (2, 90))
    taken = apply(frozen, Acquire("b#1", 1, 0, 10))
    assert (taken.cepoch, only(taken).phase) == (2, Phase.READY)
    assert apply(taken, late) is taken
    again = apply(taken, step(taken, Phase.FROZEN))
    assert apply(again, replace(late, cepoch=2)) is again, "another freeze, with other ends"


def test_m05_commit_of_a_freeze_that_ended_does_nothing_in_the_next() -> None:
    """In between the source wrote on: the ends that the late one carries are not the ends."""
    frozen = at(Phase.FROZEN)
    late = commit(frozen, (2, 90))
    back = apply(frozen, step(frozen, Phase.READY, why="too slow"))
    again = apply(back, step(back, Phase.FROZEN))
    assert only(again).phase is Phase.FROZEN
    assert apply(again, late) is again
    assert apply(again, commit(again, (2, 95))) is not again


def test_m05_of_the_commit_and_the_deadline_the_first_in_the_log_counts() -> None:
    frozen = at(Phase.FROZEN)
    back, go = step(frozen, Phase.READY, why="too slow"), commit(frozen, (2, 90))
    returned, gone = apply(frozen, back), apply(frozen, go)
    assert apply(returned, go) is returned
    assert apply(gone, back) is gone


@pytest.mark.parametrize(
    "ends", [(), ((1, 90),), ((2, 90), (3, 90)), ((2, 4),)], ids=["none", "other", "more", "low"]
)
def test_inv18_commit_needs_an_end_of_each_source_at_its_beginning_or_above(
    ends: tuple[tuple[int, int], ...],
) -> None:
    before = at(Phase.FROZEN)
    tablets = tuple(replace(tablet, begin=5) for tablet in before.tablets.tablets)
    before = replace(before, tablets=replace(before.tablets, tablets=tablets))
    assert apply(before, commit(before, *ends)) is before
    assert apply(before, commit(before, (2, 5))) is not before


@pytest.mark.parametrize("phase", [phase for phase in Phase if phase is not Phase.FROZEN])
def test_inv17_there_is_no_commit_but_from_frozen(phase: Phase) -> None:
    before = at(phase)
    assert apply(before, commit(before, (2, 90))) is before


def test_step_that_has_no_row_does_nothing() -> None:
    before = at(Phase.PREPARING)
    assert apply(before, step(before, Phase.DRAINING)) is before
    assert apply(before, step(before, Phase.READY, before=Phase.PLANNED)) is before
    assert apply(before, step(before, Phase.READY, id="m2")) is before


def test_deadline_is_counted_and_a_restart_is_not() -> None:
    frozen = at(Phase.FROZEN)
    late = apply(frozen, step(frozen, Phase.READY, why="too slow"))
    assert (only(late).tries, only(late).why) == (1, "too slow")
    start = StartShard(1, "s0", "disk-s0", 8, "s0:1", ((1, 9), (2, 9), (3, 9)), 1)
    places = tuple(place._replace(confirmed=Adoption(7, 0)) for place in frozen.shards)
    started = apply(replace(frozen, shards=places), replace(start, previous=Adoption(7, 0)))
    migration = only(started)
    assert (migration.phase, migration.tries) == (Phase.READY, 0)
    assert "s0" in migration.why


def test_the_oldest_that_have_ended_are_forgotten_but_for_those_awaited() -> None:
    waiting = move("waits", after="m0")
    old = [move(f"m{n}", phase=Phase.DONE) for n in range(RESHARD_ENDED_MAX + 3)]
    state = replace(at(Phase.PREPARING), migrations=(*old, waiting))
    after = control(state, Control("waits", Action.RATE, rate=5))
    assert isinstance(after, State)
    kept = [m.id for m in after.migrations if m.phase in ENDED]
    assert len(kept) == RESHARD_ENDED_MAX + 1
    assert kept[0] == "m0", "waits has to see that it is done"


# -- words ---------------------------------------------------------------------------------------


def test_refusal_is_told_and_changes_nothing() -> None:
    before = at(Phase.COMMITTED)
    word = Control("m1", Action.CANCEL)
    assert apply(before, word) is before
    assert "COMMITTED" in refusal(before, word)
    assert refusal(before, word).endswith("Nothing was changed")
    assert "no migration m9" in refusal(before, Control("m9", Action.CANCEL))


@pytest.mark.parametrize("phase", list(Phase))
def test_cancel_works_before_the_commit_and_twice(phase: Phase) -> None:
    after = said(at(phase), Action.CANCEL)
    if phase not in UNDECIDED and phase is not Phase.ABORTED:
        assert isinstance(after, str)
        return
    assert isinstance(after, State)
    assert only(after).phase is Phase.ABORTED
    assert said(after, Action.CANCEL) is after


@pytest.mark.parametrize("phase", [Phase.PLANNED, Phase.PREPARING, Phase.ABORTED])
def test_switch_before_it_is_ready_is_refused(phase: Phase) -> None:
    assert isinstance(said(at(phase), Action.SWITCH), str)


def test_switch_freezes_once_with_the_pause_that_was_asked() -> None:
    after = said(at(Phase.READY, manual=True), Action.SWITCH, pause_ms=80)
    assert isinstance(after, State)
    migration = only(after)
    assert (migration.phase, migration.pause_ms, migration.freeze) == (Phase.FROZEN, 80, 1)
    assert said(after, Action.SWITCH, pause_ms=80) is after


def test_manual_move_is_reversed_and_repeating_that_changes_nothing() -> None:
    after = said(at(Phase.DRAINING, manual=True), Action.REVERSE)
    assert isinstance(after, State)
    assert (only(after).source, only(after).back) == ("s1", True)
    assert said(after, Action.REVERSE) is after


def test_what_cleans_up_cannot_be_reversed() -> None:
    """The old owner's rows are going."""
    assert isinstance(said(at(Phase.DRAINING), Action.REVERSE), str)
    completed = said(at(Phase.DRAINING, manual=True), Action.COMPLETE)
    assert isinstance(completed, State)
    assert isinstance(said(completed, Action.REVERSE), str)


@pytest.mark.parametrize("phase", [phase for phase in Phase if phase is not Phase.DRAINING])
def test_reversal_needs_draining(phase: Phase) -> None:
    assert isinstance(said(at(phase, manual=True), Action.REVERSE), str)


def test_split_cannot_be_reversed() -> None:
    state = at(Phase.DRAINING, split(manual=True))
    assert isinstance(said(state, Action.REVERSE), str)


def test_complete_ends_the_wait_of_a_manual_one() -> None:
    after = said(at(Phase.DRAINING, manual=True), Action.COMPLETE, keep_source=True)
    assert isinstance(after, State)
    assert (only(after).manual, only(after).keep_source) == (False, True)
    assert said(after, Action.COMPLETE) is after, "repeated, with whatever flag"
    assert isinstance(said(at(Phase.READY, manual=True), Action.COMPLETE), str)


def test_rate_is_changed_until_the_end() -> None:
    after = said(at(Phase.PREPARING), Action.RATE, rate=1_000)
    assert isinstance(after, State)
    assert only(after).rate == 1_000
    assert isinstance(said(at(Phase.DONE), Action.RATE, rate=1), str)
