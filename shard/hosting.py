"""A host: which shards one process serves, when each is begun, and how it hands all of them over.

What it is: views of the coordinators in, starts and beats out; a Part of the host's own loop. What
it is not: a shard (`role.py`), the thread that one runs in (cli/host_threads.py), or who gets a
seat (coordinator/hosts.py).

Words: a shard is *seated* here if the state names this host for it. A host has the name of the
shard that it founds, its *own*.

Invariants:
- only what is seated here is begun, and the own shard where no state knows it yet;
- a shard that was taken by another host is not begun again before a state seats it here again, and
  of two processes with one name the former ends: no two take a store from each other in turns;
- what fails in a way that may pass is begun again, later and later, and so is every shard but our
  own: one whose rows are damaged may not end host after host. Our own ends the process;
- beats come from here, and nothing here waits for a store: a store that hangs makes nobody away.

Worked example: shard-2 dies. A state seats shard-2's at shard-0: the process of shard-0 begins a
second shard, on the same store. `drain` (SIGTERM) says so in a beat; both are seated elsewhere, end
one after the other as others take them, and then the process may. So it does when its own shard was
removed from the cluster.

Tested in tests/unit/shard/test_hosting.py, tests/e2e/test_tikv_adoption.py.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Protocol

from kubebraid.base.backoff import Backoff
from kubebraid.base.errors import Removed, StaleEpoch
from kubebraid.base.limits import HOST_BEAT_MS, HOST_RETRY_MS_MAX
from kubebraid.base.ports import Beat, ClusterView
from kubebraid.base.seams import Clock

from .mark import StartRefused
from .storage.engine import EngineCorrupt, EngineError
from .storage.tikv_errors import EngineFenced

RETRY_FIRST_MS: Final = 200
_LOG: Final = logging.getLogger("kubebraid.host")
Ended = Callable[[BaseException | None], None]


class Running(Protocol):
    """A shard that runs beside this loop."""

    @property
    def incarnation(self) -> int:
        """As which it is started."""

    @property
    def committed(self) -> int:
        """How many batches, so far."""

    def stop(self) -> None:
        """It ends soon, and says so."""


class Begin(Protocol):
    """How a shard is begun. `founds`: its store may not exist yet; `since`: as of which state
    (`ClusterView.applied`) it is seated here; `ended` is called once, on the host's loop: None, or
    what it failed of."""

    def __call__(self, shard: str, founds: bool, since: int, ended: Ended) -> Running: ...


class Tell(Protocol):
    """The coordinators."""

    def beat(self, beat: Beat) -> None: ...


@dataclass(slots=True)
class _Shard:
    """One that was begun once. `due_ms`: it is not begun before."""

    backoff: Backoff
    running: Running | None = None
    begun_ms: int = 0
    due_ms: int = 0
    counted: int = 0  # of `committed`, in the last beat
    incarnation: int = 0  # of the newest
    known: int = 0  # the one that the state had when that was begun
    moved: bool = False  # it has been seated elsewhere since it was begun
    lost_ms: int | None = None  # when another process had taken it, though it was not


class Hosting:
    """The decisions of one host."""

    def __init__(
        self,
        me: tuple[str, int],
        begin: Begin,
        clock: Clock,
        chance: Callable[[], float],
        on_fatal: Callable[[BaseException], None],
    ) -> None:
        """`me`: name and incarnation."""
        self._name, self._incarnation = me
        self._begin = begin
        self._clock = clock
        self._chance = chance
        self._on_fatal = on_fatal
        self.tell: Tell | None = None
        self._view: ClusterView | None = None
        self._shards: dict[str, _Shard] = {}
        self._beat_ms = clock.now_ms()
        self._leaving = False
        self._drained: Callable[[], None] | None = None  # told once

    # -- what is heard -------------------------------------------------------------------------

    def told(self, view: ClusterView) -> None:
        """A newer state."""
        self._view = view
        seated = self._seated()
        for name, shard in self._shards.items():
            if name not in seated:
                shard.moved, shard.lost_ms = True, None

    def heard(self, others: int) -> None:
        """The answer to a beat: whoever leaves and finds nobody just ends."""
        if self._leaving and others == 0:
            self._stop_all()

    def _stop_all(self) -> None:
        for shard in self._shards.values():
            if shard.running is not None:
                shard.running.stop()

    def drain(self, done: Callable[[], None]) -> None:
        """Hand over what can be handed over; `done` when nothing runs here any more."""
        self._leaving = True
        self._drained = done
        self._beat_ms = self._clock.now_ms()

    def _ended(self, name: str, error: BaseException | None) -> None:
        shard = self._shards[name]
        shard.running = None
        now_ms = self._clock.now_ms()
        if now_ms - shard.begun_ms >= HOST_RETRY_MS_MAX:
            shard.backoff.reset()  # it had worked, or fails so slowly that it rests enough
        shard.due_ms = now_ms + shard.backoff.next_ms()
        if error is None:
            return
        facts = {"shard": name, "error": str(error)}
        if isinstance(error, StaleEpoch) or type(error) is EngineFenced:
            _LOG.info("a shard is another process's by now", extra=facts)
            shard.lost_ms = None if shard.moved else now_ms
            if isinstance(error, Removed) and name == self._name:
                self.drain(lambda: self._on_fatal(error))
        elif passing(error) or name != self._name:
            # Of another host's, whatever it is: who fails of it may not take others with him.
            trace = None if passing(error) or isinstance(error, StartRefused) else error
            _LOG.error("a shard ended, it is begun again", extra=facts, exc_info=trace)
        elif not (isinstance(error, StartRefused) and name not in self._seated()):
            self._on_fatal(error)

    # -- the loop ------------------------------------------------------------------------------

    def turn(self) -> bool:
        """Begin what is due, and say that we live."""
        now_ms = self._clock.now_ms()
        if not self._leaving:
            for name in sorted(self._seated()):
                self._look_after(name, now_ms)
        if now_ms >= self._beat_ms:
            self._beat_ms = now_ms + HOST_BEAT_MS
            self._beat()
        runs = any(shard.running is not None for shard in self._shards.values())
        if self._drained is not None and not runs:
            # Behind the beat: what is seated here and does not run is wanted elsewhere too.
            done, self._drained = self._drained, None
            done()
        return False

    def _seated(self) -> frozenset[str]:
        view = self._view
        if view is None or not view.cluster:
            return frozenset()
        seated = {place.name for place in view.shards if place.host == self._name}
        own = view.shard(self._name)
        return frozenset(seated | ({self._name} if own is None or not own.host else set()))

    def _look_after(self, name: str, now_ms: int) -> None:
        shard = self._shards.get(name)
        if shard is None:
            backoff = Backoff(RETRY_FIRST_MS, HOST_RETRY_MS_MAX, self._chance)
            shard = self._shards[name] = _Shard(backoff)
        if shard.running is not None or now_ms < shard.due_ms or self._robbed(name, shard, now_ms):
            return
        assert self._view is not None, "it is seated"
        known, since = self._view.shard(name), self._view.applied
        _LOG.info("a shard is begun", extra={"shard": name})
        shard.begun_ms, shard.counted, shard.moved = now_ms, 0, False
        shard.known = 0 if known is None else known.incarnation
        shard.running = self._begin(name, known is None, since, lambda e: self._ended(name, e))
        shard.incarnation = shard.running.incarnation

    def _robbed(self, name: str, shard: _Shard, now_ms: int) -> bool:
        """Whether somebody took the shard although it is seated here: a second process with our
        name, which was started later and is the one that is wanted; or one that the coordinators
        refuse, and then they go on naming ours, or the one before it."""
        if shard.lost_ms is None:
            return False
        known = None if self._view is None else self._view.shard(name)
        if known is not None and known.incarnation not in (shard.incarnation, shard.known):
            said = f"another process of the host {self._name} has been started"
            self._on_fatal(StaleEpoch(said))
            return True
        if now_ms < shard.lost_ms + HOST_RETRY_MS_MAX:
            return True
        shard.lost_ms = None
        return False

    def _beat(self) -> None:
        load = 0
        for shard in self._shards.values():
            if shard.running is not None:
                committed = shard.running.committed
                load += max(0, committed - shard.counted)
                shard.counted = committed
        if self.tell is not None:
            self.tell.beat(Beat(self._name, self._incarnation, load, self._leaving))

    def next_deadline_ms(self) -> int:
        due = [self._shards[n].due_ms for n in self._seated() if n in self._shards]
        now_ms = self._clock.now_ms()
        return min([self._beat_ms, *(ms for ms in due if ms > now_ms)])


def passing(error: BaseException) -> bool:
    """Whether another try may go better: TiKV or PD did not answer."""
    return isinstance(error, EngineError) and not isinstance(error, EngineCorrupt)
