"""The lane of own submissions, stepped by hand."""

from __future__ import annotations

import pytest

from kubebraid.base.limits import (
    RAFT_OUTCOME_MS_MAX,
    RAFT_QUEUE_MAX,
    RAFT_RESUBMIT_MS,
    RAFT_RETRY_MS,
)
from kubebraid.coordinator.raft.lane import Lane
from kubebraid.coordinator.raft.log import QueueFull
from kubebraid.coordinator.raft.sessions import Kind, Session, decode


class Told:
    """A lane and what it told."""

    def __init__(self) -> None:
        self.lane = Lane("a", 99)
        self.said: list[tuple[str, bytes | None]] = []

    def submit(self, word: str, now: int = 0) -> None:
        self.lane.submit(word.encode(), lambda answer: self.said.append((word, answer)), now)

    def barrier(self, word: str, now: int = 0) -> None:
        self.lane.barrier(lambda answer: self.said.append((word, answer)), now)

    def heard(self) -> list[tuple[str, bytes | None]]:
        while self.lane.ended:
            self.lane.ended.popleft()()
        return self.said

    def sent(self, now: int) -> tuple[int, int, bytes] | None:
        data = self.lane.due(now)
        if data is None:
            return None
        envelope = decode(data)
        assert (envelope.origin, envelope.nonce) == ("a", 99)
        return envelope.start, envelope.sequence, envelope.command


def test_one_is_in_flight_and_the_next_follows_its_outcome() -> None:
    told = Told()
    told.submit("x")
    told.submit("y")
    assert told.sent(0) == (1, 1, b"x")
    assert told.sent(0) is None
    told.lane.look(Session(1, 99, 1, b"done"))
    assert told.heard() == [("x", b"done")]
    assert told.sent(1) == (1, 2, b"y")


def test_an_unheard_one_is_sent_again_as_itself() -> None:
    told = Told()
    told.submit("x")
    first = told.sent(0)
    assert told.sent(RAFT_RESUBMIT_MS - 1) is None
    assert told.sent(RAFT_RESUBMIT_MS) == first
    told.lane.refused(RAFT_RESUBMIT_MS + 1)
    assert told.sent(RAFT_RESUBMIT_MS + RAFT_RETRY_MS) is None
    assert told.sent(RAFT_RESUBMIT_MS + RAFT_RETRY_MS + 1) == first


def test_one_given_up_is_told_once_and_its_number_is_not_used_again() -> None:
    told = Told()
    told.submit("x")
    told.submit("y", 10)
    told.sent(0)
    told.lane.expire(RAFT_OUTCOME_MS_MAX)
    assert told.heard() == [("x", None)]
    assert told.sent(RAFT_OUTCOME_MS_MAX) == (1, 2, b"y")
    told.lane.look(Session(1, 99, 1, b"late"))
    assert told.heard() == [("x", None)]
    told.lane.expire(RAFT_OUTCOME_MS_MAX + 10)
    assert told.heard() == [("x", None), ("y", None)]


def test_a_session_of_a_former_process_moves_the_start() -> None:
    told = Told()
    told.submit("x")
    told.sent(0)
    told.lane.look(Session(1, 55, 8, b"not ours"))
    assert told.heard() == []
    assert told.sent(1) == (2, 1, b"x")
    told.lane.look(Session(7, 55, 8, b"not ours"))
    assert told.sent(2) == (8, 1, b"x")
    told.lane.look(Session(7, 55, 8, b"seen before"))
    assert told.sent(3) is None, "lower than ours: nothing new"
    told.lane.look(Session(8, 99, 1, b"done"))
    assert told.heard() == [("x", b"done")]


def test_barriers_in_a_row_are_one() -> None:
    told = Told()
    told.submit("x")
    told.sent(0)
    told.barrier("p")
    told.barrier("q")
    told.lane.look(Session(1, 99, 1, b"done"))
    data = told.lane.due(0)
    assert data is not None
    assert decode(data).kind is Kind.BARRIER
    told.barrier("r")
    told.lane.look(Session(1, 99, 2, b""))
    assert told.heard() == [("x", b"done"), ("p", b""), ("q", b"")]
    assert told.sent(0) is not None, "r was asked after the first was sent"


def test_the_queue_is_bounded_and_closing_answers_everyone() -> None:
    told = Told()
    for _ in range(RAFT_QUEUE_MAX):
        told.submit("x")
    with pytest.raises(QueueFull):
        told.submit("y")
    with pytest.raises(QueueFull):
        told.barrier("y")
    told.sent(0)
    told.lane.close()
    assert told.heard() == [("x", None)] * RAFT_QUEUE_MAX
    assert told.lane.next_deadline_ms(True) is None


def test_deadlines_say_when_there_is_something_to_do() -> None:
    told = Told()
    assert told.lane.next_deadline_ms(True) is None
    told.submit("x", 5)
    assert told.lane.can_send(5)
    assert told.lane.next_deadline_ms(True) == 0, "at once: it need not wait for a heartbeat"
    assert told.lane.next_deadline_ms(False) == 5 + RAFT_OUTCOME_MS_MAX
    told.sent(6)
    assert not told.lane.can_send(6)
    assert told.lane.next_deadline_ms(True) == 6 + RAFT_RESUBMIT_MS
    assert told.lane.next_deadline_ms(False) == 5 + RAFT_OUTCOME_MS_MAX, "there is no leader"
