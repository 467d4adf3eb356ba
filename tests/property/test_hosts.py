"""Seats over random beats, silences, ends and reigns: who serves a shard is never taken from it
without a reason, and never for nobody.

The oracle knows only what was said and when; nothing of what `Hosts` makes of it.
"""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

from hypothesis import given, settings
from hypothesis import strategies as st

from kubebraid.base.limits import HOST_AWAY_MS, HOST_BEAT_MS, HOST_LEAVE_MS
from kubebraid.base.ports import Beat, ShardPlace
from kubebraid.coordinator.hosts import Hosts
from kubebraid.coordinator.machine import UNFOUNDED
from kubebraid.coordinator.state import State
from kubebraid.coordinator.transition import Seat, apply

HOSTS = ("h0", "h1", "h2")
SHARDS = ("s0", "s1", "s2", "s3")


class Pass(NamedTuple):
    """Time passes; these hosts beat at its end, with a life and whether they leave."""

    ms: int
    beats: tuple[tuple[str, int, bool], ...]


class Logged(NamedTuple):
    """The log has taken, or lost, the oldest Seat."""

    taken: bool


class Reign(NamedTuple):
    """Another member serves from now on."""


BEATS = st.lists(
    st.tuples(st.sampled_from(HOSTS), st.integers(1, 2), st.booleans()), max_size=3
).map(tuple)
# Often as hosts beat when all is well: otherwise nobody would ever be steady.
STEADY = st.sampled_from(
    [
        Pass(HOST_BEAT_MS, tuple((name, 1, False) for name in names))
        for names in (HOSTS, HOSTS[:2], HOSTS[1:], HOSTS[:1])
    ]
)
MOVES = st.lists(
    st.one_of(
        STEADY,
        STEADY,
        STEADY,
        st.builds(Pass, st.integers(0, HOST_AWAY_MS + 100), BEATS),
        st.builds(Logged, st.booleans()),
        st.builds(Reign),
    ),
    max_size=60,
)


class World:
    """One member, the log as it sees it, and all that was ever said to it in this reign."""

    def __init__(self, seats: tuple[str, ...]) -> None:
        self.now_ms = self.began_ms = 10_000
        self.hosts = Hosts(self.now_ms)
        places = tuple(
            ShardPlace(shard, "disk", 7, "h:1", 1, host=host)
            for shard, host in zip(SHARDS, seats, strict=True)
        )
        self.state: State = replace(UNFOUNDED, cepoch=1, shards=places)
        self.said: dict[str, list[tuple[int, int, bool]]] = {}
        self.flying: list[Seat] = []

    def beat(self, host: str, life: int = 1, leaving: bool = False) -> None:
        self.hosts.heard(Beat(host, life, 0, leaving), self.now_ms)
        self.said.setdefault(host, []).append((self.now_ms, life, leaving))

    def away(self, host: str) -> bool:
        said = self.said.get(host)
        last_ms = said[-1][0] if said else self.began_ms
        return self.now_ms - last_ms >= HOST_AWAY_MS

    def leaves(self, host: str) -> bool:
        """It said so, and nothing else, for so long."""
        said = self.said.get(host, [])
        first_ms = None
        for index in reversed(range(len(said))):
            at_ms, life, leaving = said[index]
            if not leaving or life != said[-1][1]:
                break
            first_ms = at_ms
        return first_ms is not None and self.now_ms - first_ms >= HOST_LEAVE_MS

    def steady(self, host: str) -> bool:
        """One life, without a gap, for so long; and it stays."""
        said = self.said.get(host, [])
        if not said or self.away(host) or said[-1][2]:
            return False
        since_ms = last_ms = said[-1][0]
        for at_ms, life, _ in reversed(said):
            if life != said[-1][1] or since_ms - at_ms >= HOST_AWAY_MS:
                break
            since_ms = at_ms
        return last_ms - since_ms >= HOST_AWAY_MS

    def turn(self) -> None:
        for seat in self.hosts.next(self.state, self.now_ms):
            known = self.state.shard(seat.shard)
            assert known is not None
            assert seat.before == known.host != seat.host
            assert all(other.shard != seat.shard for other in self.flying), "one on its way"
            assert self.away(seat.before) or self.leaves(seat.before), "it lives, and stays"
            assert self.steady(seat.host), "whoever is given something can serve it"
            self.flying.append(seat)
        due_ms = self.hosts.next_deadline_ms(self.state, self.now_ms)
        assert due_ms is None or due_ms > self.now_ms, "the loop would spin"

    def logged(self, taken: bool) -> None:
        if self.flying:
            seat = self.flying.pop(0)
            if taken:
                self.state = apply(self.state, seat)
            self.hosts.seated(seat.shard)
            self.turn()

    def reign(self) -> None:
        """What the member before asked for may still come, and does nothing."""
        self.state = replace(self.state, cepoch=self.state.cepoch + 1)
        for seat in self.flying:
            assert apply(self.state, seat) is self.state
        self.flying.clear()
        self.said.clear()
        self.began_ms = self.now_ms
        self.hosts = Hosts(self.now_ms)

    def go(self, move: Pass | Logged | Reign) -> None:
        match move:
            case Pass(ms, beats):
                self.now_ms += ms
                for beat in beats:
                    self.beat(*beat)
                self.turn()
            case Logged(taken):
                self.logged(taken)
            case Reign():
                self.reign()


SEATS = st.tuples(*[st.sampled_from(("", *HOSTS))] * len(SHARDS))


@settings(max_examples=300, deadline=None)
@given(SEATS, MOVES)
def test_shards_are_taken_only_from_who_is_gone_and_given_only_to_who_stays(
    seats: tuple[str, ...], moves: list[Pass | Logged | Reign]
) -> None:
    world = World(seats)
    for move in moves:
        world.go(move)
    for shard, host in zip(SHARDS, seats, strict=True):
        place = world.state.shard(shard)
        assert place is not None
        assert (place.host == "") == (host == ""), "what has no host gets none"


@settings(max_examples=150, deadline=None)
@given(SEATS, MOVES, st.sampled_from(HOSTS), st.booleans(), st.integers(0, 4))
def test_whatever_came_before_one_that_stays_gets_all_in_bounded_time(
    seats: tuple[str, ...],
    moves: list[Pass | Logged | Reign],
    stays: str,
    says: bool,
    losses: int,
) -> None:
    """The others are silent, or say that they leave; the log loses some Seats. Turns are taken only
    when something comes and at the deadlines."""
    world = World(seats)
    for move in moves:
        world.go(move)
    end_ms = world.now_ms + 2 * HOST_AWAY_MS + HOST_BEAT_MS + HOST_LEAVE_MS
    beat_ms = world.now_ms
    while world.now_ms <= end_ms:
        if world.now_ms >= beat_ms:
            for host in HOSTS:
                if host == stays or says:
                    world.beat(host, leaving=host != stays)
            beat_ms = world.now_ms + HOST_BEAT_MS
        world.turn()
        while world.flying:
            world.logged(taken=losses == 0)
            losses = max(0, losses - 1)
        due_ms = world.hosts.next_deadline_ms(world.state, world.now_ms)
        world.now_ms = beat_ms if due_ms is None else min(due_ms, beat_ms)
    assert {place.host for place in world.state.shards} <= {"", stays}
