"""What a follower does with a leader's entries, so that it never drops what it need not. Pure.

What it is: Raft's rule for AppendEntries (paper, figure 2, receiver 2-5), put before PySyncObj,
which truncates after `previous` in every case and may so drop what it acknowledged. What it is not:
the change of the log: PySyncObj makes it, from the message as it is rewritten here.

Words: *verified*: the index up to which our log is known to be equal to this leader's.

Invariants:
- an entry leaves the log only if the leader has another term at its index;
- a committed entry never leaves: a message that says so is a Contradiction, and this member stops;
- an acknowledgement and a commit index reach no further than `verified`.

Worked example: we hold 1..10; the leader repeats 6, 7 (commit 9), equal terms. Handed on: nothing
after 10, commit 7, and the acknowledgement says 8. 8..10 stay; a later message may verify them.

Tested in tests/unit/coordinator/raft/test_follow.py.
"""

from __future__ import annotations

from typing import NamedTuple, Protocol

from .wire import Append


class Contradiction(Exception):
    """The leader has another entry where this member knows a committed one."""


class Held(Protocol):
    """Our journal."""

    @property
    def first_index(self) -> int: ...

    @property
    def last_index(self) -> int: ...

    def term_at(self, index: int) -> int | None: ...


class Plan(NamedTuple):
    """`message`: what to hand on. `next_index`: what the acknowledgement may say.

    `connects`: False if we do not hold what the message follows; it is then asked for again from
    `next_index` on.
    """

    message: Append
    connects: bool
    next_index: int


def plan(held: Held, committed: int, message: Append) -> Plan:
    """`committed`: the highest index known to be, here. Raises Contradiction."""
    assert held.first_index <= committed <= held.last_index, (held.first_index, committed)
    previous, term, entries = message.previous_index, message.previous_term, message.entries
    if previous < held.first_index:
        # What lies before our first entry is in our snapshot, so it was committed: equal.
        entries = entries[held.first_index - previous :]
        previous, term = held.first_index, _term_of_first(held, message)
    if held.term_at(previous) != term:
        if previous <= committed:
            raise Contradiction(f"index {previous}: ours {held.term_at(previous)}, leader's {term}")
        return Plan(message, False, _retry_from(held, committed, previous))
    equal = 0
    while equal < len(entries) and held.term_at(entries[equal].index) == entries[equal].term:
        equal += 1
    verified = previous + len(entries)
    if equal == len(entries):
        # Nothing is new: anchored at our very end, so that PySyncObj finds nothing to truncate.
        end = held.last_index
        last_term = held.term_at(end)
        assert last_term is not None
        return Plan(Append(min(message.commit, verified), end, last_term, ()), True, verified + 1)
    if previous + equal < committed:
        raise Contradiction(f"index {previous + equal + 1} is below our commit {committed}")
    anchor = previous + equal
    anchor_term = held.term_at(anchor)
    assert anchor_term is not None
    return Plan(Append(message.commit, anchor, anchor_term, entries[equal:]), True, verified + 1)


def _retry_from(held: Held, committed: int, previous: int) -> int:
    """Past the end: our end. In another term: where that term begins, a whole term at a time."""
    if previous > held.last_index:
        return held.last_index + 1
    term = held.term_at(previous)
    while previous - 1 > committed and held.term_at(previous - 1) == term:
        previous -= 1
    return previous


def _term_of_first(held: Held, message: Append) -> int:
    """The leader's term at our first index, if the message tells it; else ours, as committed."""
    at = held.first_index - message.previous_index - 1
    if at < len(message.entries):
        return message.entries[at].term
    term = held.term_at(held.first_index)
    assert term is not None
    return term
