"""Locks and elections on a whole node: who is answered when, and that nothing stays behind."""

from __future__ import annotations

import pytest
from google.protobuf.message import Message

from kubebraid.base import errors
from kubebraid.proto.etcd import election_pb2, lock_pb2, rpc_pb2
from kubebraid.proto.server import METHOD_BY_PATH, EdgeEvent, Kind
from tests.world import RpcError, World

LOCK = METHOD_BY_PATH["/v3lockpb.Lock/Lock"]
UNLOCK = METHOD_BY_PATH["/v3lockpb.Lock/Unlock"]
CAMPAIGN = METHOD_BY_PATH["/v3electionpb.Election/Campaign"]
PROCLAIM = METHOD_BY_PATH["/v3electionpb.Election/Proclaim"]
OBSERVE = METHOD_BY_PATH["/v3electionpb.Election/Observe"]
A, B = 0x1A, 0x1B
TTL_S = 1_000


@pytest.fixture
def world() -> World:
    """With two leases."""
    made = World([b"l/", b"m"])
    for lease in (A, B):
        made.call("Lease.LeaseGrant", rpc_pb2.LeaseGrantRequest(ID=lease, TTL=TTL_S))
    return made


def begin(world: World, method: int, request: Message) -> int:
    """A call, and what the node does of itself then; its id."""
    call_id = world.new_call()
    if method == OBSERVE:
        world.edge.sent[call_id] = []
    world.deliver(Kind.CALL, call_id, method, request.SerializeToString())
    world.run()
    return call_id


def lock(world: World, lease: int) -> int:
    return begin(world, LOCK, lock_pb2.LockRequest(name=b"l", lease=lease))


def key_of(world: World, call_id: int) -> bytes:
    answer = world.edge.answers[call_id]
    assert isinstance(answer, bytes), answer
    return lock_pb2.LockResponse.FromString(answer).key


def unlock(world: World, key: bytes) -> None:
    call_id = begin(world, UNLOCK, lock_pb2.UnlockRequest(key=key))
    assert isinstance(world.edge.answers[call_id], bytes)


def cancel(world: World, call_id: int, method: int = LOCK) -> None:
    world.deliver(Kind.CANCELLED, call_id, method)
    world.run()


def seats(world: World) -> list[bytes]:
    found = world.call("KV.Range", rpc_pb2.RangeRequest(key=b"l/", range_end=b"l0"))
    return [kv.key for kv in found.kvs]


def is_idle(world: World) -> bool:
    """Whether no run, question or watch is left."""
    locks = world.node.router.concurrency
    hub = world.node.router._hub
    return not (locks._runs or locks._asked or locks._ready or hub._sessions or hub._feeds)


def test_lock_goes_from_one_client_to_the_next(world: World) -> None:
    first, second = lock(world, A), lock(world, B)
    assert key_of(world, first) == b"l/1a"
    assert second not in world.edge.answers
    unlock(world, b"l/1a")
    assert key_of(world, second) == b"l/1b"
    assert is_idle(world)


def test_waiting_costs_nothing_until_the_key_before_goes(world: World) -> None:
    """No polling: time passes and nothing becomes ready, nothing is read."""
    lock(world, A)
    lock(world, B)
    calls = world.node.router.concurrency._calls
    world.advance(30_000)
    assert world.node.router.concurrency._calls == calls
    assert not world.node.router.concurrency.turn()


def test_lock_without_lease_lasts_sixty_seconds(world: World) -> None:
    """Nobody keeps its lease alive."""
    lock(world, 0)
    waiting = lock(world, B)
    world.advance(58_000)
    assert waiting not in world.edge.answers
    world.advance(5_000)
    assert key_of(world, waiting) == b"l/1b"


def test_client_that_goes_while_it_waits_leaves_no_seat(world: World) -> None:
    lock(world, A)
    waiting = lock(world, B)
    assert seats(world) == [b"l/1a", b"l/1b"]
    cancel(world, waiting)
    assert seats(world) == [b"l/1a"]
    assert waiting not in world.edge.answers
    assert is_idle(world)


@pytest.mark.parametrize("method", [LOCK, CAMPAIGN])
def test_client_that_goes_while_its_seat_is_written_leaves_none(world: World, method: int) -> None:
    """etcd would leave it there until the lease ends; nobody would know that he holds the lock."""
    call_id = world.new_call()
    request = election_pb2.CampaignRequest(name=b"l", lease=A)  # field for field a LockRequest too
    world.node.deliver(
        world.edge,
        [
            EdgeEvent(Kind.CALL, call_id, method, request.SerializeToString()),
            EdgeEvent(Kind.CANCELLED, call_id, method, b""),
        ],
    )
    world.run()
    assert seats(world) == []
    assert call_id not in world.edge.answers
    assert is_idle(world)


