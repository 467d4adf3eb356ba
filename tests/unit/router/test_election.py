"""Election as etcd's concurrency.Election has it, stepped by hand."""

from __future__ import annotations

import pytest

from kubebraid.base.errors import Code, RequestRefused
from kubebraid.proto.etcd import election_pb2, rpc_pb2
from kubebraid.proto.requests import LeaderKey
from kubebraid.router import election
from kubebraid.router.procedure import Answer, Check, Gone, Next, Service, Show, Unfollow

from .scripted import COMPACTED, Scripted, changed, committed, created, deleted, found, seat

REFUSED = RequestRefused(Code.UNAVAILABLE, "etcdserver: request timed out")
LEADER = LeaderKey(b"e", b"e/1f", 6, 0x1F)


def campaigning() -> Scripted[Answer]:
    """Lease 1f stands with "one" since 6 behind e/1e of 5, which it watches."""
    call = Scripted(election.campaign(b"e", 0x1F, b"one"))
    put = call.asked(Service.TXN).success[0].request_put
    assert (put.key, put.value, put.lease) == (b"e/1f", b"one", 0x1F)
    call.told(committed(6))
    call.told(found(8, seat(b"e/1e", 5)))
    assert call.followed() == rpc_pb2.WatchCreateRequest(key=b"e/1e", start_revision=8)
    call.done()
    return call


def test_won_election_tells_what_names_the_leadership() -> None:
    """And the revision of the candidacy, whenever it was won."""
    call = campaigning()
    call.told(deleted(10, b"e/1e"))
    assert call.rests(Unfollow)
    call.done()
    call.told(found(10))
    assert call.rests(Check)
    call.done()
    assert call.result is not None
    assert call.result.revision == 6
    assert election_pb2.CampaignResponse.FromString(
        call.result.body
    ).leader == election_pb2.LeaderKey(name=b"e", key=b"e/1f", rev=6, lease=0x1F)


def again(value: bytes) -> Scripted[Answer]:
    """A second campaign of the lease that stands with "one"."""
    call = Scripted(election.campaign(b"e", 0x1F, value))
    call.told(committed(9, found(9, seat(b"e/1f", 6, b"one")), succeeded=False))
    return call


def test_second_campaign_with_the_same_value_writes_nothing() -> None:
    call = again(b"one")
    assert call.asked(Service.RANGE).max_create_revision == 5
    call.told(found(9))
    assert call.result is not None
    assert call.result.revision == 9


def test_second_campaign_with_another_value_proclaims_it() -> None:
    call = again(b"two")
    request = call.asked(Service.TXN)
    assert (request.compare[0].key, request.compare[0].create_revision) == (b"e/1f", 6)
    assert request.success[0].request_put.value == b"two"
    call.told(committed(10))
    call.asked(Service.RANGE)


def test_second_campaign_whose_value_is_refused_resigns() -> None:
    call = again(b"two")
    call.refused(REFUSED)
    request = call.asked(Service.TXN)
    assert request.success[0].request_delete_range.key == b"e/1f"
    call.told(committed(11))
    assert call.error is REFUSED


def test_campaign_whose_client_goes_resigns() -> None:
    call = campaigning()
    gone = Gone()
    call.refused(gone)
    request = call.asked(Service.TXN)
    assert (request.compare[0].create_revision, len(request.success)) == (6, 1)
    call.told(committed(11))
    assert call.error is gone


def test_campaign_that_is_refused_while_it_waits_leaves_its_seat() -> None:
    """As etcd does: its client campaigns again with the same lease and finds it."""
    call = campaigning()
    call.told(COMPACTED)
    assert isinstance(call.error, RequestRefused)
    assert call.error.message == "etcdserver: mvcc: required revision has been compacted"


