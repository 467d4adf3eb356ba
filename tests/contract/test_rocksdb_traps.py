"""What RocksDB and rocksdict do that nobody expects, each trap as a test of our engine.

Where a trap is rocksdict's own, a `..._trap_is_still_there` shows it on the bare library too: when
a new version removes it, that test fails, and the detour in `rocksdb.py` may go.
"""

from __future__ import annotations

import itertools
import shutil
import subprocess
import sys
import threading
from time import perf_counter
from typing import TYPE_CHECKING, Final, cast

import pytest
import rocksdict

from kubebraid.shard.storage import rocksdb, rocksdb_options
from kubebraid.shard.storage.engine import (
    Batch,
    EngineClosed,
    EngineCorrupt,
    EngineError,
    EngineFull,
    EngineLocked,
)
from kubebraid.shard.storage.rocksdb import RocksEngine, classify

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

LAST: Final = b"\xff" * 4
ROWS: Final = 20_000


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[RocksEngine]:
    opened = RocksEngine.open(tmp_path / "store", create=True)
    yield opened
    opened.close()


def fill(engine: RocksEngine, rows: int = ROWS, value: bytes = b"v" * 100) -> None:
    for part in range(0, rows, 10_000):
        batch = Batch()
        for number in range(part, min(part + 10_000, rows)):
            batch.put(b"k%06d" % number, value)
        engine.write(batch, sync=False)


def flip_byte(path: Path, offset: int) -> None:
    with path.open("r+b") as file:
        file.seek(offset)
        old = file.read(1)
        file.seek(offset)
        file.write(bytes([old[0] ^ 0xFF]))


# --- bounds ---------------------------------------------------------------------------------------


def test_scan_with_a_start_keeps_its_end_and_reverse_scan_keeps_both(engine: RocksEngine) -> None:
    """rocksdict's lower bound setter moves the upper bound: a bounded scan came back empty."""
    fill(engine, 1_000)
    keys = [b"k%06d" % number for number in range(100, 200)]
    assert [key for key, _ in engine.scan(keys[0], b"k000200", 999)] == keys
    assert [key for key, _ in engine.scan(keys[0], b"k000200", 5)] == keys[:5]
    found = engine.scan(keys[0], b"k000200", 999, reverse=True)
    assert [key for key, _ in found] == keys[::-1]


def test_lower_bound_trap_is_still_there(tmp_path: Path) -> None:
    db = rocksdict.Rdict(str(tmp_path), rocksdict.Options(raw_mode=True))
    for key in (b"a", b"b", b"c"):
        db[key] = b"1"
    options = rocksdict.ReadOptions()
    options.set_iterate_lower_bound(b"b")
    assert list(db.keys(read_opt=options)) == [b"a"]
    db.close()


# --- snapshots ------------------------------------------------------------------------------------


def test_snapshot_stays_isolated_through_flush_compaction_and_range_deletes(
    engine: RocksEngine,
) -> None:
    """Its scans live on a cursor: the files it reads must outlive the compaction around them."""
    fill(engine, 5_000)
    snapshot = engine.snapshot()
    engine.write(Batch().delete_range(b"k000000", b"k004000"), sync=True)
    fill(engine, 4_500, b"new")
    engine.compact(b"", LAST)
    engine.write(Batch().delete_range(b"", LAST), sync=True)
    engine.compact(b"", LAST)
    assert engine.count(b"", LAST, 9_999) == 0
    for reverse in (False, True):
        found = snapshot.scan(b"", LAST, 9_999, reverse=reverse)
        assert len(found) == 5_000
        assert {value for _, value in found} == {b"v" * 100}
    assert snapshot.count(b"", LAST, 9_999) == 5_000
    assert snapshot.get(b"k000001") == b"v" * 100
    snapshot.close()


