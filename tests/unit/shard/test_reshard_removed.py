"""A shard that was drained and ended: nobody waits for it."""

from __future__ import annotations

from kubebraid.base import errors
from kubebraid.base.ports import LeaseInfo, WriteReply
from tests.moving import MOVED, SYSTEM, Moving

LEASE = 7


def drained() -> Moving:
    """Lease 7, its home and its key were on shard-0, which is gone."""
    pair = Moving()
    pair.grant(LEASE, ttl_s=60)
    pair.put(b"b1", lease=LEASE)
    for tablet in (SYSTEM, MOVED):
        pair.move(tablet, "shard-1")
        pair.switch()
    assert pair.owned["shard-1"].leases.row(LEASE).guests == ("shard-0",)
    del pair.owners["shard-0"]
    return pair


def test_inv21_lease_ends_though_a_drained_guest_is_gone_for_good() -> None:
    pair = drained()
    told: list[WriteReply] = []
    pair.begin_revoke(LEASE, told.append)
    pair.settle(300)
    assert [reply.error for reply in told] == [None]
    assert pair.owned["shard-1"].leases.known(LEASE) is None
    assert not [stored for stored in pair.rows("shard-1") if stored[:1] in (b"n", b"k")]


def test_keys_of_a_lease_are_told_though_a_drained_guest_is_gone_for_good() -> None:
    told: list[object] = []
    drained().owners["shard-1"].lease_info(LEASE, told.append)
    (info,) = told
    assert isinstance(info, LeaseInfo)
    assert info.keys == (b"b1",)


def test_inv21_guest_that_a_migration_names_is_waited_for() -> None:
    """What it copies may have keys of the lease."""
    pair = drained()
    pair.move(MOVED, "shard-0")
    pair.tell()
    told: list[WriteReply] = []
    pair.begin_revoke(LEASE, told.append)
    pair.settle(300)
    assert told == []
    assert pair.owned["shard-1"].leases.row(LEASE).ended
    infos: list[object] = []
    pair.owners["shard-1"].lease_info(LEASE, infos.append)
    assert infos == [errors.NO_LEADER]
