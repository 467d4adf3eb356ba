"""The questions of a copy come back as they were sent."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kubebraid.base.reshard import Brings, CopyCall, CopyReply, Digest, DigestCall
from kubebraid.proto.internal import owner_pb2
from kubebraid.proto.owner_reshard import Asking, Told, put_asking, put_told, take_asking, take_told

REVISIONS = st.integers(-1, 2**62)
SOME = st.binary(max_size=20)
IDS = st.lists(st.integers(1, 2**32), max_size=3).map(tuple)
PAIRS = st.lists(st.tuples(SOME, SOME), max_size=4)
COPIES = st.builds(
    CopyCall, st.text(max_size=5), IDS, REVISIONS, REVISIONS, SOME, st.integers(0, 2**31),
    st.integers(1, 7).map(Brings),
)  # fmt: skip
DIGESTS = st.builds(DigestCall, st.text(max_size=5), IDS, SOME, SOME, REVISIONS, REVISIONS)
ENDS = st.lists(st.tuples(st.integers(1, 2**32), REVISIONS), max_size=3).map(tuple)
REPLIES = st.builds(
    CopyReply, PAIRS, st.lists(SOME, max_size=4), SOME, REVISIONS, st.integers(0, 2**32), ENDS,
    PAIRS.map(tuple),
)  # fmt: skip
SUMS = st.builds(Digest, st.integers(0, 2**40), st.integers(0, 2**64 - 1))


@given(COPIES | DIGESTS)
def test_a_question_comes_back(call: Asking) -> None:
    message = owner_pb2.CopyCall()
    put_asking(message, 5, call)
    sent = owner_pb2.CopyCall.FromString(message.SerializeToString())
    assert sent.number == 5
    assert take_asking(sent) == call


@given(REPLIES | SUMS)
def test_an_answer_comes_back(told: Told) -> None:
    message = owner_pb2.CopyReply()
    put_told(message, 6, told)
    sent = owner_pb2.CopyReply.FromString(message.SerializeToString())
    assert sent.number == 6
    assert take_told(sent) == told


@pytest.mark.parametrize("column", ["keys", "tablets", "leases"])
def test_columns_of_different_lengths_are_refused(column: str) -> None:
    message = owner_pb2.CopyReply()
    reply = CopyReply([(b"n", b"1")], [], b"", 9, 1, ((7, 9),), ((b"e", b"2"),))
    put_told(message, 6, reply)
    getattr(message, column).append(7 if column == "tablets" else b"more")
    with pytest.raises(ValueError, match="zip"):
        take_told(message)
