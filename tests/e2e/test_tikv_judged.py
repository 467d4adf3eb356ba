"""Twenty clients on a cluster whose shards are on TiKV, to which everything happens, judged twice.

The run of test_robustness.py, its faults and both its judges; what is different is where shards
keep their data: in one TiKV-protocol cluster of a PD and one store (tests/tikv), the rows of
tablets in a space that they share. Shards are killed, stopped and cut off, and PD and its store are
not: what they do to a shard when they fail is in tests/contract/test_tikv_traps.py and
test_shards_on_tikv.py.

One round of faults in CI, all kinds and all targets, in an order that kills the sequencer and stops
a shard; three minutes and a new seed in the soak. KUBEBRAID_ROBUSTNESS_SEED=7 chooses another.
"""

from __future__ import annotations

import secrets
from pathlib import Path
from typing import Final

import pytest

from tests.e2e.processes import Peers
from tests.e2e.store import need_tikv_client, tikv_flags
from tests.e2e.test_robustness import FAULTS_MIN, check_accepted, check_extent, seed
from tests.robustness.faults import Kind
from tests.robustness.run import run as play
from tests.tikv.cluster import Cluster

pytestmark = pytest.mark.tikv

CI_S: Final = 50.0  # a round takes about as long on a machine that is not busy
SOAK_S: Final = 180.0
CI_SEED: Final = 5


def judged(seed: int, seconds: float, faults_min: int, folder: Path, peers: Peers) -> None:
    """Play on a TiKV of its own; fails where a judge of ours or one of etcd's refuses it."""
    need_tikv_client()
    with Cluster.started(folder / "tikv") as tikv:
        flags = tikv_flags(tikv.pd_address, "judged")
        verdict = play(seed, seconds, folder, flags, faults_min)
    print(verdict)
    check_extent(verdict, seconds, faults_min)
    check_accepted(verdict, folder / "history.jsonl", peers)


def test_nothing_is_broken_on_tikv_whatever_happens_to_shards(tmp_path: Path, peers: Peers) -> None:
    judged(seed(CI_SEED), CI_S, len(Kind), tmp_path, peers)


@pytest.mark.slow
def test_nothing_is_broken_on_tikv_in_three_minutes(tmp_path: Path, peers: Peers) -> None:
    judged(seed(secrets.randbelow(1_000_000)), SOAK_S, FAULTS_MIN, tmp_path, peers)
