"""Random histories: whatever happens, every answer is the one that etcd would have given.

What it is: Hypothesis machines that put batches of concurrent requests, compactions, passing time,
crashes and restarts before a store, and demand of every answer that an order of the batch explains
it (`tests.robustness.compare.explain`). What it is not: a test of watches (test_watch_history.py).

Words: *one tablet* is a store that nothing cuts; *several* is the layout of `traffic`.
"""

from __future__ import annotations

import shutil
import tempfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Final

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule

from kubebraid.proto.etcd import rpc_pb2
from kubebraid.shard import counts, mvcc, totals
from tests.robustness.corners import CORNERS
from tests.robustness.driver import AnyWorld, Driver
from tests.robustness.etcd_world import EtcdWorld
from tests.robustness.traffic import LAYOUT, SPANS, Traffic
from tests.unit.shard.stones import with_tombstones
from tests.world import World

# One slice of a list, of the log, and one counter hold next to nothing.
BOUNDS: Final = (
    (counts, "BUCKET_KEYS_MAX", 2),
    (counts, "_HALF", 1),
    (totals, "LOG_SLICE_REVISIONS", 2),
    (totals, "COUNT_LOG_REVISIONS_MAX", 6),
    (mvcc, "SCAN_FIRST_ROWS", 2),
    (mvcc, "SCAN_SLICE_ROWS", 2),
)
WAYS: Final = (
    (counts.KeyCounts, "_split"),
    (counts.KeyCounts, "count"),
    (totals.Totals, "_derived"),
    (totals.Totals, "total"),
)
SEEDS = st.integers(0, 1 << 24)  # the step itself shrinks, what it holds is drawn from Random


class HistoryMachine(RuleBasedStateMachine):
    """One random history. Subclasses say of which store."""

    prefixes: tuple[bytes, ...] = ()
    clock_is_fake = True

    def __init__(self) -> None:
        super().__init__()
        self.driver = Driver(self.open())
        self.aged = 0  # deletions that are stored as before

    def open(self) -> AnyWorld:
        return World(self.prefixes)

    def traffic(self, seed: int) -> Traffic:
        return Traffic(Random(seed))

    @rule(seed=SEEDS, size=st.integers(1, 6))
    def ask(self, seed: int, size: int) -> None:
        model, traffic = self.driver.model, self.traffic(seed)
        self.driver.ask(*(traffic.request(model.revision, model.compacted) for _ in range(size)))

    @rule(seed=SEEDS, size=st.integers(2, 8))
    def write(self, seed: int, size: int) -> None:
        """A group commit of changes only."""
        traffic = self.traffic(seed)
        self.driver.ask(*(traffic.change() for _ in range(size)))

    @rule(seed=SEEDS)
    def compact(self, seed: int) -> None:
        model, traffic = self.driver.model, self.traffic(seed)
        requests = [traffic.request(model.revision, model.compacted) for _ in range(2)]
        self.driver.ask(traffic.compaction(model.revision, model.compacted), *requests)

    @rule(seed=SEEDS)
    def stream(self, seed: int) -> None:
        model = self.driver.model
        request = self.traffic(seed).range(model.revision, model.compacted)
        if request.sort_order == rpc_pb2.RangeRequest.NONE:
            # etcd lets a target without an order pass, and then sorts each piece by itself.
            request.ClearField("sort_target")
        self.driver.stream(request)

    @rule(ago=st.integers(0, 30))
    def look_back(self, ago: int) -> None:
        model = self.driver.model
        self.driver.check_past(max(model.compacted, 1, model.revision - ago))

    @rule()
    def age(self) -> None:
        """What is stored is as a program from before had written it."""
        world = self.driver.world
        if isinstance(world, World):
            self.aged += with_tombstones(world.engine)

    @precondition(lambda self: self.clock_is_fake)
    @rule(ms=st.sampled_from((500, 1_999, 2_000, 5_000, 60_000, 100)))
    def advance(self, ms: int) -> None:
        self.driver.advance(ms)

    @rule()
    def crash(self) -> None:
        self.driver.crash()

    @rule()
    def restart(self) -> None:
        self.driver.restart()

    def teardown(self) -> None:
        if not self.driver.failed:
            self.driver.check_now()


class SeveralTablets(HistoryMachine):
    prefixes = LAYOUT


class OverALink(HistoryMachine):
    """The shard is behind a link, which breaks between two steps."""

    prefixes = LAYOUT

    def open(self) -> AnyWorld:
        return World(self.prefixes, remote=True)

    @rule()
    def break_link(self) -> None:
        world = self.driver.world
        assert isinstance(world, World)
        world.link.break_link()


