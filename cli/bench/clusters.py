"""KubeBraid as processes under load: coordinators, shards and routers of a dev-cluster.

What it is: a Server whose roles are processes of their own, found by the state file that the
dev-cluster keeps. What it is not: their wiring (cli/dev), or a measurement.

Invariants: one coordinator and one router, as many shards as asked for; what a figure adds up are
the roles; the process that starts them and looks after them is not in it.

Worked example: `--profile=cluster --shards=2`: CPU an operation of the coordinator, of both shards
together and of the router, and of all.

Tested in tests/unit/cli/bench/test_clusters.py, tests/e2e/test_bench_cluster.py.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

from .drivers import BenchError, Driver, Tools
from .results import OURS
from .servers import (
    ALIVE_EVERY_S,
    READY_S_MAX,
    Program,
    Server,
    cpu_s_of,
    free_port,
    kubebraid_environment,
)

STATE: Final = "state.json"


def cluster_argv(folder: Path, shards: int, tablets: str) -> list[str]:
    """As an operator would type it."""
    return [
        sys.executable,
        "-m",
        "kubebraid",
        "dev-cluster",
        "--coordinators=1",
        f"--shards={shards}",
        "--routers=1",
        f"--tablets={tablets}",
        f"--data-dir={folder / 'data'}",
        f"--state-file={folder / STATE}",
        "--no-restart",
        "--log-level=warn",
    ]


def roles_of(state: dict[str, object]) -> dict[str, list[int]]:
    """The pids by role, from what the state file says."""
    processes = state["processes"]
    assert isinstance(processes, list)
    found: dict[str, list[int]] = {}
    for process in processes:
        found.setdefault(process["role"], []).append(process["pid"])
    return found


class Cluster(Server):
    """A store of several processes."""

    def __init__(self, folder: Path, tools: Tools, shards: int, tablets: str) -> None:
        folder.mkdir(parents=True)
        self.store = OURS
        self.shards = shards
        self.folder = folder
        self.data = folder / "data"
        self.driver = Driver(tools, f"127.0.0.1:{free_port()}")  # until it is known
        self._pids: dict[str, list[int]] = {}
        argv = cluster_argv(folder, shards, tablets)
        Program.__init__(self, argv, kubebraid_environment(), folder / "server.log")

    def start(self) -> float:
        """The seconds until every router answered a linearizable read: then the file is there."""
        begun = time.monotonic()
        self.launch()
        path = self.folder / STATE
        while not path.exists():
            self.check()
            if time.monotonic() - begun > READY_S_MAX:
                raise BenchError(f"the cluster was not ready within {READY_S_MAX:g} s")
            time.sleep(ALIVE_EVERY_S)
        took = time.monotonic() - begun
        state = json.loads(path.read_text())
        self.driver = Driver(self.driver.tools, state["endpoints"][0].removeprefix("http://"))
        self._pids = roles_of(state)
        return took

    @property
    def roles(self) -> dict[str, int]:
        """Each process by a name of its own."""
        return {
            f"{role}-{number}": pid
            for role, pids in self._pids.items()
            for number, pid in enumerate(pids)
        }

    def remove(self, *, keep_log: bool) -> None:
        """The roles' logs lie among their data."""
        logs = self.data / "logs"
        if keep_log and logs.is_dir():
            logs.rename(self.folder / "logs")
        super().remove(keep_log=keep_log)

    def cpu_s(self) -> dict[str, float]:
        """CPU seconds so far, by role: all shards together."""
        return {role: cpu_s_of(pids) for role, pids in self._pids.items()}


def maker(shards: int, tablets: str) -> Callable[[str, Path, Tools], Server]:
    """What a run starts: such a cluster, or the peer as always."""

    def make(store: str, folder: Path, tools: Tools) -> Server:
        if store == OURS:
            return Cluster(folder, tools, shards, tablets)
        return Server(store, folder, tools)

    return make
