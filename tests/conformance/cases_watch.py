"""Watch, the events: what is watched, from where, filtered how, in which answers."""

from __future__ import annotations

from typing import Final

from kubebraid.proto.etcd import rpc_pb2 as pb

from .case import (
    FRUITS,
    Case,
    Open,
    Quiet,
    Send,
    Step,
    Take,
    at,
    bad,
    case,
    compact,
    delete,
    deleting,
    grant,
    lease,
    put,
    putting,
    ranged,
    revoke,
    time_to_live,
    transact,
    txn,
    watching,
)

NOPUT: Final = pb.WatchCreateRequest.FilterType.NOPUT
NODELETE: Final = pb.WatchCreateRequest.FilterType.NODELETE


def watch(name: str = "", end: str = "", **fields: object) -> tuple[Step, ...]:
    """A stream with one watch that stands."""
    return Open(), Send(watching(name, end, **fields)), Take(1)


def past(*steps: Step | tuple[Step, ...], count: int, **fields: object) -> tuple[Step, ...]:
    """Writes, then a watch of everything of this case from the first of them on."""
    fields = {"start_revision": at(1), **fields}
    done: list[Step] = []
    for step in steps:
        done += step if isinstance(step, tuple) else [step]
    return (
        *done,
        Open(),
        Send(watching("a", "zz", **fields)),
        Take(1),
        Take(events=count),
        Quiet(),
    )


WHAT: Final = (
    case("watch.key", watch("a"), put("a", "1"), Take(1), put("b"), put("aa"), delete("a"), Take(1),
         Quiet(0.1)),
    case("watch.prefix", watch("a", "b"), put("a"), Take(1), put("ab"), Take(1), put("b"),
         put("a\0"), Take(1)),
    case("watch.interval", watch("b", "d"), put("a"), put("b"), Take(1), put("d"), put("c"),
         Take(1)),
    case("watch.from_key", watch("m", "\0"), put("a"), put("z"), Take(1), put("m"), Take(1)),
    case("watch.empty_key_is_key_zero", watch(""), put("a"), put("\0", "1"), Take(1)),
    case("watch.empty_key_from_key_is_everything", watch("", "\0"), put("a"), Take(1), put("\0"),
         Take(1)),
    case("watch.empty_key_with_end", watch("", "c"), put("a"), Take(1), put("d"), put("b"),
         Take(1)),
    case("watch.key_zero_from_key", watch("\0", "\0"), put("q", "1"), Take(1), delete("q"),
         Take(1)),
    case("watch.value_and_versions", watch("a"),
         put("a", "1"), Take(1), put("a", "2"), Take(1), delete("a"), Take(1), put("a", "3"),
         Take(1)),
    case("watch.lease_of_a_put", grant("x"), watch("a"), put("a", "1", lease=lease("x")), Take(1)),
    case("watch.deletion_of_nothing_is_no_event", watch("a", "z"), delete("b"), put("c"), Take(1)),
    case("watch.unchanged_value_is_an_event", put("a", "1"), watch("a"), put("a", "1"), Take(1)),
    case("watch.ignore_value_tells_the_value", put("a", "1"), watch("a"),
         put("a", ignore_value=True), Take(1)),
    case("watch.big_value", watch("a"), put("a", b"v" * (1 << 20)), Take(1)),
)  # fmt: skip

PREVIOUS: Final = (
    case("watch.prev_kv_of_a_creation", watch("a", prev_kv=True), put("a", "1"), Take(1)),
    case("watch.prev_kv_of_an_update", put("a", "1"), watch("a", prev_kv=True), put("a", "2"),
         Take(1)),
    case("watch.prev_kv_of_a_deletion", grant("x"), put("a", "1", lease=lease("x")),
         watch("a", prev_kv=True), delete("a"), Take(1)),
    case("watch.prev_kv_of_a_recreation", put("a", "1"), delete("a"), watch("a", prev_kv=True),
         put("a", "2"), Take(1)),
    case("watch.prev_kv_in_the_past", past(put("a", "1"), put("a", "2"), delete("a"), put("a", "3"),
         count=4,
                                           prev_kv=True)),
    case("watch.without_prev_kv_in_the_past", past(put("a", "1"), delete("a"), count=2)),
    case("watch.prev_kv_for_one_of_two", put("a", "1"), Open(), Send(watching("a", prev_kv=True)),
         Take(1),
         Send(watching("a")), Take(1), put("a", "2"), Take(2)),
)  # fmt: skip

