"""Answers, publications and figures as bytes and back."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kubebraid.base import errors
from kubebraid.base.errors import Code, RequestRefused
from kubebraid.base.ports import (
    LeaseInfo,
    LogReply,
    PointReply,
    Publication,
    ReadChunk,
    Sample,
    ShardStatus,
    TabletNews,
    WriteReply,
)
from kubebraid.base.record import Commit, Event, Row
from kubebraid.proto.internal import owner_pb2
from kubebraid.proto.owner_answers import (
    Answer,
    Answers,
    DumpPart,
    decode_answers,
    decode_publication,
    decode_status,
    encode_answers,
    encode_publication,
    encode_status,
)
from kubebraid.proto.owner_wire import Malformed

NUMBERS = st.integers(1, (1 << 64) - 1)
REVISIONS = st.integers(1, (1 << 63) - 1)
SIGNED = st.integers(-(1 << 63), (1 << 63) - 1)
ROWS = st.builds(Row, REVISIONS, REVISIONS, REVISIONS, SIGNED, st.binary())
REFUSALS = st.sampled_from([errors.COMPACTED, errors.TIMED_OUT, errors.LEASE_NOT_FOUND])
EVENTS = st.builds(
    Event,
    st.binary(),
    st.booleans(),
    st.binary(),
    st.none() | st.binary(min_size=1),
    st.integers(0, 1 << 20),
    st.integers(0, (1 << 63) - 1),
)
COMMITS = st.lists(
    st.builds(Commit, REVISIONS, st.lists(EVENTS, max_size=3).map(tuple)), max_size=4
)
CHUNKS = st.builds(
    ReadChunk,
    st.lists(ROWS, max_size=3),
    st.integers(0, 1 << 40),
    st.booleans(),
    st.binary(),
    st.integers(0, 1 << 20),
)
DUMPS = st.builds(
    DumpPart,
    st.lists(st.tuples(st.binary(), st.binary()), max_size=3),
    st.none() | st.tuples(st.integers(0, 1 << 50), st.integers(0, 1 << 40), SIGNED),
    st.booleans(),
)
TOLD = st.builds(
    Answer, st.lists(SIGNED, max_size=3).map(tuple), st.lists(st.binary(), max_size=3).map(tuple)
)
WRITES = st.builds(WriteReply, NUMBERS, st.integers(0, 1 << 60), st.binary(), st.none() | REFUSALS)
POINTS = st.builds(PointReply, NUMBERS, st.none() | ROWS, st.none() | REFUSALS)
ANSWERS = st.builds(
    Answers,
    writes=st.lists(WRITES, max_size=5),
    points=st.lists(POINTS, max_size=5),
    reads=st.lists(st.tuples(NUMBERS, CHUNKS), max_size=3),
    logs=st.lists(st.tuples(NUMBERS, st.builds(LogReply, COMMITS, REVISIONS)), max_size=3),
    dumps=st.lists(st.tuples(NUMBERS, DUMPS), max_size=3),
    answers=st.lists(st.tuples(NUMBERS, TOLD), max_size=3),
    refused=st.lists(st.tuples(NUMBERS, REFUSALS), max_size=3),
)


@given(ANSWERS)
def test_answers_come_out_as_they_went_in(answers: Answers) -> None:
    decoded = decode_answers(encode_answers(answers))
    fine = [reply for reply in answers.writes if reply.error is None]
    assert list(decoded.writes) == [(w.tag, w.revision, w.body) for w in fine]
    found = [reply for reply in answers.points if reply.error is None]
    assert list(decoded.points) == [(reply.tag, reply.row) for reply in found]
    assert list(decoded.reads) == answers.reads
    assert list(decoded.logs) == answers.logs
    assert list(decoded.dumps) == answers.dumps
    assert list(decoded.answers) == answers.answers
    refused = [(w.tag, w.error) for w in answers.writes if w.error is not None]
    refused += [(p.tag, p.error) for p in answers.points if p.error is not None]
    assert list(decoded.refused) == [*refused, *answers.refused]


def through(refused: RequestRefused) -> RequestRefused:
    ((number, why),) = decode_answers(encode_answers(Answers(refused=[(7, refused)]))).refused
    assert number == 7
    return why


OWNERS = [
    name
    for name, value in vars(errors).items()
    if isinstance(value, RequestRefused) and name != "OWNER_AWAY"
]


@pytest.mark.parametrize("name", OWNERS)
def test_refusal_of_ours_comes_out_as_the_constant_itself(name: str) -> None:
    """Code compares by identity: `refused is errors.COMPACTED`."""
    constant = getattr(errors, name)
    assert through(constant) is constant


def test_refusal_that_nobody_named_keeps_its_code_and_text() -> None:
    why = through(errors.unimplemented("this is not there"))
    assert (why.code, why.message) == (Code.UNIMPLEMENTED, "kubebraid: this is not there")


def test_timeout_of_the_owner_is_not_taken_for_a_lost_answer() -> None:
    """Their texts are the same; one is definite for whoever retries, the other is not."""
    assert through(errors.TIMED_OUT) is errors.TIMED_OUT
    assert errors.TIMED_OUT.definite
    assert not errors.OUTCOME_UNKNOWN_REPLY.definite


def test_refusal_that_is_not_definite_stays_so() -> None:
    why = through(errors.Unanswered(Code.UNAVAILABLE, "of another version"))
    assert (why.message, why.definite) == ("of another version", False)


NEWS = st.builds(TabletNews, NUMBERS, NUMBERS, COMMITS.map(tuple), REVISIONS)
SAMPLES = st.builds(
    Sample,
    st.integers(0, 1 << 40),
    st.integers(0, 1 << 40),
    st.integers(0, 1 << 60),
    st.dictionaries(st.integers(0, 1 << 40), REVISIONS, max_size=4),
    st.integers(-1, 1 << 60),
)
PUBLICATIONS = st.builds(
    Publication, st.text(max_size=8), st.lists(NEWS, max_size=3).map(tuple), SAMPLES, st.booleans()
)


@given(PUBLICATIONS)
def test_publication_comes_out_as_it_went_in(publication: Publication) -> None:
    assert decode_publication(encode_publication(publication)) == publication


def test_sample_whose_columns_do_not_fit_is_malformed() -> None:
    whole = owner_pb2.OwnerPublication(last=[5, 6], last_tablets=[1])
    with pytest.raises(Malformed):
        decode_publication(whole.SerializeToString())


def test_status_comes_out_as_it_went_in() -> None:
    status = ShardStatus(1 << 50, 1 << 40, 47, 3, undecided=2)
    assert decode_status(encode_status(status)) == status


@pytest.mark.parametrize(
    ("kind", "fields"),
    [
        (WriteReply, "tag revision body error"),
        (PointReply, "tag row error"),
        (ReadChunk, "rows total last body spliced"),
        (LogReply, "commits complete"),
        (TabletNews, "tablet oepoch commits closed"),
        (Publication, "shard news sample fresh"),
        (Sample, "cepoch map_version revision last floor"),
        (Row, "mod create version lease raw"),
        (Event, "key deleted raw previous sub before"),
        (Commit, "revision events"),
        (LeaseInfo, "granted_s remaining_s keys"),
    ],
)
def test_field_that_is_new_must_be_put_on_the_wire(kind: type[tuple[object]], fields: str) -> None:
    """A field with a default would be lost in silence."""
    assert getattr(kind, "_fields", ()) == tuple(fields.split())


def test_emptied_answers_keep_their_lists() -> None:
    """The owner holds on to their `append`."""
    answers = Answers()
    append = answers.writes.append
    append(WriteReply(1, 2, b"", None))
    assert not answers.empty()
    answers.clear()
    assert answers.empty()
    append(WriteReply(2, 3, b"", None))
    assert not answers.empty()
