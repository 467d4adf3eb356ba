"""HTTP/2 and gRPC framing of streams, server side: bytes in, events out; answers in, bytes out.

What it is: one connection as a value that is fed and asked, for bidi methods behind the native
front. What it is not: a socket, a clock, a judge of methods (`stream_h2.py`) or the order of what
is sent (`h2_output.py`). It does no push, no priorities, and answers are never compressed.

Words: a stream's *queue* is what it has been sent and no frame carries yet; *credit* is what the
peer may send us; a stream is *deaf* once nothing that it says can matter.

Invariants:
- how the input is cut never changes what comes out: the same events, in the same order;
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
from enum import IntEnum
from typing import Final, NamedTuple

from hpack import Decoder, HPACKError

from .front_rules import RESOURCE_EXHAUSTED, UNIMPLEMENTED, Ending, too_large
from .h2_output import (
    ACK,
    CONTINUATION,
    END_HEADERS,
    END_STREAM,
    FRAME_BYTES_MAX,
    GOAWAY,
    HEAD,
    HEADERS,
    PADDED,
    PING,
    PRIORITIZED,
    PRIORITY,
    RST_STREAM,
    SETTINGS,
    STREAM_CREDIT,
    WINDOW_DEFAULT,
    WINDOW_MAX,
    WINDOW_UPDATE,
    Broken,
    Code,
    Output,
    Stream,
)

PREFACE: Final = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
CONNECTION_CREDIT: Final = 16 * 1024 * 1024
HEADER_BYTES_MAX: Final = 64 * 1024  # of a block, and of what it unpacks to; Rust lets 16 KiB pass
CONTROL_BYTES_MAX: Final = 512 * 1024  # above what one read of the socket can ask for
TABLE_BYTES_MAX: Final = 4_096  # HPACK's default: what we keep of the peer's larger offer
assert STREAM_CREDIT <= CONNECTION_CREDIT <= WINDOW_MAX

TABLE_SIZE, ENABLE_PUSH, CONCURRENT, INITIAL_WINDOW, FRAME_SIZE = range(1, 6)

INTERNAL: Final = 13
GZIP_BITS: Final = 31


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
        except Broken as error:
            self.close(error.code, str(error))
        if len(self.output.control) > CONTROL_BYTES_MAX:
            self.output.control.clear()
            self.close(Code.ENHANCE_YOUR_CALM, "answers are asked for and not read")
        return self._events

    def _parse(self) -> None:
        data, at = self._input, 0
        if not self._preface:
            if not PREFACE.startswith(data[: len(PREFACE)]):
                raise Broken(Code.PROTOCOL_ERROR, "no HTTP/2 preface")
            if len(data) < len(PREFACE):
                return  # so far it fits
            self._preface, at = True, len(PREFACE)
        try:
            while len(data) - at >= 9:
                high, low, kind, flags, stream_id = HEAD.unpack_from(data, at)
                size = high << 8 | low
                if size > FRAME_BYTES_MAX:
                    raise Broken(Code.FRAME_SIZE_ERROR, f"frame of {size} bytes")
                end = at + 9 + size
                if len(data) < end:
                    break
                self._frame(kind, flags, stream_id & WINDOW_MAX, bytes(data[at + 9 : end]))
                at = end
        finally:
            del data[:at]

    def _frame(self, kind: int, flags: int, stream_id: int, body: bytes) -> None:
        if not self._settled and (kind != SETTINGS or flags & ACK):
            raise Broken(Code.PROTOCOL_ERROR, "SETTINGS come first")
        if self._block is not None and (kind, stream_id) != (CONTINUATION, self._block[0]):
            raise Broken(Code.PROTOCOL_ERROR, "a header block is cut short")
        if kind > CONTINUATION:
            return  # RFC 9113 4.1: what is unknown is ignored
        on_connection, size, handle = FRAMES[kind]
        if handle is None:
            raise Broken(Code.PROTOCOL_ERROR, "a client promises nothing")
        if on_connection is not None and on_connection != (stream_id == 0):
            raise Broken(Code.PROTOCOL_ERROR, f"frame of type {kind} on stream {stream_id}")
        if size is not None and len(body) != size:
            raise Broken(Code.FRAME_SIZE_ERROR, f"frame of type {kind} with {len(body)} bytes")
        if stream_id and stream_id % 2 == 0:
            raise Broken(Code.PROTOCOL_ERROR, f"stream {stream_id} is not a client's")
        if stream_id > self._last and kind not in (HEADERS, PRIORITY, CONTINUATION):
            raise Broken(Code.PROTOCOL_ERROR, f"stream {stream_id} is idle")
        handle(self, stream_id, flags, body)

    def _data(self, stream_id: int, flags: int, body: bytes) -> None:
        self._credit -= len(body)
        if self._credit < 0:
            raise Broken(Code.FLOW_CONTROL_ERROR, "more than the connection's window")
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

    def _feed(self, stream: Stream, data: bytes) -> None:
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

    def _half_close(self, stream: Stream) -> None:
        stream.half_closed = True
        if stream.deaf:
            return
        if stream.inbox:
            self._refuse(stream, Ending(INTERNAL, "unexpected EOF"))
        else:
            self._events.append(Event(What.HALF_CLOSED, stream.id))

    def _refuse(self, stream: Stream, ending: Ending) -> None:
        stream.deaf = True
        stream.inbox.clear()
        self.output.end(stream.id, ending)

    def _headers(self, stream_id: int, flags: int, body: bytes) -> None:
        block = _unpadded(flags, body)
        if flags & PRIORITIZED:
            if len(block) < 5:
                raise Broken(Code.FRAME_SIZE_ERROR, "HEADERS end in their priority")
            block = block[5:]
        self._block = (stream_id, flags, bytearray(block))
        self._end_block(flags)

    def _continuation(self, stream_id: int, flags: int, body: bytes) -> None:
        if self._block is None:
            raise Broken(Code.PROTOCOL_ERROR, f"stream {stream_id} continues nothing")
        self._block[2].extend(body)
        if len(self._block[2]) > HEADER_BYTES_MAX:
            raise Broken(Code.ENHANCE_YOUR_CALM, "header block too long")
        self._end_block(flags)

    def _end_block(self, flags: int) -> None:
        if not flags & END_HEADERS or self._block is None:
            return
        (stream_id, first, block), self._block = self._block, None
        try:  # also for a stream that is gone: the block changes the table of all
            headers = self._decoder.decode(bytes(block), raw=True)
        except HPACKError as error:
            raise Broken(Code.COMPRESSION_ERROR, str(error)) from error
        stream = self._streams.get(stream_id)
        if stream is not None:  # trailers
            if first & END_STREAM and not stream.half_closed:
                self._half_close(stream)
            else:
                self._break(stream, Code.PROTOCOL_ERROR)
        elif stream_id > self._last:
            self._last = stream_id
            stream = self._streams[stream_id] = Stream(stream_id, self.output.stream_window)
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
            raise Broken(Code.FRAME_SIZE_ERROR, f"SETTINGS of {len(body)} bytes")
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
                    raise Broken(Code.PROTOCOL_ERROR, f"MAX_FRAME_SIZE {value}")
                self.output.frame_max = value
            elif name == ENABLE_PUSH and value > 1:
                raise Broken(Code.PROTOCOL_ERROR, f"ENABLE_PUSH {value}")
        self.output.put(SETTINGS, ACK, 0)

    def _ping(self, _stream_id: int, flags: int, body: bytes) -> None:
        if not flags & ACK:
            self.output.put(PING, ACK, 0, body)

    def _window_update(self, stream_id: int, _flags: int, body: bytes) -> None:
        increment = int.from_bytes(body) & WINDOW_MAX
        if stream_id == 0:
            if increment == 0:
                raise Broken(Code.PROTOCOL_ERROR, "the connection's window grows by 0")
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

    def _break(self, stream: Stream, code: Code) -> None:
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
        raise Broken(Code.PROTOCOL_ERROR, "more padding than frame")
    return body[1 : len(body) - body[0]]
