"""Compaction: gone is what no read at or above the floor can see, and nothing else."""

from __future__ import annotations

import pytest

from kubebraid.base.keyspace import EVERYTHING
from kubebraid.base.limits import COMPACT_SLICE_REVISIONS
from kubebraid.base.ports import LogCall, LogReply, WriteCall
from kubebraid.proto.etcd import rpc_pb2
from kubebraid.proto.kvwire import key_of
from kubebraid.shard import compaction as compaction_module
from kubebraid.shard import keycodec, mvcc
from kubebraid.shard.compaction import Compactor
from kubebraid.shard.history import read_log
from kubebraid.shard.storage.engine import Batch, Reader
from kubebraid.shard.storage.memory import MemoryEngine
from tests.unit.shard.fakes import A, B, Stand, delete_call, put_call, txn_call
from tests.unit.shard.stones import with_tombstones
from tests.unit.shard.test_history import op_delete, op_put


def state(reader: Reader, revision: int) -> dict[bytes, int]:
    rows = [row for page in mvcc.rows_at(reader, EVERYTHING, revision) for row in page]
    return {key_of(row.raw): row.mod for row in rows}


def versions(engine: MemoryEngine, key: bytes) -> list[int]:
    """The revisions that the history still holds of a key, newest first."""
    prefix = keycodec.history_prefix(key)
    found = engine.scan(prefix, prefix + b"\xff" * 9, 1_000)
    return [keycodec.split_history(stored)[1] for stored, _ in found]


def compacted(stand: Stand, floor: int) -> None:
    done: list[None] = []
    compactor = Compactor(stand.engine, stand.owned.closed)
    compactor.compact(floor, lambda: done.append(None))
    while compactor.turn():
        assert not done
    assert len(done) == 1


def in_flight(call: WriteCall) -> Stand:
    """Three puts are told, and a write of the same key has been asked its revision."""
    stand = Stand(late=True)
    for _ in range(3):
        stand.write(put_call(b"/a/x"))
        stand.sequencer.answer()
    stand.submit(call)
    stand.run()
    return stand


def test_version_that_the_floor_sees_stays_and_the_one_before_it_goes() -> None:
    """The worked example of the module: put at 5, 8 and 12, floor 10."""
    stand = Stand()
    for revision in range(2, 13):
        stand.write(put_call(b"/a/a" if revision in (5, 8, 12) else b"/b/other"))
    assert versions(stand.engine, b"/a/a") == [8, 5]
    compacted(stand, 10)
    assert versions(stand.engine, b"/a/a") == [8]
    assert [state(stand.engine, r)[b"/a/a"] for r in (10, 11, 12)] == [8, 8, 12]


def test_inv20_reads_and_events_from_the_floor_on_are_what_they_were() -> None:
    stand = Stand()
    for number in range(40):
        key = b"/a/k%d" % (number % 7)
        stand.write(delete_call(key) if number % 5 == 4 else put_call(key, b"%d" % number))
        stand.write(put_call(b"/b/y"))
    revision = stand.owned.known
    for floor in range(2, revision + 1, 9):
        log = LogCall((A, B), EVERYTHING, floor, revision, 1_000)
        before = [state(stand.engine, r) for r in range(floor, revision + 1)]
        events = read_log(stand.engine, log, floor)
        compacted(stand, floor)
        assert [state(stand.engine, r) for r in range(floor, revision + 1)] == before
        assert read_log(stand.engine, log, floor) == events
        assert isinstance(events, LogReply)


FORMS = pytest.mark.parametrize("before", [False, True], ids=["ended", "tombstones"])


@FORMS
def test_deletion_below_the_floor_goes_with_all_it_hid(before: bool) -> None:
    stand = Stand()
    stand.write(put_call(b"/a/x"), put_call(b"/a/x"), delete_call(b"/a/x"), put_call(b"/b/y"))
    assert not before or with_tombstones(stand.engine) == 1
    compacted(stand, 5)
    assert versions(stand.engine, b"/a/x") == []
    assert state(stand.engine, 5) == {b"/b/y": 5}


@FORMS
def test_deletion_at_the_floor_stays_with_what_it_replaced(before: bool) -> None:
    """The event at the floor may still be asked for, with its prev_kv."""
    stand = Stand()
    stand.write(put_call(b"/a/x"), delete_call(b"/a/x"))
    assert not before or with_tombstones(stand.engine) == 1
    compacted(stand, 3)
    assert versions(stand.engine, b"/a/x") == ([3, 2] if before else [2])
    assert mvcc.at(stand.engine, b"/a/x", 3) is None
    assert mvcc.before(stand.engine, b"/a/x", 3) is not None


