"""Stored keys: their order is the order of the user keys, and nothing is lost in them."""

from __future__ import annotations

import struct

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from kubebraid.base.keyspace import KeyRange, single
from kubebraid.base.record import Row
from kubebraid.shard import keycodec

# Bytes at which an escape can go wrong, beside any others.
EDGES = st.lists(st.sampled_from(b"\x00\x01\x02a\xfe\xff"), max_size=6).map(bytes)
KEYS = st.one_of(EDGES, st.binary(max_size=12))
REVISIONS = st.one_of(st.integers(0, 5), st.integers(0, (1 << 63) - 1))
IDS = st.one_of(st.integers(0, 5), st.integers(0, (1 << 32) - 1))
LEASES = st.one_of(st.integers(1, 5), st.integers(1, (1 << 63) - 1))


def test_stored_form_of_a_version() -> None:
    """The worked example of the module."""
    expected = b"ha\x00\x01" + ((1 << 64) - 1 - 5).to_bytes(8, "big") + bytes(4)
    assert keycodec.history(b"a", 5) == expected


@given(KEYS, REVISIONS)
def test_history_key_is_read_back(key: bytes, revision: int) -> None:
    assert keycodec.split_history(keycodec.history(key, revision)) == (key, revision)


@given(KEYS, KEYS, REVISIONS, REVISIONS)
@example(b"a", b"a\x00", 0, 0)
@example(b"a\x00", b"a\x00\x00", 9, 1)
@example(b"a\x00", b"a\x01", 1, 9)
@example(b"", b"\x00", 5, 5)
def test_history_sorts_by_key_and_then_newest_first(
    left: bytes, right: bytes, newer: int, older: int
) -> None:
    stored = keycodec.history(left, newer) < keycodec.history(right, older)
    assert stored == ((left, -newer) < (right, -older))


@given(KEYS, KEYS)
def test_newest_sorts_by_key(left: bytes, right: bytes) -> None:
    assert (keycodec.newest(left) < keycodec.newest(right)) == (left < right)


@given(KEYS, KEYS, st.one_of(st.none(), KEYS), REVISIONS)
def test_bounds_hold_exactly_the_rows_of_the_span(
    key: bytes, start: bytes, end: bytes | None, revision: int
) -> None:
    span = KeyRange(start, end)
    for low, high, stored in (
        (*keycodec.newest_bounds(span), keycodec.newest(key)),
        (*keycodec.history_bounds(span), keycodec.history(key, revision)),
    ):
        assert (low <= stored < high) == span.contains(key)


@given(KEYS, KEYS, REVISIONS)
def test_bounds_of_one_key_hold_no_other(key: bytes, other: bytes, revision: int) -> None:
    low, high = keycodec.history_bounds(single(key))
    assert (low <= keycodec.history(other, revision) < high) == (key == other)
    begins = keycodec.history(other, revision).startswith(keycodec.history_prefix(key))
    assert begins == (key == other)


@given(IDS, IDS, REVISIONS, REVISIONS)
def test_log_sorts_by_tablet_and_revision(left: int, right: int, earlier: int, later: int) -> None:
    stored = keycodec.log(left, earlier) < keycodec.log(right, later)
    assert stored == ((left, earlier) < (right, later))
    assert keycodec.log_revision(keycodec.log(left, earlier)) == earlier


@given(LEASES, KEYS, LEASES)
def test_attachment_lies_in_its_leases_bounds_alone(lease: int, key: bytes, other: int) -> None:
    stored = keycodec.attachment(lease, key)
    low, high = keycodec.attachment_bounds(other)
    assert (low <= stored < high) == (lease == other)
    assert keycodec.attached_key(stored) == key


@given(LEASES)
def test_lease_row_is_read_back_and_lies_among_the_leases(lease: int) -> None:
    stored = keycodec.lease(lease)
    assert keycodec.lease_id(stored) == lease
    assert keycodec.LEASES[0] <= stored < keycodec.LEASES[1]


