"""The gate in front of writes: etcd's alarms and its quota, word for word."""

from __future__ import annotations

import dataclasses
from typing import Final

import pytest
from google.protobuf.message import Message

from kubebraid.base import errors
from kubebraid.base.errors import Code
from kubebraid.base.ops import PutOp, TxnOp
from kubebraid.base.ports import ALARM_CORRUPT, ALARM_NOSPACE, Alarm
from kubebraid.proto.etcd import rpc_pb2
from kubebraid.router.guard import Guard, put_cost, txn_cost
from tests.unit.router.fakes import HEADER, Shards
from tests.world import RpcError, World

NO_SPACE: Final = (Code.RESOURCE_EXHAUSTED, "etcdserver: mvcc: database space exceeded")
CORRUPT: Final = (Code.DATA_LOSS, "etcdserver: corrupt cluster")
QUOTA: Final = 4_096

Call = tuple[str, Message]


def put(key: bytes, value: bytes = b"") -> Call:
    return "KV.Put", rpc_pb2.PutRequest(key=key, value=value)


def get(key: bytes = b"k") -> Call:
    return "KV.Range", rpc_pb2.RangeRequest(key=key)


def delete(key: bytes) -> Call:
    return "KV.DeleteRange", rpc_pb2.DeleteRangeRequest(key=key)


def txn(*success: rpc_pb2.RequestOp, failure: rpc_pb2.RequestOp | None = None) -> Call:
    return "KV.Txn", rpc_pb2.TxnRequest(success=success, failure=[failure] if failure else [])


def op_put(key: bytes = b"t") -> rpc_pb2.RequestOp:
    return rpc_pb2.RequestOp(request_put=rpc_pb2.PutRequest(key=key))


def op_delete(key: bytes = b"t") -> rpc_pb2.RequestOp:
    return rpc_pb2.RequestOp(request_delete_range=rpc_pb2.DeleteRangeRequest(key=key))


def op_get() -> rpc_pb2.RequestOp:
    return rpc_pb2.RequestOp(request_range=rpc_pb2.RangeRequest(key=b"t"))


def grant(lease: int) -> Call:
    return "Lease.LeaseGrant", rpc_pb2.LeaseGrantRequest(ID=lease, TTL=60)


def revoke(lease: int) -> Call:
    return "Lease.LeaseRevoke", rpc_pb2.LeaseRevokeRequest(ID=lease)


def compact(revision: int) -> Call:
    return "KV.Compact", rpc_pb2.CompactionRequest(revision=revision)


class QuotaWorld(World):
    """A node with a small quota."""

    def _start(self) -> None:
        self._options = dataclasses.replace(self._options, quota_bytes=QUOTA)
        super()._start()

    def outcome(self, call: Call) -> tuple[int, str] | None:
        """None if the call was answered, else the refusal."""
        (answer,) = self.batch([call])
        return (answer.code, answer.text) if isinstance(answer, RpcError) else None

    def alarms(self) -> list[int]:
        listed = self.call("Maintenance.Alarm", rpc_pb2.AlarmRequest(action="GET"))
        return [raised.alarm for raised in listed.alarms]

    def set_alarm(self, action: str, kind: str) -> None:
        member = self.node.router._context.header.member_id
        request = rpc_pb2.AlarmRequest(action=action, alarm=kind, memberID=member)
        self.call("Maintenance.Alarm", request)


def full_world() -> QuotaWorld:
    """Lease 5, keys a, b and c, and then one put that the quota refused."""
    world = QuotaWorld()
    for call in (grant(5), put(b"a"), put(b"b"), put(b"c")):
        assert world.outcome(call) is None
    assert world.alarms() == []
    assert world.outcome(put(b"big", bytes(QUOTA))) == NO_SPACE
    return world


# -- quota and NOSPACE -----------------------------------------------------------------------------


def test_reaching_the_quota_refuses_the_put_and_raises_nospace_for_this_member() -> None:
    world = full_world()
    listed = world.call("Maintenance.Alarm", rpc_pb2.AlarmRequest(action="GET"))
    (raised,) = listed.alarms
    assert (raised.memberID, raised.alarm) == (listed.header.member_id, ALARM_NOSPACE)
    assert world.call(*get(b"big")).count == 0


@pytest.mark.parametrize(
    "call",
    [put(b"x"), txn(op_put()), txn(op_delete(), failure=op_put()), grant(6), grant(0)],
    ids=["put", "txn", "txn that could put", "grant", "grant of any id"],
)
def test_what_needs_space_is_refused_under_nospace(call: Call) -> None:
    """A put of one byte too, which would still fit the quota."""
    world = full_world()
    before = world.call(*get()).header.revision
    assert world.outcome(call) == NO_SPACE
    assert world.call(*get()).header.revision == before


