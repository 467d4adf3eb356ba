"""Key ranges: the spans of user keys that requests name and tablets own.

What it is: half-open byte ranges with etcd's three ways of writing one. What it is not: it knows
no tablets (`tabletmap`) and no stored form of keys (`shard/keycodec`).

Words: a range is [start, end); `end=None` means "to the end of the keyspace".

Invariants:
- start < end, or end is None: an empty range is not a value (`from_etcd` answers None for it);
- `prefix_end(p)` is the least key greater than every key that begins with p, None if there is none.

Worked example: etcd's (key="a", range_end="") is [b"a", b"a\\0"); (key="a", range_end="\\0") is
[b"a", None); `prefix_end(b"/registry/pods/")` is `b"/registry/pods0"`.

Source: etcd RPC doc, RangeRequest.range_end. Tested in tests/unit/base/test_keyspace.py.
"""

from __future__ import annotations

from typing import Final, NamedTuple


class KeyRange(NamedTuple):
    """[start, end) of user keys; `end` None is unbounded."""

    start: bytes
    end: bytes | None

    def contains(self, key: bytes) -> bool:
        return self.start <= key and (self.end is None or key < self.end)

    def is_single(self) -> bool:
        """Whether the range holds exactly one possible key."""
        return self.end == self.start + b"\x00"

    def overlaps(self, other: KeyRange) -> bool:
        return (other.end is None or self.start < other.end) and (
            self.end is None or other.start < self.end
        )

    def intersect(self, other: KeyRange) -> KeyRange | None:
        """The common part, None if there is none."""
        start = max(self.start, other.start)
        end = _min_end(self.end, other.end)
        return None if end is not None and start >= end else KeyRange(start, end)


EVERYTHING: Final = KeyRange(b"", None)


def _min_end(a: bytes | None, b: bytes | None) -> bytes | None:
    if a is None:
        return b
    return a if b is None else min(a, b)


def single(key: bytes) -> KeyRange:
    """The range that holds just `key`."""
    return KeyRange(key, key + b"\x00")


def from_etcd(key: bytes, range_end: bytes) -> KeyRange | None:
    """The range an etcd request names; None when it is empty (key >= range_end)."""
    if not range_end:
        return single(key)
    if range_end == b"\x00":
        return KeyRange(key, None)
    return None if key >= range_end else KeyRange(key, range_end)


def prefix_end(prefix: bytes) -> bytes | None:
    """The exclusive end of all keys that begin with `prefix`."""
    stripped = prefix.rstrip(b"\xff")
    if not stripped:
        return None
    return stripped[:-1] + bytes([stripped[-1] + 1])
