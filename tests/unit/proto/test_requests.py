"""The door: bytes become an operation, etcd's refusal, or a malformed message; nothing else."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kubebraid.base import errors
from kubebraid.base.errors import Code
from kubebraid.base.keyspace import KeyRange
from kubebraid.base.ops import DeleteOp, PutOp, RangeOp, TxnOp
from kubebraid.proto import requests
from kubebraid.proto.etcd import health_pb2, rpc_pb2
from kubebraid.proto.requests import AskProgress, CancelWatch, CreateWatch, MalformedMessage

NOT_A_MESSAGE = b"\x0a\xff"  # a field that claims more bytes than there are
READERS: list[Callable[[bytes], object]] = [
    requests.range_request,
    requests.range_stream_request,
    requests.put_request,
    requests.delete_request,
    requests.txn_request,
    requests.compact_request,
    requests.lease_grant,
    requests.lease_revoke,
    requests.lease_keep_alive,
    requests.lease_time_to_live,
    requests.watch_message,
    requests.alarm_request,
    requests.hash_revision,
    requests.health_service,
    requests.check_empty,
]


@pytest.mark.parametrize("read", READERS)
def test_bytes_that_are_no_message_are_malformed_with_grpcs_words(
    read: Callable[[bytes], object],
) -> None:
    """grpc-go answers INTERNAL before any handler runs: a client must not retry it as a refusal."""
    with pytest.raises(
        MalformedMessage, match="proto: cannot parse invalid wire-format data"
    ) as caught:
        read(NOT_A_MESSAGE)
    assert caught.value.code is Code.INTERNAL


@pytest.mark.parametrize("read", READERS)
@given(st.binary(max_size=60))
def test_random_bytes_never_raise_anything_else(
    read: Callable[[bytes], object], payload: bytes
) -> None:
    """Whatever else is raised would be fatal for the node: the loop stops on it."""
    try:
        read(payload)
    except MalformedMessage:
        pass


def test_service_name_that_is_no_utf8_is_malformed() -> None:
    with pytest.raises(MalformedMessage):
        requests.health_service(b"\x0a\x01\xff")


def test_each_kv_request_becomes_its_operation() -> None:
    span = KeyRange(b"a", b"a\x00")
    range_ = rpc_pb2.RangeRequest(key=b"a", limit=3).SerializeToString()
    put = rpc_pb2.PutRequest(key=b"a", value=b"1").SerializeToString()
    delete = rpc_pb2.DeleteRangeRequest(key=b"a").SerializeToString()
    txn = rpc_pb2.TxnRequest().SerializeToString()
    read = requests.range_request(range_)
    assert isinstance(read, RangeOp)
    assert (read.span, read.limit) == (span, 3)
    assert requests.range_stream_request(range_) == read
    assert requests.put_request(put) == PutOp(b"a", b"1", 0, False, False, False)
    assert requests.delete_request(delete) == DeleteOp(span, False)
    assert requests.txn_request(txn) == TxnOp((), (), ())


@pytest.mark.parametrize(
    "read",
    [
        requests.range_request,
        requests.range_stream_request,
        requests.put_request,
        requests.delete_request,
    ],
)
def test_refusal_is_answered_not_raised(read: Callable[[bytes], object]) -> None:
    assert read(b"") is errors.EMPTY_KEY


def test_refused_txn_is_answered_not_raised() -> None:
    payload = rpc_pb2.TxnRequest(success=[rpc_pb2.RequestOp()]).SerializeToString()
    assert requests.txn_request(payload) is errors.KEY_NOT_FOUND


def test_owner_decodes_what_the_router_has_checked() -> None:
    """The same bytes travel on: router and owner must read the same operation of them."""
    put = rpc_pb2.PutRequest(key=b"a", lease=4, prev_kv=True).SerializeToString()
    delete = rpc_pb2.DeleteRangeRequest(key=b"a", range_end=b"c").SerializeToString()
    op = rpc_pb2.RequestOp(request_range=rpc_pb2.RangeRequest(key=b"r"))
    txn = rpc_pb2.TxnRequest(success=[op]).SerializeToString()
    assert requests.decode_put(put) == requests.put_request(put)
    assert requests.decode_delete(delete) == requests.delete_request(delete)
    assert requests.decode_txn(txn) == requests.txn_request(txn)


def test_compaction_is_its_revision_and_whether_to_wait() -> None:
    request = rpc_pb2.CompactionRequest(revision=-5, physical=True)
    assert requests.compact_request(request.SerializeToString()) == (-5, True)
    assert requests.compact_request(b"") == (0, False)


# -- leases ----------------------------------------------------------------------------------------


@given(st.integers(-(1 << 63), (1 << 63) - 1), st.integers(-(1 << 63), (1 << 63) - 1))
def test_lease_grant_survives_the_way_to_its_owner(lease: int, ttl_s: int) -> None:
    assert requests.lease_grant(requests.encode_lease_grant(lease, ttl_s)) == (lease, ttl_s)
    assert requests.lease_revoke(requests.encode_lease_revoke(lease)) == lease


def test_lease_questions_name_the_lease() -> None:
    alive = rpc_pb2.LeaseKeepAliveRequest(ID=9).SerializeToString()
    asked = rpc_pb2.LeaseTimeToLiveRequest(ID=9, keys=True).SerializeToString()
    assert requests.lease_keep_alive(alive) == 9
    assert requests.lease_time_to_live(asked) == (9, True)


# -- watches ---------------------------------------------------------------------------------------


def watch(**fields: Any) -> requests.WatchMessage:
    return requests.watch_message(rpc_pb2.WatchRequest(**fields).SerializeToString())


def test_create_request_keeps_every_field() -> None:
    create = rpc_pb2.WatchCreateRequest(
        key=b"a",
        range_end=b"b",
        start_revision=-7,
        progress_notify=True,
        filters=[rpc_pb2.WatchCreateRequest.NODELETE],
        prev_kv=True,
        watch_id=3,
        fragment=True,
    )
    assert watch(create_request=create) == CreateWatch(
        b"a", b"b", -7, True, False, True, True, 3, True
    )


def test_filters_are_read_also_when_repeated_or_unknown() -> None:
    create = rpc_pb2.WatchCreateRequest.FromString(b"\x2a\x03\x00\x00\x09")
    message = watch(create_request=create)
    assert isinstance(message, CreateWatch)
    assert (message.no_put, message.no_delete) == (True, False)


def test_cancel_and_progress_are_told_apart() -> None:
    assert watch(cancel_request=rpc_pb2.WatchCancelRequest(watch_id=4)) == CancelWatch(4)
    assert watch(progress_request=rpc_pb2.WatchProgressRequest()) == AskProgress()


@pytest.mark.parametrize("payload", [b"", b"\x7a\x00"])
def test_watch_request_of_no_known_kind_is_none(payload: bytes) -> None:
    """etcd logs and ignores it: the stream goes on."""
    assert requests.watch_message(payload) is None


# -- the server ------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", rpc_pb2.AlarmRequest.AlarmAction.keys())
def test_alarm_request_is_action_member_and_kind(name: str) -> None:
    number = rpc_pb2.AlarmRequest.AlarmAction.Value(name)
    request = rpc_pb2.AlarmRequest(action=name, memberID=7, alarm=rpc_pb2.CORRUPT)
    assert requests.alarm_request(request.SerializeToString()) == (number, 7, 2)
    assert requests.AlarmAction[name] == number


def test_hash_names_its_revision() -> None:
    assert requests.hash_revision(rpc_pb2.HashKVRequest(revision=9).SerializeToString()) == 9
    assert requests.hash_revision(b"") == 0


def test_txn_is_held_to_the_operators_maximum() -> None:
    op = rpc_pb2.RequestOp(request_range=rpc_pb2.RangeRequest(key=b"r"))
    payload = rpc_pb2.TxnRequest(success=[op, op]).SerializeToString()
    assert isinstance(requests.txn_request(payload, 2), TxnOp)
    assert requests.txn_request(payload, 1) is errors.TOO_MANY_OPS


def test_health_check_names_its_service() -> None:
    request = health_pb2.HealthCheckRequest(service="x")
    assert requests.health_service(request.SerializeToString()) == "x"
    assert requests.health_service(b"") == ""
