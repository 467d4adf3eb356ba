"""A request is refused iff etcd refuses it, with etcd's words, in etcd's order.

`etcd_overlap` is checkIntervals of etcd's api/v3rpc/key.go told again over a plain list, with the
interval comparison of its pkg/adt: `check.py` is held against it on random transactions.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TypeAlias

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from kubebraid.base import errors
from kubebraid.base.errors import Code, RequestRefused
from kubebraid.base.limits import TXN_OPS_MAX
from kubebraid.proto import check
from kubebraid.proto.etcd import rpc_pb2

RangeRequest: TypeAlias = rpc_pb2.RangeRequest
PutRequest: TypeAlias = rpc_pb2.PutRequest
RequestOp: TypeAlias = rpc_pb2.RequestOp
TxnRequest: TypeAlias = rpc_pb2.TxnRequest
Interval: TypeAlias = tuple[bytes, bytes]


def put(key: bytes) -> RequestOp:
    return RequestOp(request_put=PutRequest(key=key))


def delete(key: bytes, range_end: bytes = b"") -> RequestOp:
    return RequestOp(request_delete_range=rpc_pb2.DeleteRangeRequest(key=key, range_end=range_end))


def read(key: bytes) -> RequestOp:
    return RequestOp(request_range=RangeRequest(key=key))


def nested(then: Iterable[RequestOp] = (), other: Iterable[RequestOp] = ()) -> RequestOp:
    return RequestOp(request_txn=TxnRequest(success=then, failure=other))


def verdict(*success: RequestOp) -> RequestRefused | None:
    return check.check_txn(TxnRequest(success=success))


# -- single requests -------------------------------------------------------------------------------


def test_range_without_key_is_refused() -> None:
    assert check.check_range(RangeRequest(range_end=b"z")) is errors.EMPTY_KEY


@pytest.mark.parametrize(
    ("field", "number"),
    [("sort_order", 3), ("sort_order", -1), ("sort_target", 5), ("sort_target", 99)],
)
def test_range_with_a_sort_option_that_nobody_knows_is_refused(field: str, number: int) -> None:
    request = RangeRequest(key=b"a")
    setattr(request, field, number)
    assert check.check_range(request) is errors.INVALID_SORT


def test_key_is_checked_before_the_sort_option() -> None:
    request = RangeRequest()
    setattr(request, "sort_order", 9)  # noqa: B010  (the stub knows only the named ones)
    assert check.check_range(request) is errors.EMPTY_KEY


def test_range_stream_takes_only_key_order() -> None:
    descend = RangeRequest(key=b"a", sort_order=RangeRequest.DESCEND)
    refused = check.check_range_stream(descend)
    assert refused is not None
    assert refused.code is Code.UNIMPLEMENTED
    assert refused.message == "RangeStream does not support custom sort orders"
    ascend = RangeRequest(key=b"a", sort_order=RangeRequest.ASCEND)
    assert check.check_range_stream(ascend) is None


@pytest.mark.parametrize(
    "field",
    ["min_mod_revision", "max_mod_revision", "min_create_revision", "max_create_revision"],
)
def test_range_stream_takes_no_revision_filter(field: str) -> None:
    request = RangeRequest(key=b"a")
    setattr(request, field, 1)
    refused = check.check_range_stream(request)
    assert refused is not None
    assert refused.message == "RangeStream does not support revision filters"


def test_range_stream_without_key_is_refused_as_a_range_is() -> None:
    request = RangeRequest(sort_order=RangeRequest.DESCEND)
    assert check.check_range_stream(request) is errors.EMPTY_KEY


@pytest.mark.parametrize(
    ("request_", "refused"),
    [
        (PutRequest(value=b"v", ignore_value=True), errors.EMPTY_KEY),
        (
            PutRequest(key=b"a", value=b"v", ignore_value=True, lease=1, ignore_lease=True),
            errors.VALUE_PROVIDED,
        ),
        (PutRequest(key=b"a", lease=1, ignore_lease=True), errors.LEASE_PROVIDED),
        (PutRequest(key=b"a", ignore_value=True, ignore_lease=True), None),
        (PutRequest(key=b"a", value=b"v", lease=1), None),
    ],
)
def test_put_is_refused_for_the_first_thing_wrong(
    request_: PutRequest, refused: RequestRefused | None
) -> None:
    assert check.check_put(request_) is refused


def test_delete_without_key_is_refused() -> None:
    """etcd has no "delete everything" by an empty key: it must be written as \\0 to \\0."""
    assert check.check_delete(rpc_pb2.DeleteRangeRequest(range_end=b"\x00")) is errors.EMPTY_KEY
    assert check.check_delete(rpc_pb2.DeleteRangeRequest(key=b"\x00")) is None


# -- the shape of a transaction --------------------------------------------------------------------


def test_txn_of_exactly_the_maximum_passes_and_one_more_does_not() -> None:
    most = [put(b"%d" % n) for n in range(TXN_OPS_MAX)]
    assert verdict(*most) is None
    assert verdict(*most, read(b"x")) is errors.TOO_MANY_OPS


def test_compares_and_either_branch_count_each_by_itself() -> None:
    compares = [rpc_pb2.Compare(key=b"a")] * 3
    ops = [read(b"a")] * 3
    full = TxnRequest(compare=compares, success=ops, failure=ops)
    assert check.check_txn(full, ops_max=3) is None
    assert check.check_txn(full, ops_max=2) is errors.TOO_MANY_OPS


def test_nested_txn_has_what_the_outer_one_left_of_the_maximum() -> None:
    """etcd passes maxTxnOps - opc down, where opc is the longest list of the level."""
    inner = nested([read(b"a"), read(b"b")])
    outer = TxnRequest(success=[inner, read(b"c")])
    assert check.check_txn(outer, ops_max=4) is None
    assert check.check_txn(outer, ops_max=3) is errors.TOO_MANY_OPS


def test_txn_with_a_compare_without_key_is_refused_before_its_operations() -> None:
    request = TxnRequest(compare=[rpc_pb2.Compare()], success=[RequestOp()])
    assert check.check_txn(request) is errors.EMPTY_KEY


def test_txn_with_an_empty_operation_is_refused_with_etcds_words() -> None:
    assert verdict(RequestOp()) is errors.KEY_NOT_FOUND
    assert verdict(nested([RequestOp()])) is errors.KEY_NOT_FOUND


@pytest.mark.parametrize("op", [put(b""), read(b""), delete(b"")])
def test_operation_in_a_txn_is_checked_as_a_request_of_its_own(op: RequestOp) -> None:
    assert verdict(op) is errors.EMPTY_KEY
    assert check.check_txn(TxnRequest(failure=[op])) is errors.EMPTY_KEY
    assert verdict(nested([], [op])) is errors.EMPTY_KEY


def test_shape_is_checked_everywhere_before_any_overlap() -> None:
    assert verdict(put(b"a"), put(b"a"), put(b"")) is errors.EMPTY_KEY


# -- overlaps --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "ops",
    [
        [put(b"a"), put(b"a")],
        [put(b"a"), delete(b"a")],
        [delete(b"a"), put(b"a")],
        [put(b"b"), delete(b"a", b"c")],
        [put(b"a"), nested([put(b"a")])],
        [delete(b"a", b"c"), nested([put(b"b")])],
        [delete(b"a", b"c"), nested([], [put(b"b")])],
        [nested([put(b"a")]), nested([put(b"a")])],
        [nested([put(b"a")]), nested([], [put(b"a")])],
        [put(b"b"), nested([delete(b"a", b"c")])],
        [nested([put(b"a"), put(b"a")])],
        [nested([], [put(b"a"), delete(b"a")])],
        [nested([delete(b"a", b"c")]), nested([put(b"b")])],
    ],
)
def test_two_writes_of_one_key_in_a_branch_are_refused(ops: list[RequestOp]) -> None:
    assert verdict(*ops) is errors.DUPLICATE_KEY
    assert check.check_txn(TxnRequest(failure=ops)) is errors.DUPLICATE_KEY


@pytest.mark.parametrize(
    "ops",
    [
        [put(b"a"), put(b"b")],
        [delete(b"a", b"c"), delete(b"b", b"d")],
        [delete(b"a", b"b"), put(b"b")],
        [put(b"a\x00"), delete(b"a")],
        [nested([put(b"a")], [put(b"a")])],
        [nested([put(b"a")], [delete(b"a")])],
        [put(b"a"), read(b"a")],
        [put(b"b"), delete(b"c", b"a")],
    ],
)
def test_writes_that_cannot_meet_pass(ops: list[RequestOp]) -> None:
    assert verdict(*ops) is None


def test_put_of_one_nested_txn_and_delete_of_a_later_one_pass_as_in_etcd() -> None:
    """etcd looks at a nested put only against the deletes seen so far; both then run, in order."""
    assert verdict(nested([put(b"a")]), nested([delete(b"a")])) is None
    assert verdict(nested([delete(b"a")]), nested([put(b"a")])) is errors.DUPLICATE_KEY


def test_branches_share_keys_because_only_one_runs() -> None:
    request = TxnRequest(success=[put(b"a")], failure=[put(b"a"), delete(b"b")])
    assert check.check_txn(request) is None


def test_delete_from_a_key_on_and_a_put_behind_it_pass_as_in_etcd() -> None:
    """etcd's interval tree takes range_end \\0 as it stands, so that such a delete meets nothing.

    Whoever writes "replace everything from b on" in one transaction is served by etcd.
    """
    assert verdict(delete(b"b", b"\x00"), put(b"c")) is None
    assert verdict(delete(b"\x00", b"\x00"), put(b"c")) is None


class Duplicate(Exception):
    """etcd's ErrGRPCDuplicateKey."""


