"""The wiring of a process: what stays over a restart, and what a new incarnation makes new."""

from __future__ import annotations

import pytest
from google.protobuf.message import Message

from kubebraid.base.errors import Code, StaleEpoch
from kubebraid.base.limits import TEND_MS
from kubebraid.base.tabletmap import layout
from kubebraid.cli.node import SHARD, EngineCell, Node, NodeOptions, Seams
from kubebraid.coordinator import state as codec
from kubebraid.proto.etcd import rpc_pb2
from kubebraid.proto.server import METHOD_BY_PATH, Kind
from kubebraid.shard.storage.engine import EngineError, EngineFull
from kubebraid.shard.storage.memory import MemoryEngine
from tests.unit.shard.fakes import BreakableEngine, TightSpace
from tests.world import FakeClock, FakeRandom, RpcError, World

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
    """What a batch brought is committed in the same turn; locks go on from what it answered."""
    started = node(MemoryEngine())
    head, *inner, tail = started.loop._parts
    assert inner == [started.router, started.owner, started.router.concurrency]
    observer = started._observer
    assert (head, tail) == (observer.head, observer), "a whole turn is watched"


# -- a cell whose store fails ----------------------------------------------------------------------


@pytest.mark.parametrize("lands", [False, True])
def test_cell_whose_write_fails_once_is_written_again(lands: bool) -> None:
    """Written twice it is the same cell, so nobody needs to find out."""
    engine, space = BreakableEngine(), TightSpace()
    cell = EngineCell(engine, space)
    cell.save(b"one")
    engine.write_faults.append((EngineFull("no space"), lands))
    cell.save(b"two")
    assert (engine.reopens, space.told) == (1, ["release"])
    assert EngineCell(engine.clone()).load() == b"two"


def test_cell_that_cannot_be_written_says_so() -> None:
    """Nothing may be answered from a state that is not stored."""
    engine = BreakableEngine()
    cell = EngineCell(engine)
    cell.save(b"one")
    engine.write_faults.extend([(EngineError("gone"), False)] * 2)
    with pytest.raises(EngineError, match="gone"):
        cell.save(b"two")
    engine.reopen()
    engine.write_faults.append((EngineError("gone"), False))
    engine.reopen_faults.append(EngineError("gone for good"))
    with pytest.raises(EngineError, match="for good"):
        cell.save(b"two")
    assert EngineCell(engine.clone()).load() == b"one"


def test_compaction_whose_floor_is_stored_at_the_second_try_is_answered() -> None:
    world = SpaceWorld()
    for key in (b"/a/1", b"/a/1", b"/a/1"):
        put(world, key)
    world.failing.write_faults.append((EngineError("gone"), False))
    world.call("KV.Compact", rpc_pb2.CompactionRequest(revision=3))
    world.crash()
    assert world.node.coordinator.compact_revision() == 3


# -- the space that is left ------------------------------------------------------------------------

NO_SPACE = (Code.RESOURCE_EXHAUSTED, "etcdserver: mvcc: database space exceeded")


class SpaceWorld(World):
    """A node on an engine that can fail, and a device that can be short."""

    def __init__(self) -> None:
        self.space = TightSpace()
        self.died: list[BaseException] = []
        super().__init__(PREFIXES)

    def _start(self) -> None:
        if not isinstance(self.engine, BreakableEngine):
            failing = BreakableEngine()
            assert isinstance(self.engine, MemoryEngine)
            failing._table = self.engine._table
            self.engine = failing
        self.failing = self.engine
        super()._start()

    def _seams(self) -> Seams:
        return Seams(self.clock, FakeRandom(), self.died.append, space=self.space)

    def outcome(self, method: str, request: Message) -> tuple[int, str] | None:
        """None if the call was answered, else the refusal."""
        (answer,) = self.batch([(method, request)])
        return (answer.code, answer.text) if isinstance(answer, RpcError) else None

    def seen_in(self, method: str, request: Message) -> int:
        """The revision of the answer's header; 0 for a refusal, or where nobody answers."""
        call_id = self.new_call()
        path = "/etcdserverpb." + method.replace(".", "/")
        self.deliver(Kind.CALL, call_id, METHOD_BY_PATH[path], request.SerializeToString())
        self.run()
        answer = self.edge.answers.pop(call_id, b"")
        if isinstance(answer, RpcError):
            return 0
        # Every answer but one of nothing has its header in field 1.
        return rpc_pb2.CompactionResponse.FromString(answer).header.revision

    def put(self, key: bytes) -> tuple[int, str] | None:
        return self.outcome("KV.Put", rpc_pb2.PutRequest(key=key))

    def disarm(self) -> None:
        member = self.node.router._context.header.member_id
        request = rpc_pb2.AlarmRequest(action="DEACTIVATE", alarm="NOSPACE", memberID=member)
        self.call("Maintenance.Alarm", request)

    def look(self) -> None:
        """Time for the shard to look at its device."""
        self.advance(TEND_MS)


