"""What the router's unit tests stand on: ports that answer later, and a small world of two shards.

What it is: fakes for sequencer, coordinator and owners whose answers wait until a test lets them
go, and `Shards`, which hands out revisions as the sequencer does and delivers publications when the
test says so. What it is not: a node (that is tests/world.py).

Words: *held* answers are queued; `answer()` lets the oldest go.

Worked example: `Shards()` has tablet 1 (keys below "m") on "left" and tablet 2 on "right";
`commit(b"a", b"z")` takes one revision for both, `deliver("left")` publishes it there.
"""

from __future__ import annotations

import dataclasses
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from google.protobuf.message import Message

from kubebraid.base import errors
from kubebraid.base.across import AcrossCall, AcrossReply
from kubebraid.base.errors import RequestRefused
from kubebraid.base.keyspace import KeyRange, from_etcd, single
from kubebraid.base.ops import NO_FILTERS, RangeOp
from kubebraid.base.ports import (
    Alarm,
    DumpSink,
    LeaseInfo,
    LogCall,
    LogReply,
    PointCall,
    PointReply,
    Publication,
    ReadCall,
    ReadChunk,
    ReadSink,
    Sample,
    ShardStatus,
    TabletNews,
    WriteCall,
    WriteReply,
)
from kubebraid.base.record import Commit, Event, Row
from kubebraid.base.tabletmap import Tablet, TabletMap
from kubebraid.proto.etcd import rpc_pb2
from kubebraid.proto.kvwire import Header, key_of, key_value, range_rows, tombstone
from kubebraid.proto.server import METHOD_BY_PATH, METHODS, EdgeEvent, Kind, Shape
from kubebraid.router.context import Context
from kubebraid.router.core import Router
from kubebraid.router.hub import Hub
from kubebraid.router.session import Session
from kubebraid.router.watcher import Options, Request
from kubebraid.shard.jobs import DumpJob
from kubebraid.shard.reader import PointSink
from kubebraid.shard.storage.memory import MemoryEngine
from tests.world import FakeClock, FakeEdge, FakeRandom, RpcError

HEADER: Final = Header(11, 12, 13)
LEFT, RIGHT = "left", "right"
PACKAGES: Final = {
    "Health": "grpc.health.v1",
    "Lock": "v3lockpb",
    "Election": "v3electionpb",
    "Admin": "kubebraid.admin.v1",
}
MAP: Final = TabletMap(
    1,
    (
        Tablet(1, "a", KeyRange(b"", b"m"), LEFT, 1),
        Tablet(2, "b", KeyRange(b"m", None), RIGHT, 1),
    ),
)


def sample(revision: int, last: dict[int, int]) -> Sample:
    return Sample(1, 1, revision, last)


def event(key: bytes, revision: int, deleted: bool = False, place: int = 0) -> Event:
    if deleted:
        return Event(key, True, tombstone(key, revision), key_value(key, 1, 1, 1, b"", 0), place)
    return Event(key, False, key_value(key, revision, revision, 1, b"v", 0), None, place)


def commit(revision: int, *keys: bytes) -> Commit:
    return Commit(revision, tuple(event(key, revision) for key in keys))


def row(key: bytes, mod: int = 2) -> Row:
    return Row(mod, mod, 1, 0, key_value(key, mod, mod, 1, b"v", 0))


def range_op(
    key: bytes = b"a", range_end: bytes = b"\x00", limit: int = 0, count_only: bool = False
) -> RangeOp:
    span = from_etcd(key, range_end)
    return RangeOp(span, 0, limit, 0, 0, False, False, count_only, NO_FILTERS)


def log_slice(commits: Iterable[Commit], call: LogCall, limit: int) -> LogReply:
    """What a log of these, of the called tablets, answers: so many of the oldest."""
    found = [
        Commit(c.revision, tuple(e for e in c.events if call.span.contains(e.key)))
        for c in sorted(commits, key=lambda c: c.revision)
        if call.first <= c.revision <= call.upto
    ]
    complete = found[limit].revision - 1 if len(found) > limit else call.upto
    return LogReply([c for c in found[:limit] if c.events], complete)


