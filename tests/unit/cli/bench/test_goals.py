"""Goals: which figure has which, and when it is reached."""

from __future__ import annotations

import pytest

from kubebraid.cli.bench.figures import CPU, P50, P99, RSS_GROWTH, THROUGHPUT
from kubebraid.cli.bench.goals import CLUSTER, GOALS, SPACE_FACTOR, Goal, Of, goal
from kubebraid.cli.bench.scenarios import known


@pytest.mark.parametrize(
    ("scenario", "figure", "words"),
    [
        ("put/64", THROUGHPUT, ">= 1.2x"),
        ("txn-put/256", CPU, "<= 0.7x"),
        ("put/1", P50, "<= 1.2x"),
        ("range/64", THROUGHPUT, ">= 1.2x"),
        ("list/1m/stream", RSS_GROWTH, "<= 64"),
        ("watch-paced/100", P99, "<= 1.2x"),
        ("storage/space", SPACE_FACTOR, "<= 1.3"),
        ("storage/pages", "large / small prefix, middle, old revision", "<= 2"),
    ],
)
def test_figure_has_its_goal(scenario: str, figure: str, words: str) -> None:
    assert str(goal(scenario, figure)) == words


def test_other_figures_have_none() -> None:
    assert goal("put/1", THROUGHPUT) is None
    assert goal("put/64", "client CPU") is None
    assert goal("list/100k/one", RSS_GROWTH) is None


def test_goal_is_missed_by_a_factor() -> None:
    faster = Goal("put/64", THROUGHPUT, Of.RATIO, at_least=1.2)
    assert faster.met(1.2)
    assert faster.missed_by(0.6) == pytest.approx(2)
    assert faster.missed_by(0.0) == float("inf")
    cheaper = Goal("put/64", CPU, Of.RATIO, at_most=0.7)
    assert cheaper.met(0.7)
    assert not cheaper.met(0.71)
    assert cheaper.missed_by(1.4) == pytest.approx(2)


def test_each_goal_is_for_a_scenario_that_exists() -> None:
    names = [f"{profile}{one.name}" for one in known() for profile in ("", CLUSTER)]
    for one in GOALS:
        assert any(goal(name, one.figure) is one for name in names), one
