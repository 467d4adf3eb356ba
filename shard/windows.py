"""A shard's own rows in a row space that it shares with other shards.

What it is: an Engine over one that holds the rows of all shards, which scans what the map gives to
this one. What it is not: rows of migrations in a store of one's own (`foreign.py`), or what keeps
two shards from writing one tablet (its fence, `storage/tikv.py`).

Words: a *window* is a range of stored rows that are all ours, or of which some keys are: buckets of
a range that other buckets of are another shard's.

Invariants:
- inv05, inv17: a scan shows the rows of owned keys and tablets alone, and as many of them as were
  asked for: a short page still means the end;
- of what is others' no more is read than a page for each window, but between the buckets of one
  range;
- a snapshot shows what the map gave to this shard when it was taken;
- what no other shard has (leases, intents, cells) is shown as it is; so is a single row, whose
  owner the asker has found.

Worked example: [a, b) and [c, d) are ours, [b, c) is shard-1's: a scan of all n rows reads a page
from a on, shows what of it is not in [b, c), and goes on at c where the page has ended in the gap.

Tested in tests/unit/shard/test_windows.py.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Sequence
from itertools import islice
from typing import Final, NamedTuple, TypeVar

from kubebraid.base.keyspace import KeyRange
from kubebraid.base.revision import Revision, TabletId
from kubebraid.base.tabletmap import TabletMap

from . import keycodec
from .foreign import Shows, count_shown, keys_shown, rows_shown
from .storage.engine import Batch, Engine, Reader, Snapshot

_KEY: Final[dict[bytes, Callable[[bytes], bytes]]] = {
    b"n": lambda stored: stored[1:],
    b"h": lambda stored: keycodec.split_history(stored)[0],
    b"k": keycodec.attached_key,
}
PAGE_ROWS: Final = 1_024  # so many rows of others may be read for each window
T = TypeVar("T")
_LAST: Final = b"\xff" * 16  # behind every stored row


class Window(NamedTuple):
    """Stored rows of [low, high); shows: which of them are ours, None: all."""

    low: bytes
    high: bytes
    shows: Shows | None


class Windows:
    """Of one map and one shard: every range of stored rows that may be read, in order."""

    def __init__(self, tablets: TabletMap, shard: str) -> None:
        self._tablets = tablets
        self._shard = shard
        kinds = {
            b"f": self._tablets_rows(keycodec.fence),
            b"h": self._keys_rows(b"h", keycodec.history_bounds),
            b"k": [Window(*keycodec.ATTACHMENTS, self._shown(b"k"))],
            b"l": self._tablets_rows(lambda tablet: keycodec.log(tablet, 0)),
            b"n": self._keys_rows(b"n", keycodec.newest_bounds),
            b"r": [],  # of the space, and nobody's
        }
        self._all: list[Window] = []
        low = b""
        for kind, windows in kinds.items():
            self._all += [Window(low, kind, None), *windows]
            low = bytes((kind[0] + 1,))
        self._all.append(Window(low, _LAST, None))
        self._lows = [each.low for each in self._all]
        assert self._lows == sorted(self._lows), "in order"

    def _tablets_rows(self, first: Callable[[TabletId], bytes]) -> list[Window]:
        ours = sorted(t.id for t in self._tablets.tablets if t.shard == self._shard)
        return [Window(first(tablet), first(tablet + 1), None) for tablet in ours]

    def _keys_rows(
        self, kind: bytes, bounds: Callable[[KeyRange], tuple[bytes, bytes]]
    ) -> list[Window]:
        """Ranges of keys of which some are ours; those that meet and are wholly so are one."""
        made: list[Window] = []
        for span, whole in self._spans():
            low, high = bounds(span)
            shows = None if whole else self._shown(kind)
            if made and shows is None and made[-1].shows is None and made[-1].high == low:
                low = made.pop().low
            made.append(Window(low, high, shows))
        return made

    def _spans(self) -> list[tuple[KeyRange, bool]]:
        """Ranges of which keys are ours, and whether all of them are."""
        found: dict[KeyRange, list[bool]] = {}
        for tablet in self._tablets.tablets:
            found.setdefault(tablet.span, []).append(tablet.shard == self._shard)
        ours = [(span, all(buckets)) for span, buckets in found.items() if any(buckets)]
        return sorted(ours, key=lambda each: each[0].start)

    def _shown(self, kind: bytes) -> Shows:
        key_in = _KEY[kind]
        return lambda stored: self._owns(key_in(stored))

    def _owns(self, key: bytes) -> bool:
        return self._tablets.tablet_of(key).shard == self._shard

    def cut(self, start: bytes, end: bytes) -> list[Window]:
        """What of [start, end) is read, in order."""
        assert end <= _LAST, "within the stored rows"
        cuts = []
        first = bisect_right(self._lows, start) - 1
        for low, high, shows in islice(self._all, first, None):
            if low >= end:
                break
            if start < high:
                cuts.append(Window(max(start, low), min(end, high), shows))
        return cuts


class _Windowed:
    """What an engine and a snapshot have in common."""

    def __init__(self, reader: Reader, windows: Callable[[], Windows]) -> None:
        self._reader = reader
        self._windows = windows
        self.get = reader.get

    def scan(
        self, start: bytes, end: bytes, limit: int, *, reverse: bool = False
    ) -> list[tuple[bytes, bytes]]:
        cuts = self._windows().cut(start, end)
        if len(cuts) == 1 or reverse:
            found: list[tuple[bytes, bytes]] = []
            for low, high, shows in reversed(cuts):
                left = limit - len(found)
                found += rows_shown(self._reader, (low, high), left, shows, reverse) if left else []
            return found
        return self._paged(cuts, limit, self._reader.scan, _stored)

    def keys(self, start: bytes, end: bytes, limit: int) -> list[bytes]:
        cuts = self._windows().cut(start, end)
        if len(cuts) == 1:
            low, high, shows = cuts[0]
            return keys_shown(self._reader, (low, high), limit, shows)
        return self._paged(cuts, limit, self._reader.keys, _itself)

    def count(self, start: bytes, end: bytes, limit: int) -> int:
        cuts = self._windows().cut(start, end)
        if len(cuts) == 1:
            low, high, shows = cuts[0]
            return count_shown(self._reader, (low, high), limit, shows)
        return len(self.keys(start, end, limit))

    def _paged(
        self,
        cuts: Sequence[Window],
        limit: int,
        read: Callable[[bytes, bytes, int], list[T]],
        key_of: Callable[[T], bytes],
    ) -> list[T]:
        """What several windows show. A page is read over the gaps behind its window: where there is
        little in them, which is so of most, the next windows are read with it."""
        found: list[T] = []
        at, low = 0, cuts[0].low if cuts else b""
        while at < len(cuts) and len(found) < limit:
            low = max(low, cuts[at].low)
            wanted = min(limit - len(found), PAGE_ROWS)
            page = read(low, cuts[-1].high, wanted)
            for row in page:
                key = key_of(row)
                while key >= cuts[at].high:
                    at += 1
                _, _, shows = cuts[at]
                if key >= cuts[at].low and (shows is None or shows(key)):
                    found.append(row)
            if len(page) < wanted:
                break
            low = key_of(page[-1]) + b"\x00"
            while at < len(cuts) and cuts[at].high <= low:
                at += 1
        return found


class WindowedSnapshot(_Windowed):
    """A fixed state, and what was ours then."""

    def __init__(self, snapshot: Snapshot, windows: Windows) -> None:
        super().__init__(snapshot, lambda: windows)
        self.close = snapshot.close


class WindowedEngine(_Windowed):
    """See the contract, `engine.Engine`; all but scans and snapshots is the engine's own."""

    def __init__(self, engine: Engine, newest: Callable[[], TabletMap], shard: str) -> None:
        """`newest`: the map that this shard serves by."""
        super().__init__(engine, self._now)
        self._engine = engine
        self._newest = newest
        self._shard = shard
        self._version: Revision = -1
        self._made: Windows | None = None
        self.batches_reads = engine.batches_reads
        self.shares_rows = engine.shares_rows
        self.expect, self.catch_up = engine.expect, engine.catch_up
        self.reopen, self.tidy, self.close = engine.reopen, engine.tidy, engine.close
        self.disk_bytes, self.defragment = engine.disk_bytes, engine.defragment

    def _now(self) -> Windows:
        tablets = self._newest()
        if self._made is None or tablets.version != self._version:
            self._made, self._version = Windows(tablets, self._shard), tablets.version
        return self._made

    def write(self, batch: Batch, *, sync: bool) -> None:
        self._engine.write(batch, sync=sync)

    def refuses(self, make: Callable[[], Batch]) -> bool:
        return self._engine.refuses(make)

    def snapshot(self, start: bytes = b"", end: bytes = b"") -> WindowedSnapshot:
        return WindowedSnapshot(self._engine.snapshot(start, end), self._now())


def _stored(row: tuple[bytes, bytes]) -> bytes:
    return row[0]


def _itself(key: bytes) -> bytes:
    return key


def window(engine: Engine, newest: Callable[[], TabletMap], shard: str) -> Engine:
    """What of an engine a shard may serve."""
    return WindowedEngine(engine, newest, shard) if engine.shares_rows else engine