@FORMS
def test_floor_between_a_version_and_its_end_keeps_both(before: bool) -> None:
    stand = Stand()
    stand.write(put_call(b"/a/x"), put_call(b"/b/y"), delete_call(b"/a/x"), put_call(b"/a/x"))
    assert not before or with_tombstones(stand.engine) == 1
    compacted(stand, 3)
    assert [state(stand.engine, r).get(b"/a/x") for r in (3, 4, 5)] == [2, None, 5]
    compacted(stand, 5)
    assert versions(stand.engine, b"/a/x") == []
    assert state(stand.engine, 5) == {b"/b/y": 3, b"/a/x": 5}


def test_deletion_costs_compaction_a_removal_less(monkeypatch: pytest.MonkeyPatch) -> None:
    """And its log row says so: there is no tombstone to be removed."""
    removed: list[int] = []
    write = MemoryEngine.write

    def watched(engine: MemoryEngine, batch: Batch, *, sync: bool) -> None:
        removed.append(len(batch))
        write(engine, batch, sync=sync)

    for before in (False, True):
        stand = Stand()
        stand.write(put_call(b"/a/x"), delete_call(b"/a/x"), put_call(b"/a/x"))
        assert not before or with_tombstones(stand.engine) == 1
        with monkeypatch.context() as patch:
            patch.setattr(MemoryEngine, "write", watched)
            compacted(stand, 4)
    assert removed == [2, 3], "the version and the log's range; and the tombstone"


def test_deletion_in_flight_that_lands_below_the_floor_goes_when_it_has_landed() -> None:
    """As a put: the walk goes on to it when it is published."""
    stand = in_flight(delete_call(b"/a/x"))
    stand.owner.compact(9, None)
    stand.run()
    assert versions(stand.engine, b"/a/x") == []
    stand.sequencer.answer()
    assert versions(stand.engine, b"/a/x") == [4], "5 has ended it"
    stand.run()
    assert stand.engine.scan(b"h", b"i", 10) == stand.engine.scan(b"l", b"m", 10) == []
    assert state(stand.engine, 9) == {}


def test_log_rows_below_the_floor_go_and_the_others_stay() -> None:
    stand = Stand()
    stand.write(*[put_call(b"/a/x") for _ in range(5)], put_call(b"/b/y"))
    compacted(stand, 5)
    rows = stand.engine.scan(b"l", b"m", 100)
    assert [keycodec.log_revision(stored) for stored, _ in rows] == [5, 6, 7]


def test_newest_rows_are_never_touched() -> None:
    stand = Stand()
    stand.write(put_call(b"/a/x"), put_call(b"/b/y"))
    compacted(stand, 3)
    assert state(stand.engine, 3) == {b"/a/x": 2, b"/b/y": 3}


def test_inv20_key_deleted_and_put_in_one_revision_survives_at_the_floor() -> None:
    """The tombstone and the put share a revision: removing the one must not take the other."""
    stand = Stand()
    stand.write(put_call(b"/a/x"))
    again = rpc_pb2.TxnRequest(success=[op_delete(b"/a/w", b"\x00"), op_put(b"/a/x")])
    stand.write(txn_call(again))
    stand.write(put_call(b"/b/y"), put_call(b"/a/x"))  # 4 and 5
    assert state(stand.engine, 4) == {b"/a/x": 3, b"/b/y": 4}
    compacted(stand, 4)
    assert state(stand.engine, 4) == {b"/a/x": 3, b"/b/y": 4}


def test_slice_reads_a_bounded_part_of_the_log() -> None:
    stand = Stand()
    stand.write(*[put_call(b"/a/k%d" % n) for n in range(COMPACT_SLICE_REVISIONS * 2)])
    compactor = Compactor(stand.engine, {A: stand.owned.closed[A]})
    compactor.compact(stand.owned.known, None)
    before = stand.engine.count(b"l", b"m", 100_000)
    assert compactor.turn()
    assert before - stand.engine.count(b"l", b"m", 100_000) == COMPACT_SLICE_REVISIONS


