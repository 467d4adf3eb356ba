"""The cluster secret's file: forms, modes, owners, and making a new one."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path

import pytest

from kubebraid.base.secret import SecretRefused, load, make

SECRET = bytes(range(32))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "cluster.secret"


def put(path: Path, data: bytes, mode: int = 0o600) -> Path:
    path.write_bytes(data)
    path.chmod(mode)
    return path


def refused(path: Path) -> SecretRefused:
    with pytest.raises(SecretRefused) as caught:
        load(path)
    assert caught.value.definite
    assert caught.value.hint
    assert str(path) in str(caught.value)
    return caught.value


@pytest.mark.parametrize(
    "data",
    [
        SECRET,
        SECRET.hex().encode(),
        SECRET.hex().upper().encode() + b"\n",
        SECRET.hex().encode() + b"\r\n",
    ],
)
def test_raw_bytes_and_digits_are_both_read(path: Path, data: bytes) -> None:
    assert load(put(path, data)) == SECRET


@pytest.mark.parametrize(
    "data",
    [
        b"",
        SECRET[:31],
        SECRET + b"\n",
        SECRET.hex().encode()[:63],
        SECRET.hex().encode() + b"\n\n",
        SECRET.hex().encode()[:63] + b"g",
        b" " + SECRET.hex().encode(),
        SECRET * 1_000,
    ],
)
def test_other_sizes_and_forms_are_refused(path: Path, data: bytes) -> None:
    error = refused(put(path, data))
    assert "bytes" in str(error)
    assert "64 hexadecimal digits" in error.hint


@pytest.mark.parametrize("data", [bytes(32), b"0" * 64, b"a" * 32, b"ab" * 32])
def test_one_byte_repeated_is_no_secret(path: Path, data: bytes) -> None:
    assert "repeated" in str(refused(put(path, data)))


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o602, 0o644, 0o777, 0o610])
def test_file_that_others_may_use_is_refused_with_what_to_do(path: Path, mode: int) -> None:
    error = refused(put(path, SECRET, mode))
    assert f"{mode:04o}" in str(error)
    assert f"chmod 600 {path}" in error.hint


@pytest.mark.parametrize("mode", [0o600, 0o400, 0o700])
def test_file_for_its_owner_alone_is_read(path: Path, mode: int) -> None:
    assert load(put(path, SECRET, mode)) == SECRET


def as_user(monkeypatch: pytest.MonkeyPatch, uid: int, owner: int) -> None:
    """The process seems to run as `uid`, and the file to belong to `owner`."""
    fstat = os.fstat

    def seen(descriptor: int) -> os.stat_result:
        found = list(fstat(descriptor))
        found[stat.ST_UID] = owner
        return os.stat_result(found)

    monkeypatch.setattr("kubebraid.base.secret.os.geteuid", lambda: uid)
    monkeypatch.setattr("kubebraid.base.secret.os.fstat", seen)


def test_roots_file_for_our_group_is_how_kubernetes_mounts_it(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(path, SECRET, 0o440)
    as_user(monkeypatch, uid=1_000, owner=0)
    assert load(path) == SECRET
    for mode in (0o444, 0o460, 0o450):
        path.chmod(mode)
        refused(path)


def test_file_of_somebody_else_is_refused(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who owns it can change it."""
    put(path, SECRET)
    as_user(monkeypatch, uid=1_000, owner=1_001)
    assert "belongs to user 1001" in str(refused(path))


def test_what_is_no_file_is_refused_at_once(tmp_path: Path) -> None:
    """A pipe would hold up the start for ever."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe, 0o600)
    for path in (pipe, tmp_path):
        assert "no regular file" in str(refused(path))
    assert "No such file" in str(refused(tmp_path / "absent"))


def test_link_to_the_file_is_followed(path: Path, tmp_path: Path) -> None:
    """Kubernetes mounts secrets as links."""
    link = tmp_path / "link"
    link.symlink_to(put(path, SECRET))
    assert load(link) == SECRET


def test_refusal_does_not_tell_what_the_file_holds(path: Path) -> None:
    error = refused(put(path, b"hunter2" * 9))
    assert "hunter2" not in f"{error} {error.hint} {error.__cause__!r}"


def test_new_secret_is_for_its_owner_and_is_read_back(path: Path) -> None:
    previous = os.umask(0)
    try:
        make(path)
    finally:
        os.umask(previous)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert len(path.read_bytes()) == 65
    other = path.with_name("other")
    make(other)
    assert load(path) != load(other)


def test_file_that_is_there_is_not_written_over(path: Path) -> None:
    put(path, b"precious")
    with pytest.raises(SecretRefused, match="is there already"):
        make(path)
    assert path.read_bytes() == b"precious"


def test_folder_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(SecretRefused, match="No such file"):
        make(tmp_path / "absent" / "cluster.secret")


def test_new_secret_is_on_the_device_before_it_is_used(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The file, whole, and then its name."""
    synced: list[tuple[bool, int]] = []

    def fsync(descriptor: int) -> None:
        found = os.fstat(descriptor)
        synced.append((stat.S_ISDIR(found.st_mode), found.st_size * stat.S_ISREG(found.st_mode)))

    monkeypatch.setattr("kubebraid.base.secret.os.fsync", fsync)
    make(path)
    assert synced == [(False, 65), (True, 0)]


def test_half_written_secret_is_not_left_behind(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fsync(_descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("kubebraid.base.secret.os.fsync", fsync)
    with pytest.raises(SecretRefused, match="No space left"):
        make(path)
    assert not path.exists()
