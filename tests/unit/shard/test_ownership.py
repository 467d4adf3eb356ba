"""What a shard owns: adoption at a start, and how each commit moves it."""

from __future__ import annotations

from dataclasses import replace

import pytest

from kubebraid.base.across import TxnId
from kubebraid.base.errors import StaleEpoch
from kubebraid.base.ports import Sample
from kubebraid.base.tabletmap import TabletMap, layout, with_new_epochs
from kubebraid.coordinator.sequencer import Sequencer
from kubebraid.shard import keycodec
from kubebraid.shard.fencing import Fence, FenceDamaged, MapBehind
from kubebraid.shard.lease import LeaseRow
from kubebraid.shard.ownership import Ownership, adopt
from kubebraid.shard.seal import pack_lease, seal
from kubebraid.shard.storage.engine import Batch, EngineError
from kubebraid.shard.storage.memory import MemoryEngine
from tests.unit.shard.fakes import (
    SHARD,
    A,
    B,
    BreakableEngine,
    Stand,
    delete_call,
    grant_call,
    put,
    put_call,
    revoke_call,
)


def two_tablets(oepoch: int) -> TabletMap:
    """default-0 and a, under an owner epoch."""
    tablets = TabletMap(1, layout([b"/a/"]).tablets)
    for _ in range(oepoch - 1):
        tablets = with_new_epochs(tablets)
    return tablets


def with_fences(*fences: Fence) -> MemoryEngine:
    engine = MemoryEngine()
    batch = Batch()
    for tablet, fence in enumerate(fences, 1):
        batch.put(keycodec.fence(tablet), fence.pack())
    engine.write(batch, sync=True)
    return engine


def test_start_takes_every_fence_and_goes_on_behind_the_highest() -> None:
    """The worked example of the module, with a third tablet at the smallest revision."""
    engine = with_fences(Fence(3, 17, 1), Fence(3, 19, 1), Fence(3, 1, 1))
    tablets = two_tablets(4)
    fences = adopt(engine, SHARD, tablets)
    owned = Ownership(SHARD, 1, tablets, fences, lambda: -1)
    assert [fence.oepoch for fence in fences.values()] == [4, 4, 4]
    assert owned.closed == {1: 17, 2: 19, 3: 1}
    assert owned.known == owned.committed_revision == 19


def begun(oepoch: int, begin: int) -> TabletMap:
    """The same, as a sequencer's map names where each tablet begins."""
    tablets = two_tablets(oepoch)
    named = tuple(replace(tablet, begin=begin) for tablet in tablets.tablets)
    return TabletMap(tablets.version, named)


def test_m12_start_closes_every_tablet_at_the_h_that_the_map_names() -> None:
    """The rest of the worked example: 18 to 25 were handed out and never written."""
    engine = with_fences(Fence(3, 17, 1), Fence(3, 19, 1), Fence(3, 1, 1))
    fences = adopt(engine, SHARD, begun(4, 25))
    owned = Ownership(SHARD, 1, begun(4, 25), fences, lambda: -1)
    assert owned.closed == {1: 25, 2: 25, 3: 25}
    assert owned.known == 25


def test_m12_store_that_is_ahead_of_the_map_is_not_served() -> None:
    """Coordinators that lost their state would hand revisions out again that are written here."""
    engine = with_fences(Fence(3, 17, 1), Fence(3, 26, 1), Fence(3, 1, 1))
    before = engine.scan(b"", b"\xff", 100)
    with pytest.raises(MapBehind, match="revision 26"):
        adopt(engine, SHARD, begun(4, 25))
    assert engine.scan(b"", b"\xff", 100) == before


# -- reigns and maps -------------------------------------------------------------------------------


def owning(cepoch: int = 1) -> Ownership:
    tablets = layout([b"/a/"])
    return Ownership(SHARD, cepoch, tablets, adopt(MemoryEngine(), SHARD, tablets), lambda: -1)


