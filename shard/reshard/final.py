"""The last batch of a copy: with it the store has all that serving the tablets needs.

What it is: fences of the targets at H, and the cell with the lease rows that are written with the
adoption. What it is not: the adoption: fences under the map's epochs (`arrival.py`).

Invariants:
- M13: the fences of all targets are born in this one synced batch, under the sources' owner epoch,
  which is below the one that a commit gives them. Where two shards share their rows, a tablet that
  is moved has its fence already: the source's, until the adoption takes it;
- a lease that lives in the tablets comes with its row: the source stays its guest, this shard is
  none any more; one that was joined comes as a visit.

Worked example: tablet 7 (oepoch 3) is moved with H = 90: f/7 = (3, 90, 0) here; the map says
oepoch 4, so the adoption writes (4, 90, 1).

Tested in tests/unit/shard/test_reshard_final.py.
"""

from __future__ import annotations

from collections.abc import Iterable

from kubebraid.base.reshard import CopyReply, Migration
from kubebraid.base.revision import FIRST_REVISION, LeaseId

from .. import keycodec
from ..cells import Cell, pack
from ..fencing import Fence
from ..lease import LeaseRow
from ..ownership import Ownership
from ..seal import pack_lease, unpack_lease
from ..storage.engine import Batch
from .joins import Joins


def final_batch(
    owned: Ownership,
    migration: Migration,
    cell: Cell,
    first: CopyReply,
    joins: Joins,
    leases: Iterable[LeaseId],
) -> tuple[Batch, Cell]:
    """`first`: of the sealed round; `leases`: of copied keys; the batch, to be synced, and the cell
    that is in it."""
    known, ends = owned.tablets.by_id(), dict(first.ends)
    epochs = {tablet: known[tablet].oepoch for tablet in migration.sources}
    oepoch, last = max(epochs.values()), max(ends.values())
    assert last >= FIRST_REVISION, "a tablet begins behind the first revision"
    batch = Batch()
    for target in migration.targets:
        if owned.shares_rows and target.id in migration.sources:
            continue
        # As the map will have it (coordinator/phases.py): one that is moved goes on behind its own.
        fence = Fence(epochs.get(target.id, oepoch), ends.get(target.id, last), 0)
        batch.put(keycodec.fence(target.id), fence.pack())
    # Also of leases that are visited already: should our last tablet go before these come, a shard
    # that owns nothing forgets its visits (`maps.py`).
    visited = {lease: joins.ttl_s(lease) for lease in leases}
    arriving = {
        keycodec.lease(lease): pack_lease(LeaseRow(ttl_s, visiting=True))
        for lease, ttl_s in (visited | joins.joined).items()
        if ttl_s
    }
    for stored, value in first.leases:
        row = unpack_lease(value)
        guests = {*row.guests, migration.source} - {owned.shard}
        arriving[stored] = pack_lease(row._replace(guests=tuple(sorted(guests)), visiting=False))
    whole = cell._replace(leases=tuple(sorted(arriving.items())), ends=first.ends)
    return batch.put(whole.key, pack(whole)), whole
