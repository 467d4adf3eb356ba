"""Time and chance as arguments: the real ones, and what anything else must offer.

What it is: two Protocols and their real implementations. What it is not: a scheduler. A role gets
its clock by constructor, so that a seed replays a day.

Tested in tests/unit/base/test_seams.py.
"""

from __future__ import annotations

import secrets
import time
from typing import Protocol


class Clock(Protocol):
    """A clock that never goes back and counts time asleep."""

    def now_ms(self) -> int:
        """Milliseconds since some fixed moment."""


class Random(Protocol):
    """Chance, where uniqueness is wanted."""

    def lease_id(self) -> int:
        """A positive int64 that is unlikely to have been handed out before."""


class SystemClock:
    """CLOCK_BOOTTIME where there is one: a suspended machine's leases go on ageing."""

    def __init__(self) -> None:
        self._id = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)

    def now_ms(self) -> int:
        return time.clock_gettime_ns(self._id) // 1_000_000


class SystemRandom:
    """The operating system's randomness."""

    def lease_id(self) -> int:
        return secrets.randbits(63) | 1
