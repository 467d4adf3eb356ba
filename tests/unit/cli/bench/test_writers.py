"""Writers beside a scenario: their keys, their pace, and what failed."""

from __future__ import annotations

import queue
from collections.abc import Iterator
from concurrent import futures
from typing import Any

import grpc
import pytest

from kubebraid.cli.bench.drivers import RequestsFailed
from kubebraid.cli.bench.writers import Group, Writers, due_after
from kubebraid.proto.etcd import rpc_pb2 as pb


class Store(grpc.GenericRpcHandler):
    """Takes puts; refuses those whose key is in `refused`."""

    def __init__(self) -> None:
        self.keys: queue.SimpleQueue[bytes] = queue.SimpleQueue()
        self.refused: set[bytes] = set()

    def service(self, details: Any) -> Any:
        assert details.method == "/etcdserverpb.KV/Put"
        return grpc.unary_unary_rpc_method_handler(
            self._put, request_deserializer=pb.PutRequest.FromString
        )

    def _put(self, request: pb.PutRequest, context: Any) -> bytes:
        self.keys.put(request.key)
        if request.key in self.refused:
            context.abort(grpc.StatusCode.UNAVAILABLE, "not now")
        return b""

    def take(self, count: int) -> list[bytes]:
        """The keys of the next puts."""
        return [self.keys.get(timeout=30) for _ in range(count)]


@pytest.fixture
def store() -> Store:
    return Store()


@pytest.fixture
def endpoint(store: Store) -> Iterator[str]:
    server = grpc.server(futures.ThreadPoolExecutor(4))
    server.add_generic_rpc_handlers((store,))
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    yield f"127.0.0.1:{port}"
    server.stop(None).wait()


def test_a_client_that_fell_behind_does_not_hurry() -> None:
    assert due_after(10.0, 10.01, 0.04) == pytest.approx(10.04)
    assert due_after(10.0, 10.09, 0.04) == pytest.approx(10.09)


def test_every_write_is_recorded_and_all_clients_write(store: Store, endpoint: str) -> None:
    group = Group("moved", "/a/", 4, 2, 400.0)
    with Writers(endpoint, [group]) as writers:
        keys = store.take(40)
    writers.check("then")
    keys += store.take(store.keys.qsize())
    assert len(writers.wrote) == len(keys), "none is lost at the end"
    assert set(keys) == {f"/a/{number:010d}".encode() for number in range(4)}
    assert {wrote.group for wrote in writers.wrote} == {"moved"}
    assert all(0 < wrote.took_s < 30 for wrote in writers.wrote)


def test_one_failed_write_is_a_failure(store: Store, endpoint: str) -> None:
    store.refused = {b"/a/0000000000"}
    with Writers(endpoint, [Group("moved", "/a/", 2, 1, 400.0)]) as writers:
        store.take(4)
    with pytest.raises(RequestsFailed, match=r"failed.*then; moved, after .*UNAVAILABLE: not now"):
        writers.check("then")
