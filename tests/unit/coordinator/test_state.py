"""The coordinator's state: its byte form, and what it refuses to read."""

from __future__ import annotations

import json
import zlib
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kubebraid.base.ports import (
    ALARM_CORRUPT,
    ALARM_NOSPACE,
    NEVER_ADOPTED,
    Adoption,
    Alarm,
    ShardPlace,
)
from kubebraid.base.reshard import UNDECIDED, Phase
from kubebraid.base.tabletmap import layout
from kubebraid.coordinator.state import (
    NEVER_COMPACTED,
    Lease,
    State,
    StateUnreadable,
    admits,
    alike,
    decode,
    encode,
)
from tests.unit.coordinator.reshard_kit import at, founded, move, split


def state() -> State:
    tablets = layout([b"/registry/pods/", b"/\xff\x00/"], "shard-1")
    alarms = frozenset({Alarm(77, ALARM_NOSPACE), Alarm(5, ALARM_CORRUPT)})
    return State(3, 90, tablets, alarms)


def sealed(body: bytes) -> bytes:
    """Bytes with a checksum that is right."""
    return b"%08x" % zlib.crc32(body) + body


@pytest.mark.parametrize("made", [state(), State(0, NEVER_COMPACTED, layout([]))])
def test_encoded_state_is_read_back(made: State) -> None:
    """Keys are bytes, not text: they must survive JSON."""
    assert decode(encode(made)) == made


def test_stored_form_of_version_1_stays_readable() -> None:
    """Written down once, as the first program stored it: whoever adds a field and keeps the
    number of the format must go on reading what has not got it."""
    body = (
        b'{"format":1,"cepoch":3,"compact_revision":90,"map_version":2,'
        b'"tablets":[[1,"default-0","",null,"shard-0",4]]}'
    )
    made = decode(sealed(body))
    assert (made.cepoch, made.compact_revision, made.tablets.version) == (3, 90, 2)
    assert [t.oepoch for t in made.tablets.tablets] == [4]
    assert made.alarms == frozenset()


# As the first program with leases, shards and buckets stored it.
VERSION_2 = (
    b'{"format":2,"cluster":"c","cepoch":4,"lease":["a#7",10001,3],"compact_revision":90,'
    b'"alarms":[[5,1]],"shards":[["s0","disk",7,"h:1",2]],"map_version":2,'
    b'"tablets":[[1,"default-0.0","",null,"s0",4,0,2,60],[2,"default-0.1","",null,"s1",1,1,2,0]]}'
)


# With what is known of the shards' stores: s0's is confirmed as 5 with 3 marks, and 7 is tried.
VERSION_3 = (
    VERSION_2.replace(b'"format":2', b'"format":3')
    .replace(b'["s0","disk",7,"h:1",2]', b'["s0","disk",7,"h:1",2,[5,3],[7]]')
    .replace(b'"map_version"', b'"migrations":[],"given":0,"map_version"')
)


def test_stored_form_of_version_2_stays_readable() -> None:
    """Of its shards' stores nothing is known: such a store without a row is let in."""
    made = decode(sealed(VERSION_2))
    assert (made.cluster, made.lease) == ("c", Lease("a#7", 10_001, 3))
    assert made.shard("s0") == ShardPlace("s0", "disk", 7, "h:1", 2)
    assert made.shard("s1") is None
    assert [(t.shard, t.oepoch, t.bucket, t.begin) for t in made.tablets.tablets] == [
        ("s0", 4, 0, 60),
        ("s1", 1, 1, 0),
    ]


# With the hosts that shards are seated at.
VERSION_4 = VERSION_3.replace(b'"format":3', b'"format":4').replace(b",[7]]", b',[7],"s2"]')


def test_stored_form_of_version_3_stays_readable() -> None:
    """Its shards are seated nowhere: whoever has their store may serve them."""
    made = decode(sealed(VERSION_3))
    assert made.shard("s0") == ShardPlace("s0", "disk", 7, "h:1", 2, Adoption(5, 3), (7,))
    assert decode(encode(made)) == made


# With the row spaces that shards share.
VERSION_5 = VERSION_4.replace(b'"format":4', b'"format":5').replace(b',"s2"]', b',"s2","r"]')


def test_stored_form_of_version_4_stays_readable() -> None:
    """Its shards share no rows."""
    made = decode(sealed(VERSION_4))
    place = ShardPlace("s0", "disk", 7, "h:1", 2, Adoption(5, 3), (7,), "s2")
    assert made.shard("s0") == place
    assert decode(encode(made)) == made


# The same; what differs is the rows that its shards may have.
VERSION_6 = VERSION_5.replace(b'"format":5', b'"format":6')


def test_stored_form_of_version_5_stays_readable() -> None:
    made = decode(sealed(VERSION_5))
    place = ShardPlace("s0", "disk", 7, "h:1", 2, Adoption(5, 3), (7,), "s2", "r")
    assert made.shard("s0") == place
    assert encode(made) == sealed(VERSION_6), "which a program from before refuses"


def test_stored_form_of_version_6_is_what_it_was() -> None:
    assert encode(decode(sealed(VERSION_6))) == sealed(VERSION_6)


@pytest.mark.parametrize(
    "shard",
    [
        b'["s0"]',
        b'["s0","disk",7,"h:1",2,[5,3]]',
        b'["s0","disk",7,"h:1",2,[5,3],[7],"s2","r","more"]',
    ],
)
def test_shard_that_says_too_little_or_too_much_is_refused(shard: bytes) -> None:
    body = VERSION_5.replace(b'["s0","disk",7,"h:1",2,[5,3],[7],"s2","r"]', shard)
    assert shard in body
    with pytest.raises(StateUnreadable):
        decode(sealed(body))


