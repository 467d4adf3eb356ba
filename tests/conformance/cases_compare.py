"""KV.Txn, the compares: every target with every result, over keys and ranges, there or not."""

from __future__ import annotations

from typing import Any, Final, TypeAlias

from kubebraid.proto.etcd import rpc_pb2 as pb

from .case import (
    FRUITS,
    Case,
    Step,
    at,
    bad,
    case,
    delete,
    get,
    grant,
    lease,
    put,
    putting,
    raw,
    transact,
)

C: TypeAlias = pb.Compare


def compare(name: str, target: Any, result: Any = C.EQUAL, end: str = "", **operand: Any) -> C:
    return C(key=raw(name), range_end=raw(end), target=target, result=result, **operand)


def asks(*compares: C) -> Step:
    """A transaction whose answer tells how the compares went and no more."""
    return transact(compares, [get("yes")], [get("no")])


STORED: Final = (grant("x"), put("a", "1"), put("a", "m", lease=lease("x")), put("b", "m"))

# target, its operand's field, and operands below, at and above what "a" holds
TARGETS: Final[tuple[tuple[str, int, str, tuple[Any, Any, Any]], ...]] = (
    ("version", C.VERSION, "version", (1, 2, 3)),
    ("create", C.CREATE, "create_revision", (at(0), at(1), at(2))),
    ("mod", C.MOD, "mod_revision", (at(1), at(2), at(3))),
    ("value", C.VALUE, "value", (b"l", b"m", b"n")),
    ("lease", C.LEASE, "lease", (0, lease("x"), (1 << 63) - 1)),
)

ALL: Final = tuple(
    case(
        f"compare.{name}_{result.lower()}",
        STORED,
        [asks(compare("a", target, number, **{operand: value})) for value in values],
    )
    for name, target, operand, values in TARGETS
    for result, number in C.CompareResult.items()
)

ABSENT: Final = tuple(
    case(
        f"compare.{name}_of_an_absent_key",
        [
            asks(compare("a", target, number, **{operand: value}))
            for number in C.CompareResult.values()
            for value in (type(values[0])(), values[0])
        ],
    )
    for name, target, operand, values in TARGETS
)

WITHOUT: Final = tuple(
    bad(
        f"compare.{name}_without_operand",
        STORED,
        [asks(compare("a", target, number)) for number in C.CompareResult.values()],
    )
    for name, target, _, _ in TARGETS
)

MORE: Final = (
    case("compare.none_is_success", asks()),
    case("compare.all_must_hold", STORED,
         asks(compare("a", C.VERSION, version=2), compare("b", C.VERSION, version=1)),
         asks(compare("a", C.VERSION, version=2), compare("b", C.VERSION, version=2)),
         asks(compare("a", C.VERSION, version=1), compare("b", C.VERSION, version=1))),
    case("compare.one_key_twice", STORED,
         asks(compare("a", C.VERSION, C.GREATER, version=1),
         compare("a", C.VERSION, C.LESS, version=3))),
    case("compare.value_empty_with_an_empty_value", put("a"),
         asks(compare("a", C.VALUE, value=b"")), asks(compare("b", C.VALUE, value=b""))),
    case("compare.value_is_bytewise", put("a", b"\xff"),
         asks(compare("a", C.VALUE, C.GREATER, value=b"\x7f")),
         asks(compare("a", C.VALUE, C.GREATER, value=b"\xff\0"))),
    case("compare.mod_zero_means_absent", put("b"),
         asks(compare("a", C.MOD, mod_revision=0)), asks(compare("b", C.MOD, mod_revision=0))),
    case("compare.create_of_a_deleted_key", put("a"), delete("a"),
         asks(compare("a", C.CREATE, create_revision=0)), asks(compare("a", C.VERSION, C.GREATER))),
    case("compare.negative_operand", put("a"),
         asks(compare("a", C.VERSION, C.GREATER, version=-1)),
         asks(compare("z", C.MOD, mod_revision=-1))),
    case("compare.range_all_pass", FRUITS,
         asks(compare("a", C.VERSION, C.GREATER, "z", version=0))),
    case("compare.range_one_fails", FRUITS, asks(compare("a", C.VERSION, C.LESS, "z", version=3))),
    case("compare.range_first_fails", FRUITS,
         asks(compare("a", C.CREATE, C.LESS, "z", create_revision=at(2)))),
    case("compare.range_of_nothing_is_one_absent_key", FRUITS,
         asks(compare("q", C.VERSION, C.EQUAL, "z", version=0)),
         asks(compare("q", C.VERSION, C.GREATER, "z", version=0)),
         asks(compare("q", C.MOD, C.LESS, "z", mod_revision=1))),
    case("compare.range_of_nothing_by_value", asks(compare("a", C.VALUE, C.NOT_EQUAL, "z",
         value=b"x"))),
    case("compare.range_by_value", put("a", "1"), put("b", "1"),
         asks(compare("a", C.VALUE, C.EQUAL, "z", value=b"1")),
         asks(compare("a", C.VALUE, C.NOT_EQUAL, "z", value=b"2"))),
    case("compare.range_by_lease", grant("x"), put("a", lease=lease("x")), put("b"),
         asks(compare("a", C.LEASE, C.EQUAL, "z", lease=lease("x"))),
         asks(compare("a", C.LEASE, C.EQUAL, "b", lease=lease("x")))),
    case("compare.range_from_key", FRUITS,
         asks(compare("g", C.MOD, C.GREATER, "\0", mod_revision=at(0))),
         asks(compare("g", C.MOD, C.GREATER, "\0", mod_revision=at(1)))),
    case("compare.range_of_everything", FRUITS,
         asks(compare("\0", C.VERSION, C.LESS, "\0", version=4))),
    case("compare.range_end_below_key", FRUITS,
         asks(compare("z", C.VERSION, C.EQUAL, "a", version=0))),
    case("compare.succeeds_then_puts", transact([compare("a", C.MOD)], [putting("a", "1")],
         [get("a")]),
         transact([compare("a", C.MOD)], [putting("a", "1")], [get("a")])),
    bad("compare.empty_key", asks(compare("", C.VERSION))),
    bad("compare.empty_key_after_a_good_one", STORED,
        asks(compare("a", C.VERSION), compare("", C.VERSION))),
    bad("compare.empty_key_with_range_end", asks(compare("", C.VERSION, C.EQUAL, "z"))),
    bad("compare.unknown_target", STORED, asks(compare("a", 9)), asks(compare("z", 9))),
    bad("compare.unknown_target_not_equal", STORED, asks(compare("a", 9, C.NOT_EQUAL, version=5))),
    bad("compare.unknown_result", STORED, asks(compare("a", C.VERSION, 9, version=2)),
        asks(compare("a", C.VERSION, 9, version=5))),
    bad("compare.unknown_result_of_an_absent_value", asks(compare("a", C.VALUE, 9, value=b"1"))),
    bad("compare.operand_of_another_target", STORED,
        asks(compare("a", C.VERSION, C.EQUAL, mod_revision=at(2))),
        asks(compare("a", C.VALUE, C.EQUAL, version=2)),
        asks(compare("a", C.LEASE, C.EQUAL, version=2)),
        asks(compare("a", C.MOD, C.EQUAL, value=b"m"))),
    case("compare.only_compares", STORED, transact([compare("a", C.VERSION, version=2)]),
         transact([compare("a", C.VERSION, version=1)])),
)  # fmt: skip

CASES: Final[tuple[Case, ...]] = (*ALL, *ABSENT, *WITHOUT, *MORE)
