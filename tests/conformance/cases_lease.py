"""Lease: grants, revokes, keep-alives, questions, and the keys that hang on a lease."""

from __future__ import annotations

from typing import Final

from kubebraid.proto.etcd import rpc_pb2 as pb

from .case import (
    Call,
    Case,
    Ends,
    Open,
    Send,
    Sleep,
    Take,
    at,
    bad,
    case,
    delete,
    deleting,
    grant,
    keep_alive,
    lease,
    put,
    putting,
    ranged,
    revoke,
    time_to_live,
    transact,
    watching,
)

UNKNOWN: Final = 4711
TTL_MAX: Final = 9_000_000_000
HUGE: Final = (1 << 63) - 1
LEASES: Final = Call("Lease.LeaseLeases", pb.LeaseLeasesRequest())

GRANTS: Final = (
    case("lease.grant", grant("x"), time_to_live(lease("x"))),
    case("lease.grant_own_id", grant("x", 1000, 77001), time_to_live(77001)),
    case("lease.grant_largest_id", grant("x", 1000, HUGE), time_to_live(HUGE), revoke(HUGE)),
    bad("lease.grant_negative_id", grant("x", 1000, -5), LEASES, put("a", lease=-5), revoke(-5)),
    bad("lease.grant_duplicate_id", grant("x", 1000, 77002), grant("", 2000, 77002),
        time_to_live(77002)),
    case("lease.grant_id_again_after_revoke", grant("x", 1000, 77003), revoke(77003),
         grant("y", 2000, 77003)),
    bad("lease.grant_ttl_zero", grant("x", 0)),
    bad("lease.grant_ttl_negative", grant("x", -1)),
    bad("lease.grant_ttl_most_negative", grant("x", -HUGE - 1)),
    case("lease.grant_ttl_1_is_raised_to_the_minimum", grant("x", 1)),
    case("lease.grant_ttl_2", grant("x", 2)),
    case("lease.grant_ttl_largest", grant("x", TTL_MAX), time_to_live(lease("x"))),
    bad("lease.grant_ttl_too_large", grant("", TTL_MAX + 1), LEASES),
    bad("lease.grant_ttl_huge", grant("", HUGE)),
    bad("lease.grant_duplicate_id_and_ttl_too_large", grant("x", 1000, 77004),
        grant("", HUGE, 77004)),
    case("lease.grant_takes_no_revision", put("a"), grant("x"), put("a")),
    case("lease.leases_none", LEASES),
    case("lease.leases_soonest_first", grant("x", 3000, 77011),
         grant("y", 1000, 77013), grant("z", 2000, 77012), LEASES),
    case("lease.leases_after_revoke", grant("x"), grant("y", 2000), revoke(lease("x")), LEASES),
    case("lease.leases_header_is_of_now", grant("x"), put("a"), LEASES),
)  # fmt: skip

REVOKES: Final = (
    case("lease.revoke_without_keys", grant("x"), revoke(lease("x")), time_to_live(lease("x")),
         put("a")),
    case("lease.revoke_deletes_all_in_one_revision", grant("x"), put("c", lease=lease("x")),
         put("a", lease=lease("x")), put("b"), revoke(lease("x")), ranged("a", "z"),
         ranged("a", "z", revision=at(3)), put("d")),
    bad("lease.revoke_unknown", revoke(UNKNOWN)),
    bad("lease.revoke_zero", revoke(0)),
    bad("lease.revoke_negative", revoke(-1)),
    bad("lease.revoke_twice", grant("x"), revoke(lease("x")), revoke(lease("x"))),
    case("lease.revoke_after_its_keys_were_deleted", grant("x"), put("a", lease=lease("x")),
         delete("a"),
         revoke(lease("x")), put("b")),
    case("lease.revoke_leaves_keys_of_others", grant("x"), grant("y", 2000),
         put("a", lease=lease("x")),
         put("b", lease=lease("y")), revoke(lease("x")), ranged("a", "z")),
    case("lease.revoke_leaves_detached_keys", grant("x"), put("a", lease=lease("x")), put("a"),
         revoke(lease("x")), ranged("a")),
    case("lease.revoke_then_recreate", grant("x"), put("a", lease=lease("x")), revoke(lease("x")),
         put("a"), ranged("a")),
    case("lease.revoke_events", grant("x"), put("b", "2", lease=lease("x")),
         put("a", "1", lease=lease("x")),
         Open(), Send(watching("a", "z", prev_kv=True)), Take(1), revoke(lease("x")),
         Take(events=2)),
)  # fmt: skip

