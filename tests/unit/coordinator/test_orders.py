"""Migrations through members: plans, words, reports, freezes, takeovers, on a log of a test."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from kubebraid.base import errors
from kubebraid.base.errors import RequestRefused
from kubebraid.base.limits import HOST_AWAY_MS, HOST_BEAT_MS, RESHARD_FREEZE_MS
from kubebraid.base.ports import Adoption, AllocRequest, Beat, ShardStart
from kubebraid.base.reshard import (
    Action,
    Control,
    HandOver,
    Kind,
    Migration,
    Phase,
    Planned,
    Report,
)
from kubebraid.base.tabletmap import layout
from kubebraid.coordinator.reign import CANDIDATE_WAIT_MS
from kubebraid.coordinator.transition import Found
from tests.unit.coordinator.test_member import Cluster, ask

# Two shards, so that both can start; tablet 2 goes from s0 to s1.
HALVES = layout([b"/a/"], "s0")
TWO = Found(
    "cluster-1",
    replace(
        HALVES, tablets=tuple(replace(t, shard="s1" if t.id == 3 else "s0") for t in HALVES.tablets)
    ),
)
MOVED = replace(HALVES.tablets[1], shard="s1")
MOVE = Migration("m1", Kind.MOVE, "s0", "s1", (2,), (MOVED,))


class Stand:
    """Member a serves, b follows; s0 and s1 have started."""

    hosted = False

    def __init__(self) -> None:
        self.cluster = Cluster("a", founding=TWO)
        self.cluster.run()
        self.cluster.join("b")
        self.serving = self.cluster.members["a"]
        for name in ("s0", "s1"):
            host = name if self.hosted else ""
            ask(self.serving, ShardStart(name, f"disk-{name}", 7, "h:1", host=host))
            self.cluster.run()
        self.answers: list[RequestRefused | None] = []

    def ask(
        self, request: Planned | Control | HandOver, *, run: bool = True
    ) -> RequestRefused | None:
        before = len(self.answers)
        self.serving.orders.order(request, self.answers.append)
        if run:
            self.cluster.run()
        assert len(self.answers) == before + 1
        return self.answers[-1]

    def plan(self, **changed: object) -> RequestRefused | None:
        made = MOVE._replace(**changed)  # type: ignore[arg-type]
        return self.ask(Planned((made,), self.serving.state.tablets.version))

    def report(self, shard: str = "s1", **changed: object) -> Phase:
        migration = self.migration
        told = Report("m1", shard, 7, verified=True, freeze=migration.freeze)
        self.serving.orders.report(told._replace(**changed))  # type: ignore[arg-type]
        self.cluster.run()
        return self.migration.phase

    @property
    def migration(self) -> Migration:
        found = self.serving.state.migration("m1")
        assert found is not None
        return found

    def ends(self) -> tuple[tuple[int, int], ...]:
        sampled = self.serving.sampled()
        assert sampled is not None
        return ((2, sampled.last[2]),)

    def write(self, number: int, oepoch: int = 2) -> list[int]:
        """To tablet 2, by its owner."""
        request = AllocRequest(self.serving.state.cepoch, "s0", number, 1, ((2, oepoch, 0),), 7)
        firsts: list[int] = []
        self.serving.alloc(self, request, lambda reply: firsts.append(reply.first))
        self.cluster.run()
        return firsts

    def take_over(self) -> None:
        self.cluster.logs["a"].cut = True
        self.cluster.run(CANDIDATE_WAIT_MS + 100)
        self.serving = self.cluster.members["b"]
        assert self.serving.serves


def frozen() -> Stand:
    """A move whose target has said that it is close; the source is asked to seal."""
    stand = Stand()
    assert stand.plan() is None
    assert stand.report() is Phase.FROZEN
    return stand


def test_move_through_a_member() -> None:
    stand = Stand()
    (first,) = stand.write(1)
    assert stand.plan() is None
    assert stand.report(verified=False) is Phase.PREPARING
    assert stand.report() is Phase.FROZEN
    assert stand.write(2) == [first + 1], (
        "the sequencer freezes when the ends are there, not before"
    )
    assert stand.report(ends=((2, first),)) is Phase.FROZEN
    assert stand.report(ends=((2, first + 1),)) is Phase.COMMITTED
    view = stand.serving.view()
    tablet = view.tablets.by_id()[2]
    assert (tablet.shard, tablet.begin) == ("s1", first + 1)
    assert view.migrations == (stand.migration,)
    assert stand.write(3) == [0], "the old owner is refused"
    assert stand.report(served=True) is Phase.DRAINING
    assert stand.report("s0", served=True) is Phase.DONE
    (told,) = stand.serving.orders.progress()
    assert 0 < told.switch_ms < RESHARD_FREEZE_MS


def test_m05_while_the_commit_is_on_its_way_nothing_is_allocated() -> None:
    stand = frozen()
    log = stand.cluster.logs["a"]
    log.fates.append("held")
    assert stand.report(ends=stand.ends()) is Phase.FROZEN
    assert stand.write(1) == []
    log.arrive()
    assert stand.write(2) == [0]
    assert stand.migration.phase is Phase.COMMITTED


def test_m05_deadline_lets_go_when_the_log_has_taken_it() -> None:
    """The worked example of M5: the owner's write waits, and then it gets its revision."""
    stand = frozen()
    log = stand.cluster.logs["a"]
    log.fates.append("held")
    stand.report(ends=stand.ends())
    firsts: list[int] = []
    request = AllocRequest(stand.serving.state.cepoch, "s0", 1, 1, ((2, 2, 0),), 7)
    stand.serving.alloc(stand, request, lambda reply: firsts.append(reply.first))
    log.fates.append("held")
    stand.cluster.run(RESHARD_FREEZE_MS - 100)
    assert firsts == []
    log.arrive()
    stand.cluster.run()
    assert stand.migration.phase is Phase.COMMITTED
    assert firsts == [0]


