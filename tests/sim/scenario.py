"""A cluster without random faults, for tests that tell a story.

What it is: a world that has begun, with a client's calls one by one. What it is not: a seeded run;
what goes wrong is what the test does.

Worked example: `calm = begun(); calm.put(b"/b/1", b"x")` answers the revision.

Tested in tests/sim/test_scenarios.py.
"""

from __future__ import annotations

from contextlib import ExitStack
from typing import Any

from kubebraid.proto.etcd import rpc_pb2

from .client import Call
from .nodes import Node
from .spies import spied
from .streams import Stream, Watching
from .world import Plan, World

ONE = Plan(("m0",), ("s0", "s1"), ("r0", "r1"), 1, 10_000, 10_000, (), 10_000, 512, 50_000)
SECOND = 1_000_000


class Calm:
    """A world, and its clients' words."""

    def __init__(self, world: World, stack: ExitStack) -> None:
        self.world = world
        self._stack = stack
        self._watchings = 0

    def close(self) -> None:
        self._stack.close()

    def wait(self, us: int) -> None:
        """Let time pass."""
        end = self.world.now + us
        self.world.at(end, lambda: None)
        self.world._until(lambda: self.world.now >= end, us)

    def ask(self, method: str, request: Any, router: int = 0) -> Call:
        """A call that may stay open."""
        edge = self.world.edges.all()[router]
        return self.world.clients.ask(edge, method, request)

    def told(self, call: Call, within_us: int = 10 * SECOND) -> Any:
        """Its answer."""
        assert self.world._until(lambda: call.code is not None, within_us), f"open: {call}"
        assert call.code == 0, f"{call}"
        return call.answer

    def put(self, key: bytes, value: bytes, router: int = 0) -> int:
        """The revision."""
        answer = self.told(self.ask("Put", rpc_pb2.PutRequest(key=key, value=value), router))
        return int(answer.header.revision)

    def get(self, key: bytes, router: int = 0, **options: Any) -> Any:
        return self.told(self.ask("Range", rpc_pb2.RangeRequest(key=key, **options), router))

    def watch(self, key: bytes, end: bytes, router: int = 0) -> tuple[Stream, Watching]:
        """From now on."""
        self._watchings += 1
        watching = Watching(self._watchings, (key, end), False, (), False, 0)
        stream = Stream(self.world.clients.streams, self.world.edges.all()[router], [watching])
        self.world._until(lambda: watching.first > 0, 10 * SECOND)
        return stream, watching

    def owner_of(self, key: bytes) -> Node:
        """The node of the shard that has the key."""
        name = self.world.first_map.tablet_of(key).shard
        return next(node for node in self.world.shards if node.name == name)


def begun(seed: int = 1, plan: Plan = ONE) -> Calm:
    """A cluster that serves."""
    world = World(seed, plan)
    stack = ExitStack()
    stack.enter_context(spied(world.spies))
    world._begin()
    return Calm(world, stack)
