"""Disks that become full under a server, and get room again.

What it is: a faked device that fills slowly or at once, and a real one in memory. What it is not:
a judge of what the server does then (tests/e2e/test_durability.py).

Worked example: `device = SuddenlyFull(server)`; `server.start()`; `device.fill(load)` returns when
a write was refused for want of space; `device.free()` makes room.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Final

import pytest

from tests.e2e.processes import missing, run, wait_for
from tests.faults.clients import Load
from tests.faults.harness import Server

MIB: Final = 1 << 20
CAP_SYS_ADMIN: Final = 21  # capabilities(7)
BALLAST_BYTES: Final = 110 * MIB
FILL_S_MAX: Final = 40.0
NO_SPACE: Final = "StatusCode.RESOURCE_EXHAUSTED: etcdserver: mvcc: database space exceeded"
MORE_S_MAX: Final = 30.0


class Device:
    """A disk of 2 GiB of which somebody else has most."""

    def __init__(self, server: Server) -> None:
        self.server = server
        server.recorded.control.device(2 << 30)
        self._has(150 * MIB)  # the server keeps 128 for itself

    def _has(self, free: int) -> None:
        self.server.recorded.control.budget = free

    def fill(self, load: Load) -> None:
        """Write until a write is refused."""

        def refused() -> bool:
            assert self.server.process.alive, self.server.process.text()[-2000:]
            return any(write.detail == NO_SPACE for write in load.so_far())

        wait_for("a write to be refused for want of space", refused, FILL_S_MAX)

    def free(self) -> None:
        """Somebody makes room."""
        self._has(self.server.recorded.control.budget + 500 * MIB)


class SuddenlyFull(Device):
    """Somebody takes the rest at once: the store's own watch over its space comes too late."""

    def __init__(self, server: Server) -> None:
        super().__init__(server)
        self._has(500 * MIB)

    def fill(self, load: Load) -> None:
        load.wait_for_more(50, MORE_S_MAX)
        self._has(0)
        super().fill(load)


class SmallDevice(Device):
    """A real file system of 160 MiB, in memory."""

    def __init__(self, server: Server) -> None:
        self.server = server
        self._ballast = server.disk / "ballast"
        self._ballast.write_bytes(bytes(BALLAST_BYTES))

    def free(self) -> None:
        self._ballast.unlink()


def may_mount() -> bool:
    """Whether this process has the capability; a container may still forbid its use."""
    (line,) = (
        line for line in Path("/proc/self/status").read_text().splitlines() if "CapEff" in line
    )
    return bool(int(line.split()[1], 16) >> CAP_SYS_ADMIN & 1)


def mount_memory(at: Path) -> None:
    """Skips the test where the machine forbids it; what else is in the way is a want of CI."""
    if not may_mount():
        pytest.skip("no right to mount a file system; the faked devices stand in for it")
    if shutil.which("mount") is None:
        missing("mount is not on PATH: install util-linux with the system's package manager")
    done = run(["mount", "-t", "tmpfs", "-o", "size=160m", "kubebraid-test", str(at)])
    if "permi" in done.stderr:  # "permission denied", "operation not permitted"
        pytest.skip(f"this container may not mount a file system: {done.stderr.strip()}")
    if done.code != 0:
        missing(f"a file system in memory could not be mounted: {done.stderr.strip()}")
