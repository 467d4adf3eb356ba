"""Twenty clients on a cluster whose shards are on TiKV, to which everything happens, judged twice.

The run of test_robustness.py, its faults and both its judges; what is different is where shards
keep their data: in a TiKV-protocol cluster (tests/tikv), the rows of tablets in a space that they
share. In CI it has one store, which stays up: what a shard does without it is in
tests/contract/test_tikv_traps.py and test_shards_on_tikv.py. In the soak it has three, and beside
the faults of the run one of them, or PD, is killed or stopped every few seconds.

Three minutes in CI, of faults of all kinds on all targets, in an order that kills the sequencer and
stops a shard; half an hour and a new seed in the soak. KUBEBRAID_ROBUSTNESS_SEED=7 chooses another,
KUBEBRAID_ROBUSTNESS_S=300 another length.
"""

from __future__ import annotations

import os
import random
import secrets
import threading
import time
from collections import Counter
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Final, Self

import pytest

from tests.e2e.processes import Peers
from tests.e2e.store import need_tikv_client, tikv_flags
from tests.e2e.test_robustness import FAULTS_MIN, SOAK_S, check_accepted, check_extent, seed
from tests.robustness.run import run as play
from tests.tikv.cluster import REPLICAS_MAX, Cluster, stopped

pytestmark = pytest.mark.tikv

CI_S: Final = 180.0
CI_SEED: Final = 5
EVERY_S: Final = (8.0, 16.0)  # between two faults of stores or PD
AWAY_S: Final = (1.0, 4.0)
ENDED_S_MAX: Final = 60.0


class StoreFaults:
    """Stores and PD are killed and stopped, one at a time, while the block runs."""

    def __init__(self, tikv: Cluster, seed: int) -> None:
        self._tikv = tikv
        self._chance = random.Random(f"{seed} stores")
        self._over = threading.Event()
        self._pool = ThreadPoolExecutor(1, "stores")
        self._running: Future[None] | None = None
        self.done: Counter[str] = Counter()

    def __enter__(self) -> Self:
        self._running = self._pool.submit(self._run)
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        assert self._running is not None
        self._running.result(ENDED_S_MAX)
        self._pool.shutdown()

    def _run(self) -> None:
        faults = (self._store_killed, self._store_stopped, self._pd_killed)
        while not self._over.wait(self._chance.uniform(*EVERY_S)):
            fault = self._chance.choice(faults)
            fault(self._chance.uniform(*AWAY_S))
            self.done[fault.__name__.strip("_")] += 1

    def _store_killed(self, away_s: float) -> None:
        self._tikv.kill_store_for(self._chance.randrange(REPLICAS_MAX), away_s)

    def _store_stopped(self, away_s: float) -> None:
        with stopped(self._tikv, self._chance.randrange(REPLICAS_MAX)):
            time.sleep(away_s)

    def _pd_killed(self, away_s: float) -> None:
        self._tikv.kill_pd_for(away_s)


def judged(seed: int, seconds: float, folder: Path, peers: Peers, stores: int = 1) -> None:
    """Play on a TiKV of its own; fails where a judge of ours or one of etcd's refuses it."""
    need_tikv_client()
    with Cluster.started(folder / "tikv", stores) as tikv:
        flags = tikv_flags(tikv.pd_address, "judged")
        faults = StoreFaults(tikv, seed) if stores > 1 else None
        beside: AbstractContextManager[object] = faults or nullcontext()
        with beside:
            verdict = play(seed, seconds, folder, flags, FAULTS_MIN)
    print(verdict)
    if faults is not None:
        print(f"beside    {dict(faults.done)}")
        assert faults.done.total() >= seconds / (2 * max(EVERY_S) + max(AWAY_S)), faults.done
    check_extent(verdict, seconds)
    check_accepted(verdict, folder / "history.jsonl", peers)


def test_nothing_is_broken_on_tikv_whatever_happens_to_shards(tmp_path: Path, peers: Peers) -> None:
    judged(seed(CI_SEED), CI_S, tmp_path, peers)


@pytest.mark.slow
def test_nothing_is_broken_on_three_stores_that_fail_as_well(tmp_path: Path, peers: Peers) -> None:
    seconds = float(os.environ.get("KUBEBRAID_ROBUSTNESS_S", SOAK_S))
    judged(seed(secrets.randbelow(1_000_000)), seconds, tmp_path, peers, REPLICAS_MAX)
