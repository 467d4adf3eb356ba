"""Rare answers say what etcd's would; their header is spliced in front and must not be in them."""

from __future__ import annotations

from typing import Any

from kubebraid.base.ports import ALARM_CORRUPT, ALARM_NOSPACE, Alarm
from kubebraid.proto import responses
from kubebraid.proto.etcd import health_pb2, rpc_pb2
from kubebraid.proto.kvwire import Header

HEADER = Header(11, 12, 13)


def test_status_calls_this_member_its_own_leader() -> None:
    """etcdctl endpoint status prints all of these; raft's index is our revision."""
    figures = responses.Figures("3.7.3", "3.7.0", 100, 60, 0, 42)
    decoded = rpc_pb2.StatusResponse.FromString(
        HEADER.field(42) + responses.status(HEADER, figures)
    )
    assert decoded == rpc_pb2.StatusResponse(
        header=rpc_pb2.ResponseHeader(cluster_id=11, member_id=12, revision=42, raft_term=13),
        version="3.7.3",
        downgradeInfo=rpc_pb2.DowngradeInfo(),
        storageVersion="3.7.0",
        dbSize=100,
        dbSizeInUse=60,
        leader=12,
        raftIndex=42,
        raftAppliedIndex=42,
        raftTerm=13,
    )


def test_member_list_is_whole_and_its_header_has_no_revision() -> None:
    whole = responses.member_list(HEADER, "one", ["http://a:1", "http://b:2"])
    decoded = rpc_pb2.MemberListResponse.FromString(whole)
    assert decoded.header == rpc_pb2.ResponseHeader(cluster_id=11, member_id=12, raft_term=13)
    (member,) = decoded.members
    assert (member.ID, member.name) == (12, "one")
    assert list(member.clientURLs) == ["http://a:1", "http://b:2"]
    assert not member.isLearner


def test_auth_is_told_to_be_off() -> None:
    decoded = rpc_pb2.AuthStatusResponse.FromString(responses.auth_disabled())
    assert (decoded.enabled, decoded.authRevision) == (False, 1)


def test_lease_info_tells_granted_remaining_and_keys() -> None:
    body = responses.lease_info(5, 60, 41, [b"a", b"b"])
    assert rpc_pb2.LeaseTimeToLiveResponse.FromString(body) == rpc_pb2.LeaseTimeToLiveResponse(
        ID=5, TTL=41, grantedTTL=60, keys=[b"a", b"b"]
    )


def test_lease_that_is_gone_has_ttl_minus_one() -> None:
    """etcd answers so in place of an error; etcdctl prints "already expired"."""
    body = responses.no_lease(5)
    expected = rpc_pb2.LeaseTimeToLiveResponse(ID=5, TTL=-1)
    assert rpc_pb2.LeaseTimeToLiveResponse.FromString(body) == expected


def test_leases_are_listed_by_id() -> None:
    decoded = rpc_pb2.LeaseLeasesResponse.FromString(responses.leases([3, (1 << 63) - 1]))
    assert [lease.ID for lease in decoded.leases] == [3, (1 << 63) - 1]
    assert responses.leases([]) == b""


def test_keep_alive_of_a_lost_lease_has_ttl_zero() -> None:
    decoded = rpc_pb2.LeaseKeepAliveResponse.FromString(responses.kept_alive(5, 0))
    assert (decoded.ID, decoded.TTL) == (5, 0)


def test_health_is_serving_or_not() -> None:
    kinds = health_pb2.HealthCheckResponse
    assert kinds.FromString(responses.serving(True)).status == kinds.SERVING
    assert kinds.FromString(responses.serving(False)).status == kinds.NOT_SERVING


def test_alarms_are_listed_in_a_stable_order() -> None:
    raised = {Alarm(9, ALARM_NOSPACE), Alarm(3, ALARM_CORRUPT)}
    decoded = rpc_pb2.AlarmResponse.FromString(responses.alarms(raised))
    assert [(a.memberID, a.alarm) for a in decoded.alarms] == [
        (3, rpc_pb2.CORRUPT),
        (9, rpc_pb2.NOSPACE),
    ]
    assert responses.alarms(()) == b""


def test_hashes_tell_their_sum_and_what_it_is_over() -> None:
    plain = rpc_pb2.HashResponse.FromString(responses.hash_of((1 << 32) - 1))
    assert plain.hash == (1 << 32) - 1
    assert rpc_pb2.HashKVResponse.FromString(responses.hash_kv(7, 3, 9)) == rpc_pb2.HashKVResponse(
        hash=7, compact_revision=3, hash_revision=9
    )


def test_snapshot_part_tells_what_is_still_to_come() -> None:
    decoded = rpc_pb2.SnapshotResponse.FromString(responses.snapshot_part(5, b"xy", "3.7.0"))
    assert (decoded.remaining_bytes, decoded.blob, decoded.version) == (5, b"xy", "3.7.0")


def test_bodies_carry_no_header_of_their_own() -> None:
    """The caller prepends field 1; a second one would be merged into it."""
    bodies: list[tuple[Any, bytes]] = [
        (rpc_pb2.StatusResponse, responses.status(HEADER, responses.Figures("3", "3", 1, 1, 1, 1))),
        (rpc_pb2.AuthStatusResponse, responses.auth_disabled()),
        (rpc_pb2.LeaseTimeToLiveResponse, responses.no_lease(1)),
        (rpc_pb2.LeaseLeasesResponse, responses.leases([1])),
        (rpc_pb2.LeaseKeepAliveResponse, responses.kept_alive(1, 1)),
        (rpc_pb2.AlarmResponse, responses.alarms([Alarm(1, 1)])),
        (rpc_pb2.HashResponse, responses.hash_of(1)),
        (rpc_pb2.HashKVResponse, responses.hash_kv(1, 1, 1)),
        (rpc_pb2.SnapshotResponse, responses.snapshot_part(1, b"x", "1")),
    ]
    assert [
        kind.__name__ for kind, body in bodies if kind.FromString(body).HasField("header")
    ] == []
