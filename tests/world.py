"""A whole node without threads, sockets or time: the harness of the property tests.

What it is: the real router, shard and coordinator cores on a real engine, driven turn by turn,
with a fake edge and a fake clock. What it is not: a front; bytes go in and out as gRPC would carry
them.

Worked example: `World().call("KV.Put", PutRequest(key=b"a", value=b"1")).header.revision` is 2.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final
from unittest import mock

from google.protobuf.message import Message

from kubebraid.base.limits import PROGRESS_INTERVAL_MS
from kubebraid.base.tabletmap import layout
from kubebraid.cli import node
from kubebraid.cli.node import SHARD, Node, NodeOptions, Seams
from kubebraid.proto.etcd import rpc_pb2
from kubebraid.proto.server import (
    METHOD_BY_PATH,
    STREAM_HIGH_WATER_BYTES,
    EdgeEvent,
    Kind,
)
from kubebraid.shard.owner import Owner
from kubebraid.shard.storage.engine import Engine
from kubebraid.shard.storage.memory import MemoryEngine
from kubebraid.shard.storage.rocksdb import RocksEngine

from .remote import RemoteOwner

RESPONSES: Final[dict[str, type[Message]]] = {
    "KV.Range": rpc_pb2.RangeResponse,
    "KV.Put": rpc_pb2.PutResponse,
    "KV.DeleteRange": rpc_pb2.DeleteRangeResponse,
    "KV.Txn": rpc_pb2.TxnResponse,
    "KV.Compact": rpc_pb2.CompactionResponse,
    "Lease.LeaseGrant": rpc_pb2.LeaseGrantResponse,
    "Lease.LeaseRevoke": rpc_pb2.LeaseRevokeResponse,
    "Lease.LeaseTimeToLive": rpc_pb2.LeaseTimeToLiveResponse,
    "Lease.LeaseLeases": rpc_pb2.LeaseLeasesResponse,
    "Maintenance.Status": rpc_pb2.StatusResponse,
    "Maintenance.Alarm": rpc_pb2.AlarmResponse,
    "Maintenance.Hash": rpc_pb2.HashResponse,
    "Maintenance.HashKV": rpc_pb2.HashKVResponse,
    "Maintenance.Defragment": rpc_pb2.DefragmentResponse,
    "Cluster.MemberList": rpc_pb2.MemberListResponse,
}
WATCH: Final = METHOD_BY_PATH["/etcdserverpb.Watch/Watch"]
RANGE_STREAM: Final = METHOD_BY_PATH["/etcdserverpb.KV/RangeStream"]


class RpcError(Exception):
    """A call that ended with a status other than OK."""

    def __init__(self, code: int, text: str) -> None:
        super().__init__(f"{code}: {text}")
        self.code = code
        self.text = text


class FakeClock:
    def __init__(self) -> None:
        self.ms = 1_000_000

    def now_ms(self) -> int:
        return self.ms


class FakeRandom:
    def __init__(self) -> None:
        self._next = 7_000

    def lease_id(self) -> int:
        self._next += 1
        return self._next


class FakeEdge:
    """Collects answers by call id; a stalled stream keeps its bytes pending."""

    def __init__(self) -> None:
        self.answers: dict[int, bytes | RpcError] = {}
        self.sent: dict[int, list[bytes]] = {}
        self.ended: dict[int, tuple[int, str]] = {}
        self.stalled: set[int] = set()

    def respond(self, call_id: int, payload: bytes) -> None:
        assert call_id not in self.answers, "one answer a call"
        self.answers[call_id] = payload

    def fail(self, call_id: int, code: int, message: str) -> None:
        assert code != 0
        if call_id in self.sent:
            self.ended.setdefault(call_id, (code, message))
        else:
            assert call_id not in self.answers, "one answer a call"
            self.answers[call_id] = RpcError(code, message)

    def send(self, call_id: int, payload: bytes) -> None:
        if call_id not in self.ended:
            self.sent.setdefault(call_id, []).append(payload)

    def pending_bytes(self, call_id: int) -> int:
        return STREAM_HIGH_WATER_BYTES + 1 if call_id in self.stalled else 0

    def end(self, call_id: int) -> None:
        self.ended.setdefault(call_id, (0, ""))


class World:
    """One node. Every method runs the loop until nothing more can be done."""

    def __init__(
        self,
        prefixes: Sequence[bytes] = (),
        engine: str = "memory",
        directory: Path | None = None,
        progress_interval_ms: int = PROGRESS_INTERVAL_MS,
        remote: bool = False,
    ) -> None:
        """`remote`: the router reaches its shard over a link (tests.remote)."""
        self._remote = remote
        self._map = layout(prefixes, SHARD)
        self._directory = directory
        self._options = NodeOptions("world", progress_interval_ms=progress_interval_ms)
        self.clock = FakeClock()
        self._random = FakeRandom()
        self._calls = 0
        self._streams: list[WatchStream] = []
        assert engine in ("memory", "rocksdb")
        if engine == "memory":
            self.engine: Engine = MemoryEngine()
        else:
            assert directory is not None, "rocksdb needs a directory"
            self.engine = RocksEngine.open(directory, create=True)
        self._start()

    def _start(self) -> None:
        self.edge = FakeEdge()
        owner = RemoteOwner if self._remote else Owner
        with mock.patch.object(node, "Owner", owner):
            self.node = Node(self.engine, self._map, self._options, self._seams())
        if self._remote:
            self.run()  # before its first publication a router has nothing to show

    @property
    def link(self) -> RemoteOwner:
        """The link to the shard, where there is one."""
        owner: object = self.node.owner
        assert isinstance(owner, RemoteOwner)
        return owner

    def _seams(self) -> Seams:
        return Seams(self.clock, self._random, _raise)

    def run(self) -> None:
        """Turn until idle; bounded, so that a livelock is a failure."""
        for _ in range(100_000):
            if not self.node.loop.turn():
                return
        raise AssertionError("the loop never becomes idle")

    def deliver(self, kind: Kind, call_id: int, method: int, payload: bytes = b"") -> None:
        self.node.deliver(self.edge, [EdgeEvent(kind, call_id, method, payload)])

    def new_call(self) -> int:
        self._calls += 1
        return self._calls

    # -- unary ---------------------------------------------------------------------------------

    def call(self, method: str, request: Message) -> Any:
        """One call; raises RpcError."""
        (answer,) = self.batch([(method, request)])
        if isinstance(answer, RpcError):
            raise answer
        return answer

    def batch(self, calls: Sequence[tuple[str, Message]]) -> list[Any]:
        """Calls that arrive in one turn, in this order; RpcErrors are returned."""
        events = []
        for method, request in calls:
            service, _, name = method.partition(".")
            path = f"/etcdserverpb.{service}/{name}"
            payload = request.SerializeToString()
            events.append(EdgeEvent(Kind.CALL, self.new_call(), METHOD_BY_PATH[path], payload))
        self.node.deliver(self.edge, events)
        self.run()
        return [
            self._decode(method, self.edge.answers.pop(event.call_id))
            for (method, _), event in zip(calls, events, strict=True)
        ]

    def _decode(self, method: str, answer: bytes | RpcError) -> Any:
        if isinstance(answer, RpcError):
            return answer
        return RESPONSES[method].FromString(answer)

    def range_stream(self, request: rpc_pb2.RangeRequest) -> list[rpc_pb2.RangeStreamResponse]:
        """All chunks of a RangeStream; raises RpcError."""
        call_id = self.new_call()
        self.edge.sent[call_id] = []
        self.deliver(Kind.CALL, call_id, RANGE_STREAM, request.SerializeToString())
        self.run()
        code, text = self.edge.ended.pop(call_id)
        chunks = self.edge.sent.pop(call_id)
        if code:
            raise RpcError(code, text)
        return [rpc_pb2.RangeStreamResponse.FromString(chunk) for chunk in chunks]

    # -- streams -------------------------------------------------------------------------------

    def watch_stream(self) -> WatchStream:
        stream = WatchStream(self)
        self._streams.append(stream)
        return stream

    # -- time and faults -----------------------------------------------------------------------

    def advance(self, ms: int) -> None:
        """Let time pass, in steps, as the loop would have been woken."""
        end = self.clock.ms + ms
        while self.clock.ms < end:
            self.clock.ms = min(end, self.clock.ms + 500)
            self.run()

    def crash(self) -> None:
        """SIGKILL between two turns: only what is durable stays."""
        if isinstance(self.engine, MemoryEngine):
            self.engine = self.engine.clone()
        else:
            assert self._directory is not None
            self._reopen_copy(self._directory)
        self._end_streams()
        self._start()

    def _reopen_copy(self, directory: Path) -> None:
        """What a killed process leaves is its files as they are: open a copy of them.

        RocksDB may remove a file while it is copied; then the copy is made again.
        """
        copy = directory.with_name(directory.name + "+")
        while True:
            before = sorted(directory.iterdir())
            try:
                shutil.copytree(directory, copy, ignore=shutil.ignore_patterns("LOCK"))
            except shutil.Error:
                shutil.rmtree(copy)
                continue
            if sorted(directory.iterdir()) == before:
                break
            shutil.rmtree(copy)
        self.engine.close()
        self._directory = copy
        self.engine = RocksEngine.open(copy, create=False)

    def restart(self) -> None:
        """SIGTERM: drain, close, open again."""
        self.node.loop.post(self.node.router.drain)
        self.run()
        assert self.node.owner.drained
        if isinstance(self.engine, MemoryEngine):
            self.engine = self.engine.clone()
        else:
            assert self._directory is not None
            self.engine.close()
            self.engine = RocksEngine.open(self._directory, create=False)
        self._end_streams()
        self._start()

    def _end_streams(self) -> None:
        for stream in self._streams:
            stream.cut()
        self._streams.clear()


class WatchStream:
    """One Watch RPC."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._edge = world.edge
        self._id = world.new_call()
        self._edge.sent[self._id] = []
        self._cut: tuple[int, str] | None = None
        world.deliver(Kind.OPEN, self._id, WATCH)

    def send(self, request: rpc_pb2.WatchRequest) -> None:
        assert self._cut is None, "the stream has ended"
        self._world.deliver(Kind.MESSAGE, self._id, WATCH, request.SerializeToString())

    def take(self) -> list[rpc_pb2.WatchResponse]:
        """What the client has received since the last take; nothing while it is stalled."""
        if self._cut is None:
            self._world.run()
        if self._id in self._edge.stalled:
            return []
        sent = self._edge.sent[self._id]
        taken, sent[:] = list(sent), []
        return [rpc_pb2.WatchResponse.FromString(message) for message in taken]

    @property
    def ended(self) -> tuple[int, str] | None:
        return self._edge.ended.get(self._id, self._cut)

    def cut(self) -> None:
        """The server is gone."""
        self._cut = (14, "connection lost")

    def close(self) -> None:
        if self._cut is None:
            self._world.deliver(Kind.CLOSED, self._id, WATCH)
            self._world.run()
        self._cut = self._cut or (1, "closed by the client")

    def stall(self) -> None:
        self._edge.stalled.add(self._id)

    def resume(self) -> None:
        self._edge.stalled.discard(self._id)
        if self._cut is None:
            self._world.deliver(Kind.DRAINED, self._id, WATCH)


def _raise(error: BaseException) -> None:
    raise error
