"""The Watch service as etcd's recvLoop has it: requests of a stream, answered in their order."""

from __future__ import annotations

import pytest

from kubebraid.base import errors
from kubebraid.proto.etcd import rpc_pb2
from kubebraid.proto.server import Kind
from kubebraid.router import watch
from tests.world import World

from .fakes import LEFT, Calls, is_mark

WATCH = "Watch/Watch"
CreateRequest = rpc_pb2.WatchCreateRequest


def create(
    key: bytes = b"a", range_end: bytes = b"", start: int = 0, watch_id: int = 0
) -> rpc_pb2.WatchRequest:
    return rpc_pb2.WatchRequest(
        create_request=CreateRequest(
            key=key, range_end=range_end, start_revision=start, watch_id=watch_id
        )
    )


def cancel(watch_id: int) -> rpc_pb2.WatchRequest:
    return rpc_pb2.WatchRequest(cancel_request=rpc_pb2.WatchCancelRequest(watch_id=watch_id))


PROGRESS = rpc_pb2.WatchRequest(progress_request=rpc_pb2.WatchProgressRequest())


class Stream:
    """One open stream of a router."""

    def __init__(self, calls: Calls) -> None:
        self._calls = calls
        self.id = calls.open(WATCH)

    def send(self, *requests: rpc_pb2.WatchRequest) -> None:
        self._calls.send(self.id, WATCH, *requests)

    def happens(self, kind: Kind) -> None:
        self._calls.deliver(self._calls.of(self.id, WATCH, kind=kind))

    def take(self) -> list[rpc_pb2.WatchResponse]:
        sent = self._calls.edge.sent[self.id]
        taken, sent[:] = list(sent), []
        return [rpc_pb2.WatchResponse.FromString(message) for message in taken]


def test_create_is_answered_with_its_id_and_the_present_revision() -> None:
    """A client without a start revision resumes from that header."""
    calls = Calls()
    calls.shards.write(b"a")
    stream = Stream(calls)
    stream.send(create())
    (created,) = stream.take()
    assert created == rpc_pb2.WatchResponse(
        header=rpc_pb2.ResponseHeader(cluster_id=11, member_id=12, revision=2, raft_term=13),
        watch_id=0,
        created=True,
    )


def test_empty_key_is_the_smallest_one() -> None:
    """etcd: an empty key with range_end \\0 watches everything."""
    calls = Calls()
    stream = Stream(calls)
    stream.send(create(b"", b"\x00"), create(b"", b""))
    stream.take()
    calls.shards.write(b"a")
    calls.shards.write(b"\x00")
    told = [(r.watch_id, e.kv.key) for r in stream.take() for e in r.events]
    assert (0, b"a") in told
    assert (1, b"a") not in told
    assert {(0, b"\x00"), (1, b"\x00")} <= set(told)


def test_single_key_watch_is_not_taken_for_a_prefix() -> None:
    """compact_rev_key is watched so: a neighbour's events would be decoded as it."""
    calls = Calls()
    stream = Stream(calls)
    stream.send(create(b"a"))
    stream.take()
    calls.shards.write(b"ab")
    assert stream.take() == []


@pytest.mark.parametrize(
    ("request_", "reason"),
    [
        (create(start=-1), errors.COMPACTED.message),
        (create(b"b", b"a"), "mvcc: watcher range is empty"),
        (create(b"b", b"b"), "mvcc: watcher range is empty"),
        (create(start=-1, watch_id=5), errors.COMPACTED.message),
        (create(watch_id=5), "mvcc: duplicate watch ID provided on the WatchStream"),
        (create(b"b", b"a", watch_id=5), "mvcc: watcher range is empty"),
    ],
)
def test_watch_that_is_not_created_is_answered_created_and_canceled_with_etcds_words(
    request_: rpc_pb2.WatchRequest, reason: str
) -> None:
    """The id is -1: the stream's other watches, also the one of that id, go on."""
    calls = Calls()
    stream = Stream(calls)
    stream.send(create(watch_id=5))
    stream.take()
    stream.send(request_)
    (refused,) = stream.take()
    assert (refused.watch_id, refused.created, refused.canceled) == (-1, True, True)
    assert (refused.cancel_reason, refused.compact_revision) == (reason, 0)
    assert refused.header.revision == 1
    calls.shards.write(b"a")
    assert [r.watch_id for r in stream.take()] == [5]


def test_stream_has_a_bound_on_its_watches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watch, "WATCHES_PER_STREAM_MAX", 2)
    stream = Stream(Calls())
    stream.send(create(), create(), create())
    *_, refused = stream.take()
    assert (refused.watch_id, refused.canceled) == (-1, True)
    assert refused.cancel_reason == "etcdserver: too many requests"
    stream.send(cancel(0), create())
    assert [r.canceled for r in stream.take()] == [True, False]


def test_what_etcd_ignores_is_ignored() -> None:
    calls = Calls()
    stream = Stream(calls)
    stream.send(rpc_pb2.WatchRequest(), cancel(9), PROGRESS)
    assert stream.take() == []
    assert stream.id not in calls.edge.ended


