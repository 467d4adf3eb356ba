"""Calls to TiKV from threads that wait for the answer, each with a deadline.

What it is: an asyncio loop in a thread of its own, tikv-client's connection on it, and room for
what runs beside the calls. What it is not: it knows neither rows nor transactions.

Why not the client's own synchronous calls: they drive the loop of the thread they are made in,
which is a role's own, or none.

Invariants:
- every call ends: with its answer, with its error, or cancelled at its deadline;
- a new connection replaces the old one as a whole, for one that hangs need never come back.

Worked example: `Link.opened(["127.0.0.1:2379"]).call(lambda c: c.current_timestamp(), "ask", 5)`.

Tested in tests/contract/test_engine.py and tests/contract/test_tikv_traps.py.
"""

from __future__ import annotations

import asyncio
import logging
import os
import sys
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from contextlib import suppress
from threading import Thread
from typing import Any, Final, NoReturn, Protocol, TypeVar

from .engine import EngineClosed, EngineError
from .tikv_errors import EngineUncertain, EngineUnsupported, of_call

# Each row of a batch is a call whose answer another thread hands to the loop: with uvloop that
# takes two thirds of the CPU.
try:
    from uvloop import new_event_loop
except ImportError:
    from asyncio import new_event_loop  # type: ignore[assignment]  # any loop will do

try:
    from tikv_client import tikv_client as native
except ImportError:
    native = None

T = TypeVar("T")
CONNECT_S: Final = 3.0
OVERTIME_S: Final = 5.0  # a cancelled call has to end its transaction, which asks TiKV once more


def available() -> bool:
    """Whether tikv-client is installed."""
    return native is not None


class View(Protocol):
    """tikv-client's snapshot: the state at a timestamp. It serialises its calls."""

    async def get(self, key: bytes) -> bytes | None: ...
    async def batch_get(self, keys: Sequence[bytes]) -> list[tuple[bytes, bytes]]: ...
    async def scan(
        self, start: bytes, end: bytes, limit: int, include_start: bool, include_end: bool
    ) -> list[tuple[bytes, bytes]]: ...
    async def scan_keys(
        self, start: bytes, end: bytes, limit: int, include_start: bool, include_end: bool
    ) -> list[bytes]: ...


class Transaction(Protocol):
    """tikv-client's. Has to be committed or rolled back: else it panics when it is collected."""

    async def get(self, key: bytes) -> bytes | None: ...
    async def batch_get(self, keys: Sequence[bytes]) -> list[tuple[bytes, bytes]]: ...
    def put(self, key: bytes, value: bytes) -> Awaitable[None]: ...
    def delete(self, key: bytes) -> Awaitable[None]: ...
    async def commit(self) -> int: ...
    async def rollback(self) -> None: ...


class Client(Protocol):
    """tikv-client's connection."""

    async def begin(self, pessimistic: bool) -> Transaction: ...
    async def current_timestamp(self) -> int: ...
    def snapshot(self, timestamp: int, pessimistic: bool) -> View: ...
    async def gc(self, safepoint: int) -> bool: ...


class Link:
    """A connection and the thread that drives it. Calls may come from any thread."""

    def __init__(self, addresses: Sequence[str]) -> None:
        assert addresses, "PD has to be somewhere"
        self._addresses = list(addresses)
        self._client: Client | None = None
        self._loop = new_event_loop()
        self._beside: list[asyncio.Task[None]] = []
        self._thread = Thread(target=self._loop.run_forever, name="tikv", daemon=True)

    @classmethod
    def opened(cls, addresses: Sequence[str]) -> Link:
        """Connected to the cluster whose PD listens at these HOST:PORTs.

        Raises EngineUnsupported, EngineUnavailable.
        """
        if not available():
            raise EngineUnsupported("the engine TiKV needs the package tikv-client")
        link = cls(addresses)
        link._thread.start()
        try:
            link.reconnect()
        except BaseException:
            link.close()
            raise
        return link

    def reconnect(self) -> None:
        """Drop the connection, and make another. Raises EngineUnavailable."""
        self._client = None
        self._client = self._run(self.connection, "connect to PD", CONNECT_S)

    async def connection(self) -> Client:
        """A new one, on the Link's loop."""
        client: Client = await native.TransactionClient.connect(self._addresses)
        return client

    def call(
        self, work: Callable[[Client], Coroutine[Any, Any, T]], doing: str, seconds: float
    ) -> T:
        """The answer of `work`, which is cancelled after `seconds`.

        Raises EngineClosed, and what `of_call` makes of the errors of `work`."""
        client = self._client
        if client is None:
            raise EngineClosed("the connection to TiKV was closed before this call")
        return self._run(lambda: work(client), doing, seconds)

    def _run(self, work: Callable[[], Coroutine[Any, Any, T]], doing: str, seconds: float) -> T:
        if self._loop.is_closed():
            raise EngineClosed("the connection to TiKV was closed before this call")
        future = asyncio.run_coroutine_threadsafe(bounded(work, doing, seconds), self._loop)
        try:
            return future.result(seconds + OVERTIME_S)
        except TimeoutError as late:
            future.cancel()
            raise EngineUncertain(f"{doing}: no end after {seconds + OVERTIME_S:g} s") from late

    def beside(self, work: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Run it on the loop until it is cancelled by `close`, which waits for its end."""

        async def start() -> None:
            self._beside.append(self._loop.create_task(work()))

        self._run(start, "a task", CONNECT_S)

    async def _end(self) -> None:
        for task in self._beside:
            task.cancel()
        await asyncio.gather(*self._beside, return_exceptions=True)

    def close(self) -> None:
        """End the thread. Idempotent."""
        self._client = None
        if self._loop.is_closed():
            return
        if self._beside:
            with suppress(EngineError):
                self._run(self._end, "the end of a task", OVERTIME_S)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(OVERTIME_S)
        if not self._thread.is_alive():
            self._loop.close()


async def bounded(work: Callable[[], Coroutine[Any, Any, T]], doing: str, seconds: float) -> T:
    try:
        async with asyncio.timeout(seconds):
            return await work()
    except AssertionError:
        raise
    # tikv-client raises plain Exception: there is nothing narrower to catch.
    except Exception as error:
        raise of_call(doing, error) from error


def leave(code: int) -> NoReturn:
    """End the process now, without the interpreter's own way out.

    The threads of tikv-client die in it: some of thirty short processes ended by SIGABRT, with
    their work done. What is buffered is written first; exit handlers do not run.
    """
    logging.shutdown()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)
