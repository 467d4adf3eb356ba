"""`kubebraid dev-cluster --engine=tikv --tikv-bin=DIR`: a TiKV that begins and ends with it.

Marked `tikv`. The tests share one cluster and run in their order.
"""

from __future__ import annotations

import os
import shutil
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from tests.e2e.cluster import is_running
from tests.e2e.ledger import SHARD_NAMES
from tests.e2e.processes import Peers, Supervisor, listens, run, wait_for
from tests.e2e.reshard_ops import Ctl
from tests.e2e.store import (
    COORDINATORS,
    ROUTERS,
    SHARDS,
    Kind,
    Store,
    kubebraid_environment,
    need_tikv_client,
)
from tests.tikv.cluster import binary

pytestmark = pytest.mark.tikv

STOP_S_MAX: Final = 4.0  # 1.4 s on an idle machine; below role.DRAIN_S_MAX and a coordinator's 1 s
WRITE_S_MAX: Final = 60.0
GONE_S_MAX: Final = 10.0
STILL_S: Final = 5.0  # above the longest wait before a restart
OWN: Final = {"pd": ["pd-0"], "store": ["store-0"]}


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory, peers: Peers) -> Iterator[Store]:
    need_tikv_client()
    programs = Path(binary("tikv-store")).parent
    assert Path(binary("tikv-pd")).parent == programs
    folder = tmp_path_factory.mktemp("dev-tikv")
    try:
        with Supervisor(folder) as supervisor:
            flags = ("--engine=tikv", f"--tikv-bin={programs}")
            store = Store(supervisor, peers, Kind.CLUSTER, flags=flags)
            store.start()
            yield store
    finally:
        shutil.rmtree(folder / "store-data", ignore_errors=True)  # half a gigabyte


def write(cluster: Store, key: str) -> None:
    """Over and over until it is acknowledged; then it is read."""
    etcdctl = cluster.etcdctl
    wait_for(f"a write of {key}", lambda: etcdctl.run("put", key, "v").code == 0, WRITE_S_MAX)
    assert etcdctl.ok("get", key, "--print-value-only") == "v\n"


def hosts(cluster: Store) -> dict[str, str]:
    """Of each shard, once all are up."""

    def probe() -> dict[str, str] | None:
        shards = Ctl(cluster.endpoints).json("shard", "list")["shards"]
        if any(shard["state"] != "up" for shard in shards):
            return None
        return {shard["name"]: shard["host"] for shard in shards}

    return wait_for("all shards to be up", probe, WRITE_S_MAX)


def test_state_file_names_tikvs_processes_too(cluster: Store) -> None:
    entries = cluster.members.all()
    named = {role: [e.name for e in entries if e.role == role] for role in OWN}
    assert named == OWN
    assert len(entries) == COORDINATORS + SHARDS + ROUTERS + 2
    for role, (name,) in OWN.items():
        entry = cluster.members.named(name)
        assert Path(os.readlink(f"/proc/{entry.pid}/exe")).name == f"tikv-{role}"
        assert listens(int(entry.address.partition(":")[2]))
        assert (cluster.data_dir / "tikv" / name).is_dir()
        assert (cluster.data_dir / "logs" / f"{name}.log").stat().st_size
    write(cluster, "/registry/pods/first")


@pytest.mark.parametrize("name", ["store-0", "pd-0"])
def test_killed_process_of_tikv_comes_back_and_writes_go_on(cluster: Store, name: str) -> None:
    write(cluster, f"/registry/pods/before-{name}")
    pid = cluster.members.signal(name, signal.SIGKILL)
    after = cluster.members.restarted(name, pid)
    assert not is_running(pid)
    assert after.pid != pid
    write(cluster, f"/registry/pods/behind-{name}")
    kept = cluster.etcdctl.ok("get", f"/registry/pods/before-{name}", "--print-value-only")
    assert kept == "v\n"
    assert f"{name} was ended by SIGKILL" in cluster.process.text()


def test_stop_is_quick_and_behind_it_every_shard_is_at_its_own_host(cluster: Store) -> None:
    own = {name: name for name in SHARD_NAMES}
    for name in SHARD_NAMES:  # a kill of TiKV may have had one of them adopted
        if hosts(cluster)[name] != name:
            Ctl(cluster.endpoints).run("shard", "take-back", name, "--yes").ok()
    wait_for("each shard at its own host", lambda: hosts(cluster) == own, WRITE_S_MAX)
    had = cluster.etcdctl.ok("get", "/", "--prefix", "--keys-only")
    pids = [entry.pid for entry in cluster.members.all()]
    began_s = time.monotonic()
    assert cluster.terminate() == 0
    took_s = time.monotonic() - began_s
    assert not any(is_running(pid) for pid in pids)
    assert not cluster.members.state_file.exists()
    cluster.start()
    assert hosts(cluster) == own
    assert cluster.etcdctl.ok("get", "/", "--prefix", "--keys-only") == had
    write(cluster, "/registry/pods/again")
    assert took_s < STOP_S_MAX


def test_shard_that_was_removed_is_not_started_again(cluster: Store) -> None:
    ctl = Ctl(cluster.endpoints)
    ctl.run("shard", "drain", "shard-2", "--yes").ok()
    pid = cluster.members.named("shard-2").pid
    ctl.run("shard", "remove", "shard-2", "--yes").ok()
    told = "shard-2 was removed from the cluster: it is not started again"
    wait_for("the removal to be told", lambda: told in cluster.process.text(), GONE_S_MAX)
    assert not is_running(pid)
    time.sleep(STILL_S)
    assert cluster.members.named("shard-2").pid == pid
    assert cluster.process.text().count("shard-2 is started again") == 0
    assert cluster.terminate() == 0
    cluster.start()
    assert "shard-2" not in [entry.name for entry in cluster.members.all()]
    write(cluster, "/registry/pods/without")


def test_tikv_does_not_outlive_a_killed_dev_cluster(cluster: Store) -> None:
    pids = [entry.pid for entry in cluster.members.all()]
    cluster.kill()
    wait_for("all to end", lambda: not any(is_running(pid) for pid in pids), GONE_S_MAX)
    cluster.start()
    write(cluster, "/registry/pods/last")


@pytest.mark.parametrize(
    ("flags", "code", "sentence"),
    [
        (["--tikv-bin={empty}"], 1, "there is no program tikv-pd; tests/tikv/build.sh builds"),
        ([], 1, "--engine=tikv needs --pd or --tikv-bin"),
        (["--tikv-bin={empty}", "--pd=a:1"], 2, "one TiKV is there already, or one is started"),
    ],
)
def test_refusal_is_one_sentence(
    tmp_path: Path, flags: list[str], code: int, sentence: str
) -> None:
    (tmp_path / "empty").mkdir()
    told = [flag.format(empty=tmp_path / "empty") for flag in flags]
    words = ("dev-cluster", "--engine=tikv", *told)
    argv = (sys.executable, "-m", "kubebraid", *words, f"--data-dir={tmp_path / 'new'}")
    done = run(argv, env=kubebraid_environment())
    assert done.code == code, done
    assert sentence in done.stderr
    assert done.stderr.count("\n") == 1
    assert not (tmp_path / "new" / "cluster.json").exists()
