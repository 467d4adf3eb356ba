"""A coordinator's life: who dials whom, which link is for which part, and that it all works."""

from __future__ import annotations

import random

import pytest

from kubebraid.base.links import Closable, LinkUser, Peer
from kubebraid.base.ports import ClusterView
from kubebraid.base.tabletmap import layout
from kubebraid.coordinator.raft.core import Core
from kubebraid.coordinator.raft.node import World
from kubebraid.coordinator.role import CoordinatorOptions, CoordinatorRole
from kubebraid.proto import coordinator_wire as wire
from kubebraid.proto.coordinator_wire import CoordinatorKind
from tests.linkpair import End
from tests.unit.coordinator.raft.kit import FakeClock, FakeDisk, SeededChance

ADDRESSES = {"a": "h:1", "b": "h:2", "c": "h:3"}


class FakeMesh:
    """Notes who was dialled, and who listens."""

    def __init__(self) -> None:
        self.dialled: list[str] = []
        self.listens: list[str] = []
        self.user: LinkUser | None = None

    def dial(self, address: str, user: LinkUser) -> Closable:
        self.dialled.append(address)
        return _Kept()

    def listen(self, address: str, user: LinkUser) -> Closable:
        self.listens.append(address)
        self.user = user
        return _Kept()


class _Kept:
    def close(self) -> None:
        """Nothing to close."""


class Stand:
    def __init__(self, *members: str, name: str = "a") -> None:
        self.clock = FakeClock()
        self.mesh = FakeMesh()
        options = CoordinatorOptions(
            name,
            "cluster-1",
            "h:listen",
            {member: ADDRESSES[member] for member in members},
            77,
            ("cluster-1", layout([b"/a/"])),
        )
        world = World(FakeDisk(), self.clock, SeededChance(random.Random(1)))
        self.role = CoordinatorRole(options, self.mesh, world)

    def run(self, ms: int) -> None:
        for _ in range(0, ms, 10):
            self.clock.now += 10
            while self.role.turn():
                pass

    def link(self, peer: Peer) -> End:
        end = End(peer)
        assert self.mesh.user is not None
        self.mesh.user.opened(end)
        return end


def states(end: End) -> list[ClusterView]:
    return [wire.decode_state(body) for kind, body in end.sent if kind == CoordinatorKind.STATE]


def test_of_two_coordinators_the_one_with_the_lower_name_dials() -> None:
    """The worked example of the module."""
    dialled = {name: Stand("a", "b", "c", name=name).mesh.dialled for name in ADDRESSES}
    assert dialled == {"a": ["h:2", "h:3"], "b": ["h:3"], "c": []}
    assert Stand("a", "b", "c", name="b").mesh.listens == ["h:listen"]


def test_single_coordinator_founds_its_cluster_serves_and_says_so() -> None:
    stand = Stand("a")
    link = stand.link(Peer("shard", "s0", 7))
    assert [told.cluster for told in states(link)] == [""]
    stand.run(3_000)
    told = states(link)[-1]
    assert (told.cluster, told.serves, told.sequencer, told.cepoch) == ("cluster-1", True, "a", 1)
    deadline_ms = stand.role.next_deadline_ms()
    assert deadline_ms is not None
    assert deadline_ms > stand.clock.now - 10, "it keeps its lease"
    stand.run(6_000)
    assert stand.role.member.view().serves


def test_link_of_another_coordinator_is_the_logs_and_any_other_the_services() -> None:
    stand = Stand("a", "b", "c")
    coordinator = stand.link(Peer("coordinator", "b", 8))
    router = stand.link(Peer("router", "r", 9))
    assert len(states(router)) == 1
    assert states(coordinator) == []
    user = stand.mesh.user
    assert user is not None
    user.received(router, CoordinatorKind.READ_REVISION, b"\xff")
    assert router.ended, "the service judged it"
    user.closed(router)
    user.closed(coordinator)
    stand.run(100)
    assert len(states(router)) == 1, "nobody is told any more"


def test_planned_end_hands_the_lease_back() -> None:
    stand = Stand("a")
    stand.run(3_000)
    ended: list[bool] = []
    stand.role.release(lambda: ended.append(True))
    stand.run(1_000)
    assert ended == [True]
    assert stand.role.member.state.lease.holder == ""
    assert not stand.role.member.serves


def test_what_another_coordinator_says_is_acted_on_at_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Not at the next heartbeat: a commit would wait for one at each of its hops."""
    ticks: list[int] = []
    stand = Stand("a", "b", "c")
    stand.run(100)
    assert stand.mesh.user is not None
    link = End(Peer("coordinator", "b", 1))
    stand.mesh.user.opened(link)
    stand.role.turn()
    stand.role.turn()
    monkeypatch.setattr(Core, "tick", lambda _: ticks.append(1))
    stand.role.turn()
    assert not ticks, "nothing calls for it"
    stand.mesh.user.received(link, 1, b"whatever it says")
    stand.role.turn()
    assert ticks
