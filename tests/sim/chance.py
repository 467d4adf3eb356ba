"""Where the simulator's chance comes from: one generator, drawn from in the order of the run.

What it is: the stand-ins for what processes take from the operating system's randomness. What it is
not: any decision about faults (`faults.py`) or traffic (`client.py`).

Invariants: two runs with one seed draw the same numbers; nothing here is ever asked of the system.

Tested in tests/sim/test_sim.py (the same seed gives the same trace).
"""

from __future__ import annotations

from random import Random


class Draws:
    """In place of coordinator/raft's SystemChance and base/seams' Random."""

    def __init__(self, random: Random) -> None:
        self._random = random

    def fraction(self) -> float:
        return self._random.random()

    def token(self) -> int:
        return self._random.getrandbits(64)

    def lease_id(self) -> int:
        return self._random.getrandbits(62) | 1
