"""ClusterStatus: what one process answers, and what a router gathers from those who are left."""

from __future__ import annotations

import dataclasses

import pytest

from kubebraid.base.errors import Code
from kubebraid.base.links import Peer
from kubebraid.base.ports import (
    ALARM_NOSPACE,
    Alarm,
    ClusterView,
    Publication,
    Sample,
    ShardPlace,
    TabletNews,
)
from kubebraid.proto import adminwire, coordinator_wire
from kubebraid.proto.adminwire import ClusterStatus, Coordinator, Sequencer
from kubebraid.proto.coordinator_client import CoordinatorClient
from kubebraid.proto.coordinator_wire import CoordinatorKind, MemberStatus
from kubebraid.proto.owner_client import OwnerClient
from kubebraid.router.admin import ROUND_MS_MAX
from kubebraid.router.core import Router
from tests.linkpair import FAR, End
from tests.world import FakeClock, FakeEdge

from .fakes import LEFT, MAP, RIGHT, Calls, Shards

PATH = "Admin/ClusterStatus"
ADDRESSES = {"a": "h:1", "b": "h:2", "c": "h:3"}
PLACES = (ShardPlace(LEFT, "disk", 7, "h:7", 1, host="shard-8"),)
LAST = {1: 9, 2: 4}
SERVES = MemberStatus(False, "b", 2, 31, 5, "a", 8, 10_001, Sample(5, 1, 9, LAST))
FOLLOWS = SERVES._replace(sample=None, applied=30)


# -- one process -----------------------------------------------------------------------------------


def test_one_process_is_its_own_coordinator() -> None:
    calls = Calls()
    status = adminwire.decode_status(calls.answer(calls.call(PATH)))
    assert (status.router, status.stale, status.revision) == ("one", False, 1)
    assert status.coordinators == (Coordinator("one", "", "leader", "one"),)
    assert status.sequencer == Sequencer("one", 1, True)
    assert [(shard.name, shard.state) for shard in status.shards] == [(LEFT, "up"), (RIGHT, "up")]
    assert [(t.start, t.end, t.shard) for t in status.tablets] == [
        ("", "m", LEFT),
        ("m", None, RIGHT),
    ]


def test_malformed_question_is_refused() -> None:
    calls = Calls()
    code, _ = calls.refusal(calls.call(PATH, b"\x0a\xff"))
    assert code == Code.INTERNAL


# -- a cluster -------------------------------------------------------------------------------------


class Stand:
    """A router whose coordinators a, b and c, and whose shards, are what a test says."""

    def __init__(self, *connected: str) -> None:
        self.clock = FakeClock()
        self.edge = FakeEdge()
        self.client = CoordinatorClient(lambda _view: None)
        self.ends = {name: self._link(name) for name in connected}
        self.owners = {LEFT: OwnerClient(), RIGHT: OwnerClient()}
        context = dataclasses.replace(
            Shards().context(),
            owners=self.owners,
            coordinator=self.client,
            sequencer=self.client,
            clock=self.clock,
            coordinators=ADDRESSES,
            remote=True,
        )
        self.router = Router(context, Sample(4, 1, 6, {1: 6, 2: 3}))

    def _link(self, name: str) -> End:
        end = End(Peer("coordinator", name, 1))
        self.client.opened(end)
        alarms = frozenset({Alarm(3, ALARM_NOSPACE)})
        view = ClusterView(6, "cluster", 5, False, "a", MAP, 2, alarms, PLACES)
        self.client.received(end, CoordinatorKind.STATE, coordinator_wire.encode_state(view))
        return end

    def shard_up(self, name: str) -> End:
        link = End(FAR)
        self.owners[name].opened(link)
        return link

    def publish(self, tablet: int, closed: int) -> None:
        """A publication of the left shard."""
        news = TabletNews(tablet, 1, (), closed)
        self.router._hub.publish(Publication(LEFT, (news,), Sample(5, 1, 6, {1: 6, 2: 3}), True))

    def ask(self) -> None:
        calls = Calls()
        self.router.handle(self.edge, [calls.event(PATH)])

    def answer(self, name: str, status: MemberStatus) -> None:
        end = self.ends[name]
        kind, body = end.sent.pop()
        assert kind == CoordinatorKind.STATUS
        number = coordinator_wire.decode_status_ask(body)
        told = coordinator_wire.encode_status(number, status)
        self.client.received(end, CoordinatorKind.STATUS_ANSWER, told)

    def answered(self) -> ClusterStatus | None:
        """The answer to the only call, once it is there."""
        self.router.turn()
        if not self.edge.answers:
            return None
        (body,) = self.edge.answers.values()
        assert isinstance(body, bytes)
        return adminwire.decode_status(body)


