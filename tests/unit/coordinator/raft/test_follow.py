"""Raft's rule for a leader's entries, against a plain model of the paper's."""

from __future__ import annotations

import random

import pytest

from kubebraid.coordinator.raft.follow import Contradiction, plan
from kubebraid.coordinator.raft.journal_codec import Entry
from kubebraid.coordinator.raft.wire import Append


class Log:
    """Entries as terms, by index."""

    def __init__(self, terms: dict[int, int]) -> None:
        self.terms = terms
        self.first_index = min(terms)
        self.last_index = max(terms)

    def term_at(self, index: int) -> int | None:
        return self.terms.get(index)


def entries(first: int, *terms: int) -> tuple[Entry, ...]:
    return tuple(Entry(b"\0", first + n, term) for n, term in enumerate(terms))


def log(first: int, *terms: int) -> Log:
    return Log({first + n: term for n, term in enumerate(terms)})


TEN = log(1, *[0] + [1] * 9)


def test_the_example_of_the_head() -> None:
    made = plan(TEN, 5, Append(9, 5, 1, entries(6, 1, 1)))
    assert made.message == Append(7, 10, 1, ())
    assert made.connects
    assert made.next_index == 8


def test_only_what_is_new_is_handed_on() -> None:
    made = plan(TEN, 5, Append(12, 8, 1, entries(9, 1, 1, 2, 2)))
    assert made.message == Append(12, 10, 1, entries(11, 2, 2))
    assert made.next_index == 13


def test_a_conflict_is_truncated_from_where_it_is() -> None:
    made = plan(TEN, 5, Append(8, 5, 1, entries(6, 1, 1, 3)))
    assert made.message == Append(8, 7, 1, entries(8, 3))
    assert made.next_index == 9


@pytest.mark.parametrize(
    "message",
    [
        Append(8, 5, 1, entries(6, 3)),
        Append(8, 6, 3, ()),
        Append(8, 3, 3, entries(4, 3)),
    ],
)
def test_a_conflict_with_what_is_committed_is_a_contradiction(message: Append) -> None:
    with pytest.raises(Contradiction):
        plan(TEN, 6, message)


def test_what_does_not_connect_is_asked_for_from_our_end_or_a_whole_term_back() -> None:
    gap = Append(20, 15, 3, entries(16, 3))
    assert plan(TEN, 5, gap) == (gap, False, 11)
    other = log(1, 0, 1, 1, 2, 2, 2, 2)
    conflict = Append(9, 7, 3, ())
    assert plan(other, 2, conflict) == (conflict, False, 4)
    assert plan(other, 5, conflict) == (conflict, False, 6), "never what is committed"


def test_what_lies_before_our_snapshot_is_held() -> None:
    behind = log(50, 3, 3, 3, 4)
    made = plan(behind, 51, Append(60, 40, 2, entries(41, *[2] * 9, 3, 3, 3, 4, 4)))
    assert made.message == Append(60, 53, 4, entries(54, 4))
    made = plan(behind, 51, Append(60, 40, 2, entries(41, 2, 2)))
    assert made.message == Append(50, 53, 4, ())
    assert made.next_index == 51


def test_random_logs_become_what_the_paper_says() -> None:
    for seed in range(3_000):
        rng = random.Random(seed)
        common = [0, *sorted(rng.randint(1, 3) for _ in range(rng.randint(0, 5)))]
        # Log matching: where two logs part, no later index has one term in both.
        own = common + sorted(rng.choice((5, 7)) for _ in range(rng.randint(0, 4)))
        leader = common + sorted(rng.choice((4, 6)) for _ in range(rng.randint(0, 5)))
        equal = len(common)
        committed = rng.randint(1, equal)
        previous = rng.randint(1, len(leader))
        count = rng.randint(0, len(leader) - previous)
        sent = entries(previous + 1, *leader[previous : previous + count])
        commit = rng.randint(1, len(leader))
        made = plan(log(1, *own), committed, Append(commit, previous, leader[previous - 1], sent))
        assert made.connects == (previous <= equal), seed
        if not made.connects:
            assert committed < made.next_index <= previous or made.next_index == len(own) + 1
            continue
        anchor = made.message.previous_index
        result = own[:anchor] + [e.term for e in made.message.entries]
        verified = previous + count
        if verified <= equal:
            assert result == own, f"{seed}: nothing is dropped without a conflict"
        else:
            assert result == leader[:verified], seed
        assert made.next_index == verified + 1
        assert min(made.message.commit, len(result)) <= max(min(commit, verified), committed), seed
