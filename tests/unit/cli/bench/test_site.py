"""Counts that are scaled, and what a window makes of counts and times."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, cast

import pytest

from kubebraid.cli.bench.drivers import RequestsFailed, complete
from kubebraid.cli.bench.figures import (
    CLIENT_CPU,
    CPU,
    DISK,
    PEAK_RSS,
    RSS_GROWTH,
    Figure,
    Measured,
)
from kubebraid.cli.bench.goals import SEQUENCER
from kubebraid.cli.bench.site import Site, cost, scaled


@pytest.mark.parametrize(
    ("count", "scale", "least", "wanted"),
    [(1_000, 0.1, 10, 100), (1_000, 0.001, 10, 10), (5, 0.1, 10, 5), (1_000, 1.0, 10, 1_000)],
)
def test_count_is_scaled_but_never_to_nothing(
    count: int, scale: float, least: int, wanted: int
) -> None:
    assert scaled(count, scale, least) == wanted


def test_warm_up_is_a_tenth_and_each_client_has_some() -> None:
    site = Site(cast("Any", None), 0.5, warming=True)
    assert site.requests(100_000) == 5_000
    assert site.requests(10_000, clients=64) == 640
    assert site.keys(1_000) == 500


def test_cost_is_by_operation_and_by_role_where_there_are_several() -> None:
    done = [Measured("put", 1_000, 1.0, {}, client_cpu_s=0.05)]
    alone = cost(done, {"all": 0.08})
    assert [figure.name for figure in alone] == [CPU, CLIENT_CPU]
    assert [figure.value for figure in alone] == pytest.approx([80.0, 50.0])
    both = {f.name: f.value for f in cost(done, {"router": 0.05, "shard": 0.06})}
    assert both[CPU] == pytest.approx(110.0)
    assert both[f"{CPU} router"] == pytest.approx(50.0)
    assert both[f"{CPU} shard"] == pytest.approx(60.0)
    assert SEQUENCER not in both


def test_cpu_that_proc_cannot_tell_from_nothing_is_not_told() -> None:
    done = [Measured("put", 1_000, 1.0, {})]
    assert CPU not in {figure.name for figure in cost(done, {"all": 0.02})}


class Grown:
    """A server whose load took it from 100 to 150 MiB and back to 110, and 2 s of CPU."""

    def __init__(self, *, has_disk: bool = True) -> None:
        self.steps: list[str] = []
        self.has_disk = has_disk

    def beside(self) -> Callable[[Sequence[Measured]], list[Figure]]:
        before = len(self.steps)
        return lambda found: [Figure("beside", "", found[0].ops * (len(self.steps) - before))]

    def check(self) -> None:
        self.steps.append("check")

    def forget_peak(self) -> None:
        self.steps.append("forget")

    def memory_mib(self, name: str) -> float:
        loaded = "load" in self.steps
        return {"VmRSS": 110.0 if loaded else 100.0, "VmHWM": 150.0 if loaded else 999.0}[name]

    def cpu_s(self) -> dict[str, float]:
        return {"all": 5.0 if "load" in self.steps else 3.0}

    def disk_mib(self) -> float:
        return 64.0


def test_window_is_what_the_load_cost() -> None:
    server = Grown()
    site = Site(cast("Any", server), 1.0)

    def load() -> list[Measured]:
        server.steps.append("load")
        return [Measured("put", 1_000_000, 10.0, {"p50": 1.5})]

    figures = {figure.name: figure.value for figure in site.measure(load)}
    assert figures[CPU] == pytest.approx(2.0)
    assert (figures[PEAK_RSS], figures[RSS_GROWTH], figures[DISK]) == (150.0, 50.0, 64.0)
    assert (figures["throughput"], figures["p50"]) == (100_000.0, 1.5)
    assert server.steps == ["check", "forget", "load", "check"]


def test_what_works_beside_a_server_is_looked_at_around_the_load() -> None:
    """And a server that keeps nothing in its folder has no figure of a disk."""
    server = Grown(has_disk=False)

    def load() -> list[Measured]:
        server.steps.append("load")
        return [Measured("put", 1_000, 10.0, {})]

    found, figures = Site(cast("Any", server), 1.0).window(load)
    assert found[0].ops == 1_000
    told = {figure.name: figure.value for figure in figures}
    assert told["beside"] == 2_000, "the load, and the look behind it"
    assert DISK not in told


def test_growth_of_memory_begins_before_the_warm_up() -> None:
    """A server that buffers a list has grown by it in the warm-up, and not again."""
    server = Grown()
    site = Site(cast("Any", server), 1.0, warming=True)

    def load() -> list[Measured]:
        server.steps.append("load")
        return [Measured("list", 1_000, 10.0, {})]

    site.measure(load)
    site.warming = False
    figures = {figure.name: figure.value for figure in site.measure(load)}
    assert figures[RSS_GROWTH] == 50.0


def test_requests_made_at_once_share_the_time_of_their_tool() -> None:
    done = [
        Measured("delivery", 3_000, 1.0, {}, client_cpu_s=0.08),
        Measured("put", 1_000, 1.0, {}, client_cpu_s=0.08),
    ]
    (client,) = cost(done, {"all": 0.0})
    assert client.value == pytest.approx(20.0)


def test_load_with_a_failed_request_gives_no_figures() -> None:
    failed = Measured("put", 990, 1.0, {}, errors=10, first_error="space exceeded")
    with pytest.raises(RequestsFailed, match=r"10 requests failed, 990 were done; space exceeded"):
        complete("put", [failed], 1_000)


def test_load_with_a_request_less_gives_no_figures() -> None:
    with pytest.raises(RequestsFailed, match="999 requests were done, not 1000"):
        complete("put", [Measured("put", 999, 1.0, {})], 1_000)
    reads, writes = Measured("read", 400, 1.0, {}), Measured("write", 600, 1.0, {})
    assert complete("txn-mixed", [reads, writes], 1_000) == [reads, writes]
