"""Reads: they wait for the watermark, see one revision, and share the turn."""

from __future__ import annotations

import pytest

from kubebraid.base import errors
from kubebraid.base.errors import RequestRefused
from kubebraid.base.keyspace import EVERYTHING, KeyRange, single
from kubebraid.base.limits import (
    COUNT_CACHE_ENTRIES,
    PAGE_READS_MAX,
    READ_WAIT_MS_MAX,
    SCAN_FIRST_ROWS,
    SCAN_SLICE_ROWS,
    STREAM_CHUNK_BYTES,
)
from kubebraid.base.ports import PointCall, PointReply, ReadCall
from kubebraid.proto.kvwire import key_of
from kubebraid.shard import keycodec
from kubebraid.shard.counts import KeyCounts
from kubebraid.shard.reader import Reader, satisfied
from kubebraid.shard.storage.engine import EngineCorrupt, EngineError
from kubebraid.shard.totals import CountCache, Totals
from tests.unit.shard.fakes import (
    A,
    B,
    BreakableEngine,
    Sink,
    Stand,
    delete_call,
    put_call,
    read_call,
)

ALL_A = KeyRange(b"/a/", b"/a0")


def filled(count: int) -> Stand:
    """Keys /a/0000.. in one batch, so that the newest is at revision count + 1."""
    stand = Stand()
    stand.write(*[put_call(b"/a/%04d" % number) for number in range(count)])
    return stand


def reader(stand: Stand) -> Reader:
    totals = Totals(stand.engine, stand.owned, KeyCounts(stand.engine))
    return Reader(stand.engine, stand.owned, stand.clock, totals)


# -- watermarks ------------------------------------------------------------------------------------


@pytest.mark.parametrize("span", [single(b"/a/x"), ALL_A])
def test_inv04_read_waits_until_its_tablet_is_closed_far_enough(span: KeyRange) -> None:
    """The sequencer has allocated revision 2 to the tablet; the engine has not got it yet."""
    stand = Stand(late=True)
    stand.submit(put_call(b"/a/x"))
    stand.run()
    sink = Sink()
    stand.owner.read(read_call(span, 2, [(A, 2)]), sink)
    stand.run()
    assert sink.silent
    stand.sequencer.answer()
    stand.run()
    assert sink.keys == [b"/a/x"]
    assert sink.total == 1


def test_inv04_read_waits_for_every_tablet_it_names() -> None:
    stand = Stand(late=True)
    sink = Sink()
    stand.owner.read(read_call(EVERYTHING, 3, [(A, 3), (B, 2)]), sink)
    for key in (b"/b/x", b"/a/x"):
        stand.submit(put_call(key))
        stand.run()
        assert sink.silent
        stand.sequencer.answer()
    stand.run()
    assert sink.keys == [b"/a/x", b"/b/x"]


def test_read_of_an_idle_tablet_does_not_wait_for_a_busy_one() -> None:
    stand = Stand(late=True)
    stand.submit(put_call(b"/a/x"))
    stand.run()
    assert stand.read(read_call(single(b"/b/x"), 2, [(B, 1)])).total == 0


def test_need_of_a_tablet_without_a_watermark_is_never_satisfied() -> None:
    """It is not zero: the tablet may be anybody's."""
    assert not satisfied(((9, 0),), {1: 5})
    assert satisfied(((1, 5),), {1: 5})
    assert not satisfied(((1, 6),), {1: 5})
    assert satisfied((), {})


def test_read_whose_watermark_never_comes_gives_up() -> None:
    stand = Stand()
    sink = Sink()
    stand.owner.read(read_call(single(b"/a/x"), 9, [(A, 9)]), sink)
    stand.clock.ms += READ_WAIT_MS_MAX - 1
    stand.run()
    assert sink.silent
    stand.clock.ms += 1
    stand.run()
    assert sink.refused is errors.TIMED_OUT


# -- refusals --------------------------------------------------------------------------------------


def test_read_below_the_floor_is_refused() -> None:
    stand = filled(4)
    stand.floor = 4
    assert stand.read(read_call(ALL_A, 3)).refused is errors.COMPACTED
    assert stand.read(read_call(ALL_A, 4)).refused is None


