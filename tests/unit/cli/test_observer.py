"""What an operator hears of a node: each change once, slow turns not too often, nothing else."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from typing import Any

import pytest

from kubebraid.cli.autocompactor import COMPACT
from kubebraid.cli.observer import SLOW_TURN_MS, SLOW_TURN_PAUSE_MS
from kubebraid.proto.etcd import rpc_pb2
from kubebraid.proto.server import Edge, EdgeEvent, Kind
from tests.world import World


@pytest.fixture
def log(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    caplog.set_level(logging.INFO, "kubebraid")
    return caplog


def events(log: pytest.LogCaptureFixture) -> list[tuple[str, dict[str, Any]]]:
    """Message and facts of each record so far, which are forgotten."""
    found = [(record.getMessage(), vars(record)["kubebraid_fields"]) for record in log.records]
    log.clear()
    return found


def test_quiet_node_says_nothing(log: pytest.LogCaptureFixture) -> None:
    world = World()
    world.call("KV.Put", rpc_pb2.PutRequest(key=b"a"))
    world.call("KV.Range", rpc_pb2.RangeRequest(key=b"a"))
    world.advance(10_000)
    assert events(log) == []


def test_compaction_is_told_from_begin_to_end(log: pytest.LogCaptureFixture) -> None:
    world = World()
    world.batch([("KV.Put", rpc_pb2.PutRequest(key=b"a"))] * 1_000)
    world.call("KV.Compact", rpc_pb2.CompactionRequest(revision=900))
    begun, finished = events(log)
    assert begun == ("compaction begun", {"revision": 900, "before": -1})
    assert finished == ("compaction finished", {"revision": 900, "took_ms": 0})
    world.call("KV.Compact", rpc_pb2.CompactionRequest(revision=950))
    assert [facts["revision"] for _, facts in events(log)] == [950, 950]


def test_end_is_told_only_when_the_history_is_gone(log: pytest.LogCaptureFixture) -> None:
    world = World()
    world.batch([("KV.Put", rpc_pb2.PutRequest(key=b"a"))] * 1_000)
    request = rpc_pb2.CompactionRequest(revision=1_000).SerializeToString()
    world.deliver(Kind.CALL, world.new_call(), COMPACT, request)
    assert world.node.loop.turn(), "there is more to remove than one slice"
    assert [message for message, _ in events(log)] == ["compaction begun"]
    world.run()
    assert [message for message, _ in events(log)] == ["compaction finished"]


def test_alarm_is_told_when_it_comes_and_goes(log: pytest.LogCaptureFixture) -> None:
    world = World()
    request = rpc_pb2.AlarmRequest(action="ACTIVATE", memberID=0xAB, alarm="NOSPACE")
    world.call("Maintenance.Alarm", request)
    world.call("Maintenance.Alarm", request)
    assert events(log) == [("alarm raised", {"alarm": "NOSPACE", "member": "ab"})]
    disarm = rpc_pb2.AlarmRequest(action="DEACTIVATE", memberID=0xAB, alarm="NOSPACE")
    world.call("Maintenance.Alarm", disarm)
    assert events(log) == [("alarm disarmed", {"alarm": "NOSPACE", "member": "ab"})]


def work(world: World, ms: int) -> None:
    """A turn whose owner needs so long."""
    owner_turn = world.node.owner.turn

    def slow() -> bool:
        world.clock.ms += ms
        return False

    world.node.owner.turn = slow  # type: ignore[method-assign]
    world.node.loop.turn()
    world.node.owner.turn = owner_turn  # type: ignore[method-assign]


def test_slow_turn_is_told_once_in_a_while(log: pytest.LogCaptureFixture) -> None:
    world = World()
    work(world, SLOW_TURN_MS)
    assert events(log) == []
    work(world, SLOW_TURN_MS + 1)
    assert events(log) == [("slow turn of the loop", {"took_ms": 101, "untold": 0})]
    work(world, SLOW_TURN_MS + 1)
    work(world, SLOW_TURN_MS + 2)
    assert events(log) == []
    world.clock.ms += SLOW_TURN_PAUSE_MS
    work(world, 500)
    assert events(log) == [("slow turn of the loop", {"took_ms": 500, "untold": 2})]


def test_time_in_which_the_loop_only_waits_is_not_slow(log: pytest.LogCaptureFixture) -> None:
    world = World()
    for _ in range(5):
        world.clock.ms += 60_000
        world.run()
    assert events(log) == []


def test_handling_what_a_front_brought_belongs_to_the_turn(log: pytest.LogCaptureFixture) -> None:
    world = World()
    handle = world.node.router.handle

    def slow(edge: Edge, events: Iterable[EdgeEvent]) -> None:
        world.clock.ms += 300
        handle(edge, events)

    world.node.router.handle = slow  # type: ignore[method-assign]
    world.call("KV.Put", rpc_pb2.PutRequest(key=b"a"))
    assert events(log) == [("slow turn of the loop", {"took_ms": 300, "untold": 0})]
