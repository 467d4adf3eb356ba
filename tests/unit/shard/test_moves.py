"""What a shard does follows from the newest list of migrations alone."""

from __future__ import annotations

from dataclasses import replace

import pytest

from kubebraid.base import errors
from kubebraid.base.keyspace import KeyRange
from kubebraid.base.limits import (
    COPY_REPORT_MS,
    COPY_RETRY_MS,
    COPY_SWEEP_RETRY_MS_MAX,
    RESHARD_FREEZE_MS,
)
from kubebraid.base.reshard import Kind, Migration, Phase
from kubebraid.shard import keycodec
from kubebraid.shard.cells import Area, Cell, pack
from kubebraid.shard.storage.engine import Batch, EngineError
from tests.moving import MOVED, SYSTEM, Moving


def moving(*phases: Phase) -> Moving:
    pair = Moving()
    for n in range(6):
        pair.put(b"b%d" % n)
    pair.move(MOVED, "shard-1")
    pair.lead(*phases)
    return pair


COMMIT = (Phase.PREPARING, Phase.READY, Phase.FROZEN)


def committed(**fields: bool) -> Moving:
    pair = moving(*COMMIT)
    pair.commit()
    pair.reports.clear()
    pair.phase(Phase.DRAINING, **fields)
    pair.settle(300)
    return pair


def test_inv15_the_source_alone_seals_and_only_what_is_frozen() -> None:
    pair = moving(Phase.PREPARING, Phase.READY)
    assert not pair.owned["shard-0"].sealed
    pair.phase(Phase.FROZEN)
    assert pair.owned["shard-0"].sealed == {MOVED}
    assert not pair.owned["shard-1"].sealed
    pair.phase(Phase.READY)
    assert not pair.owned["shard-0"].sealed


@pytest.mark.parametrize("phase", [Phase.PLANNED, Phase.ABORTED])
def test_nothing_is_copied_before_its_turn_or_behind_its_end(phase: Phase) -> None:
    pair = moving(phase)
    assert not pair.rows("shard-1")
    assert not pair.cells("shard-0") | pair.cells("shard-1")
    assert "m1" not in pair.owners["shard-0"]._moves.source.active


def test_a_missed_state_changes_nothing() -> None:
    """READY and FROZEN were never heard by the target."""
    pair = moving(Phase.PREPARING)
    pair.phase(Phase.READY, tell=False)
    pair.tell("shard-1")
    pair.phase(Phase.FROZEN, tell=False)
    pair.tell("shard-1")
    pair.settle(30)
    assert not pair.reports["shard-1"].ends
    pair.tell()
    pair.settle(100)
    pair.commit()
    assert pair.put(b"b1").error is None


def test_served_and_clean_are_reported_for_the_freeze() -> None:
    pair = moving(*COMMIT)
    pair.commit()
    pair.settle(2)
    served = pair.reports["shard-1"]
    assert (served.served, served.freeze) == (True, 1)
    assert "shard-0" not in pair.reports
    pair.phase(Phase.DRAINING)
    pair.settle(50)
    clean = pair.reports["shard-0"]
    assert (clean.served, clean.freeze) == (True, 1)
    pair.reports.clear()
    pair.settle(COPY_REPORT_MS + 1)
    assert set(pair.reports) == {"shard-0", "shard-1"}, "repeated: reports get lost"


@pytest.mark.parametrize(
    ("fields", "rows", "served"),
    [
        ({}, False, True),
        ({"keep_source": True}, True, True),
        ({"manual": True}, True, False),
    ],
)
def test_what_is_left_behind_goes_unless_it_is_wanted(
    fields: dict[str, bool], rows: bool, served: bool
) -> None:
    pair = committed(**fields)
    assert bool(pair.rows("shard-0")) is rows
    assert pair.reports["shard-0"].served is served
    pair.phase(Phase.DONE)
    pair.settle(300)
    kept = bool(fields.get("keep_source"))
    assert bool(pair.rows("shard-0")) is kept
    assert pair.cells("shard-0") == ({"m1"} if kept else set())
    pair.migrations = ()
    pair.tell()
    pair.settle(300)
    assert not pair.rows("shard-0"), "nobody remembers what it was kept for"


def test_inv20_history_rests_on_both_shards_until_the_end() -> None:
    pair = moving(Phase.PREPARING)
    assert pair.owners["shard-0"]._compactor._resting == {MOVED}
    assert pair.owners["shard-1"]._compactor._resting == {MOVED}
    pair.abort()
    for owner in pair.owners.values():
        assert not owner._compactor._resting


def test_inv21_a_lease_is_not_left_while_the_copy_may_be_committed() -> None:
    pair = moving(*COMMIT)
    told: list[object] = []
    pair.owners["shard-1"].lease_leave(9, told.append)
    assert told == [errors.OWNER_AWAY]
    pair.phase(Phase.READY)
    pair.owners["shard-1"].lease_leave(9, told.append)
    assert told[1:] == [None]


def test_a_shard_without_migrations_is_idle() -> None:
    pair = moving()
    pair.abort()
    pair.migrations = ()
    pair.tell()
    for owner in pair.owners.values():
        assert owner._moves.idle
        assert owner._moves.next_deadline_ms() is None


def test_an_idle_copy_wakes_the_loop_for_the_next_round() -> None:
    pair = moving(Phase.PREPARING)
    due = pair.owners["shard-1"]._moves.next_deadline_ms()
    assert due is not None
    assert due <= pair.clock.ms + COPY_REPORT_MS


