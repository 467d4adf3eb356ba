"""The programs that make load: where they are, and one run of one of them.

What it is: thin. It finds etcd's `benchmark` and bench-load, runs them to their end within a
bound and hands their output to `outputs.py`. What it is not: a retry: a request that failed is a
failure.

Invariants: a tool's CPU time is known, so that one that was busier than the server can be seen; a
run with a failed or missing request raises and gives no figures.

Tested in tests/e2e/test_bench.py.
"""

from __future__ import annotations

import os
import resource
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from ..flags import handed_on
from .ending import held
from .figures import Measured
from .outputs import bench_load, benchmark

CONFIGURING: Final = ("ETCDCTL_", "ETCD_", "KUBEBRAID_")  # variables that stand for flags
RUN_S_MAX: Final = 3_600.0
STDERR_CHARS: Final = 500
BUILT_BY: Final = {
    "bench-load": "tests/bench/build.sh",
    "benchmark": "tests/peers/build.sh",
    "etcd": "tests/peers/build.sh",
    "kube-apiserver": "tests/peers/build.sh",
}


class BenchError(Exception):
    """The measurement could not be made; nothing but the run's own files was changed."""

    definite = True
    hint = "see the logs in the folder that the run names"


class RequestsFailed(BenchError):
    """Requests failed or were not made."""

    hint = "a figure of a run with failures would be wrong, so there is none"


class Tools:
    """The folder that tests/peers/build.sh fills."""

    def __init__(self) -> None:
        cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
        folder = Path(os.environ.get("KUBEBRAID_PEERS") or cache / "kubebraid" / "peers")
        self.folder = folder / "bin"

    def path(self, name: str) -> str:
        """Of a program that `missing` did not name."""
        return str(self.folder / name)

    def missing(self, names: Sequence[str]) -> list[str]:
        """A sentence for each program that is not there."""
        return [
            f"{name} is not in {self.folder}: run {BUILT_BY[name]} of a checkout"
            for name in names
            if not (self.folder / name).is_file()
        ]


def child_environment() -> dict[str, str]:
    """Ours without what would configure a server or a client behind the benchmark's back."""
    return handed_on(os.environ, CONFIGURING)


def output(argv: Sequence[str], seconds: float = RUN_S_MAX) -> tuple[str, float]:
    """Run a program to its end: its output, and the CPU seconds it took."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    name = Path(argv[0]).name
    try:
        with held(argv, child_environment(), subprocess.PIPE, subprocess.PIPE) as program:
            stdout, stderr = program.communicate(timeout=seconds)
    except subprocess.TimeoutExpired:
        raise BenchError(f"{name} {argv[1]} still ran after {seconds:g} s") from None
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    if program.returncode != 0:
        told = stderr.decode(errors="replace")[-STDERR_CHARS:].strip()
        raise BenchError(f"{name} {argv[1]} exited with {program.returncode}: {told}")
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return stdout.decode(errors="replace"), cpu


@dataclass(frozen=True)
class Driver:
    """Both tools, aimed at one server."""

    tools: Tools
    endpoint: str  # host:port

    def load(self, command: str, *flags: str, expect: int | None = None) -> list[Measured]:
        """One command of bench-load; `expect` is how many requests its first line has to count."""
        argv = [self.tools.path("bench-load"), command, f"--endpoint={self.endpoint}", *flags]
        text, _ = output([*argv, f"--deadline={RUN_S_MAX:g}s"])
        return complete(command, bench_load(text), expect)

    def benchmark(
        self, command: str, *flags: str, names: tuple[str, ...] = (), expect: int | None = None
    ) -> list[Measured]:
        """One command of etcd's tool; `names` are those of its summaries."""
        argv = [self.tools.path("benchmark"), command, f"--endpoints={self.endpoint}", "--precise"]
        text, cpu = output([*argv, *flags])
        found = complete(command, benchmark(text, names or (command,)), expect)
        return [replace(found[0], client_cpu_s=cpu), *found[1:]]


def complete(command: str, found: list[Measured], expect: int | None) -> list[Measured]:
    """The same, given that every request was made and answered."""
    errors, done = sum(one.errors for one in found), sum(one.ops for one in found)
    first = next((one.first_error for one in found if one.errors), "")
    if errors:
        raise RequestsFailed(f"{command}: {errors} requests failed, {done} were done; {first}")
    if expect is not None and found[0].ops != expect and done != expect:
        raise RequestsFailed(f"{command}: {found[0].ops} requests were done, not {expect}")
    return found
