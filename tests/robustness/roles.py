"""A cluster whose processes each stand behind a relay, started by hand.

What it is: three coordinators, three shards and two routers, as an operator would start them, with
addresses that lead through `proxy`. What it is not: dev-cluster; that one gives its processes no
addresses but their own.

Words: a relay stands *toward* a process; those toward coordinators are each for one *source* alone,
so that a process can be cut off from whom it dials, too. The *holder* is the coordinator that
serves revisions now. Nothing tells its name outside; it is the one toward which most bytes pass,
because all reads and writes ask it.

Invariants: a process is ended by the handle that started it; a stopped one goes on before its end.

Worked example: shard-1 listens on 15003 and advertises 40211, where its relay listens; a router
that dials it cannot but pass there.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Final

from kubebraid.base import secret
from tests.e2e.cluster import free_block
from tests.e2e.processes import Process, Supervisor, Timeout, listens
from tests.e2e.store import kubebraid_environment
from tests.e2e.tikv_hosts import LINKED
from tests.robustness.load import LAYOUT, SHARDS
from tests.robustness.proxy import HOST, Relay

COORDINATORS: Final = ("coordinator-0", "coordinator-1", "coordinator-2")
ROUTERS: Final = ("router-0", "router-1")
START_S_MAX: Final = 60.0
LOOK_S: Final = 0.5  # how long bytes are counted to find the holder


class Cluster:
    """All processes, all relays."""

    def __init__(self, supervisor: Supervisor, folder: Path, shard_flags: Sequence[str]) -> None:
        """`shard_flags` say where shards keep their data; if there are none, in the folder."""
        names = (*COORDINATORS, *SHARDS, *ROUTERS)
        base = free_block(len(names))
        self._ports = {name: base + place for place, name in enumerate(names)}
        self._shared = {name: Relay(self._ports[name]) for name in (*SHARDS, *ROUTERS)}
        self._own = {
            (source, name): Relay(self._ports[name]) for source in names for name in COORDINATORS
        }
        self.processes: dict[str, Process] = {}
        self._supervisor = supervisor
        self._folder = folder
        self._shard_flags = tuple(shard_flags)
        self._stopped: set[str] = set()

    @property
    def ports(self) -> list[int]:
        """Where clients find the routers."""
        return [self._shared[name].port for name in ROUTERS]

    def toward(self, name: str) -> list[Relay]:
        """What stands between a process and whoever dials it."""
        if name in self._shared:
            return [self._shared[name]]
        return [self._own[source, name] for source in self._ports]

    def around(self, name: str) -> list[Relay]:
        """The same, and what stands between it and the coordinators that it dials."""
        return self.toward(name) + [self._own[name, other] for other in COORDINATORS]

    def _relays(self) -> list[Relay]:
        return [*self._shared.values(), *self._own.values()]

    async def start(self, dials: asyncio.TaskGroup) -> None:
        """All of them; returns when all listen."""
        secret.make(self._folder / "secret")
        for relay in self._relays():
            await relay.start(dials)
        for name in self._ports:
            self._start(name, founded=False)
        await self._listening(list(self._ports))

    def _start(self, name: str, *, founded: bool) -> None:
        argv = self._argv(name, founded=founded)
        env = kubebraid_environment()
        if name not in self.processes or name in COORDINATORS:
            self.processes[name] = self._supervisor.add(name, argv, env=env)
        self.processes[name].start()

    def _argv(self, name: str, *, founded: bool) -> list[str]:
        role = name.rpartition("-")[0]
        coordinators = (f"{each}={HOST}:{self._own[name, each].port}" for each in COORDINATORS)
        listen = f"{HOST}:{self._ports[name]}"
        argv = [sys.executable, "-m", "kubebraid", role, f"--name={name}"]
        argv += [f"--coordinators={','.join(coordinators)}"]
        argv += [f"--cluster-secret-file={self._folder / 'secret'}"]
        outside = f"{HOST}:{self._shared[name].port}" if name in self._shared else ""
        if role == "router":
            urls = (
                f"--listen-client-urls=http://{listen}",
                f"--advertise-client-urls=http://{outside}",
            )
            return [*argv, *urls]
        argv.append(f"--listen={listen}")
        directory = f"--data-dir={self._folder / name}"
        if role == "shard":
            return [*argv, f"--advertise={outside}", *(self._shard_flags or (directory,))]
        argv.append(directory)
        state = f"--initial-cluster-state={'existing' if founded else 'new'}"
        return [*argv, state, f"--initial-shards={','.join(SHARDS)}", f"--tablets={LAYOUT}"]

    async def _listening(self, names: Sequence[str]) -> None:
        for name in names:
            await self._wait(f"{name} to listen", partial(listens, self._ports[name]))

    async def _wait(self, what: str, probe: Callable[[], bool]) -> None:
        end = asyncio.get_running_loop().time() + START_S_MAX
        while not probe():
            self.check()
            if asyncio.get_running_loop().time() > end:
                raise Timeout(f"waited {START_S_MAX:g} s for {what}")
            await asyncio.sleep(0.1)

    def check(self) -> None:
        """Nobody has ended by itself."""
        ended = {name: p.code for name, p in self.processes.items() if not p.alive}
        assert not ended, f"ended by itself, with exit code: {ended}"

    async def holder(self) -> str:
        """The coordinator that serves revisions."""
        before = {name: self._passed(name) for name in COORDINATORS}
        await asyncio.sleep(LOOK_S)
        return max(COORDINATORS, key=lambda name: self._passed(name) - before[name])

    def _passed(self, name: str) -> int:
        return sum(relay.passed for relay in self.toward(name))

    async def kill(self, name: str, away_s: float) -> None:
        """SIGKILL, and a new start."""
        self.processes[name].kill()
        links = self._links(name)
        await asyncio.sleep(away_s)
        self._start(name, founded=True)
        if name in SHARDS and self._shard_flags:  # a host that was replaced listens nowhere
            await self._wait(f"{name} to be linked", lambda: self._links(name) > links)
        else:
            await self._listening([name])

    def _links(self, name: str) -> int:
        """How many it has made so far, by its log."""
        return self.processes[name].text().count(LINKED)

    async def stop(self, name: str, away_s: float) -> None:
        """SIGSTOP, and SIGCONT."""
        os.kill(self.processes[name].pid, signal.SIGSTOP)
        self._stopped.add(name)
        try:
            await asyncio.sleep(away_s)
        finally:
            self._go_on(name)

    def _go_on(self, name: str) -> None:
        self._stopped.discard(name)
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.processes[name].pid, signal.SIGCONT)

    def close(self) -> None:
        """No relay is left; the supervisor ends the processes."""
        for name in list(self._stopped):
            self._go_on(name)
        for relay in self._relays():
            relay.close()
