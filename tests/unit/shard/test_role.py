"""A shard's life: what it asks, when it serves, and over which crash it is let in again.

The coordinators are a real member behind its service; the links are queues.
"""

from __future__ import annotations

import pytest

from kubebraid.base import errors
from kubebraid.base.errors import StaleEpoch
from kubebraid.base.limits import HOST_LINGER_MS
from kubebraid.base.links import Closable, LinkUser, Peer
from kubebraid.base.ports import (
    NEVER_ADOPTED,
    WRITE_PUT,
    Adoption,
    ClusterView,
    ShardPlace,
    WriteCall,
    WriteReply,
)
from kubebraid.coordinator.service import CoordinatorService
from kubebraid.proto.coordinator_wire import CoordinatorKind
from kubebraid.proto.owner_wire import Calls, OwnerKind, encode_calls
from kubebraid.shard import fencing, keycodec
from kubebraid.shard.adoption import stored
from kubebraid.shard.mark import ForeignCluster, StartRefused, check, mark, rows_id, store_id
from kubebraid.shard.role import ShardOptions, ShardRole
from kubebraid.shard.seams import ShardSeams
from kubebraid.shard.storage.engine import Batch, EngineError
from kubebraid.shard.storage.memory import MemoryEngine
from kubebraid.shard.storage.tikv_errors import EngineConflict, EngineFenced
from tests.linkpair import End
from tests.shared_rows import Journal, Sharing
from tests.unit.coordinator.test_member import Cluster
from tests.unit.shard.fakes import FakeClock, put_call

NAME = "s0"  # the shard of test_member's cluster


class Kept:
    def close(self) -> None:
        """Nothing to close."""


class Mesh:
    """Notes who listens."""

    def __init__(self) -> None:
        self.listens: list[str] = []

    def dial(self, address: str, user: LinkUser) -> Closable:
        return Kept()

    def listen(self, address: str, user: LinkUser) -> Closable:
        self.listens.append(address)
        return Kept()


class Process:
    """One process of the shard, linked to the coordinator."""

    def __init__(
        self,
        coordinator: Coordinator,
        incarnation: int,
        engine: MemoryEngine,
        name: str = NAME,
        host: str = "",
        since: int = 0,
    ) -> None:
        self.coordinator = coordinator
        self.clock = FakeClock()
        self.takes = 0
        self.mesh = Mesh()
        self.fatal: list[BaseException] = []
        options = ShardOptions(name, "h:1", "h:1", "disk", {"a": "h:0"}, incarnation, host, since)
        seams = ShardSeams(self.clock, self.fatal.append, take=self._take)
        self.role = ShardRole(options, engine, self.mesh, seams, self.fatal.append)
        self.near, self.far = End(Peer("coordinator", "a", 1)), End(Peer("shard", name, 1))
        coordinator.service.opened(self.far)
        self.role.client.opened(self.near)

    def _take(self) -> str:
        """The store is ours from now on; its id is the one that the options say."""
        assert all(kind != CoordinatorKind.START_SHARD for kind, _ in self.near.sent)
        self.takes += 1
        return ""

    def serves(self) -> bool:
        return self.role.serves

    def hear(self) -> None:
        """What the coordinator said arrives."""
        while self.far.sent:
            self.role.client.received(self.near, *self.far.sent.popleft())

    def say(self, last: CoordinatorKind | None = None) -> bool:
        """What the shard said arrives, up to a message of that kind. Answers: did one?"""
        while self.near.sent:
            kind, body = self.near.sent.popleft()
            self.coordinator.service.received(self.far, kind, body)
            if kind == last:
                return True
        return False

    def run(self) -> None:
        for _ in range(10):
            self.hear()
            self.say()
            self.coordinator.run()

    def run_up_to(self, last: CoordinatorKind) -> None:
        """Until the coordinator has carried out what the shard asked by a message of that kind; its
        answer is still on its way."""
        for _ in range(10):
            self.hear()
            found = self.say(last)
            self.coordinator.run()
            if found:
                return
        raise AssertionError(f"{last.name} was never asked")


class Coordinator:
    """One that serves."""

    def __init__(self) -> None:
        self.cluster = Cluster("a")
        self.cluster.run()
        self.member = self.cluster.members["a"]
        self.service = CoordinatorService(self.member)

    def run(self) -> None:
        self.cluster.run(20)
        self.service.turn()

    def confirmed(self) -> Adoption:
        (shard,) = self.member.state.shards
        return shard.confirmed


def lived() -> tuple[Coordinator, MemoryEngine]:
    """Incarnation 7 has served, and is gone; its store."""
    coordinator, engine = Coordinator(), MemoryEngine()
    process = Process(coordinator, 7, engine)
    process.run()
    assert process.serves()
    assert coordinator.confirmed() == stored(engine) == Adoption(7)
    return coordinator, engine


