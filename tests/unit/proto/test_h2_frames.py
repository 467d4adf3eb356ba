"""One HTTP/2 connection as a value: input cut anywhere, windows, endings, bad peers, bounds."""

from __future__ import annotations

import gzip
import struct
from collections import defaultdict
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Final, NamedTuple

import pytest
from hpack import Decoder, Encoder
from hypothesis import given
from hypothesis import strategies as st

from kubebraid.proto.front_rules import OK, Ending
from kubebraid.proto.h2_frames import (
    CONNECTION_CREDIT,
    CONTROL_BYTES_MAX,
    HEADER_BYTES_MAX,
    PREFACE,
    Connection,
    Event,
    What,
)
from kubebraid.proto.h2_output import STREAM_CREDIT, WINDOW_DEFAULT, Code

DATA, HEADERS, PRIORITY, RST, SETTINGS, PUSH, PING, GOAWAY, WINDOW, MORE = range(10)
END_STREAM, END_HEADERS, PADDED, PRIORITIZED = 1, 4, 8, 0x20
LIMIT: Final = 1000
ROOM: Final = 1 << 30
NAMES: Final = [
    (":method", "POST"),
    (":path", "/etcdserverpb.Watch/Watch"),
    ("content-type", "application/grpc"),
]


def frame(kind: int, flags: int, stream: int, body: bytes = b"") -> bytes:
    return len(body).to_bytes(3) + bytes((kind, flags)) + stream.to_bytes(4) + body


def message(payload: bytes, flag: int = 0) -> bytes:
    return bytes((flag,)) + len(payload).to_bytes(4) + payload


def setting(name: int, value: int) -> bytes:
    return frame(SETTINGS, 0, 0, struct.pack(">HI", name, value))


def opening(stream: int, *extra: tuple[str, str], flags: int = END_HEADERS) -> bytes:
    """HEADERS that need no table of their own: every block stands alone."""
    encoder = Encoder()
    encoder.header_table_size = 0
    return frame(HEADERS, flags, stream, encoder.encode([*NAMES, *extra], huffman=False))


HELLO: Final = PREFACE + frame(SETTINGS, 0, 0)


class Frame(NamedTuple):
    kind: int
    flags: int
    stream: int
    body: bytes


@dataclass
class Client:
    """Reads what the connection writes."""

    decoder: Decoder = field(default_factory=Decoder)
    headers: dict[int, list[dict[str, str]]] = field(default_factory=lambda: defaultdict(list))
    data: dict[int, bytes] = field(default_factory=lambda: defaultdict(bytes))

    def read(self, data: bytes) -> list[Frame]:
        found = []
        while data:
            size = int.from_bytes(data[:3])
            got = Frame(data[3], data[4], int.from_bytes(data[5:9]), data[9 : 9 + size])
            assert len(got.body) == size, "a frame is cut"
            data = data[9 + size :]
            found.append(got)
            if got.kind == HEADERS:
                self.headers[got.stream].append(
                    {str(a): str(b) for a, b in self.decoder.decode(got.body)}
                )
            elif got.kind == DATA:
                self.data[got.stream] += got.body
        return found


def connected(*streams: int) -> Connection:
    """A connection with open streams, whose first words are taken."""
    connection = Connection(LIMIT)
    events = connection.receive(HELLO + b"".join(opening(stream) for stream in streams))
    assert [event.stream for event in events] == list(streams)
    connection.output.take(ROOM)
    return connection


def taken(connection: Connection, client: Client | None = None) -> list[Frame]:
    return (client or Client()).read(connection.output.take(ROOM)[0])


def sizes(frames: list[Frame]) -> list[int]:
    return [len(one.body) for one in frames if one.kind == DATA]


def test_worked_example_of_the_docstring() -> None:
    connection = Connection(LIMIT)
    opened, told = connection.receive(HELLO + opening(1) + frame(DATA, 0, 1, message(b"a")))
    assert (opened.what, opened.stream) == (What.OPENED, 1)
    assert (opened.headers or {})[b":path"] == b"/etcdserverpb.Watch/Watch"
    assert told == Event(What.MESSAGE, 1, b"a")
    connection.output.send(1, b"b")
    data, progress = connection.output.take(65536)
    client = Client()
    assert [got.kind for got in client.read(data)] == [SETTINGS, WINDOW, SETTINGS, HEADERS, DATA]
    assert client.data[1] == message(b"b")
    assert client.headers[1] == [{":status": "200", "content-type": "application/grpc"}]
    assert progress == [(1, 1, False)]


