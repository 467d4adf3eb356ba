"""Auto-compaction in a whole node under a fake clock: the right revisions, as a client would."""

from __future__ import annotations

import logging
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kubebraid.coordinator.autocompact import HOUR_MS, REVISION_INTERVAL_MS, Retention
from kubebraid.proto.etcd import rpc_pb2
from tests.world import RpcError, World

PREFIXES = (b"/a/", b"/b/")


def world_keeping(retention: Retention) -> World:
    """A fresh node that was told so."""
    world = World(PREFIXES)
    world._options = replace(world._options, retention=retention)
    world.restart()
    return world


def put(world: World, key: bytes = b"/a/1") -> int:
    return int(world.call("KV.Put", rpc_pb2.PutRequest(key=key)).header.revision)


def floor(world: World) -> int:
    return world.node.coordinator.compact_revision()


def readable(world: World, revision: int) -> bool:
    try:
        world.call("KV.Range", rpc_pb2.RangeRequest(key=b"/a/1", revision=revision))
    except RpcError as error:
        return error.text != "etcdserver: mvcc: required revision has been compacted"
    return True


def test_period_that_has_passed_is_compacted() -> None:
    world = world_keeping(Retention("periodic", 10_000))
    for _ in range(3):
        put(world)
    world.advance(11_000)
    assert floor(world) == 1, "the state of ten seconds ago was revision 1"
    world.advance(11_000)
    assert floor(world) == 4
    assert readable(world, 4)
    assert not readable(world, 3)


def test_newest_revisions_stay_and_the_rest_goes_after_five_minutes() -> None:
    world = world_keeping(Retention("revision", 10))
    last = [put(world) for _ in range(30)][-1]
    world.advance(REVISION_INTERVAL_MS - 1)
    assert floor(world) == -1
    world.advance(1)
    assert floor(world) == last - 10
    assert readable(world, last - 10)
    assert not readable(world, last - 11)


def test_without_a_retention_nothing_is_ever_compacted() -> None:
    world = World(PREFIXES)
    put(world)
    world.advance(HOUR_MS)
    assert floor(world) == -1


def test_compaction_by_somebody_else_is_no_error(caplog: pytest.LogCaptureFixture) -> None:
    """A kube-apiserver compacts by itself, and further."""
    caplog.set_level(logging.WARNING, "kubebraid")
    world = world_keeping(Retention("periodic", 10_000))
    put(world)
    world.advance(5_000)
    world.call("KV.Compact", rpc_pb2.CompactionRequest(revision=2))
    world.advance(30_000)
    assert floor(world) == 2
    assert caplog.records == []
    put(world)
    world.advance(22_000)
    assert floor(world) == 3


def test_restart_begins_a_new_retention() -> None:
    """As in etcd: samples are in memory."""
    world = world_keeping(Retention("periodic", 10_000))
    put(world)
    world.advance(9_000)
    world.restart()
    world.advance(9_000)
    assert floor(world) == -1
    world.advance(2_000)
    assert floor(world) == 2


def test_draining_node_compacts_no_more_and_says_nothing(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "kubebraid")
    world = world_keeping(Retention("periodic", 10_000))
    world.node.loop.post(world.node.router.drain)
    world.advance(30_000)
    assert floor(world) == -1
    assert caplog.records == []


def test_refused_compaction_is_told_and_tried_again(caplog: pytest.LogCaptureFixture) -> None:
    """CORRUPT refuses every write, and comes with its own reason."""
    world = world_keeping(Retention("periodic", 10_000))
    corrupt = rpc_pb2.AlarmRequest(action="ACTIVATE", alarm="CORRUPT")
    world.call("Maintenance.Alarm", corrupt)
    world.advance(10_000)
    (record,) = [one for one in caplog.records if one.name == "kubebraid.compaction"]
    assert "auto-compaction was refused" in record.getMessage()
    assert "corrupt" in str(vars(record)["kubebraid_fields"]["reason"])
    healed = rpc_pb2.AlarmRequest(action="DEACTIVATE", alarm="CORRUPT")
    world.call("Maintenance.Alarm", healed)
    world.advance(1_000)
    assert floor(world) == 1


@settings(max_examples=40)
@given(
    period_ms=st.integers(100, 20_000),
    steps=st.lists(st.tuples(st.integers(1, 6_000), st.integers(0, 3)), max_size=20),
)
def test_floor_never_passes_what_was_newest_a_retention_ago(
    period_ms: int, steps: list[tuple[int, int]]
) -> None:
    """... and it follows: once nothing is written for long, only the newest state is left."""
    world = world_keeping(Retention("periodic", period_ms))
    newest_at = [(world.clock.ms, 1)]
    before = floor(world)
    for wait_ms, writes in steps:
        world.advance(wait_ms)
        old = [rev for when, rev in newest_at if when <= world.clock.ms - period_ms]
        assert before <= floor(world) <= (old[-1] if old else -1)
        before = floor(world)
        for _ in range(writes):
            put(world)
        newest_at.append((world.clock.ms, world.node.sequencer.revision))
    world.advance(3 * period_ms + 20 * 500)  # the fake clock moves in steps of 500 ms
    assert floor(world) == world.node.sequencer.revision