class HeldSequencer:
    """Answers ReadRev at once, or when `hold` is set, when the test says so."""

    def __init__(self, now: Callable[[], Sample]) -> None:
        self._now = now
        self._waiting: deque[Callable[[Sample], None]] = deque()
        self.hold = False
        self.reads = 0

    def alloc(self, request: object, done: object) -> None:
        raise AssertionError("a router does not allocate")

    def read_revision(self, done: Callable[[Sample], None]) -> None:
        self.reads += 1
        if self.hold:
            self._waiting.append(done)
        else:
            done(self._now())

    def answer(self) -> None:
        """The oldest question, with the sample of now."""
        self._waiting.popleft()(self._now())

    def answer_all(self) -> None:
        while self._waiting:
            self.answer()


class HeldCoordinator:
    """The floor, and raising it when the test says so."""

    def __init__(self, tablets: TabletMap) -> None:
        self._tablets = tablets
        self._waiting: deque[tuple[int, Callable[[RequestRefused | None], None]]] = deque()
        self.floor = -1
        self.hold = False
        self.raised: frozenset[Alarm] = frozenset()
        self.alarms_refused: RequestRefused | None = None

    def tablet_map(self) -> TabletMap:
        return self._tablets

    def compact_revision(self) -> int:
        return self.floor

    def alarms(self) -> frozenset[Alarm]:
        return self.raised

    def set_alarm(
        self, alarm: Alarm, raised: bool, done: Callable[[bool | RequestRefused], None]
    ) -> None:
        if self.alarms_refused is not None:
            done(self.alarms_refused)
            return
        before = alarm in self.raised
        self.raised = self.raised | {alarm} if raised else self.raised - {alarm}
        done(before)

    def compact(self, revision: int, done: Callable[[RequestRefused | None], None]) -> None:
        self._waiting.append((revision, done))
        if not self.hold:
            self.answer()

    def answer(self, refused: RequestRefused | None = None) -> None:
        revision, done = self._waiting.popleft()
        if refused is None:
            self.floor = revision
        done(refused)