def test_shard_serves_only_when_its_durable_adoption_is_confirmed() -> None:
    coordinator, engine = Coordinator(), MemoryEngine()
    process = Process(coordinator, 7, engine)
    process.run_up_to(CoordinatorKind.START_SHARD)
    assert stored(engine) == NEVER_ADOPTED
    process.hear()
    assert stored(engine) == Adoption(7), "durable"
    assert not process.serves()
    assert process.mesh.listens == []
    process.run()
    assert process.serves()
    assert process.mesh.listens == ["h:1"]


@pytest.mark.parametrize(
    ("last", "heard", "says", "confirmed"),
    [
        (CoordinatorKind.START_SHARD, False, 7, 7),  # before its adoption is durable
        (CoordinatorKind.START_SHARD, True, 8, 7),  # behind that, before it is confirmed
        (CoordinatorKind.SHARD_ADOPTED, False, 8, 8),  # behind that, before it hears of it
    ],
)
def test_process_that_ends_on_its_way_is_followed_by_another_and_no_older_copy_is(
    last: CoordinatorKind, heard: bool, says: int, confirmed: int
) -> None:
    coordinator, engine = lived()
    first = MemoryEngine()  # a copy from before 7 came
    older = engine.clone()
    process = Process(coordinator, 8, engine)
    process.run_up_to(last)
    if heard:
        process.hear()
    assert not process.serves()
    assert (stored(engine).incarnation, coordinator.confirmed().incarnation) == (says, confirmed)
    copy = Process(coordinator, 9, first)
    copy.run()
    assert isinstance(copy.fatal[0], StartRefused)
    again = Process(coordinator, 10, engine)
    again.run()
    assert again.fatal == []
    assert again.serves()
    copy = Process(coordinator, 11, older)
    copy.run()
    assert isinstance(copy.fatal[0], StartRefused)
    assert "older copy" in str(copy.fatal[0])
    assert not copy.serves()
    assert stored(older) == Adoption(7), "nothing was changed"
    again.run()
    assert again.fatal == [], "nobody has disturbed it"


def test_process_that_is_replaced_before_it_serves_ends() -> None:
    coordinator, engine = lived()
    process = Process(coordinator, 8, engine)
    process.run_up_to(CoordinatorKind.START_SHARD)
    process.hear()
    other = Process(coordinator, 9, engine)
    other.run()
    assert other.serves()
    process.hear()
    assert isinstance(process.fatal[0], StaleEpoch)
    assert not process.serves()


def placed(coordinator: Coordinator, name: str, confirmed: int) -> ClusterView:
    """The state of a cluster that has let in incarnation 7 of a shard without tablets."""
    view = coordinator.member.view()
    place = ShardPlace(name, "disk", 7, "h:1", view.tablets.version, Adoption(confirmed))
    return view._replace(shards=(*view.shards, place))


def tell(process: Process, view: ClusterView) -> None:
    process.role.client._newest = view
    process.role._told(view)


def test_shard_that_owns_nothing_serves() -> None:
    """It has come to receive tablets, or was drained."""
    coordinator, engine = Coordinator(), MemoryEngine()
    process = Process(coordinator, 7, engine, name="s9")
    tell(process, coordinator.member.view())
    process.say()
    assert process.role._asked, "it asks to be let in"
    tell(process, placed(coordinator, "s9", confirmed=0))
    assert stored(engine) == Adoption(7)
    assert not process.serves()
    tell(process, placed(coordinator, "s9", confirmed=7))
    assert process.serves()
    assert process.mesh.listens == ["h:1"]
    assert process.role.owner is not None
    assert process.role.owner.status().tablets == 0
    assert process.fatal == []


def test_shards_that_own_nothing_are_reached_by_the_others() -> None:
    """A lease's home asks whoever it has noted as a guest."""
    coordinator = Coordinator()
    process = Process(coordinator, 8, MemoryEngine())
    tell(process, placed(coordinator, "s9", confirmed=7))
    assert set(process.role._others.clients) == {"s9"}


def test_shard_that_was_removed_ends_and_its_directory_is_strange() -> None:
    coordinator, engine = Coordinator(), MemoryEngine()
    process = Process(coordinator, 7, engine, name="s9")
    tell(process, placed(coordinator, "s9", confirmed=0))
    tell(process, placed(coordinator, "s9", confirmed=7))
    assert process.serves()
    tell(process, coordinator.member.view())
    assert "s9 was removed from the cluster" in str(process.fatal[0])
    again = Process(coordinator, 8, engine, name="s9")
    again.run()
    assert isinstance(again.fatal[0], StartRefused)
    assert "If s9 was removed, start it with an empty directory" in str(again.fatal[0])
    empty = Process(coordinator, 9, MemoryEngine(), name="s9")
    empty.run()
    assert empty.serves()


