"""The shell around the frames: sockets on both asyncio loops, deadlines, slow readers, the end."""

from __future__ import annotations

import asyncio
import tempfile
from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

import pytest
import uvloop
from hpack import Decoder, Encoder

from kubebraid.proto.h2_frames import PREFACE
from kubebraid.proto.server import (
    METHOD_BY_PATH,
    STREAM_HIGH_WATER_BYTES,
    STREAM_LOW_WATER_BYTES,
    Edge,
    EdgeEvent,
    Kind,
)
from kubebraid.proto.stream_h2 import WRITE_BYTES_MAX, StreamServer

WATCH: Final = "/etcdserverpb.Watch/Watch"
DATA, HEADERS, RST, GOAWAY = 0, 1, 3, 7
CALL_ID_FIRST: Final = 1000
PATIENCE_S: Final = 10.0
LIMIT: Final = 1000
WIDE: Final = 2**31 - 1
Test = Callable[["Side"], Awaitable[None]]


def frame(kind: int, flags: int, stream: int, body: bytes = b"") -> bytes:
    return len(body).to_bytes(3) + bytes((kind, flags)) + stream.to_bytes(4) + body


def message(payload: bytes) -> bytes:
    return b"\0" + len(payload).to_bytes(4) + payload


class Side:
    """A server, what it told, and one raw client of it."""

    def __init__(self) -> None:
        self.seen: list[EdgeEvent] = []
        self.rule: Callable[[EdgeEvent], None] = lambda _event: None
        self.server = StreamServer(self.deliver, self.edge, CALL_ID_FIRST, LIMIT)
        self.headers: dict[int, dict[str, str]] = defaultdict(dict)
        self.data: dict[int, bytearray] = defaultdict(bytearray)
        self.resets: dict[int, int] = {}
        self.goaway = False
        self.news = asyncio.Event()
        self.decoder, self.encoder = Decoder(), Encoder()

    edge: Any = None  # the server's own calls

    def deliver(self, _edge: Edge, events: list[EdgeEvent]) -> None:
        self.seen += events
        self.news.set()
        for event in events:
            self.rule(event)

    async def connect(self, path: str) -> None:
        self.reader, self.writer = await asyncio.open_unix_connection(path)
        window = (4).to_bytes(2) + WIDE.to_bytes(4)
        grow = (WIDE - 65_535).to_bytes(4)
        self.writer.write(PREFACE + frame(4, 0, 0, window) + frame(8, 0, 0, grow))

    def open(self, stream: int, path: str = WATCH, **headers: str) -> None:
        names = {":method": "POST", ":path": path, "content-type": "application/grpc"}
        names |= {name.replace("_", "-"): value for name, value in headers.items()}
        if "method" in names:
            names[":method"] = names.pop("method")
        block = self.encoder.encode(list(names.items()))
        self.writer.write(frame(HEADERS, 4, stream, block))

    async def read_frame(self) -> None:
        head = await self.reader.readexactly(9)
        body = await self.reader.readexactly(int.from_bytes(head[:3]))
        stream = int.from_bytes(head[5:])
        if head[3] == HEADERS:
            self.headers[stream] |= {
                str(name): str(value) for name, value in self.decoder.decode(body)
            }
        elif head[3] == DATA:
            self.data[stream] += body
        elif head[3] == RST:
            self.resets[stream] = int.from_bytes(body)
        elif head[3] == GOAWAY:
            self.goaway = True

    async def until(self, true: Callable[[], object]) -> None:
        """Reads until it is true."""
        async with asyncio.timeout(PATIENCE_S):
            while not true():
                await self.read_frame()

    async def told(self, kind: Kind, times: int = 1) -> None:
        """Waits without reading."""
        async with asyncio.timeout(PATIENCE_S):
            while self.kinds().count(kind) < times:
                self.news.clear()
                await self.news.wait()

    def kinds(self) -> list[Kind]:
        return [Kind(event.kind) for event in self.seen]


