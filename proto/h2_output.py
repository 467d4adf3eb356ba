"""The sending half of an HTTP/2 connection: messages and endings in, frames out, by its windows.

What it is: the queues of a connection's streams, and which of them may speak next. What it is not:
the parser of what the peer says (`h2_frames.py`), nor a socket.

Words: a stream is *ready* when it has something that its own window lets out; *starved* when only
the connection's window holds it back.

Invariants:
- DATA never exceeds the peer's windows; a stream that waits for a window costs nothing until then;
- control frames leave ahead of all data; a stream adds at most QUANTUM_BYTES before the next one;
- a message counts as taken when its last byte is in a frame; trailers follow all of them.

Worked example: `send(1, b"b")`, then `take(65536)` gives a HEADERS and a DATA frame and
[(1, 1, False)]: one byte of payload of stream 1 is on its way.

Source: RFC 9113, gRPC's PROTOCOL-HTTP2.md. Tested in tests/unit/proto/test_h2_frames.py.
"""

from __future__ import annotations

import struct
from collections import deque
from enum import IntEnum
from typing import Final
from urllib.parse import quote

from hpack import Encoder

from .front_rules import OK, Ending

FRAME_BYTES_MAX: Final = 16_384  # the least that HTTP/2 allows, and what we let the peer send
WINDOW_DEFAULT: Final = 65_535
WINDOW_MAX: Final = 2**31 - 1
STREAM_CREDIT: Final = 1024 * 1024
QUANTUM_BYTES: Final = 64 * 1024  # what a stream may add before the next has its turn
TEXT_MAX: Final = 1_024  # of a status; quoted it still fits a frame, and what peers take of headers
assert 12 * TEXT_MAX < FRAME_BYTES_MAX

DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS, PUSH_PROMISE, PING, GOAWAY = range(8)
WINDOW_UPDATE, CONTINUATION = 8, 9
END_STREAM = ACK = 0x1
END_HEADERS, PADDED, PRIORITIZED = 0x4, 0x8, 0x20

UNQUOTED: Final = "".join(chr(c) for c in range(0x20, 0x7F) if c != ord("%"))
HEAD: Final = struct.Struct(">HBBBI")  # length as 16 + 8 bits, type, flags, stream
DATA_HEAD: Final = struct.Struct(">HBBBIBI")  # ... and the prefix of a gRPC message


class Code(IntEnum):
    """HTTP/2 error codes that are sent."""

    NO_ERROR = 0
    PROTOCOL_ERROR = 1
    FLOW_CONTROL_ERROR = 3
    STREAM_CLOSED = 5
    FRAME_SIZE_ERROR = 6
    CANCEL = 8
    COMPRESSION_ERROR = 9
    ENHANCE_YOUR_CALM = 11


# What `take` took of a stream: its number, bytes of whole payloads, whether it is ended and gone.
# A plain tuple: one is made a message, and a named one costs 0.2 us more.
Taken = tuple[int, int, bool]


class Broken(Exception):
    """The connection cannot go on."""

    definite = True
    hint = "the peer does not speak HTTP/2 as RFC 9113 has it"

    def __init__(self, code: Code, reason: str) -> None:
        super().__init__(reason)
        self.code = code


class Stream:
    """One stream; `offset` counts what is sent of the first message of the queue."""

    __slots__ = (
        "begun", "credit", "deaf", "encoding", "ending", "half_closed", "id", "inbox", "offset",
        "queue", "ready", "status", "window",
    )  # fmt: skip

    def __init__(self, stream_id: int, window: int) -> None:
        self.id, self.window, self.credit = stream_id, window, STREAM_CREDIT
        self.queue: deque[bytes] = deque()
        self.inbox = bytearray()
        self.offset = 0
        self.begun = self.deaf = self.half_closed = self.ready = False
        self.encoding = b""
        self.status = b"200"
        self.ending: Ending | None = None


