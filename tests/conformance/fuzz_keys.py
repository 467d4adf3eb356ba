"""The alphabets of the fuzz: few hot keys, so that requests meet.

What it is: the keys and prefixes that a sequence asks for. What it is not: the choice among them.

Words: *hot* keys are asked for all the time; a *crowd* is what a long scan needs, and is filled by
large transactions.

Invariant: without a crowd there are at most SORTED_ROWS_MAX keys; with one, nothing is sorted by
anything but the key: beyond it Go's sort leaves equal rows in no order worth copying.

Worked example: of SPREAD, /s/b and /s/b0 lie in the gaps before and behind the tablet /s/b/.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

SORTED_ROWS_MAX: Final = 12  # Go's sort is a stable insertion sort up to here


@dataclass(frozen=True)
class KeySet:
    """Hot keys, prefixes worth asking for, and a crowd of keys behind them, mostly none."""

    hot: tuple[bytes, ...]
    prefixes: tuple[bytes, ...]
    crowd: tuple[bytes, ...] = field(default=(), repr=False)


# The borders of the tablets of runner.SPREAD_PREFIXES: inside, between and exactly on them.
SPREAD: Final = KeySet(
    (b"/s/b/x", b"/s/a/x", b"/s/a/y", b"/s/b", b"/s/b/", b"/s/b0", b"/s/c/x", b"/s/z/zz",
     b"\x00", b"\xff\xff", b"k", b"/s/b/x\x00"),
    (b"/s/", b"/s/a/", b"/s/b/", b"/s/b"),
)  # fmt: skip
NARROW: Final = KeySet(
    tuple(b"/n/1/" + end for end in (b"a", b"a\x00", b"aa", b"b", b"c", b"d", b"d/", b"d/e", b"z")),
    (b"/n/", b"/n/1/", b"/n/1/a", b"/n/1/d"),
)
CROWDED: Final = KeySet(
    (b"/s/a/x", b"/s/b/x", b"/s/b/y", b"/s/b/000", b"/n/0", b"/s/z/z"),
    (b"/s/", b"/s/a/", b"/s/b/", b"/s/b/0", b"/n/"),
    tuple(b"/s/%c/%03d" % (letter, number) for letter in b"abb" for number in range(110)),
)
STRANGE: Final = KeySet(
    (b"a", b"a\x00", b"a\x00\x00", b"a\x00\xff", b"a\xff", b"\x00", b"\x00\x00", b"\x00\xff",
     b"\xff", b"\xff\x00", b"\xff\xff", b"a" * 130),
    (b"a", b"a\x00", b"\xff", b"\x00", b"\x00\x00"),
)  # fmt: skip
KEY_SETS: Final = (SPREAD, NARROW, CROWDED, STRANGE, SPREAD)

assert all(len(keys.hot) <= SORTED_ROWS_MAX for keys in KEY_SETS)
