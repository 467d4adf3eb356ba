"""Shards whose tablets move, split and merge, as the hub of one router meets them.

What it is: a sequencer with its maps, shards with real logs, and everything between them and a hub
in queues that a test empties when it likes. What it is not: the protocol of a migration: here one
is over in a moment, between a seal and a new map; a router and the shards hear of it later.

Words: a write is *allocated*, then it *lands* (it is durable, its publication is sent), then it is
*delivered*. A shard *adopts* when it hears of the newest map. The order within one shard's stream
is kept, that between streams, and between them and maps, is the test's.

Worked example: `Cluster()` has tablets 1 [.., b), 2 [b, d), 3 [d, f), 4 [f, ..), the third on
right, the others on left; `split(3, b"e")` makes tablets 5 and 6 of right, and `adopt("right")`
lets it own them.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Final, cast

from kubebraid.base import errors
from kubebraid.base.errors import RequestRefused
from kubebraid.base.keyspace import KeyRange
from kubebraid.base.ports import LogCall, LogReply, OwnerPort, Publication, Sample, TabletNews
from kubebraid.base.record import Commit, Event
from kubebraid.base.tabletmap import Tablet, TabletMap
from kubebraid.router.hub import Hub

from .fakes import LEFT, RIGHT, Client, HeldCoordinator, Shards, event, log_slice

SPARE: Final = "spare"  # owns nothing in the first map
SHARDS: Final = (LEFT, RIGHT, SPARE)
FIRST: Final = TabletMap(
    1,
    (
        Tablet(1, "a", KeyRange(b"", b"b"), LEFT, 1),
        Tablet(2, "b", KeyRange(b"b", b"d"), LEFT, 1),
        Tablet(3, "d", KeyRange(b"d", b"f"), RIGHT, 1),
        Tablet(4, "f", KeyRange(b"f", None), LEFT, 1),
    ),
)
Answer = Callable[[LogReply | RequestRefused], None]


class Store:
    """One shard, so far as a hub asks it."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.owned: dict[int, int] = {}  # tablet: oepoch
        self.closed: dict[int, int] = {}
        self.log: dict[int, list[Commit]] = {}
        self.hand: deque[tuple[tuple[TabletNews, ...], Sample]] = deque()
        self.stream: deque[Publication] = deque()
        self.heard = Sample(1, 1, 0, {})
        self.hold_log = False
        self.slice = 100
        self.log_calls = 0
        self.publish: Callable[[Publication], None] | None = None
        self._logs: deque[tuple[LogCall, Answer]] = deque()

    def subscribe(self, publish: Callable[[Publication], None]) -> None:
        assert self.publish is None, "a router subscribes once"
        self.publish = publish
        self.begin()

    def begin(self) -> None:
        """The subscription begins, perhaps anew: what was on its way is for nobody."""
        if self.publish is None:
            return
        self.stream.clear()
        self._fresh()

    def adopted(self) -> None:
        """Another set of tablets: told behind what is on its way."""
        if self.publish is not None:
            self._fresh()

    def _fresh(self) -> None:
        news = [TabletNews(t, oepoch, (), self.closed[t]) for t, oepoch in self.owned.items()]
        self.stream.append(Publication(self.name, tuple(news), self.heard, fresh=True))

    def land(self) -> None:
        """The oldest write in hand is durable."""
        news, self.heard = self.hand.popleft()
        for item in news:
            self.closed[item.tablet] = item.closed
            self.log.setdefault(item.tablet, []).extend(item.commits)
        if self.publish is not None:
            self.stream.append(Publication(self.name, news, self.heard))

    def read_log(self, call: LogCall, done: Answer) -> None:
        self.log_calls += 1
        self._logs.append((call, done))
        if not self.hold_log:
            self.answer_log()

    @property
    def logs_waiting(self) -> int:
        return len(self._logs)

    def answer_log(self) -> None:
        call, done = self._logs.popleft()
        assert len(call.needs) == len(call.tablets), "each tablet has its need"
        needs = zip(call.tablets, call.needs, strict=True)
        if all(self.closed.get(tablet, -1) >= need for tablet, need in needs):
            done(self._slice(call))
        else:
            done(errors.OTHER_MAP)

    def _slice(self, call: LogCall) -> LogReply:
        found: dict[int, Commit] = {}
        for row in (c for t in call.tablets for c in self.log.get(t, ())):
            known = found.get(row.revision)
            found[row.revision] = row if known is None else known.joined(row.events)
        return log_slice(found.values(), call, self.slice)