class Output:
    """What a connection has to say, by stream, and the windows that let it out."""

    def __init__(self) -> None:
        self.streams: dict[int, Stream] = {}
        self.control = bytearray()
        self.frame_max = FRAME_BYTES_MAX
        self.stream_window = WINDOW_DEFAULT  # of a new stream
        self.encoder = Encoder()
        self._window = WINDOW_DEFAULT
        self._ready: deque[Stream] = deque()  # have something to send, and a window of their own
        self._starved: list[Stream] = []  # ... but wait for the connection's window
        self._gone: list[Taken] = []  # cut off, not told yet

    def put(self, kind: int, flags: int, stream_id: int, body: bytes = b"") -> None:
        """Queues a control frame, ahead of all data."""
        self.control += frame_head(kind, flags, stream_id, len(body)) + body

    def send(self, stream_id: int, payload: bytes) -> None:
        """Queues one message; nothing may follow an ending, and a stream gone swallows all."""
        stream = self.streams.get(stream_id)
        if stream is None or stream.ending is not None:
            return
        stream.queue.append(payload)
        self._wake(stream)

    def end(self, stream_id: int, ending: Ending) -> None:
        """Ends a stream after what was sent; the first ending counts."""
        stream = self.streams.get(stream_id)
        if stream is not None and stream.ending is None:
            stream.ending = ending
            self._wake(stream)

    def cut(self, stream_id: int, ending: Ending) -> None:
        """Ends a stream now: what is queued is dropped."""
        stream = self.streams.get(stream_id)
        if stream is None:
            return
        stream.deaf = True
        if stream.offset:  # half a message cannot be followed by trailers
            del self.streams[stream_id]
            self.put(RST_STREAM, 0, stream_id, Code.CANCEL.to_bytes(4))
            self._gone.append((stream_id, 0, True))
        else:
            stream.queue.clear()
            stream.ending = ending
            self._ready.append(stream)  # it may stand among the starved, too

    def grow(self, increment: int) -> None:
        """The peer widens the connection's window."""
        self._window += increment
        if self._window > WINDOW_MAX:
            raise Broken(Code.FLOW_CONTROL_ERROR, f"the connection's window grows by {increment}")
        if self._window > 0:
            self._ready.extend(self._starved)
            self._starved.clear()

    def grow_stream(self, stream: Stream, increment: int) -> bool:
        """The peer widens a stream's window; false: beyond all bounds."""
        stream.window += increment
        if stream.window > WINDOW_MAX:
            return False
        self._wake(stream)
        return True

    def change_windows(self, window: int) -> None:
        """The peer changes the window of every stream, open or to come."""
        change, self.stream_window = window - self.stream_window, window
        if window > WINDOW_MAX:
            raise Broken(Code.FLOW_CONTROL_ERROR, f"INITIAL_WINDOW_SIZE {window}")
        for stream in self.streams.values():
            if not self.grow_stream(stream, change):  # may fall below 0: RFC 9113 6.9.2
                raise Broken(Code.FLOW_CONTROL_ERROR, f"window of stream {stream.id}")

    def take(self, room: int) -> tuple[bytes, list[Taken]]:
        """About `room` bytes at most to write now, and what they carry; b"": nothing can go."""
        out, (taken, self._gone) = [bytes(self.control)], (self._gone, [])
        room -= len(self.control)
        self.control.clear()
        for _ in range(len(self._ready)):
            if room <= 0:
                break
            stream = self._ready.popleft()
            stream.ready = False
            if self.streams.get(stream.id) is not stream:
                continue  # reset since
            size, used = self._fill(stream, out, min(room, QUANTUM_BYTES))
            room -= used
            ended = False
            if stream.queue:
                self._wake(stream)
            elif stream.ending is not None:
                self._finish(stream, out)
                ended = True
            if size or ended:
                taken.append((stream.id, size, ended))
        return b"".join(out), taken

    def _wake(self, stream: Stream) -> None:
        """Lines a stream up for `take`, if it has something that its own window lets out."""
        if stream.ready or not (stream.window > 0 if stream.queue else stream.ending):
            return
        stream.ready = True
        starved = stream.queue and self._window <= 0
        (self._starved if starved else self._ready).append(stream)

    def _fill(self, stream: Stream, out: list[bytes], room: int) -> tuple[int, int]:
        """Frames of the queue; returns bytes of whole payloads, and of the windows used."""
        queue, stream_id = stream.queue, stream.id
        begin = room = min(room, stream.window, self._window)
        size = 0
        if queue and not stream.begun and room > 0:
            stream.begun = True
            out.append(self._block(stream_id, 0, head_of(stream.status)))
        while queue and room > 0:
            payload = queue[0]
            whole = len(payload) + 5
            if stream.offset == 0 and whole <= room and whole <= self.frame_max:
                size_high, size_low = divmod(whole, 256)
                out.append(DATA_HEAD.pack(size_high, size_low, DATA, 0, stream_id, 0, whole - 5))
                out.append(payload)
                sent = whole
            else:
                sent = min(whole - stream.offset, room, self.frame_max)
                out.append(frame_head(DATA, 0, stream_id, sent))
                out.append(piece(payload, stream.offset, sent))
            room -= sent
            stream.offset += sent
            if stream.offset == whole:
                queue.popleft()
                stream.offset = 0
                size += whole - 5
        used = begin - room
        stream.window -= used
        self._window -= used
        return size, used

    def _finish(self, stream: Stream, out: list[bytes]) -> None:
        """The trailers; with nothing sent before, they are the headers too."""
        ending = stream.ending
        assert ending is not None, stream.id
        headers = [] if stream.begun else head_of(stream.status)
        headers.append((b"grpc-status", b"%d" % ending.code))
        if ending.code != OK.code:
            text = quote(ending.message[:TEXT_MAX], safe=UNQUOTED, errors="replace")
            headers.append((b"grpc-message", text.encode()))
        out.append(self._block(stream.id, END_STREAM, headers))
        if not stream.half_closed:  # RFC 9113 8.1: the peer need not go on
            out.append(frame_head(RST_STREAM, 0, stream.id, 4) + Code.NO_ERROR.to_bytes(4))
        del self.streams[stream.id]

    def _block(self, stream_id: int, flags: int, headers: list[tuple[bytes, bytes]]) -> bytes:
        block = self.encoder.encode(headers)
        assert len(block) <= FRAME_BYTES_MAX, len(block)
        return frame_head(HEADERS, flags | END_HEADERS, stream_id, len(block)) + block


def frame_head(kind: int, flags: int, stream_id: int, size: int) -> bytes:
    """The nine bytes before a frame's body."""
    return HEAD.pack(size >> 8, size & 255, kind, flags, stream_id)


def head_of(status: bytes) -> list[tuple[bytes, bytes]]:
    """The headers of an answer."""
    return [(b":status", status), (b"content-type", b"application/grpc")]


def piece(payload: bytes, offset: int, size: int) -> bytes:
    """`size` bytes from `offset` of a message, which is its 5-byte prefix and its payload."""
    if offset >= 5:
        return payload[offset - 5 : offset - 5 + size]
    return (b"\0" + len(payload).to_bytes(4) + payload[:size])[offset : offset + size]
