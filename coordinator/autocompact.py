"""When to compact by itself, and at which revision: etcd's two compactors as pure decisions.

What it is: clock values and revisions in, the revision to compact at out. What it is not: a timer,
or the compaction, which goes the way of a client's Compact.

Words: a *sample* is the revision of an instant; the *retention* is what is kept: a time or a number
of revisions; a *tick* is an instant at which a decision is due.

Invariants:
- periodic: what is proposed was the newest revision at least one retention ago, so every state
  younger than the retention stays readable;
- by revision: what is proposed leaves the newest `kept` revisions readable;
- nothing is proposed twice, once it was said to be done.

Worked example: retention 10 s ticks every second. The sample of second 0 (revision 7, say) is
proposed at second 10; done, the next proposal comes at second 20, with the sample of second 9.

As in etcd, samples live in memory: a restart begins a new retention. Unlike there, a tick never
lies before 10 ms, and a retention by revisions is no duration.

Source: etcd server/etcdserver/api/v3compactor/{periodic,revision}.go. Tested in
tests/unit/coordinator/test_autocompact.py.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import Final, Literal, Protocol

from kubebraid.base.revision import Revision

Mode = Literal["periodic", "revision"]

HOUR_MS: Final = 3_600_000
TICKS_PER_INTERVAL: Final = 10  # etcd's retryDivisor
REVISION_INTERVAL_MS: Final = 300_000  # etcd's revInterval: 5 minutes
PERIOD_MS_MIN: Final = 100  # below it a tick would come more often than a loop should wake up


@dataclass(frozen=True, slots=True)
class Retention:
    """What auto-compaction keeps: milliseconds (periodic) or revisions. 0: it is off."""

    mode: Mode = "periodic"
    amount: int = 0


class Policy(Protocol):
    """One of the two."""

    @property
    def tick_ms(self) -> int:
        """When `propose` is due next."""

    def propose(self, now_ms: int, revision: Revision) -> Revision | None:
        """At a tick: the revision to compact at now, if any. `revision` is the newest one."""

    def done(self, proposed: Revision, now_ms: int) -> None:
        """The proposal was carried out, or somebody else had compacted as far already."""


def policy_of(retention: Retention, now_ms: int, revision: Revision) -> Policy | None:
    """The policy that begins now; None where it is off."""
    assert retention.amount >= 0, retention
    if retention.amount == 0:
        return None
    if retention.mode == "periodic":
        return Periodic(retention.amount, now_ms, revision)
    return ByRevision(retention.amount, now_ms)


class Periodic:
    """Keeps the states of a period; compacts once a period, or hourly for longer ones."""

    def __init__(self, period_ms: int, now_ms: int, revision: Revision) -> None:
        assert period_ms >= PERIOD_MS_MIN, period_ms
        self._interval_ms = min(period_ms, HOUR_MS)
        # Rounded up: ten ticks are never shorter than the interval.
        self._step_ms = -(-self._interval_ms // TICKS_PER_INTERVAL)
        self._wait_ms = period_ms  # before the first one, afterwards the interval
        samples_max = -(-period_ms // self._step_ms) + 1
        self._samples: deque[Revision] = deque([revision], samples_max)
        self._success_ms = now_ms
        self._done: Revision = 0
        self._tick_ms = now_ms + self._step_ms

    @property
    def tick_ms(self) -> int:
        return self._tick_ms

    def propose(self, now_ms: int, revision: Revision) -> Revision | None:
        assert now_ms >= self._tick_ms, (now_ms, self._tick_ms)
        oldest = self._samples[0]
        self._samples.append(revision)
        # From now, not from the tick: after a pause (a suspended machine) ticks are not made up
        # for, or samples of one instant would look as if they were a retention apart.
        self._tick_ms = now_ms + self._step_ms
        if now_ms - self._success_ms < self._wait_ms or oldest == self._done:
            return None
        self._wait_ms = self._interval_ms
        return oldest

    def done(self, proposed: Revision, now_ms: int) -> None:
        self._done = proposed
        self._success_ms = now_ms


class ByRevision:
    """Keeps the newest revisions; looks every five minutes."""

    def __init__(self, kept: int, now_ms: int) -> None:
        assert kept > 0, kept
        self._kept = kept
        self._done: Revision = 0
        self._tick_ms = now_ms + REVISION_INTERVAL_MS

    @property
    def tick_ms(self) -> int:
        return self._tick_ms

    def propose(self, now_ms: int, revision: Revision) -> Revision | None:
        assert now_ms >= self._tick_ms, (now_ms, self._tick_ms)
        self._tick_ms = now_ms + REVISION_INTERVAL_MS
        proposed = revision - self._kept
        return None if proposed <= 0 or proposed == self._done else proposed

    def done(self, proposed: Revision, now_ms: int) -> None:
        self._done = proposed
