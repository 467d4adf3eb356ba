"""What comes before the first round of a copy, in slices.

What it is: a swept area behind its cell, for a copy of everything; the leases of rows that are here
already, for an old owner that follows. What it is not: the rounds (`copier.py`).

Invariant: the cell is durable before anything is swept or copied.

Worked example: a target that was restarted in the middle of a copy: what it had is removed first,
for rows that were deleted at the source meanwhile would stay.

Tested in tests/unit/shard/test_copier.py.
"""

from __future__ import annotations

from collections.abc import Iterator

from kubebraid.base.reshard import Brings, Migration

from .. import keycodec, mvcc
from ..cells import Cell, area, pack
from ..ownership import Ownership
from ..storage.engine import Batch, Engine
from .landing import Landing, holds
from .sweep import sweep


def cell_of(migration: Migration, shared: bool) -> Cell:
    """What the target's store says from the beginning of the copy on. Of rows that it shares with
    the source nothing arrives but the log of new tablets; that of the old ones is the source's."""
    brings = migration.brings(shared)
    tablets = {target.id for target in migration.targets}
    if not brings & Brings.LEASES:
        tablets.update(migration.sources)
    areas = tuple(map(area, migration.targets)) if brings & Brings.KEYS else ()
    return Cell(migration.id, tuple(sorted(tablets)), areas)


def swept(engine: Engine, owned: Ownership, migration: Migration) -> Iterator[None]:
    """Remove what an earlier try has left. Raises EngineError."""
    cell = cell_of(migration, owned.shares_rows)
    owned.foreign.add(cell)  # known before: a write that failed may have landed, and is swept then
    engine.write(Batch().put(cell.key, pack(cell)), sync=True)
    yield from sweep(engine, owned, cell, _nothing, keep_cell=True)


def seeded(engine: Engine, migration: Migration, landing: Landing) -> Iterator[None]:
    """Note the leases of the rows that are here. Raises EngineError."""
    for page in mvcc.pages(engine, *keycodec.ATTACHMENTS):
        for stored, _ in page:
            key = keycodec.attached_key(stored)
            if any(holds(target, key) for target in migration.targets):
                landing.leases.add(keycodec.lease_id(stored))
        yield


def _nothing() -> tuple[Cell, ...]:
    """What is this migration's is no other's."""
    return ()
