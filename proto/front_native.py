"""The front on pygrpc-native: HTTP/2 in Rust, events in batches, answers by call id.

What it is: `Front` for unary and server-streaming methods without a task or a future per call. One
pump thread takes what the Rust threads have queued and hands it over as one batch. BIDI and
unknown methods go to a `StreamServer` behind a private Unix socket. What it is not: a limiter; Rust
reads a message of any size, so the size is checked here before anything else looks at it.

Invariants:
- a call is in `_open` from before its CALL is delivered until it is answered or gone, hence an
  answered call never shows CANCELLED;
- ids of BIDI calls start at BIDI_CALL_ID_FIRST, those of Rust count from 1 and never get there;
- a front whose pump has failed is closed: it does not look alive.

Worked example: the pump gets `(0, 7, 2, b"...", "ipv4:...")` and delivers (CALL, 7, the number of
Put in METHODS, b"..."); `respond(7, ...)` goes straight back to Rust from the loop's thread.

Tested in tests/contract/test_front.py.
"""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from collections.abc import Iterable
from pathlib import Path
from threading import Thread
from typing import Final

from pygrpc_native import EVENT_CALL, NativeGrpcFront

from kubebraid.base.limits import MESSAGE_BYTES_MAX

from .front_rules import OK, STOPPED, Ending, target_of, too_large, with_port
from .server import METHODS, AddressInUse, Deliver, EdgeEvent, Kind, Shape
from .stream_h2 import StreamServer
from .stream_native import NativeStreams

BATCH_EVENTS_MAX: Final = 1024
BIDI_CALL_ID_FIRST: Final = 2**48
CONCURRENT_STREAMS_MAX: Final = 2**32 - 1  # as etcd: no limit
IO_THREADS: Final = 2
FLUSH_S: Final = 0.05  # closing cuts what was handed to Rust just before, which has no drain
# Nothing wakes the pump when a stream fills up or room returns, so it looks: often while there is
# a backlog, seldom while a stream is open, never otherwise.
BACKLOG_POLL_MS: Final = 1
STREAM_POLL_MS: Final = 20
STOP_POLL_S: Final = 0.005

# Rust numbers the methods it was given; this table leads back to METHODS.
NATIVE_METHODS: Final = tuple(i for i, spec in enumerate(METHODS) if spec.shape != Shape.BIDI)
STREAMING: Final = frozenset(
    i for i, spec in enumerate(METHODS) if spec.shape == Shape.SERVER_STREAM
)

NativeEvent = tuple[int, int, int, bytes | None, bytes | str | None]