@asynccontextmanager
async def running() -> AsyncIterator[Side]:
    side = Side()
    with tempfile.TemporaryDirectory() as folder:
        path = str(Path(folder) / "s")
        await side.server.start(path)
        await side.connect(path)
        yield side
        side.writer.close()
        await side.server.stop(0.0)
        assert side.kinds().count(Kind.OPEN) == side.kinds().count(Kind.CLOSED)
        assert len(side.server.calls) == len(side.server.links) == 0
        assert {task for task in asyncio.all_tasks() if "kubebraid" in str(task)} == set()


@pytest.fixture(params=["asyncio", "uvloop"])
def run(request: pytest.FixtureRequest) -> Callable[[Test], None]:
    """Runs a test on either loop: serve takes uvloop where there is one."""

    def play(test: Test) -> None:
        async def main() -> None:
            async with running() as side:
                await test(side)

        factory = uvloop.new_event_loop if request.param == "uvloop" else asyncio.new_event_loop
        with asyncio.Runner(loop_factory=factory) as runner:
            runner.run(main())

    return play


def test_call_is_told_from_open_to_closed(run: Callable[[Test], None]) -> None:
    async def test(side: Side) -> None:
        calls = side.server.calls
        side.rule = lambda event: (
            calls.send(event.call_id, event.payload)
            if event.kind == Kind.MESSAGE
            else calls.end(event.call_id)
            if event.kind == Kind.HALF_CLOSED
            else None
        )
        side.open(1)
        side.writer.write(frame(DATA, 0, 1, message(b"a") + message(b"b")) + frame(DATA, 1, 1))
        await side.until(lambda: "grpc-status" in side.headers[1])
        assert side.data[1] == message(b"a") + message(b"b")
        assert side.headers[1]["grpc-status"] == "0"
        assert side.resets == {}
        await side.told(Kind.CLOSED)
        first = side.seen[0]
        assert first == EdgeEvent(Kind.OPEN, CALL_ID_FIRST, METHOD_BY_PATH[WATCH], b"")
        assert side.kinds() == [
            Kind.OPEN, Kind.MESSAGE, Kind.MESSAGE, Kind.HALF_CLOSED, Kind.CLOSED,
        ]  # fmt: skip

    run(test)


@pytest.mark.parametrize(
    ("headers", "status", "code", "text"),
    [
        ({"path": "/a.B/C"}, "200", "12", "unknown service a.B"),
        ({"path": "x"}, "200", "12", 'malformed method name: "x"'),
        (
            {"path": "/etcdserverpb.KV/Put"},
            "200",
            "12",
            "unknown method Put for service etcdserverpb.KV",
        ),
        (
            {"content_type": "text/html"},
            "415",
            "3",
            'invalid gRPC request content-type "text/html"',
        ),
        (
            {"method": "GET"},
            "405",
            "13",
            'Received a HEADERS frame with :method "GET" which should be POST',
        ),
        ({"grpc_timeout": "soon"}, "400", "13", 'malformed grpc-timeout: "soon"'),
        ({"grpc_timeout": "123456789S"}, "400", "13", 'malformed grpc-timeout: "123456789S"'),
    ],
)
def test_what_is_no_stream_of_ours_is_refused(
    run: Callable[[Test], None], headers: dict[str, str], status: str, code: str, text: str
) -> None:
    async def test(side: Side) -> None:
        side.open(1, **headers)
        side.writer.write(frame(DATA, 0, 1, message(b"a")))
        await side.until(lambda: side.headers[1])
        found = side.headers[1]
        assert found[":status"] == status
        assert (found["grpc-status"], found["grpc-message"]) == (code, text)
        assert side.seen == []

    run(test)


@pytest.mark.parametrize("timeout", ["50m", "50000u", "0S"])
def test_deadline_ends_a_call_and_spares_the_others(
    run: Callable[[Test], None], timeout: str
) -> None:
    async def test(side: Side) -> None:
        side.open(1, grpc_timeout=timeout)
        side.open(3, grpc_timeout="1H")
        await side.until(lambda: "grpc-status" in side.headers[1])
        assert side.headers[1]["grpc-status"] == "4"
        await side.told(Kind.CLOSED)
        assert [event.kind for event in side.seen if event.call_id == CALL_ID_FIRST] == [
            Kind.OPEN, Kind.CLOSED,
        ]  # fmt: skip
        assert len(side.server.calls) == 1

    run(test)