def test_short_device_refuses_what_needs_space_in_etcds_words_and_nothing_else() -> None:
    world = SpaceWorld()
    assert world.put(b"/a/1") is None
    world.space.is_short = True
    world.look()
    assert world.put(b"/a/2") == NO_SPACE
    grant = rpc_pb2.LeaseGrantRequest(ID=7, TTL=60)
    assert world.outcome("Lease.LeaseGrant", grant) == NO_SPACE
    assert world.call("KV.Range", rpc_pb2.RangeRequest(key=b"/a/1")).count == 1
    assert world.outcome("KV.DeleteRange", rpc_pb2.DeleteRangeRequest(key=b"/a/1")) is None
    assert world.outcome("KV.Compact", rpc_pb2.CompactionRequest(revision=3)) is None
    (alarm,) = world.call("Maintenance.Alarm", rpc_pb2.AlarmRequest(action="GET")).alarms
    assert (alarm.memberID, alarm.alarm) == (header_of(world).member_id, rpc_pb2.NOSPACE)


def test_alarm_of_a_short_device_ends_with_the_shortage_and_a_disarm_not_before() -> None:
    """As in etcd an operator ends it; while the device is short it comes back at the next look."""
    world = SpaceWorld()
    world.space.is_short = True
    world.look()
    world.disarm()
    world.look()
    assert world.put(b"/a/1") == NO_SPACE
    world.space.is_short = False
    world.look()
    assert world.put(b"/a/1") == NO_SPACE
    world.disarm()
    world.look()
    assert world.put(b"/a/1") is None


def test_full_device_refuses_the_write_that_met_it_and_the_alarm_outlives_a_crash() -> None:
    world = SpaceWorld()
    world.failing.write_faults.append((EngineFull("no space"), False))
    assert world.put(b"/a/1") == NO_SPACE
    assert "release" in world.space.told
    assert world.put(b"/a/2") == NO_SPACE
    world.crash()
    assert world.put(b"/a/3") == NO_SPACE
    world.disarm()
    assert put(world, b"/a/4") == 3, "2 was allocated, and stays empty"
    assert world.died == []


def test_alarm_that_cannot_be_stored_counts_all_the_same_and_ends_nobody() -> None:
    """Its record is only for the next start, and the write that met the full device is settled:
    its client must hear so."""
    world = SpaceWorld()
    full = (EngineFull("no space"), False)
    world.failing.write_faults.extend([full, None, full, full])
    assert world.put(b"/a/1") == NO_SPACE
    assert world.died == []


@pytest.mark.parametrize(
    ("method", "request_"),
    [
        ("KV.Range", rpc_pb2.RangeRequest(key=b"/b/x")),
        ("KV.Range", rpc_pb2.RangeRequest(key=b"/b/", range_end=b"/b0")),
        ("KV.DeleteRange", rpc_pb2.DeleteRangeRequest(key=b"/b/none")),
        ("KV.Txn", rpc_pb2.TxnRequest()),
        ("Lease.LeaseLeases", rpc_pb2.LeaseLeasesRequest()),
        ("Lease.LeaseTimeToLive", rpc_pb2.LeaseTimeToLiveRequest(ID=7)),
        ("Maintenance.Status", rpc_pb2.StatusRequest()),
        ("Maintenance.HashKV", rpc_pb2.HashKVRequest()),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_inv13_revision_of_a_header_is_never_given_to_a_later_write(
    method: str, request_: Message
) -> None:
    """The store fails for good under a put. Until the process has stopped, its loop goes on: no
    answer may tell the lost revision, because the next start gives it to another write."""
    world = SpaceWorld()
    assert put(world, b"/a/1") == 2
    assert world.seen_in(method, request_) == 2
    world.failing.write_faults.append((EngineError("gone"), False))
    world.failing.reopen_faults.extend([EngineError("gone")] * 3)
    assert world.put(b"/a/2") == (Code.UNAVAILABLE, "etcdserver: request timed out")
    assert world.died
    world.failing.reopen()
    seen = world.seen_in(method, request_)
    world.crash()
    assert put(world, b"/a/3") > seen