def talk() -> bytes:
    """A bit of everything that a client may say."""
    block = opening(5)[9:]
    padded = bytes((3,)) + message(b"padded") + bytes(3)
    whole = message(b"x" * 300)
    return b"".join(
        (
            HELLO,
            opening(1, ("grpc-encoding", "gzip")),
            frame(DATA, PADDED, 1, padded),
            frame(DATA, 0, 1, whole[:2]) + frame(DATA, 0, 1) + frame(DATA, 0, 1, whole[2:100]),
            opening(3),
            frame(PING, 0, 0, b"12345678"),
            frame(DATA, 0, 1, whole[100:] + message(b"") + message(gzip.compress(b"zz"), 1)),
            frame(
                HEADERS, END_STREAM | PADDED | PRIORITIZED, 5, b"\2" + bytes(5) + block[:9] + b"ab"
            ),
            frame(MORE, 0, 5, block[9:20]) + frame(MORE, END_HEADERS, 5, block[20:]),
            frame(RST, 0, 3, bytes(4)) + frame(PRIORITY, 0, 9, bytes(5)),
            frame(0x77, 9, 1, b"unknown") + frame(WINDOW, 0, 0, (9).to_bytes(4)),
            frame(HEADERS, END_STREAM | END_HEADERS, 1, Encoder().encode([("a", "b")])),
            frame(GOAWAY, 0, 0, bytes(8)),
        )
    )


TOLD: Final = [
    (What.OPENED, 1, b""),
    (What.MESSAGE, 1, b"padded"),
    (What.OPENED, 3, b""),
    (What.MESSAGE, 1, b"x" * 300),
    (What.MESSAGE, 1, b""),
    (What.MESSAGE, 1, b"zz"),
    (What.OPENED, 5, b""),
    (What.HALF_CLOSED, 5, b""),
    (What.CLOSED, 3, b""),
    (What.HALF_CLOSED, 1, b""),
]


def hear(chunks: list[bytes]) -> tuple[list[tuple[What, int, bytes]], bytes]:
    connection = Connection(LIMIT)
    events = [event for chunk in chunks for event in connection.receive(chunk)]
    assert not connection.closed
    return [event[:3] for event in events], connection.output.take(ROOM)[0]


def test_input_cut_at_any_byte_tells_the_same() -> None:
    data = talk()
    whole = hear([data])
    assert whole[0] == TOLD
    for at in range(len(data) + 1):
        assert hear([data[:at], data[at:]]) == whole, at
    assert hear([data[i : i + 1] for i in range(len(data))]) == whole


@given(st.lists(st.integers(0, len(talk())), max_size=30))
def test_input_cut_into_any_pieces_tells_the_same(cuts: list[int]) -> None:
    data, edges = talk(), [0, *sorted(cuts), len(talk())]
    pieces = [data[a:b] for a, b in pairwise(edges)]
    assert hear(pieces)[0] == TOLD


def test_window_of_a_stream_is_used_up_and_refilled() -> None:
    connection, client = connected(1, 3), Client()
    connection.receive(frame(WINDOW, 0, 0, WINDOW_DEFAULT.to_bytes(4)))
    for _ in range(2):
        connection.output.send(1, bytes(50_000))
    connection.output.end(1, OK)
    data, progress = connection.output.take(ROOM)
    assert sum(sizes(client.read(data))) == WINDOW_DEFAULT
    assert progress == [(1, 50_000, False)]
    assert connection.output.take(ROOM) == (b"", [])
    connection.output.send(3, b"others go on")
    assert sizes(taken(connection, client)) == [17]
    connection.receive(frame(WINDOW, 0, 1, (10).to_bytes(4)))
    assert sizes(taken(connection, client)) == [10]
    connection.receive(frame(WINDOW, 0, 1, (60_000).to_bytes(4)))
    data, progress = connection.output.take(ROOM)
    assert sum(sizes(client.read(data))) == 100_010 - WINDOW_DEFAULT - 10
    assert progress == [(1, 50_000, True)]


