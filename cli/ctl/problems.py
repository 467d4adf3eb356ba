"""What is wrong with a cluster, and what to do about it: a status in, sentences out.

What it is: the one place that judges a status. What it is not: the collection of facts
(router/admin.py) or their print (`tables.py`, `documents.py`).

Invariants: a healthy cluster has no problem; each problem says what an operator can do; the same
status gives the same sentences, in the same order.

Worked example: shard-1 is down: "shard-1 (10.0.0.2:7200) cannot be reached from router r1; its 7
tablets are down: events, leases, ...", and to start it again with its data directory.

Tested in tests/unit/cli/test_ctl.py.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final, NamedTuple

from kubebraid.base.limits import WINDOW_REVISIONS_MIN
from kubebraid.base.ports import ALARM_CORRUPT, ALARM_NOSPACE
from kubebraid.proto import adminwire as wire
from kubebraid.proto.adminwire import ClusterStatus, Coordinator, Shard

COORDINATOR: Final = "coordinator"
SHARD: Final = "shard"
TABLET: Final = "tablet"
BEHIND_ENTRIES: Final = 1_000  # of the log: minutes of a quiet cluster, or a snapshot on its way
LAG_REVISIONS: Final = WINDOW_REVISIONS_MIN  # under load some are always on their way
NAMES_SHOWN: Final = 6


class Problem(NamedTuple):
    """`about`: the nouns whose listings it belongs to."""

    what: str
    do: str
    about: tuple[str, ...]


def problems(status: ClusterStatus) -> list[Problem]:
    """All of them, the worst first."""
    return [
        *_sequencer(status),
        *_coordinators(status),
        *_shards(status),
        *_tablets(status),
        *_alarms(status),
    ]


def majority(status: ClusterStatus) -> int:
    """How many coordinators must run."""
    return len(status.coordinators) // 2 + 1


def _sequencer(status: ClusterStatus) -> Iterator[Problem]:
    if not status.stale:
        return
    about = (COORDINATOR, SHARD, TABLET)
    running, needed = sum(c.votes for c in status.coordinators), majority(status)
    told = (
        f"writes and linearizable reads wait; what is shown is the last that router "
        f"{status.router} has heard"
    )
    if running >= needed:
        yield Problem(
            f"no coordinator hands out revisions: {told}",
            "wait for three seconds, in which another one takes the lease; if none does, read the "
            "logs of the coordinators",
            about,
        )
    else:
        gone = _names(c.name for c in status.coordinators if not c.votes)
        yield Problem(
            f"router {status.router} reaches {running} of {len(status.coordinators)} coordinators, "
            f"{needed} must run: {told}",
            f"start {gone} again, with the data directory each had; if they run, look at the "
            "network, and ask another router",
            about,
        )


def _coordinators(status: ClusterStatus) -> Iterator[Problem]:
    most = max((c.applied for c in status.coordinators), default=0)
    for member in status.coordinators:
        found = _coordinator(status, member, most)
        if found is not None:
            yield Problem(*found, (COORDINATOR,))


def _coordinator(status: ClusterStatus, member: Coordinator, most: int) -> tuple[str, str] | None:
    name = f"coordinator {member.name}"
    match member.state:
        case wire.UNREACHABLE:
            return (
                f"{name} ({member.address}) cannot be reached from router {status.router}",
                "start it again with its data directory; if that is lost: "
                f"kubebraid ctl coordinator refill {member.name}",
            )
        case wire.SILENT:
            return (
                f"{name} ({member.address}) is connected and does not answer",
                "look whether its process is stopped or its disk hangs; end it and start it again",
            )
        case wire.WAITING:
            return (
                f"{name} has no log and waits until the others refill it",
                f"nothing while {majority(status)} others run; to follow it: "
                f"kubebraid ctl coordinator refill {member.name}",
            )
        case wire.ALONE:
            return (
                f"{name} runs and knows of no leader",
                "wait a second or two for an election; then look for what keeps it from the others",
            )
        case _:
            pass
    if most - member.applied > BEHIND_ENTRIES:
        behind = f"{name} is {most - member.applied} entries of the log behind"
        return behind, "wait; if the number does not fall, look at its disk and its network"
    return None


def _shards(status: ClusterStatus) -> Iterator[Problem]:
    for shard in status.shards:
        tablets = status.tablets_of(shard.name)
        if shard.state == wire.UP or not tablets:
            continue
        names = _names(tablet.name for tablet in tablets)
        lost = f"its {len(tablets)} tablets are down: {names}"
        if len(tablets) == 1:
            lost = f"its tablet {names} is down"
        if shard.state == wire.NEVER:
            what = f"shard {shard.name} was never started; {lost}"
            do = f"start it: kubebraid shard --name={shard.name} with a new data directory"
        else:
            what = f"shard {shard.name} ({shard.address}) cannot be reached from router "
            what += f"{status.router}; {lost}"
            do = _bring_back(shard)
        yield Problem(what, do, (SHARD, TABLET))


def _bring_back(shard: Shard) -> str:
    if shard.host:
        return (
            f"wait for ten seconds, in which another host takes it; if none does, start "
            f"{shard.host} again with the flags it had"
        )
    return (
        "start it again with the same name and data directory; if it runs, look at the network "
        "between the two"
    )


def _tablets(status: ClusterStatus) -> Iterator[Problem]:
    up = {shard.name for shard in status.shards if shard.state == wire.UP}
    for tablet in status.tablets:
        if tablet.shard not in up:
            continue  # told with its shard
        if tablet.lag is None:
            yield Problem(
                f"router {status.router} has heard nothing of tablet {tablet.name} yet; watches "
                "over it wait",
                f"ask again in a second; if it stays so, read the log of shard {tablet.shard}",
                (TABLET,),
            )
        elif tablet.lag > LAG_REVISIONS and not status.stale:
            yield Problem(
                f"tablet {tablet.name} lags by {tablet.lag} revisions; watches over it wait",
                f"ask again in a second; if it stays so, read the log of shard {tablet.shard}",
                (TABLET,),
            )


def _alarms(status: ClusterStatus) -> Iterator[Problem]:
    for alarm in status.alarms:
        if alarm.kind == ALARM_NOSPACE:
            what = "the alarm NOSPACE is raised: writes that need space are refused"
            do = "make space (delete, compact, a larger disk), then: etcdctl alarm disarm"
        elif alarm.kind == ALARM_CORRUPT:
            what = "the alarm CORRUPT is raised: writes are refused"
            do = "check the stopped stores (kubebraid ctl data check), then: etcdctl alarm disarm"
        else:
            what, do = f"an alarm of kind {alarm.kind} is raised", "etcdctl alarm list"
        yield Problem(what, do, (SHARD,))


def _names(names: Iterable[str]) -> str:
    """A few of them, and how many more there are."""
    known = list(names)
    shown = ", ".join(known[:NAMES_SHOWN])
    more = len(known) - NAMES_SHOWN
    return f"{shown} and {more} more" if more > 0 else shown
