"""What coordinators and their clients say, as bytes and back."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kubebraid.base import errors
from kubebraid.base.errors import Code, RequestRefused
from kubebraid.base.ports import (
    Adoption,
    Alarm,
    AllocReply,
    AllocRequest,
    ClusterView,
    Sample,
    ShardPlace,
    ShardStart,
)
from kubebraid.base.reshard import Migration
from kubebraid.base.tabletmap import TabletMap, layout
from kubebraid.proto import coordinator_reshard, hosts_wire
from kubebraid.proto import coordinator_wire as wire
from kubebraid.proto.coordinator_wire import Change, Changed, CoordinatorKind, Known
from kubebraid.proto.internal import coordinator_pb2 as pb
from kubebraid.proto.owner_wire import Malformed
from tests.unit.proto.test_coordinator_reshard import MIGRATIONS

NUMBERS = st.integers(0, (1 << 64) - 1)
REVISIONS = st.integers(-(1 << 63), (1 << 63) - 1)
SMALL = st.integers(0, 1 << 40)
NAMES = st.text(max_size=12)
KNOWN = st.builds(Known, NUMBERS, NUMBERS, REVISIONS)
REQUESTS = st.builds(
    AllocRequest,
    NUMBERS,
    NAMES,
    NUMBERS,
    NUMBERS,
    st.lists(st.tuples(NUMBERS, NUMBERS, st.integers(-1, 5_000)), max_size=4).map(tuple),
    NUMBERS,
    st.lists(st.tuples(NAMES, NUMBERS, NUMBERS), max_size=3).map(tuple),
)
TABLETS = st.integers(1, 6)
PREFIXES = st.lists(
    st.binary(min_size=1, max_size=5).filter(lambda prefix: bool(prefix.strip(b"/\xff"))),
    max_size=4,
    unique_by=lambda prefix: prefix.rstrip(b"/"),
)


@st.composite
def maps(draw: st.DrawFn) -> TabletMap:
    """Any bounds, the last range without an end, buckets, epochs and beginnings."""
    prefixes = draw(PREFIXES)
    buckets = {p: draw(st.sampled_from((1, 2, 8))) for p in prefixes}
    shards = draw(st.lists(NAMES, min_size=1, max_size=3, unique=True))
    return TabletMap(draw(st.integers(1, 1 << 62)), layout(prefixes, shards, buckets).tablets)


ADOPTIONS = st.builds(Adoption, NUMBERS, NUMBERS)
TRIED = st.lists(NUMBERS, max_size=3).map(tuple)
PLACES = st.builds(
    ShardPlace, NAMES, NAMES, NUMBERS, NAMES, NUMBERS, ADOPTIONS, TRIED, NAMES, NAMES
)
VIEWS = st.builds(
    ClusterView,
    NUMBERS,
    NAMES,
    NUMBERS,
    st.booleans(),
    NAMES,
    maps(),
    REVISIONS,
    st.frozensets(st.builds(Alarm, NUMBERS, st.integers(0, (1 << 32) - 1)), max_size=3),
    st.lists(PLACES, max_size=3).map(tuple),
    st.lists(MIGRATIONS, max_size=2).map(tuple),
)
REFUSALS = st.builds(RequestRefused, st.sampled_from(list(Code)[1:]), st.text(min_size=1))


# -- round trips -----------------------------------------------------------------------------------


@given(REQUESTS, KNOWN)
def test_alloc_is_read_back(request: AllocRequest, known: Known) -> None:
    highest = max((index for _, _, index in request.ends), default=-1)
    request = request._replace(writes=highest + 1)
    assert wire.decode_alloc(wire.encode_alloc(request, known)) == (request, known)


@given(NUMBERS, KNOWN)
def test_read_of_the_revision_is_read_back(number: int, known: Known) -> None:
    assert wire.decode_read_revision(wire.encode_read_revision(number, known)) == (number, known)


@given(NAMES, ADOPTIONS)
def test_adoption_is_read_back(shard: str, adoption: Adoption) -> None:
    assert wire.decode_adopted(wire.encode_adopted(shard, adoption)) == (shard, adoption)


@given(st.builds(ShardStart, NAMES, NAMES, NUMBERS, NAMES, ADOPTIONS, NAMES, NAMES))
def test_start_is_read_back(start: ShardStart) -> None:
    assert wire.decode_start(wire.encode_start(start)) == start


@given(NUMBERS, NAMES)
def test_refusal_of_a_start_is_read_back(incarnation: int, why: str) -> None:
    body = wire.encode_shard_refused(incarnation, why)
    assert wire.decode_shard_refused(body) == (incarnation, why)


@given(
    st.builds(
        Change,
        NUMBERS,
        st.none() | REVISIONS,
        st.builds(Alarm, NUMBERS, st.integers(0, (1 << 32) - 1)),
        st.booleans(),
    )
)
def test_change_is_read_back(change: Change) -> None:
    """A floor of 0 is a floor: etcd takes Compact(0) once."""
    assert wire.decode_change(wire.encode_change(change)) == change


@given(NUMBERS, st.booleans(), st.none() | REFUSALS)
def test_answer_to_a_change_is_read_back(
    number: int, raised: bool, refused: RequestRefused | None
) -> None:
    found = wire.decode_changed(wire.encode_changed(Changed(number, raised, refused)))
    assert found[:2] == (number, raised)
    assert (found.refused is None) == (refused is None)
    if refused is not None and found.refused is not None:
        assert (found.refused.code, found.refused.message) == (refused.code, refused.message)


@given(VIEWS)
def test_state_is_read_back(view: ClusterView) -> None:
    assert wire.decode_state(wire.encode_state(view)) == view


@given(VIEWS)
def test_state_of_before_hosts_has_none(view: ClusterView) -> None:
    """As a coordinator tells it that has not been replaced yet."""
    message = pb.ClusterState.FromString(wire.encode_state(view))
    message.ClearField("shard_hosts")
    shards = tuple(shard._replace(host="") for shard in view.shards)
    assert wire.decode_state(message.SerializeToString()) == view._replace(shards=shards)


@given(VIEWS, MIGRATIONS)
def test_what_two_states_have_in_common_is_decoded_once(view: ClusterView, more: Migration) -> None:
    """Each coordinator tells each state to each process."""
    later = view._replace(serves=not view.serves, migrations=(*view.migrations, more))
    first, second = (wire.decode_state(wire.encode_state(told)) for told in (view, later))
    assert second == later
    assert second.tablets is first.tablets
    common = second.migrations[: len(first.migrations)]
    assert all(a is b for a, b in zip(first.migrations, common, strict=True))


def test_kinds_lie_where_links_to_coordinators_have_theirs() -> None:
    assert {128 <= kind < 192 for kind in CoordinatorKind} == {True}


# -- samples ---------------------------------------------------------------------------------------


def sample(revision: int, last: dict[int, int], cepoch: int = 3, version: int = 7) -> Sample:
    return Sample(cepoch, version, revision, last)


def test_m11_asker_that_knows_is_told_what_changed_alone() -> None:
    """The worked example of the module."""
    news = wire.sample_news(sample(42, {1: 40, 2: 42}), Known(3, 7, 40))
    assert (news.full, list(news.tablets), list(news.last)) == (False, [2], [42])
    assert wire.sample_of(news, {1: 40, 2: 39}) == sample(42, {1: 40, 2: 42})


@pytest.mark.parametrize("known", [Known(2, 7, 42), Known(3, 6, 42), Known(4, 7, 42), Known()])
def test_m11_asker_of_another_reign_or_map_is_told_everything(known: Known) -> None:
    """What it knew is not mixed in: under another reign the same number means something else."""
    news = wire.sample_news(sample(42, {1: 40, 2: 42}), known)
    assert wire.sample_of(news, {1: 99, 9: 99}) == sample(42, {1: 40, 2: 42})


@given(
    st.lists(st.tuples(TABLETS, st.integers(1, 5)), min_size=1, max_size=8),
    st.integers(0, 8),
    st.integers(0, 8),
)
def test_m11_sample_is_whole_whatever_the_asker_has_heard_since_it_asked(
    allocs: list[tuple[int, int]], asked: int, heard: int
) -> None:
    """Instants of one reign and map; the asker knew one of them, and by now perhaps a later one:
    then its newest last counts, which is only more to wait for. Nothing is missing or lower."""
    instants = [sample(1, dict.fromkeys(range(1, 7), 1))]
    for tablet, count in allocs:
        revision = instants[-1].revision + count
        instants.append(sample(revision, {**instants[-1].last, tablet: revision}))
    asked, heard = sorted((min(asked, len(allocs)), min(heard, len(allocs))))
    knew = instants[asked]
    answer = instants[-1]
    news = wire.sample_news(answer, Known(3, 7, knew.revision))
    assert all(last > knew.revision for last in news.last)
    assert wire.sample_of(news, instants[heard].last) == answer
    earlier = wire.sample_of(wire.sample_news(knew, Known(3, 7, knew.revision)), answer.last)
    assert earlier.revision == knew.revision
    assert earlier.last == answer.last


def test_answer_to_an_alloc_carries_the_block_and_what_was_refused() -> None:
    request = AllocRequest(3, "s", 9, 2, ((1, 1, 1),), 77)
    reply = AllocReply(41, sample(42, {1: 42, 2: 7}), (5, 6))
    answer = wire.decode_alloc_answer(wire.encode_alloc_answer(request, reply, Known()))
    assert (answer.incarnation, answer.request_number, answer.first) == (77, 9, 41)
    assert tuple(answer.refused) == (5, 6)
    assert wire.sample_of(answer.sample, {}) == reply.sample


@given(NUMBERS, st.dictionaries(TABLETS, SMALL), SMALL, st.integers(-1, 1 << 40))
def test_answer_to_a_read_carries_the_sample(
    number: int, last: dict[int, int], revision: int, floor: int
) -> None:
    wanted = Sample(3, 7, revision, last, floor)
    body = wire.encode_revision_answer(number, wanted, Known())
    answer = wire.decode_revision_answer(body)
    assert answer.number == number
    assert wire.sample_of(answer.sample, {}) == wanted


# -- what is no message of ours --------------------------------------------------------------------

DECODERS: dict[str, Callable[[bytes], object]] = {
    name: getattr(module, name)
    for module in (wire, coordinator_reshard, hosts_wire)
    for name in vars(module)
    if name.startswith("decode_")
}
SHORT = pb.Tablets(version=1, ids=[1, 2], names=["a"])
GAP = pb.Tablets(
    version=1,
    ids=[1],
    names=["a"],
    starts=[b"m"],
    ends=[b""],
    ended=[False],
    shards=["s"],
    oepochs=[1],
    buckets=[0],
    of_buckets=[1],
    begins=[0],
)
TORN = pb.SampleNews(tablets=[1, 2], last=[1])
PLACED = ClusterView(
    *(1, "c", 1, True, "a", layout([]), 0, frozenset()), (ShardPlace("a", "d", 1, "h:1", 1),)
)
ONE_HOST_MORE = pb.ClusterState(shard_hosts=["b"]).SerializeToString()
ONE_ROWS_MORE = pb.ClusterState(shard_rows=["r"]).SerializeToString()


@pytest.mark.parametrize("name", sorted(DECODERS))
@given(body=st.binary(max_size=40))
def test_garbage_is_malformed_or_a_message_and_nothing_else(name: str, body: bytes) -> None:
    """A peer that is confused costs its connection, never the process."""
    try:
        DECODERS[name](body)
    except Malformed:
        pass


def test_every_message_has_its_decoder_here() -> None:
    assert len(DECODERS) == len(CoordinatorKind)


@pytest.mark.parametrize(
    ("decode", "body"),
    [
        (wire.decode_alloc, b"\xff"),
        (wire.decode_alloc, pb.Alloc(tablets=[1], oepochs=[1]).SerializeToString()),
        (wire.decode_alloc, pb.Alloc(lane_owners=["a"]).SerializeToString()),
        (wire.decode_alloc_answer, pb.AllocAnswer(sample=TORN).SerializeToString()),
        (wire.decode_revision_answer, pb.RevisionAnswer(sample=TORN).SerializeToString()),
        (wire.decode_changed, pb.ChangeAnswer(code=99, text="x").SerializeToString()),
        (wire.decode_changed, pb.ChangeAnswer(code=14).SerializeToString()),
        (wire.decode_state, b""),
        (wire.decode_state, pb.ClusterState(tablets=SHORT).SerializeToString()),
        (wire.decode_state, pb.ClusterState(tablets=GAP).SerializeToString()),
        (wire.decode_state, pb.ClusterState(shard_names=["a"]).SerializeToString()),
        (wire.decode_state, wire.encode_state(PLACED) + ONE_HOST_MORE),
        (wire.decode_state, wire.encode_state(PLACED) + ONE_ROWS_MORE),
        (wire.decode_start, b"\x0a\x01\xff"),
    ],
)
def test_message_whose_columns_do_not_fit_is_malformed(
    decode: Callable[[bytes], object], body: bytes
) -> None:
    with pytest.raises(Malformed):
        decode(body)


def test_field_of_a_newer_version_is_left_out() -> None:
    """Coordinators are replaced one by one: a message may have more than this version knows."""
    body = wire.encode_start(ShardStart("s", "d", 7, "h:1")) + b"\xf8\x07\x01"
    assert wire.decode_start(body) == ShardStart("s", "d", 7, "h:1")


def test_state_of_an_older_version_has_shards_without_rows() -> None:
    state = pb.ClusterState.FromString(wire.encode_state(PLACED))
    state.ClearField("shard_rows")
    assert wire.decode_state(state.SerializeToString()) == PLACED


def test_refusals_of_changes_are_those_of_etcd() -> None:
    found = wire.decode_changed(wire.encode_changed(Changed(1, False, errors.COMPACTED)))
    assert found.refused is not None
    assert found.refused.message == errors.COMPACTED.message


@given(REQUESTS, KNOWN)
def test_alloc_whose_revisions_belong_to_nobody_is_malformed(
    request: AllocRequest, known: Known
) -> None:
    """It would end the coordinator, and after it each of those that are asked next."""
    highest = max((index for _, _, index in request.ends), default=-1)
    body = wire.encode_alloc(request._replace(writes=highest + 2), known)
    with pytest.raises(Malformed):
        wire.decode_alloc(body)