def test_freeze_without_ends_goes_back_to_ready_by_the_clock_alone() -> None:
    stand = frozen()
    due = stand.serving.next_deadline_ms()
    assert due is not None
    stand.cluster.run(RESHARD_FREEZE_MS)
    migration = stand.migration
    assert (migration.phase, migration.tries) == (Phase.READY, 1)
    assert "1000 ms" in migration.why
    assert stand.write(1) != [], "nothing was frozen"


def test_m02_new_reign_fixes_its_own_ends() -> None:
    """What the target had is below the window of the reign before, until it has asked again."""
    stand = frozen()
    before = stand.ends()
    stand.take_over()
    assert stand.migration.phase is Phase.READY
    assert stand.report() is Phase.FROZEN
    assert stand.report(ends=before) is Phase.FROZEN
    assert stand.report(ends=stand.ends()) is Phase.COMMITTED
    assert stand.serving.state.tablets.by_id()[2].begin == stand.ends()[0][1]


def test_m02_commit_that_arrives_behind_a_takeover_does_nothing() -> None:
    stand = frozen()
    log = stand.cluster.logs["a"]
    log.fates.append("held")
    stand.report(ends=stand.ends())
    stand.take_over()
    assert stand.report() is Phase.FROZEN
    log.cut = False
    log.arrive()
    stand.cluster.run()
    assert stand.migration.phase is Phase.FROZEN


def test_restart_of_the_target_begins_the_copy_anew() -> None:
    stand = frozen()
    start = ShardStart("s1", "disk-s1", 8, "h:1", Adoption(7, 0))
    assert ask(stand.serving, start) == []
    stand.cluster.run()
    assert stand.migration.phase is Phase.PREPARING
    assert stand.report(ends=stand.ends()) is Phase.PREPARING, "of the process before"
    assert stand.report(process=8) is Phase.FROZEN


def test_shard_that_was_drained_comes_back_without_tablets() -> None:
    """Its process ends after its last tablet has gone, and is started again."""
    stand = frozen()
    stand.serving.orders.report(Report("m1", "s1", 7, ends=stand.ends(), verified=True, freeze=1))
    stand.cluster.run()
    tablets = stand.serving.state.tablets
    alone = replace(tablets, tablets=tuple(replace(t, shard="s1") for t in tablets.tablets))
    for member in stand.cluster.members.values():
        member.state = replace(member.state, tablets=alone)
    start = ShardStart("s0", "disk-s0", 8, "h:1", Adoption(7, 0))
    assert ask(stand.serving, start) == []
    stand.cluster.run()
    place = stand.serving.state.shard("s0")
    assert place is not None
    assert place.incarnation == 8


