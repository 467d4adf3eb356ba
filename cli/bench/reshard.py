"""Tablets moved, split and merged under writers: pauses, copy rate, what both shards pay.

What it is: scenarios for a cluster of real processes: fill a tablet, write to it and to others,
change it again and again as `kubebraid ctl` would. What it is not: the arithmetic (`switches.py`),
or a search for faults: tests/sim and tests/e2e do that.

Invariants: writers write from before the first change to behind the last one; one write that fails
is a failure of the scenario, and so is a change that is undone; etcd has nothing to set beside it.

Worked example: `reshard/100m`: 25,000 keys of 4 KiB, 8 clients at 200 writes a second in the tablet
and 6 at 90 in one other tablet of each shard; twice: to the next shard, to the one behind it, in
two parts, and one again.

Tested in tests/unit/cli/bench/test_reshard.py, tests/e2e/test_bench_reshard.py.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Final

from kubebraid.base.errors import KubeBraidError
from kubebraid.proto.adminreshard import PlanRequest, Progress, Verb
from kubebraid.proto.adminwire import ClusterStatus, Tablet

from ..ctl.ask import Routers
from ..ctl.operator import Operator
from .drivers import BenchError
from .figures import Figure
from .loads import BENCH, filled
from .scenario import Scenario
from .servers import Server
from .site import Site, scaled
from .switches import MOVED, Change, Cpu, Quiet, figures
from .writers import Group, Writers

SHARDS: Final = 3
VALUE_BYTES: Final = 4_096
KEY_BYTES: Final = len(BENCH) + 10
SIZES: Final = (("10m", 2_500, 5), ("100m", 25_000, 2), ("1g", 250_000, 1))  # keys, cycles
MOVES: Final = 2  # of a cycle
CLIENTS: Final = 8
RATE: Final = 200.0
OTHER_CLIENTS: Final = 2  # of each shard
OTHER_RATE: Final = 30.0
OTHER_KEYS: Final = 100
SETTLE_S: Final = 3.0  # behind the fill: stores flush what they were given
QUIET_S: Final = 20.0
QUIET_S_MIN: Final = 4.0
LOOK_EVERY_S: Final = 0.05
CHANGE_S_MAX: Final = 900.0
COPYING: Final = ("planned", "preparing", "ready")
SWITCHED: Final = ("committed", "draining", "done")


class Undone(BenchError):
    """A change did not come to its end."""

    hint = "see the shards' logs in the folder that the run names"


def tablets_below(status: ClusterStatus, whole: Tablet) -> list[Tablet]:
    """Those that the range of `whole` is made of now, in the order of their keys."""
    inside = [
        tablet
        for tablet in status.tablets
        if tablet.start >= whole.start
        and (whole.end is None or (tablet.end is not None and tablet.end <= whole.end))
    ]
    return sorted(inside, key=lambda tablet: tablet.start)


def tablet_of(status: ClusterStatus, key: str) -> Tablet:
    """The one that has it."""
    return next(
        tablet
        for tablet in status.tablets
        if tablet.start <= key and (tablet.end is None or key < tablet.end)
    )


def bystanders(status: ClusterStatus, moved: Tablet) -> list[Tablet]:
    """One other tablet of each shard, whose range is a folder. Raises BenchError."""
    found: dict[str, Tablet] = {}
    for tablet in status.tablets:
        is_folder = tablet.end == f"{tablet.start}0" and tablet.buckets == 1
        if tablet.id != moved.id and is_folder:
            found.setdefault(tablet.shard, tablet)
    if lacking := sorted({shard.name for shard in status.shards} - found.keys()):
        raise BenchError(f"{', '.join(lacking)}: there is no second tablet to look at")
    return list(found.values())


def groups(moved_keys: int, others: Sequence[Tablet]) -> list[Group]:
    """Who writes what."""
    return [
        Group(MOVED, BENCH, moved_keys, CLIENTS, RATE),
        *(
            Group(tablet.shard, f"{tablet.start}/bench/", OTHER_KEYS, OTHER_CLIENTS, OTHER_RATE)
            for tablet in others
        ),
    ]


def following(shards: Sequence[str], name: str) -> str:
    """The next one, in a ring."""
    return shards[(shards.index(name) + 1) % len(shards)]


@dataclass
class Bench:
    """One tablet of one cluster, and who changes it."""

    server: Server
    operator: Operator
    writers: Writers
    whole: Tablet

    def cycle(self) -> Iterator[Change]:
        """Two moves, a split and a merge."""
        for _ in range(MOVES):
            status = self.operator.routers.status()
            to = following([shard.name for shard in status.shards], self._parts()[0].shard)
            yield self.change(PlanRequest(Verb.MOVE, self._ids(), to=(to,)))
        yield self.change(PlanRequest(Verb.SPLIT, self._ids(), parts=2))
        yield self.change(PlanRequest(Verb.MERGE, self._ids()))

    def _parts(self) -> list[Tablet]:
        return tablets_below(self.operator.routers.status(), self.whole)

    def _ids(self) -> tuple[str, ...]:
        return tuple(str(tablet.id) for tablet in self._parts())

    def change(self, request: PlanRequest) -> Change:
        """Record it and look until it is done. Raises BenchError."""
        try:
            return self._change(request)
        except KubeBraidError as error:
            raise BenchError(f"{request.verb.value}: {error}") from error

    def _change(self, request: PlanRequest) -> Change:
        plan = self.operator.plan(request)
        (step,) = plan.steps
        self.operator.record(request, plan)
        began_s = before_s = time.monotonic()
        copied_s = behind_s = 0.0
        at_first, at_copied = self.server.cpu_by_process(), Cpu()
        while True:
            found = self._look(step.id, began_s)
            now_s = time.monotonic()
            if found.phase in COPYING:
                before_s = now_s
            if not at_copied and found.phase not in COPYING[:2]:
                copied_s, at_copied = now_s, self.server.cpu_by_process()
            if not behind_s and found.phase in SWITCHED:
                behind_s = now_s
            if found.phase == "done":
                break
            time.sleep(LOOK_EVERY_S)
        cpu = used(at_first, at_copied)
        times = (began_s, copied_s, before_s, behind_s)
        return Change(step.kind, step.source, step.target, *times, found.switch_ms, cpu)

    def _look(self, name: str, began_s: float) -> Progress:
        """Raises BenchError, KubeBraidError."""
        self.server.check()
        found = self.operator.migrations((name,))
        self.writers.check(f"in {name}, {found[0].phase if found else 'unknown'}")
        if not found:
            raise Undone(f"{name} is not known any more")
        if found[0].phase == "aborted":
            raise Undone(f"{name} was undone: {found[0].failed or found[0].why}")
        if time.monotonic() - began_s > CHANGE_S_MAX:
            raise Undone(f"{name} is {found[0].phase} after {CHANGE_S_MAX:g} s")
        return found[0]


def used(before: Cpu, after: Cpu) -> Cpu:
    """CPU seconds between two looks."""
    return {name: after[name] - before[name] for name in after}


def quiet(server: Server, seconds: float) -> Quiet:
    """Nothing but the writers."""
    began_s, before = time.monotonic(), server.cpu_by_process()
    time.sleep(seconds)
    return Quiet(began_s, time.monotonic(), used(before, server.cpu_by_process()))


def changed(site: Site, keys: int, cycles: int) -> list[Figure]:
    """One tablet of so many keys, changed in so many cycles."""
    keys = site.keys(keys)
    filled(site, keys, VALUE_BYTES)
    endpoint = site.driver.endpoint
    operator = Operator(Routers([f"http://{endpoint}"]), argparse.Namespace(output=None, yes=True))
    status = operator.routers.status()
    whole = tablet_of(status, BENCH)
    time.sleep(SETTLE_S)
    with Writers(endpoint, groups(keys, bystanders(status, whole))) as writers:
        bench = Bench(site.server, operator, writers, whole)
        before = quiet(site.server, max(QUIET_S * site.scale, QUIET_S_MIN))
        turns = range(scaled(cycles, site.scale, 1))
        changes = [change for _ in turns for change in bench.cycle()]
    writers.check("at the end")
    found = figures(changes, before, writers.wrote, keys * (KEY_BYTES + VALUE_BYTES))
    return [*found, Figure("disk", "MiB", site.server.disk_mib())]


def scenarios() -> list[Scenario]:
    """By the size of the tablet."""
    return [
        Scenario(
            f"reshard/{name}",
            f"a tablet of {keys:,} keys of 4 KiB is moved, split and merged under "
            f"{RATE:g} writes a second",
            partial(changed, keys=keys, cycles=cycles),
            by_default=False,
            shards=SHARDS,
        )
        for name, keys, cycles in SIZES
    ]
