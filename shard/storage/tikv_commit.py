"""One transaction of TiKV for one batch, and the row by which a store has one writer.

What it is: how a batch's rows are committed, once. What it is not: what comes after a commit whose
end is not known; `tikv.py` reopens then.

Words: the *writer row* of a store holds the token of whoever may write to it. Every transaction
reads it, and writes it too, because TiKV looks for conflicts only at what is written. It is the
first row written, so it is the one whose commit decides for all (TiKV's primary).

Invariants:
- a transaction that began before the writer row was written again cannot commit any more;
- no transaction is left without an end, but one whose commit began is never rolled back unless it
  is known to have failed: rolling back takes rows from a transaction that may be there already.

Worked example: process B puts its token into the writer row. A's next transaction reads B's token
and ends; one that A had under way conflicts with B's, whenever it arrives.

Tested in tests/contract/test_tikv_traps.py; `fold` in tests/unit/shard/test_tikv_commit.py.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from typing import Final

from .engine import DELETE_RANGE, PUT, Batch
from .tikv_errors import EngineConflict, EngineFenced, EngineHeld, of_call, of_commit
from .tikv_link import Client, Transaction

ROLLBACK_S: Final = 2.0
_MARK: Final = 0xFF

Rows = Mapping[bytes, bytes | None]
"""Stored key -> stored value, None: removed."""

Allowed = Callable[[bytes | None], bool]


def pack(value: bytes) -> bytes:
    """A stored value is never empty: there are stores for which that means a missing key.

    The values that are empty or begin with the mark get one more of it; all others stay."""
    return value if value and value[0] != _MARK else bytes((_MARK,)) + value


def unpack(stored: bytes) -> bytes:
    return stored[1:] if stored[0] == _MARK else stored


def fold(batch: Batch) -> tuple[dict[bytes, bytes | None], list[tuple[bytes, bytes]]]:
    """What the operations come to, whatever their order: each named key with its value or None,
    and the ranges of which every other key is removed."""
    rows: dict[bytes, bytes | None] = {}
    ranges = []
    for kind, key, value in batch.operations:
        if kind == DELETE_RANGE:
            ranges.append((key, value))
            rows.update(dict.fromkeys([named for named in rows if key <= named < value]))
        else:
            rows[key] = value if kind == PUT else None
    return rows, ranges


async def commit(
    client: Client, writer: bytes, token: bytes, allowed: Allowed, rows: Rows, seconds: float
) -> int:
    """Write the rows and the token, if what the writer row holds is `allowed`; the timestamp as of
    which they are there.

    Raises EngineFenced if it is not allowed, EngineConflict if it changed meanwhile,
    EngineHeld if rows stayed locked, EngineUnavailable: nothing was written; EngineUncertain.
    """
    undone = True  # until the commit begins
    txn: Transaction | None = None
    try:
        async with asyncio.timeout(seconds):
            txn = await client.begin(False)
            _check(allowed, await txn.get(writer))
            await txn.put(writer, token)
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


def _check(allowed: Allowed, found: bytes | None) -> None:
    if not allowed(found):
        raise EngineFenced("another process took the store over")


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
