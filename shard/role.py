"""A shard's life: it asks the coordinators for its tablets, takes them, and serves routers.

What it is: wiring, and the one state that a shard's life has: waiting for its tablets, or owning
them. What it is not: any rule of its parts, or a process (`main.py`).

Invariants:
- M6: nothing is served before a map names this incarnation and the fences carry its oepochs;
- a map that names another incarnation of this shard ends the process: it has been replaced;
- routers find a listener only once there is something to serve.

Worked example: shard-0 starts with incarnation 7: START_SHARD until the map says 7 at version 5;
its fences are rewritten, its listener opens, and its first Alloc registers it.

Tested in tests/sim, tests/e2e/test_dev_cluster.py.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Final

from kubebraid.base.errors import StaleEpoch
from kubebraid.base.identity import member_id
from kubebraid.base.links import Mesh
from kubebraid.base.ports import ALARM_NOSPACE, Alarm, ClusterView, ShardStart
from kubebraid.base.revision import Revision
from kubebraid.proto.coordinator_client import CoordinatorClient
from kubebraid.proto.owner_service import OwnerService
from kubebraid.proto.shard_links import ShardLinks

from .mark import StartRefused, mark
from .owner import Owner
from .ownership import Ownership, adopt
from .seams import ShardSeams
from .storage.engine import Engine

ROLE: Final = "shard"
_LOG: Final = logging.getLogger("kubebraid.shard")


@dataclass(frozen=True, slots=True)
class ShardOptions:
    """`advertise`: what routers are told; `store`: the id of the data; `coordinators`: name ->
    address; `incarnation`: drawn by this process."""

    name: str
    listen: str
    advertise: str
    store: str
    coordinators: Mapping[str, str]
    incarnation: int


class ShardRole:
    """A Part of the loop; the links' network comes behind it."""

    def __init__(
        self,
        options: ShardOptions,
        engine: Engine,
        mesh: Mesh,
        seams: ShardSeams,
        on_fatal: Callable[[BaseException], None],
    ) -> None:
        """`on_fatal`: the process must end; nothing is answered any more."""
        self._options = options
        self._engine = engine
        self._mesh = mesh
        self._seams = replace(seams, on_full=self._full)
        self._on_fatal = on_fatal
        self.client = CoordinatorClient(self._told)
        for address in options.coordinators.values():
            mesh.dial(address, self.client)
        self._others = ShardLinks(mesh, _nobody)
        self._asked = False
        self._owned: Ownership | None = None
        self.owner: Owner | None = None
        self._service: OwnerService | None = None
        self._floor: Revision = -1

    # -- the coordinators ----------------------------------------------------------------------

    def _told(self, view: ClusterView) -> None:
        """A newer state."""
        name = self._options.name
        names = {tablet.shard for tablet in view.tablets.tablets} if view.cluster else set()
        self._others.follow(names - {name}, view)
        if self._owned is not None:
            self._follow(view, self._owned)
            return
        known = view.shard(name)
        if known is not None and known.incarnation == self._options.incarnation:
            self._adopt(view)
        elif not self._asked and name in names:
            self._asked = True
            options = self._options
            start = ShardStart(name, options.store, options.incarnation, options.advertise)
            self.client.start_shard(start, self._refused)

    def _full(self) -> None:
        """The device is short of space: every router refuses what needs it until it is disarmed."""
        member = member_id(self.client.view.cluster, self._options.name)
        self.client.set_alarm(Alarm(member, ALARM_NOSPACE), True, _stored)

    def _refused(self, why: str) -> None:
        self._on_fatal(StartRefused(why))

    def _adopt(self, view: ClusterView) -> None:
        """The map names us: take the fences, then serve."""
        options = self._options
        mark(self._engine, options.name)
        fences = adopt(self._engine, options.name, view.tablets)
        floor, incarnation = self.client.compact_revision, options.incarnation
        owned = Ownership(options.name, view.cepoch, view.tablets, fences, floor, incarnation)
        owned.proved = 0  # whoever rules now has yet to accept our oepochs
        peers = self._others.clients
        self.owner = Owner(self._engine, owned, self.client, self._seams, peers)
        self._owned = owned
        self._service = OwnerService(self.owner, self._seams.clock, self.owner)
        self._floor = view.floor
        self._mesh.listen(options.listen, self._service)
        told = {"tablets": len(fences), "map": view.tablets.version, "address": options.listen}
        _LOG.info("tablets taken", extra=told)

    def _follow(self, view: ClusterView, owned: Ownership) -> None:
        assert self.owner is not None
        known = view.shard(self._options.name)
        if known is None or known.incarnation != self._options.incarnation:
            name = self._options.name
            self._on_fatal(StaleEpoch(f"another process of {name} has been started"))
            return
        if view.tablets.version > owned.map_version:
            owned.adopt_map(view.tablets)
        if view.cepoch > owned.cepoch:
            self.owner.begin_reign(view.cepoch)
        if view.floor > self._floor:
            self._floor = view.floor
            self.owner.compact(view.floor, None)

    # -- the loop ------------------------------------------------------------------------------

    def turn(self) -> bool:
        """The owner's turn, then its answers and what it asks of other shards."""
        more = False
        if self.owner is not None and self._service is not None:
            more = self.owner.turn()
            more |= self._service.turn()
        return self._others.turn() or more

    def next_deadline_ms(self) -> int | None:
        if self.owner is None or self._service is None:
            return None
        deadlines = [self.owner.next_deadline_ms(), self._service.next_deadline_ms()]
        return min((d for d in deadlines if d is not None), default=None)


def _stored(_was_raised: bool) -> None:
    """What needs space is refused here meanwhile anyway."""


def _nobody() -> None:
    """Whoever waits for another shard asks again by itself."""
