"""A tablet moves while processes and stores fail: nothing is lost, and nothing is left behind.

What it is: the two shards of tests/moving.py, restarted at each step of a move, or on a store that
fails in the middle. What it is not: the comparison under random writes (test_reshard_copy.py), or
leases (test_reshard_leases.py).
"""

from __future__ import annotations

from dataclasses import replace

import pytest

from kubebraid.base import errors
from kubebraid.base.keyspace import KeyRange
from kubebraid.base.limits import COPY_TRIES_MAX
from kubebraid.base.reshard import Kind, Migration, Phase
from kubebraid.base.tabletmap import Tablet, TabletMap
from kubebraid.shard.reshard import copier as copier_module
from kubebraid.shard.reshard import sweep as sweep_module
from kubebraid.shard.storage.engine import EngineError, EngineFull
from tests.moving import MOVED, Moving
from tests.shared_rows import APART, stores

__all__ = ["stores"]
pytestmark = pytest.mark.usefixtures("stores")

GONE = EngineError("the device is gone")
ENDED = (Phase.DRAINING, Phase.DONE)


@pytest.fixture(autouse=True)
def small_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(copier_module, "COPY_PIECE_BYTES_MAX", 200)


def filled(keys: int = 12) -> Moving:
    """With versions, a deletion, a lease, and keys beside."""
    pair = Moving()
    pair.grant(1)
    for n in range(keys):
        pair.put(b"b%02d" % n)
        pair.put(b"b%02d" % n, b"again", lease=n % 2)
    pair.delete(b"b00")
    pair.put(b"a1")
    pair.put(b"c1")
    return pair


def finish(pair: Moving) -> None:
    """From wherever it stands to its end, and what has to be true then."""
    if pair.migration.phase is Phase.PREPARING:
        pair.settle(800)
        assert pair.reports["shard-1"].verified
        pair.lead(Phase.READY)
    if pair.migration.phase is Phase.READY:
        pair.settle(800)
        pair.phase(Phase.FROZEN)
        pair.settle(300)
    if pair.migration.phase is Phase.FROZEN:
        before = pair.rows("shard-0")
        log = pair.log("shard-0", MOVED)
        pair.commit()
        assert pair.rows("shard-1") == before
        assert pair.log("shard-1", MOVED) == log
    pair.lead(*ENDED)
    assert not pair.rows("shard-0")
    assert not pair.cells("shard-0") | pair.cells("shard-1")
    assert pair.put(b"b99").error is None


@pytest.mark.parametrize("who", ["shard-0", "shard-1"])
@pytest.mark.parametrize("step", range(8))
def test_inv05_a_restart_at_any_step_loses_nothing(step: int, who: str) -> None:
    pair = filled()
    pair.move(MOVED, "shard-1")
    pair.phase(Phase.PREPARING)
    pair.settle((1, 3, 8)[min(step, 2)])
    if step >= 3:
        pair.settle(400)
    if step >= 4:
        pair.phase(Phase.READY)
        pair.put(b"b05", b"late")
    if step >= 5:
        pair.phase(Phase.FROZEN)
    if step >= 6:
        pair.settle(100)
        assert pair.reports["shard-1"].ends
    if step >= 7:
        pair.commit()
    pair.delete(b"b03")  # refused where it is sealed
    pair.start(who)
    pair.put(b"b07", b"behind the restart")
    finish(pair)


def test_inv17_a_restart_behind_the_commit_takes_what_came() -> None:
    """The target dies before it hears of the map: the next process finds fences and leases."""
    pair = filled()
    pair.move(MOVED, "shard-1")
    pair.lead(Phase.PREPARING, Phase.READY, Phase.FROZEN)
    rows = pair.rows("shard-0")
    heard, pair.owners["shard-1"] = pair.owners["shard-1"], _Deaf()
    pair.commit()
    del heard
    pair.start("shard-1")
    assert pair.rows("shard-1") == rows
    assert 1 in pair.owned["shard-1"].leases, "it came with the keys"
    pair.lead(*ENDED)
    pair.revoke(1)
    pair.settle(20)
    assert not pair.rows("shard-1", b"k")


class _Deaf:
    """A process that has died."""

    def follow(self, view: object) -> None: ...

    def turn(self) -> bool:
        return False


@pytest.mark.parametrize("error", [GONE, EngineFull("no space left")])
@pytest.mark.parametrize("passes", range(9))
@APART
def test_inv05_a_target_whose_store_fails_begins_anew(error: EngineError, passes: int) -> None:
    pair = filled()
    pair.move(MOVED, "shard-1")
    pair.engines["shard-1"].write_faults.extend([*[None] * passes, (error, False)])
    pair.phase(Phase.PREPARING)
    pair.settle(50)
    assert pair.engines["shard-1"].reopens == 1
    assert pair.put(b"c2").error is None, "serving goes on"
    assert not pair.reports["shard-1"].failed, "it goes on"
    finish(pair)


