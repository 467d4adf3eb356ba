"""Clients of a store that is killed under them: each knows what it was promised.

What it is: writers, readers and watchers over gRPC that go on when the store comes back, and note
everything. What it is not: a judge; `judge.py` compares the notes.

Words: a write is *acknowledged* (an answer came), *refused* (an error that says that nothing
happened) or *unknown* (any other error: it may have happened, or not).

Invariants: a value is written once in the life of a test, so that it names its write; a key has one
writer, which has one write under way; a watch goes on where its predecessor ended, at the last
revision that it saw + 1.

Worked example: `with Load(port) as load: ...` writes until the block ends; then `load.writes()`.
"""

from __future__ import annotations

import queue
import threading
import time
from dataclasses import dataclass
from enum import Enum
from random import Random
from typing import Any, Final, NamedTuple

import grpc

from kubebraid.proto.etcd import rpc_pb2
from tests.e2e.processes import wait_for
from tests.robustness.watching import Watcher

WRITERS: Final = 6
KEYS_PER_WRITER: Final = 8
CALL_S_MAX: Final = 20.0
READ_PAUSE_S: Final = 0.03
BIG_READ_PAUSE_S: Final = 0.4
WRITE_PAUSE_S: Final = 0.015  # enough writes for every end, few enough to judge them all
JOIN_S_MAX: Final = 30.0
VALUE_BYTES: Final = 3_000  # every fourth value; the others are short
FOLDERS: Final = (b"/registry/configmaps/", b"/registry/pods/", b"/registry/leases/", b"/other/")
ALL: Final = b"\0"  # key and range_end of everything

CHANNEL: Final = (
    ("grpc.initial_reconnect_backoff_ms", 20),
    ("grpc.min_reconnect_backoff_ms", 20),
    ("grpc.max_reconnect_backoff_ms", 50),
    ("grpc.enable_retries", 0),
    ("grpc.max_receive_message_length", -1),
    ("grpc.use_local_subchannel_pool", 1),
)
DEFINITE: Final = frozenset(
    {
        grpc.StatusCode.INVALID_ARGUMENT,
        grpc.StatusCode.RESOURCE_EXHAUSTED,
        grpc.StatusCode.FAILED_PRECONDITION,
        grpc.StatusCode.OUT_OF_RANGE,
        grpc.StatusCode.NOT_FOUND,
    }
)
RESPONSES: Final[dict[str, Any]] = {
    "KV/Range": rpc_pb2.RangeResponse,
    "KV/Put": rpc_pb2.PutResponse,
    "KV/DeleteRange": rpc_pb2.DeleteRangeResponse,
    "KV/Txn": rpc_pb2.TxnResponse,
    "KV/Compact": rpc_pb2.CompactionResponse,
    "Maintenance/Alarm": rpc_pb2.AlarmResponse,
    "Maintenance/Defragment": rpc_pb2.DefragmentResponse,
}
METHODS: Final[dict[type, str]] = {
    rpc_pb2.PutRequest: "KV/Put",
    rpc_pb2.DeleteRangeRequest: "KV/DeleteRange",
    rpc_pb2.TxnRequest: "KV/Txn",
}
WriteRequest = rpc_pb2.PutRequest | rpc_pb2.DeleteRangeRequest | rpc_pb2.TxnRequest


class Connection:
    """One client's channel. A call waits for a store that is not there yet."""

    def __init__(self, port: int) -> None:
        self._channel = grpc.insecure_channel(f"127.0.0.1:{port}", options=CHANNEL)

    def call(self, method: str, request: Any, seconds: float = CALL_S_MAX) -> Any:
        """One call. Raises grpc.RpcError."""
        stub = self._channel.unary_unary(
            f"/etcdserverpb.{method}",
            request_serializer=type(request).SerializeToString,
            response_deserializer=RESPONSES[method].FromString,
        )
        return stub(request, timeout=seconds, wait_for_ready=True)

    def watch(self, requests: Any) -> Any:
        """A Watch stream, as grpc gives it."""
        stub = self._channel.stream_stream(
            "/etcdserverpb.Watch/Watch",
            request_serializer=rpc_pb2.WatchRequest.SerializeToString,
            response_deserializer=rpc_pb2.WatchResponse.FromString,
        )
        return stub(requests, wait_for_ready=True)

    def everything(self, revision: int = 0) -> rpc_pb2.RangeResponse:
        """All keys, at a revision."""
        request = rpc_pb2.RangeRequest(key=ALL, range_end=ALL, revision=revision)
        answer = self.call("KV/Range", request)
        assert isinstance(answer, rpc_pb2.RangeResponse)
        return answer

    def close(self) -> None:
        """Hang up."""
        self._channel.close()


