"""Keys of TiKV that are about to be read, read at once.

What it is: the values of many keys at one timestamp, in few calls, and what was found, for as long
as that timestamp is the present. What it is not: it does not choose the keys (`shard/ahead.py`).

Words: a *part* is the keys of one call. The client refuses answers above 4 MiB, and a part has a
number of keys: so this follows from how large the rows were that were found before.

Invariants:
- what is held is what a `get` at its timestamp answers, so it is used at that timestamp alone. It
  was fresh when it came (tikv_gc.py), so it stays right, however long it is held;
- a part that is too long is read key for key, as in tikv_pages.py.

Worked example: 100 gets took 180 ms, and one call for the same 100 keys 3 ms.

Tested in tests/unit/shard/test_tikv_ahead.py and tests/contract/test_engine.py.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

from kubebraid.base.limits import EXPECT_BYTES_MAX

from .tikv_errors import too_long
from .tikv_pages import GETS, suitable
from .tikv_seam import Client

KEYS_FIRST: Final = 128
PARTS: Final = 8  # at a time; each of about tikv_pages.BYTES_WANTED


class Ahead(NamedTuple):
    """Stored keys as of a timestamp, with their stored values; None: there is no such row."""

    at: int
    rows: Mapping[bytes, bytes | None]


NOTHING: Final = Ahead(-1, {})


class Gets:
    """Reads of one engine, with the number of keys a part that suits its rows."""

    def __init__(self) -> None:
        self._keys = KEYS_FIRST

    async def ahead(self, client: Client, at: int, keys: Sequence[bytes]) -> Ahead:
        """What the keys hold at a timestamp; of large rows, the first keys' EXPECT_BYTES_MAX."""
        rows: dict[bytes, bytes | None] = {}
        size, step = 0, self._keys
        for start in range(0, len(keys), step * PARTS):
            some = keys[start : start + step * PARTS]
            parts = [some[low : low + step] for low in range(0, len(some), step)]
            pages = await asyncio.gather(*[_part(client, at, part) for part in parts])
            found = [pair for page in pages for pair in page]
            rows.update(dict.fromkeys(some))
            rows.update(found)
            if found:
                self._keys = suitable(found, step)
            size += sum(len(key) + len(value) for key, value in found)
            if size >= EXPECT_BYTES_MAX:
                break
        return Ahead(at, rows)


async def _part(client: Client, at: int, part: Sequence[bytes]) -> list[tuple[bytes, bytes]]:
    """Those that are there. Each has a snapshot, which serialises its calls."""
    try:
        return await client.snapshot(at, False).batch_get(part)
    # tikv-client raises plain Exception: there is nothing narrower to catch.
    except Exception as error:
        if not too_long(error):
            raise
    found: list[tuple[bytes, bytes]] = []
    for start in range(0, len(part), GETS):
        some = part[start : start + GETS]
        values = await asyncio.gather(*[client.snapshot(at, False).get(key) for key in some])
        pairs = zip(some, values, strict=True)
        found += [(key, value) for key, value in pairs if value is not None]
    return found
