"""Visibility: which version of a key a revision sees, and in slices of which size."""

from __future__ import annotations

import pytest

from kubebraid.base.keyspace import EVERYTHING, KeyRange
from kubebraid.base.limits import SCAN_FIRST_ROWS, SCAN_SLICE_BYTES, SCAN_SLICE_ROWS
from kubebraid.base.record import Row
from kubebraid.proto.kvwire import key_of
from kubebraid.shard import mvcc
from kubebraid.shard.storage.engine import Batch, Reader
from kubebraid.shard.storage.memory import MemoryEngine
from tests.unit.shard.fakes import CountingReader, store_versions


def engine_with(ended: bool = False, /, **keys: tuple[int, ...]) -> MemoryEngine:
    """`ended`: deletions are told by the versions that they ended."""
    engine = MemoryEngine()
    for key, revisions in keys.items():
        store_versions(engine, key.encode(), *revisions, ended=ended)
    return engine


FORMS = pytest.mark.parametrize("ended", [True, False], ids=["ended", "tombstones"])


def mod(found: Row | None) -> int | None:
    return None if found is None else found.mod


def at(reader: Reader, revision: int, span: KeyRange = EVERYTHING) -> dict[bytes, int]:
    rows = [row for page in mvcc.rows_at(reader, span, revision) for row in page]
    keys = [key_of(row.raw) for row in rows]
    assert keys == sorted(set(keys)), "strictly ascending"
    return {key_of(row.raw): row.mod for row in rows}


@FORMS
@pytest.mark.parametrize(
    ("revision", "expected"), [(1, None), (2, 2), (4, 2), (5, None), (8, None), (9, 9), (99, 9)]
)
def test_inv05_revision_sees_the_newest_version_at_or_below_it(
    revision: int, expected: int | None, ended: bool
) -> None:
    """The worked example of the module: put at 2, deleted at 5, put at 9."""
    engine = engine_with(ended, a=(2, -5, 9))
    assert mod(mvcc.at(engine, b"a", revision)) == expected
    assert at(engine, revision) == ({} if expected is None else {b"a": expected})


@FORMS
def test_newest_of_a_deleted_key_is_none(ended: bool) -> None:
    engine = engine_with(ended, a=(2, -5), b=(3,))
    assert mvcc.newest(engine, b"a") is None
    assert mod(mvcc.newest(engine, b"b")) == 3


@FORMS
def test_key_deleted_again_and_again_is_seen_in_between_alone(ended: bool) -> None:
    engine = engine_with(ended, a=(2, 3, -5, 6, -7, 9), b=(4,))
    seen = [mod(mvcc.at(engine, b"a", revision)) for revision in range(1, 10)]
    assert seen == [None, 2, 3, 3, None, 6, None, None, 9]
    assert [at(engine, revision).get(b"a") for revision in range(1, 10)] == seen


@FORMS
def test_change_replaced_the_version_before_it(ended: bool) -> None:
    """What a watch event carries as prev_kv."""
    engine = engine_with(ended, a=(2, 4, -5, 9))
    assert [mod(mvcc.before(engine, b"a", r)) for r in (2, 4, 5, 9)] == [None, 2, 4, None]


def test_version_is_found_at_its_own_revision_alone() -> None:
    engine = engine_with(a=(2, -5, 9))
    assert [mod(mvcc.version(engine, b"a", r)) for r in (2, 3, 5, 9, 10)] == [
        2,
        None,
        None,
        9,
        None,
    ]


@pytest.mark.parametrize("other", [b"a\x00", b"a\x00\x01", b"a\x00\xff", b"a\xff", b"aa"])
def test_history_of_a_key_that_another_begins_with_stays_apart(other: bytes) -> None:
    engine = MemoryEngine()
    store_versions(engine, b"a", 2, -6)
    store_versions(engine, other, 3, 8)
    assert at(engine, 4) == {b"a": 2, other: 3}
    assert at(engine, 7) == {other: 3}
    assert mod(mvcc.at(engine, b"a", 7)) is None
    assert mod(mvcc.at(engine, other, 7)) == 3


