"""Another map while a shard serves: what comes, what goes, and who is told."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from kubebraid.base import errors
from kubebraid.base.keyspace import KeyRange
from kubebraid.base.leasehome import home
from kubebraid.base.limits import RESHARD_FREEZE_MS
from kubebraid.base.ports import (
    WRITE_LEASE_ROW,
    WRITE_PUT,
    WriteCall,
    WriteReply,
)
from kubebraid.base.reshard import Kind, Phase
from kubebraid.base.tabletmap import TabletMap
from kubebraid.coordinator.phases import map_behind, sent_back
from kubebraid.proto.etcd import rpc_pb2
from kubebraid.shard import fencing, keycodec
from kubebraid.shard.fencing import FenceDamaged
from kubebraid.shard.lease import LeaseRow, LeaseTask
from kubebraid.shard.storage.engine import Batch, EngineError
from tests.moving import MOVED, OTHER, SYSTEM, Moving
from tests.shared_rows import TOGETHER, stores

__all__ = ["stores"]


def ready() -> Moving:
    pair = Moving()
    pair.grant(5)
    pair.put(b"b1", lease=5)
    pair.put(b"b2")
    pair.move(MOVED, "shard-1")
    pair.lead(Phase.PREPARING, Phase.READY, Phase.FROZEN)
    return pair


def test_m6_a_tablet_is_served_behind_its_fence_of_this_map() -> None:
    pair = ready()
    last = pair.sequencer.sample().last[MOVED]
    pair.commit()
    stored = pair.engines["shard-1"].get(keycodec.fence(MOVED))
    assert stored is not None
    fence = fencing.unpack(stored)
    assert (fence.oepoch, fence.last) == (2, last)
    assert pair.owned["shard-1"].closed[MOVED] == last
    assert MOVED not in pair.owned["shard-0"].closed
    assert pair.owned["shard-1"].proved == 0, "whoever rules accepts it first"


@TOGETHER
@pytest.mark.usefixtures("stores")
def test_m6_a_shared_fence_is_taken_as_the_source_has_left_it() -> None:
    """What the target's store has shown last is older."""
    pair = ready()
    source, target = pair.engines["shard-0"], pair.engines["shard-1"]
    stored = source.get(keycodec.fence(MOVED))
    assert stored is not None
    left = fencing.unpack(stored)
    left = left._replace(nonce=left.nonce + 5)
    row = source.get(keycodec.newest(b"b2"))
    assert row is not None
    batch = Batch().put(keycodec.fence(MOVED), left.pack()).put(keycodec.newest(b"b3"), row)
    source.write(batch, sync=True)
    assert target.get(keycodec.newest(b"b3")) is None, "not read yet"
    pair.commit()
    stored = target.get(keycodec.fence(MOVED))
    assert stored is not None
    fence = fencing.unpack(stored)
    assert fence == pair.owned["shard-1"].fences[MOVED]
    assert fence == (2, pair.owned["shard-1"].closed[MOVED], left.nonce + 1)
    assert target.get(keycodec.newest(b"b3")) == row
    assert pair.put(b"b2").error is None


def test_routers_are_told_where_each_tablet_stands() -> None:
    pair = ready()
    for name in pair.owners:
        pair.published[name].clear()
    pair.commit()
    stand = {name: pair.published[name][0] for name in pair.owners}
    assert all(publication.fresh for publication in stand.values())
    assert {n.tablet for n in stand["shard-0"].news} == {SYSTEM}
    assert {(n.tablet, n.oepoch) for n in stand["shard-1"].news} == {(MOVED, 2), (OTHER, 1)}


def test_inv17_who_waits_for_what_has_gone_is_refused() -> None:
    pair = ready()
    told: list[WriteReply] = []
    payload = rpc_pb2.PutRequest(key=b"a1").SerializeToString()
    call = WriteCall(WRITE_PUT, payload, (SYSTEM,), pair.tablets.version, object())
    pair.owners["shard-0"].submit([call], told.append)
    pair.commit()
    assert [reply.error for reply in told] == [errors.OTHER_MAP], "in the same step"


def test_keys_are_counted_anew() -> None:
    pair = ready()
    pair.commit()
    pair.phase(Phase.DRAINING)
    pair.settle(5)
    assert counted(pair) == {"shard-0": 0, "shard-1": 2}


