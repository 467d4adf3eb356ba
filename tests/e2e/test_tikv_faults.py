"""Everything fails in turn below twenty writers: three stores of TiKV, PD, shards, the sequencer.

Marked `tikv`, as test_shards_on_tikv.py is; PD and three stores of tests/tikv, so each row has
three replicas. Faults come one at a time, each on a process drawn by the seed, and the next one
when all writers go on. dev-cluster starts what was killed again: a shard is served by the process
in its place or by another host, whichever comes first.

The judge: no acknowledged write is lost, told twice, told apart by two watches, or read otherwise
than told (reshard_traffic.py). KUBEBRAID_FAULTS_SEED=7 chooses another seed.
"""

from __future__ import annotations

import os
import random
import secrets
import signal
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final

import pytest

from tests.e2e.ledger import SHARD_NAMES
from tests.e2e.processes import Peers, Supervisor
from tests.e2e.reshard_site import Site
from tests.e2e.reshard_traffic import Snapshots, Traffic, Watched, settled
from tests.e2e.store import Kind, Store, need_tikv_client, tikv_flags
from tests.e2e.tikv_hosts import LAYOUT
from tests.tikv.cluster import Cluster, stopped

pytestmark = pytest.mark.tikv

CI_SEED: Final = 3
SOAK_S: Final = 600.0
STORES: Final = 3
PACE_S: Final = 0.1
WRITES_BETWEEN: Final = 2
GOES_ON_S_MAX: Final = 90.0
STOPPED_S: Final = (2.0, 4.0)
PD_DOWN_S: Final = 3.0
STORE_DOWN_S: Final = 2.0
READS_OF_THE_PAST: Final = 5


@dataclass
class Bed:
    """What faults come to."""

    tikv: Cluster
    site: Site
    draw: random.Random

    def store_killed(self) -> None:
        self.tikv.kill_store_for(self.draw.randrange(STORES), STORE_DOWN_S)

    def store_stopped(self) -> None:
        with stopped(self.tikv, self.draw.randrange(STORES)):
            time.sleep(self.draw.uniform(*STOPPED_S))

    def pd_killed(self) -> None:
        self.tikv.kill_pd_for(PD_DOWN_S)

    def shard_killed(self) -> None:
        self.site.kill(self.draw.choice(SHARD_NAMES))()

    def shard_stopped(self) -> None:
        """Longer than a host may be silent."""
        name, members = self.draw.choice(SHARD_NAMES), self.site.store.members
        members.signal(name, signal.SIGSTOP)
        time.sleep(self.draw.uniform(*STOPPED_S))
        members.signal(name, signal.SIGCONT)

    def sequencer_killed(self) -> None:
        self.site.kill(self.site.sequencer())()


Fault = Callable[[Bed], None]
FAULTS: Final[tuple[Fault, ...]] = (
    Bed.store_killed,
    Bed.store_stopped,
    Bed.pd_killed,
    Bed.shard_killed,
    Bed.shard_stopped,
    Bed.sequencer_killed,
)


@pytest.fixture
def bed(tmp_path_factory: pytest.TempPathFactory, peers: Peers) -> Iterator[Bed]:
    need_tikv_client()
    folder = tmp_path_factory.mktemp("faults")
    with (
        Cluster.started(folder / "tikv", stores=STORES) as tikv,
        Supervisor(folder) as supervisor,
    ):
        flags = (*tikv_flags(tikv.pd_address, "f"), f"--tablets={LAYOUT}")
        store = Store(supervisor, peers, Kind.CLUSTER, flags=flags)
        store.start()
        yield Bed(tikv, Site(store, supervisor), random.Random())


def played(bed: Bed, seed: int, rounds: Iterator[tuple[Fault, ...]]) -> None:
    """Faults below writers; fails where the judge does, or where they do not go on."""
    print(f"KUBEBRAID_FAULTS_SEED={seed}")
    bed.draw.seed(seed)
    endpoints = bed.site.store.endpoints
    traffic = Traffic(endpoints, f"faults-{seed}-", pace_s=PACE_S)
    done = 0
    with Watched(endpoints) as one, Watched(endpoints[::-1]) as other:
        with traffic:
            traffic.wait_for_more(1, GOES_ON_S_MAX)
            for faults in rounds:
                for fault in faults:
                    began_s = time.monotonic()
                    fault(bed)
                    traffic.wait_for_more(WRITES_BETWEEN, GOES_ON_S_MAX)
                    done += 1
                    took_s = time.monotonic() - began_s
                    pause_s = traffic.longest_pause_s(began_s)
                    print(f"{fault.__name__}: {took_s:.1f} s, longest pause {pause_s:.1f} s")
        traffic.check()
        events = settled(traffic, [one, other])
        snapshots = Snapshots(traffic)
        for write in bed.draw.sample(traffic.acknowledged(), READS_OF_THE_PAST):
            snapshots.take(write.revision)
        snapshots.judge(events)
    print(f"{done} faults, {len(events)} events, {len(traffic.errors())} errors")
    traffic.close()


def seed(default: int) -> int:
    return int(os.environ.get("KUBEBRAID_FAULTS_SEED", default))


def test_one_fault_of_each_sort_loses_nothing(bed: Bed) -> None:
    played(bed, seed(CI_SEED), iter([FAULTS]))


@pytest.mark.slow
def test_ten_minutes_of_faults_lose_nothing(bed: Bed) -> None:
    chosen = seed(secrets.randbelow(1_000_000))
    order, end_s = random.Random(chosen), time.monotonic() + SOAK_S

    def rounds() -> Iterator[tuple[Fault, ...]]:
        while time.monotonic() < end_s:
            yield tuple(order.sample(FAULTS, len(FAULTS)))

    played(bed, chosen, rounds())
