"""KV.Range: every option, its edges and its refusals."""

from __future__ import annotations

from typing import Final

from kubebraid.proto.etcd import rpc_pb2 as pb

from .case import (
    FRUITS,
    Call,
    Case,
    at,
    bad,
    case,
    compact,
    delete,
    get,
    grant,
    lease,
    put,
    ranged,
    transact,
)

ORDERS: Final = pb.RangeRequest.SortOrder
TARGETS: Final = pb.RangeRequest.SortTarget
HUGE: Final = (1 << 63) - 1

SIMPLE: Final = (
    case("range.absent_key", ranged("a")),
    case("range.key", put("a", "1"), ranged("a")),
    case("range.key_of_empty_value", put("a"), ranged("a")),
    case("range.key_of_binary_value", put("a", bytes(range(256))), ranged("a")),
    case("range.key_with_lease", grant("x"), put("a", "1", lease=lease("x")), ranged("a")),
    case("range.key_is_no_prefix", put("ab", "1"), ranged("a")),
    case("range.deleted_key", put("a"), delete("a"), ranged("a")),
    case("range.recreated_key_starts_anew", put("a"), put("a"), delete("a"), put("a"), ranged("a")),
    case("range.interval_is_half_open", FRUITS, ranged("apple", "pear")),
    case("range.prefix", put("aa"), put("ab"), put("b"), ranged("a", "b")),
    case("range.prefix_of_highest_byte", put(b"a\xff"), put(b"a\xff\xff"), put("b"),
         Call("KV.Range", pb.RangeRequest(key=b"a\xff", range_end=b"b"))),
    case("range.next_page_key_has_a_zero_byte", put("a"), put("a\0"), put("b"),
         ranged("a\0", "c"), ranged("a", "a\0")),
    case("range.end_below_key", FRUITS, ranged("pear", "apple")),
    case("range.end_is_key", FRUITS, ranged("pear", "pear")),
    case("range.end_zero_is_from_key", FRUITS, ranged("g", "\0")),
    case("range.key_zero_end_zero_is_everything", FRUITS, ranged("\0", "\0")),
    case("range.key_zero_alone_is_that_key", FRUITS, ranged("\0")),
    case("range.key_zero_up_to_a_key", FRUITS, ranged("\0", "b")),
    case("range.end_two_zero_bytes_is_a_key", FRUITS, ranged("\0", "\0\0")),
    case("range.end_zero_and_more_is_a_key", FRUITS, ranged("a", "\0a")),
    case("range.empty_range", put("a"), ranged("b", "c")),
    case("range.all_four", FRUITS, ranged("a", "z")),
    case("range.keys_below_each_other", put("a"), put("a/b"), put("a/b/c"), put("a0"),
         ranged("a/", "a0"), ranged("a/b")),
    case("range.serializable", FRUITS, ranged("a", "z", serializable=True)),
    case("range.serializable_at_revision", FRUITS,
         ranged("a", "z", serializable=True, revision=at(2))),
)  # fmt: skip

LIMITS: Final = (
    *(
        case(f"range.limit_{name}_of_4", FRUITS, ranged("a", "z", limit=limit))
        for name, limit in (
            ("1", 1),
            ("3", 3),
            ("4", 4),
            ("5", 5),
            ("huge", HUGE),
            ("one_below_huge", HUGE - 1),
        )
    ),
    bad("range.limit_negative", FRUITS, ranged("a", "z", limit=-1)),
    bad("range.limit_most_negative", FRUITS, ranged("a", "z", limit=-HUGE - 1)),
    case("range.limit_on_one_key", put("a"), ranged("a", limit=1)),
    case("range.limit_with_serializable", FRUITS, ranged("a", "z", limit=2, serializable=True)),
    case("range.limit_with_keys_only", FRUITS, ranged("a", "z", limit=2, keys_only=True)),
    case("range.limit_with_count_only", FRUITS, ranged("a", "z", limit=2, count_only=True)),
    case("range.limit_from_key", FRUITS, ranged("a", "\0", limit=2)),
    case("range.limit_of_nothing", ranged("a", "z", limit=2)),
    case("range.second_page_at_its_revision", FRUITS, ranged("a", "z", limit=2),
         put("grape"), delete("plum"), ranged("fig\0", "z", limit=2, revision=at(7))),
    case("range.limit_at_a_past_revision_counts_the_past", FRUITS, delete("a", "z"),
         ranged("a", "z", limit=1, revision=at(5))),
)  # fmt: skip

