"""A shard: the parts of one owner behind OwnerPort.

What it is: wiring of writer, reader, compactor and leases, and the turn that drives them. What it
is not: any of their rules.

Invariants: one turn commits at most one batch and gives each running read one slice; expired
leases are revoked through the same write path as a client's revoke (inv21).

Tested in tests/unit/shard/test_owner.py and through tests/property/*.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from kubebraid.base.across import ShardPeer
from kubebraid.base.errors import RequestRefused
from kubebraid.base.ports import (
    DumpSink,
    LogCall,
    LogReply,
    PointCall,
    PointReply,
    Publication,
    ReadCall,
    ReadSink,
    Sample,
    SequencerPort,
    ShardStatus,
    TabletNews,
    WriteCall,
    WriteReply,
)
from kubebraid.base.revision import Epoch, Revision

from .across import Participant, Surroundings
from .compaction import Compactor
from .counts import KeyCounts
from .history import read_log
from .jobs import DumpJob, HashJob
from .lease_desk import LeaseDesk
from .ownership import Ownership
from .reader import Reader
from .seams import ShardSeams
from .settle import Settler, refusal
from .storage.engine import Engine, EngineError
from .totals import Totals
from .upkeep import Upkeep
from .writer import Writer


class _Newest:
    """The sample of the newest publication. Before the first one nothing is known of what other
    shards were given: revision 0 claims nothing."""

    def __init__(self, owned: Ownership) -> None:
        self.sample = Sample(owned.cepoch, owned.map_version, 0, {})

    def hear(self, publication: Publication) -> None:
        self.sample = publication.sample


class Owner(LeaseDesk):
    """Implements OwnerPort and PeerPort directly; `turn` does the work."""

    def __init__(
        self,
        engine: Engine,
        owned: Ownership,
        sequencer: SequencerPort,
        seams: ShardSeams,
        peers: Mapping[str, ShardPeer] | None = None,
    ) -> None:
        """`peers`: the other shards, by name."""
        self._seams = seams
        self._counts = KeyCounts(engine)
        settler = Settler(engine, seams.space)
        self._writer = Writer(engine, owned, sequencer, settler, seams, self._counts)
        self._reader = Reader(engine, owned, seams.clock, Totals(engine, owned, self._counts))
        self._compactor = Compactor(engine, sorted(owned.oepochs))
        self._size = 0
        self._newest = _Newest(owned)
        self._writer.subscribers.append(self._newest.hear)
        self._upkeep = Upkeep(engine, self._compactor, self._counts, settler, seams)
        super().__init__(engine, owned, self._writer.submit, seams.clock, peers or {})
        self._writer.aside = self._guests.aside
        surroundings = Surroundings(engine, owned, settler, seams, peers or {})
        self.participant = Participant(surroundings, self._writer)
        self.across = self.participant.across
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

    def subscribe(self, publish: Callable[[Publication], None]) -> None:
        self._writer.subscribers.append(publish)
        news = tuple(
            TabletNews(tablet, oepoch, (), self._owned.closed[tablet])
            for tablet, oepoch in self._owned.oepochs.items()
        )
        publish(Publication(self._owned.shard, news, self._newest.sample, fresh=True))

    def compact(self, floor: Revision, done: Callable[[], None] | None) -> None:
        self._owned.raise_floor(floor)
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

    def status(self) -> ShardStatus:
        """While the engine cannot be asked its size is the last that was known."""
        try:
            self._size = self._engine.disk_bytes()
        except EngineError:
            pass  # whoever writes or reads meets it too, and says so
        size = self._size
        return ShardStatus(size, size, len(self._owned.oepochs), len(self._owned.leases))

    def begin_reign(self, cepoch: Epoch) -> None:
        """Another sequencer rules."""
        self._writer.begin_reign(cepoch)

    # -- the loop ------------------------------------------------------------------------------

    def turn(self) -> bool:
        """Commit a batch, read slices, compact a slice. Answers: can more be done now?"""
        now_ms = self._clock.now_ms()
        self.expire(now_ms)
        more = self.participant.turn(now_ms)
        more |= self._writer.turn()
        more |= self._reader.turn()
        more |= self._upkeep.turn(now_ms)
        return more

    def next_deadline_ms(self) -> int | None:
        """When `turn` should be called although nothing arrived."""
        own = (self._reader, self._upkeep)
        parts = (self._owned.leases, self._guests, self.participant, *own)
        deadlines = [part.next_deadline_ms() for part in parts]
        return min((d for d in deadlines if d is not None), default=None)

    @property
    def drained(self) -> bool:
        """Whether every accepted write was answered."""
        return self._writer.idle
