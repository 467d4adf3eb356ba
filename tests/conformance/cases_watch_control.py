"""Watch, the stream: ids, cancels, progress, several watches, fragments, and what is ignored."""

from __future__ import annotations

from typing import Final

from kubebraid.proto.etcd import rpc_pb2 as pb

from .case import (
    FRUITS,
    PROGRESS,
    Case,
    Ends,
    HalfClose,
    Open,
    Quiet,
    Send,
    Sleep,
    Step,
    Take,
    at,
    bad,
    canceling,
    case,
    put,
    putting,
    transact,
    watching,
)

HUGE: Final = (1 << 63) - 1


def create(name: str, end: str = "", **fields: object) -> tuple[Step, ...]:
    return Send(watching(name, end, **fields)), Take(1)


IDS: Final = (
    case("ids.count_from_zero", Open(), create("a"), create("b"), create("c"), put("b"), Take(1)),
    case("ids.own", Open(), create("a", watch_id=42), put("a"), Take(1)),
    case("ids.own_then_chosen", Open(), create("a", watch_id=1), create("b"), create("c"),
         create("d")),
    case("ids.own_of_each_size", Open(), create("a", watch_id=HUGE), create("a", watch_id=1 << 31)),
    bad("ids.negative", Open(), create("a", watch_id=-7), put("a"), Take(1)),
    bad("ids.minus_one", Open(), create("a", watch_id=-1), put("a"), Take(1), Quiet()),
    bad("ids.duplicate", Open(), create("a", watch_id=5), create("b", watch_id=5), put("b"),
        put("a"), Take(1)),
    bad("ids.duplicate_of_a_chosen_one", Open(), create("a"), create("b"), create("c", watch_id=1)),
    case("ids.again_after_cancel", Open(), create("a", watch_id=5), Send(canceling(5)), Take(1),
         create("b", watch_id=5), put("a"), put("b"), Take(1)),
    case("ids.chosen_are_not_used_again", Open(), create("a"), Send(canceling(0)), Take(1),
         create("a")),
    case("ids.are_per_stream", Open(), Open(stream="t"), create("a", watch_id=5),
         Send(watching("b", watch_id=5), "t"), Take(1, "t"), put("b"), Take(1, "t"), put("a"),
         Take(1)),
    bad("ids.duplicate_of_a_future_watch", Open(), create("a", watch_id=5, start_revision=at(99)),
        create("b", watch_id=5)),
    bad("ids.duplicate_and_empty_range", Open(), create("a", watch_id=5),
        create("z", "a", watch_id=5)),
)  # fmt: skip

RANGES: Final = (
    bad("ranges.end_is_key", Open(), create("a", "a"), put("a"), Quiet(0.1)),
    bad("ranges.end_below_key", Open(), create("b", "a"), Quiet(0.1)),
    bad("ranges.empty_leaves_the_stream", Open(), create("b", "a"), create("a"), put("a"), Take(1)),
    bad("ranges.empty_key_with_end_two_zeros", Open(), create("", "\0\0"), put("\0"), Take(1)),
    bad("ranges.empty_with_own_id", Open(), create("b", "a", watch_id=9), create("b", watch_id=9)),
)  # fmt: skip

CANCELS: Final = (
    case("cancel.known", Open(), create("a"), Send(canceling(0)), Take(1), put("a"), Quiet()),
    case("cancel.one_of_two", Open(), create("a"), create("a"), Send(canceling(0)), Take(1),
         put("a"), Take(1), Quiet(0.1)),
    bad("cancel.unknown", Open(), create("a"), Send(canceling(77)), Quiet(), put("a"), Take(1)),
    bad("cancel.unknown_on_an_empty_stream", Open(), Send(canceling(0)), Quiet(), create("a")),
    bad("cancel.twice", Open(), create("a"), Send(canceling(0)), Take(1), Send(canceling(0)),
        Quiet()),
    bad("cancel.minus_one", Open(), create("a"), Send(canceling(-1)), Quiet(), put("a"), Take(1)),
    case("cancel.a_watch_in_the_past", FRUITS, Open(),
         Send(watching("q", "z", start_revision=at(1))), Take(1),
         Send(canceling(0)), Take(1)),
    case("cancel.a_watch_in_the_future", Open(), create("a", start_revision=at(9)),
         Send(canceling(0)), Take(1)),
    case("cancel.header_is_of_now", Open(), create("a"), put("b"), put("b"), Send(canceling(0)),
         Take(1)),
    bad("cancel.of_another_stream", Open(), Open(stream="t"), create("a"), Send(canceling(0), "t"),
        Quiet(0.1, "t"),
        put("a"), Take(1)),
)  # fmt: skip

