"""etcd's Lease service.

What it is: grants and revokes as writes, the rest as questions to the lease home. What it is not:
expiry (the owner's) or the rules of a lease (`shard/lease.py`).

Invariants: a client may choose any id but 0 (etcd takes negative ones too); the id of
LeaseGrant(ID=0) is chosen here, at random and positive;
answers' headers come from a sample asked for after the request (grant and revoke: from the write).

Source: etcd server/etcdserver/api/v3rpc/lease.go. Tested in tests/e2e/test_etcdctl.py.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from kubebraid.base import errors
from kubebraid.base.errors import RequestRefused
from kubebraid.base.leasehome import home
from kubebraid.base.limits import RETRY_MS_MAX
from kubebraid.base.ports import (
    WRITE_LEASE_GRANT,
    WRITE_LEASE_REVOKE,
    LeaseInfo,
    OwnerPort,
    Sample,
)
from kubebraid.base.revision import LeaseId, Revision
from kubebraid.proto import requests, responses
from kubebraid.proto.server import Edge

from .answers import Caller
from .context import Context
from .guard import free, lease_cost
from .kv import KvService
from .plan import WriteTarget


class _Stream:
    """A LeaseKeepAlive stream: messages without an answer, and whether more may come."""

    __slots__ = ("half_closed", "unanswered")

    def __init__(self) -> None:
        self.unanswered = 0
        self.half_closed = False


class LeaseService:
    """LeaseGrant, LeaseRevoke, LeaseKeepAlive, LeaseTimeToLive, LeaseLeases."""

    def __init__(self, context: Context, kv: KvService) -> None:
        self._context = context
        self._kv = kv
        self._streams: dict[tuple[Edge, int], _Stream] = {}

    def open(self, edge: Edge, call_id: int) -> None:
        """A LeaseKeepAlive stream begins."""
        self._streams[(edge, call_id)] = _Stream()

    def close(self, edge: Edge, call_id: int) -> None:
        self._streams.pop((edge, call_id), None)

    def half_close(self, edge: Edge, call_id: int) -> None:
        """The client has said all: the stream ends behind the last answer."""
        stream = self._streams.get((edge, call_id))
        if stream is not None:
            stream.half_closed = True
            self._end_if_answered(edge, call_id, stream)

    def _end_if_answered(self, edge: Edge, call_id: int, stream: _Stream) -> None:
        if stream.half_closed and not stream.unanswered:
            del self._streams[(edge, call_id)]
            edge.end(call_id)

    def end_all(self, code: int, text: str) -> None:
        """A drain: clients keep their leases alive elsewhere."""
        for edge, call_id in list(self._streams):
            edge.fail(call_id, code, text)
        self._streams.clear()

    def _owner(self, lease: LeaseId) -> OwnerPort:
        """The shard that keeps the lease."""
        return self._context.owners[home(self._context.tablets, lease).shard]

    def _target(self, lease: LeaseId) -> WriteTarget:
        tablet = home(self._context.tablets, lease)
        return WriteTarget((tablet.id,), frozenset((tablet.shard,)))

    def grant(self, caller: Caller, payload: bytes) -> None:
        lease, ttl_s = requests.lease_grant(payload)
        if self._kv.refused(caller, payload, lease_cost):
            return
        chosen = lease or self._context.random.lease_id()
        encoded = requests.encode_lease_grant(chosen, ttl_s)
        self._kv.submit(caller, WRITE_LEASE_GRANT, encoded, self._target(chosen))

    def revoke(self, caller: Caller, payload: bytes) -> None:
        lease = requests.lease_revoke(payload)
        if self._kv.refused(caller, payload, free):
            return
        self._kv.submit(caller, WRITE_LEASE_REVOKE, payload, self._target(lease))

    def time_to_live(self, caller: Caller, payload: bytes) -> None:
        lease, with_keys = requests.lease_time_to_live(payload)

        def answer(revision: Revision, info: LeaseInfo | RequestRefused | None) -> None:
            if isinstance(info, RequestRefused):
                caller.fail(info)
                return
            if info is None:
                body = responses.no_lease(lease)
            else:
                shown = info.keys if with_keys else ()
                body = responses.lease_info(lease, info.granted_s, info.remaining_s, shown)
            caller.respond(revision, body)

        self._kv.with_sample(
            lambda sample: self._owner(lease).lease_info(lease, partial(answer, sample.revision))
        )

    def leases(self, caller: Caller, payload: bytes) -> None:
        requests.check_empty(payload)

        owners = self._context.serving()
        found: list[LeaseId] = []
        waiting = len(owners)

        def answer(revision: Revision, ids: Sequence[LeaseId] | RequestRefused) -> None:
            nonlocal waiting
            if waiting < 0:
                return
            waiting -= 1
            if isinstance(ids, RequestRefused):
                waiting = -1  # the others' answers are of no use any more
                caller.fail(ids)
                return
            found.extend(ids)
            if not waiting:
                caller.respond(revision, responses.leases(found))

        def ask(sample: Sample) -> None:
            for owner in owners:
                owner.leases(partial(answer, sample.revision))

        self._kv.with_sample(ask)

    def keep_alive(self, edge: Edge, call_id: int, payload: bytes) -> None:
        """One message of a LeaseKeepAlive stream; an unknown lease is answered with TTL 0.

        A refusal ends the stream, as etcd has it: TTL 0 would tell the client that it has lost the
        lease, which nobody knows."""
        lease = requests.lease_keep_alive(payload)
        stream = self._streams.get((edge, call_id))
        if stream is None:
            return  # the stream was ended by a drain
        stream.unanswered += 1
        until_ms = self._context.clock.now_ms() + RETRY_MS_MAX

        def answer(revision: Revision, ttl_s: int | RequestRefused) -> None:
            stream.unanswered -= 1
            if self._streams.get((edge, call_id)) is not stream:
                return
            if ttl_s is errors.OTHER_MAP and self._context.clock.now_ms() < until_ms:
                stream.unanswered += 1
                ask()  # its home has moved: the newest sample comes with the map that says where
                return
            if isinstance(ttl_s, RequestRefused):
                del self._streams[(edge, call_id)]
                edge.fail(call_id, int(ttl_s.code), ttl_s.message)
                return
            body = responses.kept_alive(lease, ttl_s)
            edge.send(call_id, self._context.header.field(revision) + body)
            self._end_if_answered(edge, call_id, stream)

        def ask() -> None:
            self._kv.with_sample(
                lambda sample: self._owner(lease).keep_alive(
                    lease, partial(answer, sample.revision)
                )
            )

        ask()
