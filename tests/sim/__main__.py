"""`python -m tests.sim --seed=N [--count=C] [--steps=1000] [--trace]`: run seeds, print what broke.

What it is: the command line of the simulator. What it is not: a test; `test_sim.py` is.

Worked example: `python -m tests.sim --seed=1 --count=2000 --jobs=2` is what CI runs.
"""

from __future__ import annotations

import argparse
import os
import sys
from concurrent.futures import ProcessPoolExecutor

from .runner import FIXED_HASHES, run_range, run_seed


def main() -> int:
    """The exit status: 1 if a seed broke something."""
    options = argparse.ArgumentParser(prog="python -m tests.sim")
    options.add_argument("--seed", type=int, default=1)
    options.add_argument("--count", type=int, default=1)
    options.add_argument("--steps", type=int, default=1_000)
    options.add_argument("--jobs", type=int, default=1)
    options.add_argument("--trace", action="store_true", help="print what happens")
    chosen = options.parse_args()
    if os.environ.get("PYTHONHASHSEED") != FIXED_HASHES:
        os.environ["PYTHONHASHSEED"] = FIXED_HASHES
        os.execv(sys.executable, [sys.executable, "-m", "tests.sim", *sys.argv[1:]])
    if chosen.count == 1:
        found = run_seed(chosen.seed, chosen.steps, chosen.trace)
        print(found)
        return 0 if found.broken is None else 1
    broken = 0
    ranges = [
        (chosen.seed + job, chosen.count // chosen.jobs, chosen.jobs, chosen.steps)
        for job in range(chosen.jobs)
    ]
    with ProcessPoolExecutor(chosen.jobs) as pool:
        for outcomes in pool.map(run_range, ranges):
            for outcome in outcomes:
                broken += 1
                print(outcome)
    print(f"{chosen.count} seeds of {chosen.steps} steps, {broken} broken")
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
