"""A shard's life: it asks the coordinators for its tablets, takes them, and serves routers.

What it is: wiring, and the one state that a shard's life has: waiting for its tablets, having taken
them, or serving them. What it is not: any rule of its parts, or a process (`main.py`).

Invariants:
- M6: nothing is served before a map names this incarnation and the fences carry its oepochs;
- nothing is served before the coordinators know that the store says so (docs/decisions/0012): a
  copy from before is then refused;
- a map that names another incarnation of this shard ends the process: it has been replaced;
- routers find a listener only once there is something to serve.

Worked example: shard-0 starts with incarnation 7: START_SHARD until the map says 7 at version 5;
its fences are rewritten, SHARD_ADOPTED until the state says that 7 is confirmed; then its listener
opens, and its first Alloc registers it.

Tested in tests/unit/shard/test_role.py, tests/sim, tests/e2e/test_dev_cluster.py.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Final

from kubebraid.base.errors import KubeBraidError, StaleEpoch
from kubebraid.base.identity import member_id
from kubebraid.base.links import Mesh
from kubebraid.base.ports import ALARM_NOSPACE, Adoption, Alarm, ClusterView, ShardStart
from kubebraid.base.revision import Revision, TabletId
from kubebraid.base.tabletmap import TabletMap
from kubebraid.proto.coordinator_client import CoordinatorClient
from kubebraid.proto.owner_service import OwnerService
from kubebraid.proto.shard_links import ShardLinks

from . import adoption
from .adoption import ADOPTED_CELL, Marks
from .fencing import Fence, FenceDamaged
from .mark import StartRefused, mark
from .owner import Owner
from .ownership import Ownership, adopt
from .reshard.arrival import settle_cells
from .seams import ShardSeams
from .storage.engine import Batch, Engine, EngineError

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
        self._fences: dict[TabletId, Fence] | None = None  # taken, and not served yet
        self._taken: TabletMap | None = None  # the map by which they were
        self._owned: Ownership | None = None
        self._marks: Marks | None = None
        self.owner: Owner | None = None
        self._service: OwnerService | None = None
        self._floor: Revision = -1

    # -- the coordinators ----------------------------------------------------------------------

    def _told(self, view: ClusterView) -> None:
        """A newer state."""
        name = self._options.name
        # A shard that owns nothing is one too: it receives tablets, or has yet to leave leases.
        owners = {tablet.shard for tablet in view.tablets.tablets} if view.cluster else set()
        self._others.follow((owners | {place.name for place in view.shards}) - {name}, view)
        if self._owned is not None:
            self._follow(view, self._owned)
            return
        known = view.shard(name)
        if known is not None and known.incarnation == self._options.incarnation:
            fences = self._adopt(view) if self._fences is None else self._fences
            if known.serving:
                self._serve(view, fences)
        elif self._fences is not None:
            self._replaced()
        elif not self._asked and view.cluster:
            self._asked = True
            options = self._options
            who = (name, options.store, options.incarnation, options.advertise)
            start = ShardStart(*who, adoption.stored(self._engine))
            self.client.start_shard(start, self._refused)

    def _full(self) -> None:
        """The device is short of space: every router refuses what needs it until it is disarmed."""
        member = member_id(self.client.view.cluster, self._options.name)
        self.client.set_alarm(Alarm(member, ALARM_NOSPACE), True, _stored)

    def _refused(self, why: str) -> None:
        self._on_fatal(StartRefused(why))

    def _adopt(self, view: ClusterView) -> dict[TabletId, Fence]:
        """The map names us: take the fences, and have it confirmed."""
        options = self._options
        mark(self._engine, options.name)
        taken = Adoption(options.incarnation)
        beside = Batch().put(ADOPTED_CELL, adoption.pack(taken))
        settle_cells(self._engine, view.tablets, view.migrations, options.name, beside)
        self._taken = view.tablets
        self._fences = adopt(self._engine, options.name, view.tablets, beside)
        if self._fences:
            self._seams.on_adopted(max(fence.oepoch for fence in self._fences.values()))
        self._confirm(taken)
        return self._fences

    def _confirm(self, taken: Adoption) -> None:
        self.client.adopted(self._options.name, taken)

    def _serve(self, view: ClusterView, fences: dict[TabletId, Fence]) -> None:
        """A copy from before would be refused from now on: what we acknowledge will be found."""
        options = self._options
        floor, incarnation = self.client.compact_revision, options.incarnation
        taken = self._taken
        assert taken is not None, "adopted before"
        owned = Ownership(options.name, view.cepoch, taken, fences, floor, incarnation)
        owned.proved = 0  # whoever rules now has yet to accept our oepochs
        peers = self._others.clients
        self.owner = Owner(self._engine, owned, self.client, self._seams, peers)
        self.owner.tell = self.client.report
        self._owned = owned
        self._marks = Marks(self._engine, owned, self._seams, self._confirm)
        self._service = OwnerService(self.owner, self._seams.clock, self.owner)
        self._floor = view.floor
        self._take(view, self.owner)
        self._mesh.listen(options.listen, self._service)
        told = {"tablets": len(fences), "map": view.tablets.version, "address": options.listen}
        _LOG.info("tablets taken", extra=told)

    def _follow(self, view: ClusterView, owned: Ownership) -> None:
        assert self.owner is not None
        known = view.shard(self._options.name)
        if known is None:
            self._on_fatal(StaleEpoch(f"{self._options.name} was removed from the cluster"))
            return
        if known.incarnation != self._options.incarnation:
            self._replaced()
            return
        self._take(view, self.owner)
        if view.cepoch > owned.cepoch:
            self.owner.begin_reign(view.cepoch)
        if view.floor > self._floor:
            self._floor = view.floor
            self.owner.compact(view.floor, None)

    def _take(self, view: ClusterView, owner: Owner) -> None:
        """Tablets that come or go."""
        try:
            owner.follow(view)
        except (EngineError, FenceDamaged, KubeBraidError) as error:
            self._on_fatal(error)  # a start takes them, or says why not

    def _replaced(self) -> None:
        name = self._options.name
        self._on_fatal(StaleEpoch(f"another process of {name} has been started"))

    # -- the loop ------------------------------------------------------------------------------

    def turn(self) -> bool:
        """The owner's turn, then its answers and what it asks of other shards."""
        more = False
        if self.owner is not None and self._service is not None and self._marks is not None:
            more = self.owner.turn()
            more |= self._service.turn()
            self._marks.turn(self._seams.clock.now_ms())
        return self._others.turn() or more

    def next_deadline_ms(self) -> int | None:
        if self.owner is None or self._service is None or self._marks is None:
            return None
        parts = (self.owner, self._service, self._marks)
        deadlines = [part.next_deadline_ms() for part in parts]
        return min((d for d in deadlines if d is not None), default=None)


def _stored(_: object) -> None:
    """What needs space is refused here meanwhile anyway."""


def _nobody() -> None:
    """Whoever waits for another shard asks again by itself."""