def test_client_that_goes_while_it_holds_the_lock_already_keeps_it(world: World) -> None:
    lock(world, A)
    call_id = world.new_call()
    request = lock_pb2.LockRequest(name=b"l", lease=A).SerializeToString()
    events = [(Kind.CALL, request), (Kind.CANCELLED, b"")]
    world.node.deliver(
        world.edge, [EdgeEvent(kind, call_id, LOCK, payload) for kind, payload in events]
    )
    world.run()
    assert seats(world) == [b"l/1a"]


def test_refusal_of_a_service_is_passed_on_as_text(world: World) -> None:
    """As etcd's: the code of its own client's errors does not survive."""
    answer = world.edge.answers[lock(world, 0xDEAD)]
    assert isinstance(answer, RpcError)
    assert (answer.code, answer.text) == (2, "etcdserver: requested lease not found")
    assert is_idle(world)


def test_drain_sends_away_who_waits_and_takes_the_seat_back(world: World) -> None:
    """The holder keeps the lock; the waiting client calls elsewhere, and must not find itself."""
    lock(world, A)
    waiting = lock(world, B)
    world.node.router.drain()
    world.run()
    answer = world.edge.answers[waiting]
    assert isinstance(answer, RpcError)
    assert (answer.code, answer.text) == (int(errors.STOPPED.code), errors.STOPPED.message)
    assert is_idle(world)
    world.restart()
    assert seats(world) == [b"l/1a"]


def test_drain_answers_what_is_under_way(world: World) -> None:
    """A free lock is given, as a put that came in time is made; a taken one is not waited for."""
    free = lock_pb2.LockRequest(name=b"m", lease=A).SerializeToString()
    taken = lock_pb2.LockRequest(name=b"l", lease=B).SerializeToString()
    lock(world, A)
    first, second = world.new_call(), world.new_call()
    world.deliver(Kind.CALL, first, LOCK, free)
    world.deliver(Kind.CALL, second, LOCK, taken)
    world.node.loop.post(world.node.router.drain)
    world.run()
    assert key_of(world, first) == b"m/1a"
    assert isinstance(world.edge.answers[second], RpcError)
    assert is_idle(world)


def observe(world: World) -> int:
    return begin(world, OBSERVE, election_pb2.LeaderRequest(name=b"l"))


def campaign(world: World, value: bytes) -> election_pb2.LeaderKey:
    request = election_pb2.CampaignRequest(name=b"l", lease=A, value=value)
    answer = world.edge.answers[begin(world, CAMPAIGN, request)]
    assert isinstance(answer, bytes), answer
    return election_pb2.CampaignResponse.FromString(answer).leader


def proclaim(world: World, leader: election_pb2.LeaderKey, value: bytes) -> None:
    request = election_pb2.ProclaimRequest(leader=leader, value=value)
    assert isinstance(world.edge.answers[begin(world, PROCLAIM, request)], bytes)


def seen(world: World, call_id: int) -> list[bytes]:
    messages = map(election_pb2.LeaderResponse.FromString, world.edge.sent[call_id])
    return [message.kv.value for message in messages]


def test_observer_from_before_the_first_leader_sees_every_word(world: World) -> None:
    call_id = observe(world)
    assert seen(world, call_id) == []
    leader = campaign(world, b"one")
    proclaim(world, leader, b"two")
    assert seen(world, call_id) == [b"one", b"two"]
    cancel(world, call_id, OBSERVE)
    proclaim(world, leader, b"three")
    assert seen(world, call_id) == [b"one", b"two"]
    assert is_idle(world)


def test_observer_that_does_not_read_holds_its_watch_back(world: World) -> None:
    """What it missed stays in the log, not in our memory, until its edge says DRAINED."""
    call_id = observe(world)
    leader = campaign(world, b"one")
    world.edge.stalled.add(call_id)
    for value in (b"two", b"three"):
        proclaim(world, leader, value)
    assert seen(world, call_id) == [b"one"]
    world.edge.stalled.discard(call_id)
    world.deliver(Kind.DRAINED, call_id, OBSERVE)
    world.run()
    assert seen(world, call_id) == [b"one", b"two", b"three"]


def test_observer_is_ended_by_a_drain(world: World) -> None:
    call_id = observe(world)
    world.node.router.drain()
    world.run()
    assert world.edge.ended[call_id] == (int(errors.STOPPED.code), errors.STOPPED.message)
    assert is_idle(world)
