"""KV.RangeStream: its chunks, merged, are the answer of KV.Range."""

from __future__ import annotations

from typing import Final

from kubebraid.proto.etcd import rpc_pb2 as pb

from .case import (
    FRUITS,
    Case,
    at,
    bad,
    case,
    compact,
    delete,
    grant,
    lease,
    put,
    putting,
    streamed,
    transact,
)

ORDERS: Final = pb.RangeRequest.SortOrder
TARGETS: Final = pb.RangeRequest.SortTarget
MANY: Final = transact(success=[putting(f"m{n:03}", f"{n}") for n in range(120)])

CASES: Final[tuple[Case, ...]] = (
    case("stream.nothing", streamed("a")),
    case("stream.key", put("a", "1"), streamed("a")),
    case("stream.interval", FRUITS, streamed("a", "z")),
    case("stream.from_key", FRUITS, streamed("g", "\0")),
    case("stream.everything", FRUITS, streamed("\0", "\0")),
    case("stream.end_below_key", FRUITS, streamed("z", "a")),
    case("stream.many_rows", MANY, streamed("m", "n")),
    case("stream.many_rows_with_limit", MANY, streamed("m", "n", limit=50)),
    case("stream.many_rows_limit_of_all", MANY, streamed("m", "n", limit=120)),
    case("stream.many_rows_limit_one_less", MANY, streamed("m", "n", limit=119)),
    case("stream.limit_of_a_chunk", MANY, streamed("m", "n", limit=10)),
    case("stream.limit_1", FRUITS, streamed("a", "z", limit=1)),
    bad("stream.limit_negative", FRUITS, streamed("a", "z", limit=-1)),
    case("stream.big_values", [put(f"a{n}", b"v" * 400_000) for n in range(6)], streamed("a", "b")),
    case("stream.big_values_with_limit", [put(f"a{n}", b"v" * 400_000) for n in range(6)],
         streamed("a", "b", limit=4)),
    case("stream.keys_only", grant("x"), put("a", "1", lease=lease("x")), put("b", "2"),
         streamed("a", "z", keys_only=True)),
    case("stream.count_only", FRUITS, streamed("a", "z", count_only=True)),
    case("stream.count_only_with_limit", FRUITS, streamed("a", "z", count_only=True, limit=1)),
    case("stream.count_only_past", FRUITS, streamed("a", "z", count_only=True, revision=at(2))),
    case("stream.count_only_of_nothing", streamed("a", "z", count_only=True)),
    case("stream.serializable", FRUITS, streamed("a", "z", serializable=True)),
    case("stream.revision", FRUITS, delete("fig"), streamed("a", "z", revision=at(4))),
    case("stream.revision_with_limit", FRUITS, delete("fig"),
         streamed("a", "z", revision=at(7), limit=2)),
    case("stream.order_ascending_by_key_is_no_sort", FRUITS,
         streamed("a", "z", sort_order=ORDERS.ASCEND)),
    case("stream.target_without_order_is_no_sort", FRUITS,
         streamed("a", "z", sort_target=TARGETS.MOD)),
    case("stream.target_without_order_over_many_chunks",
         transact(success=[putting(f"m{n:03}", f"{99 - n}") for n in range(40)]),
         streamed("m", "n", sort_target=TARGETS.VALUE)),
    bad("stream.empty_key", streamed("")),
    bad("stream.sort_order_unknown", streamed("a", sort_order=7)),
    bad("stream.sort_target_unknown", streamed("a", sort_target=7)),
    bad("stream.descending", streamed("a", "z", sort_order=ORDERS.DESCEND)),
    bad("stream.ascending_by_value", streamed("a", "z", sort_order=ORDERS.ASCEND,
        sort_target=TARGETS.VALUE)),
    *(
        bad(f"stream.{name}", FRUITS, streamed("a", "z", **{name: at(2)}))
        for name in (
            "min_mod_revision",
            "max_mod_revision",
            "min_create_revision",
            "max_create_revision",
        )
    ),
    bad("stream.sort_and_filter", streamed("a", "z", sort_order=ORDERS.DESCEND,
        min_mod_revision=1)),
    bad("stream.revision_ahead", put("a"), streamed("a", revision=at(2))),
    bad("stream.revision_ahead_count_only", put("a"),
        streamed("a", revision=at(2), count_only=True)),
    bad("stream.revision_compacted", put("a"), put("a"), put("a"), compact(at(3)),
        streamed("a", revision=at(2)), streamed("a", revision=at(3))),
    bad("stream.revision_negative", put("a"), streamed("a", revision=-5)),
)  # fmt: skip