class Outcome(Enum):
    """What a writer knows of its write."""

    ACKNOWLEDGED = "acknowledged"
    REFUSED = "refused"
    UNKNOWN = "unknown"


@dataclass
class Write:
    """One write and what came of it. `detail` is the error's text."""

    writer: int
    number: int
    request: WriteRequest
    outcome: Outcome = Outcome.UNKNOWN
    response: Any = None
    detail: str = ""

    @property
    def revision(self) -> int:
        """What the answer's header says."""
        return int(self.response.header.revision)

    @property
    def changed(self) -> bool:
        """Whether the answer says that a revision was made."""
        if isinstance(self.response, rpc_pb2.DeleteRangeResponse):
            return self.response.deleted > 0
        return True


class Read(NamedTuple):
    """One answer to a read of everything."""

    request: rpc_pb2.RangeRequest
    response: rpc_pb2.RangeResponse


class Writer:
    """One thread's keys and writes."""

    def __init__(self, port: int, name: int, seed: int, value_bytes: int = VALUE_BYTES) -> None:
        self._connection = Connection(port)
        self._value_bytes = value_bytes
        self._name = name
        self._random = Random(seed * 1_000 + name)
        folders = FOLDERS * KEYS_PER_WRITER
        self.keys = [
            folders[(number + name) % len(FOLDERS)] + b"w%d-%d" % (name, number)
            for number in range(KEYS_PER_WRITER)
        ]
        self.writes: list[Write] = []

    def run(self, stop: threading.Event) -> None:
        while not stop.wait(WRITE_PAUSE_S):
            self.step()
        self._connection.close()

    def step(self) -> Write:
        """One write."""
        write = Write(self._name, len(self.writes), self._request())
        self.writes.append(write)
        try:
            write.response = self._connection.call(METHODS[type(write.request)], write.request)
            write.outcome = Outcome.ACKNOWLEDGED
        except grpc.RpcError as error:
            write.detail = f"{error.code()}: {error.details()}"
            if error.code() in DEFINITE:
                write.outcome = Outcome.REFUSED
        return write

    def _value(self, part: int) -> bytes:
        name = b"w%d.%d.%d " % (self._name, len(self.writes), part)
        size = self._random.choice((10, 10, 300, self._value_bytes))
        return name + self._random.randbytes(size)

    def _request(self) -> WriteRequest:
        kind = self._random.random()
        first, second = self._random.sample(self.keys, 2)
        put = rpc_pb2.PutRequest(key=first, value=self._value(0), prev_kv=True)
        if kind < 0.7:
            return put
        if kind < 0.8:
            return rpc_pb2.DeleteRangeRequest(key=first, prev_kv=True)
        other = rpc_pb2.PutRequest(key=second, value=self._value(1))
        operations = [rpc_pb2.RequestOp(request_put=each) for each in (put, other)]
        return rpc_pb2.TxnRequest(success=operations)


class Reader:
    """Reads everything, now and then."""

    def __init__(self, port: int, pause_s: float) -> None:
        self._connection = Connection(port)
        self._pause_s = pause_s
        self.reads: list[Read] = []

    def run(self, stop: threading.Event) -> None:
        request = rpc_pb2.RangeRequest(key=ALL, range_end=ALL)
        while not stop.wait(self._pause_s):
            try:
                answer = self._connection.call("KV/Range", request)
            except grpc.RpcError:
                continue
            self.reads.append(Read(request, answer))
        self._connection.close()


class Watching:
    """A watch and its successors, each from where the one before it ended."""

    def __init__(self, port: int, request: rpc_pb2.WatchCreateRequest) -> None:
        self._connection = Connection(port)
        self.parts = [Watcher(request)]
        self._call: Any = None

    def run(self, stop: threading.Event) -> None:
        while not stop.is_set():
            self._follow(self.parts[-1])
            if self.parts[-1].compacted():
                break
            self.parts.append(Watcher(self.parts[-1].successor()))
            stop.wait(READ_PAUSE_S)
        self._connection.close()

    def _follow(self, part: Watcher) -> None:
        requests: queue.Queue[rpc_pb2.WatchRequest | None] = queue.Queue()
        requests.put(rpc_pb2.WatchRequest(create_request=part.request))
        self._call = self._connection.watch(iter(requests.get, None))
        try:
            part.responses.extend(self._call)
        except grpc.RpcError:
            pass  # the store is gone, or the test is over
        finally:
            requests.put(None)

    def cancel(self) -> None:
        """End the stream that is open now."""
        if self._call is not None:
            self._call.cancel()

    @property
    def next_revision(self) -> int:
        """What it has not seen yet."""
        return self.parts[-1].next_revision()