def test_m01_registration_closes_what_holds_nothing_of_ours() -> None:
    """B is the word of the reign that has accepted every oepoch; what it granted in the very answer
    is closed when it is durable, not before."""
    owned = owning()
    owned.begin_reign(2)
    assert owned.proved == 1
    risen = owned.register(Sample(2, 1, 11, {1: 10, 2: 11, 3: 1}), granted=[2])
    assert risen == {1: 10}
    assert owned.closed == {1: 10, 2: 1, 3: 1}
    assert owned.proved == 2


def test_m01_registration_by_another_reigns_word_is_a_bug() -> None:
    owned = owning()
    owned.begin_reign(2)
    with pytest.raises(AssertionError, match="its own reign"):
        owned.register(Sample(1, 1, 11, {1: 10, 2: 11, 3: 1}), granted=[])


def test_reigns_come_in_order() -> None:
    owned = owning(cepoch=2)
    for cepoch in (1, 2):
        with pytest.raises(AssertionError):
            owned.begin_reign(cepoch)


def test_newer_map_counts_as_far_as_it_names_our_tablets_as_they_are() -> None:
    owned = owning()
    newer = TabletMap(3, owned.tablets.tablets)
    assert [owned.knows(version) for version in (0, 1, 2, 3)] == [False, True, False, False]
    owned.adopt_map(newer)
    assert [owned.knows(version) for version in (0, 1, 2, 3, 4)] == [False, *[True] * 3, False]
    with pytest.raises(AssertionError, match="in order"):
        owned.adopt_map(newer)


def test_m06_map_that_names_another_incarnation_of_us_is_never_taken_up() -> None:
    owned = owning()
    with pytest.raises(AssertionError, match="another incarnation"):
        owned.adopt_map(with_new_epochs(owned.tablets))


def test_inv11_touched_fence_does_not_take_back_what_a_registration_closed() -> None:
    """A lease grant behind a takeover: its batch has a fence, and no revision."""
    stand = Stand()
    stand.sequencer.inner = Sequencer(2, stand.tablets, dict.fromkeys(range(1, 6), 10_001))
    stand.owner.begin_reign(2)
    stand.run()
    assert set(stand.owned.closed.values()) == {10_001}
    (reply,) = stand.write(grant_call(7, 60))
    assert reply.error is None
    assert set(stand.owned.closed.values()) == {10_001}
    (reply,) = stand.write(revoke_call(7))
    assert reply.error is None
    stand.write(put_call(b"/a/x"))
    assert stand.owned.closed[A] == 10_002


def test_adopted_fences_are_durable_before_anything_is_served() -> None:
    """Rule M6: a crash right after must find the new epochs."""
    engine = with_fences(Fence(3, 17, 1), Fence(3, 19, 1), Fence(3, 1, 1))
    adopt(engine, SHARD, two_tablets(4))
    after = adopt(engine.clone(), SHARD, two_tablets(5))
    assert [fence.nonce for fence in after.values()] == [3, 3, 3]


def test_inv15_start_behind_a_newer_incarnation_stops_and_writes_nothing() -> None:
    engine = with_fences(Fence(3, 17, 1), Fence(4, 19, 1), Fence(3, 1, 1))
    before = engine.scan(b"", b"\xff", 100)
    with pytest.raises(StaleEpoch):
        adopt(engine, SHARD, two_tablets(4))
    assert engine.scan(b"", b"\xff", 100) == before


def test_new_store_gets_its_fences_in_one_batch() -> None:
    engine = BreakableEngine()
    fences = adopt(engine, SHARD, two_tablets(1))
    assert engine.writes == 1
    assert set(fences.values()) == {Fence(1, 1, 1)}


def test_missing_fence_among_others_is_damage() -> None:
    with pytest.raises(FenceDamaged, match="default-1"):
        adopt(with_fences(Fence(1, 5, 1), Fence(1, 5, 1)), SHARD, two_tablets(2))


def test_data_without_any_fence_is_damage() -> None:
    """To begin at revision 1 again would hand out revisions that clients have seen."""
    stand = Stand()
    stand.write(put_call(b"/a/x"))
    _drop_fences(stand.engine)
    with pytest.raises(FenceDamaged):
        adopt(stand.engine, SHARD, with_new_epochs(stand.tablets))


