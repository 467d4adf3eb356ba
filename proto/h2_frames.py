"""HTTP/2 and gRPC framing of streams, server side: bytes in, events out; answers in, bytes out.

What it is: one connection as a value that is fed and asked, for bidi methods behind the native
front. What it is not: a socket, a clock, or a judge of methods (`stream_h2.py`). It does no push,
no priorities, and answers are never compressed.

Words: a stream's *queue* is what it has been sent and no frame carries yet; *credit* is what the
peer may send us; a stream is *deaf* once nothing that it says can matter.

Invariants:
- how the input is cut never changes what comes out: the same events, in the same order;
- DATA never exceeds the peer's windows; a stream that waits for a window costs nothing until then;
- every OPENED stream is told gone exactly once: by CLOSED, or as ended by `take`, while the
  connection lives;
- the memory of the input is bounded: a frame, a header block, one message a stream; unsent control
  frames are bounded too, a peer that makes more of them and reads none is sent away;
- what breaks one stream resets it; what breaks the connection ends it with one GOAWAY.

Worked example: the preface, SETTINGS, HEADERS of stream 1 and DATA `00 00000001 61` give
(OPENED, 1), (MESSAGE, 1, b"a"); then `output.send(1, b"b")` and `output.take(65536)` give a HEADERS
and a DATA frame and [(1, 1, False)]: one byte of payload of stream 1 is on its way.

Source: RFC 9113, RFC 7541 (by hpack), gRPC's PROTOCOL-HTTP2.md; texts as grpc-go's. Tested in
tests/unit/proto/test_h2_frames.py.
"""

from __future__ import annotations

import struct
import zlib
from collections import deque
from enum import IntEnum
from typing import Final, NamedTuple
from urllib.parse import quote

from hpack import Decoder, Encoder, HPACKError

from .front_rules import OK, RESOURCE_EXHAUSTED, UNIMPLEMENTED, Ending, too_large

PREFACE: Final = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
FRAME_BYTES_MAX: Final = 16_384  # the least that HTTP/2 allows, and what we let the peer send
WINDOW_DEFAULT: Final = 65_535
WINDOW_MAX: Final = 2**31 - 1
STREAM_CREDIT: Final = 1024 * 1024
CONNECTION_CREDIT: Final = 16 * 1024 * 1024
HEADER_BYTES_MAX: Final = 64 * 1024  # of a block, and of what it unpacks to; Rust lets 16 KiB pass
CONTROL_BYTES_MAX: Final = 512 * 1024  # above what one read of the socket can ask for
QUANTUM_BYTES: Final = 64 * 1024  # what a stream may add before the next has its turn
TEXT_MAX: Final = 1_024  # of a status; quoted it still fits a frame, and what peers take of headers
TABLE_BYTES_MAX: Final = 4_096  # HPACK's default: what we keep of the peer's larger offer
assert STREAM_CREDIT <= CONNECTION_CREDIT <= WINDOW_MAX
assert 12 * TEXT_MAX < FRAME_BYTES_MAX

DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS, PUSH_PROMISE, PING, GOAWAY = range(8)
WINDOW_UPDATE, CONTINUATION = 8, 9
END_STREAM = ACK = 0x1
END_HEADERS, PADDED, PRIORITIZED = 0x4, 0x8, 0x20
TABLE_SIZE, ENABLE_PUSH, CONCURRENT, INITIAL_WINDOW, FRAME_SIZE = range(1, 6)

INTERNAL: Final = 13
UNQUOTED: Final = "".join(chr(c) for c in range(0x20, 0x7F) if c != ord("%"))
HEAD: Final = struct.Struct(">HBBBI")  # length as 16 + 8 bits, type, flags, stream
DATA_HEAD: Final = struct.Struct(">HBBBIBI")  # ... and the prefix of a gRPC message
GZIP_BITS: Final = 31


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


class What(IntEnum):
    """What the peer did."""

    OPENED = 0
    MESSAGE = 1
    HALF_CLOSED = 2
    CLOSED = 3


class Event(NamedTuple):
    """`payload` belongs to MESSAGE, `headers` to OPENED."""

    what: What
    stream: int
    payload: bytes = b""
    headers: dict[bytes, bytes] | None = None


