"""Every front keeps the contract of proto/server.py; both fronts run every test.

The served side is a front on an asyncio thread and a small loop thread that answers; the client is
grpc's Python package in the same process, on raw bytes.
"""

from __future__ import annotations

import asyncio
import contextlib
import queue
import socket
import stat
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, Final

import grpc
import pytest

from kubebraid.proto.front_grpcio import GrpcioFront
from kubebraid.proto.front_native import NativeFront
from kubebraid.proto.front_unix import UnixFront
from kubebraid.proto.fronts import BadListenUrl, listen_address, make_front
from kubebraid.proto.server import (
    METHOD_BY_PATH,
    STREAM_HIGH_WATER_BYTES,
    STREAM_LOW_WATER_BYTES,
    AddressInUse,
    Edge,
    EdgeEvent,
    Front,
    Kind,
)

PUT: Final = "/etcdserverpb.KV/Put"
RANGE_STREAM: Final = "/etcdserverpb.KV/RangeStream"
WATCH: Final = "/etcdserverpb.Watch/Watch"
LIMIT: Final = 2 * 1024 * 1024
PATIENCE_S: Final = 10.0
FRONTS: Final = {"native": NativeFront, "grpcio": GrpcioFront}
Rule = Callable[[Edge, EdgeEvent], None]


class Server:
    """A front on its own asyncio thread, and the loop thread that consumes its events."""

    def __init__(self, kind: str, address: str = "127.0.0.1:0") -> None:
        self.inbox: queue.SimpleQueue[tuple[Edge, list[EdgeEvent]] | None] = queue.SimpleQueue()
        self.seen: list[EdgeEvent] = []
        self.changed = threading.Condition()
        self.rule: Rule = echo
        self.front: Front = FRONTS[kind](address, self.deliver)
        self.ready: asyncio.Future[None] | None = None
        self.aio = asyncio.new_event_loop()
        self.threads = [
            threading.Thread(target=self.consume, name="test loop"),
            threading.Thread(target=self.aio.run_forever, name="test asyncio"),
        ]
        for thread in self.threads:
            thread.start()

    def deliver(self, edge: Edge, events: list[EdgeEvent]) -> None:
        self.inbox.put((edge, events))

    def consume(self) -> None:
        while (item := self.inbox.get()) is not None:
            edge, events = item
            with self.changed:
                self.seen += events
                self.changed.notify_all()
            for event in events:
                self.rule(edge, event)

    def run(self, coroutine: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(coroutine, self.aio).result(PATIENCE_S)

    def start(self) -> None:
        self.run(self.front.start())

    def stop(self, grace_s: float = 0.0) -> None:
        self.run(self.front.stop(grace_s))

    def close(self) -> None:
        """Ends both threads; what asyncio still has to do at that point is a leak."""
        left = self.run(self.tasks())
        self.run(self.aio.shutdown_default_executor())
        self.aio.call_soon_threadsafe(self.aio.stop)
        self.inbox.put(None)
        for thread in self.threads:
            thread.join(PATIENCE_S)
        self.aio.close()
        assert left == [], f"tasks left after stop: {left}"

    @staticmethod
    async def tasks() -> list[str]:
        found = asyncio.all_tasks() - {asyncio.current_task()}
        # grpc.aio keeps its poller's own tasks; ours carry our names or our modules.
        return [str(task) for task in found if "kubebraid" in str(task)]

    def wait(self, *kinds: Kind) -> list[EdgeEvent]:
        """Waits until every kind was seen, and returns all that was."""
        for kind in kinds:
            self.wait_count(kind, 1)
        return list(self.seen)

    def wait_count(self, kind: Kind, times: int) -> None:
        """Waits until events of a kind were seen that often."""
        with self.changed:
            done = self.changed.wait_for(lambda: self.kinds().count(kind) >= times, PATIENCE_S)
        assert done, f"{kind.name} not {times} times among {self.kinds()[-20:]}"

    def kinds(self) -> list[Kind]:
        return [Kind(event.kind) for event in self.seen]


def echo(edge: Edge, event: EdgeEvent) -> None:
    """Answers a unary call and each bidi message with its own payload."""
    if event.kind == Kind.CALL:
        edge.respond(event.call_id, event.payload)
    elif event.kind == Kind.MESSAGE:
        edge.send(event.call_id, event.payload)
    elif event.kind == Kind.HALF_CLOSED:
        edge.end(event.call_id)


def ignore(_edge: Edge, _event: EdgeEvent) -> None:
    """Answers nothing."""


@pytest.fixture(params=sorted(FRONTS))
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def server(kind: str) -> Iterator[Server]:
    served = Server(kind)
    served.start()
    yield served
    served.stop()
    served.close()


@pytest.fixture
def channel(server: Server) -> Iterator[Any]:
    with connect(server.front.address) as connected:
        yield connected


def connect(address: str, *options: tuple[str, Any]) -> Any:
    no_limits = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)]
    # A pool of its own, or the channels of two tests would share one connection.
    return grpc.insecure_channel(
        address, [*no_limits, ("grpc.use_local_subchannel_pool", 1), *options]
    )


