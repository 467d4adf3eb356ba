"""Rows to the body of a RangeResponse: sort, filter, limit, count, in etcd's order.

What it is: the pure end of every range, used for a Range and for a range inside a transaction.
What it is not: the reading of rows.

Invariant: `more` is true iff rows that pass the filters lie beyond the limit; `count` is the
number of keys in the range at that revision whatever the limit and the filters.

Source: etcd server/etcdserver/txn/range.go. Tested in tests/unit/proto/test_ranges.py.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

from kubebraid.base.ops import RangeOp, SortOrder, SortTarget, passes

from .etcd import kv_pb2
from .kvwire import key_value, range_rows, range_tail, value_of


class Versioned(Protocol):
    """What a row must say of itself to be sorted, filtered and sent."""

    @property
    def mod(self) -> int: ...
    @property
    def create(self) -> int: ...
    @property
    def version(self) -> int: ...
    @property
    def raw(self) -> bytes: ...


def without_value(raw: bytes) -> bytes:
    """The KeyValue of a keys-only answer: etcd 3.7 leaves out the value and the lease."""
    kv = kv_pb2.KeyValue.FromString(raw)
    return key_value(kv.key, kv.create_revision, kv.mod_revision, kv.version, b"", 0)


def without_value_only(raw: bytes) -> bytes:
    """As `without_value`, but with the lease: etcd's slow path, taken when it sorts by value."""
    kv = kv_pb2.KeyValue.FromString(raw)
    return key_value(kv.key, kv.create_revision, kv.mod_revision, kv.version, b"", kv.lease)


def stripped(op: RangeOp, raw: bytes) -> bytes:
    """What a keys-only answer shows of a row."""
    return (without_value_only if op.target == SortTarget.VALUE else without_value)(raw)


def body(op: RangeOp, rows: Sequence[Versioned], count: int) -> bytes:
    """The RangeResponse without its header.

    `rows`: in key order, at least the first `fetch_limit() + 1` of them, or all if that is 0.
    """
    if op.count_only:
        return range_tail(False, count)
    if any(op.filters):
        rows = [row for row in rows if passes(op.filters, row.mod, row.create)]
    fetched = op.fetch_limit()
    if fetched:
        rows = rows[: fetched + 1]
    if op.sorts():
        rows = sorted(rows, key=_sort_key(op), reverse=op.order == SortOrder.DESCEND)
    more = 0 < op.limit < len(rows)
    if more:
        rows = rows[: op.limit]
    raws = [row.raw for row in rows]
    if op.keys_only:
        raws = [stripped(op, raw) for raw in raws]
    return range_rows(raws) + range_tail(more, count)


def _sort_key(op: RangeOp) -> Callable[[Versioned], int | bytes]:
    match op.target:
        case SortTarget.VERSION:
            return lambda row: row.version
        case SortTarget.CREATE:
            return lambda row: row.create
        case SortTarget.MOD:
            return lambda row: row.mod
        case SortTarget.VALUE:
            return lambda row: value_of(row.raw)
        case _:
            return lambda row: kv_pb2.KeyValue.FromString(row.raw).key
