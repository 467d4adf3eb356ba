"""Which old versions of rows TiKV may forget: the decisions; tikv_keeper.py acts on them.

What it is: ages, the two kinds of rows by which the engines of a TiKV cluster agree, and the next
safe point. What it is not: it asks nobody, and forgets nothing.

Words: of each row TiKV keeps the newest version up to the *safe point*, and all behind it; so a
read is right at the safe point or later, and below it rows may be missing, without an error. A
*round* moves it. A *hold* is a row in TiKV: an engine still reads at this timestamp, as of then. A
timestamp is *fresh* for `trust_s` after it was drawn from PD, or held; nobody reads at one that is
not, and whoever read looks at that behind the answer.

Invariants (tests/property/test_tikv_gc.py):
- no safe point is behind a fresh timestamp;
- safe points never fall.

Why. Let t be fresh at an instant x, drawn or held last at r, so x < r + trust_s; S is the time of
a round whose safe point is behind t. A round gives at most S - age_s.
- t was only drawn (t = r): S > r + age_s, and x < r + trust_s < S: it comes after the read.
- t is held. A first hold counts if it is committed, at c, while t is fresh: c < t + trust_s. The
  rounds of S <= c may not see it, and give less than c - age_s < t. Those of S > c see it, or what
  replaced it later, and pass it only at r + age_s or later: after the read, again.
Between trust_s and age_s lies room for clocks that differ: PD's, when another one leads, and ours.

Worked example: at 12:00:00 a dump begins. At 12:02:00 it is held. A round at 12:13:00 sees a hold
of 12:12:30, and moves the safe point to 12:00:00 instead of 12:03:00.

Tested in tests/unit/shard/test_tikv_gc.py, tests/property/test_tikv_gc.py.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, NamedTuple

from .engine import EngineCorrupt

# The space of a store whose name is empty; no store has such a name.
COMMON: Final = b"kubebraid\0\0"
ROUND: Final = COMMON + b"g"
HOLDS: Final = COMMON + b"h"
HOLDS_END: Final = COMMON + b"i"

_PAIR: Final = struct.Struct(">BQQ")
_FORMAT: Final = 1
_LOGICAL_BITS: Final = 18  # of a timestamp of PD; milliseconds are above


@dataclass(frozen=True, slots=True)
class Ages:
    """In seconds. The same for all engines of a TiKV cluster."""

    interval_s: float = 600  # from round to round
    age_s: float = 600  # what is younger is kept
    trust_s: float = 300  # see *fresh*
    move_s: float = 120  # what is older is drawn or held anew
    tick_s: float = 30  # how often an engine looks

    def __post_init__(self) -> None:
        assert 2 * self.trust_s <= self.age_s, "room for clocks that differ"
        assert self.move_s + 2 * self.tick_s <= self.trust_s, "a failed try is no harm"


class Pair(NamedTuple):
    """What a row holds. The round's: (its own time, the safe point that it asked for). A hold:
    (the time as of which it holds, the timestamp that is held). All are timestamps of PD."""

    time: int
    at: int


class Next(NamedTuple):
    """What a round does."""

    safe_point: int
    passed: list[bytes]
    """Holds that nobody refreshed: to be removed."""


def packed(pair: Pair) -> bytes:
    return _PAIR.pack(_FORMAT, *pair)


def unpacked(stored: bytes) -> Pair:
    """Raises EngineCorrupt; also for what a later version of KubeBraid wrote."""
    if len(stored) != _PAIR.size or stored[0] != _FORMAT:
        raise EngineCorrupt(f"no row of the garbage collection: {stored[:32]!r}")
    _, time, at = _PAIR.unpack(stored)
    return Pair(time, at)


def earlier(timestamp: int, seconds: float) -> int:
    """The timestamp that was drawn so many seconds before; 0 at the earliest."""
    return max(0, timestamp - (int(seconds * 1000) << _LOGICAL_BITS))


def wait_s(now: int, last: Pair | None, ages: Ages) -> float:
    """Until the next round is due; 0: it is."""
    if last is None:
        return 0.0
    since_ms = (now >> _LOGICAL_BITS) - (last.time >> _LOGICAL_BITS)
    return max(0.0, ages.interval_s - since_ms / 1000)


def decided(now: int, last: Pair | None, holds: Mapping[bytes, Pair], ages: Ages) -> Next:
    """The round at `now`, a timestamp that was drawn before the holds (key -> row) were read."""
    border = earlier(now, ages.age_s)
    passed = [key for key, hold in holds.items() if hold.time <= border]
    # Below, not at: whether a store keeps what is there at its safe point itself is not relied on.
    held = [hold.at - 1 for hold in holds.values() if hold.time > border]
    asked = 0 if last is None else last.at
    return Next(max(asked, min([border, *held])), passed)