def test_window_of_the_connection_is_shared_and_refilled() -> None:
    connection, client = connected(1, 3, 5), Client()
    for stream in (1, 3, 5):
        connection.output.send(stream, bytes(40_000))
    assert sum(sizes(taken(connection, client))) == WINDOW_DEFAULT
    assert connection.output.take(ROOM) == (b"", [])
    connection.output.end(5, Ending(14, "gone"))  # trailers wait behind the message
    connection.receive(frame(WINDOW, 0, 0, (100_000).to_bytes(4)))
    data, progress = connection.output.take(ROOM)
    assert sum(sizes(client.read(data))) == 3 * 40_005 - WINDOW_DEFAULT
    assert sorted(progress) == [(3, 40_000, False), (5, 40_000, True)]


def test_streams_that_wait_for_a_window_are_not_looked_at() -> None:
    connection = connected(1, 3)
    output, client = connection.output, Client()
    output.send(1, bytes(WINDOW_DEFAULT))  # waits for both windows, then for its own
    output.send(3, b"a")
    taken(connection, client)
    output.send(1, b"more")
    for _ in range(3):
        output.send(3, b"more")
        assert output.take(ROOM) == (b"", [])
    assert (len(output._ready), len(output._starved)) == (0, 1)
    connection.receive(frame(WINDOW, 0, 0, (99).to_bytes(4)))
    assert (len(output._ready), len(output._starved)) == (1, 0)
    taken(connection, client)
    connection.receive(frame(WINDOW, 0, 0, (99).to_bytes(4)))
    assert (len(output._ready), len(output._starved)) == (0, 0)


def test_trailers_need_no_window() -> None:
    connection = connected(1, 3)
    connection.output.send(1, bytes(WINDOW_DEFAULT - 5))
    connection.output.end(3, OK)
    assert connection.output.take(ROOM)[1] == [(1, WINDOW_DEFAULT - 5, False), (3, 0, True)]
    connection.output.end(1, OK)
    assert connection.output.take(ROOM)[1] == [(1, 0, True)]


def test_settings_change_the_window_of_open_streams() -> None:
    connection = connected(1)
    connection.output.send(1, bytes(30_000))
    assert sum(sizes(taken(connection))) == 30_005
    connection.receive(setting(4, 20_000))  # 10,005 below zero
    connection.output.send(1, b"12345")
    assert sizes(taken(connection)) == []
    connection.receive(frame(WINDOW, 0, 1, (10_005).to_bytes(4)))
    assert sizes(taken(connection)) == []
    connection.receive(setting(4, 20_003))
    assert sizes(taken(connection)) == [3]
    connection.receive(setting(4, 30_000))
    assert sizes(taken(connection)) == [7]


def test_frames_are_as_large_as_the_peer_allows() -> None:
    connection = connected(1)
    connection.output.send(1, bytes(40_000))
    assert sizes(taken(connection)) == [16_384, 16_384, 7_237]
    connection.receive(setting(5, 20_000))
    connection.output.send(1, bytes(20_000))
    assert sizes(taken(connection)) == [20_000, 5]


def test_take_stops_near_its_room_and_streams_take_turns() -> None:
    connection = connected(1, 3)
    connection.receive(setting(4, 2**31 - 1) + frame(WINDOW, 0, 0, (2**30).to_bytes(4)))
    connection.output.take(ROOM)
    for stream in (1, 3):
        connection.output.send(stream, bytes(900_000))
    first = Client()
    first.read(connection.output.take(128 * 1024)[0])
    assert sorted(first.data) == [1, 3]
    assert 128 * 1024 <= sum(map(len, first.data.values())) < 130 * 1024


class Model:
    """What the peer allows, and what has come of each stream."""

    def __init__(self, streams: int) -> None:
        self.ids = [2 * i + 1 for i in range(streams)]
        self.connection = connected(*self.ids)
        self.client = Client()
        self.initial = self.total = WINDOW_DEFAULT
        self.windows = dict.fromkeys(self.ids, WINDOW_DEFAULT)
        self.sent: dict[int, list[bytes]] = {stream: [] for stream in self.ids}
        self.ended: dict[int, int] = {}
        self.gone: dict[int, int] = {}
        self.counted = dict.fromkeys(self.ids, 0)

    def take(self, room: int) -> bool:
        data, progress = self.connection.output.take(room)
        for got in self.client.read(data):
            if got.kind == DATA:
                self.windows[got.stream] -= len(got.body)
                self.total -= len(got.body)
                assert self.windows[got.stream] >= 0
                assert self.total >= 0
                assert got.stream not in self.gone
        for stream, size, ended in progress:
            self.counted[stream] += size
            if ended:
                assert stream not in self.gone
                self.gone[stream] = 1
        return bool(data)

    def grow(self, stream: int, by: int) -> None:
        self.connection.receive(frame(WINDOW, 0, stream, by.to_bytes(4)))
        if stream:
            self.windows[stream] += by
        else:
            self.total += by

    def resize(self, window: int) -> None:
        self.connection.receive(setting(4, window))
        self.windows = {i: left + window - self.initial for i, left in self.windows.items()}
        self.initial = window