FILTERS: Final = (
    case("watch.noput", watch("a", filters=[NOPUT]), put("a"), delete("a"), Take(1), Quiet()),
    case("watch.nodelete", watch("a", filters=[NODELETE]), put("a"), Take(1), delete("a"), put("a"),
         Take(1)),
    case("watch.noput_and_nodelete", watch("a", filters=[NOPUT, NODELETE]), put("a"), delete("a"),
         Quiet()),
    case("watch.noput_twice", watch("a", filters=[NOPUT, NOPUT]), put("a"), delete("a"), Take(1)),
    bad("watch.filter_unknown", watch("a", filters=[7]), put("a"), Take(1), delete("a"), Take(1)),
    case("watch.noput_in_the_past", past(put("a"), delete("a"), put("b"), delete("b"), count=2,
         filters=[NOPUT])),
    case("watch.noput_of_one_transaction", put("a"), put("b"), watch("a", "z", filters=[NOPUT]),
         transact(success=[putting("c"), deleting("a"), deleting("b")]), Take(1)),
    case("watch.noput_with_prev_kv", put("a", "1"), watch("a", filters=[NOPUT], prev_kv=True),
         put("a", "2"),
         delete("a"), Take(1)),
)  # fmt: skip

TOGETHER: Final = (
    case("watch.one_transaction_in_one_answer", watch("a", "z"),
         transact(success=[putting("c", "1"), putting("a", "2"), putting("b", "3")]), Take(1)),
    case("watch.transaction_of_puts_and_deletes", FRUITS, watch("a", "z", prev_kv=True),
         transact(success=[putting("zebra"), deleting("fig", "plum"), putting("apple", "9")]),
         Take(events=3), Quiet()),
    case("watch.nested_transaction", watch("a", "z"),
         transact(success=[putting("c"), txn(success=[putting("b")]), putting("a")]), Take(1)),
    case("watch.put_and_deletion_of_one_key_in_one_revision", put("a", "0"),
         watch("a", prev_kv=True),
         transact(success=[txn(success=[putting("a", "1")]), txn(success=[deleting("a")])]),
         Take(events=2), Quiet()),
    case("watch.put_and_deletion_of_one_key_in_one_revision_past",
         past(put("a", "0"),
         transact(success=[txn(success=[putting("a", "1")]), txn(success=[deleting("a")])]),
              count=3, prev_kv=True)),
    case("watch.deletion_and_put_of_one_key_in_one_revision",
         past(put("a", "0"), transact(success=[deleting("a", "\0"), putting("a", "1")]),
              count=3, prev_kv=True)),
    case("watch.deletion_and_put_of_one_key_in_one_revision_live", put("a", "0"),
         watch("a", "b", prev_kv=True),
         transact(success=[deleting("a", "\0"), putting("a", "1")]), Take(events=2), put("a", "2"),
         Take(1),
         ranged("a", revision=at(1)), ranged("a", revision=at(2))),
    case("watch.twice_in_one_revision_then_compacted", put("a", "0"),
         transact(success=[txn(success=[putting("a", "1")]), txn(success=[deleting("a")])]),
         put("a", "2"),
         compact(at(2), physical=True), ranged("a", revision=at(2)),
         ranged("a", "z", count_only=True, revision=at(2)),
         Open(), Send(watching("a", start_revision=at(2), prev_kv=True)), Take(1),
         Take(events=3, seconds=1)),
    case("watch.twice_in_one_revision_with_a_lease", grant("x"), grant("y", 2000),
         put("a", "0", lease=lease("x")),
         transact(success=[deleting("a", "\0"), putting("a", "1", lease=lease("y"))]),
         time_to_live(lease("x"), keys=True), time_to_live(lease("y"), keys=True),
         revoke(lease("x")), ranged("a")),
    case("watch.part_of_a_transaction", watch("b"),
         transact(success=[putting("a"), putting("b"), putting("c")]), Take(1)),
    case("watch.deletion_of_a_range_in_key_order", FRUITS, watch("a", "z"), delete("a", "z"),
         Take(events=4), Quiet()),
    case("watch.revoked_lease_in_one_answer", grant("x"), put("c", lease=lease("x")),
         put("a", lease=lease("x")),
         put("b", lease=lease("x")), watch("a", "z", prev_kv=True), revoke(lease("x")),
         Take(events=3), Quiet(0.1)),
    case("watch.read_only_transaction_is_no_event", watch("a", "z"), transact(), put("a"), Take(1)),
    case("watch.failed_compare_is_no_event", watch("a", "z"),
         transact([pb.Compare(key=b"a", version=9)], [putting("a")]), put("b"), Take(1)),
    case("watch.big_transaction_is_whole", watch("a", "z"),
         transact(success=[putting(f"k{n:03}", f"{n}") for n in range(128)]), Take(1)),
    case("watch.big_transaction_in_the_past",
         past(transact(success=[putting(f"k{n:03}") for n in range(128)]),
                                                   put("a"), count=129)),
)  # fmt: skip

