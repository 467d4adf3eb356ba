"""`kubebraid bench --engine=tikv`, much reduced: every row is there, for 1 and for 2 shards.

Marked `tikv`: it needs the cluster that tests/tikv/build.sh builds, and a real etcd. Its figures
are noise on a machine that runs a test suite, so they are only kept from being absurd.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from kubebraid.cli.bench import results
from kubebraid.cli.bench.goals import AGAINST_INSERTS, WRITES_A_TRANSACTION
from kubebraid.cli.bench.report import table
from kubebraid.cli.bench.results import OURS, PEER, Outcome
from kubebraid.shard.storage import tikv_link
from kubebraid.shard.storage.tikv_errors import EngineUnsupported
from tests.e2e.processes import Peers, missing, run
from tests.e2e.store import kubebraid_environment
from tests.tikv.cluster import Cluster

pytestmark = pytest.mark.tikv

RUN_S_MAX: Final = 300.0
SHARDS: Final = (1, 2)
WORDS: Final = ("spread/64", "kubebrain/delete")
COSTS: Final = (
    "server CPU",
    "server CPU coordinator",
    "server CPU shard",
    "server CPU router",
    "coordinator's part of CPU",
    "client CPU",
    "peak RSS",
    "RSS growth",
    "CPU beside: PD",
    "CPU beside: TiKV",
    WRITES_A_TRANSACTION,
)
LATENCIES: Final = ("p50", "p99")
GOAL_MISS_MAX: Final = 10.0


@pytest.fixture(scope="module")
def tikv(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """PD and one store."""
    if not tikv_link.available():
        missing(f"there is no client of TiKV: {EngineUnsupported.hint}")
    with Cluster.started(tmp_path_factory.mktemp("tikv")) as cluster:
        yield cluster


def measured(peers: Peers, folder: Path, pd: str) -> tuple[Outcome, ...]:
    for name in ("etcd", "bench-load", "benchmark"):
        peers.path(name)
    argv = [sys.executable, "-m", "kubebraid", "bench", *WORDS, "--engine=tikv", f"--pd={pd}"]
    argv += ["--shards=1,2", "--rounds=1", "--scale=0.001", "--output=json"]
    env = kubebraid_environment() | {"KUBEBRAID_PEERS": str(peers.folder)}
    argv.append(f"--data-dir={folder}")
    found = results.read(run(argv, env=env, cwd=folder, seconds=RUN_S_MAX).ok())
    assert list(folder.iterdir()) == [], "its folders are removed"
    assert found.failures == ()
    assert "store" in found.runs[0].machine["TiKV"]
    print(table(found))
    return found.outcomes


def test_every_row_is_measured_for_each_number_of_shards(
    tikv: Cluster, peers: Peers, tmp_path: Path
) -> None:
    outcomes = measured(peers, tmp_path, tikv.pd_address)
    names = [f"tikv/{shards}/{word}" for shards in SHARDS for word in WORDS]
    assert [outcome.scenario for outcome in outcomes] == names
    for outcome in outcomes:
        (both,) = outcome.rounds
        assert list(both) == [OURS, PEER]
        ours = [figure.name for figure in both[OURS] if figure.name != "p99.9"]
        against = [AGAINST_INSERTS] if outcome.scenario.endswith("delete") else []
        assert ours == ["throughput", *against, *LATENCIES, *COSTS]
        assert all(figure.value >= 0 for store in both for figure in both[store])
        assert 1 <= outcome.values(OURS, WRITES_A_TRANSACTION)[0] <= 300
        assert outcome.values(PEER, "throughput")[0] > 0

        figure, missed = results.worst_miss(outcome)
        assert missed <= GOAL_MISS_MAX, (outcome.scenario, figure, missed)
