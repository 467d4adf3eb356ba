"""Relays before ports of a cluster, on a loop in a thread, for tests that wait.

What it is: the home of the relays of tests/robustness/proxy.py where nobody runs a loop. What it is
not: what a relay does.

Worked example: `with Relays() as relays: port = relays.add(Relay(2379))`.

Tested by the tests that use it: tests/contract/test_tikv_late.py, tests/contract/test_tikv_tls.py.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from threading import Event, Thread
from typing import Any, Self, TypeVar

from tests.robustness.proxy import Relay

T = TypeVar("T")


class Relays:
    """They are closed at the end of the block."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = Thread(target=self._loop.run_until_complete, args=(self._serve(),))
        self._ready = Event()
        self._ended = asyncio.Event()
        self._dials: asyncio.TaskGroup | None = None
        self.relays: list[Relay] = []

    def __enter__(self) -> Self:
        self._thread.start()
        self._ready.wait()
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._ended.set)
        self._thread.join()
        self._loop.close()

    async def _serve(self) -> None:
        async with asyncio.TaskGroup() as self._dials:
            self._ready.set()
            await self._ended.wait()
            self.close()
            for task in asyncio.all_tasks() - {asyncio.current_task()}:
                task.cancel()
        await asyncio.sleep(0)

    def close(self) -> None:
        """On the loop: no connection is left."""
        for relay in self.relays:
            relay.close()

    def add(self, relay: Relay) -> int:
        """Its port, at which it listens."""

        async def start() -> int:
            assert self._dials is not None
            self.relays.append(await relay.start(self._dials))
            return relay.port

        return self._run(start())

    def now(self, work: Callable[[], T]) -> T:
        """On the loop."""

        async def done() -> T:
            return work()

        return self._run(done())

    def _run(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()
