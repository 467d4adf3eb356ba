"""A member's own submissions: one in flight, repeated until the log settles it. Pure.

What it is: the queue in front of the log and what to do with what the log says. What it is not: the
log; it neither sends nor applies.

Invariants:
- one envelope is in flight; the next gets a higher (start, sequence), also after one was given up;
- each submission ends once: settled, or given up RAFT_OUTCOME_MS_MAX after it was added;
- whoever waits is called by the owner, from `ended`, never from here;
- barriers that are queued one after the other are one: each was asked before it is sent.

Worked example: submit at 0, refused at 5 (no leader), repeated at 55 and, unheard, at 555; the log
applies both copies, the first settles it, the second finds nobody.

Tested in tests/unit/coordinator/raft/test_lane.py.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Final, TypeAlias

from kubebraid.base.limits import (
    RAFT_COMMAND_BYTES_MAX,
    RAFT_OUTCOME_MS_MAX,
    RAFT_QUEUE_MAX,
    RAFT_RESUBMIT_MS,
    RAFT_RETRY_MS,
)

from .log import QueueFull
from .sessions import Envelope, Kind, Session, encode

Done: TypeAlias = Callable[[bytes | None], None]
NOW: Final = 0  # a deadline that has passed


@dataclass(slots=True)
class _Item:
    """A submission, or several barriers."""

    kind: Kind
    command: bytes
    give_up_at_ms: int
    waiting: list[Done] = field(default_factory=list)


class Lane:
    """Of one process of one member."""

    def __init__(self, name: str, nonce: int) -> None:
        """`nonce`: 64 bits that no process of this member drew before."""
        assert name
        self._name = name
        self._nonce = nonce
        self._start = 1
        self._sequence = 0
        self._queue: deque[_Item] = deque()
        self._current: _Item | None = None
        self._send_at_ms = 0
        self.ended: deque[Callable[[], None]] = deque()

    # -- from the user --

    def submit(self, command: bytes, done: Done, now_ms: int) -> None:
        """Raises QueueFull."""
        assert len(command) <= RAFT_COMMAND_BYTES_MAX, len(command)
        self._add(_Item(Kind.COMMAND, command, now_ms + RAFT_OUTCOME_MS_MAX, [done]))

    def barrier(self, done: Done, now_ms: int) -> None:
        """Raises QueueFull."""
        if self._queue and self._queue[-1].kind is Kind.BARRIER:
            self._queue[-1].waiting.append(done)
            return
        self._add(_Item(Kind.BARRIER, b"", now_ms + RAFT_OUTCOME_MS_MAX, [done]))

    def _add(self, item: _Item) -> None:
        if len(self._queue) >= RAFT_QUEUE_MAX:
            raise QueueFull(f"{len(self._queue)} submissions wait")
        self._queue.append(item)

    # -- from the driver --

    def due(self, now_ms: int) -> bytes | None:
        """The envelope to send now, if there is one."""
        if self._current is None and self._queue:
            self._current = self._queue.popleft()
            self._sequence += 1
            self._send_at_ms = now_ms
        if self._current is None or now_ms < self._send_at_ms:
            return None
        self._send_at_ms = now_ms + RAFT_RESUBMIT_MS
        kind, command = self._current.kind, self._current.command
        return encode(Envelope(kind, self._name, self._start, self._nonce, self._sequence, command))

    def expire(self, now_ms: int) -> None:
        """Give up what waited too long: its outcome is unknown."""
        if self._current is not None and now_ms >= self._current.give_up_at_ms:
            self._end(self._current, None)
            self._current = None
        while self._queue and now_ms >= self._queue[0].give_up_at_ms:
            self._end(self._queue.popleft(), None)

    def close(self) -> None:
        """Nothing is settled any more."""
        items = [*([self._current] if self._current else []), *self._queue]
        self._current = None
        self._queue.clear()
        for item in items:
            self._end(item, None)

    def next_deadline_ms(self, led: bool) -> int | None:
        """When `expire` has something to do or, if there is a leader (`led`), `due`."""
        first = self._current or (self._queue[0] if self._queue else None)
        if first is None:
            return None
        if not led:
            return first.give_up_at_ms
        # What was submitted behind the tick of its turn must not wait for the next heartbeat.
        send_at_ms = NOW if self._current is None else self._send_at_ms
        return min(send_at_ms, first.give_up_at_ms)

    def can_send(self, now_ms: int) -> bool:
        """`due` would answer an envelope."""
        return bool(self._queue) if self._current is None else now_ms >= self._send_at_ms

    def refused(self, now_ms: int) -> None:
        """This attempt may have failed: try again soon."""
        self._send_at_ms = min(self._send_at_ms, now_ms + RAFT_RETRY_MS)

    def look(self, known: Session) -> None:
        """Our member's last session, as far as the log is applied here: it may be what we wait for.

        If it is of another process of ours, what we have in flight is superseded or will be: a
        higher start is taken, and the same submission goes out under it.
        """
        if self._current is None:
            return
        if known[:3] == (self._start, self._nonce, self._sequence):
            self._end(self._current, known.answer)
            self._current = None
        elif known.start > self._start or (
            known.start == self._start and known.nonce != self._nonce
        ):
            self._start, self._sequence, self._send_at_ms = known.start + 1, 1, 0

    def _end(self, item: _Item, answer: bytes | None) -> None:
        self.ended += [partial(done, answer) for done in item.waiting]