def status(call: Callable[[], Any]) -> tuple[grpc.StatusCode, str]:
    """Code and text of a call that must fail."""
    with pytest.raises(grpc.RpcError) as failure:
        call()
    return failure.value.code(), failure.value.details() or ""


def test_unary_call_gets_the_answer_of_its_call_id(server: Server, channel: Any) -> None:
    assert channel.unary_unary(PUT)(b"hello", timeout=PATIENCE_S) == b"hello"
    assert channel.unary_unary(PUT)(b"", timeout=PATIENCE_S) == b""
    first, second = server.wait(Kind.CALL)
    assert (first.kind, first.method, first.payload) == (Kind.CALL, METHOD_BY_PATH[PUT], b"hello")
    assert first.call_id != second.call_id


@pytest.mark.parametrize(
    "code", [code for code in grpc.StatusCode if code is not grpc.StatusCode.OK]
)
def test_fail_carries_code_and_text(server: Server, channel: Any, code: grpc.StatusCode) -> None:
    text = "etcdserver: mvcc: ünknown\nrevision 100%"
    server.rule = lambda edge, event: edge.fail(event.call_id, code.value[0], text)
    assert status(lambda: channel.unary_unary(PUT)(b"", timeout=PATIENCE_S)) == (code, text)


def test_thousand_calls_at_once_each_get_their_own_answer(server: Server, channel: Any) -> None:
    put = channel.unary_unary(PUT)
    futures = [put.future(b"%d" % i, timeout=PATIENCE_S) for i in range(1000)]
    assert [future.result() for future in futures] == [b"%d" % i for i in range(1000)]
    assert len({event.call_id for event in server.seen}) == len(futures)


def test_large_answer_passes(server: Server, channel: Any) -> None:
    server.rule = lambda edge, event: edge.respond(event.call_id, bytes(20_000_000))
    assert len(channel.unary_unary(PUT)(b"", timeout=PATIENCE_S)) == 20_000_000


@pytest.mark.parametrize("path", [PUT, RANGE_STREAM, WATCH])
def test_message_above_the_limit_never_reaches_the_loop(
    server: Server, channel: Any, path: str
) -> None:
    payload = bytes(LIMIT + 1)
    call = {
        PUT: lambda: channel.unary_unary(PUT)(payload, timeout=PATIENCE_S),
        RANGE_STREAM: lambda: next(channel.unary_stream(path)(payload, timeout=PATIENCE_S)),
        WATCH: lambda: next(channel.stream_stream(path)(iter([payload]), timeout=PATIENCE_S)),
    }[path]
    code, text = status(call)
    assert code == grpc.StatusCode.RESOURCE_EXHAUSTED
    assert text == f"grpc: received message larger than max ({LIMIT + 1} vs. {LIMIT})"
    assert all(event.kind in (Kind.OPEN, Kind.HALF_CLOSED, Kind.CLOSED) for event in server.seen)


def test_message_at_the_limit_passes(channel: Any) -> None:
    payload = bytes(LIMIT)
    assert channel.unary_unary(PUT)(payload, timeout=PATIENCE_S) == payload


def test_deadline_of_unary_call_gives_cancelled(server: Server, channel: Any) -> None:
    server.rule = ignore
    code, _ = status(lambda: channel.unary_unary(PUT)(b"", timeout=0.2))
    assert code == grpc.StatusCode.DEADLINE_EXCEEDED
    call, cancelled = server.wait(Kind.CALL, Kind.CANCELLED)
    assert cancelled == EdgeEvent(Kind.CANCELLED, call.call_id, call.method, b"")


