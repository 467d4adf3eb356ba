"""The engine contract: one suite that every engine passes, so that a test on the one in memory says
something about the one on disk.

Random histories are compared with a plain dict; each promise of `engine.py` has a test of its own
beside them, because a failing name tells more than a shrunk example. The engine on TiKV takes part
where the marker `tikv` is asked for: `pytest -m tikv tests/contract`, after tests/tikv/build.sh. It
does so twice: with all rows of its own, and with most of them among rows that stores may share.
"""

from __future__ import annotations

import secrets
import shutil
import signal
import subprocess
import sys
from contextlib import closing, contextmanager, suppress
from functools import partial
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Event, Thread
from time import sleep
from typing import TYPE_CHECKING, Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kubebraid.shard.storage.engine import (
    DELETE,
    PUT,
    Batch,
    Engine,
    EngineClosed,
    EngineError,
    Operation,
)
from kubebraid.shard.storage.memory import MemoryEngine
from kubebraid.shard.storage.rocksdb import FAST_ROWS_MIN, SLICE_ROWS, RocksEngine
from kubebraid.shard.storage.tikv import TikvEngine
from kubebraid.shard.storage.tikv_space import Shared

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager

    from kubebraid.shard.storage.engine import Reader, Snapshot
    from tests.tikv.cluster import Cluster

    Opening = Callable[[], AbstractContextManager[Engine]]

LAST: Final = b"\xff" * 4  # above every key of this file


@contextmanager
def memory_engine() -> Iterator[Engine]:
    yield MemoryEngine()


@contextmanager
def rocks_engine() -> Iterator[Engine]:
    with TemporaryDirectory() as path:
        engine = RocksEngine.open(Path(path), create=True)
        try:
            yield engine
        finally:
            engine.close()


@contextmanager
def tikv_engine(cluster: Cluster, kinds: bytes = b"") -> Iterator[Engine]:
    """The kinds of rows are shared, with nobody."""
    name = secrets.token_bytes(8)
    shared = Shared(name, kinds, kinds[:1]) if kinds else None
    engine = TikvEngine.open([cluster.pd_address], name, create=True, shared=shared)
    try:
        yield engine
    finally:
        engine.close()


ENGINES: Final = {"memory": memory_engine, "rocksdb": rocks_engine}
# How the keys of this file begin: those of random histories, too, lie on either side.
SHARED: Final = {"tikv": b"", "tikv sharing": b"\1\3k"}
KINDS: Final = [
    *sorted(ENGINES),
    *(pytest.param(kind, marks=pytest.mark.tikv) for kind in SHARED),
]


@pytest.fixture(scope="session", params=KINDS)
def opening(request: pytest.FixtureRequest) -> Opening:
    """What opens one engine after the other, each of them empty."""
    if request.param in ENGINES:
        return ENGINES[request.param]
    return partial(tikv_engine, request.getfixturevalue("tikv_cluster"), SHARED[request.param])


@pytest.fixture
def engine(opening: Opening) -> Iterator[Engine]:
    with opening() as opened:
        yield opened


def rows_batch(count: int, value: bytes = b"v") -> Batch:
    batch = Batch()
    for number in range(count):
        batch.put(b"k%06d" % number, value)
    return batch


# --- batches --------------------------------------------------------------------------------------


def test_written_row_is_read_and_a_missing_one_is_none(engine: Engine) -> None:
    engine.write(Batch().put(b"a", b"1").put(b"empty", b""), sync=True)
    assert engine.get(b"a") == b"1"
    assert engine.get(b"empty") == b""
    assert engine.get(b"b") is None


