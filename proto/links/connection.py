"""A link without its socket: handshake, then frames, as one machine that is fed and asked.

What it is: what `sockets.py` moves bytes for, and what a simulated network can move them for. What
it is not: a socket, a clock, a judge of silence or of backlog.

Invariants:
- the events are Opened, then Received any number of times, and at most one Failed, which is last;
- how the input is cut never changes the events;
- after Failed, nothing is taken from it and nothing goes in: there is no goodbye on a broken link.

Worked example: a dialer's `take_output` gives its HELLO; when the listener's HELLO and CLAIM have
been fed to it, one at a time, the second feed answers [Opened(peer)], and `send(7, b"hi")` is a
frame behind its own CLAIM.

Tested in tests/unit/proto/links/test_connection.py, tests/property/test_links.py.
"""

from __future__ import annotations

from typing import NamedTuple

from kubebraid.base.limits import LINK_JOIN_BYTES_MAX
from kubebraid.base.links import Peer

from .frames import HEAD, PING, Reader, Received, Writer
from .handshake import Handshake, Identity, Step
from .reasons import LinkBroken, Reason


class Opened(NamedTuple):
    """The other side has proved itself."""

    peer: Peer


class Failed(NamedTuple):
    """The link has ended."""

    reason: Reason
    detail: str


Event = Opened | Received | Failed


class Connection:
    """One side of one link.

    `side`: DIALER or LISTENER. `pending`: bytes that wait for `take_output`. `peer`: None until
    Opened, and it stays.
    """

    def __init__(self, side: int, me: Identity, secret: bytes | None, nonce: bytes) -> None:
        self.side = side
        self.pending = 0
        self.peer: Peer | None = None
        self._failed = False
        self._handshake: Handshake | None = Handshake(side, me, secret, nonce)
        self._writer: Writer | None = None
        self._reader: Reader | None = None
        self._output: list[bytes] = []
        self._take_handshake(self._handshake)

    @property
    def incomplete(self) -> bool:
        """A frame has begun to arrive and is not whole."""
        return self._reader is not None and self._reader.incomplete

    @property
    def frames(self) -> int:
        """Whole frames so far, pings too: it grows while the other side gets on."""
        return 0 if self._reader is None else self._reader.count

    def ending(self) -> Reason:
        """What it means if the other side ends the connection now."""
        shunned = self._handshake is not None and self._handshake.step is Step.CLAIM
        return Reason.SHUNNED if shunned else Reason.ENDED

    def feed(self, data: bytes | memoryview) -> list[Event]:
        """What the next bytes of the other side tell."""
        if self._failed:
            return []
        events: list[Event] = []
        if self._handshake is not None:
            try:
                data = self._feed_handshake(self._handshake, data, events)
            except LinkBroken as error:
                return [self._fail(error)]
        if self._reader is not None and data:
            events += self._reader.feed(data)
            if self._reader.broken is not None:
                events.append(self._fail(self._reader.broken))
        return events

    def _feed_handshake(
        self, handshake: Handshake, data: bytes | memoryview, events: list[Event]
    ) -> bytes:
        handshake.feed(data)
        self._take_handshake(handshake)
        if handshake.step is not Step.NOTHING:
            return b""
        assert handshake.keys is not None
        assert handshake.peer is not None
        self.peer = handshake.peer
        self._writer, self._reader = Writer(handshake.keys.send), Reader(handshake.keys.receive)
        self._handshake = None
        events.append(Opened(handshake.peer))
        return handshake.rest

    def _take_handshake(self, handshake: Handshake) -> None:
        if output := handshake.take_output():
            self._output.append(output)
            self.pending += len(output)

    def _fail(self, error: LinkBroken) -> Failed:
        self.drop()
        return Failed(error.reason, error.detail)

    def drop(self) -> None:
        """Ends it: nothing goes in or comes out any more."""
        self._failed = True
        self._output, self.pending = [], 0

    def send(self, kind: int, body: bytes) -> None:
        """Queues a message of a role; nothing after Failed. Before Opened it is an error of ours"""
        assert kind != PING, "kind 0 is a ping"
        self._frame(kind, body)

    def ping(self) -> None:
        """Queues a sign of life."""
        self._frame(PING, b"")

    def _frame(self, kind: int, body: bytes) -> None:
        if self._failed:
            return
        assert self._writer is not None, "sent before the link was opened"
        self._output.append(self._writer.frame(kind, body))
        if body:
            self._output.append(body)
        self.pending += HEAD.size + len(body)

    def take_output(self) -> list[bytes]:
        """What is to be sent, in order; small amounts in one piece."""
        output, self._output = self._output, []
        pending, self.pending = self.pending, 0
        if pending <= LINK_JOIN_BYTES_MAX and len(output) > 1:
            return [b"".join(output)]
        return output
