"""`kubebraid ctl shard add | remove NAME`: a shard that comes, and one that goes for good.

What it is: what the operator has to do, and whether it is so. What it is not: a move of tablets
(`shard drain`, `rebalance`): a shard comes and goes empty.

Invariants: a shard that owns a tablet, or that an unfinished migration names, is not removed.

Worked example: `shard add shard-3` prints how to start it, and ends with 0 when a router has it.

Tested in tests/unit/cli/test_ctl_shards.py.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from kubebraid.base.errors import KubeBraidError
from kubebraid.proto import adminwire as wire
from kubebraid.proto.adminreshard import Progress
from kubebraid.proto.adminwire import ClusterStatus

from .ask import NotDone
from .grammar import Asked
from .operator import EXIT_DONE, EXIT_REFUSED, Operator, complain

ADD_S: Final = 600.0
LOOK_EVERY_S: Final = 0.5


def run(asked: Asked, operator: Operator) -> int:
    """The command; its exit code."""
    (name,) = asked.names
    if asked.command.words[1] == "remove":
        print(removed(name, operator.routers.status(), operator.migrations()), flush=True)
        return EXIT_DONE
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


def removed(name: str, status: ClusterStatus, migrations: Sequence[Progress]) -> str:
    """What remains to be done. Raises NotDone."""
    if all(shard.name != name for shard in status.shards):
        known = ", ".join(shard.name for shard in status.shards)
        raise NotDone(f"no shard is called {name!r}; there are {known}")
    owned = status.tablets_of(name)
    if owned:
        raise NotDone(f"{name} owns {len(owned)} tablets; first 'shard drain {name}'")
    for m in migrations:
        if not m.ended and name in (m.step.source, m.step.target):
            raise NotDone(f"{name} is needed by {m.step.id} ({m.phase}); wait for its end")
    return (
        f"{name} owns no tablet and no migration needs it: end its process; its data directory "
        "can be deleted (with another one its name cannot be used again)"
    )


def _add(name: str, operator: Operator) -> int:
    status = operator.routers.status()
    owned = status.tablets_of(name)
    if owned and not is_up(name, status):
        raise NotDone(f"{name} is a shard of this cluster, with {len(owned)} tablets; start it")
    if not is_up(name, status):
        print(how_to_start(name, status), flush=True)
        if operator.flags.no_wait:
            return EXIT_DONE
        if not _seen(name, operator):
            complain(f"{name} has not come up yet; repeat this command to go on waiting")
            return EXIT_REFUSED
    print(f"{name} is up; 'kubebraid ctl rebalance' or 'tablet move' brings tablets to it")
    return EXIT_DONE


def _seen(name: str, operator: Operator) -> bool:
    until_ms = operator.clock.now_ms() + (operator.flags.timeout or ADD_S) * 1_000
    while operator.clock.now_ms() < until_ms:
        operator.pause(LOOK_EVERY_S)
        try:
            if is_up(name, operator.routers.status()):
                return True
        except KubeBraidError:
            continue  # a router may restart meanwhile
    return False
