"""What etcd refuses, and which requests it refuses without a look at the store.

What it is: etcd's codes and texts, and the checks of a request alone, in etcd's order. What it is
not: the refusals that depend on revisions, leases or keys; the model finds those.

Words: a *refusal* is a gRPC code with etcd's text.

Source: etcd 3.7.3, api/v3rpc/key.go. Tested in test_model_is_etcd.py.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

from kubebraid.proto.etcd import rpc_pb2


class Refusal(NamedTuple):
    """A gRPC status code and etcd's text."""

    code: int
    text: str


_INVALID, _NOT_FOUND, _FAILED_PRECONDITION, _OUT_OF_RANGE, _UNIMPLEMENTED = 3, 5, 9, 11, 12
EMPTY_KEY: Final = Refusal(_INVALID, "etcdserver: key is not provided")
KEY_NOT_FOUND: Final = Refusal(_INVALID, "etcdserver: key not found")
VALUE_PROVIDED: Final = Refusal(_INVALID, "etcdserver: value is provided")
LEASE_PROVIDED: Final = Refusal(_INVALID, "etcdserver: lease is provided")
TOO_MANY_OPS: Final = Refusal(_INVALID, "etcdserver: too many operations in txn request")
DUPLICATE_KEY: Final = Refusal(_INVALID, "etcdserver: duplicate key given in txn request")
INVALID_SORT: Final = Refusal(_INVALID, "etcdserver: invalid sort option")
COMPACTED: Final = Refusal(_OUT_OF_RANGE, "etcdserver: mvcc: required revision has been compacted")
FUTURE: Final = Refusal(_OUT_OF_RANGE, "etcdserver: mvcc: required revision is a future revision")
LEASE_NOT_FOUND: Final = Refusal(_NOT_FOUND, "etcdserver: requested lease not found")
LEASE_EXISTS: Final = Refusal(_FAILED_PRECONDITION, "etcdserver: lease already exists")
TTL_TOO_LARGE: Final = Refusal(_OUT_OF_RANGE, "etcdserver: too large lease TTL")
STREAM_SORTS: Final = Refusal(_UNIMPLEMENTED, "RangeStream does not support custom sort orders")
STREAM_FILTERS: Final = Refusal(_UNIMPLEMENTED, "RangeStream does not support revision filters")

TXN_OPS_MAX: Final = 128


def check_range(request: rpc_pb2.RangeRequest) -> Refusal | None:
    if not request.key:
        return EMPTY_KEY
    known = (
        request.sort_order in rpc_pb2.RangeRequest.SortOrder.values()
        and request.sort_target in rpc_pb2.RangeRequest.SortTarget.values()
    )
    return None if known else INVALID_SORT


def check_stream(request: rpc_pb2.RangeRequest) -> Refusal | None:
    """What a RangeStream refuses beyond a Range."""
    if (refusal := check_range(request)) is not None:
        return refusal
    if not plain_order(request):
        return STREAM_SORTS
    return STREAM_FILTERS if has_filters(request) else None


def plain_order(request: rpc_pb2.RangeRequest) -> bool:
    """Whether etcd reads in key order and no further than the limit."""
    return request.sort_order == rpc_pb2.RangeRequest.NONE or (
        request.sort_target == rpc_pb2.RangeRequest.KEY
        and request.sort_order == rpc_pb2.RangeRequest.ASCEND
    )


def has_filters(request: rpc_pb2.RangeRequest) -> bool:
    """Whether rows are left out by their revisions."""
    filters = (request.min_mod_revision, request.max_mod_revision)
    return any((*filters, request.min_create_revision, request.max_create_revision))


def check_write(
    request: rpc_pb2.PutRequest | rpc_pb2.DeleteRangeRequest | rpc_pb2.TxnRequest,
) -> Refusal | None:
    match request:
        case rpc_pb2.PutRequest():
            return _check_put(request)
        case rpc_pb2.DeleteRangeRequest():
            return None if request.key else EMPTY_KEY
        case rpc_pb2.TxnRequest():
            return _check_txn(request, TXN_OPS_MAX) or _check_overlaps(request)


def _check_put(request: rpc_pb2.PutRequest) -> Refusal | None:
    if not request.key:
        return EMPTY_KEY
    if request.ignore_value and request.value:
        return VALUE_PROVIDED
    return LEASE_PROVIDED if request.ignore_lease and request.lease else None


def _check_txn(request: rpc_pb2.TxnRequest, ops_max: int) -> Refusal | None:
    """What a transaction holds at its widest is no longer there for those nested in it."""
    widest = max(len(request.compare), len(request.success), len(request.failure))
    if widest > ops_max:
        return TOO_MANY_OPS
    if not all(compare.key for compare in request.compare):
        return EMPTY_KEY
    for operation in [*request.success, *request.failure]:
        if (refusal := _check_operation(operation, ops_max - widest)) is not None:
            return refusal
    return None


def _check_operation(operation: rpc_pb2.RequestOp, ops_max: int) -> Refusal | None:
    match operation.WhichOneof("request"):
        case "request_range":
            return check_range(operation.request_range)
        case "request_put":
            return _check_put(operation.request_put)
        case "request_delete_range":
            return None if operation.request_delete_range.key else EMPTY_KEY
        case "request_txn":
            return _check_txn(operation.request_txn, ops_max)
        case _:
            return KEY_NOT_FOUND


class _Overlap(Exception):
    """Two operations of one transaction write one key."""


def _check_overlaps(request: rpc_pb2.TxnRequest) -> Refusal | None:
    try:
        _written(request.success)
        _written(request.failure)
    except _Overlap:
        return DUPLICATE_KEY
    return None


def _written(
    operations: Sequence[rpc_pb2.RequestOp],
) -> tuple[set[bytes], list[rpc_pb2.DeleteRangeRequest]]:
    """The keys put and the ranges deleted. etcd looks at nested transactions in order, and at
    each only against deletes that it has seen by then: a put before a nested delete may pass."""
    deletes = [op.request_delete_range for op in operations if op.HasField("request_delete_range")]
    puts: set[bytes] = set()
    for inner in [op.request_txn for op in operations if op.HasField("request_txn")]:
        puts_then, deletes_then = _written(inner.success)
        puts_else, deletes_else = _written(inner.failure)
        for key in puts_then | puts_else:
            if key in puts or _deleted(key, deletes):
                raise _Overlap
        puts |= puts_then | puts_else
        deletes += deletes_then + deletes_else
    for key in [op.request_put.key for op in operations if op.HasField("request_put")]:
        if key in puts or _deleted(key, deletes):
            raise _Overlap
        puts.add(key)
    return puts, deletes


def _deleted(key: bytes, deletes: Sequence[rpc_pb2.DeleteRangeRequest]) -> bool:
    """etcd takes a range_end literally here: a delete without end overlaps nothing."""
    return any(d.key <= key < d.range_end if d.range_end else d.key == key for d in deletes)
