"""Resharding in kubebraid.admin.v1: values as bytes and back; keys as text and back."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kubebraid.base.reshard import Action, Control, HandOver, Planned
from kubebraid.proto import adminreshard as wire
from kubebraid.proto.adminreshard import Part, Plan, PlanRequest, Progress, Step, Verb
from kubebraid.proto.adminwire import key_text
from kubebraid.proto.owner_wire import Malformed

NAMES = st.text(max_size=6)
NUMBERS = st.integers(0, (1 << 64) - 1)
SMALL = st.integers(0, (1 << 32) - 1)
REVISIONS = st.integers(-(1 << 63), (1 << 63) - 1)
FLAG = st.booleans()
REQUESTS = st.builds(
    PlanRequest,
    *(st.sampled_from(Verb), st.lists(NAMES, max_size=3).map(tuple), st.none() | st.binary()),
    *(SMALL, SMALL, st.lists(NAMES, max_size=3).map(tuple), FLAG, FLAG, NUMBERS, FLAG, FLAG),
    st.binary(),
)
PARTS = st.builds(Part, NUMBERS, NAMES, NAMES, st.none() | NAMES, SMALL, SMALL)
STEPS = st.builds(
    Step,
    *(NAMES, NAMES, NAMES, NAMES),
    *(st.lists(PARTS, max_size=2).map(tuple), st.lists(PARTS, max_size=2).map(tuple)),
    *(NAMES, FLAG, NUMBERS, FLAG, st.none() | NUMBERS, st.none() | NUMBERS, FLAG),
)
PLANS = st.builds(
    Plan,
    *(NUMBERS, st.lists(STEPS, max_size=2).map(tuple), st.lists(NAMES, max_size=2).map(tuple)),
    *(st.binary(), FLAG),
)
PROGRESSES = st.builds(
    Progress,
    *(STEPS, NAMES, NAMES, NUMBERS, NUMBERS, NUMBERS, NUMBERS, NUMBERS, REVISIONS, NUMBERS),
    *(NUMBERS, FLAG, NAMES),
)
CONTROLS = st.builds(Control, NAMES, st.sampled_from(Action), NUMBERS, SMALL, SMALL, FLAG)


@given(REQUESTS)
def test_request_is_decoded_as_it_was_encoded(request: PlanRequest) -> None:
    assert wire.decode_plan_request(wire.encode_plan_request(request)) == request


@given(PLANS)
def test_plan_is_decoded_as_it_was_encoded(plan: Plan) -> None:
    assert wire.decode_plan(wire.encode_plan(plan)) == plan


@given(CONTROLS)
def test_word_is_decoded_as_it_was_encoded(control: Control) -> None:
    assert wire.decode_control(wire.encode_control(control)) == control


@given(st.text())
def test_removal_is_decoded_as_it_was_encoded(name: str) -> None:
    assert wire.decode_remove(wire.encode_remove(name)) == name


@given(st.text(), st.text(min_size=1))
def test_hand_over_is_decoded_as_it_was_encoded(shard: str, host: str) -> None:
    wanted = HandOver(shard, host)
    assert wire.decode_hand_over(wire.encode_hand_over(wanted)) == wanted


@given(st.lists(PROGRESSES, max_size=2).map(tuple), st.lists(NAMES, max_size=2).map(tuple))
def test_list_is_decoded_as_it_was_encoded(
    listed: tuple[Progress, ...], ids: tuple[str, ...]
) -> None:
    assert wire.decode_list(wire.encode_list(listed)) == listed
    assert wire.decode_list_request(wire.encode_list_request(ids)) == ids


def test_token_is_the_plan_itself() -> None:
    assert wire.decode_token(wire.encode_token(0, Planned((), 7))) == (0, Planned((), 7))


@pytest.mark.parametrize(
    ("decode", "body"),
    [
        (wire.decode_plan_request, b"\x0a\xff"),
        (wire.decode_plan_request, b"\x0a\x05dance"),
        (wire.decode_plan, b"\x12\xff"),
        (wire.decode_control, b"\x12\x05dance"),
        (wire.decode_list, b"\x0a\xff"),
        (wire.decode_list_request, b"\x0a\xff"),
        (wire.decode_done, b"\xff"),
        (wire.decode_remove, b"\x0a\xff"),
        (wire.decode_hand_over, b"\x0a\xff"),
        (wire.decode_hand_over, wire.encode_hand_over(HandOver("s0", ""))),
        (wire.decode_token, b"\xff"),
    ],
)
def test_other_bytes_are_malformed(decode: object, body: bytes) -> None:
    assert callable(decode)
    with pytest.raises(Malformed):
        decode(body)


@given(st.binary())
def test_key_of_its_text_is_the_key(key: bytes) -> None:
    assert wire.key_of_text(key_text(key)) == key


def test_key_as_people_type_it() -> None:
    assert wire.key_of_text("/registry/pods/ä\\x00") == "/registry/pods/ä".encode() + b"\x00"
    for text in ("a\\", "a\\y", "a\\x0", "\\\\"):
        with pytest.raises(ValueError, match="stands for itself as"):
            wire.key_of_text(text)


@pytest.mark.parametrize(("phase", "ended"), [("done", True), ("aborted", True), ("ready", False)])
def test_ended(phase: str, ended: bool) -> None:
    assert Progress(Step("m", "move", "a", "b", (), ()), phase).ended is ended
