"""The queue for the slot: order, time limits, and leases that must be joined first."""

from __future__ import annotations

from collections.abc import Callable

from kubebraid.base import errors
from kubebraid.base.across import AcrossCall, AcrossReply, Leaf, Step, TxnId, leaf_span
from kubebraid.base.errors import RequestRefused
from kubebraid.base.limits import ACROSS_WAIT_MS, ACROSS_WAITING_MAX
from kubebraid.base.ports import WRITE_TXN, WriteCall, WriteReply
from kubebraid.proto.etcd import rpc_pb2
from kubebraid.shard.lease import LeaseRow, LeaseTask
from kubebraid.shard.locks import LockQueue, Waiting
from tests.unit.shard.fakes import Stand


def owns(leaf: Leaf) -> bool:
    span = leaf_span(leaf)
    return span is not None and span.start.startswith(b"/a")


class Case:
    """A queue before a shard whose lease 7 lives there, and every other one elsewhere."""

    def __init__(self) -> None:
        self.stand = Stand()
        owned = self.stand.owned
        owned.leases.ours = lambda lease: lease == 7
        writer = self.stand.owner._writer
        writer.aside = self._aside
        self.joining: list[tuple[int, WriteCall, Callable[[WriteReply], None]]] = []
        self.queue = LockQueue(owned, writer, self.stand.clock, owns)
        self.replies: dict[int, RequestRefused | None] = {}

    def _aside(self, lease: int, call: WriteCall, done: Callable[[WriteReply], None]) -> None:
        self.joining.append((lease, call, done))

    def lock(self, number: int, *puts: tuple[bytes, int], map_version: int = 1) -> None:
        request = rpc_pb2.TxnRequest()
        for key, lease in puts:
            request.success.add().request_put.CopyFrom(rpc_pb2.PutRequest(key=key, lease=lease))
        payload = request.SerializeToString()
        call = AcrossCall(Step.LOCK, TxnId(1, number), WRITE_TXN, payload, map_version)

        def done(reply: AcrossReply) -> None:
            self.replies[number] = reply.error

        self.queue.lock(call, done)

    def first(self) -> int | None:
        waiting: Waiting | None = self.queue.first()
        return None if waiting is None else waiting.call.txn.number

    def joined(self, error: RequestRefused | None = None) -> None:
        _, call, done = self.joining.pop(0)
        done(WriteReply(call.tag, 0, b"", error))


def test_first_come_first_served() -> None:
    case = Case()
    case.lock(1)
    case.lock(2)
    assert [case.first(), case.first(), case.first()] == [1, 2, None]
    assert case.queue.empty


def test_who_waits_too_long_is_told_and_gone() -> None:
    case = Case()
    case.lock(1)
    assert case.queue.next_deadline_ms() == case.stand.clock.ms + ACROSS_WAIT_MS
    case.queue.expire(case.stand.clock.ms + ACROSS_WAIT_MS - 1)
    assert case.replies == {}
    case.queue.expire(case.stand.clock.ms + ACROSS_WAIT_MS)
    assert case.replies == {1: errors.OWNER_AWAY}
    assert case.first() is None
    assert case.queue.next_deadline_ms() is None


def test_bounds_and_maps() -> None:
    case = Case()
    case.lock(0, map_version=2)
    assert case.replies == {0: errors.OTHER_MAP}
    for number in range(1, ACROSS_WAITING_MAX + 2):
        case.lock(number)
    assert case.replies[ACROSS_WAITING_MAX + 1] is errors.TOO_MANY_REQUESTS
    assert len(case.replies) == 2


def test_lease_of_another_shard_is_joined_before_the_slot_is_given() -> None:
    """Ours and those of puts that are not ours need nobody; the others pass meanwhile."""
    case = Case()
    case.lock(1, (b"/a/x", 9), (b"/a/y", 9), (b"/a/z", 7), (b"/b/x", 8))
    case.lock(2)
    assert [lease for lease, _, _ in case.joining] == [9]
    assert case.first() == 2
    assert case.first() is None
    case.joined()
    assert case.first() == 1


def test_join_visits_without_changing_the_lease() -> None:
    case = Case()
    case.lock(1, (b"/a/x", 9))
    (_, call, _) = case.joining[0]
    assert isinstance(call.tag, LeaseTask)
    row = LeaseRow(60, visiting=True)
    assert (call.tag.lease, call.tag.change(row)) == (9, row)


def test_lease_that_its_home_does_not_know_is_left_to_the_evaluation() -> None:
    """The branch with that put may not be taken."""
    case = Case()
    case.lock(1, (b"/a/x", 9))
    case.joined(errors.LEASE_NOT_FOUND)
    assert case.replies == {}
    assert case.first() == 1


def test_home_that_cannot_be_reached_refuses_the_lock() -> None:
    case = Case()
    case.lock(1, (b"/a/x", 9), (b"/a/y", 8))
    case.joined(errors.NO_LEADER)
    assert case.replies == {1: errors.NO_LEADER}
    case.joined()
    assert case.first() is None
