"""A shard goes for good, and another one comes, on a cluster that keeps its keys."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Final

import pytest

from tests.e2e.cluster import free_block, is_running
from tests.e2e.processes import Peers, Supervisor, wait_for
from tests.e2e.reshard_ops import Ctl
from tests.e2e.store import Kind, Store, kubebraid_environment

pytestmark = [pytest.mark.e2e, pytest.mark.cluster]

GONE: Final = "shard-2"
COMES: Final = "shard-3"
RESOURCES: Final = ("configmaps", "events", "leases", "nodes", "pods", "secrets", "services")
ENDS_S_MAX: Final = 20.0


def shards(ctl: Ctl) -> dict[str, int]:
    """Name -> tablets."""
    return {told["name"]: told["tablets"] for told in ctl.json("shard", "list")["shards"]}


def test_a_shard_is_drained_removed_and_replaced(
    supervisor: Supervisor, peers: Peers, tmp_path: Path
) -> None:
    store = Store(supervisor, peers, Kind.CLUSTER)
    store.start()
    ctl = Ctl(store.endpoints)
    wanted = {f"/registry/{resource}/a": resource for resource in RESOURCES}
    for key, value in wanted.items():
        store.etcdctl.ok("put", key, value)
    before = shards(ctl)
    assert before[GONE] > 0

    refused = ctl.run("shard", "remove", GONE, "--yes")
    assert (refused.code, shards(ctl)) == (1, before), refused
    pid = store.members.named(GONE).pid
    ctl.change("shard", "drain", GONE)
    assert shards(ctl)[GONE] == 0
    ctl.run("shard", "remove", GONE, "--yes").ok()
    assert GONE not in shards(ctl)
    wait_for("the removed shard's end", lambda: not is_running(pid), ENDS_S_MAX)
    assert store.etcdctl.values("/registry/") == wanted
    ctl.run("status").ok()

    told = ctl.run("shard", "add", COMES, "--no-wait").ok()
    (line,) = [line.strip() for line in told.splitlines() if line.startswith("  kubebraid shard")]
    argv = shlex.split(line)
    own = {
        "--listen": f"--listen=127.0.0.1:{free_block(1)}",
        "--data-dir": f"--data-dir={tmp_path / COMES}",
        "--cluster-secret-file": f"--cluster-secret-file={store.data_dir / 'secret'}",
    }
    argv = [own.get(word.partition("=")[0], word) for word in argv]
    process = supervisor.add(COMES, ctl.argv()[:3] + tuple(argv[1:]), env=kubebraid_environment())
    process.start()
    ctl.run("shard", "add", COMES, "--yes").ok()
    ctl.change("rebalance")
    after = shards(ctl)
    assert after[COMES] > 0, after
    assert sum(after.values()) == sum(before.values())
    assert store.etcdctl.values("/registry/") == wanted
    for key in wanted:
        store.etcdctl.ok("put", key, "again")
    assert set(store.etcdctl.values("/registry/").values()) == {"again"}
