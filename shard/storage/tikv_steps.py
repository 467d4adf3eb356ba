"""tikv-client 0.0.4, the client of TiKV that pip installs, where our own is not built.

What it is: its connection as `tikv_seam.Client` has it; a write is made here of its transaction's
calls, one for each row. What it is not: what its errors mean, which are texts (tikv_errors.py).

Invariants:
- no transaction is left without an end, but one whose commit began is never rolled back unless it
  is known to have failed: rolling back takes rows from a transaction that may be there already.

Worked example: `await (await SteppedClient.connect(["127.0.0.1:2379"], 3.0)).begin()`.

Tested in tests/contract/, with KUBEBRAID_TIKV_CLIENT=tikv-client where our own is built too.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Sequence
from contextlib import suppress
from typing import Final, Protocol

from .tikv_errors import EngineConflict, EngineFenced, EngineHeld, of_call, of_commit
from .tikv_guards import Guarded
from .tikv_seam import Rows, Tls, View, Writer

try:
    from tikv_client import tikv_client as native
except ImportError:
    native = None

ROLLBACK_S: Final = 2.0


class Transaction(Protocol):
    """tikv-client's. Has to be committed or rolled back: else it panics when it is collected."""

    async def get(self, key: bytes) -> bytes | None: ...
    async def batch_get(self, keys: Sequence[bytes]) -> list[tuple[bytes, bytes]]: ...
    def put(self, key: bytes, value: bytes) -> Awaitable[None]: ...
    def delete(self, key: bytes) -> Awaitable[None]: ...
    async def commit(self) -> int: ...
    async def rollback(self) -> None: ...


class _Inner(Protocol):
    """tikv-client's connection."""

    async def begin(self, pessimistic: bool) -> Transaction: ...
    async def current_timestamp(self) -> int: ...
    def snapshot(self, timestamp: int, pessimistic: bool) -> View: ...
    async def gc(self, safepoint: int) -> bool: ...


class SteppedClient:
    """A connection; tikv_seam.Client."""

    name = "tikv-client"
    speaks_tls = False

    def __init__(self, inner: _Inner) -> None:
        self._inner = inner

    @staticmethod
    def version() -> str | None:
        """There is one that has what is needed."""
        return None if native is None else "tikv-client 0.0.4"

    @classmethod
    async def connect(
        cls, addresses: Sequence[str], seconds: float, tls: Tls | None
    ) -> SteppedClient:
        """To the cluster whose PD listens at these HOST:PORTs."""
        assert tls is None, "this client has no TLS"
        return cls(await native.TransactionClient.connect(list(addresses)))

    async def begin(self) -> Transaction:
        """An optimistic one."""
        return await self._inner.begin(False)

    async def current_timestamp(self) -> int:
        return await self._inner.current_timestamp()

    def snapshot(self, timestamp: int, pessimistic: bool) -> View:
        return self._inner.snapshot(timestamp, pessimistic)

    async def gc(self, safepoint: int) -> bool:
        return await self._inner.gc(safepoint)

    async def write(self, writer: Writer, guarded: Guarded, rows: Rows, seconds: float) -> int:
        undone = True  # until the commit begins
        txn: Transaction | None = None
        try:
            async with asyncio.timeout(seconds):
                txn = await self.begin()
                await _check(txn, writer, guarded)
                await txn.put(writer.row, writer.token)
                await asyncio.gather(*_changes(txn, rows))
                undone = False
                return await txn.commit()
        # tikv-client raises plain Exception: there is nothing narrower to catch.
        except Exception as error:
            failed = of_call("a write", error) if undone else of_commit(error)
            undone = undone or isinstance(failed, EngineConflict | EngineHeld)
            raise failed from error
        finally:
            if txn is not None and undone:
                await _rolled_back(txn)
            txn = None  # its locks are renewed as long as it lives: by the error, for one


async def _check(txn: Transaction, writer: Writer, guarded: Guarded) -> None:
    if guarded:
        held = dict(await txn.batch_get([writer.row, *guarded]))
        found = held.get(writer.row)
    else:
        held, found = {}, await txn.get(writer.row)
    if not writer.may.hold(found):
        raise EngineFenced("another process took the store over")
    if any(held.get(row) not in may for row, may in guarded.items()):
        raise EngineFenced("another shard took a tablet of the store over")


def _changes(txn: Transaction, rows: Rows) -> list[Awaitable[None]]:
    """All of them under way at once: one after the other they take twice as long."""
    return [
        txn.delete(key) if value is None else txn.put(key, value) for key, value in rows.items()
    ]


async def _rolled_back(txn: Transaction) -> None:
    """As far as TiKV can be reached: else the locks, if there are any, end by their age."""
    with suppress(Exception):
        async with asyncio.timeout(ROLLBACK_S):
            await txn.rollback()