def test_keys_known_to_one_space_alone_are_merged_in_order() -> None:
    """a: deleted; b: newest only; c: both; d: born later; e: deleted behind the last newest."""
    engine = engine_with(a=(2, -9), b=(3,), c=(4, 9), d=(9,), e=(5, -9))
    assert at(engine, 8) == {b"a": 2, b"b": 3, b"c": 4, b"e": 5}
    assert at(engine, 9) == {b"b": 3, b"c": 9, b"d": 9}


def test_span_cuts_newest_and_history_alike() -> None:
    engine = engine_with(a=(2, -9), b=(2, -9), c=(2,), d=(2,))
    assert at(engine, 5, KeyRange(b"b", b"d")) == {b"b": 2, b"c": 2}
    assert at(engine, 5, KeyRange(b"d", None)) == {b"d": 2}


def test_newest_rows_come_in_slices_of_bounded_size() -> None:
    engine = engine_with(**{f"k{n:05}": (2,) for n in range(SCAN_SLICE_ROWS * 2 + 5)})
    sizes = [len(rows) for rows in mvcc.rows_newest(engine, EVERYTHING)]
    assert sum(sizes) == SCAN_SLICE_ROWS * 2 + 5
    assert sizes[0] == SCAN_FIRST_ROWS, "it is not known yet how large the rows are"
    assert max(sizes) == SCAN_SLICE_ROWS


def test_large_rows_come_in_small_slices() -> None:
    """Half a gigabyte at once would be a slice of 512 rows of the largest size."""
    engine = MemoryEngine()
    batch = Batch()
    for number in range(200):
        batch.put(b"n%05d" % number, bytes(64 * 1024))
    engine.write(batch, sync=True)
    sizes = [len(page) for page in mvcc.pages(engine, b"n", b"o")]
    assert sum(sizes) == 200
    assert max(sizes[1:]) * 64 * 1024 <= 2 * SCAN_SLICE_BYTES


def test_many_deleted_keys_are_read_in_slices_of_bounded_size() -> None:
    engine = engine_with(**{f"k{n:05}": (2, -9) for n in range(SCAN_SLICE_ROWS * 2 + 5)})
    sizes = [len(rows) for rows in mvcc.rows_at(engine, EVERYTHING, 5)]
    assert sum(sizes) == SCAN_SLICE_ROWS * 2 + 5
    assert max(sizes) <= SCAN_SLICE_ROWS


def scanned_per_slice(engine: MemoryEngine, revision: int) -> int:
    """The most stored rows that one step of a read goes through."""
    reader = CountingReader(engine)
    most = before = 0
    for _ in mvcc.rows_at(reader, EVERYTHING, revision):
        most, before = max(most, reader.rows - before), reader.rows
    return most


def test_many_versions_of_one_key_do_not_hold_the_loop() -> None:
    """One page of either space is a slice's worth; ten thousand versions are not."""
    engine = engine_with(a=tuple(range(2, 10 * SCAN_SLICE_ROWS)))
    assert scanned_per_slice(engine, 3) <= 2 * SCAN_SLICE_ROWS


def test_many_keys_that_the_revision_does_not_see_do_not_hold_the_loop() -> None:
    """A listing continued at an old revision passes over all that was created since."""
    engine = engine_with(**{f"k{n:05}": (8, -9) for n in range(5 * SCAN_SLICE_ROWS)})
    assert scanned_per_slice(engine, 5) <= 2 * SCAN_SLICE_ROWS


def test_pages_cover_a_range_without_gap_or_repetition() -> None:
    engine = engine_with(**{f"k{n:02}": (2,) for n in range(10)})
    found = [stored for page in mvcc.pages(engine, b"n", b"o", 3) for stored, _ in page]
    assert found == [b"nk%02d" % n for n in range(10)]
    assert list(mvcc.pages(engine, b"o", b"n", 3)) == []