@pytest.mark.parametrize(
    "call",
    [get(b"a"), delete(b"a"), txn(op_delete()), txn(op_get()), txn(), compact(3), revoke(5)],
    ids=["range", "delete", "txn delete", "txn range", "empty txn", "compact", "revoke"],
)
def test_what_frees_space_or_needs_none_passes_under_nospace(call: Call) -> None:
    assert full_world().outcome(call) is None


def test_nospace_stays_until_it_is_disarmed_also_over_a_restart() -> None:
    world = full_world()
    assert world.outcome(delete(b"a")) is None
    world.restart()
    assert world.alarms() == [ALARM_NOSPACE]
    assert world.outcome(put(b"x")) == NO_SPACE
    world.set_alarm("DEACTIVATE", "NOSPACE")
    assert world.outcome(put(b"x")) is None
    assert world.alarms() == []


def test_disarmed_without_freeing_anything_the_quota_raises_it_again() -> None:
    world = full_world()
    world.set_alarm("DEACTIVATE", "NOSPACE")
    assert world.outcome(put(b"big", bytes(QUOTA))) == NO_SPACE
    assert world.alarms() == [ALARM_NOSPACE]


def test_without_a_quota_nothing_is_refused() -> None:
    assert Guard(Shards().context()).refuses(1 << 40) is None


def test_quota_counts_the_bytes_of_every_shard() -> None:
    """Each of the two shards of the fakes says that it holds 100 bytes."""
    shards = Shards()
    guard = Guard(dataclasses.replace(shards.context(), quota_bytes=1_000))
    assert guard.refuses(800) is None
    guard.end_batch()
    assert not shards.coordinator.raised
    assert guard.refuses(801) is errors.NO_SPACE
    assert shards.coordinator.raised == {Alarm(HEADER.member_id, ALARM_NOSPACE)}


def test_writes_of_one_batch_add_up_against_the_quota() -> None:
    """The space in use is measured once a batch: it does not yet hold what the batch admits."""
    guard = Guard(dataclasses.replace(Shards().context(), quota_bytes=1_000))
    assert guard.refuses(500) is None
    assert guard.refuses(300) is None
    assert guard.refuses(1) is errors.NO_SPACE
    guard.end_batch()


def test_worked_example_full_store_refuses_a_put_and_takes_a_delete() -> None:
    shards = Shards()
    guard = Guard(dataclasses.replace(shards.context(), quota_bytes=200))
    assert guard.refuses(0) is None
    assert not shards.coordinator.raised
    assert guard.refuses(put_cost(PutOp(b"a", b"", 0, False, False, False))) is errors.NO_SPACE
    assert shards.coordinator.raised
    assert guard.refuses(0) is None


# -- CORRUPT ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "call",
    [put(b"x"), delete(b"a"), txn(op_put()), txn(op_delete()), grant(6), revoke(5), compact(3)],
    ids=["put", "delete", "txn put", "txn delete", "grant", "revoke", "compact"],
)
def test_no_write_passes_under_corrupt(call: Call) -> None:
    world = QuotaWorld()
    for before in (grant(5), put(b"a"), put(b"b")):
        world.call(*before)
    world.set_alarm("ACTIVATE", "CORRUPT")
    revision = world.call(*get()).header.revision
    assert world.outcome(call) == CORRUPT
    assert world.call(*get()).header.revision == revision


def test_reads_pass_under_corrupt_and_writes_again_when_it_is_disarmed() -> None:
    world = QuotaWorld()
    world.call(*put(b"a", b"1"))
    world.set_alarm("ACTIVATE", "CORRUPT")
    assert world.call(*get(b"a")).kvs[0].value == b"1"
    assert world.outcome(txn(op_get())) is None
    assert world.range_stream(rpc_pb2.RangeRequest(key=b"a"))
    world.set_alarm("DEACTIVATE", "CORRUPT")
    assert world.outcome(put(b"a")) is None


def test_corrupt_is_told_before_nospace() -> None:
    shards = Shards()
    shards.coordinator.raised = frozenset({Alarm(1, ALARM_NOSPACE), Alarm(2, ALARM_CORRUPT)})
    assert Guard(shards.context()).refuses(1) is errors.CORRUPT


# -- costs -----------------------------------------------------------------------------------------


def test_txn_costs_what_its_larger_branch_puts() -> None:
    small, large = (PutOp(b"k", bytes(size), 0, False, False, False) for size in (1, 700))
    assert put_cost(large) == 256 + 1 + 700
    assert txn_cost(TxnOp((), (), ())) == 0
    assert txn_cost(TxnOp((), (small, small), (large,))) == put_cost(large)
    nested = TxnOp((), (large,), ())
    assert txn_cost(TxnOp((), (small, nested), (large,))) == put_cost(small) + put_cost(large)