STEPS: Final = st.lists(
    st.tuples(
        st.sampled_from(["send", "send", "take", "take", "grow", "grow all", "resize", "end"]),
        st.integers(0, 3),
        st.integers(1, 40_000),
    ),
    max_size=60,
)


@given(STEPS)
def test_any_interleaving_keeps_the_windows_and_loses_nothing(
    steps: list[tuple[str, int, int]],
) -> None:
    model = Model(4)
    for i, (what, pick, number) in enumerate(steps):
        stream = model.ids[pick]
        if what == "send" and stream not in model.ended:
            model.sent[stream].append(bytes((i,)) * number)
            model.connection.output.send(stream, model.sent[stream][-1])
        elif what == "take":
            model.take(number)
        elif what in ("grow", "grow all"):
            model.grow(0 if what == "grow all" else stream, number)
        elif what == "resize":
            model.resize(number)
        elif what == "end":
            model.ended.setdefault(stream, i)
            model.connection.output.end(stream, Ending(i, "") if i else OK)
    model.resize(2**30)
    model.grow(0, 2**30)
    while model.take(50_000):
        pass
    for stream in model.ids:
        assert model.client.data[stream] == b"".join(map(message, model.sent[stream]))
        assert model.counted[stream] == sum(map(len, model.sent[stream]))
    assert set(model.gone) == set(model.ended)
    for stream, code in model.ended.items():
        assert model.client.headers[stream][-1]["grpc-status"] == str(code)


BROKEN: Final = {
    "no preface": (b"GET / HTTP/1.1\r\n\r\n", Code.PROTOCOL_ERROR),
    "settings do not come first": (PREFACE + frame(PING, 0, 0, bytes(8)), Code.PROTOCOL_ERROR),
    "an answer to settings first": (PREFACE + frame(SETTINGS, 1, 0), Code.PROTOCOL_ERROR),
    "frame too large": (HELLO + frame(DATA, 0, 1, bytes(16_385)), Code.FRAME_SIZE_ERROR),
    "data without stream": (HELLO + frame(DATA, 0, 0, b"x"), Code.PROTOCOL_ERROR),
    "data on an idle stream": (HELLO + frame(DATA, 0, 1, b"x"), Code.PROTOCOL_ERROR),
    "window of an idle stream": (HELLO + frame(WINDOW, 0, 1, b"\0\0\0\1"), Code.PROTOCOL_ERROR),
    "reset of an idle stream": (HELLO + frame(RST, 0, 7, bytes(4)), Code.PROTOCOL_ERROR),
    "headers without stream": (HELLO + frame(HEADERS, 4, 0, b""), Code.PROTOCOL_ERROR),
    "headers on a server's stream": (HELLO + opening(2), Code.PROTOCOL_ERROR),
    "padding beyond the frame": (HELLO + frame(HEADERS, 12, 1, b"\2a"), Code.PROTOCOL_ERROR),
    "padding without length": (HELLO + frame(HEADERS, 12, 1), Code.PROTOCOL_ERROR),
    "priority cut short": (HELLO + frame(HEADERS, 0x24, 1, b"abc"), Code.FRAME_SIZE_ERROR),
    "headers that do not unpack": (
        HELLO + frame(HEADERS, 4, 1, b"\xff" * 9),
        Code.COMPRESSION_ERROR,
    ),
    "a frame amid a block": (
        HELLO + opening(1, flags=0) + frame(PING, 0, 0, bytes(8)),
        Code.PROTOCOL_ERROR,
    ),
    "the block of another stream": (
        HELLO + opening(1, flags=0) + frame(MORE, 4, 3),
        Code.PROTOCOL_ERROR,
    ),
    "nothing to continue": (HELLO + frame(MORE, 4, 1), Code.PROTOCOL_ERROR),
    "settings on a stream": (HELLO + frame(SETTINGS, 0, 1), Code.PROTOCOL_ERROR),
    "settings of odd size": (HELLO + frame(SETTINGS, 0, 0, b"abc"), Code.FRAME_SIZE_ERROR),
    "an answer with settings": (HELLO + frame(SETTINGS, 1, 0, bytes(6)), Code.FRAME_SIZE_ERROR),
    "push set to 2": (HELLO + setting(2, 2), Code.PROTOCOL_ERROR),
    "window above all bounds": (HELLO + setting(4, 2**31), Code.FLOW_CONTROL_ERROR),
    "frame size too small": (HELLO + setting(5, 16_383), Code.PROTOCOL_ERROR),
    "frame size too large": (HELLO + setting(5, 2**24), Code.PROTOCOL_ERROR),
    "push": (HELLO + frame(PUSH, 0, 1, bytes(4)), Code.PROTOCOL_ERROR),
    "ping of seven bytes": (HELLO + frame(PING, 0, 0, bytes(7)), Code.FRAME_SIZE_ERROR),
    "ping on a stream": (HELLO + frame(PING, 0, 1, bytes(8)), Code.PROTOCOL_ERROR),
    "goaway on a stream": (HELLO + frame(GOAWAY, 0, 1, bytes(8)), Code.PROTOCOL_ERROR),
    "window grows by nothing": (HELLO + frame(WINDOW, 0, 0, bytes(4)), Code.PROTOCOL_ERROR),
    "window grows too far": (
        HELLO + frame(WINDOW, 0, 0, (2**31 - 1).to_bytes(4)),
        Code.FLOW_CONTROL_ERROR,
    ),
    "settings overflow an open window": (
        HELLO + opening(1) + frame(WINDOW, 0, 1, (2**30).to_bytes(4)) + setting(4, 2**31 - 1),
        Code.FLOW_CONTROL_ERROR,
    ),
}


