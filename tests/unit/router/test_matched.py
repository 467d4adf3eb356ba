"""Samples come with the map that the router plans with, in the order of the questions."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from kubebraid.base.ports import AllocReply, AllocRequest, Sample
from kubebraid.router.matched import Matched


class Oracle:
    """A sequencer whose answers are given by hand."""

    def __init__(self) -> None:
        self.asked: deque[Callable[[Sample], None]] = deque()

    def alloc(self, request: AllocRequest, done: Callable[[AllocReply], None]) -> None:
        done(AllocReply(request.request_number, sample(1), ()))

    def read_revision(self, done: Callable[[Sample], None]) -> None:
        self.asked.append(done)

    def answer(self, version: int) -> None:
        self.asked.popleft()(sample(version))


def sample(version: int) -> Sample:
    return Sample(1, version, 7, {1: 7})


class Stand:
    """A router that plans with `version`, and what it was told."""

    def __init__(self) -> None:
        self.version = 5
        self.oracle = Oracle()
        self.matched = Matched(self.oracle, lambda: self.version)
        self.told: list[tuple[str, int]] = []

    def ask(self, name: str) -> None:
        self.matched.read_revision(lambda found: self.told.append((name, found.map_version)))


def test_sample_of_our_map_passes_at_once() -> None:
    stand = Stand()
    stand.ask("a")
    stand.oracle.answer(5)
    assert stand.told == [("a", 5)]


def test_m04_read_with_a_sample_of_a_newer_map_is_asked_again_when_that_is_here() -> None:
    """The worked example of the module."""
    stand = Stand()
    stand.ask("a")
    stand.ask("b")
    stand.oracle.answer(6)
    stand.oracle.answer(6)
    stand.matched.turn()
    assert stand.told == []
    assert not stand.oracle.asked, "asking on would find the same"
    stand.version = 6
    stand.matched.followed()
    stand.oracle.answer(6)
    stand.oracle.answer(6)
    assert stand.told == [("a", 6), ("b", 6)]


def test_m04_sequencer_that_has_not_heard_of_our_map_is_asked_again_by_the_next_turn() -> None:
    stand = Stand()
    stand.ask("a")
    stand.oracle.answer(4)
    assert stand.told == []
    stand.matched.turn()
    stand.oracle.answer(5)
    assert stand.told == [("a", 5)]


def test_question_does_not_overtake_one_that_waits() -> None:
    """A cancel behind the create of its watch."""
    stand = Stand()
    stand.ask("create")
    stand.oracle.answer(4)
    stand.ask("cancel")
    stand.oracle.answer(5)
    assert stand.told == []
    stand.matched.turn()
    stand.oracle.answer(5)
    stand.oracle.answer(5)
    assert stand.told == [("create", 5), ("cancel", 5)]


def test_alloc_passes_through() -> None:
    stand = Stand()
    got: list[AllocReply] = []
    stand.matched.alloc(AllocRequest(1, "shard-0", 3, 0, ()), got.append)
    assert [reply.first for reply in got] == [3]
