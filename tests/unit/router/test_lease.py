"""The Lease service: grants and revokes as writes, everything else asked of the lease home."""

from __future__ import annotations

from kubebraid.base import errors
from kubebraid.base.ports import WRITE_LEASE_GRANT, WRITE_LEASE_REVOKE
from kubebraid.proto import requests
from kubebraid.proto.etcd import rpc_pb2
from kubebraid.proto.server import Kind

from .fakes import Calls

KEEP_ALIVE = "Lease/LeaseKeepAlive"


def grant(calls: Calls, lease: int = 0, ttl_s: int = 60) -> int:
    return calls.call("Lease/LeaseGrant", rpc_pb2.LeaseGrantRequest(ID=lease, TTL=ttl_s))


def alive(lease: int) -> rpc_pb2.LeaseKeepAliveRequest:
    return rpc_pb2.LeaseKeepAliveRequest(ID=lease)


def kept(calls: Calls, stream: int) -> list[tuple[int, int, int]]:
    """(id, TTL, header revision) of each answer."""
    answers = [rpc_pb2.LeaseKeepAliveResponse.FromString(m) for m in calls.edge.sent[stream]]
    return [(a.ID, a.TTL, a.header.revision) for a in answers]


def test_grant_without_an_id_is_given_one_and_written_at_the_home() -> None:
    """Chosen before the write, so that whoever evaluates it decides nothing by chance."""
    calls = Calls()
    call_id = grant(calls)
    ((write,),) = calls.shards.left.writes
    assert write.kind == WRITE_LEASE_GRANT
    lease, ttl_s = requests.lease_grant(write.payload)
    assert lease > 0
    assert ttl_s == 60
    calls.shards.left.answer_write(write, 1)
    assert rpc_pb2.LeaseGrantResponse.FromString(calls.answer(call_id)).header.revision == 1


def test_grants_without_an_id_get_different_ones() -> None:
    calls = Calls()
    for _ in range(3):
        grant(calls)
    chosen = {requests.lease_grant(batch[0].payload)[0] for batch in calls.shards.left.writes}
    assert len(chosen) == 3


def test_grant_with_an_id_keeps_it() -> None:
    calls = Calls()
    grant(calls, lease=(1 << 63) - 1, ttl_s=5)
    ((write,),) = calls.shards.left.writes
    assert requests.lease_grant(write.payload) == ((1 << 63) - 1, 5)


def test_grant_of_a_negative_id_is_a_write_as_in_etcd() -> None:
    calls = Calls()
    grant(calls, lease=-5)
    assert len(calls.shards.left.writes) == 1


def test_revoke_is_a_write_at_the_home() -> None:
    calls = Calls()
    request = rpc_pb2.LeaseRevokeRequest(ID=5)
    call_id = calls.call("Lease/LeaseRevoke", request)
    ((write,),) = calls.shards.left.writes
    assert (write.kind, write.payload) == (WRITE_LEASE_REVOKE, request.SerializeToString())
    calls.shards.left.answer_write(write, 0, refused=errors.LEASE_NOT_FOUND)
    assert calls.refusal(call_id) == (5, "etcdserver: requested lease not found")


def test_home_that_cannot_be_asked_refuses_and_ends_the_stream_as_etcd_does() -> None:
    """TTL 0 would say that the lease is gone: its client would give up what it holds."""
    calls = Calls()
    calls.shards.left.live_leases[5] = 60
    stream = calls.open(KEEP_ALIVE)
    calls.shards.left.refuse_leases = errors.TIMED_OUT
    refusals = [
        calls.refusal(calls.call("Lease/LeaseTimeToLive", rpc_pb2.LeaseTimeToLiveRequest(ID=5))),
        calls.refusal(calls.call("Lease/LeaseLeases")),
    ]
    assert refusals == [(14, "etcdserver: request timed out")] * 2
    calls.send(stream, KEEP_ALIVE, alive(5), alive(5))
    assert kept(calls, stream) == []
    assert calls.edge.ended[stream] == (14, "etcdserver: request timed out")


