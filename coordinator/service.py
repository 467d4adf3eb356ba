"""A coordinator's end of its links to shards and routers: questions in, the member's answers out.

What it is: who is connected, what each was told, and the translation. What it is not: any decision
(`member.py`), or the links between coordinators (`raft/transport.py`).

Invariants:
- whoever connects is told the state at once, and each later state once, in order;
- an answer goes to the link on which its question came, or nowhere;
- a change is taken only by the member that serves: its later samples know of it;
- what is no message of ours ends its link, and nothing else.

Worked example: a router connects: STATE. A shard starts: the map changes, STATE again, to all.

Tested in tests/unit/coordinator/test_service.py.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Final

from kubebraid.base import errors
from kubebraid.base.errors import RequestRefused
from kubebraid.base.links import Link
from kubebraid.base.ports import AllocReply, AllocRequest, Sample, ShardStart
from kubebraid.base.reshard import Order
from kubebraid.proto import coordinator_reshard as codec
from kubebraid.proto import coordinator_wire as wire
from kubebraid.proto.coordinator_reshard import Answered, Listed
from kubebraid.proto.coordinator_wire import (
    Change,
    Changed,
    CoordinatorKind,
    Known,
    MemberStatus,
)
from kubebraid.proto.hosts_wire import decode_beat, encode_heard
from kubebraid.proto.owner_wire import Malformed

from .member import Member
from .raft.log import Standing

_LOG: Final = logging.getLogger("kubebraid.coordinator")


def _nowhere() -> Standing:
    """Of a member without a log of its own."""
    return Standing(False, "", 0, 0)


class CoordinatorService:
    """LinkUser for shards and routers; `turn` tells them what changed."""

    def __init__(self, member: Member, standing: Callable[[], Standing] = _nowhere) -> None:
        """`standing`: of the member in its log."""
        self._member = member
        self._standing = standing
        self._links: dict[Link, tuple[int, bool] | None] = {}  # what each was told last

    # -- LinkUser ------------------------------------------------------------------------------

    def opened(self, link: Link) -> None:
        self._links[link] = None
        self._tell()

    def closed(self, link: Link) -> None:
        self._links.pop(link, None)
        self._member.forget(link)

    def received(self, link: Link, kind: int, body: bytes) -> None:
        try:
            self._received(link, kind, body)
        except Malformed as error:
            _LOG.warning("a peer's message is not understood", extra={"error": str(error)})
            link.close()

    def _received(self, link: Link, kind: int, body: bytes) -> None:
        match kind:
            case CoordinatorKind.ALLOC:
                self._alloc(link, *wire.decode_alloc(body))
            case CoordinatorKind.READ_REVISION:
                self._read_revision(link, *wire.decode_read_revision(body))
            case CoordinatorKind.START_SHARD:
                self._start(link, wire.decode_start(body))
            case CoordinatorKind.SHARD_ADOPTED:
                self._member.adopted(*wire.decode_adopted(body))
            case CoordinatorKind.CHANGE:
                self._change(link, wire.decode_change(body))
            case CoordinatorKind.STATUS:
                number = wire.decode_status_ask(body)
                link.send(CoordinatorKind.STATUS_ANSWER, wire.encode_status(number, self.status()))
            case _:
                self._of_operators(link, kind, body)

    def _of_operators(self, link: Link, kind: int, body: bytes) -> None:
        """What is about migrations and hosts."""
        match kind:
            case CoordinatorKind.HOST_BEAT:
                beat = decode_beat(body)
                if (
                    self._member.serves
                ):  # else it knows of nobody, which is not to say there is none
                    others = self._member.orders.beat(beat)
                    link.send(CoordinatorKind.HOST_HEARD, encode_heard(others))
            case CoordinatorKind.REPORT:
                self._member.orders.report(codec.decode_report(body))
            case CoordinatorKind.RESHARD:
                self._reshard(link, *codec.decode_reshard(body))
            case CoordinatorKind.RESHARD_ASK:
                number = codec.decode_reshard_ask(body)
                listed = Listed(
                    number, self._member.orders.progress() if self._member.serves else None
                )
                link.send(CoordinatorKind.RESHARD_LIST, codec.encode_reshard_list(listed))
            case _:
                link.close()  # of another version, or confused: it may begin anew

    # -- questions -----------------------------------------------------------------------------

    def _alloc(self, link: Link, request: AllocRequest, known: Known) -> None:
        def done(reply: AllocReply) -> None:
            answer = wire.encode_alloc_answer(request, reply, known)
            link.send(CoordinatorKind.ALLOC_ANSWER, answer)

        self._member.alloc(link, request, done)

    def _read_revision(self, link: Link, number: int, known: Known) -> None:
        def done(sample: Sample) -> None:
            answer = wire.encode_revision_answer(number, sample, known)
            link.send(CoordinatorKind.REVISION_ANSWER, answer)

        self._member.read_revision(link, done)

    def _start(self, link: Link, start: ShardStart) -> None:
        def refuse(why: RequestRefused) -> None:
            told = wire.encode_shard_refused(start.incarnation, why.message)
            link.send(CoordinatorKind.SHARD_REFUSED, told)

        self._member.start_shard(start, refuse)

    def _change(self, link: Link, change: Change) -> None:
        def answer(was_raised: bool, refused: RequestRefused | None) -> None:
            told = wire.encode_changed(Changed(change.number, was_raised, refused))
            link.send(CoordinatorKind.CHANGE_ANSWER, told)

        def alarmed(was: bool | RequestRefused) -> None:
            answer(was is True, was if isinstance(was, RequestRefused) else None)

        if not self._member.serves:
            answer(False, errors.NO_LEADER)
        elif change.floor is not None:
            self._member.compact(change.floor, lambda refused: answer(False, refused))
        else:
            self._member.set_alarm(change.alarm, change.raised, alarmed)

    def _reshard(self, link: Link, number: int, request: Order) -> None:
        def answer(refused: RequestRefused | None) -> None:
            told = codec.encode_reshard_answer(Answered(number, refused))
            link.send(CoordinatorKind.RESHARD_ANSWER, told)

        if self._member.serves:
            self._member.orders.order(request, answer)
        else:
            answer(errors.NO_LEADER)

    def status(self) -> MemberStatus:
        """What operators are told; it is no question to the log."""
        state = self._member.state
        return MemberStatus(
            *self._standing(),
            state.cepoch,
            state.lease.holder.partition("#")[0],
            state.lease.renewals,
            state.lease.window,
            self._member.sampled(),
        )

    # -- the state -----------------------------------------------------------------------------

    def turn(self) -> bool:
        """Tell whoever does not know it yet."""
        self._tell()
        return False

    def next_deadline_ms(self) -> int | None:
        return None

    def _tell(self) -> None:
        now = (self._member.index, self._member.serves)
        behind = [link for link, told in self._links.items() if told != now]
        if not behind:
            return
        body = wire.encode_state(self._member.view())
        for link in behind:
            self._links[link] = now
            link.send(CoordinatorKind.STATE, body)
