"""The document of a run: to JSON and back, pairs by round, what misses its goal most."""

from __future__ import annotations

import pytest

from kubebraid.cli.bench.figures import Figure
from kubebraid.cli.bench.results import (
    Failure,
    NotResults,
    Outcome,
    Results,
    read,
    worst_miss,
    write,
)


def outcome(name: str, *rounds: tuple[float, float], figure: str = "throughput") -> Outcome:
    made = tuple(
        {"kubebraid": (Figure(figure, "/s", ours),), "etcd": (Figure(figure, "/s", theirs),)}
        for ours, theirs in rounds
    )
    return Outcome(name, "some words", made)


RESULTS = Results(
    command="kubebraid bench put/64",
    started="2026-03-01T12:00:00Z",
    machine={"machine": "one, 2 cores"},
    rounds=2,
    scale=0.5,
    outcomes=(outcome("put/64", (12.0, 10.0), (9.0, 10.0)),),
    failures=(Failure("put/256", "etcd", "put: 3 requests failed"),),
)


def test_what_was_written_is_read_back() -> None:
    assert read(write(RESULTS)) == RESULTS


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"format": 2}', '{"format": 1, "outcomes": 3}'])
def test_other_files_are_refused(text: str) -> None:
    with pytest.raises(NotResults):
        read(text)


def test_rounds_with_one_store_make_no_pair() -> None:
    alone = Outcome("put/64", "", ({"kubebraid": (Figure("throughput", "/s", 1.0),)},))
    assert alone.pairs("throughput") == []
    assert alone.values("kubebraid", "throughput") == [1.0]
    assert alone.values("etcd", "throughput") == []


def test_figure_that_one_round_lacks_is_still_named() -> None:
    """p99.9 is there only where enough samples were."""
    rounds = ({"etcd": (Figure("p50", "ms", 1),)}, {"etcd": (Figure("p99.9", "ms", 2),)})
    assert Outcome("put/1", "", rounds).names() == [("p50", "ms"), ("p99.9", "ms")]


def test_worst_miss_is_that_of_the_worst_round() -> None:
    figure, missed = worst_miss(outcome("put/64", (12.0, 10.0), (6.0, 10.0)))
    assert figure == "throughput"
    assert missed == pytest.approx(2)
    assert worst_miss(outcome("put/1", (1.0, 10.0))) == ("", 0.0)
