"""A coordinator's end of its links: who is told what, and where answers go."""

from __future__ import annotations

from dataclasses import replace

import pytest

from kubebraid.base import errors
from kubebraid.base.errors import RequestRefused
from kubebraid.base.limits import HOST_AWAY_MS, HOST_BEAT_MS
from kubebraid.base.ports import (
    ALARM_NOSPACE,
    Adoption,
    Alarm,
    AllocRequest,
    Beat,
    ClusterView,
    ShardStart,
)
from kubebraid.base.reshard import (
    Action,
    Control,
    HandOver,
    Kind,
    Migration,
    Phase,
    Planned,
    Progress,
    Report,
)
from kubebraid.base.tabletmap import layout
from kubebraid.coordinator.service import CoordinatorService
from kubebraid.coordinator.transition import Found
from kubebraid.proto import coordinator_reshard as codec
from kubebraid.proto import coordinator_wire as wire
from kubebraid.proto.coordinator_wire import Change, Changed, CoordinatorKind, Known
from kubebraid.proto.hosts_wire import decode_heard, encode_beat
from tests.linkpair import NEAR, End
from tests.unit.coordinator.test_member import Cluster, serving, taken_over


class Stand:
    """A member that serves, and its service."""

    def __init__(self, cluster: Cluster | None = None) -> None:
        self.cluster = cluster or Cluster("a")
        self.member = self.cluster.members["a"]
        self.service = CoordinatorService(self.member)

    def run(self) -> None:
        self.cluster.run()
        self.service.turn()

    def link(self) -> End:
        end = End(NEAR)
        self.service.opened(end)
        return end

    def ask(self, end: End, kind: int, body: bytes) -> None:
        self.service.received(end, kind, body)
        self.run()


def states(end: End) -> list[ClusterView]:
    found = [wire.decode_state(b) for kind, b in end.sent if kind == CoordinatorKind.STATE]
    end.sent.clear()
    return found


def served() -> Stand:
    stand = Stand()
    stand.run()
    return stand


def test_whoever_connects_is_told_at_once_and_each_later_state_once() -> None:
    """The worked example of the module."""
    stand = Stand()
    first = stand.link()
    assert [told.cluster for told in states(first)] == [""]
    stand.run()
    stand.run()
    (told,) = states(first)
    assert (told.cluster, told.serves, told.sequencer) == ("cluster-1", True, "a")
    second = stand.link()
    assert len(states(second)) == 1
    assert states(first) == [], "nothing is new for it"
    start = wire.encode_start(ShardStart("s0", "disk", 7, "h:7"))
    stand.ask(second, CoordinatorKind.START_SHARD, start)
    for end in (first, second):
        (told,) = states(end)
        assert (told.tablets.version, told.shards[0].incarnation) == (2, 7)


def test_end_of_a_reign_is_told_too() -> None:
    cluster, _, _ = taken_over()
    stand = Stand(cluster)
    end = stand.link()
    assert [told.serves for told in states(end)] == [True]
    cluster.logs["a"].cut = False
    stand.run()
    (told,) = states(end)
    assert (told.serves, told.sequencer, told.cepoch) == (False, "b", 2)


def test_answer_goes_to_the_link_on_which_its_question_came() -> None:
    stand = served()
    ends = [stand.link() for _ in range(3)]
    for end in ends:
        end.sent.clear()
    alloc = AllocRequest(1, "s0", 4, 2, ((1, 1, 1),), 7)
    stand.service.received(ends[0], CoordinatorKind.ALLOC, wire.encode_alloc(alloc, Known()))
    read = wire.encode_read_revision(9, Known())
    stand.service.received(ends[1], CoordinatorKind.READ_REVISION, read)
    stand.run()
    ((kind, body),) = ends[0].sent
    assert kind == CoordinatorKind.ALLOC_ANSWER
    answer = wire.decode_alloc_answer(body)
    assert (answer.request_number, answer.incarnation, answer.first) == (4, 7, 2)
    ((kind, body),) = ends[1].sent
    assert kind == CoordinatorKind.REVISION_ANSWER
    read_answer = wire.decode_revision_answer(body)
    assert (read_answer.number, read_answer.sample.revision) == (9, 3)
    assert not ends[2].sent


def test_m11_partial_samples_are_for_what_the_asker_said_it_knows() -> None:
    stand = served()
    end = stand.link()
    for known, full in ((Known(1, 1, 1), False), (Known(1, 2, 1), True), (Known(), True)):
        end.sent.clear()
        stand.ask(end, CoordinatorKind.READ_REVISION, wire.encode_read_revision(1, known))
        sample = wire.decode_revision_answer(end.sent[0][1]).sample
        assert sample.full is full
        assert len(sample.tablets) == (3 if full else 0)


