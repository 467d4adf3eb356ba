"""The real directory: names, appends, and a replacement that leaves no remains."""

from __future__ import annotations

from pathlib import Path

from kubebraid.coordinator.raft.disk import RealDisk, replace_file


def test_appended_bytes_are_read_back_also_after_a_rename(tmp_path: Path) -> None:
    disk = RealDisk(tmp_path)
    disk.append("x.tmp", b"one")
    disk.sync("x.tmp")
    disk.rename("x.tmp", "x")
    disk.sync_names()
    disk.append("x", b"two")
    disk.sync("x")
    assert disk.names() == ["x"]
    assert disk.read("x") == b"onetwo"
    disk.close()
    fresh = RealDisk(tmp_path)
    fresh.append("x", b"!")
    assert fresh.read("x") == b"onetwo!", "an old file is continued"
    fresh.close()


def test_a_rename_over_an_open_file_writes_to_the_new_one(tmp_path: Path) -> None:
    disk = RealDisk(tmp_path)
    disk.append("x", b"old")
    disk.append("y", b"new")
    disk.rename("y", "x")
    disk.append("x", b"er")
    assert disk.read("x") == b"newer"
    disk.remove("x")
    assert disk.names() == []
    disk.append("x", b"again")
    assert disk.read("x") == b"again", "not the file that was removed"
    disk.close()


def test_replace_file_takes_no_remains_of_an_earlier_try(tmp_path: Path) -> None:
    (tmp_path / "f.tmp").write_bytes(b"half a fi")
    disk = RealDisk(tmp_path)
    replace_file(disk, "f", b"whole")
    replace_file(disk, "f", b"second")
    assert disk.names() == ["f"]
    assert disk.read("f") == b"second"
    disk.close()


def test_folders_and_modes(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    disk = RealDisk(tmp_path)
    disk.append("f", b"x")
    assert disk.names() == ["f"], "folders are not ours"
    assert (tmp_path / "f").stat().st_mode & 0o777 == 0o600
    disk.close()