def test_later_operation_of_a_batch_wins_over_an_earlier_one(engine: Engine) -> None:
    """Evaluators append in order and rely on it: a range delete, then the row that replaces it."""
    engine.write(Batch().put(b"a", b"old").put(b"c", b"old").put(b"d", b"old"), sync=True)
    batch = Batch().put(b"a", b"1").delete(b"a").put(b"b", b"1").put(b"b", b"2")
    batch.delete_range(b"c", b"d").put(b"c", b"new").put(b"d", b"1").delete_range(b"d", b"e")
    engine.write(batch, sync=False)
    assert engine.scan(b"", LAST, 10) == [(b"b", b"2"), (b"c", b"new")]


def test_delete_range_spares_its_end_and_an_empty_range_deletes_nothing(engine: Engine) -> None:
    engine.write(rows_batch(5), sync=True)
    engine.write(Batch().delete_range(b"k000003", b"k000003"), sync=True)
    assert engine.count(b"", LAST, 10) == 5
    engine.write(Batch().delete_range(b"k000001", b"k000003"), sync=True)
    assert [key for key, _ in engine.scan(b"", LAST, 10)] == [b"k000000", b"k000003", b"k000004"]


def test_deleting_what_is_not_there_is_no_error(engine: Engine) -> None:
    engine.write(Batch().delete(b"a").delete_range(b"b", b"c"), sync=True)
    assert engine.scan(b"", LAST, 10) == []


def test_empty_batch_is_refused_by_an_assertion(engine: Engine) -> None:
    with pytest.raises(AssertionError, match="empty batch"):
        engine.write(Batch(), sync=True)


# --- scans ----------------------------------------------------------------------------------------


def test_scan_bounds_start_is_inclusive_and_end_exclusive_in_both_directions(
    engine: Engine,
) -> None:
    engine.write(rows_batch(10), sync=True)
    keys = [b"k000003", b"k000004", b"k000005"]
    snapshot = engine.snapshot()
    for reader in (engine, snapshot):
        assert [key for key, _ in reader.scan(b"k000003", b"k000006", 99)] == keys
        found = reader.scan(b"k000003", b"k000006", 99, reverse=True)
        assert [key for key, _ in found] == keys[::-1]
        assert reader.count(b"k000003", b"k000006", 99) == 3
        assert reader.keys(b"k000003", b"k000006", 99) == keys
    snapshot.close()


def test_reverse_scan_returns_the_rows_nearest_to_its_end_first(engine: Engine) -> None:
    """The newest row of a log is read so: with a limit of one, from behind."""
    engine.write(rows_batch(10), sync=True)
    for end in (b"k000007", b"k0000065"):  # a row lies at the end itself, or none
        found = engine.scan(b"k000001", end, 2, reverse=True)
        assert [key for key, _ in found] == [b"k000006", b"k000005"]


def test_empty_and_inverted_ranges_hold_no_rows(engine: Engine) -> None:
    engine.write(rows_batch(10), sync=True)
    snapshot = engine.snapshot()
    for reader in (engine, snapshot):
        for start, end in ((b"k000003", b"k000003"), (b"k000004", b"k000003"), (b"", b"")):
            assert reader.scan(start, end, 99) == []
            assert reader.scan(start, end, 99, reverse=True) == []
            assert reader.count(start, end, 99) == 0
            assert reader.keys(start, end, 99) == []
    snapshot.close()


def test_keys_order_bytewise_with_zero_and_ff_bytes(engine: Engine) -> None:
    keys = [b"\x00", b"\x00\x00", b"\x00\xff", b"a", b"a\x00", b"b", b"\xfe", b"\xff", b"\xff\xff"]
    batch = Batch()
    for key in reversed(keys):
        batch.put(key, key)
    engine.write(batch, sync=True)
    assert [key for key, _ in engine.scan(b"", LAST, 99)] == keys
    assert [key for key, _ in engine.scan(b"", LAST, 99, reverse=True)] == keys[::-1]
    assert engine.keys(b"", LAST, 99) == keys


