"""etcd's messages to operations: the one place that reads generated request classes for writes.

What it is: decode of Put, DeleteRange, Range and Txn into `base/ops`. What it is not: validation
(`check.py`).

Worked example: `range_op(RangeRequest(key=b"a", range_end=b"b"))` has span [b"a", b"b").

Tested in tests/unit/proto/test_convert.py.
"""

from __future__ import annotations

from collections.abc import Iterable

from kubebraid.base.keyspace import KeyRange, from_etcd, single
from kubebraid.base.ops import (
    NO_FILTERS,
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


def key_txn(request: rpc_pb2.TxnRequest) -> TxnOp | None:
    """A transaction of one key (see TxnOp), in one walk: it passes every check that there is.

    None for any other, which may be just as good or refused. Reading a field of a submessage that
    is not there gives an empty one, whose key is not the compare's.
    """
    compares, success, failure = request.compare, request.success, request.failure
    if len(compares) != 1 or len(success) != 1 or len(failure) > 1:
        return None
    compare = compares[0]
    key = compare.key
    target: int = compare.target
    if not key or compare.range_end:
        return None
    if target == CompareTarget.MOD:
        operand = compare.mod_revision
    elif target == CompareTarget.VERSION:
        operand = compare.version
    elif target == CompareTarget.CREATE:
        operand = compare.create_revision
    else:
        return None
    span = single(key)
    write = _key_write(success[0], key, span)
    if write is None:
        return None
    other: tuple[RangeOp, ...] = ()
    if failure:
        read = failure[0].request_range
        if read.key != key or read.ByteSize() != len(key) + _key_overhead(key):
            return None
        other = (RangeOp(span, 0, 0, 0, 0, False, False, False, NO_FILTERS),)
    return TxnOp((CompareOp(span, target, compare.result, operand),), (write,), other, key)


def _key_overhead(key: bytes) -> int:
    """Tag and length before a key in a message that has nothing else."""
    return 2 if len(key) < 128 else 3 if len(key) < 1 << 14 else 4


def _key_write(request: rpc_pb2.RequestOp, key: bytes, span: KeyRange) -> PutOp | DeleteOp | None:
    """The put or the delete of just this key."""
    put = request.request_put
    if put.key == key:
        if put.ignore_value or put.ignore_lease:
            return None
        return PutOp(key, put.value, put.lease, put.prev_kv, False, False)
    delete = request.request_delete_range
    if delete.key == key and not delete.range_end:
        return DeleteOp(span, delete.prev_kv)
    return None


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
