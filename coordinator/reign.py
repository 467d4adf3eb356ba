"""The sequencer's lease as one member sees it: may it hand out revisions now, and what to submit.

What it is: clock values and applied states in, commands out. What it is not: the log that carries
the commands, or the sequencer.

Words: the holder's *proof* of (cepoch, renewals) is valid until t0 + TTL, t0 being the time before
the command that made it was submitted for the first time; a *candidate* waits until TTL and the
drift of clocks have passed since it applied the last sign of life of the holder.

Why no two members pass the check at once (docs/model/Lease.tla): t0 is before the commit of its
command, that is before any member applied it; a candidate acquires a whole TTL after it did; so the
proof is over before any successor is proposed. A renewal that races with an acquisition loses, or
makes it fail: both compare the same (cepoch, renewals).

Invariants:
- M8: t0 is read before the first submission and is not moved by a repetition;
- M9: from the submission of a release on this reign never serves again, whatever its outcome;
- at most one command is on its way.

Worked example: TTL 1500 ms. The member submits Acquire at 10,000 and applies it at 10,020: it
serves until 11,500. It renews at 10,500; that is applied at 10,510 and moves the end to 12,000.

Source: the anchors of PD's leader lease (tikv/pd pkg/election/lease.go). Tested in
tests/unit/coordinator/test_reign.py, tests/property/test_reign.py.
"""

from __future__ import annotations

from typing import TypeAlias

from kubebraid.base.limits import (
    LEASE_DRIFT_PERCENT,
    SEQUENCER_TTL_MS,
    WINDOW_REVISIONS_MIN,
    WINDOW_SECONDS,
)
from kubebraid.base.revision import FIRST_REVISION, Epoch, Revision

from .state import State
from .transition import Acquire, Release, Renew

LeaseCommand: TypeAlias = Acquire | Renew | Release
# The last millisecond is for what clocks round off.
CANDIDATE_WAIT_MS = SEQUENCER_TTL_MS * (100 + LEASE_DRIFT_PERCENT) // 100 + 1
RENEW_EVERY_MS = SEQUENCER_TTL_MS // 3


class Reign:
    """One member's part in the lease. `node` names this incarnation of it."""

    def __init__(self, node: str, state: State, now_ms: int) -> None:
        self._node = node
        self._state = state
        self._seen_ms = now_ms  # when the holder's last sign of life was applied here
        self._pending: tuple[LeaseCommand, int] | None = None  # with its t0
        self._proof_ms: int | None = None  # the end of what is proved
        self._next_renewal_ms = now_ms
        self._rate = _Rate(now_ms)
        self._released = False
        self.begin: Revision = FIRST_REVISION  # the window of the reign before ours: B

    # -- what is so ----------------------------------------------------------------------------

    @property
    def holds(self) -> bool:
        """Whether the applied state names this member; it says nothing about time."""
        return self._state.lease.holder == self._node and not self._released

    @property
    def cepoch(self) -> Epoch:
        """The reign that the applied state has."""
        return self._state.cepoch

    @property
    def window(self) -> Revision:
        """The highest revision that this reign may hand out."""
        assert self.holds, "a window is the holder's"
        return self._state.lease.window

    def may_serve(self, now_ms: int) -> bool:
        """The check between collecting requests and allocating."""
        return self.holds and self._proof_ms is not None and now_ms < self._proof_ms

    # -- what happens --------------------------------------------------------------------------

    def applied(self, state: State, now_ms: int) -> None:
        """The log has brought a new state."""
        before, self._state = self._state, state
        if (before.cepoch, before.lease) == (state.cepoch, state.lease):
            return
        self._seen_ms = now_ms
        pending, made = self._pending, _made(self._pending)
        if pending is not None and made == (state.lease.holder, state.cepoch, state.lease.renewals):
            self._proof_ms = pending[1] + SEQUENCER_TTL_MS
            self._next_renewal_ms = pending[1] + RENEW_EVERY_MS
            self._pending = None
            if isinstance(pending[0], Acquire):
                self.begin = before.lease.window
            return
        if pending is not None and _expected(pending[0]) != (state.cepoch, state.lease.renewals):
            self._pending = None  # whatever becomes of it, it compares with what is no more
        if not self.holds:
            self._proof_ms = None

    def next(self, now_ms: int, handed_out: Revision) -> LeaseCommand | None:
        """What to submit now, if anything; `handed_out`: the highest revision of this reign."""
        if self._pending is not None or not self._state.cluster or self._released:
            return None
        lease, cepoch = self._state.lease, self._state.cepoch
        command: LeaseCommand
        if self.holds:
            self._rate.saw(now_ms, handed_out)
            used = lease.window - handed_out < self._rate.window() // 2
            if now_ms < self._next_renewal_ms and not used:
                return None
            window = max(lease.window, handed_out + self._rate.window())
            command = Renew(self._node, cepoch, lease.renewals, window)
        elif not lease.holder or now_ms - self._seen_ms >= CANDIDATE_WAIT_MS:
            command = Acquire(self._node, cepoch, lease.renewals, WINDOW_REVISIONS_MIN)
        else:
            return None
        self._pending = (command, now_ms)
        return command

    def repeat(self) -> LeaseCommand | None:
        """The command whose outcome is not known: to be submitted again as it is."""
        return None if self._pending is None else self._pending[0]

    def failed(self) -> None:
        """The pending command was applied and changed nothing: somebody else's came first."""
        self._pending = None

    def release(self, handed_out: Revision) -> LeaseCommand | None:
        """Give up for good (this member ends). None if there is nothing to give up."""
        held, self._released = self.holds, True
        self._proof_ms = None
        self._pending = None
        # Not below where it began: who has not served yet counts from the reign before.
        window = max(handed_out, self.begin)
        return Release(self._node, self._state.cepoch, window) if held else None

    def next_deadline_ms(self) -> int | None:
        """When to ask `next` again; None: no time, only what is applied brings something."""
        if self._pending is not None or self._released or not self._state.cluster:
            return None
        return self._next_renewal_ms if self.holds else self._seen_ms + CANDIDATE_WAIT_MS


def _expected(command: LeaseCommand) -> tuple[Epoch, int] | None:
    """What the command compares with."""
    return None if isinstance(command, Release) else (command.cepoch, command.renewals)


def _made(pending: tuple[LeaseCommand, int] | None) -> tuple[str, Epoch, int] | None:
    """(holder, cepoch, renewals) of the state that the command makes."""
    match pending:
        case (Acquire(node, cepoch, _, _), _):
            return node, cepoch + 1, 0
        case (Renew(node, cepoch, renewals, _), _):
            return node, cepoch, renewals + 1
        case _:
            return None


class _Rate:
    """How many revisions a window should have: some seconds of what was handed out lately."""

    def __init__(self, now_ms: int) -> None:
        self._at_ms = now_ms
        self._revision: Revision = 0
        self._per_second = 0

    def saw(self, now_ms: int, revision: Revision) -> None:
        if now_ms - self._at_ms >= 1_000 or revision < self._revision:
            passed = max(1, now_ms - self._at_ms)
            if self._revision:
                self._per_second = max(0, revision - self._revision) * 1_000 // passed
            self._at_ms, self._revision = now_ms, revision

    def window(self) -> int:
        return max(WINDOW_REVISIONS_MIN, self._per_second * WINDOW_SECONDS)
