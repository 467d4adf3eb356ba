"""Chance as an argument: election timeouts and numbers that must not repeat.

What it is: a Protocol and the operating system's answer to it. What it is not: a source of keys.

Tested in tests/unit/coordinator/raft/test_core.py.
"""

from __future__ import annotations

import secrets
from random import SystemRandom
from typing import Protocol


class Chance(Protocol):
    """What Raft leaves to chance."""

    def fraction(self) -> float:
        """At least 0, below 1."""

    def token(self) -> int:
        """64 bits that nobody drew before."""


class SystemChance:
    """The operating system's randomness."""

    def __init__(self) -> None:
        self._random = SystemRandom()

    def fraction(self) -> float:
        return self._random.uniform(0.0, 1.0) % 1.0

    def token(self) -> int:
        return secrets.randbits(64)
