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

from functools import wraps
from itertools import islice
from threading import Lock
from typing import TYPE_CHECKING, Final, ParamSpec, TypeVar, cast

import rocksdict
from rocksdict import Rdict, RdictIter, ReadOptions

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
    from collections.abc import Callable
    from pathlib import Path

BLOCK_CACHE_BYTES: Final = 256 << 20  # the newest rows of a large cluster; the rest is page cache
# Bounds the log that an open replays to about a second. RocksDB keeps as much in reserve: after a
# full device it takes writes again by itself only once more than this is free.
WRITE_BUFFER_BYTES: Final = 64 << 20
OPEN_FILES_MAX: Final = 512  # below the usual limit of 1,024 descriptors, sockets included
SLICE_ROWS: Final = 1_024  # a slice is read without letting another thread run: about 0.5 ms
FAST_ROWS_MIN: Final = 16  # below, verifying the end costs more than the fast iterator saves
# A file where half of a window of rows is tombstones is compacted early: scans walk over every
# tombstone, and no other thread runs meanwhile.
TOMBSTONE_WINDOW_ROWS: Final = 4_096
TOMBSTONE_RATIO: Final = 0.5

_KINDS: Final[tuple[tuple[str, type[EngineError]], ...]] = (
    ("IO error: No space left on device", EngineFull),
    ("IO error: lock hold by current process", EngineLocked),
    ("IO error: While lock file", EngineLocked),
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
    text = str(error)
    if isinstance(error, rocksdict.DbClosedError):
        return EngineClosed(text)
    for prefix, kind in _KINDS:
        if text.startswith(prefix):
            return kind(text)
    if text.startswith("IO error:") and text.rstrip().endswith(_QUOTA_SUFFIX):
        return EngineFull(text)
    return EngineError(text)


def _classified(call: Callable[P, T]) -> Callable[P, T]:
    @wraps(call)
    def checked(*args: P.args, **kwargs: P.kwargs) -> T:
        try:
            return call(*args, **kwargs)
        except AssertionError:
            raise
        # rocksdict raises plain Exception: there is nothing narrower to catch.
        except Exception as error:
            raise classify(error) from error

    return checked


def _options(create: bool) -> rocksdict.Options:
    table = rocksdict.BlockBasedOptions()
    table.set_block_cache(rocksdict.Cache(BLOCK_CACHE_BYTES))
    table.set_bloom_filter(10, False)
    # Indexes and filters inside the cache: memory stays bounded, whatever the data set.
    table.set_cache_index_and_filter_blocks(True)
    table.set_pin_l0_filter_and_index_blocks_in_cache(True)
    options = rocksdict.Options(raw_mode=True)
    options.create_if_missing(create)
    options.set_block_based_table_factory(table)
    # The default, point-in-time, drops everything after a damaged record without a word.
    options.set_wal_recovery_mode(rocksdict.DBRecoveryMode.tolerate_corrupted_tail_records())
    options.set_paranoid_checks(True)
    options.set_compression_type(rocksdict.DBCompressionType.lz4())
    options.set_write_buffer_size(WRITE_BUFFER_BYTES)
    options.set_bytes_per_sync(1 << 20)  # spreads a flush's writing, so that our syncs do not wait
    options.set_max_background_jobs(2)
    options.set_max_open_files(OPEN_FILES_MAX)
    options.set_keep_log_file_num(4)
    options.set_max_log_file_size(16 << 20)
    options.add_compact_on_deletion_collector_factory(
        TOMBSTONE_WINDOW_ROWS, int(TOMBSTONE_WINDOW_ROWS * TOMBSTONE_RATIO), TOMBSTONE_RATIO
    )
    return options


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


def _walk_count(cursor: RdictIter, start: bytes, end: bytes, limit: int) -> int:
    counted = 0
    cursor.seek(start)
    while cursor.valid() and cursor.key() < end:
        counted += 1
        if counted == limit:
            break
        cursor.next()
    cursor.status()
    return counted


def _verify_ended(cursor: RdictIter, after: bytes, end: bytes) -> None:
    """The range is really over behind `after`, or an error tells why the rows stopped there."""
    rest = _walk(cursor, after, end, 1, reverse=False)
    if rest:
        raise EngineError(f"a scan ended before {rest[0][0]!r}, which can be read again now")


class RocksSnapshot:
    """A fixed state; holds memory and files of the engine until closed."""

    def __init__(self, engine: RocksEngine, view: rocksdict.Snapshot, cursor: RdictIter) -> None:
        self._engine = engine
        self._parts: tuple[rocksdict.Snapshot, RdictIter] | None = (view, cursor)

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
        return _walk(cursor, start, end, limit, reverse) if start < end else []

    @_classified
    def count(self, start: bytes, end: bytes, limit: int) -> int:
        assert limit >= 1, limit
        _, cursor = self._open_parts()
        return _walk_count(cursor, start, end, limit)

    def close(self) -> None:
        self._parts = None
        self._engine._snapshots.discard(self)


class RocksEngine:
    """See the contract, `engine.Engine`."""

    def __init__(self, db: Rdict) -> None:
        self._db: Rdict | None = db
        self._snapshots: set[RocksSnapshot] = set()
        self._synced, self._unsynced = rocksdict.WriteOptions(), rocksdict.WriteOptions()
        self._synced.sync = True
        # `close` may come from another thread: never in the middle of a write, nor between the
        # making of a snapshot and its entry in the set, where it would keep the store locked.
        self._changing = Lock()

    @classmethod
    @_classified
    def open(cls, path: Path, *, create: bool) -> RocksEngine:
        """Open the store in `path`; with `create` an empty or missing folder becomes one."""
        fresh = create and not (path.exists() and any(path.iterdir()))
        if not fresh and not (path / "CURRENT").exists():
            # RocksDB would make a new, empty store here, also over the remains of an old one.
            raise EngineCorrupt(f"{path} has no CURRENT file: no RocksDB store, or a damaged one")
        return cls(Rdict(str(path), _options(create)))

    def _open_db(self) -> Rdict:
        if self._db is None:
            raise EngineClosed("the engine was closed before this call")
        return self._db

    @_classified
    def get(self, key: bytes) -> bytes | None:
        return self._open_db().get(key)

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
    def count(self, start: bytes, end: bytes, limit: int) -> int:
        assert limit >= 1, limit
        db = self._open_db()
        return self._count_fast(db, start, end, limit) if start < end else 0

    def _count_fast(self, db: Rdict, start: bytes, end: bytes, limit: int) -> int:
        bound = _read_below(end)
        keys = db.keys(from_key=start, read_opt=bound)
        counted, after = 0, start
        while wanted := min(SLICE_ROWS, limit - counted):
            found = cast("list[bytes]", list(islice(keys, wanted)))
            counted += len(found)
            after = found[-1] + b"\0" if found else after
            if len(found) < wanted:
                _verify_ended(db.iter(bound), after, end)
                break
        return counted

    @_classified
    def write(self, batch: Batch, *, sync: bool) -> None:
        assert len(batch) > 0, "an empty batch has nothing to make durable"
        rows = rocksdict.WriteBatch(raw_mode=True)
        for kind, key, value in batch.operations:
            if kind == PUT:
                rows.put(key, value)
            elif kind == DELETE:
                rows.delete(key)
            else:
                assert kind == DELETE_RANGE, kind
                rows.delete_range(key, value)
        with self._changing:
            self._open_db().write(rows, self._synced if sync else self._unsynced)

    @_classified
    def snapshot(self) -> RocksSnapshot:
        with self._changing:
            db = self._open_db()
            # No write can come between the two: there is one thread. So they read one state.
            taken = RocksSnapshot(self, db.snapshot(), db.iter())
            self._snapshots.add(taken)
        return taken

    @_classified
    def disk_bytes(self) -> int:
        db = self._open_db()
        files = db.property_int_value("rocksdb.total-sst-files-size") or 0
        # What lies in the memtables lies in the log too, at about the same size.
        return files + (db.property_int_value("rocksdb.cur-size-all-mem-tables") or 0)

    @_classified
    def compact(self, start: bytes, end: bytes) -> None:
        """Rewrite [start, end) without its dead rows; other threads run meanwhile.

        Not in the contract. For mass deletes: see TOMBSTONE_WINDOW_ROWS.
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
            db, self._db = self._db, None
            # RocksDB keeps its lock file until the last snapshot and cursor is gone.
            for taken in list(self._snapshots):
                taken.close()
            if db is not None:
                db.close()
