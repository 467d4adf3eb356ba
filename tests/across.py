"""Some shards, a sequencer and routers that run transactions over several shards, in any weather.

What it is: the real Owner and Participant of each shard on its engine, the real Sequencer and the
real router procedure, joined by queues that a seed delays and cuts; shards and routers die and come
back, reigns change. What it is not: links and codecs (tests/sim has them), or the checks
(tests/property/test_across.py).

Words: a *channel* is what one process has sent to another and has not arrived: first in, first out.
A *cut* loses it; whoever waits for an answer hears OUTCOME_UNKNOWN_REPLY, or OWNER_AWAY where the
call had not left.

Worked example: `Cluster(seed=1).settle()` delivers, turns and lets time pass until nothing waits.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from random import Random
from typing import Any, Final

from kubebraid.base import errors
from kubebraid.base.across import AcrossCall, AcrossReply
from kubebraid.base.keyspace import KeyRange
from kubebraid.base.ports import AllocReply, AllocRequest, Publication, Sample
from kubebraid.base.tabletmap import Tablet, TabletMap
from kubebraid.coordinator.sequencer import Sequencer
from kubebraid.router.across import Transactions
from kubebraid.shard.owner import Owner
from kubebraid.shard.ownership import Ownership, adopt
from kubebraid.shard.seams import ShardSeams
from kubebraid.shard.storage.engine import EngineError
from tests.unit.shard.fakes import BreakableEngine

SHARDS: Final = ("shard-0", "shard-1", "shard-2")
WINDOW: Final = 1_000
LATE: Final = 0.4  # how often what was on its way arrives behind a cut


def tablets() -> TabletMap:
    """[.., b) shard-0; [b, c) shard-1; [c, d) in four buckets on three shards; [d, ..) shard-2."""
    of: list[tuple[bytes, bytes | None, str, int, int]] = [
        (b"", b"b", "shard-0", 0, 1),
        (b"b", b"c", "shard-1", 0, 1),
        *((b"c", b"d", SHARDS[bucket % 3], bucket, 4) for bucket in range(4)),
        (b"d", None, "shard-2", 0, 1),
    ]
    return TabletMap(
        1,
        tuple(
            Tablet(number, f"t{number}", KeyRange(start, end), shard, 1, bucket, buckets)
            for number, (start, end, shard, bucket, buckets) in enumerate(of, 1)
        ),
    )


class Clock:
    def __init__(self) -> None:
        self.ms = 1_000

    def now_ms(self) -> int:
        return self.ms


class Network:
    """Messages as closures, by channel."""

    def __init__(self, random: Random) -> None:
        self._random = random
        self.channels: dict[tuple[str, str], deque[Callable[[], None]]] = {}
        self.slow = ("", "")  # delivers nothing while others have something
        self.held = ("", "")  # delivers nothing at all

    def send(self, source: str, target: str, message: Callable[[], None]) -> None:
        self.channels.setdefault((source, target), deque()).append(message)

    @property
    def busy(self) -> list[tuple[str, str]]:
        return [pair for pair, waiting in self.channels.items() if waiting and pair != self.held]

    def deliver(self) -> bool:
        """One message of some channel."""
        busy = self.busy
        quick = [pair for pair in busy if pair != self.slow] or busy
        if quick:
            self.channels[self._random.choice(quick)].popleft()()
        return bool(busy)

    def drop(self, name: str, other: str | None = None) -> None:
        """What is on its way to or from a process is lost."""
        for pair, waiting in self.channels.items():
            if name in pair and (other is None or other in pair):
                waiting.clear()


class Line:
    """One process's way to one shard. Implements ParticipantPort; ends with its process."""

    def __init__(self, cluster: Cluster, source: str, target: str) -> None:
        self._cluster = cluster
        self._source = source
        self._target = target
        self._waiting: dict[int, Callable[[AcrossReply], None]] = {}
        self._unsent: set[int] = set()
        self._number = 0

    def across(self, call: AcrossCall, done: Callable[[AcrossReply], None]) -> None:
        self._number += 1
        number = self._number
        self._waiting[number] = done
        self._unsent.add(number)
        self._cluster.network.send(self._source, self._target, partial(self._arrive, number, call))

    def _arrive(self, number: int, call: AcrossCall) -> None:
        self._unsent.discard(number)
        self._cluster.told.append((self._source, self._target, call))
        shard = self._cluster.shards[self._target]
        shard.owner.participant.across(call, partial(self._answer, number))

    def _answer(self, number: int, reply: AcrossReply) -> None:
        """From the shard; what an earlier life of the line asked is of no interest."""
        self._cluster.network.send(self._target, self._source, partial(self._back, number, reply))

    def _back(self, number: int, reply: AcrossReply) -> None:
        done = self._waiting.pop(number, None)
        if done is not None:
            done(reply)

    def cut(self) -> None:
        """Both directions; whoever waits is told what is known. Sometimes the shard hears of it
        later than we, and still receives what was sent."""
        network = self._cluster.network
        waiting, self._waiting = self._waiting, {}
        unsent, self._unsent = self._unsent, set()
        late = network.channels.pop((self._source, self._target), deque())
        network.drop(self._source, self._target)
        if self._cluster.random.random() < LATE:
            self._number += 1
            network.channels[f"{self._source}, {self._number}", self._target] = late
            unsent.clear()
        for number, done in waiting.items():
            why = errors.OWNER_AWAY if number in unsent else errors.OUTCOME_UNKNOWN_REPLY
            done(AcrossReply(why))


