"""etcd's Election service, as procedures: campaign, proclaim, resign, and look who leads.

What it is: the order of requests that etcd's concurrency.Election sends. What it is not: whoever
sends them (`concurrency.py`), or their bytes (`proto/concurrency.py`).

Invariants:
- who leads sits on the oldest seat below `name/`; the seat's value is what the leader proclaims;
- proclaim and resign touch the seat of that creation alone, never a successor's of the same lease;
- a campaign whose client goes gives up its seat; one that is refused while it waits leaves it, as
  etcd does.

Worked example: Campaign(e, lease 1f, "a") puts e/1f at revision 5 and is answered when no seat of e
is older; Proclaim with that key and rev 5 puts "b" there; Observe shows "a", then "b".

Difference: a call that ends while its seat is being written gives it up as well; etcd leaves it
there until the lease expires.

Source: etcd server/etcdserver/api/v3election/election.go, client/v3/concurrency/election.go. Tested
in tests/unit/router/test_election.py.
"""

from __future__ import annotations

from typing import Final

from kubebraid.base.errors import RequestRefused
from kubebraid.base.revision import LeaseId, Revision
from kubebraid.proto import concurrency as wire
from kubebraid.proto.requests import LeaderKey

from .procedure import (
    Answer,
    Ask,
    Check,
    Follow,
    Gone,
    Next,
    Procedure,
    Service,
    Show,
    Unfollow,
    give_up,
    lease_of_call,
    refusal,
    wait_for_older,
)

NOT_LEADER: Final = "election: not leader"
NO_LEADER: Final = "election: no leader"
LEADER_MISSING: Final = '"leader" field must be provided'


def campaign(name: bytes, lease: LeaseId, value: bytes) -> Procedure[Answer]:
    """Answered when the election is won."""
    prefix = name + b"/"
    lease = yield from lease_of_call(lease)
    key = wire.seat_key(prefix, lease)
    reply = wire.txn_reply((yield Ask(Service.TXN, wire.stand(key, value, lease))))
    mine = reply.revision if reply.succeeded else reply.seats[0].created
    if not reply.succeeded and reply.seats[0].value != value:
        try:
            yield from _proclaim(key, mine, value, lease)
        except RequestRefused:
            yield from give_up(Ask(Service.TXN, wire.resign(key, mine)))
            raise
    try:
        yield from wait_for_older(prefix, mine)
        if reply.succeeded:
            yield Check()
    except Gone:
        yield from give_up(Ask(Service.TXN, wire.resign(key, mine)))
        raise
    return Answer(reply.revision, wire.campaign_body(LeaderKey(name, key, mine, lease)))


def proclaim(leader: LeaderKey | None, value: bytes) -> Procedure[Answer]:
    """A new value, if the leadership still stands."""
    if leader is None:
        raise refusal(LEADER_MISSING)
    lease = yield from lease_of_call(leader.lease)
    return Answer((yield from _proclaim(leader.key, leader.created, value, lease)))


def _proclaim(key: bytes, created: Revision, value: bytes, lease: LeaseId) -> Procedure[Revision]:
    request = wire.proclaim(key, created, value, lease)
    reply = wire.txn_reply((yield Ask(Service.TXN, request)))
    if not reply.succeeded:
        raise refusal(NOT_LEADER)
    return reply.revision


def resign(leader: LeaderKey | None) -> Procedure[Answer]:
    """Give a leadership up; one that is over is given up already."""
    if leader is None:
        raise refusal(LEADER_MISSING)
    yield from lease_of_call(leader.lease)
    request = wire.resign(leader.key, leader.created)
    return Answer(wire.txn_reply((yield Ask(Service.TXN, request))).revision)


def leader(name: bytes) -> Procedure[Answer]:
    """Who leads now."""
    reply = wire.range_reply((yield Ask(Service.RANGE, wire.read_oldest(name + b"/"))))
    if not reply.seats:
        raise refusal(NO_LEADER)
    return Answer(reply.revision, wire.leader_body(reply.seats[0].raw))


def observe(name: bytes) -> Procedure[None]:
    """Every proclamation of one leader, then of the next. A refusal ends it without a word, as in
    etcd: whoever observes begins again."""
    prefix = name + b"/"
    try:
        while True:
            reply = wire.range_reply((yield Ask(Service.RANGE, wire.read_oldest(prefix))))
            if reply.seats:
                seat, revision = reply.seats[0], reply.revision
                key, raw = seat.key, seat.raw
            else:
                happening = yield from _first_put(prefix, reply.revision)
                key, raw, revision = happening.key, happening.raw, happening.revision
            yield Show(revision, wire.leader_body(raw))
            yield from _show_changes(key, revision + 1)
    except RequestRefused:
        return


def _first_put(prefix: bytes, start: Revision) -> Procedure[wire.Happening]:
    """Wait for somebody to campaign."""
    yield Follow(wire.watch(prefix, start, below=True))
    while True:
        news = wire.news((yield Next()))
        if news.over:
            raise refusal(NO_LEADER)
        for happening in news.happenings:
            if not happening.deleted:
                yield Unfollow()
                return happening


def _show_changes(key: bytes, start: Revision) -> Procedure[None]:
    """What the leader proclaims, until its seat is gone."""
    yield Follow(wire.watch(key, start))
    while True:
        news = wire.news((yield Next()))
        if news.over:
            raise refusal(NO_LEADER)
        for happening in news.happenings:
            if happening.deleted:
                yield Unfollow()
                return
            yield Show(news.revision, wire.leader_body(happening.raw))
