"""The engine on disk: RocksDB by way of rocksdict, in raw mode, with one column family.

What it is: the contract of `engine.py` on a directory. What it is not: it knows nothing of the
directory's owner and marker; `datadir.py` does.

Words: a *cursor* is a RocksDB iterator; it reads the state of the moment it was made, for ever.

Invariants:
- a scan is complete or an error: the fast iterators end silently at a damaged block, therefore
  every scan that ends before its limit is verified by a cursor, which has a status;
- a snapshot scans through the one cursor that was made with it: rocksdict's own
  `Snapshot.items()` and `.iter()` return rows written later (only `snapshot[key]` is isolated);
- no lower bound is ever set (rocksdict's setter changes the upper one): keys are compared;
- an existing store is never created anew: what lacks its CURRENT file is damaged.

Worked example: `RocksEngine.open(path, create=True)`, then `write(batch, sync=True)`: one record
in the write-ahead log and one fdatasync, during which other threads run.

Everything is called from one thread, but `close` may come from any.

Tested in tests/contract/test_engine.py and tests/contract/test_rocksdb_traps.py.
"""

from __future__ import annotations

from contextlib import suppress
from functools import wraps
from itertools import chain, islice
from threading import Lock
from time import sleep
from typing import TYPE_CHECKING, Final, ParamSpec, TypeVar, cast

import rocksdict
from rocksdict import Rdict, RdictIter, ReadOptions