REVISIONS: Final = (
    case("range.revision_of_each_write", FRUITS,
         [ranged("a", "z", revision=at(n)) for n in range(1, 8)]),
    case("range.revision_before_the_first_write", FRUITS, ranged("a", "z", revision=at(0))),
    case("range.revision_of_a_deletion", put("a", "1"), delete("a"), put("a", "2"),
         [ranged("a", revision=at(n)) for n in (1, 2, 3)]),
    case("range.revision_now", put("a"), ranged("a", revision=at(1))),
    bad("range.revision_one_ahead", put("a"), ranged("a", revision=at(2))),
    bad("range.revision_far_ahead", ranged("a", revision=HUGE)),
    bad("range.revision_ahead_of_an_empty_range", ranged("y", "z", revision=at(1))),
    bad("range.revision_ahead_serializable", ranged("a", revision=at(9), serializable=True)),
    bad("range.revision_ahead_count_only", ranged("a", "z", revision=at(9), count_only=True)),
    bad("range.revision_minus_one", put("a"), ranged("a", revision=-1)),
    bad("range.revision_most_negative", put("a"), ranged("a", revision=-HUGE - 1)),
    bad("range.revision_compacted", FRUITS, compact(at(4)),
        [ranged("a", "z", revision=at(n)) for n in (3, 4, 5)]),
    bad("range.revision_compacted_count_only", put("a"), put("a"), put("a"), compact(at(3)),
        ranged("a", revision=at(2), count_only=True)),
    bad("range.revision_compacted_of_nothing", put("a"), put("a"), put("a"), compact(at(3)),
        ranged("y", revision=at(2))),
    bad("range.revision_compacted_empty_range", put("a"), put("a"), put("a"), compact(at(3)),
        ranged("z", "y", revision=at(2))),
    bad("range.revision_compacted_serializable", put("a"), put("a"), compact(at(2)),
        ranged("a", revision=at(1), serializable=True)),
    bad("range.revision_ahead_of_end_below_key", ranged("z", "y", revision=at(5))),
    case("range.revision_with_sort_and_limit", FRUITS,
         ranged("a", "z", revision=at(5), limit=2, sort_order=ORDERS.DESCEND,
         sort_target=TARGETS.MOD)),
)  # fmt: skip

SORTS: Final = (
    *(
        case(
            f"range.sort_{target.lower()}_{order.lower()}",
            FRUITS,
            ranged("a", "z", sort_order=order_number, sort_target=target_number),
            ranged("a", "z", sort_order=order_number, sort_target=target_number, limit=2),
        )
        for target, target_number in TARGETS.items()
        for order, order_number in ORDERS.items()
    ),
    case("range.sort_with_ties_is_by_key", put("c", "1"), put("a", "1"), put("b", "1"),
         ranged("a", "z", sort_order=ORDERS.ASCEND, sort_target=TARGETS.VALUE),
         ranged("a", "z", sort_order=ORDERS.DESCEND, sort_target=TARGETS.VALUE),
         ranged("a", "z", sort_order=ORDERS.DESCEND, sort_target=TARGETS.VERSION, limit=2)),
    case("range.sort_of_one_transaction", transact(success=[
            pb.PutRequest(key=b"c"), pb.PutRequest(key=b"a"), pb.PutRequest(key=b"b")]),
         ranged("a", "z", sort_order=ORDERS.DESCEND, sort_target=TARGETS.MOD)),
    case("range.sort_by_value_keys_only_keeps_leases", grant("x"),
         put("a", "2", lease=lease("x")), put("b", "1"),
         ranged("a", "z", sort_order=ORDERS.ASCEND, sort_target=TARGETS.VALUE, keys_only=True)),
    case("range.sort_by_key_keys_only", grant("x"), put("a", "2", lease=lease("x")), put("b", "1"),
         ranged("a", "z", sort_order=ORDERS.DESCEND, keys_only=True)),
    case("range.sort_target_value_unordered_keys_only", grant("x"), put("a", "2", lease=lease("x")),
         ranged("a", "z", sort_target=TARGETS.VALUE, keys_only=True)),
    case("range.sort_count_only", FRUITS,
         ranged("a", "z", sort_order=ORDERS.DESCEND, count_only=True)),
    bad("range.sort_order_unknown", FRUITS, ranged("a", "z", sort_order=3)),
    bad("range.sort_order_negative", ranged("a", "z", sort_order=-1)),
    bad("range.sort_target_unknown", FRUITS, ranged("a", "z", sort_target=5)),
    bad("range.sort_target_unknown_without_order", ranged("a", sort_target=99, count_only=True)),
    bad("range.sort_unknown_and_empty_key", ranged("", sort_order=9)),
)  # fmt: skip

