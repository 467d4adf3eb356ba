"""One store under load: its process, its folder, and what /proc says it costs.

What it is: start, stop by pid, CPU, memory and disk of `kubebraid serve` or of a real etcd. What
it is not: a client; `drivers.py` asks for readiness and makes load.

Words: a *role* is a process of the store, or all of one kind; the figures add up over them.

Invariants: a server listens on 127.0.0.1 alone, on free ports, in a fresh folder; it is ended
through the handle that started it; both servers log warnings only, and neither keeps a history
shorter or a quota smaller than the other.

Tested in tests/unit/cli/bench/test_servers.py (what /proc says), tests/e2e/test_bench.py.
"""

from __future__ import annotations

import contextlib
import importlib.util
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Final, Self

from kubebraid.shard.storage.space import RESERVE

from .drivers import BenchError, Driver, Tools, child_environment
from .ending import held, known
from .figures import Figure, Measured
from .results import OURS, PEER

STOP_S_MAX: Final = 120.0  # a large store may have much to write down
READY_S_MAX: Final = 600.0  # a slow start is a figure, not a failure
ALIVE_EVERY_S: Final = 0.05
QUOTA_BYTES: Final = 64 << 30  # etcd's 2 GiB would end a run of 10,000,000 keys
TICKS: Final = os.sysconf("SC_CLK_TCK")
MIB: Final = 1 << 20
EMPTY: Final = frozenset({RESERVE, "0.tmp", "1.tmp"})


