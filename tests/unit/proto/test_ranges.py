"""The end of a range is etcd's: filter, sort, limit, count, in this order, with its oddities."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kubebraid.base.keyspace import KeyRange
from kubebraid.base.ops import NO_FILTERS, RangeOp, SortOrder, SortTarget
from kubebraid.base.record import Row
from kubebraid.proto import ranges
from kubebraid.proto.etcd import kv_pb2, rpc_pb2
from kubebraid.proto.kvwire import key_value

PLAIN = RangeOp(
    KeyRange(b"a", None), 0, 0, SortOrder.NONE, SortTarget.KEY, False, False, False, NO_FILTERS
)


def row(key: bytes, mod: int = 9, create: int = 1, version: int = 1, value: bytes = b"v") -> Row:
    return Row(mod, create, version, 7, key_value(key, create, mod, version, value, 7))


# Each sort target orders these differently.
ROWS = [
    row(b"a", mod=9, create=1, version=5, value=b"m"),
    row(b"b", mod=8, create=3, version=1, value=b"z"),
    row(b"c", mod=7, create=2, version=9, value=b"a"),
]


def answered(op: RangeOp, rows: list[Row], count: int | None = None) -> rpc_pb2.RangeResponse:
    total = len(rows) if count is None else count
    return rpc_pb2.RangeResponse.FromString(ranges.body(op, rows, total))


def keys(response: rpc_pb2.RangeResponse) -> bytes:
    return b"".join(kv.key for kv in response.kvs)


def test_rows_leave_in_key_order_with_every_field() -> None:
    response = answered(PLAIN, ROWS)
    assert keys(response) == b"abc"
    assert response.kvs[0] == kv_pb2.KeyValue(
        key=b"a", create_revision=1, mod_revision=9, version=5, value=b"m", lease=7
    )
    assert (response.more, response.count) == (False, 3)


def test_empty_answer_has_no_field_at_all() -> None:
    assert ranges.body(PLAIN, [], 0) == b""


@pytest.mark.parametrize(("limit", "shown", "more"), [(0, 3, False), (2, 2, True), (3, 3, False)])
def test_more_is_true_only_if_rows_lie_beyond_the_limit(limit: int, shown: int, more: bool) -> None:
    """kube-apiserver's paging ends by count, its watch cache by more: both must agree."""
    response = answered(PLAIN._replace(limit=limit), ROWS)
    assert (len(response.kvs), response.more, response.count) == (shown, more, 3)


def test_count_ignores_the_limit() -> None:
    """remainingItemCount is count - limit, and hasMore is count > len(kvs)."""
    response = answered(PLAIN._replace(limit=1), ROWS[:2], count=1_000)
    assert (len(response.kvs), response.more, response.count) == (1, True, 1_000)


def test_count_only_has_no_rows_and_never_more() -> None:
    response = answered(PLAIN._replace(count_only=True, limit=1), [], count=12)
    assert (len(response.kvs), response.more, response.count) == (0, False, 12)


@pytest.mark.parametrize(
    ("target", "ascending"),
    [
        (SortTarget.KEY, b"abc"),
        (SortTarget.VERSION, b"bac"),
        (SortTarget.CREATE, b"acb"),
        (SortTarget.MOD, b"cba"),
        (SortTarget.VALUE, b"cab"),
    ],
)
def test_each_target_sorts_both_ways(target: SortTarget, ascending: bytes) -> None:
    up = answered(PLAIN._replace(target=target, order=SortOrder.ASCEND), ROWS)
    down = answered(PLAIN._replace(target=target, order=SortOrder.DESCEND), ROWS)
    unordered = answered(PLAIN._replace(target=target, order=SortOrder.NONE), ROWS)
    assert keys(up) == ascending
    assert keys(down) == ascending[::-1]
    assert keys(unordered) == ascending, "a target without an order sorts upwards"


def test_limit_cuts_after_an_ordered_sort() -> None:
    op = PLAIN._replace(target=SortTarget.MOD, order=SortOrder.ASCEND, limit=1)
    response = answered(op, ROWS)
    assert (keys(response), response.more) == (b"c", True)


def test_limit_cuts_before_a_sort_that_nobody_ordered() -> None:
    """etcd reads limit + 1 rows, sorts these, and shows limit of them."""
    op = PLAIN._replace(target=SortTarget.MOD, limit=1)
    response = answered(op, ROWS)
    assert (keys(response), response.more) == (b"b", True)