def watch_everything() -> rpc_pb2.WatchCreateRequest:
    """From the first revision on, with what each key was before."""
    return rpc_pb2.WatchCreateRequest(key=ALL, range_end=ALL, start_revision=1, prev_kv=True)


def watch_folder() -> rpc_pb2.WatchCreateRequest:
    """What a kube-apiserver's cache does."""
    end = FOLDERS[0][:-1] + b"0"
    return rpc_pb2.WatchCreateRequest(key=FOLDERS[0], range_end=end, start_revision=1)


class Load:
    """All clients of a test; they run while the block runs."""

    def __init__(self, port: int, seed: int, value_bytes: int = VALUE_BYTES) -> None:
        self.port = port
        self.writers = [Writer(port, name, seed, value_bytes) for name in range(WRITERS)]
        # Every answer is kept for the judge.
        self.reader = Reader(port, READ_PAUSE_S if value_bytes == VALUE_BYTES else BIG_READ_PAUSE_S)
        self.watchings = [Watching(port, watch_everything()), Watching(port, watch_folder())]
        self._stop_writing, self._stop_watching = threading.Event(), threading.Event()
        self._errors: list[str] = []
        self._writing = [self._thread(each.run, self._stop_writing) for each in self.writers]
        self._writing.append(self._thread(self.reader.run, self._stop_writing))
        self._watching = [self._thread(each.run, self._stop_watching) for each in self.watchings]

    def _thread(self, run: Any, stop: threading.Event) -> threading.Thread:
        def guarded() -> None:
            try:
                run(stop)
            except Exception as error:  # noqa: BLE001 - told by check(), in the test's own thread
                self._errors.append(repr(error))

        return threading.Thread(target=guarded, daemon=True)

    def __enter__(self) -> Load:
        for thread in (*self._writing, *self._watching):
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop_writing.set()
        self._stop_watching.set()
        for watching in self.watchings:
            watching.cancel()

    def finish(self) -> None:
        """No more writes; every watcher saw all of them. The store has to be there."""
        self._stop_writing.set()
        for thread in self._writing:
            thread.join(JOIN_S_MAX)
            assert not thread.is_alive(), "a client hangs"
        connection = Connection(self.port)
        marker = rpc_pb2.PutRequest(key=FOLDERS[0] + b"end", value=b"end", prev_kv=True)
        answer = connection.call("KV/Put", marker)
        # A write of every watcher's interest, so that each has something to end with.
        self.last = Write(WRITERS, 0, marker, Outcome.ACKNOWLEDGED, answer)
        connection.close()

        def complete() -> bool:
            return all(each.next_revision > self.last.revision for each in self.watchings)

        wait_for("the watchers to see the last write", complete, JOIN_S_MAX)
        self._stop_watching.set()
        for watching, thread in zip(self.watchings, self._watching, strict=True):
            while thread.is_alive():
                watching.cancel()
                thread.join(READ_PAUSE_S)
        assert not self._errors, self._errors

    def writes(self) -> list[Write]:
        """Every write, also the last one of all."""
        return [write for writer in self.writers for write in writer.writes] + [self.last]

    def so_far(self) -> list[Write]:
        """The writes that were begun until now; the newest may still be under way."""
        return [write for writer in self.writers for write in list(writer.writes)]

    @property
    def acknowledged(self) -> int:
        """How many so far."""
        return sum(write.outcome is Outcome.ACKNOWLEDGED for write in self.so_far())

    def wait_for_more(self, count: int, seconds: float) -> None:
        """Wait until this many more writes are acknowledged."""
        goal = self.acknowledged + count
        wait_for(f"{count} more acknowledged writes", lambda: self.acknowledged >= goal, seconds)


def pause(seconds: float) -> None:
    """Let the clients work."""
    time.sleep(seconds)
