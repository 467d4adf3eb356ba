"""etcd's Lock service, as procedures: take a seat, wait for the older ones, give it back.

What it is: the order of requests that etcd's concurrency.Mutex sends. What it is not: whoever sends
them (`concurrency.py`), or their bytes (`proto/concurrency.py`).

Invariants:
- who holds the lock sits on the oldest seat below `name/`; a lease has one seat, so that locking
  twice with one lease is locking once;
- a call that fails or ends while it waits gives up its seat.

Worked example: Lock(l, lease 1f) puts l/1f at revision 5 while l/1e of revision 4 is there; when
that is deleted, by Unlock or with its lease, the answer tells the key l/1f.

Difference: a call that ends while its seat is being written gives it up as well; etcd leaves it
there until the lease expires.

Source: etcd server/etcdserver/api/v3lock/lock.go, client/v3/concurrency/mutex.go. Tested in
tests/unit/router/test_lock.py.
"""

from __future__ import annotations

from typing import Final

from kubebraid.base.errors import RequestRefused
from kubebraid.base.revision import LeaseId
from kubebraid.proto import concurrency as wire

from .procedure import (
    Answer,
    Ask,
    Check,
    Gone,
    Procedure,
    Service,
    give_up,
    lease_of_call,
    refusal,
    wait_for_older,
)

SESSION_EXPIRED: Final = "mutex: session is expired"


def lock(name: bytes, lease: LeaseId) -> Procedure[Answer]:
    """Answered when the lock is held."""
    prefix = name + b"/"
    lease = yield from lease_of_call(lease)
    key = wire.seat_key(prefix, lease)
    request = wire.acquire(key, prefix, lease)
    reply = wire.txn_reply((yield Ask(Service.TXN, request)))
    mine = reply.revision if reply.succeeded else reply.seats[0].created
    oldest = reply.seats[-1]
    try:
        if oldest.created == mine:
            if reply.succeeded:
                yield Check()
            return Answer(reply.revision, wire.lock_body(key))
        yield from wait_for_older(prefix, mine)
        still = wire.range_reply((yield Ask(Service.RANGE, wire.read(key))))
    except (Gone, RequestRefused):
        yield from give_up(Ask(Service.DELETE, wire.delete(key)))
        raise
    if not still.seats:
        raise refusal(SESSION_EXPIRED)
    return Answer(still.revision, wire.lock_body(key))


def unlock(key: bytes) -> Procedure[Answer]:
    """Give up a seat; one that is not there is given up already."""
    payload = yield Ask(Service.DELETE, wire.delete(key))
    return Answer(wire.revision_of(payload))
