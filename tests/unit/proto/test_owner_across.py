"""Steps of transactions over several shards: as bytes and back, and through both ends of a link."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kubebraid.base import errors
from kubebraid.base.across import (
    AcrossCall,
    AcrossReply,
    Lane,
    OpShare,
    Prepared,
    Step,
    TxnId,
    Verdict,
)
from kubebraid.base.errors import RequestRefused
from kubebraid.base.record import Row
from kubebraid.proto.owner_answers import Answers, decode_answers, encode_answers
from kubebraid.proto.owner_client import OwnerClient
from kubebraid.proto.owner_service import NO_PART, OwnerService
from kubebraid.proto.owner_wire import Calls, decode_calls, encode_calls
from tests.linkpair import Pair
from tests.unit.shard.fakes import Stand

NUMBERS = st.integers(0, (1 << 63) - 1)
SMALL = st.integers(0, 1 << 30)
NAMES = st.text(max_size=6)
REFUSALS = st.sampled_from([errors.TIMED_OUT, errors.OUTCOME_UNKNOWN_REPLY, errors.DUPLICATE_KEY])
CALLS = st.builds(
    AcrossCall,
    st.sampled_from(Step),
    st.builds(TxnId, NUMBERS, NUMBERS),
    st.integers(0, 5),
    st.binary(),
    SMALL,
    st.lists(st.booleans(), max_size=4).map(tuple),
    NUMBERS,
    st.lists(NAMES, max_size=3).map(tuple),
    NUMBERS,
)
ROWS = st.builds(Row, NUMBERS, NUMBERS, NUMBERS, st.integers(-(1 << 63), 1 << 62), st.binary())
SHARES = st.builds(OpShare, SMALL, SMALL, SMALL, st.lists(ROWS, max_size=3))
ENDS = st.lists(st.tuples(NUMBERS, NUMBERS, st.integers(-1, 1 << 20)), max_size=3).map(tuple)
PREPARED = st.builds(
    Prepared,
    NUMBERS,
    st.builds(Lane, NAMES, NUMBERS, NUMBERS),
    ENDS,
    st.lists(SHARES, max_size=3),
    st.none() | st.tuples(SMALL, REFUSALS),
)
REPLIES = st.builds(
    AcrossReply,
    st.none() | REFUSALS,
    st.lists(st.builds(Verdict, st.booleans(), st.booleans()), max_size=4),
    st.none() | PREPARED,
    NUMBERS,
)
LOCK = AcrossCall(Step.LOCK, TxnId(1, 2), 2, b"payload", 3)


@given(CALLS)
def test_call_comes_out_as_it_went_in(call: AcrossCall) -> None:
    assert decode_calls(encode_calls(Calls(across=[(7, call)]))).across == [(7, call)]


@given(REPLIES)
def test_reply_comes_out_as_it_went_in_with_the_constants_themselves(reply: AcrossReply) -> None:
    ((number, decoded),) = decode_answers(encode_answers(Answers(across=[(7, reply)]))).across
    assert (number, decoded) == (7, reply)
    assert decoded.error is reply.error


@pytest.mark.parametrize(
    ("kind", "fields"),
    [
        (AcrossCall, "step txn kind payload map_version path known participants revision"),
        (AcrossReply, "error verdicts prepared revision"),
        (Prepared, "cepoch lane ends shares refused"),
        (OpShare, "place changes total rows"),
        (Lane, "owner incarnation request_number"),
        (Verdict, "found satisfied"),
        (TxnId, "router number"),
    ],
)
def test_field_that_is_new_must_be_put_on_the_wire(kind: type[tuple[object]], fields: str) -> None:
    """A field with a default would be lost in silence."""
    assert getattr(kind, "_fields", ()) == tuple(fields.split())


class Participant:
    """Answers when the test says so."""

    def __init__(self) -> None:
        self.calls: list[tuple[AcrossCall, Callable[[AcrossReply], None]]] = []

    def across(self, call: AcrossCall, done: Callable[[AcrossReply], None]) -> None:
        self.calls.append((call, done))


class Bench:
    def __init__(self, participant: Participant | None) -> None:
        stand = Stand()
        self.client = OwnerClient()
        self.service = OwnerService(stand.owner, stand.clock, participant)
        self.pair = Pair(self.client, self.service)
        self.pair.open()
        self.told: list[AcrossReply] = []
        self.client.across(LOCK, self.told.append)

    def run(self) -> None:
        self.client.turn()
        self.pair.to_far()
        self.service.turn()
        self.pair.to_near()


def test_step_reaches_the_participant_and_is_answered_late() -> None:
    participant = Participant()
    bench = Bench(participant)
    bench.run()
    ((call, done),) = participant.calls
    assert (call, bench.told) == (LOCK, [])
    reply = AcrossReply(verdicts=[Verdict(True, False)])
    done(reply)
    bench.run()
    assert bench.told == [reply]
    assert bench.client.idle


def error_of(told: list[AcrossReply]) -> RequestRefused | None:
    (reply,) = told
    return reply.error


def test_lost_link_says_whether_the_step_was_sent() -> None:
    """A LOCK that may be held must be let go; one that was not sent need not."""
    bench = Bench(Participant())
    bench.pair.cut()
    assert error_of(bench.told) is errors.OWNER_AWAY
    sent = Bench(Participant())
    sent.run()
    sent.pair.cut()
    assert error_of(sent.told) is errors.OUTCOME_UNKNOWN_REPLY


def test_shard_that_takes_no_part_says_so() -> None:
    bench = Bench(None)
    bench.run()
    why = error_of(bench.told)
    assert why is not None
    assert (why.code, why.message, why.definite) == (NO_PART.code, NO_PART.message, True)
