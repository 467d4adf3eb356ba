"""What the last batch of a copy has: fences, and leases as they will be here."""

from __future__ import annotations

from dataclasses import replace
from typing import TypeAlias

import pytest

from kubebraid.base.keyspace import KeyRange
from kubebraid.base.reshard import CopyReply, Kind, Migration, Phase
from kubebraid.shard import fencing, keycodec
from kubebraid.shard.cells import unpack
from kubebraid.shard.fencing import Fence
from kubebraid.shard.lease import LeaseRow
from kubebraid.shard.reshard.final import final_batch
from kubebraid.shard.reshard.joins import Joins
from kubebraid.shard.reshard.prepare import cell_of
from kubebraid.shard.seal import pack_lease, unpack_lease
from kubebraid.shard.storage.engine import Batch
from tests.moving import MOVED, SYSTEM, Moving

Arriving: TypeAlias = dict[int, LeaseRow]


def made(
    *leases: tuple[int, LeaseRow], joined: dict[int, int] | None = None
) -> tuple[Moving, Arriving]:
    """The batch is in the store of shard-1; what its cell says of leases."""
    pair = Moving()
    pair.move(MOVED, "shard-1")
    pair.migrations = (pair.migration._replace(phase=Phase.FROZEN),)
    owned = pair.owned["shard-1"]
    joins = Joins(owned, lambda name: None)
    joins.joined |= joined or {}
    rows = tuple((keycodec.lease(lease), pack_lease(row)) for lease, row in leases)
    first = CopyReply([], [], b"", 90, 1, ((MOVED, 90),), rows)
    migration: Migration = pair.migration
    batch, cell = final_batch(owned, migration, cell_of(migration, False), first, joins, ())
    pair.engines["shard-1"].write(batch, sync=True)
    stored = pair.engines["shard-1"].get(cell.key)
    assert stored is not None
    assert unpack(cell.key, stored) == cell
    assert cell.ends == ((MOVED, 90),)
    found = {keycodec.lease_id(key): unpack_lease(value) for key, value in cell.leases}
    return pair, found


def test_m13_fences_are_born_at_h_under_the_epoch_of_the_source() -> None:
    """A commit gives them the next one."""
    pair, _ = made()
    stored = pair.engines["shard-1"].get(keycodec.fence(MOVED))
    assert stored is not None
    assert fencing.unpack(stored) == Fence(1, 90, 0)


def test_m13_tablets_that_move_together_go_on_behind_their_own_ends_and_epochs() -> None:
    """The map begins each at its own end: a fence above that would end the shard."""
    pair = Moving()
    by_id = pair.tablets.by_id()
    targets = tuple(replace(by_id[tablet], shard="shard-1") for tablet in (SYSTEM, MOVED))
    pair.plan(Kind.MOVE, "shard-1", (SYSTEM, MOVED), *targets)
    owned = pair.owned["shard-1"]
    first = CopyReply([], [], b"", 90, 1, ((SYSTEM, 40), (MOVED, 90)))
    joins = Joins(owned, lambda name: None)
    cell = cell_of(pair.migration, False)
    batch, _ = final_batch(owned, pair.migration, cell, first, joins, ())
    pair.engines["shard-1"].write(batch, sync=True)
    for tablet, end in first.ends:
        stored = pair.engines["shard-1"].get(keycodec.fence(tablet))
        assert stored is not None
        assert fencing.unpack(stored) == Fence(1, end, 0)


def test_inv21_a_lease_that_lived_there_has_the_source_for_a_guest() -> None:
    row = LeaseRow(60, ("shard-1", "shard-2"))
    _, found = made((7, row), (8, LeaseRow(30)), (9, LeaseRow(5, ended=True)))
    assert found == {
        7: LeaseRow(60, ("shard-0", "shard-2")),
        8: LeaseRow(30, ("shard-0",)),
        9: LeaseRow(5, ("shard-0",), ended=True),
    }


def test_inv21_a_joined_lease_comes_as_a_visit_and_a_home_says_more() -> None:
    _, found = made((7, LeaseRow(60)), joined={7: 60, 8: 30})
    assert found == {7: LeaseRow(60, ("shard-0",)), 8: LeaseRow(30, visiting=True)}


# -- of rows that two shards share -----------------------------------------------------------------


def shared(pair: Moving, *ends: tuple[int, int]) -> dict[bytes, bytes]:
    """What the last batch writes, by its rows."""
    owned = pair.owned["shard-1"]
    owned.shares_rows = True
    first = CopyReply([], [], b"", 90, 1, ends, ((keycodec.lease(7), pack_lease(LeaseRow(60))),))
    joins = Joins(owned, lambda name: None)
    joins.joined[8] = 30
    cell = cell_of(pair.migration, shared=True)
    assert not cell.areas
    batch: Batch
    batch, cell = final_batch(owned, pair.migration, cell, first, joins, ())
    written = {key: value for _, key, value in batch.operations}
    assert written.pop(cell.key) is not None
    assert cell.ends == ends
    leases = {keycodec.lease_id(key): unpack_lease(value) for key, value in cell.leases}
    assert leases == {7: LeaseRow(60, ("shard-0",)), 8: LeaseRow(30, visiting=True)}
    return written


def test_m13_of_a_shared_tablet_that_is_moved_the_sources_fence_stands() -> None:
    """The source writes under it until the adoption takes it."""
    pair = Moving()
    pair.move(MOVED, "shard-1")
    assert shared(pair, (MOVED, 90)) == {}


@pytest.mark.parametrize("kind", [Kind.SPLIT, Kind.MERGE])
def test_m13_fences_of_new_ids_are_born_also_in_shared_rows(kind: Kind) -> None:
    pair = Moving()
    moved = replace(pair.tablets.by_id()[MOVED], shard="shard-1")
    born: tuple[int, ...]
    if kind is Kind.SPLIT:
        left = replace(moved, id=11, name="left", span=KeyRange(b"b", b"b5"))
        right = replace(moved, id=12, name="right", span=KeyRange(b"b5", b"c"))
        pair.plan(kind, "shard-1", (MOVED,), left, right)
        written, born = shared(pair, (MOVED, 90)), (11, 12)
    else:
        pair.plan(kind, "shard-1", (SYSTEM, MOVED), replace(moved, id=13, name="both"))
        written, born = shared(pair, (SYSTEM, 40), (MOVED, 90)), (13,)
    assert written == {keycodec.fence(tablet): Fence(1, 90, 0).pack() for tablet in born}
