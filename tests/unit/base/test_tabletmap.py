"""The tablet map: each key has one owner, and the border rule decides which."""

from __future__ import annotations

from dataclasses import FrozenInstanceError

import pytest

from kubebraid.base.keyspace import EVERYTHING, KeyRange, single
from kubebraid.base.placement import bucket_of, place, place_evenly
from kubebraid.base.tabletmap import Tablet, TabletMap, layout, prefix_span, with_new_epochs


def names(tablets: TabletMap) -> list[tuple[str, bytes, bytes | None]]:
    return [(t.name, t.span.start, t.span.end) for t in tablets.tablets]


def tablet(number: int, start: bytes, end: bytes | None, oepoch: int = 1) -> Tablet:
    return Tablet(number, f"t{number}", KeyRange(start, end), "shard-0", oepoch)


def test_layout_of_one_prefix_has_a_default_tablet_on_either_side() -> None:
    """The worked example of the module."""
    assert names(layout([b"/registry/pods/"])) == [
        ("default-0", b"", b"/registry/pods"),
        ("pods", b"/registry/pods", b"/registry/pods0"),
        ("default-1", b"/registry/pods0", None),
    ]


def test_prefix_without_its_slash_belongs_to_the_prefix() -> None:
    """kube-apiserver reads exactly that key as its barrier, and the pods' owner must answer."""
    tablets = layout([b"/registry/pods/"])
    assert tablets.tablet_of(b"/registry/pods").name == "pods"
    assert tablets.tablet_of(b"/registry/pods/default/x").name == "pods"
    assert tablets.tablet_of(b"/registry/pod").name == "default-0"
    assert tablets.tablet_of(b"/registry/pods0").name == "default-1"


def test_layout_of_nothing_is_one_tablet() -> None:
    assert names(layout([])) == [("default-0", b"", None)]


def test_nested_prefix_is_cut_out_of_the_outer_one() -> None:
    tablets = layout([b"/r/", b"/r/events/"])
    assert tablets.tablet_of(b"/r/a").name == "r"
    assert tablets.tablet_of(b"/r/events/1").name == "r-events"
    assert tablets.tablet_of(b"/r/z").name == "r-1"


def test_adjacent_prefixes_leave_no_default_between_them() -> None:
    assert [name for name, _, _ in names(layout([b"/a/", b"/a0/"]))] == [
        "default-0",
        "a",
        "a0",
        "default-1",
    ]


def test_layout_does_not_depend_on_the_order_of_its_prefixes() -> None:
    prefixes = [b"/a/", b"/a/b/", b"/c/"]
    assert layout(prefixes) == layout(prefixes[::-1])


def test_prefix_that_stands_twice_is_refused_with_a_sentence() -> None:
    with pytest.raises(ValueError, match="listed twice"):
        layout([b"/a/", b"/a/"])


def test_prefix_with_and_without_its_slash_is_the_same_prefix() -> None:
    with pytest.raises(ValueError, match="listed twice"):
        layout([b"/a/", b"/a"])


@pytest.mark.parametrize(
    "prefixes",
    [
        [b"/registry/default-0/"],
        [b"/registry/pods/", b"/pods/", b"/pods-1/"],
        [b"/r/", b"/r/a/", b"/r-1/"],
    ],
)
def test_layout_gives_every_tablet_a_name_of_its_own(prefixes: list[bytes]) -> None:
    """A prefix that is named like a numbered piece is a layout like any other."""
    found = [t.name for t in layout(prefixes).tablets]
    assert len(set(found)) == len(found)


@pytest.mark.parametrize("prefix", [b"", b"/", b"//"])
def test_prefix_that_names_nothing_is_a_bug(prefix: bytes) -> None:
    with pytest.raises(AssertionError, match="names something"):
        prefix_span(prefix)


def test_span_is_answered_by_the_tablets_that_meet_it_in_key_order() -> None:
    tablets = TabletMap(1, (tablet(1, b"", b"b"), tablet(2, b"b", b"d"), tablet(3, b"d", None)))
    spans = {
        EVERYTHING: [1, 2, 3],
        single(b"b"): [2],
        KeyRange(b"a", b"b"): [1],
        KeyRange(b"a", b"b\x00"): [1, 2],
        KeyRange(b"c", None): [2, 3],
        KeyRange(b"\xff", None): [3],
    }
    for span, expected in spans.items():
        assert [t.id for t in tablets.tablets_of(span)] == expected, span


@pytest.mark.parametrize(
    ("tablets", "why"),
    [
        ([], "without tablets"),
        ([tablet(1, b"a", None)], "begins at the empty key"),
        ([tablet(1, b"", b"z")], "no last key"),
        ([tablet(1, b"", b"a"), tablet(2, b"b", None)], "gap or overlap"),
        ([tablet(1, b"", b"c"), tablet(2, b"b", None)], "gap or overlap"),
        ([tablet(1, b"", b"a"), tablet(1, b"a", None)], "ids are unique"),
        ([tablet(1, b"", None, oepoch=0)], "epoch is positive"),
    ],
)
def test_inv17_map_with_no_owner_or_two_for_a_key_is_never_made(
    tablets: list[Tablet], why: str
) -> None:
    with pytest.raises(AssertionError, match=why):
        TabletMap(1, tuple(tablets))


def test_tablet_names_are_unique() -> None:
    twins = (tablet(1, b"", b"a"), Tablet(2, "t1", KeyRange(b"a", None), "shard-0", 1))
    with pytest.raises(AssertionError, match="names are unique"):
        TabletMap(1, twins)


