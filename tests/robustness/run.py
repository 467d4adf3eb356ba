"""One run: a cluster behind relays, its load, its watchers, its faults, and the verdict.

What it is: the order of things. What it is not: any of them.

    python -m tests.robustness.run --seconds 1800 --seed 7 --folder FOLDER

keeps FOLDER/history.jsonl, which go-robustness reads, and the logs of all processes.

Invariants: all faults end before the load does; what is judged is complete up to a revision that
was read when nothing was wrong any more; the seed is printed before anything happens.

Worked example: 180 s with seed 1 are about 20 faults and 14,000 calls.
"""

from __future__ import annotations

import argparse
import asyncio
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Final

from tests.e2e.processes import Supervisor, Timeout
from tests.robustness.etcd_client import Client, numbers
from tests.robustness.faults import Faults, Injected
from tests.robustness.follow import Follower, Wish
from tests.robustness.linear import judge_calls
from tests.robustness.load import (
    PLACES,
    SHARDS,
    Compactor,
    Worker,
    first_look,
    shard_of,
    span,
    stopped,
    workers,
)
from tests.robustness.records import EVERYTHING, History, Outcome, Range, save
from tests.robustness.roles import Cluster
from tests.robustness.told import judge_chains, judge_complete, judge_followings
from tests.robustness.truth import Truth

CLIENTS: Final = 20
COMPACT_S: Final = 20.0
KEPT: Final = 300  # revisions behind the slowest watcher of all keys that stay
VISIT_S: Final = 2.0
QUIET_S_MAX: Final = 60.0  # until all watchers have seen the end
OVERHEAD_S_MAX: Final = 240.0  # of the start and the end; a run takes this and twice its time
ALL: Final = (EVERYTHING, EVERYTHING)


@dataclass
class Verdict:
    """What a run was, given that nothing was broken."""

    seed: int
    seconds: float
    calls: Counter[str] = field(default_factory=Counter)
    outcomes: Counter[str] = field(default_factory=Counter)
    changes: int = 0
    events: int = 0
    streams: int = 0
    shares: dict[str, float] = field(default_factory=dict)  # of the changes, by shard
    longest_pause_s: float = 0.0
    longest_silence_s: float = 0.0
    reigns: int = 0  # of a sequencer, by what the routers tell as Raft's term
    told_shards: frozenset[str] = frozenset()  # whose changes a watch of all keys told
    injected: list[Injected] = field(default_factory=list)

    def __str__(self) -> str:
        kinds = Counter(f"{i.fault.kind.value} {i.fault.target.value}" for i in self.injected)
        shares = ", ".join(f"{name} {share:.0%}" for name, share in sorted(self.shares.items()))
        slowest = max((i.recovery_s for i in self.injected), default=0.0)
        return "\n".join(
            [
                f"seed {self.seed}, {self.seconds:.0f} s: no violation",
                f"calls     {sum(self.calls.values())}: {dict(self.calls.most_common())}",
                f"outcomes  {dict(self.outcomes)}",
                f"changes   {self.changes} ({shares}); events told {self.events},"
                f" on {self.streams} streams",
                f"faults    {len(self.injected)}: {dict(sorted(kinds.items()))};"
                f" {self.reigns} reigns",
                f"pauses    longest of a client {self.longest_pause_s:.1f} s, of a watch"
                f" {self.longest_silence_s:.1f} s; slowest recovery {slowest:.1f} s",
            ]
        )


