"""Totals of ranges at revisions against the rows that were there, whatever is written meanwhile."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kubebraid.base.keyspace import EVERYTHING, KeyRange
from kubebraid.base.limits import COUNT_CACHE_ENTRIES
from kubebraid.base.ports import Publication, ReadCall, WriteCall
from kubebraid.base.record import Row
from kubebraid.proto.etcd import rpc_pb2
from kubebraid.shard import counts as counts_module
from kubebraid.shard import mvcc
from kubebraid.shard import totals as totals_module
from kubebraid.shard.counts import KeyCounts
from kubebraid.shard.storage.engine import EngineError
from kubebraid.shard.totals import CountCache, Totals
from tests.unit.shard.fakes import (
    BreakableEngine,
    Sink,
    Stand,
    delete_call,
    put_call,
    read_call,
    txn_call,
)

ALL_A = KeyRange(b"/a/", b"/a0")


@contextmanager
def small(
    *, bucket: int = 4, log_slice: int = 3, log_max: int = 100_000, page: int = 2
) -> Iterator[None]:
    """Bounds that a few keys and revisions meet. `page`: the first rows of a scan."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(counts_module, "BUCKET_KEYS_MAX", bucket)
        patch.setattr(counts_module, "_HALF", bucket // 2)
        patch.setattr(totals_module, "LOG_SLICE_REVISIONS", log_slice)
        patch.setattr(totals_module, "COUNT_LOG_REVISIONS_MAX", log_max)
        patch.setattr(mvcc, "SCAN_FIRST_ROWS", page)
        patch.setattr(mvcc, "SCAN_SLICE_ROWS", page)
        yield


class Scene:
    """A shard, totals beside the owner's own, and what each revision held."""

    def __init__(self, stand: Stand | None = None, *, complete: bool = True) -> None:
        self.stand = stand or Stand()
        self.counts = KeyCounts(self.stand.engine)
        self.stand.owner.subscribe(self._committed)
        while complete and self.counts.turn():
            pass
        self.totals = Totals(self.stand.engine, self.stand.owned, self.counts)

    def _committed(self, publication: Publication) -> None:
        for news in publication.news:
            self.counts.committed(news.commits)

    @property
    def now(self) -> int:
        return self.stand.owned.known

    def write(self, *calls: WriteCall) -> int:
        """One group commit; the newest revision after it."""
        self.stand.write(*calls)
        while self.counts.turn():
            pass
        return self.now

    def there(self, span: KeyRange, revision: int) -> int:
        """The naive count: every visible row, one by one."""
        return sum(map(len, mvcc.rows_at(self.stand.engine, span, revision)))

    def total(
        self,
        span: KeyRange,
        revision: int,
        rest: Iterator[Sequence[Row]] | None = None,
        seen: int = 0,
    ) -> Iterator[int | None]:
        """A total in the making: None after each slice, then its value."""
        call = ReadCall(span, revision, (), 1, 0, True)
        counting = self.totals.total(call, _Untouched() if rest is None else rest, seen)
        while True:
            try:
                next(counting)
            except StopIteration as ended:
                yield ended.value
                return
            yield None

    def finish(self, making: Iterator[int | None], slices_max: int = 1_000) -> int:
        for _ in range(slices_max):
            value = next(making)
            if value is not None:
                return value
        raise AssertionError("the total never comes")


class _Untouched(Iterator[Sequence[Row]]):
    """Rows that nobody should have to walk over."""

    def __next__(self) -> Sequence[Row]:
        raise AssertionError("the keys were counted one by one")


# -- scenes ----------------------------------------------------------------------------------------


def test_worked_example_of_the_module() -> None:
    """1,000 keys now, 3 creations and 1 deletion since: there were 998."""
    scene = Scene()
    then = scene.write(*[put_call(b"/a/%04d" % number) for number in range(998)])
    scene.write(*[put_call(b"/a/new%d" % number) for number in range(3)], delete_call(b"/a/0007"))
    assert scene.finish(scene.total(ALL_A, then)) == 998
    assert scene.finish(scene.total(ALL_A, scene.now)) == 1_000


def test_total_of_now_and_of_any_revision_before_without_walking_over_the_keys() -> None:
    with small():
        scene = Scene()
        for number in range(12):
            scene.write(put_call(b"/a/%02d" % (number * 5 % 12)), put_call(b"/b/%d" % number))
            scene.write(delete_call(b"/a/%02d" % (number // 2)))
        for revision in range(1, scene.now + 1):
            for span in (ALL_A, EVERYTHING, KeyRange(b"/a/03", b"/b/3"), KeyRange(b"/c", None)):
                expected = scene.there(span, revision)
                assert scene.finish(scene.total(span, revision)) == expected, (span, revision)


def test_log_of_other_tablets_and_of_keys_outside_the_range_counts_for_nothing() -> None:
    with small():
        scene = Scene()
        then = scene.write(put_call(b"/a/1"), put_call(b"/a/5"), put_call(b"/b/1"))
        scene.write(put_call(b"/b/2"), put_call(b"/a/6"), delete_call(b"/b/1"), put_call(b"/c"))
        assert scene.finish(scene.total(KeyRange(b"/a/", b"/a/6"), then)) == 2
        assert scene.finish(scene.total(KeyRange(b"/a/5", b"/b/2"), then)) == 2


def test_transaction_that_changes_a_key_many_times_is_one_difference() -> None:
    with small():
        scene = Scene()
        then = scene.write(put_call(b"/a/old"))
        put = rpc_pb2.RequestOp(request_put=rpc_pb2.PutRequest(key=b"/a/new"))
        gone = rpc_pb2.RequestOp(request_delete_range=rpc_pb2.DeleteRangeRequest(key=b"/a/new"))
        old = rpc_pb2.RequestOp(request_delete_range=rpc_pb2.DeleteRangeRequest(key=b"/a/old"))
        back = rpc_pb2.RequestOp(request_put=rpc_pb2.PutRequest(key=b"/a/old"))
        scene.write(txn_call(rpc_pb2.TxnRequest(success=[put, gone, put])))
        assert scene.finish(scene.total(ALL_A, then)) == 1
        scene.write(txn_call(rpc_pb2.TxnRequest(success=[old, back, old])))
        scene.write(txn_call(rpc_pb2.TxnRequest(success=[gone, put, gone])))
        found = [scene.finish(scene.total(ALL_A, revision)) for revision in range(1, then + 4)]
        assert found == [0, 1, 2, 1, 0]


def test_void_revisions_are_gaps_in_the_log_and_no_difference() -> None:
    with small():
        engine = BreakableEngine()
        scene = Scene(Stand(engine=engine))
        then = scene.write(put_call(b"/a/1"))
        engine.write_faults.append((EngineError("gone"), False))
        scene.write(put_call(b"/a/2"), put_call(b"/a/3"))
        scene.write(put_call(b"/a/4"))
        assert scene.now == then + 3
        found = [scene.finish(scene.total(ALL_A, r)) for r in range(then, scene.now + 1)]
        assert found == [1, 1, 1, 2]


# -- work in slices --------------------------------------------------------------------------------


def test_slice_reads_a_bounded_piece_of_the_log() -> None:
    with small(log_slice=3):
        scene = Scene()
        then = scene.write(put_call(b"/a/x"))
        scene.write(*[put_call(b"/a/%d" % number) for number in range(9)])
        making = scene.total(ALL_A, then)
        slices = 0
        while (value := next(making)) is None:
            slices += 1
        assert value == 1
        assert slices == 3


@pytest.mark.parametrize("tablets", [1, 3])
def test_total_is_that_of_its_revision_while_keys_come_and_go(tablets: int) -> None:
    """Writes between any two slices; each tablet's log grows behind the walk."""
    with small(log_slice=2):
        scene = Scene()
        prefixes = (b"/a/", b"/b/", b"/c/")[:tablets]
        calls = [put_call(prefix + b"%02d" % n) for prefix in prefixes for n in range(6)]
        then = scene.write(*calls)
        expected = scene.there(EVERYTHING, then)
        scene.write(*[delete_call(prefix + b"03") for prefix in prefixes])
        making = scene.total(EVERYTHING, then)
        value = None
        for number in range(200):
            value = next(making)
            if value is not None:
                break
            prefix = prefixes[number % tablets]
            gone = delete_call(prefix + b"%02d" % (number % 6))
            scene.write(gone if number % 2 else put_call(prefix + b"+%d" % number))
        assert value == expected


def test_total_comes_although_more_is_written_than_a_slice_reads() -> None:
    """A store under load commits up to BATCH_WRITES_MAX revisions a turn, LOG_SLICE_REVISIONS of
    which a slice walks: the walk must not run after the log for ever."""
    with small(log_slice=4, log_max=40):
        scene = Scene()
        then = scene.write(put_call(b"/a/x"))
        scene.write(*[put_call(b"/a/x")] * 4)
        making = scene.total(ALL_A, then, iter([scene_rows(1)]))
        value = None
        for number in range(300):
            value = next(making)
            if value is not None:
                break
            scene.write(*[put_call(b"/a/%d" % (number % 7)) for _ in range(5)])
        assert value == 1, "still walking behind the log"


def scene_rows(count: int) -> list[Row]:
    return [Row(1, 1, 1, 0, b"")] * count


def test_count_of_a_busy_range_is_answered_while_it_is_written() -> None:
    """The same through the owner: every turn commits a batch and gives the read one slice."""
    with small(log_slice=4, log_max=40):
        stand = Stand()
        stand.write(*[put_call(b"/a/%02d" % number) for number in range(20)])
        then = stand.owned.known
        stand.write(*[put_call(b"/a/00")] * 4)
        sink = Sink()
        stand.owner.read(read_call(ALL_A, then, count_only=True), sink)
        for number in range(300):
            if sink.total is not None:
                break
            stand.submit(*[put_call(b"/a/%02d" % (number % 50)) for _ in range(5)])
            stand.owner.turn()
        assert sink.total == 20


# -- when the log does not help --------------------------------------------------------------------


def total_of(sink: Sink) -> int | None:
    return sink.total


def rows_in(*sizes: int) -> Iterator[Sequence[Row]]:
    return iter([scene_rows(size) for size in sizes])


def test_rest_is_counted_as_long_as_the_counters_are_not_complete() -> None:
    scene = Scene(complete=False)
    scene.write(put_call(b"/a/x"))
    unfinished = Scene(scene.stand, complete=False)
    making = unfinished.total(ALL_A, unfinished.now, rows_in(3, 0, 4))
    assert [next(making) for _ in range(3)] == [None] * 3
    assert next(making) == 7


def test_rest_is_counted_where_the_revision_is_too_far_back() -> None:
    with small(log_max=5):
        scene = Scene()
        scene.write(*[put_call(b"/a/x") for _ in range(10)])
        assert scene.finish(scene.total(ALL_A, scene.now - 5)) == 1
        assert scene.finish(scene.total(ALL_A, scene.now - 6, rows_in(2, 3))) == 5


@pytest.mark.parametrize("compacted", [False, True])
def test_rest_is_counted_where_the_floor_rises_above_the_walk(compacted: bool) -> None:
    """Compaction takes the rows of the log that the walk has not reached."""
    with small(log_slice=2):
        scene = Scene()
        then = scene.write(put_call(b"/a/x"), put_call(b"/a/y"))
        scene.write(*[put_call(b"/a/%d" % number) for number in range(9)])
        making = scene.total(ALL_A, then, rows_in(2))
        assert next(making) is None
        scene.stand.floor = scene.now
        if compacted:
            scene.stand.owner.compact(scene.now, None)
            scene.stand.run()
        assert scene.finish(making) == 2


def test_log_at_the_floor_itself_is_still_walked() -> None:
    """The row of the floor's own revision stays: reads at the floor need nothing before it."""
    with small(log_slice=2):
        scene = Scene()
        scene.write(*[put_call(b"/a/%d" % number) for number in range(9)])
        scene.write(delete_call(b"/a/3"), put_call(b"/a/x"), delete_call(b"/a/5"))
        floor = scene.now - 2
        scene.stand.floor = floor
        scene.stand.owner.compact(floor, None)
        scene.stand.run()
        for revision in range(floor, scene.now + 1):
            assert scene.finish(scene.total(ALL_A, revision)) == scene.there(ALL_A, revision)
        assert scene.finish(scene.total(ALL_A, floor)) == 8


def test_read_that_was_under_way_when_the_floor_rose_has_the_total_of_its_own_revision() -> None:
    """Through the owner: the snapshot still holds what compaction takes from the store."""
    with small(log_slice=2):
        stand = Stand()
        stand.write(*[put_call(b"/a/%02d" % number) for number in range(20)])
        then = stand.owned.known
        stand.write(delete_call(b"/a/", b"/a/10"), *[put_call(b"/a/15") for _ in range(8)])
        sink = Sink()
        stand.owner.read(read_call(ALL_A, then, limit=3), sink)
        stand.owner.turn()
        stand.owner.turn()
        assert total_of(sink) is None
        stand.floor = stand.owned.known
        stand.owner.compact(stand.floor, None)
        stand.run()
        assert len(sink.rows) == 4
        assert total_of(sink) == 20


# -- the cache -------------------------------------------------------------------------------------


def test_total_that_was_found_is_not_sought_again_whatever_happens() -> None:
    scene = Scene()
    then = scene.write(*[put_call(b"/a/%d" % number) for number in range(5)])
    assert scene.finish(scene.total(ALL_A, then)) == 5
    scene.write(delete_call(b"/a/", b"/a0"))
    scene.stand.floor = scene.now
    scene.stand.owner.compact(scene.now, None)
    scene.stand.run()
    engine = scene.stand.engine
    engine.scan = engine.keys = engine.count = None  # type: ignore[assignment,method-assign]
    assert next(scene.total(ALL_A, then)) == 5


def test_counted_rest_is_remembered_with_what_was_seen() -> None:
    scene = Scene(complete=False)
    assert scene.finish(scene.total(ALL_A, 9, rows_in(3, 4), seen=4)) == 11
    assert next(scene.total(ALL_A, 9)) == 11


def test_what_a_page_leaves_is_remembered_for_its_range_and_revision_alone() -> None:
    with small():
        scene = Scene()
        then = scene.write(*[put_call(b"/a/%d" % number) for number in range(5)])
        rest = KeyRange(b"/a/2\x00", b"/a0")
        scene.totals.remember(read_call(ALL_A, then), rest, 77)
        assert next(scene.total(rest, then)) == 77
        assert scene.finish(scene.total(KeyRange(b"/a/2", b"/a0"), then)) == 3
        assert scene.finish(scene.total(KeyRange(b"/a/2\x00", b"/a1"), then)) == 2
        scene.write(put_call(b"/a/9"))
        assert scene.finish(scene.total(rest, scene.now)) == 3


def test_totals_that_were_given_up_leave_nothing_behind() -> None:
    """The asker went away in the middle."""
    with small(log_slice=2):
        scene = Scene()
        then = scene.write(put_call(b"/a/x"))
        scene.write(*[put_call(b"/a/%d" % number) for number in range(9)])
        making = scene.total(ALL_A, then)
        assert next(making) is None
        del making
        assert scene.finish(scene.total(ALL_A, then)) == 1


def test_oldest_total_goes_first() -> None:
    cache = CountCache()
    for number in range(COUNT_CACHE_ENTRIES + 3):
        cache.put(ALL_A, number, number)
    assert [cache.get(ALL_A, number) for number in range(4)] == [None, None, None, 3]
    assert cache.get(ALL_A, COUNT_CACHE_ENTRIES + 2) == COUNT_CACHE_ENTRIES + 2
    assert cache.get(KeyRange(b"/a/", None), 3) is None


# -- random histories, through the owner -----------------------------------------------------------

KEYS = st.sampled_from(
    [b"/a/%d" % number for number in range(9)] + [b"/b/%d" % n for n in range(4)] + [b"/c", b"\x00"]
)
WRITES = st.lists(
    st.tuples(st.sampled_from(["put", "put", "put", "delete", "span"]), KEYS, KEYS),
    min_size=1,
    max_size=7,
)
READS = st.tuples(
    st.integers(0, 12),  # how far back
    st.tuples(st.one_of(KEYS, st.just(b"")), st.one_of(st.none(), KEYS)),
    st.sampled_from([0, 1, 2, 3, 5, None]),  # the limit; None: count only
)
STEPS = st.lists(st.one_of(WRITES, READS, st.just("turn"), st.just("compact")), max_size=20)

Write = tuple[str, bytes, bytes]
Read = tuple[int, tuple[bytes, bytes | None], int | None]


def calls_of(writes: list[Write]) -> list[WriteCall]:
    made = []
    for kind, key, end in writes:
        made.append(put_call(key) if kind == "put" else delete_call(key, end * (kind == "span")))
    return made


class Reads:
    """Reads under way, each with what it must answer."""

    def __init__(self, stand: Stand) -> None:
        self._stand = stand
        self._open: list[tuple[Sink, list[bytes], int | None]] = []

    def begin(self, read: Read) -> None:
        ago, (start, end), limit = read
        span = KeyRange(start, end)
        revision = max(self._stand.owned.known - ago, self._stand.floor, 1)
        if span.is_single():
            return
        rows = [row for page in mvcc.rows_at(self._stand.engine, span, revision) for row in page]
        keys = [row.raw for row in rows]
        sink = Sink()
        call = read_call(span, revision, limit=limit or 0, count_only=limit is None)
        self._stand.owner.read(call, sink)
        self._open.append((sink, keys, limit))

    def check(self) -> None:
        for sink, keys, limit in self._open:
            shown = 0 if limit is None else limit + 1 if limit else len(keys)
            assert sink.total == len(keys)
            assert [row.raw for row in sink.rows] == keys[:shown]


@settings(max_examples=150)
@given(steps=STEPS, log_slice=st.sampled_from([1, 2, 5]), log_max=st.sampled_from([0, 4, 1_000]))
def test_every_list_has_the_count_of_its_revision(
    steps: list[list[Write] | Read | str], log_slice: int, log_max: int
) -> None:
    """Reads begin in the middle of writes, building, splits, merges and compaction."""
    with small(bucket=3, log_slice=log_slice, log_max=log_max, page=2):
        stand = Stand()
        reads = Reads(stand)
        for step in steps:
            if isinstance(step, list):
                stand.submit(*calls_of(step))
                stand.owner.turn()
            elif isinstance(step, tuple):
                reads.begin(step)
            elif step == "turn":
                stand.owner.turn()
            else:
                stand.floor = max(stand.floor, stand.owned.known - 3)
                stand.owner.compact(stand.floor, None)
        stand.run()
        reads.check()
