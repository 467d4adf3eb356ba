"""Links under every cut of their bytes, and under what a spoiler between both sides can do."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from hypothesis import given
from hypothesis import strategies as st

from kubebraid.proto.links.connection import Connection, Event, Failed, Opened
from kubebraid.proto.links.frames import PING, Reader, Received, Writer
from kubebraid.proto.links.handshake import DIALER, HELLO, LISTENER
from kubebraid.proto.links.reasons import Reason
from tests.unit.proto.links.kit import (
    ROUTER,
    SECRET,
    SHARD,
    dialer,
    listener,
    opened_pair,
    output,
)

KEY = bytes(range(32))
MESSAGES = st.lists(st.tuples(st.integers(1, 2**16 - 1), st.binary(max_size=200)), max_size=6)
CUTS = st.lists(st.integers(1, 80), max_size=40)


def cut(data: bytes, sizes: list[int]) -> Iterator[bytes]:
    """Pieces of these sizes, and the rest."""
    for size in sizes:
        if data:
            yield data[:size]
            data = data[size:]
    if data:
        yield data


class Talk(NamedTuple):
    """What a dialer and a listener hear while each greets and then sends its messages."""

    dialer: list[Event]
    listener: list[Event]
    waits: bool  # a side that has not failed waits for more of a frame, or of a handshake
    size: int  # bytes carried, in both directions

    def messages(self) -> tuple[list[Received], list[Received]]:
        """Received by the dialer, and by the listener."""
        left, right = (
            [event for event in events if isinstance(event, Received)]
            for events in (self.dialer, self.listener)
        )
        return left, right

    def failed(self) -> list[Reason]:
        events = self.dialer + self.listener
        return [event.reason for event in events if isinstance(event, Failed)]


def talk(
    messages: list[tuple[int, bytes]], sizes: list[int] | None = None, flip: int | None = None
) -> Talk:
    """`flip`: which bit of all that is carried is changed under way."""
    sides = (dialer(), listener())
    events: tuple[list[Event], list[Event]] = ([], [])
    spoken = [False, False]
    carried = 0
    for turn in range(16):
        speaker = turn % 2
        side, hearer, heard = sides[speaker], sides[1 - speaker], events[1 - speaker]
        if side.peer is not None and not spoken[speaker]:
            spoken[speaker] = True
            for kind, body in messages:
                side.send(kind, body)
        data = bytearray(output(side))
        if flip is not None and 0 <= flip - 8 * carried < 8 * len(data):
            data[flip // 8 - carried] ^= 1 << flip % 8
        carried += len(data)
        for piece in cut(bytes(data), sizes or []):
            heard += hearer.feed(piece)
    failed = [any(isinstance(event, Failed) for event in of) for of in events]
    waits = [side.peer is None or side.incomplete for side in sides]
    stuck = any(wait and not fail for wait, fail in zip(waits, failed, strict=True))
    return Talk(*events, stuck, carried)


@given(MESSAGES, CUTS)
def test_cuts_of_the_bytes_never_change_the_events(
    messages: list[tuple[int, bytes]], sizes: list[int]
) -> None:
    whole, pieces = talk(messages), talk(messages, sizes)
    assert pieces == whole
    said = [Received(*message) for message in messages]
    assert whole.dialer == [Opened(SHARD.peer), *said]
    assert whole.listener == [Opened(ROUTER.peer), *said]


@given(MESSAGES, CUTS)
def test_cuts_of_frames_never_change_the_messages(
    messages: list[tuple[int, bytes]], sizes: list[int]
) -> None:
    """Pings among them."""
    writer, reader = Writer(KEY), Reader(KEY)
    mixed = [part for message in messages for part in ((PING, b"body"), message)]
    data = b"".join(writer.frame(kind, body) + body for kind, body in mixed)
    assert [got for piece in cut(data, sizes) for got in reader.feed(piece)] == messages
    assert not reader.incomplete
    assert reader.broken is None


@given(MESSAGES, CUTS, st.data())
def test_flipped_bit_anywhere_delivers_nothing_wrong_and_ends_the_link(
    messages: list[tuple[int, bytes]], sizes: list[int], data: st.DataObject
) -> None:
    """Handshake or frame, either direction: what was heard is what was said, up to the bit; then
    the link fails, or waits for bytes that a deadline ends (a length that grew)."""
    flip = data.draw(st.integers(0, 8 * talk(messages).size - 1))
    spoiled = talk(messages, sizes, flip)
    said = [Received(*message) for message in messages]
    for got in spoiled.messages():
        assert got == said[: len(got)]
    assert spoiled.failed() or spoiled.waits
    both = sum(len(got) for got in spoiled.messages())
    assert both < 2 * len(said) or not said


@given(MESSAGES, st.lists(st.integers(0, 5), max_size=8))
def test_frames_in_any_other_order_are_heard_up_to_the_first_that_is_out_of_place(
    messages: list[tuple[int, bytes]], order: list[int]
) -> None:
    """Left out, repeated, swapped."""
    left, right = opened_pair()
    frames = []
    for kind, body in messages:
        left.send(kind, body)
        frames.append(output(left))
    order = [index for index in order if index < len(frames)]
    right_place = 0
    while right_place < len(order) and order[right_place] == right_place:
        right_place += 1
    events = [event for index in order for event in right.feed(frames[index])]
    expected: list[Event] = [Received(*message) for message in messages[:right_place]]
    if right_place < len(order):
        detail = f"{order[right_place]} where {right_place} is due"
        expected.append(Failed(Reason.COUNTER, detail))
    assert events == expected


@given(st.booleans(), st.binary(max_size=300), CUTS, st.sampled_from([DIALER, LISTENER]))
def test_garbage_opens_nothing_and_is_told_a_greeting_at_most(
    greets: bool, data: bytes, sizes: list[int], side: int
) -> None:
    hello = output(dialer()) if side == LISTENER else b"KBLK\x02\x02\x00\x01" + bytes(32)
    hearer = Connection(side, SHARD, SECRET, b"n" * 32)
    said = output(hearer)
    for piece in cut(hello * greets + data, sizes):
        for event in hearer.feed(piece):
            assert isinstance(event, Failed)
        said += output(hearer)
    assert hearer.peer is None
    assert len(said) <= HELLO.size + (32 if side == DIALER else 0)
    assert SHARD.peer.name.encode() not in said


@given(MESSAGES, CUTS)
def test_what_a_side_says_is_of_no_use_when_it_comes_back(
    messages: list[tuple[int, bytes]], sizes: list[int]
) -> None:
    """Greeting or frame: a reflected byte opens nothing and delivers nothing."""
    for side in opened_pair():
        for kind, body in messages:
            side.send(kind, body)
        events = [event for piece in cut(output(side), sizes) for event in side.feed(piece)]
        assert [type(event) for event in events] == [Failed] * bool(messages)
    alone = dialer()
    assert alone.feed(output(alone)) == [Failed(Reason.MIRROR, "")]