def counted(pair: Moving) -> dict[str, int | None]:
    return {n: owner._counts.known(KeyRange(b"b", b"c")) for n, owner in pair.owners.items()}


def test_counting_waits_for_the_switch_but_not_for_ever() -> None:
    pair = ready()
    pair.commit()
    pair.settle(RESHARD_FREEZE_MS - 1)
    assert counted(pair) == {"shard-0": None, "shard-1": None}
    assert pair.owners["shard-0"].next_deadline_ms() <= pair.clock.ms + 1
    pair.settle(3)
    assert counted(pair) == {"shard-0": 0, "shard-1": 2}


def test_a_loop_does_not_turn_for_what_waits_for_a_switch() -> None:
    """A slice of compaction had failed, and is due again."""
    pair = ready()
    owner = pair.owners["shard-0"]
    owner._upkeep._due_ms = dict.fromkeys(owner._upkeep._due_ms, pair.clock.ms)
    assert owner.next_deadline_ms() > pair.clock.ms
    pair.clock.ms += RESHARD_FREEZE_MS
    assert owner.next_deadline_ms() <= pair.clock.ms


def test_inv18_a_lease_that_expired_in_a_freeze_ends_with_the_thaw() -> None:
    """It was tried again a second later: then the tablet was frozen again, and waited for it."""
    pair = Moving()
    pair.grant(5, ttl_s=60)
    pair.put(b"b1", lease=5)
    pair.move(MOVED, "shard-1")
    pair.lead(Phase.PREPARING, Phase.READY, Phase.FROZEN)
    pair.clock.ms += 60_000
    pair.settle(5)
    assert pair.owned["shard-0"].leases.known(5) is not None
    pair.phase(Phase.READY)
    pair.settle(5)
    assert pair.owned["shard-0"].leases.known(5) is None
    assert pair.engines["shard-0"].get(keycodec.newest(b"b1")) is None


def test_m6_a_power_cut_behind_the_adoption_loses_nothing() -> None:
    """What is served is on the disk: a start takes it again, under the next owner epoch."""
    pair = ready()
    before = pair.rows("shard-1")
    pair.commit()
    assert pair.owned["shard-1"].leases.known(5) is not None
    survivor: Any = pair.engines["shard-1"].clone()
    pair.engines["shard-1"] = survivor
    stored = pair.engines["shard-1"].get(keycodec.fence(MOVED))
    assert stored is not None
    assert fencing.unpack(stored).oepoch == pair.tablets.by_id()[MOVED].oepoch
    pair.start("shard-1")
    assert pair.rows("shard-1") == before
    assert pair.owned["shard-1"].leases.known(5) is not None
    assert pair.put(b"b1").error is None


def test_inv21_a_power_cut_and_a_reversal_behind_the_adoption_lose_no_lease() -> None:
    """Nothing was written since the switch; the operator turns back while the shard is down."""
    pair = Moving()
    pair.grant(5)
    pair.put(b"b1", lease=5)
    pair.move(SYSTEM, "shard-1")
    pair.migrations = (pair.migration._replace(manual=True),)
    pair.lead(Phase.PREPARING, Phase.READY, Phase.FROZEN)
    pair.commit()
    survivor: Any = pair.engines["shard-1"].clone()
    pair.migrations = (sent_back(pair.migration._replace(phase=Phase.DRAINING)),)
    pair.engines["shard-1"] = survivor
    pair.start("shard-1")
    assert pair.owned["shard-1"].leases.is_home(5)
    pair.lead(Phase.PREPARING, Phase.READY, Phase.FROZEN)
    pair.commit()
    assert pair.owned["shard-0"].leases.is_home(5)
    assert pair.revoke(5).error is None


