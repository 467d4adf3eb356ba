"""What a shard does follows from the newest list of migrations alone."""

from __future__ import annotations

from dataclasses import replace

import pytest

from kubebraid.base import errors
from kubebraid.base.limits import COPY_REPORT_MS
from kubebraid.base.reshard import Kind, Migration, Phase
from kubebraid.shard.storage.engine import EngineError
from tests.moving import MOVED, Moving


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
