"""The tablet map: which tablet owns a key, and which shard owns the tablet.

What it is: an immutable value with a version; a change makes a new map. What it is not: the
process by which it changes (coordinator), nor where a shard listens.

Words: a *tablet* is one key range, or one hash bucket of one: the unit of ownership, fencing and
log; its *owner epoch* (oepoch) grows each time another process takes it; it *begins* behind the
last revision of the epoch before; *layout* is the list of prefixes that a new store is cut into.

Invariants (checked when a map is made; invariant 17: each key has exactly one owner):
- tablets are sorted by start and bucket, cover every key, and do not overlap; a range has all of
  its buckets, a power of two of them;
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
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import chain, count, groupby, pairwise

from .keyspace import EVERYTHING, KeyRange, prefix_end
from .placement import BUCKETS, BUCKETS_MAX, bucket_of, place_evenly
from .revision import Epoch, Revision, TabletId


@dataclass(frozen=True, slots=True)
class Tablet:
    """One range, or a bucket of one, with its owner. `name` is for people, `id` for all else.

    `begin`: everything of the tablet up to it belongs to earlier owner epochs."""

    id: TabletId
    name: str
    span: KeyRange
    shard: str
    oepoch: Epoch
    bucket: int = 0
    buckets: int = 1
    begin: Revision = 0

    @property
    def place(self) -> tuple[bytes, int]:
        """Where it stands in a map."""
        return self.span.start, self.bucket


@dataclass(frozen=True, slots=True)
class TabletMap:
    """All tablets, sorted by start and bucket. `version` grows with every change."""

    version: int
    tablets: tuple[Tablet, ...]
    _starts: tuple[bytes, ...] = field(init=False, repr=False, compare=False)
    _ranges: tuple[tuple[Tablet, ...], ...] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        assert self.version >= 1, self.version
        check_cover(self.tablets)
        ranges = tuple(tuple(group) for _, group in groupby(self.tablets, key=_start))
        object.__setattr__(self, "_ranges", ranges)
        object.__setattr__(self, "_starts", tuple(group[0].span.start for group in ranges))

    def tablet_of(self, key: bytes) -> Tablet:
        """The one tablet that owns `key`."""
        group = self._ranges[bisect_right(self._starts, key) - 1]
        return group[0] if len(group) == 1 else group[bucket_of(key, len(group))]

    def ranges_of(self, span: KeyRange) -> tuple[tuple[Tablet, ...], ...]:
        """The ranges that meet `span`, in key order, each as the tablets that can hold keys of
        `span`: its buckets, or the one bucket where the span is one key."""
        if span.is_single():
            return ((self.tablet_of(span.start),),)
        first = bisect_right(self._starts, span.start) - 1
        end = first + 1
        while end < len(self._ranges) and (span.end is None or self._starts[end] < span.end):
            end += 1
        return self._ranges[first:end]

    def tablets_of(self, span: KeyRange) -> tuple[Tablet, ...]:
        """The tablets that can hold keys of `span`, in the map's order; at least one."""
        return tuple(chain.from_iterable(self.ranges_of(span)))

    def by_id(self) -> dict[TabletId, Tablet]:
        return {tablet.id: tablet for tablet in self.tablets}


def _start(tablet: Tablet) -> bytes:
    return tablet.span.start


def check_cover(tablets: Sequence[Tablet]) -> None:
    """Every key has exactly one owner; raises AssertionError with the place if not."""
    assert tablets, "a map without tablets owns no key"
    assert tablets[0].place == (EVERYTHING.start, 0), "the keyspace begins at the empty key"
    for left, right in pairwise(tablets):
        if left.bucket + 1 < left.buckets:
            wanted = replace(left, bucket=left.bucket + 1)
            same = (right.span, right.bucket, right.buckets)
            assert same == (wanted.span, wanted.bucket, wanted.buckets), f"no {wanted}: {right}"
        else:
            assert right.bucket == 0, f"a range begins with its first bucket: {right}"
            assert left.span.end == right.span.start, f"gap or overlap: {left} {right}"
    assert tablets[-1].span.end is None, "the keyspace has no last key"
    assert tablets[-1].bucket + 1 == tablets[-1].buckets, "the last range has all its buckets"
    powers = (t.buckets > 0 and t.buckets & (t.buckets - 1) == 0 for t in tablets)
    assert all(powers), "buckets are a power of two"
    assert len({t.id for t in tablets}) == len(tablets), "tablet ids are unique"
    assert len({t.name for t in tablets}) == len(tablets), "tablet names are unique"
    assert all(t.oepoch >= 1 for t in tablets), "an owner epoch is positive"


