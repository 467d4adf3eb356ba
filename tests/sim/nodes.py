"""Simulated nodes: the roles that ship, each on its loop, with a simulated clock, network and disk.

What it is: CoordinatorRole, ShardRole and RouterRole on a `WaitingLoop`, as the main modules have
them. What it is not: any wiring or protocol of its own: what is stepped here is what a user runs.

Words: a node's *life* grows with each start and end of its process, so that what was meant for an
earlier one is dropped; a *turn* is one of its loop's, and one step of the world.

Invariants: a turn sees one instant of true time, but for pauses that begin within it; a node that
is *paused* gets no turn and its inbox fills; a process that ends leaves its synced disk alone.

Tested in tests/sim/test_sim.py.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

from kubebraid.base.links import Peer
from kubebraid.base.loop import Part, WaitingLoop
from kubebraid.base.revision import Epoch
from kubebraid.coordinator.raft.node import World as RaftWorld
from kubebraid.coordinator.role import CoordinatorOptions, CoordinatorRole
from kubebraid.router.role import RouterOptions, RouterRole
from kubebraid.shard.role import ShardOptions, ShardRole
from kubebraid.shard.seams import ShardSeams
from kubebraid.shard.storage.engine import Batch

from .chance import Draws
from .clock import DRIFT_MAX, SimClock
from .disk import SharingSimEngine, SimEngine
from .network import End, SimMesh, SimPoller
from .verdict import Violation

if TYPE_CHECKING:
    from .world import World

CLUSTER = "sim"
IDLE_US = 40_000  # Raft is looked at this often when nothing happens: as on a busy machine
PROGRESS_MS = 700  # of the routers' periodic marks
KEPT = 0.05  # of a shard's turns


class Node:
    """One machine with one process."""

    role = ""

    def __init__(self, world: World, name: str) -> None:
        self.world = world
        self.name = name
        self.life = 0
        self.loop: WaitingLoop | None = None
        self.inbox: deque[tuple[str, End, int, bytes]] = deque()
        self.paused = False
        self.fatal: BaseException | None = None
        self.pauses = 0
        rate = 1.0 + (world.random.random() * 2 - 1) * DRIFT_MAX
        self.clock = SimClock(lambda: world.now, rate, world.random.randrange(10**6))
        self._due: int | None = None
        self._busy_until = 0

    # -- time ----------------------------------------------------------------------------------

    def local_us(self) -> int:
        """When what is done now leaves the node."""
        return self.world.now + self.clock.lag_us

    def wake(self, at_us: int) -> None:
        """A turn then, unless one comes before."""
        at_us = max(at_us, self._busy_until)
        if self.loop is not None and (self._due is None or at_us < self._due):
            self._due = at_us
            life = self.life
            self.world.at(at_us, lambda: self._turn(at_us, life))

    def _turn(self, due: int, life: int) -> None:
        if self._due != due or self.life != life or self.paused or self.loop is None:
            return
        self._due = None
        world = self.world
        heard = len(self.inbox)
        world.note("turn", self.name, heard)
        self.clock.standing = world.faults.standing(self)
        more = False
        try:
            more = self.loop.turn(0)
        except Violation:
            raise
        except Exception as error:  # noqa: BLE001 (as Loop.run: whatever a core raises ends it)
            self.fatal = error
        self.clock.standing = None
        world.turned(self, heard)
        lag, self.clock.lag_us = self.clock.lag_us, 0
        if self.fatal is not None:
            world.died(self, self.fatal)
            return
        if lag:
            world.note("stood", self.name, lag)
            self._busy_until = world.now + lag
            world.faults.silent(self, lag)
        now = world.now + lag
        if more or self.inbox:
            self.wake(now + 20)
        else:
            patience_ms = self.loop._patience_ms()
            self.wake(now + max(self.clock.in_us(patience_ms), self.idle_us()))

    def idle_us(self) -> int:
        return 0

    # -- life ----------------------------------------------------------------------------------

    @property
    def alive(self) -> bool:
        return self.loop is not None

    def start(self) -> None:
        assert self.loop is None
        self.life += 1
        self.fatal = None
        self.world.note("start", self.name, self.life)
        incarnation = self.world.random.getrandbits(62)
        mesh = SimMesh(self, Peer(self.role, self.name, incarnation))
        self.loop = WaitingLoop(self.clock, SimPoller(self))
        self.loop.attach([self.make(mesh, incarnation)])
        self.wake(self.world.now)

    def make(self, mesh: SimMesh, incarnation: int) -> Part:
        raise NotImplementedError

    def kill(self) -> None:
        """SIGKILL, or a power cut where the disk knows a difference."""
        assert self.loop is not None
        self.world.note("kill", self.name, self.life)
        self.life += 1
        self.loop = None
        self.paused = False
        self._due = None
        self.inbox.clear()
        self.world.net.vanish(self)
        self.crashed()

    def crashed(self) -> None:
        """What becomes of the disk."""

    def resume(self) -> None:
        """SIGCONT."""
        self.paused = False
        self._due = None
        self.wake(self.world.now)

    def _failed(self, error: BaseException) -> None:
        assert self.loop is not None
        self.fatal = self.fatal or error
        self.loop.halt()


class CoordinatorNode(Node):
    """A member."""

    role = "coordinator"
    here: CoordinatorRole | None = None

    def make(self, mesh: SimMesh, incarnation: int) -> Part:
        world = self.world
        members = {name: name for name in world.plan.members}
        founding = (f"{world.random.getrandbits(128):032x}", world.first_map)
        options = CoordinatorOptions(self.name, CLUSTER, self.name, members, incarnation, founding)
        surroundings = RaftWorld(world.disks[self.name], self.clock, Draws(world.random))
        self.here = CoordinatorRole(options, mesh, surroundings)
        return self.here

    def idle_us(self) -> int:
        return IDLE_US

    def crashed(self) -> None:
        self.here = None
        disk = self.world.disks[self.name]
        if self.world.chance(0.5):
            disk.crash(self.world.random)  # a power cut: what was not synced is torn
        self.world.truth.member_gone(self.name)


class ShardNode(Node):
    """A shard and its store."""

    role = "shard"
    here: ShardRole | None = None

    def __init__(self, world: World, name: str) -> None:
        super().__init__(world, name)
        self.engine = SimEngine(self._landed)
        if world.space is not None:
            self.engine = SharingSimEngine(self._landed, self._fenced, world.space.journal)
        self._heard = 0
        self.adopted: list[Epoch] = []  # what the marker of its directory would say, in turn

    def _landed(self, engine: SimEngine, batch: Batch) -> None:
        self.world.truth.landed(self.name, engine, batch, self.local_us())

    def _fenced(self, _: SimEngine, batch: Batch) -> None:
        self.world.note("fenced", self.name)
        self.world.truth.fenced(self.name, batch)

    def make(self, mesh: SimMesh, incarnation: int) -> Part:
        members = {name: name for name in self.world.plan.members}
        options = ShardOptions(
            self.name, self.name, self.name, f"store of {self.name}", members, incarnation
        )
        self.engine.catch_up()  # it is opened now
        seams = ShardSeams(self.clock, self._failed, on_adopted=self.adopted.append)
        self.here = ShardRole(options, self.engine, mesh, seams, self._failed)
        return self.here

    def crashed(self) -> None:
        self.here = None
        self.engine = self.engine.survivor()
        self.world.truth.crashed(self.name, self.engine)

    def keep(self) -> None:
        """Behind a turn. What is read of shared rows moves by itself, too: TiKV forgets what is
        old, and its engine's keeper goes with it."""
        if self.world.space is not None and self.here is not None and self.world.chance(KEPT):
            self.engine.catch_up()

    def listen(self) -> None:
        """Be told what it publishes, from the turn on in which it has tablets."""
        here = self.here
        if here is not None and here.owner is not None and self._heard != self.life:
            self._heard = self.life
            here.owner.subscribe(self.world.truth.published)


class RouterNode(Node):
    """A router and the edge of its clients."""

    role = "router"
    here: RouterRole | None = None
    ready = False

    def make(self, mesh: SimMesh, incarnation: int) -> Part:
        members = {name: name for name in self.world.plan.members}
        options = RouterOptions(self.name, members, progress_interval_ms=PROGRESS_MS)
        random = Draws(self.world.random)
        self.here = RouterRole(options, mesh, self.clock, random, self._on_ready)
        return self.here

    def _on_ready(self) -> None:
        self.ready = True
        self.world.edges.opened(self)

    def crashed(self) -> None:
        self.here = None
        if self.ready:
            self.ready = False
            self.world.edges.lost(self)