class Cluster:
    """All of it, and one router's hub."""

    def __init__(self, first: TabletMap = FIRST) -> None:
        self.revision = 1
        self.maps = [first]
        self.last = {tablet.id: 1 for tablet in first.tablets}
        self.history: dict[int, tuple[bytes, ...]] = {}
        self.stores = {name: Store(name) for name in SHARDS}
        self.coordinator = HeldCoordinator(first)
        self._known = {name: self.stores[name] for name in (LEFT, RIGHT)}
        self._ids = max(self.last)
        for tablet in first.tablets:
            store = self.stores[tablet.shard]
            store.owned[tablet.id] = tablet.oepoch
            store.closed[tablet.id] = 1
        for store in self.stores.values():
            store.heard = self.sample()
        owners = cast("dict[str, OwnerPort]", self._known)  # of a port a hub uses this alone
        self.hub = Hub(owners, self.coordinator, first, self.sample())
        self.followed = first

    @property
    def tablets(self) -> TabletMap:
        return self.maps[-1]

    def sample(self) -> Sample:
        return Sample(1, self.tablets.version, self.revision, dict(self.last))

    @property
    def matched(self) -> bool:
        """Whether the router's map is the sequencer's: only then a router uses its samples."""
        return self.followed is self.tablets

    def client(self) -> Client:
        return Client(cast("Shards", self), self.hub)  # it is asked for samples alone

    # -- writes --------------------------------------------------------------------------------

    def served(self, tablet: Tablet) -> bool:
        return self.stores[tablet.shard].owned.get(tablet.id) == tablet.oepoch

    def commit(self, *keys: bytes, void: bool = False) -> int:
        """Allocate; 0 if an owner has not adopted its tablet yet: it is refused."""
        tablets = [self.tablets.tablet_of(key) for key in keys]
        if not all(map(self.served, tablets)):
            return 0
        self.revision += 1
        if not void:
            self.history[self.revision] = keys
        events: dict[Tablet, list[Event]] = {}
        for place, (key, tablet) in enumerate(zip(keys, tablets, strict=True)):
            events.setdefault(tablet, []).append(event(key, self.revision, place=place))
            self.last[tablet.id] = self.revision
        for name in sorted({tablet.shard for tablet in events}):
            news = [
                TabletNews(
                    t.id,
                    t.oepoch,
                    () if void else (Commit(self.revision, tuple(of)),),
                    self.revision,
                )
                for t, of in events.items()
                if t.shard == name
            ]
            self.stores[name].hand.append((tuple(news), self.sample()))
        return self.revision

    def land(self, name: str | None = None) -> None:
        """What is in hand there is durable, and on its way."""
        for store in [self.stores[name]] if name else self.stores.values():
            while store.hand:
                store.land()

    def deliver(self, name: str | None = None, count: int = 1 << 30) -> None:
        """The oldest publications of a shard, or all of all, arrive."""
        for store in [self.stores[name]] if name else self.stores.values():
            for _ in range(min(count, len(store.stream))):
                assert store.publish is not None, "only a subscription has a stream"
                store.publish(store.stream.popleft())

    def write(self, *keys: bytes) -> int:
        """Commit, land and deliver everywhere."""
        revision = self.commit(*keys)
        assert revision, "its owners serve"
        self.land()
        self.deliver()
        return revision

    # -- maps ----------------------------------------------------------------------------------

    def _by_id(self, tablet: int) -> Tablet:
        return self.tablets.by_id()[tablet]

    def move(self, tablet: int, to: str) -> None:
        source = self._by_id(tablet)
        self._replace([source], [replace(source, shard=to)])

    def split(self, tablet: int, at: bytes) -> tuple[int, int]:
        source = self._by_id(tablet)
        spans = (KeyRange(source.span.start, at), KeyRange(at, source.span.end))
        left, right = (self._born(source, span) for span in spans)
        self._replace([source], [left, right])
        return left.id, right.id

    def merge(self, left: int, right: int) -> int:
        sources = [self._by_id(left), self._by_id(right)]
        assert sources[0].shard == sources[1].shard, "a move comes first"
        made = self._born(sources[0], KeyRange(sources[0].span.start, sources[1].span.end))
        self._replace(sources, [made])
        return made.id

    def _born(self, source: Tablet, span: KeyRange) -> Tablet:
        self._ids += 1
        return replace(source, id=self._ids, name=f"t{self._ids}", span=span)

    def _replace(self, sources: Sequence[Tablet], targets: Sequence[Tablet]) -> None:
        """Seal, copy, switch: what the source has in hand ends, and no more is allocated."""
        assert all(map(self.served, sources)), "a source that does not own cannot seal"
        source, target = self.stores[sources[0].shard], self.stores[targets[0].shard]
        self.land(source.name)
        oepoch = 1 + max(tablet.oepoch for tablet in sources)
        rows = sorted(
            (c for tablet in sources for c in source.log.get(tablet.id, ())),
            key=lambda c: c.revision,
        )
        end = max(self.last.pop(tablet.id) for tablet in sources)
        made = [replace(target, oepoch=oepoch, begin=end) for target in targets]
        for tablet in made:
            within = (
                Commit(c.revision, tuple(e for e in c.events if tablet.span.contains(e.key)))
                for c in rows
            )
            target.log[tablet.id] = [c for c in within if c.events]
            self.last[tablet.id] = end
        kept = [tablet for tablet in self.tablets.tablets if tablet not in sources]
        tablets = sorted([*kept, *made], key=lambda tablet: tablet.place)
        self.maps.append(TabletMap(self.tablets.version + 1, tuple(tablets)))

    def adopt(self, name: str) -> None:
        """The shard hears of the newest map."""
        store = self.stores[name]
        mine = {t.id: t for t in self.tablets.tablets if t.shard == name}
        owned = {tablet.id: tablet.oepoch for tablet in mine.values()}
        if owned == store.owned:
            return
        for tablet in store.owned.keys() - owned.keys():
            del store.closed[tablet]
        for tablet, oepoch in owned.items():
            if store.owned.get(tablet) != oepoch:
                store.closed[tablet] = mine[tablet].begin
        store.owned = owned
        store.adopted()

    def follow(self, newest: bool = True) -> None:
        """The router hears of the newest map, or of the next one."""
        later = [tablets for tablets in self.maps if tablets.version > self.followed.version]
        if later:
            self.followed = later[-1 if newest else 0]
            for tablet in self.followed.tablets:
                self._known[tablet.shard] = self.stores[tablet.shard]
            self.hub.follow(self.followed)

    def settle(self) -> None:
        """Everything is heard everywhere, and the router has read one sample."""
        for name in SHARDS:
            self.adopt(name)
            self.stores[name].hold_log = False
        self.land()
        self.follow()
        self.deliver()
        self.hub.absorb(self.sample())
        self.hub.wake()
        self.turn()

    def turn(self) -> None:
        """Until nothing more can be done; bounded, so that spinning is a failure."""
        for _ in range(1_000):
            answered = False
            for store in self.stores.values():
                if store.logs_waiting and not store.hold_log:
                    store.answer_log()
                    answered = True
            if not self.hub.turn() and not answered:
                return
        raise AssertionError("the hub never becomes idle")

    # -- judgement -----------------------------------------------------------------------------

    def check(self, client: Client) -> None:
        """Each watch of a client has the filtered history from its start on, each revision in one
        response, and no mark was untrue or fell."""
        client.take()
        for watch_id, watcher in client.session.watchers.items():
            self._check(client, watch_id, watcher.options.span)

    def _check(self, client: Client, watch_id: int, span: KeyRange) -> None:
        told: list[tuple[int, bytes]] = []
        position, created = 0, -1
        for response in client.history:
            if response.created and response.watch_id == watch_id:
                created = response.header.revision
            if created < 0 or response.created or response.watch_id not in (watch_id, -1):
                continue
            assert response.header.revision >= position, "a position that falls"
            found: dict[int, bytes] = {}
            for item in response.events:
                revision = item.kv.mod_revision
                assert revision > position, "an event at or below what was told"
                found[revision] = found.get(revision, b"") + item.kv.key
            told += found.items()
            position = response.header.revision
        start = client.session.watchers[watch_id].start or created + 1
        wanted = [
            (revision, b"".join(key for key in keys if span.contains(key)))
            for revision, keys in self.history.items()
            if revision >= start
        ]
        assert told == [(revision, keys) for revision, keys in wanted if keys]
