"""A relay between a client and a server that counts HTTP/2 frames on the way.

What it is: the only witness of what a connection carried, as client libraries neither tell how
often they pinged nor why they reconnected. What it is not: a proxy that changes anything.

A frame is 9 bytes of head (length 3, type 1, flags 1, stream 4) and its payload; a client begins
with a preface of 24 bytes (RFC 9113, 3.4 and 4.1).
"""

from __future__ import annotations

import contextlib
import socket
import threading
from collections import Counter
from dataclasses import dataclass, field
from types import TracebackType
from typing import Final, Self

PREFACE_BYTES: Final = 24
HEAD_BYTES: Final = 9
PING: Final = 6
GOAWAY: Final = 7
ACK: Final = 1
READ_BYTES: Final = 1 << 16


@dataclass
class Frames:
    """Reads one direction of a connection; what is left of the last frame waits for more."""

    skip: int = 0  # bytes that are no frame head: the preface, then payloads
    head: bytes = b""
    pings: int = 0
    reasons: list[int] = field(default_factory=list)  # the error codes of GOAWAYs
    _goaway: bytes | None = None

    def feed(self, data: bytes) -> None:
        """Count the frames of what was relayed."""
        while data:
            if self.skip:
                taken, data = data[: self.skip], data[self.skip :]
                self.skip -= len(taken)
                if self._goaway is not None:
                    self._goaway += taken
                    if not self.skip:
                        self.reasons.append(int.from_bytes(self._goaway[4:8], "big"))
                        self._goaway = None
                continue
            need = HEAD_BYTES - len(self.head)
            self.head, data = self.head + data[:need], data[need:]
            if len(self.head) == HEAD_BYTES:
                self._frame(self.head)
                self.head = b""

    def _frame(self, head: bytes) -> None:
        self.skip = int.from_bytes(head[:3], "big")
        kind, flags = head[3], head[4]
        self.pings += kind == PING and not flags & ACK
        if kind == GOAWAY:
            self._goaway = b""


class Tap:
    """Listens on a port of its own and relays to 127.0.0.1:`port`."""

    def __init__(self, port: int) -> None:
        self._target = port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._sockets: list[socket.socket] = []
        self._threads: list[threading.Thread] = []
        self.connections = 0
        self.sent: list[Frames] = []  # by the client, one for each connection
        self.received: list[Frames] = []  # by the client

    def __enter__(self) -> Self:
        self._spawn(self._accept)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for each in (self._listener, *self._sockets):
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
            each.close()
        for thread in self._threads:
            thread.join()

    @property
    def pings(self) -> int:
        """How often the client pinged."""
        return sum(frames.pings for frames in self.sent)

    @property
    def reasons(self) -> Counter[int]:
        """Why the server told the client to go away: HTTP/2 error codes."""
        return Counter(reason for frames in self.received for reason in frames.reasons)

    def _spawn(self, work: object, *args: object) -> None:
        assert callable(work)
        thread = threading.Thread(target=work, args=args)
        thread.start()
        self._threads.append(thread)

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                server = socket.create_connection(("127.0.0.1", self._target))
                self._sockets += [client, server]
                self.connections += 1
                sent, received = Frames(skip=PREFACE_BYTES), Frames()
                self.sent.append(sent)
                self.received.append(received)
                self._spawn(self._relay, client, server, sent)
                self._spawn(self._relay, server, client, received)

    @staticmethod
    def _relay(source: socket.socket, target: socket.socket, frames: Frames) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(READ_BYTES):
                frames.feed(data)
                target.sendall(data)
        with contextlib.suppress(OSError):
            target.shutdown(socket.SHUT_WR)
