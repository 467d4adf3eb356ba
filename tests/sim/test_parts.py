"""The simulator's own parts: clocks, links and disks behave as they promise.

What it is: tests of the fakes. What it is not: a test of the product.
"""

from __future__ import annotations

import pytest

from kubebraid.base.links import Link, Peer
from kubebraid.shard.keycodec import cell, fence, log
from kubebraid.shard.storage.engine import Batch, EngineError
from kubebraid.shard.storage.tikv_errors import EngineFenced
from tests.shared_rows import Journal

from .clock import SimClock
from .disk import SharingSimEngine, SimEngine
from .network import End, SimMesh
from .world import Plan, World

QUIET = Plan(("m0",), ("s0",), ("r0",), 1, 10_000, 10_000, (), 10_000, 512, 50_000)


class Hearer:
    """A LinkUser that writes down what it hears."""

    def __init__(self) -> None:
        self.heard: list[str] = []
        self.links: list[Link] = []

    def opened(self, link: Link) -> None:
        self.links.append(link)
        self.heard.append("opened")

    def received(self, link: Link, kind: int, body: bytes) -> None:
        assert link in self.links
        self.heard.append(f"{kind}:{body.decode()}")

    def closed(self, link: Link) -> None:
        self.heard.append("closed")


def joined(seed: int = 1) -> tuple[World, Hearer, Hearer]:
    """Two nodes' ends of one wire; the nodes run nothing else."""
    world = World(seed, QUIET)
    near, far = Hearer(), Hearer()
    for node, user in ((world.routers[0], near), (world.shards[0], far)):
        node.start()
        mesh = SimMesh(node, Peer(node.role, node.name, 1))
        if user is far:
            mesh.listen("far", user)
        else:
            mesh.dial("far", user)
    pass_time(world, 200_000)
    return world, near, far


def pass_time(world: World, us: int) -> None:
    end = world.now + us
    world.at(end, lambda: None)
    world._until(lambda: world.now >= end, us)


def test_a_clock_runs_at_its_rate_and_stands_still_when_told() -> None:
    true = [2_000_000]
    clock = SimClock(lambda: true[0], 1.04, 100)
    assert clock.now_ms() == 2_080 + 100
    assert abs(clock.true_us(2_180) - 2_000_000) <= 1_000
    clock.standing = lambda: 500_000
    assert clock.now_ms() == 2_180, "the look that starts a pause is before it"
    clock.standing = None
    assert clock.now_ms() == 2_700


def test_messages_arrive_in_order_and_none_behind_the_end() -> None:
    world, near, far = joined()
    for number in range(20):
        near.links[0].send(number, b"x")
    pass_time(world, 50_000)
    assert far.heard == ["opened", *(f"{number}:x" for number in range(20))]
    assert near.links[0].pending_bytes() == 0

    far.links[0].close()
    near.links[0].send(99, b"late")
    pass_time(world, 20_000)
    assert far.heard[-1] == near.heard[-1] == "closed"
    assert "99:late" not in far.heard
    pass_time(world, 500_000)
    assert near.heard[-1] == far.heard[-1] == "opened", "a dialer tries again"


def test_a_partition_holds_messages_back_until_it_heals() -> None:
    world, near, far = joined()
    world.net.part("r0", "s0")
    near.links[0].send(1, b"held")
    pass_time(world, 1_000_000)
    assert far.heard == ["opened"]
    world.net.heal("r0", "s0")
    pass_time(world, 10_000)
    assert far.heard == ["opened", "1:held"]


def test_a_long_partition_ends_the_wire_and_loses_what_was_held() -> None:
    world, near, far = joined()
    world.net.part("r0", "s0")
    near.links[0].send(1, b"lost")
    pass_time(world, 4_000_000)
    assert far.heard == ["opened", "closed"]
    assert near.heard == ["opened", "closed"]


@pytest.mark.parametrize("seed", range(1, 9))
def test_a_cut_loses_the_end_of_what_was_sent_and_nothing_else(seed: int) -> None:
    world, near, far = joined(seed)
    for number in range(10):
        near.links[0].send(number, b"")
    end = near.links[0]
    assert isinstance(end, End)
    pass_time(world, 300)
    end.wire.cut()
    pass_time(world, 10_000)
    numbers = [heard for heard in far.heard if ":" in heard]
    assert numbers == [f"{number}:" for number in range(len(numbers))]
    assert far.heard[1 + len(numbers)] == "closed"