@pytest.mark.parametrize(
    "limit",
    [
        1,
        FAST_ROWS_MIN - 1,
        FAST_ROWS_MIN,
        SLICE_ROWS - 1,
        SLICE_ROWS,
        SLICE_ROWS + 1,
        2 * SLICE_ROWS,
        2 * SLICE_ROWS + 1,
        9 * SLICE_ROWS,
    ],
)
def test_scan_and_count_are_right_around_every_internal_boundary(
    engine: Engine, limit: int
) -> None:
    """The fast paths read in slices: their seams must not lose, repeat or add a row."""
    total = 2 * SLICE_ROWS
    engine.write(rows_batch(total + 1), sync=True)
    end = b"k%06d" % total
    keys = [b"k%06d" % number for number in range(total)]
    snapshot = engine.snapshot()
    for reader in (engine, snapshot):
        assert [key for key, _ in reader.scan(b"", end, limit)] == keys[:limit]
        found = reader.scan(b"", end, limit, reverse=True)
        assert [key for key, _ in found] == keys[::-1][:limit]
        assert reader.count(b"", end, limit) == min(limit, total)
        assert reader.keys(b"", end, limit) == keys[:limit]
    snapshot.close()


def test_keys_of_a_snapshot_are_those_of_its_moment(engine: Engine) -> None:
    engine.write(rows_batch(3), sync=True)
    before = engine.snapshot()
    engine.write(Batch().delete(b"k000001").put(b"k0000015", b"new"), sync=True)
    assert before.keys(b"", LAST, 99) == [b"k000000", b"k000001", b"k000002"]
    assert engine.keys(b"", LAST, 99) == [b"k000000", b"k0000015", b"k000002"]
    before.close()


def test_limit_of_nothing_is_refused_by_an_assertion(engine: Engine) -> None:
    """Also where the range is empty: a caller that counts on it finds out on every engine."""
    engine.write(rows_batch(1), sync=True)
    snapshot = engine.snapshot()
    for reader in (engine, snapshot):
        calls: list[Callable[[], object]] = [
            partial(reader.scan, b"", LAST, 0),
            partial(reader.keys, b"", LAST, 0),
            partial(reader.count, b"", LAST, 0),
        ]
        for call in calls:
            with pytest.raises(AssertionError):
                call()
    snapshot.close()


# --- snapshots ------------------------------------------------------------------------------------


def test_snapshot_does_not_see_later_writes(engine: Engine) -> None:
    engine.write(rows_batch(5, b"old"), sync=True)
    before = engine.snapshot()
    engine.write(
        Batch().put(b"k000001", b"new").delete(b"k000002").put(b"k0000025", b"new"), sync=True
    )
    engine.write(Batch().delete_range(b"k000003", b"k000005"), sync=True)
    assert before.get(b"k000001") == b"old"
    assert before.get(b"k000002") == b"old"
    assert before.get(b"k0000025") is None
    assert before.scan(b"", LAST, 99) == [(b"k%06d" % number, b"old") for number in range(5)]
    assert len(before.scan(b"", LAST, 99, reverse=True)) == 5
    assert before.count(b"", LAST, 99) == 5
    assert [key for key, _ in engine.scan(b"", LAST, 99)] == [b"k000000", b"k000001", b"k0000025"]
    before.close()


@pytest.mark.parametrize("size", [1, 2, 3, 5, 9])
def test_snapshot_for_a_walk_from_end_to_end_reads_what_any_snapshot_reads(
    engine: Engine, size: int
) -> None:
    """The walk in slices, whatever is written meanwhile, and scans elsewhere in between."""
    engine.write(rows_batch(5, b"old"), sync=True)
    walk = engine.snapshot(b"k", b"l")
    engine.write(Batch().put(b"k0000025", b"new").delete_range(b"k000003", b"k000005"), sync=True)
    found: list[tuple[bytes, bytes]] = []
    at = b"k"
    while page := walk.scan(at, b"l", size):
        found += page
        at = page[-1][0] + b"\0"
        assert walk.scan(b"k000003", b"k000004", 9) == [(b"k000003", b"old")]
        assert walk.scan(b"k000001", b"l", 1) == [(b"k000001", b"old")]
    assert found == [(b"k%06d" % number, b"old") for number in range(5)]
    assert walk.scan(b"k", b"l", 9) == found, "again from the beginning"
    assert walk.scan(b"k", b"l", 9, reverse=True) == found[::-1]
    walk.close()
    assert_refuses_reads(walk)


