"""The replicated state as the log drives it: commands in, the same state on every member.

What it is: the Machine of raft/log over `transition.apply`, and the way of a command into the log.
What it is not: a decision to submit one (`member.py`).

Invariants: only what the log applies changes the state; what is no command changes nothing, on
every member alike; `index` is that of the newest entry but for the lease's renewals.

Worked example: `apply(9, encode(RaiseFloor(90)))` answers CHANGED, the same at 10 UNCHANGED.

Tested in tests/unit/coordinator/test_member.py.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, TypeAlias

from kubebraid.base.tabletmap import layout

from . import commands, transition
from . import state as codec
from .raft.log import QueueFull, ReplicatedLog
from .state import NEVER_COMPACTED, State
from .transition import Command

UNFOUNDED: Final = State(0, NEVER_COMPACTED, layout([]))
CHANGED: Final = b"1"  # what a command that changed something is answered
UNCHANGED: Final = b"0"
REFUSED: Final = b"-"  # with the reason behind it, for whoever asked

Answered: TypeAlias = Callable[[bytes | None], None]


class StateMachine:
    """Implements Machine of raft/log."""

    def __init__(self) -> None:
        self.state = UNFOUNDED
        self.index = 0
        self._log: ReplicatedLog | None = None

    def attach(self, log: ReplicatedLog) -> None:
        """The log, which was made with this machine."""
        self._log = log

    def apply(self, index: int, command: bytes) -> bytes:
        """The same on every member; the clock only notes when this one heard of it."""
        known = commands.decode(command)
        if known is None:
            return UNCHANGED
        before = self.state
        after = transition.apply(before, known)
        if not isinstance(known, transition.Renew):
            self.index = index
        self._become(after)
        if after is not before:
            return CHANGED
        why = transition.refusal(before, known)
        return REFUSED + why.encode() if why else UNCHANGED

    def snapshot(self) -> bytes:
        return b"%d " % self.index + codec.encode(self.state)

    def restore(self, snapshot: bytes) -> None:
        index, _, state = snapshot.partition(b" ")
        self.index = int(index)
        self._become(codec.decode(state))

    def _become(self, state: State) -> None:
        if state is not self.state:
            self.state = state
            self._applied(state)

    def _applied(self, state: State) -> None:
        """The log has brought a new state."""
        raise NotImplementedError

    def submit(self, command: Command, done: Answered) -> None:
        """Into the log; `done` is told None where the outcome is not known."""
        assert self._log is not None, "attached"
        try:
            self._log.submit(commands.encode(command), done)
        except QueueFull:
            done(None)  # it will not be applied, and saying less is never wrong

    def barrier(self, done: Callable[[bool], None]) -> None:
        """`done(True)`: everything that was in the log before is applied here."""
        assert self._log is not None, "attached"
        try:
            self._log.barrier(done)
        except QueueFull:
            done(False)