def test_time_to_live_tells_keys_only_if_asked() -> None:
    calls = Calls()
    calls.shards.left.live_leases[5] = 60
    shown = []
    for keys in (False, True):
        request = rpc_pb2.LeaseTimeToLiveRequest(ID=5, keys=keys)
        answer = calls.answer(calls.call("Lease/LeaseTimeToLive", request))
        decoded = rpc_pb2.LeaseTimeToLiveResponse.FromString(answer)
        assert (decoded.ID, decoded.grantedTTL, decoded.TTL) == (5, 60, 59)
        assert decoded.header.revision == 1
        shown.append(list(decoded.keys))
    assert shown == [[], [b"k"]]


def test_time_to_live_of_a_lease_that_is_gone_is_an_answer_not_an_error() -> None:
    calls = Calls()
    answer = calls.answer(
        calls.call("Lease/LeaseTimeToLive", rpc_pb2.LeaseTimeToLiveRequest(ID=5, keys=True))
    )
    decoded = rpc_pb2.LeaseTimeToLiveResponse.FromString(answer)
    assert (decoded.ID, decoded.TTL, decoded.grantedTTL) == (5, -1, 0)


def test_leases_are_those_of_the_home() -> None:
    calls = Calls()
    calls.shards.left.live_leases |= {5: 60, 9: 60}
    answer = rpc_pb2.LeaseLeasesResponse.FromString(calls.answer(calls.call("Lease/LeaseLeases")))
    assert [lease.ID for lease in answer.leases] == [5, 9]


def test_answer_has_the_revision_of_a_sample_asked_for_after_the_request() -> None:
    calls = Calls()
    calls.shards.sequencer.hold = True
    call_id = calls.call("Lease/LeaseLeases")
    calls.shards.write(b"a")
    calls.shards.sequencer.answer()
    answer = rpc_pb2.LeaseLeasesResponse.FromString(calls.answer(call_id))
    assert answer.header.revision == 2


# -- keep alive ------------------------------------------------------------------------------------


def test_each_message_of_a_stream_is_answered_in_order() -> None:
    """A client keeps all its leases alive over one stream."""
    calls = Calls()
    calls.shards.left.live_leases |= {5: 60, 9: 30}
    stream = calls.open(KEEP_ALIVE)
    calls.send(stream, KEEP_ALIVE, alive(9), alive(5), alive(7))
    assert kept(calls, stream) == [(9, 30, 1), (5, 60, 1), (7, 0, 1)]
    assert calls.shards.sequencer.reads == 1


def test_client_that_has_finished_sending_gets_its_answers_before_the_end() -> None:
    calls = Calls()
    calls.shards.sequencer.hold = True
    calls.shards.left.live_leases[5] = 60
    stream = calls.open(KEEP_ALIVE)
    calls.deliver(
        calls.of(stream, KEEP_ALIVE, alive(5)), calls.of(stream, KEEP_ALIVE, kind=Kind.HALF_CLOSED)
    )
    assert stream not in calls.edge.ended
    calls.shards.sequencer.answer()
    assert kept(calls, stream) == [(5, 60, 1)]
    assert calls.edge.ended[stream] == (0, "")


def test_end_in_a_later_batch_waits_for_the_answers_of_an_earlier_one() -> None:
    calls = Calls()
    calls.shards.sequencer.hold = True
    stream = calls.open(KEEP_ALIVE)
    calls.send(stream, KEEP_ALIVE, alive(5))
    calls.send(stream, KEEP_ALIVE, alive(6))
    calls.deliver(calls.of(stream, KEEP_ALIVE, kind=Kind.HALF_CLOSED))
    calls.shards.sequencer.answer()
    assert len(kept(calls, stream)) == 1
    assert stream not in calls.edge.ended
    calls.shards.sequencer.answer()
    assert len(kept(calls, stream)) == 2
    assert calls.edge.ended[stream] == (0, "")


def test_stream_without_an_open_question_ends_at_once() -> None:
    calls = Calls()
    stream = calls.open(KEEP_ALIVE)
    calls.deliver(calls.of(stream, KEEP_ALIVE, kind=Kind.HALF_CLOSED))
    assert calls.edge.ended[stream] == (0, "")
