"""A span and a map become calls: each key asked of exactly one owner, with the right watermarks."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kubebraid.base.keyspace import EVERYTHING, KeyRange, single
from kubebraid.base.ops import CompareOp, DeleteOp, PutOp, TxnOp
from kubebraid.base.placement import bucket_of
from kubebraid.base.tabletmap import Tablet, TabletMap
from kubebraid.router.plan import (
    ReadPart,
    Segment,
    WriteTarget,
    put_target,
    read_parts,
    write_target,
)

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


def hashed(*shards: str) -> TabletMap:
    """Keys below "m" in a tablet of "left", the others in buckets of these shards."""
    buckets = [
        Tablet(2 + n, f"b.{n}", KeyRange(b"m", None), shard, 1, n, len(shards))
        for n, shard in enumerate(shards)
    ]
    return TabletMap(1, (Tablet(1, "a", KeyRange(b"", b"m"), "left", 1), *buckets))


def put(key: bytes) -> PutOp:
    return PutOp(key, b"", 0, False, False, False)


def owners(segments: Sequence[Segment]) -> list[list[str]]:
    return [[part.shard for part in segment] for segment in segments]


def test_span_over_two_owners_is_cut_at_their_border() -> None:
    assert read_parts(MAP, KeyRange(b"a", b"z"), LAST) == [
        (ReadPart("left", KeyRange(b"a", b"m"), ((1, 7),)),),
        (ReadPart("right", KeyRange(b"m", b"z"), ((2, 6),)),),
    ]


def test_span_over_two_tablets_of_one_owner_is_one_part_with_two_needs() -> None:
    assert read_parts(ONE_SHARD, KeyRange(b"a", b"z"), LAST) == [
        (ReadPart("left", KeyRange(b"a", b"z"), ((1, 7), (2, 6))),)
    ]


def test_span_within_a_tablet_asks_its_owner_alone() -> None:
    """kube-apiserver's barrier, one key, must wait for no other tablet."""
    ((part,),) = read_parts(MAP, single(b"z"), LAST)
    assert part == ReadPart("right", single(b"z"), ((2, 6),))


def test_span_that_ends_on_a_border_leaves_the_next_owner_alone() -> None:
    assert owners(read_parts(MAP, KeyRange(b"a", b"m"), LAST)) == [["left"]]


def test_tablet_that_the_sample_lacks_needs_nothing() -> None:
    assert read_parts(MAP, EVERYTHING, {2: 6})[0][0].needs == ()


# -- hash buckets ----------------------------------------------------------------------------------


def test_span_over_buckets_of_two_owners_is_asked_of_both() -> None:
    """The worked example of the module; a part names all of its owner's buckets."""
    last = {1: 7, 2: 6, 3: 5, 4: 8, 5: 9}
    segments = read_parts(hashed("left", "right", "left", "left"), KeyRange(b"a", b"z"), last)
    assert segments == [
        (ReadPart("left", KeyRange(b"a", b"m"), ((1, 7),)),),
        (
            ReadPart("left", KeyRange(b"m", b"z"), ((2, 6), (4, 8), (5, 9))),
            ReadPart("right", KeyRange(b"m", b"z"), ((3, 5),)),
        ),
    ]


def test_buckets_of_one_owner_are_read_as_any_tablets_of_it() -> None:
    """No merge where one shard has all: the fast path, joined with what lies beside it."""
    ((part,),) = read_parts(hashed("left", "left"), EVERYTHING, {})
    assert part == ReadPart("left", EVERYTHING, ())
    assert owners(read_parts(hashed("right", "right"), EVERYTHING, {})) == [["left"], ["right"]]


def test_adjacent_hashed_ranges_of_the_same_owners_are_one_segment() -> None:
    spans = (KeyRange(b"", b"m"), KeyRange(b"m", None))
    tablets = [
        Tablet(1 + 2 * at + n, f"{at}.{n}", span, shard, 1, n, 2)
        for at, span in enumerate(spans)
        for n, shard in enumerate(("right", "left") if at else ("left", "right"))
    ]
    (segment,) = read_parts(TabletMap(1, tuple(tablets)), EVERYTHING, {1: 1, 2: 2, 3: 3, 4: 4})
    assert segment == (
        ReadPart("left", EVERYTHING, ((1, 1), (4, 4))),
        ReadPart("right", EVERYTHING, ((2, 2), (3, 3))),
    )


