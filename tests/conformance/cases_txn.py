"""KV.Txn, the operations: what a transaction reads of itself, nesting, and every refusal."""

from __future__ import annotations

from typing import Final

from kubebraid.proto.etcd import rpc_pb2 as pb

from .case import (
    FRUITS,
    Call,
    Case,
    Message,
    Step,
    at,
    bad,
    case,
    compact,
    delete,
    deleting,
    get,
    grant,
    lease,
    op,
    put,
    putting,
    ranged,
    revoke,
    time_to_live,
    transact,
    txn,
)

C: Final = pb.Compare
OPS_MAX: Final = 128
DEPTH: Final = 12
FALSE: Final = (C(key=b"never", target=C.VERSION, version=1),)
UNKNOWN_LEASE: Final = 4711


def then(*requests: Message) -> Step:
    return transact(success=requests)


def nested(depth: int, inner: Message) -> Message:
    for _ in range(depth):
        inner = txn(success=[inner])
    return inner


def deep(depth: int) -> bytes:
    """A put below so many transactions, as bytes: Python's protobuf does not go that deep."""
    inner = op(pb.PutRequest(key=b"deep")).SerializeToString()
    for _ in range(depth):
        txn_bytes = field(2, inner)  # TxnRequest.success
        inner = field(4, txn_bytes)  # RequestOp.request_txn
    return field(2, inner)


def field(number: int, payload: bytes) -> bytes:
    """A length-delimited protobuf field."""
    length, size = b"", len(payload)
    while size > 0x7F:
        length += bytes((size & 0x7F | 0x80,))
        size >>= 7
    return bytes((number << 3 | 2,)) + length + bytes((size,)) + payload


PLAIN: Final = (
    case("txn.empty", Call("KV.Txn", pb.TxnRequest())),
    case("txn.empty_takes_no_revision", put("a"), then(), put("a")),
    case("txn.failed_without_else", transact(FALSE, [putting("a")])),
    case("txn.one_put", then(putting("a", "1")), ranged("a")),
    case("txn.else_put", transact(FALSE, [putting("a", "1")], [putting("a", "2")]), ranged("a")),
    case("txn.two_puts_one_revision", then(putting("a"), putting("b")), ranged("a", "z")),
    case("txn.put_prev_kv", put("a", "1"), then(putting("a", "2", prev_kv=True))),
    case("txn.put_ignore_value", put("a", "1"), then(putting("a", ignore_value=True)), ranged("a")),
    case("txn.put_ignore_lease", grant("x"), put("a", "1", lease=lease("x")),
         then(putting("a", "2", ignore_lease=True)), ranged("a")),
    case("txn.put_with_lease", grant("x"),
         then(putting("a", lease=lease("x")), putting("b", lease=lease("x"))),
         time_to_live(lease("x"), keys=True), revoke(lease("x")), ranged("a", "z")),
    case("txn.put_moves_the_lease", grant("x"), grant("y", 2000), put("a", lease=lease("x")),
         then(putting("a", lease=lease("y"))), time_to_live(lease("x"), keys=True),
         time_to_live(lease("y"), keys=True)),
    case("txn.delete_of_nothing_takes_no_revision", then(deleting("a")), put("a")),
    case("txn.delete_prev_kv", FRUITS, then(deleting("a", "g", prev_kv=True))),
    case("txn.two_deletes_that_overlap", FRUITS,
         then(deleting("a", "g"), deleting("f", "z", prev_kv=True))),
    case("txn.same_delete_twice", put("a"), then(deleting("a"), deleting("a"))),
    case("txn.read_only", FRUITS, then(get("fig"), get("a", "z", limit=1), get("none"))),
    case("txn.read_only_else", FRUITS, transact(FALSE, [], [get("fig")])),
    case("txn.range_options", FRUITS,
         then(get("a", "z", keys_only=True, limit=2), get("a", "z", count_only=True),
              get("a", "z", sort_order=2, sort_target=3), get("a", "z", min_mod_revision=at(5)))),
    case("txn.range_serializable", put("a"), then(get("a", serializable=True))),
    case("txn.range_end_below_key", put("a"), then(get("z", "a"))),
    case("txn.128_puts", then(*(putting(f"k{n:03}") for n in range(OPS_MAX))),
         ranged("k", "l", limit=1)),
    case("txn.128_in_each_part", transact([C(key=b"a", target=C.VERSION)] * OPS_MAX,
         [get("a")] * OPS_MAX,
                                          [get("a")] * OPS_MAX)),
    case("txn.same_key_in_both_branches", transact(FALSE, [putting("a", "1")],
         [putting("a", "2")])),
)  # fmt: skip

