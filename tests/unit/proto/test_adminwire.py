"""The operators' view, as bytes and back; ranges as text."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kubebraid.base.keyspace import KeyRange
from kubebraid.base.ports import Alarm
from kubebraid.proto import adminwire as wire
from kubebraid.proto.adminwire import ClusterStatus, Coordinator, Load, Sequencer, Shard, Tablet
from kubebraid.proto.owner_wire import Malformed

NAMES = st.text(max_size=8)
NUMBERS = st.integers(0, (1 << 64) - 1)
SMALL = st.integers(0, (1 << 32) - 1)
FLOATS = st.floats(allow_nan=False)
REVISIONS = st.integers(-(1 << 63), (1 << 63) - 1)
COORDINATORS = st.builds(Coordinator, NAMES, NAMES, NAMES, NAMES, NUMBERS, NUMBERS)
SEQUENCERS = st.builds(Sequencer, NAMES, NUMBERS, st.booleans(), REVISIONS, NUMBERS)
SHARDS = st.builds(Shard, NAMES, NAMES, NAMES, NAMES, NUMBERS, NUMBERS, NUMBERS, NUMBERS, NAMES)
TABLETS = st.builds(
    Tablet,
    *(NUMBERS, NAMES, NAMES, st.none() | NAMES, SMALL, SMALL, NAMES),
    *(NUMBERS, REVISIONS, REVISIONS, st.none() | REVISIONS),
    st.none() | st.builds(Load, NUMBERS, NUMBERS, FLOATS, FLOATS),
)
STATUSES = st.builds(
    ClusterStatus,
    *(NAMES, NAMES, NAMES, st.booleans(), REVISIONS, REVISIONS, NUMBERS),
    st.lists(st.builds(Alarm, NUMBERS, SMALL), max_size=2).map(tuple),
    st.lists(COORDINATORS, max_size=3).map(tuple),
    SEQUENCERS,
    st.lists(SHARDS, max_size=3).map(tuple),
    st.lists(TABLETS, max_size=3).map(tuple),
)


@given(STATUSES)
def test_status_is_decoded_as_it_was_encoded(status: ClusterStatus) -> None:
    assert wire.decode_status(wire.encode_status(status)) == status


@given(st.binary(max_size=60))
def test_bytes_are_a_status_or_malformed(body: bytes) -> None:
    try:
        assert isinstance(wire.decode_status(body), ClusterStatus)
    except Malformed:
        pass


def test_bytes_that_are_no_message_are_malformed() -> None:
    with pytest.raises(Malformed):
        wire.decode_status(b"\xff")


def test_range_is_told_as_text_with_escapes() -> None:
    """The worked example of the module."""
    assert wire.range_text(KeyRange(b"/a\x00", b"b\\\xff")) == ("/a\\x00", "b\\x5c\\xff")
    assert wire.range_text(KeyRange(b"", None)) == ("", None)


@given(st.binary(max_size=8), st.binary(max_size=8))
def test_two_keys_never_look_alike(one: bytes, other: bytes) -> None:
    assert (wire.key_text(one) == wire.key_text(other)) == (one == other)
    assert wire.key_text(one).isprintable() or not one


def test_lag_is_what_was_given_and_is_not_here_yet() -> None:
    tablet = Tablet(1, "a", "", None, 0, 1, "s", 1, 0, 9, 7)
    assert tablet.lag == 2
    assert tablet._replace(closed=12).lag == 0
    assert tablet._replace(closed=None).lag is None
