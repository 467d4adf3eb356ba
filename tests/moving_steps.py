"""What a client may do on the two shards of tests/moving.py, as words that a test draws.

What it is: the keys, the words, and what each does. What it is not: when a tablet moves between.

Worked example: `act(pair, ("leased", b"b1"))` grants lease 2 and attaches b1 to it.

Tested by the tests that draw them: tests/property/test_reshard_copy.py, test_reshard_shared.py.
"""

from __future__ import annotations

from typing import Final, TypeAlias

from tests.moving import Moving

KEYS: Final = [b"b%d" % n for n in range(6)]
WORDS: Final = ["put", "put", "delete", "twice", "leased", "revoke", "turn", "other"]
Ops: TypeAlias = list[tuple[str, bytes]]


def act(pair: Moving, *ops: tuple[str, bytes]) -> None:
    """One after the other; "other" writes beside the tablet, "turn" lets time pass."""
    for op, key in ops:
        lease = 1 + KEYS.index(key) % 2
        match op:
            case "put":
                pair.put(key, b"v%d" % pair.clock.ms)
            case "delete":
                pair.delete(key)
            case "twice":
                pair.put_twice(key)
            case "leased":
                pair.grant(lease)  # refused where it is there
                pair.put(key, b"leased", lease)
            case "revoke":
                pair.revoke(lease)
            case "other":
                pair.put(b"c" + key)
                pair.put(b"a" + key)
            case _:
                pair.settle(3)