def test_crash_between_two_slices_is_repaired_by_the_next_compaction() -> None:
    stand = Stand()
    stand.write(*[put_call(b"/a/x") for _ in range(COMPACT_SLICE_REVISIONS + 50)])
    revision = stand.owned.known
    first = Compactor(stand.engine, {A: stand.owned.closed[A]})
    first.compact(revision, None)
    first.turn()
    second = Compactor(stand.engine, {A: stand.owned.closed[A]})
    second.compact(revision, None)
    while second.turn():
        pass
    assert versions(stand.engine, b"/a/x") == [revision - 1]
    assert state(stand.engine, revision) == {b"/a/x": revision}


def test_floor_raised_meanwhile_is_reached_before_anyone_is_told() -> None:
    stand = Stand()
    stand.write(*[put_call(b"/a/x") for _ in range(8)])
    told: list[int] = []
    compactor = Compactor(stand.engine, {A: stand.owned.closed[A]})
    compactor.compact(4, lambda: told.append(4))
    compactor.compact(8, lambda: told.append(8))
    while compactor.turn():
        assert told == []
    assert told == [4, 8]
    assert versions(stand.engine, b"/a/x") == [8, 7]


def test_lower_floor_than_before_changes_nothing_and_is_answered() -> None:
    stand = Stand()
    stand.write(*[put_call(b"/a/x") for _ in range(8)])
    compacted(stand, 8)
    before = versions(stand.engine, b"/a/x")
    compacted(stand, 3)
    assert versions(stand.engine, b"/a/x") == before


def test_shard_whose_tablets_go_meanwhile_tells_whoever_waits() -> None:
    closed = {A: 8}
    told: list[None] = []
    compactor = Compactor(MemoryEngine(), closed)
    compactor.compact(4, lambda: told.append(None))
    closed.clear()
    compactor.compact(4, None)  # the map that took them
    assert not compactor.turn()
    assert told == [None]


def test_idle_compactor_does_nothing() -> None:
    compactor = Compactor(MemoryEngine(), {A: 0})
    assert not compactor.turn()


def test_write_in_flight_that_lands_below_the_floor_is_removed_when_it_has_landed() -> None:
    """Its revision was handed out before the floor rose above it, by way of another shard's."""
    stand = in_flight(put_call(b"/a/x"))
    done: list[None] = []
    stand.owner.compact(9, lambda: done.append(None))
    stand.run()
    assert len(done) == 1, "nobody waits for what may come late, or never"
    assert versions(stand.engine, b"/a/x") == []
    stand.sequencer.answer()
    assert versions(stand.engine, b"/a/x") == [4], "5 has landed"
    stand.run()
    assert versions(stand.engine, b"/a/x") == []
    assert stand.engine.scan(b"l", b"m", 10) == []
    assert state(stand.engine, 9) == {b"/a/x": 5}


def test_tablets_without_a_late_write_are_walked_once() -> None:
    """An idle tablet is closed below the floor for ever: it costs nothing until it is written."""
    stand = Stand()
    stand.write(put_call(b"/a/x"), *[put_call(b"/b/y") for _ in range(5)])
    compactor = Compactor(stand.engine, stand.owned.closed)
    compactor.compact(6, None)
    while compactor.turn():
        pass
    stand.owner.subscribe(compactor.published)
    while compactor.turn():
        pass
    busy = []
    for key in (b"/b/y", b"/a/x", b"/a/x"):
        stand.write(put_call(key))
        busy.append(compactor.busy)
        assert not compactor.turn()
    assert busy == [False, True, False]


def test_slice_has_so_many_rows_or_those_of_one_revision(monkeypatch: pytest.MonkeyPatch) -> None:
    """A store may take only so many in one batch."""
    monkeypatch.setattr(compaction_module, "COMPACT_SLICE_ROWS", 12)
    stand = Stand()
    for number in range(9):
        size = 20 if number in (0, 4) else 3
        ops = [op_put(b"/a/k%02d" % key) for key in range(size)]
        stand.write(txn_call(rpc_pb2.TxnRequest(success=ops)))
    batches: list[int] = []
    write = stand.engine.write

    def watched(batch: Batch, *, sync: bool) -> None:
        batches.append(len(batch))
        write(batch, sync=sync)

    monkeypatch.setattr(stand.engine, "write", watched)
    compacted(stand, stand.owned.known)
    assert batches == [10, 21, 10], "the long revision goes alone; and the range of log rows"
    assert versions(stand.engine, b"/a/k00") == [stand.owned.known - 1]
