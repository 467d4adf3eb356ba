"""Where keys are stored: one space, or two of which each has some kinds of rows."""

from __future__ import annotations

from typing import Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kubebraid.base.keyspace import EVERYTHING
from kubebraid.shard import keycodec
from kubebraid.shard.storage.tikv_gc import HOLDS, HOLDS_END, ROUND
from kubebraid.shard.storage.tikv_space import Part, Prefixes, Shared, shared_space_of, space_of

OWN: Final = b"kubebraid\0\6prod/ar"
PROD: Final = b"kubebraid\0\0s\4prod"
SHARED: Final = Shared(b"prod", keycodec.SHARED_KINDS, keycodec.GUARDED_KINDS)

NAMES: Final = st.binary(min_size=1, max_size=255)
KINDS: Final = st.sets(st.sampled_from([0, 1, 2, 7, 97, 98, 254, 255])).map(bytes)
KEYS: Final = st.lists(st.sampled_from([0, 1, 2, 3, 7, 97, 98, 99, 254, 255]), max_size=3).map(
    bytes
)


def test_kinds_that_are_shared_lie_together_and_the_others_apart() -> None:
    prefixes = Prefixes(b"prod/a", SHARED)
    of_tablets = [
        keycodec.newest(b"x"),
        keycodec.history(b"x", 7),
        keycodec.attachment(5, b"x"),
        keycodec.log(3, 7),
        keycodec.fence(3),
    ]
    for key in of_tablets:
        assert prefixes.stored(key) == PROD + key
        assert Prefixes(b"prod/b", SHARED).stored(key) == PROD + key
    for key in (keycodec.lease(5), keycodec.cell("store"), b"i", b"d", b"", b"\xff"):
        assert prefixes.stored(key) == OWN + key
    guarded = [key for key in of_tablets if prefixes.guarded(prefixes.stored(key))]
    assert guarded == [keycodec.fence(3)]


def test_ranges_that_shards_read_are_one_part() -> None:
    prefixes = Prefixes(b"prod/a", SHARED)
    for start, end in (
        keycodec.newest_bounds(EVERYTHING),
        keycodec.history_bounds(EVERYTHING),
        keycodec.FENCES,
        keycodec.ATTACHMENTS,
        (keycodec.log(1, 0), keycodec.log(2, 0)),
    ):
        assert prefixes.parts(start, end) == [Part(PROD, start, end)]
    for start, end in (keycodec.LEASES, keycodec.CELLS, keycodec.INTENTS, keycodec.DECISIONS):
        assert prefixes.parts(start, end) == [Part(OWN, start, end)]


def test_range_over_several_kinds_has_its_parts_in_order() -> None:
    """The worked example of the module."""
    prefixes = Prefixes(b"prod/a", Shared(b"prod", b"hn", b""))
    assert prefixes.parts(b"g1", b"i") == [Part(OWN, b"g1", b"h"), Part(PROD, b"h", b"i")]
    assert prefixes.parts(b"", b"\xff\xff") == [
        Part(OWN, b"", b"h"),
        Part(PROD, b"h", b"i"),
        Part(OWN, b"i", b"n"),
        Part(PROD, b"n", b"o"),
        Part(OWN, b"o", b"\xff\xff"),
    ]


def test_store_that_shares_nothing_has_one_space_for_all() -> None:
    prefixes = Prefixes(b"prod/a", None)
    assert prefixes.parts(b"", b"\xff") == [Part(OWN, b"", b"\xff")]
    assert prefixes.stored(keycodec.fence(3)) == OWN + keycodec.fence(3)
    assert not prefixes.guarded(OWN + keycodec.fence(3))


def test_guard_of_rows_that_are_not_shared_is_refused() -> None:
    with pytest.raises(AssertionError, match="nobody else"):
        Prefixes(b"a", Shared(b"prod", b"n", b"f"))


@given(KINDS, KEYS, KEYS, st.lists(KEYS))
def test_parts_cover_a_range_in_order_without_an_overlap(
    kinds: bytes, start: bytes, end: bytes, keys: list[bytes]
) -> None:
    """Each key of the range is in one part, that of its kind, as is told key for key."""
    prefixes = Prefixes(b"a", Shared(b"s", kinds, kinds[:1]))
    parts = prefixes.parts(start, end)
    assert [part.low for part in parts[1:]] == [part.high for part in parts[:-1]]
    assert all(part.low < part.high for part in parts)
    if start < end:
        assert (parts[0].low, parts[-1].high) == (start, end)
    for key in (*keys, start):
        prefix = shared_space_of(b"s") if key and key[0] in kinds else space_of(b"a") + b"r"
        assert prefixes.stored(key) == prefix + key
        assert prefixes.guarded(prefix + key) == (bool(key) and key[:1] == kinds[:1])
        inside = [part for part in parts if part.low <= key < part.high]
        assert [part.prefix for part in inside] == ([prefix] if start <= key < end else [])


@given(NAMES, NAMES, KEYS, KEYS)
def test_no_row_lies_in_another_space(one: bytes, other: bytes, key: bytes, more: bytes) -> None:
    """Also if a name is what another space goes on with, or what rows of garbage begin with."""
    rows = {
        space_of(one): space_of(one) + key,
        shared_space_of(one): shared_space_of(one) + key,
        space_of(other): space_of(other) + more,
        shared_space_of(other): shared_space_of(other) + more,
    }
    for space, row in rows.items():
        assert [begin for begin in rows if row.startswith(begin)] == [space]
        assert row != ROUND
        assert not HOLDS <= row < HOLDS_END


@pytest.mark.parametrize("letter", b"ghs")
def test_name_as_long_as_a_letter_of_the_common_rows_says_is_no_other_ones(letter: int) -> None:
    rows = [space_of(bytes(letter)), shared_space_of(bytes(letter)), ROUND, HOLDS]
    for row in rows:
        assert [begin for begin in rows if row.startswith(begin)] == [row]