def test_m13_a_store_that_fails_under_the_last_piece_is_not_final() -> None:
    pair = filled()
    pair.move(MOVED, "shard-1")
    pair.lead(Phase.PREPARING, Phase.READY)
    pair.engines["shard-1"].write_faults.append((GONE, False))
    pair.phase(Phase.FROZEN)
    pair.settle(20)
    assert not pair.reports["shard-1"].ends
    pair.phase(Phase.READY)
    finish(pair)


@APART
def test_a_store_that_stays_full_ends_the_copy_with_a_reason() -> None:
    pair = filled()
    pair.move(MOVED, "shard-1")
    faults = [None, (EngineFull("no space left"), False)] * (COPY_TRIES_MAX + 20)
    pair.engines["shard-1"].write_faults.extend(faults)
    pair.phase(Phase.PREPARING)
    pair.settle(400 * COPY_TRIES_MAX)
    assert "no space left" in pair.reports["shard-1"].failed


def test_a_source_that_cannot_write_its_cell_goes_on_serving() -> None:
    """Its store is opened again at once: no client's write pays for it."""
    pair = filled()
    pair.move(MOVED, "shard-1")
    pair.engines["shard-0"].write_faults.append((GONE, False))
    pair.phase(Phase.PREPARING)
    pair.settle(10)
    assert pair.engines["shard-0"].reopens == 1
    assert pair.put(b"a2").error is None
    finish(pair)


@APART
@pytest.mark.parametrize("error", [GONE])
def test_a_sweep_that_fails_goes_on_later(error: EngineError) -> None:
    pair = filled()
    pair.move(MOVED, "shard-1")
    pair.lead(Phase.PREPARING, Phase.READY, Phase.FROZEN)
    pair.commit()
    pair.engines["shard-0"].write_faults.append((error, False))
    finish(pair)
    assert pair.engines["shard-0"].reopens == 1


# -- ways back -------------------------------------------------------------------------------------


@pytest.mark.parametrize("step", range(5))
@APART
def test_inv18_an_aborted_move_leaves_the_target_clean(step: int) -> None:
    pair = filled()
    rows, log = pair.rows("shard-0"), pair.log("shard-0", MOVED)
    pair.move(MOVED, "shard-1")
    pair.phase(Phase.PREPARING)
    pair.settle((2, 20, 300, 300, 300)[step])
    if step >= 3:
        pair.lead(Phase.READY)
    if step >= 4:
        pair.lead(Phase.FROZEN)
        assert pair.reports["shard-1"].ends
    pair.abort()
    assert not pair.rows("shard-1")
    assert not pair.log("shard-1", MOVED)
    assert pair.engines["shard-1"].get(b"f" + MOVED.to_bytes(4, "big")) is None
    assert not pair.cells("shard-0") | pair.cells("shard-1")
    assert (pair.rows("shard-0"), pair.log("shard-0", MOVED)) == (rows, log), "untouched"
    newest = pair.put(b"b01", b"now").revision
    assert newest > 1
    pair.put(b"b01", b"and now")
    pair.compact(newest)
    pair.settle(20)
    assert len(pair.log("shard-0", MOVED)) == 2, "compaction goes on"
    pair.start("shard-1")