def test_inv20_read_is_refused_when_the_floor_rose_while_it_waited() -> None:
    stand = Stand(late=True)
    sink = Sink()
    stand.owner.read(read_call(ALL_A, 2, [(A, 3)]), sink)
    stand.submit(put_call(b"/a/x"), put_call(b"/a/x"))
    stand.run()
    stand.floor = 3
    stand.sequencer.answer()
    stand.run()
    assert sink.refused is errors.COMPACTED


def test_read_planned_with_another_map_is_refused() -> None:
    """A sample is read with its own map only; the router fetches the map and starts again."""
    stand = Stand()
    call = ReadCall(ALL_A, 1, (), 2, 0, False)
    assert stand.read(call).refused is errors.OTHER_MAP


def test_reads_that_wait_are_bounded() -> None:
    stand = Stand()
    made = reader(stand)
    for _ in range(PAGE_READS_MAX):
        made.read(read_call(single(b"/a/x"), 9, [(A, 9)]), Sink())
    one_more = Sink()
    made.read(read_call(single(b"/a/x"), 9, [(A, 9)]), one_more)
    assert one_more.refused is errors.TOO_MANY_REQUESTS
    assert made.parked == PAGE_READS_MAX


# -- one revision ----------------------------------------------------------------------------------


def test_inv05_read_in_progress_does_not_see_what_is_written_meanwhile() -> None:
    count = SCAN_SLICE_ROWS * 3
    stand = filled(count)
    sink = Sink()
    stand.owner.read(read_call(ALL_A, count + 1), sink)
    assert len(sink.rows) < count, "it takes more than one slice"
    stand.write(delete_call(b"/a/", b"/a0"), put_call(b"/a/0000x"))
    assert sink.total == count
    assert max(row.mod for row in sink.rows) == count + 1


def test_inv05_read_at_an_old_revision_sees_the_old_versions() -> None:
    stand = Stand()
    stand.write(put_call(b"/a/x"), put_call(b"/a/y"), delete_call(b"/a/x"), put_call(b"/a/y"))
    found = {r: [row.mod for row in stand.read(read_call(ALL_A, r)).rows] for r in range(1, 6)}
    assert found == {1: [], 2: [2], 3: [2, 3], 4: [3], 5: [5]}


def test_single_key_is_read_at_its_revision() -> None:
    stand = Stand()
    stand.write(put_call(b"/a/x"), delete_call(b"/a/x"), put_call(b"/a/x"))
    found = [stand.read(read_call(single(b"/a/x"), r)) for r in range(1, 5)]
    assert [[row.mod for row in sink.rows] for sink in found] == [[], [2], [], [4]]
    assert [sink.total for sink in found] == [0, 1, 0, 1]


def test_inv16_rows_of_a_failed_commit_are_not_read_at_an_older_revision() -> None:
    """The engine failed for good, the rows landed all the same: their revision is above the
    read's, and this process does not know of them."""
    engine = BreakableEngine()
    stand = Stand(engine=engine)
    stand.write(put_call(b"/a/x"))
    engine.breaks = engine.lands = True
    engine.reopen_faults.extend([EngineError("gone")] * 3)
    stand.submit(put_call(b"/a/x"), put_call(b"/a/y"))
    stand.owner.turn()
    assert stand.fatal
    engine.reopen()
    sink = stand.read(read_call(ALL_A, 2, [(A, 2)]))
    assert sink.refused is not None or [row.mod for row in sink.rows] == [2]


# -- limits and counts -----------------------------------------------------------------------------


def test_pages_of_one_listing_count_their_range_once() -> None:
    """The worked example of the module: a..e, two a page."""
    stand = Stand()
    stand.write(*[put_call(b"/a/" + name) for name in (b"a", b"b", b"c", b"d", b"e")])
    first = stand.read(read_call(ALL_A, 6, limit=2))
    assert (first.keys, first.total) == ([b"/a/a", b"/a/b", b"/a/c"], 5)
    rest = KeyRange(b"/a/b\x00", b"/a0")
    second = stand.read(read_call(rest, 6, limit=2))
    assert (second.keys, second.total) == ([b"/a/c", b"/a/d", b"/a/e"], 3)
    last = stand.read(read_call(KeyRange(b"/a/d\x00", b"/a0"), 6, limit=2))
    assert (last.keys, last.total) == ([b"/a/e"], 1)


