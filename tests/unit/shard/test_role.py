"""A shard's life: what it asks, when it serves, and over which crash it is let in again.

The coordinators are a real member behind its service; the links are queues.
"""

from __future__ import annotations

import pytest

from kubebraid.base.errors import StaleEpoch
from kubebraid.base.links import Closable, LinkUser, Peer
from kubebraid.base.ports import NEVER_ADOPTED, Adoption, ClusterView, ShardPlace
from kubebraid.coordinator.service import CoordinatorService
from kubebraid.proto.coordinator_wire import CoordinatorKind
from kubebraid.shard.adoption import stored
from kubebraid.shard.mark import StartRefused
from kubebraid.shard.role import ShardOptions, ShardRole
from kubebraid.shard.seams import ShardSeams
from kubebraid.shard.storage.memory import MemoryEngine
from tests.linkpair import End
from tests.unit.coordinator.test_member import Cluster
from tests.unit.shard.fakes import FakeClock

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
        self, coordinator: Coordinator, incarnation: int, engine: MemoryEngine, name: str = NAME
    ) -> None:
        self.coordinator = coordinator
        self.mesh = Mesh()
        self.fatal: list[BaseException] = []
        options = ShardOptions(name, "h:1", "h:1", "disk", {"a": "h:0"}, incarnation)
        seams = ShardSeams(FakeClock(), self.fatal.append)
        self.role = ShardRole(options, engine, self.mesh, seams, self.fatal.append)
        self.near, self.far = End(Peer("coordinator", "a", 1)), End(Peer("shard", name, 1))
        coordinator.service.opened(self.far)
        self.role.client.opened(self.near)

    def serves(self) -> bool:
        return self.role.owner is not None

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
