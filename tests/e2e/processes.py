"""Programs under test as child processes: start, stop by pid, logs, bounded waits.

What it is: the only place of the suite that starts programs. What it is not: it knows nothing of
any one program; see store.py, etcdctl.py and kube.py for these.

Rules: a program is ended through the handle that started it and never by its name; each wait has a
bound and says what it waited for; stdout and stderr go to a file next to the test's other files,
and the tail of every such file is printed when a test fails (conftest.py).
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Final, Self, TypeVar

import pytest

from kubebraid.cli.flags import handed_on

T = TypeVar("T")

POLL_S: Final = 0.02
STOP_S_MAX: Final = 10.0  # what SIGTERM may take before SIGKILL follows
RUN_S_MAX: Final = 60.0
TAIL_LINES: Final = 25
TAIL_LINE_CHARS: Final = 300  # kube-apiserver logs whole Go structs in one line
CONFIGURING: Final = ("ETCDCTL_", "ETCD_", "KUBEBRAID_")  # variables that stand for flags
REQUIRE_PEERS: Final = "KUBEBRAID_REQUIRE_PEERS"


class Peers:
    """The foreign programs that tests/peers/build.sh builds."""

    def __init__(self) -> None:
        cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
        self.folder = Path(os.environ.get("KUBEBRAID_PEERS") or cache / "kubebraid" / "peers")

    def path(self, name: str) -> str:
        """The program's path; without it the test is skipped, or fails where peers are required."""
        path = self.folder / "bin" / name
        if not path.is_file():
            missing(f"{name} is not in {path.parent}: run tests/peers/build.sh")
        return str(path)

    def system(self, name: str) -> str:
        """A program that the machine itself has to have."""
        path = shutil.which(name)
        if path is None:
            missing(f"{name} is not on PATH: install it with the system's package manager")
        assert path is not None
        return path


def missing(sentence: str) -> None:
    """End the test for want of a program: a failure if KUBEBRAID_REQUIRE_PEERS=1, else a skip."""
    if os.environ.get(REQUIRE_PEERS) == "1":
        pytest.fail(sentence, pytrace=False)
    pytest.skip(sentence)


class Timeout(AssertionError):
    """Something that had to happen did not happen in time."""


def wait_for(what: str, probe: Callable[[], T | None], seconds: float) -> T:
    """Ask `probe` until it gives something true; the answer is returned."""
    end = time.monotonic() + seconds
    while True:
        answer = probe()
        if answer:
            return answer
        if time.monotonic() > end:
            raise Timeout(f"waited {seconds:g} s for {what}")
        time.sleep(POLL_S)


def listens(port: int) -> bool:
    """Does something accept connections on 127.0.0.1:port?"""
    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex(("127.0.0.1", port)) == 0


@dataclass(frozen=True)
class Finished:
    """How a program that was run to its end went."""

    argv: tuple[str, ...]
    code: int
    stdout: str
    stderr: str

    def ok(self) -> str:
        """Its standard output, given that it succeeded."""
        assert self.code == 0, str(self)
        return self.stdout

    def __str__(self) -> str:
        words = " ".join(self.argv)
        return f"`{words}` exited with {self.code}\nstdout: {self.stdout}\nstderr: {self.stderr}"


def child_environment(more: Mapping[str, str] | None) -> dict[str, str]:
    """Ours without what would configure a peer or a server behind the suite's back.

    etcdctl refuses a flag that a variable names too, so whoever works with ETCDCTL_ENDPOINTS set
    would see every test fail.
    """
    return {**handed_on(os.environ, CONFIGURING), **(more or {})}


def run(
    argv: Sequence[str],
    *,
    stdin: str = "",
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    seconds: float = RUN_S_MAX,
) -> Finished:
    """Run a program to its end, at most `seconds` long."""
    try:
        done = subprocess.run(
            argv,
            input=stdin,
            env=child_environment(env),
            cwd=cwd,
            capture_output=True,
            text=True,
            timeout=seconds,
            check=False,
        )
    except subprocess.TimeoutExpired as late:
        words = " ".join(argv)
        raise Timeout(f"`{words}` still ran after {seconds:g} s, stderr: {late.stderr!r}") from late
    return Finished(tuple(argv), done.returncode, done.stdout, done.stderr)


