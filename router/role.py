"""A router's life: it follows the coordinators, keeps a link to each shard, and serves clients.

What it is: wiring, and what becomes of the router when the map, a shard's address or the sequencer
changes. What it is not: any rule of its parts, or a process (`main.py`).

Invariants: clients are answered only once a map and a sample of it are here; any number of routers
may run, none has state that another needs.

Worked example: the map names shard-0 at 127.0.0.1:7001: the router dials it and subscribes; shard-0
comes back at 127.0.0.1:7009 with another incarnation: it dials anew, and watchers catch up.

Tested in tests/sim, tests/e2e/test_dev_cluster.py.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from kubebraid.base.limits import PROGRESS_INTERVAL_MS, REQUEST_BYTES_MAX, TXN_OPS_MAX
from kubebraid.base.links import Mesh
from kubebraid.base.ports import ClusterView, Sample
from kubebraid.base.seams import Clock, Random
from kubebraid.proto.coordinator_client import CoordinatorClient
from kubebraid.proto.kvwire import Header
from kubebraid.proto.shard_links import ShardLinks

from .autosplit import OFF, Bounds
from .context import Context, header_of
from .core import Router

ROLE: Final = "router"


@dataclass(frozen=True, slots=True)
class RouterOptions:
    """What a router is told. `client_urls` is what MemberList answers."""

    name: str
    coordinators: Mapping[str, str]
    client_urls: tuple[str, ...] = ()
    progress_interval_ms: int = PROGRESS_INTERVAL_MS
    request_bytes_max: int = REQUEST_BYTES_MAX
    txn_ops_max: int = TXN_OPS_MAX
    auto_split: Bounds = OFF


class RouterRole:
    """A Part of the loop; the links' network comes behind it."""

    def __init__(
        self,
        options: RouterOptions,
        mesh: Mesh,
        clock: Clock,
        random: Random,
        on_ready: Callable[[], None],
    ) -> None:
        """`on_ready`: called once, on the loop's thread, when clients can be answered."""
        self._options = options
        self._clock = clock
        self._random = random
        self._on_ready = on_ready
        self._sampling = False
        self._header: Header | None = None
        self.router: Router | None = None
        self._shards = ShardLinks(mesh, self._poke)
        self.client = CoordinatorClient(self._told)
        for address in options.coordinators.values():
            mesh.dial(address, self.client)

    # -- the coordinators ----------------------------------------------------------------------

    def _told(self, view: ClusterView) -> None:
        """A newer state."""
        if not view.cluster:
            return
        owners = {tablet.shard for tablet in view.tablets.tablets}
        self._shards.follow(owners | {place.name for place in view.shards}, view)
        if self.router is None:
            self._begin()
            return
        if self._header is not None and view.cepoch > self._header.raft_term:
            self._header.begin_term(view.cepoch)
        if view.tablets.version > self.router.map_version:
            self.router.follow(view.tablets)
        self.router.poke()

    def _begin(self) -> None:
        """The first sample: with it the router is made."""
        if not self._sampling:
            self._sampling = True
            self.client.read_revision(self._sampled)

    def _sampled(self, sample: Sample) -> None:
        self._sampling = False
        view, options = self.client.view, self._options
        if sample.map_version != view.tablets.version:
            self._begin()
            return
        self._header = header_of(view.cluster, options.name, sample.cepoch)
        context = Context(
            owners=self._shards.clients,
            sequencer=self.client,
            coordinator=self.client,
            tablets=view.tablets,
            header=self._header,
            clock=self._clock,
            random=self._random,
            name=options.name,
            client_urls=options.client_urls,
            progress_interval_ms=options.progress_interval_ms,
            request_bytes_max=options.request_bytes_max,
            txn_ops_max=options.txn_ops_max,
            coordinators=options.coordinators,
            auto_split=options.auto_split,
            remote=True,
        )
        self.router = Router(context, sample)
        self._on_ready()

    def _poke(self) -> None:
        if self.router is not None:
            self.router.poke()

    # -- the loop ------------------------------------------------------------------------------

    def turn(self) -> bool:
        """The router's turn, then what it asks of its shards."""
        more = False
        if self.router is not None:
            more = self.router.turn()
            more |= self.router.concurrency.turn()
        return self._shards.turn() or more

    def next_deadline_ms(self) -> int | None:
        if self.router is None:
            return None
        deadlines = [self.router.next_deadline_ms(), self.router.concurrency.next_deadline_ms()]
        return min((d for d in deadlines if d is not None), default=None)
