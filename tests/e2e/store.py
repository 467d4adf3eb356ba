"""The store under test: `kubebraid serve` in a process of its own, a whole dev-cluster on disks or
on TiKV, or a real etcd in its place.

A store keeps its folder and its port over restarts, so that a client that lost it finds it again.
Of a cluster the endpoint is the first router's; `endpoints` has all, and `members` the processes.
One on TiKV comes with a PD and one TiKV store of its own (tests/tikv), which outlive its kills.
etcd is here for two reasons: the suite itself is checked on it (KUBEBRAID_E2E_STORE=etcd), and it
is the twin whose answers ours are compared with (twin.py).
"""

from __future__ import annotations

import importlib.util
import os
import sys
import time
from collections.abc import Sequence
from enum import Enum
from pathlib import Path
from typing import Final

from kubebraid.cli.bench.servers import free_port
from kubebraid.shard.storage import tikv_link
from kubebraid.shard.storage.tikv_errors import EngineUnsupported
from kubebraid.shard.storage.tikv_native import NativeClient
from tests.e2e.cluster import Members, free_block
from tests.e2e.etcdctl import Etcdctl
from tests.e2e.processes import Peers, Supervisor, Timeout, listens, missing, wait_for
from tests.tikv.cluster import Cluster

READY_S_MAX: Final = 15.0
TERMINATE_S_MAX: Final = 10.0
CLUSTER_READY_S_MAX: Final = 60.0  # eight processes on a busy machine
CLUSTER_TERMINATE_S_MAX: Final = 30.0  # its roles are stopped one kind after the other
COORDINATORS, SHARDS, ROUTERS = 3, 3, 2


class Kind(Enum):
    """What runs. The first two are one program with another server behind the client port."""

    NATIVE = "native"
    GRPCIO = "grpcio"
    ETCD = "etcd"
    CLUSTER = "cluster"
    TIKV = "tikv"

    @property
    def is_cluster(self) -> bool:
        """Coordinators, shards and routers, wherever the shards keep their data."""
        return self in (Kind.CLUSTER, Kind.TIKV)


def _under_test() -> tuple[Kind, ...]:
    asked = os.environ.get("KUBEBRAID_E2E_STORE", "")
    one = asked in ("etcd", "cluster", "tikv")
    return (Kind(asked),) if one else (Kind.NATIVE, Kind.GRPCIO)


UNDER_TEST: Final = _under_test()


def need_tikv_client() -> None:
    """End the test where there is no client of TiKV."""
    if not tikv_link.available():
        missing(f"there is no client of TiKV: {EngineUnsupported.hint}")


def need_own_tikv_client() -> None:
    """The same where it is not the one that `make native` builds."""
    if NativeClient.version() is None:
        missing("our own client of TiKV was not built: make native")


def kubebraid_environment() -> dict[str, str]:
    """What a child needs to import the kubebraid that this process would import."""
    spec = importlib.util.find_spec("kubebraid")
    assert spec is not None, "kubebraid is not importable: install it, or set PYTHONPATH to src"
    assert spec.origin is not None
    paths = [str(Path(spec.origin).parents[1]), os.environ.get("PYTHONPATH", "")]
    return {"PYTHONPATH": os.pathsep.join(filter(None, paths)), "PYTHONUNBUFFERED": "1"}


def serve_argv(data_dir: Path, port: int, metrics_port: int, front: str) -> list[str]:
    """The command line of a server, as an operator would type it."""
    return [
        sys.executable,
        "-m",
        "kubebraid",
        "serve",
        "--data-dir",
        str(data_dir),
        "--listen-client-urls",
        f"http://127.0.0.1:{port}",
        "--listen-metrics-urls",
        f"http://127.0.0.1:{metrics_port}",
        "--front",
        front,
    ]


def cluster_argv(data_dir: Path, base_port: int) -> list[str]:
    """The command line of a whole cluster."""
    return [
        sys.executable,
        "-m",
        "kubebraid",
        "dev-cluster",
        f"--coordinators={COORDINATORS}",
        f"--shards={SHARDS}",
        f"--routers={ROUTERS}",
        f"--data-dir={data_dir}",
        f"--state-file={state_file_of(data_dir)}",
        f"--base-port={base_port}",
    ]


