"""Old versions in TiKV, with any delays: nobody reads what a round let go.

Readers draw timestamps, hold them, and read, by the rules of tikv_keeper.py; rounds see the holds
of some instant and come to their end later. All clocks run alike, in whole seconds.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kubebraid.shard.storage.tikv_gc import Ages, Next, Pair, decided

AGES: Final = Ages(interval_s=10, age_s=20, trust_s=10, move_s=4, tick_s=1)
SECOND: Final = 1000 << 18
READERS: Final = 2
ACTIONS: Final = ("time", "time", "draw", "begin", "commit", "look", "end")
STEPS: Final = st.lists(
    st.tuples(st.sampled_from(ACTIONS), st.integers(0, READERS - 1), st.integers(0, 4)),
    min_size=40,
    max_size=120,
)

Decide = Callable[[int, Pair | None, dict[bytes, Pair], Ages], Next]


class Reader:
    """One with one timestamp at a time, which it draws anew when it is done."""

    def __init__(self) -> None:
        self.at = 0  # not yet drawn
        self.since = 0
        self.writing: tuple[int, Pair] | None = None


class World:
    def __init__(self, decide: Decide) -> None:
        self.decide = decide
        self.now = 100
        self.asked = 0
        self.last: Pair | None = None
        self.holds: dict[bytes, Pair] = {}
        self.readers = [Reader() for _ in range(READERS)]
        self.round: tuple[int, dict[bytes, Pair]] | None = None
        self.held_back = 0

    def fresh(self, reader: Reader) -> bool:
        return reader.at > 0 and self.now - reader.since < AGES.trust_s

    def step(self, action: str, reader: Reader, row: bytes, seconds: int) -> None:
        match action:
            case "time":
                self.now += seconds
            case "draw" if not self.fresh(reader) or seconds == 0:
                reader.since, reader.writing = self.now, None
                self.now += seconds  # until PD has answered
                reader.at = self.now * SECOND
            case "begin" if self.fresh(reader) and reader.writing is None:
                reader.writing = (self.now, Pair(self.now * SECOND, reader.at))
            case "commit" if reader.writing is not None:
                began, self.holds[row] = reader.writing
                reader.writing = None
                if self.fresh(reader):
                    reader.since = began
            case "look" if self.round is None:
                self.round = (self.now, dict(self.holds))
            case "end" if self.round is not None:
                self.moved(*self.round)
                self.round = None

    def moved(self, began: int, holds: dict[bytes, Pair]) -> None:
        todo = self.decide(began * SECOND, self.last, holds, AGES)
        assert todo.safe_point >= self.asked, "it never falls"
        if any(todo.safe_point == hold.at - 1 for hold in holds.values()):
            self.held_back += 1
        self.asked = todo.safe_point
        self.last = Pair(began * SECOND, todo.safe_point)
        for key in todo.passed:
            if self.holds[key] == holds[key]:  # else the two transactions conflict
                del self.holds[key]


def run(steps: list[tuple[str, int, int]], decide: Decide) -> World:
    world = World(decide)
    for action, who, seconds in steps:
        world.step(action, world.readers[who], b"%d" % who, seconds)
        for reader in world.readers:
            if world.fresh(reader):
                assert world.asked <= reader.at, "a reader reads what was let go"
    return world


@given(STEPS)
def test_no_reader_reads_what_a_round_let_go_and_no_safe_point_falls(
    steps: list[tuple[str, int, int]],
) -> None:
    run(steps, decided)


LONG: Final = [
    ("draw", 0, 0),
    *[("time", 0, 4), ("begin", 0, 0), ("commit", 0, 0)] * 8,
    ("look", 0, 0),
    ("end", 0, 0),
]


def test_the_steps_can_show_a_round_that_is_held_back_and_one_that_would_not_be() -> None:
    def deaf(now: int, last: Pair | None, holds: dict[bytes, Pair], ages: Ages) -> Next:
        return decided(now, last, {}, ages)

    assert run(LONG, decided).held_back == 1
    with pytest.raises(AssertionError, match="let go"):
        run(LONG, deaf)
