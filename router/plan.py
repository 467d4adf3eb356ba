"""Which owners a request needs: a span and a sample become calls.

What it is: routing as pure functions of the map. What it is not: sending.

Words: a *segment* is a piece of the span and who can hold keys of it: one owner's part, or a part
of each owner among whose tablets the keys are hashed.

Invariants:
- inv17: segments are disjoint, in key order, and together are the span; the parts of a segment have
  its span; each key's owner has a part in the key's segment;
- each part names every tablet of its owner that can hold keys of it, with the watermark the sample
  demands.

Worked example: over tablets [.., m) of shard-0 and [m, ..) of shard-1, the span [a, z) is two
segments of one part, [a, m) and [m, z); with one shard for both it is one part with two needs; with
[m, ..) in two buckets, of shard-0 and shard-1, the second segment has two parts, to be merged.

Tested in tests/unit/router/test_plan.py.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Final, NamedTuple, TypeAlias

from kubebraid.base.keyspace import KeyRange, single
from kubebraid.base.ops import DeleteOp, Op, PutOp, RangeOp, TxnOp
from kubebraid.base.revision import Revision, TabletId
from kubebraid.base.tabletmap import TabletMap

TARGETS_MAX: Final = 4_096  # tablets whose targets are kept


class ReadPart(NamedTuple):
    """What one owner reads. needs: closed[t] >= n for each."""

    shard: str
    span: KeyRange
    needs: tuple[tuple[TabletId, Revision], ...]


Segment: TypeAlias = tuple[ReadPart, ...]
"""The parts of one span, each of another shard."""


class Read(NamedTuple):
    """A whole read: its segments and what is to be read of them."""

    segments: Sequence[Segment]
    op: RangeOp
    revision: Revision
    map_version: int


def read_parts(
    tablets: TabletMap, span: KeyRange, last: Mapping[TabletId, Revision]
) -> list[Segment]:
    """The span cut where its owners change. A tablet that `last` lacks needs nothing."""
    starts: list[bytes] = []
    held: list[dict[str, list[TabletId]]] = []  # the tablets of each owner, a segment each
    for group in tablets.ranges_of(span):
        if not held or held[-1].keys() != {tablet.shard for tablet in group}:
            starts.append(max(span.start, group[0].span.start))
            held.append({})
        for tablet in group:
            held[-1].setdefault(tablet.shard, []).append(tablet.id)
    ends = [*starts[1:], span.end]
    assert starts[0] == span.start, "the first range that meets a span holds its first key"
    return [
        tuple(
            ReadPart(shard, KeyRange(start, end), tuple((t, last[t]) for t in ids if t in last))
            for shard, ids in owners.items()
        )
        for start, end, owners in zip(starts, ends, held, strict=True)
    ]


class WriteTarget(NamedTuple):
    """The tablets that a write may touch, and the shards that own them."""

    tablets: tuple[TabletId, ...]
    shards: frozenset[str]


def write_target(tablets: TabletMap, op: PutOp | DeleteOp | TxnOp) -> WriteTarget:
    """Everything a write can read or change decides who evaluates it."""
    if isinstance(op, TxnOp) and op.key is not None:
        return put_target(tablets, op.key)
    spans: set[KeyRange] = set()
    _gather(op, spans)
    if len(spans) == 1:
        (span,) = spans
        if span.is_single():
            return put_target(tablets, span.start)
    found = {tablet.id: tablet.shard for span in spans for tablet in tablets.tablets_of(span)}
    return WriteTarget(tuple(sorted(found)), frozenset(found.values()))


def put_target(tablets: TabletMap, key: bytes) -> WriteTarget:
    """The common case: one key."""
    tablet = tablets.tablet_of(key)
    return _one(tablet.id, tablet.shard)


@lru_cache(maxsize=TARGETS_MAX)
def _one(tablet: TabletId, shard: str) -> WriteTarget:
    return WriteTarget((tablet,), frozenset((shard,)))


def _gather(op: Op, spans: set[KeyRange]) -> None:
    """Add what an operation reads or changes."""
    if isinstance(op, PutOp):
        spans.add(single(op.key))
    elif isinstance(op, TxnOp):
        for compare in op.compares:
            if compare.span is not None:
                spans.add(compare.span)
        for branch in (op.success, op.failure):
            for inner in branch:
                _gather(inner, spans)
    elif op.span is not None:
        spans.add(op.span)