def test_page_from_elsewhere_counts_for_itself() -> None:
    stand = filled(9)
    stand.read(read_call(ALL_A, 10, limit=2))
    assert stand.read(read_call(KeyRange(b"/a/0005", b"/a0"), 10, limit=1)).total == 4
    assert stand.read(read_call(KeyRange(b"/a/0001\x00", b"/a/0004"), 10, limit=1)).total == 2


def test_remembered_count_belongs_to_its_revision() -> None:
    stand = filled(5)
    assert stand.read(read_call(ALL_A, 6, limit=1)).total == 5
    stand.write(delete_call(b"/a/0004"))
    rest = KeyRange(b"/a/0000\x00", b"/a0")
    assert stand.read(read_call(rest, 7, limit=1)).total == 3
    assert stand.read(read_call(rest, 6, limit=1)).total == 4


@pytest.mark.parametrize("limit", [1, 511, 512, 513, 1_023, 1_024, 1_025])
def test_limit_at_a_border_of_slices_gives_one_row_more_and_the_whole_count(limit: int) -> None:
    stand = filled(1_100)
    sink = stand.read(read_call(ALL_A, 1_101, limit=limit))
    assert len(sink.rows) == limit + 1
    assert sink.total == 1_100
    rest = KeyRange(sink.keys[limit - 1] + b"\x00", b"/a0")
    assert stand.read(read_call(rest, 1_101, limit=1)).total == 1_100 - limit


@pytest.mark.parametrize("behind", [0, 3], ids=["newest", "old"])
@pytest.mark.parametrize("limit", [0, 1, 4, 64, 65, 511, 512, 513, 1_099, 1_100, 1_101])
def test_spliced_read_holds_the_rows_within_the_limit_and_counts_all(
    limit: int, behind: int
) -> None:
    """The bytes of an answer, cut by the owner; what the next page needs is remembered."""
    stand = filled(1_100)
    for _ in range(behind):
        stand.write(put_call(b"/a/0000"), put_call(b"/a/9999"))
    rows = stand.read(read_call(ALL_A, 1_101))
    sink = stand.read(read_call(ALL_A, 1_101, limit=limit)._replace(spliced=True))
    shown = [raw for chunk in sink.chunks for raw in chunk]
    assert shown == [row.raw for row in rows.rows][: limit or None]
    assert (sink.rows, sink.total) == ([], 1_100)
    if 0 < limit < 1_100:
        rest = KeyRange(key_of(shown[-1]) + b"\x00", b"/a0")
        assert stand.read(read_call(rest, 1_101, limit=1)).total == 1_100 - limit


@pytest.mark.parametrize("revision", [2, 4], ids=["old", "newest"])
def test_spliced_read_of_one_key_is_bytes_too(revision: int) -> None:
    stand = filled(3)
    key = b"/a/0000"
    (row,) = stand.read(read_call(single(key), revision)).rows
    sink = stand.read(read_call(single(key), revision)._replace(spliced=True))
    assert (sink.chunks, sink.rows, sink.total) == ([[row.raw]], [], 1)
    none = stand.read(read_call(single(b"/a/no"), revision)._replace(spliced=True))
    assert (none.chunks, none.total) == ([], 0)


def test_spliced_parts_are_bounded_but_a_large_row_travels_alone() -> None:
    stand = Stand()
    half = STREAM_CHUNK_BYTES // 2
    sizes = [half, half - 200, half, STREAM_CHUNK_BYTES + 1, 1]
    for number, size in enumerate(sizes):
        stand.write(put_call(b"/a/%d" % number, b"v" * size))
    sink = stand.read(read_call(ALL_A, 6)._replace(spliced=True))
    assert [len(chunk) for chunk in sink.chunks] == [2, 1, 1, 1]


@pytest.mark.parametrize("limit", [5, 6, 1_000, 0])
def test_limit_that_does_not_bite_gives_every_row(limit: int) -> None:
    sink = filled(5).read(read_call(ALL_A, 6, limit=limit))
    assert len(sink.rows) == 5
    assert sink.total == 5


