"""A coordinator's process: its role, its loop, its links, its disk.

What it is: wiring. What it is not: the role's life (`role.py`), or flags and signals (cli/).

Tested in tests/e2e/test_dev_cluster.py.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from kubebraid.base.links import Peer
from kubebraid.base.loop import WaitingLoop
from kubebraid.base.seams import Clock
from kubebraid.proto.links.handshake import Identity
from kubebraid.proto.links.mesh import SocketMesh
from kubebraid.proto.links.network import Network
from kubebraid.proto.links.poller import Poller

from .raft.chance import SystemChance
from .raft.disk import RealDisk
from .raft.node import World
from .role import ROLE, CoordinatorOptions, CoordinatorRole


class CoordinatorProcess:
    """Implements RoleProcess of cli/role.py. `loop` is run by its caller."""

    def __init__(
        self,
        options: CoordinatorOptions,
        folder: Path,
        secret: bytes | None,
        clock: Clock,
        on_fatal: Callable[[BaseException], None],
    ) -> None:
        """`folder` must exist, and be this process's alone."""
        self._poller = Poller(clock)
        self.loop = WaitingLoop(clock, self._poller, on_fatal)
        self.network = Network(self._poller, self.loop.post)
        self._disk = RealDisk(folder)
        me = Identity(Peer(ROLE, options.name, options.incarnation), options.cluster)
        mesh = SocketMesh(self.network, me, secret)
        self.role = CoordinatorRole(options, mesh, World(self._disk, clock, SystemChance()))
        self.loop.attach([self.role, self.network])

    def drain(self, done: Callable[[], None]) -> None:
        """On the loop's thread."""
        self.role.release(done)

    def close(self) -> None:
        """After the loop has ended."""
        self.network.close()
        self.role.log.close()
        self._disk.close()
        self._poller.close()