def test_requests_of_a_stream_are_answered_in_their_order() -> None:
    stream = Stream(Calls())
    stream.send(create(), PROGRESS, create(), cancel(0), PROGRESS, cancel(1), PROGRESS)
    told = [(r.watch_id, r.created, r.canceled) for r in stream.take()]
    assert told == [
        (0, True, False),
        (-1, False, False),
        (1, True, False),
        (0, False, True),
        (-1, False, False),
        (1, False, True),
    ]


def test_cancel_behind_a_create_that_waits_for_its_sample_cancels_it() -> None:
    """The client chose the id, so it may cancel at once; it will never send the cancel again."""
    calls = Calls()
    calls.shards.sequencer.hold = True
    stream = Stream(calls)
    stream.send(create(watch_id=7), cancel(7))
    calls.shards.sequencer.answer_all()
    told = [(r.watch_id, r.created, r.canceled) for r in stream.take()]
    assert told == [(7, True, False), (7, False, True)]
    calls.shards.write(b"a")
    assert stream.take() == []


def test_create_waits_for_a_sample_taken_after_it_arrived() -> None:
    """Else a write acknowledged before the watch was asked for would be announced as new."""
    calls = Calls()
    calls.shards.sequencer.hold = True
    stream = Stream(calls)
    stream.send(create())
    calls.shards.write(b"a")
    assert stream.take() == []
    calls.shards.sequencer.answer()
    (created,) = stream.take()
    assert created.header.revision == 2


@pytest.mark.parametrize("how", ["client", "drain"])
def test_stream_that_ended_before_its_sample_came_leaves_no_watcher(how: str) -> None:
    """Nobody will ever cancel it: its feed would be kept and encoded for ever."""
    calls = Calls()
    calls.shards.sequencer.hold = True
    stream = Stream(calls)
    stream.send(create(), PROGRESS)
    if how == "client":
        stream.happens(Kind.CLOSED)
    else:
        calls.router.drain()
    calls.shards.sequencer.answer_all()
    assert not calls.router._hub._feeds


def test_progress_asked_while_a_commit_is_in_flight_comes_behind_its_event() -> None:
    calls = Calls()
    stream = Stream(calls)
    stream.send(create())
    calls.shards.commit(b"a")
    stream.take()
    stream.send(PROGRESS)
    assert stream.take() == []
    calls.shards.deliver(LEFT)
    assert [(is_mark(r), r.header.revision) for r in stream.take()] == [(False, 2), (True, 2)]


def test_filters_are_those_of_the_request() -> None:
    calls = Calls()
    stream = Stream(calls)
    no_put = CreateRequest(key=b"a", filters=[CreateRequest.NOPUT])
    stream.send(rpc_pb2.WatchRequest(create_request=no_put), create())
    stream.take()
    calls.shards.write(b"a")
    assert [r.watch_id for r in stream.take()] == [1]


def test_half_closed_stream_still_gets_events() -> None:
    """etcd's recvLoop ends at EOF without ending the stream."""
    calls = Calls()
    stream = Stream(calls)
    stream.send(create())
    stream.happens(Kind.HALF_CLOSED)
    stream.take()
    calls.shards.write(b"a")
    assert len(stream.take()) == 1


def test_closed_stream_is_forgotten_with_all_its_watches() -> None:
    calls = Calls()
    stream = Stream(calls)
    stream.send(create(), create(b"z"))
    stream.happens(Kind.CLOSED)
    stream.take()
    calls.shards.write(b"a")
    assert stream.take() == []
    assert not calls.router._hub._feeds
    assert calls.router._watch._sessions == {}


def test_drained_stream_gets_what_it_missed() -> None:
    calls = Calls()
    stream = Stream(calls)
    stream.send(create())
    calls.edge.stalled.add(stream.id)
    calls.shards.write(b"a")
    calls.shards.write(b"a")
    assert [r.created for r in stream.take()] == [True]
    calls.edge.stalled.clear()
    stream.happens(Kind.DRAINED)
    while calls.router.turn():
        pass
    assert [e.kv.mod_revision for r in stream.take() for e in r.events] == [2, 3]


# -- the whole node --------------------------------------------------------------------------------


def test_idle_watch_of_a_node_survives_a_stall_after_a_compaction() -> None:
    """It had seen everything up to 6, silently: a 410 would list all objects again for nothing."""
    world = World()
    stream = world.watch_stream()
    stream.send(create(b"c"))
    stream.take()
    for _ in range(5):
        world.call("KV.Put", rpc_pb2.PutRequest(key=b"a"))
    world.call("KV.Compact", rpc_pb2.CompactionRequest(revision=6))
    stream.stall()
    world.call("KV.Put", rpc_pb2.PutRequest(key=b"c"))
    stream.resume()
    told = stream.take()
    assert not any(r.canceled for r in told)
    assert [e.kv.mod_revision for r in told for e in r.events] == [7]
