"""A watch over plain gRPC: what a client library sees when the store goes away and comes back.

Other clients reconnect by themselves, so that a test cannot see how a stream ended.
"""

from __future__ import annotations

import queue
from collections.abc import Iterator
from typing import Any, Final

import grpc

from kubebraid.proto.etcd import rpc_pb2

CALL_S_MAX: Final = 30.0


class GrpcWatch:
    """One watch in a stream of its own, from a revision on."""

    def __init__(self, port: int, key: bytes, start_revision: int) -> None:
        self._requests: queue.Queue[rpc_pb2.WatchRequest | None] = queue.Queue()
        self._channel = grpc.insecure_channel(f"127.0.0.1:{port}")
        call = self._channel.stream_stream(
            "/etcdserverpb.Watch/Watch",
            request_serializer=rpc_pb2.WatchRequest.SerializeToString,
            response_deserializer=rpc_pb2.WatchResponse.FromString,
        )
        create = rpc_pb2.WatchCreateRequest(key=key, start_revision=start_revision)
        self._requests.put(rpc_pb2.WatchRequest(create_request=create))
        self._call: Any = call(
            iter(self._requests.get, None), timeout=CALL_S_MAX, wait_for_ready=True
        )
        self._answers: Iterator[rpc_pb2.WatchResponse] = self._call
        created = next(self._answers)
        assert created.created, created

    def take(self, count: int) -> list[tuple[int, bytes]]:
        """The next events: revision and value. The call's own deadline bounds the wait."""
        events: list[tuple[int, bytes]] = []
        while len(events) < count:
            answer = next(self._answers)
            assert not answer.canceled, answer
            events.extend((event.kv.mod_revision, event.kv.value) for event in answer.events)
        assert len(events) == count, events
        return events

    def end(self) -> grpc.StatusCode:
        """How the stream ended, given that no event comes before that."""
        try:
            answer = next(self._answers)
        except StopIteration:
            return grpc.StatusCode.OK
        except grpc.RpcError:
            code = self._call.code()
            assert isinstance(code, grpc.StatusCode)
            return code
        raise AssertionError(f"the stream went on with {answer}")

    def close(self) -> None:
        """Hang up."""
        self._requests.put(None)
        self._channel.close()