OWN: Final = (
    case("txn.range_after_put_sees_it", put("a", "1"), then(putting("a", "2"), get("a"))),
    case("txn.range_before_put_does_not", put("a", "1"), then(get("a"), putting("a", "2"))),
    case("txn.range_after_delete", put("a"), then(deleting("a"), get("a"))),
    case("txn.range_between_puts", then(putting("a"), get("a", "z"), putting("b"), get("a", "z"))),
    case("txn.count_after_put_and_delete", FRUITS,
         then(putting("b"), deleting("fig"), get("a", "z", count_only=True))),
    case("txn.limit_after_put", FRUITS, then(putting("b"), get("a", "z", limit=2))),
    case("txn.sort_after_put", FRUITS,
         then(putting("zz", "0"), get("a", "\0", sort_order=1, sort_target=4, limit=1))),
    case("txn.delete_counts_own_put_of_another_branch", then(deleting("q"), putting("a"),
         get("a"))),
    case("txn.range_at_the_revision_before", put("a", "1"),
         then(putting("a", "2"), get("a", revision=at(1)))),
    case("txn.range_at_a_past_revision", FRUITS, then(get("a", "z", revision=at(2)), putting("q"))),
    case("txn.delete_then_put_of_another_key", FRUITS,
         then(deleting("a", "g"), putting("pear", "9"), get("a", "z"))),
    case("txn.put_then_min_mod_filter", FRUITS,
         then(putting("b"), get("a", "z", min_mod_revision=at(8)))),
    case("txn.version_within", put("a"), then(putting("a", prev_kv=True), get("a"))),
)  # fmt: skip

NESTED: Final = (
    case("txn.nested_put", then(txn(success=[putting("a", "1")])), ranged("a")),
    case("txn.nested_read_only", put("a"), then(txn(success=[get("a")]))),
    case("txn.nested_fails_alone", then(txn(FALSE, [putting("a")], [putting("b")]), putting("c")),
         ranged("a", "z")),
    case("txn.nested_in_else", transact(FALSE, [], [txn(success=[putting("a")])])),
    case("txn.nested_empty", then(pb.TxnRequest())),
    case("txn.nested_compares_see_the_state_before",
         then(putting("a"),
         txn([C(key=b"a", target=C.VERSION, version=1)], [get("yes")], [get("no")]))),
    case("txn.nested_ranges_see_the_puts_before", then(putting("a", "1"), txn(success=[get("a")]))),
    case("txn.nested_after_nested", then(txn(FALSE, [get("b")], [putting("a")]),
                                         txn(success=[get("a"), txn(FALSE, [], [get("c")])]),
                                         get("a"))),
    case("txn.nested_deep", then(nested(DEPTH, putting("a"))), ranged("a")),
    case("txn.nested_same_key_in_both_branches", then(txn(FALSE, [putting("a", "1")],
         [putting("a", "2")])), ranged("a")),
    case("txn.nested_delete_and_outer_delete", put("a"),
         then(deleting("a"), txn(success=[deleting("a")]))),
    case("txn.nested_ops_up_to_the_limit", then(*([get("a")] * 64), txn(success=[get("a")] * 63))),
    case("txn.nested_delete_in_then_put_in_else", put("a"),
         then(txn([C(key=b"a", target=C.VERSION, version=1)], [deleting("a")], [putting("a")]))),
)  # fmt: skip