def test_two_snapshots_keep_their_own_states_when_one_is_closed(engine: Engine) -> None:
    engine.write(Batch().put(b"a", b"1"), sync=True)
    first = engine.snapshot()
    engine.write(Batch().put(b"a", b"2"), sync=True)
    second = engine.snapshot()
    engine.write(Batch().put(b"a", b"3"), sync=True)
    first.close()
    assert second.get(b"a") == b"2"
    assert second.scan(b"", LAST, 9) == [(b"a", b"2")]
    second.close()
    assert engine.get(b"a") == b"3"


def test_closed_snapshot_refuses_reads_and_closes_again(engine: Engine) -> None:
    snapshot = engine.snapshot()
    snapshot.close()
    snapshot.close()
    assert_refuses_reads(snapshot)


# --- life -----------------------------------------------------------------------------------------


def assert_refuses_reads(reader: Reader) -> None:
    calls: list[Callable[[], object]] = [
        lambda: reader.get(b"a"),
        lambda: reader.scan(b"", LAST, 1),
        lambda: reader.scan(b"", LAST, 99),
        lambda: reader.scan(b"", LAST, 1, reverse=True),
        lambda: reader.count(b"", LAST, 1),
        lambda: reader.keys(b"", LAST, 1),
        lambda: reader.keys(b"", LAST, 99),
    ]
    for call in calls:
        with pytest.raises(EngineClosed):
            call()


def test_closed_engine_and_its_snapshots_refuse_every_call(engine: Engine) -> None:
    """Also a snapshot that was forgotten: it must not keep the store open behind our back."""
    engine.write(Batch().put(b"a", b"1"), sync=True)
    snapshot = engine.snapshot()
    engine.close()
    engine.close()
    assert_refuses_reads(engine)
    assert_refuses_reads(snapshot)
    snapshot.close()
    calls: list[Callable[[], object]] = [
        lambda: engine.write(Batch().put(b"a", b"1"), sync=True),
        engine.snapshot,
        engine.disk_bytes,
        engine.catch_up,
    ]
    for call in calls:
        with pytest.raises(EngineClosed):
            call()


# --- keys that are expected -----------------------------------------------------------------------


def test_expected_keys_are_read_as_they_are_and_anew_behind_each_change(engine: Engine) -> None:
    engine.write(Batch().put(b"a", b"1").put(b"empty", b"").put(b"marked", b"\xff"), sync=True)
    named = [b"a", b"absent", b"empty", b"marked"]
    engine.expect(named)
    assert [engine.get(key) for key in named] == [b"1", None, b"", b"\xff"]
    engine.write(Batch().put(b"absent", b"2").delete(b"a"), sync=True)
    assert [engine.get(key) for key in named] == [None, b"2", b"", b"\xff"]
    engine.expect(named)
    with closing(engine.snapshot()) as snapshot:
        engine.write(Batch().delete_range(b"", LAST), sync=True)
        assert [engine.get(key) for key in named] == [None] * 4
        engine.expect(named)
        assert [snapshot.get(key) for key in named] == [None, b"2", b"", b"\xff"]
    engine.reopen()
    assert [engine.get(key) for key in named] == [None] * 4


def test_many_expected_keys_of_large_rows_are_read_whole(engine: Engine) -> None:
    """More than the client of TiKV takes in one answer, by far, and twice."""
    keys = [b"k%06d" % number for number in range(120)]
    for low in range(0, 120, 40):
        batch = Batch()
        for key in keys[low : low + 40]:
            batch.put(key, key * 10_000)
        engine.write(batch, sync=True)
    for _ in range(2):
        engine.expect(keys)
        assert all(engine.get(key) == key * 10_000 for key in keys)