def free_port() -> int:
    """A port of 127.0.0.1 that nobody listens on right now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
        assert isinstance(port, int)
        return port


def cpu_ticks(stat: str) -> int:
    """User and system ticks from the text of /proc/PID/stat; the name in it may hold anything."""
    fields = stat[stat.rindex(")") + 1 :].split()
    return int(fields[11]) + int(fields[12])


def cpu_s_of(pids: Iterable[int]) -> float:
    """CPU seconds so far, of all of them together. Raises OSError if one has ended."""
    return sum(cpu_ticks(Path(f"/proc/{pid}/stat").read_text()) for pid in pids) / TICKS


def status_mib(status: str, name: str) -> float:
    """A size like VmHWM from the text of /proc/PID/status, in MiB."""
    for line in status.splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1]) / 1024
    raise BenchError(f"/proc has no {name}: the process has ended")


def disk_mib(folder: Path) -> float:
    """What the files below take on the disk, in MiB; holes are free, preallocated space is not.

    Files that hold nothing are left out: KubeBraid's RESERVE, which is given up when the disk is
    full, and the log that etcd keeps ready for the time when the present one is full.
    """
    total = 0
    for below, _, names in os.walk(folder):
        for name in set(names) - EMPTY:
            with contextlib.suppress(FileNotFoundError):  # a server removes files as it likes
                total += os.lstat(os.path.join(below, name)).st_blocks * 512
    return total / MIB


def kubebraid_environment() -> dict[str, str]:
    """What a child needs to import the kubebraid that runs here."""
    spec = importlib.util.find_spec("kubebraid")
    assert spec is not None
    assert spec.origin is not None
    paths = [str(Path(spec.origin).parents[1]), os.environ.get("PYTHONPATH", "")]
    return {**child_environment(), "PYTHONPATH": os.pathsep.join(filter(None, paths))}


def kubebraid_argv(data: Path, port: int) -> list[str]:
    """As an operator would type it."""
    return [
        sys.executable,
        "-m",
        "kubebraid",
        "serve",
        f"--data-dir={data}",
        f"--listen-client-urls=http://127.0.0.1:{port}",
        f"--quota-backend-bytes={QUOTA_BYTES}",
        "--log-level=warn",
    ]


def etcd_argv(binary: str, data: Path, port: int) -> list[str]:
    """One member without peers."""
    return [
        binary,
        f"--data-dir={data}",
        f"--listen-client-urls=http://127.0.0.1:{port}",
        f"--advertise-client-urls=http://127.0.0.1:{port}",
        "--listen-peer-urls=http://127.0.0.1:0",
        f"--quota-backend-bytes={QUOTA_BYTES}",
        "--log-level=warn",
    ]


class Program:
    """A process that is ended when its block ends, its output in a file."""

    def __init__(self, argv: Sequence[str], env: dict[str, str], log: Path) -> None:
        self.argv = list(argv)
        self.log = log
        self._env = env
        self._child: subprocess.Popen[bytes] | None = None

    def launch(self) -> None:
        """Start it; nothing is waited for."""
        assert self._child is None, f"{self.argv[0]} already runs"
        with self.log.open("ab") as log, known():
            self._child = subprocess.Popen(
                self.argv,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=self._env,
                cwd=self.log.parent,
                start_new_session=True,  # Ctrl-C is for us, and we end it
            )

    @property
    def pid(self) -> int:
        """Of the present run."""
        assert self._child is not None, "it does not run"
        return self._child.pid

    def check(self) -> None:
        """Raise if it has ended by itself."""
        if self._child is not None and self._child.poll() is not None:
            end = self.log.read_text(errors="replace")[-500:].strip()
            code, self._child = self._child.returncode, None
            raise BenchError(f"the server ended with exit code {code}: {end or 'it said nothing'}")

    def end(self, sign: signal.Signals) -> None:
        """Send a signal and wait; SIGKILL follows what does not end."""
        child, self._child = self._child, None
        if child is None:
            return
        child.send_signal(sign)
        try:
            child.wait(STOP_S_MAX)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()
            name = Path(self.argv[0]).name
            raise BenchError(f"{name} did not stop within {STOP_S_MAX:g} s") from None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.end(signal.SIGTERM)


class Server(Program):
    """A store on a fresh folder; `store` is OURS or PEER. `shards`: how many writers it has."""

    shards = 1
    has_disk = True  # whether what it keeps lies in its folder

    def __init__(self, store: str, folder: Path, tools: Tools) -> None:
        assert store in (OURS, PEER), store
        folder.mkdir(parents=True)
        self.store = store
        self.folder = folder
        self.data = folder / "data"
        port = free_port()
        self.driver = Driver(tools, f"127.0.0.1:{port}")
        if store == OURS:
            argv, env = kubebraid_argv(self.data, port), kubebraid_environment()
        else:
            argv, env = etcd_argv(tools.path("etcd"), self.data, port), child_environment()
        super().__init__(argv, env, folder / "server.log")

    def start(self) -> float:
        """The seconds from its launch until it answered a linearizable read."""
        begun = time.monotonic()
        self.launch()
        argv = [
            self.driver.tools.path("bench-load"),
            "ready",
            f"--endpoint={self.driver.endpoint}",
            f"--deadline={READY_S_MAX:g}s",
        ]
        with held(argv, child_environment(), subprocess.DEVNULL) as asking:
            while asking.poll() is None:
                self.check()
                with contextlib.suppress(subprocess.TimeoutExpired):
                    asking.wait(ALIVE_EVERY_S)
        if asking.returncode != 0:
            raise BenchError(f"{self.store} was not ready within {READY_S_MAX:g} s")
        return time.monotonic() - begun

    @property
    def roles(self) -> dict[str, int]:
        """The pid of each role."""
        return {"all": self.pid}

    def cpu_s(self) -> dict[str, float]:
        """CPU seconds so far, by role."""
        return {role: cpu_s_of([pid]) for role, pid in self.roles.items()}

    def cpu_by_process(self) -> dict[str, float]:
        """The same, each process by itself."""
        return {name: cpu_s_of([pid]) for name, pid in self.roles.items()}

    def memory_mib(self, name: str) -> float:
        """VmRSS or VmHWM, over all roles."""
        pids = self.roles.values()
        return sum(status_mib(Path(f"/proc/{pid}/status").read_text(), name) for pid in pids)

    def forget_peak(self) -> None:
        """VmHWM begins anew; where the kernel refuses, it goes on from the start."""
        for pid in self.roles.values():
            with contextlib.suppress(OSError):
                Path(f"/proc/{pid}/clear_refs").write_text("5")

    def disk_mib(self) -> float:
        """What its data take on the disk."""
        return disk_mib(self.data)

    def beside(self) -> Callable[[Sequence[Measured]], list[Figure]]:
        """Begin to look at what works for it and is no part of it. Called with what the load said,
        the answer tells figures; there are none of a store that stands alone."""
        return lambda _: []

    def remove(self, *, keep_log: bool) -> None:
        """Its data, and its log too if it tells nothing."""
        shutil.rmtree(self.data if keep_log else self.folder, ignore_errors=True)
