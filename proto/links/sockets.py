"""One link over one non-blocking socket, on the loop's thread.

What it is: the shell around `connection.py`: it moves bytes, keeps time and counts what waits. What
it is not: who listens or dials (`endpoints.py`).

Words: a link is *blocked* while the kernel takes no more of it; its *owner* is the server that
accepted it or the dialer that made it.

Invariants:
- what was sent in a turn leaves at its end, in one `send` or `sendmsg` unless it is much;
- not a byte more than LINK_BACKLOG_BYTES_MAX and one message waits to be sent: then the link ends;
- each side shows life every LINK_PING_MS, and a link on which nothing was heard for LINK_DEAD_MS
  ends: so a peer that is stopped, or cut off, is noticed;
- a handshake, and a single frame, may take a bounded time.

Worked example: a peer is stopped by SIGSTOP; its kernel still takes our ping, but nothing comes;
three seconds after its last byte the link has ended with SILENT and `closed` is called.

Tested in tests/unit/proto/links/test_sockets.py, test_two_processes.py.
"""

from __future__ import annotations

import os
import socket
from collections import deque
from itertools import islice
from typing import Final, Protocol

from kubebraid.base.limits import (
    LINK_BACKLOG_BYTES_MAX,
    LINK_DEAD_MS,
    LINK_FRAME_MS_MAX,
    LINK_HANDSHAKE_MS_MAX,
    LINK_PIECES_MAX,
    LINK_PING_MS,
    LINK_READ_BYTES,
)
from kubebraid.base.links import LinkUser, Peer

from .connection import Connection, Failed, Opened
from .frames import Received
from .handshake import DIALER
from .network import Network
from .poller import READ, WRITE
from .reasons import Reason

WRITE_BYTES_TURN: Final = 4 * LINK_READ_BYTES  # of one link: the others get their turn


class Owner(Protocol):
    """Who made a link."""

    def opened(self, link: SocketLink) -> None:
        """Its peer has proved itself. Before the user hears of it."""

    def ended(self, link: SocketLink, reason: Reason, detail: str) -> None:
        """Once, after the user has heard of it."""


