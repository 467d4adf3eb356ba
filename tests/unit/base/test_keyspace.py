"""Key ranges: etcd's three ways of writing one, and how two of them meet."""

from __future__ import annotations

import pytest

from kubebraid.base.keyspace import EVERYTHING, KeyRange, from_etcd, prefix_end, single


@pytest.mark.parametrize(
    ("key", "range_end", "expected"),
    [
        (b"a", b"", KeyRange(b"a", b"a\x00")),
        (b"a", b"\x00", KeyRange(b"a", None)),
        (b"a", b"c", KeyRange(b"a", b"c")),
        (b"\x00", b"\x00", KeyRange(b"\x00", None)),
        (b"", b"\x00", EVERYTHING),
        (b"a", b"a\x00", single(b"a")),
    ],
)
def test_etcd_range_names_a_half_open_span(
    key: bytes, range_end: bytes, expected: KeyRange
) -> None:
    assert from_etcd(key, range_end) == expected


@pytest.mark.parametrize(("key", "range_end"), [(b"b", b"b"), (b"b", b"a"), (b"a\x00", b"a")])
def test_range_that_ends_before_it_starts_is_no_value(key: bytes, range_end: bytes) -> None:
    """etcd answers such a request with nothing; it must not become a span that holds something."""
    assert from_etcd(key, range_end) is None


@pytest.mark.parametrize(
    ("prefix", "end"),
    [
        (b"/registry/pods/", b"/registry/pods0"),
        (b"a\xff", b"b"),
        (b"a\xff\xff", b"b"),
        (b"a\xfe", b"a\xff"),
        (b"\xff\xff", None),
        (b"", None),
    ],
)
def test_prefix_end_is_the_least_key_above_all_with_the_prefix(
    prefix: bytes, end: bytes | None
) -> None:
    assert prefix_end(prefix) == end
    span = KeyRange(prefix, prefix_end(prefix))
    assert span.contains(prefix + b"\xff" * 5)


def test_span_holds_its_start_and_not_its_end() -> None:
    span = KeyRange(b"b", b"d")
    assert [span.contains(key) for key in (b"a\xff", b"b", b"c\xff", b"d", b"d\x00")] == [
        False,
        True,
        True,
        False,
        False,
    ]


def test_unbounded_span_holds_every_key_from_its_start() -> None:
    assert KeyRange(b"b", None).contains(b"\xff" * 99)
    assert not KeyRange(b"b", None).contains(b"a")


def test_only_the_span_of_one_possible_key_is_single() -> None:
    assert single(b"a").is_single()
    assert single(b"").is_single()
    assert not KeyRange(b"a", b"b").is_single()
    assert not KeyRange(b"a", b"a\x01").is_single()
    assert not EVERYTHING.is_single()


@pytest.mark.parametrize(
    ("left", "right", "common"),
    [
        (KeyRange(b"a", b"c"), KeyRange(b"b", b"d"), KeyRange(b"b", b"c")),
        (KeyRange(b"a", b"b"), KeyRange(b"b", b"c"), None),
        (KeyRange(b"a", None), KeyRange(b"b", b"c"), KeyRange(b"b", b"c")),
        (KeyRange(b"a", None), KeyRange(b"b", None), KeyRange(b"b", None)),
        (EVERYTHING, single(b"x"), single(b"x")),
        (KeyRange(b"x", None), KeyRange(b"a", b"x"), None),
    ],
)
def test_intersection_is_what_both_hold(
    left: KeyRange, right: KeyRange, common: KeyRange | None
) -> None:
    assert left.intersect(right) == right.intersect(left) == common
    assert left.overlaps(right) == right.overlaps(left) == (common is not None)
