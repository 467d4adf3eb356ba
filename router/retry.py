"""Calls that surely did nothing, tried again: clients do not see that a map or an owner changed.

What it is: the desk on which such calls lie, and when they leave it. What it is not: a judgement
about writes whose outcome is not known; those are told to the client.

Invariants:
- only what was refused as definite is tried again: planned with another map, an owner or a
  sequencer that could not be reached and was sent nothing;
- a call is tried for RETRY_MS_MAX at most, counted from its first refusal, then its client is told;
- calls leave when they are due, those of one time in the order in which they were laid down; news
  make all leave at once, in that order.

How long a call lies: RETRY_EVERY_MS. If it met another map, so long as it has waited in all, from
RETRY_FIRST_MS on: a tablet that moves is frozen for milliseconds, and nothing tells a router when
that ends without a new map; a call that is unlucky for longer becomes rare.

Worked example: a shard restarts. 40 puts of the meantime are refused as OWNER_AWAY and lie here;
0.4 s later its link opens, they are planned anew with its map, and answered. A put that meets a
frozen tablet is tried again after 2, 4, 8, 16, 32 and 64 ms, from then on every 50 ms.

Tested in tests/unit/router/test_retry.py.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable

from kubebraid.base import errors
from kubebraid.base.errors import RequestRefused
from kubebraid.base.limits import RETRY_CALLS_MAX, RETRY_EVERY_MS, RETRY_FIRST_MS, RETRY_MS_MAX
from kubebraid.base.seams import Clock

from .answers import Caller


class Retries:
    """The desk of one router."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._lying: list[tuple[int, int, Caller]] = []  # a heap: due, number
        self._laid = 0
        self._poked = False
        self.closed = False  # nothing is tried again: the router ends

    def again(self, caller: Caller, refused: RequestRefused) -> RequestRefused | None:
        if not retriable(refused):
            return refused
        now_ms = self._clock.now_ms()
        if not caller.until_ms:
            caller.until_ms = now_ms + RETRY_MS_MAX
        if self.closed or now_ms >= caller.until_ms or len(self._lying) >= RETRY_CALLS_MAX:
            return errors.TIMED_OUT if refused is errors.OTHER_MAP else errors.NO_LEADER
        wait_ms = RETRY_EVERY_MS
        if refused is errors.OTHER_MAP:
            waited_ms = now_ms + RETRY_MS_MAX - caller.until_ms
            wait_ms = min(max(waited_ms, RETRY_FIRST_MS), RETRY_EVERY_MS)
        self._laid += 1
        heapq.heappush(self._lying, (now_ms + wait_ms, self._laid, caller))
        return None

    def poke(self) -> None:
        """Something changed: a map, a link."""
        self._poked = bool(self._lying)

    def turn(self, run: Callable[[Caller], None]) -> bool:
        """Try what lies here and is due. Answers: was anything tried?"""
        callers = self._leaving()
        for caller in callers:
            run(caller)
        return bool(callers)

    def _leaving(self) -> list[Caller]:
        if self._poked:
            self._poked = False
            lying, self._lying = self._lying, []
            return [caller for _, _, caller in sorted(lying, key=lambda item: item[1])]
        leaving: list[Caller] = []
        now_ms = self._clock.now_ms() if self._lying else 0
        while self._lying and self._lying[0][0] <= now_ms:
            leaving.append(heapq.heappop(self._lying)[2])
        return leaving

    def next_deadline_ms(self) -> int | None:
        if self._poked:
            return 0
        return self._lying[0][0] if self._lying else None


def retriable(refused: RequestRefused) -> bool:
    """Whether the refusal is definite and another try may go better."""
    return (
        refused is errors.OTHER_MAP or refused is errors.OWNER_AWAY or refused is errors.NO_LEADER
    )
