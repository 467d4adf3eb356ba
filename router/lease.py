"""etcd's Lease service.

What it is: grants and revokes as writes, the rest as questions to the lease home. What it is not:
expiry (the owner's) or the rules of a lease (`shard/lease.py`).

Invariants: a client may choose any id but 0 (etcd takes negative ones too); the id of
LeaseGrant(ID=0) is chosen here, at random and positive;
answers' headers come from a sample asked for after the request (grant and revoke: from the write).

Source: etcd server/etcdserver/api/v3rpc/lease.go. Tested in tests/e2e/test_etcdctl.py.
"""

from __future__ import annotations

from kubebraid.base.ports import (
    WRITE_LEASE_GRANT,
    WRITE_LEASE_REVOKE,
    OwnerPort,
    Sample,
)
from kubebraid.proto import requests, responses
from kubebraid.proto.server import Edge

from .answers import Caller
from .context import Context
from .guard import free, lease_cost
from .kv import KvService
from .plan import WriteTarget


class LeaseService:
    """LeaseGrant, LeaseRevoke, LeaseKeepAlive, LeaseTimeToLive, LeaseLeases."""

    def __init__(self, context: Context, kv: KvService) -> None:
        self._context = context
        self._kv = kv
        # The lease home: while one shard owns everything it is that shard.
        self._home = min(context.owners)
        self._streams: set[tuple[Edge, int]] = set()

    def open(self, edge: Edge, call_id: int) -> None:
        """A LeaseKeepAlive stream begins."""
        self._streams.add((edge, call_id))

    def close(self, edge: Edge, call_id: int) -> None:
        self._streams.discard((edge, call_id))

    def end_all(self, code: int, text: str) -> None:
        """A drain: clients keep their leases alive elsewhere."""
        for edge, call_id in list(self._streams):
            edge.fail(call_id, code, text)
        self._streams.clear()

    def _owner(self) -> OwnerPort:
        return self._context.owners[self._home]

    def _target(self) -> WriteTarget:
        return WriteTarget((), frozenset((self._home,)))

    def grant(self, caller: Caller, payload: bytes) -> None:
        lease, ttl_s = requests.lease_grant(payload)
        if self._kv.refused(caller, payload, lease_cost):
            return
        chosen = lease or self._context.random.lease_id()
        encoded = requests.encode_lease_grant(chosen, ttl_s)
        self._kv.submit(caller, WRITE_LEASE_GRANT, encoded, self._target())

    def revoke(self, caller: Caller, payload: bytes) -> None:
        requests.lease_revoke(payload)
        if self._kv.refused(caller, payload, free):
            return
        self._kv.submit(caller, WRITE_LEASE_REVOKE, payload, self._target())

    def time_to_live(self, caller: Caller, payload: bytes) -> None:
        lease, with_keys = requests.lease_time_to_live(payload)

        def answer(sample: Sample) -> None:
            info = self._owner().lease_info(lease)
            if info is None:
                body = responses.no_lease(lease)
            else:
                granted_s, remaining_s, keys = info
                shown = keys if with_keys else ()
                body = responses.lease_info(lease, granted_s, remaining_s, shown)
            caller.respond(sample.revision, body)

        self._kv.with_sample(answer)

    def leases(self, caller: Caller, payload: bytes) -> None:
        requests.check_empty(payload)
        self._kv.with_sample(
            lambda sample: caller.respond(sample.revision, responses.leases(self._owner().leases()))
        )

    def keep_alive(self, edge: Edge, call_id: int, payload: bytes) -> None:
        """One message of a LeaseKeepAlive stream; an unknown lease is answered with TTL 0."""
        lease = requests.lease_keep_alive(payload)

        def answer(sample: Sample) -> None:
            body = responses.kept_alive(lease, self._owner().keep_alive(lease))
            edge.send(call_id, self._context.header.field(sample.revision) + body)

        self._kv.with_sample(answer)