def test_store_of_another_cluster_is_refused_before_the_coordinators_hear_of_it() -> None:
    """They would remember its id, and refuse the right one ever after."""
    coordinator, engine = Coordinator(), MemoryEngine()
    store_id(engine)
    mark(engine, NAME, "another")
    process = Process(coordinator, 7, engine)
    with pytest.raises(ForeignCluster):
        process.run()
    assert CoordinatorKind.START_SHARD not in [kind for kind, _ in process.near.sent]
    right = Process(coordinator, 8, MemoryEngine())
    right.run()
    assert right.serves()


def test_store_that_has_its_id_is_this_clusters_once_it_was_taken() -> None:
    coordinator, engine = Coordinator(), MemoryEngine()
    store_id(engine)
    Process(coordinator, 7, engine).run()
    with pytest.raises(ForeignCluster):
        check(engine, NAME, "another")
    again = Process(coordinator, 8, engine)
    again.run()
    assert again.serves()


class Shared(MemoryEngine):
    """Other shards' engines read and write the same rows."""

    shares_rows = True  # type: ignore[misc]  # what a farther engine says for good


def test_coordinators_are_told_which_rows_it_shares_and_refuse_others() -> None:
    coordinator, engine = Coordinator(), Shared()
    process = Process(coordinator, 7, engine)
    process.run()
    assert process.serves()
    assert (
        coordinator.member.state.shards[0].rows
        == rows_id(engine, coordinator.member.state.cluster)
        != ""
    )
    for strange in (MemoryEngine(), Shared()):
        other = Process(coordinator, 8, strange, name="s9")
        other.run()
        (error,) = other.fatal
        assert isinstance(error, StartRefused)
        assert "s9 keeps its rows in another place than the other shards" in str(error)
        assert not other.serves()


def test_m6_shared_fences_are_taken_as_whoever_had_the_tablets_left_them() -> None:
    """They were moved away and came back while this process waited for its turn."""
    coordinator, engine, other = Coordinator(), Sharing(), Sharing()
    journal = Journal()
    for each in (engine, other):
        each.join(journal)
    Process(coordinator, 7, engine).run()
    process = Process(coordinator, 8, engine)
    process.run_up_to(CoordinatorKind.START_SHARD)
    other.catch_up()
    left, batch = {}, Batch().put(keycodec.newest(b"/a/late"), b"")
    for tablet in coordinator.member.state.tablets.tablets:
        stored_fence = other.get(keycodec.fence(tablet.id))
        assert stored_fence is not None
        fence = fencing.unpack(stored_fence)
        left[tablet.id] = fence.nonce + 5
        batch.put(keycodec.fence(tablet.id), fence._replace(nonce=fence.nonce + 5).pack())
    other.write(batch, sync=True)
    assert engine.get(keycodec.newest(b"/a/late")) is None, "not read yet"
    process.run()
    assert process.fatal == []
    assert process.serves()
    owned = process.role._owned
    assert owned is not None
    assert {tablet: fence.nonce - 1 for tablet, fence in owned.fences.items()} == left
    assert engine.get(keycodec.newest(b"/a/late")) is not None


# -- a host's --------------------------------------------------------------------------------------


def hosted() -> tuple[Coordinator, MemoryEngine, Process]:
    """s0 serves at the host h0; a router is linked to it."""
    coordinator, engine = Coordinator(), MemoryEngine()
    process = Process(coordinator, 7, engine, host="h0")
    process.run()
    assert process.serves()
    assert coordinator.member.state.shards[0].host == "h0"
    return coordinator, engine, process


def wrote(process: Process) -> list[WriteReply]:
    """A put, by the port that routers have."""
    replies: list[WriteReply] = []
    assert process.role.owner is not None
    tablets = process.coordinator.member.state.tablets
    payload = put_call(b"/a/x").payload
    call = WriteCall(
        WRITE_PUT, payload, (tablets.tablet_of(b"/a/x").id,), tablets.version, len(replies)
    )
    process.role.owner.submit([call], replies.append)
    process.role.turn()
    return replies


def test_store_is_taken_once_when_a_coordinator_can_be_reached_and_before_it_is_asked() -> None:
    coordinator, engine = Coordinator(), MemoryEngine()
    process = Process(coordinator, 7, engine, host="h0")
    process.role.turn()
    assert process.takes == 0, "the one before serves until then"
    process.hear()
    assert process.takes == 1
    assert process.near.sent[-1][0] == CoordinatorKind.START_SHARD
    process.run()
    assert process.serves()
    assert process.takes == 1


