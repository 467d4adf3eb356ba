"""What an open engine on TiKV does beside its calls: keeps what it reads, and forgets the rest.

What it is: a task on the Link's loop, from the opening to the closing. What it is not: the rules,
and why they are safe, are in tikv_gc.py; nothing here is waited for by a read or a write.

Each tick, for its engine:
- the *present* moves on. Reads are at the timestamp of the last commit, which is old in an idle
  store. If at a new timestamp the writer row still holds our token, nothing of the store changed
  up to it, for whoever changes anything writes that row: so the present is as it was. A write of
  ours that is under way, or that ended without an answer, could have: then it stays. What others
  wrote to rows that are shared is there from then on, as behind a commit of ours;
- snapshots that are older are held;
- a round, if the last one of anybody is old enough. Who rewrites its row in a transaction has it:
  a second one conflicts, and leaves it. No coordinator is asked, so it serves `serve` and shards.

Invariants:
- it has a connection of its own, and drops it behind a failure, for one that hangs may do so for
  good;
- no failure of it is an engine's. A present or a snapshot that it could not keep is refused later;
- what it began ends before the Link does.

Worked example: ten shards, one TiKV: each looks at the row of the round once in ten minutes and
keeps its own rows; one of them asks PD for the new safe point.

Tested in tests/contract/test_tikv_gc.py.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Final, NamedTuple, Protocol

from . import tikv_commit, tikv_gc
from .engine import EngineError
from .tikv_errors import EngineFenced, locked
from .tikv_gc import Ages, Pair
from .tikv_link import bounded
from .tikv_pages import Pages
from .tikv_seam import ANYTHING, Client, May, Writer

CALL_S: Final = 10.0
WRITE_S: Final = 5.0
COLLECT_S: Final = 300.0  # every region of TiKV is asked for locks that were left
PASSED_MAX: Final = 1_024  # the rest is a later round's
_ALL: Final = 1 << 62

log = logging.getLogger(__name__)


def elapsed() -> float:
    """Seconds, those in which the machine slept among them."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


class Held(Protocol):
    """A snapshot: the timestamp it reads at, None when closed; by `elapsed` when that was drawn or
    held last."""

    at: int | None
    since: float


class Present(NamedTuple):
    """What an engine reads at, and by `elapsed` since when; its writer row and token."""

    at: int
    since: float
    writer: bytes
    token: bytes


class Kept(Protocol):
    """The engine, as seen from here. Its calls do not block."""

    def present(self) -> Present | None:
        """None while it has none that could be moved."""

    def move(self, old: int, at: int, since: float) -> None:
        """Read at another timestamp, unless a write came, comes, or has no answer."""

    def held(self) -> Sequence[Held]:
        """The snapshots that may be open."""


async def unchanged(client: Client, writer: bytes, token: bytes) -> int | None:
    """A new timestamp, as of which the store's own rows are what they were at this token's last
    commit; None if somebody else has written to it."""
    at = await client.current_timestamp()
    return at if await client.snapshot(at, False).get(writer) == token else None


class Keeper:
    """One engine's."""

    def __init__(
        self, kept: Kept, owner: bytes, connect: Callable[[], Awaitable[Client]], ages: Ages
    ) -> None:
        self._kept = kept
        self._hold_row = tikv_gc.HOLDS + owner
        self._connect = connect
        self._ages = ages
        self._client: Client | None = None
        self._look_s = 0.0  # no round is due before
        self._collecting = False
        self._failing = False

    async def run(self) -> None:
        """Until it is cancelled."""
        async with asyncio.TaskGroup() as beside:
            while True:
                await asyncio.sleep(self._ages.tick_s)
                await self._tick(beside)

    async def _tick(self, beside: asyncio.TaskGroup) -> None:
        for work in (self._move, self._hold, partial(self._round, beside)):
            try:
                await bounded(partial(self._connected, work), "a look after old versions", CALL_S)
            except EngineError as error:
                self._client = None
                quiet = self._failing or locked(error)
                log.log(logging.DEBUG if quiet else logging.WARNING, "TiKV: %s", error)
                self._failing = True
                return
        self._failing = False

    async def _connected(self, work: Callable[[Client], Awaitable[None]]) -> None:
        if self._client is None:
            self._client = await self._connect()
        await work(self._client)

    async def _move(self, client: Client) -> None:
        present, began = self._kept.present(), elapsed()
        if present is None or began - present.since < self._ages.move_s:
            return
        at = await unchanged(client, present.writer, present.token)
        if at is not None:
            self._kept.move(present.at, at, began)

    async def _hold(self, client: Client) -> None:
        fresh = [taken for taken in self._kept.held() if self._fresh(taken)]
        began = elapsed()
        if all(began - taken.since < self._ages.move_s for taken in fresh):
            return
        oldest = min(taken.at for taken in fresh if taken.at is not None)
        hold = tikv_gc.packed(Pair(await client.current_timestamp(), oldest))
        row = Writer(self._hold_row, hold, ANYTHING)
        await tikv_commit.commit(client, row, {}, {}, WRITE_S)
        for taken in fresh:
            if self._fresh(taken):  # still: else a round may have passed it meanwhile
                taken.since = began

    def _fresh(self, taken: Held) -> bool:
        return taken.at is not None and elapsed() - taken.since < self._ages.trust_s

    async def _round(self, beside: asyncio.TaskGroup, client: Client) -> None:
        if elapsed() < self._look_s or self._collecting:
            return
        began = elapsed()
        now = await client.current_timestamp()
        found = await client.snapshot(now, False).get(tikv_gc.ROUND)
        last = None if found is None else tikv_gc.unpacked(found)
        wait_s = tikv_gc.wait_s(now, last, self._ages)
        if wait_s > 0:
            self._look_s = began + wait_s
            return
        todo = tikv_gc.decided(now, last, await _holds(client, now), self._ages)
        told = tikv_gc.packed(Pair(now, todo.safe_point))
        row = Writer(tikv_gc.ROUND, told, May((found,)))
        passed = dict.fromkeys(todo.passed[:PASSED_MAX])
        try:
            await tikv_commit.commit(client, row, {}, passed, WRITE_S)
        except EngineFenced:
            return  # another engine has this round
        self._collecting = True
        beside.create_task(self._collect(client, todo.safe_point))

    async def _collect(self, client: Client, safe_point: int) -> None:
        try:
            await bounded(lambda: client.gc(safe_point), "to forget old versions", COLLECT_S)
            log.info("TiKV may forget what was replaced before its timestamp %d", safe_point)
        except EngineError as error:
            log.warning("TiKV: old versions stay until the next round: %s", error)
        finally:
            self._collecting = False


async def _holds(client: Client, now: int) -> dict[bytes, Pair]:
    rows = await Pages().rows(client, now, tikv_gc.HOLDS, tikv_gc.HOLDS_END, _ALL)
    return {key: tikv_gc.unpacked(stored) for key, stored in rows}
