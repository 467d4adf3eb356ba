"""A shard: the parts of one owner behind OwnerPort.

What it is: wiring of writer, reader, compactor and leases, and the turn that drives them. What it
is not: any of their rules.

Invariants: one turn commits at most one batch and gives each running read one slice; expired
leases are revoked through the same write path as a client's revoke (inv21).

Tested in tests/unit/shard/test_owner.py and through tests/property/*.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial

from kubebraid.base import errors
from kubebraid.base.across import ShardPeer
from kubebraid.base.errors import RequestRefused
from kubebraid.base.ports import (
    ClusterView,
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
    TabletLoad,
    TabletNews,
    WriteCall,
    WriteReply,
)
from kubebraid.base.reshard import Report
from kubebraid.base.revision import Epoch, LeaseId, Revision, TabletId

from .across import Participant, Surroundings
from .cells import load
from .compaction import Compactor
from .counts import KeyCounts
from .foreign import Visible
from .history import read_log
from .jobs import DumpJob, HashJob
from .lease_desk import LeaseDesk
from .loads import Loads
from .maps import Parts, follow
from .ownership import Ownership
from .reader import Reader, satisfied
from .reshard.copier import Here
from .reshard.moves import Moves
from .reshard.source import Source
from .seams import ShardSeams
from .settle import Settler, refusal
from .storage.engine import Engine, EngineError
from .totals import Totals
from .upkeep import Upkeep
from .windows import window
from .writer import Writer


class _Newest:
    """The sample of the newest publication. Before the first one nothing is known of what other
    shards were given: revision 0 claims nothing."""

    def __init__(self, owned: Ownership) -> None:
        self.sample = Sample(owned.cepoch, owned.map_version, 0, {})

    def hear(self, publication: Publication) -> None:
        self.sample = publication.sample


def _nobody(_report: Report) -> None:
    """Nobody leads a migration."""


def _port(owner: Owner, own: str, peers: Mapping[str, ShardPeer], shard: str) -> ShardPeer | None:
    """A shard as it is asked, also this one."""
    return owner if shard == own else peers.get(shard)


def _told(owner: Owner, report: Report) -> None:
    owner.tell(report)


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
        whole = engine  # of a row space that shards share, also what is theirs
        owned.shares_rows = engine.shares_rows
        engine = self._engine = window(engine, lambda: owned.tablets, owned.shard)
        self._seams = seams
        visible = Visible(engine, owned.foreign)
        self._counts = KeyCounts(visible)
        settler = self._settler = Settler(engine, seams.space)
        # Not a copy: shards that come later are found in it.
        peers = {} if peers is None else peers
        self._peers = peers
        self._writer = Writer(engine, owned, sequencer, settler, seams, self._counts)
        self._reader = Reader(engine, owned, seams.clock, Totals(visible, owned, self._counts))
        self._compactor = Compactor(engine, owned.closed)
        self._size = 0
        self._figures: tuple[TabletLoad, ...] = ()
        self._newest = _Newest(owned)
        self._loads = Loads(visible, owned, self._counts, seams.clock)
        hears = (self._newest.hear, self._compactor.published, self._loads.published)
        self._writer.subscribers += hears
        self._upkeep = Upkeep(engine, self._compactor, self._counts, settler, seams)
        super().__init__(engine, owned, self._writer.submit, seams.clock, peers)
        self._writer.aside = self._guests.aside
        surroundings = Surroundings(engine, owned, settler, seams, peers)
        self.participant = Participant(surroundings, self._writer)
        self.across = self.participant.across
        self.retire = self._writer.retire
        owned.foreign.add(*load(engine).values())
        self.tell: Callable[[Report], None] = _nobody
        port = partial(_port, self, owned.shard, peers)
        told = partial(_told, self)
        slot = self.participant
        here = Here(whole, owned, seams.clock, slot, port, told, self._mend)
        self._leaving = here.leaving
        source = Source(whole, owned, self.participant, self._mend)
        self.copy, self.digest = source.copy, source.digest
        self._parts = Parts(
            engine,
            owned,
            seams.clock,
            self._writer,
            self.participant,
            self._guests,
            self._counts,
            self._compactor,
            self._fresh,
        )
        self._moves = Moves(here, source, self._compactor, self._parts.review)
        if owned.floor() > 0:
            self._compactor.compact(owned.floor(), None)

    # -- OwnerPort -----------------------------------------------------------------------------

    def submit(self, calls: Sequence[WriteCall], done: Callable[[WriteReply], None]) -> None:
        self._writer.submit(calls, self._loads.timed(calls, done))

    def read(self, call: ReadCall, sink: ReadSink) -> None:
        self._reader.read(call, sink)

    def points(self, calls: Sequence[PointCall], done: Callable[[PointReply], None]) -> None:
        self._reader.points(calls, done)

    def read_log(self, call: LogCall, done: Callable[[LogReply | RequestRefused], None]) -> None:
        """`upto` is a revision that the asker's release rule allows, so it is durable at the owner;
        whether that is this shard, the needs tell: a map may change on the way here."""
        needs = call.needs or (0,) * len(call.tablets)
        if not satisfied(tuple(zip(call.tablets, needs, strict=True)), self._owned.closed):
            done(errors.OTHER_MAP)
            return
        try:
            reply = read_log(self._engine, call, self._owned.floor())
        except EngineError as error:
            reply = refusal(error)
        done(reply)

    def subscribe(self, publish: Callable[[Publication], None]) -> None:
        self._writer.subscribers.append(publish)
        publish(self._fresh())

    def _fresh(self) -> Publication:
        news = tuple(
            TabletNews(tablet, oepoch, (), self._owned.closed[tablet])
            for tablet, oepoch in self._owned.oepochs.items()
        )
        return Publication(self._owned.shard, news, self._newest.sample, fresh=True)

    def compact(self, floor: Revision, done: Callable[[], None] | None) -> None:
        self._owned.raise_floor(floor)
        self._compactor.compact(floor, done)

    def hash_versions(
        self, floor: Revision, revision: Revision, done: Callable[[int | RequestRefused], None]
    ) -> None:
        self._reader.run(lambda view: HashJob(view, floor, revision, done), done)

    def dump(self, sink: DumpSink) -> None:
        floor = self._owned.floor()
        self._reader.run(lambda view: DumpJob(view, sink, floor), sink.fail)

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
            self._figures = self._loads.now()
        except EngineError:
            pass  # whoever writes or reads meets it too, and says so
        size, free = self._size, self._seams.space.free_bytes()
        tablets, leases = len(self._owned.oepochs), len(self._owned.leases)
        told = (self._figures, free, self.participant.undecided)
        return ShardStatus(size, size, tablets, leases, *told)

    def sample_keys(
        self,
        tablet: TabletId,
        parts: int,
        by_load: bool,
        done: Callable[[tuple[bytes, ...] | RequestRefused], None],
    ) -> None:
        """See KeySource."""
        if tablet not in self._owned.oepochs or parts < 2:
            done(errors.OTHER_MAP)
            return
        try:
            done(self._loads.borders(tablet, parts, by_load))
        except EngineError as error:
            done(refusal(error))

    def begin_reign(self, cepoch: Epoch) -> None:
        """Another sequencer rules."""
        self._writer.begin_reign(cepoch)

    # -- other maps ----------------------------------------------------------------------------

    def follow(self, view: ClusterView) -> None:
        """A newer state of the coordinators: what becomes ours is taken before it is served. Raises
        EngineError, FenceDamaged, KubeBraidError: then nothing more may be served."""
        follow(self._parts, self._moves, view)

    def _mend(self, error: EngineError) -> None:
        try:
            self._settler.mend(error)
        except EngineError as lasting:
            self._seams.on_fatal(lasting)

    def lease_leave(self, lease: LeaseId, done: Callable[[RequestRefused | None], None]) -> None:
        if not self._moves.leaves(lease):
            done(errors.OWNER_AWAY)
            return
        self._leaving.append(lease)

        def left(refused: RequestRefused | None) -> None:
            self._leaving.remove(lease)
            done(refused)

        super().lease_leave(lease, left)

    # -- the loop ------------------------------------------------------------------------------

    def turn(self) -> bool:
        """Commit a batch, read slices, compact a slice. Answers: can more be done now?"""
        now_ms = self._clock.now_ms()
        self.expire(now_ms)
        more = not self._moves.idle and self._moves.turn(now_ms)
        more |= self.participant.turn(now_ms)
        more |= self._writer.turn()
        more |= self._reader.turn()
        if not self._moves.switching(now_ms):
            more |= self._upkeep.turn(now_ms)
        return more

    def next_deadline_ms(self) -> int | None:
        """When `turn` should be called although nothing arrived."""
        own = (self._reader, self._moves)
        parts = (self._owned.leases, self._guests, self.participant, *own)
        deadlines = [part.next_deadline_ms() for part in parts]
        if not self._moves.switching(self._clock.now_ms()):
            deadlines.append(self._upkeep.next_deadline_ms())
        return min((d for d in deadlines if d is not None), default=None)

    @property
    def drained(self) -> bool:
        """Whether every accepted write was answered."""
        return self._writer.idle
