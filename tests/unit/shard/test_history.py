"""The log read back: the same commits that were published, in revision order."""

from __future__ import annotations

import heapq
from collections.abc import Sequence

import pytest

from kubebraid.base import errors
from kubebraid.base.keyspace import EVERYTHING, KeyRange
from kubebraid.base.ports import LogCall, LogReply
from kubebraid.base.record import Commit
from kubebraid.proto.etcd import kv_pb2, rpc_pb2
from kubebraid.router.merge import join
from kubebraid.shard.history import read_log
from tests.unit.shard.fakes import A, B, Stand, delete_call, put_call, txn_call

BOTH = (A, B)


def log(
    stand: Stand,
    first: int,
    upto: int,
    tablets: tuple[int, ...] = BOTH,
    span: KeyRange = EVERYTHING,
    limit: int = 100,
) -> LogReply:
    reply = read_log(stand.engine, LogCall(tablets, span, first, upto, limit), stand.floor)
    assert isinstance(reply, LogReply)
    return reply


def live(stand: Stand) -> list[Commit]:
    """The published commits, merged as a router's feed merges them."""
    by_tablet: dict[int, list[Commit]] = {}
    for publication in stand.published:
        for news in publication.news:
            by_tablet.setdefault(news.tablet, []).extend(news.commits)
    ordered = [by_tablet[tablet] for tablet in sorted(by_tablet)]
    return join(heapq.merge(*ordered, key=lambda commit: commit.revision))


def op_put(key: bytes, value: bytes = b"v") -> rpc_pb2.RequestOp:
    return rpc_pb2.RequestOp(request_put=rpc_pb2.PutRequest(key=key, value=value))


def op_delete(key: bytes, range_end: bytes = b"") -> rpc_pb2.RequestOp:
    request = rpc_pb2.DeleteRangeRequest(key=key, range_end=range_end)
    return rpc_pb2.RequestOp(request_delete_range=request)


def nested(*ops: rpc_pb2.RequestOp) -> rpc_pb2.RequestOp:
    return rpc_pb2.RequestOp(request_txn=rpc_pb2.TxnRequest(success=ops))


def commit_txn(stand: Stand, *ops: rpc_pb2.RequestOp) -> None:
    stand.write(txn_call(rpc_pb2.TxnRequest(success=ops)))


def keys(commits: Sequence[Commit]) -> list[tuple[int, list[bytes]]]:
    return [(commit.revision, [event.key for event in commit.events]) for commit in commits]


def test_two_tablets_are_read_as_one_history_with_previous_versions() -> None:
    """The worked example of the module: a put in one tablet, a delete in the other."""
    stand = Stand()
    stand.write(put_call(b"/b/b", b"old"))
    stand.write(put_call(b"/a/a"), delete_call(b"/b/b"))
    reply = log(stand, 3, 4)
    assert keys(reply.commits) == [(3, [b"/a/a"]), (4, [b"/b/b"])]
    gone = reply.commits[1].events[0]
    assert gone.deleted
    assert gone.previous is not None
    assert kv_pb2.KeyValue.FromString(gone.previous).value == b"old"
    assert reply.complete == 4


def test_inv07_log_has_the_bytes_that_were_published() -> None:
    stand = Stand()
    stand.write(put_call(b"/a/x", b"1"), put_call(b"/b/y", b"1"), put_call(b"/a/x", b"2"))
    stand.write(delete_call(b"/a/x"), put_call(b"/a/x", b"3"), delete_call(b"/b/", b"/b0"))
    stand.write(put_call(b"/a/x", b"4"))
    assert log(stand, 2, 8).commits == live(stand)


def test_range_bounds_are_inclusive() -> None:
    stand = Stand()
    stand.write(*[put_call(b"/a/x") for _ in range(5)])  # 2 to 6
    assert [r for r, _ in keys(log(stand, 3, 5).commits)] == [3, 4, 5]
    assert log(stand, 3, 5).complete == 5


def test_tablets_and_span_that_were_not_asked_for_are_left_out() -> None:
    stand = Stand()
    stand.write(put_call(b"/a/x"), put_call(b"/b/x"), put_call(b"/a/y"))
    assert keys(log(stand, 2, 4, (A,)).commits) == [(2, [b"/a/x"]), (4, [b"/a/y"])]
    span = KeyRange(b"/a/y", b"/b/x")
    reply = log(stand, 2, 4, BOTH, span)
    assert keys(reply.commits) == [(4, [b"/a/y"])]
    assert reply.complete == 4


