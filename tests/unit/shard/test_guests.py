"""Leases whose keys lie on several shards: joins, leaves, ends, and who answers late or never.

What it is: three whole shards (`Shards`) before links that a test delivers, holds and cuts. What it
is not: the order of messages of real links between all processes (tests/sim).

Words: a *link* is that of one asker to one target: its questions arrive in order, its answers come
back in order; between two links there is no order, also not between the two of one pair of shards.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, TypeAlias

import pytest

from kubebraid.base import errors
from kubebraid.base.errors import RequestRefused
from kubebraid.base.limits import LEASE_RETRY_MS
from kubebraid.base.ports import (
    WRITE_LEASE_GRANT,
    WRITE_LEASE_REVOKE,
    WRITE_PUT,
    LeaseInfo,
    WriteCall,
    WriteReply,
)
from kubebraid.base.tabletmap import TabletMap, layout
from kubebraid.coordinator.sequencer import Sequencer
from kubebraid.proto import requests
from kubebraid.proto.etcd import rpc_pb2
from kubebraid.shard import keycodec
from kubebraid.shard.lease import LeaseRow
from kubebraid.shard.owner import Owner
from kubebraid.shard.ownership import Ownership, adopt
from kubebraid.shard.seal import unpack_lease
from kubebraid.shard.seams import ShardSeams
from kubebraid.shard.storage.memory import MemoryEngine
from kubebraid.shard.view import attached_keys
from tests.unit.shard.fakes import FakeClock, LateSequencer

HOME, NEAR, FAR = "s0", "s1", "s2"  # every lease lives on s0; /a/ lies on s1, /b/ on s2
KEYS = {HOME: b"0", NEAR: b"/a/x", FAR: b"/b/x"}
Thunk: TypeAlias = Callable[[], None]


def first_map() -> TabletMap:
    owners = {b"/a": NEAR, b"/b": FAR}
    made = layout([b"/a/", b"/b/"], HOME).tablets
    return TabletMap(1, tuple(replace(t, shard=owners.get(t.span.start, HOME)) for t in made))


@dataclass
class Answer:
    """A question that was asked, and what came of it."""

    give: Callable[[Any], None]
    given: bool = False

    def take(self, answer: Any) -> None:
        if not self.given:
            self.given = True
            self.give(answer)


class Link:
    """One asker's way to one target. Implements what shards ask each other of PeerPort."""

    def __init__(self, world: Shards, target: str) -> None:
        self._world = world
        self._target = target
        self.questions: deque[tuple[Callable[[Callable[[Any], None]], None], Answer]] = deque()
        self.answers: deque[Thunk] = deque()
        self._open: list[Answer] = []
        self._life = 0

    def _ask(self, question: Callable[[Callable[[Any], None]], None], done: Any) -> None:
        answer = Answer(done)
        self._open.append(answer)
        self.questions.append((question, answer))

    def lease_join(self, lease: int, guest: str, done: Any) -> None:
        self._ask(lambda give: self._owner.lease_join(lease, guest, give), done)

    def lease_leave(self, lease: int, done: Any) -> None:
        self._ask(lambda give: self._owner.lease_leave(lease, give), done)

    def lease_info(self, lease: int, done: Any) -> None:
        self._ask(lambda give: self._owner.lease_info(lease, give), done)

    def across(self, call: Any, done: Any) -> None:
        raise AssertionError("no transaction here")

    def copy(self, call: Any, done: Any) -> None:
        raise AssertionError("no migration here")

    digest = copy

    @property
    def _owner(self) -> Owner:
        return self._world.shards[self._target].owner

    def to_target(self) -> bool:
        """The oldest question arrives."""
        if not self.questions:
            return False
        question, answer = self.questions.popleft()
        life = self._life

        def give(found: Any) -> None:
            if life == self._life:
                self.answers.append(partial(answer.take, found))

        question(give)
        return True

    def to_asker(self) -> bool:
        """The oldest answer comes back."""
        if not self.answers:
            return False
        self.answers.popleft()()
        return True

    def cut(self, told: bool = True) -> None:
        """All that is on its way is lost. `told`: the asker lives and is refused."""
        lost, self._open = self._open, []
        self._life += 1
        self.questions.clear()
        self.answers.clear()
        for answer in lost:
            if told:
                answer.take(errors.OWNER_AWAY)
            answer.given = True


