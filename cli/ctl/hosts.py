"""`kubebraid ctl shard hand-over | take-back NAME`: which host serves a shard that is on TiKV.

What it is: the word to the coordinators, and the wait until it is so. What it is not: a move of
tablets, which copies (`plans.py`); or the judgement whether a host may (the coordinators').

Words: a *host* is a process of `kubebraid shard --engine=tikv`, by the name it was started with.

Invariants:
- 0 behind a wait: a process of that host, other than the one before, is reached by a router;
- 3 if it was recorded and is not so yet: it goes on by itself, and to repeat it only waits.

Worked example: `shard hand-over shard-1 --to=shard-2` ends when shard-1 is up at host shard-2, and
`shard take-back shard-1` is `shard hand-over shard-1 --to=shard-1`.

Tested in tests/unit/cli/test_ctl_hosts.py.
"""

from __future__ import annotations

from functools import partial
from typing import Final

from kubebraid.base.reshard import HandOver
from kubebraid.proto import adminwire as wire
from kubebraid.proto.adminwire import ClusterStatus, Shard

from .grammar import Asked, BadValue
from .operator import EXIT_DONE, EXIT_UNKNOWN, Operator, complain

WAIT_S: Final = 60.0


def run(asked: Asked, operator: Operator) -> int:
    """The command; its exit code. Raises BadValue."""
    (name,) = asked.names
    wanted = HandOver(name, name if asked.command.words[1] == "take-back" else _host(operator))
    before = _shard(name, operator.routers.status())
    same = before is not None and before.host == wanted.host
    if not same:
        operator.hand_over(wanted)
        if operator.flags.no_wait:
            print(f"{name} is handed over to host {wanted.host}, which begins with it", flush=True)
            return EXIT_DONE
    elif before is not None and (operator.flags.no_wait or before.state == wire.UP):
        print(f"{name} has host {wanted.host} already; nothing was changed", flush=True)
        return EXIT_DONE
    replaced = 0 if same or before is None else before.incarnation
    if not operator.seen(WAIT_S, partial(_served, wanted, replaced)):
        complain(
            f"{name} is handed over to host {wanted.host} and is not up there yet; repeat this "
            "command to go on waiting; 'kubebraid ctl shard list' shows where it is"
        )
        return EXIT_UNKNOWN
    print(f"{name} is served by host {wanted.host}", flush=True)
    return EXIT_DONE


def _host(operator: Operator) -> str:
    """Raises BadValue."""
    host: str | None = operator.flags.to
    if not host or "," in host:
        raise BadValue("a hand-over wants --to=HOST, one of them")
    return host


def _shard(name: str, status: ClusterStatus) -> Shard | None:
    return next((shard for shard in status.shards if shard.name == name), None)


def _served(wanted: HandOver, replaced: int, status: ClusterStatus) -> bool:
    """Whether it is up where it should be; `replaced`: the incarnation that has to be gone."""
    shard = _shard(wanted.shard, status)
    up = shard is not None and shard.state == wire.UP and shard.incarnation != replaced
    return up and shard is not None and shard.host == wanted.host
