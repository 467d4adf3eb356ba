"""Frames: their bytes, and every way in which one can be wrong."""

from __future__ import annotations

import hashlib
import hmac
import struct

import pytest

from kubebraid.base.limits import LINK_BODY_BYTES_MAX
from kubebraid.proto.links.frames import HEAD, PING, Reader, Received, Writer
from kubebraid.proto.links.reasons import Reason

KEY = bytes(range(32))


def frames(*messages: tuple[int, bytes], writer: Writer | None = None) -> list[bytes]:
    writer = writer or Writer(KEY)
    return [writer.frame(kind, body) + body for kind, body in messages]


def broken(reader: Reader) -> Reason:
    assert reader.broken is not None
    return reader.broken.reason


def test_last_byte_of_a_frame_brings_its_message() -> None:
    """The worked example of the module."""
    (frame,) = frames((7, b"hi"))
    reader = Reader(KEY)
    assert len(frame) == 32
    assert reader.feed(frame[:31]) == []
    assert reader.incomplete
    assert reader.feed(frame[31:]) == [Received(7, b"hi")]
    assert not reader.incomplete


def test_frame_is_laid_out_and_signed_as_the_module_says() -> None:
    """Against `hmac` of the standard library, which takes no short cut."""
    _first, second = frames((1, b""), (0x0203, b"body"))
    assert second[:12] == struct.pack(">IQ", 4, 1)
    assert second[28:] == b"\x02\x03body"
    signed = second[:12] + second[28:]
    assert second[12:28] == hmac.new(KEY, signed, hashlib.sha256).digest()[:16]


def test_many_frames_in_one_piece_are_all_read() -> None:
    messages = [(kind, bytes(kind)) for kind in range(1, 65)]
    reader = Reader(KEY)
    assert reader.feed(b"".join(frames(*messages))) == messages
    assert reader.count == 64


def test_ping_counts_and_is_handed_to_nobody() -> None:
    reader = Reader(KEY)
    assert reader.feed(b"".join(frames((PING, b""), (1, b"a"), (PING, b"")))) == [(1, b"a")]
    assert reader.count == 3


def test_body_of_the_largest_size_is_taken_and_a_larger_one_is_our_own_error() -> None:
    body = bytes(LINK_BODY_BYTES_MAX)
    writer, reader = Writer(KEY), Reader(KEY)
    assert reader.feed(writer.frame(1, body)) == []
    assert reader.feed(body) == [(1, body)]
    with pytest.raises(AssertionError):
        writer.frame(1, body + b"x")


def test_length_beyond_the_limit_is_refused_before_anything_is_kept() -> None:
    reader = Reader(KEY)
    head = HEAD.pack(LINK_BODY_BYTES_MAX + 1, 0, bytes(16), 1)
    assert reader.feed(head) == []
    assert broken(reader) is Reason.LENGTH
    assert not reader.incomplete


@pytest.mark.parametrize("at", range(HEAD.size + 4))
def test_flipped_bit_anywhere_breaks_it_or_leaves_it_waiting(at: int) -> None:
    """What precedes the frame is handed out, itself and what follows is not. A larger length can
    only be judged when that much has come: it waits, and whoever keeps time ends it."""
    before, wrong, after = frames((1, b"before"), (2, b"body"), (3, b"after"))
    flipped = bytearray(wrong)
    flipped[at] ^= 0x10
    reader = Reader(KEY)
    assert reader.feed(before + bytes(flipped) + after) == [(1, b"before")]
    assert reader.broken is not None or reader.incomplete
    assert reader.feed(bytes(1024)) == []
    if at >= 4:
        assert broken(reader) is (Reason.COUNTER if at < 12 else Reason.MAC)


def test_frame_of_a_grown_length_breaks_it_once_that_much_has_come() -> None:
    wrong, after = frames((1, bytes(200)), (2, bytes(200)))
    flipped = bytearray(wrong)
    flipped[3] ^= 0x08
    reader = Reader(KEY)
    assert reader.feed(bytes(flipped)) == []
    assert reader.feed(after) == []
    assert broken(reader) is Reason.MAC


def test_nothing_comes_out_after_the_first_wrong_frame() -> None:
    good, wrong = frames((1, b"good"), (2, b"wrong"))
    reader = Reader(KEY)
    reader.feed(wrong)
    assert broken(reader) is Reason.COUNTER
    assert reader.feed(good) == []


@pytest.mark.parametrize("order", [[0, 0], [1], [0, 2], [0, 2, 1]])
def test_repeated_missing_and_swapped_frames_are_refused(order: list[int]) -> None:
    made = frames((1, b"a"), (1, b"b"), (1, b"c"))
    reader = Reader(KEY)
    got = reader.feed(b"".join(made[i] for i in order))
    assert got == ([(1, b"a")] if order[0] == 0 else [])
    assert broken(reader) is Reason.COUNTER


def test_frame_of_another_key_is_refused() -> None:
    """So is a frame of our own that comes back: each direction has its key."""
    reader = Reader(bytes(32))
    assert reader.feed(frames((1, b"a"))[0]) == []
    assert broken(reader) is Reason.MAC


def test_long_frame_is_looked_at_once_however_it_is_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    """Else a body of 64 MiB in small pieces would cost quadratic time."""
    looks = 0
    parse = Reader._parse

    def counted(self: Reader, data: memoryview, found: list[Received]) -> None:
        nonlocal looks
        looks += 1
        parse(self, data, found)

    monkeypatch.setattr(Reader, "_parse", counted)
    (frame,) = frames((1, bytes(100_000)))
    reader = Reader(KEY)
    pieces = [frame[at : at + 64] for at in range(0, len(frame), 64)]
    assert [message for piece in pieces for message in reader.feed(piece)] == [(1, bytes(100_000))]
    assert looks == 1


def test_buffer_that_is_used_again_does_not_change_what_was_read() -> None:
    """The shell reads all links into one buffer."""
    one, two = frames((1, b"first"), (1, b"second"))
    buffer = bytearray(one + two[:33])
    reader = Reader(KEY)
    got = reader.feed(memoryview(buffer))
    buffer[:] = bytes(len(buffer))
    assert got + reader.feed(two[33:]) == [(1, b"first"), (1, b"second")]
