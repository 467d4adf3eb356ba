"""Which owners a request needs: a span and a sample become calls.

What it is: routing as pure functions of the map. What it is not: sending.

Invariants:
- inv17: the parts of a plan are disjoint, in key order, and together are the span;
- each part names every tablet that meets it, with the watermark the sample demands.

Worked example: over tablets [.., m) of shard-0 and [m, ..) of shard-1, the span [a, z) is two
parts, [a, m) and [m, z); with one shard for both it is one part with two needs.

Tested in tests/unit/router/test_plan.py.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Final, NamedTuple

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


class Read(NamedTuple):
    """A whole read: its parts and what is to be read of them."""

    parts: Sequence[ReadPart]
    op: RangeOp
    revision: Revision
    map_version: int


def read_parts(
    tablets: TabletMap, span: KeyRange, last: Mapping[TabletId, Revision]
) -> list[ReadPart]:
    """The span cut at the borders between owners. A tablet that `last` lacks needs nothing."""
    parts: list[ReadPart] = []
    for tablet in tablets.tablets_of(span):
        piece = span.intersect(tablet.span)
        assert piece is not None, "tablets_of answers tablets that meet the span"
        needs = ((tablet.id, last[tablet.id]),) if tablet.id in last else ()
        if parts and parts[-1].shard == tablet.shard:
            before = parts[-1]
            joined = KeyRange(before.span.start, piece.end)
            parts[-1] = ReadPart(tablet.shard, joined, before.needs + needs)
        else:
            parts.append(ReadPart(tablet.shard, piece, needs))
    assert parts[0].span.start == span.start
    assert parts[-1].span.end == span.end
    return parts


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