def test_store_whose_shard_another_host_has_by_now_is_not_taken() -> None:
    """The host has heard of its seat from a coordinator that lags."""
    coordinator, engine, _ = hosted()
    other = Process(coordinator, 8, engine, host="h1")
    other.hear()
    assert isinstance(other.fatal[0], StaleEpoch)
    assert "seated at h0" in str(other.fatal[0])
    assert other.takes == 0
    assert not other.near.sent


def test_what_is_older_than_the_state_that_seated_a_shard_does_not_tell_where_it_is() -> None:
    """The first coordinator that is reached lags behind the one that its host has heard."""
    coordinator, engine, _ = hosted()
    view = coordinator.member.view()
    other = Process(coordinator, 8, engine, host="h1", since=view.applied + 1)
    tell(other, view)
    assert (other.fatal, other.takes) == ([], 0)
    moved = view.shards[0]._replace(host="h1")
    tell(other, view._replace(applied=view.applied + 1, shards=(moved,)))
    assert (other.fatal, other.takes) == ([], 1)


def test_process_that_waits_while_its_shard_gets_another_host_ends() -> None:
    coordinator, engine, first = hosted()
    again = Process(coordinator, 8, engine, host="h0")
    view = coordinator.member.view()
    tell(again, view)
    assert again.takes == 1
    moved = view.shards[0]._replace(host="h1")
    tell(again, view._replace(applied=view.applied + 1, shards=(moved,)))
    assert isinstance(again.fatal[0], StaleEpoch)
    tell(first, view._replace(applied=view.applied + 1, shards=(moved,)))
    assert first.fatal == [], "who serves goes on until the new host's process has come"


def replaced(process: Process) -> None:
    view = process.coordinator.member.view()
    other = view.shards[0]._replace(incarnation=8)
    tell(process, view._replace(applied=view.applied + 1, shards=(other,)))


def test_hosts_shard_that_is_replaced_refuses_as_definite_for_a_while_and_then_ends() -> None:
    _, _, process = hosted()
    flying = wrote(process)
    assert flying == [], "its revision is asked for"
    replaced(process)
    assert [reply.error for reply in flying] == [errors.OWNER_AWAY]
    assert [reply.error for reply in wrote(process)] == [errors.OWNER_AWAY]
    assert process.fatal == []
    assert process.role.next_deadline_ms() == process.clock.ms + HOST_LINGER_MS
    process.clock.ms += HOST_LINGER_MS - 1
    process.role.turn()
    assert process.fatal == []
    replaced(process)
    process.clock.ms += 1
    process.role.turn()
    (error,) = process.fatal
    assert isinstance(error, StaleEpoch)


def test_hosts_shard_says_its_refusals_while_it_lingers() -> None:
    """They wait for a turn of the service."""
    _, _, process = hosted()
    assert process.role._service is not None
    router = End(Peer("router", "r", 1))
    process.role._service.opened(router)
    replaced(process)
    router.sent.clear()
    calls = Calls()
    call = put_call(b"/a/x")
    calls.writes.append(call)
    calls.write_numbers.append(1)
    process.role._service.received(router, OwnerKind.CALLS, encode_calls(calls))
    process.role.turn()
    kinds = [kind for kind, _ in router.sent]
    assert OwnerKind.ANSWERS in kinds
    assert not router.ended


def test_store_that_says_that_it_was_taken_is_heard_before_the_coordinators() -> None:
    _, _, process = hosted()
    fenced = EngineFenced("another process took the store over")
    process.role._seams.on_fatal(fenced)
    assert process.fatal == []
    assert [reply.error for reply in wrote(process)] == [errors.OWNER_AWAY]
    process.role._seams.on_fatal(EngineFenced("later"))
    process.clock.ms += HOST_LINGER_MS
    process.role.turn()
    assert process.fatal == [fenced], "the first"


@pytest.mark.parametrize("error", [EngineError("gone"), EngineConflict("met")])
def test_hosts_shard_that_does_not_know_what_it_did_ends_at_once(error: EngineError) -> None:
    _, _, process = hosted()
    process.role._seams.on_fatal(error)
    assert process.fatal == [error]


def test_shard_that_is_no_hosts_ends_at_once_when_it_is_replaced() -> None:
    coordinator, engine = Coordinator(), MemoryEngine()
    process = Process(coordinator, 7, engine)
    process.run()
    replaced(process)
    assert isinstance(process.fatal[0], StaleEpoch)


def test_committed_counts_what_this_process_did() -> None:
    coordinator, engine, process = hosted()
    assert process.role.committed == 0
    replies = wrote(process)
    for _ in range(5):
        process.run()
        process.role.turn()
    assert [reply.error for reply in replies] == [None]
    assert process.role.committed == 1
    again = Process(coordinator, 8, engine, host="h0")
    again.run()
    assert again.serves()
    assert again.role.committed == 0, "the fences count from the first life on"