class SmallBounds(HistoryMachine):
    """Bounds that eleven keys meet: counters are split and merged, totals are derived from the log
    or counted from the rest of the rows."""

    prefixes = LAYOUT

    def open(self) -> AnyWorld:
        self._patch = pytest.MonkeyPatch()
        for module, name, value in BOUNDS:
            self._patch.setattr(module, name, value)
        self.ways = Counter[str]()
        for owner, name in WAYS:
            self._count_calls(owner, name)
        return World(self.prefixes)

    def _count_calls(self, owner: type, name: str) -> None:
        inner = getattr(owner, name)

        def counted(*args: object) -> object:
            self.ways[name] += 1
            return inner(*args)

        self._patch.setattr(owner, name, counted)

    @rule(seed=SEEDS, ago=st.integers(0, 12))
    def list_some(self, seed: int, ago: int) -> None:
        """Pages and counts of ranges, now or a while ago."""
        model, random = self.driver.model, Random(seed)
        requests = []
        for _ in range(3):
            key, range_end = random.choice(SPANS)
            request = rpc_pb2.RangeRequest(key=key, range_end=range_end, limit=random.randrange(4))
            request.count_only = not request.limit
            request.revision = max(model.compacted, 1, model.revision - ago)
            requests.append(request)
        self.driver.ask(*requests)

    def teardown(self) -> None:
        try:
            super().teardown()
        finally:
            self._patch.undo()


class OnRocksDB(HistoryMachine):
    prefixes = LAYOUT

    def open(self) -> AnyWorld:
        self._folder = Path(tempfile.mkdtemp(prefix="history-"))
        return World(self.prefixes, "rocksdb", self._folder / "data")

    def teardown(self) -> None:
        try:
            super().teardown()
        finally:
            shutil.rmtree(self._folder, ignore_errors=True)


class OnEtcd(HistoryMachine):
    """The same machine on what it claims to describe. Its clock is real: no lease ends here."""

    clock_is_fake = False

    def open(self) -> AnyWorld:
        self._world = EtcdWorld()
        return self._world

    def traffic(self, seed: int) -> Traffic:
        return Traffic(Random(seed), ttls=(600, 900))

    def teardown(self) -> None:
        try:
            super().teardown()
        finally:
            self._world.close()


def wander(machine: HistoryMachine, random: Random, steps: int) -> None:
    """Many steps, as a busy store has them: deeper than Hypothesis goes, but nothing shrinks."""
    actions: dict[Callable[[], None], int] = {
        lambda: machine.ask(seed=random.getrandbits(24), size=random.randint(1, 6)): 20,
        lambda: machine.write(seed=random.getrandbits(24), size=random.randint(2, 8)): 10,
        lambda: machine.compact(seed=random.getrandbits(24)): 2,
        lambda: machine.stream(seed=random.getrandbits(24)): 5,
        lambda: machine.look_back(ago=random.randrange(31)): 5,
        lambda: machine.advance(ms=random.choice((100, 1_000, 2_000, 5_000))): 2,
        machine.crash: 1,
        machine.restart: 1,
        machine.age: 1,
    }
    for act in random.choices(list(actions), list(actions.values()), k=steps):
        act()
    machine.teardown()


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("machine", [HistoryMachine, SeveralTablets, OverALink])
def test_long_history_has_no_answer_that_etcd_would_not_give(
    machine: type[HistoryMachine], seed: int
) -> None:
    """Hundreds of revisions, leases that come and go, many incarnations."""
    history = machine()
    wander(history, Random(seed), steps=150)
    assert history.aged, "both forms of deletions have met"


def test_counts_of_lists_come_from_counters_and_log_and_are_etcds() -> None:
    """Each way to a total is taken, at the newest revision and at older ones."""
    machine, random = SmallBounds(), Random(7)
    for step in range(120):
        machine.write(seed=random.getrandbits(24), size=random.randint(2, 8))
        machine.list_some(seed=random.getrandbits(24), ago=random.randrange(13))
        if step % 10 == 0:
            machine.compact(seed=random.getrandbits(24))
        if step % 40 == 39:
            machine.crash()
    machine.teardown()
    assert min(machine.ways[name] for _, name in WAYS) >= 50, machine.ways
    assert machine.ways["total"] >= machine.ways["_derived"] + 50, "others are counted or known"


@pytest.mark.parametrize("name", CORNERS)
@pytest.mark.parametrize("prefixes", [(), LAYOUT], ids=["one tablet", "several tablets"])
def test_corner_is_answered_as_etcd_answers_it(prefixes: tuple[bytes, ...], name: str) -> None:
    """What random requests hardly ever hit."""
    Driver(World(prefixes)).ask(CORNERS[name])


TestOneTablet = HistoryMachine.TestCase
TestOneTablet.settings = settings(max_examples=200, stateful_step_count=30)
TestSeveralTablets = SeveralTablets.TestCase
TestSeveralTablets.settings = settings(max_examples=300, stateful_step_count=30)
TestOverALink = OverALink.TestCase
TestOverALink.settings = settings(max_examples=60, stateful_step_count=30)
TestSmallBounds = SmallBounds.TestCase
TestSmallBounds.settings = settings(max_examples=60, stateful_step_count=30)
TestOnRocksDB = OnRocksDB.TestCase
TestOnRocksDB.settings = settings(max_examples=20, stateful_step_count=25)


TestOnEtcd = pytest.mark.etcd(OnEtcd.TestCase)
TestOnEtcd.settings = settings(max_examples=6, stateful_step_count=20)