def test_history_without_any_fence_is_damage_too() -> None:
    """All keys were deleted: what is left are tombstones and the log, at revisions in use."""
    stand = Stand()
    stand.write(put_call(b"/a/x"), delete_call(b"/a/x"))
    _drop_fences(stand.engine)
    with pytest.raises(FenceDamaged):
        adopt(stand.engine, SHARD, with_new_epochs(stand.tablets))


def _drop_fences(engine: MemoryEngine) -> None:
    engine.write(Batch().delete_range(b"f", b"g"), sync=True)


def test_damaged_fence_stops_the_start() -> None:
    engine = with_fences(Fence(1, 5, 1), Fence(1, 5, 1), Fence(1, 5, 1))
    engine.write(Batch().put(keycodec.fence(2), b"x" * 28), sync=True)
    with pytest.raises(FenceDamaged):
        adopt(engine, SHARD, two_tablets(2))


def test_failed_write_of_the_fences_stops_the_start() -> None:
    engine = BreakableEngine()
    engine.breaks = True
    with pytest.raises(EngineError):
        adopt(engine, SHARD, two_tablets(1))


def test_tablets_of_another_shard_are_not_taken() -> None:
    engine = MemoryEngine()
    assert set(adopt(engine, SHARD, layout([b"/a/"]))) == {1, 2, 3}
    tablets = layout([b"/a/"], shards="shard-1")
    owned = Stand().owned
    with pytest.raises(AssertionError, match="has a fence"):
        Ownership(SHARD, 1, tablets, dict(owned.fences), lambda: -1)


def test_key_belongs_to_the_tablet_of_the_map() -> None:
    owned = Stand().owned
    assert [owned.tablet_of(key) for key in (b"", b"/a", b"/a/x", b"/a0", b"/b/x", b"\xff")] == [
        1,
        A,
        A,
        3,
        B,
        5,
    ]


def test_inv21_every_lease_gets_its_whole_ttl_after_a_start() -> None:
    stand = Stand()
    batch = Batch()
    for lease in range(1, 1_501):
        batch.put(keycodec.lease(lease), pack_lease(LeaseRow(60)))
    stand.engine.write(batch, sync=True)
    stand.owned.load_leases(stand.engine, 5_000)
    assert len(stand.owned.leases) == 1_500
    assert stand.owned.leases.next_deadline_ms() == 65_000


def test_inv11_commit_moves_closed_to_its_last_revision_and_no_further() -> None:
    stand = Stand()
    stand.write(put_call(b"/a/x"), put_call(b"/b/x"), put_call(b"/a/y"))
    owned = stand.owned
    assert owned.closed == {1: 1, A: 4, 3: 1, B: 3, 5: 1}
    assert {tablet: fence.last for tablet, fence in owned.fences.items()} == owned.closed
    assert owned.known == owned.committed_revision == 4


def test_inv11_commit_beyond_what_was_allocated_is_a_bug() -> None:
    """closed[t] <= last[t]: else a merge would release what it has not got."""
    stand = Stand()
    made = stand.evaluation()
    made.put(put(b"/a/x"))
    done = seal(made, 2, stand.owned.fences, stand.owned.oepochs)
    sample = Sample(1, 1, 2, dict.fromkeys(stand.owned.closed, 1))
    with pytest.raises(AssertionError, match="closed <= last"):
        stand.owned.committed(done, sample, made, 0)


def test_m12_adopter_with_an_intent_closes_at_what_is_there() -> None:
    """The decision may name any revision up to H; without an intent H is closed."""
    tablets = two_tablets(5)
    first, *others = tablets.tablets
    map_ = replace(tablets, tablets=(replace(first, begin=25), *others))
    for intents, closed in ((0, 25), (1, 17)):
        engine = with_fences(Fence(4, 17, 5), Fence(4, 19, 5), Fence(4, 1, 5))
        if intents:
            engine.write(Batch().put(keycodec.intent(TxnId(7, 1)), b""), sync=True)
        assert adopt(engine, SHARD, map_)[first.id].last == closed
