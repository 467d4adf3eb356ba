"""The system's chance: sizes and ranges; that it is chance cannot be tested."""

from __future__ import annotations

from kubebraid.proto.links.chance import SystemChance
from kubebraid.proto.links.handshake import NONCE_BYTES


def test_nonces_are_of_their_size_and_differ() -> None:
    drawn = {SystemChance().nonce() for _ in range(100)}
    assert {len(nonce) for nonce in drawn} == {NONCE_BYTES}
    assert len(drawn) == 100


def test_fractions_lie_below_one_and_spread() -> None:
    drawn = [SystemChance().fraction() for _ in range(1_000)]
    assert all(0 <= fraction < 1 for fraction in drawn)
    assert min(drawn) < 0.1
    assert max(drawn) > 0.9
