"""The space that is left: when it is short, and the reserve that is given up then."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from types import SimpleNamespace

import pytest

from kubebraid.base.limits import RESERVE_BYTES_MAX, RESERVE_DEVICE_SHARE
from kubebraid.shard.storage.space import COMFORT, ENDLESS, RESERVE, DeviceSpace

BLOCK = 4_096
TOTAL = 1 << 22  # 4 MiB: small, because a reserve is really written
SHARE = TOTAL // RESERVE_DEVICE_SHARE


class Device:
    """What statvfs tells; `free` is in bytes."""

    def __init__(self, total: int = TOTAL) -> None:
        self.total = self.free = total

    def statvfs(self, _folder: object) -> SimpleNamespace:
        """`f_bfree` counts what only root may use: nobody must look at it."""
        return SimpleNamespace(
            f_frsize=BLOCK,
            f_bsize=1 << 20,
            f_blocks=self.total // BLOCK,
            f_bavail=self.free // BLOCK,
            f_bfree=self.total // BLOCK,
        )


@pytest.fixture
def device(monkeypatch: pytest.MonkeyPatch) -> Device:
    made = Device()
    monkeypatch.setattr(os, "statvfs", made.statvfs)
    return made


def reserve(folder: Path) -> int | None:
    """The bytes that the reserve really takes; None without one."""
    file = folder / RESERVE
    return file.stat().st_blocks * 512 if file.exists() else None


def test_store_is_short_below_a_reserve_of_free_space(device: Device, tmp_path: Path) -> None:
    space = DeviceSpace(tmp_path)
    told = {}
    for free in (TOTAL, SHARE, SHARE - BLOCK, 0):
        device.free = free
        told[free] = space.short()
    assert told == {TOTAL: False, SHARE: False, SHARE - BLOCK: True, 0: True}


@pytest.mark.parametrize(
    ("total", "threshold"), [(100 << 30, 128 << 20), (256 << 20, 16 << 20), (2 << 30, 128 << 20)]
)
def test_worked_example_of_the_module(
    device: Device, tmp_path: Path, total: int, threshold: int
) -> None:
    device.total = total
    space = DeviceSpace(tmp_path)
    device.free = threshold
    assert not space.short()
    device.free = threshold - BLOCK
    assert space.short()
    assert threshold <= RESERVE_BYTES_MAX


def test_reserve_takes_real_space_once(device: Device, tmp_path: Path) -> None:
    space = DeviceSpace(tmp_path)
    assert reserve(tmp_path) is None, "not before it is asked for"
    space.restore()
    taken = reserve(tmp_path)
    assert taken is not None
    assert taken >= SHARE, "a sparse file would hold nothing"
    made = (tmp_path / RESERVE).stat().st_mtime_ns
    space.restore()
    assert (tmp_path / RESERVE).stat().st_mtime_ns == made


def test_reserve_is_given_up_and_comes_back_when_there_is_room(
    device: Device, tmp_path: Path
) -> None:
    space = DeviceSpace(tmp_path)
    space.restore()
    device.free = 0
    space.release()
    assert reserve(tmp_path) is None
    space.release()
    for free in (0, SHARE, COMFORT * SHARE - BLOCK):
        device.free = free
        space.restore()
        assert reserve(tmp_path) is None, "it must leave the device well above short"
    device.free = COMFORT * SHARE
    space.restore()
    assert reserve(tmp_path) is not None


def test_making_a_reserve_never_makes_the_store_short(device: Device, tmp_path: Path) -> None:
    space = DeviceSpace(tmp_path)
    device.free = COMFORT * SHARE
    space.restore()
    device.free -= SHARE
    assert not space.short()


def test_reserve_of_the_process_before_is_kept_whatever_it_holds(
    device: Device, tmp_path: Path
) -> None:
    (tmp_path / RESERVE).write_bytes(b"cut short")
    space = DeviceSpace(tmp_path)
    space.restore()
    assert (tmp_path / RESERVE).read_bytes() == b"cut short"
    space.release()
    assert reserve(tmp_path) is None


def test_device_that_fills_while_the_reserve_is_made_keeps_none(
    device: Device, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Half a reserve would hold space, and never be made whole."""

    def full(_descriptor: int, _offset: int, _length: int) -> None:
        raise OSError(errno.ENOSPC, "no space left on device")

    monkeypatch.setattr(os, "posix_fallocate", full)
    space = DeviceSpace(tmp_path)
    space.restore()
    assert reserve(tmp_path) is None


def test_folder_that_takes_no_files_is_no_error(device: Device, tmp_path: Path) -> None:
    """A file stands where the folder was; root is not stopped by permissions."""
    folder = tmp_path / "data"
    folder.mkdir()
    space = DeviceSpace(folder)
    folder.rmdir()
    folder.write_bytes(b"")
    space.restore()
    space.release()
    assert folder.read_bytes() == b""


@pytest.mark.parametrize("code", [errno.EACCES, errno.EROFS, errno.EIO])
def test_file_system_that_refuses_is_no_error(
    device: Device, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    space = DeviceSpace(tmp_path)
    space.restore()

    def refuse(*_: object, **__: object) -> None:
        raise OSError(code, os.strerror(code))

    for name in ("unlink", "open"):
        monkeypatch.setattr(os, name, refuse)
    monkeypatch.setattr("builtins.open", refuse)
    space.release()
    (tmp_path / RESERVE).rename(tmp_path / "away")
    space.restore()
    assert reserve(tmp_path) is None


@pytest.mark.parametrize("code", [errno.EACCES, errno.EIO])
def test_reserve_that_cannot_be_looked_at_is_no_error(
    device: Device, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    """The owner looks in its turn: what it raises ends the process."""
    space = DeviceSpace(tmp_path)

    def refuse(*_: object, **__: object) -> None:
        raise OSError(code, os.strerror(code))

    with monkeypatch.context() as patch:
        patch.setattr(os, "stat", refuse)
        space.restore()


def test_device_without_any_room_is_short_of_nothing_only_when_it_has_no_size(
    device: Device, tmp_path: Path
) -> None:
    """Some file systems tell nothing about their size: no alarm follows from that."""
    device.total = device.free = 0
    space = DeviceSpace(tmp_path)
    assert not space.short()
    space.restore()
    space.release()


def test_engine_without_a_device_is_never_short() -> None:
    ENDLESS.release()
    ENDLESS.restore()
    assert not ENDLESS.short()
