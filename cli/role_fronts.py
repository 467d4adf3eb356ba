"""How a router's process runs: its loop on a thread, its fronts on the asyncio thread.

What it is: the shell around `router/main.py`. What it is not: how the other roles run (`role.py`).

Order of a stop (SIGTERM, SIGINT): refuse what is new and end the streams, answer what was accepted,
close the fronts, end the loop.

Invariants: no front listens before clients can be answered; a fatal error of the loop ends the
process with EXIT_FAILED.

Worked example: SIGTERM while no coordinator can be reached: it ends without ever having listened.

Tested in tests/e2e/test_dev_cluster.py.
"""

from __future__ import annotations

import asyncio
import signal
import threading
from collections.abc import Callable

from kubebraid.base.limits import DRAIN_GRACE_S
from kubebraid.proto.fronts import FrontKind, make_front
from kubebraid.proto.server import Front
from kubebraid.router.main import RouterProcess

from .role import EXIT_FAILED, Fatal, nobody, tame_collector


class RouterShell:
    """A router: its loop on a thread, its fronts on the asyncio thread."""

    def __init__(
        self,
        make: Callable[[Callable[[], None], Fatal], RouterProcess],
        urls: tuple[str, ...],
        front: FrontKind,
        message_bytes_max: int,
    ) -> None:
        self._make = make
        self._urls = urls
        self._front: FrontKind = front
        self._message_bytes_max = message_bytes_max
        self._stop = asyncio.Event()
        self._ready = asyncio.Event()
        self._fatal = Fatal()

    async def run(self, announce: Callable[[], None]) -> int:
        """Serve until a signal or a fatal error; the exit code."""
        events = asyncio.get_running_loop()

        def on_error() -> None:
            events.call_soon_threadsafe(self._end)

        def on_ready() -> None:
            events.call_soon_threadsafe(self._ready.set)

        self._fatal.on_error = on_error
        for number in (signal.SIGTERM, signal.SIGINT):
            events.add_signal_handler(number, self._end)
        process = self._make(on_ready, self._fatal)
        fronts = [
            make_front(self._front, url, process.deliver, self._message_bytes_max)
            for url in self._urls
        ]
        tame_collector()
        thread = threading.Thread(target=process.loop.run, name="kubebraid-loop")
        thread.start()
        started: list[Front] = []
        try:
            await self._ready.wait()
            if not self._stop.is_set():
                for front in fronts:
                    await front.start()
                    started.append(front)
                announce()
            await self._stop.wait()
        finally:
            process.loop.post(lambda: process.drain(nobody))
            grace_s = DRAIN_GRACE_S if self._fatal.error is None else 0.0
            await asyncio.gather(*(front.stop(grace_s) for front in started))
            process.loop.stop()
            thread.join()
            process.close()
        return EXIT_FAILED if self._fatal.error is not None else 0

    def _end(self) -> None:
        self._stop.set()
        self._ready.set()
