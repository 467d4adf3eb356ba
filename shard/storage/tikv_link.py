"""Calls to TiKV from threads that wait for the answer, each with a deadline.

What it is: an asyncio loop in a thread of its own, the connection of a client on it, and room for
what runs beside the calls; and the choice of the client. What it is not: it knows neither rows nor
transactions.

Why not a client's own synchronous calls: they drive the loop of the thread they are made in,
which is a role's own, or none.

Invariants:
- every call ends: with its answer, with its error, or cancelled at its deadline;
- a new connection replaces the old one as a whole, for one that hangs need never come back;
- a process has one kind of client: our own where it was built, else tikv-client, unless
  KUBEBRAID_TIKV_CLIENT names one.

Worked example: `Link.opened(["127.0.0.1:2379"]).call(lambda c: c.current_timestamp(), "ask", 5)`.

Tested in tests/contract/test_engine.py and tests/contract/test_tikv_traps.py; the choice in
tests/unit/shard/test_tikv_errors.py.
"""

from __future__ import annotations

import asyncio
import logging
import os
import sys
from collections.abc import Callable, Coroutine, Sequence
from contextlib import suppress
from threading import Thread
from typing import Any, Final, NoReturn, TypeVar

from .engine import EngineClosed, EngineError
from .tikv_errors import (
    EngineUnavailable,
    EngineUncertain,
    EngineUnsupported,
    EngineWithoutTls,
    of_call,
)
from .tikv_native import NativeClient
from .tikv_seam import Client, Kind, Tls
from .tikv_steps import SteppedClient
from .tikv_tls import trouble

# Each answer is handed from the client's thread to the loop: with uvloop that takes two thirds of
# the CPU.
try:
    from uvloop import new_event_loop
except ImportError:
    from asyncio import new_event_loop  # type: ignore[assignment]  # any loop will do

T = TypeVar("T")
CHOICE: Final = "KUBEBRAID_TIKV_CLIENT"
KINDS: Final[tuple[Kind, ...]] = (NativeClient, SteppedClient)
CONNECT_S: Final = 3.0
HANDSHAKE_S: Final = 1.0  # with each PD, behind a failure
OVERTIME_S: Final = 5.0  # a cancelled call has to end its transaction, which asks TiKV once more

log = logging.getLogger(__name__)


def chosen(tls: bool = False) -> Kind:
    """The kind of client that this process has.

    Raises EngineUnsupported: there is none, or not the one that the environment names, or it does
    not speak TLS."""
    named = os.environ.get(CHOICE, "")
    if named and named not in [kind.name for kind in KINDS]:
        raise EngineUnsupported(f"{CHOICE}={named}: it has to be native or tikv-client")
    for kind in KINDS:
        if named in ("", kind.name) and kind.version() is not None:
            if tls and not kind.speaks_tls:
                raise EngineWithoutTls(f"{kind.name}, the client of TiKV here, does not speak TLS")
            return kind
    raise EngineUnsupported(f"the client of TiKV, {named or 'native or tikv-client'}, is not here")


def available() -> bool:
    """Whether there is a client."""
    with suppress(EngineUnsupported):
        return bool(chosen())
    return False


class Link:
    """A connection and the thread that drives it. Calls may come from any thread."""

    def __init__(self, addresses: Sequence[str], kind: Kind, tls: Tls | None = None) -> None:
        assert addresses, "PD has to be somewhere"
        self._kind = kind
        self._addresses = list(addresses)
        self._tls = tls
        self._client: Client | None = None
        self._loop = new_event_loop()
        self._beside: list[asyncio.Task[None]] = []
        self._thread = Thread(target=self._loop.run_forever, name="tikv", daemon=True)

    @classmethod
    def opened(
        cls, addresses: Sequence[str], kind: Kind | None = None, tls: Tls | None = None
    ) -> Link:
        """Connected to the cluster whose PD listens at these HOST:PORTs, by the chosen client if
        none is given.

        Raises EngineUnsupported, EngineUnavailable.
        """
        link = cls(addresses, kind or chosen(tls is not None), tls)
        link._thread.start()
        try:
            link.reconnect()
        except BaseException:
            link.close()
            raise
        log.info("TiKV is reached by %s%s", link._kind.version(), ", in TLS" if tls else "")
        return link

    def reconnect(self) -> None:
        """Drop the connection, and make another. Raises EngineUnavailable."""
        self._client = None
        try:
            self._client = self._run(self.connection, "connect to PD", CONNECT_S)
        except EngineUnavailable as error:
            why = "" if self._tls is None else trouble(self._addresses, self._tls, HANDSHAKE_S)
            if not why:
                raise
            raise EngineUnavailable(f"connect to PD in TLS: {why}") from error

    async def connection(self) -> Client:
        """A new one, on the Link's loop."""
        return await self._kind.connect(self._addresses, CONNECT_S, self._tls)

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