@pytest.mark.parametrize("revision", [1_101, 500])
def test_count_alone_hands_out_no_rows(revision: int) -> None:
    sink = filled(1_100).read(read_call(ALL_A, revision, count_only=True))
    assert sink.rows == []
    assert sink.total == revision - 1


def test_remembered_counts_are_bounded() -> None:
    cache = CountCache()
    for revision in range(COUNT_CACHE_ENTRIES + 1):
        cache.put(ALL_A, revision, 1)
    assert cache.get(ALL_A, 0) is None
    assert cache.get(ALL_A, 1) == 1


# -- turns -----------------------------------------------------------------------------------------


def test_turn_gives_every_read_one_slice() -> None:
    stand = filled(SCAN_SLICE_ROWS * 4)
    made = reader(stand)
    sinks = [Sink(), Sink()]
    for sink in sinks:
        made.read(read_call(ALL_A, stand.owned.known), sink)
    made.turn()
    assert [len(sink.rows) for sink in sinks] == [SCAN_FIRST_ROWS] * 2
    while made.turn():
        pass
    assert [sink.total for sink in sinks] == [SCAN_SLICE_ROWS * 4] * 2


def test_sink_that_is_full_is_not_fed_and_does_not_keep_the_loop_awake() -> None:
    stand = filled(SCAN_SLICE_ROWS * 3)
    made = reader(stand)
    sink = Sink()
    made.read(read_call(ALL_A, stand.owned.known), sink)
    made.turn()
    sink.open = False
    assert not made.turn()
    assert len(sink.rows) == SCAN_FIRST_ROWS
    sink.open = True
    while made.turn():
        pass
    assert sink.total == SCAN_SLICE_ROWS * 3


def test_read_whose_asker_is_gone_ends_and_lets_its_snapshot_go() -> None:
    stand = filled(SCAN_SLICE_ROWS * 3)
    made = reader(stand)
    sink = Sink(patience=1)
    made.read(read_call(ALL_A, stand.owned.known), sink)
    assert not made.turn()
    assert sink.parts == 1
    assert stand.engine._open_table().pins == 0


def test_finished_read_lets_its_snapshot_go() -> None:
    stand = filled(5)
    stand.read(read_call(ALL_A, 6))
    assert stand.engine._open_table().pins == 0


# -- what cannot be read ---------------------------------------------------------------------------

FAILURES = pytest.mark.parametrize(
    ("error", "refused"),
    [(EngineCorrupt("checksum"), errors.CORRUPT), (EngineError("gone"), errors.TIMED_OUT)],
    ids=["damaged", "gone"],
)


def faulty(count: int) -> tuple[Stand, BreakableEngine]:
    """Keys /a/0000.. as `filled` has them, on an engine that can fail; everything is counted."""
    engine = BreakableEngine()
    stand = Stand(engine=engine)
    stand.write(*[put_call(b"/a/%04d" % number) for number in range(count)])
    return stand, engine


@FAILURES
def test_row_that_cannot_be_read_refuses_its_reader_alone(
    error: EngineError, refused: RequestRefused
) -> None:
    stand, engine = faulty(9)
    engine.faults[keycodec.newest(b"/a/0005")] = error
    assert stand.read(read_call(single(b"/a/0005"), 10)).refused is refused
    assert stand.read(read_call(single(b"/a/0004"), 10)).total == 1
    assert stand.read(read_call(KeyRange(b"/a/0006", b"/a0"), 10)).total == 3
    assert engine.reopens == 0, "nothing was written, so nothing is unknown"


@FAILURES
@pytest.mark.parametrize("revision", [1_100, 1_101], ids=["past", "present"])
@pytest.mark.parametrize("count_only", [False, True])
def test_list_that_meets_a_bad_row_is_refused_lets_its_snapshot_go_and_others_go_on(
    error: EngineError, refused: RequestRefused, revision: int, count_only: bool
) -> None:
    """What it has given out before is not the whole: no last part follows."""
    stand, engine = faulty(1_100)
    made = reader(stand)
    engine.faults[keycodec.newest(b"/a/0900")] = error
    bad, good, late = Sink(), Sink(), Sink()
    made.read(read_call(ALL_A, revision, count_only=count_only), bad)
    made.read(read_call(KeyRange(b"/a/", b"/a/0900"), revision), good)
    while made.turn():
        pass
    assert bad.refused is refused
    assert bad.total is None
    assert good.total == 900
    assert engine._open_table().pins == 0
    engine.faults.clear()
    made.read(read_call(ALL_A, revision, count_only=count_only), late)
    while made.turn():
        pass
    assert late.total == revision - 1


