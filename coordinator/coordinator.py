"""The coordinator as one process uses it: state, a place to keep it, and the sequencer.

What it is: the thin part that persists each transition before anybody sees it. What it is not: a
Raft group; that comes behind the same CoordinatorPort.

Invariants: nothing is answered from a state that is not stored; M6: `start` takes a new reign and
new owner epochs before any tablet is served.

Tested in tests/unit/coordinator/test_coordinator.py.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Protocol

from kubebraid.base import errors
from kubebraid.base.errors import RequestRefused
from kubebraid.base.ports import Alarm
from kubebraid.base.revision import Revision, TabletId
from kubebraid.base.tabletmap import TabletMap

from . import state as codec
from .sequencer import Sequencer
from .state import State
from .transition import Command, RaiseFloor, SetAlarm, TakeReign, apply


class StateStore(Protocol):
    """One durable cell."""

    def load(self) -> bytes | None: ...

    def save(self, raw: bytes) -> None:
        """Durable on return."""


class Coordinator:
    """Implements CoordinatorPort directly."""

    def __init__(self, store: StateStore, first_map: TabletMap) -> None:
        """`first_map` is used only for a store that has no state yet."""
        self._store = store
        raw = store.load()
        self._state = (
            State(0, codec.NEVER_COMPACTED, first_map) if raw is None else codec.decode(raw)
        )
        self._change(TakeReign())

    def _change(self, command: Command) -> None:
        after = apply(self._state, command)
        self._store.save(codec.encode(after))
        self._state = after

    @property
    def cepoch(self) -> int:
        return self._state.cepoch

    def tablet_map(self) -> TabletMap:
        return self._state.tablets

    def compact_revision(self) -> Revision:
        return self._state.compact_revision

    def alarms(self) -> frozenset[Alarm]:
        return self._state.alarms

    def set_alarm(
        self, alarm: Alarm, raised: bool, done: Callable[[bool | RequestRefused], None]
    ) -> None:
        was_raised = alarm in self._state.alarms
        if was_raised is not raised:
            self._change(SetAlarm(alarm, raised))
        done(was_raised)

    def compact(self, revision: Revision, done: Callable[[RequestRefused | None], None]) -> None:
        # Here, where the floor is raised: two compactions may have been checked against one floor.
        if revision <= self._state.compact_revision:
            done(errors.COMPACTED)
            return
        self._change(RaiseFloor(revision))
        done(None)

    def sequencer(self, last: Mapping[TabletId, Revision]) -> Sequencer:
        """The sequencer of this reign; `last` is what the adopted fences say."""
        return Sequencer(self._state.cepoch, self._state.tablets, last)
