"""How long to wait before the next try: growing, bounded, and not in step with others.

What it is: a sequence of delays as a value. What it is not: a timer, or a judge of what may be
tried again.

Invariants: each delay lies between half of the present bound and the whole of it; the bound doubles
from `first_ms` up to `most_ms`, and `reset` brings it back.

Worked example: `Backoff(50, 1_000, chance)` says 25 to 50 ms, then 50 to 100, 100 to 200, 200 to
400, 400 to 800, and 500 to 1,000 from then on.

Tested in tests/unit/base/test_backoff.py.
"""

from __future__ import annotations

from collections.abc import Callable


class Backoff:
    """`chance` gives a number in [0, 1): without it, all that lost one peer come back at once."""

    def __init__(self, first_ms: int, most_ms: int, chance: Callable[[], float]) -> None:
        assert 2 <= first_ms <= most_ms, f"{first_ms} to {most_ms}"
        self._first_ms, self._most_ms = first_ms, most_ms
        self._bound_ms = first_ms
        self._chance = chance

    def next_ms(self) -> int:
        """The delay before the next try."""
        bound_ms = self._bound_ms
        self._bound_ms = min(2 * bound_ms, self._most_ms)
        drawn = self._chance()
        assert 0 <= drawn < 1, drawn
        return bound_ms - int(drawn * (bound_ms // 2))

    def reset(self) -> None:
        """It worked: the next failure is a first one again."""
        self._bound_ms = self._first_ms
