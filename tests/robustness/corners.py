"""Requests that random traffic hardly ever makes, each a corner of the semantics.

What it is: requests by name, to be sent one after the other to a new store. What it is not: the
answers; the model has them, and test_model_is_etcd.py holds it to a real etcd.
"""

from __future__ import annotations

from typing import Final

from kubebraid.proto.etcd import rpc_pb2
from tests.robustness.model import Request


def put(key: bytes) -> rpc_pb2.RequestOp:
    return rpc_pb2.RequestOp(request_put=rpc_pb2.PutRequest(key=key))


def nested(*operations: rpc_pb2.RequestOp) -> rpc_pb2.RequestOp:
    return rpc_pb2.RequestOp(request_txn=rpc_pb2.TxnRequest(success=operations))


def delete(key: bytes, range_end: bytes = b"") -> rpc_pb2.RequestOp:
    request = rpc_pb2.DeleteRangeRequest(key=key, range_end=range_end)
    return rpc_pb2.RequestOp(request_delete_range=request)


CORNERS: Final[dict[str, Request]] = {
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
    "nested transactions, one of which changes nothing": rpc_pb2.TxnRequest(
        success=[nested(), put(b"a"), nested(put(b"b"), delete(b"c"))]
    ),
    "a nested transaction that changes nothing": rpc_pb2.TxnRequest(success=[nested()]),
    "an operation without content": rpc_pb2.TxnRequest(success=[rpc_pb2.RequestOp()]),
}
