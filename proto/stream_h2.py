"""The streams behind the native front: an HTTP/2 server on a Unix socket, framed by hand.

What it is: the thin shell around `h2_frames.py`: connections, deadlines and the crossing of answers
from the loop's thread. It serves BIDI methods and refuses every other path, as `stream_aio.py` did
in its place at four to eight times the price a message. What it is not: for clients; only Rust's
proxy connects, in a folder that is ours alone.

Invariants:
- no task and no future: a connection is driven by what it reads, by answers that land, by the room
  of its transport and by deadlines;
- all that is queued for a connection in one turn leaves in one write, while its transport has room;
- a payload counts as written when the transport has taken all of it: windows and a full transport
  hold it back, and `pending_bytes` shows that;
- the last event of a call is CLOSED, however it ended.

Worked example: a hundred answers land for forty streams of one connection: one `flush` frames them,
writes once, and tells DRAINED where it is due.

Tested in tests/contract/test_front.py (native) and tests/unit/proto/test_stream_h2.py.
"""

from __future__ import annotations

import asyncio
import re
from typing import Final, cast

from kubebraid.base.limits import MESSAGE_BYTES_MAX

from .calls_aio import AioCall, AioCalls
from .front_rules import STOPPED, Ending, unknown_method
from .h2_frames import INTERNAL, Connection, Event, What
from .server import METHOD_BY_PATH, METHODS, Deliver, Edge, Kind, Shape

WRITE_BYTES_MAX: Final = 256 * 1024  # of one write, and what a transport may hold before it pauses
STOP_POLL_S: Final = 0.005
CLOSE_S_MAX: Final = 1.0  # for the last bytes to leave
INVALID_ARGUMENT: Final = 3
EXPIRED: Final = Ending(4, "Deadline Exceeded")
TIMEOUT: Final = re.compile(r"(\d{1,8})([HMSmun])")
UNIT_S: Final = {"H": 3600, "M": 60, "S": 1, "m": 1e-3, "u": 1e-6, "n": 1e-9}


class _Call(AioCall):
    """A call, and the stream that carries it."""

    __slots__ = ("expiry", "link", "stream")

    def __init__(self, call_id: int, method: int, link: _Link, stream: int) -> None:
        super().__init__(call_id, method)
        self.link, self.stream = link, stream
        self.expiry: asyncio.TimerHandle | None = None

    def put(self, answer: bytes | Ending) -> None:
        """Hands an answer to the connection; on asyncio's thread."""
        self.link.answer(self.stream, answer)


class _Calls(AioCalls):
    def open_on(self, link: _Link, stream: int, method: int) -> _Call:
        """A new call on a stream, told by OPEN."""
        call = _Call(next(self._ids), method, link, stream)
        self._open[call.call_id] = call
        self.emit(Kind.OPEN, call)
        return call


class StreamServer:
    """Serves BIDI methods on one Unix socket."""

    def __init__(
        self,
        deliver: Deliver,
        edge: Edge,
        call_id_first: int,
        message_bytes_max: int = MESSAGE_BYTES_MAX,
    ) -> None:
        self.calls = _Calls(deliver, edge, call_id_first)
        self.message_bytes_max = message_bytes_max
        self.links: set[_Link] = set()
        self.stopping = False

    async def start(self, path: str) -> None:
        """Listens on `path`. Raises `OSError`."""
        self.loop = asyncio.get_running_loop()
        self.calls.attach(self.loop)
        self._server = await self.loop.create_unix_server(lambda: _Link(self), path)

    async def stop(self, grace_s: float) -> None:
        """Refuses new calls, waits for open ones, cuts the rest; every event is out after it."""
        self.stopping = True
        self._server.close()
        await self._until_none(self.calls, grace_s)
        for link in list(self.links):
            link.stop()
        await self._until_none(self.links, CLOSE_S_MAX)
        for link in list(self.links):
            link.transport.abort()
        await self._until_none(self.links, CLOSE_S_MAX)
        self.calls.flush()

    async def _until_none(self, of: AioCalls | set[_Link], limit_s: float) -> None:
        deadline_s = self.loop.time() + limit_s
        while len(of) and self.loop.time() < deadline_s:  # noqa: ASYNC110 - nothing is awaited hot
            await asyncio.sleep(STOP_POLL_S)


