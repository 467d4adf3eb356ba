"""A shard's store checked without its map: a true one passes whatever its past, damage is told."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kubebraid.shard import fencing, keycodec
from kubebraid.shard.audit import Report
from kubebraid.shard.fencing import Fence
from kubebraid.shard.shard_audit import ShardAudit
from kubebraid.shard.storage.engine import Batch
from kubebraid.shard.storage.memory import MemoryEngine
from tests.unit.shard import test_audit
from tests.unit.shard.fakes import Stand, grant_call, put_call, revoke_call, row
from tests.unit.shard.test_audit import LEASE, PLANTS, Plant, compact, drop, lived, put_row
from tests.unit.shard.test_counts import WRITES, Operation, call_of

# What the map and the floor alone could tell: which tablets there are, and that a key's only row
# lies above everything that was compacted.
NOT_SEEN = {test_audit.fence_gone, test_audit.fence_old, test_audit.newest_never}


def audit(engine: MemoryEngine) -> Report:
    made = ShardAudit(engine, "shard-1")
    for _ in made.run():
        pass
    return made.report


def test_true_store_is_whole_and_told_in_figures() -> None:
    report = audit(lived().engine)
    assert report.findings == []
    assert (report.wrong, report.revision, report.shard) == (0, 12, "shard-1")
    assert (report.keys, report.versions, report.revisions, report.leases) == (5, 5, 11, 1)


def test_empty_store_is_whole() -> None:
    assert audit(MemoryEngine()).findings == []
    assert audit(Stand().engine).findings == []


@settings(max_examples=100)
@given(
    batches=st.lists(WRITES, max_size=8),
    compacted=st.one_of(st.none(), st.floats(0, 1)),
    leased=st.booleans(),
)
def test_no_history_is_blamed(
    batches: list[list[list[Operation]]], compacted: float | None, leased: bool
) -> None:
    """Transactions that change a key many times, deletions, leases, and a compaction."""
    stand = Stand()
    if leased:
        stand.write(grant_call(LEASE, 600), put_call(b"/a/01", lease=LEASE))
    for writes in batches:
        stand.write(*[call_of(operations) for operations in writes])
    if compacted is not None:
        compact(stand.engine, round(1 + compacted * (stand.owned.known - 1)))
    assert audit(stand.engine).findings == []
    if leased:
        stand.write(revoke_call(LEASE))
        assert audit(stand.engine).findings == []


@pytest.mark.parametrize("floor", range(2, 13))
def test_compacted_store_is_whole_wherever_the_floor_lies(floor: int) -> None:
    stand = lived()
    compact(stand.engine, floor)
    assert audit(stand.engine).findings == []


def test_tablet_that_was_closed_beyond_its_log_is_whole() -> None:
    """A shard's start closes its tablets at what was handed out to them and never written."""
    stand = lived()
    batch = Batch()
    for tablet, fence in stand.owned.fences.items():
        batch.put(keycodec.fence(tablet), fence._replace(last=500).pack())
    stand.engine.write(batch, sync=True)
    assert audit(stand.engine).findings == []


@pytest.mark.parametrize("plant", [p for p, _ in PLANTS if p not in NOT_SEEN])
def test_damage_is_told_as_of_a_store_with_a_map(plant: Plant) -> None:
    engine = lived().engine
    plant(engine)
    assert audit(engine).wrong > 0


def test_what_is_said_names_key_and_revision() -> None:
    engine = lived().engine
    test_audit.newest_gone(engine)
    assert any("the log names b'/a/x' at 9" in told for told in audit(engine).findings)
    engine = lived().engine
    test_audit.newest_future(engine)
    assert "b'/a/x' was written at 40, and no fence tells of it" in audit(engine).findings


def test_version_without_a_log_row_may_be_the_oldest_of_its_key_alone() -> None:
    """Compaction takes what a log row had replaced along with it."""
    stand = lived()
    compact(stand.engine, 10)
    assert audit(stand.engine).findings == []
    older = keycodec.pack_row(row(b"/a/x", 3))
    put_row(stand.engine, keycodec.history(b"/a/x", 3), older)
    assert audit(stand.engine).findings == ["the row of b'/a/x' at 9 is not in the log"]


def test_log_that_is_gone_with_its_fence_leaves_rows_that_nobody_names() -> None:
    engine = lived().engine
    for key, _ in engine.scan(*keycodec.FENCES, 100):
        drop(engine, key)
    assert "there are rows, and no fence row that can be read" in audit(engine).findings


def test_rows_of_a_copy_are_not_judged_and_its_logs_are() -> None:
    """They are not this shard's yet: their log rows come behind them."""
    engine = lived().engine
    put_row(engine, keycodec.newest(b"/z/new"), keycodec.pack_row(row(b"/z/new", 40)))
    assert audit(engine).wrong == 1
    put_row(engine, keycodec.cell("reshard/m1"), b"cell")
    assert audit(engine).findings == []
    test_audit.newest_gone(engine)
    assert audit(engine).wrong > 0


def test_fences_epochs_do_not_matter() -> None:
    engine = lived().engine
    for key, raw in engine.scan(*keycodec.FENCES, 100):
        put_row(engine, key, Fence(99, fencing.unpack(raw).last, 7).pack())
    assert audit(engine).findings == []
