"""HashKV's number: the same for the same history, another for any other."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kubebraid.base.tabletmap import layout
from kubebraid.proto.etcd import rpc_pb2
from kubebraid.proto.kvwire import key_value
from kubebraid.shard import keycodec
from kubebraid.shard.checksum import hash_versions
from kubebraid.shard.compaction import Compactor
from kubebraid.shard.storage.engine import Batch, Reader
from kubebraid.shard.storage.memory import MemoryEngine
from tests.unit.shard.fakes import (
    PREFIXES,
    Stand,
    delete_call,
    put_call,
    row,
    store_versions,
    txn_call,
)
from tests.unit.shard.stones import tombstones, with_tombstones
from tests.unit.shard.test_history import nested, op_delete, op_put
from tests.unit.shard.test_jobs import EVERY_TABLET


def hashed(reader: Reader, floor: int, revision: int) -> int:
    *breaths, total = hash_versions(reader, floor, revision)
    assert all(breath is None for breath in breaths)
    assert total is not None
    assert 0 <= total < 1 << 32
    return total


def store(*versions: tuple[bytes, tuple[int, ...]]) -> MemoryEngine:
    engine = MemoryEngine()
    for key, revisions in versions:
        store_versions(engine, key, *revisions)
    return engine


def compacted(engine: MemoryEngine, floor: int) -> MemoryEngine:
    """The same store with what lies below the floor removed."""
    copy = engine.clone()
    compactor = Compactor(copy, dict.fromkeys(EVERY_TABLET, floor))
    compactor.compact(floor, None)
    while compactor.turn():
        pass
    return copy


def test_version_that_nobody_can_see_is_not_hashed() -> None:
    """The worked example of the module: a at 2 and 3, deleted at 4; floor 3, up to 4."""
    whole = store((b"a", (2, 3, -4)))
    assert hashed(whole, 3, 4) == hashed(store((b"a", (3, -4))), 3, 4)
    assert hashed(whole, 2, 4) != hashed(store((b"a", (3, -4))), 2, 4)


def test_tombstone_counts_above_the_floor_and_not_at_it() -> None:
    deleted = store((b"a", (2, -4)))
    assert hashed(deleted, 4, 9) == hashed(MemoryEngine(), 4, 9) == 0
    assert hashed(deleted, 3, 9) != hashed(store((b"a", (2,))), 3, 9)
    assert hashed(deleted, 3, 3) == hashed(store((b"a", (2,))), 3, 3)


def test_tombstones_of_different_keys_or_revisions_differ() -> None:
    assert len({hashed(store((k, (-r,))), 1, 9) for k in (b"a", b"b") for r in (4, 5)}) == 4


def test_what_was_written_later_is_not_hashed() -> None:
    early = store((b"a", (2, 5)), (b"c", (3,)))
    late = store((b"a", (2, 5, 8)), (b"b", (7,)), (b"c", (3, -9)))
    assert hashed(early, -1, 6) == hashed(late, -1, 6)
    assert hashed(early, -1, 9) != hashed(late, -1, 9)


def test_parts_of_several_shards_add_up() -> None:
    left, right = (b"a", (2, 4)), (b"m", (3, -5))
    whole = hashed(store(left, right), -1, 9)
    assert whole == (hashed(store(left), -1, 9) + hashed(store(right), -1, 9)) % (1 << 32)


@pytest.mark.parametrize("at", range(len(key_value(b"a", 2, 2, 1, b"2", 0))))
def test_one_changed_byte_changes_the_number(at: int) -> None:
    engine = store((b"a", (2, 4)), (b"b", (3,)))
    before = hashed(engine, -1, 4)
    stored = keycodec.history(b"a", 2)
    value = bytearray(engine.get(stored) or b"")
    value[keycodec.ROW_HEADER_BYTES + at] ^= 1
    engine.write(Batch().put(stored, bytes(value)), sync=True)
    assert hashed(engine, -1, 4) != before


def test_revision_of_a_version_is_part_of_the_number() -> None:
    engine = store((b"a", (2,)))
    moved = row(b"a", 2)._replace(mod=3)
    other = MemoryEngine()
    other.write(Batch().put(keycodec.newest(b"a"), keycodec.pack_row(moved)), sync=True)
    assert hashed(engine, -1, 9) != hashed(other, -1, 9)


def test_only_versions_are_hashed() -> None:
    """No fence, lease, log row or cell: they differ between replays of one history."""
    engine = store((b"a", (2,)))
    before = hashed(engine, -1, 9)
    batch = Batch().put(keycodec.cell("x"), b"1").put(keycodec.fence(1), b"2")
    batch.put(keycodec.lease(1), b"3").put(keycodec.log(1, 2), b"4")
    engine.write(batch.put(keycodec.attachment(1, b"a"), b""), sync=True)
    assert hashed(engine, -1, 9) == before


# Keys on both sides of tablet borders, and those that an escape could disorder.
KEYS = st.sampled_from([b"/a/x", b"/a/x\x00", b"/a/x\x00\xff", b"/a/x\x01", b"/b/y", b"z"])
STEPS = st.lists(st.tuples(KEYS, st.sampled_from(["put", "put", "delete", "txn"])), max_size=25)


def twice(key: bytes, number: int) -> list[rpc_pb2.RequestOp]:
    """What changes a key twice in one revision, in the end by a put or by a deletion."""
    last = op_put(key, b"%d" % number) if number % 2 else op_delete(key)
    return [nested(op_put(key, b"first")), nested(last)]


def replay(steps: list[tuple[bytes, str]], stand: Stand | None = None, first: int = 0) -> Stand:
    """On a new store, or on one that has the steps before number `first`."""
    stand = stand or Stand()
    for number, (key, kind) in enumerate(steps, first):
        if kind == "delete":
            stand.write(delete_call(key))
        elif kind == "txn" and key.startswith(b"/a/"):
            stand.write(txn_call(rpc_pb2.TxnRequest(success=twice(key, number))))
        else:
            stand.write(put_call(key, b"%d" % number))
    return stand


@given(STEPS)
def test_number_is_the_same_before_and_after_removal_for_every_floor_and_revision(
    steps: list[tuple[bytes, str]],
) -> None:
    stand = replay(steps)
    last = stand.owned.known
    for floor in range(1, last + 1):
        after = compacted(stand.engine, floor)
        for revision in range(floor, last + 1):
            assert hashed(after, floor, revision) == hashed(stand.engine, floor, revision)


@given(STEPS, st.integers(0, 25))
def test_number_does_not_tell_how_deletions_are_stored(
    steps: list[tuple[bytes, str]], begun: int
) -> None:
    """A store that a program from before wrote, up to some step."""
    stand, other = replay(steps), replay(steps[:begun])
    with_tombstones(other.engine)
    replay(steps[begun:], other, begun)
    last = stand.owned.known
    for floor in range(-1, last + 1):
        left, right = compacted(stand.engine, floor), compacted(other.engine, floor)
        for revision in range(max(floor, 0), last + 1):
            same = hashed(other.engine, floor, revision)
            assert same == hashed(stand.engine, floor, revision)
            assert same == hashed(left, floor, revision) == hashed(right, floor, revision)


def test_key_deleted_again_and_again_counts_each_time() -> None:
    """By hand: versions 2 and 6, ended at 4 and 7."""
    engine = MemoryEngine()
    batch = Batch().put(keycodec.history(b"a", 2), keycodec.pack_row(row(b"a", 2), 4))
    engine.write(
        batch.put(keycodec.history(b"a", 6), keycodec.pack_row(row(b"a", 6), 7)), sync=True
    )
    stones = store((b"a", (2, -4, 6, -7)))
    assert (tombstones(engine), tombstones(stones)) == (0, 2)
    for floor in range(9):
        numbers = [hashed(engine, floor, revision) for revision in range(floor, 9)]
        assert numbers == [hashed(stones, floor, revision) for revision in range(floor, 9)]
    assert len({hashed(engine, 1, revision) for revision in range(2, 8)}) == 4, "at 2, 4, 6 and 7"


@given(STEPS)
def test_number_up_to_a_revision_is_that_of_the_store_as_it_was_then(
    steps: list[tuple[bytes, str]],
) -> None:
    half = replay(steps[: len(steps) // 2])
    whole = replay(steps)
    last = half.owned.known
    assert hashed(whole.engine, -1, last) == hashed(half.engine, -1, last)


def test_large_store_is_hashed_in_slices() -> None:
    engine = store(*((b"k%05d" % number, (number + 2,)) for number in range(2_000)))
    assert len(list(hash_versions(engine, -1, 3_000))) > 3


def test_tablets_of_the_harness_are_all_compacted() -> None:
    assert {tablet.id for tablet in layout(PREFIXES).tablets} == set(EVERY_TABLET)
