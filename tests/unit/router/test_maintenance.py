"""What the server says of itself; kube-apiserver and etcdctl decide by it what they dare."""

from __future__ import annotations

import pytest

from kubebraid import ETCD_VERSION
from kubebraid.base import errors
from kubebraid.base.errors import Code
from kubebraid.base.ports import ALARM_CORRUPT, ALARM_NOSPACE
from kubebraid.proto.etcd import health_pb2, rpc_pb2
from kubebraid.proto.server import METHODS, Kind
from kubebraid.router.maintenance import AUTH_TEXT, NOT_THERE

from .fakes import Calls

HealthResponse = health_pb2.HealthCheckResponse


def test_status_names_an_etcd_whose_progress_requests_work() -> None:
    """Unparsable, below 3.4.31 or 3.5.0 to 3.5.12: kube-apiserver turns them off everywhere."""
    calls = Calls()
    status = rpc_pb2.StatusResponse.FromString(calls.answer(calls.call("Maintenance/Status")))
    assert status.version == ETCD_VERSION == "3.7.3"
    assert status.storageVersion == "3.7.0"


def test_status_adds_up_the_owners_and_has_the_present_revision() -> None:
    calls = Calls()
    calls.shards.write(b"a")
    status = rpc_pb2.StatusResponse.FromString(calls.answer(calls.call("Maintenance/Status")))
    assert (status.dbSize, status.dbSizeInUse) == (200, 120)
    assert status.header.revision == status.raftIndex == status.raftAppliedIndex == 2
    assert status.leader == status.header.member_id == 12
    assert status.raftTerm == status.header.raft_term == 13


def test_member_list_has_this_router_alone() -> None:
    calls = Calls()
    listed = rpc_pb2.MemberListResponse.FromString(calls.answer(calls.call("Cluster/MemberList")))
    (member,) = listed.members
    assert (member.ID, member.name) == (12, "one")
    assert list(member.clientURLs) == ["http://127.0.0.1:2379"]
    assert calls.shards.sequencer.reads == 0


def alarm(calls: Calls, action: str, kind: int = 0, member: int = 0) -> list[tuple[int, int]]:
    request = rpc_pb2.AlarmRequest(
        action=action,
        memberID=member,
        alarm=rpc_pb2.AlarmType.keys()[kind],
    )
    answer = calls.answer(calls.call("Maintenance/Alarm", request))
    decoded = rpc_pb2.AlarmResponse.FromString(answer)
    assert decoded.header.revision == 1
    return [(raised.memberID, raised.alarm) for raised in decoded.alarms]


def test_alarm_is_raised_listed_and_disarmed_as_in_etcd() -> None:
    """Each change answers the alarm that it concerned; disarming what is not there, none."""
    calls = Calls()
    assert alarm(calls, "GET") == []
    assert alarm(calls, "ACTIVATE", ALARM_NOSPACE, 7) == [(7, ALARM_NOSPACE)]
    assert alarm(calls, "GET") == alarm(calls, "GET", ALARM_NOSPACE) == [(7, ALARM_NOSPACE)]
    assert alarm(calls, "GET", ALARM_CORRUPT) == []
    assert alarm(calls, "DEACTIVATE", ALARM_CORRUPT, 7) == []
    assert alarm(calls, "DEACTIVATE", ALARM_NOSPACE, 7) == [(7, ALARM_NOSPACE)]
    assert alarm(calls, "DEACTIVATE", ALARM_NOSPACE, 7) == []
    assert alarm(calls, "GET") == []


@pytest.mark.parametrize("action", ["ACTIVATE", "DEACTIVATE"])
def test_alarm_of_unknown_outcome_is_no_answer(action: str) -> None:
    """`alarm disarm` without a coordinator was told OK, and nothing was disarmed."""
    calls = Calls()
    calls.shards.coordinator.alarms_refused = errors.TIMED_OUT
    request = rpc_pb2.AlarmRequest(action=action, memberID=7, alarm="NOSPACE")
    refused = calls.refusal(calls.call("Maintenance/Alarm", request))
    assert refused == (int(errors.TIMED_OUT.code), errors.TIMED_OUT.message)


def test_raising_no_alarm_raises_none() -> None:
    calls = Calls()
    assert alarm(calls, "ACTIVATE", 0, 7) == []
    assert alarm(calls, "GET") == []


def test_auth_is_off() -> None:
    calls = Calls()
    answer = calls.answer(calls.call("Auth/AuthStatus"))
    assert not rpc_pb2.AuthStatusResponse.FromString(answer).enabled


@pytest.mark.parametrize("name", sorted(NOT_THERE))
def test_method_that_is_not_there_says_what_to_do_instead(name: str) -> None:
    (path,) = [m.path for m in METHODS if m.path.endswith("/" + name)]
    calls = Calls()
    call_id = calls.call(path.removeprefix("/etcdserverpb."))
    ended = calls.edge.ended.get(call_id) or calls.refusal(call_id)
    assert ended == (Code.UNIMPLEMENTED, f"kubebraid: {NOT_THERE[name]}")


def test_every_auth_method_but_the_status_is_not_there() -> None:
    calls = Calls()
    for spec in METHODS:
        service, method = spec.path.rpartition(".")[2].split("/")
        if service == "Auth" and method != "AuthStatus":
            refusal = calls.refusal(calls.call(f"Auth/{method}"))
            assert refusal == (Code.UNIMPLEMENTED, f"kubebraid: {AUTH_TEXT}")


# -- gRPC health -----------------------------------------------------------------------------------


def test_health_of_the_server_is_serving() -> None:
    calls = Calls()
    answer = calls.answer(calls.call("Health/Check"))
    assert HealthResponse.FromString(answer).status == HealthResponse.SERVING


def test_health_check_of_an_unknown_service_is_not_found() -> None:
    calls = Calls()
    request = health_pb2.HealthCheckRequest(service="x")
    assert calls.refusal(calls.call("Health/Check", request)) == (Code.NOT_FOUND, "unknown service")


def test_health_watch_starts_with_serving_and_stays_open() -> None:
    calls = Calls()
    stream = calls.call("Health/Watch")
    (told,) = calls.edge.sent[stream]
    assert HealthResponse.FromString(told).status == HealthResponse.SERVING
    assert stream not in calls.edge.ended


def test_health_watch_of_an_unknown_service_says_that_it_is_unknown() -> None:
    """grpc.health.v1: SERVICE_UNKNOWN, and the stream stays open in case it appears."""
    calls = Calls()
    stream = calls.call("Health/Watch", health_pb2.HealthCheckRequest(service="x"))
    (told,) = calls.edge.sent[stream]
    assert HealthResponse.FromString(told).status == HealthResponse.SERVICE_UNKNOWN
    assert stream not in calls.edge.ended


def test_health_watcher_that_is_gone_is_not_told_of_the_drain() -> None:
    calls = Calls()
    stream = calls.call("Health/Watch")
    calls.deliver(calls.of(stream, "Health/Watch", kind=Kind.CANCELLED))
    calls.router.drain()
    assert len(calls.edge.sent[stream]) == 1