@APART
def test_inv05_a_plan_made_behind_an_aborted_one_keeps_its_copy(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The sweep of the first has failed and goes on later, over what the second has copied."""
    monkeypatch.setattr(sweep_module, "COPY_SWEEP_ROWS", 1)
    pair = filled()
    pair.move(MOVED, "shard-1")
    pair.lead(Phase.PREPARING, Phase.READY)
    aborted = pair.migration._replace(phase=Phase.ABORTED)
    again = pair.migration._replace(id="m2", phase=Phase.PREPARING)
    pair.migrations = (again, aborted)
    pair.tell()
    # The cell and the first slice of the second, a slice of the first.
    pair.engines["shard-1"].write_faults.extend([None, None, (GONE, False)])
    pair.settle(400)
    assert pair.reports["shard-1"].verified
    assert pair.rows("shard-1") == pair.rows("shard-0")
    pair.migrations = (again,)
    pair.lead(Phase.READY, Phase.FROZEN)
    rows = pair.rows("shard-0")
    pair.commit()
    assert pair.rows("shard-1") == rows


@APART
def test_inv05_the_sweep_of_one_bucket_leaves_its_neighbours() -> None:
    """Two buckets of a range move; one is given up when the other is nearly there."""
    base = Moving().tablets
    span = base.by_id()[MOVED].span
    halves = [Tablet(21 + n, f"half.{n}", span, "shard-0", 1, n, 2) for n in range(2)]
    pair = Moving(TabletMap(1, (base.tablets[0], *halves, base.tablets[2])))
    for n in range(40):
        pair.put(b"b%02d" % n)
    plans = [
        Migration(f"m{half.id}", Kind.MOVE, "shard-0", "shard-1", (half.id,), (
            replace(half, shard="shard-1"),), Phase.PREPARING)
        for half in halves
    ]  # fmt: skip
    pair.migrations = tuple(plans)
    pair.tell()
    pair.settle(600)
    assert pair.rows("shard-1") == pair.rows("shard-0")
    pair.migrations = (plans[0], plans[1]._replace(phase=Phase.ABORTED))
    pair.tell()
    pair.settle(100)
    mine = {stored for stored in pair.rows("shard-0") if pair.tablets.tablet_of(
        stored[1:4]).id == 21}  # fmt: skip
    assert set(pair.rows("shard-1")) == mine


@pytest.mark.parametrize("fails", [False, True])
def test_inv05_a_move_is_reversed_with_what_was_written_meanwhile(fails: bool, stores: str) -> None:
    pair = filled()
    pair.move(MOVED, "shard-1")
    pair.phase(Phase.PREPARING, manual=True)
    pair.settle(400)
    pair.lead(Phase.READY, Phase.FROZEN)
    pair.commit()
    pair.phase(Phase.DRAINING)
    for n in range(30):
        pair.put(b"b%02d" % (n % 9), b"over there")
        if n % 7 == 0:
            pair.delete(b"b%02d" % n)
        if n == 20 and fails:
            pair.engines["shard-0"].write_faults.append((GONE, False))
        pair.settle(5)
    pair.settle(800)
    follows = pair.rows("shard-0") == pair.rows("shard-1")
    assert follows == (stores == "apart"), "the old owner follows; of shared rows it has none"
    assert pair.reports["shard-0"].verified
    back = pair.migration._replace(source="shard-1", target="shard-0", back=True, manual=False)
    moved = replace(pair.tablets.by_id()[MOVED], shard="shard-0")
    pair.migrations = (back._replace(targets=(moved,), ends=()),)
    pair.phase(Phase.READY)
    pair.put(b"b01", b"once more")
    pair.settle(50)
    pair.lead(Phase.FROZEN)
    rows, log = pair.rows("shard-1"), pair.log("shard-1", MOVED)
    pair.commit()
    assert (pair.rows("shard-0"), pair.log("shard-0", MOVED)) == (rows, log)
    assert pair.put(b"b01").error is None
    pair.lead(*ENDED)
    assert not pair.rows("shard-1")
    pair.revoke(1)
    pair.settle(50)
    assert not pair.rows("shard-0", b"k")


# -- the freeze ------------------------------------------------------------------------------------


def test_inv18_thawed_and_frozen_again_with_writes_between() -> None:
    pair = filled()
    pair.move(MOVED, "shard-1")
    pair.lead(Phase.PREPARING, Phase.READY)
    for n in range(3):
        pair.lead(Phase.FROZEN)
        assert pair.reports["shard-1"].ends
        assert pair.put(b"b01").error is errors.OTHER_MAP
        pair.phase(Phase.READY)
        assert pair.put(b"b01", b"thawed %d" % n).error is None
        pair.settle(50)
        assert not pair.reports["shard-1"].ends, "final no more"
    pair.phase(Phase.FROZEN)
    pair.settle(300)
    finish(pair)


def test_a_split_is_committed_while_a_lease_is_granted() -> None:
    """The batch of a grant was proved by the parent, which is no more: planned anew."""
    moved = Moving().tablets.by_id()[MOVED]
    pair = Moving(
        TabletMap(1, (
            replace(moved, id=1, span=KeyRange(b"", b"c")),
            Tablet(2, "other", KeyRange(b"c", None), "shard-1", 1),
        ))
    )  # fmt: skip
    left = replace(pair.tablets.by_id()[1], id=11, span=KeyRange(b"", b"b"), name="l")
    right = replace(left, id=12, span=KeyRange(b"b", b"c"), name="r")
    pair.plan(Kind.SPLIT, "shard-0", (1,), left, right)
    pair.put(b"b1")
    pair.lead(Phase.PREPARING, Phase.READY, Phase.FROZEN)
    pair.commit()
    assert pair.grant(5).error is None
    assert pair.put(b"b1", lease=5).error is None
    pair.lead(*ENDED)
    pair.start("shard-0")
    assert pair.put(b"a1", lease=5).error is None