TOO_MANY: Final = (
    bad("txn.129_puts", then(*(putting(f"k{n:03}") for n in range(OPS_MAX + 1))),
        ranged("k", "l", count_only=True)),
    bad("txn.129_compares", transact([C(key=b"a", target=C.VERSION)] * (OPS_MAX + 1))),
    bad("txn.129_in_else", transact(failure=[get("a")] * (OPS_MAX + 1))),
    bad("txn.129_with_an_empty_key", then(*[get("")] * (OPS_MAX + 1))),
    bad("txn.nested_ops_over_the_limit", then(*([get("a")] * 64), txn(success=[get("a")] * 65))),
    bad("txn.nested_compares_over_the_limit",
        then(*([get("a")] * 100), txn([C(key=b"a", target=C.VERSION)] * 29))),
    bad("txn.nested_in_a_full_transaction", then(*([get("a")] * 127), txn(success=[get("a")]))),
    bad("txn.nested_too_deep", Call("KV.Txn", deep(OPS_MAX)), ranged("\0", "\0")),
    case("txn.nested_very_deep", Call("KV.Txn", deep(100)), ranged("\0", "\0")),
)  # fmt: skip

DUPLICATES: Final = (
    bad("txn.duplicate_put", then(putting("a", "1"), putting("a", "2")), ranged("a")),
    bad("txn.duplicate_put_in_else", transact(failure=[putting("a"), putting("a")])),
    bad("txn.duplicate_put_in_the_branch_not_taken", transact(success=[get("a")],
        failure=[putting("a"), putting("a")])),
    bad("txn.put_and_delete", then(putting("a"), deleting("a"))),
    bad("txn.delete_and_put", then(deleting("a"), putting("a"))),
    bad("txn.put_in_a_deleted_range", then(deleting("a", "c"), putting("b"))),
    case("txn.put_in_a_range_deleted_from_key_is_allowed", then(putting("z"), deleting("a", "\0")),
         put("z"), ranged("z")),
    case("txn.put_after_a_deletion_from_key", put("z"), then(deleting("a", "\0"), putting("z")),
         ranged("z")),
    case("txn.put_in_all_deleted", then(putting("z"), deleting("\0", "\0")), ranged("z"),
         ranged("z", revision=at(1))),
    case("txn.put_at_the_end_of_a_deleted_range", then(deleting("a", "c"), putting("c"))),
    case("txn.put_in_a_deleted_range_that_is_empty", then(deleting("c", "a"), putting("b"))),
    bad("txn.put_in_a_deleted_range_key_equals_end", then(deleting("b", "b"), putting("b"))),
    bad("txn.duplicate_put_nested", then(putting("a"), txn(success=[putting("a")]))),
    bad("txn.duplicate_put_nested_else", then(putting("a"), txn(failure=[putting("a")]))),
    bad("txn.duplicate_put_inside_nested", then(txn(success=[putting("a"), putting("a")]))),
    bad("txn.duplicate_put_in_two_nested", then(txn(success=[putting("a")]),
        txn(success=[putting("a")]))),
    bad("txn.duplicate_put_in_then_and_others_else", then(txn(success=[putting("a")]),
        txn(failure=[putting("a")]))),
    bad("txn.delete_and_nested_put", then(deleting("a", "c"), txn(success=[putting("b")]))),
    bad("txn.delete_and_nested_put_in_else", then(deleting("a"), txn(failure=[putting("a")]))),
    bad("txn.put_and_nested_delete", then(putting("b"), txn(success=[deleting("a", "c")]))),
    bad("txn.put_and_nested_delete_in_else", then(putting("b"), txn(failure=[deleting("b")]))),
    case("txn.nested_put_and_another_nested_delete", put("a"),
         then(txn(success=[putting("a", "1")]), txn(success=[deleting("a")])), ranged("a"),
         put("a"), ranged("a")),
    case("txn.nested_delete_and_another_nested_put", put("a"),
         then(txn(success=[deleting("a")]), txn(success=[putting("a", "1")])), ranged("a")),
    bad("txn.duplicate_put_two_levels_down", then(putting("a"),
        txn(success=[txn(success=[putting("a")])]))),
    bad("txn.duplicate_and_empty_key", then(putting("a"), putting("a"), putting(""))),
)  # fmt: skip