PROGRESSES: Final = (
    case("progress.synced", Open(), create("a"), Send(PROGRESS), Take(1)),
    case("progress.is_of_now", Open(), create("a"), put("b"), put("b"), Send(PROGRESS), Take(1)),
    case("progress.after_events", Open(), create("a"), put("a"), Take(1), Send(PROGRESS), Take(1)),
    case("progress.two_watches_one_answer", Open(), create("a"), create("b"), Send(PROGRESS),
         Take(1), Quiet()),
    case("progress.twice", Open(), create("a"), Send(PROGRESS), Take(1), Send(PROGRESS), Take(1)),
    case("progress.without_watches", Open(), Send(PROGRESS), Quiet()),
    case("progress.after_the_last_cancel", Open(), create("a"), Send(canceling(0)), Take(1),
         Send(PROGRESS), Quiet()),
    case("progress.with_a_future_watch", Open(), create("a", start_revision=at(5)), Send(PROGRESS),
         Quiet()),
    case("progress.with_a_future_watch_among_others", Open(), create("a"),
         create("b", start_revision=at(5)),
         Send(PROGRESS), Quiet(), put("a"), Take(1)),
    case("progress.once_the_future_is_there", Open(), create("a", start_revision=at(2)), put("b"),
         put("b"),
         Sleep(0.3), Send(PROGRESS), Take(1)),
    case("progress.with_a_watch_that_starts_next", put("a"), Open(),
         create("a", start_revision=at(2)),
         Sleep(0.3), Send(PROGRESS), Quiet()),
    case("progress.with_a_watch_that_starts_now", put("b"), Open(),
         create("a", start_revision=at(1)),
         Sleep(0.3), Send(PROGRESS), Take(1)),
    case("progress.after_catching_up", FRUITS, Open(), create("a", "z", start_revision=at(1)),
         Take(events=7),
         Sleep(0.3), Send(PROGRESS), Take(1)),
    case("progress.while_behind_with_nothing_to_tell", FRUITS, Open(),
         create("q", "z", start_revision=at(1)),
         Sleep(0.3), Send(PROGRESS), Take(1)),
    case("progress.after_a_refused_watch", Open(), create("z", "a"), Send(PROGRESS), Quiet()),
    case("progress.notify", Open(), create("a", progress_notify=True), Take(1)),
    case("progress.notify_goes_on", Open(), create("a", progress_notify=True), Take(1), put("b"),
         Take(1)),
    case("progress.notify_for_one_of_two", Open(), create("a"), create("b", progress_notify=True),
         Take(1)),
    case("progress.notify_own_id", Open(), create("a", watch_id=9, progress_notify=True), Take(1)),
    case("progress.notify_of_a_future_watch", Open(),
         create("a", start_revision=at(9), progress_notify=True),
         Quiet(1.1)),
    case("progress.without_notify_is_silent", Open(), create("a"), Quiet(1.0)),
)  # fmt: skip

SEVERAL: Final = (
    case("several.of_one_key", Open(), create("a"), create("a"), create("a"), put("a"), Take(3)),
    case("several.that_overlap", Open(), create("a", "m"), create("g", "z"), put("h"), Take(2),
         put("b"), Take(1)),
    case("several.past_and_present", FRUITS, Open(), create("a", "z"),
         create("a", "z", start_revision=at(6)),
         Take(events=2), put("b"), Take(2)),
    case("several.one_transaction", Open(), create("a"), create("b"),
         transact(success=[putting("a"), putting("b")]), Take(2)),
    case("several.streams", Open(), Open(stream="t"), create("a"), Send(watching("a"), "t"),
         Take(1, "t"),
         put("a"), Take(1), Take(1, "t")),
    case("several.hundred_watches", Open(), [Send(watching("a")) for _ in range(100)], Take(100),
         put("a"), Take(100)),
)  # fmt: skip

BIG: Final = b"v" * 1_000_000
FRAGMENTS: Final = (
    case("fragment.not_needed", Open(), create("a", fragment=True), put("a", "1"), Take(1)),
    case("fragment.of_many_revisions", [put(f"a{n}", BIG) for n in range(3)], Open(),
         Send(watching("a", "b", start_revision=at(1), fragment=True)), Take(1), Take(events=3)),
    case("fragment.off_of_many_revisions", [put(f"a{n}", BIG) for n in range(3)], Open(),
         Send(watching("a", "b", start_revision=at(1))), Take(1), Take(events=3)),
    case("fragment.of_one_revision", [put(f"a{n}", BIG) for n in range(3)], Open(),
         create("a", "b", fragment=True, prev_kv=True), transact(success=[
             pb.DeleteRangeRequest(key=b"a", range_end=b"b")]), Take(events=3), Quiet(0.1)),
    case("fragment.off_of_one_revision", [put(f"a{n}", BIG) for n in range(3)], Open(),
         create("a", "b", prev_kv=True), transact(success=[
             pb.DeleteRangeRequest(key=b"a", range_end=b"b")]), Take(events=3), Quiet(0.1)),
    case("fragment.of_one_big_event", put("a", BIG), Open(),
         create("a", fragment=True, prev_kv=True),
         put("a", BIG), Take(1), Quiet(0.1)),
)  # fmt: skip

STREAMS: Final = (
    bad("watching.empty_request_is_ignored", Open(), Send(pb.WatchRequest()), Quiet(0.1),
        create("a")),
    bad("watching.unknown_request_is_ignored", Open(), Send(b"\x22\x00"), Quiet(0.1), create("a")),
    bad("watching.malformed_request", Open(), create("a"), Send(b"\xff\xff"), Ends()),
    case("watching.half_close_keeps_the_watch", Open(), create("a"), HalfClose(), put("a"),
         Take(1)),
    case("watching.half_close_of_nothing", Open(), HalfClose(), Quiet()),
    case("watching.has_leader", Open(metadata=(("hasleader", "true"),)), create("a"), put("a"),
         Take(1)),
    case("watching.create_all_fields_default", Open(),
         Send(pb.WatchRequest(create_request=pb.WatchCreateRequest())),
         Take(1)),
    case("watching.requests_in_one_go", Open(), Send(watching("a")), Send(watching("b")),
         Send(canceling(0)), Take(3)),
)  # fmt: skip

CASES: Final[tuple[Case, ...]] = (
    *IDS, *RANGES, *CANCELS, *PROGRESSES, *SEVERAL, *FRAGMENTS, *STREAMS,
)  # fmt: skip