def test_answer_waits_for_all_that_are_connected_and_joins_them() -> None:
    stand = Stand("a", "b", "c")
    stand.shard_up(LEFT)
    stand.publish(1, 7)
    stand.ask()
    stand.answer("a", SERVES)
    stand.answer("b", FOLLOWS)
    assert stand.answered() is None
    stand.answer("c", FOLLOWS._replace(leader=""))
    status = stand.answered()
    assert status is not None
    assert [(c.name, c.address, c.state, c.applied) for c in status.coordinators] == [
        ("a", "h:1", "follower", 31),
        ("b", "h:2", "leader", 30),
        ("c", "h:3", "alone", 30),
    ]
    assert status.sequencer == Sequencer("a", 5, True, 10_001, 8)
    assert (status.cluster, status.stale, status.revision, status.floor) == ("cluster", False, 9, 2)
    assert status.alarms == (Alarm(3, ALARM_NOSPACE),)
    left, right = status.shards
    assert (left.state, left.address, left.store, left.incarnation) == ("up", "h:7", "disk", 7)
    assert left.host == "shard-8"
    assert (right.state, right.address, right.host) == ("never started", "", "")
    assert [(t.last, t.closed, t.lag) for t in status.tablets] == [(9, 7, 2), (4, None, None)]


def test_shard_whose_link_is_lost_is_down() -> None:
    stand = Stand("a")
    link = stand.shard_up(LEFT)
    stand.owners[LEFT].closed(link)
    stand.ask()
    stand.answer("a", SERVES)
    status = stand.answered()
    assert status is not None
    assert [shard.state for shard in status.shards] == ["down", "never started"]


def test_coordinator_that_hangs_is_silent_and_one_without_a_link_unreachable() -> None:
    stand = Stand("a", "b")
    stand.ask()
    stand.answer("a", SERVES)
    assert stand.answered() is None
    deadline = stand.router.next_deadline_ms()
    assert deadline == stand.clock.now_ms() + ROUND_MS_MAX
    stand.clock.ms = deadline - 1
    assert stand.answered() is None
    stand.clock.ms = deadline
    status = stand.answered()
    assert status is not None
    assert [c.state for c in status.coordinators] == ["follower", "silent", "unreachable"]


def test_coordinator_whose_link_is_lost_meanwhile_is_not_waited_for() -> None:
    stand = Stand("a", "b")
    stand.ask()
    stand.answer("a", SERVES)
    stand.client.closed(stand.ends["b"])
    status = stand.answered()
    assert status is not None
    assert [c.state for c in status.coordinators] == ["follower", "unreachable", "unreachable"]


def test_without_a_sequencer_the_last_news_are_told_as_stale() -> None:
    stand = Stand("a")
    stand.ask()
    stand.answer("a", FOLLOWS._replace(leader=""))
    status = stand.answered()
    assert status is not None
    assert (status.stale, status.revision) == (True, 6)
    assert status.sequencer == Sequencer("a", 5, False)
    assert [t.last for t in status.tablets] == [6, 3]


def test_without_any_coordinator_it_is_answered_at_once() -> None:
    stand = Stand("a")
    stand.client.closed(stand.ends["a"])
    stand.ask()
    status = stand.answered()
    assert status is not None
    assert status.stale
    assert {c.state for c in status.coordinators} == {"unreachable"}


@pytest.mark.parametrize("waiting", [False, True])
def test_waiting_member_is_told_as_such(waiting: bool) -> None:
    stand = Stand("a")
    stand.ask()
    stand.answer("a", SERVES._replace(waiting=waiting, sample=None))
    status = stand.answered()
    assert status is not None
    assert status.coordinators[0].state == ("waiting" if waiting else "follower")


def test_of_two_that_say_they_serve_the_higher_reign_counts() -> None:
    stand = Stand("a", "b")
    stand.ask()
    newer = SERVES._replace(cepoch=6, holder="b", sample=Sample(6, 1, 20_000, LAST))
    stand.answer("a", SERVES)
    stand.answer("b", newer)
    status = stand.answered()
    assert status is not None
    assert (status.sequencer.name, status.revision) == ("b", 20_000)