FILTERS: Final = (
    *(
        case(
            f"range.{field_name}",
            FRUITS,
            ranged("a", "z", **{field_name: at(4)}),
            ranged("a", "z", **{field_name: at(4)}, limit=1),
        )
        for field_name in (
            "min_mod_revision",
            "max_mod_revision",
            "min_create_revision",
            "max_create_revision",
        )
    ),
    case("range.filters_together", FRUITS,
         ranged("a", "z", min_mod_revision=at(3), max_mod_revision=at(6), min_create_revision=at(2),
                max_create_revision=at(3))),
    case("range.filters_that_exclude_all", FRUITS,
         ranged("a", "z", min_mod_revision=at(5), max_mod_revision=at(4))),
    case("range.filter_and_sort_and_limit", FRUITS,
         ranged("a", "z", min_mod_revision=at(3), limit=1, sort_order=ORDERS.DESCEND)),
    case("range.filter_at_a_revision", FRUITS,
         ranged("a", "z", revision=at(3), max_mod_revision=at(2))),
    case("range.filter_and_count_only", FRUITS,
         ranged("a", "z", max_mod_revision=at(2), count_only=True)),
    case("range.filter_and_keys_only", FRUITS,
         ranged("a", "z", max_mod_revision=at(2), keys_only=True)),
    case("range.filter_on_one_key", FRUITS, ranged("fig", min_mod_revision=at(8))),
    bad("range.filter_negative_minimum", FRUITS, ranged("a", "z", min_mod_revision=-1)),
    bad("range.filter_negative_maximum", FRUITS, ranged("a", "z", max_create_revision=-1)),
)  # fmt: skip

SHAPES: Final = (
    case("range.keys_only", FRUITS, ranged("a", "z", keys_only=True)),
    case("range.keys_only_hides_the_lease", grant("x"), put("a", "1", lease=lease("x")),
         ranged("a", keys_only=True)),
    case("range.keys_only_at_a_revision", grant("x"), put("a", "1", lease=lease("x")), put("a"),
         ranged("a", keys_only=True, revision=at(1))),
    case("range.count_only", FRUITS, ranged("a", "z", count_only=True)),
    case("range.count_only_of_a_key", put("a"), ranged("a", count_only=True)),
    case("range.count_only_of_nothing", ranged("a", "z", count_only=True)),
    case("range.count_only_at_a_revision", FRUITS, delete("a", "z"),
         [ranged("a", "z", count_only=True, revision=at(n)) for n in (2, 7, 8)]),
    case("range.count_only_and_keys_only", FRUITS,
         ranged("a", "z", count_only=True, keys_only=True)),
    case("range.count_only_of_end_below_key", FRUITS, ranged("z", "a", count_only=True)),
    bad("range.empty_key", ranged("")),
    bad("range.empty_key_with_end", ranged("", "z")),
    bad("range.empty_key_from_key", Call("KV.Range", get("", "\0", count_only=True))),
    bad("range.empty_key_at_a_future_revision", ranged("", revision=at(50))),
)  # fmt: skip

CASES: Final[tuple[Case, ...]] = (*SIMPLE, *LIMITS, *REVISIONS, *SORTS, *FILTERS, *SHAPES)
