"""A router's process: its role, its loop, its links.

What it is: wiring. What it is not: the role's life (`role.py`), or fronts and flags (cli/).

Tested in tests/e2e/test_dev_cluster.py.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterable

from kubebraid.base.links import Peer
from kubebraid.base.loop import WaitingLoop
from kubebraid.base.seams import Clock, Random
from kubebraid.proto.links.handshake import Identity
from kubebraid.proto.links.mesh import SocketMesh
from kubebraid.proto.links.network import Network
from kubebraid.proto.links.poller import Poller
from kubebraid.proto.server import Edge, EdgeEvent

from .role import ROLE, RouterOptions, RouterRole


class RouterProcess:
    """Implements RoleProcess of cli/role.py. `deliver` may be called from any thread."""

    def __init__(
        self,
        options: RouterOptions,
        cluster: tuple[str, bytes | None],
        seams: tuple[Clock, Random],
        on_fatal: Callable[[BaseException], None],
        on_ready: Callable[[], None],
    ) -> None:
        """`cluster`: its name and its secret; `on_ready`: see RouterRole."""
        clock, random = seams
        name, secret = cluster
        self._poller = Poller(clock)
        self.loop = WaitingLoop(clock, self._poller, on_fatal)
        self.network = Network(self._poller, self.loop.post)
        me = Identity(Peer(ROLE, options.name, secrets.randbits(63)), name)
        mesh = SocketMesh(self.network, me, secret)
        self.role = RouterRole(options, mesh, clock, random, on_ready)
        self.loop.attach([self.role, self.network])

    def deliver(self, edge: Edge, events: Iterable[EdgeEvent]) -> None:
        """What a front calls, once `on_ready` was called."""
        router = self.role.router
        assert router is not None, "fronts begin behind on_ready"
        self.loop.post(lambda: router.handle(edge, events))

    def drain(self, done: Callable[[], None]) -> None:
        """On the loop's thread: refuse what is new and end the streams."""
        if self.role.router is not None:
            self.role.router.drain()
        done()

    def close(self) -> None:
        """After the loop has ended."""
        self.network.close()
        self._poller.close()
