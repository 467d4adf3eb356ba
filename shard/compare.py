"""A transaction's compares, against rows whose revisions may still be pending.

What it is: etcd's applyCompare as a function of a view. What it is not: the choice of a branch
(`apply.py`).

Invariants: a range compare holds iff every live key in the range satisfies it; an absent key counts
as all zeros, except for VALUE, which it never satisfies. A pending revision is above everything
known, so it compares rightly with any operand up to `known`; beyond that only the real number
could tell, and `Ambiguous` is raised.

Worked example: a was put by this batch (mod pending), known = 10: "mod(a) > 10" holds, while
"mod(a) = 11" is ambiguous.

Source: etcd server/etcdserver/txn/txn.go. Tested in tests/unit/shard/test_compare.py.
"""

from __future__ import annotations

from kubebraid.base.ops import CompareOp, CompareResult, CompareTarget
from kubebraid.base.revision import Revision, is_pending

from .draft import AnyRow, value_in
from .view import Ambiguous, BatchView


def holds(view: BatchView, compare: CompareOp, known: Revision) -> bool:
    """Whether one compare is satisfied. Raises Ambiguous."""
    found = False
    for _, row in view.rows(compare.span):
        found = True
        if not _satisfied(compare, row, known):
            return False
    return found or holds_of(compare, None, known)


def holds_of(compare: CompareOp, row: AnyRow | None, known: Revision) -> bool:
    """Whether the compare of one key is satisfied by its row. Raises Ambiguous."""
    if row is not None:
        return _satisfied(compare, row, known)
    if compare.target == CompareTarget.VALUE:
        return False
    return _relates(compare.result, 0, compare.operand)


def _satisfied(compare: CompareOp, row: AnyRow, known: Revision) -> bool:
    actual: int | bytes
    match compare.target:
        case CompareTarget.VALUE:
            actual = value_in(row)
        case CompareTarget.CREATE:
            actual = _definite(row.create, compare.operand, known)
        case CompareTarget.MOD:
            actual = _definite(row.mod, compare.operand, known)
        case CompareTarget.VERSION:
            actual = row.version
        case CompareTarget.LEASE:
            actual = row.lease
        case _:
            actual = 0  # etcd: an unknown target compares zero with zero
    return _relates(compare.result, actual, compare.operand)


def _definite(revision: Revision, operand: bytes | int, known: Revision) -> Revision:
    assert isinstance(operand, int), "revisions compare with numbers"
    if is_pending(revision) and operand > known:
        raise Ambiguous
    return revision


def _relates(result: int, actual: int | bytes, operand: int | bytes) -> bool:
    assert type(actual) is type(operand), (actual, operand)
    match result:
        case CompareResult.EQUAL:
            return actual == operand
        case CompareResult.NOT_EQUAL:
            return actual != operand
        case CompareResult.GREATER:
            return actual > operand  # type: ignore[operator]  # both sides have one type
        case CompareResult.LESS:
            return actual < operand  # type: ignore[operator]  # both sides have one type
        case _:
            return True  # etcd: an unknown result holds
