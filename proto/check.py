"""Is the request one that etcd would take? Its refusals, in its order.

What it is: the checks etcd's API layer makes before a request reaches the store. What it is not:
checks that need state (leases, revisions): those are the owner's.

Invariants: a request that passes is decodable by `convert`; it has no two puts of one key, and no
put of a key that a delete beside or above it names. As in etcd a nested delete may follow a nested
put, and a delete "from the key on" is not looked at, so one revision can change a key twice.

Source: etcd server/etcdserver/api/v3rpc/key.go. Tested in tests/unit/proto/test_check.py.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable

from kubebraid.base import errors
from kubebraid.base.errors import RequestRefused
from kubebraid.base.limits import TXN_OPS_MAX

from .convert import range_op
from .etcd import rpc_pb2


def check_range(request: rpc_pb2.RangeRequest) -> RequestRefused | None:
    if not request.key:
        return errors.EMPTY_KEY
    if not 0 <= request.sort_order <= 2 or not 0 <= request.sort_target <= 4:
        return errors.INVALID_SORT
    return None


def check_range_stream(request: rpc_pb2.RangeRequest) -> RequestRefused | None:
    refused = check_range(request)
    if refused is not None:
        return refused
    op = range_op(request)
    if not op.default_order():
        return RequestRefused(
            errors.Code.UNIMPLEMENTED, "RangeStream does not support custom sort orders"
        )
    if any(op.filters):
        return RequestRefused(
            errors.Code.UNIMPLEMENTED, "RangeStream does not support revision filters"
        )
    return None


def check_put(request: rpc_pb2.PutRequest) -> RequestRefused | None:
    if not request.key:
        return errors.EMPTY_KEY
    if request.ignore_value and request.value:
        return errors.VALUE_PROVIDED
    if request.ignore_lease and request.lease:
        return errors.LEASE_PROVIDED
    return None


def check_delete(request: rpc_pb2.DeleteRangeRequest) -> RequestRefused | None:
    return None if request.key else errors.EMPTY_KEY


def check_txn(request: rpc_pb2.TxnRequest, ops_max: int = TXN_OPS_MAX) -> RequestRefused | None:
    """All of checkTxnRequest, then checkIntervals of both branches."""
    refused = _check_txn_shape(request, ops_max)
    if refused is not None:
        return refused
    for branch in (request.success, request.failure):
        # One operation meets no other: that is what kube-apiserver sends.
        alone = len(branch) == 1 and not branch[0].HasField("request_txn")
        if branch and not alone and not isinstance(_writes(branch), _Writes):
            return errors.DUPLICATE_KEY
    return None


def _check_txn_shape(request: rpc_pb2.TxnRequest, ops_max: int) -> RequestRefused | None:
    ops = max(len(request.compare), len(request.success), len(request.failure))
    if ops > ops_max:
        return errors.TOO_MANY_OPS
    for compare in request.compare:
        if not compare.key:
            return errors.EMPTY_KEY
    for branch in (request.success, request.failure):
        for op in branch:
            refused = _check_op(op, ops_max - ops)
            if refused is not None:
                return refused
    return None


def _check_op(op: rpc_pb2.RequestOp, ops_max: int) -> RequestRefused | None:
    match op.WhichOneof("request"):
        case "request_range":
            return check_range(op.request_range)
        case "request_put":
            return check_put(op.request_put)
        case "request_delete_range":
            return check_delete(op.request_delete_range)
        case "request_txn":
            return _check_txn_shape(op.request_txn, ops_max)
        case _:
            return errors.KEY_NOT_FOUND


class _Spans:
    """A set of keys made of ranges: sorted, joined where they meet."""

    def __init__(self) -> None:
        self._starts: list[bytes] = []
        self._ends: list[bytes] = []

    def add(self, start: bytes, end: bytes) -> None:
        assert start < end, (start, end)
        first = bisect_left(self._ends, start)
        behind = bisect_right(self._starts, end)
        if first < behind:
            start = min(start, self._starts[first])
            end = max(end, self._ends[behind - 1])
        self._starts[first:behind] = [start]
        self._ends[first:behind] = [end]

    def __contains__(self, key: bytes) -> bool:
        at = bisect_right(self._starts, key) - 1
        return at >= 0 and key < self._ends[at]

    def update(self, other: _Spans) -> None:
        for start, end in zip(other._starts, other._ends, strict=True):
            self.add(start, end)


class _Writes:
    """The keys that a branch puts and the ranges that it deletes."""

    def __init__(self) -> None:
        self.puts: set[bytes] = set()
        self.deletes = _Spans()

    def clashes(self, key: bytes) -> bool:
        return key in self.puts or key in self.deletes


def _writes(ops: Iterable[rpc_pb2.RequestOp]) -> _Writes | RequestRefused:
    """The writes of one branch, or a refusal when two of them meet in one key.

    Puts of a nested transaction's two branches may share keys, because only one branch runs.
    """
    ops = list(ops)
    found = _Writes()
    for op in ops:
        if op.WhichOneof("request") == "request_delete_range":
            request = op.request_delete_range
            # etcd takes the range end literally here: "from the key on" (\\0) holds no key.
            end = request.range_end or request.key + b"\x00"
            if request.key < end:
                found.deletes.add(request.key, end)
    for op in ops:
        if op.WhichOneof("request") == "request_txn":
            refused = _absorb_nested(found, op.request_txn)
            if refused is not None:
                return refused
    for op in ops:
        if op.WhichOneof("request") == "request_put":
            if found.clashes(op.request_put.key):
                return errors.DUPLICATE_KEY
            found.puts.add(op.request_put.key)
    return found


def _absorb_nested(found: _Writes, txn: rpc_pb2.TxnRequest) -> RequestRefused | None:
    then, other = _writes(txn.success), _writes(txn.failure)
    if isinstance(then, RequestRefused) or isinstance(other, RequestRefused):
        return errors.DUPLICATE_KEY
    for key in then.puts:
        if found.clashes(key):
            return errors.DUPLICATE_KEY
    before = set(found.puts)
    found.puts |= then.puts
    for key in other.puts:
        if key in before or key in found.deletes:
            return errors.DUPLICATE_KEY
    found.puts |= other.puts
    found.deletes.update(then.deletes)
    found.deletes.update(other.deletes)
    return None
