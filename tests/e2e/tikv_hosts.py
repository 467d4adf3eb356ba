"""Hosts of a cluster on TiKV: who serves which shard, kills, stops, and a new process in a place.

What it is: the shard processes of a dev-cluster that starts none again, so that a test decides when
a spare comes. What it is not: the cluster's start (store.py), or what is written
(reshard_traffic.py).

Words: a *spare* is the process that is started in the place of one that ended; it serves nothing
until the coordinators seat a shard at it. A host is *old enough* when they take it for steady.

Invariants: every wait has a bound; a process is only ended by its own pid.

Worked example: `hosts.kill("shard-1")`, `hosts.spare("shard-1")`; when the next host is killed, its
shards may come to this one.

Tested by the tests that use it: test_tikv_adoption.py, test_tikv_moves.py.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Collection, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Final

from kubebraid.base.errors import KubeBraidError
from kubebraid.cli.ctl.ask import Routers
from kubebraid.proto import adminwire as wire
from tests.e2e.cluster import is_running
from tests.e2e.ledger import SHARD_NAMES, buckets, placed
from tests.e2e.processes import Supervisor, Timeout, wait_for
from tests.e2e.reshard_traffic import Traffic, Write
from tests.e2e.store import Store, kubebraid_environment

LINKED: Final = "link opened"  # in the log of a host that reached a coordinator
TOOK_OVER: Final = "a shard is another process's by now"  # in that of one that was deposed
LAYOUT: Final = buckets(8, "pods")  # so that the writers of one prefix meet every shard
MAP: Final = placed(LAYOUT)
OLD_ENOUGH_S: Final = 3.5  # behind its first link: HOST_AWAY_MS, some beats, a busy machine
STEADY_S_MAX: Final = 30.0
SETTLED_S_MAX: Final = 30.0
WRITTEN_S_MAX: Final = 30.0
ENDED_S_MAX: Final = 15.0


def shard_of(write: Write) -> str:
    """Which one holds its key; no tablet is moved here."""
    return MAP.tablet_of(write.key).shard


class Hosts:
    """Of a dev-cluster that was started with --no-restart and LAYOUT."""

    def __init__(self, store: Store, supervisor: Supervisor) -> None:
        self._store = store
        self._supervisor = supervisor
        self._routers = Routers(store.endpoints)
        logs = store.data_dir / "logs"
        self._pids = {name: store.members.named(name).pid for name in SHARD_NAMES}
        self._young_s: dict[str, float] = {}  # since when those were heard that are started here
        self._logs: dict[str, Path] = {name: logs / f"{name}.log" for name in SHARD_NAMES}
        self._argv = {name: _argv(pid) for name, pid in self._pids.items()}

    def seats(self) -> Mapping[str, str]:
        """Each shard's host, once all are up."""

        def probe() -> Mapping[str, str] | None:
            with suppress(KubeBraidError):
                shards = self._routers.status().shards
                if all(shard.state == wire.UP for shard in shards):
                    return {shard.name: shard.host for shard in shards}
            return None

        return wait_for("all shards to be up", probe, SETTLED_S_MAX)

    def busiest(self) -> tuple[str, frozenset[str]]:
        """The host that serves most, and what."""
        seats = self.seats()
        host = max(sorted(set(seats.values())), key=list(seats.values()).count)
        return host, frozenset(shard for shard, at in seats.items() if at == host)

    def is_running(self, host: str) -> bool:
        return is_running(self._pids[host])

    def log(self, host: str) -> str:
        """Of its process; a spare has one of its own."""
        return self._logs[host].read_text(errors="replace")

    def deposed(self, host: str) -> int:
        """How often its process has found that a shard of it is another's."""
        return self.log(host).count(TOOK_OVER)

    def spare_again(self, host: str, told: int) -> None:
        """Return when it has found so many, and stays as a spare."""
        found = f"{host} to find that it was deposed"
        wait_for(found, lambda: self.deposed(host) >= told, ENDED_S_MAX)
        assert self.is_running(host)
        assert host not in self.seats().values()

    def others_old_enough(self, but: Collection[str]) -> None:
        """Return when another one may be given shards."""

        wait_for(
            "a steady host",
            lambda: any(self._old_enough(host) for host in SHARD_NAMES if host not in but),
            STEADY_S_MAX,
        )

    def _old_enough(self, host: str) -> bool:
        if not self.is_running(host) or LINKED not in self.log(host):
            return False
        now_s = time.monotonic()
        return now_s - self._young_s.setdefault(host, now_s) >= OLD_ENOUGH_S

    def kill(self, host: str) -> float:
        """SIGKILL; when."""
        return self._signal(host, signal.SIGKILL)

    def terminate(self, host: str) -> float:
        """SIGTERM; when."""
        return self._signal(host, signal.SIGTERM)

    def stop(self, host: str) -> float:
        """SIGSTOP; when."""
        return self._signal(host, signal.SIGSTOP)

    def resume(self, host: str) -> None:
        """SIGCONT; it was not heard of for a while, so it is young again."""
        self._young_s[host] = self._signal(host, signal.SIGCONT)

    def _signal(self, host: str, number: signal.Signals) -> float:
        os.kill(self._pids[host], number)
        return time.monotonic()

    def spare(self, host: str) -> None:
        """A new process in the place of one that ended."""
        wait_for(f"the end of {host}", lambda: not self.is_running(host), SETTLED_S_MAX)
        argv, env = self._argv[host], kubebraid_environment()
        process = self._supervisor.add(f"spare-{host}", argv, env=env).start()
        self._pids[host], self._logs[host] = process.pid, process.log
        self._young_s.pop(host, None)


def _argv(pid: int) -> list[str]:
    """What would start the same shard, without the bond to dev-cluster."""
    words = Path(f"/proc/{pid}/cmdline").read_text().rstrip("\0").split("\0")
    return [sys.executable, "-m", "kubebraid", *words[words.index("shard") :]]


def first_writes_s(traffic: Traffic, shards: Collection[str], since_s: float) -> dict[str, float]:
    """Of each shard: how long until a write that began behind this moment was acknowledged."""
    found: dict[str, float] = {}

    def probe() -> bool:
        traffic.check()
        for write in traffic.acknowledged():
            shard, ended_s = shard_of(write), write.began_s + write.took_s - since_s
            if shard in shards and write.began_s > since_s:
                found[shard] = min(ended_s, found.get(shard, ended_s))
        return len(found) == len(shards)

    with suppress(Timeout):
        wait_for(f"a write of each of {sorted(shards)}", probe, WRITTEN_S_MAX)
    return {shard: found.get(shard, WRITTEN_S_MAX) for shard in shards}
