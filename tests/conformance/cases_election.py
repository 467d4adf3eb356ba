"""Election: who leads, what leaders proclaim, how it ends, and who hears of it."""

from __future__ import annotations

from typing import Any, Final

from kubebraid.proto.etcd import election_pb2 as ep

from .case import (
    Call,
    CallStream,
    Cancel,
    Case,
    Ends,
    Open,
    Quiet,
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
    transact,
)
from .cases_lock import GARBAGE, LEASES, UNKNOWN, A, B, C

SEATS: Final = ranged("e/", "e0")


def campaign(lease: int, value: str = "", name: str = "e") -> Call:
    return Call("Election.Campaign", campaigning(lease, value, name))


def campaigning(lease: int, value: str, name: str = "e") -> ep.CampaignRequest:
    return ep.CampaignRequest(name=name.encode(), lease=lease, value=value.encode())


def waiting(lease: int, value: str = "", stream: str = "s") -> Step:
    """A campaign whose answer is taken later."""
    return Open("Election.Campaign", stream, first=campaigning(lease, value))


def key(seat: int, rev: int, **fields: Any) -> ep.LeaderKey:
    fields = {"name": b"e", "key": b"e/%x" % seat, "rev": rev, "lease": seat, **fields}
    return ep.LeaderKey(**fields)


def proclaim(leader: ep.LeaderKey | None, value: str) -> Call:
    request = ep.ProclaimRequest(leader=leader, value=value.encode())
    return Call("Election.Proclaim", request)


def resign(leader: ep.LeaderKey | None) -> Call:
    return Call("Election.Resign", ep.ResignRequest(leader=leader))


def leader(name: str = "e") -> Call:
    return Call("Election.Leader", ep.LeaderRequest(name=name.encode()))


def observe(stream: str = "o", name: str = "e") -> Step:
    return Open("Election.Observe", stream, first=ep.LeaderRequest(name=name.encode()))


CAMPAIGNS: Final = (
    case("election.won_at_once", LEASES, put("z"), campaign(A, "one"), put("z"), leader(), SEATS),
    case("election.without_lease", campaign(0, "one"), leader("q")),
    case("election.empty_value", LEASES, campaign(A), leader()),
    case("election.again_with_the_same_value", LEASES, campaign(A, "one"), put("z"),
         campaign(A, "one"), SEATS),
    case("election.again_with_another_value", LEASES, campaign(A, "one"), put("z"),
         campaign(A, "two"), SEATS),
    case("election.two_names", LEASES, campaign(A, "one"), campaign(B, "two", "f"), leader(),
         leader("f")),
    case("election.waits_for_resign", LEASES, campaign(A, "one"), waiting(B, "two"), Quiet(),
         leader(), resign(key(A, at(1))), Take(1), Ends(), leader()),
    case("election.waits_for_revoke", LEASES, campaign(A, "one"), waiting(B, "two"), Quiet(),
         revoke(A), Take(1), Ends(), SEATS),
    case("election.waits_for_expiry", grant("a", 2, A), grant("b", 1000, B), campaign(A, "one"),
         waiting(B, "two"), Take(1, seconds=8.0), Ends(), leader()),
    case("election.waits_for_deletion", LEASES, campaign(A, "one"), waiting(B, "two"), Quiet(),
         delete("e/1a"), Take(1), Ends()),
    case("election.three_in_their_order", LEASES, campaign(A, "1"), waiting(B, "2", "b"),
         Quiet(stream="b"), waiting(C, "3", "c"), Quiet(stream="c"), resign(key(A, at(1))),
         Take(1, "b"), Quiet(stream="c"), resign(key(B, at(2))), Take(1, "c"), leader()),
    case("election.changes_its_value_while_it_waits", LEASES, campaign(A, "1"), waiting(B, "2"),
         Quiet(), waiting(B, "3", "again"), Quiet(stream="again"), SEATS, resign(key(A, at(1))),
         Take(1), Take(1, "again"), SEATS),
    case("election.cancelled_campaign_gives_its_seat_up", LEASES, campaign(A, "1"),
         waiting(B, "2"), Quiet(), Cancel(), Sleep(0.3), SEATS),
    case("election.own_lease_ends_while_it_waits", LEASES, campaign(A, "1"), waiting(B, "2"),
         Quiet(), revoke(B), resign(key(A, at(1))), Take(1), Ends(), leader()),
    case("election.wait_over_a_compaction", LEASES, campaign(A, "1"), waiting(B, "2"), Quiet(),
         put("z"), put("z"), compact(at(4), physical=True), resign(key(A, at(1))), Take(1),
         Ends()),
)  # fmt: skip

