"""Which shard's a store is: a cell in it, and who may take it.

What it is: the mark of a cluster's shard. What it is not: that of the data directory, which says
whose format it is (`storage/datadir.py`).

Invariant: a store has either this cell or the coordinator's of `kubebraid serve`, never both: their
revisions count on their own.

Worked example: `mark(engine, "shard-1")` on a new store; `mark(engine, "shard-2")` on it refuses.

Tested in tests/unit/shard/test_mark.py.
"""

from __future__ import annotations

from typing import Final

from . import keycodec
from .storage.engine import Batch, Engine

SHARD_CELL: Final = "shard"


class StartRefused(Exception):
    """The coordinators do not take this process for the shard that it says it is."""

    definite = True
    hint = "start the shard with its own name and data directory"


def mark(engine: Engine, name: str) -> None:
    """Say in the store that it is this shard's. Raises StartRefused if not, EngineError.

    A store of `kubebraid serve` has its own coordinator's cell, and revisions of its own counting.
    """
    if engine.get(keycodec.cell("coordinator")) is not None:
        raise StartRefused("the data directory is that of `kubebraid serve`")
    known = engine.get(keycodec.cell(SHARD_CELL))
    if known is None:
        engine.write(Batch().put(keycodec.cell(SHARD_CELL), name.encode()), sync=True)
    elif known.decode() != name:
        raise StartRefused(f"the data directory is that of {known.decode()}")