@pytest.mark.parametrize("name", BROKEN)
def test_bad_peer_is_sent_away_with_the_right_code(name: str) -> None:
    data, code = BROKEN[name]
    connection = Connection(LIMIT)
    connection.receive(data)
    assert connection.closed
    last = taken(connection)[-1]
    assert last.kind == GOAWAY
    assert struct.unpack_from(">II", last.body)[1] == code
    assert connection.receive(HELLO + opening(9)) == []
    assert connection.output.take(ROOM) == (b"", [])


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (frame(WINDOW, 0, 1, bytes(4)), Code.PROTOCOL_ERROR),
        (frame(WINDOW, 0, 1, (2**31 - 1).to_bytes(4)), Code.FLOW_CONTROL_ERROR),
        (opening(1), Code.PROTOCOL_ERROR),
        (frame(DATA, END_STREAM, 1) + frame(DATA, 0, 1, b"x"), Code.STREAM_CLOSED),
        (frame(DATA, END_STREAM, 1) + opening(1, flags=5), Code.PROTOCOL_ERROR),
    ],
)
def test_bad_stream_is_reset_alone_and_told_once(data: bytes, code: Code) -> None:
    connection = connected(1, 3)
    events = connection.receive(data + data + frame(RST, 0, 1, bytes(4)))
    assert [event for event in events if event.what is What.CLOSED] == [Event(What.CLOSED, 1)]
    assert not connection.closed
    assert [got for got in taken(connection) if got.kind == RST] == [
        Frame(RST, 0, 1, code.to_bytes(4))
    ]
    connection.output.send(1, b"swallowed")
    connection.output.send(3, b"goes on")
    assert sizes(taken(connection)) == [12]


