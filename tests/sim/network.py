"""The network between simulated nodes: `base.links.Link`s that are slow, cut and partitioned.

What it is: a Mesh of base/links, and the Waiter at which a node's loop hears of its links. What it
is not: bytes on sockets, or authentication; those have tests of their own.

Words: a *wire* is one live connection, its two `End`s are the links that roles see; a wire is
*blocked* while its nodes are partitioned: nothing is lost yet, and nothing arrives.

Invariants:
- messages of one direction arrive in order, each at most once; behind `closed` none arrives;
- a cut loses what has not arrived, or lets it arrive first, as the seed says, each way by itself;
- a peer that was silent for LINK_DEAD_MS is given up, as pings would find out;
- nobody is called from within `send` or `close`: everything comes by the inbox of the node.

Worked example: router-0 dials shard-1: both inboxes get `opened`, then what the other one sent.

Tested in tests/sim/test_parts.py.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Final, TypeAlias

from kubebraid.base.limits import LINK_DEAD_MS
from kubebraid.base.links import LinkUser, Peer

if TYPE_CHECKING:
    from .nodes import Node
    from .world import World

DEAD_US: Final = LINK_DEAD_MS * 1000
Note: TypeAlias = tuple[str, "End", int, bytes]  # what an inbox holds


class End:
    """One end of a wire. Implements Link."""

    def __init__(self, wire: Wire, node: Node, user: LinkUser, peer: Peer) -> None:
        self.wire = wire
        self.node = node
        self.life = node.life
        self.user = user
        self._peer = peer
        self.alive = True  # as its own node sees it
        self.unread: deque[tuple[int, int, bytes]] = deque()  # on their way to this end
        self.arrives_us = 0  # of the newest that is on its way to this end
        self.waiting = 0  # bytes that this end sent and the other did not get
        self.on_closed: Callable[[], None] | None = None

    @property
    def peer(self) -> Peer:
        return self._peer

    @property
    def other(self) -> End:
        near, far = self.wire.ends
        return far if self is near else near

    def send(self, kind: int, body: bytes) -> None:
        if self.alive:
            self.wire.carry(self, int(kind), bytes(body))

    def pending_bytes(self) -> int:
        return self.waiting

    def close(self) -> None:
        self.wire.cut(lose=False)


class Wire:
    """A connection."""

    def __init__(self, net: Net, ends: tuple[End, End] | None = None) -> None:
        self._net = net
        self._ends = ends
        self.is_cut = False

    @property
    def ends(self) -> tuple[End, End]:
        assert self._ends is not None, "made whole by Net.connect"
        return self._ends

    def make(self, near: End, far: End) -> None:
        self._ends = (near, far)
        for end in self.ends:
            self._net.announce(end, "opened")

    def blocked(self) -> bool:
        near, far = self.ends
        return self._net.parted(near.node.name, far.node.name)

    def carry(self, sender: End, kind: int, body: bytes) -> None:
        """On its way; lost if the wire was cut and the sender has not heard of it."""
        if self.is_cut:
            return
        receiver = sender.other
        sender.waiting += len(body)
        receiver.unread.append((kind, len(body), body))
        self._net.schedule(receiver, sender.node.local_us())

    def arrive(self, end: End) -> None:
        """The oldest message on the way to `end`, if it may pass now."""
        if not end.unread or self.blocked():
            return
        kind, size, body = end.unread.popleft()
        end.other.waiting -= size
        self._net.put(end, "received", kind, body)

    def cut(self, lose: bool | None = None) -> None:
        """The connection ends. `lose`: what is on its way; None: as the seed says."""
        if self.is_cut:
            return
        self.is_cut = True
        if self.blocked():
            lose = True
        for end in self.ends:
            if self._net.world.chance(0.5) if lose is None else lose:
                end.unread.clear()
            while end.unread:
                kind, _, body = end.unread.popleft()
                self._net.announce(end, "received", kind, body)
            self._net.announce(end, "closed")
        self._net.wires.pop(self, None)


class Net:
    """All wires, servers and partitions."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.servers: dict[str, SimServer] = {}
        self.wires: dict[Wire, None] = {}
        self._parted: dict[tuple[str, str], None] = {}
        self.slow: dict[str, int] = {}  # node -> microseconds that its messages take longer

    # -- partitions ----------------------------------------------------------------------------

    def parted(self, one: str, two: str) -> bool:
        return bool(self._parted) and (min(one, two), max(one, two)) in self._parted

    def part(self, one: str, two: str) -> None:
        self._parted[min(one, two), max(one, two)] = None
        for wire in list(self.wires):
            if wire.blocked():
                self.world.after(DEAD_US, partial(self._judge, wire))

    def _judge(self, wire: Wire) -> None:
        if wire.blocked():
            wire.cut(lose=True)

    def heal(self, one: str, two: str) -> None:
        self._parted.pop((min(one, two), max(one, two)), None)
        for wire in self.wires:
            for end in wire.ends:
                for _ in end.unread:
                    self.schedule(end, self.world.now)

    def quicken(self, name: str) -> None:
        """Its messages take no longer than others'."""
        self.slow.pop(name, None)

    def heal_all(self) -> None:
        self.slow.clear()
        for one, two in list(self._parted):
            self.heal(one, two)

    # -- messages ------------------------------------------------------------------------------

    def schedule(self, end: End, sent_us: int) -> None:
        """One message for `end`, in the order of its direction."""
        took = self._latency(end)
        end.arrives_us = max(end.arrives_us, sent_us + took)
        self.world.at(end.arrives_us, lambda: end.wire.arrive(end))

    def announce(self, end: End, what: str, kind: int = 0, body: bytes = b"") -> None:
        """Behind what is on its way already, whatever becomes of the wire."""
        end.arrives_us = max(end.arrives_us, self.world.now + self._latency(end))
        self.world.at(end.arrives_us, lambda: self.put(end, what, kind, body))

    def _latency(self, end: End) -> int:
        slow = self.slow
        extra = slow.get(end.node.name, 0) + slow.get(end.wire.ends[0].node.name, 0) if slow else 0
        return int(self.world.random.random() * 400) + 50 + extra

    def put(self, end: End, what: str, kind: int, body: bytes) -> None:
        if end.life == end.node.life:
            end.node.inbox.append((what, end, kind, body))
            end.node.wake(self.world.now)

    # -- connections ---------------------------------------------------------------------------

    def connect(self, dialer: SimDialer) -> End | None:
        """The dialer's end, if somebody listens who can be reached."""
        server = self.servers.get(dialer.address)
        if server is None or server.node is dialer.node:
            return None
        if self.parted(server.node.name, dialer.node.name) or server.node.paused:
            return None
        wire = Wire(self)
        near = End(wire, dialer.node, dialer.user, server.me)
        far = End(wire, server.node, server.user, dialer.me)
        self.wires[wire] = None
        near.on_closed = dialer.ended
        wire.make(near, far)
        return near

    def wires_of(self, node: Node) -> list[Wire]:
        return [wire for wire in self.wires if node in (wire.ends[0].node, wire.ends[1].node)]

    def vanish(self, node: Node) -> None:
        """Its process is gone: nothing of it arrives any more but what had left it."""
        for address in [a for a, server in self.servers.items() if server.node is node]:
            del self.servers[address]
        for wire in self.wires_of(node):
            wire.cut()


