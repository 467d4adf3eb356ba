"""The wiring of a process: what stays over a restart, and what a new incarnation makes new."""

from __future__ import annotations

import pytest

from kubebraid.base.errors import StaleEpoch
from kubebraid.base.tabletmap import layout
from kubebraid.cli.node import SHARD, EngineCell, Node, NodeOptions, Seams
from kubebraid.coordinator import state as codec
from kubebraid.proto.etcd import rpc_pb2
from kubebraid.shard.storage.memory import MemoryEngine
from tests.world import FakeClock, FakeRandom, World

PREFIXES = (b"/a/", b"/b/")


def fail(error: BaseException) -> None:
    raise error


def node(
    engine: MemoryEngine,
    uuid: str = "u",
    name: str = "n",
    prefixes: tuple[bytes, ...] = PREFIXES,
) -> Node:
    first_map = layout(prefixes, SHARD)
    return Node(engine, first_map, NodeOptions(uuid, name), Seams(FakeClock(), FakeRandom(), fail))


def header_of(world: World) -> rpc_pb2.ResponseHeader:
    answered = world.call("KV.Range", rpc_pb2.RangeRequest(key=b"a"))
    assert isinstance(answered.header, rpc_pb2.ResponseHeader)
    return answered.header


def put(world: World, key: bytes) -> int:
    return int(world.call("KV.Put", rpc_pb2.PutRequest(key=key)).header.revision)


def test_new_store_is_at_revision_1() -> None:
    """etcd's mvcc begins there; kube-apiserver needs a revision above 0."""
    assert header_of(World(PREFIXES)).revision == 1


@pytest.mark.parametrize("end", ["crash", "restart"])
def test_next_revision_after_any_stop_is_the_highest_fence_and_one(end: str) -> None:
    """No gap: what was allocated but not durable was seen by nobody."""
    world = World(PREFIXES)
    assert [put(world, key) for key in (b"/a/1", b"/b/1", b"/a/2")] == [2, 3, 4]
    getattr(world, end)()
    assert header_of(world).revision == 4
    assert put(world, b"/b/2") == 5


def test_revision_of_a_store_without_data_survives_a_restart() -> None:
    world = World(PREFIXES)
    world.restart()
    assert header_of(world).revision == 1


def test_each_start_is_a_new_reign_with_new_owner_epochs_and_map() -> None:
    """M6: an older incarnation, should it still run, can write nothing any more."""
    engine = MemoryEngine()
    first = node(engine)
    second = node(engine.clone())
    assert second.coordinator.cepoch == first.coordinator.cepoch + 1
    before, after = first.coordinator.tablet_map(), second.coordinator.tablet_map()
    assert after.version == before.version + 1
    assert [(t.id, t.oepoch) for t in after.tablets] == [
        (t.id, t.oepoch + 1) for t in before.tablets
    ]


def test_older_incarnation_cannot_start_on_a_store_that_a_newer_one_has_fenced() -> None:
    engine = MemoryEngine()
    node(engine)
    stored = EngineCell(engine).load()
    assert stored is not None
    node(engine)
    node(engine)
    EngineCell(engine).save(stored)
    with pytest.raises(StaleEpoch):
        node(engine)


def test_stored_map_rules_over_the_layout_of_a_later_start() -> None:
    """--tablets counts only for a new store."""
    engine = MemoryEngine()
    first = node(engine)
    later = node(engine, prefixes=(b"/other/",))
    spans = [t.span for t in later.coordinator.tablet_map().tablets]
    assert spans == [t.span for t in first.coordinator.tablet_map().tablets]


def test_compaction_floor_survives_a_crash() -> None:
    world = World(PREFIXES)
    for key in (b"/a/1", b"/a/1", b"/a/1"):
        put(world, key)
    world.call("KV.Compact", rpc_pb2.CompactionRequest(revision=3))
    world.crash()
    assert world.node.coordinator.compact_revision() == 3


def test_cell_keeps_what_was_saved_last() -> None:
    cell = EngineCell(MemoryEngine())
    assert cell.load() is None
    cell.save(b"one")
    cell.save(b"two")
    assert cell.load() == b"two"


def test_coordinators_state_is_stored_before_the_node_serves() -> None:
    engine = MemoryEngine()
    started = node(engine)
    raw = EngineCell(engine).load()
    assert raw is not None
    stored = codec.decode(raw)
    assert (stored.cepoch, stored.tablets) == (
        started.coordinator.cepoch,
        started.coordinator.tablet_map(),
    )


def test_ids_of_cluster_and_member_stay_and_the_term_grows() -> None:
    """A client that finds another cluster id under an address gives up."""
    world = World(PREFIXES)
    before = header_of(world)
    world.restart()
    after = header_of(world)
    assert (after.cluster_id, after.member_id) == (before.cluster_id, before.member_id)
    assert after.raft_term == before.raft_term + 1


def ids(uuid: str, name: str) -> tuple[int, int]:
    header = node(MemoryEngine(), uuid, name).router._context.header
    return header.cluster_id, header.member_id


def test_cluster_id_is_of_the_store_and_member_id_of_store_and_name() -> None:
    one, two, three = ids("u", "a"), ids("u", "b"), ids("v", "a")
    assert one[0] == two[0] != three[0]
    assert len({one[1], two[1], three[1]}) == 3
    assert all(0 < number < 1 << 63 for pair in (one, two, three) for number in pair)


def test_router_takes_its_turn_before_the_owner() -> None:
    """What a batch brought is committed in the same turn."""
    started = node(MemoryEngine())
    assert started.loop._parts == (started.router, started.owner)
