"""The engine on TiKV: the contract of `engine.py` in a part of a cluster's key space.

What it is: one store in TiKV, with one writer at a time; some kinds of its rows may be shared by
several stores (tikv_space.py). What it is not: the choice of these kinds, or of who writes which of
their rows. That TiKV forgets old versions, and none that is read, is tikv_keeper.py's.

Words: a store's *name* is its part of the key space; its *writer row* is in tikv_commit.py, and
what is *guarded* in tikv_guards.py. The *seen* timestamp is that of the last commit of ours, or a
later one as of which nothing of our own rows had changed. *Fresh* is in tikv_gc.py.

Invariants:
- every read of the present is at the seen timestamp. There is one writer, so nothing newer is
  ours; and a process that was deposed reads what it last knew, never its successor's rows;
- of shared rows those that other stores wrote are there up to the seen timestamp, so from
  `catch_up` on. It also moves by itself: whose rows they are is not for an engine to know;
- a guarded row is written only if it holds what the caller was told last;
- after a commit without an answer nothing is written before `reopen` has written the writer row
  anew: then that commit is there or can no longer come, however late it arrives;
- an open takes the store from whoever had it: its next write raises EngineFenced;
- an answer is given only if its timestamp is fresh when it has come.

All batches are durable on return, synced or not. A batch is one transaction, so it is atomic with
its range deletions; in turn it may not touch more than WRITE_ROWS_MAX rows, and whoever removes
many does so in pages. Of shared rows a range deletion removes those of the seen timestamp.

Worked example: `TikvEngine.open(["127.0.0.1:2379"], b"shard-1", create=True)`; a write costs a
timestamp, a read, and the two phases of a commit; a read of a key is one call.

Everything is called from one thread, but `close` and `defragment` may come from any. A process
that used the engine ends by `tikv_link.leave`.

Tested in tests/contract/test_engine.py, test_tikv_traps.py and test_tikv_shared.py.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Coroutine, Sequence
from contextlib import suppress
from threading import Lock
from typing import Any, Final, TypeVar

from . import tikv_commit, tikv_ranges
from .engine import Batch, EngineClosed, EngineCorrupt, EngineError
from .tikv_ahead import NOTHING, Gets
from .tikv_errors import (
    EngineConflict,
    EngineFenced,
    EngineHeld,
    EngineOversized,
    EngineUnavailable,
    EngineUncertain,
)
from .tikv_gc import Ages
from .tikv_guards import Guarded, Guards
from .tikv_keeper import Keeper, Present, elapsed, unchanged
from .tikv_link import Link
from .tikv_pages import Pages, Row, patient
from .tikv_seam import ANYTHING, NOTHING_ELSE, SOMETHING, Client, May, Rows, Tls, Writer
from .tikv_space import Prefixes, Shared

T = TypeVar("T")

READ_S: Final = 10.0
EXPECT_S: Final = 2.0  # what fails then is read key for key, with READ_S for each
WRITE_S: Final = 10.0
WRITE_ROW_S: Final = 0.001  # more for each row; a tenth of it was measured
CLAIM_S: Final = 30.0  # of `open` and `reopen`; the locks of a lost commit last for 3 s and more
CLAIM_TRY_S: Final = 3.0  # behind a PD that came back, a client's calls may hang for good
CLAIM_PAUSE_S: Final = 0.1
WRITE_ROWS_MAX: Final = 32_768
KEY_BYTES_MAX: Final = 7_000  # TiKV's default is 8 192, counted after its own encoding
VALUE_BYTES_MAX: Final = (4 << 20) - (64 << 10)  # what the client can read again
UNBOUNDED: Final = 1 << 62
TOKEN_BYTES: Final = 16


class _TikvReader:
    """Reads at one timestamp; what an engine and a snapshot have in common."""

    def __init__(self, link: Link, space: Prefixes, pages: Pages, ages: Ages) -> None:
        self._link = link
        self._space = space
        self._pages = pages
        self._ages = ages
        self.since = elapsed()  # see tikv_keeper.Held

    def _at(self) -> int:
        raise NotImplementedError

    def _read(
        self, work: Callable[[Client, int], Coroutine[Any, Any, T]], most_s: float = UNBOUNDED
    ) -> T:
        # In this order: it may be moved meanwhile, and then what is taken here is too old only.
        since, at, limit_s = self.since, self._at(), min(READ_S, most_s)
        found = self._link.call(lambda client: patient(client, at, work), "a read", limit_s)
        if elapsed() - since >= self._ages.trust_s:
            raise EngineUnavailable("a read at a timestamp of which TiKV may have forgotten rows")
        return found

    def get(self, key: bytes) -> bytes | None:
        value = self._value(self._space.stored(key))
        return None if value is None else tikv_commit.unpack(value)

    def _value(self, stored: bytes) -> bytes | None:
        return self._read(lambda client, at: client.snapshot(at, False).get(stored))

    def scan(self, start: bytes, end: bytes, limit: int, *, reverse: bool = False) -> list[Row]:
        assert limit >= 1, limit
        parts = self._space.parts(start, end)
        rows = tikv_ranges.last_rows if reverse else tikv_ranges.rows
        return self._read(lambda client, at: rows(client, at, self._pages, parts, limit))

    def keys(self, start: bytes, end: bytes, limit: int) -> list[bytes]:
        assert limit >= 1, limit
        parts = self._space.parts(start, end)
        return self._read(lambda client, at: tikv_ranges.keys(client, at, parts, limit))

    def count(self, start: bytes, end: bytes, limit: int) -> int:
        return len(self.keys(start, end, limit))


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
    """A timestamp, which the keeper holds when it grows old."""

    def __init__(self, engine: TikvEngine, at: int, since: float) -> None:
        super().__init__(engine._link, engine._space, engine._pages, engine._ages)
        self.at: int | None = at
        self.since = since

    def _at(self) -> int:
        if self.at is None:
            raise EngineClosed("the snapshot or its engine was closed before this call")
        return self.at

    def close(self) -> None:
        self.at = None


class _TikvPresent(_TikvReader):
    """Reads at the seen timestamp; tikv_keeper.Kept."""

    def __init__(self, link: Link, space: Prefixes, ages: Ages) -> None:
        super().__init__(link, space, Pages(), ages)
        self._writer = space.own + b"w"
        self._owner = secrets.token_bytes(TOKEN_BYTES)
        self._claims = 0
        self._seen: int | None = None  # None: it has to be reopened, or was closed
        self._failed: EngineError | None = None  # a write that only a reopening settles
        self._snapshots: list[TikvSnapshot] = []
        self._gets = Gets()
        self._ahead = NOTHING
        self._guards = Guards()
        # `close` may come from another thread: never in the middle of a write.
        self._changing = Lock()

    def _token(self) -> bytes:
        return self._owner + self._claims.to_bytes(8, "big")

    def _at(self) -> int:
        if self._seen is None:
            raise EngineClosed("the engine was closed before this call, or not reopened")
        return self._seen

    def present(self) -> Present | None:
        since, at = self.since, self._seen
        if at is None or self._failed is not None:
            return None
        return Present(at, since, self._writer, self._token())

    def move(self, old: int, at: int, since: float) -> None:
        if not self._changing.acquire(blocking=False):
            return
        try:
            if self._seen == old and self._failed is None:
                self._seen = at
                self.since = since
        finally:
            self._changing.release()

    def held(self) -> Sequence[TikvSnapshot]:
        return self._snapshots

    def _read(
        self, work: Callable[[Client, int], Coroutine[Any, Any, T]], most_s: float = UNBOUNDED
    ) -> T:
        if elapsed() - self.since >= self._ages.trust_s:
            self._renew()
        return super()._read(work, most_s)

    def expect(self, keys: Sequence[bytes]) -> None:
        self._ahead = NOTHING
        stored = [self._space.stored(key) for key in keys]
        with suppress(EngineError):  # `get` meets it again, and tells
            self._ahead = self._read(
                lambda client, at: self._gets.ahead(client, at, stored), EXPECT_S
            )

    def _value(self, stored: bytes) -> bytes | None:
        at, rows = self._ahead
        ahead = at == self._at() and stored in rows
        value = rows[stored] if ahead else super()._value(stored)
        # Of a write that failed nothing is known before it is reopened, whatever is read here.
        if self._space.guarded(stored) and self._failed is None:
            self._guards.told(stored, value)
        return value

    def _renew(self) -> None:
        """The keeper had no chance to move what is read at: the machine slept, or PD was away."""
        present, began = self.present(), elapsed()
        if present is None:
            return
        at = self._link.call(
            lambda client: unchanged(client, present.writer, present.token), "a read", READ_S
        )
        if at is None:
            raise EngineFenced("another process took the store over")
        if at > self._at():
            self._seen, self.since = at, began


class TikvEngine(_TikvPresent):
    """See the contract, `engine.Engine`."""

    batches_reads: Final = True

    def __init__(
        self, link: Link, name: bytes, ages: Ages | None = None, shared: Shared | None = None
    ) -> None:
        super().__init__(link, Prefixes(name, shared), ages or Ages())
        self._name = name
        self._shared = shared
        self._closed = False
        self._written_bytes = 0

    @property
    def shares_rows(self) -> bool:
        return self._shared is not None

    @classmethod
    def open(
        cls,
        addresses: Sequence[str],
        name: bytes,
        *,
        create: bool,
        ages: Ages | None = None,
        shared: Shared | None = None,
        tls: Tls | None = None,
    ) -> TikvEngine:
        """Take the store `name` of the cluster whose PD listens at these HOST:PORTs; with `create`
        one that does not exist begins empty; with `tls` every connection is TLS.

        Raises EngineUnsupported, EngineUnavailable, EngineUncertain, EngineCorrupt if it does not
        exist.
        """
        engine = cls(Link.opened(addresses, tls=tls), name, ages, shared)
        engine.take(create=create)
        return engine

    def take(self, *, create: bool) -> None:
        """What `open` does behind the connecting, which takes nothing from anybody. Raises what
        `open` raises; the engine is closed then."""
        try:
            self._claim(ANYTHING if create else SOMETHING)
            keeper = Keeper(self, self._owner, self._link.connection, self._ages)
            self._link.beside(keeper.run)
        except BaseException as error:
            self.close()
            if type(error) is EngineFenced:
                raise EngineCorrupt(f"TiKV holds no store of the name {self._name!r}") from None
            raise

    def _claim(self, may: May) -> None:
        """Write the writer row anew, whatever it takes: an attempt that ended without an answer is
        passed by the next, which is allowed to find its token."""
        ours_too = May(may.values, (*may.begins, self._owner))

        def attempt() -> None:
            if self._claims > 0:
                self._link.reconnect()
            self._claims += 1
            self._commit(ours_too, {}, {}, CLAIM_TRY_S)

        _persist(attempt)

    def _commit(self, may: May, guarded: Guarded, rows: Rows, seconds: float) -> None:
        writer, since = Writer(self._writer, self._token(), may), elapsed()
        self._seen = self._link.call(
            lambda client: tikv_commit.commit(client, writer, guarded, rows, seconds),
            "a write",
            seconds + tikv_commit.ENDED_S,
        )
        self.since = since
        self._ahead = NOTHING

    def write(self, batch: Batch, *, sync: bool) -> None:
        assert len(batch) > 0, "an empty batch has nothing to make durable"
        with self._changing:
            self._must_be_settled()
            rows = self._stored(batch)
            guarded = self._guarded(rows)
            try:
                self._insist(guarded, rows)
            except (EngineFenced, EngineUncertain) as error:
                self._failed = error
                if not error.definite:
                    for key in guarded:
                        self._guards.tried(key, rows[key])
                raise
            for key in guarded:
                self._guards.told(key, rows[key])
            self._written_bytes += sum(len(key) + len(value or b"") for key, value in rows.items())

    def _must_be_settled(self) -> None:
        self._at()
        if self._failed is not None:
            raise EngineUnavailable(f"nothing is done before a reopening: {self._failed}")

    def _guarded(self, rows: Rows) -> Guarded:
        """Of a row that the caller never asked for, it is what is there at the seen timestamp."""
        named = [key for key in rows if self._space.guarded(key)]
        for key in named:
            if key not in self._guards:
                self._value(key)
        return self._guards.of(named)

    def _insist(self, guarded: Guarded, rows: Rows) -> None:
        """The last commit of a killed predecessor leaves locks behind for some seconds."""
        end = time.monotonic() + WRITE_S
        seconds = WRITE_S + WRITE_ROW_S * len(rows)
        may = May((self._token(),))
        while True:
            try:
                self._commit(may, guarded, rows, seconds)
                return
            except EngineHeld:
                if time.monotonic() > end:
                    raise

    def _stored(self, batch: Batch) -> dict[bytes, bytes | None]:
        """The batch as stored rows. What its ranges hold is read before the transaction: of our own
        rows it cannot change meanwhile, for whoever could change it would write the writer row."""
        changes, ranges = tikv_commit.fold(batch)
        for start, end in ranges:
            for key in self.keys(start, end, WRITE_ROWS_MAX + 1):
                changes.setdefault(key, None)
        if len(changes) > WRITE_ROWS_MAX:
            raise EngineOversized(f"a batch of more than {WRITE_ROWS_MAX} rows")
        stored, pack = self._space.stored, tikv_commit.pack
        rows = {
            stored(key): None if value is None else pack(value) for key, value in changes.items()
        }
        for key, value in rows.items():
            if len(key) > KEY_BYTES_MAX or (value is not None and len(value) > VALUE_BYTES_MAX):
                raise EngineOversized(f"a row of {len(key)} + {len(value or b'')} bytes")
        return rows

    def catch_up(self) -> None:
        with self._changing:
            self._must_be_settled()
            if self.shares_rows:
                self._renew()

    def refuses(self, make: Callable[[], Batch]) -> bool:
        try:
            self._stored(make())
        except EngineOversized:
            return True
        return False

    def snapshot(self, start: bytes = b"", end: bytes = b"") -> TikvSnapshot:
        with self._changing:
            since, at = self.since, self._at()
            self._snapshots = [taken for taken in self._snapshots if taken.at is not None]
            self._snapshots.append(TikvSnapshot(self, at, since))
        return self._snapshots[-1]

    def reopen(self) -> None:
        """By a new connection, for the old one may hang; blocks up to CLAIM_S and the time of
        one attempt. Raises EngineFenced if the store is another process's by now."""
        with self._changing:
            if self._closed:
                raise EngineClosed("the engine was closed before this call")
            self._drop()
            self._claim(NOTHING_ELSE)
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