@pytest.mark.parametrize("path", [PUT, RANGE_STREAM])
def test_call_cancelled_by_the_client_gives_cancelled(
    server: Server, channel: Any, path: str
) -> None:
    edges: list[Edge] = []
    server.rule = lambda edge, _event: edges.append(edge)
    start = channel.unary_unary(path).future if path == PUT else channel.unary_stream(path)
    call = start(b"")
    server.wait(Kind.CALL)
    call.cancel()
    opened, cancelled = server.wait(Kind.CANCELLED)
    assert cancelled == EdgeEvent(Kind.CANCELLED, opened.call_id, METHOD_BY_PATH[path], b"")
    for late in (edges[0].end, edges[0].pending_bytes):  # answering a call gone is harmless
        late(opened.call_id)
    edges[0].fail(opened.call_id, 5, "late")
    edges[0].send(opened.call_id, b"late")


def test_answered_call_shows_no_cancelled(server: Server, channel: Any) -> None:
    for _ in range(50):
        channel.unary_unary(PUT)(b"", timeout=PATIENCE_S)
    channel.close()
    server.stop()
    assert {event.kind for event in server.seen} == {Kind.CALL}


def test_server_stream_keeps_order_and_ends_ok(server: Server, channel: Any) -> None:
    def rule(edge: Edge, event: EdgeEvent) -> None:
        for i in range(3000):
            edge.send(event.call_id, b"%d" % i)
        edge.end(event.call_id)

    server.rule = rule
    answers = channel.unary_stream(RANGE_STREAM)(b"", timeout=PATIENCE_S)
    assert list(answers) == [b"%d" % i for i in range(3000)]
    assert answers.code() == grpc.StatusCode.OK


def test_server_stream_failed_after_messages_delivers_them_first(
    server: Server, channel: Any
) -> None:
    def rule(edge: Edge, event: EdgeEvent) -> None:
        for _ in range(100):
            edge.send(event.call_id, bytes(10_000))
        edge.fail(event.call_id, 11, "etcdserver: no")

    server.rule = rule
    answers = channel.unary_stream(RANGE_STREAM)(b"", timeout=PATIENCE_S)
    got: list[bytes] = []
    assert status(lambda: got.extend(answers)) == (grpc.StatusCode.OUT_OF_RANGE, "etcdserver: no")
    assert len(got) <= 100
    collected = channel.unary_stream(RANGE_STREAM)(b"", timeout=PATIENCE_S)
    count = 0
    with contextlib.suppress(grpc.RpcError):
        for _ in collected:
            count += 1
    assert count == 100


@pytest.mark.parametrize("path", [RANGE_STREAM, WATCH])
def test_slow_reader_is_seen_in_pending_bytes_and_gets_drained_once(
    server: Server, channel: Any, path: str
) -> None:
    chunk = bytes(1_000_000)
    filled = threading.Event()
    pending: list[int] = []

    def rule(edge: Edge, event: EdgeEvent) -> None:
        if event.kind in (Kind.CALL, Kind.OPEN):
            sent = 0
            while edge.pending_bytes(event.call_id) <= STREAM_HIGH_WATER_BYTES and sent < 500:
                edge.send(event.call_id, chunk)
                sent += 1
            pending.append(sent)
            filled.set()
        elif event.kind == Kind.DRAINED:
            pending.append(edge.pending_bytes(event.call_id))
            edge.end(event.call_id)

    server.rule = rule
    stop = threading.Event()
    if path == WATCH:
        answers = channel.stream_stream(path)(_until(stop), timeout=2 * PATIENCE_S)
    else:
        answers = channel.unary_stream(path)(b"", timeout=2 * PATIENCE_S)
    assert filled.wait(PATIENCE_S)
    assert Kind.DRAINED not in {event.kind for event in server.seen}
    received = sum(1 for _ in answers)
    stop.set()
    sent, left = pending
    assert received == sent < 500
    assert left < STREAM_LOW_WATER_BYTES
    assert [event.kind for event in server.seen].count(Kind.DRAINED) == 1


def _until(stop: threading.Event) -> Iterator[bytes]:
    """A client that keeps its side open and silent."""
    stop.wait(2 * PATIENCE_S)
    yield from ()


