"""Cluster, Maintenance and health: what is about the server, not about keys."""

from __future__ import annotations

from typing import Any, Final, TypeAlias

from kubebraid.proto.etcd import health_pb2
from kubebraid.proto.etcd import rpc_pb2 as pb

from .case import (
    MEMBER,
    Call,
    CallStream,
    Case,
    Open,
    Quiet,
    Step,
    Take,
    at,
    bad,
    case,
    compact,
    delete,
    get,
    grant,
    keep_alive,
    lease,
    put,
    putting,
    ranged,
    revoke,
    time_to_live,
    transact,
)

HUGE: Final = (1 << 63) - 1
NOBODY: Final = 4711
Alarm: TypeAlias = pb.AlarmRequest


def members(*, linearizable: bool) -> Step:
    return Call("Cluster.MemberList", pb.MemberListRequest(linearizable=linearizable))


def alarm(action: Any = Alarm.GET, kind: Any = pb.NONE, member: int = 0) -> Step:
    return Call("Maintenance.Alarm", Alarm(action=action, alarm=kind, memberID=member))


def activate(kind: int, member: int = MEMBER) -> Step:
    return alarm(Alarm.ACTIVATE, kind, member)


def deactivate(kind: int, member: int = MEMBER) -> Step:
    return alarm(Alarm.DEACTIVATE, kind, member)


def hash_kv(revision: int = 0) -> Step:
    return Call("Maintenance.HashKV", pb.HashKVRequest(revision=revision))


def downgrade(action: Any, version: str = "") -> Step:
    request = pb.DowngradeRequest(action=action, version=version)
    return Call("Maintenance.Downgrade", request)


def move_leader(target: int) -> Step:
    return Call("Maintenance.MoveLeader", pb.MoveLeaderRequest(targetID=target))


STATUS: Final = Call("Maintenance.Status", pb.StatusRequest())
HASH: Final = Call("Maintenance.Hash", pb.HashRequest())
DEFRAGMENT: Final = Call("Maintenance.Defragment", pb.DefragmentRequest())
SNAPSHOT: Final = CallStream("Maintenance.Snapshot", pb.SnapshotRequest())

CLUSTER: Final = (
    case("cluster.member_list", members(linearizable=False)),
    case("cluster.member_list_linearizable", put("a"), members(linearizable=True)),
    bad("cluster.member_add_without_urls", Call("Cluster.MemberAdd", pb.MemberAddRequest())),
    bad("cluster.member_add_bad_url", Call("Cluster.MemberAdd",
        pb.MemberAddRequest(peerURLs=["no url"]))),
    bad("cluster.member_remove_unknown", Call("Cluster.MemberRemove",
        pb.MemberRemoveRequest(ID=NOBODY))),
    bad("cluster.member_update_unknown",
        Call("Cluster.MemberUpdate",
        pb.MemberUpdateRequest(ID=NOBODY, peerURLs=["http://127.0.0.1:1"]))),
    bad("cluster.member_update_bad_url", Call("Cluster.MemberUpdate",
        pb.MemberUpdateRequest(ID=NOBODY, peerURLs=["x"]))),
    bad("cluster.member_promote_unknown", Call("Cluster.MemberPromote",
        pb.MemberPromoteRequest(ID=NOBODY))),
)  # fmt: skip

STATE: Final = (
    case("maintenance.status", STATUS),
    case("maintenance.status_header_is_of_now", put("a"), put("a"), STATUS),
    case("maintenance.status_with_alarms", activate(pb.NOSPACE), STATUS, deactivate(pb.NOSPACE),
         STATUS),
    case("maintenance.defragment", put("a", "1"), DEFRAGMENT, ranged("a")),
    case("maintenance.snapshot", put("a", "1"), SNAPSHOT, ranged("a")),
    case("maintenance.snapshot_of_a_megabyte", put("a", b"v" * (1 << 20)), SNAPSHOT),
    bad("maintenance.move_leader_to_nobody", move_leader(NOBODY)),
    bad("maintenance.move_leader_to_zero", move_leader(0)),
    case("maintenance.move_leader_to_itself", move_leader(MEMBER), put("a")),
    bad("maintenance.downgrade_validate_garbage", downgrade(0, "garbage")),
    bad("maintenance.downgrade_validate_empty", downgrade(0)),
    bad("maintenance.downgrade_validate_too_old", downgrade(0, "3.4.0")),
    bad("maintenance.downgrade_validate_same", downgrade(0, "3.7.0")),
    case("maintenance.downgrade_validate", downgrade(0, "3.6.0")),
    bad("maintenance.downgrade_enable_garbage", downgrade(1, "garbage")),
    bad("maintenance.downgrade_enable_too_old", downgrade(1, "3.0.0")),
    bad("maintenance.downgrade_cancel_of_none", downgrade(2)),
    bad("maintenance.downgrade_unknown_action", downgrade(9, "3.6.0")),
)  # fmt: skip

