"""One directory, as the journal uses it: append, sync, rename; nothing is changed in place.

What it is: the seam through which all of Raft's files go, and the real one. What it is not: a
cache; a crash keeps what was synced, any part of what was not, and renames up to `sync_names`.

Invariants:
- after `sync(name)` the file's bytes survive a power cut, after `sync_names` its name does;
- `append` makes a file that is not there; no byte that was written is written again.

Worked example: to replace `identity`: append `identity.tmp`, sync it, rename, sync_names.

Tested in tests/unit/coordinator/raft/test_disk.py.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Protocol


class Disk(Protocol):
    """A directory of a few files. Raises OSError."""

    def names(self) -> list[str]: ...

    def read(self, name: str) -> bytes:
        """The whole file, as written so far."""

    def append(self, name: str, data: bytes) -> None:
        """Not durable before `sync`."""

    def sync(self, name: str) -> None: ...

    def rename(self, old: str, new: str) -> None:
        """Not durable before `sync_names`. Whatever `new` was is gone."""

    def remove(self, name: str) -> None: ...

    def sync_names(self) -> None: ...

    def close(self) -> None: ...


class RealDisk:
    """A directory of the file system, of one process at a time: its owner locks it."""

    def __init__(self, folder: Path) -> None:
        """`folder` must exist."""
        self._folder = folder
        self._open: dict[str, int] = {}
        self._directory = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)

    def names(self) -> list[str]:
        return sorted(entry.name for entry in os.scandir(self._folder) if entry.is_file())

    def read(self, name: str) -> bytes:
        return (self._folder / name).read_bytes()

    def append(self, name: str, data: bytes) -> None:
        descriptor = self._open.get(name)
        if descriptor is None:
            flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC
            descriptor = self._open[name] = os.open(self._folder / name, flags, 0o600)
        while data:
            data = data[os.write(descriptor, data) :]

    def sync(self, name: str) -> None:
        # fdatasync also carries the new length of the file, which is all that append changes.
        getattr(os, "fdatasync", os.fsync)(self._open[name])

    def rename(self, old: str, new: str) -> None:
        os.rename(self._folder / old, self._folder / new)
        replaced = self._open.pop(new, None)
        if replaced is not None:
            os.close(replaced)
        if old in self._open:
            self._open[new] = self._open.pop(old)

    def remove(self, name: str) -> None:
        descriptor = self._open.pop(name, None)
        if descriptor is not None:
            os.close(descriptor)
        os.unlink(self._folder / name)

    def sync_names(self) -> None:
        os.fsync(self._directory)

    def close(self) -> None:
        for descriptor in (*self._open.values(), self._directory):
            os.close(descriptor)
        self._open.clear()


def replace_file(disk: Disk, name: str, data: bytes) -> None:
    """Durably make `name` hold `data`: a crash leaves the old file or the new one."""
    fresh = name + ".tmp"
    if fresh in disk.names():
        disk.remove(fresh)
    disk.append(fresh, data)
    disk.sync(fresh)
    disk.rename(fresh, name)
    disk.sync_names()