PROCLAIMS: Final = (
    case("election.proclaim", LEASES, campaign(A, "one"), proclaim(key(A, at(1)), "two"),
         leader(), SEATS),
    case("election.proclaim_empty", LEASES, campaign(A, "one"), proclaim(key(A, at(1)), ""),
         leader()),
    case("election.proclaim_while_waiting", LEASES, campaign(A, "1"), waiting(B, "2"), Quiet(),
         proclaim(key(B, at(2)), "3"), SEATS, resign(key(A, at(1))), Take(1), leader()),
    case("election.proclaim_after_resign", LEASES, campaign(A, "1"), resign(key(A, at(1))),
         proclaim(key(A, at(1)), "2"), SEATS),
    case("election.proclaim_by_a_predecessor", LEASES, campaign(A, "1"), resign(key(A, at(1))),
         campaign(A, "2"), proclaim(key(A, at(1)), "old"), leader()),
    case("election.proclaim_moves_to_another_lease", LEASES, campaign(A, "1"),
         proclaim(key(A, at(1), lease=B), "2"), revoke(A), leader()),
    case("election.proclaim_ignores_the_name", LEASES, campaign(A, "1"),
         proclaim(key(A, at(1), name=b"other"), "2"), leader()),
    bad("election.proclaim_wrong_revision", LEASES, campaign(A, "1"),
        proclaim(key(A, at(0)), "2"), leader()),
    bad("election.proclaim_of_nothing_at_revision_zero", LEASES, proclaim(key(A, 0), "2"), SEATS),
    bad("election.proclaim_without_leader", proclaim(None, "x")),
    bad("election.proclaim_empty_leader", put("z"), proclaim(ep.LeaderKey(), "x"), put("z")),
    bad("election.proclaim_without_key", LEASES, campaign(A, "1"),
        proclaim(key(A, at(1), key=b""), "2")),
    bad("election.proclaim_unknown_lease", LEASES, campaign(A, "1"),
        proclaim(key(A, at(1), lease=UNKNOWN), "2"), leader()),
)  # fmt: skip

RESIGNS: Final = (
    case("election.resign", LEASES, campaign(A, "1"), resign(key(A, at(1))), leader(), SEATS),
    case("election.resign_twice", LEASES, campaign(A, "1"), resign(key(A, at(1))), put("z"),
         resign(key(A, at(1)))),
    case("election.resign_while_waiting", LEASES, campaign(A, "1"), waiting(B, "2"), Quiet(),
         resign(key(B, at(2))), resign(key(A, at(1))), Take(1), Ends(), leader()),
    case("election.resign_by_a_predecessor", LEASES, campaign(A, "1"), resign(key(A, at(1))),
         campaign(A, "2"), resign(key(A, at(1))), leader()),
    case("election.resign_with_an_unknown_lease", LEASES, campaign(A, "1"),
         resign(key(A, at(1), lease=UNKNOWN)), leader()),
    bad("election.resign_wrong_revision", LEASES, campaign(A, "1"), resign(key(A, at(0))),
        leader()),
    bad("election.resign_without_leader", resign(None)),
    bad("election.resign_empty_leader", put("z"), resign(ep.LeaderKey())),
)  # fmt: skip

LEADERS: Final = (
    case("election.leader_of_none", put("z"), leader()),
    case(
        "election.leader_is_the_oldest",
        LEASES,
        put("e/x", "1"),
        put("e/a", "2"),
        leader(),
        put("e/x", "3"),
        leader(),
        delete("e/x"),
        leader(),
    ),
    case("election.leader_header_is_of_now", LEASES, campaign(A, "1"), put("z"), leader()),
    case("election.leader_of_an_empty_name", leader("")),
    case(
        "election.leader_of_a_name_below", LEASES, campaign(A, "1", "e/x"), leader(), leader("e/x")
    ),
)

