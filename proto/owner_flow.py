"""Answers that come in parts over a link, at the pace of whoever takes them.

What it is: both ends of a read or a dump: the shard sends while it has *credit*, the router hands
on what its sink is ready for and *grants* as many bytes again. What it is not: the messages
(`owner_wire.py`, `owner_answers.py`).

Invariants:
- of one answer at most OWNER_AHEAD_BYTES and one part are sent and not yet taken;
- parts reach the sink in order, and only while it is ready; a refusal reaches it at once;
- a sink that wants no more ends the work at the shard with its next part, as it would there.

Worked example: a list of 10 MiB to a client that does not read: the shard sends four parts of 1 MiB
and stands still; two are taken, 2 MiB are granted, two more parts leave.

Tested in tests/unit/proto/test_owner_flow.py.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

from kubebraid.base.errors import RequestRefused
from kubebraid.base.limits import OWNER_AHEAD_BYTES, OWNER_BACKLOG_BYTES_MAX, OWNER_GRANT_BYTES
from kubebraid.base.links import Link
from kubebraid.base.ports import DumpSink, ReadChunk, ReadSink
from kubebraid.base.revision import Revision

from .owner_answers import Answers, DumpPart

P = TypeVar("P", ReadChunk, DumpPart)


def weight(part: ReadChunk | DumpPart) -> int:
    """What a part costs of the credit, in bytes; the same at both ends."""
    if isinstance(part, ReadChunk):
        return len(part.body) + sum(len(row.raw) for row in part.rows)
    return sum(len(key) + len(value) for key, value in part.pairs)


# -- the router's end --------------------------------------------------------------------------


class Inflow(Generic[P]):
    """Parts on their way to a sink. `whole`: it has all; `ended`: that, or it wants no more."""

    def __init__(
        self,
        ready: Callable[[], bool],
        take: Callable[[P], bool],
        refuse: Callable[[RequestRefused], object],
        is_last: Callable[[P], bool],
    ) -> None:
        """`take` answers whether more parts are wanted."""
        self._ready = ready
        self._take: Callable[[P], bool] = take
        self._is_last: Callable[[P], bool] = is_last
        self.refuse = refuse
        self._waiting: deque[P] = deque()
        self._taken = 0
        self.whole = False
        self.ended = False

    def put(self, part: P) -> None:
        self._waiting.append(part)

    def __len__(self) -> int:
        """Parts that wait."""
        return len(self._waiting)

    def pump(self) -> bool:
        """Hand over what the sink takes now. Answers whether something waits still."""
        while self._waiting and not self.ended and self._ready():
            part = self._waiting.popleft()
            self._taken += weight(part)
            self.whole = self._is_last(part)
            self.ended = not self._take(part) or self.whole
        return bool(self._waiting) and not self.ended

    def grant(self) -> int:
        """Bytes that the shard may send on; 0 while they are not worth a message."""
        if self._taken < OWNER_GRANT_BYTES or self.ended:
            return 0
        granted, self._taken = self._taken, 0
        return granted


def into_read(sink: ReadSink) -> Inflow[ReadChunk]:
    return Inflow(sink.ready, sink.take, sink.take, lambda part: part.last)


def into_dump(sink: DumpSink) -> Inflow[DumpPart]:
    def take(part: DumpPart) -> bool:
        if part.size is not None:
            sink.begin(*part.size)
        wanted = not part.pairs or sink.take(part.pairs)
        if part.ends:
            sink.end()
        return wanted

    return Inflow(sink.ready, take, sink.fail, lambda part: part.ends)


# -- the shard's end ---------------------------------------------------------------------------


class Outlet:
    """What all flows of one router share. `flows` are those that are not over."""

    def __init__(self, link: Link) -> None:
        self.link = link
        self.answers = Answers()
        self.flows: dict[int, Outflow] = {}

    def open(self) -> bool:
        """Whether the network takes what is sent."""
        return self.link.pending_bytes() <= OWNER_BACKLOG_BYTES_MAX


class Outflow:
    """The shard's side of one answer: keeps the credit. Over, it is ready and wants nothing, so
    that the work behind it ends at its next slice."""

    def __init__(self, outlet: Outlet, number: int) -> None:
        self._outlet = outlet
        self._number = number
        self._credit = OWNER_AHEAD_BYTES
        self._over = False
        outlet.flows[number] = self

    def ready(self) -> bool:
        return self._over or (self._credit > 0 and self._outlet.open())

    def granted(self, size: int) -> None:
        self._credit += size

    def end(self) -> None:
        """Nobody waits any more, or everything was sent."""
        self._over = True
        self._outlet.flows.pop(self._number, None)

    def refused(self, why: RequestRefused) -> None:
        if not self._over:
            self._outlet.answers.refused.append((self._number, why))
            self.end()

    def read_part(self, part: ReadChunk) -> bool:
        """Answers whether more is wanted."""
        if self._over:
            return False
        self._credit -= weight(part)
        self._outlet.answers.reads.append((self._number, part))
        if part.last:
            self.end()
        return not self._over

    def dump_part(self, part: DumpPart) -> bool:
        """Answers whether more is wanted."""
        if self._over:
            return False
        self._credit -= weight(part)
        self._outlet.answers.dumps.append((self._number, part))
        if part.ends:
            self.end()
        return not self._over


class ReadOutflow:
    """A read for a router. Implements ReadSink."""

    def __init__(self, flow: Outflow) -> None:
        self._flow = flow
        self.ready = flow.ready

    def take(self, part: ReadChunk | RequestRefused) -> bool:
        if isinstance(part, RequestRefused):
            self._flow.refused(part)
            return False
        return self._flow.read_part(part)


class DumpOutflow:
    """A dump for a router. Implements DumpSink."""

    def __init__(self, flow: Outflow) -> None:
        self._flow = flow
        self.ready = flow.ready
        self.fail = flow.refused

    def begin(self, payload: int, records: int, floor: Revision) -> None:
        self._flow.dump_part(DumpPart(size=(payload, records, floor)))

    def take(self, pairs: Sequence[tuple[bytes, bytes]]) -> bool:
        return self._flow.dump_part(DumpPart(pairs))

    def end(self) -> None:
        self._flow.dump_part(DumpPart(ends=True))