class SimPoller:
    """In place of the real Poller: the inbox of a node. Implements Waiter of base/loop."""

    def __init__(self, node: Node) -> None:
        self.node = node

    def wait(self, timeout_ms: int) -> None:
        node = self.node
        for _ in range(len(node.inbox)):
            if node.fatal is not None:
                return
            what, end, kind, body = node.inbox.popleft()
            if what == "received":
                if end.alive:
                    end.user.received(end, kind, body)
            elif what == "opened":
                end.user.opened(end)
            else:
                end.alive = False
                end.user.closed(end)
                if end.on_closed is not None:
                    end.on_closed()

    def wake(self) -> None:
        self.node.wake(self.node.world.now)


class SimMesh:
    """In place of SocketMesh: implements Mesh of base/links for one life of a node."""

    def __init__(self, node: Node, me: Peer) -> None:
        self._node = node
        self._me = me

    def dial(self, address: str, user: LinkUser) -> SimDialer:
        return SimDialer(self._node, self._me, address, user)

    def listen(self, address: str, user: LinkUser) -> SimServer:
        return SimServer(self._node, self._me, address, user)


class SimServer:
    """In place of LinkServer."""

    def __init__(self, node: Node, me: Peer, address: str, user: LinkUser) -> None:
        self.node, self.me, self.address, self.user = node, me, address, user
        node.world.net.servers[address] = self

    def close(self) -> None:
        self.node.world.net.servers.pop(self.address, None)


class SimDialer:
    """In place of LinkDialer: it tries again until it is closed."""

    def __init__(self, node: Node, me: Peer, address: str, user: LinkUser) -> None:
        self.node, self.me, self.address, self.user = node, me, address, user
        self._life = node.life
        self._closed = False
        self._end: End | None = None
        self._try_after(0)

    def _try_after(self, us: int) -> None:
        self.node.world.after(us + int(self.node.world.random.random() * 2_000), self._try)

    def _try(self) -> None:
        if self._closed or self.node.life != self._life:
            return
        self._end = None if self.node.paused else self.node.world.net.connect(self)
        if self._end is None:
            self._try_after(100_000)

    def ended(self) -> None:
        self._end = None
        self._try_after(50_000)

    def close(self) -> None:
        self._closed = True
        if self._end is not None:
            self._end.close()