def test_plan_that_is_refused_is_told_with_its_reason_and_is_definite() -> None:
    stand = Stand()
    refused = stand.plan(sources=(3,), targets=(replace(HALVES.tablets[2], shard="s1"),))
    assert refused is not None
    assert refused.definite
    assert "is of s1, not s0" in refused.message
    assert stand.serving.state.migrations == ()


def test_repeated_plan_is_done_already() -> None:
    stand = Stand()
    request = Planned((MOVE,), stand.serving.state.tablets.version)
    assert stand.ask(request) is None
    assert stand.ask(request) is None
    assert len(stand.serving.state.migrations) == 1


@pytest.mark.parametrize("fate", ["unknown", "full"])
def test_outcome_that_is_not_known_is_told_so(fate: str) -> None:
    stand = Stand()
    stand.cluster.logs["a"].fates.append(fate)
    told = stand.ask(Planned((MOVE,), stand.serving.state.tablets.version))
    assert told is errors.OUTCOME_UNKNOWN_REPLY
    assert len(stand.serving.state.migrations) == (1 if fate == "unknown" else 0)


def test_switch_is_refused_by_the_reports_before_it_reaches_the_log() -> None:
    stand = Stand()
    stand.plan(manual=True)
    assert stand.report() is Phase.READY
    stand.report(took_ms=80)
    submitted = len(stand.cluster.logs["a"].submitted)
    refused = stand.ask(Control("m1", Action.SWITCH, lag_ms=50), run=False)
    assert refused is not None
    assert refused.message.endswith("Nothing was changed")
    assert len(stand.cluster.logs["a"].submitted) == submitted
    assert stand.ask(Control("m1", Action.SWITCH, lag_ms=90)) is None
    assert stand.migration.phase is Phase.FROZEN


def test_plan_that_is_no_command_is_refused() -> None:
    """It would be cut out of the log, or end a member's link."""
    stand = Stand()
    many = tuple(MOVE._replace(id=f"m{n}", why="", targets=(MOVED,) * 100) for n in range(100))
    refused = stand.ask(Planned(many, 1), run=False)
    assert refused is not None
    assert "too large" in refused.message


def test_members_agree_on_what_was_refused() -> None:
    """Every member answers the same bytes, or logs would differ in what they remember."""
    stand = Stand()
    stand.plan(source="s1")
    index = len(stand.cluster.entries)
    command = stand.cluster.logs["a"].submitted[-1]
    answers = {m.apply(index + 1, command) for m in stand.cluster.members.values()}
    assert len(answers) == 1
    assert answers.pop().startswith(b"-")


# -- hosts -----------------------------------------------------------------------------------------


class Hosted(Stand):
    """s0 and s1 are served by hosts of their names, which beat while time passes; h2 has none."""

    hosted = True

    def live(self, ms: int, *names: str, leaving: str = "") -> None:
        for _ in range(0, ms, HOST_BEAT_MS):
            for name in names:
                self.serving.orders.beat(Beat(name, 1, leaving=name == leaving))
            self.cluster.run(HOST_BEAT_MS)

    def seats(self) -> dict[str, str]:
        return {place.name: place.host for place in self.serving.state.shards}

    def hand_over(self, shard: str, host: str) -> RequestRefused | None:
        return self.ask(HandOver(shard, host))


def lively() -> Hosted:
    stand = Hosted()
    stand.live(HOST_AWAY_MS + HOST_BEAT_MS, "s0", "s1", "h2")
    assert stand.seats() == {"s0": "s0", "s1": "s1"}
    return stand


def test_shard_of_a_silent_host_is_seated_by_the_log_and_told_to_all() -> None:
    stand = lively()
    before = stand.serving.state.tablets
    stand.live(HOST_AWAY_MS + HOST_BEAT_MS, "s0", "h2")
    assert stand.seats() == {"s0": "s0", "s1": "h2"}
    assert stand.cluster.members["b"].state.shards == stand.serving.state.shards
    assert stand.serving.state.tablets == before, "who serves goes on until h2's process starts"
    stand.live(2 * HOST_AWAY_MS, "s0", "h2", "s1")
    assert stand.seats()["s1"] == "h2", "it does not go back by itself"