@pytest.mark.parametrize("limit", [1, 2, 3, 7])
def test_slices_of_the_log_join_to_the_whole(limit: int) -> None:
    stand = Stand()
    for number in range(12):
        stand.write(put_call(b"/a/x" if number % 3 else b"/b/y"))
    found: list[Commit] = []
    first = 2
    while first <= 13:
        reply = log(stand, first, 13, limit=limit)
        assert first - 1 <= reply.complete <= 13
        assert reply.complete >= first, "every slice goes on"
        found += reply.commits
        first = reply.complete + 1
    assert found == log(stand, 2, 13).commits == live(stand)


def test_inv06_revision_of_several_tablets_is_one_commit_even_at_the_limit() -> None:
    stand = Stand()
    commit_txn(stand, op_put(b"/a/x"), op_put(b"/b/x"))
    stand.write(put_call(b"/a/x"))
    reply = log(stand, 2, 3, limit=1)
    assert [(r, sorted(found)) for r, found in keys(reply.commits)] == [(2, [b"/a/x", b"/b/x"])]
    assert reply.complete == 2


def test_inv08_events_of_one_revision_have_one_order_live_and_from_the_log() -> None:
    """A watcher that resumes must not see another order than the one that stayed."""
    stand = Stand()
    stand.write(put_call(b"/a/gone"))
    commit_txn(stand, op_put(b"/b/x"), op_delete(b"/a/gone"), op_put(b"/a/longer"))
    commits = log(stand, 3, 3).commits
    assert keys(commits) == [(3, [b"/b/x", b"/a/gone", b"/a/longer"])], "that of the operations"
    assert commits == live(stand)[1:]


@pytest.mark.parametrize("first", [1, 2, 3])
def test_log_below_the_floor_is_refused_and_never_served_in_part(first: int) -> None:
    stand = Stand()
    stand.write(*[put_call(b"/a/x") for _ in range(5)])
    stand.floor = 4
    call = LogCall(BOTH, EVERYTHING, first, 6, 100)
    assert read_log(stand.engine, call, 4) is errors.COMPACTED


def test_log_at_the_floor_is_served_with_its_previous_versions() -> None:
    """etcd: a watch may start at the compacted revision itself."""
    stand = Stand()
    stand.write(*[put_call(b"/a/x", b"%d" % n) for n in range(2, 7)])
    stand.floor = 4
    stand.owner.compact(4, None)
    stand.run()
    assert log(stand, 4, 6).commits == live(stand)[2:]


def test_log_of_nothing_is_complete() -> None:
    assert log(Stand(), 2, 9) == LogReply([], 9)


def test_key_put_and_deleted_in_one_revision_is_read_back() -> None:
    """etcd lets a nested delete follow a put of the same key: two events, one revision."""
    stand = Stand()
    commit_txn(stand, nested(op_put(b"/a/x")), nested(op_delete(b"/a/x")))
    events = log(stand, 2, 2).commits[0].events
    assert [(event.key, event.deleted) for event in events] == [(b"/a/x", False), (b"/a/x", True)]
    assert kv_pb2.KeyValue.FromString(events[0].raw).value == b"v"
    assert [event.previous for event in events] == [None, None]


def test_key_put_and_deleted_to_the_end_in_one_revision_is_read_back() -> None:
    """etcd takes the end "\\0" literally when it looks for duplicates, so this passes its check."""
    stand = Stand()
    commit_txn(stand, op_put(b"/a/x"), op_delete(b"/a/w", b"\x00"))
    assert [event.deleted for event in log(stand, 2, 2).commits[0].events] == [False, True]


def test_key_deleted_and_put_in_one_revision_is_read_back() -> None:
    stand = Stand()
    stand.write(put_call(b"/a/x", b"old"))
    commit_txn(stand, op_delete(b"/a/w", b"\x00"), op_put(b"/a/x", b"new"))
    events = log(stand, 3, 3).commits[0].events
    assert [event.deleted for event in events] == [True, False]
    assert kv_pb2.KeyValue.FromString(events[1].raw).value == b"new"
    previous = [event.previous for event in events]
    assert previous[0] is not None
    assert previous[1] is None, "the put made the key anew: a creation has no previous version"
