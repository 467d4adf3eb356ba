"""A real etcd behind the calls of tests.world.World, so that one test can judge both.

What it is: one etcd process on free ports of 127.0.0.1 with its data in a temporary folder, and
the raw gRPC calls to it. What it is not: deterministic; `take` waits until nothing came for
a while.

Words: a *peer* is a program that tests/peers/build.sh builds.
"""

from __future__ import annotations

import os
import queue
import shutil
import socket
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final, TypeAlias

import grpc
import pytest

from kubebraid.proto.etcd import rpc_pb2

Message: TypeAlias = Any  # any generated message

START_TIMEOUT_S: Final = 20.0
CALL_TIMEOUT_S: Final = 10.0
QUIET_S: Final = 0.35  # etcd brings watchers that lag behind up to date every 0.1 s

_RESPONSES: Final[dict[str, Message]] = {
    "KV.Range": rpc_pb2.RangeResponse,
    "KV.RangeStream": rpc_pb2.RangeStreamResponse,
    "KV.Put": rpc_pb2.PutResponse,
    "KV.DeleteRange": rpc_pb2.DeleteRangeResponse,
    "KV.Txn": rpc_pb2.TxnResponse,
    "KV.Compact": rpc_pb2.CompactionResponse,
    "Lease.LeaseGrant": rpc_pb2.LeaseGrantResponse,
    "Lease.LeaseRevoke": rpc_pb2.LeaseRevokeResponse,
    "Lease.LeaseTimeToLive": rpc_pb2.LeaseTimeToLiveResponse,
    "Lease.LeaseLeases": rpc_pb2.LeaseLeasesResponse,
}


class EtcdRpcError(Exception):
    """A status other than OK, with what RpcError of tests.world has."""

    def __init__(self, code: int, text: str) -> None:
        super().__init__(f"{code}: {text}")
        self.code = code
        self.text = text


def etcd_binary() -> Path:
    """The peer; skips the test without it, unless peers are required."""
    cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    peers = Path(os.environ.get("KUBEBRAID_PEERS") or Path(cache) / "kubebraid" / "peers")
    binary = peers / "bin" / "etcd"
    if not binary.exists():
        message = f"no etcd at {binary}: run tests/peers/build.sh"
        if os.environ.get("KUBEBRAID_REQUIRE_PEERS") == "1":
            pytest.fail(message)
        pytest.skip(message)
    return binary


