"""The dispatch: one batch of events, whatever is in it, and the router's end."""

from __future__ import annotations

import pytest

from kubebraid.base import errors
from kubebraid.base.errors import Code
from kubebraid.base.tabletmap import TabletMap
from kubebraid.proto.etcd import health_pb2, rpc_pb2
from kubebraid.proto.server import METHODS, Kind, Shape

from .fakes import MAP, Calls, row

STOPPED = (int(errors.STOPPED.code), errors.STOPPED.message)
NOT_A_MESSAGE = b"\x0a\xff"
GET = rpc_pb2.RangeRequest(key=b"a")
WATCH_A = rpc_pb2.WatchRequest(create_request=rpc_pb2.WatchCreateRequest(key=b"a"))


def test_worked_example_reads_one_sample_and_submits_the_put() -> None:
    calls = Calls()
    get, put = calls.event("KV/Range", GET), calls.event("KV/Put", rpc_pb2.PutRequest(key=b"a"))
    calls.deliver(get, put)
    assert rpc_pb2.RangeResponse.FromString(calls.answer(get.call_id)).header.revision == 1
    assert put.call_id not in calls.edge.answers
    assert calls.shards.sequencer.reads == 1
    assert len(calls.shards.left.writes) == 1


def test_reads_of_all_services_in_a_batch_share_one_sample() -> None:
    calls = Calls()
    paths = ("Maintenance/Status", "Lease/LeaseLeases", "Auth/AuthStatus", "Maintenance/Alarm")
    calls.deliver(calls.event("KV/Range", GET), *(calls.event(path) for path in paths))
    assert calls.shards.sequencer.reads == 1
    assert len(calls.edge.answers) == 5


def test_malformed_message_fails_its_own_call_and_nothing_else() -> None:
    calls = Calls()
    before, bad, after = (
        calls.event("KV/Put", rpc_pb2.PutRequest(key=b"a")),
        calls.event("KV/Put", NOT_A_MESSAGE),
        calls.event("KV/Range", GET),
    )
    calls.deliver(before, bad, after)
    code, words = calls.refusal(bad.call_id)
    assert (code, words.startswith("grpc: error unmarshalling request")) == (Code.INTERNAL, True)
    assert calls.answer(after.call_id)
    ((write,),) = calls.shards.left.writes
    assert write.payload == before.payload


@pytest.mark.parametrize("path", ["Watch/Watch", "Lease/LeaseKeepAlive"])
def test_malformed_message_ends_its_own_stream(path: str) -> None:
    calls = Calls()
    bad, good = calls.open(path), calls.open(path)
    calls.deliver(calls.of(bad, path, NOT_A_MESSAGE))
    assert calls.edge.ended[bad][0] == Code.INTERNAL
    assert good not in calls.edge.ended


@pytest.mark.parametrize("method", range(len(METHODS)), ids=lambda n: METHODS[n].path)
def test_every_method_of_the_table_answers_an_empty_call(method: int) -> None:
    """A method without an answer would hang its client, or stop the loop."""
    calls = Calls()
    calls.shards.left.rows = [row(b"/a")]  # the leader that an Observe of "" sees
    spec = METHODS[method]
    service, name = spec.path[1:].split("/")
    path = f"{service.rpartition('.')[2]}/{name}"
    event = calls.event(path)
    if spec.shape is not Shape.UNARY:
        calls.edge.sent[event.call_id] = []
    calls.deliver(event)
    owners = calls.shards.owners.values()
    while calls.router.concurrency.turn() or sum(owner.work() for owner in owners):
        calls.router.turn()
    answered = (
        event.call_id in calls.edge.answers
        or event.call_id in calls.edge.ended
        or bool(calls.edge.sent.get(event.call_id))
    )
    assert answered or any(owner.writes for owner in owners)


def test_bidirectional_method_called_as_unary_is_refused() -> None:
    calls = Calls()
    call_id = calls.call("Watch/Watch", WATCH_A)
    assert calls.edge.ended[call_id][0] == Code.UNIMPLEMENTED


def test_events_of_calls_that_nobody_knows_are_ignored() -> None:
    """CLOSED and DRAINED may cross an end that the router itself brought about."""
    calls = Calls()
    for path in ("Watch/Watch", "Lease/LeaseKeepAlive", "KV/RangeStream", "Health/Watch"):
        for kind in (Kind.CANCELLED, Kind.HALF_CLOSED, Kind.CLOSED, Kind.DRAINED):
            calls.deliver(calls.of(99, path, kind=kind))
    calls.deliver(calls.of(98, "Watch/Watch", WATCH_A))
    assert calls.edge.sent == {}


