"""Splits: by a key, by sampled keys, by hash.

What it is: which tablet is cut, where, and what the parts are called. What it is not: the sampling
(the shards'), or a split that is done (shard/reshard).

Words: a *border* is a key at which a part begins; *buckets* of a range share it by hash of the key.

Invariants: the parts cover what is cut; a tablet of several buckets is not cut by key, for each
bucket has keys of the whole range.

Worked example: `/registry/pods/ns1/` by hash into 4, where pods is one tablet: pods becomes pods-1
below it, pods-ns1.0 to pods-ns1.3, and pods-2 behind it, in one migration.

Tested in tests/unit/router/test_planner.py, tests/property/test_planner.py.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

from kubebraid.base.errors import Code
from kubebraid.base.keyspace import KeyRange
from kubebraid.base.placement import BUCKETS, BUCKETS_MAX, place_evenly
from kubebraid.base.reshard import Kind
from kubebraid.base.tabletmap import Tablet, TabletMap, bucket_names
from kubebraid.proto.adminreshard import PlanRequest, Verb
from kubebraid.proto.adminwire import key_text

from .draft import Draft
from .naming import Named, find, fresh_names, of_one_bucket, only, refuse, whole


def to_sample(request: PlanRequest, tablets: TabletMap) -> Tablet | None:
    """The tablet whose keys a split by parts wants to know. Raises RequestRefused."""
    if request.verb is not Verb.SPLIT or not request.parts:
        return None
    _one_way(request)
    return whole(find(tablets, only(request)))


def _one_way(request: PlanRequest) -> None:
    if (request.at is not None) + bool(request.parts) + bool(request.buckets) != 1:
        raise refuse("a split wants one of --at, --parts and --hash", Code.INVALID_ARGUMENT)


def split(draft: Draft) -> None:
    request = draft.request
    _one_way(request)
    for shard in request.to:
        draft.receiver(shard)
    named = find(draft.scene.tablets, only(request))
    if request.buckets:
        tablet, targets, made = _in_buckets(draft, named)
    else:
        tablet, borders = _borders(draft, named)
        targets = made = _cut(draft, tablet, borders)
    draft.exchange(Kind.SPLIT, (tablet,), targets)
    _spread(draft, made)


def _borders(draft: Draft, named: Named) -> tuple[Tablet, tuple[bytes, ...]]:
    """Which tablet is cut by keys, and where."""
    request = draft.request
    if request.at is not None:
        return _holder(draft, named, request.at), (request.at,)
    tablet = whole(named)
    if request.parts < 2:
        raise refuse("a split makes two parts or more", Code.INVALID_ARGUMENT)
    inside = {key for key in draft.scene.borders if _cuts(tablet, key)}
    borders = tuple(sorted(inside))[: request.parts - 1]
    if not borders:
        raise refuse(f"tablet {tablet.name} has too few keys to be cut into {request.parts} parts")
    if len(borders) + 1 < request.parts:
        draft.notes.append(f"its keys give no more than {len(borders) + 1} parts")
    return tablet, borders


def _holder(draft: Draft, named: Named, key: bytes) -> Tablet:
    """The tablet, among those named, that has room for a border at `key`."""
    if not named.inside.contains(key):
        raise refuse(f"the key {key_text(key)} lies outside of {named.word}")
    tablet = draft.scene.tablets.tablet_of(key)
    if named.exact and tablet not in named.tablets:
        (tablet,) = named.tablets
    of_one_bucket(tablet)
    if not _cuts(tablet, key):
        raise refuse(f"tablet {tablet.name} begins at {key_text(key)} already")
    return tablet


def _cuts(tablet: Tablet, key: bytes) -> bool:
    return tablet.span.contains(key) and key != tablet.span.start


def _cut(draft: Draft, tablet: Tablet, borders: Sequence[bytes]) -> list[Tablet]:
    """The parts of a tablet."""
    starts = [tablet.span.start, *borders]
    ends = [*borders, tablet.span.end]
    names = fresh_names(tablet.name, len(starts), draft.taken)
    return [
        new_tablet(draft, tablet, name, KeyRange(start, end))
        for name, start, end in zip(names, starts, ends, strict=True)
    ]


def new_tablet(
    draft: Draft, of: Tablet, name: str, span: KeyRange, bucket: int = 0, buckets: int = 1
) -> Tablet:
    """A tablet in the place of (a part of) another: it gets its id when the plan is taken."""
    return Tablet(
        draft.placeholder(), name, span, of.shard, of.oepoch + 1, bucket, buckets, of.begin
    )


def _in_buckets(draft: Draft, named: Named) -> tuple[Tablet, list[Tablet], list[Tablet]]:
    """What is cut; all that replaces it; and the buckets among that."""
    buckets = draft.request.buckets
    if buckets not in BUCKETS or buckets == 1:
        raise refuse(f"buckets are a power of two, from 2 to {BUCKETS_MAX}", Code.INVALID_ARGUMENT)
    inside = named.inside
    tablet = whole(named) if named.outside is None else named.outside
    of_one_bucket(tablet)
    taken = draft.taken - {tablet.name}
    names = _bucket_names(named.base, buckets, taken)
    made = [new_tablet(draft, tablet, name, inside, at, buckets) for at, name in enumerate(names)]
    before, behind = KeyRange(tablet.span.start, inside.start), inside.end
    rest = [before] if before.start != inside.start else []
    if behind is not None and behind != tablet.span.end:
        rest.append(KeyRange(behind, tablet.span.end))
    around = fresh_names(tablet.name, len(rest), draft.taken | set(names))
    pieces = [
        new_tablet(draft, tablet, name, span) for name, span in zip(around, rest, strict=True)
    ]
    return tablet, sorted([*made, *pieces], key=lambda t: t.place), made


def _bucket_names(base: str, buckets: int, taken: Collection[str]) -> list[str]:
    """base.0, base.1 ...; or of base-1, where somebody is called so."""
    number = 0
    names = bucket_names(base, buckets)
    while any(name in taken for name in names):
        number += 1
        names = bucket_names(f"{base}-{number}", buckets)
    return names


def _spread(draft: Draft, made: Sequence[Tablet]) -> None:
    """The new tablets go to the shards that were named, behind the split."""
    to = draft.request.to
    if not to:
        return
    split = draft.migrations[-1].id
    placed = place_evenly([tablet.name.encode() for tablet in made], to)
    for tablet, shard in zip(made, placed, strict=True):
        if shard != tablet.shard:
            draft.move(tablet, shard, after=split)