def test_nothing_is_allocated_for_a_link_that_closed_before_its_turn() -> None:
    stand = served()
    end = stand.link()
    alloc = AllocRequest(1, "s0", 4, 2, ((1, 1, 1),), 7)
    stand.service.received(end, CoordinatorKind.ALLOC, wire.encode_alloc(alloc, Known()))
    stand.service.closed(end)
    end.sent.clear()
    stand.run()
    assert not end.sent
    other = stand.link()
    stand.ask(other, CoordinatorKind.READ_REVISION, wire.encode_read_revision(1, Known()))
    assert wire.decode_revision_answer(other.sent[-1][1]).sample.revision == 1


def test_start_that_can_never_succeed_is_told_to_its_process() -> None:
    stand = served()
    end = stand.link()
    first = wire.encode_start(ShardStart("s9", "disk", 6, "h:6"))
    stand.ask(end, CoordinatorKind.START_SHARD, first)
    start = wire.encode_start(ShardStart("s9", "another disk", 7, "h:7"))
    stand.ask(end, CoordinatorKind.START_SHARD, start)
    told = [body for kind, body in end.sent if kind == CoordinatorKind.SHARD_REFUSED]
    incarnation, why = wire.decode_shard_refused(told[0])
    assert incarnation == 7
    assert "s9" in why


def test_adoption_is_confirmed_to_all_and_an_older_copy_refused_to_its_process() -> None:
    stand = served()
    end = stand.link()
    start = ShardStart("s0", "disk", 7, "h:7")
    stand.ask(end, CoordinatorKind.START_SHARD, wire.encode_start(start))
    told = wire.encode_adopted("s0", Adoption(7))
    stand.ask(end, CoordinatorKind.SHARD_ADOPTED, told)
    assert states(end)[-1].shards[0].confirmed == Adoption(7)
    start = start._replace(incarnation=8)
    stand.ask(end, CoordinatorKind.START_SHARD, wire.encode_start(start))
    ((kind, body),) = end.sent
    assert kind == CoordinatorKind.SHARD_REFUSED
    incarnation, why = wire.decode_shard_refused(body)
    assert incarnation == 8
    assert "older copy" in why


def changed(stand: Stand, end: End, change: Change) -> Changed:
    end.sent.clear()
    stand.ask(end, CoordinatorKind.CHANGE, wire.encode_change(change))
    (body,) = [body for kind, body in end.sent if kind == CoordinatorKind.CHANGE_ANSWER]
    return wire.decode_changed(body)


def test_changes_are_answered_by_number_and_told_to_all() -> None:
    stand = served()
    asker, other = stand.link(), stand.link()
    assert changed(stand, asker, Change(3, 7)) == Changed(3, False, None)
    full = Alarm(5, ALARM_NOSPACE)
    assert changed(stand, asker, Change(4, None, full, True)) == Changed(4, False, None)
    assert changed(stand, asker, Change(5, None, full, True)) == Changed(5, True, None)
    refused = changed(stand, asker, Change(6, 7)).refused
    assert refused is not None
    assert refused.message == errors.COMPACTED.message
    told = states(other)[-1]
    assert (told.floor, told.alarms) == (7, frozenset({full}))


def test_change_is_refused_by_a_member_that_does_not_serve() -> None:
    """Its successor's samples would not know of it."""
    stand = Stand()
    refused = changed(stand, stand.link(), Change(3, 7)).refused
    assert refused is not None
    assert refused.message == errors.NO_LEADER.message


@pytest.mark.parametrize(
    ("kind", "body"),
    [(200, b""), *((kind, b"\xff") for kind in CoordinatorKind)],
)
def test_confused_peer_loses_its_link_and_nothing_else_happens(kind: int, body: bytes) -> None:
    stand = served()
    end = stand.link()
    stand.ask(end, kind, body)
    assert end.ended
    assert stand.member.serves


# -- migrations ------------------------------------------------------------------------------------


def answers(end: End) -> list[RequestRefused | None]:
    kind = CoordinatorKind.RESHARD_ANSWER
    return [codec.decode_reshard_answer(body).refused for k, body in end.sent if k == kind]


def listed(end: End) -> list[tuple[Progress, ...] | None]:
    kind = CoordinatorKind.RESHARD_LIST
    return [codec.decode_reshard_list(body).migrations for k, body in end.sent if k == kind]


