"""The calls of a turn as bytes and back."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kubebraid.base.keyspace import KeyRange
from kubebraid.base.limits import OWNER_PART_BYTES
from kubebraid.base.ops import PutOp
from kubebraid.base.ports import WRITE_PUT, LogCall, PointCall, ReadCall, WriteCall
from kubebraid.proto import owner_wire
from kubebraid.proto.internal import owner_pb2
from kubebraid.proto.owner_wire import (
    Calls,
    Joiner,
    OwnerKind,
    Question,
    decode_calls,
    encode_calls,
)
from tests.linkpair import FAR, End

NUMBERS = st.integers(1, (1 << 64) - 1)
TABLETS = st.integers(0, (1 << 63) - 1)
REVISIONS = st.integers(0, (1 << 63) - 1)
VERSIONS = st.integers(1, 1 << 40)
SPANS = st.builds(KeyRange, st.binary(), st.none() | st.binary())
WRITES = st.builds(
    WriteCall,
    st.integers(0, 4),
    st.binary(),
    st.lists(TABLETS, max_size=3).map(tuple),
    VERSIONS,
    NUMBERS,
    st.none(),
)
POINTS = st.builds(PointCall, st.binary(), REVISIONS, TABLETS, REVISIONS, VERSIONS, NUMBERS)
READS = st.builds(
    ReadCall,
    SPANS,
    REVISIONS,
    st.lists(st.tuples(TABLETS, REVISIONS), max_size=3).map(tuple),
    VERSIONS,
    st.integers(0, 1 << 40),
    st.booleans(),
    st.booleans(),
)


def log_call(
    tablets: list[int], span: KeyRange, four: tuple[int, int, int, int], needed: bool
) -> LogCall:
    return LogCall(tuple(tablets), span, *four, needs=tuple(tablets) if needed else ())


LOGS = st.builds(
    log_call,
    st.lists(TABLETS, max_size=3),
    SPANS,
    st.tuples(REVISIONS, REVISIONS, st.integers(0, 1 << 40), st.integers(0, 1 << 40)),
    st.booleans(),
)
SIGNED = st.integers(-(1 << 63), (1 << 63) - 1)
CALLS = st.builds(
    Calls,
    writes=st.lists(WRITES, max_size=5),
    points=st.lists(POINTS, max_size=5),
    reads=st.lists(st.tuples(NUMBERS, READS), max_size=3),
    logs=st.lists(st.tuples(NUMBERS, LOGS), max_size=3),
    questions=st.lists(
        st.builds(Question, NUMBERS, st.integers(1, 9), SIGNED, SIGNED, st.text(max_size=5)),
        max_size=3,
    ),
    grants=st.lists(st.tuples(NUMBERS, st.integers(1, 1 << 40)), max_size=3),
    cancelled=st.lists(NUMBERS, max_size=3),
    subscribe=st.booleans(),
)


@given(CALLS)
def test_calls_come_out_as_they_went_in_with_numbers_for_tags(calls: Calls) -> None:
    calls.write_numbers = [call.tag for call in calls.writes if isinstance(call.tag, int)]
    calls.point_numbers = [call.tag for call in calls.points if isinstance(call.tag, int)]
    decoded = decode_calls(encode_calls(calls))
    calls.write_numbers, calls.point_numbers = [], []
    assert decoded == calls


def test_nothing_travels_of_a_tag_or_of_the_decoded_operation() -> None:
    call = WriteCall(
        WRITE_PUT, b"payload", (1,), 1, object(), PutOp(b"k", b"v", 0, False, False, False)
    )
    (decoded,) = decode_calls(encode_calls(Calls(writes=[call], write_numbers=[7]))).writes
    assert decoded == WriteCall(WRITE_PUT, b"payload", (1,), 1, 7)


@pytest.mark.parametrize(
    ("kind", "fields"),
    [
        (WriteCall, "kind payload tablets map_version tag op"),
        (PointCall, "key revision tablet need map_version tag"),
        (ReadCall, "span revision needs map_version limit count_only spliced"),
        (LogCall, "tablets span first upto limit bytes_max needs"),
    ],
)
def test_field_that_is_new_must_be_put_on_the_wire(kind: type[tuple[object]], fields: str) -> None:
    """A field with a default would be lost in silence."""
    assert getattr(kind, "_fields", ()) == tuple(fields.split())


def test_needs_that_do_not_stand_beside_the_tablets_are_malformed() -> None:
    """The owner would pair them with the wrong ones."""
    call = LogCall((1, 2), KeyRange(b"", None), 1, 5, 10, needs=(4,))
    body = encode_calls(Calls(logs=[(7, call)]))
    with pytest.raises(owner_wire.Malformed, match="need"):
        decode_calls(body)


def test_writes_are_columns() -> None:
    """A message per write would cost more than the rest of its way."""
    calls = [WriteCall(WRITE_PUT, b"p%d" % n, (n, n + 1), 3, None) for n in range(2)]
    body = encode_calls(Calls(writes=calls, write_numbers=[7, 8]))
    writes = owner_pb2.OwnerCalls.FromString(body).writes
    assert list(writes.numbers) == [7, 8]
    assert list(writes.payloads) == [b"p0", b"p1"]
    assert (list(writes.tablet_counts), list(writes.tablets)) == ([2, 2], [0, 1, 1, 2])


def test_calls_know_whether_there_are_any() -> None:
    assert Calls().empty()
    assert not Calls(subscribe=True).empty()
    assert not Calls(cancelled=[1]).empty()


@pytest.mark.parametrize(
    "size", [0, 1, OWNER_PART_BYTES, OWNER_PART_BYTES + 1, 2 * OWNER_PART_BYTES]
)
def test_message_of_any_size_comes_whole(size: int) -> None:
    link, joiner = End(FAR), Joiner()
    body = b"x" * size
    owner_wire.send(link, OwnerKind.ANSWERS, body)
    owner_wire.send(link, OwnerKind.STATUS, b"next")
    assert all(len(part) <= OWNER_PART_BYTES for _, part in link.sent)
    arrived = [(kind, joiner.take(kind, part)) for kind, part in link.sent]
    whole = [(kind, got) for kind, got in arrived if got is not None]
    assert whole == [(OwnerKind.ANSWERS, body), (OwnerKind.STATUS, b"next")]


def test_kinds_lie_in_the_range_that_is_the_owners() -> None:
    assert all(64 <= kind <= 127 for kind in OwnerKind)
