"""The machine of a run: a figure means nothing without it.

What it is: what /proc and the programs say about themselves, and what one fdatasync costs. What
it is not: a judgement, but for two: a folder in memory and a busy machine are named.

Tested in tests/unit/cli/bench/test_machine.py.
"""

from __future__ import annotations

import os
import platform
import re
import statistics
import time
from pathlib import Path
from typing import Final

from kubebraid import VERSION

from .drivers import Tools, output

SYNCS: Final = 100
SYNC_BYTES: Final = 4096
BUSY_A_CORE: Final = 0.3  # a load average beyond this share of the cores disturbs


def describe(tools: Tools, folder: Path, peer: bool) -> dict[str, str]:
    """Name and value, in the order of a report."""
    cores = os.cpu_count() or 1
    found = {
        "machine": f"{cpu_model(_text('/proc/cpuinfo'))}, {cores} cores, {memory()}",
        "system": f"{platform.system()} {platform.release()}, Python {platform.python_version()}",
        "disk": f"{file_system(folder, _text('/proc/mounts'))}, fdatasync {sync_ms(folder):.2f} ms",
        "load average before": load_average(os.getloadavg()[0], cores),
        "KubeBraid": VERSION,
    }
    if peer:
        text, _ = output([tools.path("etcd"), "--version"])
        found["etcd"] = text.splitlines()[0].rpartition(" ")[2]
    return found


def _text(path: str) -> str:
    try:
        return Path(path).read_text()
    except OSError:
        return ""


def cpu_model(cpuinfo: str) -> str:
    """From the text of /proc/cpuinfo."""
    found = re.search(r"^model name\s*:\s*(.+)$", cpuinfo, re.MULTILINE)
    return found[1] if found else platform.machine()


def memory() -> str:
    """All of it, in GiB."""
    return f"{os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES') / (1 << 30):.0f} GiB"


def file_system(folder: Path, mounts: str) -> str:
    """The kind of the file system that holds the folder, from the text of /proc/mounts."""
    best, kind = "", "unknown file system"
    for line in mounts.splitlines():
        _, point, found, *_ = line.split()
        if len(point) >= len(best) and folder.resolve().is_relative_to(point):
            best, kind = point, found
    return f"{kind} (IN MEMORY: no sync costs anything here)" if kind == "tmpfs" else kind


def load_average(one_minute: float, cores: int) -> str:
    """With a warning if others were at work."""
    busy = one_minute > BUSY_A_CORE * cores
    return f"{one_minute:.2f}{' (BUSY: these figures are noise)' if busy else ''}"


def sync_ms(folder: Path) -> float:
    """The median of some appends with fdatasync."""
    path, taken = folder / "sync-probe", []
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        for _ in range(SYNCS):
            begun = time.monotonic()
            os.write(descriptor, bytes(SYNC_BYTES))
            os.fdatasync(descriptor)
            taken.append(time.monotonic() - begun)
    finally:
        os.close(descriptor)
        path.unlink()
    return statistics.median(taken) * 1e3
