"""`kubebraid bench reshard`, much reduced: every change is measured, nothing is left behind.

Its pauses are noise on a machine that runs a test suite, so they are only kept from being absurd.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Final

import pytest

from kubebraid.cli.bench import results
from kubebraid.cli.bench.goals import LONG_PAUSES
from kubebraid.cli.bench.results import OURS
from tests.e2e.processes import Peers, run
from tests.e2e.store import kubebraid_environment

pytestmark = [pytest.mark.e2e, pytest.mark.etcd, pytest.mark.cluster]

RUN_S_MAX: Final = 120.0  # 14 s were enough on two busy cores
PAUSE_MS_MAX: Final = 2_000.0
CHANGES: Final = 4


def test_every_change_of_a_cycle_is_measured(peers: Peers, tmp_path: Path) -> None:
    peers.path("bench-load")
    argv = [sys.executable, "-m", "kubebraid", "bench", "reshard/10m", f"--data-dir={tmp_path}"]
    argv += ["--rounds=1", "--scale=0.1", "--output=json"]
    env = kubebraid_environment() | {"KUBEBRAID_PEERS": str(peers.folder)}
    found = results.read(run(argv, env=env, cwd=tmp_path, seconds=RUN_S_MAX).ok())
    assert list(tmp_path.iterdir()) == [], "its folders are removed"
    assert found.failures == ()
    (outcome,) = found.outcomes
    assert outcome.scenario == "reshard/10m"

    def value(name: str) -> float:
        (one,) = outcome.values(OURS, name)
        return one

    assert value("changes") == value("pauses known") == CHANGES
    assert 0 < value("pause, median") < PAUSE_MS_MAX
    for kind in ("move", "split", "merge"):
        assert 0 < value(f"pause, longest {kind}") < PAUSE_MS_MAX
    parts = [name for name, _ in outcome.names() if name.startswith("pauses of ")]
    assert sum(value(name) for name in parts if name != LONG_PAUSES) <= CHANGES
    assert value("longest write of all switches") >= value("longest write of a switch, median") > 0
    assert 0 < value("copy, slowest") <= value("copy, median")
    assert value("writes meanwhile") > 50, "290 are asked for"
