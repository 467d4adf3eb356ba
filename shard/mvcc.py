"""Which version of a key a revision sees: reads over the newest and the history space.

What it is: visibility as pure functions over a Reader, in slices. What it is not: watermarks (the
caller waits for them first) or answers.

Words: *fresh*: nothing in the store was written after the revision that is read, so the newest
rows alone are the answer. Otherwise the two spaces are merged key by key.

Invariants:
- inv05: the result is every key's version with the highest revision <= R, unless that is a
  tombstone, whatever was written later;
- rows come in strictly ascending key order; a slice holds at most SCAN_SLICE_ROWS stored rows'
  worth of work, so that a long list never holds the loop.

Worked example (rows of key a: 2 put, 5 delete, 9 put; newest holds 9, history holds 5 and 2):

    R       2..4    5..8     9..
    at(a)   row 2   None     row 9

Tested in tests/unit/shard/test_mvcc.py, tests/property/test_mvcc.py.
"""

from __future__ import annotations

from collections.abc import Iterator

from kubebraid.base.keyspace import KeyRange
from kubebraid.base.limits import SCAN_SLICE_ROWS
from kubebraid.base.record import Row
from kubebraid.base.revision import Revision

from . import keycodec
from .storage.engine import Reader


def newest(reader: Reader, key: bytes) -> Row | None:
    """The live version of `key`."""
    value = reader.get(keycodec.newest(key))
    return None if value is None else keycodec.unpack_row(value)


def at(reader: Reader, key: bytes, revision: Revision) -> Row | None:
    """The version of `key` that `revision` sees."""
    row = newest(reader, key)
    if row is not None and row.mod <= revision:
        return row
    return _from_history(reader, key, revision)


def before(reader: Reader, key: bytes, revision: Revision) -> Row | None:
    """The version that a change of `key` at `revision` replaced."""
    return _from_history(reader, key, revision - 1)


def version(reader: Reader, key: bytes, revision: Revision) -> Row | None:
    """The version that was written exactly at `revision`, if it is still kept."""
    row = at(reader, key, revision)
    return row if row is not None and row.mod == revision else None


def _from_history(reader: Reader, key: bytes, revision: Revision) -> Row | None:
    prefix = keycodec.history_prefix(key)
    start = keycodec.history(key, revision)
    found = reader.scan(start, prefix + b"\xff" * 9, 1)
    if not found or not found[0][1]:
        return None
    row = keycodec.unpack_row(found[0][1])
    assert row.mod <= revision, (row.mod, revision)
    return row


def pages(
    reader: Reader, start: bytes, end: bytes, size: int = SCAN_SLICE_ROWS
) -> Iterator[list[tuple[bytes, bytes]]]:
    """The stored pairs of [start, end) in pages; the last page may be short or absent."""
    while start < end:
        page = reader.scan(start, end, size)
        if page:
            yield page
        if len(page) < size:
            return
        start = page[-1][0] + b"\x00"


def rows_newest(reader: Reader, span: KeyRange) -> Iterator[list[Row]]:
    """Live rows in key order, a slice at a time."""
    for page in pages(reader, *keycodec.newest_bounds(span)):
        yield [keycodec.unpack_row(value) for _, value in page]


def rows_at(reader: Reader, span: KeyRange, revision: Revision) -> Iterator[list[Row]]:
    """The rows that `revision` sees in key order, a slice at a time (a slice may be empty)."""
    past = _Peekable(_visible_history(reader, span, revision))
    for page in pages(reader, *keycodec.newest_bounds(span)):
        rows: list[Row] = []
        for stored, value in page:
            key = stored[1:]
            while past.key is not None and past.key < key:
                yield from _breathe(past, rows)
            old = past.take(key)
            if keycodec.row_revision(value) <= revision:
                rows.append(keycodec.unpack_row(value))
            elif old is not None:
                rows.append(old)
        yield rows
    tail: list[Row] = []
    while past.key is not None:
        yield from _breathe(past, tail)
    yield tail


def _breathe(past: _Peekable, rows: list[Row]) -> Iterator[list[Row]]:
    """Move one key of the history into `rows`; hand a full slice out."""
    old = past.take(past.key)
    if old is not None:
        rows.append(old)
    if len(rows) >= SCAN_SLICE_ROWS:
        yield rows[:]
        rows.clear()


class _Peekable:
    """A look-ahead of one key over the history."""

    def __init__(self, source: Iterator[tuple[bytes, Row | None]]) -> None:
        self._source = source
        self.key: bytes | None = None
        self._row: Row | None = None
        self._advance()

    def _advance(self) -> None:
        self.key, self._row = next(self._source, (None, None))

    def take(self, key: bytes | None) -> Row | None:
        """The row of `key` if the look-ahead stands there; then step on."""
        if self.key is None or self.key != key:
            return None
        row = self._row
        self._advance()
        return row


def _visible_history(
    reader: Reader, span: KeyRange, revision: Revision
) -> Iterator[tuple[bytes, Row | None]]:
    """(key, the version that `revision` sees) for each key that the history knows."""
    current: bytes | None = None
    decided = False
    for page in pages(reader, *keycodec.history_bounds(span)):
        for stored, value in page:
            key, written = keycodec.split_history(stored)
            if key != current:
                if current is not None and not decided:
                    yield current, None
                current, decided = key, False
            if not decided and written <= revision:
                decided = True
                yield key, keycodec.unpack_row(value) if value else None
    if current is not None and not decided:
        yield current, None