def test_snapshot_iteration_trap_is_still_there(tmp_path: Path) -> None:
    """Why scans of a snapshot use a cursor: the library's own iterate over the present state."""
    db = rocksdict.Rdict(str(tmp_path), rocksdict.Options(raw_mode=True))
    db[b"a"] = b"old"
    snapshot = db.snapshot()
    db[b"a"] = b"new"
    assert snapshot[b"a"] == b"old"
    assert list(snapshot.items()) == [(b"a", b"new")]
    del snapshot
    db.close()


# --- damage ---------------------------------------------------------------------------------------


def crashed_copy(tmp_path: Path) -> tuple[Path, Path]:
    """A store with 1,000 synced rows as a crash leaves it, and its log file."""
    engine = RocksEngine.open(tmp_path / "living", create=True)
    for number in range(100):
        batch = Batch()
        for row in range(10):
            batch.put(b"k%04d" % (number * 10 + row), b"v" * 100)
        engine.write(batch, sync=True)
    shutil.copytree(tmp_path / "living", tmp_path / "copy")
    engine.close()
    (log,) = (tmp_path / "copy").glob("*.log")
    return tmp_path / "copy", log


@pytest.mark.parametrize("where", [0.01, 0.5, 0.999])
def test_flipped_byte_in_the_log_is_refused_and_not_cut_off(tmp_path: Path, where: float) -> None:
    """The default recovery mode opened silently with what lay before the damage."""
    copy, log = crashed_copy(tmp_path)
    flip_byte(log, int(log.stat().st_size * where))
    with pytest.raises(EngineCorrupt, match="checksum"):
        RocksEngine.open(copy, create=False)


def test_torn_tail_of_the_log_opens_without_the_torn_batch(tmp_path: Path) -> None:
    """A power cut in the middle of a write leaves this; that batch was never acknowledged."""
    copy, log = crashed_copy(tmp_path)
    with log.open("r+b") as file:
        file.truncate(log.stat().st_size - 20)
    engine = RocksEngine.open(copy, create=False)
    assert engine.count(b"", LAST, 9_999) == 990
    engine.close()


def test_zeros_behind_the_log_open_with_every_row(tmp_path: Path) -> None:
    """Some file systems extend a file before its data arrives."""
    copy, log = crashed_copy(tmp_path)
    with log.open("ab") as file:
        file.write(bytes(5_000))
    engine = RocksEngine.open(copy, create=False)
    assert engine.count(b"", LAST, 9_999) == 1_000
    engine.close()


