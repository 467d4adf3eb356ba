"""Figures, and what is made of many of them: percentiles, medians, ratios with their spread.

What it is: arithmetic on values. What it is not: a measurement, nor a text.

Words: a *figure* is one number with its name and unit; a *round* is one measurement at each
store; a *ratio* is ours divided by the peer's of the same round, so that what the machine did
meanwhile is in both.

Invariants: a percentile that too few samples stand behind is not told (99.9 % of less than 1,000
samples is the slowest one, by chance); a ratio of nothing is none.

Worked example: rounds with 12,000 and 10,000, then 9,000 and 10,000 puts a second have the ratios
1.2 and 0.9: median 1.05, spread 0.9..1.2.

Tested in tests/unit/cli/bench/test_figures.py.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

# Names that goals refer to.
THROUGHPUT: Final = "throughput"
P50: Final = "p50"
P99: Final = "p99"
P999: Final = "p99.9"
CPU: Final = "server CPU"
CLIENT_CPU: Final = "client CPU"
PEAK_RSS: Final = "peak RSS"
RSS_GROWTH: Final = "RSS growth"
DISK: Final = "disk"

Percentile = tuple[str, float]
PERCENTILES: Final[tuple[Percentile, ...]] = ((P50, 0.5), (P99, 0.99), (P999, 0.999))


class Figure(NamedTuple):
    """One number. Units: "/s", "MB/s" (10^6), "ms", "s", "us/op", "ms/MB", "MiB" (2^20), "x" (a
    factor), "" (a count)."""

    name: str
    unit: str
    value: float

    @property
    def more_is_better(self) -> bool:
        """Rates are good, everything else costs."""
        return self.unit.endswith("/s")


@dataclass(frozen=True)
class Measured:
    """What a load tool said of one kind of request. Latencies in ms by percentile's name."""

    name: str
    ops: int
    seconds: float
    latency_ms: dict[str, float]
    errors: int = 0
    first_error: str = ""
    bytes: int = 0
    keys: int = 0
    revision: int = 0
    resumed: int = 0  # watches that the server ended and that went on
    client_cpu_s: float = 0.0

    @property
    def rate(self) -> float:
        """Requests a second."""
        return self.ops / self.seconds if self.seconds > 0 else 0.0


def percentiles(pairs: Sequence[tuple[float, int]]) -> dict[str, float]:
    """Of a histogram: (upper bound, count) in rising order; bounds keep their unit."""
    total = sum(count for _, count in pairs)
    bounds = [bound for bound, _ in pairs]
    assert bounds == sorted(bounds), "a histogram rises"
    found = {}
    for name, share in PERCENTILES:
        if total == 0 or not enough(total, share):
            continue
        below = 0
        for bound, count in pairs:
            below += count
            if below >= share * total:
                found[name] = bound
                break
    return found


def enough(samples: int, share: float) -> bool:
    """Does a percentile leave at least one sample above it?"""
    assert 0 < share < 1, share
    return samples * (1 - share) >= 1 - 1e-9  # 1,000 samples are enough for 99.9 %


class Ratio(NamedTuple):
    """Median of the rounds' ratios, and the least and greatest of them."""

    median: float
    least: float
    greatest: float


def ratio(pairs: Sequence[tuple[float, float]]) -> Ratio | None:
    """Of (ours, the peer's) by round; None if the peer has nothing to divide by."""
    ratios = [ours / theirs for ours, theirs in pairs if theirs > 0]
    if not ratios:
        return None
    result = Ratio(statistics.median(ratios), min(ratios), max(ratios))
    assert result.least <= result.median <= result.greatest, result
    return result


def median(values: Sequence[float]) -> float:
    """Of at least one value."""
    assert values, "a median of nothing"
    return statistics.median(values)
