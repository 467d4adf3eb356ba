"""`kubebraid ctl shard add | remove NAME`: a shard that comes, and one that goes for good.

What it is: what the operator has to do, and whether it is so. What it is not: a move of tablets
(`shard drain`, `rebalance`): a shard comes and goes empty; or the judgement whether one may go
(router/members.py, and the coordinators).

Worked example: `shard add shard-3` prints how to start it, and ends with 0 when a router has it.

Tested in tests/unit/cli/test_ctl_shards.py.
"""

from __future__ import annotations

from functools import partial
from typing import Final

from kubebraid.proto import adminwire as wire
from kubebraid.proto.adminwire import ClusterStatus

from .ask import NotDone
from .grammar import Asked
from .operator import EXIT_DONE, EXIT_REFUSED, LOOK_EVERY_S, Operator, complain

ADD_S: Final = 600.0
REMOVE_S: Final = 3.0


def run(asked: Asked, operator: Operator) -> int:
    """The command; its exit code."""
    (name,) = asked.names
    if asked.command.words[1] == "remove":
        return _remove(name, operator)
    return _add(name, operator)


def is_up(name: str, status: ClusterStatus) -> bool:
    return any(shard.name == name and shard.state == wire.UP for shard in status.shards)


def how_to_start(name: str, status: ClusterStatus) -> str:
    """For a shard that is not there yet."""
    members = ",".join(f"{c.name}={c.address}" for c in status.coordinators)
    return (
        f"start it, on any machine that reaches the others, with the flags of the other shards:\n"
        f"  kubebraid shard --name={name} --coordinators={members} --listen=HOST:PORT "
        "--data-dir=DIR --cluster-secret-file=FILE\n"
        "It begins without tablets."
    )


def _remove(name: str, operator: Operator) -> int:
    until_ms = operator.clock.now_ms() + REMOVE_S * 1_000
    while True:
        try:
            operator.remove(name)
            break
        except NotDone:
            # What a shard says of itself comes once a second: behind a drain it may lag.
            status = operator.routers.status()
            drained = is_up(name, status) and not status.tablets_of(name)
            if not drained or operator.clock.now_ms() >= until_ms:
                raise
            operator.pause(LOOK_EVERY_S)
    print(
        f"{name} is removed and its process ends; its data directory can be deleted. A shard may "
        "come under this name with an empty one",
        flush=True,
    )
    return EXIT_DONE


def _add(name: str, operator: Operator) -> int:
    status = operator.routers.status()
    owned = status.tablets_of(name)
    if owned and not is_up(name, status):
        raise NotDone(f"{name} is a shard of this cluster, with {len(owned)} tablets; start it")
    if not is_up(name, status):
        print(how_to_start(name, status), flush=True)
        if operator.flags.no_wait:
            return EXIT_DONE
        if not operator.seen(ADD_S, partial(is_up, name)):
            complain(f"{name} has not come up yet; repeat this command to go on waiting")
            return EXIT_REFUSED
    print(f"{name} is up; 'kubebraid ctl rebalance' or 'tablet move' brings tablets to it")
    return EXIT_DONE