class Shard:
    """One process of a shard on its engine."""

    def __init__(self, world: Shards, name: str, engine: MemoryEngine) -> None:
        self.engine = engine
        tablets = world.tablets
        fences = adopt(engine, name, tablets)
        self.owned = Ownership(name, 1, tablets, fences, lambda: -1, world.lives[name])
        self.sequencer = LateSequencer(world.sequencer, late=False)
        self.links = {other: Link(world, other) for other in KEYS if other != name}
        seams = ShardSeams(world.clock, world.fatal.append)
        self.owner = Owner(engine, self.owned, self.sequencer, seams, self.links)

    def run(self) -> None:
        while self.owner.turn():
            pass

    def row(self, lease: int) -> LeaseRow | None:
        raw = self.engine.get(keycodec.lease(lease))
        return None if raw is None else unpack_lease(raw)

    def keys(self, lease: int) -> list[bytes]:
        return list(attached_keys(self.engine, lease))


class Shards:
    """Three shards, their links, one sequencer and one clock."""

    def __init__(self) -> None:
        self.tablets = first_map()
        last = {tablet.id: 1 for tablet in self.tablets.tablets}
        self.sequencer = Sequencer(1, self.tablets, last)
        self.clock = FakeClock()
        self.fatal: list[object] = []
        self.lives = dict.fromkeys(KEYS, 1)
        self.shards = {name: Shard(self, name, MemoryEngine()) for name in KEYS}

    @property
    def links(self) -> list[Link]:
        return [link for shard in self.shards.values() for link in shard.links.values()]

    def run(self, *silent: str) -> None:
        """Everything that can happen without time; the `silent` hear and say nothing."""
        busy = True
        while busy:
            for name, shard in self.shards.items():
                if name not in silent:
                    shard.run()
            busy = False
            for name, shard in self.shards.items():
                for other, link in shard.links.items():
                    if not {name, other} & set(silent):
                        busy |= link.to_target() | link.to_asker()
        assert self.fatal == []

    def wait(self, ms: int, *silent: str) -> None:
        self.clock.ms += ms
        self.run(*silent)

    def restart(self, name: str) -> None:
        """The process ends; another one takes its tablets behind what they were given."""
        ends = dict(self.sequencer.freeze(name, self.tablets))
        tablets = tuple(
            replace(t, oepoch=t.oepoch + 1, begin=ends[t.id]) if t.shard == name else t
            for t in self.tablets.tablets
        )
        self.tablets = TabletMap(self.tablets.version + 1, tablets)
        self.sequencer.adopt_map(self.tablets)
        for other, shard in self.shards.items():
            if other == name:
                for link in shard.links.values():
                    link.cut(told=False)
            else:
                shard.owned.adopt_map(self.tablets)
                shard.links[name].cut()
        self.lives[name] += 1
        self.shards[name] = Shard(self, name, self.shards[name].engine.clone())

    # -- what clients ask ----------------------------------------------------------------------

    def write(self, name: str, kind: int, payload: bytes) -> list[WriteReply]:
        tablets = () if kind != WRITE_PUT else tuple(self.shards[name].owned.oepochs)
        call = WriteCall(kind, payload, tablets, self.tablets.version, name)
        replies: list[WriteReply] = []
        self.shards[name].owner.submit([call], replies.append)
        return replies

    def put(self, name: str, lease: int = 7, key: bytes = b"") -> list[WriteReply]:
        made = rpc_pb2.PutRequest(key=key or KEYS[name], value=b"v", lease=lease)
        return self.write(name, WRITE_PUT, made.SerializeToString())

    def grant(self, lease: int = 7, ttl_s: int = 60) -> list[WriteReply]:
        return self.write(HOME, WRITE_LEASE_GRANT, requests.encode_lease_grant(lease, ttl_s))

    def revoke(self, lease: int = 7) -> list[WriteReply]:
        return self.write(HOME, WRITE_LEASE_REVOKE, requests.encode_lease_revoke(lease))

    def info(self, lease: int = 7) -> list[LeaseInfo | RequestRefused | None]:
        answers: list[LeaseInfo | RequestRefused | None] = []
        self.shards[HOME].owner.lease_info(lease, answers.append)
        return answers

    def keep_alive(self, lease: int = 7) -> int:
        answers: list[int | RequestRefused] = []
        self.shards[HOME].owner.keep_alive(lease, answers.append)
        (answer,) = answers
        assert isinstance(answer, int)
        return answer

    # -- what is so ----------------------------------------------------------------------------

    def keys(self, lease: int = 7) -> list[bytes]:
        return sorted(key for shard in self.shards.values() for key in shard.keys(lease))

    def row(self, name: str = HOME, lease: int = 7) -> LeaseRow | None:
        return self.shards[name].row(lease)


