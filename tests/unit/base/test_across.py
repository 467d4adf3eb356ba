"""How a transaction over several shards is cut: compares, path, operations."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from kubebraid.base.across import (
    Verdict,
    absent_holds,
    as_txn,
    compares_of,
    every_leaf,
    holds_together,
    leaf_span,
    leaves_of,
    path_of,
)
from kubebraid.base.keyspace import KeyRange, single
from kubebraid.base.ops import CompareOp, CompareResult, CompareTarget, TxnOp
from kubebraid.shard.compare import holds_of
from tests.unit.shard.fakes import compare, delete, get, put, txn

A1 = compare(b"a", CompareTarget.VERSION, CompareResult.EQUAL, 1)
B2 = compare(b"b", CompareTarget.VERSION, CompareResult.EQUAL, 2)
INNER = txn([B2], [put(b"y")], [get(b"z")])
WHOLE = txn([A1], [put(b"x"), INNER], [delete(b"w")])


def test_compares_come_with_the_nested_ones_of_both_branches() -> None:
    assert compares_of(WHOLE) == [A1, B2]
    assert compares_of(txn([], [], [INNER, INNER])) == [B2, B2]


def test_path_and_places_of_the_worked_example() -> None:
    path = path_of(WHOLE, [True, False])
    assert path == (True, False)
    assert leaves_of(WHOLE, path) == [put(b"x"), get(b"z")]


def test_branch_that_is_not_taken_uses_up_its_verdicts_and_no_path() -> None:
    """The nested transaction of the other branch has a verdict, and must not shift the next."""
    both = txn([A1], [INNER], [INNER, delete(b"w")])
    assert path_of(both, [False, True, False]) == (False, False)
    assert leaves_of(both, (False, False)) == [get(b"z"), delete(b"w")]


def test_every_leaf_and_span() -> None:
    assert list(every_leaf(WHOLE)) == [put(b"x"), put(b"y"), get(b"z"), delete(b"w")]
    assert leaf_span(put(b"x")) == single(b"x")
    assert leaf_span(delete(b"a", b"c")) == KeyRange(b"a", b"c")
    assert leaf_span(delete(b"c", b"a")) is None


def test_single_operation_is_a_transaction_without_compares() -> None:
    assert leaves_of(as_txn(delete(b"a", b"c")), path_of(as_txn(delete(b"a", b"c")), [])) == [
        delete(b"a", b"c")
    ]
    assert as_txn(WHOLE) is WHOLE


def test_compare_over_shards_needs_one_key_and_every_key() -> None:
    """What met no key anywhere is the compare of an absent one."""
    nothing, good, bad = Verdict(False, True), Verdict(True, True), Verdict(True, False)
    assert holds_together(A1, [nothing, good])
    assert not holds_together(A1, [good, bad])
    assert not holds_together(A1, [nothing, nothing]), "version 0 is not 1"
    absent = compare(b"a", CompareTarget.VERSION, CompareResult.EQUAL, 0)
    assert holds_together(absent, [nothing, nothing])
    assert not holds_together(absent, [nothing, bad])


@given(st.sampled_from(CompareTarget), st.integers(0, 4), st.integers(-2, 2))
def test_absent_key_compares_as_on_one_shard(target: int, result: int, operand: int) -> None:
    value: int | bytes = b"%d" % operand if target == CompareTarget.VALUE else operand
    asked = CompareOp(single(b"a"), target, result, value)
    assert absent_holds(asked) == holds_of(asked, None, known=5)


def test_transaction_of_one_key_is_cut_like_any_other() -> None:
    """`key` is a hint for the short way; nobody here takes it."""
    short = TxnOp((A1,), (put(b"a"),), (), key=b"a")
    assert leaves_of(short, path_of(short, [True])) == [put(b"a")]