def test_list_whose_count_meets_a_bad_row_is_refused_too() -> None:
    """Its rows are read, the number of the others is not: no total is made up. A bucket in the
    middle is not read, so its damage does not matter."""
    for number, total, refused in ((700, 1_100, None), (1_090, None, errors.CORRUPT)):
        stand, engine = faulty(1_100)
        engine.faults[keycodec.newest(b"/a/%04d" % number)] = EngineCorrupt("checksum")
        sink = stand.read(read_call(ALL_A, 1_101, limit=3))
        assert (sink.total, sink.refused) == (total, refused)
        assert engine._open_table().pins == 0


def test_reads_under_way_are_refused_when_the_store_is_opened_again_and_new_ones_are_not() -> None:
    """A write failed and was settled; its snapshots are gone with the old store."""
    stand, engine = faulty(SCAN_SLICE_ROWS * 3)
    sinks = [Sink(), Sink()]
    for sink in sinks:
        stand.owner.read(read_call(ALL_A, stand.owned.known), sink)
    stand.owner.turn()
    assert [len(sink.rows) for sink in sinks] == [SCAN_FIRST_ROWS] * 2
    engine.write_faults.append((EngineError("gone"), True))
    stand.write(put_call(b"/a/0000"))
    assert [sink.refused for sink in sinks] == [errors.TIMED_OUT] * 2
    assert stand.read(read_call(ALL_A, stand.owned.known)).total == SCAN_SLICE_ROWS * 3
    assert engine._open_table().pins == 0


def test_parked_read_survives_the_reopening_of_the_store() -> None:
    """It has no snapshot yet; the write that it waits for is the one that failed."""
    stand, engine = faulty(3)
    stand.sequencer.late = True
    stand.submit(put_call(b"/a/x"))
    stand.run()
    sink = Sink()
    stand.owner.read(read_call(ALL_A, 5, [(A, 5)]), sink)
    engine.write_faults.append((EngineError("gone"), False))
    stand.sequencer.answer()
    stand.run()
    assert sink.total == 3, "the revision is void, and closed"


@pytest.mark.parametrize("span", [single(b"/a/0001"), ALL_A], ids=["key", "range"])
def test_read_of_a_store_that_could_not_be_opened_again_is_refused_and_not_thrown(
    span: KeyRange,
) -> None:
    """The process is about to stop; until then its loop must go on, or nobody is told anything."""
    stand, engine = faulty(3)
    engine.write_faults.append((EngineError("gone"), False))
    engine.reopen_faults.extend([EngineError("gone")] * 3)
    stand.write(put_call(b"/a/x"))
    assert stand.fatal
    assert stand.read(read_call(span, 4)).refused is not None


def point(key: bytes, tag: str) -> PointCall:
    return PointCall(key, 4, A, 4, 1, tag)


@FAILURES
def test_key_that_cannot_be_read_on_the_short_path_is_refused_alone(
    error: EngineError, refused: RequestRefused
) -> None:
    stand, engine = faulty(3)
    engine.faults[keycodec.newest(b"/a/0001")] = error
    replies: list[PointReply] = []
    calls = [point(b"/a/0000", "first"), point(b"/a/0001", "bad"), point(b"/a/none", "none")]
    stand.owner.points(calls, replies.append)
    told = {reply.tag: (reply.row and reply.row.mod, reply.error) for reply in replies}
    assert told == {"first": (2, None), "bad": (None, refused), "none": (None, None)}


def test_short_path_of_a_stopped_shard_answers_nothing() -> None:
    stand, engine = faulty(3)
    engine.write_faults.append((EngineError("gone"), False))
    engine.reopen_faults.extend([EngineError("gone")] * 3)
    stand.write(put_call(b"/a/x"))
    engine.reopen()
    replies: list[PointReply] = []
    stand.owner.points([point(b"/a/0000", "key")], replies.append)
    stand.run()
    assert [(reply.row, reply.error) for reply in replies] == [(None, errors.STOPPED)]
