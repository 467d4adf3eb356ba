"""Tablets that come are taken as the map says, with the leases that came, once."""

from __future__ import annotations

from dataclasses import replace

import pytest

from kubebraid.base.errors import StaleEpoch
from kubebraid.base.reshard import UNDECIDED, Kind, Migration, Phase
from kubebraid.base.tabletmap import TabletMap
from kubebraid.shard import keycodec
from kubebraid.shard.cells import Cell, load, pack
from kubebraid.shard.fencing import Fence, FenceDamaged, MapBehind
from kubebraid.shard.lease import LeaseRow
from kubebraid.shard.reshard.arrival import committed, fences_of, leases_of, settle_cells
from kubebraid.shard.seal import pack_lease, unpack_lease
from kubebraid.shard.storage.engine import Batch
from kubebraid.shard.storage.memory import MemoryEngine
from tests.moving import MOVED, first_map

TABLET = replace(first_map().by_id()[MOVED], shard="shard-1", oepoch=4, begin=90)
MOVE = Migration("m1", Kind.MOVE, "shard-0", "shard-1", (MOVED,), (TABLET,))
COMMITTED = MOVE._replace(phase=Phase.COMMITTED)
NEW_MAP = TabletMap(2, tuple(TABLET if t.id == MOVED else t for t in first_map().tablets))


def store(fence: Fence | None = None) -> MemoryEngine:
    engine = MemoryEngine()
    if fence is not None:
        engine.write(Batch().put(keycodec.fence(MOVED), fence.pack()), sync=True)
    return engine


def test_m6_a_fence_has_the_epoch_and_h_of_the_map() -> None:
    batch = Batch()
    found = fences_of(store(Fence(3, 88, 0)), [TABLET], batch)[MOVED]
    assert (found.oepoch, found.last) == (4, 90)
    engine = MemoryEngine()
    engine.write(batch, sync=True)
    assert engine.get(keycodec.fence(MOVED)) == found.pack()


@pytest.mark.parametrize(
    ("fence", "error"),
    [(None, FenceDamaged), (Fence(3, 91, 0), MapBehind), (Fence(5, 90, 0), StaleEpoch)],
)
def test_m13_what_does_not_fit_the_map_is_not_taken(
    fence: Fence | None, error: type[Exception]
) -> None:
    with pytest.raises(error):
        fences_of(store(fence), [TABLET], Batch())


def unknown(lease: int) -> LeaseRow | None:
    """Of a shard that knows no lease."""
    return None


def cell(**leases: LeaseRow) -> Cell:
    rows = tuple((keycodec.lease(int(n[1:])), pack_lease(row)) for n, row in leases.items())
    return Cell("m1", (MOVED,), (), rows, ((MOVED, 90),))


HOME, VISIT = LeaseRow(60, ("shard-0",)), LeaseRow(60, visiting=True)


@pytest.mark.parametrize(
    ("came", "known", "wanted"),
    [
        (HOME, None, HOME),
        (VISIT, None, VISIT),
        (HOME, VISIT, HOME),  # it lives here from now on
        (VISIT, HOME, None),  # it lives here already
        (VISIT, VISIT, None),
    ],
)
def test_inv21_a_lease_comes_as_what_it_is_here(
    came: LeaseRow, known: LeaseRow | None, wanted: LeaseRow | None
) -> None:
    batch = Batch()
    rows, emptied = leases_of([cell(_7=came)], NEW_MAP, "shard-1", {7: known}.get, batch)
    assert rows == ({} if wanted is None else {7: wanted})
    assert [(bare.leases, bare.ends) for bare in emptied] == [((), ())]


def test_inv21_rows_wait_until_the_tablets_are_ours() -> None:
    batch = Batch()
    for name, tablets in (("shard-1", first_map()), ("shard-0", NEW_MAP)):
        nothing = leases_of([cell(_7=HOME)], tablets, name, unknown, batch)
        assert nothing == ({}, [])
    unfinished = cell(_7=HOME)._replace(ends=())
    assert leases_of([unfinished], NEW_MAP, "shard-1", unknown, batch) == ({}, [])
    assert not len(batch)


def test_inv21_a_start_takes_what_came_while_nobody_ran_and_once() -> None:
    engine = store()
    engine.write(Batch().put(cell().key, pack(cell(_7=HOME, _8=VISIT))), sync=True)
    batch = Batch()
    settle_cells(engine, NEW_MAP, (COMMITTED,), "shard-1", batch)
    engine.write(batch, sync=True)
    stored = {lease: engine.get(keycodec.lease(lease)) for lease in (7, 8)}
    assert {n: unpack_lease(row) for n, row in stored.items() if row} == {7: HOME, 8: VISIT}
    assert load(engine)["m1"].leases == ()
    again = Batch()
    settle_cells(engine, NEW_MAP, (COMMITTED,), "shard-1", again)
    assert not len(again)


@pytest.mark.parametrize("phase", [*UNDECIDED, Phase.ABORTED, None])
def test_inv21_rows_of_a_move_that_was_not_committed_are_nobodys(phase: Phase | None) -> None:
    """The same tablet came by another move, before this one was swept."""
    engine, old = store(), cell(_7=LeaseRow(5), _9=HOME)._replace(migration="m0")
    batch = Batch().put(old.key, pack(old)).put(cell().key, pack(cell(_7=HOME)))
    engine.write(batch, sync=True)
    before = () if phase is None else (MOVE._replace(id="m0", phase=phase),)
    found = [each.migration for each in committed(load(engine).values(), (*before, COMMITTED))]
    assert found == ["m1"]
    adopted = Batch()
    settle_cells(engine, NEW_MAP, (*before, COMMITTED), "shard-1", adopted)
    engine.write(adopted, sync=True)
    assert engine.get(keycodec.lease(7)) == pack_lease(HOME)
    assert engine.get(keycodec.lease(9)) is None
    assert load(engine)["m0"] == old
