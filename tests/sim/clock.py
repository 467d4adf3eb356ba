"""A node's clock: true time at the node's own rate, and pauses that begin when it is looked at.

What it is: `base.seams.Clock` over the simulator's time. What it is not: a timer; a node is woken
by the world.

Words: *true time* is the world's, in microseconds; a node's *lag* is how long it has stood still
within the turn that runs: whatever it does afterwards in this turn happens so much later.

Invariants: a clock never goes back; rates differ by less than LEASE_DRIFT_PERCENT; a look that
starts a pause still answers the time before it, as a real one may.

Worked example: rate 1.04, true time 1 s: `now_ms` has gone on by 1,040. A pause of 2 s that begins
at this look makes the node's answers leave at 3 s.

Tested in tests/sim/test_parts.py.
"""

from __future__ import annotations

from collections.abc import Callable

DRIFT_MAX = 0.045  # of one clock: two of them differ by less than LEASE_DRIFT_PERCENT


class SimClock:
    """`true_us`: the world's time; `standing`: asked at each look, how long a pause begins now."""

    def __init__(self, true_us: Callable[[], int], rate: float, offset_ms: int) -> None:
        assert abs(rate - 1.0) <= DRIFT_MAX, rate
        self._true_us = true_us
        self.rate = rate
        self._offset_ms = offset_ms
        self.lag_us = 0
        self.standing: Callable[[], int] | None = None

    def now_ms(self) -> int:
        now = int((self._true_us() + self.lag_us) * self.rate) // 1000 + self._offset_ms
        if self.standing is not None:
            self.lag_us += self.standing()
        return now

    def true_us(self, now_ms: int) -> int:
        """When this clock said so, to a millisecond."""
        return int((now_ms - self._offset_ms) * 1000 / self.rate)

    def in_us(self, ms: int) -> int:
        """How long `ms` of this clock are in true time."""
        return int(ms * 1000 / self.rate) + 1
