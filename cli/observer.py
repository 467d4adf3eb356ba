"""What an operator should hear of a running node: compactions, alarms, turns that took long.

What it is: two parts of the loop, the first and the last of each turn, that compare what is with
what was. What it is not: a hook in anybody's hot path; a quiet turn costs two looks at the clock
and two comparisons.

Words: a *slow turn* is one that kept everybody else waiting for more than SLOW_TURN_MS.

Invariant: slow turns are told at most once in SLOW_TURN_PAUSE_MS, with the number of those untold.

Worked example: a kube-apiserver compacts at 90; the turn's end finds the floor at 90 where it was
70, logs `compaction begun` and asks the owners to tell when what lies below is gone; then
`compaction finished` follows.

Tested in tests/unit/cli/test_observer.py.
"""

from __future__ import annotations

import logging
from typing import Final

from kubebraid.base.ports import ALARM_CORRUPT, ALARM_NOSPACE, Alarm, CoordinatorPort, OwnerPort
from kubebraid.base.revision import Revision
from kubebraid.base.seams import Clock

from .logs import fields

SLOW_TURN_MS: Final = 100
SLOW_TURN_PAUSE_MS: Final = 1_000

_ALARMS: Final = {ALARM_NOSPACE: "NOSPACE", ALARM_CORRUPT: "CORRUPT"}
_compaction = logging.getLogger("kubebraid.compaction")
_alarm = logging.getLogger("kubebraid.alarm")
_loop = logging.getLogger("kubebraid.loop")


class Observer:
    """The last part of a turn. Its `head` is the first one; `begin` may be called before both."""

    def __init__(self, clock: Clock, coordinator: CoordinatorPort, owner: OwnerPort) -> None:
        self._clock = clock
        self._coordinator = coordinator
        self._owner = owner
        self._floor = coordinator.compact_revision()
        self._alarms = coordinator.alarms()
        self._began_ms: int | None = None
        self._told_ms: int | None = None
        self._untold = 0
        self.head = _Head(self)

    def begin(self) -> None:
        """The turn does something from now on; once it has begun nothing happens."""
        if self._began_ms is None:
            self._began_ms = self._clock.now_ms()

    def turn(self) -> bool:
        began_ms, self._began_ms = self._began_ms, None
        assert began_ms is not None, "the head comes first"
        now_ms = self._clock.now_ms()
        if now_ms - began_ms > SLOW_TURN_MS:
            self._slow(now_ms - began_ms, now_ms)
        alarms = self._coordinator.alarms()
        if alarms is not self._alarms:
            self._tell_alarms(self._alarms, alarms)
            self._alarms = alarms
        floor = self._coordinator.compact_revision()
        if floor == self._floor:
            return False
        self._follow_compaction(floor, now_ms)
        return True

    def next_deadline_ms(self) -> int | None:
        return None

    def _follow_compaction(self, floor: Revision, began_ms: int) -> None:
        details = fields(revision=floor, before=self._floor)
        _compaction.info("compaction begun", extra=details)
        self._floor = floor

        def finished() -> None:
            took_ms = self._clock.now_ms() - began_ms
            _compaction.info("compaction finished", extra=fields(revision=floor, took_ms=took_ms))

        # Asking again for what was begun changes nothing, but this caller is told of the end.
        self._owner.compact(floor, finished)

    def _slow(self, took_ms: int, now_ms: int) -> None:
        if self._told_ms is not None and now_ms - self._told_ms < SLOW_TURN_PAUSE_MS:
            self._untold += 1
            return
        _loop.warning("slow turn of the loop", extra=fields(took_ms=took_ms, untold=self._untold))
        self._told_ms = now_ms
        self._untold = 0

    @staticmethod
    def _tell_alarms(before: frozenset[Alarm], after: frozenset[Alarm]) -> None:
        for alarm in sorted(after - before):
            _alarm.warning("alarm raised", extra=_facts(alarm))
        for alarm in sorted(before - after):
            _alarm.info("alarm disarmed", extra=_facts(alarm))


class _Head:
    """The first part of a turn."""

    def __init__(self, observer: Observer) -> None:
        self._observer = observer

    def turn(self) -> bool:
        self._observer.begin()
        return False

    def next_deadline_ms(self) -> int | None:
        return None


def _facts(alarm: Alarm) -> dict[str, object]:
    return fields(alarm=_ALARMS.get(alarm.kind, str(alarm.kind)), member=f"{alarm.member:x}")
