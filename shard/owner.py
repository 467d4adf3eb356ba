"""A shard: the parts of one owner behind OwnerPort.

What it is: wiring of writer, reader, compactor and leases, and the turn that drives them. What it
is not: any of their rules.

Invariants: one turn commits at most one batch and gives each running read one slice; expired
leases are revoked through the same write path as a client's revoke (inv21).

Tested in tests/unit/shard/test_owner.py and through tests/property/*.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from kubebraid.base.errors import RequestRefused
from kubebraid.base.limits import LEASE_EXPIRIES_PER_TURN, LEASE_RETRY_MS
from kubebraid.base.ports import (
    WRITE_LEASE_REVOKE,
    DumpSink,
    LogCall,
    LogReply,
    PointCall,
    PointReply,
    Publication,
    ReadCall,
    ReadSink,
    SequencerPort,
    ShardStatus,
    TabletNews,
    WriteCall,
    WriteReply,
)
from kubebraid.base.revision import LeaseId, Revision
from kubebraid.proto import requests

from .compaction import Compactor
from .counts import KeyCounts
from .history import read_log
from .jobs import DumpJob, HashJob
from .ownership import Ownership
from .reader import Reader
from .seams import ShardSeams
from .settle import Settler, refusal
from .storage.engine import Engine, EngineError
from .totals import Totals
from .upkeep import Upkeep
from .view import attached_keys
from .writer import Writer


class Owner:
    """Implements OwnerPort directly; `turn` does the work."""

    def __init__(
        self,
        engine: Engine,
        owned: Ownership,
        sequencer: SequencerPort,
        seams: ShardSeams,
    ) -> None:
        self._seams = seams
        self._engine = engine
        self._owned = owned
        self._clock = seams.clock
        self._counts = KeyCounts(engine)
        settler = Settler(engine, seams.space)
        self._writer = Writer(engine, owned, sequencer, settler, seams, self._counts)
        self._reader = Reader(engine, owned, seams.clock, Totals(engine, owned, self._counts))
        self._compactor = Compactor(engine, sorted(owned.oepochs))
        self._upkeep = Upkeep(engine, self._compactor, self._counts, settler, seams)
        owned.load_leases(engine, seams.clock.now_ms())
        if owned.floor() > 0:
            self._compactor.compact(owned.floor(), None)

    # -- OwnerPort -----------------------------------------------------------------------------

    def submit(self, calls: Sequence[WriteCall], done: Callable[[WriteReply], None]) -> None:
        self._writer.submit(calls, done)

    def read(self, call: ReadCall, sink: ReadSink) -> None:
        self._reader.read(call, sink)

    def points(self, calls: Sequence[PointCall], done: Callable[[PointReply], None]) -> None:
        self._reader.points(calls, done)

    def read_log(self, call: LogCall, done: Callable[[LogReply | RequestRefused], None]) -> None:
        """`upto` is a revision that the asker's release rule allows, so it is durable here."""
        try:
            reply = read_log(self._engine, call, self._owned.floor())
        except EngineError as error:
            reply = refusal(error)
        done(reply)

    def subscribe(self, publish: Callable[[Publication], None]) -> Sequence[TabletNews]:
        self._writer.subscribers.append(publish)
        return [
            TabletNews(tablet, oepoch, (), self._owned.closed[tablet])
            for tablet, oepoch in self._owned.oepochs.items()
        ]

    def compact(self, floor: Revision, done: Callable[[], None] | None) -> None:
        self._compactor.compact(floor, done)

    def hash_versions(
        self, floor: Revision, revision: Revision, done: Callable[[int | RequestRefused], None]
    ) -> None:
        self._reader.run(lambda view: HashJob(view, floor, revision, done), done)

    def dump(self, sink: DumpSink) -> None:
        self._reader.run(lambda view: DumpJob(view, sink), sink.fail)

    def defragment(self, done: Callable[[RequestRefused | None], None]) -> None:
        failed: list[EngineError] = []

        def work() -> None:
            try:
                self._engine.defragment()
            except EngineError as error:
                failed.append(error)

        self._seams.background(work, lambda: done(refusal(failed[0]) if failed else None))

    def lease_info(self, lease: LeaseId) -> tuple[int, int, tuple[bytes, ...]] | None:
        table = self._owned.leases
        if lease not in table:
            return None
        keys = tuple(attached_keys(self._engine, lease))
        return table.ttl_s(lease), table.remaining_s(lease, self._clock.now_ms()), keys

    def leases(self) -> Sequence[LeaseId]:
        return self._owned.leases.ids()

    def keep_alive(self, lease: LeaseId) -> int:
        return self._owned.leases.renew(lease, self._clock.now_ms())

    def status(self) -> ShardStatus:
        size = self._engine.disk_bytes()
        return ShardStatus(size, size, len(self._owned.oepochs), len(self._owned.leases))

    # -- the loop ------------------------------------------------------------------------------

    def turn(self) -> bool:
        """Commit a batch, read slices, compact a slice. Answers: can more be done now?"""
        now_ms = self._clock.now_ms()
        self._expire(now_ms)
        more = self._writer.turn()
        more |= self._reader.turn()
        more |= self._upkeep.turn(now_ms)
        return more

    def next_deadline_ms(self) -> int | None:
        """When `turn` should be called although nothing arrived."""
        parts = (self._owned.leases, self._reader, self._upkeep)
        deadlines = [part.next_deadline_ms() for part in parts]
        return min((d for d in deadlines if d is not None), default=None)

    @property
    def drained(self) -> bool:
        """Whether every accepted write was answered."""
        return self._writer.idle

    def _expire(self, now_ms: int) -> None:
        expired = self._owned.leases.take_expired(now_ms, LEASE_EXPIRIES_PER_TURN)
        calls = [self._revoke(lease) for lease in expired]
        if calls:
            self._writer.submit(calls, self._expired)

    def _revoke(self, lease: LeaseId) -> WriteCall:
        payload = requests.encode_lease_revoke(lease)
        return WriteCall(WRITE_LEASE_REVOKE, payload, (), self._owned.map_version, lease)

    def _expired(self, reply: WriteReply) -> None:
        """Refused for a full queue: try again later. Gone already: nothing to do."""
        lease = reply.tag
        assert isinstance(lease, int)
        if reply.error is not None:
            self._owned.leases.keep(lease, self._clock.now_ms() + LEASE_RETRY_MS)
