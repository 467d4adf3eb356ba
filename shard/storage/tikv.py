"""The engine on TiKV: the contract of `engine.py` in a part of a cluster's key space.

What it is: one store in TiKV, with one writer at a time. What it is not: a way for several writers
to share rows; and it collects no garbage: TiKV keeps every version of a row until somebody moves
the cluster's safe point, which is not one store's to do.

Words: a store's *name* is its part of the key space; its *writer row* is in tikv_commit.py. The
*seen* timestamp is that of the last commit of ours.

Invariants:
- every read of the present is at the seen timestamp. There is one writer, so nothing newer is
  ours; and a process that was deposed reads what it last knew, never its successor's rows;
- after a commit without an answer nothing is written before `reopen` has written the writer row
  anew: then that commit is there or can no longer come, however late it arrives;
- an open takes the store from whoever had it: its next write raises EngineFenced.

All batches are durable on return, synced or not. A batch is one transaction, so it is atomic with
its range deletions; in turn it may not touch more than WRITE_ROWS_MAX rows, and whoever removes
many does so in pages. A reverse scan reads its range from the start: the client has none.

Worked example: `TikvEngine.open(["127.0.0.1:2379"], b"shard-1", create=True)`; a write costs a
timestamp, a read, and the two phases of a commit; a read of a key is one call.

Everything is called from one thread, but `close` and `defragment` may come from any. A process
that used the engine ends by `tikv_link.leave`.

Tested in tests/contract/test_engine.py and tests/contract/test_tikv_traps.py.
"""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Callable, Coroutine, Sequence
from threading import Lock
from typing import Any, Final, TypeVar

from . import tikv_commit, tikv_pages
from .engine import Batch, EngineClosed, EngineCorrupt, EngineError
from .tikv_commit import Allowed
from .tikv_errors import (
    EngineConflict,
    EngineFenced,
    EngineHeld,
    EngineOversized,
    EngineUnavailable,
    EngineUncertain,
    locked,
)
from .tikv_link import Client, Link
from .tikv_pages import Pages, Row

T = TypeVar("T")

READ_S: Final = 10.0
WRITE_S: Final = 10.0
WRITE_ROW_S: Final = 0.001  # more for each row; a tenth of it was measured
CLAIM_S: Final = 30.0  # of `open` and `reopen`; the locks of a lost commit last for 3 s and more
CLAIM_TRY_S: Final = 3.0  # behind a PD that came back, a client's calls may hang for good
CLAIM_PAUSE_S: Final = 0.1
LOCKED_PAUSE_S: Final = 0.05
WRITE_ROWS_MAX: Final = 32_768
KEY_BYTES_MAX: Final = 7_000  # TiKV's default is 8 192, counted after its own encoding
VALUE_BYTES_MAX: Final = (4 << 20) - (64 << 10)  # what the client can read again
NAME_BYTES_MAX: Final = 255
UNBOUNDED: Final = 1 << 62
TOKEN_BYTES: Final = 16
_SPACE: Final = b"kubebraid\0"


class _TikvReader:
    """Reads at one timestamp; what an engine and a snapshot have in common."""

    def __init__(self, link: Link, rows: bytes, pages: Pages) -> None:
        self._link = link
        self._rows = rows  # what every stored key begins with
        self._pages = pages

    def _at(self) -> int:
        raise NotImplementedError

    def _read(self, work: Callable[[Client], Coroutine[Any, Any, T]]) -> T:
        return self._link.call(lambda client: _patient(client, work), "a read", READ_S)

    def get(self, key: bytes) -> bytes | None:
        at = self._at()
        stored = self._read(lambda client: client.snapshot(at, False).get(self._rows + key))
        return None if stored is None else tikv_commit.unpack(stored)

    def scan(self, start: bytes, end: bytes, limit: int, *, reverse: bool = False) -> list[Row]:
        assert limit >= 1, limit
        at = self._at()
        if reverse:
            keys = self.keys(start, end, UNBOUNDED)[-limit:]
            return self.scan(keys[0], end, limit)[::-1] if keys else []
        low, high, cut = self._rows + start, self._rows + end, len(self._rows)
        found = self._read(lambda client: self._pages.rows(client, at, low, high, limit))
        return [(key[cut:], tikv_commit.unpack(value)) for key, value in found]

    def keys(self, start: bytes, end: bytes, limit: int) -> list[bytes]:
        assert limit >= 1, limit
        at = self._at()
        low, high, cut = self._rows + start, self._rows + end, len(self._rows)
        found = self._read(lambda client: tikv_pages.keys(client, at, low, high, limit))
        return [key[cut:] for key in found]

    def count(self, start: bytes, end: bytes, limit: int) -> int:
        return len(self.keys(start, end, limit))


