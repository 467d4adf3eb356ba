"""TCP relays whose network can be made bad: cut, slow, or silent with open connections.

What it is: for each address of a cluster a listener of our own before it, on one asyncio loop. What
it is not: it reads nothing of what passes, changes no byte, and never loses one of a connection
that lives on; what is lost is lost together with its connection.

Words: *cut*: connections are reset and new ones are closed at once; *slow*: each piece waits;
*silent*: connections stay open and nothing passes, so that only a deadline can tell. Silence ends
as a network's does, what waited arrives late, or as a dead host's does, by a reset (`cut`).

Invariant: bytes of one direction of one connection leave in the order in which they came.

Worked example: a relay before a shard turns silent for 4 s. Its routers hear nothing, dial anew,
and are accepted by a relay that passes nothing either; then all of it arrives, 4 s old.

Tested in test_proxy.py.
"""

from __future__ import annotations

import asyncio
import socket
import struct
from collections import deque
from enum import Enum
from typing import Final, Self, cast

HOST: Final = "127.0.0.1"
_AT_ONCE: Final = struct.pack("ii", 1, 0)  # SO_LINGER: on, 0 s


class Mode(Enum):
    """How the network before one address is."""

    PASS = "pass"
    CUT = "cut"
    SLOW = "slow"
    SILENT = "silent"


class _End(asyncio.Protocol):
    """One of the two sockets of a connection. What it reads, `other` writes."""

    def __init__(self, relay: Relay) -> None:
        self.relay = relay
        self.transport: asyncio.Transport | None = None
        self.other: _End | None = None
        self.waiting: deque[bytes] = deque()  # what was read and is not written yet
        self.full = False  # the other's buffer
        self.ended = False  # it says no more, but may listen
        self.lost = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)
        if self.other is not None:  # this end is the server's: the client's may have spoken already
            self.other.pump()
            self.look()

    def data_received(self, data: bytes) -> None:
        self.relay.passed += len(data)
        self.waiting.append(data)
        if self.relay.mode is Mode.SLOW:
            asyncio.get_running_loop().call_later(self.relay.delay_s, self.pump, 1)
        else:
            self.pump()

    def eof_received(self) -> bool:
        self.ended = True
        self.pump()
        return self.transport is not None and self.transport.can_write_eof()

    def pump(self, at_most: int = 1 << 30) -> None:
        """Write what waits, unless the network is silent."""
        other = self.other
        if other is None or other.transport is None or self.relay.mode is Mode.SILENT:
            return
        while self.waiting and at_most:
            other.transport.write(self.waiting.popleft())
            at_most -= 1
        if self.waiting or other.transport.is_closing():
            return
        if self.lost:
            other.transport.close()
        elif self.ended and not other.transport.can_write_eof():
            other.transport.close()  # TLS ends both ways at once
        elif self.ended:
            other.transport.write_eof()
            if other.ended and not other.waiting and self.transport is not None:
                self.transport.close()
                other.transport.close()

    def look(self) -> None:
        """Read on or stop reading, as the network and the other's buffer allow."""
        if self.transport is None or self.transport.is_closing():
            return
        if self.full or self.relay.mode is Mode.SILENT:
            self.transport.pause_reading()
        else:
            self.transport.resume_reading()

    def pause_writing(self) -> None:
        if self.other is not None:
            self.other.full = True
            self.other.look()

    def resume_writing(self) -> None:
        if self.other is not None:
            self.other.full = False
            self.other.look()

    def connection_lost(self, exc: Exception | None) -> None:
        self.relay.ends.discard(self)
        self.lost = True
        self.pump()

    def abort(self) -> None:
        """Reset: the other side is told by an RST, and what waits is lost."""
        self.waiting.clear()
        if self.transport is not None:
            socket_ = self.transport.get_extra_info("socket")
            if socket_ is not None and socket_.fileno() >= 0:  # it may be over already
                socket_.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _AT_ONCE)
            self.transport.abort()


class Relay:
    """Listens on a port of its own and dials 127.0.0.1:`target` for each that comes."""

    def __init__(self, target: int) -> None:
        self.target = target
        self.port = 0
        self.mode = Mode.PASS
        self.delay_s = 0.0
        self.passed = 0  # bytes, both ways
        self.ends: set[_End] = set()
        self._server: asyncio.Server | None = None
        self._dials: asyncio.TaskGroup | None = None

    async def start(self, dials: asyncio.TaskGroup) -> Self:
        """Listen; connections to the target are made in `dials`."""
        self._dials = dials
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(self.end, HOST, 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    def end(self) -> asyncio.Protocol:
        """Of a connection to it; the target is dialled once it is made."""
        return _Accepted(self)

    def close(self) -> None:
        """No listener and no connection are left."""
        if self._server is not None:
            self._server.close()
        self.reset()

    def turn(self, mode: Mode, delay_s: float = 0.0) -> None:
        """Make the network so from now on; PASS lets through whatever had to wait."""
        self.mode, self.delay_s = mode, delay_s
        if mode is Mode.CUT:
            self.reset()
        for end in list(self.ends):
            end.look()
            if mode is Mode.PASS:
                end.pump()
                if end.other is not None:
                    end.other.pump()  # it may have ended meanwhile, with something to deliver

    def reset(self) -> None:
        """End every connection at once, without a word to either side."""
        for end in list(self.ends):
            end.abort()

    def accepted(self, client: _End) -> None:
        """One more connection."""
        assert self._dials is not None
        if self.mode is Mode.CUT:
            client.abort()
            return
        self.ends.add(client)
        client.look()
        self._dials.create_task(self._dial(client))

    async def _dial(self, client: _End) -> None:
        server = _End(self)
        client.other, server.other = server, client
        self.ends.add(server)
        loop = asyncio.get_running_loop()
        try:
            await loop.create_connection(lambda: server, HOST, self.target)
        except OSError:
            self.ends.discard(server)
            client.abort()
            return
        if client not in self.ends:  # it left, or was reset, while we dialled
            server.abort()


class _Accepted(_End):
    """The client's end, which makes the server's."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self.relay.accepted(self)