def test_a_process_that_ended_hears_nothing_more() -> None:
    world, near, far = joined()
    near.links[0].send(1, b"x")
    world.shards[0].kill()
    pass_time(world, 100_000)
    assert far.heard == ["opened"]
    assert near.heard[:2] == ["opened", "closed"]


def test_an_engine_fails_as_planned_and_keeps_what_was_synced() -> None:
    heard: list[int] = []
    engine = SimEngine(lambda _, batch: heard.append(len(batch)))
    engine.write(Batch().put(b"a", b"1"), sync=True)
    engine.fail_next(lands=True)
    with pytest.raises(EngineError):
        engine.write(Batch().put(b"b", b"2"), sync=True)
    with pytest.raises(EngineError, match="before"):
        engine.write(Batch().put(b"c", b"3"), sync=True)
    engine.reopen()
    engine.fail_next(lands=False)
    with pytest.raises(EngineError):
        engine.write(Batch().put(b"d", b"4"), sync=True)
    engine.reopen()
    engine.write(Batch().put(b"e", b"5"), sync=False)
    assert heard == [1, 1, 1]
    assert engine.survivor().keys(b"", b"z", 9) == [b"a", b"b"]


class Neighbours:
    """Two shards' engines of one row space."""

    def __init__(self) -> None:
        self.journal = Journal()
        self.heard: list[Batch] = []
        self.fenced: list[Batch] = []
        self.near, self.far = self.engine(), self.engine()

    def engine(self) -> SharingSimEngine:
        def hear(_: SimEngine, batch: Batch) -> None:
            self.heard.append(batch)

        def fenced(_: SimEngine, batch: Batch) -> None:
            self.fenced.append(batch)

        return SharingSimEngine(hear, fenced, self.journal)


def test_a_new_process_finds_its_own_rows_and_what_all_have_written() -> None:
    both = Neighbours()
    both.near.write(Batch().put(b"na", b"1").put(cell("x"), b"near"), sync=False)
    both.far.write(Batch().put(b"nb", b"2").put(cell("x"), b"far"), sync=False)
    assert both.near.get(b"nb") is None, "seen when it catches up, and not before"
    found = both.near.survivor()
    assert found.keys(b"", b"z", 9) == [cell("x"), b"na", b"nb"]
    assert found.get(cell("x")) == b"near"


@pytest.mark.parametrize("lands", [True, False])
def test_what_fails_on_shared_rows_is_in_the_journal_if_it_landed(lands: bool) -> None:
    both = Neighbours()
    both.near.fail_next(lands)
    with pytest.raises(EngineError, match="simulated"):
        both.near.write(Batch().put(b"na", b"1"), sync=True)
    both.far.catch_up()
    assert both.far.get(b"na") == (b"1" if lands else None)
    assert len(both.heard) == lands
    both.near.reopen()
    assert both.near.get(b"na") == (b"1" if lands else None)


def test_a_stale_fence_is_refused_and_told_and_the_engine_waits_for_a_reopening() -> None:
    both = Neighbours()
    both.near.write(Batch().put(fence(3), b"1"), sync=True)
    both.far.catch_up()
    assert both.far.get(fence(3)) == b"1"
    both.far.write(Batch().put(fence(3), b"2"), sync=True)
    with pytest.raises(EngineFenced):
        both.near.write(Batch().put(fence(3), b"3").put(b"na", b"1"), sync=True)
    assert len(both.fenced) == 1
    with pytest.raises(EngineError, match="before"):
        both.near.write(Batch().put(b"na", b"1"), sync=True)
    both.near.reopen()
    assert (both.near.get(fence(3)), both.near.get(b"na")) == (b"2", None)


def test_a_range_of_shared_rows_is_heard_row_by_row() -> None:
    both = Neighbours()
    both.near.write(Batch().put(log(3, 5), b"").put(log(3, 6), b""), sync=True)
    both.near.write(Batch().delete_range(log(3, 0), log(4, 0)), sync=True)
    assert [key for _, key, _ in both.heard[-1].operations] == [log(3, 5), log(3, 6)]
    both.far.catch_up()
    assert both.far.keys(b"l", b"m", 9) == []