async def _patient(client: Client, work: Callable[[Client], Coroutine[Any, Any, T]]) -> T:
    """A read of rows that a commit without an answer left locked succeeds once they are not."""
    while True:
        try:
            return await work(client)
        # tikv-client raises plain Exception: there is nothing narrower to catch.
        except Exception as error:
            if not locked(error):
                raise
        await asyncio.sleep(LOCKED_PAUSE_S)


def _persist(attempt: Callable[[], None]) -> None:
    """Again and again for CLAIM_S; then the last error is raised."""
    end = time.monotonic() + CLAIM_S
    while True:
        try:
            attempt()
            return
        except (EngineConflict, EngineUncertain, EngineUnavailable):
            if time.monotonic() > end:
                raise
        time.sleep(CLAIM_PAUSE_S)


class TikvSnapshot(_TikvReader):
    """A timestamp. Holds nothing in TiKV, whose safe point must not pass it."""

    def __init__(self, link: Link, rows: bytes, pages: Pages, at: int) -> None:
        super().__init__(link, rows, pages)
        self._timestamp: int | None = at

    def _at(self) -> int:
        if self._timestamp is None:
            raise EngineClosed("the snapshot or its engine was closed before this call")
        return self._timestamp

    def close(self) -> None:
        self._timestamp = None


