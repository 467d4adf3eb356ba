"""The hot loop of a process: one thread, one inbox, parts that each do a bounded turn.

What it is: the place where all cores of a process run, one after the other, so that they need no
lock. What it is not: a scheduler of tasks; asyncio carries streams and timers in another thread and
posts here.

Words: a loop *sleeps* while nothing can be done. `Loop` sleeps on its inbox, which is the fastest
way to be woken by a thread. `WaitingLoop` sleeps in a *waiter*, which also knows sockets: a process
with links to others has that one.

Invariants:
- everything posted runs on the loop's thread, in the order of posting;
- a turn runs what was posted, then each part once; parts bound their own work;
- the loop sleeps only when no part can do more, until the next post or the nearest deadline;
- a waiter runs what its sockets bring within the turn, before what was posted; a post wakes it only
  if it may be asleep, and no post is ever slept over;
- an exception in a core is fatal: it is handed to `on_fatal` and the loop ends (fail-stop); a core
  that has to say something first calls `halt` instead.

Worked example: a front posts a batch of puts while the loop waits; the turn routes them, the
owner's turn commits them as one batch and answers.

Tested in tests/unit/base/test_loop.py.
"""

from __future__ import annotations

import queue
from collections.abc import Callable, Sequence
from typing import Final, Protocol

from .seams import Clock

SLEEP_MS_MAX: Final = 1_000  # an upper bound, so that a lost deadline costs a second at most
POSTS_PER_TURN_MAX: Final = 64  # batches of one turn; bounds the time until the parts run


class Part(Protocol):
    """A role's core, as the loop drives it."""

    def turn(self) -> bool:
        """A bounded amount of work. Answers: can more be done right now?"""

    def next_deadline_ms(self) -> int | None:
        """When to call `turn` although nothing was posted."""


class Waiter(Protocol):
    """Where a `WaitingLoop` sleeps."""

    def wait(self, timeout_ms: int) -> None:
        """Runs what is ready; if nothing is, sleeps until something is, `wake` or the timeout."""

    def wake(self) -> None:
        """Ends the `wait` that runs, or else the next one at once. From any thread."""


class Loop:
    """Run by one thread; `post` and `stop` may be called from any."""

    def __init__(
        self, clock: Clock, on_fatal: Callable[[BaseException], None] | None = None
    ) -> None:
        self._clock = clock
        self._on_fatal = on_fatal
        self._inbox: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        self._parts: tuple[Part, ...] = ()
        self._stopped = False
        self._halted = False

    def attach(self, parts: Sequence[Part]) -> None:
        """The parts, in the order of their turns: routers first, owners behind them."""
        assert not self._parts, "parts are attached once"
        self._parts = tuple(parts)

    def post(self, work: Callable[[], None]) -> None:
        """Run `work` on the loop's thread."""
        self._inbox.put(work)

    def stop(self) -> None:
        """End `run` after what was posted before."""
        self.post(self._stop)

    def halt(self) -> None:
        """End `run` now: nothing else is run, posted or not. On the loop's thread alone."""
        self._halted = self._stopped = True

    def _stop(self) -> None:
        self._stopped = True

    def turn(self, timeout_ms: int = 0) -> bool:
        """One turn; waits at most `timeout_ms` for something to do first."""
        for work in self._collect(timeout_ms):
            if not self._halted:
                work()
        more = False
        for part in self._parts:
            if self._halted:
                return False
            more |= part.turn()
        return more or not self._inbox.empty()

    def _collect(self, timeout_ms: int) -> list[Callable[[], None]]:
        inbox = self._inbox
        found: list[Callable[[], None]] = []
        try:
            found.append(inbox.get(timeout=timeout_ms / 1000) if timeout_ms else inbox.get_nowait())
            while len(found) < POSTS_PER_TURN_MAX:
                found.append(inbox.get_nowait())
        except queue.Empty:
            pass  # the normal end: everything that had queued is taken
        return found

    def _patience_ms(self) -> int:
        deadlines = [part.next_deadline_ms() for part in self._parts]
        near = min((d for d in deadlines if d is not None), default=None)
        if near is None:
            return SLEEP_MS_MAX
        return max(1, min(SLEEP_MS_MAX, near - self._clock.now_ms()))

    def run(self) -> None:
        """Until `stop`, or until a core fails."""
        more = False
        try:
            while not self._stopped:
                more = self.turn(0 if more else self._patience_ms())
        except BaseException as error:
            if self._on_fatal is None:
                raise
            self._on_fatal(error)


class WaitingLoop(Loop):
    """A loop whose parts also wait for sockets."""

    def __init__(
        self,
        clock: Clock,
        waiter: Waiter,
        on_fatal: Callable[[BaseException], None] | None = None,
    ) -> None:
        super().__init__(clock, on_fatal)
        self._waiter = waiter
        self._asleep = False

    def post(self, work: Callable[[], None]) -> None:
        self._inbox.put(work)
        # Put before this look; below, `_asleep` is set before the look at the inbox. So one of the
        # two sides sees the other. That two threads may both wake it costs a spurious turn.
        if self._asleep:
            self._asleep = False
            self._waiter.wake()

    def _collect(self, timeout_ms: int) -> list[Callable[[], None]]:
        if timeout_ms:
            self._asleep = True
            if not self._inbox.empty():
                timeout_ms = 0
        try:
            self._waiter.wait(timeout_ms)
        finally:
            self._asleep = False
        return super()._collect(0)
