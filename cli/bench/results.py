"""The document that runs leave: machine, versions, every figure of every round, failures.

What it is: frozen values, to JSON and back, so that `--from FILE...` prints any table of runs of
yesterday. What it is not: a table; see `report.py`.

Invariants: `read(write(results)) == results`; the peer's figures of a round stand beside ours of
the same round; a failure is never a figure; merged runs measured the same versions on the same
machine, and each scenario with one scale.

Worked example: {"scenario": "put/64", "scale": 1.0, "rounds": [{"kubebraid": [["throughput", "/s",
16012.4]], "etcd": [["throughput", "/s", 15100.0]]}]}. Three documents of one round each merge into
one whose `put/64` has three rounds.

Tested in tests/unit/cli/bench/test_results.py.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Final

from .figures import Figure
from .goals import Of, goal

FORMAT: Final = 1
OURS: Final = "kubebraid"
PEER: Final = "etcd"
SAME: Final = ("machine", "system", "KubeBraid", "etcd")  # of runs that may be merged

Round = Mapping[str, tuple[Figure, ...]]  # by store


@dataclass(frozen=True)
class Outcome:
    """What one scenario gave. `scale` is what every count was multiplied by."""

    scenario: str
    text: str
    rounds: tuple[Round, ...]
    scale: float = 1.0

    def names(self) -> list[tuple[str, str]]:
        """Name and unit of each figure, in the order of their first appearance."""
        seen: dict[str, str] = {}
        for one in self.rounds:
            for figures in one.values():
                for figure in figures:
                    seen.setdefault(figure.name, figure.unit)
        return list(seen.items())

    def values(self, store: str, name: str) -> list[float]:
        """One figure of a store, round by round."""
        return [f.value for one in self.rounds for f in one.get(store, ()) if f.name == name]

    def pairs(self, name: str) -> list[tuple[float, float]]:
        """(ours, the peer's) of the rounds that have both."""
        found = []
        for one in self.rounds:
            ours = [f.value for f in one.get(OURS, ()) if f.name == name]
            theirs = [f.value for f in one.get(PEER, ()) if f.name == name]
            found += list(zip(ours, theirs, strict=False))
        return found


@dataclass(frozen=True)
class Failure:
    """Requests that failed, or a program that did."""

    scenario: str
    store: str
    sentence: str


@dataclass(frozen=True)
class Taken:
    """When and where a run was made: its command, UTC, and `machine.describe`."""

    command: str
    started: str
    machine: dict[str, str]


@dataclass(frozen=True)
class Results:
    """What one run gave, or several of them merged."""

    runs: tuple[Taken, ...]
    outcomes: tuple[Outcome, ...]
    failures: tuple[Failure, ...]


class NotResults(Exception):
    """Files that are not what runs leave, or that do not belong together."""


def write(results: Results) -> str:
    """As JSON, one line a scenario would be too long to read: indented."""
    return json.dumps({"format": FORMAT, **asdict(results)}, indent=1) + "\n"


def read(text: str) -> Results:
    """What `write` wrote."""
    try:
        document: dict[str, Any] = json.loads(text)
        if document.pop("format") != FORMAT:
            raise NotResults("it has another format: run the benchmark again")
        outcomes = tuple(
            Outcome(**{**o, "rounds": tuple(_round(one) for one in o["rounds"])})
            for o in document.pop("outcomes")
        )
        failures = tuple(Failure(**one) for one in document.pop("failures"))
        runs = tuple(Taken(**one) for one in document.pop("runs"))
        return Results(runs, outcomes, failures)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise NotResults(f"not a result of `kubebraid bench --output=json`: {error!r}") from error


def _round(document: dict[str, list[list[Any]]]) -> Round:
    return {
        store: tuple(Figure(str(n), str(u), float(v)) for n, u, v in figures)
        for store, figures in document.items()
    }


def merge(all_results: Sequence[Results]) -> Results:
    """One document of several: the rounds of a scenario stand behind each other.

    Raises `NotResults` where figures of different things would make one median.
    """
    assert all_results
    runs = tuple(run for results in all_results for run in results.runs)
    for name in SAME:
        # A run without a peer has no version of it.
        if len(told := {run.machine[name] for run in runs if name in run.machine}) > 1:
            raise NotResults(f"the runs differ in {name}: {'; '.join(sorted(told))}")
    merged: dict[str, Outcome] = {}
    for outcome in (outcome for results in all_results for outcome in results.outcomes):
        before = merged.setdefault(outcome.scenario, replace(outcome, rounds=()))
        if before.scale != outcome.scale:
            scales = f"{before.scale:g} and {outcome.scale:g}"
            raise NotResults(f"{outcome.scenario} was measured with the scales {scales}")
        merged[outcome.scenario] = replace(before, rounds=(*before.rounds, *outcome.rounds))
    failures = tuple(failure for results in all_results for failure in results.failures)
    return Results(runs, tuple(merged.values()), failures)


def worst_miss(outcome: Outcome) -> tuple[str, float]:
    """The figure that misses its goal most, and how many times; ("", 0) if none has a goal."""
    worst = ("", 0.0)
    for name, _ in outcome.names():
        aim = goal(outcome.scenario, name)
        if aim is None:
            continue
        values = outcome.values(OURS, name)
        if aim.of is Of.RATIO:
            values = [ours / theirs for ours, theirs in outcome.pairs(name) if theirs > 0]
        missed = max((aim.missed_by(value) for value in values), default=0.0)
        worst = max(worst, (name, missed), key=lambda one: one[1])
    return worst