@given(KEYS, REVISIONS, IDS, LEASES)
def test_no_row_lies_in_the_range_of_another_kind(
    key: bytes, revision: int, tablet: int, lease: int
) -> None:
    everything = KeyRange(b"", None)
    kinds = {
        "n": (keycodec.newest(key), keycodec.newest_bounds(everything)),
        "h": (keycodec.history(key, revision), keycodec.history_bounds(everything)),
        "l": (keycodec.log(tablet, revision), (b"l", b"m")),
        "f": (keycodec.fence(tablet), (b"f", b"g")),
        "k": (keycodec.attachment(lease, key), (b"k", b"l")),
        "e": (keycodec.lease(lease), keycodec.LEASES),
        "m": (keycodec.cell("coordinator"), (b"m", b"n")),
        "r": (keycodec.ROWS_ID, (b"r", b"s")),
    }
    for name, (stored, _) in kinds.items():
        inside = [other for other, (_, (low, high)) in kinds.items() if low <= stored < high]
        assert inside == [name]


@given(
    REVISIONS,
    REVISIONS,
    REVISIONS,
    st.integers(0, (1 << 63) - 1),
    st.binary(min_size=1, max_size=20),
)
def test_row_is_read_back(mod: int, create: int, version: int, lease: int, raw: bytes) -> None:
    """The bytes are never empty: a KeyValue names its key."""
    row = Row(mod, create, version, lease, raw)
    packed = keycodec.pack_row(row)
    assert keycodec.unpack_row(packed) == row
    assert keycodec.unpack_superseded(packed) == (row, 0)
    assert keycodec.row_revision(packed) == mod
    assert packed == struct.pack(">QQQq", mod, create, version, lease) + raw, "as it always was"


@given(
    REVISIONS,
    st.integers(1, 1 << 40),
    REVISIONS,
    st.integers(-(1 << 63), (1 << 63) - 1),
    st.binary(min_size=1, max_size=20),
)
def test_row_that_was_ended_is_read_back_as_superseded_alone(
    mod: int, lived: int, version: int, lease: int, raw: bytes
) -> None:
    row = Row(mod, mod, version, lease, raw)
    packed = keycodec.pack_row(row, mod + lived)
    assert keycodec.unpack_superseded(packed) == (row, mod + lived)
    assert keycodec.row_revision(packed) == mod
    with pytest.raises(AssertionError, match="superseded"):
        keycodec.unpack_row(packed)


@pytest.mark.parametrize("ended", [1, 6, 7])
def test_row_is_not_ended_before_it_was_written(ended: int) -> None:
    with pytest.raises(AssertionError, match="tombstone"):
        keycodec.pack_row(Row(7, 7, 1, 0, b"raw"), ended)


def changes() -> st.SearchStrategy[keycodec.LogChange]:
    no, yes = st.just(False), st.just(True)
    puts = st.builds(keycodec.LogChange, KEYS, no, IDS, REVISIONS, no)
    deletions = st.builds(keycodec.LogChange, KEYS, yes, IDS, REVISIONS, no)
    ends = st.builds(keycodec.LogChange, KEYS, yes, IDS, REVISIONS.filter(bool), yes)
    return st.one_of(puts, deletions, ends)


@given(st.lists(changes(), min_size=1, max_size=8))
def test_changes_are_read_back_in_their_order(changes: list[keycodec.LogChange]) -> None:
    assert keycodec.unpack_changes(keycodec.pack_changes(changes)) == changes


@pytest.mark.parametrize(("deleted", "before"), [(False, 3), (True, 0)])
def test_only_a_deletion_ends_what_stood_before_it(deleted: bool, before: int) -> None:
    with pytest.raises(AssertionError, match="ends what stood before"):
        keycodec.pack_change(b"a", deleted, 0, before, True)


def test_log_row_from_before_means_what_it_meant() -> None:
    """Its deletions have tombstones."""
    raw = struct.pack(">BIQI", 1, 4, 7, 1) + b"a" + struct.pack(">BIQI", 0, 5, 0, 1) + b"b"
    expected = [(b"a", True, 4, 7, False), (b"b", False, 5, 0, False)]
    assert [tuple(change) for change in keycodec.unpack_changes(raw)] == expected


def test_log_row_without_changes_is_a_bug() -> None:
    with pytest.raises(AssertionError):
        keycodec.pack_changes([])


def test_log_row_that_is_cut_short_is_noticed() -> None:
    raw = keycodec.pack_changes([keycodec.LogChange(b"key", False, 0, 7)])
    with pytest.raises(AssertionError, match="ends with its last key"):
        keycodec.unpack_changes(raw[:-1])


def test_key_that_is_no_history_is_a_bug() -> None:
    for stored in (keycodec.newest(b"a"), b"hbroken-without-an-end"):
        with pytest.raises(AssertionError):
            keycodec.split_history(stored)
