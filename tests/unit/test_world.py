"""The harness does what a front and a crash would do, or every test above it proves nothing."""

from __future__ import annotations

from pathlib import Path

import pytest

from kubebraid.proto.etcd import rpc_pb2
from kubebraid.proto.server import METHOD_BY_PATH, Kind
from tests.world import RpcError, World

PREFIXES = (b"/a/", b"/b/")


def put(world: World, key: bytes, lease: int = 0) -> int:
    request = rpc_pb2.PutRequest(key=key, value=b"1", lease=lease)
    return int(world.call("KV.Put", request).header.revision)


def keys(world: World) -> list[bytes]:
    found = world.call("KV.Range", rpc_pb2.RangeRequest(key=b"\x00", range_end=b"\x00"))
    return [kv.key for kv in found.kvs]


@pytest.fixture(params=["memory", "rocksdb"])
def world(request: pytest.FixtureRequest, tmp_path: Path) -> World:
    return World(PREFIXES, request.param, tmp_path / "data")


def test_worked_example_answers_revision_2() -> None:
    assert put(World(), b"a") == 2


@pytest.mark.parametrize("end", ["crash", "restart"])
def test_what_was_answered_is_there_after_any_end_and_no_revision_is_skipped(
    world: World, end: str
) -> None:
    for revision, key in enumerate((b"/a/1", b"/b/1", b"/z"), start=2):
        assert put(world, key) == revision
    getattr(world, end)()
    assert keys(world) == [b"/a/1", b"/b/1", b"/z"]
    assert put(world, b"/a/2") == 5


def test_write_that_was_not_run_before_a_crash_is_not_there(world: World) -> None:
    """Delivered, but no turn was taken: the client has no answer, and no revision is used up."""
    method = METHOD_BY_PATH["/etcdserverpb.KV/Put"]
    payload = rpc_pb2.PutRequest(key=b"/a/1").SerializeToString()
    world.deliver(Kind.CALL, world.new_call(), method, payload)
    world.crash()
    assert keys(world) == []
    assert put(world, b"/a/1") == 2


def test_answers_of_a_batch_are_in_its_order_and_errors_are_values() -> None:
    world = World()
    answers = world.batch(
        [
            ("KV.Put", rpc_pb2.PutRequest(key=b"a")),
            ("KV.Put", rpc_pb2.PutRequest()),
            ("KV.Put", rpc_pb2.PutRequest(key=b"b")),
        ]
    )
    assert [getattr(a, "code", None) for a in answers] == [None, 3, None]
    assert [answers[0].header.revision, answers[2].header.revision] == [2, 3]
    with pytest.raises(RpcError, match="key is not provided"):
        world.call("KV.Put", rpc_pb2.PutRequest())


def test_time_passes_only_when_told_and_ends_leases() -> None:
    world = World()
    granted = world.call("Lease.LeaseGrant", rpc_pb2.LeaseGrantRequest(TTL=5))
    put(world, b"a", lease=granted.ID)
    world.advance(4_000)
    assert keys(world) == [b"a"]
    world.advance(2_000)
    assert keys(world) == []


def test_stalled_stream_receives_nothing_until_it_reads_on() -> None:
    world = World()
    stream = world.watch_stream()
    create = rpc_pb2.WatchCreateRequest(key=b"a")
    stream.send(rpc_pb2.WatchRequest(create_request=create))
    assert [r.created for r in stream.take()] == [True]
    stream.stall()
    put(world, b"a")
    assert stream.take() == []
    stream.resume()
    assert [e.kv.mod_revision for r in stream.take() for e in r.events] == [2]


@pytest.mark.parametrize("end", ["crash", "restart", "close"])
def test_stream_has_ended_after_the_server_or_the_client_is_gone(end: str) -> None:
    world = World()
    streams = [world.watch_stream()]
    assert [stream.ended for stream in streams] == [None]
    getattr(streams[0] if end == "close" else world, end)()
    ((code, _),) = [stream.ended or (0, "") for stream in streams]
    assert code != 0


def test_two_worlds_given_the_same_give_the_same() -> None:
    """A seed replays a day: no clock, no chance, no order of memory gets in."""

    def day() -> list[bytes]:
        world = World(PREFIXES)
        stream = world.watch_stream()
        create = rpc_pb2.WatchCreateRequest(key=b"\x00", range_end=b"\x00")
        stream.send(rpc_pb2.WatchRequest(create_request=create))
        lease = world.call("Lease.LeaseGrant", rpc_pb2.LeaseGrantRequest(TTL=5)).ID
        for key in (b"/a/1", b"/b/1", b"/z"):
            put(world, key, lease)
        world.advance(6_000)
        return [response.SerializeToString(deterministic=True) for response in stream.take()]

    assert day() == day()
