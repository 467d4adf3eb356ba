"""Requests that locks and elections are made of, and what is read out of their answers."""

from __future__ import annotations

import pytest

from kubebraid.proto import check, concurrency
from kubebraid.proto.etcd import election_pb2, kv_pb2, lock_pb2, rpc_pb2
from kubebraid.proto.requests import LeaderKey

SEAT = kv_pb2.KeyValue(
    key=b"l/1f", create_revision=5, mod_revision=7, version=2, value=b"v", lease=0x1F
)


def test_acquire_is_what_the_worked_example_tells() -> None:
    request = rpc_pb2.TxnRequest.FromString(concurrency.acquire(b"l/1f", b"l/", 0x1F))
    owner = rpc_pb2.RangeRequest(
        key=b"l/",
        range_end=b"l0",
        limit=1,
        sort_target=rpc_pb2.RangeRequest.CREATE,
        sort_order=rpc_pb2.RangeRequest.ASCEND,
    )
    assert request == rpc_pb2.TxnRequest(
        compare=[rpc_pb2.Compare(key=b"l/1f", target=rpc_pb2.Compare.CREATE, create_revision=0)],
        success=[
            rpc_pb2.RequestOp(request_put=rpc_pb2.PutRequest(key=b"l/1f", lease=0x1F)),
            rpc_pb2.RequestOp(request_range=owner),
        ],
        failure=[
            rpc_pb2.RequestOp(request_range=rpc_pb2.RangeRequest(key=b"l/1f")),
            rpc_pb2.RequestOp(request_range=owner),
        ],
    )


def test_comparison_with_revision_zero_is_there_on_the_wire() -> None:
    """Left out it would compare with nothing; etcd's client sets it too."""
    raw = concurrency.stand(b"e/1f", b"v", 0x1F)
    (compare,) = rpc_pb2.TxnRequest.FromString(raw).compare
    assert compare.WhichOneof("target_union") == "create_revision"


def test_youngest_older_seat_is_asked_for_by_its_creation() -> None:
    request = rpc_pb2.RangeRequest.FromString(concurrency.read_before(b"l/", 4))
    assert (request.max_create_revision, request.limit) == (4, 1)
    assert request.sort_order == rpc_pb2.RangeRequest.DESCEND
    assert request.sort_target == rpc_pb2.RangeRequest.CREATE


@pytest.mark.parametrize("below", [False, True])
def test_watch_is_of_one_key_or_of_what_lies_below(below: bool) -> None:
    request = rpc_pb2.WatchRequest.FromString(concurrency.watch(b"l/", 9, below=below))
    assert request.create_request == rpc_pb2.WatchCreateRequest(
        key=b"l/", range_end=b"l0" if below else b"", start_revision=9
    )


@pytest.mark.parametrize(
    "raw",
    [
        concurrency.acquire(b"l/1f", b"l/", 0x1F),
        concurrency.stand(b"e/1f", b"v", 0x1F),
        concurrency.proclaim(b"e/1f", 5, b"v", 0x1F),
        concurrency.resign(b"e/1f", 5),
    ],
)
def test_transactions_pass_the_checks_of_any_client(raw: bytes) -> None:
    assert check.check_txn(rpc_pb2.TxnRequest.FromString(raw), 128) is None


def test_transaction_is_read_by_its_branch_and_its_reads_in_order() -> None:
    other = kv_pb2.KeyValue(key=b"l/1e", create_revision=4)
    answer = rpc_pb2.TxnResponse(
        header=rpc_pb2.ResponseHeader(revision=9),
        responses=[
            rpc_pb2.ResponseOp(response_put=rpc_pb2.PutResponse()),
            rpc_pb2.ResponseOp(response_range=rpc_pb2.RangeResponse(kvs=[SEAT])),
            rpc_pb2.ResponseOp(response_range=rpc_pb2.RangeResponse(kvs=[other])),
        ],
    )
    reply = concurrency.txn_reply(answer.SerializeToString())
    assert (reply.revision, reply.succeeded) == (9, False)
    assert [(seat.key, seat.created) for seat in reply.seats] == [(b"l/1f", 5), (b"l/1e", 4)]
    assert kv_pb2.KeyValue.FromString(reply.seats[0].raw) == SEAT


def test_news_tell_puts_deletions_and_the_end() -> None:
    gone = kv_pb2.KeyValue(key=b"l/1f", mod_revision=8)
    message = rpc_pb2.WatchResponse(
        header=rpc_pb2.ResponseHeader(revision=8),
        events=[kv_pb2.Event(kv=SEAT), kv_pb2.Event(type=kv_pb2.Event.DELETE, kv=gone)],
    )
    news = concurrency.news(message.SerializeToString())
    assert (news.revision, news.over) == (8, False)
    put, deletion = news.happenings
    assert (put.deleted, put.key, put.revision) == (False, b"l/1f", 7)
    assert (deletion.deleted, deletion.revision) == (True, 8)
    assert concurrency.news(rpc_pb2.WatchResponse(canceled=True).SerializeToString()).over


def test_bodies_are_the_answers_without_their_header() -> None:
    assert lock_pb2.LockResponse.FromString(concurrency.lock_body(b"l/1f")) == (
        lock_pb2.LockResponse(key=b"l/1f")
    )
    leader = LeaderKey(b"e", b"e/1f", 5, 0x1F)
    assert election_pb2.CampaignResponse.FromString(concurrency.campaign_body(leader)) == (
        election_pb2.CampaignResponse(
            leader=election_pb2.LeaderKey(name=b"e", key=b"e/1f", rev=5, lease=0x1F)
        )
    )
    assert election_pb2.LeaderResponse.FromString(
        concurrency.leader_body(SEAT.SerializeToString())
    ) == election_pb2.LeaderResponse(kv=SEAT)
