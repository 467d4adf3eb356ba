"""The keepers: clients that renew brief leases over streams of one message.

What it is: renewals of the leases that have a keeper, sent to any router, through the storm and
until everything has settled; what is answered goes to `leases.py`. What it is not: a judge of the
keys.

Words: a renewal is one LeaseKeepAlive stream: a message, the client's end, the answer; a keeper
that was told TTL 0 may be told so only when its lease need not live any more (inv21).

Worked example: lease 3 of 1 s is renewed about each 300 ms: it outlives two moves of its home.

Tested in tests/sim/test_breaches.py.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from kubebraid.proto.etcd import rpc_pb2
from kubebraid.proto.server import METHOD_BY_PATH, Kind

from .edges import Edge

if TYPE_CHECKING:
    from .leases import Leases
    from .world import World

KEEP_ALIVE: Final = METHOD_BY_PATH["/etcdserverpb.Lease/LeaseKeepAlive"]
EVERY_US: Final = 300_000


class Renewal:
    """One stream. As Asker it takes what comes."""

    __slots__ = ("_asked_us", "_keepers", "_lease")

    def __init__(self, keepers: Keepers, edge: Edge, lease: int) -> None:
        self._keepers = keepers
        self._lease = lease
        self._asked_us = keepers.world.now
        call = edge.call(Kind.OPEN, KEEP_ALIVE, b"", self)
        payload = rpc_pb2.LeaseKeepAliveRequest(ID=lease).SerializeToString()
        edge.tell(Kind.MESSAGE, call, KEEP_ALIVE, payload)
        edge.tell(Kind.HALF_CLOSED, call, KEEP_ALIVE)

    def answered(self, payload: bytes) -> None:
        answer = rpc_pb2.LeaseKeepAliveResponse.FromString(payload)
        self._keepers.told(self._lease, answer.TTL, self._asked_us)

    def failed(self, code: int, text: str) -> None:
        """The stream ended, or nobody knows: the next one asks again."""


class Keepers:
    """All of them."""

    def __init__(self, world: World, leases: Leases) -> None:
        self.world = world
        self._leases = leases
        self._on = False
        self._over: set[int] = set()  # told so

    def begin(self) -> None:
        self._on = True
        self._next()

    def finish(self) -> None:
        """Nobody renews any more."""
        self._on = False

    def _next(self) -> None:
        self.world.after(int(self.world.random.random() * EVERY_US) + 1, self._act)

    def _act(self) -> None:
        if not self._on:
            return
        for lease in self._leases.kept():
            edge = self.world.edges.any()
            if edge is not None and lease not in self._over:
                Renewal(self, edge, lease)
        self._next()

    def told(self, lease: int, ttl_s: int, asked_us: int) -> None:
        self.world.note("renewed", str(lease), ttl_s)
        if ttl_s > 0:
            self._leases.renewed(lease, asked_us)
        else:
            self._over.add(lease)
            self._leases.missed(lease)
