"""A tablet's rows as they lie in TiKV, and whether any of them was written since.

What it is: reads of the rows that all shards of a cluster share, past the cluster itself, and
transactions that conflict with each later write of them. What it is not: a shard's reader; fences
are left out, for a move writes one.

Why a transaction: TiKV's client tells no row's timestamp, and a row that is written with the value
that it had looks the same in every read. But a commit is refused where a row of it has a version
from behind the transaction's start.

Invariant: while one asks whether rows were written, nobody else writes them; they stay as they are.

Worked example: `noted = rows.noted(rows.of(tablet))`, then the tablet is moved;
`rows.written(noted)` is false where all of it stayed where it was, and true where one row was put
once more.

Tested by the planted write in test_tikv_moves.py.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, Self

from kubebraid.base.keyspace import KeyRange
from kubebraid.proto.adminreshard import key_of_text
from kubebraid.shard import keycodec
from kubebraid.shard.storage.tikv_errors import EngineConflict, of_commit
from kubebraid.shard.storage.tikv_link import Link
from kubebraid.shard.storage.tikv_pages import Pages
from kubebraid.shard.storage.tikv_seam import Client
from kubebraid.shard.storage.tikv_space import shared_space_of
from kubebraid.shard.storage.tikv_steps import SteppedClient, Transaction
from tests.e2e.reshard_ops import Tablet

CALL_S_MAX: Final = 30.0
PAGE_ROWS: Final = 500  # of a transaction: its locks have to outlive it on a busy machine
ANY_MANY: Final = 1 << 62

Stored = Mapping[bytes, bytes]
"""Stored key -> stored value."""

Noted = list[tuple[Transaction, Stored]]
"""Rows, and what began when they were so."""


class TabletRows:
    """Of the cluster whose shards' stores have this name; as a context it is connected."""

    def __init__(self, pd_address: str, name: str) -> None:
        self._pd_address = pd_address
        self._space = shared_space_of(name.encode())

    def __enter__(self) -> Self:
        self._link = Link.opened([self._pd_address], SteppedClient)  # which begins, and waits
        return self

    def __exit__(self, *_: object) -> None:
        self._link.close()

    def of(self, tablet: Tablet) -> Stored:
        """Its versions, its log, and which leases its keys name."""
        assert tablet.end is not None
        assert tablet.buckets == 1, "rows of a bucket lie between those of the others"
        start, end = key_of_text(tablet.start), key_of_text(tablet.end)
        span = KeyRange(start, end)
        log = keycodec.log(tablet.id, 0), keycodec.log(tablet.id + 1, 0)
        bounds = keycodec.newest_bounds(span), keycodec.history_bounds(span), log
        found = {key: value for low, high in bounds for key, value in self._scan(low, high).items()}
        leases = self._scan(*keycodec.ATTACHMENTS).items()
        attached = keycodec.attached_key
        mine = {row: value for row, value in leases if start <= attached(self._key(row)) < end}
        return {**found, **mine}

    def _key(self, stored: bytes) -> bytes:
        return stored.removeprefix(self._space)

    def _scan(self, low: bytes, high: bytes) -> Stored:
        async def work(client: Client) -> list[tuple[bytes, bytes]]:
            at, space = await client.current_timestamp(), self._space
            return await Pages().rows(client, at, space + low, space + high, ANY_MANY)

        return dict(self._link.call(work, "rows", CALL_S_MAX))

    def kinds(self, rows: Stored) -> dict[str, int]:
        """How many of each."""
        letters = [chr(self._key(row)[0]) for row in rows]
        return {letter: letters.count(letter) for letter in sorted(set(letters))}

    def noted(self, rows: Stored) -> Noted:
        """As they are now. It has to be given to `written`."""
        keys = list(rows)
        pages = [keys[at : at + PAGE_ROWS] for at in range(0, len(keys), PAGE_ROWS)]

        async def work(client: Client) -> Noted:
            assert isinstance(client, SteppedClient)
            return [(await client.begin(), {key: rows[key] for key in page}) for page in pages]

        return self._link.call(work, "a start", CALL_S_MAX)

    def written(self, noted: Noted) -> bool:
        """Whether any of the rows was written since then. The others are written now, as they
        are."""
        found = [self._conflicts(since, rows) for since, rows in noted]  # each has to end
        return any(found)

    def _conflicts(self, since: Transaction, rows: Stored) -> bool:
        async def work(client: Client) -> bool:
            for key, value in rows.items():
                await since.put(key, value)
            try:
                await since.commit()
            # tikv-client raises plain Exception: there is nothing narrower to catch.
            except Exception as error:
                await since.rollback()
                if isinstance(of_commit(error), EngineConflict):
                    return True
                raise
            return False

        return self._link.call(work, "a comparison", CALL_S_MAX)
