"""`kubebraid ctl coordinator refill NAME`: a coordinator that lost its disk, until it is whole.

What it is: whether NAME may be emptied, what the operator has to do, and the wait for it. What it
is not: the refill; a member without an identity asks its peers by itself (coordinator/raft/).

Words: NAME *has caught up* when it has a log and has applied what the others had when this command
first saw it with one.

Invariants: nothing is told to be emptied unless a majority of all coordinators runs without NAME,
and NAME itself does not run: of a member that runs, the acknowledgements count.

Worked example: b of a, b, c is unreachable: the steps are printed; b is started, waits, is filled
by a, and has caught up: exit code 0.

Tested in tests/unit/cli/test_ctl_refill.py, tests/e2e/test_ctl_cluster.py.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, NamedTuple

from kubebraid.base.errors import Refused
from kubebraid.proto import adminwire as wire
from kubebraid.proto.adminwire import ClusterStatus, Coordinator

from .problems import majority

ASK_EVERY_S: Final = 0.5


class RefillRefused(Refused):
    """NAME must not be refilled, or not now."""

    hint = "nothing was changed"


class Step(NamedTuple):
    """What the newest status says. `caught_up`: done; `said`: for the operator."""

    caught_up: bool
    said: str


class Refill:
    """Of one member, fed with one status after the other."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._goal: int | None = None  # what it must have applied

    def begin(self, status: ClusterStatus) -> str:
        """What to do, for the operator. Raises RefillRefused."""
        member = _member(status, self._name)
        others = sum(c.votes for c in status.coordinators if c.name != self._name)
        needed = majority(status)
        if member.votes or member.state == wire.SILENT:
            raise RefillRefused(
                f"coordinator {self._name} has its log ({member.state}); only one that lost its "
                "data is refilled"
            )
        if others < needed or status.stale:
            raise RefillRefused(
                f"without {self._name} only {others} of {len(status.coordinators)} coordinators "
                f"run and {needed} must serve: start the others with their data first"
            )
        if member.state == wire.WAITING:
            return f"{self._name} waits, and asks the others for a refill"
        return (
            f"{self._name} cannot be reached. To have it refilled:\n"
            f"  1. make sure that its process ({member.address}) has ended\n"
            f"  2. move its data directory away, all of it; do not copy another member's\n"
            f"  3. start it with the flags it had and --initial-cluster-state=existing\n"
            "(with --initial-cluster-state=new it would vote as if it had never voted)"
        )

    def step(self, status: ClusterStatus) -> Step:
        """Where it is now."""
        member = _member(status, self._name)
        if member.state == wire.WAITING:
            return Step(False, f"{self._name} waits, and asks the others for a refill")
        if not member.votes:
            return Step(False, f"{self._name} is not started yet")
        if self._goal is None:
            self._goal = max(c.applied for c in status.coordinators)
        if member.applied < self._goal or member.state == wire.ALONE:
            behind = f"it has applied {member.applied} of {self._goal} entries"
            return Step(False, f"{self._name} has a log again; {behind}")
        return Step(True, f"{self._name} has caught up (entry {member.applied})")


def run(
    name: str,
    ask: Callable[[], ClusterStatus],
    tell: Callable[[str], None],
    wait: Callable[[float], bool],
) -> bool:
    """Until NAME has caught up; False if the operator's time was over first. `wait`: some seconds;
    whether there is still time. Raises RefillRefused, and what the first `ask` raises."""
    refill = Refill(name)
    said = refill.begin(ask())
    tell(said)
    while wait(ASK_EVERY_S):
        try:
            step = refill.step(ask())
        except Refused as error:
            step = Step(False, str(error))  # a router may restart meanwhile
        if step.said != said:
            said = step.said
            tell(said)
        if step.caught_up:
            return True
    return False


def _member(status: ClusterStatus, name: str) -> Coordinator:
    for member in status.coordinators:
        if member.name == name:
            return member
    known = ", ".join(member.name for member in status.coordinators)
    raise RefillRefused(f"no coordinator is called {name!r}; there are {known}")
