"""Which version of a key a revision sees: reads over the newest and the history space.

What it is: visibility as pure functions over a Reader, in slices. What it is not: watermarks (the
caller waits for them first) or answers.

Words: *fresh*: nothing in the store was written after the revision that is read, so the newest
rows alone are the answer. Otherwise the two spaces are merged key by key.

Invariants:
- inv05: the result is every key's version with the highest revision <= R, unless that is a
  tombstone or was ended at R or before, whatever was written later;
- rows come in strictly ascending key order; a slice holds at most SCAN_SLICE_ROWS stored rows'
  worth of work, so that a long list never holds the loop.

Worked example (rows of key a: 2 put, 5 delete, 9 put; newest holds 9, history holds 2, ended at 5,
or, in a store from before, 5 and 2):

    R       2..4    5..8     9..
    at(a)   row 2   None     row 9

Tested in tests/unit/shard/test_mvcc.py, tests/property/test_mvcc.py.
"""

from __future__ import annotations

from collections.abc import Iterator

from kubebraid.base.keyspace import KeyRange
from kubebraid.base.limits import SCAN_FIRST_ROWS, SCAN_SLICE_BYTES, SCAN_SLICE_ROWS
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
    found = reader.scan(keycodec.history(key, revision), keycodec.history_end(key), 1)
    return _seen(found[0][1], revision) if found else None


def _seen(value: bytes, revision: Revision) -> Row | None:
    """What `revision` sees of a key whose first h row at or below it has this value."""
    if not value:
        return None
    row, ended = keycodec.unpack_superseded(value)
    assert row.mod <= revision, (row.mod, revision)
    return None if 0 < ended <= revision else row


def pages(
    reader: Reader, start: bytes, end: bytes, size: int = SCAN_SLICE_ROWS, first: int = 0
) -> Iterator[list[tuple[bytes, bytes]]]:
    """The stored pairs of [start, end) in pages; the last page may be short or absent.

    Pages begin small and grow to `size` rows as long as they hold few bytes: what a page will hold
    is not known before it was read. `first`: so many pairs are wanted first, so that no page reads
    on beyond them; 0: all are.
    """
    rows = min(size, SCAN_FIRST_ROWS, first or size)
    while start < end:
        page = reader.scan(start, end, rows)
        if page:
            yield page
        if len(page) < rows:
            return
        start = page[-1][0] + b"\x00"
        weight = sum([len(key) + len(value) for key, value in page])
        first = max(first - rows, 0)
        fitting = rows * SCAN_SLICE_BYTES // max(weight, 1)
        rows = max(1, min(size, rows * 4, fitting, first or size))


def rows_newest(reader: Reader, span: KeyRange, first: int = 0) -> Iterator[list[Row]]:
    """Live rows in key order, a slice at a time."""
    for page in pages(reader, *keycodec.newest_bounds(span), first=first):
        yield [keycodec.unpack_row(value) for _, value in page]


def raws_newest(reader: Reader, span: KeyRange, first: int = 0) -> Iterator[list[bytes]]:
    """As `rows_newest`, but their serialized KeyValues alone."""
    header = keycodec.ROW_HEADER_BYTES
    for page in pages(reader, *keycodec.newest_bounds(span), first=first):
        yield [value[header:] for _, value in page]


def rows_at(reader: Reader, span: KeyRange, revision: Revision) -> Iterator[list[Row]]:
    """The rows that `revision` sees in key order, a slice at a time (a slice may be empty)."""
    past = _History(reader, span, revision)
    for page in pages(reader, *keycodec.newest_bounds(span)):
        rows: list[Row] = []
        for stored, value in page:
            key = stored[1:]
            while past.before(key):
                rows += past.take()
                if past.breathe():
                    yield rows
                    rows = []
            old = past.take() if past.key == key else []
            if keycodec.row_revision(value) <= revision:
                rows.append(keycodec.unpack_row(value))
            else:
                rows += old
        yield rows
    while past.more():
        rows = past.take()
        while past.more() and not past.breathe():
            rows += past.take()
        yield rows


class _History:
    """A look-ahead of one key over the history space, which knows when it has worked enough."""

    def __init__(self, reader: Reader, span: KeyRange, revision: Revision) -> None:
        self._reader = reader
        self._revision = revision
        self._at, self._end = keycodec.history_bounds(span)
        self._page: list[tuple[bytes, bytes]] = []
        self._next = 0
        self._whole = False  # whether the last page reached the end of the span
        self._pages = 0  # read since the last breath
        self.key: bytes | None = None
        self._row: Row | None = None
        self._advance()

    def more(self) -> bool:
        return self.key is not None

    def before(self, key: bytes) -> bool:
        """Whether the look-ahead stands on a key below `key`."""
        return self.key is not None and self.key < key

    def take(self) -> list[Row]:
        """What `revision` sees of the key in hand, if anything; then step to the next key."""
        row = self._row
        self._advance()
        return [] if row is None else [row]

    def breathe(self) -> bool:
        """Whether a slice's worth of work was done since this last answered so."""
        if not self._pages:
            return False
        self._pages = 0
        return True

    def _advance(self) -> None:
        """To the next key: its first row at or below the revision decides, the rest is skipped."""
        head = self._peek()
        if head is None:
            self.key, self._row = None, None
            return
        key, _ = keycodec.split_history(head[0])
        self.key = key
        self._skip_to(keycodec.history(key, self._revision))
        found = self._peek()
        self._row = None
        if found is not None and found[0] < keycodec.history_end(key):
            self._row = _seen(found[1], self._revision)
        self._skip_to(keycodec.history_end(key))

    def _skip_to(self, stored: bytes) -> None:
        """Forward to the first row at or behind `stored`: within the page, or by a new search, so
        that ten thousand versions of one key cost two searches."""
        page, at = self._page, self._next
        if page and page[-1][0] >= stored:
            while page[at][0] < stored:
                at += 1
            self._next = at
        elif not self._whole:
            self._page, self._next = [], 0
            self._at = max(self._at, stored)
        else:
            self._next = len(page)

    def _peek(self) -> tuple[bytes, bytes] | None:
        if self._next < len(self._page):
            return self._page[self._next]
        if self._whole or self._at >= self._end:
            return None
        size = SCAN_FIRST_ROWS
        self._page = self._reader.scan(self._at, self._end, size)
        self._next = 0
        self._whole = len(self._page) < size
        self._pages += 1
        if not self._page:
            return None
        self._at = self._page[-1][0] + b"\x00"
        return self._page[0]
