"""The space left on the device, and a reserve that is given up when none is left.

What it is: the measure behind the NOSPACE alarm, and a file in the data directory that holds space
for the way out: without any, nothing could be deleted or compacted, not even the alarm be stored.
What it is not: the operator's quota (`--quota-backend-bytes`, the router's guard).

Words: *short*: so little is free that writes which need space are refused; deletes and compaction
go on in what is left.

Invariants: the reserve is created only where it leaves the device well above short; a missing,
short or unreadable reserve file is never an error; it holds no data.

Worked example: a 100 GiB device: the reserve takes 128 MiB, and below 128 MiB free the store is
short. On a 256 MiB device both are 16 MiB.

Tested in tests/unit/shard/test_space.py.
"""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import Final, Protocol

from kubebraid.base.limits import RESERVE_BYTES_MAX, RESERVE_DEVICE_SHARE

RESERVE: Final = "RESERVE"
COMFORT: Final = 3  # so many reserves are free before a new one is made


class Space(Protocol):
    """What a shard asks about its device."""

    def short(self) -> bool:
        """Whether writes that need space should be refused."""

    def free_bytes(self) -> int:
        """What is left; -1 if that is not known."""

    def release(self) -> None:
        """Give up the reserve: the device is full."""

    def restore(self) -> None:
        """Take a reserve again, if there is none and the device has room."""


class Endless:
    """An engine without a device."""

    def short(self) -> bool:
        return False

    def free_bytes(self) -> int:
        return -1

    def release(self) -> None:
        """There is nothing to give up."""

    def restore(self) -> None:
        """There is nothing to take."""


ENDLESS: Final = Endless()


class DeviceSpace:
    """The device that holds a folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._file = folder / RESERVE
        device = os.statvfs(folder)
        total = device.f_blocks * device.f_frsize
        self._reserve = min(RESERVE_BYTES_MAX, total // RESERVE_DEVICE_SHARE)

    def _free(self) -> int:
        device = os.statvfs(self._folder)
        return device.f_bavail * device.f_frsize

    def short(self) -> bool:
        try:
            return self._free() < self._reserve
        except OSError:
            return False  # what cannot be measured will fail by itself

    def free_bytes(self) -> int:
        try:
            return self._free()
        except OSError:
            return -1

    def release(self) -> None:
        with contextlib.suppress(OSError):
            self._file.unlink()

    def restore(self) -> None:
        try:
            if self._file.exists() or self._free() < COMFORT * self._reserve:
                return
        except OSError:
            return
        try:
            with open(self._file, "xb") as file:
                os.posix_fallocate(file.fileno(), 0, self._reserve)
        except OSError:
            self.release()  # somebody else took the room meanwhile