OBSERVERS: Final = (
    case("election.observe_a_leader", LEASES, campaign(A, "1"), put("z"), observe(), Take(1, "o"),
         Quiet(stream="o")),
    case("election.observe_before_the_first", LEASES, observe(), Quiet(stream="o"),
         campaign(A, "1"), Take(1, "o"), Quiet(stream="o")),
    case("election.observe_proclamations", LEASES, campaign(A, "1"), observe(), Take(1, "o"),
         proclaim(key(A, at(1)), "2"), Take(1, "o"), put("z"), proclaim(key(A, at(1)), "3"),
         Take(1, "o"), Quiet(stream="o")),
    case("election.observe_the_next_leader", LEASES, campaign(A, "1"), observe(), Take(1, "o"),
         waiting(B, "2"), Quiet(stream="o"), resign(key(A, at(1))), Take(1, "o"), Take(1)),
    case("election.observe_over_an_interregnum", LEASES, campaign(A, "1"), observe(),
         Take(1, "o"), resign(key(A, at(1))), Quiet(stream="o"), put("z"), campaign(B, "2"),
         Take(1, "o"), Quiet(stream="o")),
    case("election.observe_nothing_of_candidates", LEASES, campaign(A, "1"), observe(),
         Take(1, "o"), waiting(B, "2"), Quiet(), proclaim(key(B, at(2)), "3"), Quiet(stream="o")),
    case("election.observe_an_expiry", grant("a", 2, A), LEASES[1], campaign(A, "1"), observe(),
         Take(1, "o"), waiting(B, "2"), Take(1, "o", 8.0)),
    case("election.two_observe", LEASES, observe("o"), observe("p"), Quiet(stream="o"),
         campaign(A, "1"), Take(1, "o"), Take(1, "p"), Cancel("o"), proclaim(key(A, at(1)), "2"),
         Take(1, "p"), Quiet(stream="p")),
    case("election.observe_both_puts_of_one_transaction", LEASES, observe(), Quiet(stream="o"),
         transact(success=[putting("e/b", "1"), putting("e/a", "2")]), Take(1, "o"),
         Quiet(stream="o")),
    case("election.observe_over_a_compaction", LEASES, campaign(A, "1"), observe(), Take(1, "o"),
         put("z"), put("z"), compact(at(3), physical=True), proclaim(key(A, at(1)), "2"),
         Take(1, "o"), Quiet(stream="o")),
    case("election.observe_nobody_over_a_compaction", LEASES, put("z"), observe(),
         Quiet(stream="o"), put("z"), put("z"), compact(at(3), physical=True), campaign(A, "1"),
         Take(1, "o"), Quiet(stream="o")),
    case("election.observe_an_empty_name", observe(name=""), put("e"),
         Take(1, "o"), Quiet(stream="o")),
)  # fmt: skip

BAD: Final = (
    bad("election.empty_name", LEASES, campaign(A, "1", ""), resign(key(A, at(1), key=b""))),
    bad("election.unknown_lease", put("z"), campaign(UNKNOWN, "1"), SEATS),
    bad("election.negative_lease", campaign(-1, "1"), SEATS),
    bad("election.value_too_large", LEASES, campaign(A, "v" * (1536 * 1024)), SEATS),
    bad("election.proclaim_too_large", LEASES, campaign(A, "1"),
        proclaim(key(A, at(1)), "v" * (1536 * 1024)), leader()),
    bad("election.campaign_again_too_large", LEASES, campaign(A, "1"),
        campaign(A, "v" * (1536 * 1024)), leader()),
    *(
        bad(f"election.garbage_for_{method.lower()}", Call(f"Election.{method}", GARBAGE))
        for method in ("Campaign", "Proclaim", "Leader", "Resign")
    ),
    bad("election.garbage_for_observe", CallStream("Election.Observe", GARBAGE)),
    bad("election.unknown_method", Call("/v3electionpb.Election/Nope", b"")),
)  # fmt: skip

CASES: Final[tuple[Case, ...]] = CAMPAIGNS + PROCLAIMS + RESIGNS + LEADERS + OBSERVERS + BAD
