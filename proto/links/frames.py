"""Frames: messages with a counter and a MAC; bytes in, messages out, and the other way round.

What it is: one direction of a link after the handshake, as two values, `Writer` and `Reader`. What
it is not: a socket, a handshake, an encoding of messages, or a secret: bodies travel in the clear.

    u32 body length | u64 counter | 16 bytes of MAC | u16 kind | body

The MAC is HMAC-SHA256 (RFC 2104) over everything else in that order, cut to 16 bytes; its key
belongs to one direction of one connection. Kind 0 is a ping: it shows life and is handed to nobody.

Invariants:
- how the input is cut never changes what comes out: the same messages, in the same order;
- no byte of a message is handed out before its MAC is right, and the counters are 0, 1, 2, ...;
- after the first wrong frame nothing comes out any more: `broken` says why;
- a Reader keeps one incomplete frame; each byte of a body is copied once.

A length is believed until its frame is complete, for only then can its MAC be judged: whoever reads
from a network bounds the time that `incomplete` may last (LINK_FRAME_MS_MAX).

Worked example: `Writer(key).frame(7, b"hi")` gives 30 bytes of head and b"hi"; a `Reader(key)` fed
with the first 31 bytes says [], with the last one [Received(7, b"hi")].

Tested in tests/unit/proto/links/test_frames.py, tests/property/test_links.py.
"""

from __future__ import annotations

import hashlib
from hmac import compare_digest
from io import BytesIO
from struct import Struct
from typing import Final, NamedTuple

from kubebraid.base.limits import LINK_BODY_BYTES_MAX

from .reasons import LinkBroken, Reason

HEAD: Final = Struct(">IQ16sH")
SIGNED: Final = Struct(">IQ")  # what the MAC covers before itself
KIND: Final = Struct(">H")
MAC_BYTES: Final = 16
PING: Final = 0
KIND_MAX: Final = 2**16 - 1
KEY_BYTES: Final = 32
BLOCK_BYTES: Final = 64  # of SHA-256
assert HEAD.size == SIGNED.size + MAC_BYTES + KIND.size


class Received(NamedTuple):
    """A message, whole and proved."""

    kind: int
    body: bytes


class _Mac:
    """HMAC-SHA256 with the key's two blocks hashed once: half the cost of a short frame."""

    __slots__ = ("inner", "outer")

    def __init__(self, key: bytes) -> None:
        assert len(key) == KEY_BYTES, len(key)
        block = key.ljust(BLOCK_BYTES, b"\0")
        self.inner = hashlib.sha256(bytes(byte ^ 0x36 for byte in block))
        self.outer = hashlib.sha256(bytes(byte ^ 0x5C for byte in block))


class Writer:
    """Makes the frames of one direction."""

    def __init__(self, key: bytes) -> None:
        self._mac = _Mac(key)
        self._counter = 0

    def frame(self, kind: int, body: bytes) -> bytes:
        """The head that goes before `body`, which the caller sends as it is."""
        assert 0 <= kind <= KIND_MAX, kind
        assert len(body) <= LINK_BODY_BYTES_MAX, len(body)
        counter = self._counter
        self._counter = counter + 1
        size = len(body)
        tag = self._mac.inner.copy()
        tag.update(SIGNED.pack(size, counter) + KIND.pack(kind))
        tag.update(body)
        proof = self._mac.outer.copy()
        proof.update(tag.digest())
        return HEAD.pack(size, counter, proof.digest()[:MAC_BYTES], kind)


class _Begun:
    """A frame of which the head is known and the body is on its way."""

    __slots__ = ("kind", "left", "mac", "room", "tag")

    def __init__(self, inner: hashlib._Hash, head: tuple[int, int, bytes, int]) -> None:
        self.left, counter, self.mac, self.kind = head
        assert self.left > 0, "a frame without a body is whole with its head"
        self.tag = inner.copy()
        self.tag.update(SIGNED.pack(self.left, counter) + KIND.pack(self.kind))
        self.room = BytesIO()  # `getvalue` hands its memory out without a copy
        self.room.seek(self.left - 1)
        self.room.write(b"\0")  # all of it at once: what grows is copied again and again
        self.room.seek(0)

    def fill(self, view: memoryview) -> memoryview:
        """Takes its part of `view`; answers the rest."""
        part = view[: self.left]
        self.tag.update(part)
        self.room.write(part)
        self.left -= len(part)
        return view[len(part) :]


class Reader:
    """Takes the frames of one direction apart.

    `broken`: why nothing more will come. `count`: whole frames so far, pings too. `incomplete`: a
    frame has begun and is not whole.
    """

    def __init__(self, key: bytes) -> None:
        self.broken: LinkBroken | None = None
        self.count = 0
        self._mac = _Mac(key)
        self._head = b""  # of a frame, as long as it is not whole
        self._begun: _Begun | None = None

    @property
    def incomplete(self) -> bool:
        return self._begun is not None or bool(self._head)

    def feed(self, data: bytes | memoryview) -> list[Received]:
        """The messages that the next bytes complete."""
        found: list[Received] = []
        if self.broken is not None:
            return found
        view = memoryview(data)
        try:
            if self._begun is not None or self._head:
                view = self._go_on(view, found)
            if view:
                self._parse(view, found)
        except LinkBroken as error:
            self.broken = error
            self._begun, self._head = None, b""
        return found

    def _go_on(self, view: memoryview, found: list[Received]) -> memoryview:
        """Feeds the frame that has begun; answers what follows it, empty if it is not whole."""
        if self._begun is None:
            missing = HEAD.size - len(self._head)
            self._head += bytes(view[:missing])
            view = view[missing:]
            if len(self._head) < HEAD.size:
                return view
            head, self._head = self._head, b""
            self._parse(memoryview(head), found)  # a whole frame, or its head
            if self._begun is None:
                return view
        view = self._begun.fill(view)
        if not self._begun.left:
            begun, self._begun = self._begun, None
            self._accept(begun.tag, begun.mac)
            if begun.kind != PING:
                found.append(Received(begun.kind, begun.room.getvalue()))
        return view

    def _parse(self, data: memoryview, found: list[Received]) -> None:
        """The whole frames of `data`, which begins with one; the rest is kept."""
        inner, size, at = self._mac.inner, len(data), 0
        while size - at >= HEAD.size:
            length, counter, mac, kind = HEAD.unpack_from(data, at)
            if counter != self.count:
                raise LinkBroken(Reason.COUNTER, f"{counter} where {self.count} is due")
            if length > LINK_BODY_BYTES_MAX:
                raise LinkBroken(Reason.LENGTH, f"{length} bytes")
            at += HEAD.size
            if length > size - at:
                self._begun = _Begun(inner, (length, counter, mac, kind))
                self._begun.fill(data[at:])
                return
            tag = inner.copy()
            body = bytes(data[at : at + length])
            tag.update(SIGNED.pack(length, counter) + KIND.pack(kind))
            tag.update(body)
            self._accept(tag, mac)
            at += length
            if kind != PING:
                found.append(Received(kind, body))
        self._head = bytes(data[at:])

    def _accept(self, tag: hashlib._Hash, mac: bytes) -> None:
        proof = self._mac.outer.copy()
        proof.update(tag.digest())
        if not compare_digest(proof.digest()[:MAC_BYTES], mac):
            raise LinkBroken(Reason.MAC)
        self.count += 1