def test_what_is_read_gives_credit_back_in_time() -> None:
    """Eight times what both windows hold, in frames of the usual size."""
    connection = connected(1)
    stream, total = STREAM_CREDIT, CONNECTION_CREDIT
    block = (message(bytes(995)) * 16)[:16_000]
    for _ in range(8 * CONNECTION_CREDIT // len(block)):
        assert stream >= len(block)
        assert total >= len(block)
        connection.receive(frame(DATA, 0, 1, block))
        stream, total = stream - len(block), total - len(block)
        for got in taken(connection):
            assert got.kind == WINDOW
            if got.stream:
                stream += int.from_bytes(got.body)
            else:
                total += int.from_bytes(got.body)
    assert stream <= STREAM_CREDIT
    assert total <= CONNECTION_CREDIT
    assert not connection.closed


def test_peer_that_sends_beyond_its_window_is_told() -> None:
    connection = connected(1)
    connection._credit = 100  # as if updates had been lost: after each there is half a window
    connection.receive(frame(DATA, 0, 1, bytes(101)))
    assert struct.unpack_from(">II", taken(connection)[-1].body)[1] == Code.FLOW_CONTROL_ERROR


def refused(data: bytes, *extra: tuple[str, str]) -> tuple[str, str]:
    """Status and text of a stream that is ended for what it sent."""
    connection = Connection(LIMIT)
    more = b"" if data[4] & END_STREAM else data
    events = connection.receive(HELLO + opening(1, *extra) + data + more)
    assert [event.what for event in events] == [What.OPENED]
    client = Client()
    client.read(connection.output.take(ROOM)[0])
    (headers,) = client.headers[1]
    return headers["grpc-status"], headers["grpc-message"]


GZIP: Final = ("grpc-encoding", "gzip")


def test_message_above_the_limit_is_refused_by_its_announcement() -> None:
    text = f"grpc: received message larger than max ({LIMIT + 1} vs. {LIMIT})"
    assert refused(frame(DATA, 0, 1, message(bytes(LIMIT + 1))[:5])) == ("8", text)


def test_compressed_messages_need_an_encoding_that_is_known() -> None:
    packed = frame(DATA, 0, 1, message(gzip.compress(b"a"), 1))
    none = "grpc: compressed flag set with identity or empty encoding"
    other = 'grpc: Decompressor is not installed for grpc-encoding "snappy"'
    assert refused(packed) == ("13", none)
    assert refused(packed, ("grpc-encoding", "identity")) == ("13", none)
    assert refused(packed, ("grpc-encoding", "snappy")) == ("12", other)
    assert refused(frame(DATA, 0, 1, message(b"a", 2)), GZIP)[0] == "13"
    assert refused(frame(DATA, 0, 1, message(b"not gzip", 1)), GZIP)[0] == "13"
    cut = message(gzip.compress(b"a" * 100)[:-9], 1)
    assert "unexpected EOF" in refused(frame(DATA, 0, 1, cut), GZIP)[1]


def test_bomb_is_refused_at_the_limit() -> None:
    bomb = message(gzip.compress(bytes(900_000)), 1)
    assert len(bomb) < LIMIT
    text = f"grpc: received message after decompression larger than max {LIMIT}"
    assert refused(frame(DATA, 0, 1, bomb), GZIP) == ("8", text)


def test_half_a_message_at_the_end_is_an_error() -> None:
    assert refused(frame(DATA, END_STREAM, 1, message(b"ab")[:-1])) == ("13", "unexpected EOF")


def test_ending_without_answers_is_one_block_and_the_peer_need_not_go_on() -> None:
    connection, client = connected(1, 3), Client()
    connection.receive(frame(DATA, END_STREAM, 3))
    connection.output.end(1, Ending(9, "100% ü\n\x7f"))
    connection.output.end(1, Ending(2, "the first counts"))
    connection.output.end(3, OK)
    frames = client.read(connection.output.take(ROOM)[0])
    assert [(got.kind, got.stream) for got in frames] == [(HEADERS, 1), (RST, 1), (HEADERS, 3)]
    assert client.headers[1] == [
        {
            ":status": "200",
            "content-type": "application/grpc",
            "grpc-status": "9",
            "grpc-message": "100%25 %C3%BC%0A%7F",
        }
    ]
    assert client.headers[3][0]["grpc-status"] == "0"
    assert frames[1].body == bytes(4)


def test_long_text_fits_a_frame() -> None:
    connection = connected(1)
    connection.output.end(1, Ending(2, "\U0001f512" * 9000))
    assert len(taken(connection)[0].body) <= 16_384


def test_refusal_carries_an_http_status_and_hears_no_more() -> None:
    connection, client = connected(1), Client()
    connection.refuse(1, Ending(3, "no"), b"415")
    assert connection.receive(frame(DATA, 0, 1, message(b"a")) + frame(DATA, 1, 1)) == []
    client.read(connection.output.take(ROOM)[0])
    assert client.headers[1][0][":status"] == "415"


def test_cut_drops_what_waits_but_never_ends_half_a_message() -> None:
    connection, client = connected(1, 3, 5), Client()
    connection.output.send(1, bytes(WINDOW_DEFAULT))  # 5 bytes too many
    client.read(connection.output.take(ROOM)[0])
    connection.output.send(3, b"waits for the connection")
    for stream in (1, 3, 5):
        connection.output.cut(stream, Ending(14, "stopped"))
    data, progress = connection.output.take(ROOM)
    frames = client.read(data)
    assert sorted(progress) == [(1, 0, True), (3, 0, True), (5, 0, True)]
    assert Frame(RST, 0, 1, Code.CANCEL.to_bytes(4)) in frames
    assert sizes(frames) == []
    assert [client.headers[i][-1]["grpc-status"] for i in (3, 5)] == ["14", "14"]
    connection.receive(frame(WINDOW, 0, 0, (99).to_bytes(4)))
    assert connection.output.take(ROOM) == (b"", [])


def test_headers_of_streams_that_are_gone_still_change_the_table() -> None:
    connection, encoder = Connection(LIMIT), Encoder()
    first = encoder.encode([*NAMES, ("x-name", "in the table")])
    connection.receive(HELLO + frame(HEADERS, END_HEADERS, 1, first) + frame(RST, 0, 1, bytes(4)))
    trailers = encoder.encode([("x-other", "also in the table")])
    connection.receive(frame(HEADERS, END_HEADERS | END_STREAM, 1, trailers))
    again = encoder.encode([*NAMES, ("x-name", "in the table"), ("x-other", "also in the table")])
    (event,) = connection.receive(frame(HEADERS, END_HEADERS, 3, again))
    assert event.headers is not None
    assert event.headers[b"x-name"] == b"in the table"
    assert event.headers[b"x-other"] == b"also in the table"


def test_values_that_are_no_text_pass() -> None:
    block = opening(1)[9:] + b"\x00\x01x\x02\xff\xfe"
    (event,) = Connection(LIMIT).receive(HELLO + frame(HEADERS, END_HEADERS, 1, block))
    assert (event.headers or {})[b"x"] == b"\xff\xfe"


def test_small_table_of_the_peer_is_kept() -> None:
    connection = connected(1, 3)
    connection.receive(setting(1, 0))
    client = Client()
    client.decoder.max_allowed_table_size = 0
    for stream in (1, 3):
        connection.output.end(stream, OK)
    client.read(connection.output.take(ROOM)[0])
    assert client.headers[3][0]["grpc-status"] == "0"


@pytest.mark.parametrize(
    "ask", [frame(PING, 0, 0, bytes(8)), setting(4, 70_000)], ids=["ping", "settings"]
)
def test_peer_that_asks_and_does_not_read_is_sent_away(ask: bytes) -> None:
    connection = connected(1)
    for _ in range(3 * CONTROL_BYTES_MAX // (100 * 9)):
        connection.receive(ask * 100)
        assert len(connection.output.control) <= CONTROL_BYTES_MAX
    assert connection.closed
    (last,) = taken(connection)
    assert struct.unpack_from(">II", last.body)[1] == Code.ENHANCE_YOUR_CALM


def test_header_block_without_end_is_cut_off() -> None:
    connection = connected()
    connection.receive(opening(1, flags=0))
    for _ in range(HEADER_BYTES_MAX // 16_000 + 1):
        connection.receive(frame(MORE, 0, 1, bytes(16_000)))
    assert connection.closed
    assert struct.unpack_from(">II", taken(connection)[-1].body)[1] == Code.ENHANCE_YOUR_CALM


def test_stream_that_is_gone_leaves_nothing_behind() -> None:
    connection = connected()
    for stream in range(1, 2001, 4):
        connection.receive(opening(stream) + frame(DATA, 0, stream, message(bytes(900))[:500]))
        connection.receive(opening(stream + 2) + frame(RST, 0, stream, bytes(4)))
        connection.output.send(stream + 2, b"x")
        connection.output.end(stream + 2, OK)
        connection.output.take(ROOM)
        connection.receive(frame(WINDOW, 0, 0, (6).to_bytes(4)))
    assert connection.output.streams == {}
    assert connection.output.take(ROOM) == (b"", [])