class NativeFront:
    """A Front, and the Edge of its calls; `address` is host:port or the path of a Unix socket."""

    def __init__(
        self,
        address: str,
        deliver: Deliver,
        name: str = "front",
        message_bytes_max: int = MESSAGE_BYTES_MAX,
    ) -> None:
        self._address, self._deliver, self._name = address, deliver, name
        self._message_bytes_max = message_bytes_max
        self._bidi = StreamServer(deliver, self, BIDI_CALL_ID_FIRST, message_bytes_max)
        self._open: dict[int, int] = {}  # call id -> method
        self._streams_open: set[int] = set()
        self._stopping = False

    @property
    def address(self) -> str:
        """See Front."""
        return self._address

    async def start(self) -> None:
        """See Front."""
        methods = [(METHODS[i].path, i in STREAMING) for i in NATIVE_METHODS]
        try:
            self._native = NativeGrpcFront(
                target_of(self._address),
                methods,
                io_threads=IO_THREADS,
                call_details=True,  # the price of hearing that a unary call is gone
                max_concurrent_streams=CONCURRENT_STREAMS_MAX,
            )
        except OSError as error:
            reason = error.strerror or str(error)
            raise AddressInUse(f"cannot listen on {self._address}: {reason}") from None
        self._streams = NativeStreams(self._native)
        self._address = with_port(self._address, self._native.bound_port)
        self._folder = Path(tempfile.mkdtemp(prefix="kubebraid-front-"))  # its mode is 0700
        socket = str(self._folder / "streams.sock")
        await self._bidi.start(socket)
        self._native.set_fallback(socket)
        self._native.start()
        self._pump_thread = Thread(target=self._pump, name=f"{self._name} pump", daemon=True)
        self._pump_thread.start()

    async def stop(self, grace_s: float) -> None:
        """See Front. Rust keeps listening during the grace; new calls are refused."""
        assert grace_s >= 0, grace_s
        if self._stopping:
            return
        self._stopping = True
        async with asyncio.TaskGroup() as group:
            group.create_task(self._bidi.stop(grace_s), name=f"{self._name} stop streams")
            group.create_task(self._wait_answered(grace_s), name=f"{self._name} stop calls")
        await asyncio.sleep(FLUSH_S)
        await asyncio.to_thread(self._native.close)
        await asyncio.to_thread(self._pump_thread.join)
        shutil.rmtree(self._folder)

    async def _wait_answered(self, grace_s: float) -> None:
        loop = asyncio.get_running_loop()
        deadline_s = loop.time() + grace_s
        # The pump and the loop's thread answer; they owe asyncio no wake-up on the hot path.
        while (self._open or self._streams) and loop.time() < deadline_s:  # noqa: ASYNC110
            await asyncio.sleep(STOP_POLL_S)

    # ---- the pump thread

    def _pump(self) -> None:
        """Takes batches until Rust says that the front is closed."""
        native = self._native
        try:
            while (batch := native.recv_batch(BATCH_EVENTS_MAX, self._poll_ms())) is not None:
                events = self._translate(batch)
                if self._streams:
                    events += self._flush_streams()
                if events:
                    self._deliver(self, events)
        finally:
            native.close()
        cut = [event for call_id in list(self._open) for event in self._gone(call_id)]
        if cut:
            self._deliver(self, cut)

    def _poll_ms(self) -> int | None:
        if self._streams:
            return BACKLOG_POLL_MS
        return STREAM_POLL_MS if self._streams_open else None

    def _translate(self, batch: Iterable[NativeEvent]) -> list[EdgeEvent]:
        events = []
        for kind, call_id, number, payload, _client in batch:
            if kind != EVENT_CALL:
                self._streams.drop(call_id)
                events += self._gone(call_id)
                continue
            assert payload is not None, "a call has a payload, if an empty one"
            if len(payload) > self._message_bytes_max:
                self._native.fail(call_id, *too_large(len(payload), self._message_bytes_max))
            elif self._stopping:
                self._native.fail(call_id, *STOPPED)
            else:
                method = NATIVE_METHODS[number]
                self._open[call_id] = method
                if method in STREAMING:
                    self._streams_open.add(call_id)
                events.append(EdgeEvent(Kind.CALL, call_id, method, payload))
        return events

    def _gone(self, call_id: int) -> list[EdgeEvent]:
        """The news that a call is gone, unless it was answered already."""
        self._streams_open.discard(call_id)
        method = self._open.pop(call_id, None)
        return [] if method is None else [EdgeEvent(Kind.CANCELLED, call_id, method, b"")]

    def _flush_streams(self) -> list[EdgeEvent]:
        events = []
        for call_id in self._streams.flush():
            method = self._open.get(call_id)
            if method is not None:
                events.append(EdgeEvent(Kind.DRAINED, call_id, method, b""))
        return events

    # ---- the Edge, on the loop's thread

    def respond(self, call_id: int, payload: bytes) -> None:
        """See Edge."""
        assert call_id < BIDI_CALL_ID_FIRST, call_id
        self._native.respond(call_id, payload)
        self._open.pop(call_id, None)  # after: a stop that waits for the open calls must not close

    def fail(self, call_id: int, code: int, message: str) -> None:
        """See Edge."""
        assert code != OK.code, "OK is not a failure"
        if call_id >= BIDI_CALL_ID_FIRST:
            self._bidi.calls.fail(call_id, code, message)
        else:
            self._finish(call_id, Ending(code, message))

    def send(self, call_id: int, payload: bytes) -> None:
        """See Edge."""
        if call_id >= BIDI_CALL_ID_FIRST:
            self._bidi.calls.send(call_id, payload)
        elif call_id in self._open:
            self._streams.send(call_id, payload)

    def pending_bytes(self, call_id: int) -> int:
        """See Edge."""
        if call_id >= BIDI_CALL_ID_FIRST:
            return self._bidi.calls.pending_bytes(call_id)
        return self._streams.pending_bytes(call_id)

    def end(self, call_id: int) -> None:
        """See Edge."""
        if call_id >= BIDI_CALL_ID_FIRST:
            self._bidi.calls.end(call_id)
        else:
            self._finish(call_id, OK)

    def _finish(self, call_id: int, ending: Ending) -> None:
        self._open.pop(call_id, None)
        self._streams_open.discard(call_id)
        self._streams.finish(call_id, ending)
