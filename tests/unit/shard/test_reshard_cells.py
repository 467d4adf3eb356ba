"""The note about foreign rows: as it was written, or not at all."""

from __future__ import annotations

import pytest

from kubebraid.base.keyspace import KeyRange
from kubebraid.shard import keycodec
from kubebraid.shard.cells import Area, Cell, load, pack, unpack
from kubebraid.shard.fencing import FenceDamaged
from kubebraid.shard.storage.engine import Batch
from kubebraid.shard.storage.memory import MemoryEngine

CELL = Cell(
    "m1",
    (7, 9),
    (Area(KeyRange(b"b\xff", b"c")), Area(KeyRange(b"c", None), 1, 4)),
    ((b"e\x01", b"\x00row"),),
    ((7, 90),),
)


def test_cells_come_back_by_their_migration() -> None:
    engine = MemoryEngine()
    other = Cell("m2", (1,), ())
    engine.write(Batch().put(CELL.key, pack(CELL)).put(other.key, pack(other)), sync=True)
    assert load(engine) == {"m1": CELL, "m2": other}


@pytest.mark.parametrize("at", [0, 8, -1])
def test_a_damaged_cell_stops_the_start(at: int) -> None:
    """Without it rows of others would be served."""
    value = bytearray(pack(CELL))
    value[at] ^= 1
    with pytest.raises(FenceDamaged, match="m1"):
        unpack(CELL.key, bytes(value))


def test_only_cells_of_migrations_are_loaded() -> None:
    engine = MemoryEngine()
    for name in ("reshar", "reshard", "reshard0", "adopted"):
        engine.write(Batch().put(keycodec.cell(name), b"x"), sync=True)
    assert load(engine) == {}
