"""Who is away, and who gets the shards of one that is: beats in, seats out, by a test's clock."""

from __future__ import annotations

from dataclasses import replace

import pytest

from kubebraid.base.limits import HOST_AWAY_MS, HOST_BEAT_MS, HOST_LEAVE_MS
from kubebraid.base.ports import Beat, ShardPlace
from kubebraid.coordinator.hosts import Hosts
from kubebraid.coordinator.machine import UNFOUNDED
from kubebraid.coordinator.state import State
from kubebraid.coordinator.transition import Seat

BEGAN_MS = 1_000_000


class Stand:
    """A reign, a state with some shards, and hosts that beat while time passes."""

    def __init__(self, **hosts_of_shards: str) -> None:
        self.now_ms = BEGAN_MS
        self.hosts = Hosts(BEGAN_MS)
        self.seats = hosts_of_shards

    @property
    def state(self) -> State:
        places = tuple(
            ShardPlace(shard, "disk", 7, "h:1", 1, host=host)
            for shard, host in sorted(self.seats.items())
        )
        return replace(UNFOUNDED, cepoch=4, shards=places)

    def beat(self, host: str, load: int = 0, *, life: int = 1, leaving: bool = False) -> int:
        return self.hosts.heard(Beat(host, life, load, leaving), self.now_ms)

    def run(self, ms: int, *names: str, load: int = 0) -> None:
        """These beat, and nobody else."""
        end_ms = self.now_ms + ms
        while self.now_ms < end_ms:
            for name in names:
                self.beat(name, load)
            self.now_ms = min(end_ms, self.now_ms + HOST_BEAT_MS)
        for name in names:
            self.beat(name, load)

    def next(self) -> dict[str, str]:
        """The new host by shard; each is still on its way."""
        found = self.hosts.next(self.state, self.now_ms)
        for seat in found:
            assert seat == Seat(4, seat.shard, seat.host, self.seats[seat.shard])
        return {seat.shard: seat.host for seat in found}

    def take(self) -> dict[str, str]:
        """The same, and the log has taken them."""
        found = self.next()
        self.seats.update(found)
        for shard in found:
            self.hosts.seated(shard)
        return found

    def deadline(self) -> int | None:
        return self.hosts.next_deadline_ms(self.state, self.now_ms)


def steady() -> Stand:
    """Three hosts that are steady, each with the shard of its name."""
    stand = Stand(s0="s0", s1="s1", s2="s2")
    stand.run(HOST_AWAY_MS, "s0", "s1", "s2")
    assert stand.next() == {}
    return stand


# -- who is lost -----------------------------------------------------------------------------------


def test_shard_of_a_host_that_is_silent_gets_the_host_with_less_load() -> None:
    """The worked example of the module."""
    stand = steady()
    stand.run(HOST_AWAY_MS - HOST_BEAT_MS, "s0", load=9)
    stand.beat("s2")
    assert stand.next() == {}, "not away yet"
    stand.now_ms += HOST_BEAT_MS
    stand.beat("s0", 9)
    assert stand.take() == {"s1": "s2"}
    assert stand.take() == {}, "once"


def test_silence_is_no_absence_one_millisecond_too_early() -> None:
    stand = steady()
    heard_ms = stand.now_ms
    stand.run(HOST_AWAY_MS - 1, "s0", "s2")
    assert stand.next() == {}
    assert stand.deadline() == heard_ms + HOST_AWAY_MS
    stand.now_ms += 1
    assert set(stand.next()) == {"s1"}


def leave(stand: Stand, host: str) -> int:
    """It has said so for long enough. Answers: how many could take what it has."""
    able = stand.beat(host, leaving=True)
    stand.now_ms += HOST_LEAVE_MS
    assert stand.beat(host, leaving=True) == able
    return able


def test_host_that_leaves_is_followed_and_told_how_many_could() -> None:
    stand = steady()
    assert leave(stand, "s1") == 2
    assert set(stand.take()) == {"s1"}
    assert stand.beat("s1", leaving=True) == 2, "it gets none back"
    assert stand.take() == {}


def test_host_that_leaves_is_not_followed_by_one_that_says_so_a_moment_later() -> None:
    """All of a cluster are stopped, one after the other."""
    stand = steady()
    stand.beat("s1", leaving=True)
    due_ms = stand.now_ms + HOST_LEAVE_MS
    assert stand.deadline() == due_ms
    stand.now_ms = due_ms - 1
    assert stand.next() == {}
    stand.beat("s0", leaving=True)
    stand.beat("s2", leaving=True)
    stand.now_ms = due_ms
    assert stand.next() == {}


def test_host_that_says_that_it_stays_after_all_keeps_its_shard() -> None:
    stand = steady()
    stand.beat("s1", leaving=True)
    stand.beat("s1")
    stand.now_ms += HOST_LEAVE_MS
    assert stand.next() == {}


def test_host_that_leaves_alone_is_told_that_nobody_could() -> None:
    stand = Stand(s0="s0")
    stand.run(HOST_AWAY_MS, "s0")
    assert stand.beat("s0", leaving=True) == 0
    assert stand.next() == {}


