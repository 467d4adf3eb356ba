"""Where a store's rows are in TiKV: in its own space, or in one that several stores share.

What it is: which stored key a key has, and in which runs of stored keys a range of keys lies. What
it is not: it reads nothing, and knows no kind of row: `shard/keycodec.py` says which are shared.

Words: a *space* is what all stored keys of somebody begin with. A row of a *shared kind* (the first
byte of its key) is in the shared space: whichever store asks for the key, it is the same row. A
*part* of a range is a run of it in one space. Of a *guarded* kind see tikv_guards.py.

Invariants:
- the parts of a range cover it, in order, without an overlap; each is in one space;
- a key's stored key lies in the part that has the key, and in no other space;
- no space lies inside another one, and none has a row of tikv_gc.py. Behind `kubebraid`, 0 come: of
  a store the length of its name, which is not 0; of the others a 0 and a letter, `s` for what is
  shared; then the length of the shared name. Lengths come first, so no name continues another one.

Worked example: with the shared kinds `hn` of prod, the range [g1, i) of the store prod/a is [g1, h)
in its own space and [h, i) in prod's.

Tested in tests/unit/shard/test_tikv_space.py.
"""

from __future__ import annotations

from bisect import bisect_right
from typing import Final, NamedTuple

from .tikv_gc import COMMON

NAME_BYTES_MAX: Final = 255
ROWS: Final = b"r"
"""What stands in TiKV between a store's own space and each key of it there."""

_SPACE: Final = b"kubebraid\0"
_SHARED: Final = COMMON + b"s"
_BYTES: Final = 256


def space_of(name: bytes) -> bytes:
    """What every row of the store's own begins with in TiKV."""
    return _SPACE + _named(name)


def shared_space_of(name: bytes) -> bytes:
    """What every row that stores share under this name begins with in TiKV."""
    return _SHARED + _named(name)


def _named(name: bytes) -> bytes:
    assert 0 < len(name) <= NAME_BYTES_MAX, name
    return bytes((len(name),)) + name


class Shared(NamedTuple):
    """What a store shares with all that were given the same name: the rows whose keys begin with
    one of the bytes of `kinds`. `guarded`: those of them that are guarded."""

    name: bytes
    kinds: bytes
    guarded: bytes


class Part(NamedTuple):
    """The rows of keys in [low, high); stored, each has the prefix before it."""

    prefix: bytes
    low: bytes
    high: bytes


class Prefixes:
    """One store's."""

    def __init__(self, name: bytes, shared: Shared | None) -> None:
        self.own: Final = space_of(name)
        self._lows = [b""]  # where a run of keys begins, ascending
        self._prefixes = [self.own + ROWS]  # of that run
        self._guarded: tuple[bytes, ...] = ()
        if shared is not None:
            assert set(shared.guarded) <= set(shared.kinds), "what is nobody else's needs no guard"
            others = shared_space_of(shared.name)
            self._guarded = tuple(others + bytes((kind,)) for kind in shared.guarded)
            for kind in range(_BYTES):
                prefix = others if kind in shared.kinds else self.own + ROWS
                if prefix != self._prefixes[-1]:
                    self._lows.append(bytes((kind,)))
                    self._prefixes.append(prefix)

    def stored(self, key: bytes) -> bytes:
        return self._prefixes[bisect_right(self._lows, key) - 1] + key

    def guarded(self, stored: bytes) -> bool:
        """Of a stored key."""
        return stored.startswith(self._guarded)

    def parts(self, start: bytes, end: bytes) -> list[Part]:
        """Of the range [start, end), which may be empty or inverted: then there are none."""
        found = []
        run = bisect_right(self._lows, start) - 1
        while start < end:
            last = run + 1 == len(self._lows)
            high = end if last else min(end, self._lows[run + 1])
            found.append(Part(self._prefixes[run], start, high))
            start = high
            run += 1
        return found
