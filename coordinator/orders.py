"""Plans and words of operators, and reports of shards, as one member takes them.

What it is: what comes from outside about migrations, on its way into the log or to the driver, and
the driver's steps on theirs. What it is not: which step comes next (`reshard.py`), what the log
does with it (`migrations.py`), or who serves (`member.py`).

Invariants:
- what a step fixes is frozen at the sequencer before anything else is allocated;
- whoever asks is told what the log has said: done, refused with the reason, or unknown;
- what one reign's reports have shown is forgotten with it.

Worked example: `order(Control("m1", Action.SWITCH), done)` with the report of m1 far behind: `done`
is told so at once, and nothing reaches the log.

Tested in tests/unit/coordinator/test_orders.py.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from kubebraid.base import errors
from kubebraid.base.errors import RequestRefused
from kubebraid.base.limits import RAFT_COMMAND_BYTES_MAX
from kubebraid.base.reshard import Control, Order, Progress, Report
from kubebraid.base.seams import Clock

from . import commands
from .machine import CHANGED, REFUSED, StateMachine
from .migrations import Step
from .reshard import Resharding
from .sequencer import Sequencer


class Orders:
    """What one member has heard of migrations in its present reign."""

    def __init__(self, machine: StateMachine, clock: Clock) -> None:
        self._machine = machine
        self._clock = clock
        self._driver = Resharding()

    def report(self, report: Report) -> None:
        """What a shard says of a migration; kept while this member serves."""
        self._driver.heard(report)

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

    def turn(self, sequencer: Sequencer) -> None:
        """The next steps of migrations."""
        state = self._machine.state
        steps = self._driver.next(state, sequencer.last(), self._clock.now_ms())
        sequencer.switch(self._driver.switching())
        for step in steps:
            self._machine.submit(step, partial(_answered, self._driver, step))

    def next_deadline_ms(self) -> int | None:
        """When to take a turn although nothing happened."""
        return self._driver.next_deadline_ms()


def _answered(driver: Resharding, step: Step, answer: bytes | None) -> None:
    driver.answered(step, None if answer is None else answer == CHANGED)
