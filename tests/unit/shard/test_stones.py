"""A store from before versions told their own end, written down by hand: it means what it meant."""

from __future__ import annotations

import struct
from typing import Final

import pytest

from kubebraid.base.keyspace import EVERYTHING
from kubebraid.base.ports import LogCall
from kubebraid.proto.kvwire import key_value
from kubebraid.shard import mvcc
from kubebraid.shard.compaction import Compactor
from kubebraid.shard.history import read_log
from kubebraid.shard.storage.engine import Batch
from kubebraid.shard.storage.memory import MemoryEngine
from tests.unit.shard.fakes import A, B, Stand, delete_call, put_call
from tests.unit.shard.stones import tombstones, with_tombstones
from tests.unit.shard.test_checksum import hashed
from tests.unit.shard.test_compaction import state

KEY: Final = b"/a/x"
LAST: Final = 6


def newest(mod: int) -> bytes:
    raw = key_value(KEY, mod, mod, 1, b"%d" % mod, 0)
    return struct.pack(">QQQq", mod, mod, 1, 0) + raw


def older(revision: int) -> bytes:
    return b"h" + KEY + b"\x00\x01" + struct.pack(">QI", (1 << 64) - 1 - revision, 0)


def change(revision: int, deleted: int, before: int) -> tuple[bytes, bytes]:
    stored = b"l" + struct.pack(">IQ", A, revision)
    return stored, struct.pack(">BIQI", deleted, 0, before, len(KEY)) + KEY


# Put at 2, deleted at 3, put at 4, deleted at 5, put at 6.
ROWS: Final = {
    older(2): newest(2),
    older(3): b"",
    older(4): newest(4),
    older(5): b"",
    b"n" + KEY: newest(6),
    **dict(change(*told) for told in ((2, 0, 0), (3, 1, 2), (4, 0, 0), (5, 1, 4), (6, 0, 0))),
}


def by_hand() -> MemoryEngine:
    batch = Batch()
    for stored, value in ROWS.items():
        batch.put(stored, value)
    engine = MemoryEngine()
    engine.write(batch, sync=True)
    return engine


def now() -> MemoryEngine:
    """The same history, as it is written today."""
    stand = Stand()
    for call in (put_call(KEY, b"2"), delete_call(KEY), put_call(KEY, b"4"), delete_call(KEY)):
        stand.write(call)
    stand.write(put_call(KEY, b"6"))
    assert stand.owned.known == LAST
    assert isinstance(stand.engine, MemoryEngine)
    return stand.engine


def rows(engine: MemoryEngine) -> dict[bytes, bytes]:
    return {k: v for k, v in engine.scan(b"\x00", b"\xff", 1_000) if k[:1] in b"hln"}


def compacted(engine: MemoryEngine, floor: int) -> MemoryEngine:
    compactor = Compactor(engine, {A: LAST, B: LAST})
    compactor.compact(floor, None)
    while compactor.turn():
        pass
    return engine


def test_what_the_other_tests_take_for_a_store_from_before_is_one() -> None:
    engine = now()
    assert tombstones(engine) == 0
    assert len(rows(engine)) == len(ROWS) - 2, "a row less for each of the deletions"
    assert with_tombstones(engine) == 2
    assert rows(engine) == ROWS


@pytest.mark.parametrize("floor", range(-1, LAST + 1))
def test_store_from_before_is_the_same_history(floor: int) -> None:
    then, today = compacted(by_hand(), floor), compacted(now(), floor)
    expected = [{}, {KEY: 2}, {}, {KEY: 4}, {}, {KEY: 6}]
    for revision in range(max(floor, 1), LAST + 1):
        assert state(then, revision) == state(today, revision) == expected[revision - 1]
        found = mvcc.at(then, KEY, revision)
        assert found == mvcc.at(today, KEY, revision)
        assert (None if found is None else found.mod) == expected[revision - 1].get(KEY)
        assert hashed(then, floor, revision) == hashed(today, floor, revision)
    call = LogCall((A, B), EVERYTHING, max(floor, 0), LAST, 100)
    assert read_log(then, call, floor) == read_log(today, call, floor)


def test_compaction_leaves_nothing_of_a_store_from_before() -> None:
    engine = compacted(by_hand(), LAST)
    assert rows(engine).keys() == {b"n" + KEY, change(LAST, 0, 0)[0]}
    assert rows(engine) == rows(compacted(now(), LAST))
