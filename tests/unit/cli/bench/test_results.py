"""The document of a run: to JSON and back, pairs by round, what misses its goal most."""

from __future__ import annotations

from dataclasses import replace

import pytest

from kubebraid.cli.bench.figures import Figure
from kubebraid.cli.bench.results import (
    Failure,
    NotResults,
    Outcome,
    Results,
    Taken,
    merge,
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
    runs=(Taken("kubebraid bench put/64", "2026-03-01T12:00:00Z", {"machine": "one"}),),
    outcomes=(replace(outcome("put/64", (12.0, 10.0), (9.0, 10.0)), scale=0.5),),
    failures=(Failure("put/256", "etcd", "put: 3 requests failed"),),
)


def test_what_was_written_is_read_back() -> None:
    assert read(write(RESULTS)) == RESULTS


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"format": 2}', '{"format": 1, "outcomes": 3}'])
def test_other_files_are_refused(text: str) -> None:
    with pytest.raises(NotResults):
        read(text)


def test_merged_runs_have_the_rounds_of_all() -> None:
    later = Taken("kubebraid bench put list", "2026-03-02T12:00:00Z", {"machine": "one"})
    more = (replace(outcome("put/64", (11.0, 10.0)), scale=0.5), outcome("list/100k", (1.0, 2.0)))
    merged = merge([RESULTS, Results((later,), more, ())])
    assert [run.started[:10] for run in merged.runs] == ["2026-03-01", "2026-03-02"]
    assert [one.scenario for one in merged.outcomes] == ["put/64", "list/100k"]
    assert merged.outcomes[0].pairs("throughput") == [(12.0, 10.0), (9.0, 10.0), (11.0, 10.0)]
    assert merged.failures == RESULTS.failures


def test_runs_that_measured_something_else_are_not_merged() -> None:
    other = Taken("kubebraid bench", "2026-03-02T12:00:00Z", {"machine": "two"})
    with pytest.raises(NotResults, match="the runs differ in machine: one; two"):
        merge([RESULTS, replace(RESULTS, runs=(other,))])
    larger = (replace(RESULTS.outcomes[0], scale=1.0),)
    with pytest.raises(NotResults, match=r"put/64 was measured with the scales 0.5 and 1"):
        merge([RESULTS, replace(RESULTS, outcomes=larger)])


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