def test_bidi_answers_ten_thousand_messages_in_order(server: Server, channel: Any) -> None:
    messages = [b"%d" % i for i in range(10_000)]
    answers = channel.stream_stream(WATCH)(iter(messages), timeout=3 * PATIENCE_S)
    assert list(answers) == messages
    assert answers.code() == grpc.StatusCode.OK
    seen = server.wait(Kind.CLOSED)
    assert [event.payload for event in seen if event.kind == Kind.MESSAGE] == messages
    kinds = [event.kind for event in seen if event.kind != Kind.MESSAGE]
    assert kinds == [Kind.OPEN, Kind.HALF_CLOSED, Kind.CLOSED]
    assert len({(event.call_id, event.method) for event in seen}) == 1


def test_bidi_answers_after_half_close(server: Server, channel: Any) -> None:
    def rule(edge: Edge, event: EdgeEvent) -> None:
        if event.kind == Kind.HALF_CLOSED:
            for i in range(100):
                edge.send(event.call_id, b"%d" % i)
            edge.end(event.call_id)

    server.rule = rule
    answers = channel.stream_stream(WATCH)(iter([b"a", b"b"]), timeout=PATIENCE_S)
    assert list(answers) == [b"%d" % i for i in range(100)]


def test_fail_on_open_stream_follows_its_pending_messages(server: Server, channel: Any) -> None:
    def rule(edge: Edge, event: EdgeEvent) -> None:
        if event.kind == Kind.MESSAGE:
            for _ in range(50):
                edge.send(event.call_id, event.payload)
            edge.fail(event.call_id, 14, "etcdserver: no leader")

    server.rule = rule
    stop = threading.Event()
    answers = channel.stream_stream(WATCH)(_then(b"x", stop), timeout=PATIENCE_S)
    got = [next(answers) for _ in range(50)]
    assert status(lambda: next(answers)) == (
        grpc.StatusCode.UNAVAILABLE,
        "etcdserver: no leader",
    )
    stop.set()
    assert got == [b"x"] * 50
    server.wait(Kind.CLOSED)


def _then(first: bytes, stop: threading.Event) -> Iterator[bytes]:
    yield first
    stop.wait(2 * PATIENCE_S)


def test_deadline_of_a_stream_closes_it(server: Server, channel: Any) -> None:
    server.rule = ignore
    stop = threading.Event()
    stream = channel.stream_stream(WATCH)(_then(b"x", stop), timeout=0.3)
    assert status(lambda: next(stream))[0] == grpc.StatusCode.DEADLINE_EXCEEDED
    server.wait(Kind.CLOSED)
    stop.set()
    # grpcio tells HALF_CLOSED before it, as if the client had finished.
    assert server.kinds()[:2] == [Kind.OPEN, Kind.MESSAGE]
    assert server.kinds()[-1] == Kind.CLOSED


@pytest.mark.parametrize("path", [PUT, WATCH])
def test_gzip_is_taken(server: Server, channel: Any, path: str) -> None:
    payload = b"compressible " * 10_000
    gzip = grpc.Compression.Gzip
    if path == PUT:
        put = channel.unary_unary(PUT)
        assert put(payload, timeout=PATIENCE_S, compression=gzip) == payload
    else:
        messages = iter([payload, b"", payload])
        stream = channel.stream_stream(WATCH)(messages, timeout=PATIENCE_S, compression=gzip)
        assert list(stream) == [payload, b"", payload]


def test_stalled_streams_do_not_stall_others(server: Server, channel: Any) -> None:
    """Ten clients' windows full on one connection: the eleventh stream is answered."""

    def rule(edge: Edge, event: EdgeEvent) -> None:
        if event.payload == b"flood":
            while edge.pending_bytes(event.call_id) <= STREAM_HIGH_WATER_BYTES:
                edge.send(event.call_id, bytes(1_000_000))
        else:
            echo(edge, event)

    server.rule = rule
    stop = threading.Event()
    stalled = [channel.stream_stream(WATCH)(_then(b"flood", stop)) for _ in range(10)]
    server.wait_count(Kind.MESSAGE, 10)
    answers = channel.stream_stream(WATCH)(iter([b"ping"]), timeout=PATIENCE_S)
    assert list(answers) == [b"ping"]
    stop.set()
    for stream in stalled:
        stream.cancel()


