"""Messages to bytes and back, and everything else refused."""

from __future__ import annotations

import random

import pytest

from kubebraid.coordinator.raft.journal_codec import Entry
from kubebraid.coordinator.raft.wire import (
    Ack,
    Append,
    Forward,
    Forwarded,
    Header,
    Install,
    Message,
    Refill,
    RefillAsk,
    TimeoutNow,
    Vote,
    VoteAsk,
    WireError,
    decode,
    encode,
)

HEADER = Header(2**64 - 1, 5)
MESSAGES: list[Message] = [
    Append(9, 7, 4, ()),
    Append(9, 7, 4, (Entry(b"\0one", 8, 4), Entry(b"\1", 9, 5))),
    Install(9, b"image"),
    Ack(2, True, False),
    Ack(10, False, True),
    VoteAsk(9, 2),
    Vote(),
    Forward(0, b"\0x"),
    Forwarded(3, 0, 12, 5),
    Forwarded(3, 4, 0, 0),
    TimeoutNow(),
    RefillAsk(17),
    Refill(17, b"image"),
]


@pytest.mark.parametrize("message", MESSAGES, ids=repr)
def test_a_message_is_read_as_it_was_written(message: Message) -> None:
    assert decode(encode(HEADER, message)) == (HEADER, message)


def test_the_example_of_the_head() -> None:
    expected = bytes([1, 3]) + b"".join(n.to_bytes(8, "little") for n in (7, 3, 9, 2))
    assert encode(Header(7, 3), VoteAsk(9, 2)) == expected


@pytest.mark.parametrize("message", MESSAGES, ids=repr)
def test_bytes_cut_short_or_added_are_another_message_or_refused(message: Message) -> None:
    data = encode(HEADER, message)
    for length in range(len(data)):
        try:
            assert decode(data[:length])[1] != message
        except WireError:
            continue
    try:
        assert decode(data + b"\0")[1] != message
    except WireError:
        pass


def test_random_bytes_raise_nothing_but_wire_errors() -> None:
    rng = random.Random(1)
    whole = [encode(HEADER, message) for message in MESSAGES]
    refused = 0
    for _ in range(5_000):
        data = bytearray(rng.choice(whole))
        for _ in range(rng.randint(1, 4)):
            data[rng.randrange(len(data))] = rng.randrange(256)
        try:
            decode(bytes(data))
        except WireError:
            refused += 1
    assert refused > 500


@pytest.mark.parametrize(
    "data",
    [
        encode(HEADER, Vote())[:1] + bytes([10]) + encode(HEADER, Vote())[2:],
        bytes([2]) + encode(HEADER, Vote())[1:],
        encode(HEADER, Forward(1, b"\1")),
        encode(HEADER, Forward(1, b"\2membership")),
        encode(HEADER, Forward(1, b"")),
        encode(HEADER, Append(1, 0, 0, ())),
        encode(HEADER, Ack(1, True, False)),
    ],
)
def test_what_no_member_says_is_refused(data: bytes) -> None:
    with pytest.raises(WireError):
        decode(data)


def test_an_entry_of_a_kind_that_is_unpickled_is_refused() -> None:
    data = encode(HEADER, Append(1, 1, 0, (Entry(b"\0x", 2, 1),)))
    for kind in range(2, 256):
        with pytest.raises(WireError):
            decode(data[:-2] + bytes([kind]) + data[-1:])
