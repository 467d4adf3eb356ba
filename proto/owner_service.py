"""A shard as it is offered to routers in other processes: OwnerPort behind links.

What it is: the shard's end: calls of many routers in, answers batched by turn and router out,
publications to all that subscribe. What it is not: the owner's work, the encoding, the links.

Invariants:
- the calls of one router reach the owner in the order in which it made them;
- a subscription begins with a fresh publication made from what was published before it, so no
  publication falls between;
- a publication is encoded once; a router that lets OWNER_BACKLOG_BYTES_MAX wait loses its
  subscription, is told so, and begins anew when it has read on: memory is bounded, others go on;
- what cannot be understood ends the link on which it came, and nothing else;
- of a router whose link is gone nothing is kept; its writes that wait are still committed.

Worked example: routers a and b subscribe; a's 60 puts are one `submit`, one batch, one publication
in the same bytes for both, and one message of 60 answers for a.

Tested in tests/contract/test_owner_port.py, tests/unit/proto/test_owner_service.py.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from functools import partial
from typing import Final, Protocol

from kubebraid.base import errors
from kubebraid.base.across import AcrossCall, AcrossReply, ParticipantPort
from kubebraid.base.errors import RequestRefused
from kubebraid.base.limits import OWNER_BACKLOG_BYTES_MAX, OWNER_STATUS_MS
from kubebraid.base.links import Link
from kubebraid.base.ports import (
    KeySource,
    LeaseInfo,
    LogReply,
    OwnerPort,
    PeerPort,
    Publication,
    Sample,
    ShardStatus,
    TabletNews,
)
from kubebraid.base.reshard import CopyCall
from kubebraid.base.revision import TabletId
from kubebraid.base.seams import Clock

from . import owner_wire
from .owner_answers import Answer, encode_answers, encode_publication, encode_status
from .owner_flow import DumpOutflow, Outflow, Outlet, ReadOutflow
from .owner_reshard import Asking, Told
from .owner_wire import Asked, Calls, Joiner, Malformed, OwnerKind, Question, decode_calls

NO_PART: Final = errors.unimplemented("this shard takes no part in transactions over several")
_LOG: Final = logging.getLogger("kubebraid.shard")


class Shard(OwnerPort, PeerPort, KeySource, Protocol):
    """What is offered: to routers the one port, to other shards the other."""


class _Router(Outlet):
    """One link and what is on its way to it."""

    def __init__(self, link: Link) -> None:
        super().__init__(link)
        self.joiner = Joiner()
        self.subscribed = False
        self.told: ShardStatus | None = None

    def steer(self, calls: Calls) -> None:
        """Grants and cancellations; those of flows that are over come too late."""
        for number, size in calls.grants:
            if number in self.flows:
                self.flows[number].granted(size)
        for number in calls.cancelled:
            if number in self.flows:
                self.flows[number].end()

    def logged(self, number: int, reply: LogReply | RequestRefused) -> None:
        if isinstance(reply, RequestRefused):
            self.answers.refused.append((number, reply))
        else:
            self.answers.logs.append((number, reply))

    def stepped(self, number: int, reply: AcrossReply) -> None:
        self.answers.across.append((number, reply))

    def sampled(self, number: int, keys: tuple[bytes, ...] | RequestRefused) -> None:
        if isinstance(keys, RequestRefused):
            self.answers.refused.append((number, keys))
        else:
            self.answers.answers.append((number, Answer((), keys)))

    def copied(self, number: int, told: Told | RequestRefused) -> None:
        if isinstance(told, RequestRefused):
            self.answers.refused.append((number, told))
        else:
            self.answers.copies.append((number, told))

    def answered(
        self, number: int, answer: int | Sequence[int] | LeaseInfo | RequestRefused | None
    ) -> None:
        """One number, some, a lease, or nothing."""
        if isinstance(answer, RequestRefused):
            self.answers.refused.append((number, answer))
            return
        match answer:
            case None:
                told = Answer()
            case LeaseInfo(granted_s, remaining_s, keys):
                told = Answer((granted_s, remaining_s), keys)
            case int():
                told = Answer((answer,))
            case _:
                told = Answer(tuple(answer))
        self.answers.answers.append((number, told))


class OwnerService:
    """Implements LinkUser for the links of routers, and Part for the loop: behind the owner."""

    def __init__(
        self, owner: Shard, clock: Clock, participant: ParticipantPort | None = None
    ) -> None:
        """`participant`: the shard's part in transactions over several; None: it takes none."""
        self._participant = participant
        self._owner = owner
        self._clock = clock
        self._routers: dict[Link, _Router] = {}
        self._news: dict[TabletId, TabletNews] = {}  # where each tablet stands
        self._shard = ""
        self._sample: Sample | None = None
        self._status_ms = 0
        owner.subscribe(self._published)
        assert self._sample is not None, "a shard in this process publishes at once"

    # -- publications --------------------------------------------------------------------------

    def _published(self, publication: Publication) -> None:
        self._shard = publication.shard
        self._sample = publication.sample
        if publication.fresh:
            self._news.clear()  # it states every tablet, and none that went elsewhere
        for news in publication.news:
            self._news[news.tablet] = news._replace(commits=())
        hearers = [router for router in self._routers.values() if router.subscribed]
        if not hearers:
            return
        body = encode_publication(publication)
        for router in hearers:
            if router.link.pending_bytes() > OWNER_BACKLOG_BYTES_MAX:
                router.subscribed = False
                router.link.send(OwnerKind.UNSUBSCRIBED, b"")
            else:
                owner_wire.send(router.link, OwnerKind.PUBLICATION, body)

    def _subscribe(self, router: _Router) -> None:
        assert self._sample is not None
        router.subscribed = True
        fresh = Publication(self._shard, tuple(self._news.values()), self._sample, fresh=True)
        owner_wire.send(router.link, OwnerKind.PUBLICATION, encode_publication(fresh))

    # -- links ---------------------------------------------------------------------------------

    def opened(self, link: Link) -> None:
        self._routers[link] = _Router(link)
        self._status_ms = 0

    def closed(self, link: Link) -> None:
        router = self._routers.pop(link, None)
        if router is not None:
            for flow in list(router.flows.values()):
                flow.end()

    def received(self, link: Link, kind: int, body: bytes) -> None:
        router = self._routers.get(link)
        if router is None:
            return
        whole = router.joiner.take(kind, body)
        if whole is None:
            return
        try:
            calls = decode_calls(whole)
        except Malformed as error:
            _LOG.warning("a router's message is not understood", extra={"error": str(error)})
            link.close()
            return
        self._called(router, calls)

    def _called(self, router: _Router, calls: Calls) -> None:
        owner, answers = self._owner, router.answers
        if calls.subscribe:
            self._subscribe(router)
        if calls.writes:
            owner.submit(calls.writes, answers.writes.append)
        if calls.points:
            owner.points(calls.points, answers.points.append)
        for number, read in calls.reads:
            owner.read(read, ReadOutflow(Outflow(router, number)))
        for number, log in calls.logs:
            owner.read_log(log, partial(router.logged, number))
        for question in calls.questions:
            self._asked(router, question)
        for number, step in calls.across:
            self._step(router, number, step)
        for number, asking in calls.copies:
            self._copied(router, number, asking)
        router.steer(calls)

    def _copied(self, router: _Router, number: int, asking: Asking) -> None:
        done = partial(router.copied, number)
        if isinstance(asking, CopyCall):
            self._owner.copy(asking, done)
        else:
            self._owner.digest(asking, done)

    def _asked(self, router: _Router, question: Question) -> None:
        owner = self._owner
        number, kind, first, second, name = question
        done = partial(router.answered, number)
        match kind:
            case Asked.COMPACT:
                owner.compact(first, partial(done, None))
            case Asked.HASH:
                owner.hash_versions(first, second, done)
            case Asked.DUMP:
                owner.dump(DumpOutflow(Outflow(router, number)))
            case Asked.DEFRAGMENT:
                owner.defragment(done)
            case Asked.SAMPLE_KEYS:
                keys = partial(router.sampled, number)
                owner.sample_keys(first, second, bool(name), keys)
            case _:
                self._asked_of_leases(router, question)

    def _asked_of_leases(self, router: _Router, question: Question) -> None:
        owner = self._owner
        number, kind, lease, _, name = question
        done = partial(router.answered, number)
        match kind:
            case Asked.LEASE_INFO:
                owner.lease_info(lease, done)
            case Asked.LEASES:
                owner.leases(done)
            case Asked.KEEP_ALIVE:
                owner.keep_alive(lease, done)
            case Asked.LEASE_JOIN:
                owner.lease_join(lease, name, done)
            case Asked.LEASE_LEAVE:
                owner.lease_leave(lease, done)
            case _:
                done(errors.unimplemented(f"question {kind} of another version"))

    def _step(self, router: _Router, number: int, step: AcrossCall) -> None:
        if self._participant is None:
            router.stepped(number, AcrossReply(NO_PART))
        else:
            self._participant.across(step, partial(router.stepped, number))

    # -- the loop ------------------------------------------------------------------------------

    def turn(self) -> bool:
        """Send what was answered, and, once a second, what changed in the figures."""
        for router in self._routers.values():
            if not router.answers.empty():
                owner_wire.send(router.link, OwnerKind.ANSWERS, encode_answers(router.answers))
                router.answers.clear()
        now_ms = self._clock.now_ms()
        if self._routers and now_ms >= self._status_ms:
            self._status_ms = now_ms + OWNER_STATUS_MS
            self._tell(self._owner.status())
        return False

    def _tell(self, status: ShardStatus) -> None:
        for router in self._routers.values():
            if router.told != status:
                router.told = status
                router.link.send(OwnerKind.STATUS, encode_status(status))

    def next_deadline_ms(self) -> int | None:
        return self._status_ms if self._routers else None
