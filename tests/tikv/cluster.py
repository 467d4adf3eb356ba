"""A TiKV-protocol cluster for a test: PD and some stores, started, killed, silenced, started again.

What it is: the handle of the processes that tests/tikv/build.sh built, on free ports of 127.0.0.1.
What it is not: TiKV. The store speaks its protocol over raft (see tests/tikv/store/main.go), hence
it serves tests of behaviour and of faults, and its numbers are not TiKV's.

Words: a store is *stopped* by SIGSTOP: its connections stay open and say nothing.

Invariants:
- `start` returns when every region has its replicas and a leader, so the first call succeeds;
- a store keeps its folder and its port over a kill, as PD does.

Worked example: `with Cluster.started(folder, stores=3) as cluster: cluster.store(0).kill()`; the
two others go on within some seconds, and `cluster.start_store(0)` brings it back.

Tested by the tests that use it: tests/contract/test_tikv_traps.py.
"""

from __future__ import annotations

import os
import shutil
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Final

from kubebraid.cli import pd_http
from kubebraid.cli.bench.servers import free_port
from tests.e2e.processes import Peers, Process, Supervisor, missing, run, wait_for

START_S: Final = 60.0
REPLICAS_MAX: Final = 3
API_S: Final = 5.0
RULE: Final = "keyspaces%2F0"


def binary(name: str) -> str:
    """Where tikv-pd or tikv-store is; without it the test is skipped, or fails."""
    path = Peers().folder / "bin" / name
    if not path.is_file():
        missing(f"{name} is not in {path.parent}: run tests/tikv/build.sh")
    return str(path)


