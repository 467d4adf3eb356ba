"""Calls that surely did nothing, tried again: clients do not see that a map or an owner changed.

What it is: the desk on which such calls lie, and when they leave it. What it is not: a judgement
about writes whose outcome is not known; those are told to the client.

Invariants:
- only what was refused as definite is tried again: planned with another map, an owner or a
  sequencer that could not be reached and was sent nothing;
- a call is tried for RETRY_MS_MAX at most, counted from its first refusal, then its client is told;
- calls leave in the order in which they were laid down.

Worked example: a shard restarts. 40 puts of the meantime are refused as OWNER_AWAY and lie here;
0.4 s later its link opens, they are planned anew with its map, and answered.

Tested in tests/unit/router/test_retry.py.
"""

from __future__ import annotations

from collections.abc import Callable

from kubebraid.base import errors
from kubebraid.base.errors import RequestRefused
from kubebraid.base.limits import RETRY_CALLS_MAX, RETRY_EVERY_MS, RETRY_MS_MAX
from kubebraid.base.seams import Clock

from .answers import Caller


class Retries:
    """The desk of one router."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._lying: list[Caller] = []
        self._due_ms = 0
        self.closed = False  # nothing is tried again: the router ends

    def again(self, caller: Caller, refused: RequestRefused) -> RequestRefused | None:
        if not retriable(refused):
            return refused
        now_ms = self._clock.now_ms()
        if not caller.until_ms:
            caller.until_ms = now_ms + RETRY_MS_MAX
        if self.closed or now_ms >= caller.until_ms or len(self._lying) >= RETRY_CALLS_MAX:
            return errors.TIMED_OUT if refused is errors.OTHER_MAP else errors.NO_LEADER
        if not self._lying:
            self._due_ms = now_ms + RETRY_EVERY_MS
        self._lying.append(caller)
        return None

    def poke(self) -> None:
        """Something changed: a map, a link."""
        self._due_ms = 0

    def turn(self, run: Callable[[Caller], None]) -> bool:
        """Try what lies here, if it is time. Answers: was anything tried?"""
        if not self._lying or self._clock.now_ms() < self._due_ms:
            return False
        callers, self._lying = self._lying, []
        for caller in callers:
            run(caller)
        return True

    def next_deadline_ms(self) -> int | None:
        return self._due_ms if self._lying else None


def retriable(refused: RequestRefused) -> bool:
    """Whether the refusal is definite and another try may go better."""
    return (
        refused is errors.OTHER_MAP or refused is errors.OWNER_AWAY or refused is errors.NO_LEADER
    )
