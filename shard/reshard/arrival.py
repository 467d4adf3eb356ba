"""The adoption of copied tablets: what a map makes ours, in one synced batch.

What it is: fences under the map's owner epochs, and the rows of leases that came with the tablets,
for a shard that runs and for one that starts. What it is not: the copy, or who is told.

Invariants:
- M6, M12, M13: nothing of a tablet is served before its fence has this map's oepoch, at the H that
  the map names;
- inv21: a lease that lived in the tablets lives here, with its guests and its whole TTL; one that
  has copied keys is visited; a lease that lives here already is not made a visit;
- a cell counts once its migration is committed: rows of one that was aborted, and is not swept
  yet, are older than those of the move that brought the tablet behind it;
- done twice it changes nothing: the rows leave the cell in the batch that writes them.

Worked example: t moves here with lease 7 and the guests shard-0 and shard-2: e/7 says so, our visit
of it from before is no more.

Tested in tests/unit/shard/test_reshard_arrival.py.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Final

from kubebraid.base.reshard import UNDECIDED, Migration, Phase
from kubebraid.base.revision import LeaseId, TabletId
from kubebraid.base.tabletmap import Tablet, TabletMap

from .. import fencing, keycodec
from ..cells import Cell, load, pack
from ..fencing import Fence, FenceDamaged
from ..lease import LeaseRow
from ..seal import pack_lease, unpack_lease
from ..storage.engine import Batch, Reader

RowOf = Callable[[LeaseId], LeaseRow | None]
_DECIDED: Final = frozenset(Phase) - UNDECIDED - {Phase.ABORTED}


def fences_of(reader: Reader, come: Sequence[Tablet], batch: Batch) -> dict[TabletId, Fence]:
    """The fences of tablets that come, in the batch. Raises FenceDamaged, StaleEpoch, MapBehind,
    EngineError."""
    fences = {}
    for tablet in come:
        raw = reader.get(keycodec.fence(tablet.id))
        if raw is None:
            raise FenceDamaged(f"the copy of tablet {tablet.name} is not here")
        stored = fencing.unpack(raw)
        if stored.last > tablet.begin:
            raise fencing.MapBehind(tablet.name, stored.last, tablet.begin)
        fences[tablet.id] = fencing.adopt(stored, tablet.oepoch, tablet.begin)
        batch.put(keycodec.fence(tablet.id), fences[tablet.id].pack())
    return fences


def committed(cells: Iterable[Cell], migrations: Iterable[Migration]) -> list[Cell]:
    """Those whose rows came with a map. No operator turns back what is not served, so behind a
    commit the rows have left their cell, durably, before its migration is undecided again."""
    decided = {migration.id for migration in migrations if migration.phase in _DECIDED}
    return [cell for cell in cells if cell.migration in decided]


def leases_of(
    cells: Iterable[Cell], tablets: TabletMap, shard: str, known: RowOf, batch: Batch
) -> tuple[dict[LeaseId, LeaseRow], list[Cell]]:
    """Of committed cells: the rows that come with what is ours by now, in the batch, and the cells
    without them."""
    ours = {tablet.id for tablet in tablets.tablets if tablet.shard == shard}
    rows: dict[LeaseId, LeaseRow] = {}
    emptied = []
    for cell in cells:
        if not cell.ends or ours.isdisjoint(cell.tablets):
            continue
        for stored, value in cell.leases:
            row, lease = unpack_lease(value), keycodec.lease_id(stored)
            before = rows.get(lease) or known(lease)
            if row.visiting and before is not None:
                continue
            rows[lease] = row
            batch.put(stored, pack_lease(row))
        bare = cell._replace(leases=(), ends=())
        batch.put(bare.key, pack(bare))
        emptied.append(bare)
    return rows, emptied


def settle_cells(
    reader: Reader,
    tablets: TabletMap,
    migrations: Iterable[Migration],
    shard: str,
    batch: Batch,
) -> None:
    """For a start: what became ours while nobody ran. Raises FenceDamaged, EngineError."""

    def known(lease: LeaseId) -> LeaseRow | None:
        stored = reader.get(keycodec.lease(lease))
        return None if stored is None else unpack_lease(stored)

    cells = committed(load(reader).values(), migrations)
    leases_of(cells, tablets, shard, known, batch)
