"""Chance as links need it: nonces that nobody guesses, and delays out of step.

What it is: a seam, so that a seed replays a day. What it is not: key material; that comes from the
cluster secret.

Tested in tests/unit/proto/links/test_chance.py.
"""

from __future__ import annotations

import secrets
from typing import Final, Protocol

from .handshake import NONCE_BYTES

FRACTION_BITS: Final = 53  # what a float holds exactly


class Chance(Protocol):
    """What may be drawn."""

    def nonce(self) -> bytes:
        """32 bytes, never the same twice."""

    def fraction(self) -> float:
        """A number in [0, 1)."""


class SystemChance:
    """The operating system's randomness."""

    def nonce(self) -> bytes:
        return secrets.token_bytes(NONCE_BYTES)

    def fraction(self) -> float:
        return secrets.randbits(FRACTION_BITS) / (1 << FRACTION_BITS)