# -- hash buckets ----------------------------------------------------------------------------------


def bucket(number: int, at: int, of: int, end: bytes | None = None) -> Tablet:
    return Tablet(number, f"t{number}", KeyRange(b"", end), "shard-0", 1, at, of)


@pytest.mark.parametrize(
    ("tablets", "why"),
    [
        ([bucket(1, 0, 2)], "all its buckets"),
        ([bucket(1, 1, 2)], "begins at the empty key"),
        ([bucket(1, 0, 2), bucket(2, 0, 2)], "no Tablet"),
        ([bucket(1, 0, 4), bucket(2, 2, 4), bucket(3, 3, 4)], "no Tablet"),
        ([bucket(1, 0, 2), bucket(2, 1, 4)], "no Tablet"),
        ([bucket(1, 0, 2), bucket(2, 1, 2, b"m"), tablet(3, b"m", None)], "no Tablet"),
        ([bucket(1, 0, 2, b"m"), tablet(2, b"m", None)], "no Tablet"),
        ([bucket(1, 0, 1), bucket(2, 0, 1)], "gap or overlap"),
        ([bucket(1, 0, 1, b"m"), Tablet(2, "b", KeyRange(b"m", None), "s", 1, 1, 2)], "its first"),
        ([bucket(n + 1, n, 3) for n in range(3)], "power of two"),
        ([bucket(1, 0, 0, b"m"), tablet(2, b"m", None)], "power of two"),
    ],
)
def test_inv17_map_that_lacks_a_bucket_or_has_two_of_it_is_never_made(
    tablets: list[Tablet], why: str
) -> None:
    with pytest.raises(AssertionError, match=why):
        TabletMap(1, tuple(tablets))


def test_inv17_key_of_a_hashed_range_belongs_to_the_bucket_of_its_hash() -> None:
    tablets = layout([b"/r/"], buckets={b"/r/": 4})
    for key in (b"/r", b"/r/a", b"/r/b", b"/r/c", b"/r/\xff"):
        owner = tablets.tablet_of(key)
        assert (owner.bucket, owner.buckets) == (bucket_of(key, 4), 4)
        assert tablets.tablets_of(single(key)) == (owner,)


def test_layout_with_buckets_names_and_places_each_of_them() -> None:
    shards = ["shard-0", "shard-1", "shard-2"]
    tablets = layout([b"/registry/events/"], shards, {b"/registry/events/": 8})
    assert [t.name for t in tablets.tablets] == [
        "default-0",
        *[f"events.{n}" for n in range(8)],
        "default-1",
    ]
    first, *events_own, last = tablets.tablets
    owners = [t.shard for t in events_own]
    assert owners == place_evenly([t.name.encode() for t in events_own], shards)
    assert sorted(owners.count(shard) for shard in shards) == [2, 3, 3]
    assert (first.shard, last.shard) == (place(b"default-0", shards), place(b"default-1", shards))
    before, events, behind = tablets.ranges_of(EVERYTHING)
    assert [len(before), len(events), len(behind)] == [1, 8, 1]


def test_prefix_within_a_hashed_one_is_cut_out_and_hashed_only_where_asked() -> None:
    tablets = layout([b"/r/", b"/r/events/"], buckets={b"/r/": 2})
    of = [(t.name, t.bucket, t.buckets) for t in tablets.tablets]
    assert of == [
        ("default-0", 0, 1),
        ("r.0", 0, 2),
        ("r.1", 1, 2),
        ("r-events", 0, 1),
        ("r-1.0", 0, 2),
        ("r-1.1", 1, 2),
        ("default-1", 0, 1),
    ]


@pytest.mark.parametrize("taken", [b"/registry/pods.1/", b"/pods.0/", b"/registry/pods-1.0/"])
def test_prefix_that_is_named_like_a_bucket_is_a_layout_like_any_other(taken: bytes) -> None:
    """Such a name may not end the start of a node with an AssertionError."""
    tablets = layout([taken, b"/registry/pods/", b"/pods/"], buckets={b"/registry/pods/": 2})
    names_found = [t.name for t in tablets.tablets]
    assert len(set(names_found)) == len(names_found)
    assert tablets.tablet_of(b"/registry/pods/a").buckets == 2


@pytest.mark.parametrize("buckets", [0, 3, 512, -2])
def test_layout_of_no_power_of_two_is_refused_with_a_sentence(buckets: int) -> None:
    with pytest.raises(ValueError, match="a power of two, from 1 to 256"):
        layout([b"/a/"], buckets={b"/a/": buckets})


# -- a value ---------------------------------------------------------------------------------------


def test_map_is_a_value_that_never_changes() -> None:
    tablets = layout([])
    with pytest.raises(FrozenInstanceError):
        tablets.version = 2  # type: ignore[misc]  # that is the point
    assert tablets == layout([])


def test_process_start_takes_every_tablet_anew() -> None:
    """Rule M6: no other incarnation can write what this one owns."""
    before = layout([b"/a/"])
    after = with_new_epochs(before)
    assert after.version == before.version + 1
    assert [t.oepoch for t in after.tablets] == [2, 2, 2]
    assert [t.span for t in after.tablets] == [t.span for t in before.tablets]
    assert [t.oepoch for t in before.tablets] == [1, 1, 1]


def test_tablets_are_found_by_id() -> None:
    tablets = layout([b"/a/"])
    assert [tablets.by_id()[number].id for number in (1, 2, 3)] == [1, 2, 3]