def test_hint_to_a_closed_engine_raises_nothing_and_get_tells(engine: Engine) -> None:
    engine.write(Batch().put(b"a", b"1"), sync=True)
    engine.expect([b"a", b"b"])
    engine.close()
    for _ in range(2):
        with pytest.raises(EngineClosed):
            engine.get(b"a")
        engine.expect([b"a", b"b"])


def test_catching_up_with_nobody_changes_nothing(engine: Engine) -> None:
    """Whether rows are shared or not; an open snapshot stays as it is."""
    engine.write(rows_batch(3).put(b"a", b"1"), sync=True)
    with closing(engine.snapshot()) as before:
        engine.write(Batch().delete(b"k000001").put(b"a", b"2"), sync=True)
        engine.catch_up()
        assert engine.scan(b"", LAST, 9) == [(b"a", b"2"), (b"k000000", b"v"), (b"k000002", b"v")]
        assert before.get(b"a") == b"1"
        assert before.count(b"", LAST, 9) == 4


def test_disk_bytes_grows_with_what_is_written(engine: Engine) -> None:
    before = engine.disk_bytes()
    engine.write(rows_batch(1_000, b"v" * 1_000), sync=True)
    grown = engine.disk_bytes() - before
    assert 900_000 < grown < 2_000_000, grown


# --- reopening ------------------------------------------------------------------------------------


def test_reopened_engine_holds_the_same_and_goes_on(engine: Engine) -> None:
    """Also what was never synced: a settled store must not lose what it has been serving."""
    engine.write(rows_batch(50), sync=True)
    engine.write(Batch().delete_range(b"k000010", b"k000020").put(b"k000015", b"new"), sync=False)
    before = engine.scan(b"", LAST, 99)
    for number in range(3):
        engine.reopen()
        assert engine.scan(b"", LAST, 99) == before
        assert engine.count(b"", LAST, 99) == len(before)
        engine.write(Batch().put(b"z%d" % number, b""), sync=True)
        before.append((b"z%d" % number, b""))
    assert engine.scan(b"", LAST, 99) == before
    assert engine.disk_bytes() > 0


def test_reopening_closes_every_snapshot_and_new_ones_can_be_taken(engine: Engine) -> None:
    engine.write(Batch().put(b"a", b"1"), sync=True)
    first, second = engine.snapshot(), engine.snapshot()
    second.close()
    engine.reopen()
    for snapshot in (first, second):
        assert_refuses_reads(snapshot)
        snapshot.close()
    taken = engine.snapshot()
    engine.write(Batch().put(b"a", b"2"), sync=True)
    assert (taken.get(b"a"), engine.get(b"a")) == (b"1", b"2")
    taken.close()


def test_closed_engine_is_not_reopened(engine: Engine) -> None:
    """`close` may come from another thread, in the middle of settling a failed write: a store that
    its process has let go of must not be taken again behind its back."""
    engine.write(Batch().put(b"a", b"1"), sync=True)
    engine.close()
    with pytest.raises(EngineClosed):
        engine.reopen()
    assert_refuses_reads(engine)


def test_reopened_store_is_durable_whatever_was_synced_before(
    engine: Engine, tmp_path: Path
) -> None:
    """What is read after a reopening is believed; so it must survive the crash that comes next."""
    engine.write(Batch().put(b"a", b"1"), sync=True)
    engine.write(Batch().put(b"b", b"1"), sync=False)
    engine.reopen()
    after = crashed_copy(engine, tmp_path / "copy")
    assert after.scan(b"", LAST, 9) == [(b"a", b"1"), (b"b", b"1")]
    engine.close()
    after.close()


