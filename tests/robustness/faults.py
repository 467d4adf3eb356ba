"""What goes wrong in a run, in which order, decided by a seed.

What it is: every kind of fault on every kind of target, dealt in rounds. What it is not: a
judgement of what the clients see meanwhile.

Words: the *targets* are the coordinator that serves revisions (the holder), another one, a shard, a
router. A bad network is *around* its target, or only *toward* it: then what it dials itself, the
coordinators, is well, and a holder keeps its lease though nobody reaches it.

Invariants: one fault at a time; the next begins when every client has been answered since it; a
round has each kind once and each target, four rounds have each pair once, and in any two rounds the
holder is killed or stopped.

Worked example: `stop holder`: for 10 s the sequencer hears nothing, another takes its lease, and
what the old one still had to say comes late and has to be worth nothing.

Tested in test_faults.py.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable, Iterator, Sequence
from enum import Enum
from random import Random
from typing import Final, NamedTuple

from tests.e2e.processes import Timeout
from tests.robustness.load import SHARDS
from tests.robustness.proxy import Mode, Relay
from tests.robustness.roles import COORDINATORS, ROUTERS, Cluster

KILL_AWAY_S: Final = 1.0
STOP_S: Final = 10.0
CUT_S: Final = 3.0
SLOW_S: Final = 5.0
SLOW_DELAY_S: Final = (0.02, 0.2)
SILENT_S: Final = 6.0  # longer than a lease, and than a client waits
GAP_S: Final = 1.0
RECOVERY_S_MAX: Final = 45.0


class Kind(Enum):
    KILL = "kill"
    STOP = "stop"
    CUT = "cut"
    SLOW = "slow"
    SILENT = "silent"  # what waited arrives late
    HALF_OPEN = "half-open"  # what waited is lost, with its connection


class Target(Enum):
    HOLDER = "holder"
    COORDINATOR = "coordinator"
    SHARD = "shard"
    ROUTER = "router"


class Fault(NamedTuple):
    kind: Kind
    target: Target


class Injected(NamedTuple):
    """A fault that was, on whom, and how long until every client was answered again."""

    fault: Fault
    name: str
    around: bool
    began_s: float
    recovery_s: float


def schedule(chance: Random) -> Iterator[Fault]:
    """Without end."""
    targets = list(Target)
    chance.shuffle(targets)
    shifts = dict(zip(Kind, (0, 2, 1, 3, *chance.sample(range(4), 2)), strict=True))
    for turn in itertools.count():
        kinds = list(Kind)
        chance.shuffle(kinds)
        for kind in kinds:
            yield Fault(kind, targets[(shifts[kind] + turn) % len(targets)])


class Faults:
    """Injects them; `answered` tells whether every client was answered since a time."""

    def __init__(self, cluster: Cluster, seed: int, answered: Callable[[float], bool]) -> None:
        self._cluster = cluster
        self._chance = Random(f"{seed} faults")
        self._answered = answered
        self.injected: list[Injected] = []

    async def run(self, seconds: float, count_min: int) -> None:
        """One after the other for so long, and until there were so many."""
        now = asyncio.get_running_loop().time
        began = now()
        for fault in schedule(self._chance):
            await asyncio.sleep(GAP_S)
            if now() - began >= seconds and len(self.injected) >= count_min:
                return
            name = await self._name(fault.target)
            began_s, around = now() - began, self._chance.random() < 0.5
            await self._inject(fault.kind, name, around)
            recovery_s = await self._recovered()
            self.injected.append(Injected(fault, name, around, began_s, recovery_s))
            where = "around" if around else "toward"
            told = f"{began_s:6.1f} s {fault.kind.value:9} {fault.target.value:11} {where} {name}"
            print(f"{told}, all answered again after {recovery_s:.1f} s", flush=True)

    async def _name(self, target: Target) -> str:
        match target:
            case Target.SHARD:
                return self._chance.choice(SHARDS)
            case Target.ROUTER:
                return self._chance.choice(ROUTERS)
            case Target.HOLDER:
                return await self._cluster.holder()
            case Target.COORDINATOR:
                holder = await self._cluster.holder()
                return self._chance.choice([name for name in COORDINATORS if name != holder])

    async def _inject(self, kind: Kind, name: str, around: bool) -> None:
        cluster = self._cluster
        relays = cluster.around(name) if around else cluster.toward(name)
        match kind:
            case Kind.KILL:
                await cluster.kill(name, KILL_AWAY_S)
            case Kind.STOP:
                await cluster.stop(name, STOP_S)
            case Kind.CUT:
                await _during(relays, Mode.CUT, CUT_S)
            case Kind.SLOW:
                await _during(relays, Mode.SLOW, SLOW_S, self._chance.uniform(*SLOW_DELAY_S))
            case Kind.SILENT:
                await _during(relays, Mode.SILENT, SILENT_S)
            case Kind.HALF_OPEN:
                await _during(relays, Mode.SILENT, SILENT_S, lost=True)
        cluster.check()

    async def _recovered(self) -> float:
        loop = asyncio.get_running_loop()
        healed = loop.time()
        while not self._answered(healed):
            self._cluster.check()
            if loop.time() - healed > RECOVERY_S_MAX:
                raise Timeout(f"a client was not answered for {RECOVERY_S_MAX:g} s after a fault")
            await asyncio.sleep(0.1)
        return loop.time() - healed


async def _during(
    relays: Sequence[Relay], mode: Mode, seconds: float, delay_s: float = 0.0, *, lost: bool = False
) -> None:
    """So for a while; what waited at its end is delivered, or `lost` with its connections."""
    for relay in relays:
        relay.turn(mode, delay_s)
    await asyncio.sleep(seconds)
    for relay in relays:
        if lost:
            relay.reset()
        relay.turn(Mode.PASS)