@pytest.fixture
def damaged(tmp_path: Path) -> Iterator[RocksEngine]:
    """An open store whose one table file has a flipped byte in the middle."""
    path = tmp_path / "store"
    engine = RocksEngine.open(path, create=True)
    batch = Batch()
    for number in range(ROWS):
        batch.put(b"k%06d" % number, b"%d" % (number**7 % 10**40))
    engine.write(batch, sync=True)
    engine.compact(b"", LAST)
    engine.close()
    (table,) = path.glob("*.sst")
    flip_byte(table, table.stat().st_size // 3)
    engine = RocksEngine.open(path, create=False)
    yield engine
    engine.close()


def test_damaged_table_is_an_error_of_every_read_and_never_a_short_list(
    damaged: RocksEngine,
) -> None:
    """The library's item and key iterators just end there, which looks like a short range."""
    snapshot = damaged.snapshot()
    calls: list[Callable[[], object]] = [
        lambda: damaged.scan(b"", LAST, ROWS + 1),
        lambda: damaged.scan(b"", LAST, ROWS),
        lambda: damaged.scan(b"", LAST, ROWS, reverse=True),
        lambda: damaged.count(b"", LAST, ROWS),
        lambda: snapshot.scan(b"", LAST, ROWS),
        lambda: damaged.snapshot(b"", LAST).scan(b"", LAST, ROWS),
        lambda: snapshot.scan(b"", LAST, ROWS, reverse=True),
        lambda: snapshot.count(b"", LAST, ROWS),
        lambda: [damaged.get(b"k%06d" % number) for number in range(ROWS)],
        lambda: [snapshot.get(b"k%06d" % number) for number in range(ROWS)],
        lambda: [damaged.scan(b"k%06d" % number, LAST, 1) for number in range(ROWS)],
    ]
    for call in calls:
        with pytest.raises(EngineCorrupt, match="checksum"):
            call()
    snapshot.close()


def test_rows_in_whole_blocks_of_a_damaged_table_are_still_read(damaged: RocksEngine) -> None:
    """So that an operator can copy out what is left; a limit reached before the damage is met."""
    assert len(damaged.scan(b"", LAST, 1_000)) == 1_000
    assert len(damaged.scan(b"", LAST, 1_000, reverse=True)) == 1_000
    assert damaged.count(b"", b"k001000", ROWS) == 1_000


def test_reopened_store_has_our_options_not_those_of_its_folder(tmp_path: Path) -> None:
    """A store that was opened again read through 8 MiB of cache, whatever we asked for."""
    path = tmp_path / "store"
    for create in (True, False, False):
        engine = RocksEngine.open(path, create=create)
        assert capacity(engine._open_db()) == rocksdb_options.BLOCK_CACHE_BYTES
        engine.reopen()
        assert capacity(engine._open_db()) == rocksdb_options.BLOCK_CACHE_BYTES
        engine.close()
    trap = rocksdict.Rdict(str(path), rocksdb_options.options(create=False))
    assert capacity(trap) == 8 << 20, "the trap is gone: the options need no second name any more"
    trap.close()


def capacity(db: rocksdict.Rdict) -> int | None:
    """Bytes of the block cache."""
    return db.property_int_value("rocksdb.block-cache-capacity")


def test_silent_end_trap_is_still_there(damaged: RocksEngine, tmp_path: Path) -> None:
    damaged.close()
    db = rocksdict.Rdict(str(tmp_path / "store"), rocksdict.Options(raw_mode=True))
    assert 0 < len(list(db.keys())) < ROWS
    db.close()


@pytest.mark.parametrize("lost", ["*.sst", "CURRENT", "MANIFEST-*"])
def test_lost_file_is_refused_and_never_an_empty_store(tmp_path: Path, lost: str) -> None:
    """`create` must not help either: RocksDB would begin a new store over the old one's files."""
    engine = RocksEngine.open(tmp_path, create=True)
    fill(engine, 100)
    engine.compact(b"", LAST)
    engine.close()
    for path in tmp_path.glob(lost):
        path.unlink()
    for create in (False, True):
        with pytest.raises(EngineError):
            RocksEngine.open(tmp_path, create=create)
    assert not list(tmp_path.glob("*.sst")) or lost != "*.sst"


def test_missing_store_is_refused_and_no_folder_appears(tmp_path: Path) -> None:
    """RocksDB leaves LOCK and LOG behind even where it refuses to create."""
    with pytest.raises(EngineCorrupt, match="CURRENT"):
        RocksEngine.open(tmp_path / "missing", create=False)
    assert list(tmp_path.iterdir()) == []


# --- errors ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("IO error: No space left on device: While appending to file: /d/4.log: …", EngineFull),
        ("IO error: While appending to file: /d/4.log: Disk quota exceeded", EngineFull),
        ("IO error: lock hold by current process, acquire time 1: /d/LOCK: …", EngineLocked),
        ("IO error: While lock file: /d/LOCK: Resource temporarily unavailable", EngineLocked),
        ("Corruption: block checksum mismatch in /d/9.sst", EngineCorrupt),
        ("IO error: While fdatasync: /d/4.log: Input/output error", EngineError),
        ("IO error: While open a file: /d/Corruption:/No space left on device", EngineError),
        ("Invalid argument: /d: does not exist (create_if_missing is false)", EngineError),
        ("", EngineError),
    ],
)
def test_error_text_gets_its_class_by_its_beginning(text: str, kind: type[EngineError]) -> None:
    found = classify(Exception(text))
    assert type(found) is kind
    assert str(found) == text


