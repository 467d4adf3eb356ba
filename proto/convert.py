"""etcd's messages to operations: the one place that reads generated request classes for writes.

What it is: decode of Put, DeleteRange, Range and Txn into `base/ops`. What it is not: validation
(`check.py`).

Worked example: `range_op(RangeRequest(key=b"a", range_end=b"b"))` has span [b"a", b"b").

Tested in tests/unit/proto/test_convert.py.
"""

from __future__ import annotations

from collections.abc import Iterable

from kubebraid.base.keyspace import from_etcd
from kubebraid.base.ops import (
    CompareOp,
    CompareTarget,
    DeleteOp,
    Op,
    PutOp,
    RangeOp,
    TxnOp,
)

from .etcd import rpc_pb2


def put_op(request: rpc_pb2.PutRequest) -> PutOp:
    return PutOp(
        request.key,
        request.value,
        request.lease,
        request.prev_kv,
        request.ignore_value,
        request.ignore_lease,
    )


def delete_op(request: rpc_pb2.DeleteRangeRequest) -> DeleteOp:
    return DeleteOp(from_etcd(request.key, request.range_end), request.prev_kv)


def range_op(request: rpc_pb2.RangeRequest) -> RangeOp:
    return RangeOp(
        from_etcd(request.key, request.range_end),
        request.revision,
        request.limit,
        request.sort_order,
        request.sort_target,
        request.serializable,
        request.keys_only,
        request.count_only,
        (
            request.min_mod_revision,
            request.max_mod_revision,
            request.min_create_revision,
            request.max_create_revision,
        ),
    )


def compare_op(compare: rpc_pb2.Compare) -> CompareOp:
    """A union that does not match the target counts as 0 or empty, as etcd reads it."""
    operand: bytes | int
    match compare.target:
        case CompareTarget.VALUE:
            operand = compare.value
        case CompareTarget.CREATE:
            operand = compare.create_revision
        case CompareTarget.MOD:
            operand = compare.mod_revision
        case CompareTarget.LEASE:
            operand = compare.lease
        case CompareTarget.VERSION:
            operand = compare.version
        case _:
            operand = 0
    span = from_etcd(compare.key, compare.range_end)
    return CompareOp(span, compare.target, compare.result, operand)


def txn_op(request: rpc_pb2.TxnRequest) -> TxnOp:
    return TxnOp(
        tuple([compare_op(compare) for compare in request.compare]),
        _ops(request.success),
        _ops(request.failure),
    )


def _ops(requests: Iterable[rpc_pb2.RequestOp]) -> tuple[Op, ...]:
    return tuple([_op(request) for request in requests])


def _op(request: rpc_pb2.RequestOp) -> Op:
    match request.WhichOneof("request"):
        case "request_put":
            return put_op(request.request_put)
        case "request_range":
            return range_op(request.request_range)
        case "request_delete_range":
            return delete_op(request.request_delete_range)
        case "request_txn":
            return txn_op(request.request_txn)
        case kind:
            raise AssertionError(f"the checks let no empty operation pass: {kind}")