REFUSED: Final = (
    bad("txn.range_without_key", then(get(""))),
    bad("txn.put_without_key", then(putting("", "1"))),
    bad("txn.delete_without_key", then(deleting(""))),
    bad("txn.else_put_without_key", transact(failure=[putting("")])),
    bad("txn.nested_put_without_key", then(txn(success=[putting("")]))),
    bad("txn.nested_compare_without_key", then(txn([C()], [get("a")]))),
    bad("txn.range_sort_order_unknown", then(get("a", sort_order=9))),
    bad("txn.range_sort_target_unknown", then(get("a", sort_target=9))),
    bad("txn.put_value_provided", then(putting("a", "1", ignore_value=True))),
    bad("txn.put_lease_provided", then(putting("a", lease=1, ignore_lease=True))),
    bad("txn.operation_without_kind", then(pb.RequestOp())),
    bad("txn.operation_without_kind_in_else", transact(failure=[pb.RequestOp()])),
    bad("txn.put_ignore_value_of_an_absent_key", then(putting("b"),
        putting("a", ignore_value=True)), ranged("b")),
    bad("txn.put_ignore_lease_of_an_absent_key", then(putting("a", ignore_lease=True))),
    bad("txn.put_ignore_value_in_the_branch_not_taken", transact(failure=[putting("a",
        ignore_value=True)])),
    bad("txn.put_lease_unknown", then(putting("b"), putting("a", lease=UNKNOWN_LEASE)),
        ranged("a", "z")),
    bad("txn.put_lease_unknown_in_the_branch_not_taken",
        transact(success=[putting("b")], failure=[putting("a", lease=UNKNOWN_LEASE)])),
    bad("txn.nested_put_lease_unknown", then(putting("b"),
        txn(success=[putting("a", lease=UNKNOWN_LEASE)])), ranged("b")),
    bad("txn.range_ahead", put("a"), then(get("a", revision=at(2)))),
    bad("txn.range_ahead_after_a_put", put("a"), then(putting("a"), get("a", revision=at(2))),
        ranged("a")),
    bad("txn.range_ahead_in_the_branch_not_taken", then(get("a")),
        transact(failure=[get("a", revision=at(9))])),
    bad("txn.range_compacted", put("a"), put("a"), put("a"), compact(at(3)),
        then(get("a", revision=at(2)))),
    bad("txn.range_compacted_after_a_put", put("a"), put("a"), put("a"), compact(at(3)),
        then(putting("b"), get("a", revision=at(2))), ranged("b")),
    bad("txn.range_compacted_in_nested", put("a"), put("a"), put("a"), compact(at(3)),
        then(txn(success=[get("a", revision=at(2))]), putting("b")), ranged("b")),
    bad("txn.range_revision_negative", put("a"), then(get("a", revision=-1))),
    bad("txn.range_revision_negative_after_a_put", put("a"),
        then(putting("b"), get("a", revision=-1)), ranged("b")),
    bad("txn.first_refusal_wins", then(putting("a", lease=UNKNOWN_LEASE),
        get("a", revision=at(9)))),
    bad("txn.first_refusal_wins_the_other_way", then(get("a", revision=at(9)),
        putting("a", lease=UNKNOWN_LEASE))),
    bad("txn.refused_transaction_leaves_no_trace", put("a", "1"), delete("z"),
        then(putting("a", "2"), deleting("a2"), putting("b", lease=UNKNOWN_LEASE)), put("c"),
        ranged("a", "z")),
)  # fmt: skip

CASES: Final[tuple[Case, ...]] = (*PLAIN, *OWN, *NESTED, *TOO_MANY, *DUPLICATES, *REFUSED)