# -- the loop --------------------------------------------------------------------------------------


def test_turn_is_due_at_the_next_progress_tick() -> None:
    calls = Calls()
    due = calls.clock.ms + 1_000
    assert calls.router.next_deadline_ms() == due
    stream = calls.open("Watch/Watch")
    create = rpc_pb2.WatchCreateRequest(key=b"a", progress_notify=True)
    calls.send(stream, "Watch/Watch", rpc_pb2.WatchRequest(create_request=create))
    calls.clock.ms = due - 1
    assert not calls.router.turn()
    assert len(calls.edge.sent[stream]) == 1
    calls.clock.ms = due
    calls.router.turn()
    assert len(calls.edge.sent[stream]) == 2
    assert calls.router.next_deadline_ms() == due + 1_000


# -- drain -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["KV/Range", "KV/Put", "Lease/LeaseGrant", "Health/Check"])
def test_new_call_while_draining_is_refused_as_unavailable(path: str) -> None:
    calls = Calls()
    calls.router.drain()
    assert calls.refusal(calls.call(path)) == STOPPED


def test_call_accepted_before_the_drain_is_answered() -> None:
    calls = Calls()
    calls.shards.sequencer.hold = True
    get = calls.call("KV/Range", GET)
    put = calls.call("KV/Put", rpc_pb2.PutRequest(key=b"a"))
    calls.router.drain()
    calls.shards.sequencer.answer()
    ((write,),) = calls.shards.left.writes
    calls.shards.left.answer_write(write, 2)
    assert calls.answer(get)
    assert calls.answer(put)


def test_watch_streams_end_at_a_drain_and_new_ones_are_refused() -> None:
    """UNAVAILABLE makes etcd's client resume elsewhere, at its position."""
    calls = Calls()
    stream = calls.open("Watch/Watch")
    calls.send(stream, "Watch/Watch", WATCH_A)
    calls.router.drain()
    assert calls.edge.ended[stream] == STOPPED
    calls.send(stream, "Watch/Watch", WATCH_A)
    assert len(calls.edge.sent[stream]) == 1
    assert calls.edge.ended[calls.open("Watch/Watch")] == STOPPED


@pytest.mark.parametrize("path", ["KV/RangeStream", "Health/Watch"])
def test_server_stream_called_while_draining_is_refused(path: str) -> None:
    calls = Calls()
    calls.router.drain()
    assert calls.edge.ended[calls.call(path, GET if path.startswith("KV") else b"")] == STOPPED


def test_keep_alive_stream_opened_while_draining_is_refused() -> None:
    """A new call is refused whatever its shape: its lease is kept alive elsewhere."""
    calls = Calls()
    calls.router.drain()
    stream = calls.open("Lease/LeaseKeepAlive")
    assert calls.edge.ended.get(stream) == STOPPED


def test_keep_alive_streams_end_at_a_drain() -> None:
    """`drain` ends the streams; one that stays open keeps its client from going elsewhere."""
    calls = Calls()
    stream = calls.open("Lease/LeaseKeepAlive")
    calls.send(stream, "Lease/LeaseKeepAlive", rpc_pb2.LeaseKeepAliveRequest(ID=1))
    calls.router.drain()
    assert calls.edge.ended.get(stream) == STOPPED


def test_health_watcher_learns_of_the_drain() -> None:
    calls = Calls()
    stream = calls.call("Health/Watch")
    calls.router.drain()
    told = [health_pb2.HealthCheckResponse.FromString(m).status for m in calls.edge.sent[stream]]
    kinds = health_pb2.HealthCheckResponse
    assert told == [kinds.SERVING, kinds.NOT_SERVING]
    assert calls.edge.ended[stream] == STOPPED


def test_router_that_follows_a_map_reads_a_sample_of_it() -> None:
    """Nobody else may do so for long: what waits for one, a commit of a map that was skipped, would
    wait until somebody reads."""
    calls = Calls()
    calls.shards.revision = 2
    calls.router.follow(TabletMap(2, MAP.tablets))
    assert calls.router._hub.view.revision == 2
