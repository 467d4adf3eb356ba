"""Migrations, reports, plans and words as bytes, and back."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kubebraid.base import errors
from kubebraid.base.errors import RequestRefused
from kubebraid.base.keyspace import KeyRange
from kubebraid.base.reshard import (
    Action,
    Control,
    HandOver,
    Kind,
    Migration,
    Order,
    Phase,
    Planned,
    Progress,
    Removal,
    Report,
)
from kubebraid.base.tabletmap import Tablet
from kubebraid.proto import coordinator_reshard as codec
from kubebraid.proto.coordinator_reshard import Answered, Listed
from kubebraid.proto.internal import coordinator_pb2 as pb
from kubebraid.proto.owner_wire import Malformed

NUMBERS = st.integers(0, (1 << 64) - 1)
SHORT = st.integers(0, (1 << 32) - 1)
REVISIONS = st.integers(-(1 << 63), (1 << 63) - 1)
NAMES = st.text(max_size=8)
SPANS = st.builds(KeyRange, st.binary(max_size=4), st.none() | st.binary(max_size=4))
TABLETS = st.builds(Tablet, NUMBERS, NAMES, SPANS, NAMES, NUMBERS, SHORT, SHORT, REVISIONS)
ENDS = st.lists(st.tuples(NUMBERS, REVISIONS), max_size=3).map(tuple)
MIGRATIONS = st.builds(
    Migration,
    NAMES,
    st.sampled_from(Kind),
    NAMES,
    NAMES,
    st.lists(NUMBERS, max_size=3).map(tuple),
    st.lists(TABLETS, max_size=3).map(tuple),
    st.sampled_from(Phase),
    st.booleans(),
    NUMBERS,
    NAMES,
    st.booleans(),
    NUMBERS,
    ENDS,
    NAMES,
    SHORT,
    SHORT,
    NUMBERS,
    st.booleans(),
)
REPORTS = st.builds(
    Report,
    *(NAMES, NAMES, NUMBERS, NUMBERS, NUMBERS, REVISIONS, NUMBERS, NUMBERS),
    *(st.booleans(), ENDS, st.booleans(), NAMES, NUMBERS),
)
PLANS = st.builds(Planned, st.lists(MIGRATIONS, max_size=3).map(tuple), NUMBERS)
CONTROLS = st.builds(Control, NAMES, st.sampled_from(Action), NUMBERS, SHORT, SHORT, st.booleans())
PROGRESS = st.builds(
    Progress, MIGRATIONS, st.lists(REPORTS, max_size=2).map(tuple), NUMBERS, NUMBERS
)


@given(REPORTS)
def test_report_is_read_back(report: Report) -> None:
    assert codec.decode_report(codec.encode_report(report)) == report


REMOVALS = st.builds(Removal, NAMES.filter(bool))
HAND_OVERS = st.builds(HandOver, NAMES, NAMES)


@given(NUMBERS, PLANS | CONTROLS | REMOVALS | HAND_OVERS)
def test_plan_or_word_is_read_back(number: int, request: Order) -> None:
    assert codec.decode_reshard(codec.encode_reshard(number, request)) == (number, request)


@given(NUMBERS, st.none() | st.lists(PROGRESS, max_size=2).map(tuple))
def test_list_is_read_back(number: int, migrations: tuple[Progress, ...] | None) -> None:
    """None (somebody else serves) is not the same as a list that is empty."""
    listed = Listed(number, migrations)
    assert codec.decode_reshard_list(codec.encode_reshard_list(listed)) == listed
    assert codec.decode_reshard_ask(codec.encode_reshard_ask(number)) == number


@pytest.mark.parametrize(
    "refused", [None, errors.NO_LEADER, errors.precondition("no"), errors.OUTCOME_UNKNOWN_REPLY]
)
def test_answer_says_whether_anything_can_have_happened(refused: RequestRefused | None) -> None:
    """An operator must not be told "refused" of what may be done."""
    answer = codec.decode_reshard_answer(codec.encode_reshard_answer(Answered(7, refused)))
    assert answer.number == 7
    if refused is None:
        assert answer.refused is None
    else:
        assert answer.refused is not None
        told = (answer.refused.definite, answer.refused.code, answer.refused.message)
        assert told == (refused.definite, refused.code, refused.message)


@pytest.mark.parametrize(
    "message",
    [
        pb.Reshard(number=1, control=pb.Control(id="m", action=99)),
        pb.Reshard(number=1, plan=[pb.Migration(id="m", kind=99)]),
        pb.Reshard(number=1, plan=[pb.Migration(id="m", kind=1, phase=99)]),
        pb.Reshard(number=1, plan=[pb.Migration(id="m", kind=1, phase=1, ended=[1])]),
    ],
    ids=["action", "kind", "phase", "ends"],
)
def test_what_nobody_knows_is_malformed(message: pb.Reshard) -> None:
    with pytest.raises(Malformed):
        codec.decode_reshard(message.SerializeToString())
