"""`kubebraid ctl coordinator refill`: when it may be done, what is told, and when it is over."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from kubebraid.cli.ctl.ask import Unreachable
from kubebraid.cli.ctl.refill import Refill, RefillRefused, run
from kubebraid.proto.adminwire import ClusterStatus

from .ctl_status import HEALTHY, coordinators, without_quorum


def caught_up(applied: int, state: str = "follower") -> ClusterStatus:
    members = [*HEALTHY.coordinators]
    members[2] = members[2]._replace(applied=applied, state=state)
    return HEALTHY._replace(coordinators=tuple(members))


class Operator:
    """Runs the command over statuses that come one after the other."""

    def __init__(self, *statuses: ClusterStatus | Unreachable) -> None:
        self._statuses = list(statuses)
        self.said: list[str] = []

    def run(self) -> bool:
        return run("c", self._ask, self.said.append, lambda _seconds: bool(self._statuses))

    def _ask(self) -> ClusterStatus:
        found = self._statuses.pop(0)
        if isinstance(found, Unreachable):
            raise found
        return found


@pytest.mark.parametrize("state", ["leader", "follower", "alone", "silent"])
def test_member_that_has_its_log_is_refused(state: str) -> None:
    with pytest.raises(RefillRefused, match=f"coordinator c has its log .{state}."):
        Refill("c").begin(coordinators(c=state))


def test_it_is_refused_when_no_quorum_would_be_left() -> None:
    with pytest.raises(RefillRefused, match="without b only 1 of 3 coordinators run and 2 must"):
        Refill("b").begin(without_quorum())
    waiting = coordinators(b="waiting", c="unreachable")
    with pytest.raises(RefillRefused, match="without c only 1 of 3"):
        Refill("c").begin(waiting)
    alone = HEALTHY._replace(coordinators=coordinators(a="unreachable").coordinators[:1])
    with pytest.raises(RefillRefused, match="without a only 0 of 1"):
        Refill("a").begin(alone)


def test_it_is_refused_while_nobody_serves() -> None:
    with pytest.raises(RefillRefused, match="start the others"):
        Refill("c").begin(coordinators(c="unreachable")._replace(stale=True))


def test_unknown_name_is_refused_with_those_there_are() -> None:
    with pytest.raises(RefillRefused, match="no coordinator is called 'd'; there are a, b, c"):
        Refill("d").begin(HEALTHY)


def test_operator_is_told_each_step_once_until_it_has_caught_up() -> None:
    away, waiting = coordinators(c="unreachable"), coordinators(c="waiting")
    operator = Operator(
        away, away, away, waiting, waiting, Unreachable("no"), caught_up(20), caught_up(90)
    )
    assert operator.run()
    steps, away_said, waits, no, behind, done = operator.said
    assert "--initial-cluster-state=existing" in steps
    assert "(h:3) has ended" in steps
    assert away_said == "c is not started yet"
    assert waits == "c waits, and asks the others for a refill"
    assert no == "no"
    assert behind == "c has a log again; it has applied 20 of 90 entries"
    assert done == "c has caught up (entry 90)"


def test_member_that_waits_already_needs_no_steps() -> None:
    operator = Operator(coordinators(c="waiting"), caught_up(90))
    assert operator.run()
    assert operator.said == [
        "c waits, and asks the others for a refill",
        "c has caught up (entry 90)",
    ]


def test_goal_stays_what_it_was_when_the_member_first_had_a_log() -> None:
    """Or a busy log would run away from it."""
    refill = Refill("c")
    assert not refill.step(caught_up(20)).caught_up
    busy = [member._replace(applied=member.applied + 500) for member in HEALTHY.coordinators]
    busy[2] = busy[2]._replace(applied=90)
    assert refill.step(HEALTHY._replace(coordinators=tuple(busy))).caught_up


def test_member_without_a_leader_has_not_caught_up() -> None:
    assert not Refill("c").step(caught_up(90, "alone")).caught_up


@pytest.mark.parametrize("left", [[], [coordinators(c="waiting")]])
def test_it_ends_when_the_time_is_over(left: Sequence[ClusterStatus]) -> None:
    operator = Operator(coordinators(c="unreachable"), *left)
    assert not operator.run()