class Run:
    """One run in a folder of its own."""

    def __init__(
        self,
        seed: int,
        seconds: float,
        supervisor: Supervisor,
        folder: Path,
        shard_flags: Sequence[str] = (),
        faults_min: int = 0,
    ) -> None:
        self.history = History()
        self._seed, self._seconds, self._faults_min = seed, seconds, faults_min
        self._chance = Random(f"{seed} visitors")
        self._cluster = Cluster(supervisor, folder, shard_flags)
        self._numbers = numbers()
        self._workers: list[Worker] = []
        self._followers: list[Follower] = []
        self._visitors: list[Follower] = []
        self._faults = Faults(self._cluster, seed, self._answered)
        self._stop = asyncio.Event()

    async def play(self) -> None:
        """Everything but the verdict."""
        print(f"robustness: seed {self._seed}, {self._seconds:g} s", flush=True)
        most_s = OVERHEAD_S_MAX + 2 * self._seconds
        async with asyncio.timeout(most_s), asyncio.TaskGroup() as dials:
            try:
                await self._cluster.start(dials)
                await self._scenes()
            finally:
                self._cluster.close()

    async def _scenes(self) -> None:
        ports = self._cluster.ports
        client = Client(ports, 0, self._numbers, self.history)
        await self._begin(client)
        self._workers = workers(ports, CLIENTS, self._seed, self._numbers, self.history)
        compactor = Client(ports, 1, self._numbers, self.history)
        async with asyncio.TaskGroup() as watching:
            self._follow(watching)
            async with asyncio.TaskGroup() as working:
                for worker in self._workers:
                    working.create_task(worker.run(self._stop))
                working.create_task(Compactor(compactor, self._floor, COMPACT_S).run(self._stop))
                working.create_task(self._visit(watching))
                working.create_task(self._misfortune())
            await self._end(client)
            for follower in (*self._followers, *self._visitors):
                follower.stop()
        for each in (client, compactor, *(worker.client for worker in self._workers)):
            await each.close()

    async def _begin(self, client: Client) -> None:
        """Return when the empty store answers."""
        end = time.monotonic() + QUIET_S_MAX
        while (await first_look(client)).outcome is not Outcome.OK:
            if time.monotonic() > end:
                raise Timeout(f"the cluster did not answer after {QUIET_S_MAX:g} s")

    def _follow(self, tasks: asyncio.TaskGroup) -> None:
        spans = [("all-0", ALL), ("all-1", ALL), *((place, span(place)) for place in PLACES)]
        wishes = [(name, Wish(keys, 1)) for name, keys in spans]
        wishes.append(("blind", Wish(ALL, 1, prev_kv=False)))
        for number, (name, wish) in enumerate(wishes):
            follower = Follower(name, wish, self._cluster.ports, number, self.history)
            self._followers.append(follower)
        for follower in self._followers:
            tasks.create_task(follower.run())

    async def _visit(self, tasks: asyncio.TaskGroup) -> None:
        """Watches that begin somewhere in the past, also where it is compacted, and end soon."""
        while not await stopped(self._stop, VISIT_S):
            newest = max(follower.seen for follower in self._followers)
            start = max(1, newest - self._chance.randrange(2 * KEPT))
            number = len(self._visitors)
            keys = ALL if number % 4 == 0 else span(self._chance.choice(PLACES))
            wish = Wish(keys, start, until=newest)
            name = f"visitor-{number}"
            visitor = Follower(name, wish, self._cluster.ports, number, self.history)
            self._visitors.append(visitor)
            tasks.create_task(visitor.run())

    def _floor(self) -> int:
        """What may be compacted: all watchers of all keys have it behind them."""
        whole = (follower for follower in self._followers if follower.span == ALL)
        return min(follower.seen for follower in whole) - KEPT

    async def _misfortune(self) -> None:
        await self._faults.run(self._seconds, self._faults_min)
        self._stop.set()

    def _answered(self, since: float) -> bool:
        return all(worker.last_ok > since for worker in self._workers)

    async def _end(self, client: Client) -> None:
        """A last read, and everything told up to it."""
        end = time.monotonic() + QUIET_S_MAX
        while (
            call := await client.ask(Range("/registry/", "/registry0"))
        ).outcome is not Outcome.OK:
            assert time.monotonic() < end, f"no read at the end: {call.error}"
        while late := [f.name for f in self._followers if f.seen < call.revision]:
            if time.monotonic() > end:
                raise Timeout(f"{late} did not see {call.revision} in {QUIET_S_MAX:g} s")
            await asyncio.sleep(0.1)
        self.last = call.revision

    def judge(self) -> Verdict:
        """Raises Broken."""
        truth = Truth(self.history)
        makers = judge_calls(self.history, truth)
        verdict = Verdict(self._seed, self._seconds, changes=len(makers))
        verdict.events = judge_followings(self.history, truth)
        judge_chains(self.history)
        judge_complete(self.history, [follower.name for follower in self._followers], self.last)
        verdict.streams = len(self.history.followings)
        kinds = (type(call.request).__name__ for call in self.history.calls)
        verdict.calls = Counter(kinds)
        verdict.outcomes = Counter(call.outcome.value for call in self.history.calls)
        written = Counter(
            shard_of(event.row.key) for r in truth.revisions for event in truth.events[r][:1]
        )
        verdict.shares = {name: written[name] / max(1, written.total()) for name in SHARDS}
        verdict.told_shards = frozenset(
            shard_of(event.row.key)
            for following in self.history.followings
            if following.watcher == "all-0"
            for told in following.told
            for event in told.events
        )
        verdict.reigns = max(worker.client.term for worker in self._workers)
        verdict.longest_pause_s = max(worker.longest_pause_s for worker in self._workers)
        verdict.longest_silence_s = max(f.longest_silence_s for f in self._followers)
        verdict.injected = self._faults.injected
        return verdict


def run(
    seed: int,
    seconds: float,
    folder: Path,
    shard_flags: Sequence[str] = (),
    faults_min: int = 0,
) -> Verdict:
    """Play and judge; the history stays in the folder. `shard_flags` say where shards keep their
    data, if not there too; a machine that is so busy that there were fewer than `faults_min` faults
    plays longer. Raises Broken."""
    with Supervisor(folder) as supervisor:
        one = Run(seed, seconds, supervisor, folder, shard_flags, faults_min)
        try:
            asyncio.run(one.play())
        finally:
            save(one.history, folder / "history.jsonl")
    return one.judge()


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.robustness.run")
    parser.add_argument("--seconds", type=float, default=180.0)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--folder", type=Path, required=True, help="new; it is left behind")
    asked = parser.parse_args(argv)
    asked.folder.mkdir(parents=True)
    print(run(asked.seed, asked.seconds, asked.folder))


if __name__ == "__main__":
    main()