def test_vanished_client_gives_closed_and_cancelled(server: Server) -> None:
    server.rule = ignore
    stop = threading.Event()
    with connect(server.front.address) as leaving:
        calls = [  # held: a call that is forgotten is a call that is cancelled
            leaving.stream_stream(WATCH)(_then(b"x", stop)),
            leaving.unary_stream(RANGE_STREAM)(b""),
            leaving.unary_unary(PUT).future(b""),
        ]
        server.wait_count(Kind.MESSAGE, 1)
        server.wait_count(Kind.CALL, 2)
    stop.set()
    server.wait_count(Kind.CANCELLED, 2)
    server.wait_count(Kind.CLOSED, 1)
    del calls


def test_used_port_is_refused_with_a_sentence(server: Server, kind: str) -> None:
    second = Server(kind, server.front.address)
    try:
        with pytest.raises(AddressInUse, match=f"cannot listen on {server.front.address}: "):
            second.start()
    finally:
        second.close()


def test_unknown_methods_get_the_words_of_etcd(channel: Any) -> None:
    for path, text in (
        ("/etcdserverpb.KV/Nope", "unknown method Nope for service etcdserverpb.KV"),
        ("/v3nopepb.Nope/Lock", "unknown service v3nopepb.Nope"),
    ):
        expected = (grpc.StatusCode.UNIMPLEMENTED, text)
        assert status(partial(channel.unary_unary(path), b"", timeout=PATIENCE_S)) == expected
        stream = channel.stream_stream(path)(iter([b""]), timeout=PATIENCE_S)
        assert status(partial(next, stream)) == expected


def test_stop_lets_an_open_call_finish(server: Server, channel: Any) -> None:
    def rule(edge: Edge, event: EdgeEvent) -> None:
        if event.kind == Kind.CALL:
            time.sleep(0.4)
            edge.respond(event.call_id, b"late but there")

    server.rule = rule
    future = channel.unary_unary(PUT).future(b"", timeout=PATIENCE_S)
    server.wait(Kind.CALL)
    began = time.monotonic()
    server.stop(PATIENCE_S / 2)
    assert future.result() == b"late but there"
    assert time.monotonic() - began < PATIENCE_S / 2


def test_stop_cuts_what_does_not_finish_and_tells_the_loop(server: Server, channel: Any) -> None:
    server.rule = ignore
    stop = threading.Event()
    unary = channel.unary_unary(PUT).future(b"")
    stream = channel.stream_stream(WATCH)(_then(b"x", stop))
    server.wait(Kind.CALL, Kind.MESSAGE)
    server.stop(0.2)
    stop.set()
    code, _ = status(unary.result)
    assert code in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED)
    assert status(lambda: next(stream))[0] != grpc.StatusCode.OK
    server.wait(Kind.CANCELLED, Kind.CLOSED)


def test_stop_leaves_no_thread_socket_or_folder(kind: str) -> None:
    folders = set(Path(tempfile.gettempdir()).glob("kubebraid-front-*"))
    threads = set(threading.enumerate())
    served = Server(kind)
    served.start()
    address = served.front.address
    with connect(address) as client:
        assert client.unary_unary(PUT)(b"x", timeout=PATIENCE_S) == b"x"
        assert list(client.stream_stream(WATCH)(iter([b"y"]), timeout=PATIENCE_S)) == [b"y"]
    served.stop(1.0)
    served.close()
    left = {thread for thread in threading.enumerate() if thread.is_alive()} - threads
    assert {
        thread.name for thread in left if "pump" in thread.name or "test" in thread.name
    } == set()
    assert set(Path(tempfile.gettempdir()).glob("kubebraid-front-*")) <= folders
    host, _, port = address.rpartition(":")
    with socket.socket() as again:
        again.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        again.bind((host, int(port)))


@pytest.mark.slow  # gRPC clients ping once a second at most
def test_frequent_pings_are_not_punished(server: Server) -> None:
    ping = (
        ("grpc.keepalive_time_ms", 1000),
        ("grpc.keepalive_permit_without_calls", 1),
        ("grpc.http2.max_pings_without_data", 0),
    )
    server.rule = ignore
    stop = threading.Event()
    with connect(server.front.address, *ping) as client:
        stream = client.stream_stream(WATCH)(_then(b"x", stop))
        time.sleep(4.5)
        assert stream.is_active()
    stop.set()