def resharding() -> tuple[Stand, End]:
    """Shards s0 and s1 have started; a plan moves tablet 2 to s1."""
    founding = Found("cluster-1", layout([b"/a/"], ["s0", "s1"]))
    stand = Stand(Cluster("a", founding=founding))
    stand.run()
    end = stand.link()
    for name in ("s0", "s1"):
        start = wire.encode_start(ShardStart(name, f"disk-{name}", 7, "h:7"))
        stand.ask(end, CoordinatorKind.START_SHARD, start)
    tablets = stand.member.state.tablets
    tablet = tablets.tablets[0]
    to = "s1" if tablet.shard == "s0" else "s0"
    moved = replace(tablet, shard=to)
    move = Migration("m1", Kind.MOVE, tablet.shard, to, (tablet.id,), (moved,))
    plan = codec.encode_reshard(5, Planned((move,), tablets.version))
    stand.ask(end, CoordinatorKind.RESHARD, plan)
    return stand, end


def test_plan_is_answered_listed_and_told_to_all() -> None:
    stand, end = resharding()
    assert answers(end) == [None]
    assert [m.id for m in states(end)[-1].migrations] == ["m1"]
    target = stand.member.state.migrations[0].target
    told = codec.encode_report(Report("m1", target, 7, rows=3))
    stand.ask(end, CoordinatorKind.REPORT, told)
    stand.ask(end, CoordinatorKind.RESHARD_ASK, codec.encode_reshard_ask(6))
    (found,) = listed(end)
    assert found is not None
    assert [(p.migration.phase, p.reports[0].rows) for p in found] == [(Phase.PREPARING, 3)]


def test_word_that_is_refused_says_why() -> None:
    stand, end = resharding()
    end.sent.clear()
    word = codec.encode_reshard(6, Control("m1", Action.COMPLETE))
    stand.ask(end, CoordinatorKind.RESHARD, word)
    (refused,) = answers(end)
    assert refused is not None
    assert refused.definite
    assert "PREPARING" in refused.message


def test_member_that_does_not_serve_takes_no_plan_and_lists_nothing() -> None:
    cluster, _ = serving("b")
    service = CoordinatorService(cluster.members["b"])
    end = End(NEAR)
    word = codec.encode_reshard(6, Control("m1", Action.CANCEL))
    service.received(end, CoordinatorKind.RESHARD, word)
    service.received(end, CoordinatorKind.RESHARD_ASK, codec.encode_reshard_ask(7))
    (refused,) = answers(end)
    assert refused is not None
    assert refused.message == errors.NO_LEADER.message
    assert listed(end) == [None]


# -- hosts -----------------------------------------------------------------------------------------


def test_beat_is_answered_with_how_many_others_could_take_over() -> None:
    stand = served()
    ends = {name: stand.link() for name in ("h0", "h1")}

    def beat(name: str) -> int:
        ends[name].sent.clear()
        stand.service.received(ends[name], CoordinatorKind.HOST_BEAT, encode_beat(Beat(name, 7, 3)))
        ((kind, body),) = ends[name].sent
        assert kind == CoordinatorKind.HOST_HEARD
        return decode_heard(body)

    assert [beat("h0"), beat("h1")] == [1, 1], "in a young reign there may be others"
    counts: list[int] = []
    for _ in range(0, HOST_AWAY_MS + HOST_BEAT_MS, HOST_BEAT_MS):
        stand.cluster.run(HOST_BEAT_MS)
        counts = [beat("h0"), beat("h1")]
    assert counts == [1, 1]


def test_member_that_does_not_serve_keeps_no_beat_and_answers_none() -> None:
    """It cannot give anybody a shard; a host that leaves would take "none" for its word."""
    stand = Stand()
    end = stand.link()
    end.sent.clear()
    stand.service.received(end, CoordinatorKind.HOST_BEAT, encode_beat(Beat("h0", 7)))
    assert not end.sent
    assert stand.member.orders.hosts.hinders("h0", stand.cluster.clock.ms) != ""


def test_beat_that_is_none_ends_its_link_alone() -> None:
    stand = served()
    end, other = stand.link(), stand.link()
    stand.service.received(end, CoordinatorKind.HOST_BEAT, b"\xff")
    assert end.ended
    assert not other.ended


def test_hand_over_is_answered_by_the_member_that_serves() -> None:
    stand = served()
    end = stand.link()
    end.sent.clear()
    order = codec.encode_reshard(4, HandOver("s0", "h9"))
    stand.ask(end, CoordinatorKind.RESHARD, order)
    answers = [b for kind, b in end.sent if kind == CoordinatorKind.RESHARD_ANSWER]
    answered = codec.decode_reshard_answer(answers[0])
    assert answered.number == 4
    assert answered.refused is not None
    assert "h9 is no host" in answered.refused.message
