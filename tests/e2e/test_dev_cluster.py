"""`kubebraid dev-cluster`: eight processes that begin, stay and end as one.

The tests of a module share one cluster and run in their order: what is written in one is looked
for in the next, also behind a stop and a start.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import socket
import stat
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from kubebraid.cli.dev.site import Site, save
from tests.e2e.cluster import Members, free_block, is_running
from tests.e2e.etcdctl import Etcdctl, Watch
from tests.e2e.processes import Finished, Peers, Supervisor, run, wait_for
from tests.e2e.store import (
    COORDINATORS,
    ROUTERS,
    SHARDS,
    Kind,
    Store,
    kubebraid_environment,
)

pytestmark = [pytest.mark.e2e, pytest.mark.cluster]

REFUSED: Final = 1
USAGE: Final = 2
GONE_S_MAX: Final = 5.0
WRITE_S_MAX: Final = 30.0
PREFIXES: Final = ("pods", "leases", "events", "secrets", "configmaps", "jobs", "minions")


@pytest.fixture(scope="module")
def cluster_supervisor(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Supervisor]:
    """Owner of the module's cluster."""
    with Supervisor(tmp_path_factory.mktemp("cluster")) as supervisor:
        yield supervisor


@pytest.fixture(scope="module")
def cluster(cluster_supervisor: Supervisor, peers: Peers) -> Store:
    """The module's cluster, running."""
    store = Store(cluster_supervisor, peers, Kind.CLUSTER)
    store.start()
    return store


def dev_cluster(*flags: str, env: dict[str, str] | None = None) -> Finished:
    """Run it to its end: it has to refuse."""
    argv = (sys.executable, "-m", "kubebraid", "dev-cluster", *flags)
    return run(argv, env={**kubebraid_environment(), **(env or {})})


def test_state_file_names_every_process_and_all_endpoints(cluster: Store) -> None:
    told = json.loads(cluster.members.state_file.read_text())
    assert set(told) == {"endpoints", "processes"}
    assert told["endpoints"] == cluster.endpoints
    roles = [entry["role"] for entry in told["processes"]]
    wanted = {"coordinator": COORDINATORS, "shard": SHARDS, "router": ROUTERS}
    assert {role: roles.count(role) for role in roles} == wanted
    for entry in told["processes"]:
        assert set(entry) == {"role", "name", "pid", "address"}
        assert is_running(entry["pid"])
        host, _, port = entry["address"].partition(":")
        with socket.create_connection((host, int(port)), 1):
            pass  # it listens where the file says
        command = Path(f"/proc/{entry['pid']}/cmdline").read_text().split("\0")
        assert entry["role"] in command
        assert f"--name={entry['name']}" in command


def test_secret_is_for_its_owner_alone(cluster: Store) -> None:
    assert stat.S_IMODE((cluster.data_dir / "secret").stat().st_mode) == 0o600
    for log in (cluster.data_dir / "logs").iterdir():
        assert (cluster.data_dir / "secret").read_text().strip() not in log.read_text()


def test_what_one_router_wrote_the_other_reads_and_watches(
    cluster: Store, cluster_supervisor: Supervisor, peers: Peers
) -> None:
    first, second = (Etcdctl(peers, endpoint) for endpoint in cluster.endpoints)
    watch = Watch.start_many(cluster_supervisor, second, ["watch /registry/ --prefix"])
    before = first.revision()
    for name in PREFIXES:
        first.put(f"/registry/{name}/a", name)
    assert second.ok("get", "/registry/", "--prefix", "--print-value-only").split() == sorted(
        PREFIXES, key=lambda name: f"/registry/{name}/a"
    )
    # Over several shards, and yet one order without a gap.
    revisions = [seen.revision for seen in watch.wait(len(PREFIXES))]
    assert revisions == list(range(before + 1, before + 1 + len(PREFIXES)))
    assert second.revision() == before + len(PREFIXES)
    watch.process.terminate()


@pytest.mark.parametrize("role", ["router", "shard", "coordinator"])
def test_killed_process_is_started_again_and_writes_go_on(cluster: Store, role: str) -> None:
    for entry in [entry for entry in cluster.members.all() if entry.role == role]:
        pid = cluster.members.signal(entry.name, signal.SIGKILL)
        after = cluster.members.restarted(entry.name, pid)
        assert after == type(after)(entry.role, entry.name, after.pid, entry.address)
        assert not is_running(pid)
        for name in PREFIXES:
            write(cluster, f"/registry/{name}/{entry.name}")
    assert f"was ended by {signal.SIGKILL.name}" in cluster.process.text()


def test_marker_of_a_running_shard_says_how_far_its_fences_are(cluster: Store) -> None:
    """After a kill it is what tells a store that lost the end of its log from one that did not."""
    for entry in [entry for entry in cluster.members.all() if entry.role == "shard"]:
        marker = json.loads((cluster.data_dir / entry.name / "KUBEBRAID").read_text())
        assert marker["epoch"] > 1, "it was started twice at least"


def write(cluster: Store, key: str) -> None:
    """Over and over until it is acknowledged, as what it goes to may still be starting."""
    etcdctl = cluster.etcdctl
    wait_for(f"a write of {key}", lambda: etcdctl.run("put", key, "v").code == 0, WRITE_S_MAX)


def test_data_directory_and_ports_have_one_cluster(cluster: Store, tmp_path: Path) -> None:
    same = dev_cluster(f"--data-dir={cluster.data_dir}")
    assert (same.code, "is in use by another process" in same.stderr) == (REFUSED, True), same
    used = dev_cluster(f"--data-dir={tmp_path / 'new'}", f"--base-port={cluster.port}")
    assert used.code == REFUSED
    (port,) = re.findall(r"cannot listen on 127.0.0.1:(\d+): Address already in use", used.stderr)
    assert int(port) in range(cluster.port, cluster.port + ROUTERS + COORDINATORS + SHARDS)
    assert used.stderr.count("\n") == 1
    assert not (tmp_path / "new" / "cluster.json").exists()
    assert all(is_running(entry.pid) for entry in cluster.members.all())


