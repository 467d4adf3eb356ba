"""The judges of shared rows: who may write them, and what may not stay.

What it is: each judge on a few rows. What it is not: a run; `test_breaches.py` has those.
"""

from __future__ import annotations

from dataclasses import replace
from random import Random

import pytest

from kubebraid.base.tabletmap import Tablet, TabletMap, layout
from kubebraid.shard import keycodec
from kubebraid.shard.fencing import Fence
from kubebraid.shard.storage.engine import Batch
from kubebraid.shard.storage.memory import MemoryEngine

from .row_space import RowSpace, check_rows
from .truth import Truth, Version
from .verdict import Violation
from .world import draw

TABLETS = layout((b"/a/", b"/b/"), ["s0", "s1"])
OF_S0 = next(t for t in TABLETS.tablets if t.shard == "s0")


def test_a_quarter_of_the_plans_share_rows_also_of_those_that_have_migrations() -> None:
    plans = [draw(Random(seed)) for seed in range(1, 401)]
    shared = [plan for plan in plans if plan.shared]
    assert 60 < len(shared) < 140
    assert any(plan.reshard_gap_us and len(plan.shards) > 1 for plan in shared)


@pytest.mark.parametrize(
    "stored",
    [
        keycodec.newest(OF_S0.span.start + b"x"),
        keycodec.history(OF_S0.span.start + b"x", 5),
        keycodec.attachment(7, OF_S0.span.start + b"x"),
        keycodec.log(OF_S0.id, 5),
        keycodec.fence(OF_S0.id),
    ],
)
def test_inv17_a_row_is_touched_by_its_owner_alone(stored: bytes) -> None:
    for batch in (Batch().put(stored, b"1"), Batch().delete(stored)):
        check_rows(TABLETS, "s0", batch)
        with pytest.raises(Violation, match="s1 touched"):
            check_rows(TABLETS, "s1", batch)


def test_rows_of_a_tablet_to_come_and_those_of_a_store_are_anybodys() -> None:
    batch = Batch().put(keycodec.fence(99), b"1").delete(keycodec.log(99, 5))
    check_rows(TABLETS, "s1", batch.put(keycodec.cell("shard"), b"s1").put(keycodec.lease(7), b"1"))


def test_inv18_what_is_of_no_tablet_is_litter_until_its_migration_is_over() -> None:
    space = RowSpace()
    rows = [*(keycodec.fence(t.id) for t in TABLETS.tablets), keycodec.log(99, 5)]
    space.journal.add(None, Batch().put(rows[-1], b"").put(rows[0], b"").operations)
    assert list(space.litter(TABLETS, [99])) == []
    (found,) = space.litter(TABLETS, [])
    assert repr(rows[-1]) in found
    space.journal.add(None, Batch().delete(rows[-1]).operations)
    assert list(space.litter(TABLETS, [])) == []


def test_inv21_the_attachments_are_those_of_the_keys_that_are_there() -> None:
    space, truth = RowSpace(), Truth(TABLETS, shared=True)
    for revision, key, lease in ((5, b"/a/1", 7), (6, b"/a/2", 0)):
        truth.commits[revision] = (Version(revision, key, b"1", revision, 1, lease),)
    truth.check_history()
    with pytest.raises(Violation, match="attachments"):
        space.check_attachments(truth)
    space.journal.add(None, Batch().put(keycodec.attachment(7, b"/a/1"), b"").operations)
    space.check_attachments(truth)
    space.journal.add(None, Batch().put(keycodec.attachment(7, b"/a/2"), b"").operations)
    with pytest.raises(Violation, match="attachments"):
        space.check_attachments(truth)


def test_inv15_a_fence_rises_whoever_writes_it() -> None:
    """Of two stores each has a fence of its own; the rows of one space have one."""
    truth = Truth(TABLETS, shared=True)
    moved = replace(OF_S0, shard="s1", oepoch=OF_S0.oepoch + 1)
    _put_fence(truth, "s0", OF_S0, nonce=5)
    tablets = tuple(moved if t.id == moved.id else t for t in TABLETS.tablets)
    truth.owners.mapped(TabletMap(TABLETS.version + 1, tablets), {})
    with pytest.raises(Violation, match="inv15"):
        _put_fence(truth, "s1", moved, nonce=5)
    _put_fence(truth, "s1", moved, nonce=6)


def _put_fence(truth: Truth, shard: str, tablet: Tablet, nonce: int) -> None:
    fence = Fence(tablet.oepoch, 1, nonce).pack()
    batch = Batch().put(keycodec.fence(tablet.id), fence)
    truth.landed(shard, MemoryEngine(), batch, 0)