class Process:
    """A program that stays: its log, its pid, its end. May be started again after it ended."""

    def __init__(
        self,
        argv: Sequence[str],
        log: Path,
        *,
        env: Mapping[str, str] | None = None,
        cwd: Path | None = None,
        typed: bool = False,
    ) -> None:
        self.argv = tuple(argv)
        self.log = log
        self._typed = typed
        self._env = child_environment(env)
        self._cwd = cwd
        self._child: subprocess.Popen[bytes] | None = None

    def start(self) -> Self:
        """Start it; its output is added to the log."""
        assert not self.alive, f"{self.argv[0]} already runs"
        with self.log.open("ab") as log:
            self._child = subprocess.Popen(
                self.argv,
                stdin=subprocess.PIPE if self._typed else subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=self._env,
                cwd=self._cwd,
                start_new_session=True,  # Ctrl-C is for pytest, which then ends its children
            )
        return self

    @property
    def pid(self) -> int:
        """The pid of the present or last run."""
        assert self._child is not None, f"{self.argv[0]} was never started"
        return self._child.pid

    @property
    def alive(self) -> bool:
        """Does it run?"""
        return self._child is not None and self._child.poll() is None

    @property
    def code(self) -> int | None:
        """The exit code of the last run, negative for a signal; None while it runs."""
        assert self._child is not None, f"{self.argv[0]} was never started"
        return self._child.poll()

    def write(self, text: str) -> None:
        """Type into its standard input; for this it has to be `typed`."""
        assert self._child is not None
        assert self._child.stdin is not None
        self._child.stdin.write(text.encode())
        self._child.stdin.flush()

    def wait(self, seconds: float) -> int:
        """The exit code, once it has ended by itself."""
        assert self._child is not None, f"{self.argv[0]} was never started"
        try:
            return self._child.wait(seconds)
        except subprocess.TimeoutExpired:
            message = f"{self.argv[0]} (pid {self.pid}) still runs after {seconds:g} s"
            raise Timeout(message) from None

    def terminate(self, seconds: float = STOP_S_MAX) -> int:
        """SIGTERM; the exit code."""
        return self._end(signal.SIGTERM, seconds)

    def kill(self) -> int:
        """SIGKILL; the exit code."""
        return self._end(signal.SIGKILL, STOP_S_MAX)

    def _end(self, sign: signal.Signals, seconds: float) -> int:
        assert self._child is not None, f"{self.argv[0]} was never started"
        # Once it has ended this does nothing: the pid is nobody else's before it was waited for.
        self._child.send_signal(sign)
        return self.wait(seconds)

    def close(self) -> None:
        """Gone when this returns, whatever state it was in."""
        if self._child is None:
            return
        try:
            if self.alive:
                self.terminate()
        except Timeout:
            self.kill()
        finally:
            if self._child.stdin is not None:
                with contextlib.suppress(BrokenPipeError):
                    self._child.stdin.close()

    def text(self) -> str:
        """All it printed so far."""
        return self.log.read_text(errors="replace") if self.log.exists() else ""


class Supervisor:
    """Owns the processes of one fixture: a folder for their files, and their end.

    The last one started is ended first, as it most likely depends on those before it.
    """

    open: Final[list[Supervisor]] = []  # those whose logs a failing test should print

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._processes: list[Process] = []

    def __enter__(self) -> Self:
        Supervisor.open.append(self)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        Supervisor.open.remove(self)
        with contextlib.ExitStack() as stack:
            for process in self._processes:
                stack.callback(process.close)

    def add(
        self,
        name: str,
        argv: Sequence[str],
        *,
        env: Mapping[str, str] | None = None,
        cwd: Path | None = None,
        typed: bool = False,
    ) -> Process:
        """A process, not yet started, that logs to `<name>.log`."""
        log = self.folder / f"{name}.log"
        number = 1
        while any(process.log == log for process in self._processes):
            number += 1
            log = self.folder / f"{name}-{number}.log"
        process = Process(argv, log, env=env, cwd=cwd, typed=typed)
        self._processes.append(process)
        return process

    def tails(self) -> list[tuple[str, str]]:
        """Name and tail of each log, with the state of its process."""
        return [(self._title(process), tail(process.text())) for process in self._processes]

    @staticmethod
    def _title(process: Process) -> str:
        state = "runs" if process.alive else "does not run"
        return f"{process.log} ({state})"


def tail(text: str) -> str:
    """The last lines of a log, long ones cut."""
    return "\n".join(line[:TAIL_LINE_CHARS] for line in text.splitlines()[-TAIL_LINES:])
