"""Running seeds: one, or a range of them.

What it is: what the command line and the tests share. What it is not: the run (`world.py`).

Invariants: collections of cycles happen between runs, not within, so that time is spent alike; an
outcome holds text and numbers alone, so that it crosses processes.

Worked example: `run_seed(7, 1000).hash` is the same each time.

Tested in tests/sim/test_sim.py.
"""

from __future__ import annotations

import gc
import logging
from typing import Final, NamedTuple

from .verdict import Violation
from .world import Plan, World

FIXED_HASHES: Final = "0"  # PYTHONHASHSEED of a replay


class Outcome(NamedTuple):
    """`broken`: the checker's name; None: all is well."""

    seed: int
    broken: str | None
    text: str
    hash: int
    steps: int
    true_us: int

    def __str__(self) -> str:
        if self.broken is None:
            seconds = self.true_us / 1e6
            return f"seed {self.seed}: {self.steps} steps, {seconds:.3f} s, trace {self.hash:08x}"
        return self.text


def run_seed(seed: int, steps: int, echo: bool = False, plan: Plan | None = None) -> Outcome:
    """One run."""
    logging.disable(logging.CRITICAL)
    gc.disable()
    world = World(seed, plan, echo)
    broken, text = None, ""
    try:
        world.run(steps)
    except Violation as violation:
        broken, text = violation.checker, str(violation)
    finally:
        gc.enable()
        logging.disable(logging.NOTSET)
    return Outcome(seed, broken, text, world.hash, world.steps, world.now)


def run_range(what: tuple[int, int, int, int]) -> list[Outcome]:
    """(first seed, count, stride, steps): the outcomes that broke something."""
    first, count, stride, steps = what
    outcomes = (run_seed(first + stride * n, steps) for n in range(count))
    return [outcome for outcome in outcomes if outcome.broken is not None]