def test_stop_leaves_no_process_and_the_next_start_all_data(cluster: Store) -> None:
    write(cluster, "/registry/pods/kept")
    before, had = cluster.etcdctl.revision(), cluster.etcdctl.ok("get", "/", "--prefix")
    pids = [entry.pid for entry in cluster.members.all()]
    assert cluster.terminate() == 0
    assert not any(is_running(pid) for pid in pids)
    assert not cluster.members.state_file.exists()
    # One coordinator has lost its disk in the meantime: it may not vote as if it were new.
    lost = cluster.data_dir / "coordinator-1"
    shutil.rmtree(lost)
    cluster.start()
    assert cluster.etcdctl.ok("get", "/", "--prefix") == had
    assert cluster.etcdctl.revision() == before, "the sequencer handed its window back"
    command = Path(f"/proc/{cluster.members.named('coordinator-1').pid}/cmdline").read_text()
    assert "--initial-cluster-state=existing" in command.split("\0")
    write(cluster, "/registry/pods/after")


def test_no_process_outlives_a_killed_dev_cluster(cluster: Store) -> None:
    entries = cluster.members.all()
    stopped = cluster.members.signal("shard-0", signal.SIGSTOP)
    cluster.kill()
    pids = [entry.pid for entry in entries]
    assert stopped in pids
    wait_for("all to end", lambda: not any(is_running(pid) for pid in pids), GONE_S_MAX)
    cluster.start()
    write(cluster, "/registry/pods/last")


def test_without_restarts_the_dead_stay_dead(supervisor: Supervisor, tmp_path: Path) -> None:
    state = tmp_path / "state.json"
    flags = ("--coordinators=1", "--shards=1", "--routers=1", "--engine=memory", "--no-restart")
    where = (f"--data-dir={tmp_path / 'one'}", f"--state-file={state}")
    argv = (sys.executable, "-m", "kubebraid", "dev-cluster", *flags, *where)
    process = supervisor.add("small", argv, env=kubebraid_environment()).start()
    wait_for("the cluster to serve", state.exists, 60)
    members = Members(state)
    pid = members.signal("router-0")
    wait_for("the end to be told", lambda: "down: router-0" in process.text(), GONE_S_MAX)
    assert members.named("router-0").pid == pid
    assert not is_running(pid)
    assert process.terminate(30) == 0
    again = dev_cluster(where[0])
    assert (again.code, "was in memory, and is gone" in again.stderr) == (REFUSED, True), again


def test_cluster_that_cannot_serve_says_why(tmp_path: Path) -> None:
    ports = free_block(3)
    names = ("router-0", "coordinator-0", "shard-0")
    save(tmp_path, Site("rocksdb", dict(zip(names, range(ports, ports + 3), strict=True))))
    (tmp_path / "shard-0").mkdir()
    (tmp_path / "shard-0" / "photo").write_text("mine")
    done = dev_cluster(f"--data-dir={tmp_path}", "--no-restart")
    assert done.code == REFUSED
    assert "shard-0 ended with exit code 1: kubebraid shard: " in done.stderr
    assert "it is not a data directory of kubebraid" in done.stderr
    assert f"see {tmp_path / 'logs'}" in done.stderr
    assert done.stderr.count("\n") == 1
    assert not (tmp_path / "state.json").exists()


@pytest.mark.parametrize(
    ("flags", "code", "sentence"),
    [
        (["--coordinators=2"], USAGE, "--coordinators=2 is none of 1, 3 or 5"),
        (["--shards=0"], USAGE, "--shards=0 is no number from 1 to"),
        (["--routers=none"], USAGE, "--routers=none is no number from 1 to"),
        (["--base-port=65530"], USAGE, "--base-port=65530 is no number from 1 to 65528"),
        (["--tablets=nowhere"], USAGE, "'nowhere' is no layout"),
        (["--router=2"], USAGE, "unknown flag --router; did you mean --routers"),
        (["--max-txn-ops=0"], USAGE, "--max-txn-ops=0 is no number from 1 to"),
    ],
)
def test_refusal_is_one_sentence(
    tmp_path: Path, flags: list[str], code: int, sentence: str
) -> None:
    done = dev_cluster(f"--data-dir={tmp_path / 'never'}", *flags)
    assert done.code == code, done
    assert sentence in done.stderr
    assert done.stderr.count("\n") == 1
    assert not (tmp_path / "never").exists()


def test_foreign_directory_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "photo").write_text("mine")
    done = dev_cluster(f"--data-dir={tmp_path}")
    assert done.code == REFUSED
    assert re.search(r"is not dev-cluster's: it holds 'photo'", done.stderr)
    assert os.listdir(tmp_path) == ["photo"]


def test_printed_configuration_is_taken_back(tmp_path: Path) -> None:
    flags = ("--shards=5", "--tablets=/registry/events/=4", f"--base-port={free_block(1)}")
    printed = dev_cluster(*flags, "--print-config").ok()
    path = tmp_path / "dev.toml"
    path.write_text(printed)
    assert dev_cluster(f"--config-file={path}", "--print-config").ok() == printed
    variables = {"KUBEBRAID_SHARDS": "4"}
    mixed = dev_cluster(f"--config-file={path}", "--print-config", env=variables).ok()
    assert 'shards = "4"' in mixed
    assert 'tablets = "/registry/events/=4"' in mixed
