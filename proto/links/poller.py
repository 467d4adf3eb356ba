"""Where a loop with sockets sleeps: `selectors` (epoll on Linux), and a way to be woken.

What it is: the `Waiter` of `base/loop.py`. What it is not: a reader or a writer; handlers are.

Invariants: all but `wake` happens on the loop's thread; `polled_ms` is taken after each look at the
sockets, so what had arrived by then is read before anyone judges a peer silent: a process that was
stopped for a minute does not blame its peers.

Worked example: `wait(1_000)` with nothing ready returns as soon as another thread calls `wake`.

Tested in tests/unit/proto/links/test_poller.py.
"""

from __future__ import annotations

import selectors
import socket
from collections.abc import Callable
from typing import Final

from kubebraid.base.seams import Clock

READ: Final = selectors.EVENT_READ
WRITE: Final = selectors.EVENT_WRITE
WAKE_BYTES: Final = 4_096
Handler = Callable[[int], None]


class Poller:
    """A handler is called with what its socket is ready for. It may watch and unwatch others."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self.polled_ms = clock.now_ms()
        self._selector = selectors.DefaultSelector()
        self._woken, self._waker = socket.socketpair()
        for end in (self._woken, self._waker):
            end.setblocking(False)
        self.watch(self._woken, READ, self._drain)

    def watch(self, sock: socket.socket, mask: int, handler: Handler) -> None:
        self._selector.register(sock, mask, handler)

    def rewatch(self, sock: socket.socket, mask: int, handler: Handler) -> None:
        self._selector.modify(sock, mask, handler)

    def unwatch(self, sock: socket.socket) -> None:
        """Before the socket is closed. A handler may still be called once, in the same turn."""
        self._selector.unregister(sock)

    def wait(self, timeout_ms: int) -> None:
        ready = self._selector.select(timeout_ms / 1000)
        self.polled_ms = self._clock.now_ms()
        for key, mask in ready:
            key.data(mask)

    def wake(self) -> None:
        try:
            self._waker.send(b"\0")
        except BlockingIOError:
            pass  # it is full of wakes

    def _drain(self, _mask: int) -> None:
        self._woken.recv(WAKE_BYTES)

    def close(self) -> None:
        """After the loop has ended, and nobody posts any more."""
        self._selector.close()
        self._woken.close()
        self._waker.close()
