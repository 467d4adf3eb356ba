"""Seeds of the simulator: none breaks anything, and each gives the same run twice.

What it is: the few seeds of `make test`, and the many of `make soak`. What it is not: CI's two
thousand, which are `make sim`.
"""

from __future__ import annotations

import os

import pytest

from .runner import run_range, run_seed

SEEDS = 24
STEPS = 1_000
SOAK_SEEDS = 100_000


@pytest.mark.parametrize("first", range(1, SEEDS + 1, 8))
def test_a_cluster_keeps_its_promises_under_faults(first: int) -> None:
    broken = run_range((first, 8, 1, STEPS))
    assert not broken, str(broken[0])


def test_the_same_seed_is_the_same_run() -> None:
    for seed in (3, 5, 12):
        once, again = run_seed(seed, 400), run_seed(seed, 400)
        assert once == again
        assert run_seed(seed + 100, 400).hash != once.hash


def test_a_longer_run_begins_as_a_shorter_one() -> None:
    """A replay with fewer steps shows how a long run began: nothing looks ahead."""
    short, long = run_seed(8, 100), run_seed(8, 300)
    assert short.broken is None
    assert long.broken is None
    assert short.true_us < long.true_us


@pytest.mark.slow
def test_many_seeds() -> None:
    """SIM_FIRST and SIM_SEEDS choose others; 100,000 take hours."""
    first = int(os.environ.get("SIM_FIRST", "1"))
    count = int(os.environ.get("SIM_SEEDS", str(SOAK_SEEDS)))
    broken = run_range((first, count, 1, STEPS))
    assert not broken, "\n\n".join(map(str, broken[:5]))
