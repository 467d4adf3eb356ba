"""What a state answers: the rows of a range, the truth of a compare.

What it is: the part of etcd's semantics that only looks. What it is not: it knows no revision but
the one it is told, and changes nothing.

Words: a *state* maps each live key to its mvccpb.KeyValue.

Worked example: a range over three keys with limit 2 answers two rows, more=True and count=3.
Source: etcd 3.7.3, etcdserver/txn/range.go and txn.go. Tested in test_model_is_etcd.py.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final, TypeAlias

from kubebraid.proto.etcd import kv_pb2, rpc_pb2
from tests.robustness.checks import has_filters, plain_order

State: TypeAlias = Mapping[bytes, kv_pb2.KeyValue]

TO_THE_END: Final = b"\x00"  # a range_end that means: no end


def header(revision: int) -> rpc_pb2.ResponseHeader:
    return rpc_pb2.ResponseHeader(revision=revision)


def rows(state: State, key: bytes, range_end: bytes) -> list[kv_pb2.KeyValue]:
    """The live keys that (key, range_end) names, in key order."""
    if not range_end:
        return [state[key]] if key in state else []
    keys = [k for k in state if key <= k and (range_end == TO_THE_END or k < range_end)]
    return [state[k] for k in sorted(keys)]


def answer_range(
    request: rpc_pb2.RangeRequest, state: State, revision: int
) -> rpc_pb2.RangeResponse:
    """Select, limit, filter, sort and trim, in etcd's order of doing so."""
    found = rows(state, request.key, request.range_end)
    answer = rpc_pb2.RangeResponse(header=header(revision), count=len(found))
    if request.count_only:
        return answer
    limit, target = request.limit, request.sort_target
    if limit > 0 and plain_order(request) and not has_filters(request):
        # Also when NONE comes to mean "ascending by another field": the limit comes first then.
        found = found[: limit + 1]
    kept = [kv for kv in found if _passes(request, kv)]
    descending = request.sort_order == rpc_pb2.RangeRequest.DESCEND
    kept.sort(key=lambda kv: _sort_field(kv, target), reverse=descending)
    answer.more = 0 < limit < len(kept)
    for kv in kept[:limit] if limit > 0 else kept:
        shown = answer.kvs.add()
        shown.CopyFrom(kv)
        if request.keys_only:
            shown.ClearField("value")
            if target != rpc_pb2.RangeRequest.VALUE:
                shown.ClearField("lease")  # the key index, which answers then, knows no lease
    return answer


def _passes(request: rpc_pb2.RangeRequest, kv: kv_pb2.KeyValue) -> bool:
    def within(low: int, value: int, high: int) -> bool:
        return (low == 0 or low <= value) and (high == 0 or value <= high)

    return within(request.min_mod_revision, kv.mod_revision, request.max_mod_revision) and within(
        request.min_create_revision, kv.create_revision, request.max_create_revision
    )


def _sort_field(kv: kv_pb2.KeyValue, target: int) -> bytes | int:
    fields: dict[int, bytes | int] = {
        rpc_pb2.RangeRequest.KEY: kv.key,
        rpc_pb2.RangeRequest.VERSION: kv.version,
        rpc_pb2.RangeRequest.CREATE: kv.create_revision,
        rpc_pb2.RangeRequest.MOD: kv.mod_revision,
        rpc_pb2.RangeRequest.VALUE: kv.value,
    }
    return fields[target]


def taken(request: rpc_pb2.TxnRequest, state: State) -> Sequence[rpc_pb2.RequestOp]:
    """The branch of a transaction that its compares choose."""
    return request.success if holds(request.compare, state) else request.failure


def holds(compares: Sequence[rpc_pb2.Compare], state: State) -> bool:
    """Whether every compare is true of every key that it names."""
    return all(_compare_holds(compare, state) for compare in compares)


def _compare_holds(compare: rpc_pb2.Compare, state: State) -> bool:
    found = rows(state, compare.key, compare.range_end)
    if not found and compare.target == rpc_pb2.Compare.VALUE:
        return False  # an absent value is not even different from another
    return all(_compare_key(compare, kv) for kv in found or [kv_pb2.KeyValue()])


def _compare_key(compare: rpc_pb2.Compare, kv: kv_pb2.KeyValue) -> bool:
    """An absent key is a KeyValue of zeros."""
    pairs: dict[int, tuple[bytes, bytes] | tuple[int, int]] = {
        rpc_pb2.Compare.VERSION: (kv.version, compare.version),
        rpc_pb2.Compare.CREATE: (kv.create_revision, compare.create_revision),
        rpc_pb2.Compare.MOD: (kv.mod_revision, compare.mod_revision),
        rpc_pb2.Compare.VALUE: (kv.value, compare.value),
        rpc_pb2.Compare.LEASE: (kv.lease, compare.lease),
    }
    left, right = pairs.get(compare.target, (0, 0))
    sign = (left > right) - (left < right)  # type: ignore[operator]  # both are of one type
    match compare.result:
        case rpc_pb2.Compare.EQUAL:
            return sign == 0
        case rpc_pb2.Compare.NOT_EQUAL:
            return sign != 0
        case rpc_pb2.Compare.GREATER:
            return sign > 0
        case rpc_pb2.Compare.LESS:
            return sign < 0
        case _:
            return True
