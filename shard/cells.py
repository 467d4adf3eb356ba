"""The cell of a migration in a store: which rows may be there that the shard does not own.

What it is: the durable note that comes before the first row of a copy, on both ends, and goes after
the last row is cleaned away. What it is not: those rows, or what they mean to readers
(`foreign.py`).

Words: *foreign* rows belong to keys that the map gives to another shard: rows that arrive, rows
that were left behind.

Invariants:
- a store with foreign rows has a cell that names their ranges: it is durable before the first of
  them, for what would be read without it is another shard's;
- a cell whose rows have become ours, or whose rows are gone, says nothing wrong: the map decides.

Worked example: `pods` is moved from shard-0 to shard-1: both have a cell of that range; shard-1's
goes when it owns the range, shard-0's when its rows are cleaned.

Tested in tests/unit/shard/test_reshard_cells.py.
"""

from __future__ import annotations

import json
import zlib
from typing import Any, Final, NamedTuple, TypeAlias

from kubebraid.base.keyspace import KeyRange
from kubebraid.base.revision import Revision, TabletId
from kubebraid.base.tabletmap import Tablet

from . import keycodec
from .fencing import FenceDamaged
from .storage.engine import Reader

PREFIX: Final = "reshard/"
BOUNDS: Final = (keycodec.cell(PREFIX), keycodec.cell(PREFIX[:-1] + "0"))
_PAGE: Final = 1_000
Stored: TypeAlias = dict[str, Any]


class Area(NamedTuple):
    """Keys of a range, or of one bucket of it."""

    span: KeyRange
    bucket: int = 0
    buckets: int = 1


class Cell(NamedTuple):
    """What a migration may have left in this store. tablets: whose log rows and fences;
    areas: whose keys; leases: rows to be written when the tablets are taken; ends: H of each source
    tablet, once everything up to it is here (empty before)."""

    migration: str
    tablets: tuple[TabletId, ...]
    areas: tuple[Area, ...]
    leases: tuple[tuple[bytes, bytes], ...] = ()
    ends: tuple[tuple[TabletId, Revision], ...] = ()

    @property
    def key(self) -> bytes:
        return keycodec.cell(PREFIX + self.migration)


def area(tablet: Tablet) -> Area:
    return Area(tablet.span, tablet.bucket, tablet.buckets)


def pack(cell: Cell) -> bytes:
    """The cell's value: a CRC and JSON."""
    body = json.dumps(
        {
            "tablets": list(cell.tablets),
            "areas": [
                [span.start.hex(), None if span.end is None else span.end.hex(), bucket, buckets]
                for span, bucket, buckets in cell.areas
            ],
            "leases": [[key.hex(), value.hex()] for key, value in cell.leases],
            "ends": [list(end) for end in cell.ends],
        },
        separators=(",", ":"),
    ).encode()
    return b"%08x" % zlib.crc32(body) + body


def unpack(stored: bytes, value: bytes) -> Cell:
    """The inverse. Raises FenceDamaged: without it rows of others would be served."""
    name = stored[len(keycodec.cell(PREFIX)) :].decode(errors="replace")
    if b"%08x" % zlib.crc32(value[8:]) != value[:8]:
        raise FenceDamaged(f"the cell of migration {name} fails its checksum")
    body: Stored = json.loads(value[8:])
    areas = tuple(
        Area(
            KeyRange(bytes.fromhex(start), None if end is None else bytes.fromhex(end)),
            bucket,
            buckets,
        )
        for start, end, bucket, buckets in body["areas"]
    )
    leases = tuple((bytes.fromhex(key), bytes.fromhex(row)) for key, row in body["leases"])
    ends = tuple((tablet, end) for tablet, end in body["ends"])
    return Cell(name, tuple(body["tablets"]), areas, leases, ends)


def load(reader: Reader) -> dict[str, Cell]:
    """Every cell of the store, by migration. Raises FenceDamaged, EngineError."""
    found = reader.scan(*BOUNDS, _PAGE)
    assert len(found) < _PAGE, "a shard takes part in a few migrations"
    cells = [unpack(stored, value) for stored, value in found]
    return {cell.migration: cell for cell in cells}