def test_errors_of_ours_pass_and_a_closed_library_is_a_closed_engine() -> None:
    full = EngineFull("x")
    assert classify(full) is full
    assert type(classify(rocksdict.DbClosedError("closed"))) is EngineClosed


def test_second_open_in_this_process_is_locked_until_close_also_with_a_forgotten_snapshot(
    engine: RocksEngine, tmp_path: Path
) -> None:
    """RocksDB's lock lives as long as any cursor: `close` must drop those of all snapshots."""
    fill(engine, 10)
    forgotten = engine.snapshot()
    with pytest.raises(EngineLocked):
        RocksEngine.open(tmp_path / "store", create=False)
    engine.close()
    again = RocksEngine.open(tmp_path / "store", create=False)
    assert again.count(b"", LAST, 99) == 10
    again.close()
    with pytest.raises(EngineClosed):
        forgotten.get(b"k000001")


OPEN_ONCE: Final = """
import sys
from pathlib import Path
from kubebraid.shard.storage.rocksdb import RocksEngine
try:
    RocksEngine.open(Path(sys.argv[1]), create=False)
except Exception as error:
    print(type(error).__name__)
"""


def test_open_by_a_second_process_is_locked(engine: RocksEngine, tmp_path: Path) -> None:
    command = [sys.executable, "-c", OPEN_ONCE, str(tmp_path / "store")]
    answer = subprocess.run(command, capture_output=True, text=True, check=True)
    assert answer.stdout.strip() == "EngineLocked", answer


