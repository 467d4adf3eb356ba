"""Lock: who holds it, who waits, and what ends a wait.

Leases have ids of their own here, so that the keys of seats can be written down; a call that waits
is opened as a stream.
"""

from __future__ import annotations

from typing import Final

from kubebraid.proto.etcd import lock_pb2 as lp

from .case import (
    Call,
    Cancel,
    Case,
    Ends,
    Open,
    Quiet,
    Send,
    Sleep,
    Step,
    Take,
    at,
    bad,
    case,
    compact,
    delete,
    grant,
    put,
    putting,
    ranged,
    revoke,
    time_to_live,
    transact,
    watching,
)

A: Final = 0x1A
B: Final = 0x1B
C: Final = 0x1C
UNKNOWN: Final = 0xDEAD
LEASES: Final = (grant("a", 1000, A), grant("b", 1000, B), grant("c", 1000, C))
GARBAGE: Final = b"\xff\xff\xff"
SEATS: Final = ranged("l/", "l0", keys_only=True)


def lock(lease: int, name: str = "l") -> Call:
    """Answered at once, or not before somebody else is done."""
    return Call("Lock.Lock", lp.LockRequest(name=name.encode(), lease=lease))


def waiting(lease: int, name: str = "l", stream: str = "s") -> Step:
    """A call whose answer is taken later."""
    request = lp.LockRequest(name=name.encode(), lease=lease)
    return Open("Lock.Lock", stream, first=request)


def unlock(key: str) -> Call:
    return Call("Lock.Unlock", lp.UnlockRequest(key=key.encode()))


HOLDING: Final = (
    case("lock.free", LEASES, lock(A), ranged("l/1a"), unlock("l/1a"), SEATS),
    case("lock.without_lease", lock(0), ranged("l/", "l0", count_only=True)),
    case("lock.twice_in_one_session", LEASES, lock(A), put("z"), lock(A), SEATS),
    case("lock.again_after_unlock", LEASES, lock(A), unlock("l/1a"), lock(A), SEATS),
    case("lock.two_names", LEASES, lock(A), lock(B, "m"), SEATS, ranged("m/", "m0")),
    case("lock.name_that_is_a_prefix_of_another", LEASES, lock(A, "l/x"), lock(B, "lx"),
         ranged("l", "m", keys_only=True)),
    case("lock.name_with_a_slash_at_its_end", LEASES, lock(A, "l/"), ranged("l", "m")),
    case("lock.name_below_another_is_in_its_way", LEASES, lock(A, "l/x"), waiting(B), Quiet(),
         unlock("l/x/1a"), Take(1), Ends()),
    case("lock.key_of_a_negative_lease", grant("n", 1000, -5), lock(-5), SEATS, unlock("l/-5")),
    case("lock.key_of_the_largest_lease", grant("n", 1000, (1 << 63) - 1), lock((1 << 63) - 1),
         ranged("l/7fffffffffffffff")),
    case("lock.long_name", LEASES, lock(A, "l" * 300), ranged("l", "m", count_only=True)),
    case("lock.hangs_on_the_lease", LEASES, lock(A), time_to_live(A, keys=True), revoke(A), SEATS,
         lock(B)),
    case("lock.seat_that_was_put_by_hand", LEASES, put("l/1a", "mine", lease=A), lock(A),
         ranged("l/1a")),
    case("lock.takes_one_revision", LEASES, put("z"), lock(A), put("z")),
    case("lock.seen_by_a_watch", LEASES, Open(), Send(watching("l/", "l0")), Take(1), lock(A),
         Take(1), unlock("l/1a"), Take(1)),
    case("lock.guards_a_transaction", LEASES, lock(A), transact(success=[putting("l/1a", "x")]),
         unlock("l/1a")),
)  # fmt: skip

UNLOCKING: Final = (
    case("lock.unlock_of_nothing", put("z"), unlock("l/1a")),
    case("lock.unlock_of_any_key", put("q", "1"), unlock("q"), ranged("q")),
    case("lock.unlock_by_another", LEASES, lock(A), lock(B, "m"), unlock("l/1a"), lock(B), SEATS),
)

