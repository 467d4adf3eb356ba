"""Values to answer bodies, for answers that are few: leases, status, members, health.

What it is: the rare answers by the generated classes, without their header field. What it is not:
the hot ones (`kvwire.py`, `ranges.py`, `watchwire.py`).

Tested in tests/unit/proto/test_responses.py.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple, cast

from kubebraid.base.ports import Alarm
from kubebraid.base.revision import LeaseId

from .etcd import health_pb2, rpc_pb2
from .kvwire import Header


class Figures(NamedTuple):
    """What Status reports besides the header."""

    version: str
    storage_version: str
    disk_bytes: int
    used_bytes: int
    quota_bytes: int
    revision: int
    alarms: Iterable[Alarm] = ()


def status(header: Header, figures: Figures) -> bytes:
    """StatusResponse: this member is its own leader, its log index is the revision."""
    return rpc_pb2.StatusResponse(
        version=figures.version,
        storageVersion=figures.storage_version,
        dbSize=figures.disk_bytes,
        dbSizeInUse=figures.used_bytes,
        dbSizeQuota=figures.quota_bytes,
        errors=[_alarm_text(alarm) for alarm in sorted(figures.alarms)],
        downgradeInfo=rpc_pb2.DowngradeInfo(),
        leader=header.member_id,
        raftIndex=figures.revision,
        raftAppliedIndex=figures.revision,
        raftTerm=header.raft_term,
    ).SerializeToString()


def _alarm_text(alarm: Alarm) -> str:
    """As Go prints an AlarmMember."""
    known = rpc_pb2.AlarmType.keys()
    name = known[alarm.kind] if alarm.kind < len(known) else str(alarm.kind)
    return (f"memberID:{alarm.member} " if alarm.member else "") + f"alarm:{name}"


def member_list(header: Header, name: str, urls: Sequence[str]) -> bytes:
    """The whole MemberListResponse: etcd fills no revision into its header."""
    return rpc_pb2.MemberListResponse(
        header=rpc_pb2.ResponseHeader(
            cluster_id=header.cluster_id,
            member_id=header.member_id,
            raft_term=header.raft_term,
        ),
        members=[rpc_pb2.Member(ID=header.member_id, name=name, peerURLs=urls, clientURLs=urls)],
    ).SerializeToString()


def auth_disabled() -> bytes:
    """AuthStatusResponse: disabled, at the auth revision of a new store."""
    return rpc_pb2.AuthStatusResponse(authRevision=1).SerializeToString()


def lease_info(lease: LeaseId, granted_s: int, remaining_s: int, keys: Sequence[bytes]) -> bytes:
    """LeaseTimeToLiveResponse."""
    return rpc_pb2.LeaseTimeToLiveResponse(
        ID=lease, TTL=remaining_s, grantedTTL=granted_s, keys=keys
    ).SerializeToString()


def no_lease(lease: LeaseId) -> bytes:
    """LeaseTimeToLiveResponse of a lease that is not there: TTL -1."""
    return rpc_pb2.LeaseTimeToLiveResponse(ID=lease, TTL=-1).SerializeToString()


def leases(ids: Sequence[LeaseId]) -> bytes:
    """LeaseLeasesResponse."""
    listed = [rpc_pb2.LeaseStatus(ID=lease) for lease in ids]
    return rpc_pb2.LeaseLeasesResponse(leases=listed).SerializeToString()


def kept_alive(lease: LeaseId, ttl_s: int) -> bytes:
    """LeaseKeepAliveResponse; TTL 0 says that the lease is gone."""
    return rpc_pb2.LeaseKeepAliveResponse(ID=lease, TTL=ttl_s).SerializeToString()


def serving(is_serving: bool) -> bytes:
    """HealthCheckResponse."""
    kinds = health_pb2.HealthCheckResponse
    state = kinds.SERVING if is_serving else kinds.NOT_SERVING
    return health_pb2.HealthCheckResponse(status=state).SerializeToString()


def health_list() -> bytes:
    """HealthListResponse: the server as a whole."""
    kinds = health_pb2.HealthCheckResponse
    alive = kinds(status=kinds.SERVING)
    return health_pb2.HealthListResponse(statuses={"": alive}).SerializeToString()


def service_unknown() -> bytes:
    """HealthCheckResponse of a watch on a service that is not there."""
    state = health_pb2.HealthCheckResponse.SERVICE_UNKNOWN
    return health_pb2.HealthCheckResponse(status=state).SerializeToString()


def hash_of(total: int) -> bytes:
    """HashResponse."""
    return rpc_pb2.HashResponse(hash=total).SerializeToString()


def hash_kv(total: int, compact_revision: int, revision: int) -> bytes:
    """HashKVResponse."""
    return rpc_pb2.HashKVResponse(
        hash=total, compact_revision=compact_revision, hash_revision=revision
    ).SerializeToString()


def snapshot_part(remaining: int, blob: bytes, version: str) -> bytes:
    """SnapshotResponse; `remaining` counts the bytes behind this part."""
    return rpc_pb2.SnapshotResponse(
        remaining_bytes=remaining, blob=blob, version=version
    ).SerializeToString()


def alarms(raised: Iterable[Alarm]) -> bytes:
    """AlarmResponse."""
    return rpc_pb2.AlarmResponse(
        alarms=[
            rpc_pb2.AlarmMember(memberID=alarm.member, alarm=cast("rpc_pb2.AlarmType", alarm.kind))
            for alarm in sorted(raised)
        ]
    ).SerializeToString()