def tikv_flags(pd_address: str, store: str) -> tuple[str, ...]:
    """What puts the shards of a cluster on TiKV; `store` is what their stores' names begin with."""
    return ("--engine=tikv", f"--pd={pd_address}", f"--tikv-store={store}")


def state_file_of(data_dir: Path) -> Path:
    """Beside the data directory, so that a copy or a removal of that one leaves it alone."""
    return data_dir.with_name(f"{data_dir.name}-state.json")


def etcd_argv(peers: Peers, data_dir: Path, port: int, metrics_port: int) -> list[str]:
    """The command line of an etcd with one member."""
    return [
        peers.path("etcd"),
        f"--data-dir={data_dir}",
        f"--listen-client-urls=http://127.0.0.1:{port}",
        f"--advertise-client-urls=http://127.0.0.1:{port}",
        f"--listen-metrics-urls=http://127.0.0.1:{metrics_port}",
        "--listen-peer-urls=http://127.0.0.1:0",
    ]


class Store:
    """One server, its data folder and its address."""

    def __init__(
        self,
        supervisor: Supervisor,
        peers: Peers,
        kind: Kind,
        name: str = "store",
        data_dir: Path | None = None,
        flags: Sequence[str] = (),
    ) -> None:
        """`flags` are more of the server's own, which both programs call by the same names."""
        self.kind = kind
        self.data_dir = data_dir or supervisor.folder / f"{name}-data"
        self.tikv: Cluster | None = None
        if kind is Kind.TIKV:
            need_tikv_client()
            self.tikv = Cluster(supervisor, supervisor.folder / f"{name}-tikv")
            flags = (*tikv_flags(self.tikv.pd_address, "e2e"), *flags)
        ports_of_all = ROUTERS + COORDINATORS + SHARDS
        self.port = free_block(ports_of_all) if kind.is_cluster else free_port()
        self.metrics_port = free_port()
        self.endpoint = f"http://127.0.0.1:{self.port}"
        ports = range(self.port, self.port + (ROUTERS if kind.is_cluster else 1))
        self.endpoints = [f"http://127.0.0.1:{port}" for port in ports]
        self.members = Members(state_file_of(self.data_dir))
        self.etcdctl = Etcdctl(peers, self.endpoint)
        if kind.is_cluster:
            argv = cluster_argv(self.data_dir, self.port)
            env = kubebraid_environment()
        elif kind is Kind.ETCD:
            argv = etcd_argv(peers, self.data_dir, self.port, self.metrics_port)
            env = {}
        else:
            argv = serve_argv(self.data_dir, self.port, self.metrics_port, kind.value)
            env = kubebraid_environment()
        self.process = supervisor.add(name, [*argv, *flags], env=env, cwd=supervisor.folder)

    def start(self) -> float:
        """Start it; the seconds until it answered."""
        began = time.monotonic()
        self.members.state_file.unlink(missing_ok=True)  # a killed cluster leaves it
        if self.tikv is not None and not self.tikv.pd.alive:
            self.tikv.start()
        self.process.start()
        seconds = CLUSTER_READY_S_MAX if self.kind.is_cluster else READY_S_MAX
        wait_for(f"{self.kind.value} to be ready", self._ready, seconds)
        return time.monotonic() - began

    def _ready(self) -> bool:
        if not self.process.alive:
            raise Timeout(f"the store ended with exit code {self.process.code} before it was ready")
        if self.kind.is_cluster and not self.members.state_file.exists():
            return False
        if not listens(self.port) or self.etcdctl.run("endpoint", "health").code != 0:
            return False
        # A new etcd settles its storage version only behind its first commit, and tells it then.
        return self.kind is not Kind.ETCD or "storageVersion" in self._status()

    def _status(self) -> dict[str, object]:
        (answer,) = self.etcdctl.json("endpoint", "status")
        status = answer["Status"]
        assert isinstance(status, dict)
        return status

    def terminate(self) -> int:
        """SIGTERM; the exit code."""
        longest = CLUSTER_TERMINATE_S_MAX if self.kind.is_cluster else TERMINATE_S_MAX
        return self.process.terminate(longest)

    def kill(self) -> None:
        """SIGKILL, of a cluster to dev-cluster, which takes all of its processes with it."""
        self.process.kill()