def test_store_that_cannot_be_reopened_stays_closed_until_it_can(tmp_path: Path) -> None:
    engine = RocksEngine.open(tmp_path, create=True)
    engine.write(Batch().put(b"a", b"1"), sync=True)
    current = tmp_path / "CURRENT"
    for _ in range(2):
        current.rename(tmp_path / "away")
        with pytest.raises(EngineError):
            engine.reopen()
        assert not current.exists(), "no new store was made over the old one"
        assert_refuses_reads(engine)
        with pytest.raises(EngineClosed):
            engine.write(Batch().put(b"b", b"1"), sync=True)
        (tmp_path / "away").rename(current)
    engine.reopen()
    assert engine.scan(b"", LAST, 9) == [(b"a", b"1")]
    engine.close()


def test_store_can_be_reopened_while_the_error_of_a_read_is_in_hand(tmp_path: Path) -> None:
    """Whoever mends a store does so where the error was caught, and its traceback holds the frames
    of the read: their cursor must not keep the store locked. So compaction meets damage."""
    engine = RocksEngine.open(tmp_path, create=True)
    engine.write(rows_batch(5_000, b"v" * 50), sync=True)
    engine.compact(b"", LAST)
    engine.close()
    (table,) = tmp_path.glob("*.sst")
    damaged = bytearray(table.read_bytes())
    damaged[len(damaged) // 3] ^= 1
    table.write_bytes(damaged)
    engine = RocksEngine.open(tmp_path, create=False)
    try:
        engine.scan(b"", LAST, 9_999)
    except EngineError:
        engine.reopen()
    else:
        raise AssertionError("the damage was not met")
    assert len(engine.scan(b"", LAST, 10)) == 10
    engine.close()


def grown(tmp_path: Path) -> RocksEngine:
    """A store that takes a while to rewrite."""
    engine = RocksEngine.open(tmp_path, create=True)
    for part in range(10):
        batch = Batch()
        for number in range(part, 40_000, 10):
            batch.put(b"k%06d" % number, b"%0200d" % (number**9))
        engine.write(batch, sync=False)
    return engine


def compacting(engine: RocksEngine) -> bool:
    running = engine._open_db().property_int_value("rocksdb.num-running-compactions")
    return bool(running)


def test_store_is_reopened_while_another_thread_defragments(tmp_path: Path) -> None:
    """A write fails during an operator's Defragment: the settling tries a few times in a row, and
    the rewriting of a large store takes minutes."""
    engine = grown(tmp_path)
    ended: list[EngineError | None] = []

    def defragment() -> None:
        try:
            engine.defragment()
        except EngineError as error:
            ended.append(error)
        else:
            ended.append(None)

    thread = Thread(target=defragment)
    thread.start()
    while not ended and not compacting(engine):
        sleep(0.001)
    assert not ended, "the store is too small for this test"
    try:
        engine.reopen()
        assert engine.count(b"", LAST, 99_999) == 40_000
    finally:
        thread.join(timeout=30)
        assert len(ended) == 1, "the other thread hangs"
        engine.close()


def test_reopening_and_defragmenting_in_any_order_neither_crashes_nor_hangs(tmp_path: Path) -> None:
    """Either may be refused by the other; what is there stays there."""
    engine = RocksEngine.open(tmp_path, create=True)
    engine.write(rows_batch(5_000, b"v" * 50), sync=True)
    stop = Event()
    rounds = {"whole": 0, "refused": 0}

    def defragment() -> None:
        while not stop.is_set():
            try:
                engine.defragment()
                rounds["whole"] += 1
            except EngineError:
                rounds["refused"] += 1

    thread = Thread(target=defragment)
    thread.start()
    for _ in range(15):
        with suppress(EngineError):
            engine.reopen()
    stop.set()
    thread.join(timeout=30)
    assert not thread.is_alive()
    assert rounds["whole"] + rounds["refused"] > 0
    engine.reopen()
    assert engine.count(b"", LAST, 9_999) == 5_000
    engine.close()


# --- random histories -----------------------------------------------------------------------------

KEYS: Final = st.binary(min_size=1, max_size=2).map(lambda raw: bytes(byte % 4 for byte in raw))
BOUNDS: Final = st.one_of(st.just(b""), KEYS, st.just(LAST))
OPERATIONS: Final = st.one_of(
    st.tuples(st.just("put"), KEYS, st.binary(max_size=3)),
    st.tuples(st.just("delete"), KEYS, st.just(b"")),
    st.tuples(st.just("delete_range"), BOUNDS, BOUNDS),
)
WRITES: Final = st.lists(OPERATIONS, min_size=1, max_size=6)
RANGES: Final = st.lists(st.tuples(BOUNDS, BOUNDS), min_size=1, max_size=3)
# What to do, the operations of a write, the ranges of a scan.
Step = tuple[str, list[tuple[str, bytes, bytes]], list[tuple[bytes, bytes]]]
STEPS: Final = st.tuples(
    st.sampled_from(
        ["write", "write", "scan", "snapshot", "close oldest snapshot", "compact", "reopen"]
    ),
    WRITES,
    RANGES,
)


def batch_of(operations: list[tuple[str, bytes, bytes]]) -> Batch:
    batch = Batch()
    for kind, key, value in operations:
        if kind == "put":
            batch.put(key, value)
        elif kind == "delete":
            batch.delete(key)
        else:
            batch.delete_range(*sorted((key, value)))
    return batch


def applied(model: dict[bytes, bytes], operations: list[Operation]) -> dict[bytes, bytes]:
    model = dict(model)
    for kind, key, value in operations:
        if kind == PUT:
            model[key] = value
        elif kind == DELETE:
            model.pop(key, None)
        else:
            model = {other: model[other] for other in model if not key <= other < value}
    return model


def assert_reads_like(reader: Reader, model: dict[bytes, bytes], start: bytes, end: bytes) -> None:
    rows = sorted((key, model[key]) for key in model if start <= key < end)
    for limit in (1, 2, 99):
        assert reader.scan(start, end, limit) == rows[:limit]
        assert reader.scan(start, end, limit, reverse=True) == rows[::-1][:limit]
        assert reader.count(start, end, limit) == len(rows[:limit])
        assert reader.keys(start, end, limit) == [key for key, _ in rows[:limit]]
    assert reader.get(start) == model.get(start)


@given(steps=st.lists(STEPS, max_size=12))
def test_random_history_reads_like_a_dict_in_the_present_and_in_every_snapshot(
    opening: Opening, steps: list[Step]
) -> None:
    with opening() as engine:
        model: dict[bytes, bytes] = {}
        snapshots: list[tuple[Snapshot, dict[bytes, bytes]]] = []
        for step, operations, ranges in steps:
            if step == "write":
                batch = batch_of(operations)
                engine.write(batch, sync=False)
                model = applied(model, batch.operations)
            elif step == "snapshot":
                snapshots.append((engine.snapshot(), model))
            elif step == "compact" and isinstance(engine, RocksEngine):
                # The same rows out of files instead of memory; only the engine on disk has both.
                engine.compact(b"", LAST)
            elif step == "close oldest snapshot":
                if snapshots:
                    snapshots.pop(0)[0].close()
            elif step == "reopen":
                engine.reopen()
                for snapshot, _ in snapshots:
                    assert_refuses_reads(snapshot)
                snapshots.clear()
            else:
                for start, end in ranges:
                    assert_reads_like(engine, model, start, end)
                    for snapshot, old in snapshots:
                        assert_reads_like(snapshot, old, start, end)
        assert_reads_like(engine, model, b"", LAST)
        for snapshot, old in snapshots:
            assert_reads_like(snapshot, old, b"", LAST)
            snapshot.close()


# --- crash and reopen -----------------------------------------------------------------------------


def crashed_copy(engine: Engine, copy: Path) -> Engine:
    """The engine that a reopen after a crash right now would give. That on TiKV is no copy: the
    one that crashed may be alive, and reads what it knew."""
    if isinstance(engine, MemoryEngine):
        return engine.clone()
    if isinstance(engine, TikvEngine):
        addresses, name = engine._link._addresses, engine._name
        return TikvEngine.open(addresses, name, create=False, shared=engine._shared)
    assert isinstance(engine, RocksEngine)
    shutil.copytree(engine._path, copy)
    return RocksEngine.open(copy, create=False)


def test_synced_batches_survive_a_crash_with_all_before_them(
    engine: Engine, tmp_path: Path
) -> None:
    engine.write(Batch().put(b"a", b"1").put(b"b", b"1"), sync=True)
    engine.write(Batch().put(b"c", b"1").delete(b"b"), sync=False)
    engine.write(Batch().put(b"d", b"1").delete_range(b"a", b"b"), sync=True)
    reopened = crashed_copy(engine, tmp_path / "copy")
    assert reopened.scan(b"", LAST, 99) == [(b"c", b"1"), (b"d", b"1")]
    reopened.write(Batch().put(b"e", b"1"), sync=True)
    assert engine.get(b"e") is None
    engine.close()
    reopened.close()


def test_clone_of_memory_loses_what_was_not_synced(tmp_path: Path) -> None:
    """The harshest crash: the simulation must not rely on an unsynced row."""
    engine = MemoryEngine()
    engine.write(Batch().put(b"a", b"1"), sync=True)
    snapshot = engine.snapshot()
    engine.write(Batch().put(b"b", b"1"), sync=False)
    engine.write(Batch().put(b"c", b"1"), sync=False)
    assert engine.clone().scan(b"", LAST, 9) == [(b"a", b"1")]
    assert snapshot.scan(b"", LAST, 9) == [(b"a", b"1")]
    engine.write(Batch().delete(b"b"), sync=True)
    assert engine.clone().scan(b"", LAST, 9) == [(b"a", b"1"), (b"c", b"1")]
    engine.close()
    assert engine.clone().scan(b"", LAST, 9) == [(b"a", b"1"), (b"c", b"1")]


def test_closed_store_opens_again_with_everything(tmp_path: Path) -> None:
    engine = RocksEngine.open(tmp_path, create=True)
    engine.write(rows_batch(1_000), sync=False)
    engine.close()
    for _ in range(3):
        engine = RocksEngine.open(tmp_path, create=False)
        assert engine.count(b"", LAST, 9_999) == 1_000
        engine.close()


ENDLESS_WRITER: Final = """
import sys
from itertools import count
from pathlib import Path
from kubebraid.shard.storage.engine import Batch
from kubebraid.shard.storage.rocksdb import RocksEngine

engine = RocksEngine.open(Path(sys.argv[1]), create=True)
for number in count():
    batch = Batch().put(b"left/%09d" % number, b"v" * 500).put(b"right/%09d" % number, b"v")
    engine.write(batch, sync=True)
    print(number, flush=True)
"""


def test_sigkill_loses_no_acknowledged_batch_and_splits_none(tmp_path: Path) -> None:
    """The kill comes while a batch is being written: that one is there whole, or not at all."""
    command = [sys.executable, "-c", ENDLESS_WRITER, str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        acknowledged = [int(line) for line in islice(process.stdout, 200)]
        process.send_signal(signal.SIGKILL)
        acknowledged += [int(line) for line in process.stdout if line.endswith("\n")]
    assert acknowledged == list(range(len(acknowledged)))
    engine = RocksEngine.open(tmp_path, create=False)
    left = [key.split(b"/")[1] for key, _ in engine.scan(b"left/", b"left0", 99_999)]
    right = [key.split(b"/")[1] for key, _ in engine.scan(b"right/", b"right0", 99_999)]
    engine.close()
    assert left == right == [b"%09d" % number for number in range(len(left))]
    assert len(acknowledged) <= len(left) <= len(acknowledged) + 1
