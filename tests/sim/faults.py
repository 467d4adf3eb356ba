"""What goes wrong, and when: cuts, partitions, slowness, crashes, pauses, failing disks.

What it is: the choice of faults by the seed, and their healing. What it is not: how a node or a
wire behaves under them.

Words: *standing* still: a pause that begins at a look at the clock, within a turn; a *pause* is
SIGSTOP between two turns.

Invariants: each fault ends by itself; after `heal` none begins, and everything runs.

Worked example: seed 12 drew "crash" and "stand": about each 250 ms one node dies for up to 2 s, or
stands still for up to 4 s while it decides whether its lease holds.

Tested in tests/sim/test_sim.py.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, ClassVar

from .network import DEAD_US
from .nodes import CoordinatorNode, Node, RouterNode, ShardNode

if TYPE_CHECKING:
    from .world import World


class Faults:
    """Of one world."""

    KINDS: ClassVar[tuple[str, ...]] = (
        *("cut", "part", "slow", "crash_shard", "crash_router", "crash_member", "release"),
        *("pause", "stand", "engine", "depose"),
    )

    def __init__(self, world: World) -> None:
        self._world = world
        self._on = False
        self._stand: dict[str, int] = {}

    def begin(self) -> None:
        self._on = bool(self._world.plan.faults)
        self._next()

    def _next(self) -> None:
        if self._on:
            gap = self._world.plan.fault_gap_us
            self._world.after(int(self._world.random.expovariate(1 / gap)) + 1, self._strike)

    def _strike(self) -> None:
        if not self._on:
            return
        kind = self._world.random.choice(self._world.plan.faults)
        self.strike(kind)
        self._next()

    def strike(self, kind: str) -> None:
        """One fault of a kind, of a random node."""
        doing: dict[str, Callable[[], None]] = {
            "cut": self._cut,
            "part": self._part,
            "slow": self._slow,
            "crash_shard": lambda: self._crash(ShardNode),
            "crash_router": lambda: self._crash(RouterNode),
            "crash_member": lambda: self._crash(CoordinatorNode),
            "release": self._release,
            "pause": self._pause,
            "stand": self._stand_still,
            "engine": self._engine,
            "depose": self._depose,
        }
        doing[kind]()

    # -- each kind -----------------------------------------------------------------------------

    def _long(self) -> int:
        """Mostly short, at times longer than every timeout; in microseconds."""
        random = self._world.random
        return int(random.choice((5_000, 50_000, 400_000, 2_000_000, 4_500_000)) * random.random())

    def _pick(self, kind: type[Node] = Node) -> Node | None:
        alive = [
            node for node in self._world.nodes
            if isinstance(node, kind) and node.alive and not node.paused
        ]  # fmt: skip
        return self._world.random.choice(alive) if alive else None

    def _cut(self) -> None:
        wires = list(self._world.net.wires)
        if wires:
            wire = self._world.random.choice(wires)
            self._world.note("cut", wire.ends[0].node.name, wire.ends[1].node.name)
            wire.cut()

    def _part(self) -> None:
        """One node from another, from all, or from those of its own role."""
        world, node = self._world, self._pick()
        if node is None:
            return
        others = [other.name for other in world.nodes if other is not node]
        alike = [o.name for o in world.nodes if o is not node and o.role == node.role]
        away = world.random.choice((others, [world.random.choice(others)], alike or others))
        world.note("part", node.name, away)
        for other in away:
            world.net.part(node.name, other)

        def heal(name: str = node.name) -> None:
            for other in away:
                world.net.heal(name, other)

        world.after(self._long(), heal)

    def _depose(self) -> None:
        """The sequencer from the other coordinators, while routers and shards still reach it."""
        world = self._world
        for node in world.members:
            if node.here is not None and node.here.member.serves:
                others = [other.name for other in world.members if other is not node]
                world.note("depose", node.name)
                for other in others:
                    world.net.part(node.name, other)
                    world.after(3_500_000, partial(world.net.heal, node.name, other))

    def _slow(self) -> None:
        world, node = self._world, self._pick()
        if node is not None:
            world.net.slow[node.name] = int(world.random.random() * 60_000)
            world.after(self._long(), partial(world.net.quicken, node.name))

    def _crash(self, kind: type[Node]) -> None:
        node = self._pick(kind)
        if node is None or node.local_us() < node._busy_until:
            return
        node.kill()
        self.restart_later(node)

    def restart_later(self, node: Node) -> None:
        life = node.life

        def start() -> None:
            if node.life == life and not node.alive:
                node.start()

        self._world.after(self._long() if self._on else 50_000, start)

    def _release(self) -> None:
        """A planned end of a coordinator: it hands its lease back."""
        node = self._pick(CoordinatorNode)
        if not isinstance(node, CoordinatorNode) or node.loop is None or node.here is None:
            return
        life, role = node.life, node.here

        def ended() -> None:
            if node.life == life and node.alive:
                node.kill()
                self.restart_later(node)

        self._world.note("release", node.name)
        node.loop.post(lambda: role.release(lambda: self._world.after(0, ended)))
        node.wake(self._world.now)

    def _pause(self) -> None:
        node = self._pick()
        if node is None:
            return
        long = self._long()
        self._world.note("pause", node.name, long)
        node.paused = True
        node.pauses += 1
        pauses, life = node.pauses, node.life
        self.silent(node, long)

        def resume() -> None:
            if node.pauses == pauses and node.life == life and node.paused:
                node.resume()

        self._world.after(long, resume)

    def silent(self, node: Node, long: int) -> None:
        """Whoever has a link to it finds it dead, if it is silent for long enough."""
        if long < DEAD_US:
            return
        for wire in self._world.net.wires_of(node):
            self._world.after(DEAD_US, wire.cut)

    def _stand_still(self) -> None:
        """At one of its next looks at the clock it stands still for a while."""
        node = self._pick()
        if node is not None:
            self._stand[node.name] = self._long()

    def standing(self, node: Node) -> Callable[[], int] | None:
        """What a node's clock asks within a turn; None: nothing is planned."""
        if node.name not in self._stand:
            return None

        def now() -> int:
            if node.name in self._stand and self._world.chance(0.3):
                return self._stand.pop(node.name)
            return 0

        return now

    def _engine(self) -> None:
        node = self._pick(ShardNode)
        if isinstance(node, ShardNode):
            self._world.note("engine", node.name)
            for _ in range(self._world.random.choice((1, 1, 2))):
                node.engine.fail_next(self._world.chance(0.5))

    # -- the end -------------------------------------------------------------------------------

    def heal(self) -> None:
        """Nothing new; everything runs, reaches everything, and keeps what it writes."""
        self._on = False
        self._stand.clear()
        self._world.net.heal_all()
        for node in self._world.nodes:
            if isinstance(node, ShardNode):
                node.engine._faults.clear()
            if node.paused:
                node.resume()
            if not node.alive:
                self.restart_later(node)