@pytest.mark.parametrize(
    ("filters", "expected"),
    [
        ((8, 0, 0, 0), b"ab"),
        ((0, 8, 0, 0), b"bc"),
        ((0, 0, 2, 0), b"bc"),
        ((0, 0, 0, 2), b"ac"),
        ((8, 8, 3, 3), b"b"),
        ((10, 0, 0, 0), b""),
    ],
)
def test_filters_prune_rows_but_not_the_count(
    filters: tuple[int, int, int, int], expected: bytes
) -> None:
    response = answered(PLAIN._replace(filters=filters), ROWS)
    assert (keys(response), response.count) == (expected, 3)


def test_more_counts_only_rows_that_pass_the_filters() -> None:
    op = PLAIN._replace(filters=(0, 8, 0, 0), limit=2)
    assert not answered(op, ROWS).more
    assert answered(op._replace(limit=1), ROWS).more


def test_keys_only_leaves_out_value_and_lease() -> None:
    """etcd 3.7 answers from its index alone, and the index knows no lease."""
    (kv,) = answered(PLAIN._replace(keys_only=True), ROWS[:1]).kvs
    assert kv == kv_pb2.KeyValue(key=b"a", create_revision=1, mod_revision=9, version=5)


def test_keys_only_sorted_by_value_keeps_the_lease() -> None:
    """Then etcd must read the rows, and strips the value alone."""
    op = PLAIN._replace(keys_only=True, target=SortTarget.VALUE, order=SortOrder.ASCEND)
    response = answered(op, ROWS)
    assert keys(response) == b"cab"
    assert {(kv.value, kv.lease) for kv in response.kvs} == {(b"", 7)}


OPS = st.builds(
    PLAIN._replace,
    limit=st.integers(0, 6),
    order=st.sampled_from(SortOrder),
    target=st.sampled_from(SortTarget),
    count_only=st.booleans(),
    filters=st.tuples(*[st.integers(0, 4)] * 4),
)
SOME_ROWS = st.lists(
    st.tuples(st.integers(1, 4), st.integers(1, 4), st.integers(1, 3), st.binary(max_size=2)),
    max_size=6,
).map(lambda found: [row(b"k%d" % n, *fields) for n, fields in enumerate(found)])


def etcd_answer(op: RangeOp, rows: list[Row]) -> tuple[list[bytes], bool, int]:
    """executeRange of etcd's txn/range.go, told again: read, prune, sort, cut."""
    ordered = op.order == SortOrder.NONE or (
        op.target == SortTarget.KEY and op.order == SortOrder.ASCEND
    )
    if op.count_only:
        return [], False, len(rows)
    read = rows[: op.limit + 1] if op.limit and ordered and not any(op.filters) else rows
    min_mod, max_mod, min_create, max_create = op.filters
    pruned = [
        r
        for r in read
        if not (max_mod and r.mod > max_mod)
        and not (min_mod and r.mod < min_mod)
        and not (max_create and r.create > max_create)
        and not (min_create and r.create < min_create)
    ]
    order = op.order
    if op.target != SortTarget.KEY and order == SortOrder.NONE:
        order = SortOrder.ASCEND

    def by(r: Row) -> Any:
        kv = kv_pb2.KeyValue.FromString(r.raw)
        return (kv.key, kv.version, kv.create_revision, kv.mod_revision, kv.value)[op.target]

    if order != SortOrder.NONE:
        pruned = sorted(pruned, key=by, reverse=order == SortOrder.DESCEND)
    more = bool(op.limit) and len(pruned) > op.limit
    shown = pruned[: op.limit] if more else pruned
    return [kv_pb2.KeyValue.FromString(r.raw).key for r in shown], more, len(rows)


@given(OPS, SOME_ROWS)
def test_any_range_is_answered_as_by_etcd(op: RangeOp, rows: list[Row]) -> None:
    fetched = rows[: op.fetch_limit() + 1] if op.fetch_limit() else rows
    response = answered(op, [] if op.count_only else fetched, count=len(rows))
    ours = ([kv.key for kv in response.kvs], response.more, response.count)
    assert ours == etcd_answer(op, rows)
