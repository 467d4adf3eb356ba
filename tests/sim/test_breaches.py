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
from .shared_breaches import SHARED_BREACHES

STEPS = 600
STEPS_OF_MOVES = 1_500
STEPS_OF_REIGNS = 4_000  # some seconds: a deposed sequencer stays away for longer than its lease
JUDGED = (
    *(f"inv{number:02}" for number in range(1, 23)),
    *("m01", "m05", "m08", "m10", "m12", "m13"),
)
MOVED = ("inv05", "inv07", "inv08", "inv09", "inv12", "inv15", "inv17", "inv18", "inv20", "inv21")
BREACHES = (*STANDING, *RESHARD_BREACHES, *SHARED_BREACHES)


def steps(breach: Breach) -> int:
    if breach.reshard:
        return STEPS_OF_MOVES
    return STEPS if breach.members == 1 else STEPS_OF_REIGNS


def caught(breach: Breach) -> Outcome | None:
    """The first seed that the breach breaks, as its own judge says if it has to."""
    for seed in range(breach.first, breach.first + SEEDS_MAX):
        with ExitStack() as stack:
            for patch in breach.patches():
                stack.enter_context(patch)
            outcome = run_seed(seed, steps(breach), plan=breach.plan(seed))
        if outcome.broken is not None:
            assert outcome.broken in breach.heard, outcome.text
            if not breach.own or outcome.broken == breach.breaks:
                return outcome
    return None


@pytest.mark.parametrize("breach", BREACHES, ids=lambda breach: breach.name)
def test_a_breach_is_caught(breach: Breach) -> None:
    outcome = caught(breach)
    assert outcome is not None, f"{breach.name} was not noticed in {SEEDS_MAX} seeds"


@pytest.mark.parametrize("breach", BREACHES[::4], ids=lambda breach: breach.name)
def test_without_a_breach_they_pass(breach: Breach) -> None:
    for seed in (1, 2):
        outcome = run_seed(seed, steps(breach), plan=breach.plan(seed))
        assert outcome.broken is None, outcome.text


def test_each_invariant_of_moves_has_a_breach_that_its_own_judge_finds() -> None:
    """In seeds that have migrations."""
    assert {b.breaks for b in RESHARD_BREACHES if b.own} >= set(MOVED)


def test_each_invariant_has_a_breach() -> None:
    assert {breach.breaks for breach in BREACHES} == set(JUDGED)
    assert len({breach.name for breach in BREACHES}) == len(BREACHES)
