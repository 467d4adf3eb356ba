"""The edge between clients and a router: calls in, answers and streams out.

What it is: `proto.server.Edge` of one router's life, and who is told what came. What it is not:
a client (`client.py`), or gRPC.

Invariants: an answer reaches its call once, at the moment when the router gave it, also when that
lies ahead because the router stood still within the turn; what a router's end leaves unanswered is
told as lost.

Tested in tests/sim/test_sim.py.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

from kubebraid.proto.server import STREAM_HIGH_WATER_BYTES, EdgeEvent, Kind

if TYPE_CHECKING:
    from .nodes import RouterNode
    from .world import World

LOST = 999  # in place of a status: the connection ended


class Asker(Protocol):
    """Whoever made a call or opened a stream."""

    def answered(self, payload: bytes) -> None: ...

    def failed(self, code: int, text: str) -> None: ...


class Edge:
    """Of one router's life. Implements proto.server.Edge."""

    def __init__(self, world: World, node: RouterNode) -> None:
        self._world = world
        self.node = node
        self.life = node.life
        self._askers: dict[int, Asker] = {}
        self._next = 0
        self.stalled: dict[int, None] = {}

    # -- from clients --------------------------------------------------------------------------

    def call(self, kind: Kind, method: int, payload: bytes, asker: Asker) -> int:
        """A call, or a stream."""
        self._next += 1
        self._askers[self._next] = asker
        self.tell(kind, self._next, method, payload)
        return self._next

    def tell(self, kind: Kind, call_id: int, method: int, payload: bytes = b"") -> None:
        loop, role = self.node.loop, self.node.here
        if loop is not None and role is not None and self.node.life == self.life:
            router = role.router
            assert router is not None, "an edge opens when its router is ready"
            event = EdgeEvent(kind, call_id, method, payload)
            loop.post(lambda: router.handle(self, [event]))
            self.node.wake(self._world.now)

    def lose(self) -> None:
        askers, self._askers = self._askers, {}
        for asker in askers.values():
            asker.failed(LOST, "connection lost")

    # -- from the router -----------------------------------------------------------------------

    def respond(self, call_id: int, payload: bytes) -> None:
        assert call_id in self._askers, "one answer a call"
        self._then(call_id, lambda asker: asker.answered(payload), last=True)

    def fail(self, call_id: int, code: int, message: str) -> None:
        assert code != 0
        self._then(call_id, lambda asker: asker.failed(code, message), last=True)

    def send(self, call_id: int, payload: bytes) -> None:
        self._then(call_id, lambda asker: asker.answered(payload), last=False)

    def pending_bytes(self, call_id: int) -> int:
        return STREAM_HIGH_WATER_BYTES + 1 if call_id in self.stalled else 0

    def end(self, call_id: int) -> None:
        self._then(call_id, lambda asker: asker.failed(0, ""), last=True)

    def _then(self, call_id: int, told: Callable[[Asker], None], last: bool) -> None:
        when = self.node.local_us()
        if when == self._world.now:
            self._tell_asker(call_id, told, last)
        else:
            self._world.at(when, lambda: self._tell_asker(call_id, told, last))

    def _tell_asker(self, call_id: int, told: Callable[[Asker], None], last: bool) -> None:
        asker = self._askers.pop(call_id, None) if last else self._askers.get(call_id)
        if asker is not None:
            told(asker)


class Edges:
    """The edges of all routers that can be asked now."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._open: dict[str, Edge] = {}
        self._sorted: tuple[Edge, ...] = ()

    def opened(self, node: RouterNode) -> None:
        self._open[node.name] = Edge(self._world, node)
        self._sort()

    def lost(self, node: RouterNode) -> None:
        edge = self._open.pop(node.name)
        self._sort()
        edge.lose()

    def _sort(self) -> None:
        self._sorted = tuple(self._open[name] for name in sorted(self._open))

    def all(self) -> tuple[Edge, ...]:
        return self._sorted

    def any(self) -> Edge | None:
        edges = self.all()
        return edges[self._world.random.randrange(len(edges))] if edges else None
