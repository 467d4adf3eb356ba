"""`kubebraid bench` beside the real etcd, much reduced: all is measured, nothing is left behind.

Its figures are noise on a machine that runs a test suite, so they are only kept from being absurd:
ten times worse than its goal, and something is wrong with the store or with the benchmark.
"""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path
from typing import Final

import pytest

from kubebraid.cli.bench import results
from kubebraid.cli.bench.report import table
from kubebraid.cli.bench.results import OURS, PEER, Results
from tests.e2e.processes import Finished, Peers, Supervisor, run, wait_for
from tests.e2e.store import kubebraid_environment

pytestmark = [pytest.mark.e2e, pytest.mark.etcd]

SCALE: Final = 0.02
RUN_S_MAX: Final = 400.0  # 64 s were enough on two busy cores
NEEDED: Final = ("etcd", "benchmark", "bench-load")
SCENARIOS: Final = (
    "put/64",
    "txn-put/64",
    "txn-update/64",
    "cas-delete/64",
    "range/64",
    "count/100k",
    "list/100k/stream",
    "list/100k/one",
    "watch-delivery/100",
    "lease-put/64",
    "storage/pages",
    "storage/space",
)
# With so little data it is the preallocated logs that fill the disk, at both stores alike.
NOT_AT_THIS_SCALE: Final = frozenset({"storage/space"})
GOAL_MISS_MAX: Final = 10.0


def bench_argv(folder: Path, *words: str) -> list[str]:
    return [sys.executable, "-m", "kubebraid", "bench", f"--data-dir={folder}", *words]


def bench(peers: Peers, folder: Path, *words: str) -> Finished:
    for name in NEEDED:
        peers.path(name)
    env = kubebraid_environment() | {"KUBEBRAID_PEERS": str(peers.folder)}
    return run(bench_argv(folder, *words), env=env, cwd=folder, seconds=RUN_S_MAX)


@pytest.fixture
def measured(peers: Peers, tmp_path: Path) -> Results:
    """One round of a few scenarios of each kind; named backwards, as their order is not ours."""
    words = [*reversed(SCENARIOS), "--rounds=1", f"--scale={SCALE}", "--output=json"]
    found = results.read(bench(peers, tmp_path, *words).ok())
    assert list(tmp_path.iterdir()) == [], "its folders are removed"
    return found


def test_every_scenario_is_measured_at_both_stores(measured: Results) -> None:
    print(table(measured))
    assert measured.failures == ()
    assert tuple(outcome.scenario for outcome in measured.outcomes) == SCENARIOS
    for outcome in measured.outcomes:
        (both,) = outcome.rounds
        assert list(both) == [OURS, PEER]
        ours, theirs = ({figure.name for figure in both[store]} for store in (OURS, PEER))
        assert ours - {"server CPU"} == theirs - {"server CPU"}, outcome.scenario
        values = [figure.value for store in both for figure in both[store]]
        assert all(value >= 0 for value in values), outcome
    loads = [o for o in measured.outcomes if not o.scenario.startswith(("storage/", "count/"))]
    for outcome in loads:
        for store in (OURS, PEER):
            for name, least in (("peak RSS", 10.0), ("disk", 0.01)):  # MiB
                assert outcome.values(store, name)[0] > least, (outcome.scenario, store, name)
    (put,) = [outcome for outcome in measured.outcomes if outcome.scenario == "put/64"]
    for store in (OURS, PEER):
        (cpu,), (rate,) = put.values(store, "server CPU"), put.values(store, "throughput")
        assert 5 < cpu < 5_000, "microseconds an operation"
        # No more CPU than the machine has.
        assert cpu / 1e6 * rate < 2 * (os.cpu_count() or 1)

    for outcome in measured.outcomes:
        if outcome.scenario not in NOT_AT_THIS_SCALE:
            figure, missed = results.worst_miss(outcome)
            assert missed <= GOAL_MISS_MAX, (outcome.scenario, figure, missed)


def test_failed_requests_fail_the_run(peers: Peers, tmp_path: Path) -> None:
    """A load tool that counts failures, in place of the real one: no figure, a sentence, code 1."""
    fake = tmp_path / "peers" / "bin"
    fake.mkdir(parents=True)
    for name in NEEDED:
        (fake / name).symlink_to(peers.path(name))
    (fake / "benchmark").unlink()
    (fake / "benchmark").write_text(
        "#!/bin/sh\nprintf '\\nError distribution:\\n  [7]\\tno space\\n'\n"
    )
    (fake / "benchmark").chmod(0o755)
    env = kubebraid_environment() | {"KUBEBRAID_PEERS": str(fake.parent)}
    data = tmp_path / "data"
    argv = bench_argv(data, "put/1", "--peer=none", "--rounds=1", "--scale=0.01", "--output=json")
    done = run(argv, env=env, cwd=tmp_path)
    assert done.code == 1, done
    found = results.read(done.stdout)
    assert found.outcomes == ()
    (failure,) = found.failures
    assert failure.sentence == "put: 7 requests failed, 0 were done; no space"
    assert "FAILED: put/1 on kubebraid: put: 7 requests failed" in done.stderr
    (kept,) = data.iterdir()
    assert [path.name for path in kept.iterdir()] == ["001-kubebraid"]
    assert not (kept / "001-kubebraid" / "data").exists(), "logs stay, data do not"


@pytest.mark.parametrize("sign", [signal.SIGTERM, signal.SIGINT])
def test_ended_run_ends_its_servers(
    sign: signal.Signals, peers: Peers, supervisor: Supervisor, tmp_path: Path
) -> None:
    """By Ctrl-C or by an operator: no process and no folder stays."""
    for name in NEEDED:
        peers.path(name)
    env = kubebraid_environment() | {"KUBEBRAID_PEERS": str(peers.folder)}
    data = tmp_path / "data"
    argv = bench_argv(data, "put/1", "--rounds=100")
    program = supervisor.add("bench", argv, env=env, cwd=tmp_path).start()
    children = Path(f"/proc/{program.pid}/task/{program.pid}/children")
    if not children.exists():
        pytest.skip("this kernel does not tell a process's children")

    def both() -> list[int]:
        logs = sorted(path.name for path in data.glob("run-*/*-*"))
        found = [int(pid) for pid in children.read_text().split()]
        return found if len(logs) == 2 and len(found) >= 3 else []

    pids = wait_for("both servers and a load", both, 30)
    os.kill(program.pid, sign)
    assert program.wait(30) == 128 + sign
    wait_for("all children to be gone", lambda: not any(map(alive, pids)), 10)
    assert list(data.iterdir()) == [], "its folders are removed"


def alive(pid: int) -> bool:
    stat = Path(f"/proc/{pid}/stat")
    return stat.exists() and ") Z " not in stat.read_text()