def prefix_span(prefix: bytes) -> KeyRange:
    """The range of a resource prefix, by the border rule."""
    assert prefix.rstrip(b"/"), "a prefix names something"
    return KeyRange(prefix.rstrip(b"/"), prefix_end(prefix.rstrip(b"/") + b"/"))


def layout(
    prefixes: Sequence[bytes],
    shards: str | Sequence[str] = "shard-0",
    buckets: Mapping[bytes, int] | None = None,
) -> TabletMap:
    """The first map of a store: one tablet a prefix (or as many as it has `buckets`), nested
    prefixes cut out, gaps default; placed on the shards by rendezvous of their names, the buckets
    of a range evenly.

    Raises ValueError, with a sentence for the operator, if a prefix stands twice or its buckets are
    no power of two up to BUCKETS_MAX.
    """
    buckets = buckets or {}
    among = [shards] if isinstance(shards, str) else shards
    spans = sorted({p: prefix_span(p) for p in prefixes}.items(), key=lambda item: item[1])
    if len({span for _, span in spans}) != len(prefixes):
        raise ValueError("the same prefix is listed twice; name each one once")
    if any(of not in BUCKETS for of in buckets.values()):
        raise ValueError(f"buckets are a power of two, from 1 to {BUCKETS_MAX}")
    assert buckets.keys() <= set(prefixes), "buckets of a prefix that is not in the layout"
    borders = {b""} | {span.start for _, span in spans}
    borders |= {span.end for _, span in spans if span.end is not None}
    starts: list[bytes] = sorted(borders)
    ends: list[bytes | None] = [*starts[1:], None]
    owners = [_innermost(spans, start) for start in starts]
    names = _names([(owner, buckets.get(owner or b"", 1)) for owner in owners])
    tablets: list[Tablet] = []
    for start, end, of_range in zip(starts, ends, names, strict=True):
        span = KeyRange(start, end)
        placed = place_evenly([name.encode() for name in of_range], among)
        for bucket, (name, shard) in enumerate(zip(of_range, placed, strict=True)):
            tablets.append(Tablet(len(tablets) + 1, name, span, shard, 1, bucket, len(of_range)))
    return TabletMap(1, tuple(tablets))


def _names(ranges: Sequence[tuple[bytes | None, int]]) -> list[list[str]]:
    """Names for each range, one a bucket: its prefix, or default; numbered where that is taken."""
    taken: set[str] = set()
    names: list[list[str]] = []
    for owner, buckets in ranges:
        base = "default" if owner is None else prefix_name(owner)
        first = () if owner is None else (base,)
        numbered = (f"{base}-{number}" for number in count(len(first)))
        candidates = (bucket_names(name, buckets) for name in chain(first, numbered))
        found = next(found for found in candidates if taken.isdisjoint(found))
        taken.update(found)
        names.append(found)
    return names


def bucket_names(name: str, buckets: int) -> list[str]:
    """The names of a range's tablets: its own, or one a bucket."""
    return [name] if buckets == 1 else [f"{name}.{bucket}" for bucket in range(buckets)]


def _innermost(spans: Sequence[tuple[bytes, KeyRange]], key: bytes) -> bytes | None:
    """The longest prefix whose range holds `key`: the most specific rule wins."""
    holding = [prefix for prefix, span in spans if span.contains(key)]
    return max(holding, key=len, default=None)


def prefix_name(prefix: bytes) -> str:
    """How a tablet of a prefix is called: `/registry/pods/` is pods."""
    parts = [part for part in prefix.decode("utf-8", "backslashreplace").split("/") if part]
    return "-".join(parts[1:] if len(parts) > 1 and parts[0] == "registry" else parts)


def with_new_epochs(old: TabletMap) -> TabletMap:
    """A process start: every tablet is taken anew, so no other incarnation can write it."""
    tablets = tuple(replace(tablet, oepoch=tablet.oepoch + 1) for tablet in old.tablets)
    return TabletMap(old.version + 1, tablets)
