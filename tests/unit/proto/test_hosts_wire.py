"""Beats of hosts and what they are answered, as bytes and back."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kubebraid.base.ports import Beat
from kubebraid.proto import hosts_wire as wire
from kubebraid.proto.owner_wire import Malformed

NUMBERS = st.integers(0, (1 << 64) - 1)
BEATS = st.builds(Beat, st.text(max_size=8), NUMBERS, NUMBERS, st.booleans())


@given(BEATS)
def test_beat_is_read_back(beat: Beat) -> None:
    assert wire.decode_beat(wire.encode_beat(beat)) == beat


@given(st.integers(0, (1 << 32) - 1))
def test_answer_is_read_back(others: int) -> None:
    assert wire.decode_heard(wire.encode_heard(others)) == others


def test_beat_of_a_host_that_stays_says_little() -> None:
    """Each host sends them again and again: what is not so is not sent."""
    assert wire.encode_beat(Beat("s", 7)) == b"\x0a\x01s\x10\x07"
    assert wire.encode_heard(0) == b""


@pytest.mark.parametrize("decode", [wire.decode_beat, wire.decode_heard])
@given(body=st.binary(max_size=40))
def test_garbage_is_malformed_or_a_message_and_nothing_else(
    decode: Callable[[bytes], object], body: bytes
) -> None:
    try:
        decode(body)
    except Malformed:
        pass


@pytest.mark.parametrize(
    ("decode", "body"),
    [(wire.decode_beat, b"\x0a\x01\xff"), (wire.decode_heard, b"\xff")],
)
def test_other_bytes_are_malformed(decode: Callable[[bytes], object], body: bytes) -> None:
    with pytest.raises(Malformed):
        decode(body)