def test_store_in_the_place_of_a_file_is_an_engine_error(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(EngineError):
        RocksEngine.open(tmp_path / "file", create=True)


class RecordingDb:
    """Stands where rocksdict does; a kill cannot tell a synced write from one in the page cache."""

    def __init__(self) -> None:
        self.syncs: list[bool] = []

    def write(self, rows: rocksdict.WriteBatch, options: rocksdict.WriteOptions) -> None:
        assert len(rows) == 1
        self.syncs.append(options.sync)

    def close(self) -> None: ...


def test_write_asks_for_a_sync_exactly_when_its_caller_does(tmp_path: Path) -> None:
    db = RecordingDb()
    engine = RocksEngine(cast("rocksdict.Rdict", db), tmp_path)
    for sync in (True, False, True):
        engine.write(Batch().put(b"a", b"1"), sync=sync)
    assert db.syncs == [True, False, True]


# --- threads and tombstones -----------------------------------------------------------------------


def wakeups_during(work: Callable[[], None]) -> tuple[int, float]:
    """How often another thread ran while `work` did, and how long that took."""
    stop = threading.Event()
    moments: list[float] = []

    def tick() -> None:
        while not stop.wait(0.001):
            moments.append(perf_counter())

    thread = threading.Thread(target=tick)
    thread.start()
    begin = perf_counter()
    work()
    end = perf_counter()
    stop.set()
    thread.join()
    return sum(begin < moment < end for moment in moments), end - begin


def test_other_threads_run_during_a_big_synced_write_and_a_compaction(engine: RocksEngine) -> None:
    """The commit thread spends most of its time there; the front must go on meanwhile."""
    batch = Batch()
    value = bytes(range(256)) * 4 * 4_096
    for number in range(20):
        batch.put(b"k%06d" % number, value)
    works: dict[str, Callable[[], None]] = {
        "write": lambda: engine.write(batch, sync=True),
        "compact": lambda: engine.compact(b"", LAST),
    }
    for name, work in works.items():
        wakeups, seconds = wakeups_during(work)
        # At 1,000 ticks a second a tenth is plenty; holding the lock gives one or two.
        assert wakeups >= min(5, seconds * 100), (name, wakeups, seconds)


def test_close_from_another_thread_waits_for_the_write_and_the_next_call_is_refused(
    engine: RocksEngine, tmp_path: Path
) -> None:
    written = 0
    refused = threading.Event()

    def write_until_closed() -> None:
        nonlocal written
        for number in itertools.count():
            try:
                engine.snapshot()
                engine.write(Batch().put(b"k%06d" % number, b"v" * 10_000), sync=True)
            except EngineClosed:
                refused.set()
                return
            written += 1

    thread = threading.Thread(target=write_until_closed)
    thread.start()
    while written < 50:
        thread.join(0.001)
        assert thread.is_alive()
    engine.close()
    thread.join()
    assert refused.is_set()
    again = RocksEngine.open(tmp_path / "store", create=False)
    assert again.count(b"", LAST, 999_999) == written
    again.close()


@pytest.fixture
def graveyard(engine: RocksEngine) -> RocksEngine:
    """A living row at each end, and 200,000 deleted ones between."""
    rows = 200_000
    fill(engine, rows, b"v")
    for part in range(0, rows, 10_000):
        batch = Batch()
        for number in range(part, part + 10_000):
            batch.delete(b"k%06d" % number)
        engine.write(batch, sync=False)
    engine.write(Batch().put(b"a", b"1").put(b"z", b"1"), sync=True)
    return engine


def fastest_of_five(work: Callable[[], None]) -> float:
    """Noise only ever makes slower."""

    def once() -> float:
        begin = perf_counter()
        work()
        return perf_counter() - begin

    return min(once() for _ in range(5))


def test_scan_that_reached_its_limit_does_not_walk_the_tombstones_behind(
    graveyard: RocksEngine,
) -> None:
    def scan() -> None:
        assert graveyard.scan(b"", LAST, 1) == [(b"a", b"1")]
        assert graveyard.scan(b"a", b"l", 1, reverse=False) == [(b"a", b"1")]

    assert fastest_of_five(scan) < 0.01


def test_scan_over_tombstones_ends_in_bounded_time_and_compaction_removes_them(
    graveyard: RocksEngine,
) -> None:
    def scan() -> None:
        assert graveyard.scan(b"b", LAST, 1) == [(b"z", b"1")]
        assert graveyard.scan(b"", b"y", 1, reverse=True) == [(b"a", b"1")]

    before = fastest_of_five(scan)
    assert before < 2.0
    graveyard.compact(b"", LAST)
    after = fastest_of_five(scan)
    assert after < 0.01, (before, after)
    assert after < before / 2


def test_range_delete_leaves_one_tombstone_that_scans_step_over(engine: RocksEngine) -> None:
    """How compaction of history deletes: no row-by-row tombstones."""
    fill(engine, 200_000, b"v")
    engine.compact(b"", LAST)
    engine.write(Batch().delete_range(b"k", b"l").put(b"z", b"1"), sync=True)

    def scan() -> None:
        assert engine.scan(b"", LAST, 1) == [(b"z", b"1")]

    assert fastest_of_five(scan) < 0.05


def test_tidy_does_not_wait_for_a_flush_that_is_under_way(engine: RocksEngine) -> None:
    """RocksDB lets a flush that need not be waited for wait until it would stall no write: with two
    memtables, until the other one is on the disk."""
    db = engine._open_db()
    waiting = 0
    for _ in range(20):  # the flush of 32 MB may be over by chance, on a busy machine often
        fill(engine, 10_000, b"v" * 3_200)
        db.flush(wait=False)
        batch = Batch()
        for number in range(rocksdb.TOMBSTONES_MAX):
            batch.delete(b"t%06d" % number)
        engine.write(batch, sync=False)
        engine.tidy()
        waiting = max(waiting, db.property_int_value("rocksdb.num-immutable-mem-table") or 0)
        db.flush(wait=True)
        if waiting == 2:
            break
    assert waiting == 2, "both, in the moment in which tidy returned"
