"""Each deliberate breach is found, by a checker that is meant to find it.

What it is: the proof that the simulator's judges see. What it is not: a search for defects: the
same seeds pass without the breach (`test_without_a_breach_they_pass`).
"""

from __future__ import annotations

from contextlib import ExitStack

import pytest

from .breaches import BREACHES as STANDING
from .breaches import SEEDS_MAX, Breach
from .reshard_breaches import RESHARD_BREACHES
from .runner import Outcome, run_seed

STEPS = 600
STEPS_OF_REIGNS = 4_000  # some seconds: a deposed sequencer stays away for longer than its lease
JUDGED = (
    *(f"inv{number:02}" for number in (*range(1, 12), *range(13, 19), 20, 21, 22)),
    *("m01", "m05", "m08", "m10", "m12", "m13"),
)
BREACHES = (*STANDING, *RESHARD_BREACHES)


def steps(breach: Breach) -> int:
    return STEPS if breach.members == 1 or breach.reshard else STEPS_OF_REIGNS


def caught(breach: Breach) -> Outcome | None:
    """The first seed that the breach breaks."""
    for seed in range(breach.first, breach.first + SEEDS_MAX):
        with ExitStack() as stack:
            for patch in breach.patches():
                stack.enter_context(patch)
            outcome = run_seed(seed, steps(breach), plan=breach.plan(seed))
        if outcome.broken is not None:
            return outcome
    return None


@pytest.mark.parametrize("breach", BREACHES, ids=lambda breach: breach.name)
def test_a_breach_is_caught(breach: Breach) -> None:
    outcome = caught(breach)
    assert outcome is not None, f"{breach.name} was not noticed in {SEEDS_MAX} seeds"
    assert outcome.broken in breach.caught, outcome.text


@pytest.mark.parametrize("breach", BREACHES[::4], ids=lambda breach: breach.name)
def test_without_a_breach_they_pass(breach: Breach) -> None:
    for seed in (1, 2):
        outcome = run_seed(seed, steps(breach), plan=breach.plan(seed))
        assert outcome.broken is None, outcome.text


def test_each_invariant_has_a_breach() -> None:
    assert {breach.breaks for breach in BREACHES} == set(JUDGED)
    assert len({breach.name for breach in BREACHES}) == len(BREACHES)
