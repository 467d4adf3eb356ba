"""A shard's process: its role, its loop, its links.

What it is: wiring. What it is not: the role's life (`role.py`), or flags and signals (cli/).

Tested in tests/e2e/test_dev_cluster.py.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from kubebraid.base.links import Peer
from kubebraid.base.loop import WaitingLoop
from kubebraid.base.revision import Epoch
from kubebraid.base.seams import Clock
from kubebraid.proto.links.addresses import Address, parse
from kubebraid.proto.links.handshake import Identity
from kubebraid.proto.links.mesh import SocketMesh
from kubebraid.proto.links.network import Network
from kubebraid.proto.links.poller import Poller

from .role import ROLE, ShardOptions, ShardRole
from .seams import ShardSeams, ours_already
from .storage.engine import Engine
from .storage.space import ENDLESS, Space


def _kept_nowhere(_: Epoch) -> None:
    """A store in memory ends with its process."""


def _reserved(options: ShardOptions, mesh: SocketMesh) -> ShardOptions:
    """Routers reach the address as soon as they hear of it, and wait there for the few
    milliseconds until there is something to serve."""
    listen = mesh.reserve(options.listen)
    advertise = parse(options.advertise)
    if advertise.port == 0:
        advertise = Address(advertise.host, parse(listen).port)
    return replace(options, listen=listen, advertise=str(advertise))


@dataclass(frozen=True, slots=True)
class Place:
    """Where a shard's data is. `adopted`: told the owner epoch of its fences, at each start;
    `take`: see ShardSeams."""

    engine: Engine
    space: Space = ENDLESS
    adopted: Callable[[Epoch], None] = _kept_nowhere
    take: Callable[[], str] = ours_already


class ShardProcess:
    """Implements RoleProcess of cli/role.py. `loop` is run by its caller."""

    def __init__(
        self,
        options: ShardOptions,
        cluster: tuple[str, bytes | None],
        place: Place,
        clock: Clock,
        on_fatal: Callable[[BaseException], None],
    ) -> None:
        """`cluster`: its name and its secret."""
        name, secret = cluster
        self._tell = on_fatal
        self._poller = Poller(clock)
        self.loop = WaitingLoop(clock, self._poller, self._fail)
        self.network = Network(self._poller, self.loop.post)
        me = Identity(Peer(ROLE, options.name, options.incarnation), name)
        on_adopted, take = place.adopted, place.take
        seams = ShardSeams(clock, self._fail, space=place.space, on_adopted=on_adopted, take=take)
        mesh = self._mesh = SocketMesh(self.network, me, secret)
        if options.host:
            options = _reserved(options, mesh)
        self.role = ShardRole(options, place.engine, mesh, seams, self._fail)
        self.loop.attach([self.role, self.network])

    def _fail(self, error: BaseException) -> None:
        """Not one answer more."""
        self.loop.halt()
        self._tell(error)

    def drain(self, done: Callable[[], None]) -> None:
        """On the loop's thread: what was accepted is answered within the turns until then."""
        done()

    def close(self) -> None:
        """After the loop has ended."""
        self._mesh.close()
        self.network.close()
        self._poller.close()
