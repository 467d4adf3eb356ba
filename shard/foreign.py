"""Rows of keys that are not ours, hidden from whoever reads: while a copy arrives, and behind one.

What it is: a Reader over an engine or a snapshot that leaves out what the map gives to others. What
it is not: the cells that say where such rows may be (`cells.py`).

Invariants:
- inv05, inv17: a scan shows the rows of owned keys alone, whatever a copy has brought or left, and
  as many of them as were asked for: a short page still means the end;
- where no cell names the range nothing is looked at: without a migration a read costs one test.

Worked example: bucket 1 of /a/ arrives while bucket 0 is ours: a list of /a/ skips the arriving
keys, and shows them from the map on that gives us bucket 1.

Tested in tests/unit/shard/test_foreign.py.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, TypeAlias

from kubebraid.base.revision import TabletId

from . import keycodec
from .cells import BOUNDS, Area, Cell
from .storage.engine import Reader, Snapshot

Shows: TypeAlias = Callable[[bytes], bool]
COUNTED: Final = 1_024  # keys at a time, where each is looked at


class Foreign:
    """Where rows may be that are not ours."""

    def __init__(
        self,
        owns_key: Callable[[bytes], bool],
        owns_tablet: Callable[[TabletId], bool],
        owns_area: Callable[[Area], bool],
    ) -> None:
        self._owns_key = owns_key
        self._owns_tablet = owns_tablet
        self._owns_area = owns_area
        self.cells: dict[str, Cell] = {}
        self._bounds: list[tuple[bytes, bytes]] = []  # of stored rows that have to be looked at

    def add(self, *cells: Cell) -> None:
        """They are durable; or one of them says more than before."""
        self.cells |= {cell.migration: cell for cell in cells}
        self.refresh()

    def remove(self, migration: str) -> None:
        """Its rows are gone, or ours for good."""
        self.cells.pop(migration, None)
        self.refresh()

    def refresh(self) -> None:
        """Another map: what is wholly ours need not be looked at."""
        areas = [area for cell in self.cells.values() for area in cell.areas]
        self._bounds = [
            bounds(area.span)
            for area in areas
            if not self._owns_area(area)
            for bounds in (keycodec.newest_bounds, keycodec.history_bounds)
        ]

    def shows(self, start: bytes, end: bytes) -> Shows | None:
        """Which stored keys of [start, end) are ours; None: all."""
        if not self.cells or not self._meets(start, end):
            return None
        return self._shown

    def _meets(self, start: bytes, end: bytes) -> bool:
        kind = start[:1]
        if kind not in (b"n", b"h") or end > kind + b"\xff":
            return True  # of attachments, or of everything
        return any(low < end and start < high for low, high in self._bounds)

    def _shown(self, stored: bytes) -> bool:
        match stored[:1]:
            case b"n":
                return self._owns_key(stored[1:])
            case b"h":
                return self._owns_key(keycodec.split_history(stored)[0])
            case b"k":
                return self._owns_key(keycodec.attached_key(stored))
            case b"l" | b"f":
                return self._owns_tablet(int.from_bytes(stored[1:5], "big"))
            case _:
                return not BOUNDS[0] <= stored < BOUNDS[1]


class Visible:
    """Implements Reader, and Snapshot where it was made of one: what is ours."""

    def __init__(self, reader: Reader, foreign: Foreign) -> None:
        self._reader = reader
        self._foreign = foreign
        self.get = reader.get  # who asks for a key has found its owner

    def scan(
        self, start: bytes, end: bytes, limit: int, *, reverse: bool = False
    ) -> list[tuple[bytes, bytes]]:
        shows = self._foreign.shows(start, end)
        return rows_shown(self._reader, (start, end), limit, shows, reverse)

    def keys(self, start: bytes, end: bytes, limit: int) -> list[bytes]:
        return keys_shown(self._reader, (start, end), limit, self._foreign.shows(start, end))

    def count(self, start: bytes, end: bytes, limit: int) -> int:
        return count_shown(self._reader, (start, end), limit, self._foreign.shows(start, end))


class VisibleSnapshot(Visible):
    """The same of a fixed state."""

    def __init__(self, snapshot: Snapshot, foreign: Foreign) -> None:
        super().__init__(snapshot, foreign)
        self.close = snapshot.close


def rows_shown(
    reader: Reader, bounds: tuple[bytes, bytes], limit: int, shows: Shows | None, reverse: bool
) -> list[tuple[bytes, bytes]]:
    """As `scan`, of those rows that `shows` takes; None: of all."""
    start, end = bounds
    if shows is None:
        return reader.scan(start, end, limit, reverse=reverse)
    found: list[tuple[bytes, bytes]] = []
    while start < end:
        page = reader.scan(start, end, limit, reverse=reverse)
        found += [pair for pair in page if shows(pair[0])]
        if len(page) < limit or len(found) >= limit:
            break
        if reverse:
            end = page[-1][0]
        else:
            start = page[-1][0] + b"\x00"
    return found[:limit]


def keys_shown(
    reader: Reader, bounds: tuple[bytes, bytes], limit: int, shows: Shows | None
) -> list[bytes]:
    """As `keys`, of the same."""
    start, end = bounds
    if shows is None:
        return reader.keys(start, end, limit)
    found: list[bytes] = []
    while start < end:
        page = reader.keys(start, end, limit)
        found += [key for key in page if shows(key)]
        if len(page) < limit or len(found) >= limit:
            break
        start = page[-1] + b"\x00"
    return found[:limit]


def count_shown(
    reader: Reader, bounds: tuple[bytes, bytes], limit: int, shows: Shows | None
) -> int:
    """As `count`, of the same."""
    start, end = bounds
    if shows is None:
        return reader.count(start, end, limit)
    total = 0
    while total < limit:
        wanted = min(limit - total, COUNTED)
        page = keys_shown(reader, (start, end), wanted, shows)
        total += len(page)
        if len(page) < wanted:
            break
        start = page[-1] + b"\x00"
    return total