class Cluster:
    """PD and its stores."""

    def __init__(
        self,
        supervisor: Supervisor,
        folder: Path,
        stores: int = 1,
        before: Callable[[int], int] | None = None,
        flags: Sequence[str] = (),
        before_pd: Callable[[int], int] | None = None,
    ) -> None:
        """Not yet started; its data and its detailed logs lie in `folder`."""
        assert stores in (1, REPLICAS_MAX), stores
        folder.mkdir(exist_ok=True)
        program = binary("tikv-store")
        self.pd_port, peer_port = free_port(), free_port()
        self.store_ports = [free_port() for _ in range(stores)]
        told = self.store_ports if before is None else [before(port) for port in self.store_ports]
        self.told_pd_port = self.pd_port if before_pd is None else before_pd(self.pd_port)
        self.pd: Process = supervisor.add(
            "pd",
            [
                binary("tikv-pd"),
                "--name=pd",
                f"--data-dir={folder / 'pd'}",
                f"--client-urls=http://127.0.0.1:{self.pd_port}",
                f"--advertise-client-urls=http://127.0.0.1:{self.told_pd_port}",
                f"--peer-urls=http://127.0.0.1:{peer_port}",
                f"--initial-cluster=pd=http://127.0.0.1:{peer_port}",
                f"--log-file={folder / 'pd.detail.log'}",
                "-L=warn",
            ],
            env=pd_http.ENVIRONMENT,
        )
        self._program = program
        self.stores = [
            supervisor.add(
                f"store{index}",
                [
                    program,
                    f"-pd={self.pd_address}",
                    f"-listen=127.0.0.1:{port}",
                    f"-advertise=127.0.0.1:{told[index]}",
                    f"-data-dir={folder / f'store{index}'}",
                    f"-log-file={folder / f'store{index}.detail.log'}",
                    *flags,
                ],
            )
            for index, port in enumerate(self.store_ports)
        ]

    @classmethod
    @contextmanager
    def started(
        cls,
        folder: Path,
        stores: int = 1,
        before: Callable[[int], int] | None = None,
        flags: Sequence[str] = (),
        before_pd: Callable[[int], int] | None = None,
    ) -> Iterator[Cluster]:
        """A running one, ended at the end of the block. `before` makes a relay before a store's
        port, `before_pd` one before PD's; its own port is the one that clients are told. The flags
        are every store's."""
        try:
            with Supervisor(folder) as supervisor:
                cluster = cls(supervisor, folder, stores, before, flags, before_pd)
                cluster.start()
                yield cluster
        finally:
            # Half a gigabyte each, however little is in them; the logs stay.
            for name in ("pd", *(f"store{index}" for index in range(stores))):
                shutil.rmtree(folder / name, ignore_errors=True)

    def start(self) -> None:
        """All of it, for the first time."""
        self.start_pd()
        for index in range(len(self.stores)):
            self.start_store(index)
        wait_for("the stores to register", self._registered, START_S)
        self._obeyed()
        wait_for("replicas of all regions", self._replicated, START_S)

    @property
    def pd_address(self) -> str:
        """HOST:PORT, as clients are given it."""
        return f"127.0.0.1:{self.told_pd_port}"

    def start_pd(self) -> None:
        """Start it (again); it leads when this returns."""
        self.pd.start()
        wait_for("PD to lead", lambda: self._api("leader"), START_S)

    def start_store(self, index: int) -> None:
        """Start it (again); it listens when this returns."""
        store = self.stores[index]
        before = store.text().count("serving")
        store.start()
        wait_for("the store to serve", lambda: store.text().count("serving") > before, START_S)

    def kill_store_for(self, index: int, seconds: float) -> None:
        """SIGKILL, and a new start behind it."""
        self.stores[index].kill()
        time.sleep(seconds)
        self.start_store(index)

    def kill_pd_for(self, seconds: float) -> None:
        """SIGKILL, and a new start behind it."""
        self.pd.kill()
        time.sleep(seconds)
        self.start_pd()

    def stop_store(self, index: int) -> None:
        """SIGSTOP; no thread of it runs any more when this returns, on a busy machine neither."""
        pid = self.stores[index].pid
        os.kill(pid, signal.SIGSTOP)
        wait_for("the store to stop", lambda: set(_states(pid)) == {"T"}, START_S)

    def resume_store(self, index: int) -> None:
        """SIGCONT."""
        os.kill(self.stores[index].pid, signal.SIGCONT)

    def split(self, *keys: bytes) -> None:
        """Make each of the keys the beginning of a region."""
        words = ",".join(key.hex() for key in keys)
        run([self._program, f"-pd={self.pd_address}", f"-split={words}"]).ok()

    def regions(self) -> list[dict[str, Any]]:
        """As PD describes them."""
        answer = self._api("regions") or {}
        found: list[dict[str, Any]] = answer.get("regions") or []
        return found

    def _api(self, path: str, method: str = "GET") -> Any:
        """PD's answer; None while it gives none."""
        return pd_http.value(self.pd_address, path, API_S, method)

    def _registered(self) -> bool:
        """One store is usable at once; of several, PD has to have heard of all."""
        answer = self._api("stores") or {}
        states = [store["store"]["state_name"] for store in answer.get("stores") or []]
        up = states if len(self.stores) == 1 else [state for state in states if state == "Up"]
        return len(up) == len(self.stores)

    def _obeyed(self) -> None:
        """PD wants regions split where its keyspaces end. The store does not split on its orders,
        and one that waits keeps the region from its replicas: so the rule and the orders go."""
        wait_for("PD's rule of keyspaces", self._rules, START_S)
        self._api(f"config/region-label/rule/{RULE}", "DELETE")
        for region in self.regions():
            self._api(f"operators/{region['id']}", "DELETE")

    def _rules(self) -> bool:
        rules = self._api("config/region-label/rules") or []
        return any(rule.get("id") == "keyspaces/0" for rule in rules)

    def _replicated(self) -> bool:
        assert all(store.alive for store in self.stores), "a store has ended at the start"
        wanted = min(len(self.stores), REPLICAS_MAX)
        regions = self.regions()
        whole = [
            region
            for region in regions
            if len(region["peers"]) >= wanted
            and region.get("leader")
            and not region.get("pending_peers")
        ]
        return bool(regions) and len(whole) == len(regions)


def _states(pid: int) -> Iterator[str]:
    """Of a process's threads, as the kernel names them: T is one that SIGSTOP has reached."""
    for stat in Path(f"/proc/{pid}/task").glob("*/stat"):
        text = stat.read_text()
        yield text[text.rindex(")") + 2]


@contextmanager
def stopped(cluster: Cluster, index: int) -> Iterator[None]:
    """A store that is silent during the block."""
    cluster.stop_store(index)
    try:
        yield
    finally:
        with suppress(ProcessLookupError):
            cluster.resume_store(index)