KEPT: Final = (
    case("lease.keep_alive", grant("x"), keep_alive(lease("x"))),
    case("lease.keep_alive_three_times", grant("x"),
         keep_alive(lease("x"), lease("x"), lease("x"))),
    case("lease.keep_alive_two_leases_on_one_stream", grant("x"), grant("y", 2000),
         keep_alive(lease("x"), lease("y"))),
    bad("lease.keep_alive_unknown", keep_alive(UNKNOWN)),
    bad("lease.keep_alive_zero", keep_alive(0)),
    bad("lease.keep_alive_negative", keep_alive(-1)),
    bad("lease.keep_alive_unknown_goes_on", grant("x"), keep_alive(UNKNOWN, lease("x"))),
    bad("lease.keep_alive_revoked", grant("x"), revoke(lease("x")), keep_alive(lease("x"))),
    case("lease.keep_alive_header_is_of_now", grant("x"), put("a"), keep_alive(lease("x"))),
    case("lease.keep_alive_without_messages", keep_alive()),
    bad("lease.keep_alive_malformed", Open("Lease.LeaseKeepAlive"), Send(b"\xff\xff"), Ends()),
    case("lease.keep_alive_makes_it_live_on", grant("x", 3), put("a", lease=lease("x")), Sleep(1.6),
         keep_alive(lease("x")), Sleep(1.9), ranged("a")),
    case("lease.expiry_deletes_with_events", grant("x", 2), put("a", "1", lease=lease("x")),
         put("b", "2", lease=lease("x")), Open(), Send(watching("a", "z", prev_kv=True)), Take(1),
         Take(events=2, seconds=8), time_to_live(lease("x")), LEASES, ranged("a", "z"),
         put("c", lease=lease("x"))),
)  # fmt: skip

ASKED: Final = (
    case("lease.time_to_live_asked_twice", grant("x"), put("a"), time_to_live(lease("x")),
         time_to_live(lease("x"))),
    case("lease.time_to_live_with_keys", grant("x"), put("b", lease=lease("x")),
         put("a", lease=lease("x")),
         time_to_live(lease("x"), keys=True), time_to_live(lease("x"))),
    case("lease.time_to_live_without_keys_attached", grant("x"),
         time_to_live(lease("x"), keys=True)),
    bad("lease.time_to_live_unknown", time_to_live(UNKNOWN)),
    bad("lease.time_to_live_unknown_with_keys", put("a"), time_to_live(UNKNOWN, keys=True)),
    bad("lease.time_to_live_zero", time_to_live(0)),
    bad("lease.time_to_live_negative", time_to_live(-1)),
    case("lease.time_to_live_goes_down", grant("x", 100), Sleep(2.2), time_to_live(lease("x")),
         keep_alive(lease("x")), time_to_live(lease("x"))),
)  # fmt: skip

ATTACHED: Final = (
    case("lease.reattach", grant("x"), grant("y", 2000), put("a", lease=lease("x")),
         put("a", lease=lease("y")),
         time_to_live(lease("x"), keys=True), time_to_live(lease("y"), keys=True),
         revoke(lease("x")), ranged("a")),
    case("lease.attach_the_same_again", grant("x"), put("a", lease=lease("x")),
         put("a", lease=lease("x")),
         time_to_live(lease("x"), keys=True)),
    case("lease.detach_and_attach_again", grant("x"), put("a", lease=lease("x")), put("a"),
         put("a", lease=lease("x")),
         time_to_live(lease("x"), keys=True), revoke(lease("x")), ranged("a")),
    case("lease.deleted_key_is_detached", grant("x"), put("a", lease=lease("x")), delete("a"),
         time_to_live(lease("x"), keys=True)),
    case("lease.recreated_key_is_not_attached", grant("x"), put("a", lease=lease("x")), delete("a"),
         put("a"),
         revoke(lease("x")), ranged("a")),
    case("lease.attached_in_a_transaction", grant("x"), put("c", lease=lease("x")),
         transact(success=[putting("a", lease=lease("x")), deleting("c"), putting("b")]),
         time_to_live(lease("x"), keys=True)),
    bad("lease.failed_put_attaches_nothing", grant("x"),
        put("a", lease=lease("x"), ignore_value=True),
        time_to_live(lease("x"), keys=True)),
    case("lease.many_keys", grant("x"),
         transact(success=[putting(f"k{n:02}", lease=lease("x")) for n in range(60)]),
         time_to_live(lease("x"), keys=True), revoke(lease("x")),
         ranged("k", "l", count_only=True)),
)  # fmt: skip

CASES: Final[tuple[Case, ...]] = (*GRANTS, *REVOKES, *KEPT, *ASKED, *ATTACHED)