class EtcdWorld:
    """One etcd with one member. `close` ends it and removes its data."""

    def __init__(self) -> None:
        self._binary = etcd_binary()
        self._folder = Path(tempfile.mkdtemp(prefix="etcd-world-"))
        self._client, self._peer = _free_ports(2)
        self._streams: list[EtcdWatchStream] = []
        self._pool = ThreadPoolExecutor(16)
        self._start()

    def _start(self) -> None:
        client, peer = f"http://127.0.0.1:{self._client}", f"http://127.0.0.1:{self._peer}"
        command = [
            str(self._binary), "--name=e", f"--data-dir={self._folder}/data",
            f"--listen-client-urls={client}", f"--advertise-client-urls={client}",
            f"--listen-peer-urls={peer}", f"--initial-advertise-peer-urls={peer}",
            f"--initial-cluster=e={peer}", "--unsafe-no-fsync", "--log-level=error",
        ]  # fmt: skip
        with (self._folder / "log").open("ab") as log:
            self._process = subprocess.Popen(command, stdout=log, stderr=log)
        # A pool of its own: the connection to a killed predecessor must not be found in it.
        self._channel = grpc.insecure_channel(
            f"127.0.0.1:{self._client}", options=[("grpc.use_local_subchannel_pool", 1)]
        )
        request = rpc_pb2.RangeRequest(key=b"ready")
        self._unary("KV.Range")(request, timeout=START_TIMEOUT_S, wait_for_ready=True)

    def _unary(self, method: str) -> grpc.UnaryUnaryMultiCallable[Message, Message]:
        return self._channel.unary_unary(
            _path(method),
            request_serializer=lambda message: message.SerializeToString(),
            response_deserializer=_RESPONSES[method].FromString,
        )

    def call(self, method: str, request: Message) -> Message:
        try:
            return self._unary(method)(request, timeout=CALL_TIMEOUT_S)
        except grpc.RpcError as error:
            raise EtcdRpcError(*_status(error)) from None

    def batch(self, calls: Sequence[tuple[str, Message]]) -> list[Message]:
        """All at once, from as many threads."""

        def one(call: tuple[str, Message]) -> Message:
            try:
                return self.call(*call)
            except EtcdRpcError as error:
                return error

        return list(self._pool.map(one, calls))

    def range_stream(self, request: rpc_pb2.RangeRequest) -> list[rpc_pb2.RangeStreamResponse]:
        stream = self._channel.unary_stream(
            _path("KV.RangeStream"),
            request_serializer=rpc_pb2.RangeRequest.SerializeToString,
            response_deserializer=rpc_pb2.RangeStreamResponse.FromString,
        )
        try:
            return list(stream(request, timeout=CALL_TIMEOUT_S))
        except grpc.RpcError as error:
            raise EtcdRpcError(*_status(error)) from None

    def watch_stream(self) -> EtcdWatchStream:
        stream = EtcdWatchStream(self._channel)
        self._streams.append(stream)
        return stream

    def advance(self, ms: int) -> None:
        """Real time passes."""
        time.sleep(ms / 1000)

    def crash(self) -> None:
        self._end_process(kill=True)
        self._start()

    def restart(self) -> None:
        self._end_process(kill=False)
        self._start()

    def _end_process(self, *, kill: bool) -> None:
        if kill:
            self._process.kill()
        else:
            self._process.terminate()
        self._process.wait()
        for stream in self._streams:
            stream.close()
        self._streams.clear()
        self._channel.close()

    def close(self) -> None:
        self._end_process(kill=True)
        self._pool.shutdown()
        shutil.rmtree(self._folder, ignore_errors=True)


class EtcdWatchStream:
    """One Watch call, read by a thread."""

    def __init__(self, channel: grpc.Channel) -> None:
        self.ended: tuple[int, str] | None = None
        self._requests: queue.SimpleQueue[rpc_pb2.WatchRequest | None] = queue.SimpleQueue()
        self._arrived: queue.SimpleQueue[rpc_pb2.WatchResponse] = queue.SimpleQueue()
        self._may_read = threading.Event()
        self._may_read.set()
        method = channel.stream_stream(
            _path("Watch.Watch"),
            request_serializer=rpc_pb2.WatchRequest.SerializeToString,
            response_deserializer=rpc_pb2.WatchResponse.FromString,
        )
        self._call = method(self._outgoing())
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _outgoing(self) -> Iterator[rpc_pb2.WatchRequest]:
        while (request := self._requests.get()) is not None:
            yield request

    def _read(self) -> None:
        try:
            for response in self._call:
                self._may_read.wait()
                self._arrived.put(response)
            self.ended = (0, "")
        except grpc.RpcError as error:
            self.ended = _status(error)

    def send(self, request: rpc_pb2.WatchRequest) -> None:
        self._requests.put(request)

    def take(self) -> list[rpc_pb2.WatchResponse]:
        """What came, once nothing has come for a while."""
        taken: list[rpc_pb2.WatchResponse] = []
        while True:
            try:
                taken.append(self._arrived.get(timeout=QUIET_S))
            except queue.Empty:
                return taken

    def stall(self) -> None:
        self._may_read.clear()

    def resume(self) -> None:
        self._may_read.set()

    def close(self) -> None:
        self._requests.put(None)
        self._may_read.set()
        self._call.cancel()
        self._reader.join()


def _path(method: str) -> str:
    service, name = method.split(".")
    return f"/etcdserverpb.{service}/{name}"


def _status(error: grpc.RpcError) -> tuple[int, str]:
    call: Any = error  # what is raised is both an RpcError and a Call
    return call.code().value[0], call.details() or ""


def _free_ports(count: int) -> list[int]:
    sockets = [socket.socket() for _ in range(count)]
    try:
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]
    finally:
        for each in sockets:
            each.close()