def test_proclaim_of_a_leadership_that_is_over_is_refused() -> None:
    call = Scripted(election.proclaim(LEADER, b"two"))
    call.told(committed(9, succeeded=False))
    assert isinstance(call.error, RequestRefused)
    assert (call.error.code, call.error.message) == (Code.UNKNOWN, "election: not leader")


def test_proclaim_and_resign_without_lease_grant_one_as_etcd_does() -> None:
    leader = LEADER._replace(lease=0)
    for procedure in (election.proclaim(leader, b"two"), election.resign(leader)):
        call = Scripted(procedure)
        assert call.asked(Service.GRANT).TTL == 60


def test_resign_of_a_leadership_that_is_over_is_no_error() -> None:
    call = Scripted(election.resign(LEADER))
    assert call.asked(Service.TXN).compare[0].create_revision == 6
    call.told(committed(9, succeeded=False))
    assert call.result == Answer(9)


@pytest.mark.parametrize("procedure", [election.proclaim(None, b""), election.resign(None)])
def test_missing_leader_is_refused_before_anything_is_asked(procedure: object) -> None:
    call: Scripted[Answer] = Scripted(procedure)  # type: ignore[arg-type]  # parametrize loses it
    assert isinstance(call.error, RequestRefused)
    assert call.error.message == '"leader" field must be provided'


def test_nobody_leads() -> None:
    call = Scripted(election.leader(b"e"))
    request = call.asked(Service.RANGE)
    assert (request.key, request.range_end, request.limit) == (b"e/", b"e0", 1)
    call.told(found(4))
    assert isinstance(call.error, RequestRefused)
    assert call.error.message == "election: no leader"


def shown(call: Scripted[None]) -> tuple[int, bytes]:
    """The proclamation that it shows, and the revision of its header."""
    assert isinstance(call.step, Show), call.step
    kv = election_pb2.LeaderResponse.FromString(call.step.body).kv
    return call.step.revision, kv.value


def test_observer_shows_a_leader_its_words_and_the_next_leader() -> None:
    call = Scripted(election.observe(b"e"))
    call.told(found(8, seat(b"e/1f", 6, b"one")))
    assert shown(call) == (8, b"one")
    call.done()
    assert call.followed() == rpc_pb2.WatchCreateRequest(key=b"e/1f", start_revision=9)
    call.done()
    call.told(created())
    call.told(changed(10, seat(b"e/1f", 6, b"two"), seat(b"e/1f", 6, b"three")))
    assert shown(call) == (10, b"two")
    call.done()
    assert shown(call) == (10, b"three")
    call.done()
    call.told(deleted(11, b"e/1f"))
    assert call.rests(Unfollow)
    call.done()
    assert call.asked(Service.RANGE).sort_order == rpc_pb2.RangeRequest.ASCEND
    call.told(found(11, seat(b"e/20", 7, b"next")))
    assert shown(call) == (11, b"next")


def test_observer_before_the_first_leader_watches_for_one() -> None:
    """A deletion among the seats is nobody's candidacy; the header is that of the put."""
    call = Scripted(election.observe(b"e"))
    call.told(found(4))
    assert call.followed() == rpc_pb2.WatchCreateRequest(
        key=b"e/", range_end=b"e0", start_revision=4
    )
    call.done()
    call.told(deleted(4, b"e/old"))
    assert call.rests(Next)
    call.told(changed(7, seat(b"e/1f", 6, b"one"), seat(b"e/20", 7, b"two")))
    assert call.rests(Unfollow)
    call.done()
    assert shown(call) == (6, b"one")
    call.done()
    assert call.followed().start_revision == 7


@pytest.mark.parametrize("first", [found(4), found(8, seat(b"e/1f", 6))], ids=["none", "one"])
def test_observer_whose_watch_ends_ends_without_a_word(first: rpc_pb2.RangeResponse) -> None:
    call = Scripted(election.observe(b"e"))
    call.told(first)
    if call.rests(Show):
        call.done()
    call.done()
    call.told(COMPACTED)
    assert (call.step, call.error) == (None, None)
