"""Two shards and a sequencer in one process, and a migration that a test leads by hand.

What it is: the real Owner of each shard on an engine, each other's peer by direct calls; the test
says the phase and sees reports and stores. What it is not: the coordinators' part (tests/sim).

Worked example: `pair = Moving(); pair.put(b"/a/x"); pair.phase(Phase.PREPARING); pair.settle()`
leaves the row of /a/x in both stores.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any, Final

from kubebraid.base import errors
from kubebraid.base.keyspace import KeyRange
from kubebraid.base.leasehome import HOMES
from kubebraid.base.ports import (
    WRITE_DELETE,
    WRITE_LEASE_GRANT,
    WRITE_LEASE_REVOKE,
    WRITE_PUT,
    WRITE_TXN,
    Alarm,
    ClusterView,
    LogCall,
    LogReply,
    Publication,
    ReadCall,
    WriteCall,
    WriteReply,
)
from kubebraid.base.reshard import Kind, Migration, Phase, Report
from kubebraid.base.tabletmap import Tablet, TabletMap
from kubebraid.coordinator.phases import map_behind
from kubebraid.coordinator.sequencer import Sequencer
from kubebraid.proto import requests
from kubebraid.proto.etcd import rpc_pb2
from kubebraid.shard.cells import load
from kubebraid.shard.owner import Owner
from kubebraid.shard.ownership import Ownership, adopt
from kubebraid.shard.reshard.arrival import settle_cells
from kubebraid.shard.seams import ShardSeams
from kubebraid.shard.storage.engine import Batch, Engine
from kubebraid.shard.windows import window
from tests.unit.shard.fakes import BreakableEngine, Sink

SHARDS: Final = ("shard-0", "shard-1")
SYSTEM, MOVED, OTHER = 1, 2, 3


class Clock:
    def __init__(self) -> None:
        self.ms = 1_000

    def now_ms(self) -> int:
        return self.ms


def first_map() -> TabletMap:
    """[.., b) shard-0 with the leases; [b, c) shard-0; [c, ..) shard-1."""
    return TabletMap(
        1,
        (
            Tablet(SYSTEM, "system", KeyRange(b"", b"b"), "shard-0", 1),
            Tablet(MOVED, "moved", KeyRange(b"b", b"c"), "shard-0", 1),
            Tablet(OTHER, "other", KeyRange(b"c", None), "shard-1", 1),
        ),
    )


class Peers:
    """The shards as one process reaches them: who has died hears no answer."""

    def __init__(self, moving: Moving, incarnation: int) -> None:
        self._moving = moving
        self._incarnation = incarnation
        self.away: set[str] = set()
        self.waiting: list[tuple[Owner, Any]] = []

    def get(self, name: str) -> Any:
        owner = self._moving.owners.get(name)
        return None if owner is None or name in self.away else Line(self, owner)

    def cut(self, owner: Owner) -> None:
        """A process has died: who waits for its answer hears that."""
        lost = [done for other, done in self.waiting if other is owner]
        self.waiting = [(other, done) for other, done in self.waiting if other is not owner]
        for done in lost:
            done(errors.OWNER_AWAY)

    @property
    def alive(self) -> bool:
        return self._incarnation in self._moving.alive.values()


class Line:
    """One shard as another asks it."""

    def __init__(self, peers: Peers, owner: Owner) -> None:
        self._peers = peers
        self._owner = owner

    def __getattr__(self, name: str) -> Any:
        def ask(*asked: Any) -> None:
            *rest, done = asked
            waiting = (self._owner, done)
            self._peers.waiting.append(waiting)

            def answer(told: Any) -> None:
                if self._peers.alive and waiting in self._peers.waiting:
                    self._peers.waiting.remove(waiting)
                    done(told)

            getattr(self._owner, name)(*rest, answer)

        return ask


def engines_of(shards: tuple[str, ...]) -> dict[str, BreakableEngine]:
    """A store for each. Tests of shards that share their rows have another one here."""
    return {name: BreakableEngine() for name in shards}


class Moving:
    """See the head of the file."""

    def __init__(
        self,
        tablets: TabletMap | None = None,
        shards: tuple[str, ...] = SHARDS,
    ) -> None:
        self.clock = Clock()
        self.tablets = tablets or first_map()
        last = {tablet.id: 1 for tablet in self.tablets.tablets}
        self.sequencer = Sequencer(1, self.tablets, last)
        self.engines = engines_of(shards)
        self.reports: dict[str, Report] = {}
        self.published: dict[str, list[Publication]] = {}
        self.fatal: list[BaseException] = []
        self.owners: dict[str, Any] = {}
        self.owned: dict[str, Ownership] = {}
        self.migrations: tuple[Migration, ...] = ()
        self.floor = -1
        self.incarnations = 0
        self.alive: dict[str, int] = {}
        self.peers: dict[str, Peers] = {}
        for name in shards:
            self.start(name)

    # -- processes -----------------------------------------------------------------------------

    def start(self, name: str) -> None:
        """A process of the shard, perhaps behind another: under new owner epochs."""
        self.incarnations += 1
        if name in self.owners:
            ends = dict(self.sequencer.freeze(name, self.tablets))
            tablets = tuple(
                replace(t, oepoch=t.oepoch + 1, begin=ends[t.id]) if t.shard == name else t
                for t in self.tablets.tablets
            )
            if self.migrations and self.migration.phase is Phase.FROZEN:
                self.phase(Phase.READY, tell=False)
            self.reports.pop(name, None)
            self.take(TabletMap(self.tablets.version + 1, tablets), but=name)
        engine = self.engines[name]
        engine.catch_up()
        beside = Batch()
        settle_cells(engine, self.tablets, self.migrations, name, beside)
        fences = adopt(engine, name, self.tablets, beside)
        owned = Ownership(name, 1, self.tablets, fences, lambda: self.floor, self.incarnations)
        owned.proved = 0
        seams = ShardSeams(self.clock, self.fatal.append)
        self.owned[name] = owned
        peers: Any = Peers(self, self.incarnations)
        dead = self.owners.get(name)
        self.peers[name] = peers
        owner = Owner(engine, owned, self.sequencer, seams, peers)
        self.alive[name] = self.incarnations
        owner.tell = self._told
        self.owners[name] = owner
        self.published[name] = []
        owner.subscribe(self.published[name].append)
        owner.follow(self.view())
        if dead is not None:
            for other in list(self.peers.values()):
                other.cut(dead)

    def _told(self, report: Report) -> None:
        self.reports[report.shard] = report

    def view(self) -> ClusterView:
        places = (frozenset[Alarm](), (), self.migrations)
        return ClusterView(1, "c", 1, True, "a", self.tablets, self.floor, *places)

    def tell(self, *but: str) -> None:
        """The newest state to all."""
        for name, owner in self.owners.items():
            if name not in but:
                owner.follow(self.view())

    def take(self, tablets: TabletMap, but: str = "") -> None:
        self.tablets = tablets
        self.sequencer.adopt_map(tablets)
        self.tell(but)

    # -- the migration -------------------------------------------------------------------------

    def plan(self, kind: Kind, target: str, sources: tuple[int, ...], *targets: Tablet) -> None:
        by_id = self.tablets.by_id()
        source = by_id[sources[0]].shard
        self.migrations = (Migration("m1", kind, source, target, sources, targets),)

    def move(self, tablet: int, target: str) -> None:
        found = self.tablets.by_id()[tablet]
        self.plan(Kind.MOVE, target, (tablet,), replace(found, shard=target))

    @property
    def migration(self) -> Migration:
        return self.migrations[0]

    def phase(self, phase: Phase, tell: bool = True, **fields: Any) -> None:
        if phase is Phase.FROZEN:
            fields["freeze"] = self.migration.freeze + 1
        self.migrations = (self.migration._replace(phase=phase, **fields),)
        if tell:
            self.tell()

    def commit(self) -> None:
        """As the coordinators: H of the sequencer, the report's ends, another map."""
        report = self.reports[self.migration.target]
        assert report.process == self.alive[report.shard], "of a process that lives"
        assert report.freeze == self.migration.freeze, "of this freeze"
        ends = dict(report.ends)
        high = {tablet: self.sequencer.sample().last[tablet] for tablet in ends}
        assert ends == high, (ends, high)
        made = map_behind(self.migration, self.tablets, ends)
        self.phase(Phase.COMMITTED, tell=False, version=made.version, ends=tuple(ends.items()))
        self.take(made)

    def settle(self, turns: int = 2_000) -> None:
        """Turns and time until nothing happens but reports and rounds."""
        for _ in range(turns):
            self.clock.ms += 1
            for owner in list(self.owners.values()):
                owner.turn()
        assert not self.fatal, self.fatal

    def abort(self) -> None:
        self.phase(Phase.ABORTED)
        self.settle(300)

    # -- requests ------------------------------------------------------------------------------

    def call(self, kind: int, payload: bytes, *keys: bytes) -> WriteReply:
        """Submitted to the owner of the first key (or of the leases), and answered."""
        tablets = tuple(sorted({self.tablets.tablet_of(key).id for key in keys}))
        first = self.tablets.by_id()[tablets[0]] if tablets else self.tablets.tablet_of(HOMES)
        told: list[WriteReply] = []
        call = WriteCall(kind, payload, tablets, self.tablets.version, object())
        self.owners[first.shard].submit([call], told.append)
        for _ in range(50):
            if told:
                return told[0]
            self.clock.ms += 1
            for owner in list(self.owners.values()):
                owner.turn()
        raise AssertionError("a write was not answered")

    def put(self, key: bytes, value: bytes = b"v", lease: int = 0) -> WriteReply:
        request = rpc_pb2.PutRequest(key=key, value=value, lease=lease)
        return self.call(WRITE_PUT, request.SerializeToString(), key)

    def delete(self, key: bytes) -> WriteReply:
        return self.call(WRITE_DELETE, rpc_pb2.DeleteRangeRequest(key=key).SerializeToString(), key)

    def put_twice(self, key: bytes) -> WriteReply:
        """In nested transactions, as etcd allows it."""

        def put(value: bytes) -> rpc_pb2.RequestOp:
            return rpc_pb2.RequestOp(request_put=rpc_pb2.PutRequest(key=key, value=value))

        inner = rpc_pb2.TxnRequest(success=[put(b"second")])
        outer = rpc_pb2.TxnRequest(
            success=[
                rpc_pb2.RequestOp(request_txn=rpc_pb2.TxnRequest(success=[put(b"first")])),
                rpc_pb2.RequestOp(request_txn=inner),
            ]
        )
        return self.call(WRITE_TXN, outer.SerializeToString(), key)

    def grant(self, lease: int, ttl_s: int = 1_000) -> WriteReply:
        return self.call(WRITE_LEASE_GRANT, requests.encode_lease_grant(lease, ttl_s))

    def revoke(self, lease: int) -> WriteReply:
        return self.call(WRITE_LEASE_REVOKE, requests.encode_lease_revoke(lease))

    def begin_revoke(self, lease: int, done: Callable[[WriteReply], None], at: str = "") -> None:
        """Told to the home, and not waited for."""
        payload = requests.encode_lease_revoke(lease)
        call = WriteCall(WRITE_LEASE_REVOKE, payload, (), self.tablets.version, object())
        self.owners[at or self.tablets.tablet_of(HOMES).shard].submit([call], done)

    def compact(self, floor: int) -> None:
        self.floor = floor
        for owner in self.owners.values():
            owner.compact(floor, None)

    # -- reads ---------------------------------------------------------------------------------

    def read(self, name: str, span: KeyRange, revision: int, limit: int = 0) -> Sink:
        """What one shard answers of its tablets in a range."""
        owned = self.owned[name]
        needs = tuple((tablet, 0) for tablet in owned.tablets_of(span))
        sink = Sink()
        self.owners[name].read(
            ReadCall(span, revision, needs, owned.map_version, limit, False), sink
        )
        self.settle(5)
        assert not sink.silent, "answered"
        return sink

    def history(self, name: str, tablet: int, first: int) -> LogReply:
        """The commits of a tablet from a revision on, as a watch catches up."""
        upto = self.owned[name].closed[tablet]
        told: list[Any] = []
        everything = KeyRange(b"", None)
        call = LogCall((tablet,), everything, first, upto, 10_000, needs=(upto,))
        self.owners[name].read_log(call, told.append)
        reply = told[0]
        assert isinstance(reply, LogReply), reply
        return reply

    def lead(self, *phases: Phase) -> None:
        """Phase after phase, each until nothing more happens."""
        for phase in phases:
            self.phase(phase)
            self.settle(300)

    def switch(self) -> None:
        """From the beginning to the end, as it goes without a fault."""
        self.lead(Phase.PREPARING, Phase.READY, Phase.FROZEN)
        self.commit()
        self.lead(Phase.DRAINING, Phase.DONE)

    # -- what is stored ------------------------------------------------------------------------

    def shown(self, name: str) -> Engine:
        """A store, of shared rows those that its shard may serve."""
        return window(self.engines[name], lambda: self.owned[name].tablets, name)

    def rows(self, name: str, kinds: bytes = b"nhk") -> dict[bytes, bytes]:
        """Every stored row of these kinds that names a key of [b, c)."""
        found = {}
        for kind in kinds:
            low = bytes([kind])
            for stored, value in self.shown(name).scan(low, bytes([kind + 1]), 1_000_000):
                key = stored[9:] if kind == ord("k") else stored[1:]
                if key.startswith(b"b"):
                    found[stored] = value
        return found

    def log(self, name: str, tablet: int) -> dict[int, bytes]:
        """The log rows of a tablet, by revision; of shared ones those that are not another's."""
        owner = self.tablets.by_id().get(tablet)
        if self.engines[name].shares_rows and owner is not None and owner.shard != name:
            return {}
        low = b"l" + tablet.to_bytes(4, "big")
        rows = self.engines[name].scan(low, low + b"\xff" * 9, 1_000_000)
        return {int.from_bytes(stored[5:13], "big"): value for stored, value in rows}

    def cells(self, name: str) -> set[str]:
        return set(load(self.engines[name]))