# What `take` took of a stream: its number, bytes of whole payloads, whether it is ended and gone.
# A plain tuple: one is made a message, and a named one costs 0.2 us more.
Taken = tuple[int, int, bool]


class _Broken(Exception):
    """The connection cannot go on."""

    definite = True
    hint = "the peer does not speak HTTP/2 as RFC 9113 has it"

    def __init__(self, code: Code, reason: str) -> None:
        super().__init__(reason)
        self.code = code


class _Stream:
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
        self.streams: dict[int, _Stream] = {}
        self.control = bytearray()
        self.frame_max = FRAME_BYTES_MAX
        self.stream_window = WINDOW_DEFAULT  # of a new stream
        self.encoder = Encoder()
        self._window = WINDOW_DEFAULT
        self._ready: deque[_Stream] = deque()  # have something to send, and a window of their own
        self._starved: list[_Stream] = []  # ... but wait for the connection's window
        self._gone: list[Taken] = []  # cut off, not told yet

    def put(self, kind: int, flags: int, stream_id: int, body: bytes = b"") -> None:
        """Queues a control frame, ahead of all data."""
        self.control += _frame_head(kind, flags, stream_id, len(body)) + body

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
            raise _Broken(Code.FLOW_CONTROL_ERROR, f"the connection's window grows by {increment}")
        if self._window > 0:
            self._ready.extend(self._starved)
            self._starved.clear()

    def grow_stream(self, stream: _Stream, increment: int) -> bool:
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
            raise _Broken(Code.FLOW_CONTROL_ERROR, f"INITIAL_WINDOW_SIZE {window}")
        for stream in self.streams.values():
            if not self.grow_stream(stream, change):  # may fall below 0: RFC 9113 6.9.2
                raise _Broken(Code.FLOW_CONTROL_ERROR, f"window of stream {stream.id}")

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

    def _wake(self, stream: _Stream) -> None:
        """Lines a stream up for `take`, if it has something that its own window lets out."""
        if stream.ready or not (stream.window > 0 if stream.queue else stream.ending):
            return
        stream.ready = True
        starved = stream.queue and self._window <= 0
        (self._starved if starved else self._ready).append(stream)

    def _fill(self, stream: _Stream, out: list[bytes], room: int) -> tuple[int, int]:
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
                out.append(_frame_head(DATA, 0, stream_id, sent))
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

    def _finish(self, stream: _Stream, out: list[bytes]) -> None:
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
            out.append(_frame_head(RST_STREAM, 0, stream.id, 4) + Code.NO_ERROR.to_bytes(4))
        del self.streams[stream.id]

    def _block(self, stream_id: int, flags: int, headers: list[tuple[bytes, bytes]]) -> bytes:
        block = self.encoder.encode(headers)
        assert len(block) <= FRAME_BYTES_MAX, len(block)
        return _frame_head(HEADERS, flags | END_HEADERS, stream_id, len(block)) + block