class SocketLink:
    """A `Link` of base/links.py, from the first byte of its handshake on."""

    def __init__(
        self,
        network: Network,
        sock: socket.socket,
        connection: Connection,
        user: LinkUser,
        owner: Owner,
    ) -> None:
        self._network, self._connection = network, connection
        self._user, self._owner = user, owner
        self._sock: socket.socket | None = sock
        self._out: deque[bytes | memoryview] = deque()
        self._unsent = 0  # bytes in `_out`
        self._dirty = False
        # A socket that still connects is writable when that is decided.
        self._blocked = self._connecting = connection.side == DIALER
        self._born_ms = self._heard_ms = self._sent_ms = network.now_ms
        self._frames, self._frame_ms = 0, self._born_ms  # when the last whole frame had come
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        network.poller.watch(sock, WRITE if self._connecting else READ, self._ready)
        network.add(self)

    # ---- what the user does

    @property
    def peer(self) -> Peer:
        peer = self._connection.peer
        assert peer is not None, "users see a link once it is opened"
        return peer

    @property
    def is_opened(self) -> bool:
        return self._connection.peer is not None

    def send(self, kind: int, body: bytes) -> None:
        if self._sock is None:
            return
        self._connection.send(kind, body)
        if self._unsent + self._connection.pending > LINK_BACKLOG_BYTES_MAX:
            self.fail(Reason.BACKLOG, f"{self.pending_bytes()} bytes")
        elif not self._dirty:
            self._flush_later()

    def pending_bytes(self) -> int:
        return self._unsent + self._connection.pending

    def close(self) -> None:
        if self._sock is not None:
            self.flush()
            self.fail(Reason.CLOSED)

    # ---- what the poller tells

    def _ready(self, mask: int) -> None:
        if self._sock is None:
            return  # ended in this very turn
        if self._connecting:
            self._connected(self._sock)
            return
        if mask & WRITE:
            self._blocked = False
            self._network.poller.rewatch(self._sock, READ, self._ready)
            self._flush_later()
        if mask & READ:
            self._read(self._sock)

    def _connected(self, sock: socket.socket) -> None:
        error = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if error:
            self.fail(Reason.NETWORK, os.strerror(error))
            return
        self._connecting = self._blocked = False
        self._network.poller.rewatch(sock, READ, self._ready)
        self._flush_later()

    def _read(self, sock: socket.socket) -> None:
        network, connection = self._network, self._connection
        try:
            size = sock.recv_into(network.buffer)
        except BlockingIOError:
            return
        except OSError as error:
            self._lose(error)
            return
        if size == 0:
            self.fail(connection.ending())
            return
        self._heard_ms = network.now_ms
        for event in connection.feed(network.buffer[:size]):
            if isinstance(event, Received):
                self._user.received(self, event.kind, event.body)
            elif isinstance(event, Opened):
                network.hurry(network.now_ms)  # from now on it has other deadlines
                self._owner.opened(self)
                self._user.opened(self)
            else:
                assert isinstance(event, Failed), event
                self.fail(event.reason, event.detail)
            if self._sock is None:
                return  # closed by the user, who hears no more of it
        if not connection.incomplete or self._frames != connection.frames:
            self._frames, self._frame_ms = connection.frames, network.now_ms
        if connection.pending and not self._dirty:
            self._flush_later()

    # ---- output

    def _flush_later(self) -> None:
        self._dirty = True
        self._network.flush_later(self)

    def flush(self) -> None:
        """Writes what the kernel takes, within this turn's share."""
        self._dirty = False
        sock, out = self._sock, self._out
        if sock is None or self._blocked:
            return
        self._unsent += self._connection.pending
        out += self._connection.take_output()
        share = WRITE_BYTES_TURN
        try:
            while out and share > 0:
                sent = sock.send(out[0]) if len(out) == 1 else _send(sock, out)
                share -= sent
                self._drop(sent)
        except BlockingIOError:
            self._blocked = True
            self._network.poller.rewatch(sock, READ | WRITE, self._ready)
        except OSError as error:
            self._lose(error)
            return
        if share < WRITE_BYTES_TURN:
            self._sent_ms = self._network.now_ms
        if out and not self._blocked:
            self._flush_later()

    def _drop(self, sent: int) -> None:
        """Forgets what was sent."""
        out = self._out
        self._unsent -= sent
        while out and sent >= len(out[0]):
            sent -= len(out.popleft())
        if sent:
            out[0] = memoryview(out[0])[sent:]

    # ---- time

    def tick(self, now_ms: int) -> int | None:
        if not self.is_opened:
            due_ms = self._born_ms + LINK_HANDSHAKE_MS_MAX
            if now_ms >= due_ms:
                what = "no connection" if self._connecting else "no proof"
                self.fail(Reason.LATE, f"{what} within {LINK_HANDSHAKE_MS_MAX} ms")
            return due_ms
        dead_ms = self._heard_ms + LINK_DEAD_MS
        if self._connection.incomplete and now_ms >= self._frame_ms + LINK_FRAME_MS_MAX:
            self.fail(Reason.STUCK, f"{LINK_FRAME_MS_MAX} ms")
            return None
        if now_ms >= dead_ms:
            self.fail(Reason.SILENT, f"{LINK_DEAD_MS} ms")
            return None
        ping_ms = self._sent_ms + LINK_PING_MS
        if now_ms >= ping_ms:
            ping_ms = now_ms + LINK_PING_MS
            if not self.pending_bytes():  # what waits shows life once it moves
                self._connection.ping()
                self._flush_later()
        return min(dead_ms, ping_ms)

    # ---- the end

    def _lose(self, error: OSError) -> None:
        ending = self._connection.ending()  # who is shunned may see a reset, too
        reason = ending if ending is Reason.SHUNNED else Reason.NETWORK
        self.fail(reason, error.strerror or str(error))

    def fail(self, reason: Reason, detail: str = "") -> None:
        """Ends it now; `closed` follows at the end of the turn."""
        sock, self._sock = self._sock, None
        if sock is None:
            return
        self._network.poller.unwatch(sock)
        self._network.remove(self)
        sock.close()
        self._out.clear()
        self._unsent = 0
        self._connection.drop()

        def tell() -> None:
            if self.is_opened:
                self._user.closed(self)
            self._owner.ended(self, reason, detail)

        self._network.tell_later(tell)


def _send(sock: socket.socket, pieces: deque[bytes | memoryview]) -> int:
    return sock.sendmsg(list(islice(pieces, LINK_PIECES_MAX)))