def test_a_failed_sweep_is_tried_again_and_serving_goes_on() -> None:
    pair = moving(*COMMIT)
    pair.commit()
    pair.engines["shard-0"].write_faults.append((EngineError("gone"), False))
    pair.phase(Phase.DRAINING)
    pair.settle(5)
    assert pair.engines["shard-0"].reopens == 1
    assert pair.put(b"a1").error is None
    assert pair.rows("shard-0")
    pair.settle(400)
    assert not pair.rows("shard-0")


def test_a_failed_sweep_wakes_the_loop_when_nobody_else_does() -> None:
    pair = moving(Phase.PREPARING)
    moves = pair.owners["shard-1"]._moves
    pair.engines["shard-1"].faults[keycodec.newest(b"b1")] = EngineError("unreadable")
    pair.migrations = ()
    pair.tell()
    pauses = []
    for _ in range(12):
        moves.turn(pair.clock.ms)
        due = moves.next_deadline_ms()
        assert due is not None, "tried again, though no state and no request comes"
        pauses.append(due - pair.clock.ms)
        pair.clock.ms = due
    assert pauses[0] == COPY_RETRY_MS
    assert pauses == sorted(pauses)
    assert pauses[-1] == COPY_SWEEP_RETRY_MS_MAX
    pair.engines["shard-1"].faults.clear()
    pair.settle(100)
    assert not pair.rows("shard-1")
    assert moves.next_deadline_ms() is None


def test_a_sweep_that_fails_for_ever_holds_up_no_other() -> None:
    pair = moving(*COMMIT)
    pair.commit()
    stuck = Cell("m0", (99,), (Area(KeyRange(b"c", b"d")),))
    foreign, engine = pair.owned["shard-0"].foreign, pair.engines["shard-0"]
    engine.write(Batch().put(stuck.key, pack(stuck)), sync=True)
    engine.faults[keycodec.newest(b"c1")] = EngineError("unreadable")
    later = dict(foreign.cells)
    foreign.cells.clear()
    foreign.add(stuck, *later.values())
    pair.phase(Phase.DRAINING)
    pair.settle(100)
    assert pair.cells("shard-0") == {"m0"}
    engine.faults.clear()
    assert not pair.rows("shard-0")


def test_two_migrations_at_once_each_in_its_own_freeze() -> None:
    pair = Moving()
    plans = []
    for number, tablet in enumerate((MOVED, 1)):
        target = replace(pair.tablets.by_id()[tablet], shard="shard-1")
        plan = Migration(f"m{number}", Kind.MOVE, "shard-0", "shard-1", (tablet,), (target,))
        plans.append(plan._replace(phase=Phase.READY, freeze=number))
    pair.migrations = (plans[0]._replace(phase=Phase.FROZEN, freeze=7), plans[1])
    pair.tell()
    assert pair.owners["shard-0"]._moves.source.active == {"m0": 7, "m1": 0}
    assert pair.owned["shard-0"].sealed == {MOVED}


def test_inv21_what_an_aborted_move_has_left_does_not_come_with_a_later_one() -> None:
    """A row of the first move cannot be read, so its sweep does not come to its end."""
    pair = Moving()
    for key in (b"a1", b"b1"):
        pair.put(key)
    pair.grant(7)
    by_id = pair.tablets.by_id()
    both = tuple(replace(by_id[tablet], shard="shard-1") for tablet in (MOVED, SYSTEM))
    pair.plan(Kind.MOVE, "shard-1", (MOVED, SYSTEM), *both)
    pair.migrations = (pair.migration._replace(id="m0"),)
    pair.lead(*COMMIT)
    pair.engines["shard-1"].faults[keycodec.newest(b"b1")] = EngineError("unreadable")
    pair.abort()
    assert pair.revoke(7).error is None
    pair.move(SYSTEM, "shard-1")
    pair.lead(*COMMIT)
    assert pair.cells("shard-1") == {"m0", "m1"}
    pair.commit()
    assert 7 not in pair.owned["shard-1"].leases
    assert pair.grant(8).error is None


def beside(pair: Moving, phase: Phase, source: str, target: str) -> None:
    """The state has a second migration, between these shards, of a tablet that nobody has."""
    other = Migration("m9", Kind.MOVE, source, target, (99,), (), phase=phase, freeze=1)
    pair.migrations = (pair.migration, other)
    pair.tell()


@pytest.mark.parametrize("phase", [Phase.FROZEN, Phase.COMMITTED])
def test_a_sweep_waits_for_a_switch_but_not_for_ever(phase: Phase) -> None:
    pair = moving(*COMMIT)
    pair.commit()
    pair.phase(Phase.DRAINING, tell=False)
    beside(pair, phase, "shard-0", "shard-2")
    pair.settle(RESHARD_FREEZE_MS - 1)
    assert pair.rows("shard-0")
    beside(pair, phase, "shard-0", "shard-2")
    pair.settle(20)
    assert not pair.rows("shard-0"), "the other's target may be down for long"


@pytest.mark.parametrize(
    ("shards", "waits"),
    [(("shard-0", "shard-2"), True), (("shard-2", "shard-1"), True), (("shard-2", "s3"), False)],
)
def test_a_copy_waits_for_a_switch_of_its_source_or_target(
    shards: tuple[str, str], waits: bool
) -> None:
    pair = moving()
    pair.phase(Phase.PREPARING, tell=False)
    beside(pair, Phase.FROZEN, *shards)
    pair.settle(100)
    assert bool(pair.rows("shard-1")) is not waits
    due_ms = pair.owners["shard-1"].next_deadline_ms()
    assert due_ms is not None
    assert due_ms > pair.clock.ms, "it sleeps meanwhile"
    beside(pair, Phase.DRAINING, *shards)
    pair.settle(100)
    assert pair.reports["shard-1"].verified
