"""The model is worth what it is worth against a real etcd: equal answers, request by request."""

from __future__ import annotations

from collections.abc import Iterator
from random import Random

import pytest

from kubebraid.proto.etcd import rpc_pb2
from tests.robustness.checks import Refusal
from tests.robustness.compare import METHODS, Outcome, same, tell
from tests.robustness.etcd_world import EtcdRpcError, EtcdWorld
from tests.robustness.model import Model, Request
from tests.robustness.traffic import Traffic

pytestmark = pytest.mark.etcd

REQUESTS = 400


@pytest.fixture
def etcd() -> Iterator[EtcdWorld]:
    world = EtcdWorld()
    yield world
    world.close()


def ask(etcd: EtcdWorld, request: Request) -> Outcome:
    try:
        answer: Outcome = etcd.call(METHODS[type(request)], request)
    except EtcdRpcError as error:
        return Refusal(error.code, error.text)
    return answer


@pytest.mark.parametrize("seed", range(8))
def test_model_answers_random_requests_as_etcd_does(etcd: EtcdWorld, seed: int) -> None:
    traffic, model = Traffic(Random(seed)), Model()
    for _ in range(REQUESTS):
        if traffic.chance(3):
            request: Request = traffic.compaction(model.revision, model.compacted)
        else:
            request = traffic.request(model.revision, model.compacted)
        before, got = model.copy(), ask(etcd, request)
        want = model.apply(request)
        assert same(got, want), tell([request], [got], before)


def put(key: bytes) -> rpc_pb2.RequestOp:
    return rpc_pb2.RequestOp(request_put=rpc_pb2.PutRequest(key=key))


def nested(*operations: rpc_pb2.RequestOp) -> rpc_pb2.RequestOp:
    return rpc_pb2.RequestOp(request_txn=rpc_pb2.TxnRequest(success=operations))


def delete(key: bytes, range_end: bytes = b"") -> rpc_pb2.RequestOp:
    request = rpc_pb2.DeleteRangeRequest(key=key, range_end=range_end)
    return rpc_pb2.RequestOp(request_delete_range=request)


CORNERS: dict[str, Request] = {
    "129 operations": rpc_pb2.TxnRequest(success=[put(b"%d" % i) for i in range(129)]),
    "128 operations": rpc_pb2.TxnRequest(success=[put(b"%d" % i) for i in range(128)]),
    "127 operations that hold two": rpc_pb2.TxnRequest(
        success=[nested(put(b"a"), put(b"b")), *(put(b"%d" % i) for i in range(126))]
    ),
    "a put, then a nested delete of it": rpc_pb2.TxnRequest(
        success=[nested(put(b"a")), nested(delete(b"a"))]
    ),
    "a nested delete, then a put of it": rpc_pb2.TxnRequest(
        success=[nested(delete(b"a")), nested(put(b"a"))]
    ),
    "a put and a delete to the end": rpc_pb2.TxnRequest(success=[put(b"c"), delete(b"b", b"\x00")]),
    "an unknown sort order": rpc_pb2.RangeRequest(
        key=b"a",
        sort_order=3,  # type: ignore[arg-type]  # an open enum
    ),
    "an unknown sort target": rpc_pb2.RangeRequest(
        key=b"a",
        sort_target=5,  # type: ignore[arg-type]  # an open enum
    ),
    "an operation without content": rpc_pb2.TxnRequest(success=[rpc_pb2.RequestOp()]),
}


def test_model_answers_corners_as_etcd_does(etcd: EtcdWorld) -> None:
    """What random requests hardly ever hit."""
    model = Model()
    for name, request in CORNERS.items():
        before, got = model.copy(), ask(etcd, request)
        assert same(got, model.apply(request)), f"{name}: {tell([request], [got], before)}"
