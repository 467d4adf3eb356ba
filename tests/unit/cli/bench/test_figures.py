"""Figures: percentiles, medians, ratios."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kubebraid.cli.bench.figures import P50, P99, P999, Figure, Measured, Ratio, percentiles, ratio


def test_percentiles_of_a_histogram_are_bounds_of_its_buckets() -> None:
    assert percentiles([(1.0, 500), (2.0, 490), (9.0, 10)]) == {P50: 1.0, P99: 2.0, P999: 9.0}


def test_percentile_without_a_sample_above_it_is_not_told() -> None:
    """The slowest of 999 requests is called p99.9 by chance alone."""
    assert set(percentiles([(1.0, 999)])) == {P50, P99}
    assert set(percentiles([(1.0, 1_000)])) == {P50, P99, P999}
    assert set(percentiles([(1.0, 99)])) == {P50}
    assert percentiles([]) == {}


@given(st.dictionaries(st.integers(1, 10**6), st.integers(1, 400), min_size=1, max_size=20))
def test_percentiles_are_those_of_the_sorted_samples(counts: dict[int, int]) -> None:
    in_order = [value for value in sorted(counts) for _ in range(counts[value])]
    found = percentiles([(float(value), counts[value]) for value in sorted(counts)])
    assert (P999 in found) == (len(in_order) >= 1_000)
    for name, share in ((P50, 0.5), (P99, 0.99), (P999, 0.999)):
        if name in found:
            assert sum(value <= found[name] for value in in_order) >= share * len(in_order)
            assert sum(value < found[name] for value in in_order) < share * len(in_order)


def test_ratio_is_taken_round_by_round() -> None:
    """A round in which the machine was slow was slow for both: its ratio still counts."""
    found = ratio([(12_000.0, 10_000.0), (900.0, 1_000.0)])
    assert found is not None
    assert (found.least, found.greatest) == (0.9, 1.2)
    assert found.median == pytest.approx(1.05)


def test_ratio_to_nothing_is_none() -> None:
    assert ratio([]) is None
    assert ratio([(1.0, 0.0)]) is None
    assert ratio([(1.0, 0.0), (3.0, 2.0)]) == Ratio(1.5, 1.5, 1.5)


def test_rates_are_good_and_all_else_costs() -> None:
    assert Figure("throughput", "/s", 1.0).more_is_better
    assert Figure("objects", "MB/s", 1.0).more_is_better
    assert not Figure("p99", "ms", 1.0).more_is_better


def test_rate_of_no_time_is_zero() -> None:
    assert Measured("put", 0, 0.0, {}).rate == 0.0
    assert Measured("put", 10, 2.0, {}).rate == 5.0