class Connection:
    """One HTTP/2 connection: its input, and `output`.

    `closed`: nothing more will be read; take what is left and close.
    """

    def __init__(self, message_bytes_max: int) -> None:
        assert message_bytes_max > 0, message_bytes_max
        self.closed = False
        self._limit = message_bytes_max
        self._input = bytearray()
        self._preface, self._settled = False, False
        self._block: tuple[int, int, bytearray] | None = None  # a header block that goes on
        self._decoder = Decoder(HEADER_BYTES_MAX)
        self.output = Output()
        self._streams = self.output.streams
        self._last = 0  # the highest stream that the peer has opened
        self._credit = CONNECTION_CREDIT
        self._events: list[Event] = []
        offer = (CONCURRENT, WINDOW_MAX, INITIAL_WINDOW, STREAM_CREDIT)
        self.output.put(SETTINGS, 0, 0, struct.pack(">HIHI", *offer))
        self.output.put(WINDOW_UPDATE, 0, 0, (CONNECTION_CREDIT - WINDOW_DEFAULT).to_bytes(4))

    def receive(self, data: bytes) -> list[Event]:
        """What the peer's next bytes tell."""
        self._events = []
        if self.closed:
            return self._events
        self._input += data
        try:
            self._parse()
        except _Broken as error:
            self.close(error.code, str(error))
        if len(self.output.control) > CONTROL_BYTES_MAX:
            self.output.control.clear()
            self.close(Code.ENHANCE_YOUR_CALM, "answers are asked for and not read")
        return self._events

    def _parse(self) -> None:
        data, at = self._input, 0
        if not self._preface:
            if not PREFACE.startswith(data[: len(PREFACE)]):
                raise _Broken(Code.PROTOCOL_ERROR, "no HTTP/2 preface")
            if len(data) < len(PREFACE):
                return  # so far it fits
            self._preface, at = True, len(PREFACE)
        try:
            while len(data) - at >= 9:
                high, low, kind, flags, stream_id = HEAD.unpack_from(data, at)
                size = high << 8 | low
                if size > FRAME_BYTES_MAX:
                    raise _Broken(Code.FRAME_SIZE_ERROR, f"frame of {size} bytes")
                end = at + 9 + size
                if len(data) < end:
                    break
                self._frame(kind, flags, stream_id & WINDOW_MAX, bytes(data[at + 9 : end]))
                at = end
        finally:
            del data[:at]

    def _frame(self, kind: int, flags: int, stream_id: int, body: bytes) -> None:
        if not self._settled and (kind != SETTINGS or flags & ACK):
            raise _Broken(Code.PROTOCOL_ERROR, "SETTINGS come first")
        if self._block is not None and (kind, stream_id) != (CONTINUATION, self._block[0]):
            raise _Broken(Code.PROTOCOL_ERROR, "a header block is cut short")
        if kind > CONTINUATION:
            return  # RFC 9113 4.1: what is unknown is ignored
        on_connection, size, handle = FRAMES[kind]
        if handle is None:
            raise _Broken(Code.PROTOCOL_ERROR, "a client promises nothing")
        if on_connection is not None and on_connection != (stream_id == 0):
            raise _Broken(Code.PROTOCOL_ERROR, f"frame of type {kind} on stream {stream_id}")
        if size is not None and len(body) != size:
            raise _Broken(Code.FRAME_SIZE_ERROR, f"frame of type {kind} with {len(body)} bytes")
        if stream_id and stream_id % 2 == 0:
            raise _Broken(Code.PROTOCOL_ERROR, f"stream {stream_id} is not a client's")
        if stream_id > self._last and kind not in (HEADERS, PRIORITY, CONTINUATION):
            raise _Broken(Code.PROTOCOL_ERROR, f"stream {stream_id} is idle")
        handle(self, stream_id, flags, body)

    def _data(self, stream_id: int, flags: int, body: bytes) -> None:
        self._credit -= len(body)
        if self._credit < 0:
            raise _Broken(Code.FLOW_CONTROL_ERROR, "more than the connection's window")
        if self._credit < CONNECTION_CREDIT // 2:
            self.output.put(WINDOW_UPDATE, 0, 0, (CONNECTION_CREDIT - self._credit).to_bytes(4))
            self._credit = CONNECTION_CREDIT
        data = _unpadded(flags, body)
        stream = self._streams.get(stream_id)
        if stream is None:
            return  # gone already; the peer did not know
        stream.credit -= len(body)
        if stream.half_closed or stream.credit < 0:
            over = stream.credit < 0
            self._break(stream, Code.FLOW_CONTROL_ERROR if over else Code.STREAM_CLOSED)
            return
        if not stream.deaf:
            self._feed(stream, data)
        if flags & END_STREAM:
            self._half_close(stream)
        elif stream.credit < STREAM_CREDIT // 2:
            increment = STREAM_CREDIT - stream.credit
            self.output.put(WINDOW_UPDATE, 0, stream_id, increment.to_bytes(4))
            stream.credit = STREAM_CREDIT

    def _feed(self, stream: _Stream, data: bytes) -> None:
        """Takes the whole messages out of what has come in."""
        inbox, at = stream.inbox, 0
        inbox += data
        while len(inbox) - at >= 5:
            size = int.from_bytes(inbox[at + 1 : at + 5])
            if size > self._limit:
                self._refuse(stream, too_large(size, self._limit))
                return
            if len(inbox) - at - 5 < size:
                break
            message = bytes(inbox[at + 5 : at + 5 + size])
            found = unpack(message, inbox[at], stream.encoding, self._limit)
            if isinstance(found, Ending):
                self._refuse(stream, found)
                return
            at += 5 + size
            self._events.append(Event(What.MESSAGE, stream.id, found))
        del inbox[:at]

    def _half_close(self, stream: _Stream) -> None:
        stream.half_closed = True
        if stream.deaf:
            return
        if stream.inbox:
            self._refuse(stream, Ending(INTERNAL, "unexpected EOF"))
        else:
            self._events.append(Event(What.HALF_CLOSED, stream.id))

    def _refuse(self, stream: _Stream, ending: Ending) -> None:
        stream.deaf = True
        stream.inbox.clear()
        self.output.end(stream.id, ending)

    def _headers(self, stream_id: int, flags: int, body: bytes) -> None:
        block = _unpadded(flags, body)
        if flags & PRIORITIZED:
            if len(block) < 5:
                raise _Broken(Code.FRAME_SIZE_ERROR, "HEADERS end in their priority")
            block = block[5:]
        self._block = (stream_id, flags, bytearray(block))
        self._end_block(flags)

    def _continuation(self, stream_id: int, flags: int, body: bytes) -> None:
        if self._block is None:
            raise _Broken(Code.PROTOCOL_ERROR, f"stream {stream_id} continues nothing")
        self._block[2].extend(body)
        if len(self._block[2]) > HEADER_BYTES_MAX:
            raise _Broken(Code.ENHANCE_YOUR_CALM, "header block too long")
        self._end_block(flags)

    def _end_block(self, flags: int) -> None:
        if not flags & END_HEADERS or self._block is None:
            return
        (stream_id, first, block), self._block = self._block, None
        try:  # also for a stream that is gone: the block changes the table of all
            headers = self._decoder.decode(bytes(block), raw=True)
        except HPACKError as error:
            raise _Broken(Code.COMPRESSION_ERROR, str(error)) from error
        stream = self._streams.get(stream_id)
        if stream is not None:  # trailers
            if first & END_STREAM and not stream.half_closed:
                self._half_close(stream)
            else:
                self._break(stream, Code.PROTOCOL_ERROR)
        elif stream_id > self._last:
            self._last = stream_id
            stream = self._streams[stream_id] = _Stream(stream_id, self.output.stream_window)
            found = {bytes(name): bytes(value) for name, value in headers}
            stream.encoding = found.get(b"grpc-encoding", b"")
            self._events.append(Event(What.OPENED, stream_id, b"", found))
            if first & END_STREAM:
                self._half_close(stream)

    def _rst_stream(self, stream_id: int, _flags: int, _body: bytes) -> None:
        if self._streams.pop(stream_id, None) is not None:
            self._events.append(Event(What.CLOSED, stream_id))

    def _settings(self, _stream_id: int, flags: int, body: bytes) -> None:
        if len(body) % 6 or (flags & ACK and body):
            raise _Broken(Code.FRAME_SIZE_ERROR, f"SETTINGS of {len(body)} bytes")
        if flags & ACK:
            return
        self._settled = True
        for name, value in struct.iter_unpack(">HI", body):
            if name == TABLE_SIZE:
                self.output.encoder.header_table_size = min(value, TABLE_BYTES_MAX)
            elif name == INITIAL_WINDOW:
                self.output.change_windows(value)
            elif name == FRAME_SIZE:
                if not FRAME_BYTES_MAX <= value < 2**24:
                    raise _Broken(Code.PROTOCOL_ERROR, f"MAX_FRAME_SIZE {value}")
                self.output.frame_max = value
            elif name == ENABLE_PUSH and value > 1:
                raise _Broken(Code.PROTOCOL_ERROR, f"ENABLE_PUSH {value}")
        self.output.put(SETTINGS, ACK, 0)

    def _ping(self, _stream_id: int, flags: int, body: bytes) -> None:
        if not flags & ACK:
            self.output.put(PING, ACK, 0, body)

    def _window_update(self, stream_id: int, _flags: int, body: bytes) -> None:
        increment = int.from_bytes(body) & WINDOW_MAX
        if stream_id == 0:
            if increment == 0:
                raise _Broken(Code.PROTOCOL_ERROR, "the connection's window grows by 0")
            self.output.grow(increment)
            return
        stream = self._streams.get(stream_id)
        if stream is None:
            return
        if increment == 0:
            self._break(stream, Code.PROTOCOL_ERROR)
        elif not self.output.grow_stream(stream, increment):
            self._break(stream, Code.FLOW_CONTROL_ERROR)

    def _ignored(self, _stream_id: int, _flags: int, _body: bytes) -> None:
        """GOAWAY: the peer closes when its streams are done. PRIORITY: there is none."""

    def _break(self, stream: _Stream, code: Code) -> None:
        """Resets a stream that cannot go on."""
        del self._streams[stream.id]
        self.output.put(RST_STREAM, 0, stream.id, code.to_bytes(4))
        self._events.append(Event(What.CLOSED, stream.id))

    def refuse(self, stream_id: int, ending: Ending, status: bytes = b"200") -> None:
        """Ends a stream that was just opened, with an HTTP status, and hears no more of it."""
        stream = self._streams.get(stream_id)
        if stream is not None:
            stream.status, stream.ending = status, None  # whatever its first message deserved
            self._refuse(stream, ending)

    def close(self, code: Code = Code.NO_ERROR, reason: str = "") -> None:
        """Says goodbye, once: `take` gives what is left of it."""
        if not self.closed:
            self.closed = True
            body = struct.pack(">II", self._last, code) + reason.encode()
            self.output.put(GOAWAY, 0, 0, body)


