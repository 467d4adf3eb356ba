"""Reads that wait for a sample: how long, and what they are told when none comes.

What it is: the batches of reads for which the sequencer was asked, oldest first. What it is not:
the asking (`kv.py`), or what a read does with its sample.

Invariants: of a batch that has waited for SAMPLE_WAIT_MS_MAX nothing is kept but an empty list, and
a sample that comes later finds nobody; in one process no read waits, and nothing is kept at all.

Worked example: the coordinators have no quorum. A Get waits 5 s, then it is told "no leader", as by
an etcd without one.

Tested in tests/unit/router/test_read_queue.py.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import TypeAlias

from kubebraid.base import errors
from kubebraid.base.limits import SAMPLE_WAIT_MS_MAX
from kubebraid.base.ports import Sample

from .answers import Caller
from .context import Context

Waiting: TypeAlias = tuple[Callable[[Sample], None], Caller | None]
Point: TypeAlias = tuple[Caller, bytes]


class Ticket:
    """One batch."""

    __slots__ = ("points", "reads", "served", "until_ms")

    def __init__(self, reads: list[Waiting], points: list[Point], until_ms: int) -> None:
        self.reads = reads
        self.points = points
        self.until_ms = until_ms
        self.served = False


class ReadQueue:
    """All batches of one router."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._tickets: deque[Ticket] = deque()

    def ticket(self, reads: list[Waiting], points: list[Point]) -> Ticket | None:
        """The batch waits from now on; its lists are emptied if it does so for too long."""
        if not self._context.remote:
            return None
        made = Ticket(reads, points, self._context.clock.now_ms() + SAMPLE_WAIT_MS_MAX)
        self._tickets.append(made)
        return made

    def served(self, ticket: Ticket) -> None:
        """Its sample has come."""
        ticket.served = True
        while self._tickets and self._tickets[0].served:
            self._tickets.popleft()

    def expire(self) -> None:
        """Tell those who have waited too long."""
        if not self._tickets:
            return
        now_ms = self._context.clock.now_ms()
        while self._tickets and (self._tickets[0].served or self._tickets[0].until_ms <= now_ms):
            ticket = self._tickets.popleft()
            if not ticket.served:
                self._tell(ticket)

    def _tell(self, ticket: Ticket) -> None:
        callers = [caller for _, caller in ticket.reads] + [caller for caller, _ in ticket.points]
        ticket.reads.clear()
        ticket.points.clear()
        for caller in callers:
            if caller is not None:
                caller.desk = None  # it has waited long enough
                caller.fail(errors.NO_LEADER)

    def next_deadline_ms(self) -> int | None:
        """When `expire` may have something to do."""
        return self._tickets[0].until_ms if self._tickets else None
