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

import logging
from collections.abc import Callable, Iterable
from concurrent.futures import Executor
from dataclasses import dataclass, field
from typing import Final

from kubebraid.base.limits import PROGRESS_INTERVAL_MS, REQUEST_BYTES_MAX, TXN_OPS_MAX
from kubebraid.base.loop import Loop, Part
from kubebraid.base.ports import ALARM_NOSPACE, Alarm
from kubebraid.base.seams import Clock, Random
from kubebraid.base.tabletmap import TabletMap
from kubebraid.coordinator.autocompact import Retention, policy_of
from kubebraid.coordinator.coordinator import Coordinator
from kubebraid.proto.server import Edge, EdgeEvent
from kubebraid.router.context import Context, header_of
from kubebraid.router.core import Router
from kubebraid.shard import keycodec
from kubebraid.shard.owner import Owner
from kubebraid.shard.ownership import Ownership, adopt
from kubebraid.shard.seams import ShardSeams
from kubebraid.shard.settle import Settler
from kubebraid.shard.storage.engine import Batch, Engine, EngineError
from kubebraid.shard.storage.space import ENDLESS, Space

from .autocompactor import AutoCompactor
from .observer import Observer

SHARD: Final = "shard-0"
_LOG: Final = logging.getLogger("kubebraid.node")


class EngineCell:
    """The coordinator's durable cell, kept in the node's own engine. Implements StateStore."""

    def __init__(self, engine: Engine, space: Space = ENDLESS) -> None:
        self._engine = engine
        self._settler = Settler(engine, space)

    def load(self) -> bytes | None:
        return self._engine.get(keycodec.cell("coordinator"))

    def save(self, raw: bytes) -> None:
        batch = Batch().put(keycodec.cell("coordinator"), raw)
        try:
            self._engine.write(batch, sync=True)
        except EngineError as error:
            # Written twice it is the same cell, so the outcome need not be found out.
            self._settler.mend(error)
            self._engine.write(batch, sync=True)


@dataclass(frozen=True, slots=True)
class NodeOptions:
    """What a node is told. `uuid` names the store and decides the cluster id; `client_urls` is what
    MemberList answers."""

    uuid: str
    name: str = "default"
    client_urls: tuple[str, ...] = ()
    progress_interval_ms: int = PROGRESS_INTERVAL_MS
    quota_bytes: int = 0
    request_bytes_max: int = REQUEST_BYTES_MAX
    txn_ops_max: int = TXN_OPS_MAX
    retention: Retention = field(default_factory=Retention)


@dataclass(frozen=True, slots=True)
class Seams:
    """What a node gets from its process. `executor` runs what blocks (defragment); without one it
    runs on the loop."""

    clock: Clock
    random: Random
    on_fatal: Callable[[BaseException], None]
    executor: Executor | None = None
    space: Space = ENDLESS


class Node:
    """The roles of one process. `deliver` and `loop.stop` may be called from any thread."""

    def __init__(
        self, engine: Engine, first_map: TabletMap, options: NodeOptions, seams: Seams
    ) -> None:
        clock, random, on_fatal = seams.clock, seams.random, seams.on_fatal
        self._executor = seams.executor
        self._on_fatal = on_fatal
        self.engine = engine
        self.coordinator = Coordinator(EngineCell(engine, seams.space), first_map)
        tablets = self.coordinator.tablet_map()
        fences = adopt(engine, SHARD, tablets)
        self.sequencer = self.coordinator.sequencer(
            {tablet: fence.last for tablet, fence in fences.items()}
        )
        owned = Ownership(
            SHARD, self.coordinator.cepoch, tablets, fences, self.coordinator.compact_revision
        )
        header = header_of(options.uuid, options.name, self.coordinator.cepoch)
        nospace = Alarm(header.member_id, ALARM_NOSPACE)
        shard_seams = ShardSeams(
            clock, self._fail, self._background, seams.space, lambda: self._raise(nospace)
        )
        self.owner = Owner(engine, owned, self.sequencer, shard_seams)
        context = Context(
            owners={SHARD: self.owner},
            sequencer=self.sequencer,
            coordinator=self.coordinator,
            tablets=tablets,
            header=header,
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
        self._observer = Observer(clock, self.coordinator, self.owner)
        compactor = self._auto_compactor(options.retention, clock)
        # The router before the owner: what a batch brought is committed in the same turn. Locks and
        # elections behind it: they go on from what it answered, and ask for the next turn.
        locks = self.router.concurrency
        parts: list[Part] = [self._observer.head, self.router, self.owner, locks, self._observer]
        if compactor is not None:
            parts.insert(1, compactor)
        self.loop.attach(parts)

    def _auto_compactor(self, retention: Retention, clock: Clock) -> AutoCompactor | None:
        """None where it is off."""
        policy = policy_of(retention, clock.now_ms(), self.sequencer.revision)
        if policy is None:
            return None
        return AutoCompactor(policy, clock, lambda: self.sequencer.revision, self.router.handle)

    def _fail(self, error: BaseException) -> None:
        """Whoever had to be told was told. Not one answer more: the sequencer counts revisions that
        the next start will hand out again (inv13)."""
        self.loop.halt()
        self._on_fatal(error)

    def _raise(self, alarm: Alarm) -> None:
        try:
            self.coordinator.set_alarm(alarm, True, _stored)
        except EngineError as error:
            # The device is looked at again in a moment, and the write at hand is refused anyway.
            _LOG.error("the alarm cannot be stored", extra={"error": str(error)})

    def _background(self, work: Callable[[], None], done: Callable[[], None]) -> None:
        """Blocking work elsewhere; `done` on the loop."""
        if self._executor is None:
            work()
            self.loop.post(done)
            return

        def run() -> None:
            work()
            self.loop.post(done)

        self._executor.submit(run)

    def deliver(self, edge: Edge, events: Iterable[EdgeEvent]) -> None:
        """What a front calls: the events run on the loop's thread."""
        self.loop.post(lambda: self._handle(edge, events))

    def _handle(self, edge: Edge, events: Iterable[EdgeEvent]) -> None:
        self._observer.begin()
        self.router.handle(edge, events)


def _stored(_: object) -> None:
    """A raised alarm counts at once; its record is only for the next start."""