class TikvEngine(_TikvReader):
    """See the contract, `engine.Engine`."""

    def __init__(self, link: Link, name: bytes) -> None:
        assert 0 < len(name) <= NAME_BYTES_MAX, name
        # Its length comes first, so that no store lies inside another one.
        space = _SPACE + bytes((len(name),)) + name
        super().__init__(link, space + b"r", Pages())
        self._writer = space + b"w"
        self._name = name
        self._owner = secrets.token_bytes(TOKEN_BYTES)
        self._claims = 0
        self._seen: int | None = None  # None: it has to be reopened, or was closed
        self._failed: EngineError | None = None  # a write that only a reopening settles
        self._closed = False
        self._written_bytes = 0
        self._snapshots: list[TikvSnapshot] = []
        # `close` may come from another thread: never in the middle of a write.
        self._changing = Lock()

    @classmethod
    def open(cls, addresses: Sequence[str], name: bytes, *, create: bool) -> TikvEngine:
        """Take the store `name` of the cluster whose PD listens at these HOST:PORTs; with `create`
        one that does not exist begins empty.

        Raises EngineUnsupported, EngineUnavailable, EngineUncertain, EngineCorrupt if it does not
        exist.
        """
        engine = cls(Link.opened(addresses), name)
        try:
            engine._claim(lambda found: create or found is not None)
        except BaseException as error:
            engine.close()
            if type(error) is EngineFenced:
                raise EngineCorrupt(f"TiKV holds no store of the name {name!r}") from None
            raise
        return engine

    def _token(self) -> bytes:
        return self._owner + self._claims.to_bytes(8, "big")

    def _claim(self, allowed: Allowed) -> None:
        """Write the writer row anew, whatever it takes: an attempt that ended without an answer is
        passed by the next, which is allowed to find its token."""
        owner = self._owner

        def ours_or_allowed(found: bytes | None) -> bool:
            return allowed(found) or (found is not None and found.startswith(owner))

        def attempt() -> None:
            if self._claims > 0:
                self._link.reconnect()
            self._claims += 1
            self._commit(ours_or_allowed, {}, CLAIM_TRY_S)

        _persist(attempt)

    def _commit(self, allowed: Allowed, rows: tikv_commit.Rows, seconds: float) -> None:
        writer, token = self._writer, self._token()
        self._seen = self._link.call(
            lambda client: tikv_commit.commit(client, writer, token, allowed, rows, seconds),
            "a write",
            seconds + 2 * tikv_commit.ROLLBACK_S,
        )

    def _at(self) -> int:
        if self._seen is None:
            raise EngineClosed("the engine was closed before this call, or not reopened")
        return self._seen

    def write(self, batch: Batch, *, sync: bool) -> None:
        assert len(batch) > 0, "an empty batch has nothing to make durable"
        with self._changing:
            self._at()
            if self._failed is not None:
                raise EngineUnavailable(f"nothing is written before a reopening: {self._failed}")
            rows = self._stored(batch)
            try:
                self._insist(rows)
            except (EngineFenced, EngineUncertain) as error:
                self._failed = error
                raise
            self._written_bytes += sum(len(key) + len(value or b"") for key, value in rows.items())

    def _insist(self, rows: tikv_commit.Rows) -> None:
        """The last commit of a killed predecessor leaves locks behind for some seconds."""
        end = time.monotonic() + WRITE_S
        seconds = WRITE_S + WRITE_ROW_S * len(rows)
        token = self._token()
        while True:
            try:
                self._commit(lambda found: found == token, rows, seconds)
                return
            except EngineHeld:
                if time.monotonic() > end:
                    raise

    def _stored(self, batch: Batch) -> dict[bytes, bytes | None]:
        """The batch as stored rows. What its ranges hold is read before the transaction: it cannot
        change meanwhile, for whoever could change it would write the writer row."""
        changes, ranges = tikv_commit.fold(batch)
        for start, end in ranges:
            for key in self.keys(start, end, WRITE_ROWS_MAX + 1):
                changes.setdefault(key, None)
        if len(changes) > WRITE_ROWS_MAX:
            raise EngineOversized(f"a batch of more than {WRITE_ROWS_MAX} rows")
        prefix, pack = self._rows, tikv_commit.pack
        rows = {
            prefix + key: None if value is None else pack(value) for key, value in changes.items()
        }
        for key, value in rows.items():
            if len(key) > KEY_BYTES_MAX or (value is not None and len(value) > VALUE_BYTES_MAX):
                raise EngineOversized(f"a row of {len(key)} + {len(value or b'')} bytes")
        return rows

    def snapshot(self, start: bytes = b"", end: bytes = b"") -> TikvSnapshot:
        with self._changing:
            at = self._at()
            self._snapshots = [taken for taken in self._snapshots if taken._timestamp is not None]
            self._snapshots.append(TikvSnapshot(self._link, self._rows, self._pages, at))
        return self._snapshots[-1]

    def reopen(self) -> None:
        """By a new connection, for the old one may hang; blocks up to CLAIM_S and the time of
        one attempt. Raises EngineFenced if the store is another process's by now."""
        with self._changing:
            if self._closed:
                raise EngineClosed("the engine was closed before this call")
            self._drop()
            self._claim(lambda found: False)
            self._failed = None

    def _drop(self) -> None:
        self._seen = None
        for taken in self._snapshots:
            taken.close()

    def tidy(self) -> None:
        self._at()  # removed rows are TiKV's to collect

    def disk_bytes(self) -> int:
        """What this process wrote: neither what it found, nor less what it removed. TiKV tells its
        clients no sizes."""
        self._at()
        return self._written_bytes

    def defragment(self) -> None:
        self._at()  # space is TiKV's to give back

    def close(self) -> None:
        with self._changing:
            self._closed = True
            self._drop()
            self._link.close()
