"""The processes of a dev-cluster, by name: from its state file to a signal and to a new process.

What it is: what a test does to one process of a cluster. What it is not: their start; dev-cluster
does that, and it alone is this suite's own child.
"""

from __future__ import annotations

import json
import os
import secrets
import signal
import socket
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tests.e2e.processes import wait_for

RESTART_S_MAX: Final = 20.0  # two seconds of backoff, and a start on a busy machine
PORTS: Final = range(15_000, 32_000)  # below those that the kernel gives to who dials


@dataclass(frozen=True)
class Entry:
    """A process of the state file."""

    role: str
    name: str
    pid: int
    address: str


class Members:
    """All processes of one dev-cluster."""

    def __init__(self, state_file: Path) -> None:
        self.state_file = state_file

    def all(self) -> list[Entry]:
        """As the file says now."""
        return [Entry(**told) for told in json.loads(self.state_file.read_text())["processes"]]

    def named(self, name: str) -> Entry:
        """One of them."""
        (entry,) = [entry for entry in self.all() if entry.name == name]
        return entry

    def signal(self, name: str, number: signal.Signals = signal.SIGKILL) -> int:
        """Its pid, which the signal was sent to."""
        pid = self.named(name).pid
        os.kill(pid, number)
        return pid

    def restarted(self, name: str, before: int) -> Entry:
        """The process that came after `before`."""

        def probe() -> Entry | None:
            entry = self.named(name)
            return entry if entry.pid != before else None

        return wait_for(f"{name} to be started again", probe, RESTART_S_MAX)


def is_running(pid: int) -> bool:
    """Whether a process has this pid; one that nobody has waited for yet has ended."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False
    return stat[stat.rindex(")") + 2] != "Z"


def free_block(count: int) -> int:
    """The first of `count` ports of 127.0.0.1 in a row that nobody listens on."""
    for _ in range(100):
        base = PORTS.start + secrets.randbelow(len(PORTS) - count)
        with ExitStack() as held:
            try:
                for port in range(base, base + count):
                    held.enter_context(socket.socket()).bind(("127.0.0.1", port))
            except OSError:
                continue
            return base
    raise AssertionError(f"no {count} free ports in a row")