STARTS: Final = (
    case("watch.start_zero_is_now", put("a", "1"), watch("a", start_revision=0), put("a", "2"),
         Take(1)),
    case("watch.start_at_the_newest", put("a", "1"), Open(),
         Send(watching("a", start_revision=at(1))), Take(2)),
    case("watch.start_after_the_newest", put("a", "1"), watch("a", start_revision=at(2)),
         put("a", "2"), Take(1)),
    case("watch.start_in_the_past", past(FRUITS, count=7)),
    case("watch.start_in_the_past_of_one_key", FRUITS, Open(),
         Send(watching("fig", start_revision=at(1))), Take(1),
         Take(events=3), Quiet()),
    case("watch.start_in_the_middle", FRUITS, Open(),
         Send(watching("a", "z", start_revision=at(5))), Take(1),
         Take(events=3), Quiet()),
    case("watch.start_in_the_past_of_nothing", FRUITS, watch("q", "z", start_revision=at(1)),
         Quiet(), put("r"), Take(1)),
    case("watch.start_in_the_past_goes_on", past(put("a"), put("b"), count=2), put("c"), Take(1)),
    case("watch.start_in_the_past_many_revisions", [put("a", f"{n}") for n in range(60)], Open(),
         Send(watching("a", start_revision=at(1))), Take(1), Take(events=60)),
    case("watch.start_in_the_future", watch("a", "z", start_revision=at(3)), put("a"), put("b"),
         put("c"), Take(1),
         put("d"), Take(1)),
    case("watch.start_far_in_the_future", watch("a", start_revision=at(1000)), put("a"), Quiet()),
    case("watch.start_in_the_largest_future", watch("a", start_revision=(1 << 63) - 1), put("a"),
         Quiet()),
    bad("watch.start_negative", Open(), Send(watching("a", start_revision=-1)), Take(1), put("a"),
        Quiet()),
    bad("watch.start_most_negative", Open(), Send(watching("a", start_revision=-(1 << 63))),
        Take(1)),
    bad("watch.start_negative_leaves_the_stream", Open(), Send(watching("a", start_revision=-1)),
        Take(1),
        Send(watching("a")), Take(1), put("a"), Take(1)),
    bad("watch.start_negative_of_an_empty_range", Open(),
        Send(watching("z", "a", start_revision=-1)), Take(1)),
    case("watch.past_then_live_without_a_gap", [put("a", f"{n}") for n in range(10)], Open(),
         Send(watching("a", start_revision=at(5))), [put("a", f"{n}") for n in range(10, 15)],
         ranged("a", count_only=True)),
)  # fmt: skip

CASES: Final[tuple[Case, ...]] = (*WHAT, *PREVIOUS, *FILTERS, *TOGETHER, *STARTS)