PLACE = ShardPlace("s0", "disk", 9, "h:1", 2, Adoption(5, 3), (7, 9))


@pytest.mark.parametrize(
    ("known", "previous", "admitted"),
    [
        (None, NEVER_ADOPTED, True),
        (None, Adoption(5), False),
        (PLACE, Adoption(5, 3), True),
        (PLACE, Adoption(5, 4), True),  # a mark that was not confirmed any more
        (PLACE, Adoption(5, 2), False),
        (PLACE, Adoption(7), True),
        (PLACE, Adoption(9), True),
        (PLACE, Adoption(8), False),
        (PLACE, NEVER_ADOPTED, False),
        (ShardPlace("s0", "disk", 7, "h:1", 2), NEVER_ADOPTED, True),  # from before
        (ShardPlace("s0", "disk", 7, "h:1", 2), Adoption(7), False),
    ],
)
def test_store_is_admitted_if_nothing_was_acknowledged_behind_what_it_says(
    known: ShardPlace | None, previous: Adoption, admitted: bool
) -> None:
    assert admits(known, previous) is admitted


@pytest.mark.parametrize(
    ("seat", "host", "seated"),
    [("", "", True), ("", "s2", True), ("s2", "s2", True), ("s2", "s0", False), ("s2", "", False)],
)
def test_who_may_serve_is_whoever_was_named_or_anybody(seat: str, host: str, seated: bool) -> None:
    assert PLACE._replace(host=seat).seats(host) is seated


@pytest.mark.parametrize(
    ("there", "rows", "same"),
    [
        ((), "", True),
        ((), "r", True),
        (("", ""), "", True),
        (("r", "r"), "r", True),
        (("", ""), "r", False),
        (("r", "r"), "", False),
        (("r", "r"), "q", False),
    ],
)
def test_shards_that_have_been_started_decide_where_rows_are(
    there: tuple[str, ...], rows: str, same: bool
) -> None:
    places = tuple(PLACE._replace(name=f"s{at}", rows=of) for at, of in enumerate(there))
    assert alike(replace(decode(sealed(VERSION_5)), shards=places), rows) is same


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=6,
)


@given(st.data())
def test_state_with_a_field_of_another_shape_is_refused_and_nothing_else(
    data: st.DataObject,
) -> None:
    """Its checksum is right: only a program of another mind can have written it."""
    fields = json.loads(VERSION_4)
    name = data.draw(st.sampled_from(sorted(fields)))
    body = json.dumps({**fields, name: data.draw(JSON)}).encode()
    try:
        decode(sealed(body))
    except StateUnreadable:
        pass


def test_any_flipped_bit_is_damage() -> None:
    raw = encode(state())
    for byte in range(len(raw)):
        damaged = raw[:byte] + bytes([raw[byte] ^ 1]) + raw[byte + 1 :]
        with pytest.raises(StateUnreadable):
            decode(damaged)


@pytest.mark.parametrize("raw", [b"", b"0", b"00000000", encode(state())[:-1]])
def test_state_that_is_cut_short_is_damage(raw: bytes) -> None:
    with pytest.raises(StateUnreadable):
        decode(raw)


def test_unknown_version_is_refused_by_its_number() -> None:
    fields = json.loads(encode(state())[8:])
    with pytest.raises(StateUnreadable, match="unknown format 7"):
        decode(sealed(json.dumps({**fields, "format": 7}).encode()))


@pytest.mark.parametrize("body", [b"{}", b'{"cepoch":1}', b"[]", b"\x02binary", b"null"])
def test_state_of_a_form_that_says_no_version_is_refused(body: bytes) -> None:
    """Its checksum is right, so somebody wrote it: a program that is newer than this one."""
    with pytest.raises(StateUnreadable):
        decode(sealed(body))


def test_refusal_tells_the_operator_what_to_do() -> None:
    assert StateUnreadable.definite
    assert "restore" in StateUnreadable.hint


@pytest.mark.parametrize(("cepoch", "floor"), [(-1, 0), (0, -2)])
def test_state_below_its_bounds_is_a_bug(cepoch: int, floor: int) -> None:
    with pytest.raises(AssertionError):
        State(cepoch, floor, layout([]))


# -- migrations ------------------------------------------------------------------------------------


@pytest.mark.parametrize("phase", list(Phase))
def test_migrations_survive(phase: Phase) -> None:
    """A member that restarts in the middle knows what is frozen, and what was committed at which
    end."""
    made = at(phase, split(), ends=((2, 90),), why="too slow", tries=2, back=True)
    read = decode(encode(made))
    assert read == made
    assert (read.next_tablet, read.coming) == (made.next_tablet, made.coming)


def test_state_of_before_migrations_has_none_and_gives_ids_behind_its_map() -> None:
    body = json.loads(encode(founded())[8:])
    del body["migrations"], body["given"]
    made = decode(sealed(json.dumps(body).encode()))
    assert made.migrations == ()
    assert made.next_tablet == 4


@pytest.mark.parametrize("phase", list(Phase))
def test_tablets_may_still_come_while_their_migration_is_undecided(phase: Phase) -> None:
    assert at(phase, split()).coming == ({4, 5} if phase in UNDECIDED else set())


def test_inv17_two_migrations_with_one_id_are_no_state() -> None:
    with pytest.raises(AssertionError):
        founded(migrations=(move(), move()))