def test_all_of_a_silent_host_go_each_to_another_where_there_are_two() -> None:
    stand = Stand(s0="s0", s1="s1", s2="s2", s3="s1")
    stand.run(HOST_AWAY_MS, "s0", "s1", "s2")
    stand.run(HOST_AWAY_MS, "s0", "s2")
    assert sorted(stand.take().items()) == [("s1", "s0"), ("s3", "s2")]


def test_fewest_shards_come_before_least_load() -> None:
    stand = Stand(s0="s0", s1="s1", s2="s2", s3="s2")
    stand.run(HOST_AWAY_MS, "s1")
    for _ in range(HOST_AWAY_MS // HOST_BEAT_MS):
        stand.beat("s0", 1_000)
        stand.run(HOST_BEAT_MS, "s2")
    stand.beat("s0", 1_000)
    assert stand.take() == {"s1": "s0"}, "s2 has two already, and does nothing"


def test_shard_without_a_host_is_nobodys_to_move() -> None:
    """Its data is in a directory."""
    stand = Stand(s0="s0", s1="")
    stand.run(2 * HOST_AWAY_MS, "s0")
    assert stand.next() == {}
    assert stand.deadline() == stand.now_ms + HOST_AWAY_MS, "of s0 alone"


# -- who takes -------------------------------------------------------------------------------------


def test_without_anybody_who_could_take_it_a_shard_keeps_its_seat() -> None:
    stand = steady()
    stand.now_ms += 2 * HOST_AWAY_MS
    assert stand.next() == {}, "all are away"
    stand.beat("s0")
    assert stand.next() == {}, "it has just come back"
    stand.run(HOST_AWAY_MS - 1, "s0")
    assert stand.next() == {}
    stand.now_ms += 1
    stand.beat("s0")
    assert stand.next() == {"s1": "s0", "s2": "s0"}


def test_host_that_leaves_is_given_nothing() -> None:
    stand = steady()
    stand.run(HOST_AWAY_MS, "s0")
    stand.beat("s0", leaving=True)
    assert stand.next() == {}


@pytest.mark.parametrize("life", [1, 2])
def test_host_that_was_silent_or_began_anew_is_steady_only_after_a_while(life: int) -> None:
    stand = steady()
    if life == 1:
        stand.now_ms += HOST_AWAY_MS
    stand.beat("s0", life=life)
    assert stand.beat("s9") == (1 if life == 1 else 3), "it may take over soon"
    if life == 1:
        assert stand.next() == {}, "s1 and s2 are away, and nobody is steady"
    else:
        leave(stand, "s1")
        assert list(stand.take().values()) == ["s2"]


def test_host_that_is_back_in_time_as_another_process_keeps_its_shard() -> None:
    stand = steady()
    stand.run(HOST_AWAY_MS - HOST_BEAT_MS, "s0", "s2")
    stand.beat("s1", life=2)
    stand.run(HOST_BEAT_MS, "s0", "s2")
    assert stand.next() == {}
    assert stand.hosts.hinders("s1", stand.now_ms) == ""


def test_process_that_follows_one_that_left_takes_no_seat_back() -> None:
    stand = steady()
    leave(stand, "s1")
    (given,) = stand.take().values()
    stand.beat("s1", life=2)
    stand.run(HOST_AWAY_MS, "s0", "s2")
    assert stand.take() == {}
    assert stand.seats["s1"] == given


# -- a reign ---------------------------------------------------------------------------------------


def test_new_reign_takes_nobody_for_away_whom_it_could_not_hear() -> None:
    stand = Stand(s0="s0", s1="s1")
    assert stand.deadline() == BEGAN_MS + HOST_AWAY_MS
    stand.run(HOST_AWAY_MS - 1, "s0")
    assert stand.next() == {}
    stand.now_ms += 1
    stand.beat("s0")
    assert stand.next() == {"s1": "s0"}


def test_seat_that_is_on_its_way_is_not_asked_for_again() -> None:
    stand = steady()
    stand.run(HOST_AWAY_MS, "s0", "s2")
    (given,) = stand.next().values()
    stand.run(HOST_AWAY_MS, "s0", "s2")
    assert stand.next() == {}
    stand.hosts.seated("s1")
    assert set(stand.next()) == {"s1"}, "the log did not take it: again"
    stand.hosts.seated("s1")
    stand.seats["s1"] = given
    assert stand.next() == {}


# -- an operator -----------------------------------------------------------------------------------


def test_operator_is_told_who_cannot_be_given_a_shard() -> None:
    stand = steady()
    hinders = stand.hosts.hinders
    assert hinders("s0", stand.now_ms) == ""
    assert "no host that was heard of" in hinders("s9", stand.now_ms)
    stand.beat("s0", leaving=True)
    assert "about to end" in hinders("s0", stand.now_ms)
    assert "no host" in hinders("s1", stand.now_ms + HOST_AWAY_MS)


# -- the clock -------------------------------------------------------------------------------------


def test_deadline_is_never_in_the_past_and_none_where_nothing_can_be_missed() -> None:
    stand = Stand(s0="s0", s1="s1")
    ends = []
    for _ in range(40):
        stand.now_ms += 173
        if stand.now_ms - BEGAN_MS < 3_000:
            stand.beat("s0")
        ends.append(stand.deadline())
        assert ends[-1] is None or ends[-1] > stand.now_ms
    assert ends[0] is not None
    assert ends[-1] is None, "both are away: a beat tells when somebody may take"
    assert Stand().deadline() is None