def error_of(replies: list[WriteReply]) -> RequestRefused | None:
    (reply,) = replies
    return reply.error


def granted(*guests: str) -> Shards:
    """Lease 7, with a key at home and one at each guest."""
    world = Shards()
    world.grant()
    world.run()
    for name in (HOME, *guests):
        replies = world.put(name)
        world.run()
        assert error_of(replies) is None
    return world


# -- joins -----------------------------------------------------------------------------------------


def test_key_of_another_shards_lease_is_attached_behind_a_durable_join() -> None:
    """The worked example of the module."""
    world = granted(NEAR)
    assert world.row() == LeaseRow(60, guests=(NEAR,))
    assert world.row(NEAR) == LeaseRow(60, visiting=True)
    assert world.keys() == [KEYS[NEAR], KEYS[HOME]]


def test_inv21_nothing_is_attached_before_home_and_guest_have_noted_it() -> None:
    world = Shards()
    world.grant()
    world.run()
    replies = world.put(NEAR)
    world.run(HOME)
    link = world.shards[NEAR].links[HOME]
    assert link.to_target()
    world.shards[NEAR].run()
    assert (replies, world.keys(), world.row(NEAR)) == ([], [], None)
    world.run()
    assert error_of(replies) is None


def test_join_is_asked_once_for_all_that_wait_and_never_again() -> None:
    world = Shards()
    world.grant()
    world.run()
    waiting = [world.put(NEAR, key=b"/a/%d" % number) for number in range(5)]
    world.shards[NEAR].run()
    assert len(world.shards[NEAR].links[HOME].questions) == 1
    world.run()
    assert [error_of(replies) for replies in waiting] == [None] * 5
    world.put(NEAR, key=b"/a/later")
    world.shards[NEAR].run()
    assert not world.shards[NEAR].links[HOME].questions


def test_other_writes_go_on_while_one_waits_for_another_shard() -> None:
    world = Shards()
    waiting = world.put(NEAR)
    plain = world.put(NEAR, lease=0, key=b"/a/plain")
    world.shards[NEAR].run()
    assert error_of(plain) is None
    assert waiting == []


def test_lease_that_is_not_there_is_not_found() -> None:
    world = Shards()
    replies = world.put(NEAR)
    world.run()
    assert error_of(replies) is errors.LEASE_NOT_FOUND
    assert world.row(NEAR) is None


def test_put_is_refused_as_definite_when_the_home_cannot_be_reached() -> None:
    """Whatever became of the join: of the put nothing was done, so it may be tried again."""
    world = Shards()
    world.grant()
    world.run()
    replies = world.put(NEAR)
    world.run(HOME)
    link = world.shards[NEAR].links[HOME]
    link.to_target()
    link.cut()
    world.run()
    assert error_of(replies) is errors.NO_LEADER
    again = world.put(NEAR)
    world.run()
    assert error_of(again) is None


def test_home_that_no_peer_is_known_for_is_away() -> None:
    world = Shards()
    del world.shards[NEAR].links[HOME]
    replies = world.put(NEAR)
    world.shards[NEAR].run()
    assert error_of(replies) is errors.NO_LEADER


# -- ends ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("guests", [(), (NEAR,), (NEAR, FAR)])
@pytest.mark.parametrize("expires", [False, True])
def test_inv21_keys_of_all_shards_end_with_their_lease(
    guests: tuple[str, ...], expires: bool
) -> None:
    world = granted(*guests)
    if expires:
        world.wait(59_999)
        assert len(world.keys()) == 1 + len(guests), "not a millisecond early"
        world.wait(1)
    else:
        replies = world.revoke()
        world.run()
        assert error_of(replies) is None
    assert world.keys() == []
    assert [world.row(name) for name in KEYS] == [None] * 3


