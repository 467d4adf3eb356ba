"""The clients' watches: opened, read, stalled, lost with their router and resumed at another.

What it is: a record of what each watch was told, in order. What it is not: a judge
(`watch_checks.py`), or a reader of calls.

Words: a *watching* is what a client wants to know, over all the streams that it takes; *seen* is
the revision up to which it knows everything: that of its last event or mark.

Invariants: a watching that lost its stream is resumed at seen + 1, at any router; one that was told
of a compaction begins anew, at the floor.

Worked example: watching 3 of /b/ from 12 has seen 15 when r0 dies: it goes on from 16 at r1.

Tested in tests/sim/test_sim.py.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from kubebraid.proto.etcd import kv_pb2, rpc_pb2
from kubebraid.proto.server import METHOD_BY_PATH, Kind

from .edges import Edge

if TYPE_CHECKING:
    from .client import Clients
    from .world import World

WATCH: Final = METHOD_BY_PATH["/etcdserverpb.Watch/Watch"]
SPANS: Final = (
    *((b"/a/", b"/a0"), (b"/b/", b"/b0"), (b"/c/", b"/c0")),
    *((b"\x00", b"\x00"), (b"/b/1", b""), (b"/a/0", b"")),
)
WATCHINGS_MAX: Final = 12
ASK_EVERY_US: Final = 150_000  # for progress, at the end


@dataclass(slots=True)
class Told:
    """One answer of a watch: events, or a mark."""

    header: int
    events: list[Any] = field(default_factory=list)
    mark: bool = False


@dataclass(slots=True)
class Watching:
    """`first`: the revision from which it must know everything; 0 until it is known."""

    number: int
    span: tuple[bytes, bytes]
    prev_kv: bool
    filters: tuple[int, ...]
    notify: bool
    first: int
    next: int = 0  # to ask for, where it has to be resumed
    told: list[Told] = field(default_factory=list)
    lives: bool = True  # False: ended by a compaction
    compacted: int = 0
    count: int = 0

    def matches(self, key: bytes, deleted: bool) -> bool:
        kind = rpc_pb2.WatchCreateRequest.NODELETE if deleted else rpc_pb2.WatchCreateRequest.NOPUT
        if kind in self.filters:
            return False
        start, end = self.span
        return key == start if not end else start <= key and (end == b"\x00" or key < end)

    @property
    def seen(self) -> int:
        return self.next - 1


class Stream:
    """One Watch RPC, with some watchings. As Asker it takes what comes."""

    def __init__(self, streams: Streams, edge: Edge, watchings: list[Watching]) -> None:
        self._streams = streams
        self.edge = edge
        self.alive = True
        self.watchings = {w.number: w for w in watchings}
        self._created: dict[int, Watching] = {}
        self.call = edge.call(Kind.OPEN, WATCH, b"", self)
        for watching in watchings:
            self.send(create_request=self._create(watching))

    def _create(self, watching: Watching) -> rpc_pb2.WatchCreateRequest:
        start, end = watching.span
        return rpc_pb2.WatchCreateRequest(
            key=start,
            range_end=end,
            start_revision=watching.next,
            prev_kv=watching.prev_kv,
            progress_notify=watching.notify,
            filters=watching.filters,  # type: ignore[arg-type]  # an open enum
            watch_id=watching.number,
        )

    def send(self, **request: Any) -> None:
        payload = rpc_pb2.WatchRequest(**request).SerializeToString()
        self.edge.tell(Kind.MESSAGE, self.call, WATCH, payload)

    def ask_progress(self) -> None:
        self.send(progress_request=rpc_pb2.WatchProgressRequest())

    # -- Asker ---------------------------------------------------------------------------------

    def answered(self, payload: bytes) -> None:
        response = rpc_pb2.WatchResponse.FromString(payload)
        if response.watch_id == -1:
            for watching in self._created.values():
                self._mark(watching, response.header.revision)
            self._streams.clients.shown(response.header.revision)
            return
        watching = self.watchings[response.watch_id]
        header = response.header.revision
        if response.created:
            self._created[watching.number] = watching
            if not watching.first:
                watching.first = watching.next = header + 1
        elif response.canceled:
            watching.lives = False
            watching.compacted = response.compact_revision
            self._streams.ended(watching)
        elif response.events:
            events = [_event(event) for event in response.events]
            watching.told.append(Told(header, events))
            watching.count += len(events)
            watching.next = max(watching.next, events[-1][0] + 1)
            self._streams.clients.shown(events[-1][0])
        else:
            self._mark(watching, header)
            self._streams.clients.shown(header)

    def _mark(self, watching: Watching, revision: int) -> None:
        if watching.first and watching.lives:
            watching.told.append(Told(revision, mark=True))
            watching.next = max(watching.next, revision + 1)

    def failed(self, code: int, text: str) -> None:
        self.alive = False
        self._streams.lost(self)


class Streams:
    """Of all clients."""

    def __init__(self, world: World, clients: Clients) -> None:
        self._world = world
        self.clients = clients
        self.watchings: list[Watching] = []
        self._streams: list[Stream] = []
        self._waiting: list[list[Watching]] = []  # for a router
        self._made = 0

    # -- traffic -------------------------------------------------------------------------------

    def act(self, edge: Edge) -> None:
        """Open a watch, ask for progress, stop reading, read on, or hang up and resume."""
        draw = self._world.random.random()
        live = [stream for stream in self._streams if stream.alive]
        if draw < 0.4 or not live:
            self._open(edge)
            return
        stream = self._world.random.choice(live)
        if draw < 0.7:
            stream.ask_progress()
        elif draw < 0.8:
            stream.edge.stalled[stream.call] = None
            self._world.after(int(self._world.random.random() * 300_000), lambda: _drain(stream))
        elif draw < 0.9:
            stream.edge.tell(Kind.CLOSED, stream.call, WATCH)
            stream.edge._askers.pop(stream.call, None)
            stream.failed(0, "")

    def _open(self, edge: Edge) -> None:
        if sum(watching.lives for watching in self.watchings) >= WATCHINGS_MAX:
            return
        fresh = [self._make() for _ in range(self._world.random.choice((1, 1, 2)))]
        self.watchings += fresh
        self._streams.append(Stream(self, edge, fresh))

    def _make(self) -> Watching:
        random = self._world.random
        offset = random.choice((None, None, 1, 0, -3, -10, 3))
        first = 0 if offset is None else max(1, self.clients.newest + offset)
        filters = random.choice(((), (), (), (0,), (1,)))
        span, prev, notify = random.choice(SPANS), random.random() < 0.5, random.random() < 0.5
        self._made += 1
        return Watching(self._made, span, prev, filters, notify, first, first)

    def ended(self, watching: Watching) -> None:
        """Told of a compaction: the client lists, and watches from there."""
        self._world.note("compacted", str(watching.number), watching.compacted)

    def lost(self, stream: Stream) -> None:
        """The stream is gone: its watchings are resumed, after a while."""
        self._streams.remove(stream)
        live = [watching for watching in stream.watchings.values() if watching.lives]
        if live:
            self._waiting.append(live)
            self._world.after(int(self._world.random.random() * 100_000) + 1, self._resume)

    def _resume(self) -> None:
        edge = self._world.edges.any()
        if edge is None:
            self._world.after(50_000, self._resume)
        elif self._waiting:
            self._streams.append(Stream(self, edge, self._waiting.pop(0)))

    # -- the end -------------------------------------------------------------------------------

    def finish(self) -> None:
        self._nudge()

    def _nudge(self) -> None:
        """Whoever lacks something asks for a mark; those that stand still read on."""
        finished = self.finished()
        for stream in self._streams:
            _drain(stream)
            if not finished:
                stream.ask_progress()
        self._world.after(ASK_EVERY_US, self._nudge)

    def finished(self) -> bool:
        """Whether every watching has been told all that it asked for."""
        return not any(self._lacks(watching) for watching in self.watchings if watching.lives)

    def _lacks(self, watching: Watching) -> bool:
        newest = self._world.truth.revisions()[-1:]
        return not watching.first or bool(newest and watching.seen < newest[0])

    def unfinished(self) -> str:
        lacking = [w for w in self.watchings if w.lives and self._lacks(w)]
        return "watches: " + "; ".join(
            f"{w.number} of {w.span} from {w.first} has seen {w.seen}" for w in lacking
        )


def _drain(stream: Stream) -> None:
    if stream.call in stream.edge.stalled:
        del stream.edge.stalled[stream.call]
        stream.edge.tell(Kind.DRAINED, stream.call, WATCH)


def _event(event: kv_pb2.Event) -> tuple[Any, ...]:
    """(revision, key, value or None, create, version, previous (mod, value) or None)"""
    kv, deleted = event.kv, event.type == kv_pb2.Event.DELETE
    previous = (
        (event.prev_kv.mod_revision, event.prev_kv.value) if event.HasField("prev_kv") else None
    )
    value = None if deleted else kv.value
    return (kv.mod_revision, kv.key, value, kv.create_revision, kv.version, previous)
