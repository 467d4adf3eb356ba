"""The counters are the true counts, whatever has happened: writes that fail and are void, crashes,
restarts, compactions, leases that end.

What it is: the history machine of test_failing_engine.py with tiny buckets; after each step every
range is counted three ways. What it is not: a test of the counters alone
(tests/unit/shard/test_counts.py), or of totals at old revisions (tests/unit/shard/test_totals.py).

Words: the *engine's* count walks over the rows, the *model's* is etcd's.
"""

from __future__ import annotations

from collections import Counter
from random import Random

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import invariant, rule

from kubebraid.base.keyspace import from_etcd
from kubebraid.proto.etcd import rpc_pb2
from kubebraid.shard import keycodec
from kubebraid.shard.counts import KeyCounts
from tests.property import test_history
from tests.property.test_failing_engine import FailingHistory, spoil
from tests.property.test_history import BOUNDS
from tests.robustness.checks import Refusal
from tests.robustness.corners import CORNERS
from tests.robustness.traffic import LAYOUT, SPANS
from tests.unit.shard.test_counts import check

BUCKET_KEYS = next(value for _, name, value in BOUNDS if name == "BUCKET_KEYS_MAX")


class CountsMachine(FailingHistory):
    """A failing store whose buckets hold two keys."""

    prefixes = LAYOUT

    def __init__(self) -> None:
        self._patch = pytest.MonkeyPatch()
        for module, name, value in BOUNDS:
            self._patch.setattr(module, name, value)
        self.seen = Counter[str]()
        super().__init__()

    @invariant()
    def counters_are_true(self) -> None:
        """A world that has run has no work left, so every bucket is built and small."""
        world, model = self.driver.world, self.driver.model
        world.run()
        counters: KeyCounts = world.node.owner._counts
        assert counters.complete
        check(counters, world.engine, BUCKET_KEYS)
        for key, range_end in SPANS:
            span = from_etcd(key, range_end)
            if span is None:
                continue  # etcd has ranges that end before they begin
            request = rpc_pb2.RangeRequest(key=key, range_end=range_end, count_only=True)
            right = model.range_at(request, model.revision)
            assert not isinstance(right, Refusal)
            walked = world.engine.count(*keycodec.newest_bounds(span), 1 << 62)
            assert counters.count(span) == walked == right.count, (key, range_end)
        self.seen["buckets"] = max(self.seen["buckets"], len(counters._starts))
        self.seen["compacted"] = max(self.seen["compacted"], model.compacted)

    @rule(name=st.sampled_from(sorted(CORNERS)))
    def ask_a_corner(self, name: str) -> None:
        """Some change one key several times in one transaction."""
        self.driver.ask(CORNERS[name])

    def teardown(self) -> None:
        try:
            super().teardown()
        finally:
            self._patch.undo()


def wander(machine: CountsMachine, random: Random, rounds: int) -> None:
    """A long life, with a look at the counters every other step."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(machine, "teardown", lambda: None)  # `wander` ends with it
        for _ in range(rounds):
            spoil(machine, random)
            test_history.wander(machine, random, steps=2)
            machine.ask_a_corner(name=random.choice(sorted(CORNERS)))
            machine.counters_are_true()
            if random.random() < 0.1:
                machine.crash()
                machine.counters_are_true()
    machine.teardown()


@pytest.mark.parametrize("seed", range(3))
def test_counters_are_true_through_a_long_life_of_failures(seed: int) -> None:
    machine = CountsMachine()
    wander(machine, Random(seed), rounds=60)
    assert machine.seen["buckets"] >= 4, machine.seen
    assert machine.seen["compacted"] > 1, "something was compacted"
    assert machine.driver.void >= 5, "writes were rolled back"
    assert machine.driver.deaths >= 1


def test_counter_that_is_off_by_one_is_found() -> None:
    """Otherwise the other tests here could not fail."""
    machine = CountsMachine()
    try:
        machine.driver.ask(rpc_pb2.PutRequest(key=b"/registry/pods/x"))
        machine.counters_are_true()
        machine.driver.world.node.owner._counts._counts[0] += 1
        with pytest.raises(AssertionError):
            machine.counters_are_true()
    finally:
        machine._patch.undo()


TestKeyCounts = CountsMachine.TestCase
TestKeyCounts.settings = settings(max_examples=25, stateful_step_count=20)