WAITING: Final = (
    case("lock.waits_for_unlock", LEASES, lock(A), waiting(B), Quiet(), unlock("l/1a"), Take(1),
         Ends(), SEATS),
    case("lock.waits_for_a_revoke", LEASES, lock(A), waiting(B), Quiet(), revoke(A), Take(1),
         Ends(), SEATS),
    case("lock.waits_for_an_expiry", grant("a", 2, A), grant("b", 1000, B), lock(A), waiting(B),
         Take(1, seconds=8.0), Ends(), SEATS),
    case("lock.waits_for_a_deletion", LEASES, lock(A), waiting(B), Quiet(), delete("l/1a"),
         Take(1), Ends()),
    case("lock.waits_behind_a_key_by_hand", LEASES, put("l/anything", "1"), waiting(A), Quiet(),
         put("l/anything", "2"), Quiet(), delete("l/anything"), Take(1), Ends()),
    case("lock.three_in_their_order", LEASES, lock(A), waiting(B, stream="b"), Quiet(stream="b"),
         waiting(C, stream="c"), Quiet(stream="c"), SEATS, unlock("l/1a"), Take(1, "b"),
         Quiet(stream="c"), unlock("l/1b"), Take(1, "c"), Ends("b"), Ends("c")),
    case("lock.the_one_in_the_middle_goes", LEASES, lock(A), waiting(B, stream="b"),
         Quiet(stream="b"), waiting(C, stream="c"), Quiet(stream="c"), Cancel("b"), Sleep(0.3),
         SEATS, Quiet(stream="c"), unlock("l/1a"), Take(1, "c"), Ends("c")),
    case("lock.a_younger_seat_does_not_matter", LEASES, lock(A), waiting(B), Quiet(),
         put("l/young"), unlock("l/1a"), Take(1), Ends()),
    case("lock.two_calls_of_one_session_wait_on_one_seat", LEASES, lock(A), waiting(B, stream="b"),
         Quiet(stream="b"), waiting(B, stream="c"), Quiet(stream="c"), SEATS, unlock("l/1a"),
         Take(1, "b"), Take(1, "c"), Ends("b"), Ends("c")),
    case("lock.wait_without_a_lease", LEASES, lock(A), waiting(0), Quiet(), unlock("l/1a"),
         Take(1), Ends(), ranged("l/", "l0", count_only=True)),
    case("lock.wait_over_a_compaction", LEASES, lock(A), waiting(B), Quiet(), put("z"), put("z"),
         compact(at(4), physical=True), unlock("l/1a"), Take(1), Ends()),
    case("lock.cancelled_wait_gives_its_seat_up", LEASES, lock(A), waiting(B), Quiet(), SEATS,
         Cancel(), Sleep(0.3), SEATS, unlock("l/1a"), lock(B)),
    case("lock.cancelled_behind_itself", LEASES, lock(A), waiting(B, stream="b"),
         Quiet(stream="b"), waiting(B, stream="c"), Quiet(stream="c"), Cancel("c"), Sleep(0.3),
         SEATS, unlock("l/1a"), Take(1, "b"), Ends("b")),
    case("lock.own_lease_ends_while_it_waits", LEASES, lock(A), waiting(B), Quiet(), revoke(B),
         Quiet(), unlock("l/1a"), Ends(), SEATS),
    case("lock.own_lease_expires_while_it_waits", grant("a", 1000, A), grant("b", 2, B), lock(A),
         waiting(B), Quiet(4.5), SEATS, unlock("l/1a"), Ends(), SEATS),
    case("lock.own_seat_is_deleted_while_it_waits", LEASES, lock(A), waiting(B), Quiet(),
         delete("l/1b"), unlock("l/1a"), Ends()),
)  # fmt: skip

BAD: Final = (
    bad("lock.empty_name", LEASES, lock(A, ""), put("z"), unlock("")),
    bad("lock.unknown_lease", put("z"), lock(UNKNOWN), SEATS, put("z")),
    bad("lock.negative_lease", lock(-1), SEATS),
    bad("lock.revoked_lease", LEASES, revoke(A), lock(A)),
    bad("lock.unlock_without_key", unlock("")),
    bad("lock.name_too_large", LEASES, lock(A, "l" * (1536 * 1024)), SEATS),
    bad("lock.garbage", Call("Lock.Lock", GARBAGE)),
    bad("lock.unlock_garbage", Call("Lock.Unlock", GARBAGE)),
    bad("lock.unknown_method", Call("/v3lockpb.Lock/TryLock", b"")),
)

CASES: Final[tuple[Case, ...]] = HOLDING + UNLOCKING + WAITING + BAD
