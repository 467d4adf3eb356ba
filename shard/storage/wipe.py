"""Removing a long range, in pages.

What it is: a deletion of rows that nobody needs, of any number. What it is not: one atomic batch:
an engine may take only so many rows in one (on TiKV 32 768), and a range that is one batch may be
longer than that.

Invariants: rows go in the order of their keys, each page in a batch of its own; a crash between two
leaves the rest, and whoever calls it does so again.

Worked example: of 1 200 rows, with pages of 512: three batches, and a look that finds nothing more.

Tested in tests/unit/shard/test_wipe.py, tests/contract/test_tikv_wipe.py.
"""

from __future__ import annotations

from collections.abc import Iterator

from .engine import Batch, Engine


def wiped(engine: Engine, start: bytes, end: bytes, rows: int, *, sync: bool) -> Iterator[None]:
    """Remove [start, end), `rows` of it before each time it yields. Raises EngineError."""
    while page := engine.keys(start, end, rows):
        after = page[-1] + b"\x00"
        engine.write(Batch().delete_range(page[0], after), sync=sync)
        start = after  # else the next look would pass all that was removed
        yield