def test_shard_of_a_host_that_leaves_is_seated_and_it_is_told_of_the_others() -> None:
    stand = lively()
    assert stand.serving.orders.beat(Beat("s1", 1, leaving=True)) == 2
    stand.live(HOST_BEAT_MS, "s0", "h2", "s1", leaving="s1")
    assert stand.seats()["s1"] == "h2"


def fated(stand: Hosted, fate: str) -> None:
    """What becomes of the next Seat."""
    log, left = stand.cluster.logs["a"], [fate]
    submit = log.submit

    def submitted(command: bytes, done: Callable[[bytes | None], None]) -> None:
        if b'"seat"' in command and left:
            log.fates.appendleft(left.pop())
        submit(command, done)

    log.submit = submitted  # type: ignore[method-assign]


@pytest.mark.parametrize("fate", ["applied", "late", "unknown", "twice", "held", "full"])
def test_seat_comes_over_every_outcome_of_its_submission(fate: str) -> None:
    stand = lively()
    fated(stand, fate)
    stand.live(HOST_AWAY_MS + HOST_BEAT_MS, "s0", "h2")
    if fate == "held":
        assert stand.seats()["s1"] == "s1", "it is on its way"
    stand.cluster.logs["a"].arrive()
    stand.live(HOST_BEAT_MS, "s0", "h2")
    assert stand.seats() == {"s0": "s0", "s1": "h2"}
    asked = [c for c in stand.cluster.logs["a"].submitted if b'"seat"' in c]
    assert len(asked) == (2 if fate == "late" else 1)


def test_turn_at_the_moment_of_absence_needs_no_beat() -> None:
    """The deadline wakes the loop; without one it would sleep over it."""
    stand = lively()
    stand.serving.orders.beat(Beat("s1", 1))
    due_ms = stand.cluster.clock.ms + HOST_AWAY_MS
    stand.cluster.run(HOST_BEAT_MS)
    stand.serving.orders.beat(Beat("s0", 1))
    assert stand.serving.orders.next_deadline_ms() == due_ms


def test_new_reign_hears_of_everybody_anew() -> None:
    stand = lively()
    stand.take_over()
    stand.live(HOST_AWAY_MS - HOST_BEAT_MS, "s0", "h2")
    assert stand.seats() == {"s0": "s0", "s1": "s1"}
    stand.live(3 * HOST_BEAT_MS, "s0", "h2")
    assert stand.seats() == {"s0": "s0", "s1": "h2"}


def test_seat_of_a_reign_that_is_over_does_nothing() -> None:
    stand = lively()
    log = stand.cluster.logs["a"]
    log.fate = "held"
    stand.live(HOST_AWAY_MS + HOST_BEAT_MS, "s0", "h2")
    log.fate = "applied"
    stand.take_over()
    stand.live(HOST_BEAT_MS, "s0", "s1", "h2")
    log.cut = False
    log.arrive()
    stand.cluster.run()
    assert any(b'"seat"' in command for command in stand.cluster.entries), "it came"
    assert stand.seats() == {"s0": "s0", "s1": "s1"}


def test_operator_hands_a_shard_over_to_a_host_that_lives() -> None:
    stand = lively()
    assert stand.hand_over("s1", "s0") is None
    assert stand.seats() == {"s0": "s0", "s1": "s0"}
    assert stand.hand_over("s1", "s0") is None, "it is so"
    for shard, host, why in (
        ("s1", "h9", "no host that was heard of"),
        ("s9", "h2", "no shard s9"),
    ):
        refused = stand.hand_over(shard, host)
        assert refused is not None
        assert refused.definite
        assert why in refused.message
        assert refused.message.endswith("Nothing was changed")
    assert stand.seats() == {"s0": "s0", "s1": "s0"}


def test_shard_with_a_directory_is_not_handed_over() -> None:
    stand = Stand()
    stand.serving.orders.beat(Beat("h2", 1))
    refused = stand.ask(HandOver("s1", "h2"))
    assert refused is not None
    assert "keeps its data in a directory" in refused.message
