"""Reads of many rows of TiKV at one timestamp, in pages that its client can take.

What it is: scans, of rows and of keys. What it is not: it knows no prefix of a store.

Words: a *page* is the answer to one call. The client refuses answers above 4 MiB, and TiKV is told
rows, not bytes: so their number follows from how large the rows of the last page were.

Invariants:
- a range is read whole up to its limit, or an error is raised: a page that is shorter than asked
  for is the range's last one;
- a page that is too long is read by its keys, row for row: the client says that it was too long
  only after it has tried for 1.6 s, so asking for half of it and again for half costs too much.

Worked example: rows of 1 KiB: pages of 64, 128, 256, 512 and then always 1 024 rows.

Tested in tests/unit/shard/test_tikv_pages.py.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from itertools import islice
from typing import Any, Final, TypeVar

from .engine import EngineCorrupt
from .tikv_errors import locked, too_long
from .tikv_seam import Client

Row = tuple[bytes, bytes]

ROWS_FIRST: Final = 64
ROWS_MAX: Final = 1_024
KEYS_MAX: Final = 512  # of keys of up to 7 000 bytes: below what the client takes
ROWS_LARGE: Final = 16  # a page of fewer has large rows
LARGE_MAX: Final = 4_096  # places that are remembered
BYTES_WANTED: Final = 1 << 20  # of a page: a quarter of what the client takes
GETS: Final = 16  # at a time
LOCKED_PAUSE_S: Final = 0.05

T = TypeVar("T")


async def patient(
    client: Client, at: int, work: Callable[[Client, int], Coroutine[Any, Any, T]]
) -> T:
    """A read of rows that a commit without an answer left locked succeeds once they are not."""
    while True:
        try:
            return await work(client, at)
        # tikv-client raises plain Exception: there is nothing narrower to catch.
        except Exception as error:
            if not locked(error):
                raise
        await asyncio.sleep(LOCKED_PAUSE_S)


class Pages:
    """Scans of one engine, with the page size that suits its rows: those that were read last, or
    where large ones were met before. A page that the client does not take costs it seconds."""

    def __init__(self) -> None:
        self._rows = ROWS_FIRST
        self._large: dict[bytes, int] = {}  # start of a page with large rows -> how many suit

    async def rows(
        self, client: Client, at: int, start: bytes, end: bytes, limit: int
    ) -> list[Row]:
        """At most `limit` rows of [start, end) at timestamp `at`, ascending."""
        found: list[Row] = []
        while start < end and len(found) < limit:
            wanted = min(self._large.get(start, self._rows), limit - len(found))
            try:
                page = await client.snapshot(at, False).scan(start, end, wanted, True, False)
            # tikv-client raises plain Exception: there is nothing narrower to catch.
            except Exception as error:
                if not too_long(error):
                    raise
                page = await _by_key(client, at, await keys(client, at, start, end, wanted))
            found += page
            if page:
                self._note(start, page)
            if len(page) < wanted:
                break
            start = page[-1][0] + b"\0"
        return found

    def _note(self, start: bytes, page: list[Row]) -> None:
        self._rows = suitable(page, self._rows)
        self._large.pop(start, None)
        if self._rows < ROWS_LARGE:
            self._large[start] = self._rows
            if len(self._large) > LARGE_MAX:
                del self._large[next(iter(self._large))]


def suitable(page: list[Row], rows: int) -> int:
    """How many rows like these make a page; slowly more, for the next ones may be larger."""
    size = sum(len(key) + len(value) for key, value in page)
    return max(1, min(BYTES_WANTED * len(page) // size, 2 * rows, ROWS_MAX))


async def keys(client: Client, at: int, start: bytes, end: bytes, limit: int) -> list[bytes]:
    """At most `limit` keys of [start, end) at timestamp `at`, ascending."""
    found: list[bytes] = []
    while start < end and len(found) < limit:
        wanted = min(KEYS_MAX, limit - len(found))
        page = await client.snapshot(at, False).scan_keys(start, end, wanted, True, False)
        found += page
        if len(page) < wanted:
            break
        start = page[-1] + b"\0"
    return found


async def _by_key(client: Client, at: int, wanted: list[bytes]) -> list[Row]:
    rows: list[Row] = []
    rest = iter(wanted)
    while some := list(islice(rest, GETS)):
        values = await asyncio.gather(*[client.snapshot(at, False).get(key) for key in some])
        for key, value in zip(some, values, strict=True):
            if value is None:
                raise EngineCorrupt(f"{key!r} is there in a scan, and not when it is read")
            rows.append((key, value))
    return rows
