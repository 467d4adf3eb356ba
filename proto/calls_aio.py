"""The open calls of an asyncio server: their events out, their answers in.

What it is: the Edge of calls that grpc.aio carries. `stream_aio.py` opens, reads, writes and closes
them; the loop's thread answers them here. What it is not: it does not know gRPC.

Words: an *answer* is a payload or an `Ending` on its way from the loop's thread to asyncio; all
answers that wait cross together, with one wake-up.

Invariants:
- `sent_bytes` is written by the loop's thread alone and `written_bytes` by asyncio alone, so their
  difference needs no lock;
- `above` is set before the payload that raised it is handed over: at least one write follows and
  finds the mark, so DRAINED cannot be lost;
- events of one call leave in the order of `emit`.

Worked example: `send(9, a)`, `send(9, b)`, `end(9)` from the loop's thread make one
`call_soon_threadsafe`; call 9 then has a, b and `OK` in its queue, and its writer is awake.

Tested in tests/contract/test_front.py, on both fronts.
"""

from __future__ import annotations

import asyncio
from collections import deque
from itertools import count

from .front_rules import OK, Ending
from .server import (
    STREAM_HIGH_WATER_BYTES,
    STREAM_LOW_WATER_BYTES,
    Deliver,
    Edge,
    EdgeEvent,
    Kind,
)


class AioCall:
    """One open call, as both threads see it."""

    __slots__ = ("above", "call_id", "method", "queue", "sent_bytes", "wake", "written_bytes")

    def __init__(self, call_id: int, method: int) -> None:
        self.call_id, self.method = call_id, method
        self.queue: deque[bytes | Ending] = deque()
        self.wake = asyncio.Event()
        self.sent_bytes = self.written_bytes = 0
        self.above = False

    def pending_bytes(self) -> int:
        """Bytes sent that the transport has not taken."""
        return self.sent_bytes - self.written_bytes

    def put(self, answer: bytes | Ending) -> None:
        """Hands an answer to the writer; on asyncio's thread."""
        self.queue.append(answer)
        self.wake.set()

    def wrote(self, size: int) -> bool:
        """Counts a payload as taken; true when DRAINED is due for it."""
        self.written_bytes += size
        assert self.written_bytes <= self.sent_bytes, (self.written_bytes, self.sent_bytes)
        if not self.above or self.pending_bytes() >= STREAM_LOW_WATER_BYTES:
            return False
        # Cleared before pending is read again: the other thread marks after it has added, so
        # either it sees the cleared mark and sets it, or we see what it added.
        self.above = False
        if self.pending_bytes() >= STREAM_HIGH_WATER_BYTES:
            self.above = True
            return False
        return True


class AioCalls:
    """The open calls of one server. `edge` is what the loop gets to answer on, if not this."""

    def __init__(self, deliver: Deliver, edge: Edge | None = None, call_id_first: int = 1) -> None:
        self._deliver = deliver
        self._edge: Edge = self if edge is None else edge
        self._ids = count(call_id_first)
        self._open: dict[int, AioCall] = {}
        self._answers: deque[tuple[AioCall, bytes | Ending]] = deque()
        self._crossing = False
        self._events: list[EdgeEvent] = []

    def __len__(self) -> int:
        return len(self._open)

    # ---- on asyncio's thread

    def attach(self, loop: asyncio.AbstractEventLoop) -> None:
        """Names the asyncio loop, before the first call."""
        self._loop = loop

    def open(self, kind: Kind, method: int, payload: bytes = b"") -> AioCall:
        """A new call, told by an event of `kind`."""
        call = AioCall(next(self._ids), method)
        self._open[call.call_id] = call
        self.emit(kind, call, payload)
        return call

    def close(self, call: AioCall, kind: Kind | None) -> None:
        """Forgets a call; `kind` tells the loop, which knows already where it is None."""
        del self._open[call.call_id]
        if kind is not None:
            self.emit(kind, call)

    def emit(self, kind: Kind, call: AioCall, payload: bytes = b"") -> None:
        """Queues an event; those of one turn of the asyncio loop leave as one batch."""
        if not self._events:
            self._loop.call_soon(self.flush)
        self._events.append(EdgeEvent(kind, call.call_id, call.method, payload))

    def flush(self) -> None:
        """Delivers the queued events."""
        events, self._events = self._events, []
        if events:
            self._deliver(self._edge, events)

    # ---- the Edge, on the loop's thread

    def respond(self, call_id: int, payload: bytes) -> None:
        """See Edge."""
        self.send(call_id, payload)

    def fail(self, call_id: int, code: int, message: str) -> None:
        """See Edge."""
        assert code != OK.code, "OK is not a failure"
        self._cross(self._open.get(call_id), Ending(code, message))

    def send(self, call_id: int, payload: bytes) -> None:
        """See Edge."""
        call = self._open.get(call_id)
        if call is None:
            return
        call.sent_bytes += len(payload)
        if call.pending_bytes() > STREAM_HIGH_WATER_BYTES:
            call.above = True
        self._cross(call, payload)

    def pending_bytes(self, call_id: int) -> int:
        """See Edge."""
        call = self._open.get(call_id)
        return 0 if call is None else call.pending_bytes()

    def end(self, call_id: int) -> None:
        """See Edge."""
        self._cross(self._open.get(call_id), OK)

    def _cross(self, call: AioCall | None, answer: bytes | Ending) -> None:
        if call is None:
            return
        self._answers.append((call, answer))
        if self._crossing:
            return
        self._crossing = True
        try:
            self._loop.call_soon_threadsafe(self._land)
        except RuntimeError:
            self._answers.clear()  # the asyncio loop is closed: every call is gone

    def _land(self) -> None:
        # The flag falls first: who appends after the last look below schedules a new landing.
        self._crossing = False
        while self._answers:
            call, answer = self._answers.popleft()
            call.put(answer)