HASHES: Final = (
    case("hash.of_all", put("a"), HASH),
    case("hash.changes_with_a_write", put("a", "1"), HASH, put("a", "2"), HASH),
    case("hash.kv", put("a"), hash_kv()),
    case("hash.kv_is_stable", put("a"), hash_kv(), hash_kv(), hash_kv(at(1))),
    case("hash.kv_of_each_revision", put("a", "1"), put("a", "2"), hash_kv(at(1)), hash_kv(at(2)),
         hash_kv()),
    case("hash.kv_after_a_compaction", put("a", "1"), put("a", "2"), put("a", "3"),
         compact(at(2), physical=True),
         hash_kv(at(3)), hash_kv()),
    case("hash.kv_of_the_compacted_revision", put("a", "1"), put("a", "2"), put("a", "3"),
         compact(at(1), physical=True), compact(at(2), physical=True), hash_kv(at(2))),
    case("hash.kv_after_a_compaction_of_all", put("a", "1"), put("a", "2"),
         compact(at(2), physical=True),
         put("a", "3"), hash_kv(), hash_kv(at(3))),
    bad("hash.kv_compacted", put("a"), put("a"), put("a"), compact(at(3), physical=True),
        hash_kv(at(1))),
    bad("hash.kv_ahead", put("a"), hash_kv(at(2))),
    bad("hash.kv_far_ahead", hash_kv(HUGE)),
    bad("hash.kv_negative", put("a"), hash_kv(-1)),
    case("hash.kv_is_untouched_by_leases", put("a"), hash_kv(), grant("x"), hash_kv()),
    case("hash.kv_is_untouched_by_reads", put("a"), hash_kv(), ranged("a"), delete("q"), hash_kv()),
)  # fmt: skip

ALARMS: Final = (
    case("alarm.none", alarm()),
    case("alarm.none_of_a_kind", alarm(kind=pb.NOSPACE), alarm(kind=pb.CORRUPT)),
    case("alarm.deactivate_all_of_none", deactivate(pb.NOSPACE)),
    case("alarm.activate", activate(pb.NOSPACE), alarm(), alarm(kind=pb.NOSPACE),
         alarm(kind=pb.CORRUPT),
         deactivate(pb.NOSPACE), alarm()),
    case("alarm.activate_twice", activate(pb.NOSPACE), activate(pb.NOSPACE), alarm(),
         deactivate(pb.NOSPACE), deactivate(pb.NOSPACE)),
    bad("alarm.activate_nothing", activate(pb.NONE), alarm()),
    bad("alarm.activate_unknown_kind", activate(9), alarm(), deactivate(9), alarm()),
    Case("alarm.unknown_action", (alarm(9, pb.NOSPACE), alarm()), bad=True, fresh=True),
    bad("alarm.deactivate_another_kind", activate(pb.NOSPACE), deactivate(pb.CORRUPT), alarm(),
        deactivate(pb.NOSPACE)),
    bad("alarm.of_another_member", activate(pb.NOSPACE, NOBODY), alarm(), deactivate(pb.NOSPACE),
        alarm(),
        deactivate(pb.NOSPACE, NOBODY), alarm()),
    bad("alarm.of_member_zero", activate(pb.NOSPACE, 0), alarm(), deactivate(pb.NOSPACE, 0),
        alarm()),
    case("alarm.no_space_refuses_what_grows", put("a", "1"), grant("x"), activate(pb.NOSPACE),
         put("a", "2"), transact(success=[putting("a", "3")]), transact(success=[get("a")]),
         grant("", 2000),
         ranged("a"), delete("a"), revoke(lease("x")), compact(at(1)), deactivate(pb.NOSPACE),
         put("a", "4"), ranged("a")),
    case("alarm.no_space_and_leases", grant("x"), activate(pb.NOSPACE), time_to_live(lease("x")),
         keep_alive(lease("x")), deactivate(pb.NOSPACE)),
    case("alarm.no_space_transaction_that_deletes", put("a"), activate(pb.NOSPACE),
         transact(success=[pb.DeleteRangeRequest(key=b"a")]), deactivate(pb.NOSPACE), ranged("a")),
    case("alarm.no_space_transaction_with_a_put_not_taken", put("a"), activate(pb.NOSPACE),
         transact(success=[get("a")], failure=[putting("a")]), deactivate(pb.NOSPACE)),
    bad("alarm.no_space_and_an_empty_key", activate(pb.NOSPACE), put("", "1"),
        deactivate(pb.NOSPACE)),
    bad("alarm.corrupt_refuses_all", put("a"), activate(pb.CORRUPT), put("a"), ranged("a"),
        ranged("a", serializable=True), delete("a"), transact(success=[get("a")]), compact(at(1)),
        grant(""),
        revoke(NOBODY), deactivate(pb.CORRUPT), ranged("a")),
    case("alarm.both", activate(pb.NOSPACE), activate(pb.CORRUPT), alarm(), put("a"), STATUS,
         deactivate(pb.NOSPACE), alarm(), deactivate(pb.CORRUPT)),
)  # fmt: skip

Check: Final = health_pb2.HealthCheckRequest

HEALTH: Final = (
    case("health.check", Call("Health.Check", Check())),
    bad("health.check_of_an_etcd_service", Call("Health.Check", Check(service="etcdserverpb.KV"))),
    bad("health.check_of_an_unknown_service", Call("Health.Check", Check(service="nobody"))),
    case("health.watch", Open("Health.Watch", first=Check()), Take(1), Quiet()),
    bad("health.watch_of_an_unknown_service", Open("Health.Watch", first=Check(service="nobody")),
        Take(1), Quiet()),
    case("health.list", Call("/grpc.health.v1.Health/List", b"")),
)  # fmt: skip

CASES: Final[tuple[Case, ...]] = (*CLUSTER, *STATE, *HASHES, *ALARMS, *HEALTH)
