"""etcd's messages become operations without losing or inventing anything."""

from __future__ import annotations

from typing import TypeAlias

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kubebraid.base.keyspace import KeyRange
from kubebraid.base.ops import (
    CompareTarget,
    DeleteOp,
    PutOp,
    RangeOp,
    SortOrder,
    SortTarget,
    TxnOp,
    passes,
)
from kubebraid.proto import convert
from kubebraid.proto.etcd import rpc_pb2

Compare: TypeAlias = rpc_pb2.Compare


def range_op(**fields: int | bool | bytes) -> RangeOp:
    request = rpc_pb2.RangeRequest(key=b"a", range_end=b"z")
    for name, value in fields.items():
        setattr(request, name, value)
    return convert.range_op(request)


def test_range_op_of_the_worked_example_has_its_span() -> None:
    request = rpc_pb2.RangeRequest(key=b"a", range_end=b"b")
    assert convert.range_op(request).span == KeyRange(b"a", b"b")


@pytest.mark.parametrize(
    ("key", "range_end", "span"),
    [
        (b"a", b"", KeyRange(b"a", b"a\x00")),
        (b"a", b"\x00", KeyRange(b"a", None)),
        (b"\x00", b"\x00", KeyRange(b"\x00", None)),
        (b"b", b"a", None),
        (b"a", b"a", None),
    ],
)
def test_every_way_of_writing_a_range_is_read_alike(
    key: bytes, range_end: bytes, span: KeyRange | None
) -> None:
    """span None is a range that matches nothing, as etcd answers it; it is no error."""
    read = convert.range_op(rpc_pb2.RangeRequest(key=key, range_end=range_end))
    removed = convert.delete_op(rpc_pb2.DeleteRangeRequest(key=key, range_end=range_end))
    compared = convert.compare_op(Compare(key=key, range_end=range_end))
    assert (read.span, removed.span, compared.span) == (span, span, span)


def test_put_keeps_every_field() -> None:
    request = rpc_pb2.PutRequest(
        key=b"k", value=b"v", lease=7, prev_kv=True, ignore_value=True, ignore_lease=True
    )
    assert convert.put_op(request) == PutOp(b"k", b"v", 7, True, True, True)
    assert convert.put_op(rpc_pb2.PutRequest(key=b"k")) == PutOp(b"k", b"", 0, False, False, False)


def test_range_keeps_every_field() -> None:
    request = rpc_pb2.RangeRequest(
        key=b"a",
        limit=3,
        revision=5,
        sort_order=rpc_pb2.RangeRequest.DESCEND,
        sort_target=rpc_pb2.RangeRequest.MOD,
        serializable=True,
        keys_only=True,
        count_only=True,
        min_mod_revision=1,
        max_mod_revision=2,
        min_create_revision=3,
        max_create_revision=4,
    )
    span = KeyRange(b"a", b"a\x00")
    assert convert.range_op(request) == RangeOp(
        span, 5, 3, SortOrder.DESCEND, SortTarget.MOD, True, True, True, (1, 2, 3, 4)
    )


def test_delete_keeps_prev_kv() -> None:
    request = rpc_pb2.DeleteRangeRequest(key=b"a", prev_kv=True)
    assert convert.delete_op(request) == DeleteOp(KeyRange(b"a", b"a\x00"), True)


@pytest.mark.parametrize(
    ("compare", "operand"),
    [
        (Compare(target=Compare.VERSION, version=4), 4),
        (Compare(target=Compare.CREATE, create_revision=5), 5),
        (Compare(target=Compare.MOD, mod_revision=-6), -6),
        (Compare(target=Compare.VALUE, value=b"x"), b"x"),
        (Compare(target=Compare.LEASE, lease=8), 8),
    ],
)
def test_compare_takes_the_operand_of_its_target(compare: Compare, operand: bytes | int) -> None:
    converted = convert.compare_op(compare)
    assert (converted.target, converted.operand) == (compare.target, operand)


