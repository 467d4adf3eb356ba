"""Commands as bytes: read back as they were, and never an exception for what is none."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kubebraid.base.ports import Adoption, Alarm
from kubebraid.base.reshard import Action, Control, HandOver, Phase, Planned, Removal
from kubebraid.base.tabletmap import TabletMap, layout
from kubebraid.coordinator import commands
from kubebraid.coordinator.commands import decode, encode
from kubebraid.coordinator.migrations import Step
from kubebraid.coordinator.transition import (
    Acquire,
    Adopted,
    Command,
    Found,
    RaiseFloor,
    Release,
    Renew,
    Seat,
    SetAlarm,
    StartShard,
    TakeReign,
)
from tests.unit.coordinator.reshard_kit import move
from tests.unit.proto.test_coordinator_reshard import CONTROLS, HAND_OVERS, PLANS, REMOVALS

WHOLE = st.integers(-(2**63), 2**64)
TEXT = st.text(st.characters(exclude_categories=()), max_size=20)  # lone surrogates too
PREFIXES = st.lists(
    st.binary(min_size=1, max_size=5).filter(lambda prefix: bool(prefix.strip(b"/\xff"))),
    max_size=4,
    unique_by=lambda prefix: prefix.rstrip(b"/"),
)


@st.composite
def maps(draw: st.DrawFn) -> TabletMap:
    """Ranges with any bytes as bounds, some of them in buckets, over one to three shards."""
    prefixes = draw(PREFIXES)
    buckets = {p: draw(st.sampled_from((1, 2, 4))) for p in prefixes}
    shards = draw(st.lists(st.text(max_size=5), min_size=1, max_size=3, unique=True))
    tablets = layout(prefixes, shards, buckets)
    return TabletMap(draw(st.integers(1, 2**62)), tablets.tablets)


ADOPTIONS = st.builds(Adoption, WHOLE, WHOLE)
COMMANDS: st.SearchStrategy[Command] = st.one_of(
    st.builds(TakeReign),
    st.builds(Found, TEXT, maps()),
    st.builds(Acquire, TEXT, WHOLE, WHOLE, WHOLE),
    st.builds(Renew, TEXT, WHOLE, WHOLE, WHOLE),
    st.builds(Release, TEXT, WHOLE, WHOLE),
    st.builds(
        StartShard,
        WHOLE,
        TEXT,
        TEXT,
        WHOLE,
        TEXT,
        st.lists(st.tuples(WHOLE, WHOLE), max_size=4).map(tuple),
        WHOLE,
        ADOPTIONS,
        TEXT,
        TEXT,
    ),
    st.builds(Seat, WHOLE, TEXT, TEXT, TEXT),
    st.builds(Adopted, TEXT, ADOPTIONS),
    st.builds(RaiseFloor, WHOLE),
    st.builds(SetAlarm, st.builds(Alarm, WHOLE, WHOLE), st.booleans()),
    PLANS,
    CONTROLS,
    REMOVALS,
    HAND_OVERS,
    st.builds(
        *(Step, TEXT, WHOLE, WHOLE, st.sampled_from(Phase), st.sampled_from(Phase)),
        *(st.lists(st.tuples(WHOLE, WHOLE), max_size=4).map(tuple), TEXT),
    ),
)

# Written down once: a log that was written by this version must be read by every later one.
STORED: dict[bytes, Command] = {
    b'{"v":1,"do":"take-reign"}': TakeReign(),
    b'{"v":1,"do":"raise-floor","revision":90}': RaiseFloor(90),
    b'{"v":1,"do":"remove-shard","shard":"s"}': Removal("s"),
    b'{"v":1,"do":"acquire","node":"a#1","cepoch":3,"renewals":4,"length":10}': Acquire(
        "a#1", 3, 4, 10
    ),
    b'{"v":1,"do":"renew","node":"a#1","cepoch":3,"renewals":4,"window":50}': Renew(
        "a#1", 3, 4, 50
    ),
    b'{"v":1,"do":"release","node":"a#1","cepoch":3,"window":50}': Release("a#1", 3, 50),
    b'{"v":1,"do":"start-shard","cepoch":3,"shard":"s","store":"d","incarnation":7,'
    b'"address":"h:1","ends":[[1,20],[2,21]],"replaces":4,"previous":[5,2],"host":"t",'
    b'"rows":"r"}': StartShard(
        3, "s", "d", 7, "h:1", ((1, 20), (2, 21)), 4, Adoption(5, 2), "t", "r"
    ),
    b'{"v":1,"do":"seat","cepoch":3,"shard":"s","host":"t","before":"s"}': Seat(3, "s", "t", "s"),
    b'{"v":1,"do":"hand-over","shard":"s","host":"t"}': HandOver("s", "t"),
    b'{"v":1,"do":"adopted","shard":"s","adoption":[7,3]}': Adopted("s", Adoption(7, 3)),
    b'{"v":1,"do":"set-alarm","member":5,"kind":1,"raised":true}': SetAlarm(Alarm(5, 1), True),
    b'{"v":1,"do":"found","cluster":"c","map_version":1,'
    b'"tablets":[[1,"default-0","",null,"s",1,0,1,0]]}': Found("c", layout([], "s")),
    b'{"v":1,"do":"plan","migrations":[{"id":"m1","kind":1,"source":"s0","target":"s1",'
    b'"sources":[2],"targets":[[2,"a","2f61","2f6130","s1",1,0,1,0]],"phase":1,"manual":false,'
    b'"rate":0,"after":"","keep_source":false,"version":0,"ends":[],"why":"","tries":0,'
    b'"pause_ms":0,"freeze":0,"back":false}],"map_version":1}': Planned((move(),), 1),
    b'{"v":1,"do":"step","id":"m1","cepoch":3,"freeze":1,"before":4,"after":5,'
    b'"ends":[[2,90]],"why":"","counts":true}': Step(
        "m1", 3, 1, Phase.FROZEN, Phase.COMMITTED, ((2, 90),)
    ),
    b'{"v":1,"do":"control","id":"m1","action":1,"rate":0,"pause_ms":100,"lag_ms":50,'
    b'"keep_source":false}': Control("m1", Action.SWITCH, 0, 100, 50),
}


# As a program before adoptions wrote it.
START_OF_BEFORE = (
    b'{"v":1,"do":"start-shard","cepoch":3,"shard":"s","store":"d","incarnation":7,'
    b'"address":"h:1","ends":[[1,20],[2,21]],"replaces":4}'
)


def test_start_of_before_adoptions_says_none() -> None:
    made = decode(START_OF_BEFORE)
    assert made == StartShard(3, "s", "d", 7, "h:1", ((1, 20), (2, 21)), 4)


def test_start_of_before_hosts_has_none() -> None:
    made = decode(START_OF_BEFORE[:-1] + b',"previous":[5,2]}')
    assert made == StartShard(3, "s", "d", 7, "h:1", ((1, 20), (2, 21)), 4, Adoption(5, 2))


def test_start_of_before_rows_that_are_shared_shares_none() -> None:
    made = decode(START_OF_BEFORE[:-1] + b',"previous":[5,2],"host":"t"}')
    before = StartShard(3, "s", "d", 7, "h:1", ((1, 20), (2, 21)), 4, Adoption(5, 2), "t")
    assert made == before


@given(COMMANDS)
def test_command_is_read_back_as_it_was(command: Command) -> None:
    assert decode(encode(command)) == command


@pytest.mark.parametrize("raw", list(STORED), ids=lambda raw: json.loads(raw)["do"])
def test_stored_form_is_what_it_was(raw: bytes) -> None:
    """The worked example of the module, and one of each."""
    assert encode(STORED[raw]) == raw
    assert decode(raw) == STORED[raw]


def test_every_command_has_its_stored_form_here() -> None:
    assert {type(command) for command in STORED.values()} == set(Command.__args__)


def test_step_of_before_it_said_whether_it_counts_does() -> None:
    counts = Step("m1", 3, 1, Phase.FROZEN, Phase.READY, why="late")
    raw = encode(counts)
    assert decode(raw.replace(b',"counts":true', b"")) == counts


@pytest.mark.parametrize("version", [0, 2, "1", None, 1.5])
def test_command_of_an_unknown_version_is_none(version: object) -> None:
    raw = json.dumps({"v": version, "do": "raise-floor", "revision": 90}).encode()
    assert decode(raw) is None


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"null",
        b"[]",
        b"1",
        b'"v"',
        b"{}",
        b'{"v":1}',
        b'{"v":1,"do":"fly"}',
        b'{"v":1,"do":["renew"]}',
        b'{"v":1,"do":"renew","node":"a"}',
        b'{"v":1,"do":"found","cluster":"c","map_version":1,"tablets":[]}',
        b'{"v":1,"do":"found","cluster":"c","map_version":1,"tablets":[[1]]}',
        b'{"v":1,"do":"start-shard","cepoch":1,"shard":"s","store":"d","incarnation":1,'
        b'"address":"a","ends":[[1]]}',
        b'{"v":1,"do":"adopted","shard":"s","adoption":[7]}',
        b'{"v":1,"do":"adopted","shard":"s","adoption":[7,"3"]}',
        b'{"v":1,"do":"adopted","shard":"s","adoption":7}',
        b'{"v":1,"do":"start-shard","cepoch":1,"shard":"s","store":"d","incarnation":1,'
        b'"address":"a","ends":[[1,2]],"replaces":0,"previous":[5,2],"host":null}',
        b'{"v":1,"do":"seat","cepoch":3,"shard":"s","host":"t"}',
        b'{"v":1,"do":"seat","cepoch":3,"shard":"s","host":7,"before":"s"}',
        b'{"v":1,"do":"hand-over","shard":"s"}',
        b'{"v":1,"do":"hand-over","shard":"s","host":["t"]}',
        b'{"v":1,"do":"plan","migrations":[{}],"map_version":1}',
        b'{"v":1,"do":"plan","migrations":7,"map_version":1}',
        b'{"v":1,"do":"step","id":"m1","cepoch":3,"freeze":1,"before":4,"after":99,'
        b'"ends":[],"why":""}',
        b'{"v":1,"do":"control","id":"m1","action":99,"rate":0,"pause_ms":0,"lag_ms":0,'
        b'"keep_source":false}',
        b'{"v":1,"do":"raise-floor","revision":NaN}',
        b'{"v":1,"do":"raise-floor","revision":"90"}',
        b'{"v":1,"do":"raise-floor","revision":null}',
        b'{"v":1,"do":"raise-floor","revision":[1]}',
        b'{"v":1,"do":"renew","node":7,"cepoch":3,"renewals":4,"window":50}',
        b'{"v":1,"do":"set-alarm","member":5,"kind":{},"raised":true}',
        b"[" * 100_000,
        b"\xff\xfe\x00",
    ],
    ids=lambda raw: raw[:60].decode("latin-1"),
)
def test_bytes_that_are_no_command_are_none(raw: bytes) -> None:
    """Every member applies them as nothing. A value of a wrong type would raise later, in the
    middle of an application."""
    assert decode(raw) is None


@given(st.binary(max_size=60))
def test_random_bytes_never_raise(raw: bytes) -> None:
    assert decode(raw) is None or decode(raw) in STORED.values()


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=6,
)


@given(st.sampled_from([*STORED]), st.data())
def test_one_field_of_another_shape_never_raises(raw: bytes, data: st.DataObject) -> None:
    """What was read is then a command that can be written again."""
    body = json.loads(raw)
    body[data.draw(st.sampled_from(sorted(body)))] = data.draw(JSON)
    found = decode(json.dumps(body).encode())
    assert found is None or decode(commands.encode(found)) == found