def test_unix_socket_is_an_address_too(kind: str, tmp_path: Path) -> None:
    served = Server(kind, str(tmp_path / "edge.sock"))
    served.start()
    with connect(f"unix:{served.front.address}") as client:
        assert client.unary_unary(PUT)(b"x", timeout=PATIENCE_S) == b"x"
    served.stop()
    served.close()


@pytest.fixture
def on_file(kind: str, tmp_path: Path) -> Iterator[Server]:
    """A front that owns the file of its socket, as serve makes it."""
    served = Server(kind, str(tmp_path / "edge.sock"))
    served.front = UnixFront(served.front, str(tmp_path / "edge.sock"))
    yield served
    served.stop()
    served.close()


def test_socket_file_is_private_and_gone_at_the_end(on_file: Server, tmp_path: Path) -> None:
    path = tmp_path / "edge.sock"
    on_file.start()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    with connect(f"unix:{path}") as client:
        assert client.unary_unary(PUT)(b"x", timeout=PATIENCE_S) == b"x"
        assert list(client.stream_stream(WATCH)(iter([b"y"]), timeout=PATIENCE_S)) == [b"y"]
    on_file.stop()
    assert not path.exists()


def test_socket_of_a_living_server_is_not_taken_away(on_file: Server, tmp_path: Path) -> None:
    """Both gRPC libraries would: they remove whatever lies in the way."""
    on_file.start()
    second = UnixFront(GrpcioFront(on_file.front.address, on_file.deliver), on_file.front.address)
    with pytest.raises(AddressInUse, match="another process does"):
        on_file.run(second.start())
    with connect(f"unix:{tmp_path / 'edge.sock'}") as client:
        assert client.unary_unary(PUT)(b"x", timeout=PATIENCE_S) == b"x"


def test_stale_socket_is_replaced(on_file: Server, tmp_path: Path) -> None:
    """What a killed server left behind."""
    with socket.socket(socket.AF_UNIX) as killed:
        killed.bind(str(tmp_path / "edge.sock"))
    on_file.start()
    with connect(f"unix:{tmp_path / 'edge.sock'}") as client:
        assert client.unary_unary(PUT)(b"x", timeout=PATIENCE_S) == b"x"


def test_front_takes_messages_as_large_as_it_is_told(kind: str) -> None:
    served = Server(kind)
    front = {"native": NativeFront, "grpcio": GrpcioFront}[kind]
    served.front = front("127.0.0.1:0", served.deliver, message_bytes_max=11 * 2**20)
    served.start()
    try:
        with connect(served.front.address) as client:
            largest = bytes(11 * 2**20)
            assert client.unary_unary(PUT)(largest, timeout=PATIENCE_S) == largest
            code, text = status(
                lambda: client.unary_unary(PUT)(bytes(11 * 2**20 + 1), timeout=PATIENCE_S)
            )
        assert code == grpc.StatusCode.RESOURCE_EXHAUSTED
        assert text == "grpc: received message larger than max (11534337 vs. 11534336)"
    finally:
        served.stop()
        served.close()


def test_make_front_reads_listen_urls() -> None:
    def deliver(_edge: Edge, _events: list[EdgeEvent]) -> None:
        pass

    assert isinstance(make_front("auto", "http://127.0.0.1:0", deliver), NativeFront)
    assert isinstance(make_front("grpcio", "http://127.0.0.1:0/", deliver), GrpcioFront)
    assert isinstance(make_front("grpcio", "unix:///run/kb.sock", deliver), UnixFront)
    assert listen_address("http://[::1]:2379") == "[::1]:2379"
    assert listen_address("http://localhost:2379") == "localhost:2379"


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("https://127.0.0.1:2379", "TLS is not there yet"),
        ("127.0.0.1:2379", "scheme"),
        ("unixs:///run/kb.sock", "TLS is not there yet"),
        ("http://127.0.0.1", "both needed"),
        ("http://:2379", "both needed"),
        ("http://127.0.0.1:70000", "port"),
        ("http://127.0.0.1:2379/path", "only host and port"),
    ],
)
def test_bad_listen_url_is_refused_with_its_reason(url: str, reason: str) -> None:
    with pytest.raises(BadListenUrl, match=reason):
        make_front("native", url, lambda _edge, _events: None)
