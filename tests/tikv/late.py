"""Relays before stores that hold back what is under way, and deliver it later.

What it is: the relays of tests/robustness/proxy.py on a loop in a thread, for tests that wait. What
it is not: a cut. What was held arrives, in order, as a slow network's late packets do, while
connections that are made meanwhile pass.

Worked example: a client sends a commit; `hold()`; the client gives up and connects anew, which
works; `release()`: now the commit arrives.

Tested by the tests that use it: tests/contract/test_tikv_late.py.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from threading import Event, Thread
from types import TracebackType
from typing import Self, TypeVar

from tests.robustness.proxy import Mode, Relay

T = TypeVar("T")


class Late:
    """Relays, each before one port of 127.0.0.1."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = Thread(target=self._loop.run_until_complete, args=(self._serve(),))
        self._ready = Event()
        self._ended = asyncio.Event()
        self._dials: asyncio.TaskGroup | None = None
        self._relays: list[Relay] = []
        self._held: list[Relay] = []

    def __enter__(self) -> Self:
        self._thread.start()
        self._ready.wait()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._loop.call_soon_threadsafe(self._ended.set)
        self._thread.join()
        self._loop.close()

    async def _serve(self) -> None:
        async with asyncio.TaskGroup() as self._dials:
            self._ready.set()
            await self._ended.wait()
            for relay in (*self._relays, *self._held):
                relay.close()
        await asyncio.sleep(0)

    def before(self, port: int) -> int:
        """The port of a new relay before this one."""

        async def start() -> int:
            assert self._dials is not None
            relay = await Relay(port).start(self._dials)
            self._relays.append(relay)
            return relay.port

        return asyncio.run_coroutine_threadsafe(start(), self._loop).result()

    def hold(self) -> None:
        """Nothing passes on the connections that there are, either way."""
        self._now(self._hold)

    def _hold(self) -> None:
        for relay in self._relays:
            silent = Relay(relay.target)
            silent.ends, relay.ends = relay.ends, set()
            for end in silent.ends:
                end.relay = silent
            silent.turn(Mode.SILENT)
            self._held.append(silent)

    def release(self) -> None:
        """All that was held arrives."""
        self._now(self._release)

    def _release(self) -> None:
        for silent in self._held:
            silent.turn(Mode.PASS)
        self._held.clear()

    def _now(self, work: Callable[[], None]) -> None:
        async def done() -> None:
            work()

        asyncio.run_coroutine_threadsafe(done(), self._loop).result()