def test_inv21_a_visit_of_keys_that_arrive_outlives_that_our_last_tablet_goes_before() -> None:
    pair = Moving()
    lease = next(lease for lease in range(1, 99) if home(pair.tablets, lease).id == SYSTEM)
    pair.grant(lease)
    pair.put(b"c1", lease=lease)  # so it is visited by the target already
    pair.put(b"b1", lease=lease)
    pair.move(MOVED, "shard-1")
    pair.lead(Phase.PREPARING, Phase.READY, Phase.FROZEN)
    owner, leases = pair.owners["shard-1"], pair.owned["shard-1"].leases
    assert leases.known(lease) is not None
    ours = pair.tablets
    gone = tuple(replace(t, shard="shard-0") if t.id == OTHER else t for t in ours.tablets)
    owner.follow(pair.view()._replace(tablets=TabletMap(ours.version + 1, gone)))
    assert leases.known(lease) is None, "who owns nothing knows no lease"
    pair.tablets = replace(ours, version=ours.version + 1)
    report = pair.reports["shard-1"]
    made = map_behind(pair.migration, pair.tablets, dict(report.ends))
    pair.phase(Phase.COMMITTED, tell=False, version=made.version, ends=report.ends)
    left = tuple(replace(t, shard="shard-0") if t.id == OTHER else t for t in made.tablets)
    owner.follow(pair.view()._replace(tablets=TabletMap(made.version, left)))
    row = leases.known(lease)
    assert row is not None
    assert row.visiting
    assert pair.engines["shard-1"].get(keycodec.lease(lease)) is not None


def test_a_map_that_changes_nothing_of_ours_disturbs_nobody() -> None:
    pair = Moving()
    pair.put(b"c1")
    told = len(pair.published["shard-1"])
    pair.take(replace(pair.tablets, version=2))
    assert len(pair.published["shard-1"]) == told
    assert pair.owned["shard-1"].knows(1), "calls that were planned before are answered"
    assert pair.owned["shard-1"].map_version == 2


@pytest.mark.parametrize("broken", [False, True])
def test_m13_a_map_that_names_what_is_not_here_ends_the_process(broken: bool) -> None:
    pair = ready() if broken else Moving()
    engine = pair.engines["shard-1"]
    engine.breaks = broken
    moved = replace(pair.tablets.by_id()[MOVED], shard="shard-1", oepoch=2, begin=90)
    tablets = tuple(moved if t.id == MOVED else t for t in pair.tablets.tablets)
    view = pair.view()._replace(tablets=TabletMap(2, tablets))
    with pytest.raises(EngineError if broken else FenceDamaged):
        pair.owners["shard-1"].follow(view)
    assert MOVED not in pair.owned["shard-1"].closed


def test_inv20_history_that_came_is_compacted_to_the_floor() -> None:
    pair = Moving()
    for _ in range(9):
        pair.put(b"b1")
    pair.compact(4)
    pair.settle(5)
    pair.move(MOVED, "shard-1")
    pair.phase(Phase.PREPARING)
    pair.compact(8)
    pair.lead(Phase.READY, Phase.FROZEN)
    pair.settle(300)
    assert min(pair.log("shard-1", MOVED)) == 4
    pair.commit()
    pair.lead(Phase.DRAINING, Phase.DONE)
    assert min(pair.log("shard-1", MOVED)) == 8


def test_a_lease_that_no_tablet_would_prove_in_time_is_planned_anew() -> None:
    """A row of a lease takes no revision, but is told by a fence, and a shard whose only tablet
    is split has none to give."""
    pair = Moving()
    system = replace(pair.tablets.by_id()[SYSTEM], shard="shard-1")
    pair = Moving(TabletMap(1, (system, *pair.tablets.tablets[1:])))
    pair.put(b"b1")
    moved = pair.tablets.by_id()[MOVED]
    left = replace(moved, id=11, name="left", span=KeyRange(b"b", b"b5"))
    right = replace(moved, id=12, name="right", span=KeyRange(b"b5", b"c"))
    pair.plan(Kind.SPLIT, "shard-0", (MOVED,), left, right)
    pair.lead(Phase.PREPARING, Phase.READY, Phase.FROZEN)
    told: list[WriteReply] = []
    task = LeaseTask(7, lambda row: LeaseRow(60, visiting=True))
    call = WriteCall(WRITE_LEASE_ROW, b"", (), pair.tablets.version, task)
    pair.owners["shard-0"].submit([call], told.append)
    pair.owners["shard-0"].turn()
    assert [reply.error for reply in told] == [errors.OTHER_MAP]
    assert 7 not in pair.owned["shard-0"].leases
    pair.commit()
    assert pair.put(b"b1").error is None
