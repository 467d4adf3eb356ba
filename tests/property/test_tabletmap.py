"""Layouts of random prefixes: every key has one owner, and the most specific prefix is it."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import assume, given
from hypothesis import strategies as st

from kubebraid.base.keyspace import EVERYTHING, KeyRange
from kubebraid.base.placement import bucket_of
from kubebraid.base.tabletmap import TabletMap, layout, prefix_span, with_new_epochs

# Few letters and many bytes around the slash, so that prefixes nest and touch.
SEGMENTS = st.text("ab", min_size=1, max_size=2).map(str.encode)
PREFIXES = st.lists(
    st.lists(SEGMENTS, min_size=1, max_size=3).map(lambda parts: b"/" + b"/".join(parts) + b"/"),
    max_size=6,
    unique=True,
)
NAMES = st.lists(
    st.lists(
        st.sampled_from((b"a", b"a-1", b"a.0", b"a-1.1", b"default", b"default-0")), min_size=1
    ).map(lambda parts: b"/" + b"/".join(parts[:2]) + b"/"),
    max_size=5,
    unique=True,
)
KEYS = st.lists(st.sampled_from(b"/ab0\x00\xff-."), max_size=7).map(bytes)
SPANS = st.builds(KeyRange, KEYS, st.one_of(st.none(), KEYS)).filter(
    lambda span: span.end is None or span.start < span.end
)


@given(PREFIXES, KEYS)
def test_inv17_every_key_has_exactly_one_owner(prefixes: list[bytes], key: bytes) -> None:
    tablets = layout(prefixes)
    holding = [tablet for tablet in tablets.tablets if tablet.span.contains(key)]
    assert holding == [tablets.tablet_of(key)]


@st.composite
def hashed(draw: st.DrawFn) -> TabletMap:
    """Layouts over several shards whose prefixes have buckets."""
    prefixes = draw(PREFIXES)
    shards = draw(st.sampled_from((["s"], ["s", "t"], ["s", "t", "u"])))
    return layout(prefixes, shards, {p: draw(st.sampled_from((1, 2, 8))) for p in prefixes})


@given(hashed(), KEYS)
def test_inv17_every_key_of_a_hashed_layout_has_exactly_one_owner(
    tablets: TabletMap, key: bytes
) -> None:
    holding = [
        tablet
        for tablet in tablets.tablets
        if tablet.span.contains(key) and bucket_of(key, tablet.buckets) == tablet.bucket
    ]
    assert holding == [tablets.tablet_of(key)]


@given(hashed(), SPANS, st.lists(KEYS, max_size=10))
def test_inv17_span_is_answered_by_the_owner_of_every_key_and_nobody_else(
    tablets: TabletMap, span: KeyRange, keys: list[bytes]
) -> None:
    found = tablets.ranges_of(span)
    meeting = [tablet for tablet in tablets.tablets if tablet.span.overlaps(span)]
    if span.is_single():
        assert found == ((tablets.tablet_of(span.start),),)
    else:
        assert [tablet for group in found for tablet in group] == meeting
    for key in (key for key in (*keys, span.start) if span.contains(key)):
        (group,) = (group for group in found if group[0].span.contains(key))
        assert tablets.tablet_of(key) in group
        assert {tablet.span for tablet in group} == {group[0].span}


@given(hashed())
def test_inv17_each_range_has_all_of_its_buckets(tablets: TabletMap) -> None:
    for group in tablets.ranges_of(EVERYTHING):
        assert [tablet.bucket for tablet in group] == list(range(group[0].buckets))
        assert {(tablet.span, tablet.buckets) for tablet in group} == {
            (group[0].span, len(group)),
        }


@given(PREFIXES)
def test_inv17_layout_covers_the_keyspace_without_overlap(prefixes: list[bytes]) -> None:
    spans = [tablet.span for tablet in layout(prefixes).tablets]
    assert spans[0].start == b""
    assert spans[-1].end is None
    for left, right in pairwise(spans):
        assert left.end == right.start
        assert left.start < right.start


@given(PREFIXES, KEYS)
def test_key_belongs_to_the_most_specific_prefix(prefixes: list[bytes], key: bytes) -> None:
    tablets = layout(prefixes)
    holding = [prefix for prefix in prefixes if prefix_span(prefix).contains(key)]
    name = tablets.tablet_of(key).name
    if holding:
        innermost = max(holding, key=len)
        same = tablets.tablet_of(innermost.rstrip(b"/"))
        assert name.startswith(same.name)
    else:
        assert name.startswith("default-")


@given(PREFIXES, SPANS)
def test_span_is_answered_by_exactly_the_tablets_that_meet_it(
    prefixes: list[bytes], span: KeyRange
) -> None:
    tablets = layout(prefixes)
    meeting = tuple(tablet for tablet in tablets.tablets if tablet.span.overlaps(span))
    assert tablets.tablets_of(span) == meeting
    pieces = [tablet.span.intersect(span) for tablet in meeting]
    assert all(piece is not None for piece in pieces)


@given(st.permutations([b"/a/", b"/a/b/", b"/a/b/c/", b"/b/", b"/a-b/"]))
def test_layout_is_the_same_for_every_order_of_its_prefixes(prefixes: list[bytes]) -> None:
    assert layout(prefixes) == layout(sorted(prefixes))


@given(NAMES, st.data())
def test_every_tablet_of_a_layout_has_a_name_of_its_own(
    prefixes: list[bytes], data: st.DataObject
) -> None:
    assume(len({prefix_span(prefix) for prefix in prefixes}) == len(prefixes))
    buckets = {prefix: data.draw(st.sampled_from((1, 2))) for prefix in prefixes}
    names = [tablet.name for tablet in layout(prefixes, buckets=buckets).tablets]
    assert len(set(names)) == len(names)


@given(PREFIXES, st.integers(1, 4))
def test_new_epochs_move_no_border(prefixes: list[bytes], starts: int) -> None:
    first = after = layout(prefixes)
    for _ in range(starts):
        after = with_new_epochs(after)
    assert after.version == first.version + starts
    assert [t.oepoch for t in after.tablets] == [1 + starts] * len(after.tablets)
    assert [(t.id, t.name, t.span) for t in after.tablets] == [
        (t.id, t.name, t.span) for t in first.tablets
    ]
