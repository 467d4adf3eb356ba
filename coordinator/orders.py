"""Plans and words of operators, and reports of shards, as one member takes them.

What it is: what comes from outside about migrations and hosts, on its way into the log or to who
decides, and what those want on its way into the log. What it is not: which step comes next
(`reshard.py`), who is away (`hosts.py`), what the log does with it (`migrations.py`), or who serves
(`member.py`).

Invariants:
- what a step fixes is frozen at the sequencer before anything else is allocated;
- whoever asks is told what the log has said: done, refused with the reason, or unknown;
- what one reign's reports have shown is forgotten with it.

Worked example: `order(Control("m1", Action.SWITCH), done)` with the report of m1 far behind: `done`
is told so at once, and nothing reaches the log.

Tested in tests/unit/coordinator/test_orders.py.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import partial
from typing import Final

from kubebraid.base import errors
from kubebraid.base.errors import RequestRefused
from kubebraid.base.limits import RAFT_COMMAND_BYTES_MAX
from kubebraid.base.ports import Beat
from kubebraid.base.reshard import Control, HandOver, Order, Progress, Report
from kubebraid.base.seams import Clock

from . import commands
from .hosts import Hosts
from .machine import CHANGED, REFUSED, StateMachine
from .migrations import Step
from .reshard import Resharding
from .sequencer import Sequencer

_LOG: Final = logging.getLogger("kubebraid.coordinator")


class Orders:
    """What one member has heard of migrations in its present reign."""

    def __init__(self, machine: StateMachine, clock: Clock) -> None:
        self._machine = machine
        self._clock = clock
        self._driver = Resharding()
        self.hosts = Hosts(clock.now_ms())

    def report(self, report: Report) -> None:
        """What a shard says of a migration; kept while this member serves."""
        self._driver.heard(report)

    def beat(self, beat: Beat) -> int:
        """A host lives. Answers: how many others could take its shards."""
        return self.hosts.heard(beat, self._clock.now_ms())

    def order(self, request: Order, done: Callable[[RequestRefused | None], None]) -> None:
        """Take a plan, an operator's word, or a shard's removal; `done` is told None where it is
        so, a definite refusal, or an Unanswered."""
        why = self._hindered(request)
        if why:
            done(errors.precondition(f"{why}. Nothing was changed"))
            return

        def answered(answer: bytes | None) -> None:
            if answer is None:
                done(errors.OUTCOME_UNKNOWN_REPLY)
            elif answer.startswith(REFUSED):
                done(errors.precondition(answer[len(REFUSED) :].decode()))
            else:
                done(None)

        self._machine.submit(request, answered)

    def _hindered(self, request: Order) -> str:
        if isinstance(request, HandOver):
            return self.hosts.hinders(request.host, self._clock.now_ms())
        if isinstance(request, Control):
            return self._driver.hinders(self._machine.state, request)
        if len(commands.encode(request)) > RAFT_COMMAND_BYTES_MAX:
            return "the plan is too large for one command; plan in parts"
        return ""

    def progress(self) -> tuple[Progress, ...]:
        """All migrations, for operators; to be asked while this member serves."""
        return self._driver.progress(self._machine.state, self._clock.now_ms())

    def clear(self) -> None:
        """Another reign."""
        self._driver = Resharding()
        self.hosts = Hosts(self._clock.now_ms())

    def turn(self, sequencer: Sequencer) -> None:
        """The next steps of migrations, and seats for shards of hosts that are away."""
        state, now_ms = self._machine.state, self._clock.now_ms()
        for seat in self.hosts.next(state, now_ms):
            _LOG.warning(
                "a shard gets another host",
                extra={"shard": seat.shard, "host": seat.host, "before": seat.before},
            )
            self._machine.submit(seat, partial(_seated, self.hosts, seat.shard))
        steps = self._driver.next(state, sequencer.last(), now_ms)
        sequencer.switch(self._driver.switching())
        for step in steps:
            self._machine.submit(step, partial(_answered, self._driver, step))

    def next_deadline_ms(self) -> int | None:
        """When to take a turn although nothing happened."""
        away_ms = self.hosts.next_deadline_ms(self._machine.state, self._clock.now_ms())
        deadlines = (self._driver.next_deadline_ms(), away_ms)
        return min((due_ms for due_ms in deadlines if due_ms is not None), default=None)


def _seated(hosts: Hosts, shard: str, _answer: bytes | None) -> None:
    """Whatever was answered: the state tells whether another one is needed."""
    hosts.seated(shard)


def _answered(driver: Resharding, step: Step, answer: bytes | None) -> None:
    driver.answered(step, None if answer is None else answer == CHANGED)
