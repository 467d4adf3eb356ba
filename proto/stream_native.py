"""Server-streaming calls on the native front: what a slow client has not taken yet waits here.

What it is: a queue before Rust's own, which holds about two messages a call and says so when it is
full. What it is not: a bound; the caller bounds it by `pending_bytes` and DRAINED.

Words: a *backlog* is what one call has been sent and Rust has not taken; a call without one sends
straight to Rust.

Invariants:
- nothing of a call overtakes its backlog: payloads and the ending queue up behind it;
- backlogs change under the lock only, so the loop's thread and the pump cannot reorder messages;
- DRAINED is due once for each time a backlog rose above the high water and fell below the low.

Worked example: three answers of 1 MB on call 7: Rust takes two, one waits; the pump's next `flush`
finds room, sends it, and call 7 has no backlog any more.

Tested in tests/contract/test_front.py.
"""

from __future__ import annotations

from collections import deque
from threading import Lock

from pygrpc_native import STREAM_CLOSED, STREAM_FULL, STREAM_SENT, NativeGrpcFront

from .front_rules import OK, Ending
from .server import STREAM_HIGH_WATER_BYTES, STREAM_LOW_WATER_BYTES


class _Backlog:
    """What one call waits to send."""

    __slots__ = ("above", "ending", "pending_bytes", "queue")

    def __init__(self) -> None:
        self.queue: deque[bytes] = deque()
        self.pending_bytes = 0
        self.above = False
        self.ending: Ending | None = None

    def put(self, payload: bytes) -> None:
        assert self.ending is None, "nothing is sent after the ending"
        self.queue.append(payload)
        self.pending_bytes += len(payload)
        if self.pending_bytes > STREAM_HIGH_WATER_BYTES:
            self.above = True

    def take(self) -> None:
        self.pending_bytes -= len(self.queue.popleft())
        assert self.pending_bytes >= 0, self.pending_bytes

    def drained(self) -> bool:
        if not self.above or self.pending_bytes >= STREAM_LOW_WATER_BYTES:
            return False
        self.above = False
        return True


class NativeStreams:
    """The backlogs of one front; truthy while there is any."""

    def __init__(self, native: NativeGrpcFront) -> None:
        self._native = native
        self._backlogs: dict[int, _Backlog] = {}
        self._lock = Lock()

    def __len__(self) -> int:
        return len(self._backlogs)

    def send(self, call_id: int, payload: bytes) -> None:
        """Sends at once, or queues; a call that is gone swallows it."""
        with self._lock:
            backlog = self._backlogs.get(call_id)
            if backlog is None:
                if self._native.stream_try_send(call_id, payload) != STREAM_FULL:
                    return
                backlog = self._backlogs[call_id] = _Backlog()
            backlog.put(payload)
            # Not only the pump, which may wait long for the interpreter while we are busy.
            self._pass_on(call_id, backlog)

    def pending_bytes(self, call_id: int) -> int:
        """Bytes in the call's backlog."""
        backlog = self._backlogs.get(call_id)
        return 0 if backlog is None else backlog.pending_bytes

    def finish(self, call_id: int, ending: Ending) -> None:
        """Ends the call, after its backlog."""
        with self._lock:
            backlog = self._backlogs.get(call_id)
            if backlog is None:
                self._finish(call_id, ending)
            elif backlog.ending is None:
                backlog.ending = ending

    def drop(self, call_id: int) -> None:
        """Forgets the backlog of a call that is gone."""
        with self._lock:
            self._backlogs.pop(call_id, None)

    def flush(self) -> list[int]:
        """Sends what Rust takes now; returns the calls that DRAINED is due for."""
        with self._lock:
            return [call_id for call_id in list(self._backlogs) if self._flush(call_id)]

    def _flush(self, call_id: int) -> bool:
        backlog = self._backlogs[call_id]
        sent = self._pass_on(call_id, backlog)
        if sent == STREAM_FULL:
            return backlog.drained()
        del self._backlogs[call_id]
        if sent == STREAM_CLOSED:
            return False  # Rust's cancel event tells
        if backlog.ending is not None:
            self._finish(call_id, backlog.ending)
            return False
        return backlog.drained()

    def _pass_on(self, call_id: int, backlog: _Backlog) -> int:
        """Sends what Rust takes; how the last attempt went."""
        sent = STREAM_SENT
        while backlog.queue and sent == STREAM_SENT:
            sent = self._native.stream_try_send(call_id, backlog.queue[0])
            if sent == STREAM_SENT:
                backlog.take()
        return sent

    def _finish(self, call_id: int, ending: Ending) -> None:
        if ending == OK:
            self._native.stream_end(call_id)
        else:
            self._native.fail(call_id, *ending)
