"""A shard's life: it asks the coordinators for its tablets, takes them, and serves routers.

What it is: wiring, and the one state that a shard's life has: waiting for its tablets, having taken
them, or serving them. What it is not: any rule of its parts, or a process (`main.py`).

Invariants:
- M6: nothing is served before a map names this incarnation and the fences carry its oepochs;
- nothing is served before the coordinators know that the store says so (docs/decisions/0012): a
  copy from before is then refused;
- a map that names another incarnation of this shard ends the process: it has been replaced; one of
  a host first refuses as definite, for a while, whatever it was asked and did not do;
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

from kubebraid.base.errors import KubeBraidError, Removed, StaleEpoch
from kubebraid.base.identity import member_id
from kubebraid.base.limits import HOST_LINGER_MS
from kubebraid.base.links import Mesh
from kubebraid.base.ports import ALARM_NOSPACE, Adoption, Alarm, ClusterView, ShardStart
from kubebraid.base.revision import Revision
from kubebraid.proto.coordinator_client import CoordinatorClient
from kubebraid.proto.owner_service import OwnerService
from kubebraid.proto.shard_links import ShardLinks

from . import adoption, keycodec
from .adoption import ADOPTED_CELL, Marks
from .fencing import FenceDamaged
from .mark import START_ROWS, StartRefused, check, mark, rows_id
from .owner import Owner
from .ownership import Ownership, adopt
from .reshard.arrival import settle_cells
from .seams import ShardSeams
from .storage.engine import Batch, Engine, EngineError
from .storage.tikv_errors import EngineFenced

ROLE: Final = "shard"
_LOG: Final = logging.getLogger("kubebraid.shard")


@dataclass(frozen=True, slots=True)
class ShardOptions:
    """`advertise`: what routers are told; `store`: the id of the data; `coordinators`: name ->
    address; `incarnation`: drawn by this process; `host`: the one that it is a part of, if others
    may take the shard while it lives; `since`: as of which state it is seated there."""

    name: str
    listen: str
    advertise: str
    store: str
    coordinators: Mapping[str, str]
    incarnation: int
    host: str = ""
    since: int = 0


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
        self._seams = replace(seams, on_full=self._full, on_fatal=self._failed)
        self._on_fatal = on_fatal
        self._leaving: tuple[BaseException, int] | None = None  # why, and until when
        self.client = CoordinatorClient(self._told)
        for address in options.coordinators.values():
            mesh.dial(address, self.client)
        self._others = ShardLinks(mesh, _nobody)
        self._asked = False
        self._owned: Ownership | None = None  # taken, and not served before there is a service
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
        if self._leaving is not None:
            return
        if self._service is not None:
            self._follow(view)
            return
        if view.applied < self._options.since:
            return  # the first coordinator that was reached lags: it may not know of our seat yet
        known = view.shard(name)
        if known is not None and known.incarnation == self._options.incarnation:
            if self._owned is None:
                self._adopt(view)
            if known.serving:
                self._serve(view)
        elif self._owned is not None:
            self._replaced()
        elif known is not None and self._options.host and not known.seats(self._options.host):
            # Before its store is taken: whoever has the seat may serve already.
            self._on_fatal(StaleEpoch(f"{name} is seated at {known.host} by now"))
        elif not self._asked and view.cluster and (view.serves or not self._options.host):
            # Of a store that others can reach: whoever lags may not know that it was given away.
            self._asked = True
            options = self._options
            store = self._seams.take() or options.store
            check(self._engine, name, view.cluster)  # the coordinators would remember its id
            who = (name, store, options.incarnation, options.advertise)
            where = (options.host, rows_id(self._engine, view.cluster))
            start = ShardStart(*who, adoption.stored(self._engine), *where)
            self.client.start_shard(start, self._refused)

    def _full(self) -> None:
        """The device is short of space: every router refuses what needs it until it is disarmed."""
        member = member_id(self.client.view.cluster, self._options.name)
        self.client.set_alarm(Alarm(member, ALARM_NOSPACE), True, _stored)

    def _refused(self, why: str) -> None:
        self._on_fatal(StartRefused(why))

    def _adopt(self, view: ClusterView) -> None:
        """The map names us: take the fences, and have it confirmed. All but the service is made
        while that takes its time."""
        options = self._options
        mark(self._engine, options.name, view.cluster)
        self._engine.catch_up()  # tablets may have come since it was opened
        ours = [tablet.id for tablet in view.tablets.tablets if tablet.shard == options.name]
        self._engine.expect([*START_ROWS, *map(keycodec.fence, ours)])
        taken = Adoption(options.incarnation)
        beside = Batch().put(ADOPTED_CELL, adoption.pack(taken))
        settle_cells(self._engine, view.tablets, view.migrations, options.name, beside)
        fences = adopt(self._engine, options.name, view.tablets, beside)
        if fences:
            self._seams.on_adopted(max(fence.oepoch for fence in fences.values()))
        self._confirm(taken)
        floor, incarnation = self.client.compact_revision, options.incarnation
        owned = Ownership(options.name, view.cepoch, view.tablets, fences, floor, incarnation)
        owned.proved = 0  # whoever rules now has yet to accept our oepochs
        self.owner = Owner(self._engine, owned, self.client, self._seams, self._others.clients)
        self.owner.tell = self.client.report
        self._owned = owned
        self._marks = Marks(self._engine, owned, self._seams, self._confirm)
        self._floor = view.floor

    def _confirm(self, taken: Adoption) -> None:
        self.client.adopted(self._options.name, taken)

    def _serve(self, view: ClusterView) -> None:
        """A copy from before would be refused from now on: what we acknowledge will be found."""
        options, owner, owned = self._options, self.owner, self._owned
        assert owner is not None, "adopted before"
        assert owned is not None, "adopted before"
        self._service = OwnerService(owner, self._seams.clock, owner)
        self._follow(view)
        self._mesh.listen(options.listen, self._service)
        tablets, version = len(owned.oepochs), view.tablets.version
        told = {"tablets": tablets, "map": version, "address": options.listen}
        _LOG.info("tablets taken", extra={"shard": options.name, **told})

    def _follow(self, view: ClusterView) -> None:
        owner, owned = self.owner, self._owned
        assert owner is not None, "it is served"
        assert owned is not None, "it is served"
        known = view.shard(self._options.name)
        if known is None:
            self._on_fatal(Removed(f"{self._options.name} was removed from the cluster"))
            return
        if known.incarnation != self._options.incarnation:
            self._replaced()
            return
        self._take(view, owner)
        if view.cepoch > owned.cepoch:
            owner.begin_reign(view.cepoch)
        if view.floor > self._floor:
            self._floor = view.floor
            owner.compact(view.floor, None)

    def _take(self, view: ClusterView, owner: Owner) -> None:
        """Tablets that come or go."""
        try:
            owner.follow(view)
        except (EngineError, FenceDamaged, KubeBraidError) as error:
            self._failed(error)  # a start takes them, or says why not

    def _replaced(self) -> None:
        name = self._options.name
        self._failed(StaleEpoch(f"another process of {name} has been started"))

    def _failed(self, error: BaseException) -> None:
        """Nothing more is written. Who was deposed is sure of what it did not do, and says it."""
        deposed = isinstance(error, StaleEpoch) or type(error) is EngineFenced
        if self.owner is None or self._service is None or not deposed or not self._options.host:
            self._on_fatal(error)
        elif self._leaving is None:
            self._leaving = error, self._seams.clock.now_ms() + HOST_LINGER_MS
            self.owner.retire()

    @property
    def serves(self) -> bool:
        """Whether routers may ask, or were told to go elsewhere."""
        return self._service is not None

    @property
    def committed(self) -> int:
        """How many batches of tablets; from any thread."""
        owned = self._owned
        return 0 if owned is None else owned.batches

    # -- the loop ------------------------------------------------------------------------------

    def turn(self) -> bool:
        """The owner's turn, then its answers and what it asks of other shards."""
        more = False
        if self._leaving is not None:
            error, until_ms = self._leaving
            if self._seams.clock.now_ms() >= until_ms:
                self._on_fatal(error)
            elif self._service is not None:
                self._service.turn()
        elif self.owner is not None and self._service is not None and self._marks is not None:
            more = self.owner.turn()
            more |= self._service.turn()
            self._marks.turn(self._seams.clock.now_ms())
        return self._others.turn() or more

    def next_deadline_ms(self) -> int | None:
        if self._leaving is not None:
            return self._leaving[1]
        if self.owner is None or self._service is None or self._marks is None:
            return None
        parts = (self.owner, self._service, self._marks)
        deadlines = [part.next_deadline_ms() for part in parts]
        return min((d for d in deadlines if d is not None), default=None)


def _stored(_: object) -> None:
    """What needs space is refused here meanwhile anyway."""


def _nobody() -> None:
    """Whoever waits for another shard asks again by itself."""
