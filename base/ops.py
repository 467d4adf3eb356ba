"""The operations of etcd's KV API as values: what a write or a transaction asks for.

What it is: decoded requests, free of protobuf. What it is not: their checks (`proto/check.py`) or
their effect (`shard/apply.py`).

Invariant: `span` None stands for an empty range (range_end <= key): it matches nothing.

Source: etcdserverpb/rpc.proto. Tested in tests/unit/proto/test_convert.py.
"""

from __future__ import annotations

from enum import IntEnum
from typing import NamedTuple, TypeAlias

from .keyspace import KeyRange
from .revision import LeaseId, Revision


class SortOrder(IntEnum):
    """RangeRequest.SortOrder."""

    NONE = 0
    ASCEND = 1
    DESCEND = 2


class SortTarget(IntEnum):
    """RangeRequest.SortTarget."""

    KEY = 0
    VERSION = 1
    CREATE = 2
    MOD = 3
    VALUE = 4


class CompareTarget(IntEnum):
    """Compare.CompareTarget."""

    VERSION = 0
    CREATE = 1
    MOD = 2
    VALUE = 3
    LEASE = 4


class CompareResult(IntEnum):
    """Compare.CompareResult."""

    EQUAL = 0
    GREATER = 1
    LESS = 2
    NOT_EQUAL = 3


class PutOp(NamedTuple):
    """PutRequest."""

    key: bytes
    value: bytes
    lease: LeaseId
    prev_kv: bool
    ignore_value: bool
    ignore_lease: bool


class DeleteOp(NamedTuple):
    """DeleteRangeRequest."""

    span: KeyRange | None
    prev_kv: bool


class RangeOp(NamedTuple):
    """RangeRequest. filters: min mod, max mod, min create, max create; 0 is none."""

    span: KeyRange | None
    revision: Revision
    limit: int
    order: int
    target: int
    serializable: bool
    keys_only: bool
    count_only: bool
    filters: tuple[Revision, Revision, Revision, Revision]

    def default_order(self) -> bool:
        """Whether the answer is in ascending key order anyway (etcd IsDefaultOrdering)."""
        return self.order == SortOrder.NONE or (
            self.target == SortTarget.KEY and self.order == SortOrder.ASCEND
        )

    def sorts(self) -> bool:
        """Whether rows must be sorted; a target other than KEY without order means ascending."""
        return not self.default_order() or self.target != SortTarget.KEY

    def plain(self) -> bool:
        """Whether the answer is the stored rows as they lie, up to the limit."""
        bare = self.keys_only or self.count_only or any(self.filters)
        return not bare and not self.sorts()

    def fetch_limit(self) -> int:
        """How many rows decide the answer; 0 is all (etcd rangeLimit).

        etcd looks at the requested order here, and sorts by target afterwards: with a target but
        no order the limit applies before the sort.
        """
        return 0 if not self.default_order() or any(self.filters) else max(self.limit, 0)


class CompareOp(NamedTuple):
    """Compare. `operand` is bytes for VALUE, an integer otherwise."""

    span: KeyRange | None
    target: int
    result: int
    operand: bytes | int


class TxnOp(NamedTuple):
    """TxnRequest. `key`: where it is set, the transaction is one compare of this key, one put or
    delete of it, and otherwise at most one plain read of it; so kube-apiserver writes."""

    compares: tuple[CompareOp, ...]
    success: tuple[Op, ...]
    failure: tuple[Op, ...]
    key: bytes | None = None

    def writes(self) -> bool:
        """Whether etcd counts it as a write: any operation but a range (IsTxnReadonly)."""
        return self.key is not None or any(
            not isinstance(op, RangeOp) for op in self.success + self.failure
        )


Op: TypeAlias = PutOp | DeleteOp | RangeOp | TxnOp
WriteOp: TypeAlias = PutOp | DeleteOp | TxnOp


NO_FILTERS = (0, 0, 0, 0)


def passes(
    filters: tuple[Revision, Revision, Revision, Revision], mod: Revision, create: Revision
) -> bool:
    """Whether a row's revisions lie within etcd's min/max filters."""
    min_mod, max_mod, min_create, max_create = filters
    return not (
        (max_mod and mod > max_mod)
        or (min_mod and mod < min_mod)
        or (max_create and create > max_create)
        or (min_create and create < min_create)
    )