def test_inv21_lease_with_a_guest_that_does_not_answer_stays_until_it_does() -> None:
    world = granted(NEAR, FAR)
    replies = world.revoke()
    world.run(FAR)
    assert world.row() == LeaseRow(60, (NEAR, FAR), ended=True)
    assert world.keys() == [KEYS[FAR], KEYS[HOME]]
    assert world.keep_alive() == 0, "it renews for nobody"
    for _ in range(5):
        world.wait(LEASE_RETRY_MS, FAR)
    assert replies == []
    world.run()
    assert error_of(replies) is None
    assert world.keys() == []


def test_guest_that_refuses_is_asked_again() -> None:
    world = granted(NEAR)
    replies = world.revoke()
    world.shards[HOME].run()
    world.shards[HOME].links[NEAR].cut()
    world.run()
    assert replies == []
    assert not world.shards[HOME].links[NEAR].questions
    world.wait(LEASE_RETRY_MS - 1)
    assert replies == []
    world.wait(1)
    assert error_of(replies) is None


def test_inv21_nothing_attaches_behind_the_end() -> None:
    world = granted(NEAR)
    world.revoke()
    world.run(NEAR)
    late = [world.put(HOME, key=b"1"), world.put(FAR)]
    world.run(NEAR)
    assert [error_of(replies) for replies in late] == [errors.LEASE_NOT_FOUND] * 2
    assert world.row(FAR) is None


def test_revoke_of_two_at_once_is_answered_as_by_etcd() -> None:
    world = granted(NEAR)
    first, second = world.revoke(), world.revoke()
    world.run()
    assert [error_of(first), error_of(second)] == [None, errors.LEASE_NOT_FOUND]


@pytest.mark.parametrize("ttl_s", [60, 30])
def test_inv21_lease_that_is_ending_is_not_granted_anew(ttl_s: int) -> None:
    """Its guests would be forgotten, and their keys left behind."""
    world = granted(NEAR)
    world.revoke()
    world.run(NEAR)
    again = world.grant(ttl_s=ttl_s)
    world.run(NEAR)
    assert error_of(again) is errors.LEASE_EXISTS
    assert world.row() == LeaseRow(60, guests=(NEAR,), ended=True)
    world.run()
    assert world.keys() == []


def test_inv21_lease_that_is_granted_again_has_none_of_the_old_keys() -> None:
    world = granted(NEAR)
    world.revoke()
    world.run()
    again = world.grant(ttl_s=30)
    world.run()
    replies = world.put(NEAR)
    world.run()
    assert (error_of(again), error_of(replies)) == (None, None)
    assert world.keys() == [KEYS[NEAR]]
    assert world.row(NEAR) == LeaseRow(30, visiting=True)


# -- joins and ends that cross ---------------------------------------------------------------------


def joined_and_revoked() -> tuple[Shards, list[WriteReply], list[WriteReply]]:
    """The guest is noted at home, the answer is on its way; then the lease is revoked, and the
    question to leave is on its way too."""
    world = Shards()
    world.grant()
    world.run()
    put = world.put(NEAR)
    world.shards[NEAR].run()
    world.shards[NEAR].links[HOME].to_target()
    world.shards[HOME].run()
    revoke = world.revoke()
    world.shards[HOME].run()
    assert len(world.shards[NEAR].links[HOME].answers) == 1
    assert len(world.shards[HOME].links[NEAR].questions) == 1
    return world, put, revoke


def test_inv21_leave_overtakes_the_answer_to_the_join() -> None:
    world, put, revoke = joined_and_revoked()
    world.shards[HOME].links[NEAR].to_target()
    world.run()
    assert error_of(put) is errors.LEASE_NOT_FOUND
    assert error_of(revoke) is None
    assert world.keys() == []


def test_inv21_leave_meets_the_row_of_the_visit_on_its_way() -> None:
    world, put, revoke = joined_and_revoked()
    world.shards[NEAR].links[HOME].to_asker()
    world.shards[HOME].links[NEAR].to_target()
    world.run()
    assert error_of(put) in {None, errors.LEASE_NOT_FOUND}
    assert error_of(revoke) is None
    assert world.keys() == []
    assert world.row(NEAR) is None


