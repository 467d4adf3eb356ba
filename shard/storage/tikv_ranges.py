"""Reads of ranges of keys that lie in several parts of TiKV's key space.

What it is: scans at one timestamp over the parts of a range (tikv_space.py), which answer with the
keys and values of the engine's contract. What it is not: the pages of one part (tikv_pages.py).

Invariants:
- all parts are read at the same timestamp, so the answer is one state;
- behind its limit nothing is read.

TiKV's client has no scan from behind: such a one reads the keys of a part first.

Worked example: of the parts [g1, h) and [h, i), with a limit of 5 and 3 rows in the first, 2 rows
of the second are asked for.

Tested in tests/contract/test_engine.py.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from . import tikv_commit, tikv_pages
from .tikv_pages import Pages, Row
from .tikv_seam import Client
from .tikv_space import Part

_ALL: Final = 1 << 62


async def rows(
    client: Client, at: int, pages: Pages, parts: Sequence[Part], limit: int
) -> list[Row]:
    """The first ones."""
    found: list[Row] = []
    for prefix, low, high in parts:
        if len(found) < limit:
            wanted = limit - len(found)
            page = await pages.rows(client, at, prefix + low, prefix + high, wanted)
            found += [_row(prefix, row) for row in page]
    return found


async def last_rows(
    client: Client, at: int, pages: Pages, parts: Sequence[Part], limit: int
) -> list[Row]:
    """The last ones, the last of them first."""
    found: list[Row] = []
    for prefix, low, high in reversed(parts):
        wanted = limit - len(found)
        if wanted > 0:
            stored = await tikv_pages.keys(client, at, prefix + low, prefix + high, _ALL)
            first = stored[-wanted:][:1]
            page = await pages.rows(client, at, first[0], prefix + high, wanted) if first else []
            found += [_row(prefix, row) for row in reversed(page)]
    return found


async def keys(client: Client, at: int, parts: Sequence[Part], limit: int) -> list[bytes]:
    """The first ones."""
    found: list[bytes] = []
    for prefix, low, high in parts:
        if len(found) < limit:
            wanted = limit - len(found)
            page = await tikv_pages.keys(client, at, prefix + low, prefix + high, wanted)
            found += [key[len(prefix) :] for key in page]
    return found


def _row(prefix: bytes, row: Row) -> Row:
    key, value = row
    return key[len(prefix) :], tikv_commit.unpack(value)