# type -> on the connection (True), a stream (False) or both (None); its size; its handler
FRAMES: Final = (
    (False, None, Connection._data),
    (False, None, Connection._headers),
    (False, 5, Connection._ignored),
    (False, 4, Connection._rst_stream),
    (True, None, Connection._settings),
    (False, None, None),
    (True, 8, Connection._ping),
    (True, None, Connection._ignored),
    (None, 4, Connection._window_update),
    (False, None, Connection._continuation),
)
assert len(FRAMES) == CONTINUATION + 1


def _frame_head(kind: int, flags: int, stream_id: int, size: int) -> bytes:
    return HEAD.pack(size >> 8, size & 255, kind, flags, stream_id)


def head_of(status: bytes) -> list[tuple[bytes, bytes]]:
    """The headers of an answer."""
    return [(b":status", status), (b"content-type", b"application/grpc")]


def piece(payload: bytes, offset: int, size: int) -> bytes:
    """`size` bytes from `offset` of a message, which is its 5-byte prefix and its payload."""
    if offset >= 5:
        return payload[offset - 5 : offset - 5 + size]
    return (b"\0" + len(payload).to_bytes(4) + payload[:size])[offset : offset + size]


def unpack(message: bytes, flag: int, encoding: bytes, limit: int) -> bytes | Ending:
    """What a message with a flag holds, or why it cannot be had: only gzip is known."""
    if flag == 0:
        return message
    if flag != 1:
        return Ending(INTERNAL, f"grpc: received unexpected payload format {flag}")
    if encoding in (b"", b"identity"):
        return Ending(INTERNAL, "grpc: compressed flag set with identity or empty encoding")
    if encoding != b"gzip":
        text = f'"{encoding.decode(errors="replace")}"'
        return Ending(
            UNIMPLEMENTED, f"grpc: Decompressor is not installed for grpc-encoding {text}"
        )
    unzip = zlib.decompressobj(GZIP_BITS)
    try:
        payload = unzip.decompress(message, limit + 1)
    except zlib.error as error:
        return Ending(INTERNAL, f"grpc: failed to decompress the received message: {error}")
    if len(payload) > limit:  # how much larger, only a bomb would tell
        text = f"grpc: received message after decompression larger than max {limit}"
        return Ending(RESOURCE_EXHAUSTED, text)
    if not unzip.eof:
        return Ending(INTERNAL, "grpc: failed to decompress the received message: unexpected EOF")
    return payload


def _unpadded(flags: int, body: bytes) -> bytes:
    if not flags & PADDED:
        return body
    if not body or body[0] >= len(body):
        raise _Broken(Code.PROTOCOL_ERROR, "more padding than frame")
    return body[1 : len(body) - body[0]]
