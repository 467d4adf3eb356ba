"""Backoff: how it grows, where it ends, and that chance moves it."""

from __future__ import annotations

import pytest

from kubebraid.base.backoff import Backoff


def delays(fraction: float, count: int) -> list[int]:
    backoff = Backoff(50, 1_000, lambda: fraction)
    return [backoff.next_ms() for _ in range(count)]


def test_bounds_double_up_to_the_most() -> None:
    """The worked example of the module."""
    assert delays(0.0, 7) == [50, 100, 200, 400, 800, 1_000, 1_000]


def test_chance_takes_up_to_half_of_it() -> None:
    assert delays(0.999_999, 7) == [26, 51, 101, 201, 401, 501, 501]
    assert delays(0.5, 2) == [38, 75]


def test_reset_begins_again() -> None:
    backoff = Backoff(50, 1_000, lambda: 0.0)
    assert [backoff.next_ms() for _ in range(3)] == [50, 100, 200]
    backoff.reset()
    assert [backoff.next_ms() for _ in range(2)] == [50, 100]


@pytest.mark.parametrize(("first_ms", "most_ms"), [(0, 10), (20, 10)])
def test_bounds_that_are_none_are_our_own_error(first_ms: int, most_ms: int) -> None:
    with pytest.raises(AssertionError):
        Backoff(first_ms, most_ms, lambda: 0.0)


@pytest.mark.parametrize("drawn", [-0.1, 1.0])
def test_chance_outside_its_range_is_our_own_error(drawn: float) -> None:
    with pytest.raises(AssertionError):
        Backoff(50, 1_000, lambda: drawn).next_ms()