class HeldOwner:
    """A shard that keeps what it is asked until the test lets it answer."""

    def __init__(self, name: str, tablets: Iterable[int]) -> None:
        self.name = name
        self.tablets = tuple(tablets)
        self.rows: list[Row] = []
        self.log: list[tuple[int, Commit]] = []  # what was published: tablet, commit
        self.closed = dict.fromkeys(self.tablets, 1)
        self.floor = -1
        self.hold_log = False
        self.hold_reads = False
        self.log_refused: RequestRefused | None = None
        self.log_slice: int | None = None  # revisions in one answer, if fewer than asked
        self.writes: list[list[WriteCall]] = []
        self.compactions: list[tuple[int, Callable[[], None] | None]] = []
        self.log_calls: list[LogCall] = []
        self.read_calls: list[ReadCall] = []
        self.live_leases: dict[int, int] = {}
        self._reads: deque[tuple[ReadCall, ReadSink]] = deque()
        self._logs: deque[tuple[LogCall, Callable[[LogReply | RequestRefused], None]]] = deque()
        self._done: Callable[[WriteReply], None] | None = None
        self.engine = MemoryEngine()  # what a dump is of
        self.dumps: list[DumpJob] = []
        self.hold_subscribe = False
        self.refuse_leases: RequestRefused | None = None
        self._taken = sample(0, {})
        self._subscribers: list[Callable[[Publication], None]] = []
        self.steps: list[tuple[AcrossCall, Callable[[AcrossReply], None]]] = []

    def across(self, call: AcrossCall, done: Callable[[AcrossReply], None]) -> None:
        self.steps.append((call, done))

    # -- writes --------------------------------------------------------------------------------

    def submit(self, calls: Sequence[WriteCall], done: Callable[[WriteReply], None]) -> None:
        self.writes.append(list(calls))
        self._done = done

    def answer_write(
        self,
        call: WriteCall,
        revision: int,
        body: bytes = b"",
        refused: RequestRefused | None = None,
    ) -> None:
        assert self._done is not None
        self._done(WriteReply(call.tag, revision, body, refused))

    # -- reads ---------------------------------------------------------------------------------

    def points(self, calls: Sequence[PointCall], done: Callable[[PointReply], None]) -> None:
        for call in calls:
            needs = ((call.tablet, call.need),)
            whole = ReadCall(single(call.key), call.revision, needs, call.map_version, 0, False)
            self.read(whole, PointSink(call.tag, done))

    def read(self, call: ReadCall, sink: ReadSink) -> None:
        self.read_calls.append(call)
        self._reads.append((call, sink))
        if not self.hold_reads:
            self.answer_read()

    @property
    def reads_waiting(self) -> int:
        return len(self._reads)

    def answer_read(self, parts: int = 1) -> bool:
        """The oldest read, in so many parts. Answers whether it was wanted to its end."""
        call, sink = self._reads.popleft()
        rows = [r for r in self.rows if call.span.contains(key_of(r.raw))]
        if call.spliced:
            return self._answer_spliced(call, sink, rows, parts)
        shown = [] if call.count_only else rows[: call.limit + 1 if call.limit else None]
        size = max(1, -(-len(shown) // parts))
        slices = [shown[at : at + size] for at in range(0, len(shown), size)] or [[]]
        for piece in slices[:-1]:
            if not sink.take(ReadChunk(piece, 0, False)):
                return False
        return sink.take(ReadChunk(slices[-1], len(rows), True))

    def _answer_spliced(self, call: ReadCall, sink: ReadSink, rows: list[Row], parts: int) -> bool:
        raws = [row.raw for row in rows[: call.limit or None]]
        size = max(1, -(-len(raws) // parts))
        for at in range(0, len(raws), size):
            piece = raws[at : at + size]
            if not sink.take(ReadChunk((), 0, False, range_rows(piece), len(piece))):
                return False
        return sink.take(ReadChunk((), len(rows), True))

    def refuse_read(self, refused: RequestRefused) -> None:
        _, sink = self._reads.popleft()
        sink.take(refused)

    # -- log and publications ------------------------------------------------------------------

    def subscribe(self, publish: Callable[[Publication], None]) -> None:
        self._subscribers.append(publish)
        if not self.hold_subscribe:
            self.begin()

    def begin(self) -> None:
        """The subscription begins, perhaps anew."""
        news = tuple(TabletNews(t, 1, (), closed) for t, closed in self.closed.items())
        for publish in self._subscribers:
            publish(Publication(self.name, news, self._taken, fresh=True))

    def close(self, news: Sequence[TabletNews], taken: Sample) -> None:
        """Commits are durable here; their publication is lost, or follows."""
        self._taken = taken
        for item in news:
            self.closed[item.tablet] = item.closed
            self.log += [(item.tablet, c) for c in item.commits]

    def publish(self, news: Sequence[TabletNews], taken: Sample) -> None:
        self.close(news, taken)
        for publish in self._subscribers:
            publish(Publication(self.name, tuple(news), taken))

    def read_log(self, call: LogCall, done: Callable[[LogReply | RequestRefused], None]) -> None:
        self.log_calls.append(call)
        self._logs.append((call, done))
        if not self.hold_log:
            self.answer_log()

    @property
    def logs_waiting(self) -> int:
        return len(self._logs)

    def answer_log(self) -> None:
        call, done = self._logs.popleft()
        if self.log_refused is not None:
            done(self.log_refused)
        elif call.first < self.floor:
            done(errors.COMPACTED)
        else:
            done(self._slice(call))

    def _slice(self, call: LogCall) -> LogReply:
        wanted = [commit for tablet, commit in self.log if tablet in call.tablets]
        return log_slice(wanted, call, self.log_slice or call.limit)

    # -- the rest ------------------------------------------------------------------------------

    def compact(self, floor: int, done: Callable[[], None] | None) -> None:
        self.compactions.append((floor, done))

    def lease_info(
        self, lease: int, done: Callable[[LeaseInfo | RequestRefused | None], None]
    ) -> None:
        ttl_s = self.live_leases.get(lease)
        info = None if ttl_s is None else LeaseInfo(ttl_s, ttl_s - 1, (b"k",))
        done(self.refuse_leases or info)

    def leases(self, done: Callable[[Sequence[int] | RequestRefused], None]) -> None:
        done(self.refuse_leases or list(self.live_leases))

    def keep_alive(self, lease: int, done: Callable[[int | RequestRefused], None]) -> None:
        done(self.refuse_leases or self.live_leases.get(lease, 0))

    def hash_versions(
        self, floor: int, revision: int, done: Callable[[int | RequestRefused], None]
    ) -> None:
        done(floor + revision)

    def dump(self, sink: DumpSink) -> None:
        self.dumps.append(DumpJob(self.engine.snapshot(), sink, self.floor))

    def work(self) -> bool:
        """A slice of each dump, as the owner's loop does. Answers whether one could be done."""
        ready = [job for job in self.dumps if job.ready()]
        self.dumps = [job for job in self.dumps if job not in ready or not job.step()]
        return bool(ready)

    def defragment(self, done: Callable[[RequestRefused | None], None]) -> None:
        done(None)

    def status(self) -> ShardStatus:
        return ShardStatus(100, 60, len(self.tablets), len(self.live_leases))


@dataclass
class Flight:
    """A commit whose publications are still on their way."""

    revision: int
    news: dict[str, TabletNews]
    taken: Sample


class Shards:
    """Two shards, a sequencer, a coordinator: revisions are taken at once, published on demand."""

    def __init__(self) -> None:
        self.revision = 1
        self.last = {1: 1, 2: 1}
        self.owners = {LEFT: HeldOwner(LEFT, (1,)), RIGHT: HeldOwner(RIGHT, (2,))}
        self.sequencer = HeldSequencer(self.sample)
        self.coordinator = HeldCoordinator(MAP)
        self._flying: list[Flight] = []

    @property
    def left(self) -> HeldOwner:
        return self.owners[LEFT]

    @property
    def right(self) -> HeldOwner:
        return self.owners[RIGHT]

    def sample(self) -> Sample:
        return sample(self.revision, dict(self.last))

    def commit(self, *keys: bytes) -> int:
        """Take one revision for a write of `keys`; nobody hears of it yet."""
        self.revision += 1
        by_tablet: dict[int, list[Event]] = {}
        for place, key in enumerate(keys):
            changed = event(key, self.revision, place=place)
            by_tablet.setdefault(MAP.tablet_of(key).id, []).append(changed)
        news = {}
        for tablet, events in by_tablet.items():
            self.last[tablet] = self.revision
            its_commit = Commit(self.revision, tuple(events))
            news[MAP.by_id()[tablet].shard] = TabletNews(tablet, 1, (its_commit,), self.revision)
        self._flying.append(Flight(self.revision, news, self.sample()))
        return self.revision

    def deliver(self, shard: str, count: int = 1, lost: bool = False) -> None:
        """The shard's oldest publications arrive, or are lost: then only its log has them."""
        for _ in range(count):
            flight = next(f for f in self._flying if shard in f.news)
            owner = self.owners[shard]
            (owner.close if lost else owner.publish)([flight.news.pop(shard)], flight.taken)

    def in_flight(self, shard: str) -> int:
        return sum(shard in flight.news for flight in self._flying)

    def write(self, *keys: bytes) -> int:
        """Commit and deliver everywhere."""
        revision = self.commit(*keys)
        for shard in (LEFT, RIGHT):
            if self.in_flight(shard):
                self.deliver(shard)
        return revision

    def compact(self, floor: int) -> None:
        self.coordinator.floor = floor
        for owner in self.owners.values():
            owner.floor = floor

    def context(self) -> Context:
        return Context(
            owners=self.owners,
            sequencer=self.sequencer,
            coordinator=self.coordinator,
            tablets=MAP,
            header=Header(11, 12, 13),  # its own: it remembers what it told
            clock=FakeClock(),
            random=FakeRandom(),
            name="one",
            client_urls=("http://127.0.0.1:2379",),
            progress_interval_ms=1_000,
        )

    def hub(self) -> Hub:
        return Hub(self.owners, self.coordinator, MAP, self.sample())


class Client:
    """A Watch stream as its client sees it."""

    def __init__(self, shards: Shards, hub: Hub) -> None:
        self._shards = shards
        self._hub = hub
        self._sent: list[bytes] = []
        self.slow = False
        self.session = Session(HEADER, self._sent.append, lambda: self.slow)
        self.history: list[rpc_pb2.WatchResponse] = []
        hub.open(self.session)

    def watch(
        self,
        key: bytes = b"\x00",
        range_end: bytes = b"\x00",
        start: int = 0,
        progress_notify: bool = False,
    ) -> int:
        span = from_etcd(key, range_end)
        assert span is not None
        watch_id = self.session.choose_id(0)
        assert watch_id is not None
        request = Request(Options(span, True, False, False), start, progress_notify)
        self._hub.watch(self.session, watch_id, request, self._shards.sample())
        return watch_id

    def ask_progress(self) -> int:
        taken = self._shards.sample()
        self._hub.request_progress(self.session, taken)
        return taken.revision

    def take(self) -> list[rpc_pb2.WatchResponse]:
        """What arrived since the last take."""
        found = [rpc_pb2.WatchResponse.FromString(message) for message in self._sent]
        self._sent.clear()
        self.history += found
        return found

    def events(self, watch_id: int = 0) -> list[tuple[int, bytes]]:
        """(revision, keys) of each revision that the watch was told of, ever; in order."""
        self.take()
        return [revision for told in self.history for revision in revisions_of(told, watch_id)]

    def marks(self) -> list[tuple[int, int]]:
        """(watch_id, revision) of the progress marks since the last take."""
        return [(r.watch_id, r.header.revision) for r in self.take() if is_mark(r)]


def revisions_of(response: rpc_pb2.WatchResponse, watch_id: int) -> list[tuple[int, bytes]]:
    found: dict[int, bytes] = {}
    if response.watch_id == watch_id:
        for item in response.events:
            found[item.kv.mod_revision] = found.get(item.kv.mod_revision, b"") + item.kv.key
    return list(found.items())


def is_mark(response: rpc_pb2.WatchResponse) -> bool:
    return not (response.created or response.canceled or response.events)


def run(hub: Hub) -> None:
    """Turn until nothing more can be done; bounded, so that spinning is a failure."""
    for _ in range(1_000):
        if not hub.turn():
            return
    raise AssertionError("the hub never becomes idle")


class Calls:
    """A router over two shards, and a front that delivers events to it by hand."""

    def __init__(self) -> None:
        self.shards = Shards()
        self.edge = FakeEdge()
        self.context = self.shards.context()
        self.clock = FakeClock()
        self.router = Router(
            dataclasses.replace(self.context, clock=self.clock), self.shards.sample()
        )
        self._next = 0

    def event(self, path: str, payload: bytes | Message = b"", kind: Kind = Kind.CALL) -> EdgeEvent:
        """A new call's event; `path` is Service/Method."""
        self._next += 1
        return self.of(self._next, path, payload, kind)

    def of(
        self, call_id: int, path: str, payload: bytes | Message = b"", kind: Kind = Kind.MESSAGE
    ) -> EdgeEvent:
        """An event of a call that there is."""
        raw = payload if isinstance(payload, bytes) else payload.SerializeToString()
        package = PACKAGES.get(path.partition("/")[0], "etcdserverpb")
        return EdgeEvent(kind, call_id, METHOD_BY_PATH[f"/{package}.{path}"], raw)

    def deliver(self, *events: EdgeEvent) -> None:
        """One batch."""
        self.router.handle(self.edge, events)

    def call(self, path: str, payload: bytes | Message = b"") -> int:
        """A batch of one call; answers its id."""
        event = self.event(path, payload)
        if METHODS[event.method].shape is not Shape.UNARY:
            self.edge.sent[event.call_id] = []
        self.deliver(event)
        return event.call_id

    def open(self, path: str) -> int:
        """A stream's id."""
        event = self.event(path, b"", Kind.OPEN)
        self.edge.sent[event.call_id] = []
        self.deliver(event)
        return event.call_id

    def send(self, call_id: int, path: str, *messages: Message) -> None:
        """Messages of one stream, in one batch."""
        self.deliver(*(self.of(call_id, path, message) for message in messages))

    def answer(self, call_id: int) -> bytes:
        """The answer's bytes; raises RpcError."""
        found = self.edge.answers.pop(call_id)
        if isinstance(found, RpcError):
            raise found
        return found

    def refusal(self, call_id: int) -> tuple[int, str]:
        """Code and text of a call that failed."""
        found = self.edge.answers.pop(call_id)
        assert isinstance(found, RpcError)
        return found.code, found.text
