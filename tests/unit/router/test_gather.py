"""Parts of several owners, in their own time, become the one answer that a single store gives."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field
from typing import Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kubebraid.base import errors
from kubebraid.base.errors import RequestRefused
from kubebraid.base.keyspace import KeyRange
from kubebraid.base.limits import STREAM_CHUNK_BYTES
from kubebraid.base.ops import RangeOp, SortOrder, SortTarget
from kubebraid.base.ports import ReadCall
from kubebraid.base.record import Row
from kubebraid.base.tabletmap import Tablet, TabletMap
from kubebraid.proto import ranges
from kubebraid.proto.etcd import rpc_pb2
from kubebraid.proto.kvwire import key_of, key_value
from kubebraid.router.gather import ChunkSink, StreamGather, UnaryGather
from kubebraid.router.plan import Read, read_parts

from .fakes import HEADER, LEFT, MAP, RIGHT, HeldOwner, Shards, range_op, row

ROWS = [row(key) for key in (b"a", b"b", b"n", b"o", b"p", b"q", b"r")]  # 2 left, 5 right


@dataclass
class Asked:
    """A read under way, and what became of it."""

    shards: Shards
    bodies: list[bytes] = field(default_factory=list)
    refused: list[RequestRefused] = field(default_factory=list)
    ended: int = 0
    gone: bool = False
    tablets: TabletMap = MAP

    def read(self, op: RangeOp) -> Read:
        assert op.span is not None
        return Read(read_parts(self.tablets, op.span, self.shards.last), op, 9, 1)

    def unary(self, op: RangeOp) -> Asked:
        UnaryGather(
            self.shards.owners,
            self.read(op),
            lambda parts: self.bodies.append(b"".join(parts)),
            self.refused.append,
        ).start()
        return self

    def stream(self, op: RangeOp) -> Asked:
        sink = ChunkSink(lambda: not self.gone, self._send, self._end, self.refused.append)
        StreamGather(self.shards.owners, self.read(op), sink, HEADER.field(9)).start()
        return self

    def _send(self, chunk: bytes) -> bool:
        self.bodies.append(chunk)
        return not self.gone

    def _end(self) -> None:
        self.ended += 1

    @property
    def response(self) -> rpc_pb2.RangeResponse:
        (body,) = self.bodies
        return rpc_pb2.RangeResponse.FromString(body)

    @property
    def chunks(self) -> list[rpc_pb2.RangeResponse]:
        return [rpc_pb2.RangeStreamResponse.FromString(b).range_response for b in self.bodies]


def stand(rows: list[Row] | None = None, held: bool = False) -> Asked:
    shards = Shards()
    for owner in shards.owners.values():
        owner.rows = ROWS if rows is None else rows
        owner.hold_reads = held
    return Asked(shards)


def keys(response: rpc_pb2.RangeResponse) -> bytes:
    return b"".join(kv.key for kv in response.kvs)


def only_call(owner: HeldOwner) -> ReadCall:
    (call,) = owner.read_calls
    return call


def test_worked_example_with_limit_3_over_2_and_5_rows() -> None:
    asked = stand().unary(range_op(limit=3))
    response = asked.response
    assert (keys(response), response.more, response.count) == (b"abn", True, 7)
    assert only_call(asked.shards.right).limit == 1


def test_owners_are_asked_one_after_the_other() -> None:
    """The second must know what is left of the limit: it is not asked before the first is done."""
    asked = stand(held=True).unary(range_op(limit=3))
    left, right = asked.shards.left, asked.shards.right
    assert (left.reads_waiting, right.reads_waiting) == (1, 0)
    left.answer_read(parts=2)
    assert (left.reads_waiting, right.reads_waiting) == (0, 1)
    assert asked.bodies == []
    right.answer_read(parts=2)
    assert keys(asked.response) == b"abn"


def test_each_owner_is_asked_for_its_tablets_at_the_one_revision() -> None:
    asked = stand()
    asked.shards.last = {1: 7, 2: 6}
    asked.unary(range_op())
    left, right = only_call(asked.shards.left), only_call(asked.shards.right)
    assert (left.needs, right.needs) == (((1, 7),), ((2, 6),))
    assert {left.revision, right.revision} == {9}
    assert (left.span.end, right.span.start) == (b"m", b"m")


@pytest.mark.parametrize(
    ("limit", "shown", "more"),
    [(0, b"abnopqr", False), (1, b"a", True), (2, b"ab", True), (7, b"abnopqr", False)],
)
def test_limit_and_more_are_those_of_one_store(limit: int, shown: bytes, more: bool) -> None:
    response = stand().unary(range_op(limit=limit)).response
    assert (keys(response), response.more, response.count) == (shown, more, 7)


def test_limit_that_the_first_owner_fills_exactly_shows_more_of_the_second() -> None:
    """No row of the second is shown, but whether there is one decides `more`."""
    asked = stand().unary(range_op(limit=2))
    assert asked.response.more
    assert only_call(asked.shards.right).limit == 1
    assert not stand(ROWS[:2]).unary(range_op(limit=2)).response.more


def test_behind_the_limit_only_counts_are_asked() -> None:
    asked = stand().unary(range_op(limit=1))
    assert only_call(asked.shards.right).count_only
    assert asked.response.count == 7


def test_count_only_adds_up_the_owners() -> None:
    asked = stand().unary(range_op(count_only=True))
    assert (len(asked.response.kvs), asked.response.count) == (0, 7)
    assert only_call(asked.shards.left).count_only


def test_sort_over_owners_sees_every_row_before_the_limit() -> None:
    rows = [row(b"a", mod=9), row(b"b", mod=3), row(b"n", mod=4)]
    op = range_op(limit=2)._replace(order=SortOrder.ASCEND, target=SortTarget.MOD)
    response = stand(rows).unary(op).response
    assert (keys(response), response.more, response.count) == (b"bn", True, 3)


@pytest.mark.parametrize("late", ["left", "right"])
def test_refusal_by_any_part_refuses_the_whole(late: str) -> None:
    """Half a list that looks whole would delete the other half in every cache."""
    asked = stand(held=True).unary(range_op())
    if late == "right":
        asked.shards.left.answer_read()
    asked.shards.owners[late].refuse_read(errors.COMPACTED)
    assert asked.refused == [errors.COMPACTED]
    assert asked.bodies == []
    assert asked.shards.right.reads_waiting == 0


# -- hash buckets ----------------------------------------------------------------------------------

HASHED: Final = TabletMap(
    1,
    (
        Tablet(1, "a", KeyRange(b"", b"m"), LEFT, 1),
        Tablet(2, "b.0", KeyRange(b"m", b"x"), LEFT, 1, 0, 2),
        Tablet(3, "b.1", KeyRange(b"m", b"x"), RIGHT, 1, 1, 2),
        Tablet(4, "c", KeyRange(b"x", None), RIGHT, 1),
    ),
)


def hashed() -> Asked:
    """Two keys of the left alone, then nine of both, then one of the right alone; held."""
    asked = stand(held=True)
    asked.tablets = HASHED
    rows = [row(letter.encode()) for letter in "abmnopqrstuz"]
    for shard, owner in asked.shards.owners.items():
        owner.rows = [r for r in rows if HASHED.tablet_of(key_of(r.raw)).shard == shard]
        assert len(owner.rows) > 3, "both have keys of the middle"
    return asked


def answer_all(asked: Asked) -> None:
    waiting = [owner for owner in asked.shards.owners.values() if owner.reads_waiting]
    while waiting:
        waiting[-1].answer_read(parts=3)
        waiting = [owner for owner in asked.shards.owners.values() if owner.reads_waiting]


def test_hashed_segment_is_asked_of_both_owners_at_once_in_its_turn() -> None:
    asked = hashed().unary(range_op())
    left, right = asked.shards.left, asked.shards.right
    assert (left.reads_waiting, right.reads_waiting) == (1, 0)
    left.answer_read()
    assert (left.reads_waiting, right.reads_waiting) == (1, 1)
    right.answer_read()
    assert (left.reads_waiting, right.reads_waiting) == (1, 0)
    left.answer_read()
    assert (left.reads_waiting, right.reads_waiting) == (0, 1)
    right.answer_read()
    assert (keys(asked.response), asked.response.count) == (b"abmnopqrstuz", 12)


@pytest.mark.parametrize("limit", range(14))
def test_limit_over_a_hashed_segment_is_that_of_one_store(limit: int) -> None:
    unary, stream = hashed().unary(range_op(limit=limit)), hashed().stream(range_op(limit=limit))
    for asked in (unary, stream):
        answer_all(asked)
    whole = b"abmnopqrstuz"
    for response in (unary.response, merged(stream.chunks)):
        assert keys(response) == whole[: limit or None]
        assert (response.more, response.count) == (0 < limit < 12, 12)


def test_hashed_segment_is_asked_for_what_is_left_of_the_limit() -> None:
    asked = hashed().unary(range_op(limit=5))
    answer_all(asked)
    assert [call.limit for call in asked.shards.left.read_calls] == [5, 3]
    *_, behind = asked.shards.right.read_calls
    assert behind.count_only


def test_refusal_in_a_hashed_segment_refuses_the_whole_once() -> None:
    asked = hashed().unary(range_op())
    asked.shards.left.answer_read()
    asked.shards.right.refuse_read(errors.COMPACTED)
    assert not asked.shards.left.answer_read()
    assert asked.refused == [errors.COMPACTED]
    assert asked.bodies == []
    assert asked.shards.right.reads_waiting == 0


# -- RangeStream -----------------------------------------------------------------------------------


def merged(chunks: list[rpc_pb2.RangeResponse]) -> rpc_pb2.RangeResponse:
    whole = rpc_pb2.RangeResponse()
    for chunk in chunks:
        whole.MergeFrom(chunk)
    return whole


def test_stream_has_header_more_and_count_in_its_last_chunk_alone() -> None:
    asked = stand().stream(range_op(limit=3))
    *before, last = asked.chunks
    assert [(c.HasField("header"), c.more, c.count) for c in before] == [(False, False, 0)] * 2
    assert (last.header.revision, last.more, last.count) == (9, True, 7)
    assert asked.ended == 1


def test_stream_sends_rows_before_the_last_owner_has_answered() -> None:
    asked = stand(held=True).stream(range_op())
    asked.shards.left.answer_read(parts=2)
    assert keys(merged(asked.chunks)) == b"ab"
    assert asked.ended == 0
    asked.shards.right.answer_read()
    assert keys(merged(asked.chunks)) == b"abnopqr"
    assert asked.ended == 1


def test_stream_refused_in_its_middle_fails_and_never_ends_well() -> None:
    asked = stand(held=True).stream(range_op())
    asked.shards.left.answer_read()
    asked.shards.right.refuse_read(errors.COMPACTED)
    assert asked.refused == [errors.COMPACTED]
    assert asked.ended == 0
    assert not any(chunk.HasField("header") for chunk in asked.chunks)


def test_stream_whose_client_is_gone_stops_reading() -> None:
    asked = stand(held=True).stream(range_op())
    asked.gone = True
    assert not asked.shards.left.answer_read(parts=2)
    assert len(asked.bodies) == 1
    assert asked.shards.right.reads_waiting == 0
    assert asked.ended == 0


def test_stream_chunks_are_bounded_but_a_large_row_travels_alone() -> None:
    half = STREAM_CHUNK_BYTES // 2
    sizes = [half, half - 200, half, STREAM_CHUNK_BYTES + 1, 1]
    rows = [
        Row(2, 2, 1, 0, key_value(b"a%d" % n, 2, 2, 1, b"v" * size, 0))
        for n, size in enumerate(sizes)
    ]
    asked = stand(rows).stream(range_op()._replace(keys_only=False, target=SortTarget.VALUE))
    assert [len(chunk.kvs) for chunk in asked.chunks] == [2, 1, 1, 1, 0]
    assert len(merged(asked.chunks).kvs) == 5


def test_stream_of_keys_only_sorted_by_value_keeps_the_lease_as_the_range_does() -> None:
    """etcd reads the rows when VALUE is the target, and strips the value alone."""
    leased = [Row(2, 2, 1, 7, key_value(b"a", 2, 2, 1, b"v", 7))]
    op = range_op()._replace(keys_only=True, target=SortTarget.VALUE)
    asked = stand(leased).stream(op)
    assert [kv.lease for kv in merged(asked.chunks).kvs] == [7]


OPS = st.builds(
    range_op,
    st.sampled_from((b"a", b"b", b"n")),
    st.sampled_from((b"\x00", b"c", b"o", b"q")),
    st.integers(0, 8),
    st.booleans(),
)


@given(
    OPS.filter(lambda op: op.span is not None),
    st.sets(st.sampled_from(b"abcmnopq")),
    st.lists(st.integers(1, 3), min_size=2, max_size=2),
    st.booleans(),
)
def test_any_range_over_two_late_owners_equals_the_range_of_one_store(
    op: RangeOp, letters: set[int], parts: list[int], keys_only: bool
) -> None:
    """And the chunks of the stream, merged, equal the Range."""
    op = op._replace(keys_only=keys_only)
    assert op.span is not None
    rows = [row(bytes([letter])) for letter in sorted(letters)]
    inside = [r for r in rows if op.span.contains(key_of(r.raw))]
    fetched = op.fetch_limit()
    expected = ranges.body(op, inside[: fetched + 1] if fetched else inside, len(inside))
    unary, stream = stand(rows, held=True).unary(op), stand(rows, held=True).stream(op)
    for asked, shard in itertools.product((unary, stream), ("left", "right")):
        if asked.shards.owners[shard].reads_waiting:
            asked.shards.owners[shard].answer_read(parts[shard == "right"])
    assert unary.bodies == [expected]
    whole = merged(stream.chunks)
    assert whole.header.revision == 9
    whole.ClearField("header")
    assert whole == rpc_pb2.RangeResponse.FromString(expected)
