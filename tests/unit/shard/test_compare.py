"""Compares: etcd's applyCompare, also where a revision is not allocated yet."""

from __future__ import annotations

import pytest

from kubebraid.base.keyspace import from_etcd
from kubebraid.base.ops import CompareOp, CompareResult, CompareTarget
from kubebraid.base.revision import pending
from kubebraid.shard.compare import holds
from kubebraid.shard.draft import DraftRow
from kubebraid.shard.lease import LeaseTable
from kubebraid.shard.storage.memory import MemoryEngine
from kubebraid.shard.view import Ambiguous, BatchView
from tests.unit.shard.fakes import compare, counted, store_versions

KNOWN = 10
VERSION, CREATE, MOD = CompareTarget.VERSION, CompareTarget.CREATE, CompareTarget.MOD
VALUE, LEASE = CompareTarget.VALUE, CompareTarget.LEASE
EQUAL, GREATER = CompareResult.EQUAL, CompareResult.GREATER
LESS, NOT_EQUAL = CompareResult.LESS, CompareResult.NOT_EQUAL


def view() -> BatchView:
    """a stands at revision 5 with the value "5"; b was put by this very batch."""
    engine = MemoryEngine()
    store_versions(engine, b"a", 5)
    made = BatchView(engine, LeaseTable(), counted(engine).known)
    made.overlay[b"b"] = DraftRow(b"b", b"new", pending(0), pending(0), 1, 9)
    return made


@pytest.mark.parametrize(
    ("target", "operand"), [(VERSION, 1), (CREATE, 5), (MOD, 5), (VALUE, b"5"), (LEASE, 0)]
)
def test_stored_row_relates_to_its_own_fields(target: int, operand: int | bytes) -> None:
    results = [holds(view(), compare(b"a", target, r, operand), KNOWN) for r in range(4)]
    assert results == [True, False, False, False]


@pytest.mark.parametrize(
    ("result", "smaller", "same", "larger"),
    [
        (EQUAL, False, True, False),
        (GREATER, True, False, False),
        (LESS, False, False, True),
        (NOT_EQUAL, True, False, True),
    ],
)
def test_result_relates_the_row_to_the_operand(
    result: int, smaller: bool, same: bool, larger: bool
) -> None:
    """The row stands on the left: mod(a) is 5, the operand 4, 5 and 6."""
    found = [holds(view(), compare(b"a", MOD, result, operand), KNOWN) for operand in (4, 5, 6)]
    assert found == [smaller, same, larger]


@pytest.mark.parametrize("target", [VERSION, CREATE, MOD, LEASE])
def test_absent_key_counts_as_zero(target: int) -> None:
    assert holds(view(), compare(b"none", target, EQUAL, 0), KNOWN)
    assert not holds(view(), compare(b"none", target, GREATER, 0), KNOWN)
    assert holds(view(), compare(b"none", target, LESS, 1), KNOWN)


@pytest.mark.parametrize("result", list(CompareResult))
def test_absent_key_never_satisfies_a_value_compare(result: int) -> None:
    """Not even NOT_EQUAL: etcd cannot tell a missing value from an empty one."""
    assert not holds(view(), compare(b"none", VALUE, result, b"x"), KNOWN)


def test_unknown_result_holds_and_unknown_target_compares_zero() -> None:
    """proto3 enums are open; this is what etcd's switch statements leave."""
    assert holds(view(), compare(b"a", MOD, 9, 77), KNOWN)
    assert holds(view(), compare(b"a", 9, EQUAL, 0), KNOWN)
    assert not holds(view(), compare(b"a", 9, GREATER, 0), KNOWN)


def test_range_compare_needs_every_key() -> None:
    both = from_etcd(b"a", b"c")
    assert holds(view(), CompareOp(both, VERSION, EQUAL, 1), KNOWN)
    assert not holds(view(), CompareOp(both, LEASE, EQUAL, 9), KNOWN)


def test_empty_range_compares_as_an_absent_key() -> None:
    assert holds(view(), CompareOp(None, MOD, EQUAL, 0), KNOWN)
    assert not holds(view(), CompareOp(None, VALUE, EQUAL, b""), KNOWN)


def test_pending_revision_is_above_everything_known() -> None:
    """The worked example of the module."""
    assert holds(view(), compare(b"b", MOD, GREATER, KNOWN), KNOWN)
    assert not holds(view(), compare(b"b", MOD, EQUAL, KNOWN), KNOWN)
    with pytest.raises(Ambiguous):
        holds(view(), compare(b"b", MOD, EQUAL, KNOWN + 1), KNOWN)


@pytest.mark.parametrize("target", [CREATE, MOD])
@pytest.mark.parametrize("operand", [KNOWN + 1, (1 << 63) - 1])
def test_operand_beyond_what_is_known_must_wait(target: int, operand: int) -> None:
    """Another shard may take any number in between: no operand above R is safe."""
    with pytest.raises(Ambiguous):
        holds(view(), compare(b"b", target, LESS, operand), KNOWN)


def test_fields_that_hang_on_no_revision_are_never_ambiguous() -> None:
    assert holds(view(), compare(b"b", VERSION, LESS, 1 << 40), KNOWN)
    assert holds(view(), compare(b"b", VALUE, EQUAL, b"new"), KNOWN)
    assert holds(view(), compare(b"b", LEASE, EQUAL, 9), KNOWN)


def test_stored_revision_compares_with_any_operand() -> None:
    assert holds(view(), compare(b"a", MOD, LESS, 1 << 40), KNOWN)
    assert holds(view(), compare(b"a", MOD, GREATER, -(1 << 63)), KNOWN)
