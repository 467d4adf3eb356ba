"""Long work in slices: one snapshot from start to end, closed at the end, whatever the end is."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from kubebraid.base import errors
from kubebraid.base.errors import RequestRefused
from kubebraid.base.limits import DUMP_PAGE_ROWS, STREAM_CHUNK_BYTES
from kubebraid.base.tabletmap import layout
from kubebraid.shard import keycodec
from kubebraid.shard.checksum import hash_versions
from kubebraid.shard.jobs import DumpJob, HashJob
from kubebraid.shard.storage.engine import Batch, EngineClosed, EngineCorrupt, EngineError
from kubebraid.shard.storage.memory import MemoryEngine, MemorySnapshot
from tests.unit.shard.fakes import PREFIXES, BreakableEngine, Stand, delete_call, put_call

EVERY_TABLET = tuple(tablet.id for tablet in layout(PREFIXES).tablets)


class Receiver:
    """A DumpSink that wants `patience` pages."""

    def __init__(self, patience: int = 1_000_000) -> None:
        self.told: tuple[int, int, int] | None = None
        self.pages: list[list[tuple[bytes, bytes]]] = []
        self.ended = False
        self.refused: RequestRefused | None = None
        self.open = True
        self._patience = patience

    def begin(self, payload: int, records: int, floor: int) -> None:
        assert self.told is None, "measured once"
        self.told = (payload, records, floor)

    def ready(self) -> bool:
        return self.open

    def take(self, pairs: Sequence[tuple[bytes, bytes]]) -> bool:
        assert self.told is not None, "the size is told first"
        assert not self.ended
        self.pages.append(list(pairs))
        return len(self.pages) < self._patience

    def fail(self, refused: RequestRefused) -> None:
        assert not self.ended
        self.refused = refused

    def end(self) -> None:
        assert not self.ended
        self.ended = True

    @property
    def pairs(self) -> list[tuple[bytes, bytes]]:
        return [pair for page in self.pages for pair in page]


def filled(count: int = 500) -> Stand:
    stand = Stand()
    stand.write(*[put_call(b"/a/%05d" % number) for number in range(count)])
    return stand


def everything(engine: MemoryEngine) -> list[tuple[bytes, bytes]]:
    return engine.scan(b"", b"\xff\xff", 1_000_000)


def closed(snapshot: MemorySnapshot) -> bool:
    try:
        snapshot.get(b"a")
    except EngineClosed:
        return True
    return False


# -- dump ------------------------------------------------------------------------------------------


def test_dump_is_every_pair_in_order_and_as_large_as_it_was_told() -> None:
    stand = filled()
    stand.write(delete_call(b"/a/00001"))
    receiver = Receiver()
    stand.owner.dump(receiver)
    stand.run()
    assert receiver.ended
    assert receiver.pairs == everything(stand.engine)
    payload = sum(len(key) + len(value) for key, value in receiver.pairs)
    assert receiver.told == (payload, len(receiver.pairs), -1)
    assert {key[:1] for key, _ in receiver.pairs} >= {b"f", b"h", b"l", b"n"}


def test_dump_of_an_empty_engine_is_told_and_ended() -> None:
    snapshot = MemoryEngine().snapshot()
    receiver = Receiver()
    job = DumpJob(snapshot, receiver, 7)
    assert not job.step(), "told: from here on the sink may let it wait"
    assert job.step()
    assert (receiver.told, receiver.pages, receiver.ended) == ((0, 0, 7), [], True)
    assert closed(snapshot)


def test_dump_does_not_see_what_is_written_between_its_slices() -> None:
    stand = filled()
    before = everything(stand.engine)
    receiver = Receiver()
    stand.owner.dump(receiver)
    turns = 0
    while not receiver.ended:
        stand.submit(put_call(b"/a/%05d" % turns, b"changed"), delete_call(b"/a/%05d" % -turns))
        stand.owner.turn()
        turns += 1
    assert turns > 4, "it took more than one slice"
    assert receiver.pairs == before


def test_dump_waits_for_its_sink_and_the_shard_does_not_spin() -> None:
    stand = filled()
    receiver = Receiver()
    receiver.open = False
    stand.owner.dump(receiver)
    stand.run()
    assert receiver.told is None
    assert len(stand.write(put_call(b"/a/x"))) == 1
    receiver.open = True
    stand.run()
    assert receiver.ended


def test_dump_that_nobody_wants_any_more_ends_and_closes_its_snapshot() -> None:
    snapshot = filled().engine.snapshot()
    receiver = Receiver(patience=2)
    job = DumpJob(snapshot, receiver, -1)
    while not job.step():
        assert not closed(snapshot)
    assert len(receiver.pages) == 2
    assert not receiver.ended
    assert closed(snapshot)


def test_dump_sends_one_page_a_slice() -> None:
    receiver = Receiver()
    job = DumpJob(filled(2_000).engine.snapshot(), receiver, -1)
    before = 0
    while not job.step():
        assert len(receiver.pages) - before <= 1
        before = len(receiver.pages)
    assert before > 3


def test_large_rows_behind_many_small_ones_come_in_bounded_parts() -> None:
    """Pages grow while rows are small: a shard once sent 64 MiB in one part, whatever its router
    was ready for, and its loop stood still for seconds."""
    engine = MemoryEngine()
    batch = Batch()
    for number in range(2_000):
        batch.put(keycodec.log(1, number), b"small")
    large = bytes(STREAM_CHUNK_BYTES // 2)
    for number in range(80):
        batch.put(keycodec.newest(b"%d" % number), large)
    engine.write(batch, sync=True)
    receiver = Receiver()
    job = DumpJob(engine.snapshot(), receiver, -1)
    while not job.step():
        pass
    sizes = [sum(len(key) + len(value) for key, value in page) for page in receiver.pages]
    assert max(sizes) <= STREAM_CHUNK_BYTES
    assert max(map(len, receiver.pages)) <= DUMP_PAGE_ROWS
    assert receiver.pairs == engine.scan(b"\x00", b"\xff", 10_000)


def test_dump_reaches_every_kind_of_row() -> None:
    """A kind that is added must not be forgotten: each first byte there can be is in the range."""
    engine = MemoryEngine()
    batch = Batch().put(keycodec.cell("z"), b"1").put(keycodec.lease(-1), b"2")
    for kind in range(ord("A"), ord("z") + 1):
        batch.put(bytes([kind]) + b"\xff" * 9, b"3")
    engine.write(batch, sync=True)
    receiver = Receiver()
    job = DumpJob(engine.snapshot(), receiver, -1)
    while not job.step():
        pass
    assert receiver.pairs == everything(engine)


# -- hash ------------------------------------------------------------------------------------------


def test_hash_is_told_once_at_the_end_and_the_snapshot_closed() -> None:
    stand = filled(2_000)
    snapshot = stand.engine.snapshot()
    told: list[int | RequestRefused] = []
    job = HashJob(snapshot, -1, 3_000, told.append)
    assert job.ready()
    steps = 1
    while not job.step():
        assert not told
        assert not closed(snapshot)
        steps += 1
    assert steps > 3
    assert told == [list(hash_versions(stand.engine, -1, 3_000))[-1]]
    assert closed(snapshot)


def test_hash_does_not_see_what_is_written_between_its_slices() -> None:
    stand = filled(1_000)
    told: list[int | RequestRefused] = []
    stand.owner.hash_versions(-1, 5_000, told.append)
    stand.owner.turn()
    assert not told
    expected = list(hash_versions(stand.engine, -1, 5_000))[-1]
    stand.write(put_call(b"/a/00999", b"changed"), put_call(b"/a/new"))
    assert told == [expected]


# -- what cannot be read ---------------------------------------------------------------------------


def faulty(count: int) -> tuple[Stand, BreakableEngine]:
    engine = BreakableEngine()
    stand = Stand(engine=engine)
    stand.write(*[put_call(b"/a/%05d" % number) for number in range(count)])
    return stand, engine


FAILURES = pytest.mark.parametrize(
    ("error", "refused"),
    [(EngineCorrupt("checksum"), errors.CORRUPT), (EngineError("gone"), errors.TIMED_OUT)],
    ids=["damaged", "gone"],
)


@FAILURES
@pytest.mark.parametrize("met_at", ["measuring", "sending"])
def test_dump_that_meets_a_bad_row_says_so_and_never_ends_well(
    error: EngineError, refused: RequestRefused, met_at: str
) -> None:
    """A backup that is cut short must not look whole."""
    stand, engine = faulty(2_000)
    receiver = Receiver()
    receiver.open = met_at == "measuring"
    stand.owner.dump(receiver)
    if met_at == "sending":
        receiver.open = True
        while receiver.told is None:
            stand.owner.turn()
    engine.faults[keycodec.newest(b"/a/01900")] = error
    stand.run()
    assert (receiver.refused, receiver.ended) == (refused, False)
    assert (receiver.told is None) == (met_at == "measuring")
    assert engine._open_table().pins == 0
    assert stand.write(put_call(b"/a/x"))[0].error is None


@FAILURES
def test_hash_that_meets_a_bad_row_is_refused_once_and_others_go_on(
    error: EngineError, refused: RequestRefused
) -> None:
    stand, engine = faulty(2_000)
    told: list[int | RequestRefused] = []
    receiver = Receiver()
    stand.owner.hash_versions(-1, 5_000, told.append)
    engine.faults[keycodec.newest(b"/a/01900")] = error
    stand.owner.turn()
    stand.owner.dump(receiver)
    while not told:
        stand.owner.turn()
    engine.faults.clear()
    stand.run()
    assert told == [refused]
    assert receiver.ended
    assert engine._open_table().pins == 0


def test_hash_and_dump_under_way_are_refused_when_the_store_is_opened_again() -> None:
    stand, engine = faulty(2_000)
    told: list[int | RequestRefused] = []
    receiver = Receiver()
    stand.owner.hash_versions(-1, 5_000, told.append)
    stand.owner.dump(receiver)
    stand.owner.turn()
    engine.write_faults.append((EngineError("gone"), True))
    stand.write(put_call(b"/a/x"))
    assert told == [errors.TIMED_OUT]
    assert (receiver.refused, receiver.ended) == (errors.TIMED_OUT, False)
    stand.owner.hash_versions(-1, 5_000, told.append)
    stand.run()
    assert told[1:] == [list(hash_versions(engine, -1, 5_000))[-1]]
    assert engine._open_table().pins == 0


def test_hash_and_dump_of_a_store_that_could_not_be_opened_again_are_refused_not_thrown() -> None:
    """The process is about to stop; until then its loop must go on, or nobody is told anything."""
    stand, engine = faulty(3)
    engine.write_faults.append((EngineError("gone"), False))
    engine.reopen_faults.extend([EngineError("gone")] * 3)
    stand.write(put_call(b"/a/x"))
    assert stand.fatal
    told: list[int | RequestRefused] = []
    receiver = Receiver()
    stand.owner.hash_versions(-1, 5_000, told.append)
    stand.owner.dump(receiver)
    stand.run()
    assert told == [receiver.refused] == [errors.TIMED_OUT]


def test_defragment_that_fails_is_refused_and_the_shard_goes_on() -> None:
    stand, engine = faulty(3)
    told: list[RequestRefused | None] = []

    def fail() -> None:
        raise EngineError("gone")

    engine.defragment = fail  # type: ignore[method-assign]
    stand.owner.defragment(told.append)
    assert told == [errors.TIMED_OUT]
    del engine.defragment
    stand.owner.defragment(told.append)
    assert told[1:] == [None]
    assert stand.fatal == []
