"""One transaction of TiKV for one batch, and the row by which a store has one writer.

What it is: how a batch's rows are committed, once. What it is not: the transaction itself, which is
the client's (tikv_native.py, tikv_steps.py), or what comes after a commit whose end is not known;
`tikv.py` reopens then.

Words: the *writer row* of a store holds the token of whoever may write to it. Every transaction
reads it, and writes it too, because TiKV looks for conflicts only at what is written. It is the
first row written, so it is the one whose commit decides for all (TiKV's primary). A batch's
*guarded* rows (tikv_guards.py) are read with it, in the same call, and are written as well.

Invariants:
- a transaction that began before the writer row was written again cannot commit any more, nor one
  that began before one of its guarded rows was;
- no transaction is left without an end, but one whose commit began is never rolled back unless it
  is known to have failed: rolling back takes rows from a transaction that may be there already.

Worked example: process B puts its token into the writer row. A's next transaction reads B's token
and ends; one that A had under way conflicts with B's, whenever it arrives.

Tested in tests/contract/test_tikv_traps.py, tests/contract/test_tikv_shared.py; `fold` in
tests/unit/shard/test_tikv_commit.py.
"""

from __future__ import annotations

from typing import Final

from .engine import DELETE_RANGE, PUT, Batch
from .tikv_guards import Guarded
from .tikv_seam import Client, Rows, Writer

ENDED_S: Final = 4.0  # behind its deadline, a write has to be over
_MARK: Final = 0xFF


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
    client: Client, writer: Writer, guarded: Guarded, rows: Rows, seconds: float
) -> int:
    """Write the rows and the token, if the writer row and the guarded rows hold what they may; the
    timestamp as of which they are there.

    Raises EngineFenced if they do not, EngineConflict if one of them changed meanwhile,
    EngineHeld if rows stayed locked, EngineUnavailable: nothing was written; EngineUncertain.
    """
    assert guarded.keys() <= rows.keys(), "a guarded row that is only read is no guard"
    return await client.write(writer, guarded, rows, seconds)
