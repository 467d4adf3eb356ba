"""Random requests to the sequencer: dense, once, and never taken by who does not own."""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

from hypothesis import given
from hypothesis import strategies as st

from kubebraid.base.ports import AllocReply, AllocRequest, Sample
from kubebraid.base.tabletmap import TabletMap, layout
from kubebraid.coordinator.sequencer import Sequencer

TABLETS = layout([b"/a/", b"/b/"])  # ids 1 to 5
IDS = tuple(tablet.id for tablet in TABLETS.tablets)
CEPOCH = 3
OWNERS = ("shard-0", "shard-1")


class Ask(NamedTuple):
    """A batch: the tablet of each of its writes, and tablets that only prove ownership."""

    owner: str
    writes: tuple[int, ...]
    proofs: frozenset[int]
    stale: bool
    again: int  # how many duplicates of the request arrive


ASKS = st.builds(
    Ask,
    st.sampled_from(OWNERS),
    st.lists(st.sampled_from(IDS), max_size=5).map(tuple),
    st.frozensets(st.sampled_from(IDS), max_size=2),
    st.sampled_from((False, False, False, True)),
    st.sampled_from((0, 0, 1, 2)),
)
LASTS = st.fixed_dictionaries({tablet: st.integers(1, 40) for tablet in IDS})


def request(ask: Ask, number: int) -> AllocRequest:
    ends = dict.fromkeys(ask.proofs, -1)
    ends |= {tablet: index for index, tablet in enumerate(ask.writes)}
    oepoch = 0 if ask.stale else 1
    triples = tuple((tablet, oepoch, index) for tablet, index in ends.items())
    return AllocRequest(CEPOCH, ask.owner, number, len(ask.writes), triples)


def answers(made: Sequencer, wanted: AllocRequest) -> AllocReply:
    replies: list[AllocReply] = []
    made.alloc(wanted, replies.append)
    (reply,) = replies
    return reply


def sample(made: Sequencer) -> Sample:
    samples: list[Sample] = []
    made.read_revision(samples.append)
    return samples[0]


@given(LASTS, st.lists(ASKS, max_size=20))
def test_inv13_revisions_are_issued_upwards_densely_and_once(
    last: dict[int, int], asks: list[Ask]
) -> None:
    made = Sequencer(CEPOCH, TABLETS, last)
    issued: list[int] = []
    for number, ask in enumerate(asks):
        reply = answers(made, request(ask, number))
        if not reply.refused:
            issued += range(reply.first, reply.first + len(ask.writes))
    start = max(last.values()) + 1
    assert issued == list(range(start, start + len(issued)))
    assert made.revision == start - 1 + len(issued)


@given(LASTS, st.lists(ASKS, max_size=20))
def test_inv14_duplicated_requests_get_one_answer_and_take_nothing_twice(
    last: dict[int, int], asks: list[Ask]
) -> None:
    """The same requests, once with duplicates and once without, leave the same state."""
    once, often = (Sequencer(CEPOCH, TABLETS, last) for _ in range(2))
    for number, ask in enumerate(asks):
        wanted = request(ask, number)
        expected = answers(once, wanted)
        for _ in range(1 + ask.again):
            assert answers(often, wanted) == expected
    assert often.sample() == once.sample()


@given(LASTS, st.lists(ASKS, max_size=20))
def test_inv14_what_was_refused_took_nothing(last: dict[int, int], asks: list[Ask]) -> None:
    made = Sequencer(CEPOCH, TABLETS, last)
    for number, ask in enumerate(asks):
        before = made.sample()
        reply = answers(made, request(ask, number))
        touched = set(ask.writes) | ask.proofs
        assert set(reply.refused) == (touched if ask.stale else set())
        if reply.refused:
            assert made.sample() == before


@given(LASTS, st.lists(ASKS, max_size=20))
def test_inv11_last_is_what_was_allocated_to_each_tablet(
    last: dict[int, int], asks: list[Ask]
) -> None:
    """last[t] <= R, R == max(last), and neither falls; the reply's sample is of its instant."""
    made = Sequencer(CEPOCH, TABLETS, last)
    model = dict(last)
    for number, ask in enumerate(asks):
        reply = answers(made, request(ask, number))
        if not reply.refused:
            model |= {tablet: reply.first + index for index, tablet in enumerate(ask.writes)}
        expected = Sample(CEPOCH, TABLETS.version, max(model.values()), model)
        assert reply.sample == expected
        assert sample(made) == expected


@given(LASTS, st.lists(ASKS, min_size=1, max_size=10))
def test_samples_are_not_changed_by_later_requests(last: dict[int, int], asks: list[Ask]) -> None:
    """Rule M10: copied at one instant, though many hold it."""
    made = Sequencer(CEPOCH, TABLETS, last)
    kept = [(made.sample(), dict(made.sample().last))]
    for number, ask in enumerate(asks):
        reply = answers(made, request(ask, number))
        kept.append((reply.sample, dict(reply.sample.last)))
    assert all(found.last == copied for found, copied in kept)


# -- maps in which tablets split and join ----------------------------------------------------------

CHANGES = st.lists(st.integers(0, 50), max_size=20)


def changed(made: Sequencer, tablets: TabletMap, pick: int, given: int) -> TabletMap:
    """A map in which one tablet is cut into two buckets, or two buckets are one again; what is new
    begins at the end of what it replaces."""
    found = tablets.tablets[pick % len(tablets.tablets)]
    gone = [t for t in tablets.tablets if t.span == found.span]
    end = max(made.last()[t.id] for t in gone)
    buckets = 1 if len(gone) == 2 else 2
    new = [
        replace(found, id=given + n, name=f"t{given + n}", bucket=n, buckets=buckets, begin=end)
        for n in range(buckets)
    ]
    stay = [t for t in tablets.tablets if t not in gone]
    epoch = 1 + max(t.oepoch for t in gone)
    places = [*stay, *(replace(t, oepoch=epoch) for t in new)]
    return TabletMap(tablets.version + 1, tuple(sorted(places, key=lambda t: t.place)))


@given(LASTS, CHANGES)
def test_inv13_inv14_hold_while_tablets_come_and_go(last: dict[int, int], picks: list[int]) -> None:
    """Writes between map changes, each sent twice: dense, once, to tablets of the map alone, and
    the sample has exactly these; R never falls, although tablets leave with their last."""
    made, tablets, given = Sequencer(CEPOCH, TABLETS, last), TABLETS, len(IDS) + 1
    retired: set[int] = set()
    expected = made.revision + 1
    for number, pick in enumerate(picks):
        before = {t.id for t in tablets.tablets}
        tablets = changed(made, tablets, pick, given)
        made.adopt_map(tablets)
        retired |= before - {t.id for t in tablets.tablets}
        given = max(given, 1 + max(t.id for t in tablets.tablets))
        made.expect(given, frozenset())
        target = tablets.tablets[pick % len(tablets.tablets)]
        wanted = AllocRequest(CEPOCH, "s", 2 * number, 1, ((target.id, target.oepoch, 0),))
        replies = [made.allocate(wanted), made.allocate(wanted)]
        assert [reply and reply.first for reply in replies] == [expected, expected]
        late = ((max(retired), 99, 0),)
        refused = made.allocate(AllocRequest(CEPOCH, "s", 2 * number + 1, 1, late))
        assert refused is not None
        assert refused.first == 0
        told = sample(made)
        assert (told.revision, told.map_version) == (expected, tablets.version)
        assert set(told.last) == {t.id for t in tablets.tablets}
        assert max(told.last.values()) == expected
        expected += 1
