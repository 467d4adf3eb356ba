"""Where a scenario measures: one server in one round, with the counts already scaled.

What it is: the hands of the scenarios: scaled counts, a window around a load that also reads CPU,
memory and disk of the server. What it is not: a scenario.

Invariants: every figure of a window is about the same requests; CPU an operation counts all
threads of all roles from before the first to after the last request; growth of memory begins
before the warm-up, as that is when a server that buffers what it answers would first grow.

Tested in tests/unit/cli/bench/test_site.py, tests/e2e/test_bench.py.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from .drivers import Driver
from .figures import (
    CLIENT_CPU,
    CPU,
    DISK,
    P50,
    P99,
    P999,
    PEAK_RSS,
    RSS_GROWTH,
    THROUGHPUT,
    Figure,
    Measured,
)
from .goals import SEQUENCER
from .servers import Server

WARM_UP: Final = 0.1  # of the requests of a round
COUNT_MIN: Final = 10
CPU_S_MIN: Final = 0.05  # /proc counts hundredths of a second: of less, a fifth may be chance


def scaled(count: int, scale: float, least: int = COUNT_MIN) -> int:
    """A count, multiplied; never more than it was because of `least`."""
    assert scale > 0, scale
    return min(max(round(count * scale), least), max(count, round(count * scale)))


@dataclass
class Site:
    """One server; `turn` is a number that no other round of the same server has.

    `resident_mib` is the RSS before the scenario's warm-up, None where there was none.
    """

    server: Server
    scale: float
    turn: int = 0
    warming: bool = False
    resident_mib: float | None = None

    @property
    def driver(self) -> Driver:
        """Both load tools, aimed at the server."""
        return self.server.driver

    def keys(self, count: int) -> int:
        """How many keys this run has for so many."""
        return scaled(count, self.scale)

    def requests(self, count: int, clients: int = 1) -> int:
        """How many requests this round makes for so many; each client has some."""
        return scaled(count, self.scale * (WARM_UP if self.warming else 1), COUNT_MIN * clients)

    def window(self, load: Callable[[], list[Measured]]) -> tuple[list[Measured], list[Figure]]:
        """Run a load; what it said, and CPU, memory and disk of the server around it."""
        server = self.server
        server.check()
        server.forget_peak()
        resident = server.memory_mib("VmRSS")
        if self.warming:
            self.resident_mib = resident
        elif self.resident_mib is not None:
            resident = self.resident_mib
        beside = server.beside()
        before = server.cpu_s()
        found = load()
        server.check()
        after = server.cpu_s()
        peak = server.memory_mib("VmHWM")
        figures = cost(found, {role: after[role] - before[role] for role in after})
        figures += [
            Figure(PEAK_RSS, "MiB", peak),
            Figure(RSS_GROWTH, "MiB", max(peak - resident, 0.0)),
        ]
        figures += [Figure(DISK, "MiB", server.disk_mib())] if server.has_disk else []
        return found, [*figures, *beside(found)]

    def measure(self, load: Callable[[], list[Measured]]) -> list[Figure]:
        """A window, with throughput and latencies of the first kind of request."""
        found, figures = self.window(load)
        return [rate(found[0], THROUGHPUT), *latencies(found[0]), *figures]


def cost(found: list[Measured], cpu_s: dict[str, float]) -> list[Figure]:
    """CPU an operation: the server's in all, by role if there are several, the client's."""
    ops = sum(one.ops for one in found)
    assert ops > 0, "nothing was done, so nothing failed either: a bug of the scenario"
    # A tool's time is that of its process: kinds of requests it made at once share it.
    client = max(one.client_cpu_s for one in found)
    figures = []
    if sum(cpu_s.values()) >= CPU_S_MIN:
        figures.append(Figure(CPU, "us/op", sum(cpu_s.values()) / ops * 1e6))
    if figures and len(cpu_s) > 1:
        figures += [Figure(f"{CPU} {role}", "us/op", s / ops * 1e6) for role, s in cpu_s.items()]
    if figures and "coordinator" in cpu_s:
        figures.append(Figure(SEQUENCER, "x", cpu_s["coordinator"] / sum(cpu_s.values())))
    return [*figures, Figure(CLIENT_CPU, "us/op", client / ops * 1e6)]


def rate(measured: Measured, name: str) -> Figure:
    """Requests a second."""
    return Figure(name, "/s", measured.rate)


def latencies(measured: Measured, prefix: str = "") -> list[Figure]:
    """p50, p99 and p99.9, where enough samples stand behind them."""
    return [
        Figure(f"{prefix}{name}", "ms", measured.latency_ms[name])
        for name in (P50, P99, P999)
        if name in measured.latency_ms
    ]