class Asker:
    """One process's way to the sequencer that rules. Implements SequencerPort."""

    def __init__(self, cluster: Cluster, name: str) -> None:
        self._cluster = cluster
        self._name = name
        self.alive = True

    def _back(self, answer: Callable[[], None]) -> None:
        def arrive() -> None:
            if self.alive:
                answer()

        self._cluster.network.send("sequencer", self._name, arrive)

    def alloc(self, request: AllocRequest, done: Callable[[AllocReply], None]) -> None:
        self._cluster.network.send(self._name, "sequencer", partial(self._alloc, request, done))

    def _alloc(self, request: AllocRequest, done: Callable[[AllocReply], None]) -> None:
        reply = self._cluster.sequencer.allocate(request)
        if reply is None:
            self.alloc(request, done)
        else:
            self._back(partial(done, reply))

    def read_revision(self, done: Callable[[Sample], None]) -> None:
        def answer() -> None:
            self._back(partial(done, self._cluster.sequencer.sample()))

        self._cluster.network.send(self._name, "sequencer", answer)


class Shard:
    """One life of a shard."""

    def __init__(self, cluster: Cluster, name: str, engine: BreakableEngine) -> None:
        self.name = name
        self.engine = engine
        self.lines = {other: Line(cluster, name, other) for other in SHARDS if other != name}
        map_ = cluster.tablets
        fences = adopt(engine, name, map_)
        cluster.incarnations += 1
        cepoch, incarnation = cluster.sequencer.cepoch, cluster.incarnations
        self.owned = Ownership(name, cepoch, map_, fences, lambda: -1, incarnation)
        self.owned.proved = 0
        self.fatal: list[Exception] = []
        seams = ShardSeams(cluster.clock, self.fatal.append)
        peers: Any = self.lines  # steps are all that these shards ask of each other
        self.asker = Asker(cluster, name)
        self.owner = Owner(engine, self.owned, self.asker, seams, peers)
        self.published: list[Publication] = []
        self.owner.subscribe(self.published.append)


class Router:
    """One life of a router."""

    def __init__(self, cluster: Cluster, name: str) -> None:
        cluster.incarnations += 1
        self.lines = {shard: Line(cluster, name, shard) for shard in SHARDS}
        self.asker = Asker(cluster, name)
        mine = cluster.incarnations
        self.transactions = Transactions(self.lines, self.asker, lambda: mine, lambda: -1)


