"""Reads of one shard: wait for the watermark, then read at a revision, a slice per turn.

What it is: the parked and the running reads. What it is not: visibility (`mvcc.py`) or answers
(the router's `gather.py`).

Invariants:
- a read starts only when closed[t] >= its need for every tablet it names (inv04, inv05);
- it is answered from one snapshot at one revision, never from a mixture;
- a read below the floor is refused, also when the floor rose while it waited;
- one turn gives running reads at most READ_SLICES_PER_TURN slices, in turn: lists, however many,
  delay nobody for longer.

Counting: etcd's count ignores the limit; `totals.py` finds it. What a page left uncounted is
remembered by (where the next page starts, end, revision), so that a listing counts once.

Worked example: keys a..e at R=9, limit 2: the first page answers rows a, b, c (limit + 1), count
5 and remembers (b"b\\0", end, 9) -> 3; the page from b"b\\0" takes 3 from there.

Tested in tests/unit/shard/test_reader.py.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from typing import Protocol

from kubebraid.base import errors
from kubebraid.base.errors import RequestRefused
from kubebraid.base.keyspace import KeyRange, single
from kubebraid.base.limits import (
    EXPECT_KEYS_MAX,
    PAGE_READS_MAX,
    READ_SLICES_PER_TURN,
    READ_WAIT_MS_MAX,
    STREAM_CHUNK_BYTES,
)
from kubebraid.base.ports import PointCall, PointReply, ReadCall, ReadChunk, ReadSink
from kubebraid.base.record import Row
from kubebraid.base.revision import Revision, TabletId
from kubebraid.base.seams import Clock
from kubebraid.proto.kvwire import key_of, range_rows, row_chunks

from . import keycodec, mvcc
from .foreign import VisibleSnapshot
from .ownership import Ownership, may_have_left
from .settle import refusal
from .storage.engine import Engine, EngineError, Snapshot
from .totals import Counting, Totals

_Slices = Generator[ReadChunk | None, None, None]


class Job(Protocol):
    """Long work in slices."""

    def ready(self) -> bool:
        """Whether a slice makes sense now."""

    def step(self) -> bool:
        """One slice. Answers whether the job has ended. Raises EngineError."""

    def fail(self, refused: RequestRefused) -> None:
        """The engine cannot be read; the job ends."""


class Reader:
    """The reads of one shard."""

    def __init__(self, engine: Engine, owned: Ownership, clock: Clock, totals: Totals) -> None:
        self._engine = engine
        self._owned = owned
        self._clock = clock
        self._totals = totals
        self._parked: deque[tuple[int, ReadCall, ReadSink]] = deque()
        self._running: deque[Job] = deque()

    def read(self, call: ReadCall, sink: ReadSink) -> None:
        """Start now if the watermarks allow it, else wait for them."""
        if len(self._parked) + len(self._running) >= PAGE_READS_MAX:
            sink.take(errors.TOO_MANY_REQUESTS)
        elif not self._owned.knows(call.map_version):
            sink.take(errors.OTHER_MAP)
        elif satisfied(call.needs, self._owned.closed):
            self._start(call, sink)
        else:
            self._parked.append((self._clock.now_ms() + READ_WAIT_MS_MAX, call, sink))

    def points(self, calls: Sequence[PointCall], done: Callable[[PointReply], None]) -> None:
        """The short path: what need not wait is answered at once, a row each."""
        closed, floor = self._owned.closed, self._owned.floor()
        knows = self._owned.knows
        if self._engine.batches_reads and len(calls) > 1:
            self._engine.expect([keycodec.newest(call.key) for call in calls[:EXPECT_KEYS_MAX]])
        for call in calls:
            if (
                closed.get(call.tablet, -1) < call.need
                or call.revision < floor
                or not knows(call.map_version)
                or self._owned.stopped
            ):
                self._wait(call, done)
                continue
            try:
                row = mvcc.at(self._engine, call.key, call.revision)
            except EngineError as error:
                done(PointReply(call.tag, None, refusal(error)))
            else:
                done(PointReply(call.tag, row, None))

    def _wait(self, call: PointCall, done: Callable[[PointReply], None]) -> None:
        """The general path: parked until the watermark is reached, or refused."""
        needs = ((call.tablet, call.need),)
        whole = ReadCall(single(call.key), call.revision, needs, call.map_version, 0, False)
        self.read(whole, PointSink(call.tag, done))

    def turn(self) -> bool:
        """Wake parked reads, give running ones their slices. Answers: can more be done now?"""
        self._wake()
        worked = False
        for _ in range(min(len(self._running), READ_SLICES_PER_TURN)):
            job = self._running.popleft()
            if not job.ready():
                self._running.append(job)
                continue
            worked = True
            try:
                ended = job.step()
            except EngineError as error:
                job.fail(refusal(error))
                ended = True
            if not ended:
                self._running.append(job)
        return bool(self._running) and (worked or any(job.ready() for job in self._running))

    def next_deadline_ms(self) -> int | None:
        """When the first parked read gives up."""
        return self._parked[0][0] if self._parked else None

    def run(
        self,
        job: Callable[[Snapshot], Job],
        refused: Callable[[RequestRefused], object],
        bounds: tuple[bytes, bytes] = (b"", b""),
    ) -> None:
        """Let a piece of long work on a snapshot take its slices among the reads. `bounds`: what it
        will scan from end to end, if it will."""
        try:
            snapshot = self._engine.snapshot(*bounds)
        except EngineError as error:
            refused(refusal(error))
        else:
            if self._owned.foreign.cells:
                snapshot = VisibleSnapshot(snapshot, self._owned.fixed_foreign())
            self._running.append(job(snapshot))

    @property
    def parked(self) -> int:
        """Reads that wait for a watermark."""
        return len(self._parked)

    def _wake(self) -> None:
        now_ms = self._clock.now_ms() if self._parked else 0
        for _ in range(len(self._parked)):
            deadline_ms, call, sink = self._parked.popleft()
            if not self._owned.knows(call.map_version):
                sink.take(errors.OTHER_MAP)
            elif satisfied(call.needs, self._owned.closed):
                self._start(call, sink)
            elif now_ms >= deadline_ms:
                sink.take(errors.TIMED_OUT)
            else:
                self._parked.append((deadline_ms, call, sink))

    def _start(self, call: ReadCall, sink: ReadSink) -> None:
        if self._owned.stopped:
            sink.take(errors.STOPPED)
            return
        if call.revision < self._owned.floor():
            sink.take(errors.COMPACTED)
            return
        if call.span.is_single():
            try:
                row = mvcc.at(self._engine, call.span.start, call.revision)
            except EngineError as error:
                sink.take(refusal(error))
                return
            sink.take(_single(call, row))
            return
        newest = self._owned.committed_revision
        fresh = call.revision >= newest and not may_have_left(self._owned)
        bounds = (b"", b"") if call.count_only else keycodec.newest_bounds(call.span)
        self.run(lambda view: _Job(call, view, fresh, self._totals, sink), sink.take, bounds)


def satisfied(
    needs: tuple[tuple[TabletId, Revision], ...], closed: Mapping[TabletId, Revision]
) -> bool:
    """Whether every watermark is reached. A tablet without a watermark satisfies nothing."""
    return all(tablet in closed and closed[tablet] >= need for tablet, need in needs)


class PointSink:
    """A read of one key as the answer to a PointCall."""

    def __init__(self, tag: object, done: Callable[[PointReply], None]) -> None:
        self._tag = tag
        self._done = done

    def ready(self) -> bool:
        return True

    def take(self, part: ReadChunk | RequestRefused) -> bool:
        if isinstance(part, RequestRefused):
            self._done(PointReply(self._tag, None, part))
        else:
            assert part.last, "one key is one part"
            self._done(PointReply(self._tag, part.rows[0] if part.rows else None, None))
        return False


def _single(call: ReadCall, row: Row | None) -> ReadChunk:
    """The whole answer to a read of one key."""
    if row is None or call.count_only:
        return ReadChunk((), int(row is not None), True)
    if call.spliced:
        return ReadChunk((), 1, True, range_rows([row.raw]), 1)
    return ReadChunk([row], 1, True)


def _raws(rows: Sequence[Row]) -> list[bytes]:
    return [row.raw for row in rows]


class _Job:
    """One range read in progress, on its own snapshot."""

    def __init__(
        self,
        call: ReadCall,
        snapshot: Snapshot,
        fresh: bool,
        totals: Totals,
        sink: ReadSink,
    ) -> None:
        self._call = call
        self._snapshot = snapshot
        self._totals = totals
        self._sink = sink
        self._work = self._begin(fresh)

    def _begin(self, fresh: bool) -> _Slices:
        call, view = self._call, self._snapshot
        first = call.limit + 1 if call.limit else 0
        if call.spliced and fresh:
            return self._spliced(mvcc.raws_newest(view, call.span, first))
        if fresh:
            rows = mvcc.rows_newest(view, call.span, first)
        else:
            rows = mvcc.rows_at(view, call.span, call.revision)
        if call.count_only:
            return self._count(rows)
        return self._spliced(map(_raws, rows)) if call.spliced else self._rows(rows)

    def ready(self) -> bool:
        return self._sink.ready()

    def step(self) -> bool:
        """One slice of work. Answers whether the job has ended (answered, or its asker gone)."""
        chunk = next(self._work)
        if chunk is None:
            return False
        wanted = self._sink.take(chunk)
        ended = chunk.last or not wanted
        if ended:
            # The generator knows this job and the job its generator: closed, they go at once, and
            # with them the asker's rows, instead of at some collection of cycles.
            self._work.close()
            self._snapshot.close()
        return ended

    def fail(self, refused: RequestRefused) -> None:
        self._work.close()
        self._snapshot.close()
        self._sink.take(refused)

    def _rows(self, slices: Iterator[list[Row]]) -> _Slices:
        """Rows up to one beyond the limit, then the count of the rest."""
        limit = self._call.limit
        taken = 0
        shown: Row | None = None  # the last row within the limit
        for rows in slices:
            missing = limit + 1 - taken
            if limit and len(rows) >= missing:
                page = rows[:missing]
                shown = page[-2] if len(page) > 1 else shown
                seen = taken + len(rows)
                total = yield from self._whole(slices, seen, None if shown is None else shown.raw)
                yield ReadChunk(page, total, True)
                return
            taken += len(rows)
            shown = rows[-1] if rows else shown
            yield ReadChunk(rows, 0, False) if rows else None
        yield ReadChunk([], taken, True)

    def _spliced(self, slices: Iterator[Sequence[bytes]]) -> _Slices:
        """As `_rows`, as bytes of an answer, up to the limit."""
        limit = self._call.limit
        taken = 0
        shown: bytes | None = None
        for raws in slices:
            left = limit - taken
            over = bool(limit) and len(raws) > left
            page = raws[:left] if over else raws
            shown = page[-1] if page else shown
            for chunk in row_chunks(page, STREAM_CHUNK_BYTES):
                yield ReadChunk((), 0, False, range_rows(chunk), len(chunk))
            if over:
                total = yield from self._whole(slices, taken + len(raws), shown)
                yield ReadChunk((), total, True)
                return
            taken += len(raws)
            if not raws:
                yield None
        yield ReadChunk((), taken, True)

    def _whole(self, rest: Iterator[Sequence[object]], seen: int, shown: bytes | None) -> Counting:
        """The total of a page; what follows `shown`, its last row, is remembered for the next."""
        call = self._call
        total = yield from self._totals.total(call, rest, seen)
        if shown is not None:
            following = KeyRange(key_of(shown) + b"\x00", call.span.end)
            self._totals.remember(call, following, total - call.limit)
        return total

    def _count(self, slices: Iterator[list[Row]]) -> _Slices:
        total = yield from self._totals.total(self._call, slices, 0)
        yield ReadChunk([], total, True)