from . import rocksdb_options
from .engine import (
    DELETE,
    DELETE_RANGE,
    PUT,
    Batch,
    EngineClosed,
    EngineCorrupt,
    EngineError,
    EngineFull,
    EngineLocked,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

REOPEN_TRIES: Final = 100
REOPEN_PAUSE_S: Final = 0.05
SLICE_ROWS: Final = 1_024  # a slice is read without letting another thread run: about 0.5 ms
FAST_ROWS_MIN: Final = 16  # below, verifying the end costs more than the fast iterator saves
TOMBSTONES_MAX: Final = 16_384  # a scan walks over so many in about 3 ms
TOMBSTONES_MIN: Final = 1_024  # fewer are not worth a file
TIDY_PATIENCE: Final = 20  # calls; about 5 s

_KINDS: Final[tuple[tuple[str, type[EngineError]], ...]] = (
    ("IO error: No space left on device", EngineFull),
    ("IO error: lock hold by current process", EngineLocked),
    ("IO error: While lock file", EngineLocked),
    ("IO error: No such file or directory", EngineCorrupt),  # a file of its own, never a new one
    ("Corruption:", EngineCorrupt),
)
_QUOTA_SUFFIX: Final = "Disk quota exceeded"

Row = tuple[bytes, bytes]
P = ParamSpec("P")
T = TypeVar("T")


def classify(error: Exception) -> EngineError:
    """The contract's error for one of rocksdict's, which has classes for almost none.

    Only by what the text begins with: the rest quotes paths, which may contain any words.
    """
    if isinstance(error, EngineError):
        return error
    text = " ".join(str(error).split())  # some are told in two lines
    if isinstance(error, rocksdict.DbClosedError):
        return EngineClosed(text)
    for prefix, kind in _KINDS:
        if text.startswith(prefix):
            return kind(text)
    if text.startswith("IO error:") and text.rstrip().endswith(_QUOTA_SUFFIX):
        return EngineFull(text)
    return EngineError(text)


def _without_frames(error: Exception) -> EngineError:
    """As `classify`. Frames hold cursors, and RocksDB keeps its lock file until the last one is
    gone, so that a store could not be reopened while an error is in hand."""
    error.__traceback__ = None
    return classify(error)


def _classified(call: Callable[P, T]) -> Callable[P, T]:
    @wraps(call)
    def checked(*args: P.args, **kwargs: P.kwargs) -> T:
        try:
            return call(*args, **kwargs)
        except (AssertionError, EngineError):
            raise
        # rocksdict raises plain Exception: there is nothing narrower to catch.
        except Exception as error:
            raise _without_frames(error) from error

    return checked


def _opened(path: Path, create: bool, access: rocksdict.AccessType | None = None) -> Rdict:
    """Open with our options, named for the one column family too: without that an existing store
    gets the options that lie in its folder, and a block cache of 8 MiB."""
    options = rocksdb_options.options(create)
    families = {"default": options}
    access = access or rocksdict.AccessType.read_write()
    return Rdict(str(path), options, column_families=families, access_type=access)


def _read_below(end: bytes) -> ReadOptions:
    options = ReadOptions()
    options.set_iterate_upper_bound(end)
    return options


def _walk(cursor: RdictIter, start: bytes, end: bytes, limit: int, reverse: bool) -> list[Row]:
    """Up to `limit` rows of [start, end); raises what the cursor met instead of ending early."""
    valid, key_at, value_at = cursor.valid, cursor.key, cursor.value
    step = cursor.prev if reverse else cursor.next
    if reverse:
        cursor.seek_for_prev(end)
        if valid() and key_at() == end:
            step()
    else:
        cursor.seek(start)
    rows: list[Row] = []
    while valid():
        key = key_at()
        if not start <= key < end:
            break
        rows.append((key, value_at()))
        if len(rows) == limit:
            # Not one step further: behind the last row may lie any number of tombstones.
            break
        step()
    cursor.status()
    return rows


def _walk_keys(cursor: RdictIter, start: bytes, end: bytes, limit: int) -> list[bytes]:
    found: list[bytes] = []
    cursor.seek(start)
    while cursor.valid():
        key = cursor.key()
        if key >= end:
            break
        found.append(key)
        if len(found) == limit:
            break
        cursor.next()
    cursor.status()
    return found


def _verify_ended(cursor: RdictIter, after: bytes, end: bytes) -> None:
    """The range is really over behind `after`, or an error tells why the rows stopped there."""
    rest = _walk(cursor, after, end, 1, reverse=False)
    if rest:
        raise EngineError(f"a scan ended before {rest[0][0]!r}, which can be read again now")


def _key_slices(db: Rdict, start: bytes, end: bytes, limit: int) -> Iterator[list[bytes]]:
    """The keys of [start, end), at most `limit`, in slices."""
    if start >= end:
        return
    bound = _read_below(end)
    keys = db.keys(from_key=start, read_opt=bound)
    counted = 0
    after = start
    while wanted := min(SLICE_ROWS, limit - counted):
        found = cast("list[bytes]", list(islice(keys, wanted)))
        yield found
        counted += len(found)
        after = found[-1] + b"\0" if found else after
        if len(found) < wanted:
            _verify_ended(db.iter(bound), after, end)
            break


class _Ahead:
    """A fast iterator over one range, from end to end, on the state of its making."""

    def __init__(self, db: Rdict, start: bytes, end: bytes) -> None:
        bound = _read_below(end)
        bound.set_readahead_size(rocksdb_options.WALK_AHEAD_BYTES)
        self._items = db.items(from_key=start, read_opt=bound)
        self._next: bytes | None = start
        self._end = end

    def follows(self, start: bytes, end: bytes) -> bool:
        """Whether a scan of [start, end) goes on where the last one ended."""
        return start == self._next and end == self._end

    def take(self, limit: int, cursor: RdictIter) -> list[Row]:
        """The next rows; `cursor`, of the same state, verifies the end."""
        assert self._next is not None, "the range is over"
        rows = cast("list[Row]", list(islice(self._items, limit)))
        after = rows[-1][0] + b"\0" if rows else self._next
        self._next = after if len(rows) == limit else None
        if len(rows) < limit and _walk(cursor, after, self._end, 1, reverse=False):
            raise EngineError(f"a scan ended before its end, behind {after!r}")
        return rows


class RocksSnapshot:
    """A fixed state; holds memory and files of the engine until closed."""

    def __init__(
        self, engine: RocksEngine, view: rocksdict.Snapshot, cursor: RdictIter, ahead: _Ahead | None
    ) -> None:
        self._engine = engine
        self._parts: tuple[rocksdict.Snapshot, RdictIter] | None = (view, cursor)
        self._ahead = ahead

    def _open_parts(self) -> tuple[rocksdict.Snapshot, RdictIter]:
        if self._parts is None:
            raise EngineClosed("the snapshot or its engine was closed before this call")
        return self._parts

    @_classified
    def get(self, key: bytes) -> bytes | None:
        view, _ = self._open_parts()
        try:
            return cast("bytes", view[key])
        except Exception as error:
            # rocksdict's way to say it; it is no KeyError.
            if str(error) == "key not found":
                return None
            raise

    @_classified
    def scan(self, start: bytes, end: bytes, limit: int, *, reverse: bool = False) -> list[Row]:
        assert limit >= 1, limit
        _, cursor = self._open_parts()
        if self._ahead is not None and self._ahead.follows(start, end) and not reverse:
            return self._ahead.take(limit, cursor)
        return _walk(cursor, start, end, limit, reverse) if start < end else []

    @_classified
    def keys(self, start: bytes, end: bytes, limit: int) -> list[bytes]:
        assert limit >= 1, limit
        _, cursor = self._open_parts()
        return _walk_keys(cursor, start, end, limit)

    def count(self, start: bytes, end: bytes, limit: int) -> int:
        return len(self.keys(start, end, limit))

    def close(self) -> None:
        self._parts = self._ahead = None
        self._engine._snapshots.discard(self)


class RocksEngine:
    """See the contract, `engine.Engine`."""

    batches_reads: Final = False
    shares_rows: Final = False

    def __init__(self, db: Rdict, path: Path) -> None:
        self._path = path
        self._db: Rdict | None = db
        self._closed = False  # for good; a failed `reopen` leaves no db either, but may be repeated
        self._snapshots: set[RocksSnapshot] = set()
        self._tombstones = 0  # written since the last flush
        self._tidied = 0  # calls of `tidy` since then
        self._synced, self._unsynced = rocksdict.WriteOptions(), rocksdict.WriteOptions()
        self._synced.sync = True
        # `close` may come from another thread: never in the middle of a write, nor between the
        # making of a snapshot and its entry in the set, where it would keep the store locked.
        self._changing = Lock()

    @classmethod
    @_classified
    def open(cls, path: Path, *, create: bool, read_only: bool = False) -> RocksEngine:
        """Open the store in `path`; with `create` an empty or missing folder becomes one; with
        `read_only` nothing in it is changed, and what a crash left in the log is seen too."""
        fresh = create and not (path.exists() and any(path.iterdir()))
        if not fresh and not (path / "CURRENT").exists():
            # RocksDB would make a new, empty store here, also over the remains of an old one.
            raise EngineCorrupt(f"{path} has no CURRENT file: no RocksDB store, or a damaged one")
        if read_only:
            access = rocksdict.AccessType.read_only(error_if_log_file_exist=False)
            return cls(_opened(path, create=False, access=access), path)
        return cls(_opened(path, create), path)

    def _open_db(self) -> Rdict:
        if self._db is None:
            raise EngineClosed("the engine was closed before this call")
        return self._db

    def expect(self, keys: Sequence[bytes]) -> None:
        """Keys at once cost here as much as one by one."""

    def get(self, key: bytes) -> bytes | None:
        try:
            return self._open_db().get(key)
        except EngineError:
            raise
        # As _classified, without the call: this is what each write and each read of a key does.
        except Exception as error:
            raise _without_frames(error) from error

    @_classified
    def scan(self, start: bytes, end: bytes, limit: int, *, reverse: bool = False) -> list[Row]:
        assert limit >= 1, limit
        db = self._open_db()
        if start >= end:
            return []
        if reverse:
            return _walk(db.iter(), start, end, limit, reverse=True)
        if limit < FAST_ROWS_MIN:
            return _walk(db.iter(_read_below(end)), start, end, limit, reverse=False)
        return self._scan_fast(db, start, end, limit)

    def _scan_fast(self, db: Rdict, start: bytes, end: bytes, limit: int) -> list[Row]:
        bound = _read_below(end)
        items = db.items(from_key=start, read_opt=bound)
        rows: list[Row] = []
        while wanted := min(SLICE_ROWS, limit - len(rows)):
            found = cast("list[Row]", list(islice(items, wanted)))
            rows += found
            if len(found) < wanted:
                after = rows[-1][0] + b"\0" if rows else start
                _verify_ended(db.iter(bound), after, end)
                break
        return rows

    @_classified
    def keys(self, start: bytes, end: bytes, limit: int) -> list[bytes]:
        assert limit >= 1, limit
        db = self._open_db()
        return list(chain.from_iterable(_key_slices(db, start, end, limit)))

    @_classified
    def count(self, start: bytes, end: bytes, limit: int) -> int:
        assert limit >= 1, limit
        db = self._open_db()
        return sum(map(len, _key_slices(db, start, end, limit)))

    @_classified
    def write(self, batch: Batch, *, sync: bool) -> None:
        assert len(batch) > 0, "an empty batch has nothing to make durable"
        rows = rocksdict.WriteBatch(raw_mode=True)
        put = rows.put
        deleted = 0
        for kind, key, value in batch.operations:
            if kind == PUT:
                put(key, value)
            elif kind == DELETE:
                rows.delete(key)
                deleted += 1
            else:
                assert kind == DELETE_RANGE, kind
                rows.delete_range(key, value)
        with self._changing:
            self._open_db().write(rows, self._synced if sync else self._unsynced)
        self._tombstones += deleted

    def refuses(self, make: Callable[[], Batch]) -> bool:
        return False

    @_classified
    def snapshot(self, start: bytes = b"", end: bytes = b"") -> RocksSnapshot:
        with self._changing:
            db = self._open_db()
            # No write can come between them: there is one thread. So they read one state.
            ahead = _Ahead(db, start, end) if start < end else None
            taken = RocksSnapshot(self, db.snapshot(), db.iter(), ahead)
            self._snapshots.add(taken)
        return taken

    @_classified
    def reopen(self) -> None:
        """RocksDB takes no more writes after one has failed. The open replays the log into a new,
        synced file, so that what is read afterwards is durable even where a failed sync has left
        pages that only look as if they were."""
        with self._changing:
            if self._closed:
                raise EngineClosed("the engine was closed before this call")
            # Closing tells again what failed before; raised as rocksdict's plain Exception.
            with suppress(Exception):
                if self._db is not None:
                    self._db.cancel_all_background(wait=True)  # another thread's defragment
                self._release()
            self._db = self._open_patiently()

    def _open_patiently(self) -> Rdict:
        """The other thread needs a moment to see that its work was cancelled."""
        for _ in range(REOPEN_TRIES - 1):
            try:
                return _opened(self._path, create=False)
            except Exception as error:
                if not isinstance(classify(error), EngineLocked):
                    raise
                sleep(REOPEN_PAUSE_S)
        return _opened(self._path, create=False)

    @_classified
    def tidy(self) -> None:
        """Tombstones in a memtable stay there; those in a file are compacted away at once, see
        rocksdb_options.py. So a memtable with many of them becomes a file early."""
        self._tidied += 1
        many = self._tombstones >= TOMBSTONES_MAX
        if many or (self._tombstones >= TOMBSTONES_MIN and self._tidied >= TIDY_PATIENCE):
            self._tombstones = self._tidied = 0
            self._open_db().flush(wait=False)

    @_classified
    def disk_bytes(self) -> int:
        db = self._open_db()
        files = db.property_int_value("rocksdb.total-sst-files-size") or 0
        # What lies in the memtables lies in the log too, at about the same size.
        return files + (db.property_int_value("rocksdb.cur-size-all-mem-tables") or 0)

    @_classified
    def compact(self, start: bytes, end: bytes) -> None:
        """Rewrite [start, end) without its dead rows; other threads run meanwhile.

        Not in the contract. For mass deletes: see rocksdb_options.py.
        """
        # By default a lone file moves to the lowest level as it is, with every tombstone in it.
        options = rocksdict.CompactOptions()
        options.set_bottommost_level_compaction(rocksdict.BottommostLevelCompaction.force())
        self._open_db().compact_range(start, end, options)

    def defragment(self) -> None:
        self.compact(b"", b"\xff")

    @_classified
    def close(self) -> None:
        """Release everything; only then raise what RocksDB met, for instance a full device."""
        with self._changing:
            self._closed = True
            self._release()

    def _release(self) -> None:
        db, self._db = self._db, None
        # RocksDB keeps its lock file until the last snapshot and cursor is gone.
        for taken in list(self._snapshots):
            taken.close()
        if db is not None:
            db.close()