@pytest.mark.parametrize(
    ("target", "operand"),
    [(target, b"" if target == CompareTarget.VALUE else 0) for target in CompareTarget],
)
def test_compare_with_the_operand_of_another_target_counts_as_zero(
    target: CompareTarget, operand: bytes | int
) -> None:
    """etcd asserts the union's type and goes on with the zero value when it is another one."""
    request = Compare(key=b"a", lease=9)
    if target is CompareTarget.LEASE:
        request.version = 9
    setattr(request, "target", int(target))  # noqa: B010  (an int of our own enum)
    assert convert.compare_op(request).operand == operand


def test_compare_with_a_target_that_nobody_knows_has_operand_zero() -> None:
    """proto3 enums are open: a number from the future must not stop a node."""
    request = Compare.FromString(Compare(key=b"a", version=3).SerializeToString() + b"\x10\x63")
    converted = convert.compare_op(request)
    assert (converted.target, converted.operand) == (99, 0)


def test_txn_is_converted_with_its_nested_ones_in_order() -> None:
    put = rpc_pb2.RequestOp(request_put=rpc_pb2.PutRequest(key=b"p"))
    read = rpc_pb2.RequestOp(request_range=rpc_pb2.RangeRequest(key=b"r"))
    remove = rpc_pb2.RequestOp(request_delete_range=rpc_pb2.DeleteRangeRequest(key=b"d"))
    inner = rpc_pb2.RequestOp(request_txn=rpc_pb2.TxnRequest(failure=[remove]))
    txn = convert.txn_op(rpc_pb2.TxnRequest(success=[put, read], failure=[inner]))
    assert [type(op) for op in txn.success] == [PutOp, RangeOp]
    (nested,) = txn.failure
    assert isinstance(nested, TxnOp)
    assert [type(op) for op in nested.failure] == [DeleteOp]
    assert nested.success == ()


def test_empty_operation_behind_the_checks_is_our_own_mistake() -> None:
    with pytest.raises(AssertionError, match="no empty operation"):
        convert.txn_op(rpc_pb2.TxnRequest(success=[rpc_pb2.RequestOp()]))


# -- what a RangeOp concludes from its fields (etcd txn/range.go) ----------------------------------


@pytest.mark.parametrize(
    ("order", "target", "default", "sorts", "fetched"),
    [
        (SortOrder.NONE, SortTarget.KEY, True, False, 5),
        (SortOrder.ASCEND, SortTarget.KEY, True, False, 5),
        (SortOrder.DESCEND, SortTarget.KEY, False, True, 0),
        (SortOrder.ASCEND, SortTarget.MOD, False, True, 0),
        (SortOrder.NONE, SortTarget.MOD, True, True, 5),
    ],
)
def test_sort_options_decide_what_is_fetched_as_in_etcd(
    order: SortOrder, target: SortTarget, default: bool, sorts: bool, fetched: int
) -> None:
    """The last row is etcd's own oddity: the limit cuts before a sort that nobody ordered."""
    op = range_op(sort_order=int(order), sort_target=int(target), limit=5)
    assert (op.default_order(), op.sorts(), op.fetch_limit()) == (default, sorts, fetched)


def test_filters_need_every_row() -> None:
    assert range_op(limit=5, min_mod_revision=1).fetch_limit() == 0


def test_negative_limit_is_no_limit() -> None:
    assert range_op(limit=-1).fetch_limit() == 0


@given(st.tuples(*[st.integers(-1, 4)] * 4), st.integers(1, 4), st.integers(1, 4))
def test_filters_prune_as_etcd_prunes(
    filters: tuple[int, int, int, int], mod: int, create: int
) -> None:
    min_mod, max_mod, min_create, max_create = filters
    kept = True
    if max_mod != 0:
        kept &= not mod > max_mod
    if min_mod != 0:
        kept &= not mod < min_mod
    if max_create != 0:
        kept &= not create > max_create
    if min_create != 0:
        kept &= not create < min_create
    assert passes(filters, mod, create) == kept
