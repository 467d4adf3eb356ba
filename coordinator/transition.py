"""(state, command) -> state: every change of the coordinator's state, as a total function.

What it is: the commands of the replicated log and what each does. What it is not: replication;
one process applies them directly, a cluster through its log, in the same order everywhere.

Invariants:
- total: a command that does not apply is answered by the unchanged state, never an exception;
- cepoch, compact_revision, map version and each oepoch never fall.

Worked example: `apply(state, RaiseFloor(90))` with the floor at 100 answers the state unchanged.

Tested in tests/unit/coordinator/test_transition.py.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TypeAlias, assert_never

from kubebraid.base.ports import Alarm
from kubebraid.base.revision import Revision
from kubebraid.base.tabletmap import with_new_epochs

from .state import State


@dataclass(frozen=True, slots=True)
class TakeReign:
    """A process start: a new cepoch, and every tablet under a new oepoch (rule M6)."""


@dataclass(frozen=True, slots=True)
class RaiseFloor:
    """Reads and watches below `revision` are refused from now on."""

    revision: Revision


@dataclass(frozen=True, slots=True)
class SetAlarm:
    """Raise or disarm an alarm."""

    alarm: Alarm
    raised: bool


Command: TypeAlias = TakeReign | RaiseFloor | SetAlarm


def apply(state: State, command: Command) -> State:
    """The state after the command."""
    match command:
        case TakeReign():
            after = replace(state, cepoch=state.cepoch + 1, tablets=with_new_epochs(state.tablets))
        case RaiseFloor(revision):
            after = replace(state, compact_revision=max(state.compact_revision, revision))
        case SetAlarm(alarm, raised):
            alarms = state.alarms | {alarm} if raised else state.alarms - {alarm}
            after = replace(state, alarms=alarms)
        case _:
            assert_never(command)
    assert after.cepoch >= state.cepoch
    assert after.compact_revision >= state.compact_revision
    assert after.tablets.version >= state.tablets.version
    return after
