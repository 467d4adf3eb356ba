"""Load that grows with the shards."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from kubebraid.cli.bench.drivers import RequestsFailed
from kubebraid.cli.bench.figures import Figure, Measured
from kubebraid.cli.bench.goals import SEQUENCER, goal
from kubebraid.cli.bench.loads import BENCH
from kubebraid.cli.bench.scenarios import choose
from kubebraid.cli.bench.spread import few, merged, progress, spread


class FakeSite:
    """A site that only counts; `found` is what every load says."""

    def __init__(self, shards: int, found: list[Measured] | None = None) -> None:
        self.flags: tuple[str, ...] = ()
        self.found = found or []
        self.server = SimpleNamespace(shards=shards)
        self.driver = SimpleNamespace(load=self._load)

    def requests(self, count: int, clients: int = 1) -> int:
        return max(count // 1_000, clients)

    def measure(self, load: Any) -> list[Figure]:
        load()
        return [Figure("throughput", "/s", 1.0)]

    def window(self, load: Any) -> tuple[list[Measured], list[Figure]]:
        return load(), []

    def _load(self, _command: str, *flags: str, expect: int | None = None) -> list[Measured]:
        self.flags = flags
        return self.found


def test_each_shard_has_as_many_clients() -> None:
    for shards in (1, 4):
        site: Any = FakeSite(shards)
        spread(site)
        assert f"--clients={256 * shards}" in site.flags
        assert f"--conns={32 * shards}" in site.flags
        assert f"--keys={100_000 * shards}" in site.flags, "a put overwrites as often"


def test_it_is_no_part_of_a_plain_run() -> None:
    assert not any(one.name.startswith("spread") for one in choose([]))
    names = [one.name for one in choose(["spread"])]
    assert names == [f"spread/{name}" for name in ("64", "256", "puts", "merge", "progress")]


def test_few_clients_stay_few_whatever_the_shards() -> None:
    for shards in (1, 4):
        site: Any = FakeSite(shards)
        few(site, 64)
        assert {"--clients=64", "--conns=8", "--total=64", f"--prefix={BENCH}"} <= set(site.flags)


def said(name: str, ops: int, p50: float, p99: float) -> Measured:
    return Measured(name, ops, 1.0, {"p50": p50, "p99": p99})


def test_merge_sets_the_same_events_beside_each_other() -> None:
    puts = 16  # what the fake makes of 10,000
    lines = [said("all tablets", puts, 3.0, 8.0), said("one tablet", puts, 2.0, 4.0)]
    site: Any = FakeSite(4, [*lines, said("put", puts, 1.0, 2.0)])
    found = {figure.name: figure.value for figure in merged(site)}
    assert found["all tablets p50"] == 3.0
    assert found["one tablet p99"] == 4.0
    assert found["all tablets / one, p50"] == 1.5
    assert found["all tablets / one, p99"] == 2.0


def test_merge_without_an_event_has_no_figures() -> None:
    lines = [said("all tablets", 16, 3.0, 8.0), said("one tablet", 15, 2.0, 4.0)]
    site: Any = FakeSite(4, [*lines, said("put", 16, 1.0, 2.0)])
    with pytest.raises(RequestsFailed, match="15 events"):
        merged(site)


def test_progress_counts_each_answer() -> None:
    site: Any = FakeSite(4, [said("progress", 2, 3.0, 8.0)])
    assert [figure.name for figure in progress(site)] == ["p50", "p99"]
    site.found = [said("progress", 1, 3.0, 8.0)]
    with pytest.raises(RequestsFailed, match="1 answers, not 2"):
        progress(site)


def test_goals_of_a_cluster() -> None:
    answer = goal("cluster-spread/progress", "p99")
    assert answer is not None
    assert answer.met(20.0)
    assert not answer.met(20.1)
    part = goal("cluster-put/256", SEQUENCER)
    assert part is not None
    assert part.met(0.05)
    assert not part.met(0.051)