@pytest.mark.parametrize("key", [b"m", b"n", b"o", b"p", b"q", b"z" * 9])
def test_one_key_of_a_hashed_range_is_asked_of_its_bucket_alone(key: bytes) -> None:
    """A Get must wait for no other bucket, and a put is no transaction of several shards."""
    tablets = hashed("left", "right", "left", "right")
    owner = tablets.tablet_of(key)
    assert owner.id == 2 + bucket_of(key, 4)
    assert read_parts(tablets, single(key), {owner.id: 6}) == [
        (ReadPart(owner.shard, single(key), ((owner.id, 6),)),)
    ]
    assert put_target(tablets, key) == WriteTarget((owner.id,), frozenset({owner.shard}))
    assert write_target(tablets, DeleteOp(single(key), False)) == put_target(tablets, key)


def test_delete_over_a_hashed_range_touches_all_of_its_buckets() -> None:
    target = write_target(hashed("left", "right"), DeleteOp(KeyRange(b"n", b"o"), False))
    assert target == WriteTarget((2, 3), frozenset({"left", "right"}))


# -- any map ---------------------------------------------------------------------------------------

BORDERS = st.lists(st.binary(min_size=1, max_size=2), max_size=5, unique=True)


@st.composite
def maps(draw: st.DrawFn) -> TabletMap:
    starts = [b"", *sorted(draw(BORDERS))]
    ends: list[bytes | None] = [*starts[1:], None]
    tablets: list[Tablet] = []
    for start, end in zip(starts, ends, strict=True):
        buckets = draw(st.sampled_from((1, 1, 2, 4)))
        for bucket in range(buckets):
            number, shard = len(tablets) + 1, draw(st.sampled_from("xyz"))
            span = KeyRange(start, end)
            tablets.append(Tablet(number, f"t{number}", span, shard, 1, bucket, buckets))
    return TabletMap(1, tuple(tablets))


SPANS = st.builds(KeyRange, st.binary(max_size=2), st.none() | st.binary(min_size=1, max_size=3))


@given(maps(), SPANS.filter(lambda span: span.end is None or span.start < span.end))
def test_inv17_segments_are_disjoint_in_key_order_and_together_the_span(
    tablets: TabletMap, span: KeyRange
) -> None:
    """A key asked twice is listed twice, one not asked is lost from the list."""
    segments = read_parts(tablets, span, {})
    spans = [segment[0].span for segment in segments]
    assert [s.start for s in spans] == [span.start, *[s.end for s in spans[:-1]]]
    assert spans[-1].end == span.end
    for segment in segments:
        assert {part.span for part in segment} == {segment[0].span}
        assert len({part.shard for part in segment}) == len(segment)
    assert all(set(a) != set(b) for a, b in pairwise(owners(segments)))


@given(
    maps(),
    SPANS.filter(lambda span: span.end is None or span.start < span.end),
    st.lists(st.binary(max_size=3), min_size=1, max_size=20),
)
def test_inv17_every_key_of_the_span_is_asked_of_its_owner_with_its_watermark(
    tablets: TabletMap, span: KeyRange, keys: list[bytes]
) -> None:
    """Nobody else has the key, whoever else is asked, for a row belongs to one tablet."""
    last = {tablet.id: 10 + tablet.id for tablet in tablets.tablets}
    segments = read_parts(tablets, span, last)
    for key in (key for key in (*keys, span.start) if span.contains(key)):
        owner = tablets.tablet_of(key)
        (segment,) = (s for s in segments if s[0].span.contains(key))
        (part,) = (p for p in segment if p.shard == owner.shard)
        assert (owner.id, last[owner.id]) in part.needs
    asked = [(part.shard, need) for segment in segments for part in segment for need in part.needs]
    touched = [(t.shard, (t.id, last[t.id])) for t in tablets.tablets_of(span)]
    assert sorted(asked) == sorted(touched)


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
