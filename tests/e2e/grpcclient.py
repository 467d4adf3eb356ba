"""A bare gRPC client of the etcd API: calls, and Watch streams that are read only when asked to.

Client libraries read ahead and reconnect by themselves; what a test says about a stream (who sent
what, when, and how it ended) needs a client that does neither. Calls have a deadline each.
"""

from __future__ import annotations

import queue
from collections.abc import Iterable, Iterator, Sequence
from types import TracebackType
from typing import Any, Final, Self, TypeVar

import grpc
from google.protobuf.message import Message

from kubebraid.proto.etcd import rpc_pb2

CALL_S_MAX: Final = 60.0
# One connection a client, no window that grows by itself: what is not read stays at the server.
OPTIONS: Final = (
    ("grpc.use_local_subchannel_pool", 1),
    ("grpc.http2.bdp_probe", 0),
    ("grpc.max_receive_message_length", -1),
    ("grpc.max_send_message_length", -1),
)


A = TypeVar("A", bound=Message)


class Rpc:
    """A connection to 127.0.0.1."""

    def __init__(self, port: int, options: Iterable[tuple[str, int]] = ()) -> None:
        self.channel = grpc.insecure_channel(f"127.0.0.1:{port}", [*OPTIONS, *options])

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.channel.close()

    def call(self, method: str, request: Message, answer: type[A]) -> A:
        """A unary call, for example of "KV/Put"."""
        unary: Any = self.channel.unary_unary(
            f"/etcdserverpb.{method}",
            request_serializer=type(request).SerializeToString,
            response_deserializer=answer.FromString,
        )
        done = unary(request, timeout=CALL_S_MAX, wait_for_ready=True)
        assert isinstance(done, answer)
        return done

    def put(self, key: bytes, value: bytes) -> int:
        """Write a key; the revision of the write."""
        request = rpc_pb2.PutRequest(key=key, value=value)
        return self.call("KV/Put", request, rpc_pb2.PutResponse).header.revision

    def put_all(self, pairs: Sequence[tuple[bytes, bytes]]) -> int:
        """Write keys in one transaction; its revision."""
        puts = (rpc_pb2.PutRequest(key=key, value=value) for key, value in pairs)
        operations = [rpc_pb2.RequestOp(request_put=put) for put in puts]
        request = rpc_pb2.TxnRequest(success=operations)
        return self.call("KV/Txn", request, rpc_pb2.TxnResponse).header.revision

    def revision(self) -> int:
        """The store's present revision."""
        request = rpc_pb2.RangeRequest(key=b"no-such-key")
        return self.call("KV/Range", request, rpc_pb2.RangeResponse).header.revision

    def compact(self, revision: int) -> None:
        """Compact the history below a revision."""
        request = rpc_pb2.CompactionRequest(revision=revision)
        self.call("KV/Compact", request, rpc_pb2.CompactionResponse)


class WatchStream:
    """One Watch stream with any number of watches."""

    def __init__(self, rpc: Rpc) -> None:
        self._requests: queue.Queue[rpc_pb2.WatchRequest | None] = queue.Queue()
        open_stream = rpc.channel.stream_stream(
            "/etcdserverpb.Watch/Watch",
            request_serializer=rpc_pb2.WatchRequest.SerializeToString,
            response_deserializer=rpc_pb2.WatchResponse.FromString,
        )
        call: Any = open_stream(
            iter(self._requests.get, None), timeout=CALL_S_MAX, wait_for_ready=True
        )
        self._call = call
        self._answers: Iterator[rpc_pb2.WatchResponse] = call

    def create(self, key: bytes, end: bytes = b"", start: int = 0, prev_kv: bool = False) -> int:
        """A watch; its id. No other answer may be on its way."""
        create = rpc_pb2.WatchCreateRequest(
            key=key, range_end=end, start_revision=start, prev_kv=prev_kv
        )
        self._requests.put(rpc_pb2.WatchRequest(create_request=create))
        answer = self.next()
        assert answer.created, answer
        assert not answer.canceled, answer
        return answer.watch_id

    def ask_progress(self) -> None:
        """Send a progress request."""
        progress = rpc_pb2.WatchProgressRequest()
        self._requests.put(rpc_pb2.WatchRequest(progress_request=progress))

    def next(self) -> rpc_pb2.WatchResponse:
        """The next answer; the call's own deadline bounds the wait."""
        return next(self._answers)

    def close(self) -> None:
        """Hang up."""
        self._requests.put(None)
        self._call.cancel()
