"""What a seed deals: the same each time, and nothing left out in a run of any length."""

from __future__ import annotations

from itertools import islice, pairwise
from random import Random

import pytest

from tests.robustness.faults import Fault, Kind, Target, schedule

ROUND = len(Kind)


def dealt(seed: int, count: int) -> list[Fault]:
    return list(islice(schedule(Random(seed)), count))


def test_seed_decides() -> None:
    assert dealt(1, 100) == dealt(1, 100)
    assert dealt(1, 100) != dealt(2, 100)


@pytest.mark.parametrize("seed", range(50))
def test_rounds_leave_nothing_out(seed: int) -> None:
    faults = dealt(seed, 8 * ROUND)
    rounds = [set(faults[at : at + ROUND]) for at in range(0, len(faults), ROUND)]
    for each in rounds:
        assert {fault.kind for fault in each} == set(Kind)
        assert {fault.target for fault in each} == set(Target)
    for some in (rounds[:4], rounds[4:]):
        assert len(set.union(*some)) == len(Kind) * len(Target)
    hard = {Fault(kind, Target.HOLDER) for kind in (Kind.KILL, Kind.STOP)}
    assert all((one | other) & hard for one, other in pairwise(rounds))
