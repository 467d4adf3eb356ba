"""Any read of hashed ranges is the read of one store: whoever owns the rows, however they come.

What it is: owners that keep to the contract of OwnerPort.read, in slices whose order and size are
drawn, and a client that is not always ready. What it is not: a test of the shard's reader.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager
from random import Random
from typing import Final
from unittest import mock

from hypothesis import given
from hypothesis import strategies as st

from kubebraid.base.errors import RequestRefused
from kubebraid.base.keyspace import EVERYTHING, KeyRange, from_etcd
from kubebraid.base.ops import NO_FILTERS, RangeOp, SortOrder, SortTarget
from kubebraid.base.ports import ReadCall, ReadChunk, ReadSink
from kubebraid.base.record import Row
from kubebraid.base.tabletmap import Tablet, TabletMap
from kubebraid.proto import ranges
from kubebraid.proto.etcd import rpc_pb2
from kubebraid.proto.kvwire import key_value, range_rows
from kubebraid.router import interleave
from kubebraid.router.gather import ChunkSink, StreamGather, UnaryGather
from kubebraid.router.plan import Read, read_parts
from tests.unit.router.fakes import HEADER, HeldOwner

SLICE_ROWS_MAX: Final = 3
STEPS_MAX: Final = 10_000
SHARDS: Final = "xyz"
ONE_STORE: Final = TabletMap(1, (Tablet(1, "all", EVERYTHING, "x", 1),))
Change = tuple[int, bytes, Row | None]  # at this revision the key became this row, or was deleted


def rows_at(changes: list[Change], revision: int) -> list[tuple[bytes, Row]]:
    """What a revision sees, in key order."""
    latest = {key: row for written, key, row in changes if written <= revision}
    return sorted((key, row) for key, row in latest.items() if row is not None)


class PacedOwner(HeldOwner):
    """Holds the changes of its own tablets; works when told to and when its asker is ready."""

    def __init__(self, name: str, changes: list[Change], random: Random) -> None:
        super().__init__(name, ())
        self._changes = changes
        self._random = random
        self._work: tuple[Iterator[ReadChunk], ReadSink] | None = None
        self.rows_given = 0

    def read(self, call: ReadCall, sink: ReadSink) -> None:
        assert self._work is None, "an owner is asked for one segment after the other"
        self.read_calls.append(call)
        self._work = self._answer(call), sink
        while self._random.random() < 0.2 and self.works:
            self.step()  # before the call returns, as ports allow

    def _answer(self, call: ReadCall) -> Iterator[ReadChunk]:
        seen = rows_at(self._changes, call.revision)
        inside = [row for key, row in seen if call.span.contains(key)]
        shown = inside[: call.limit + (not call.spliced)] if call.limit else inside
        shown = [] if call.count_only else shown
        while shown:
            size = self._random.randint(1, SLICE_ROWS_MAX)
            rows, shown = shown[:size], shown[size:]
            if call.spliced:
                yield ReadChunk((), 0, False, range_rows([row.raw for row in rows]), len(rows))
            else:
                yield ReadChunk(rows, 0, False)
        yield ReadChunk((), len(inside), True)

    @property
    def works(self) -> bool:
        return self._work is not None and self._work[1].ready()

    def step(self) -> None:
        """One slice."""
        assert self._work is not None
        work, sink = self._work
        chunk = next(work)
        self.rows_given += len(chunk.rows) + chunk.spliced
        if chunk.last:
            self._work = None  # before the asker hears of it: it may ask for its next segment
            sink.take(chunk)
        elif not sink.take(chunk):
            self._work = None


class Asked:
    """A read over owners, driven until it is answered."""

    def __init__(self, tablets: TabletMap, changes: list[Change], random: Random) -> None:
        self._tablets = tablets
        self._random = random
        self.owners = {
            shard: PacedOwner(
                shard, [c for c in changes if tablets.tablet_of(c[1]).shard == shard], random
            )
            for shard in SHARDS
        }
        self.sent: list[bytes] = []
        self.ended = False
        self._open = True
        self._rows_sent = 0
        self.kept_most = 0  # rows that owners gave and the client was not sent

    def _read(self, op: RangeOp, revision: int) -> Read:
        assert op.span is not None
        return Read(read_parts(self._tablets, op.span, {}), op, revision, 1)

    def unary(self, op: RangeOp, revision: int) -> bytes:
        def respond(parts: object) -> None:
            assert isinstance(parts, list)
            self.sent += parts
            self.ended = True

        UnaryGather(self.owners, self._read(op, revision), respond, _never).start()
        self._drive()
        return b"".join(self.sent)

    def stream(self, op: RangeOp, revision: int) -> list[rpc_pb2.RangeResponse]:
        sink = ChunkSink(lambda: self._open, self._send, self._end, _never)
        header = HEADER.field(9)
        StreamGather(self.owners, self._read(op, revision), sink, header).start()
        self._drive()
        chunks = [rpc_pb2.RangeStreamResponse.FromString(chunk) for chunk in self.sent]
        return [chunk.range_response for chunk in chunks]

    def _send(self, chunk: bytes) -> bool:
        self.sent.append(chunk)
        response = rpc_pb2.RangeStreamResponse.FromString(chunk).range_response
        self._rows_sent += len(response.kvs)
        return True

    def _end(self) -> None:
        self.ended = True

    def _drive(self) -> None:
        """In any order; bounded, so that owners which wait for each other are a failure."""
        for _ in range(STEPS_MAX):
            if self.ended:
                return
            self._open = self._random.random() < 0.7
            ready = [owner for owner in self.owners.values() if owner.works]
            assert ready or not self._open, "nobody may go on although the client reads"
            if ready:
                self._random.choice(ready).step()
                given = sum(owner.rows_given for owner in self.owners.values())
                self.kept_most = max(self.kept_most, given - self._rows_sent)
        raise AssertionError("the read never ends")


def _never(refused: RequestRefused) -> None:
    raise AssertionError(refused)


# -- what is drawn ---------------------------------------------------------------------------------

KEYS = st.text("abc", min_size=1, max_size=3).map(str.encode)


@st.composite
def histories(draw: st.DrawFn) -> list[Change]:
    """Puts, and deletions of keys that are there, one a revision from 2 on."""
    changes: list[Change] = []
    rows: dict[bytes, Row] = {}
    for key, size in draw(st.lists(st.tuples(KEYS, st.integers(0, 3)), max_size=40)):
        revision, old = len(changes) + 2, rows.pop(key, None)
        if not size and old is not None:
            changes.append((revision, key, None))
            continue
        create, version = (old.create, old.version + 1) if old else (revision, 1)
        raw = key_value(key, create, revision, version, b"v" * size, size % 2)
        rows[key] = Row(revision, create, version, size % 2, raw)
        changes.append((revision, key, rows[key]))
    return changes


@st.composite
def maps(draw: st.DrawFn) -> TabletMap:
    starts = [b"", *sorted(draw(st.sets(KEYS, max_size=3)))]
    ends: list[bytes | None] = [*starts[1:], None]
    tablets: list[Tablet] = []
    for start, end in zip(starts, ends, strict=True):
        buckets = draw(st.sampled_from((1, 2, 4, 8)))
        for bucket in range(buckets):
            number, shard = len(tablets) + 1, draw(st.sampled_from(SHARDS))
            span = KeyRange(start, end)
            tablets.append(Tablet(number, f"t{number}", span, shard, 1, bucket, buckets))
    return TabletMap(1, tuple(tablets))


SPANS = st.one_of(
    st.just(EVERYTHING),
    st.builds(from_etcd, KEYS, KEYS | st.just(b"\x00")).filter(bool),
    KEYS.map(lambda key: from_etcd(key, b"")),
)
LIMITS = st.just(0) | st.integers(1, 12)
FILTERS = st.just(NO_FILTERS) | st.tuples(*[st.just(0) | st.integers(1, 40)] * 4)


def range_ops(streamed: bool) -> st.SearchStrategy[RangeOp]:
    """`streamed`: what a RangeStream may ask for."""
    return st.builds(
        RangeOp,
        SPANS,
        st.just(0),
        LIMITS,
        st.sampled_from([SortOrder.NONE, SortOrder.ASCEND] if streamed else list(SortOrder)),
        st.just(SortTarget.KEY) if streamed else st.sampled_from(SortTarget),
        st.just(False),
        st.booleans(),
        st.booleans(),
        st.just(NO_FILTERS) if streamed else FILTERS,
    )


def expected(op: RangeOp, changes: list[Change], revision: int) -> bytes:
    """The body that a store which holds everything answers, as etcd makes it."""
    assert op.span is not None
    inside = [row for key, row in rows_at(changes, revision) if op.span.contains(key)]
    fetched = op.fetch_limit()
    return ranges.body(op, inside[: fetched + 1] if fetched else inside, len(inside))


def small_pages(random: Random) -> AbstractContextManager[object]:
    """Strands that need another page again and again, and yet another."""
    return mock.patch.object(
        interleave, "page_rows", lambda rows, _: min(rows, random.randint(1, 3))
    )


def whole_of(span: KeyRange) -> RangeOp:
    return RangeOp(span, 0, 0, 0, 0, False, False, False, NO_FILTERS)


# -- the properties --------------------------------------------------------------------------------


@given(maps(), histories(), range_ops(False), st.integers(0, 45), st.randoms())
def test_any_range_over_hashed_ranges_is_that_of_one_store(
    tablets: TabletMap, changes: list[Change], op: RangeOp, back: int, random: Random
) -> None:
    """At any revision, with any limit, order, filter, keys_only and count_only."""
    revision = max(len(changes) + 1 - back, 1)
    answer = expected(op, changes, revision)
    assert Asked(tablets, changes, random).unary(op, revision) == answer
    with small_pages(random):
        assert Asked(tablets, changes, random).unary(op, revision) == answer
    assert Asked(ONE_STORE, changes, random).unary(op, revision) == answer


@given(maps(), histories(), range_ops(True), st.integers(0, 45), st.randoms())
def test_any_stream_over_hashed_ranges_merges_to_the_range_of_one_store(
    tablets: TabletMap, changes: list[Change], op: RangeOp, back: int, random: Random
) -> None:
    """Whoever works when, whenever the client reads."""
    revision = max(len(changes) + 1 - back, 1)
    with small_pages(random):
        *before, last = Asked(tablets, changes, random).stream(op, revision)
    assert not any(chunk.HasField("header") or chunk.more or chunk.count for chunk in before)
    assert last.header.revision == 9
    last.ClearField("header")
    whole = rpc_pb2.RangeResponse()
    for chunk in (*before, last):
        whole.MergeFrom(chunk)
    assert whole == rpc_pb2.RangeResponse.FromString(expected(op, changes, revision))


@given(maps(), histories(), SPANS, st.booleans(), st.randoms())
def test_owner_runs_at_most_one_slice_ahead_of_what_the_client_was_sent(
    tablets: TabletMap, changes: list[Change], span: KeyRange, keys_only: bool, random: Random
) -> None:
    """A shard that is slow, or whose keys come late, must not make the others fill memory."""
    asked = Asked(tablets, changes, random)
    asked.stream(whole_of(span)._replace(keys_only=keys_only), len(changes) + 1)
    assert asked.kept_most <= SLICE_ROWS_MAX * len(SHARDS)


@given(maps(), histories(), SPANS, st.integers(1, 12), st.booleans(), st.randoms())
def test_no_owner_is_asked_for_more_rows_than_the_answer_can_need(
    tablets: TabletMap,
    changes: list[Change],
    span: KeyRange,
    limit: int,
    bare: bool,
    random: Random,
) -> None:
    asked = Asked(tablets, changes, random)
    asked.unary(whole_of(span)._replace(limit=limit, keys_only=bare), len(changes) + 1)
    for owner in asked.owners.values():
        most = limit + bare  # whether there are more is seen by a row, where it is not counted
        assert all(call.count_only or 0 < call.limit <= most for call in owner.read_calls)