def affine_less(left: bytes, right: bytes) -> bool:
    """adt.StringAffineComparable: the empty string is greater than every other one."""
    if not left or not right:
        return bool(left) and not right
    return left < right


def meets(point: bytes, interval: Interval) -> bool:
    """adt.Interval.Compare of [point, point + \\0) with `interval` is 0."""
    begin, end = interval
    is_left = affine_less(point, begin) and not affine_less(begin, point + b"\x00")
    is_right = not affine_less(point, end)
    return not is_left and not is_right


def etcd_overlap(ops: Iterable[RequestOp]) -> tuple[set[bytes], list[Interval]]:
    """checkIntervals; raises Duplicate."""
    ops = list(ops)
    deletes = [
        (op.request_delete_range.key, op.request_delete_range.range_end)
        if op.request_delete_range.range_end
        else (op.request_delete_range.key, op.request_delete_range.key + b"\x00")
        for op in ops
        if op.HasField("request_delete_range")
    ]
    puts: set[bytes] = set()

    def add(key: bytes, safe: set[bytes]) -> None:
        if (key in puts and key not in safe) or any(meets(key, d) for d in deletes):
            raise Duplicate
        puts.add(key)

    for op in ops:
        if not op.HasField("request_txn"):
            continue
        then, then_deletes = etcd_overlap(op.request_txn.success)
        other, other_deletes = etcd_overlap(op.request_txn.failure)
        for key in then:
            add(key, set())
        for key in other:
            add(key, then)
        deletes += then_deletes + other_deletes
    for op in ops:
        if op.HasField("request_put"):
            add(op.request_put.key, set())
    return puts, deletes


KEYS = st.sampled_from((b"a", b"a\x00", b"b", b"c"))
ENDS = st.sampled_from((b"", b"a", b"b", b"c", b"d", b"\x00"))
SIMPLE = st.builds(put, KEYS) | st.builds(delete, KEYS, ENDS) | st.builds(read, KEYS)
OPS = st.recursive(
    st.lists(SIMPLE, max_size=3),
    lambda inner: st.lists(SIMPLE | st.builds(nested, inner, inner), max_size=3),
    max_leaves=6,
)


@given(OPS)
@example([delete(b"b", b"\x00"), put(b"c")])
def test_overlaps_are_refused_exactly_where_etcd_refuses_them(ops: list[RequestOp]) -> None:
    try:
        etcd_overlap(ops)
    except Duplicate:
        expected: RequestRefused | None = errors.DUPLICATE_KEY
    else:
        expected = None
    assert verdict(*ops) is expected
