"""Which shard's a store is: a cell in it, and who may take it.

What it is: the mark of a cluster's shard, and the ids of a store that has no data directory and of
the row space that it shares with others. What it is not: the mark of the data directory, which says
whose format it is (`storage/datadir.py`), or the rule of who may share (coordinator/state.py).

Invariants:
- a store has either the shard's cell or the coordinator's of `kubebraid serve`, never both: their
  revisions count on their own;
- a store that has its id within is that of one cluster: such a one is reached by a name, from any
  machine, and two clusters may have been given the same;
- a row space has one id, however many shards ask for it first.

Worked example: `mark(engine, "shard-1", id)` on a new store; then "shard-2" is refused on it.

Tested in tests/unit/shard/test_mark.py.
"""

from __future__ import annotations

import secrets
from typing import Final

from . import keycodec
from .adoption import ADOPTED_CELL
from .storage.engine import Batch, Engine
from .storage.tikv_errors import EngineFenced

SHARD_CELL: Final = "shard"
CLUSTER_CELL: Final = "cluster"
STORE_CELL: Final = "store-id"
ID_BYTES: Final = 16
START_ROWS: Final = (
    *map(keycodec.cell, ("coordinator", SHARD_CELL, CLUSTER_CELL, STORE_CELL)),
    ADOPTED_CELL,
    keycodec.ROWS_ID,
)
"""What a start reads of a store before anything else: `Engine.expect`."""


class StartRefused(Exception):
    """The coordinators do not take this process for the shard that it says it is."""

    definite = True
    hint = "start the shard with its own name and data directory"


class ForeignCluster(StartRefused):
    """The store's name was given to two clusters."""

    hint = "give the shards of each cluster a --tikv-store of its own"


def store_id(engine: Engine) -> str:
    """Of a store without a data directory: drawn once, and kept in it. Raises EngineError."""
    engine.expect(START_ROWS)
    known = engine.get(keycodec.cell(STORE_CELL))
    if known is None:
        known = secrets.token_hex(ID_BYTES).encode()
        engine.write(Batch().put(keycodec.cell(STORE_CELL), known), sync=True)
    return known.decode()


def rows_id(engine: Engine, cluster: str) -> str:
    """Of the row space that the engine shares with those of other shards: drawn once, and kept in
    it with the cluster's id; empty where it shares none. Raises ForeignCluster, EngineError."""
    if not engine.shares_rows:
        return ""
    known = engine.get(keycodec.ROWS_ID) or _drawn(engine, cluster)
    drawn, _, owner = known.decode().partition(" ")
    if owner != cluster:
        raise ForeignCluster(f"the rows of its --tikv-store are those of another cluster, {owner}")
    return drawn


def _drawn(engine: Engine, cluster: str) -> bytes:
    """A new id of the row space, or that of whoever was first."""
    drawn = f"{secrets.token_hex(ID_BYTES)} {cluster}".encode()
    try:
        engine.write(Batch().put(keycodec.ROWS_ID, drawn), sync=True)
    except EngineFenced:
        engine.reopen()  # raises it again if it was the store that another process took
        known = engine.get(keycodec.ROWS_ID)
        if known is None:
            raise
        return known
    return drawn


def check(engine: Engine, name: str, cluster: str) -> None:
    """Whether the store may be this shard's of this cluster. Raises StartRefused, EngineError.

    A store of `kubebraid serve` has its own coordinator's cell, and revisions of its own counting.
    """
    if engine.get(keycodec.cell("coordinator")) is not None:
        raise StartRefused("the data directory is that of `kubebraid serve`")
    known = engine.get(keycodec.cell(SHARD_CELL))
    if known is not None and known.decode() != name:
        raise StartRefused(f"the store is that of {known.decode()}")
    known = engine.get(keycodec.cell(CLUSTER_CELL))
    if known is not None and known.decode() != cluster:
        raise ForeignCluster(f"the store is that of a shard of another cluster, {known.decode()}")


def mark(engine: Engine, name: str, cluster: str) -> None:
    """Say in the store that it is this shard's. Raises as `check` does."""
    check(engine, name, cluster)
    if engine.get(keycodec.cell(SHARD_CELL)) is not None:
        return
    batch = Batch().put(keycodec.cell(SHARD_CELL), name.encode())
    if engine.get(keycodec.cell(STORE_CELL)) is not None:
        batch.put(keycodec.cell(CLUSTER_CELL), cluster.encode())
    engine.write(batch, sync=True)
