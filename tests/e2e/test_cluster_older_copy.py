"""A shard that is started on an older copy of its own directory is refused, and loses nothing.

The tests share one cluster of processes and run in their order. Each puts a copy in the place of
the directory, looks at the refusal, and puts the right one back.
"""

from __future__ import annotations

import shutil
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from kubebraid.base.limits import MARK_EVERY_MS
from tests.e2e.processes import Peers, Supervisor, wait_for
from tests.e2e.store import Kind, Store

pytestmark = [pytest.mark.e2e, pytest.mark.cluster]

SHARD: Final = "shard-0"
# Some of each shard: which keys those of SHARD are does not matter.
PREFIXES: Final = ("pods", "leases", "events", "secrets", "configmaps", "jobs", "minions")
REFUSED_S_MAX: Final = 60.0
WRITE_S_MAX: Final = 30.0


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory, peers: Peers) -> Iterator[Store]:
    """The module's cluster, running."""
    with Supervisor(tmp_path_factory.mktemp("copies")) as supervisor:
        store = Store(supervisor, peers, Kind.CLUSTER)
        store.start()
        yield store


def write(cluster: Store, value: str) -> None:
    """Acknowledged, for each prefix."""
    for name in PREFIXES:
        put(cluster, f"/registry/{name}/a", value)


def put(cluster: Store, key: str, value: str) -> None:
    """Over and over until it is acknowledged."""
    etcdctl = cluster.etcdctl
    wait_for(f"a write of {key}", lambda: etcdctl.run("put", key, value).code == 0, WRITE_S_MAX)


def values(cluster: Store) -> set[str]:
    told = cluster.etcdctl.values("/registry/")
    assert len(told) == len(PREFIXES)
    return set(told.values())


def put_back_in_vain(cluster: Store, older: Path) -> None:
    """Of a stopped cluster: start it on the older copy, and then on what it had."""
    right, mine = cluster.data_dir / "right", cluster.data_dir / SHARD
    mine.rename(right)
    older.rename(mine)
    log = cluster.data_dir / "logs" / f"{SHARD}.log"
    before = log.read_text().count("older copy")
    cluster.process.start()

    def refused() -> bool:
        return log.read_text().count("older copy") > before

    wait_for("the older copy to be refused", refused, REFUSED_S_MAX)
    (line, *_) = [said for said in log.read_text().splitlines() if "older copy" in said]
    assert "Nothing was changed. Put the newest directory back" in line
    cluster.process.kill()
    shutil.rmtree(mine)
    right.rename(mine)
    cluster.start()


def test_copy_of_a_stopped_shard_is_refused_behind_its_next_start(cluster: Store) -> None:
    write(cluster, "first")
    cluster.terminate()
    older = cluster.data_dir / "older"
    shutil.copytree(cluster.data_dir / SHARD, older)
    cluster.start()
    write(cluster, "second")
    cluster.terminate()
    put_back_in_vain(cluster, older)
    assert values(cluster) == {"second"}
    write(cluster, "third")


def test_copy_of_a_running_shard_is_refused_behind_its_next_mark(cluster: Store) -> None:
    """The copy says the same incarnation: only the marks tell that it is older."""
    older = cluster.data_dir / "older"
    cluster.members.signal(SHARD, signal.SIGSTOP)
    shutil.copytree(cluster.data_dir / SHARD, older)
    cluster.members.signal(SHARD, signal.SIGCONT)
    until = time.monotonic() + 2 * MARK_EVERY_MS / 1_000
    while time.monotonic() < until:
        write(cluster, "fourth")
    cluster.kill()
    put_back_in_vain(cluster, older)
    assert values(cluster) == {"fourth"}


def test_shard_that_was_killed_is_let_in_again_and_again(cluster: Store) -> None:
    for number in range(3):
        pid = cluster.members.signal(SHARD, signal.SIGKILL)
        cluster.members.restarted(SHARD, pid)
        write(cluster, f"kill-{number}")
    assert values(cluster) == {"kill-2"}
