"""`kubebraid serve --engine=tikv`: etcd's client finds its keys over kills and a take-over.

Marked `tikv`, not `e2e`: it needs the cluster that tests/tikv/build.sh builds.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from kubebraid.cli.bench.servers import free_port
from kubebraid.cli.tikv_flags import tls_flags
from tests.e2e.etcdctl import Etcdctl
from tests.e2e.processes import Peers, Process, Supervisor, listens, wait_for
from tests.e2e.store import kubebraid_environment, need_own_tikv_client, need_tikv_client
from tests.tikv.cluster import Cluster
from tests.tikv.tls import Authority, encrypted

pytestmark = pytest.mark.tikv

START_S = 30.0
DEPOSED_S = 30.0
REFUSED = 1


class Served:
    """One `kubebraid serve` on the cluster's only store."""

    def __init__(
        self,
        supervisor: Supervisor,
        peers: Peers,
        pd: str,
        name: str,
        flags: Sequence[str] = (),
    ) -> None:
        self.port = free_port()
        argv = [sys.executable, "-m", "kubebraid", "serve", "--engine=tikv", f"--pd={pd}"]
        argv += [f"--listen-client-urls=http://127.0.0.1:{self.port}", *flags]
        self.process: Process = supervisor.add(name, argv, env=kubebraid_environment())
        self.etcdctl = Etcdctl(peers, f"http://127.0.0.1:{self.port}")

    def start(self) -> None:
        self.process.start()
        wait_for("the port", lambda: listens(self.port) or not self.process.alive, START_S)
        assert self.process.alive, self.process.text()


def test_keys_outlive_a_kill_and_an_end_and_a_second_process_deposes_the_first(
    tmp_path: Path, peers: Peers
) -> None:
    need_tikv_client()
    (tmp_path / "tikv").mkdir()
    with Cluster.started(tmp_path / "tikv") as cluster, Supervisor(tmp_path) as supervisor:
        first = Served(supervisor, peers, cluster.pd_address, "first")
        first.start()
        first.etcdctl.put("a", "1")
        revision = first.etcdctl.put("a", "2")
        first.process.kill()
        first.start()
        assert first.etcdctl.values("a") == {"a": "2"}
        assert first.etcdctl.put("b", "1") > revision
        assert first.process.terminate() == 0
        first.start()
        second = Served(supervisor, peers, cluster.pd_address, "second")
        second.start()
        second.etcdctl.put("a", "3")
        assert first.etcdctl.run("put", "a", "4").code != 0
        assert first.process.wait(DEPOSED_S) == REFUSED
        assert second.etcdctl.values("") == {"a": "3", "b": "1"}


def test_keys_outlive_an_end_on_a_cluster_that_wants_tls(tmp_path: Path, peers: Peers) -> None:
    need_own_tikv_client()
    authority = Authority(peers, tmp_path / "ours")
    flags = tls_flags(authority.signed("kubebraid"))
    with (
        encrypted(tmp_path / "tikv", authority) as (relays, cluster),
        Supervisor(tmp_path) as supervisor,
    ):
        served = Served(supervisor, peers, cluster.pd_address, "served", flags)
        served.start()
        served.etcdctl.put("a", "1")
        assert served.process.terminate() == 0
        served.start()
        assert served.etcdctl.values("a") == {"a": "1"}
        assert "TiKV is reached by kubebraid-tikv" in served.process.text()
        assert ", in TLS" in served.process.text()
        assert min(relays.shown.values()) > 0
        assert not relays.refused
