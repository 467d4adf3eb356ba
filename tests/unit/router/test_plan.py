"""A span and a map become calls: each key asked of exactly one owner, with the right watermarks."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from kubebraid.base.keyspace import EVERYTHING, KeyRange, single
from kubebraid.base.ops import CompareOp, DeleteOp, PutOp, TxnOp
from kubebraid.base.tabletmap import Tablet, TabletMap
from kubebraid.router.plan import ReadPart, WriteTarget, put_target, read_parts, write_target

from .fakes import MAP, range_op

ONE_SHARD = TabletMap(
    1,
    (
        Tablet(1, "a", KeyRange(b"", b"m"), "left", 1),
        Tablet(2, "b", KeyRange(b"m", None), "left", 1),
    ),
)
LAST = {1: 7, 2: 6}
RIGHT_ALONE = WriteTarget((2,), frozenset({"right"}))


def put(key: bytes) -> PutOp:
    return PutOp(key, b"", 0, False, False, False)


def test_span_over_two_owners_is_cut_at_their_border() -> None:
    assert read_parts(MAP, KeyRange(b"a", b"z"), LAST) == [
        ReadPart("left", KeyRange(b"a", b"m"), ((1, 7),)),
        ReadPart("right", KeyRange(b"m", b"z"), ((2, 6),)),
    ]


def test_span_over_two_tablets_of_one_owner_is_one_part_with_two_needs() -> None:
    assert read_parts(ONE_SHARD, KeyRange(b"a", b"z"), LAST) == [
        ReadPart("left", KeyRange(b"a", b"z"), ((1, 7), (2, 6)))
    ]


def test_span_within_a_tablet_asks_its_owner_alone() -> None:
    """kube-apiserver's barrier, one key, must wait for no other tablet."""
    (part,) = read_parts(MAP, single(b"z"), LAST)
    assert part == ReadPart("right", single(b"z"), ((2, 6),))


def test_span_that_ends_on_a_border_leaves_the_next_owner_alone() -> None:
    assert [p.shard for p in read_parts(MAP, KeyRange(b"a", b"m"), LAST)] == ["left"]


def test_tablet_that_the_sample_lacks_needs_nothing() -> None:
    assert read_parts(MAP, EVERYTHING, {2: 6})[0].needs == ()


BORDERS = st.lists(st.binary(min_size=1, max_size=2), max_size=5, unique=True)


@st.composite
def maps(draw: st.DrawFn) -> TabletMap:
    starts = [b"", *sorted(draw(BORDERS))]
    ends: list[bytes | None] = [*starts[1:], None]
    return TabletMap(
        1,
        tuple(
            Tablet(n, f"t{n}", KeyRange(start, end), draw(st.sampled_from("xyz")), 1)
            for n, (start, end) in enumerate(zip(starts, ends, strict=True), start=1)
        ),
    )


@given(maps(), st.binary(max_size=2), st.none() | st.binary(min_size=1, max_size=3))
def test_parts_are_disjoint_in_key_order_and_together_the_span(
    tablets: TabletMap, start: bytes, end: bytes | None
) -> None:
    """inv17: a key asked twice is listed twice, one not asked is lost from the list."""
    if end is not None and start >= end:
        start, end = end, None
    span = KeyRange(start, end)
    last = {tablet.id: 10 + tablet.id for tablet in tablets.tablets}
    parts = read_parts(tablets, span, last)
    assert [p.span.start for p in parts] == [span.start, *[p.span.end for p in parts[:-1]]]
    assert parts[-1].span.end == span.end
    for part in parts:
        touched = tablets.tablets_of(part.span)
        assert {tablet.shard for tablet in touched} == {part.shard}
        assert part.needs == tuple((t.id, last[t.id]) for t in touched)
    assert all(a.shard != b.shard for a, b in pairwise(parts))


# -- writes ----------------------------------------------------------------------------------------


def test_put_goes_to_the_owner_of_its_key() -> None:
    assert put_target(MAP, b"l") == WriteTarget((1,), frozenset({"left"}))
    assert put_target(MAP, b"m") == RIGHT_ALONE
    assert write_target(MAP, put(b"m")) == RIGHT_ALONE


def test_delete_over_a_border_touches_both_tablets() -> None:
    both = WriteTarget((1, 2), frozenset({"left", "right"}))
    assert write_target(MAP, DeleteOp(KeyRange(b"a", b"z"), False)) == both


def test_delete_of_an_empty_range_touches_nothing() -> None:
    assert write_target(MAP, DeleteOp(None, False)) == ((), frozenset())


def test_everything_a_txn_can_read_or_change_decides_who_evaluates_it() -> None:
    """Compares, both branches and what is nested: the owner must see each of these keys."""
    compare = CompareOp(single(b"a"), 0, 0, 0)
    empty = CompareOp(None, 0, 0, 0)
    inner = TxnOp((), (), (put(b"z"),))
    assert write_target(MAP, TxnOp((compare, empty), (), ())).tablets == (1,)
    assert write_target(MAP, TxnOp((), (range_op(b"b", b""),), (put(b"c"),))).tablets == (1,)
    assert write_target(MAP, TxnOp((compare,), (inner,), ())).shards == {"left", "right"}
    assert write_target(MAP, TxnOp((empty,), (), ())).tablets == ()
