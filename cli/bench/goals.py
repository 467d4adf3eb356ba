"""What KubeBraid wants to reach: the one table of goals, and whether a figure reaches its own.

What it is: data, and a comparison. What it is not: a condition of success; `kubebraid bench` exits
with 0 whatever is missed.

Words: a goal on a *ratio* is about ours divided by etcd's of the same round; a goal on a *value*
is about our own figure, in its unit.

Worked example: `put/64` is to make at least 1.2 times etcd's throughput: a ratio of 0.9 misses it
by 1.33 times.

Tested in tests/unit/cli/bench/test_goals.py.
"""

from __future__ import annotations

from enum import Enum
from fnmatch import fnmatchcase
from typing import Final, NamedTuple

from .figures import CPU, P50, P99, PEAK_RSS, RSS_GROWTH, THROUGHPUT


class Of(Enum):
    """What a goal is about."""

    RATIO = "ratio"
    VALUE = "value"


class Goal(NamedTuple):
    """A bound for one figure of the scenarios that match."""

    scenario: str  # as fnmatch has it
    figure: str
    of: Of
    at_least: float | None = None
    at_most: float | None = None

    @property
    def bound(self) -> float:
        """The number in it."""
        bound = self.at_most if self.at_least is None else self.at_least
        assert bound is not None
        assert (self.at_least is None) != (self.at_most is None), self
        return bound

    def met(self, value: float) -> bool:
        """Is it reached?"""
        return self.missed_by(value) <= 1.0

    def missed_by(self, value: float) -> float:
        """How many times worse than the bound; 1 and below is reached."""
        bound = self.bound
        if self.at_least is None:
            return value / bound
        return bound / value if value > 0 else float("inf")

    def __str__(self) -> str:
        sign = "<=" if self.at_least is None else ">="
        return f"{sign} {self.bound:g}{'x' if self.of is Of.RATIO else ''}"


# Figures of single scenarios, named where goals are set.
CLUSTER: Final = "cluster-"  # before the name of a scenario: measured on roles as processes
SPREAD: Final = "spread/puts"
ALL_TO_ONE: Final = "all tablets / one, "  # and a percentile
SEQUENCER: Final = "coordinator's part of CPU"
LIST_RATE: Final = "objects"
EVENTS: Final = "events"
AGAINST_PUTS: Final = "rate against puts"
AGAINST_INSERTS: Final = "rate against inserts"
ON_TIKV: Final = "tikv/"  # and how many shards, before the name of a scenario
WRITES_A_TRANSACTION: Final = "writes a transaction of TiKV"
PLACED_CPU: Final = "CPU beside: "  # and what it is: PD, the stores
RSS_FILLED: Final = "RSS when filled"
READY_CLEAN: Final = "ready after SIGTERM"
READY_KILLED: Final = "ready after SIGKILL"
LARGE_TO_SMALL: Final = "large / small prefix"
SPACE_FACTOR: Final = "disk / live data"
COMPACTING_P99: Final = "p99 compacting / quiet"
LONG_PAUSES: Final = "pauses of 100 ms and longer"

GOALS: Final = (
    *(
        Goal(f"{kind}/{clients}", figure, Of.RATIO, at_least, at_most)
        for kind in ("put", "txn-put")
        for clients in (64, 256)
        for figure, at_least, at_most in ((THROUGHPUT, 1.2, None), (CPU, None, 0.7))
    ),
    *(Goal(f"{kind}/1", P50, Of.RATIO, None, 1.2) for kind in ("put", "txn-put", "range")),
    Goal("range/64", THROUGHPUT, Of.RATIO, 1.2),
    Goal("range/256", THROUGHPUT, Of.RATIO, 1.2),
    Goal("cas-delete/*", AGAINST_PUTS, Of.VALUE, 1.0),
    # KubeBrain's deletes were a sixth of its inserts; with and without TiKV ours are no slower.
    Goal("*kubebrain/delete", AGAINST_INSERTS, Of.VALUE, 1.0),
    Goal("list/100k/*", LIST_RATE, Of.RATIO, 1.5),
    Goal("list/*/stream", RSS_GROWTH, Of.VALUE, None, 64),
    Goal("list/*/pages-*", RSS_GROWTH, Of.VALUE, None, 64),
    Goal("watch-delivery/100", EVENTS, Of.RATIO, 1.0),
    Goal("watch-paced/100", P99, Of.RATIO, None, 1.2),
    # Roles as processes: three hops a put, on the same two cores.
    Goal(f"{CLUSTER}put/256", THROUGHPUT, Of.RATIO, 0.9),
    Goal(f"{CLUSTER}put/256", CPU, Of.RATIO, None, 1.1),
    Goal(f"{CLUSTER}put/256", SEQUENCER, Of.VALUE, None, 0.05),
    Goal(f"{CLUSTER}spread/progress", P99, Of.VALUE, None, 20),
    Goal("storage/1m-1k", RSS_FILLED, Of.RATIO, None, 0.6),
    Goal("storage/1m-1k", READY_CLEAN, Of.VALUE, None, 5),
    Goal("storage/1m-1k", READY_KILLED, Of.VALUE, None, 5),
    Goal("storage/10m-100b", RSS_FILLED, Of.VALUE, None, 2048),
    Goal("storage/10m-100b", PEAK_RSS, Of.VALUE, None, 2048),
    Goal("storage/pages", f"{LARGE_TO_SMALL}*", Of.VALUE, None, 2),
    Goal("storage/count", P50, Of.VALUE, None, 10),
    Goal("storage/space", SPACE_FACTOR, Of.VALUE, None, 1.3),
    Goal("storage/compaction", COMPACTING_P99, Of.VALUE, None, 2),
    Goal("reshard/*", LONG_PAUSES, Of.VALUE, None, 1),
)


def goal(scenario: str, figure: str) -> Goal | None:
    """The goal for this figure, if there is one."""
    for candidate in GOALS:
        if fnmatchcase(scenario, candidate.scenario) and fnmatchcase(figure, candidate.figure):
            return candidate
    return None
