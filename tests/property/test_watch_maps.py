"""Watches while tablets move, split and merge under them, in every order of hearing.

What it is: random writes, maps, adoptions, deliveries, losses, stalls and watches of one router's
hub, and at the end the judgement: each watch has exactly the filtered history, in order, and every
mark was true. What it is not: the migration itself (tests/sim).

Words: as in tests/unit/router/shifting.py.
"""

from __future__ import annotations

from collections.abc import Callable
from random import Random

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tests.unit.router.fakes import Client
from tests.unit.router.shifting import SHARDS, Cluster

KEYS = [bytes([letter]) for letter in b"abcdefgh"]
SPANS = (
    (b"\x00", b"\x00"),  # everything
    *((key, b"") for key in KEYS),
    (b"a", b"c"),
    (b"b", b"e"),
    (b"c", b"f"),
    (b"d", b"\x00"),
    (b"g", b"h"),
)
OPS = (
    *("write", "write", "write", "write_two", "void"),
    *("land", "land", "deliver", "deliver", "deliver_one", "lose"),
    *("split", "merge", "merge", "move", "adopt", "adopt", "adopt", "follow", "follow_next"),
    *("sample", "sample", "watch", "watch", "watch_past", "progress", "tick", "stall", "read"),
    *("hold_log", "answer_log", "turn", "turn"),
)
STEPS = st.lists(st.tuples(st.sampled_from(OPS), st.integers(0, 999)), max_size=60)


class Run:
    """One cluster and its clients, a step at a time; `number` chooses what a step is about."""

    def __init__(self) -> None:
        self.cluster = Cluster()
        self.clients = [self.cluster.client() for _ in range(3)]

    def step(self, op: str, number: int) -> None:
        act: Callable[[int], None] = getattr(self, f"_{op}")
        act(number)

    def _shard(self, number: int) -> str:
        return SHARDS[number % len(SHARDS)]

    def _client(self, number: int) -> Client:
        return self.clients[number % len(self.clients)]

    def _write(self, number: int) -> None:
        self.cluster.commit(KEYS[number % len(KEYS)])

    def _write_two(self, number: int) -> None:
        first, second = number % len(KEYS), number // 8 % len(KEYS)
        if first != second:
            self.cluster.commit(KEYS[first], KEYS[second])

    def _void(self, number: int) -> None:
        self.cluster.commit(KEYS[number % len(KEYS)], void=True)

    def _land(self, number: int) -> None:
        store = self.cluster.stores[self._shard(number)]
        if store.hand:
            store.land()

    def _deliver(self, number: int) -> None:
        self.cluster.deliver(self._shard(number))

    def _deliver_one(self, number: int) -> None:
        self.cluster.deliver(self._shard(number), 1)

    def _lose(self, number: int) -> None:
        self.cluster.stores[self._shard(number)].begin()

    def _split(self, number: int) -> None:
        key = KEYS[number % len(KEYS)]
        tablet = self.cluster.tablets.tablet_of(key)
        if tablet.span.start < key and self.cluster.served(tablet):
            self.cluster.split(tablet.id, key)

    def _merge(self, number: int) -> None:
        tablets = self.cluster.tablets.tablets
        at = number % len(tablets)
        pair = tablets[at : at + 2]
        together = len(pair) == 2 and pair[0].shard == pair[1].shard
        if together and all(map(self.cluster.served, pair)):
            self.cluster.merge(pair[0].id, pair[1].id)

    def _move(self, number: int) -> None:
        tablets = self.cluster.tablets.tablets
        tablet, to = tablets[number % len(tablets)], self._shard(number // 16)
        if tablet.shard != to and self.cluster.served(tablet):
            self.cluster.move(tablet.id, to)

    def _adopt(self, number: int) -> None:
        self.cluster.adopt(self._shard(number))

    def _follow(self, number: int) -> None:
        self.cluster.follow()

    def _follow_next(self, number: int) -> None:
        self.cluster.follow(newest=False)

    def _sample(self, number: int) -> None:
        if self.cluster.matched:
            self.cluster.hub.absorb(self.cluster.sample())

    def _watch(self, number: int, start: int = 0) -> None:
        if self.cluster.matched:
            key, end = SPANS[number % len(SPANS)]
            self._client(number // 16).watch(key, end, start, progress_notify=bool(number % 2))

    def _watch_past(self, number: int) -> None:
        """Or from a little ahead."""
        self._watch(number, 1 + number * 7 % (self.cluster.revision + 2))

    def _progress(self, number: int) -> None:
        if self.cluster.matched:
            self._client(number).ask_progress()

    def _tick(self, number: int) -> None:
        self.cluster.hub.tick()

    def _stall(self, number: int) -> None:
        self._client(number).slow = True

    def _read(self, number: int) -> None:
        client = self._client(number)
        client.slow = False
        self.cluster.hub.drained(client.session)

    def _hold_log(self, number: int) -> None:
        store = self.cluster.stores[self._shard(number)]
        store.hold_log, store.slice = True, 1 + number % 3

    def _answer_log(self, number: int) -> None:
        store = self.cluster.stores[self._shard(number)]
        if store.logs_waiting:
            store.answer_log()

    def _turn(self, number: int) -> None:
        self.cluster.hub.turn()

    def judge(self) -> None:
        for number in range(len(self.clients)):
            self._read(number)
        self.cluster.settle()
        for client in self.clients:
            self.cluster.check(client)
            for watcher in client.session.watchers.values():
                assert watcher.synced, "whoever has everything is live again"
                assert watcher.feed.bound() == self.cluster.revision, "inv10: nothing holds it back"
        ids = {tablet.id for tablet in self.cluster.tablets.tablets}
        view = self.cluster.hub.view
        assert ids == view.last.keys() <= view.closed.keys()
        assert not view._parents, "a sample of this map needs no tablet of another"


@settings(max_examples=600)
@given(STEPS)
@example([("watch", 0), ("write", 0), ("split", 1), ("adopt", 0), ("write", 0), ("follow", 0)])
def test_inv07_watches_have_the_whole_history_over_maps(steps: list[tuple[str, int]]) -> None:
    run = Run()
    for op, number in steps:
        run.step(op, number)
    run.judge()


@pytest.mark.parametrize("seed", range(60))
def test_inv17_router_of_any_map_tells_a_long_history_right(seed: int) -> None:
    """Hundreds of steps: deeper than Hypothesis goes, but nothing shrinks."""
    random, run = Random(seed), Run()
    for _ in range(400):
        run.step(random.choice(OPS), random.randrange(1_000))
    run.judge()