def test_reset_and_lost_connection_close_calls(run: Callable[[Test], None]) -> None:
    async def test(side: Side) -> None:
        for stream in (1, 3, 5):
            side.open(stream)
        side.writer.write(frame(RST, 0, 3, bytes(4)))
        await side.told(Kind.CLOSED)
        assert [event.call_id for event in side.seen if event.kind == Kind.CLOSED] == [1001]
        side.server.calls.send(1001, b"harmless")
        side.writer.close()
        await side.told(Kind.CLOSED, 3)

    run(test)


def test_broken_peer_is_sent_away_with_its_calls(run: Callable[[Test], None]) -> None:
    async def test(side: Side) -> None:
        side.open(1)
        side.writer.write(frame(DATA, 0, 9, b"idle"))
        await side.until(lambda: side.goaway)
        assert await asyncio.wait_for(side.reader.read(), PATIENCE_S) == b""
        await side.told(Kind.CLOSED)

    run(test)


def test_slow_reader_is_seen_holds_little_and_gets_drained_once(
    run: Callable[[Test], None],
) -> None:
    """Its windows are wide open: only the socket holds it back."""

    async def test(side: Side) -> None:
        side.open(1)
        await side.told(Kind.OPEN)
        calls, sent, chunk = side.server.calls, 0, bytes(100_000)
        (link,) = side.server.links
        full = asyncio.Event()
        pause = link.pause_writing

        def paused() -> None:
            pause()
            full.set()

        link.pause_writing = paused  # type: ignore[method-assign]
        while calls.pending_bytes(CALL_ID_FIRST) <= STREAM_HIGH_WATER_BYTES:
            calls.send(CALL_ID_FIRST, chunk)
            sent += 1
        await asyncio.wait_for(full.wait(), PATIENCE_S)
        assert link.transport.get_write_buffer_size() <= 2 * WRITE_BYTES_MAX
        assert calls.pending_bytes(CALL_ID_FIRST) > STREAM_LOW_WATER_BYTES
        assert Kind.DRAINED not in side.kinds()
        calls.end(CALL_ID_FIRST)
        await side.until(lambda: "grpc-status" in side.headers[1])
        assert side.data[1] == message(chunk) * sent
        await side.told(Kind.CLOSED)
        assert side.kinds() == [Kind.OPEN, Kind.DRAINED, Kind.CLOSED]

    run(test)


def test_all_messages_of_a_turn_leave_in_one_write(run: Callable[[Test], None]) -> None:
    async def test(side: Side) -> None:
        streams = range(1, 81, 2)
        for stream in streams:
            side.open(stream)
        await side.told(Kind.OPEN, 40)
        (link,) = side.server.links
        writes: list[bytes] = []
        real = link.transport

        class Counting:
            def write(self, data: bytes) -> None:
                writes.append(data)
                real.write(data)

            def __getattr__(self, name: str) -> Any:
                return getattr(real, name)

        link.transport = Counting()  # type: ignore[assignment]
        for event in list(side.seen) * 3:
            side.server.calls.send(event.call_id, b"x")
        await side.until(lambda: sum(map(len, side.data.values())) == 3 * 40 * 6)
        assert len(writes) == 1

    run(test)


def test_stop_refuses_new_calls_waits_for_open_ones_and_cuts_the_rest(
    run: Callable[[Test], None],
) -> None:
    async def test(side: Side) -> None:
        for stream in (1, 3):
            side.open(stream)
        await side.told(Kind.OPEN, 2)
        async with asyncio.TaskGroup() as group:
            stopping = group.create_task(side.server.stop(1.0))
            await asyncio.wait({stopping}, timeout=0.02)  # it has begun
            side.open(5)
            await side.until(lambda: side.headers[5])
            assert side.headers[5]["grpc-message"] == "etcdserver: server stopped"
            assert side.kinds() == [Kind.OPEN, Kind.OPEN]
            side.server.calls.end(CALL_ID_FIRST)
            await side.until(lambda: side.goaway)
        await side.told(Kind.CLOSED, 2)
        await side.until(lambda: side.headers[3])
        assert side.headers[1]["grpc-status"] == "0"
        assert side.headers[3]["grpc-status"] == "14"
        assert side.headers[3]["grpc-message"] == "etcdserver: server stopped"

    run(test)
