"""Random histories: whatever happens, every answer is the one that etcd would have given.

What it is: Hypothesis machines that put batches of concurrent requests, compactions, passing time,
crashes and restarts before a store, and demand of every answer that an order of the batch explains
it (`tests.robustness.compare.explain`). What it is not: a test of watches (test_watch_history.py).

Words: *one tablet* is a store that nothing cuts; *several* is the layout of `traffic`.
"""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from random import Random

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule

from kubebraid.proto.etcd import rpc_pb2
from tests.robustness.driver import AnyWorld, Driver
from tests.robustness.etcd_world import EtcdWorld
from tests.robustness.traffic import LAYOUT, Traffic
from tests.world import World

RANDOMS = st.randoms(use_true_random=False)


class HistoryMachine(RuleBasedStateMachine):
    """One random history. Subclasses say of which store."""

    prefixes: tuple[bytes, ...] = ()
    clock_is_fake = True

    def __init__(self) -> None:
        super().__init__()
        self.driver = Driver(self.open())

    def open(self) -> AnyWorld:
        return World(self.prefixes)

    def traffic(self, random: Random) -> Traffic:
        return Traffic(random)

    @rule(random=RANDOMS, size=st.integers(1, 6))
    def ask(self, random: Random, size: int) -> None:
        model, traffic = self.driver.model, self.traffic(random)
        self.driver.ask(*(traffic.request(model.revision, model.compacted) for _ in range(size)))

    @rule(random=RANDOMS, size=st.integers(2, 8))
    def write(self, random: Random, size: int) -> None:
        """A group commit of changes only."""
        traffic = self.traffic(random)
        self.driver.ask(*(traffic.put() for _ in range(size)))

    @rule(random=RANDOMS)
    def compact(self, random: Random) -> None:
        model, traffic = self.driver.model, self.traffic(random)
        requests = [traffic.request(model.revision, model.compacted) for _ in range(2)]
        self.driver.ask(traffic.compaction(model.revision, model.compacted), *requests)

    @rule(random=RANDOMS)
    def stream(self, random: Random) -> None:
        model = self.driver.model
        request = self.traffic(random).range(model.revision, model.compacted)
        if request.sort_order == rpc_pb2.RangeRequest.NONE:
            # etcd lets a target without an order pass, and then sorts each piece by itself.
            request.ClearField("sort_target")
        self.driver.stream(request)

    @rule(ago=st.integers(0, 30))
    def look_back(self, ago: int) -> None:
        model = self.driver.model
        self.driver.check_past(max(model.compacted, 1, model.revision - ago))

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

    def traffic(self, random: Random) -> Traffic:
        return Traffic(random, ttls=(600, 900))

    def teardown(self) -> None:
        try:
            super().teardown()
        finally:
            self._world.close()


TestOneTablet = HistoryMachine.TestCase
TestOneTablet.settings = settings(max_examples=300, stateful_step_count=30)
TestSeveralTablets = SeveralTablets.TestCase
TestSeveralTablets.settings = settings(max_examples=500, stateful_step_count=30)
TestOnRocksDB = OnRocksDB.TestCase
TestOnRocksDB.settings = settings(max_examples=20, stateful_step_count=25)


TestOnEtcd = pytest.mark.etcd(OnEtcd.TestCase)
TestOnEtcd.settings = settings(max_examples=6, stateful_step_count=20)
