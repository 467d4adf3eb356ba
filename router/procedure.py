"""The steps that locks and elections are told in, and the two passages that both of them need.

What it is: a *procedure* is a generator that yields what it wants done and is resumed with the
answer, so that etcd's algorithm reads from top to bottom and is still a state machine that a test
steps by hand. What it is not: whoever does the steps (`concurrency.py`).

Words: a *seat* is the key of one lease below a name (`proto/concurrency.py`).

Invariants:
- a refusal of a step, and the end of the call (`Gone`), are raised at the step: `Ask` is never
  interrupted, so that a procedure knows what it has written; `Next` and `Check` raise Gone;
- a procedure has at most one watch at a time; nothing is polled.

Worked example: seats s/1, s/2, s/3 were created at 5, 6, 7. Who sits on s/3 reads the youngest seat
up to 6, which is s/2, watches it until it is deleted, reads again, waits for s/1, reads nothing:
it is the oldest now.

Source: etcd client/v3/concurrency (session.go, key.go). Tested in
tests/unit/router/test_lock.py, tests/unit/router/test_election.py.
"""

from __future__ import annotations

from collections.abc import Generator
from contextlib import suppress
from enum import Enum
from typing import Final, NamedTuple, TypeAlias, TypeVar

from kubebraid.base import errors
from kubebraid.base.errors import Code, RequestRefused
from kubebraid.base.revision import LeaseId, Revision
from kubebraid.proto import concurrency as wire

OWN_LEASE_TTL_S: Final = 60  # etcd defaultSessionTTL


class Service(Enum):
    """Whom an Ask goes to."""

    TXN = "KV.Txn"
    RANGE = "KV.Range"
    DELETE = "KV.DeleteRange"
    GRANT = "Lease.LeaseGrant"


class Ask(NamedTuple):
    """Send a request; the answer's bytes are the step's."""

    service: Service
    payload: bytes


class Follow(NamedTuple):
    """Begin a watch by this WatchRequest."""

    payload: bytes


class Next(NamedTuple):
    """Wait for the watch's next message; its bytes are the step's."""


class Unfollow(NamedTuple):
    """End the watch."""


class Check(NamedTuple):
    """Go on only if somebody still waits for the answer."""


class Show(NamedTuple):
    """One message of a stream of answers."""

    revision: Revision
    body: bytes


class Answer(NamedTuple):
    """What a call is answered with: the header's revision, and the rest."""

    revision: Revision
    body: bytes = b""


class Gone(Exception):
    """Nobody waits for the answer any more: the client went, or the server stops."""

    definite = False
    hint = "call again"


Step: TypeAlias = Ask | Follow | Next | Unfollow | Check | Show
T = TypeVar("T")
Procedure: TypeAlias = Generator[Step, bytes, T]


def refusal(text: str) -> RequestRefused:
    """What etcd's services refuse by themselves; new each time, as it keeps its traceback."""
    return RequestRefused(Code.UNKNOWN, text)


def lease_of_call(lease: LeaseId) -> Procedure[LeaseId]:
    """The lease to work with: the one given, or a new one that nobody will keep alive.

    As in etcd, an id is taken as it is: whether there is such a lease shows when it is used.
    """
    if lease:
        return lease
    return wire.granted((yield Ask(Service.GRANT, wire.grant(OWN_LEASE_TTL_S))))


def give_up(request: Ask) -> Procedure[None]:
    """Clean up behind a failure, which is what the client hears of."""
    with suppress(RequestRefused):
        yield request


def wait_for_older(prefix: bytes, mine: Revision) -> Procedure[None]:
    """Until no seat below `prefix` is older than the one created at `mine`."""
    while True:
        before = wire.read_before(prefix, mine - 1)
        reply = wire.range_reply((yield Ask(Service.RANGE, before)))
        if not reply.seats:
            return
        older = reply.seats[0]
        assert older.created < mine, (older.created, mine)
        yield Follow(wire.watch(older.key, reply.revision))
        yield from _until_deleted()
        yield Unfollow()


def _until_deleted() -> Procedure[None]:
    while True:
        news = wire.news((yield Next()))
        if news.over:
            raise refusal(errors.COMPACTED.message)
        if any(happening.deleted for happening in news.happenings):
            return