def test_inv21_late_answer_to_an_earlier_join_is_not_taken_for_the_present_one() -> None:
    """The guest was told to leave, and has; the next put asks to join anew; then the answer to the
    first join comes, over the other connection. Its key would outlive the lease."""
    world, put, revoke = joined_and_revoked()
    world.shards[HOME].links[NEAR].to_target()
    assert error_of(put) is errors.LEASE_NOT_FOUND
    again = world.put(NEAR)
    world.shards[NEAR].run()
    world.shards[NEAR].links[HOME].to_asker()
    world.run()
    assert error_of(again) is errors.LEASE_NOT_FOUND
    assert error_of(revoke) is None
    assert world.keys() == []
    assert world.row(NEAR) is None


def test_inv21_question_to_leave_does_not_outlive_the_lease_that_it_was_about() -> None:
    """The home asks again, both questions lie on a slow connection, the first one ends the lease.
    A client grants it anew and attaches a key, and then the second one arrives."""
    world = granted(NEAR)
    revoke = world.revoke()
    world.run(NEAR)
    world.wait(LEASE_RETRY_MS, NEAR)
    slow = world.shards[HOME].links[NEAR]
    slow.to_target()
    world.shards[NEAR].run()
    slow.to_asker()
    world.shards[HOME].run()
    assert error_of(revoke) is None
    world.grant()
    world.shards[HOME].run()
    put = world.put(NEAR)
    world.shards[NEAR].run()
    world.shards[NEAR].links[HOME].to_target()
    world.shards[HOME].run()
    world.shards[NEAR].links[HOME].to_asker()
    world.run()
    assert error_of(put) is None
    assert world.keys() == [KEYS[NEAR]]


# -- restarts --------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [HOME, NEAR])
def test_inv21_restart_of_either_side_keeps_keys_and_guests(name: str) -> None:
    world = granted(NEAR)
    world.restart(name)
    world.run()
    assert world.row() == LeaseRow(60, guests=(NEAR,))
    replies = world.put(NEAR, key=b"/a/more")
    world.run()
    assert error_of(replies) is None
    world.revoke()
    world.run()
    assert world.keys() == []


@pytest.mark.parametrize("name", [HOME, NEAR])
def test_inv21_restart_in_the_middle_of_an_end_brings_it_to_its_end(name: str) -> None:
    """Nobody asks for it any more: the home finds its row ended, and goes on by itself."""
    world = granted(NEAR)
    world.revoke()
    world.run(NEAR)
    row = world.row()
    assert row is not None
    assert row.ended
    world.restart(name)
    world.wait(2 * LEASE_RETRY_MS)
    assert world.keys() == []
    assert [world.row(other) for other in KEYS] == [None] * 3


def test_inv21_guest_that_restarts_between_join_and_attachment_holds_nothing() -> None:
    world = Shards()
    world.grant()
    world.run()
    world.put(NEAR)
    world.shards[NEAR].run()
    world.shards[NEAR].links[HOME].to_target()
    world.shards[HOME].run()
    world.restart(NEAR)
    world.run()
    assert world.row() == LeaseRow(60, guests=(NEAR,))
    replies = world.revoke()
    world.run()
    assert error_of(replies) is None


def test_guest_neither_lists_renews_nor_ends_a_lease() -> None:
    world = granted(NEAR)
    world.restart(NEAR)
    guest = world.shards[NEAR].owner
    listed: list[object] = []
    guest.leases(listed.append)
    renewed: list[int | RequestRefused] = []
    guest.keep_alive(7, renewed.append)
    assert (listed, renewed) == ([[]], [errors.OTHER_MAP]), "its home is elsewhere"
    world.clock.ms += 59_000
    assert world.keep_alive() == 60
    world.wait(59_000)
    assert len(world.keys()) == 2


# -- what is attached ------------------------------------------------------------------------------


def test_info_names_the_keys_of_all_shards_in_order() -> None:
    world = granted(FAR, NEAR)
    answers = world.info()
    assert answers == []
    world.run()
    assert answers == [LeaseInfo(60, 60, (KEYS[NEAR], KEYS[FAR], KEYS[HOME]))]


def test_info_is_refused_once_when_a_guest_cannot_be_asked() -> None:
    world = granted(FAR, NEAR)
    answers = world.info()
    for name in (NEAR, FAR):
        world.shards[HOME].links[name].cut()
    assert answers == [errors.OWNER_AWAY]
    del world.shards[HOME].links[NEAR]
    assert world.info() == [errors.NO_LEADER], "at once: nobody knows where it is"
