"""Who waits for what of a shard in another process.

What it is: the callbacks and sinks of one link by the numbers of their calls, and how an answer, or
the loss of the link, reaches them. What it is not: packing or sending (`owner_client.py`).

Invariants:
- each call is answered once: by what came, or by `lost`; what comes for a cancelled read is
  dropped;
- `lost` tells a write or a step that was sent that its outcome is unknown, everything else that
  nothing was done or only read.

Worked example: numbers 7 (a put) and 8 (a list) wait; an answer brings 7; the link is lost, and the
list's sink takes OWNER_AWAY.

Tested in tests/unit/proto/test_owner_client.py.
"""

from __future__ import annotations

from collections.abc import Callable

from kubebraid.base import errors
from kubebraid.base.across import AcrossReply
from kubebraid.base.errors import RequestRefused
from kubebraid.base.ports import LogReply, PointReply, ReadChunk, WriteReply

from .owner_answers import Answer, Arrived, DumpPart
from .owner_flow import Inflow, P
from .owner_former import Writes
from .owner_reshard import Told
from .owner_wire import Calls

Answered = Callable[[Answer | RequestRefused], None]


class Pending:
    """The calls of one link that are not answered; filled by the client."""

    def __init__(self) -> None:
        self.writes: Writes = {}
        self.points: dict[int, tuple[object, Callable[[PointReply], None]]] = {}
        self.reads: dict[int, Inflow[ReadChunk]] = {}
        self.dumps: dict[int, Inflow[DumpPart]] = {}
        self.logs: dict[int, Callable[[LogReply | RequestRefused], None]] = {}
        self.questions: dict[int, Answered] = {}
        self.across: dict[int, Callable[[AcrossReply], None]] = {}
        self.copies: dict[int, Callable[[Told | RequestRefused], None]] = {}
        self._held: set[int] = (
            set()
        )  # reads and dumps with parts that their sinks are not ready for

    def __len__(self) -> int:
        """Logs are not counted: their bound is the watchers'."""
        data = len(self.writes) + len(self.points) + len(self.reads)
        return data + len(self.dumps) + len(self.questions) + len(self.across) + len(self.copies)

    def answered(self, answers: Arrived, calls: Calls) -> None:
        """What came; grants and cancellations go to `calls`."""
        for number, revision, body in answers.writes:
            tag, wrote = self.writes.pop(number)
            wrote(WriteReply(tag, revision, body, None))
        for number, row in answers.points:
            tag, read = self.points.pop(number)
            read(PointReply(tag, row, None))
        for number, chunk in answers.reads:
            self._arrived(self.reads, number, chunk, calls)
        for number, part in answers.dumps:
            self._arrived(self.dumps, number, part, calls)
        for number, reply in answers.logs:
            self.logs.pop(number)(reply)
        for number, answer in answers.answers:
            self.questions.pop(number)(answer)
        for number, done in answers.across:
            self.across.pop(number)(done)
        for number, told in answers.copies:
            self.copies.pop(number)(told)
        for number, why in answers.refused:
            self._refused(number, why)

    def _arrived(self, flows: dict[int, Inflow[P]], number: int, part: P, calls: Calls) -> None:
        flow = flows.get(number)
        if flow is not None:
            flow.put(part)
            self._pump(flows, number, calls)

    def _pump(self, flows: dict[int, Inflow[P]], number: int, calls: Calls) -> bool:
        """Answers whether a part was taken."""
        flow = flows[number]
        before = len(flow)
        waits = flow.pump()
        (self._held.add if waits else self._held.discard)(number)
        granted = flow.grant()
        if granted:
            calls.grants.append((number, granted))
        if flow.ended:
            del flows[number]
            if not flow.whole:
                calls.cancelled.append(number)
        return len(flow) < before

    def pump(self, calls: Calls) -> bool:
        """Ask the sinks again that were not ready. Answers whether one took a part: then another,
        also of another link, may be ready now."""
        taken = False
        for number in sorted(self._held):
            if number in self.reads:
                taken |= self._pump(self.reads, number, calls)
            else:
                taken |= self._pump(self.dumps, number, calls)
        return taken

    def _refused(self, number: int, why: RequestRefused) -> None:
        if number in self.writes:
            tag, wrote = self.writes.pop(number)
            wrote(WriteReply(tag, 0, b"", why))
        elif number in self.points:
            tag, read = self.points.pop(number)
            read(PointReply(tag, None, why))
        elif number in self.logs:
            self.logs.pop(number)(why)
        elif number in self.questions:
            self.questions.pop(number)(why)
        elif number in self.copies:
            self.copies.pop(number)(why)
        else:
            self._held.discard(number)
            self._refuse_flow(self.reads.pop(number, None), why)
            self._refuse_flow(self.dumps.pop(number, None), why)

    def _refuse_flow(self, flow: Inflow[P] | None, why: RequestRefused) -> None:
        if flow is not None:
            flow.refuse(why)

    def left(self, unsent: frozenset[int]) -> Writes:
        """The writes that were sent, which are nobody's here from now on."""
        sent = {number: write for number, write in self.writes.items() if number not in unsent}
        self.writes = {number: self.writes[number] for number in self.writes.keys() & unsent}
        return sent

    def lost(self, unsent: frozenset[int]) -> None:
        """The link is gone; `unsent`: writes and steps across shards that it never saw."""
        for number, (tag, wrote) in self.writes.items():
            why = errors.OWNER_AWAY if number in unsent else errors.OUTCOME_UNKNOWN_REPLY
            wrote(WriteReply(tag, 0, b"", why))
        for number, stepped in self.across.items():
            why = errors.OWNER_AWAY if number in unsent else errors.OUTCOME_UNKNOWN_REPLY
            stepped(AcrossReply(why))
        for tag, read in self.points.values():
            read(PointReply(tag, None, errors.OWNER_AWAY))
        for read_flow in self.reads.values():
            read_flow.refuse(errors.OWNER_AWAY)
        for dump_flow in self.dumps.values():
            dump_flow.refuse(errors.OWNER_AWAY)
        for done in self.logs.values():
            done(errors.OWNER_AWAY)
        for answered in self.questions.values():
            answered(errors.OWNER_AWAY)
        for told in self.copies.values():
            told(errors.OWNER_AWAY)
