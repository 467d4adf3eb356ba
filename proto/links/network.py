"""What the links of one loop share: whose output waits, whose time is up, who has to be told.

What it is: a Part, the last one of its loop, so that all messages of a turn leave together. What it
is not: a link, or a socket.

Invariants:
- a link that has output is flushed in the turn in which it was queued, in one system call unless it
  is much;
- users hear `closed` from `turn` alone, never from within a call of theirs;
- deadlines are judged by the time of the last look at the sockets (`poller.polled_ms`).

Worked example: a router's part sends three messages on a link and one on another; `turn` makes two
system calls.

Tested in tests/unit/proto/links/test_sockets.py.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, Protocol

from kubebraid.base.limits import LINK_READ_BYTES

from .chance import Chance, SystemChance
from .poller import Poller

JUDGE_MS_MIN: Final = 20  # many links with deadlines of their own do not keep the loop busy


class Timed(Protocol):
    """Something with deadlines: a link, a server, a dialer."""

    def tick(self, now_ms: int) -> int | None:
        """Does what is due, and says when to look again; None: never, unless `hurry` is called."""

    def close(self) -> None:
        """Ends it, for good."""


class Flushed(Protocol):
    """Something with output."""

    def flush(self) -> None:
        """Writes what can be written now."""


class Network:
    """`post` is the loop's; `buffer` is what all links read into, one after the other."""

    def __init__(
        self,
        poller: Poller,
        post: Callable[[Callable[[], None]], None],
        chance: Chance | None = None,
    ) -> None:
        self.poller = poller
        self.post = post
        self.chance = chance or SystemChance()
        self.buffer = memoryview(bytearray(LINK_READ_BYTES))
        self._timed: dict[Timed, None] = {}
        self._due_ms: int | None = None
        self._unsent: list[Flushed] = []
        self._ended: list[Callable[[], None]] = []

    @property
    def now_ms(self) -> int:
        return self.poller.polled_ms

    def add(self, timed: Timed) -> None:
        """Its first `tick` comes within this turn."""
        self._timed[timed] = None
        self.hurry(self.now_ms)

    def remove(self, timed: Timed) -> None:
        self._timed.pop(timed, None)

    def hurry(self, due_ms: int) -> None:
        """Somebody has an earlier deadline than the one that he told."""
        if self._due_ms is None or due_ms < self._due_ms:
            self._due_ms = due_ms

    def flush_later(self, flushed: Flushed) -> None:
        """At the end of this turn. Once a turn is the caller's business."""
        self._unsent.append(flushed)

    def tell_later(self, told: Callable[[], None]) -> None:
        """At the end of this turn, when no call of a user is under way."""
        self._ended.append(told)

    def turn(self) -> bool:
        """Judges deadlines, writes, tells who has ended."""
        if self._due_ms is not None and self.now_ms >= self._due_ms:
            self._judge(self.now_ms)
        unsent, self._unsent = self._unsent, []
        for flushed in unsent:
            flushed.flush()
        ended, self._ended = self._ended, []
        for told in ended:
            told()
        # Who heard of an end may have to do something, and is a part that has had its turn.
        return bool(ended or self._unsent or self._ended)

    def _judge(self, now_ms: int) -> None:
        self._due_ms = None
        due = [timed.tick(now_ms) for timed in list(self._timed)]
        for due_ms in due:
            if due_ms is not None:
                self.hurry(max(due_ms, now_ms + JUDGE_MS_MIN))

    def next_deadline_ms(self) -> int | None:
        return self._due_ms

    def close(self) -> None:
        """Ends all links, servers and dialers; those who must hear of it hear it now."""
        for timed in list(self._timed):
            timed.close()
        while self.turn():
            pass  # until an answer to an end has ended, too
