"""A node: all three roles in one process, on one engine, driven by one loop.

What it is: the wiring that `kubebraid serve` and the tests share, so that what is tested is what
is served. What it is not: a front, a thread or a signal handler.

Order of a start: coordinator state (new reign, new owner epochs) -> fences adopted in one synced
batch -> sequencer recovered from the fences -> owner -> router.

Invariants: the next revision after any stop is the highest fence + 1 (no gap: what was allocated
but not durable was seen by nobody, because the sequencer lived in this process).

Tested in tests/unit/cli/test_node.py and, through tests/world.py, in every property test.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable
from concurrent.futures import Executor
from dataclasses import dataclass
from typing import Final

from kubebraid.base.limits import PROGRESS_INTERVAL_MS, REQUEST_BYTES_MAX, TXN_OPS_MAX
from kubebraid.base.loop import Loop
from kubebraid.base.seams import Clock, Random
from kubebraid.base.tabletmap import TabletMap
from kubebraid.coordinator.coordinator import Coordinator
from kubebraid.proto.kvwire import Header
from kubebraid.proto.server import Edge, EdgeEvent
from kubebraid.router.context import Context
from kubebraid.router.core import Router
from kubebraid.shard import keycodec
from kubebraid.shard.owner import Owner
from kubebraid.shard.ownership import Ownership, adopt
from kubebraid.shard.storage.engine import Batch, Engine, EngineError

SHARD: Final = "shard-0"


class EngineCell:
    """The coordinator's durable cell, kept in the node's own engine. Implements StateStore."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def load(self) -> bytes | None:
        return self._engine.get(keycodec.cell("coordinator"))

    def save(self, raw: bytes) -> None:
        self._engine.write(Batch().put(keycodec.cell("coordinator"), raw), sync=True)


@dataclass(frozen=True, slots=True)
class NodeOptions:
    """What a node is told. `uuid` names the store and decides the cluster id."""

    uuid: str
    name: str = "default"
    client_urls: tuple[str, ...] = ()
    progress_interval_ms: int = PROGRESS_INTERVAL_MS
    quota_bytes: int = 0
    request_bytes_max: int = REQUEST_BYTES_MAX
    txn_ops_max: int = TXN_OPS_MAX


@dataclass(frozen=True, slots=True)
class Seams:
    """What a node gets from its process. `executor` runs what blocks (defragment); without one it
    runs on the loop."""

    clock: Clock
    random: Random
    on_fatal: Callable[[BaseException], None]
    executor: Executor | None = None


class Node:
    """The roles of one process. `deliver` and `loop.stop` may be called from any thread."""

    def __init__(
        self, engine: Engine, first_map: TabletMap, options: NodeOptions, seams: Seams
    ) -> None:
        clock, random, on_fatal = seams.clock, seams.random, seams.on_fatal
        self._executor = seams.executor
        self._on_fatal = on_fatal
        self.engine = engine
        self.coordinator = Coordinator(EngineCell(engine), first_map)
        tablets = self.coordinator.tablet_map()
        fences = adopt(engine, SHARD, tablets)
        self.sequencer = self.coordinator.sequencer(
            {tablet: fence.last for tablet, fence in fences.items()}
        )
        owned = Ownership(
            SHARD, self.coordinator.cepoch, tablets, fences, self.coordinator.compact_revision
        )
        self.owner = Owner(engine, owned, self.sequencer, clock, on_fatal, self._background)
        context = Context(
            owners={SHARD: self.owner},
            sequencer=self.sequencer,
            coordinator=self.coordinator,
            tablets=tablets,
            header=_header(options.uuid, options.name, self.coordinator.cepoch),
            clock=clock,
            random=random,
            name=options.name,
            client_urls=options.client_urls,
            progress_interval_ms=options.progress_interval_ms,
            quota_bytes=options.quota_bytes,
            request_bytes_max=options.request_bytes_max,
            txn_ops_max=options.txn_ops_max,
        )
        self.router = Router(context, self.sequencer.sample())
        self.loop = Loop(clock, on_fatal)
        self.loop.attach((self.router, self.owner))

    def _background(self, work: Callable[[], None], done: Callable[[], None]) -> None:
        """Blocking work elsewhere; `done` on the loop."""
        if self._executor is None:
            work()
            self.loop.post(done)
            return

        def run() -> None:
            try:
                work()
            except EngineError as error:
                self._on_fatal(error)
            else:
                self.loop.post(done)

        self._executor.submit(run)

    def deliver(self, edge: Edge, events: Iterable[EdgeEvent]) -> None:
        """What a front calls: the events run on the loop's thread."""
        self.loop.post(lambda: self.router.handle(edge, events))


def _header(uuid: str, name: str, term: int) -> Header:
    """Ids that stay: of the cluster from its store, of the member from store and name."""
    cluster = hashlib.sha256(uuid.encode()).digest()
    member = hashlib.sha256(f"{uuid}/{name}".encode()).digest()
    return Header(_id(cluster), _id(member), term)


def _id(digest: bytes) -> int:
    return int.from_bytes(digest[:8], "big") >> 1 or 1
