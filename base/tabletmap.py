"""The tablet map: which tablet owns a key, and which shard owns the tablet.

What it is: an immutable value with a version; a change makes a new map. What it is not: the
process by which it changes (coordinator), nor where a shard listens.

Words: a *tablet* is one key range, the unit of ownership, fencing and log; its *owner epoch*
(oepoch) grows each time another process takes it; *layout* is the list of prefixes that a new
store is cut into.

Invariants (checked when a map is made; invariant 17: each key has exactly one owner):
- tablets are sorted by start, cover every key, and do not overlap;
- ids and names are unique; oepochs are positive.

The border rule: a prefix `/registry/pods/` makes a tablet that starts at `/registry/pods`, without
the slash, because kube-apiserver reads exactly that key as its barrier and the pods' owner must
answer. What lies between two prefixes belongs to *default* tablets, one for each gap, because a
tablet is one range.

Worked example: `layout([b"/registry/pods/"])` is default-0 [b"", b"/registry/pods"), pods
[b"/registry/pods", b"/registry/pods0"), default-1 [b"/registry/pods0", None).

Tested in tests/unit/base/test_tabletmap.py, tests/property/test_tabletmap.py.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from itertools import chain, count, pairwise

from .keyspace import EVERYTHING, KeyRange, prefix_end
from .revision import Epoch, TabletId


@dataclass(frozen=True, slots=True)
class Tablet:
    """One range with its owner. `name` is for people, `id` for everything else."""

    id: TabletId
    name: str
    span: KeyRange
    shard: str
    oepoch: Epoch


@dataclass(frozen=True, slots=True)
class TabletMap:
    """All tablets, sorted by start. `version` grows with every change."""

    version: int
    tablets: tuple[Tablet, ...]
    _starts: tuple[bytes, ...] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        assert self.version >= 1, self.version
        check_cover(self.tablets)
        object.__setattr__(self, "_starts", tuple(t.span.start for t in self.tablets))

    def tablet_of(self, key: bytes) -> Tablet:
        """The one tablet that owns `key`."""
        return self.tablets[bisect_right(self._starts, key) - 1]

    def tablets_of(self, span: KeyRange) -> tuple[Tablet, ...]:
        """The tablets that meet `span`, in key order; at least one."""
        first = bisect_right(self._starts, span.start) - 1
        end = first + 1
        while end < len(self.tablets) and (span.end is None or self._starts[end] < span.end):
            end += 1
        return self.tablets[first:end]

    def by_id(self) -> dict[TabletId, Tablet]:
        return {tablet.id: tablet for tablet in self.tablets}


def check_cover(tablets: Sequence[Tablet]) -> None:
    """Every key has exactly one owner; raises AssertionError with the place if not."""
    assert tablets, "a map without tablets owns no key"
    assert tablets[0].span.start == EVERYTHING.start, "the keyspace begins at the empty key"
    for left, right in pairwise(tablets):
        assert left.span.end == right.span.start, f"gap or overlap: {left} {right}"
    assert tablets[-1].span.end is None, "the keyspace has no last key"
    assert len({t.id for t in tablets}) == len(tablets), "tablet ids are unique"
    assert len({t.name for t in tablets}) == len(tablets), "tablet names are unique"
    assert all(t.oepoch >= 1 for t in tablets), "an owner epoch is positive"


def prefix_span(prefix: bytes) -> KeyRange:
    """The range of a resource prefix, by the border rule."""
    assert prefix.rstrip(b"/"), "a prefix names something"
    return KeyRange(prefix.rstrip(b"/"), prefix_end(prefix.rstrip(b"/") + b"/"))


def layout(prefixes: Sequence[bytes], shard: str = "shard-0") -> TabletMap:
    """The first map of a store: one tablet a prefix, nested prefixes cut out, gaps default.

    Raises ValueError, with a sentence for the operator, if a prefix stands twice.
    """
    spans = sorted({p: prefix_span(p) for p in prefixes}.items(), key=lambda item: item[1])
    if len({span for _, span in spans}) != len(prefixes):
        raise ValueError("the same prefix is listed twice; name each one once")
    borders = {b""} | {span.start for _, span in spans}
    borders |= {span.end for _, span in spans if span.end is not None}
    starts: list[bytes] = sorted(borders)
    ends: list[bytes | None] = [*starts[1:], None]
    owners = [_innermost(spans, start) for start in starts]
    names = _names(owners)
    tablets = [
        Tablet(number, name, KeyRange(start, end), shard, 1)
        for number, (start, end, name) in enumerate(zip(starts, ends, names, strict=True), start=1)
    ]
    return TabletMap(1, tuple(tablets))


def _names(owners: Sequence[bytes | None]) -> list[str]:
    """A name for each range: its prefix, or default; numbered where that is taken or several."""
    taken: set[str] = set()
    names: list[str] = []
    for owner in owners:
        base = "default" if owner is None else _name(owner)
        first = () if owner is None else (base,)
        numbered = (f"{base}-{number}" for number in count(len(first)))
        name = next(name for name in chain(first, numbered) if name not in taken)
        taken.add(name)
        names.append(name)
    return names


def _innermost(spans: Sequence[tuple[bytes, KeyRange]], key: bytes) -> bytes | None:
    """The longest prefix whose range holds `key`: the most specific rule wins."""
    holding = [prefix for prefix, span in spans if span.contains(key)]
    return max(holding, key=len, default=None)


def _name(prefix: bytes) -> str:
    parts = [part for part in prefix.decode("utf-8", "backslashreplace").split("/") if part]
    return "-".join(parts[1:] if len(parts) > 1 and parts[0] == "registry" else parts)


def with_new_epochs(old: TabletMap) -> TabletMap:
    """A process start: every tablet is taken anew, so no other incarnation can write it."""
    tablets = tuple(replace(tablet, oepoch=tablet.oepoch + 1) for tablet in old.tablets)
    return TabletMap(old.version + 1, tablets)
