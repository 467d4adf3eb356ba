"""The coordinators as their clients see them: who is asked, what counts, and what is asked again.

What it is: a client before scripted coordinators, and clients before real members over links that
are slow and cut. What it is not: the log of the members (a fake, see test_member), or sockets.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kubebraid.base import errors
from kubebraid.base.errors import RequestRefused
from kubebraid.base.ports import (
    ALARM_NOSPACE,
    Adoption,
    Alarm,
    AllocReply,
    AllocRequest,
    ClusterView,
    Sample,
    ShardPlace,
    ShardStart,
)
from kubebraid.base.tabletmap import TabletMap, layout, with_new_epochs
from kubebraid.coordinator.reign import CANDIDATE_WAIT_MS
from kubebraid.coordinator.service import CoordinatorService
from kubebraid.coordinator.transition import Found
from kubebraid.proto import coordinator_wire as wire
from kubebraid.proto.coordinator_client import CoordinatorClient
from kubebraid.proto.coordinator_wire import Changed, CoordinatorKind, Known
from tests.linkpair import FAR, End, Pair
from tests.unit.coordinator.test_member import Cluster

MAP = layout([b"/a/"], "s0")


def view(applied: int, cepoch: int = 1, serves: bool = True, **changed: object) -> ClusterView:
    made = ClusterView(applied, "c", cepoch, serves, "a", MAP, -1, frozenset(), ())
    return made._replace(**changed)  # type: ignore[arg-type]


def sample(revision: int, cepoch: int = 1, version: int = 1) -> Sample:
    return Sample(cepoch, version, revision, dict.fromkeys((1, 2, 3), revision))


def request(number: int, writes: int = 1) -> AllocRequest:
    return AllocRequest(1, "s0", number, writes, ((1, 1, writes - 1),), 7)


class Stand:
    """A client, and what it was told and handed on."""

    def __init__(self) -> None:
        self.views: list[ClusterView] = []
        self.client = CoordinatorClient(self.views.append)
        self.samples: list[Sample] = []
        self.replies: list[AllocReply] = []
        self.refused: list[RequestRefused | None] = []

    def link(self, told: ClusterView | None = None) -> End:
        end = End(FAR)
        self.client.opened(end)
        if told is not None:
            self.tell(end, told)
        return end

    def tell(self, end: End, told: ClusterView) -> None:
        self.client.received(end, CoordinatorKind.STATE, wire.encode_state(told))

    def read(self) -> None:
        self.client.read_revision(self.samples.append)

    def alloc(self, number: int) -> None:
        self.client.alloc(request(number), self.replies.append)

    def answer_read(self, end: End, number: int, made: Sample) -> None:
        body = wire.encode_revision_answer(number, made, Known())
        self.client.received(end, CoordinatorKind.REVISION_ANSWER, body)

    def answer_alloc(self, end: End, number: int, first: int, made: Sample) -> None:
        body = wire.encode_alloc_answer(request(number), AllocReply(first, made, ()), Known())
        self.client.received(end, CoordinatorKind.ALLOC_ANSWER, body)


def kinds(end: End) -> list[int]:
    found = [kind for kind, _ in end.sent]
    end.sent.clear()
    return found


READ, ALLOC, CHANGE = CoordinatorKind.READ_REVISION, CoordinatorKind.ALLOC, CoordinatorKind.CHANGE


# -- who is asked ----------------------------------------------------------------------------------


def test_question_waits_until_a_coordinator_serves() -> None:
    stand = Stand()
    stand.read()
    stand.alloc(1)
    idle = stand.link(view(5, serves=False))
    connected = [stand.client.connected]
    serving = stand.link(view(5))
    connected.append(stand.client.connected)
    assert connected == [False, True]
    assert (kinds(idle), kinds(serving)) == ([], [ALLOC, READ])


def test_of_two_that_say_they_serve_the_higher_reign_is_asked() -> None:
    stand = Stand()
    old = stand.link(view(5, cepoch=1))
    new = stand.link(view(9, cepoch=2))
    stand.read()
    assert (kinds(old), kinds(new)) == ([], [READ])


def test_inv14_question_that_was_not_answered_is_asked_again_with_its_number() -> None:
    stand = Stand()
    first = stand.link(view(5))
    stand.alloc(4)
    stand.read()
    asked = list(first.sent)
    stand.client.closed(first)
    second = stand.link(view(9, cepoch=2))
    assert list(second.sent) == asked
    stand.answer_alloc(second, 4, 2, sample(2, 2))
    stand.answer_alloc(second, 4, 2, sample(2, 2))
    assert [reply.first for reply in stand.replies] == [2], "answered once"


def test_answered_question_is_not_asked_again() -> None:
    stand = Stand()
    first = stand.link(view(5))
    stand.alloc(4)
    stand.read()
    stand.answer_alloc(first, 4, 2, sample(2))
    stand.answer_read(first, 1, sample(2))
    stand.client.closed(first)
    assert kinds(stand.link(view(5))) == []


# -- samples ---------------------------------------------------------------------------------------


def test_sample_answers_only_who_asked_before_it_was_requested() -> None:
    """The worked example of the module."""
    stand = Stand()
    link = stand.link(view(5))
    seen: list[tuple[int, int]] = []

    def saw(number: int, made: Sample) -> None:
        seen.append((number, made.revision))

    for number in range(3):
        stand.client.read_revision(partial(saw, number))
    assert kinds(link) == [READ], "one on its way"
    stand.answer_read(link, 1, sample(10))
    assert seen == [(0, 10)]
    assert kinds(link) == [READ]
    stand.answer_read(link, 1, sample(10))
    assert seen == [(0, 10)], "a second answer to the first request is nobody's"
    stand.answer_read(link, 2, sample(20))
    assert seen == [(0, 10), (1, 20), (2, 20)]


def test_answer_of_an_earlier_reign_is_not_passed_on() -> None:
    """It was alive when it answered, but a later one has answered meanwhile."""
    stand = Stand()
    old = stand.link(view(5, cepoch=1))
    stand.alloc(1)
    stand.read()
    new = stand.link(view(9, cepoch=2))
    stand.answer_read(new, 1, sample(10_001, 2))
    stand.read()
    stand.answer_alloc(old, 1, 2, sample(2, 1))
    stand.answer_read(old, 2, sample(2, 1))
    assert (stand.replies, [made.revision for made in stand.samples]) == ([], [10_001])


def test_answer_that_was_kept_for_a_repetition_does_not_lead_back() -> None:
    """The sequencer answers a repeated request as it did at first, with the sample of then."""
    stand = Stand()
    link = stand.link(view(5))
    stand.alloc(1)
    stand.read()
    stand.answer_read(link, 1, sample(9))
    stand.answer_alloc(link, 1, 2, sample(2))
    (reply,) = stand.replies
    assert reply.first == 2
    assert reply.sample == sample(9)


def test_m11_what_is_known_is_said_with_each_question_and_only_news_come_back() -> None:
    stand = Stand()
    link = stand.link(view(5))
    stand.read()
    stand.answer_read(link, 1, sample(9))
    link.sent.clear()
    stand.read()
    _, known = wire.decode_read_revision(link.sent[0][1])
    assert known == Known(1, 1, 9)
    news = Sample(1, 1, 10, {1: 9, 2: 10, 3: 9}, 4)
    body = wire.encode_revision_answer(2, news, known)
    assert len(body) < len(wire.encode_revision_answer(2, news, Known()))
    stand.client.received(link, CoordinatorKind.REVISION_ANSWER, body)
    assert stand.samples[-1] == news
    assert stand.client.compact_revision() == 4


# -- the state -------------------------------------------------------------------------------------


def test_state_never_goes_back() -> None:
    stand = Stand()
    ahead = stand.link(view(9))
    stand.link(view(5, serves=False))
    assert [told.applied for told in stand.views] == [9]
    stand.tell(ahead, view(9, serves=False))
    assert stand.client.view.serves, "the newest state stays, whoever serves"
    assert not stand.client.connected
    stand.tell(ahead, view(10))
    assert [told.applied for told in stand.views] == [9, 10]


def test_newest_state_says_map_floor_and_alarms() -> None:
    stand = Stand()
    tablets = with_new_epochs(MAP)
    full = Alarm(5, ALARM_NOSPACE)
    stand.link(view(5, tablets=tablets, floor=7, alarms=frozenset({full})))
    assert stand.client.tablet_map() == tablets
    assert stand.client.compact_revision() == 7
    assert stand.client.alarms() == {full}


# -- changes ---------------------------------------------------------------------------------------


def test_change_without_anybody_to_ask_is_refused_as_definite() -> None:
    stand = Stand()
    stand.client.compact(5, stand.refused.append)
    assert stand.refused == [errors.NO_LEADER]


@pytest.mark.parametrize("refused", [None, errors.COMPACTED, errors.NO_LEADER, errors.TIMED_OUT])
def test_answer_to_a_change_is_what_the_coordinator_said(refused: RequestRefused | None) -> None:
    """As the constant, where callers compare with it: what nobody leads may be tried again."""
    stand = Stand()
    link = stand.link(view(5))
    stand.client.compact(5, stand.refused.append)
    change = wire.decode_change(link.sent[0][1])
    answer = wire.encode_changed(Changed(change.number, False, refused))
    stand.client.received(link, CoordinatorKind.CHANGE_ANSWER, answer)
    stand.client.received(link, CoordinatorKind.CHANGE_ANSWER, answer)
    (told,) = stand.refused
    if refused is errors.TIMED_OUT:
        assert told is not None
        assert told.message == errors.TIMED_OUT.message
    else:
        assert told is refused


def test_change_that_was_sent_to_a_lost_coordinator_is_of_unknown_outcome() -> None:
    stand = Stand()
    link = stand.link(view(5))
    stand.client.compact(5, stand.refused.append)
    stand.client.closed(link)
    assert stand.refused == [errors.TIMED_OUT]


def test_change_is_answered_also_if_another_coordinator_serves_by_then() -> None:
    """The link to the deposed one ends later, when nothing else hangs on it."""
    stand = Stand()
    old = stand.link(view(5))
    stand.client.compact(5, stand.refused.append)
    new = stand.link(view(9, cepoch=2))
    told: list[bool | RequestRefused] = []
    stand.client.set_alarm(Alarm(5, ALARM_NOSPACE), True, told.append)
    assert kinds(new) == [CHANGE]
    stand.client.closed(old)
    assert stand.refused == [errors.TIMED_OUT]
    assert told == [], "that one was asked of the other"


@pytest.mark.parametrize("served", [True, False])
def test_alarm_of_unknown_outcome_is_told_so(served: bool) -> None:
    """A disarm without a coordinator was once answered OK."""
    stand = Stand()
    told: list[bool | RequestRefused] = []
    link = stand.link(view(5, serves=served))
    stand.client.set_alarm(Alarm(5, ALARM_NOSPACE), False, told.append)
    stand.client.closed(link)
    assert told == [errors.TIMED_OUT if served else errors.NO_LEADER]


def test_alarm_that_the_coordinator_could_not_store_is_told_so() -> None:
    stand = Stand()
    told: list[bool | RequestRefused] = []
    link = stand.link(view(5))
    for refused, was in ((errors.TIMED_OUT, False), (None, True), (None, False)):
        stand.client.set_alarm(Alarm(5, ALARM_NOSPACE), False, told.append)
        answer = wire.encode_changed(Changed(len(told) + 1, was, refused))
        stand.client.received(link, CoordinatorKind.CHANGE_ANSWER, answer)
    assert told == [errors.TIMED_OUT, True, False]


# -- a shard's start -------------------------------------------------------------------------------


def test_start_is_asked_until_a_state_names_it_and_not_behind_that() -> None:
    stand = Stand()
    start = ShardStart("s0", "disk", 7, "h:7")
    first = stand.link(view(5))
    stand.client.start_shard(start, lambda _why: None)
    assert kinds(first) == [CoordinatorKind.START_SHARD]
    second = stand.link(view(9, cepoch=2))
    assert kinds(second) == [CoordinatorKind.START_SHARD]
    stand.tell(second, view(11, 2, shards=(ShardPlace("s0", "disk", 7, "h:7", 2),)))
    replaced = (ShardPlace("s0", "disk", 8, "h:8", 3),)
    stand.tell(second, view(12, 2, shards=replaced))
    assert kinds(second) == [], "it does not take its tablets back"


def test_adoption_is_told_until_a_state_says_it() -> None:
    stand = Stand()
    placed = ShardPlace("s0", "disk", 7, "h:7", 2, tried=(7,))
    first = stand.link(view(5, shards=(placed,)))
    stand.client.adopted("s0", Adoption(7))
    second = stand.link(view(9, cepoch=2, shards=(placed,)))
    for link in (first, second):
        assert kinds(link) == [CoordinatorKind.SHARD_ADOPTED]
    stand.tell(second, view(11, 2, shards=(placed._replace(confirmed=Adoption(7)),)))
    assert kinds(second) == []
    stand.client.adopted("s0", Adoption(7, 1))
    assert kinds(second) == [CoordinatorKind.SHARD_ADOPTED]
    stand.tell(second, view(12, 2, shards=(placed._replace(confirmed=Adoption(7, 2)),)))
    stand.tell(second, view(13, 2))
    assert kinds(second) == []


def test_process_that_was_replaced_says_nothing_more_of_its_store() -> None:
    stand = Stand()
    link = stand.link(view(5, shards=(ShardPlace("s0", "disk", 8, "h:8", 3),)))
    stand.client.adopted("s0", Adoption(7, 4))
    assert kinds(link) == []


def test_refused_start_is_told_to_the_process_that_it_is_for() -> None:
    stand = Stand()
    link = stand.link(view(5))
    why: list[str] = []
    stand.client.start_shard(ShardStart("s0", "disk", 7, "h:7"), why.append)
    for incarnation in (6, 7):
        body = wire.encode_shard_refused(incarnation, f"no, {incarnation}")
        stand.client.received(link, CoordinatorKind.SHARD_REFUSED, body)
    assert why == ["no, 7"]


@pytest.mark.parametrize(
    ("kind", "body"),
    [(200, b""), *((kind, b"\xff") for kind in CoordinatorKind if kind.name.endswith("ANSWER"))],
)
def test_confused_coordinator_loses_its_link_and_nothing_else_happens(
    kind: int, body: bytes
) -> None:
    stand = Stand()
    link = stand.link(view(5))
    stand.client.received(link, kind, body)
    assert link.ended


# -- clients before members that take over from each other -----------------------------------------

SPLIT = TabletMap(
    1,
    tuple(replace(tablet, shard=f"s{tablet.id % 2}") for tablet in MAP.tablets),
)


@dataclass
class Asked:
    """`floor`: the highest revision that anybody had been answered when it was asked."""

    floor: int
    writes: int = 0
    answers: list[Sample] = field(default_factory=list)


class Shard:
    """Asks as shard/writer does: one batch at a time, anew in each reign; and reads as a router."""

    def __init__(self, world: Lossy, number: int) -> None:
        self.world = world
        self.name = f"s{number}"
        self.tablets = [t.id for t in SPLIT.tablets if t.shard == self.name]
        self.client = CoordinatorClient(self.told)
        self.cepoch = 0
        self.number = 0
        self.flight: Asked | None = None
        self.reads: list[Asked] = []
        self.changes: list[bool | RequestRefused] = []
        self.changes_asked = 0
        self.newest = (0, 0, 0)
        self.granted: list[tuple[int, int, int]] = []  # first, last, cepoch

    def told(self, told: ClusterView) -> None:
        if told.cepoch > self.cepoch:
            self.cepoch = told.cepoch
            if self.flight is not None:
                self.ask(self.flight)

    def begin(self, writes: int) -> None:
        if self.flight is None and self.cepoch:
            self.flight = Asked(self.world.highest, writes)
            self.ask(self.flight)

    def ask(self, asked: Asked) -> None:
        self.number += 1
        number, tablet = self.number, self.tablets[0]
        ends = ((tablet, 1, asked.writes - 1),)
        made = AllocRequest(self.cepoch, self.name, number, asked.writes, ends, 7)
        self.client.alloc(made, lambda reply: self.answered(number, reply))

    def answered(self, number: int, reply: AllocReply) -> None:
        self.heard(reply.sample)
        asked = self.flight
        if asked is None or number != self.number:
            return
        if reply.sample.cepoch > self.cepoch:
            self.cepoch = reply.sample.cepoch
            self.ask(asked)
            return
        assert not reply.refused, "nobody else owns the tablet"
        last = reply.first + asked.writes - 1
        assert reply.first > asked.floor, "S2: acked before it was asked"
        assert reply.sample.last[self.tablets[0]] >= last
        self.granted.append((reply.first, last, self.cepoch))
        self.world.highest = max(self.world.highest, last)
        self.flight = None

    def read(self) -> None:
        asked = Asked(self.world.highest)
        self.reads.append(asked)

        def answered(made: Sample) -> None:
            self.heard(made)
            asked.answers.append(made)
            assert made.revision >= asked.floor, "inv04: older than what had been answered"

        self.client.read_revision(answered)

    def heard(self, made: Sample) -> None:
        assert max(made.last.values()) <= made.revision
        assert (made.cepoch, made.map_version, made.revision) >= self.newest, "samples go back"
        self.newest = (made.cepoch, made.map_version, made.revision)

    def change(self) -> None:
        self.changes_asked += 1
        self.client.set_alarm(Alarm(5, ALARM_NOSPACE), True, self.changes.append)


class Lossy:
    """Three members, two shards, six links."""

    def __init__(self, seed: int) -> None:
        self.rng = random.Random(seed)
        self.highest = 0
        self.cluster = Cluster("a", "b", "c", founding=Found("cluster-1", SPLIT))
        self.cluster.run(30, "a")
        self.services = {
            name: CoordinatorService(member) for name, member in self.cluster.members.items()
        }
        self.shards = [Shard(self, 0), Shard(self, 1)]
        self.pairs = [
            Pair(shard.client, service)
            for shard in self.shards
            for service in self.services.values()
        ]
        for pair in self.pairs:
            pair.open()

    def turn(self) -> None:
        for name in self.cluster.members:
            self.cluster.turn(name)
            self.services[name].turn()

    def step(self) -> None:
        shard, pair = self.rng.choice(self.shards), self.rng.choice(self.pairs)
        log = self.rng.choice(list(self.cluster.logs.values()))
        acts: list[tuple[int, Callable[[], object]]] = [
            (6, lambda: shard.begin(self.rng.choice((1, 3, 500)))),
            (6, shard.read),
            (2, shard.change),
            (20, self.deliver),
            (2, lambda: self.cut_or_open(pair)),
            (1, lambda: setattr(log, "cut", not log.cut)),
            (14, self.turn),
        ]
        (act,) = self.rng.choices([act for _, act in acts], [weight for weight, _ in acts])
        act()
        self.cluster.clock.ms += self.rng.choice((0, 1, 5, 20, 100))

    def deliver(self) -> None:
        for pair in self.pairs:
            if self.rng.random() < 0.5:
                pair.to_far(self.rng.choice((1, 2, None)))
            if self.rng.random() < 0.5:
                pair.to_near(self.rng.choice((1, 2, None)))

    def cut_or_open(self, pair: Pair) -> None:
        if pair.near is None:
            pair.open()
        else:
            pair.cut(late=self.rng.choice((0, 1, 5)))

    def heal(self) -> None:
        for log in self.cluster.logs.values():
            log.cut = False
        for pair in self.pairs:
            if pair.near is None:
                pair.open()
        for _ in range(2 * CANDIDATE_WAIT_MS // 100 + 20):
            self.turn()
            for pair in self.pairs:
                pair.to_far()
                pair.to_near()
            self.cluster.clock.ms += 100

    # -- what must hold at the end -------------------------------------------------------------

    def judge(self) -> None:
        for shard in self.shards:
            assert shard.flight is None, "never answered"
            assert all(len(asked.answers) == 1 for asked in shard.reads), "once each"
            assert len(shard.changes) == shard.changes_asked, "once each"
            assert not shard.client._allocs, "nothing is kept of what was answered"
        blocks = sorted(block for shard in self.shards for block in shard.granted)
        for (_, last, _), (first, _, _) in pairwise(blocks):
            assert first > last, "handed out twice"
        self.judge_none_lost()

    def judge_none_lost(self) -> None:
        """inv14: what the last reign handed out was answered to whom it was for."""
        (serving,) = [m for m in self.cluster.members.values() if m.serves]
        sequencer = serving._sequencer
        assert sequencer is not None
        now = sequencer.sample()
        for shard in self.shards:
            mine = [last for _, last, cepoch in shard.granted if cepoch == now.cepoch]
            assert now.last[shard.tablets[0]] == max(mine, default=serving._reign.begin)
        blocks = [
            block for shard in self.shards for block in shard.granted if block[2] == now.cepoch
        ]
        used = sum(last - first + 1 for first, last, _ in blocks)
        assert used == now.revision - serving._reign.begin, "taken twice for one request"


def history(seed: int) -> Lossy:
    world = Lossy(seed)
    for _ in range(250):
        world.step()
    world.heal()
    world.judge()
    return world


@given(st.integers(0, 2**32))
def test_inv14_over_lossy_links_nothing_is_handed_out_twice_or_lost(seed: int) -> None:
    history(seed)


def test_inv14_histories_have_takeovers_cuts_and_answers() -> None:
    """Else the property above would say nothing."""
    worlds = [history(seed) for seed in range(40)]
    blocks = [world.shards[0].granted + world.shards[1].granted for world in worlds]
    assert sum(len(granted) for granted in blocks) > 300
    assert sum(len({cepoch for _, _, cepoch in granted}) > 1 for granted in blocks) > 10
