"""Removing what a migration left: rows of keys, log rows and fences that are not ours.

What it is: a generator of slices over the area of one cell. What it is not: when it runs
(`moves.py`).

Invariants:
- nothing that the map gives to this shard is removed, whatever the cell says, and nothing that
  another migration copies into the same range, or keeps there;
- of rows that shards share only those go that are nobody's: the log and the fence of a tablet that
  the map does not name (no id is ever used twice, so it will not name it again);
- the cell goes last, in the batch that finds nothing more: a crash in between repeats a part.

Worked example: `pods` was moved away: its n rows go with their attachments, then its h rows, its
log rows and its fence, then the cell.

Tested in tests/unit/shard/test_reshard_sweep.py.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import compress
from typing import TypeAlias

from kubebraid.base.limits import COPY_SWEEP_ROWS
from kubebraid.base.placement import bucket_of
from kubebraid.base.revision import TabletId

from .. import keycodec, mvcc
from ..cells import Area, Cell
from ..ownership import Ownership
from ..storage.engine import Batch, Engine
from ..storage.wipe import wiped
from ..witness import remove_fence

Spared: TypeAlias = Callable[[], Sequence[Cell]]


def sweep(
    engine: Engine, owned: Ownership, cell: Cell, spared: Spared, keep_cell: bool = False
) -> Iterator[None]:
    """Yields after each slice; `spared`: the cells of migrations that go on, as of now;
    `keep_cell`: more is to come. Raises EngineError, FenceDamaged."""
    assert not (owned.shares_rows and cell.areas), "rows of keys that shards share are not swept"
    for area in cell.areas:
        yield from _keys(engine, owned, area, spared)
        yield from _history(engine, owned, area, spared)
    for tablet in cell.tablets:
        yield from _log(engine, owned, tablet, spared)
    if keep_cell:
        return
    engine.write(Batch().delete(cell.key), sync=True)
    owned.foreign.remove(cell.migration)
    yield


def _goes(owned: Ownership, area: Area, spared: Spared) -> Callable[[bytes], bool]:
    """Which keys are to be removed, for one slice: maps and cells change between two."""
    others = [other for cell in spared() for other in cell.areas]

    def goes(key: bytes) -> bool:
        mine = _holds(area, key) and not owned.owns(key)
        return mine and not any(_holds(other, key) for other in others)

    return goes


def _holds(area: Area, key: bytes) -> bool:
    span, bucket, buckets = area
    return span.contains(key) and (buckets == 1 or bucket_of(key, buckets) == bucket)


def _without(page: Sequence[bytes], goes: Iterable[bool]) -> Batch:
    """What deletes those rows that go, of a page. Where all go they go as a range first: a
    scan passes a range at once, where it would else read all that the rows deleted one by one were.
    One by one as well, for the store compacts early where it finds many such."""
    batch = Batch()
    gone = list(compress(page, goes))
    if len(gone) == len(page):
        batch.delete_range(page[0], page[-1] + b"\x00")
    for stored in gone:
        batch.delete(stored)
    return batch


def _keys(engine: Engine, owned: Ownership, area: Area, spared: Spared) -> Iterator[None]:
    start, end = keycodec.newest_bounds(area.span)
    for page in mvcc.pages(engine, start, end, COPY_SWEEP_ROWS):
        goes = _goes(owned, area, spared)
        going = [goes(stored[1:]) for stored, _ in page]
        batch = _without([stored for stored, _ in page], going)
        for stored, value in compress(page, going):
            lease = keycodec.unpack_row(value).lease
            if lease:
                batch.delete(keycodec.attachment(lease, stored[1:]))
        if len(batch):
            engine.write(batch, sync=False)
        yield


def _history(engine: Engine, owned: Ownership, area: Area, spared: Spared) -> Iterator[None]:
    start, end = keycodec.history_bounds(area.span)
    while page := engine.keys(start, end, COPY_SWEEP_ROWS):
        goes = _goes(owned, area, spared)
        batch = _without(page, [goes(keycodec.split_history(stored)[0]) for stored in page])
        if len(batch):
            engine.write(batch, sync=False)
        start = page[-1] + b"\x00"
        yield


def _log(engine: Engine, owned: Ownership, tablet: TabletId, spared: Spared) -> Iterator[None]:
    """Its fence goes last. What comes back meanwhile, or is copied here, stays as it is then."""

    def stays() -> bool:
        lives = owned.shares_rows and tablet in owned.tablets.by_id()
        spares = any(tablet in cell.tablets for cell in spared())
        return lives or tablet in owned.oepochs or spares

    low, high = keycodec.log(tablet, 0), keycodec.log(tablet + 1, 0)
    rows = wiped(engine, low, high, COPY_SWEEP_ROWS, sync=False)
    while not stays():
        if next(rows, rows) is rows:
            engine.catch_up()  # another shard may have removed the fence of a tablet that has ended
            batch = Batch()
            remove_fence(engine, tablet, batch)
            if len(batch):
                engine.write(batch, sync=False)
            return
        yield