class _Link(asyncio.Protocol):
    """One connection from the front."""

    transport: asyncio.Transport

    def __init__(self, server: StreamServer) -> None:
        self._server = server
        self._h2 = Connection(server.message_bytes_max)
        self._calls: dict[int, _Call] = {}  # by stream
        self._paused = self._due = False

    # ---- what asyncio tells

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)  # uvloop's is none by its class
        self.transport.set_write_buffer_limits(WRITE_BYTES_MAX)
        self._server.links.add(self)
        self._flush_soon()

    def data_received(self, data: bytes) -> None:
        for event in self._h2.receive(data):
            if event.what is What.OPENED:
                self._opened(event)
            elif (call := self._calls.get(event.stream)) is None:
                continue  # refused, or ended while this was under way
            elif event.what is What.MESSAGE:
                self._server.calls.emit(Kind.MESSAGE, call, event.payload)
            elif event.what is What.HALF_CLOSED:
                self._server.calls.emit(Kind.HALF_CLOSED, call)
            else:
                self._close(call)
        self._flush_soon()

    def pause_writing(self) -> None:
        self._paused = True

    def resume_writing(self) -> None:
        self._paused = False
        self._flush_soon()

    def connection_lost(self, exc: Exception | None) -> None:
        for call in list(self._calls.values()):
            self._close(call)
        self._server.links.discard(self)

    # ---- calls

    def _opened(self, event: Event) -> None:
        headers = event.headers
        assert headers is not None, "an opened stream has headers"
        asked = _judge(headers)
        if isinstance(asked, tuple):
            self._h2.refuse(event.stream, *asked)
            return
        if self._server.stopping:
            self._h2.refuse(event.stream, STOPPED)
            return
        path = _text(headers, b":path")
        method = METHOD_BY_PATH.get(path)
        if method is None or METHODS[method].shape is not Shape.BIDI:
            self._h2.refuse(event.stream, unknown_method(path))
            return
        call = self._server.calls.open_on(self, event.stream, method)
        self._calls[event.stream] = call
        if asked is not None:
            call.expiry = self._server.loop.call_later(asked, self._expire, event.stream)

    def _expire(self, stream: int) -> None:
        self._h2.output.cut(stream, EXPIRED)
        self._flush_soon()

    def _close(self, call: _Call) -> None:
        del self._calls[call.stream]
        if call.expiry is not None:
            call.expiry.cancel()
        self._server.calls.close(call, Kind.CLOSED)

    def answer(self, stream: int, answer: bytes | Ending) -> None:
        """Queues an answer; it leaves at the end of this turn."""
        if isinstance(answer, Ending):
            self._h2.output.end(stream, answer)
        else:
            self._h2.output.send(stream, answer)
        self._flush_soon()

    def stop(self) -> None:
        """Cuts what is open, says goodbye, and closes once that is written."""
        for stream in self._calls:
            self._h2.output.cut(stream, STOPPED)
        self._h2.close()
        self._flush_soon()

    # ---- output

    def _flush_soon(self) -> None:
        if not self._due:
            self._due = True
            self._server.loop.call_soon(self._flush)

    def _flush(self) -> None:
        self._due = False
        while not self._paused and not self.transport.is_closing():
            data, taken = self._h2.output.take(WRITE_BYTES_MAX)
            if data:
                self.transport.write(data)
            for stream, size, ended in taken:
                call = self._calls.get(stream)
                if call is None:
                    continue
                if call.wrote(size) and not ended:
                    self._server.calls.emit(Kind.DRAINED, call)
                if ended:
                    self._close(call)
            if not data:
                if self._h2.closed:
                    self.transport.close()
                return


def _text(headers: dict[bytes, bytes], name: bytes) -> str:
    return headers.get(name, b"").decode(errors="replace")


def _judge(headers: dict[bytes, bytes]) -> tuple[Ending, bytes] | float | None:
    """The seconds that a gRPC request may take, or why it is none and with which HTTP status.

    Source: grpc-go internal/transport/http2_server.go operateHeaders.
    """
    content, method = _text(headers, b"content-type"), _text(headers, b":method")
    timeout = headers.get(b"grpc-timeout")
    if not content.startswith("application/grpc"):
        text = f'invalid gRPC request content-type "{content}"'
        return Ending(INVALID_ARGUMENT, text), b"415"
    if method != "POST":
        text = f'Received a HEADERS frame with :method "{method}" which should be POST'
        return Ending(INTERNAL, text), b"405"
    if timeout is None:
        return None
    limit = TIMEOUT.fullmatch(timeout.decode(errors="replace"))
    if limit is None:
        text = f'malformed grpc-timeout: "{timeout.decode(errors="replace")}"'
        return Ending(INTERNAL, text), b"400"
    return int(limit[1]) * UNIT_S[limit[2]]
