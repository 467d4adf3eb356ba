"""A shard in another process, as a router uses it: OwnerPort over a link.

What it is: the router's end: calls are packed by turn, answers find their callbacks, a lost link
ends in refusals that say what is known. What it is not: the link itself, the encoding, or a retry.

Invariants:
- every call is answered exactly once, also when the link is lost or was never there;
- a write, or a step across shards, is refused as definite (OWNER_AWAY) only if it was never sent;
  one that was sent and not answered is OUTCOME_UNKNOWN_REPLY; what only reads is OWNER_AWAY;
- an answer counts only from the link on which its call went; one that has a successor still answers
  the writes that it was sent (owner_former.py);
- the first publication after each opening of the link is a fresh one;
- calls without an answer are bounded by OWNER_CALLS_MAX, unsent bytes by OWNER_BACKLOG_BYTES_MAX;
  reads of the log always pass, for watchers bound them.

Worked example: a turn with 60 puts, 3 Gets and a list is one message, sent by `turn`; it is
answered by one or two messages, and a link that closes before fails 60 puts as unknown.

Tested in tests/contract/test_owner_port.py, tests/unit/proto/test_owner_client.py.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import repeat

from kubebraid.base import errors
from kubebraid.base.across import AcrossCall, AcrossReply
from kubebraid.base.errors import RequestRefused
from kubebraid.base.limits import OWNER_MESSAGE_BYTES
from kubebraid.base.links import Link
from kubebraid.base.ports import (
    DumpSink,
    LogCall,
    LogReply,
    PointCall,
    PointReply,
    Publication,
    ReadCall,
    ReadSink,
    ShardStatus,
    WriteCall,
    WriteReply,
)

from .owner_answers import decode_answers, decode_publication, decode_status
from .owner_flow import into_dump, into_read
from .owner_former import Former
from .owner_outbox import Outbox
from .owner_questions import Questions
from .owner_wire import Asked, Joiner, Malformed, OwnerKind, Question


class OwnerClient(Questions):
    """Implements OwnerPort and ParticipantPort for routers, PeerPort for other shards, LinkUser for
    the links to one shard, Part for the loop."""

    def __init__(self) -> None:
        super().__init__(Outbox())
        self.part = self._outbox.part
        self._joiner = Joiner()
        self.former = Former()
        self.is_parting = self._outbox.is_parting
        self._publish: Callable[[Publication], None] | None = None
        self._status = ShardStatus(0, 0, 0, 0)
        self._spoke = False  # of itself, on the present link

    # -- OwnerPort, ParticipantPort ------------------------------------------------------------

    def submit(self, calls: Sequence[WriteCall], done: Callable[[WriteReply], None]) -> None:
        outbox = self._outbox
        for run in _runs(calls):
            why = outbox.refusal()
            if why is not None:
                for call in run:
                    done(WriteReply(call.tag, 0, b"", why))
                continue
            numbers = outbox.numbers(len(run))
            waiting = zip([call.tag for call in run], repeat(done))
            outbox.pending.writes.update(zip(numbers, waiting, strict=True))
            outbox.calls.writes += run
            outbox.calls.write_numbers += numbers
            outbox.packed(sum([len(call.payload) for call in run]))

    def points(self, calls: Sequence[PointCall], done: Callable[[PointReply], None]) -> None:
        outbox = self._outbox
        why = outbox.refusal()
        if why is not None:
            for call in calls:
                done(PointReply(call.tag, None, why))
            return
        numbers = outbox.numbers(len(calls))
        waiting = zip([call.tag for call in calls], repeat(done))
        outbox.pending.points.update(zip(numbers, waiting, strict=True))
        outbox.calls.points += calls
        outbox.calls.point_numbers += numbers
        outbox.packed(sum([len(call.key) for call in calls]))

    def read(self, call: ReadCall, sink: ReadSink) -> None:
        outbox = self._outbox
        why = outbox.refusal()
        if why is not None:
            sink.take(why)
            return
        (number,) = outbox.numbers(1)
        outbox.pending.reads[number] = into_read(sink)
        outbox.calls.reads.append((number, call))

    def dump(self, sink: DumpSink) -> None:
        outbox = self._outbox
        why = outbox.refusal()
        if why is not None:
            sink.fail(why)
            return
        (number,) = outbox.numbers(1)
        outbox.pending.dumps[number] = into_dump(sink)
        outbox.calls.questions.append(Question(number, Asked.DUMP))

    def read_log(self, call: LogCall, done: Callable[[LogReply | RequestRefused], None]) -> None:
        outbox = self._outbox
        if outbox.link is None:
            done(errors.OWNER_AWAY)
            return
        (number,) = outbox.numbers(1)
        outbox.pending.logs[number] = done
        outbox.calls.logs.append((number, call))

    def across(self, call: AcrossCall, done: Callable[[AcrossReply], None]) -> None:
        outbox = self._outbox
        why = outbox.refusal()
        if why is not None:
            done(AcrossReply(why))
            return
        (number,) = outbox.numbers(1)
        outbox.pending.across[number] = done
        outbox.calls.across.append((number, call))

    def subscribe(self, publish: Callable[[Publication], None]) -> None:
        assert self._publish is None, "a router subscribes once"
        self._publish = publish
        self._outbox.calls.subscribe = self._outbox.link is not None

    def status(self) -> ShardStatus:
        return self._status

    def removed(self) -> None:
        """The shard is none of the cluster any more: its figures count no more."""
        self._status = ShardStatus(0, 0, 0, 0)

    @property
    def connected(self) -> bool:
        """Whether there is a link to it now."""
        return self._outbox.link is not None

    @property
    def spoke(self) -> bool:
        """Whether `status` is its word on the present link: before, it is another life's, or
        nobody's."""
        return self.connected and self._spoke

    # -- the loop ------------------------------------------------------------------------------

    def flush(self) -> None:
        """Send what was packed."""
        self._outbox.flush()

    def turn(self) -> bool:
        """Hand on what sinks take now, send what was packed."""
        taken = self._outbox.pending.pump(self._outbox.calls)
        self._outbox.flush()
        return taken

    def next_deadline_ms(self) -> int | None:
        return None

    @property
    def idle(self) -> bool:
        """Whether nobody waits for an answer and nothing is packed."""
        waits = bool(self._outbox.pending) or self.former.waited_for
        return self._outbox.calls.empty() and not waits

    # -- the link ------------------------------------------------------------------------------

    def opened(self, link: Link) -> None:
        """A link that is still there has a successor, which speaks for the shard. It is closed, for
        should the successor end at once its dialer has to try again; that of a process which hands
        the shard over is its dialer's to close, when nobody waits for it."""
        former = self._outbox.link
        if former is not None and self._outbox.parting:
            self.former.follow(former, self._outbox.leave(), self._joiner)
        elif former is not None:
            self._outbox.lose()
            former.close()
        self._outbox.link, self._outbox.parting = link, False
        self._joiner = Joiner()
        self._spoke = False
        self._outbox.calls.subscribe = self._publish is not None
        self.ask_again()

    def closed(self, link: Link) -> None:
        if link is self._outbox.link:
            self._outbox.lose()
        elif link is self.former.link:
            self.former.lost()

    def received(self, link: Link, kind: int, body: bytes) -> None:
        if link is self.former.link:
            self.former.received(kind, body)
            return
        if link is not self._outbox.link:
            return
        whole = self._joiner.take(kind, body)
        if whole is not None:
            try:
                self._heard(kind, whole)
            except Malformed:
                link.close()  # every call is answered when it has closed

    def _heard(self, kind: int, whole: bytes) -> None:
        if kind == OwnerKind.ANSWERS:
            self._outbox.pending.answered(decode_answers(whole), self._outbox.calls)
        elif kind == OwnerKind.PUBLICATION:
            assert self._publish is not None, "a publication without a subscription"
            self._publish(decode_publication(whole))
        elif kind == OwnerKind.UNSUBSCRIBED:
            self._outbox.calls.subscribe = True
        elif kind == OwnerKind.STATUS:
            self._status = decode_status(whole)
            self._spoke = True


def _runs(calls: Sequence[WriteCall]) -> Iterator[Sequence[WriteCall]]:
    """The calls in runs, each of them one message at most, or one call that is larger."""
    start = size = 0
    for at, call in enumerate(calls):
        if size >= OWNER_MESSAGE_BYTES:
            yield calls[start:at]
            start, size = at, 0
        size += len(call.payload)
    if start < len(calls):
        yield calls[start:]