class Cluster:
    """Everything, and what may happen to it."""

    def __init__(self, seed: int) -> None:
        self.random = Random(seed)
        self.clock = Clock()
        self.network = Network(self.random)
        self.tablets = tablets()
        self.incarnations = 0
        self.told: list[tuple[str, str, AcrossCall]] = []  # every step that arrived
        last = {tablet.id: 1 for tablet in self.tablets.tablets}
        self.sequencer = Sequencer(1, self.tablets, last, WINDOW)
        self.shards = {name: Shard(self, name, BreakableEngine()) for name in SHARDS}
        self.routers = {name: Router(self, name) for name in ("router-0", "router-1")}

    # -- faults --------------------------------------------------------------------------------

    def crash_shard(self, name: str) -> None:
        """SIGKILL, and a new process: frozen, H, a map with new owner epochs."""
        shard = self.shards[name]
        self._cut_all(name)
        engine = BreakableEngine()
        engine._table = shard.engine.clone()._table
        ends = dict(self.sequencer.freeze(name, self.tablets))
        self.tablets = TabletMap(
            self.tablets.version + 1,
            tuple(
                replace(t, oepoch=t.oepoch + 1, begin=ends[t.id]) if t.id in ends else t
                for t in self.tablets.tablets
            ),
        )
        self.sequencer.adopt_map(self.tablets)
        for other in self.shards.values():
            if other is not shard:
                other.owned.adopt_map(self.tablets)
        self.shards[name] = Shard(self, name, engine)

    def crash_router(self, name: str) -> None:
        """Whatever it waited for nobody hears; what it has sent may still arrive."""
        router = self.routers[name]
        router.asker.alive = False
        for line in router.lines.values():
            line._waiting.clear()
        if self.random.random() < 0.3:
            self.network.drop(name)
        self.routers[name] = Router(self, name)

    def cut(self) -> None:
        """One line of a router or a shard."""
        lines = [router.lines for router in self.routers.values()]
        lines += [shard.lines for shard in self.shards.values()]
        self.random.choice(list(self.random.choice(lines).values())).cut()

    def break_engine(self, name: str) -> None:
        """The next writes fail, some of them all the same there; too many end the shard."""
        faults = self.shards[name].engine.write_faults
        for _ in range(self.random.choice((1, 1, 2, 4))):
            faults.append((EngineError("the device is gone"), self.random.random() < 0.5))

    def slow(self) -> None:
        """Some channel lets everybody else pass, until the next one does."""
        to_sequencer = [(name, "sequencer") for name in self.routers]
        self.network.slow = self.random.choice([*to_sequencer, *self.network.channels])

    def _cut_all(self, name: str) -> None:
        """Every line to or from a process that died; itself hears nothing."""
        self.shards[name].asker.alive = False
        for line in self.shards[name].lines.values():
            line._waiting.clear()
        late = self.network.channels.pop((name, "sequencer"), deque())
        self.network.drop(name)
        self.network.channels[name, "sequencer"] = late
        lines = [shard.lines for shard in self.shards.values() if shard.name != name]
        lines += [router.lines for router in self.routers.values()]
        for to in lines:
            to[name].cut()

    def new_reign(self) -> None:
        """Another sequencer, which knows no more than the window of the one before."""
        cepoch = self.sequencer.cepoch + 1
        begin = self.sequencer._window
        last = {tablet.id: begin for tablet in self.tablets.tablets}
        self.sequencer = Sequencer(cepoch, self.tablets, last, begin + WINDOW)
        for name in SHARDS:
            self.network.send("coordinator", name, partial(self._begin_reign, name, cepoch))

    def _begin_reign(self, name: str, cepoch: int) -> None:
        shard = self.shards[name]
        if shard.owned.cepoch < cepoch:
            shard.owner.begin_reign(cepoch)

    # -- the loop ------------------------------------------------------------------------------

    def turn(self, name: str) -> bool:
        """One turn; whoever may not go on is started again."""
        more = self.shards[name].owner.turn()
        if self.shards[name].fatal:
            self.crash_shard(name)
        return more

    def settle(self, ms: int = 20_000) -> None:
        """No more faults: deliver and let time pass until nothing waits."""
        end = self.clock.ms + ms
        while self.clock.ms < end:
            for _ in range(100_000):
                if not any([self.network.deliver(), *map(self.turn, SHARDS)]):
                    break
            else:
                raise AssertionError("the cluster never becomes idle")
            if not self.network.busy and not any(map(self._waits, SHARDS)):
                return
            self.clock.ms += 50

    def _waits(self, name: str) -> bool:
        return self.shards[name].owner.participant.next_deadline_ms() is not None
