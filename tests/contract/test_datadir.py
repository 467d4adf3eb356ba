"""The data directory: ours is opened, a new one is made, and anything else stays untouched."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import signal
import subprocess
import sys
import uuid
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Final

import pytest

from kubebraid.shard.storage import datadir as datadir_module
from kubebraid.shard.storage.datadir import (
    LOCK,
    MARKER,
    STORE,
    DataDir,
    DataDirDamaged,
    DataDirError,
    DataDirForeign,
    DataDirInUse,
    DataDirUnwritable,
    DataDirVersion,
)
from kubebraid.shard.storage.engine import Batch
from kubebraid.shard.storage.rocksdb import RocksEngine

if TYPE_CHECKING:
    from collections.abc import Iterator

NOBODY: Final = 65_534


def contents(path: Path) -> dict[str, bytes | None]:
    """Every name below `path`, with the bytes of the files."""
    return {
        str(found.relative_to(path)): found.read_bytes() if found.is_file() else None
        for found in path.rglob("*")
    }


def used(path: Path) -> str:
    """A directory as a first run leaves it; returns its uuid."""
    directory = DataDir.open(path)
    engine = directory.open_engine()
    engine.write(Batch().put(b"a", b"1"), sync=True)
    engine.close()
    directory.close()
    return directory.uuid


def assert_refused_untouched(path: Path, kind: type[DataDirError]) -> str:
    before = contents(path)
    with pytest.raises(kind) as refused:
        DataDir.open(path)
    assert contents(path) == before
    assert type(refused.value) is kind
    return str(refused.value)


def assert_works(path: Path) -> None:
    directory = DataDir.open(path)
    engine = directory.open_engine()
    engine.write(Batch().put(b"alive", b"1"), sync=True)
    assert engine.get(b"alive") == b"1"
    engine.close()
    directory.close()


# --- new and again --------------------------------------------------------------------------------


@pytest.mark.parametrize("before", ["missing", "empty", "fresh device"])
def test_new_directory_is_created_and_opens_again_with_its_uuid_and_rows(
    tmp_path: Path, before: str
) -> None:
    path = tmp_path / "a" / "data"
    if before != "missing":
        path.mkdir(parents=True)
    if before == "fresh device":
        (path / "lost+found").mkdir()
    first = used(path)
    assert str(uuid.UUID(first)) == first
    directory = DataDir.open(path)
    assert directory.uuid == first
    assert directory.engine_path == path / STORE
    engine = directory.open_engine()
    assert engine.get(b"a") == b"1"
    engine.close()
    directory.close()


def test_created_directory_is_for_its_owner_only(tmp_path: Path) -> None:
    """It holds the cluster's secrets."""
    old_mask = os.umask(0)
    try:
        used(tmp_path / "data")
    finally:
        os.umask(old_mask)
    assert (tmp_path / "data").stat().st_mode & 0o777 == 0o700
    assert (tmp_path / "data" / STORE).stat().st_mode & 0o777 == 0o700


def test_two_directories_get_two_uuids(tmp_path: Path) -> None:
    assert used(tmp_path / "one") != used(tmp_path / "two")


def test_link_to_a_directory_is_as_good_as_the_directory(tmp_path: Path) -> None:
    (tmp_path / "device").mkdir()
    (tmp_path / "data").symlink_to(tmp_path / "device")
    assert used(tmp_path / "data") == DataDir.open(tmp_path / "device").uuid


def test_error_classes_say_what_to_do_and_that_nothing_happened() -> None:
    kinds = [DataDirInUse, DataDirForeign, DataDirDamaged, DataDirVersion, DataDirUnwritable]
    for kind in kinds:
        assert issubclass(kind, DataDirError)
        assert kind.definite
    assert len({kind.hint for kind in kinds}) == len(kinds)


# --- in use ---------------------------------------------------------------------------------------


def test_second_open_is_refused_until_the_first_is_closed(tmp_path: Path) -> None:
    first = DataDir.open(tmp_path)
    assert "in use" in assert_refused_untouched(tmp_path, DataDirInUse)
    first.close()
    first.close()
    DataDir.open(tmp_path).close()


OPEN_AND_WAIT: Final = """
import sys
from pathlib import Path
from kubebraid.shard.storage.datadir import DataDir
directory = DataDir.open(Path(sys.argv[1]))
engine = directory.open_engine()
print("open", flush=True)
sys.stdin.read()
"""


def test_killed_server_leaves_no_lock_behind(tmp_path: Path) -> None:
    command = [sys.executable, "-c", OPEN_AND_WAIT, str(tmp_path / "data")]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "open\n"
        with pytest.raises(DataDirInUse):
            DataDir.open(tmp_path / "data")
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert_works(tmp_path / "data")


def test_refused_open_gives_its_lock_back(tmp_path: Path) -> None:
    used(tmp_path)
    marker = (tmp_path / MARKER).read_bytes()
    (tmp_path / MARKER).write_bytes(b"")
    with pytest.raises(DataDirDamaged):
        DataDir.open(tmp_path)
    (tmp_path / MARKER).write_bytes(marker)
    assert_works(tmp_path)


# --- foreign --------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["member/snap/db", "file", ".hidden", "rocksdb/CURRENT"])
def test_foreign_directory_is_refused_and_stays_byte_identical(tmp_path: Path, name: str) -> None:
    """Above all an etcd's: not even a LOCK file may appear in it."""
    found = tmp_path / name
    found.parent.mkdir(parents=True, exist_ok=True)
    found.write_bytes(b"precious")
    message = assert_refused_untouched(tmp_path, DataDirForeign)
    assert repr(name.split("/", maxsplit=1)[0]) in message
    assert "nothing was changed" in message


def test_store_without_its_marker_is_refused(tmp_path: Path) -> None:
    """Whoever lost the marker must decide; a new marker would hide that something is missing."""
    used(tmp_path)
    (tmp_path / MARKER).unlink()
    assert_refused_untouched(tmp_path, DataDirForeign)


# --- damaged and newer ----------------------------------------------------------------------------


def test_every_flipped_byte_of_the_marker_is_damage(tmp_path: Path) -> None:
    """Also one in the format number, which must not send the operator to another version."""
    used(tmp_path)
    whole = (tmp_path / MARKER).read_bytes()
    for offset, byte in enumerate(whole):
        if byte in b" \n":
            continue  # between the fields: without a meaning that could change
        damaged = bytearray(whole)
        damaged[offset] ^= 0x01
        (tmp_path / MARKER).write_bytes(damaged)
        with pytest.raises(DataDirDamaged):
            DataDir.open(tmp_path)


@pytest.mark.parametrize(
    "raw",
    [b"", b"{}", b"[]", b"7", b"\xff" * 100, b"[" * 4_000, b'{"checksum": "a"}', bytes(9_999)],
)
def test_marker_of_something_else_is_damage_and_nothing_changes(tmp_path: Path, raw: bytes) -> None:
    used(tmp_path)
    (tmp_path / MARKER).write_bytes(raw)
    assert MARKER in assert_refused_untouched(tmp_path, DataDirDamaged)


def test_truncated_marker_is_damage(tmp_path: Path) -> None:
    used(tmp_path)
    whole = (tmp_path / MARKER).read_bytes()
    for size in range(len(whole) - 2):  # without its last newline it is still whole
        (tmp_path / MARKER).write_bytes(whole[:size])
        with pytest.raises(DataDirDamaged):
            DataDir.open(tmp_path)


@pytest.mark.parametrize("lost", ["missing", "empty", "a file"])
def test_lost_store_is_damage_and_never_a_new_empty_one(tmp_path: Path, lost: str) -> None:
    """An empty store would answer that the cluster has no objects, and kubelets would obey."""
    used(tmp_path)
    shutil.rmtree(tmp_path / STORE)
    if lost == "empty":
        (tmp_path / STORE).mkdir()
    elif lost == "a file":
        (tmp_path / STORE).touch()
    assert STORE in assert_refused_untouched(tmp_path, DataDirDamaged)


def test_store_that_rocksdb_refuses_is_damage_with_the_reason(tmp_path: Path) -> None:
    used(tmp_path)
    tables = {path.name for path in (tmp_path / STORE).glob("MANIFEST-*")}
    for name in tables:
        (tmp_path / STORE / name).write_bytes(b"no manifest")
    directory = DataDir.open(tmp_path)
    with pytest.raises(DataDirDamaged, match=r"Corruption.*no stored data was changed"):
        directory.open_engine()
    assert (tmp_path / STORE / tables.pop()).read_bytes() == b"no manifest"
    directory.close()


def marked(path: Path, **changed: object) -> None:
    """With other fields in its marker."""
    fields = json.loads((path / MARKER).read_bytes()) | changed
    del fields["checksum"]
    fields["checksum"] = datadir_module._checksum(fields)
    (path / MARKER).write_text(json.dumps(fields))


@pytest.mark.parametrize("crashed", [False, True])
def test_store_of_format_1_is_ours_to_read_and_gets_our_format_before_a_write(
    tmp_path: Path, crashed: bool
) -> None:
    """A program from before would misread the rows that are written from then on."""
    first = used(tmp_path)
    marked(tmp_path, format=1, epoch=4, **({} if crashed else {"stopped": "w"}))
    with datadir_module.inspect(tmp_path):
        pass
    directory = DataDir.open(tmp_path)
    directory.open_engine().close()
    assert json.loads((tmp_path / MARKER).read_bytes())["format"] == 1
    directory.begin(datadir_module.Extent("w", 4))
    assert directory.uuid == first
    directory.close()
    told = json.loads((tmp_path / MARKER).read_bytes())
    assert (told["format"], told["epoch"]) == (2, 4)


def test_newer_format_is_refused_as_a_version_and_nothing_changes(tmp_path: Path) -> None:
    used(tmp_path)
    marked(tmp_path, format=3, colour="blue")
    shutil.rmtree(tmp_path / STORE)  # a newer format may keep its store elsewhere
    message = assert_refused_untouched(tmp_path, DataDirVersion)
    assert "format 3" in message


# --- refused by the operating system --------------------------------------------------------------


@pytest.mark.parametrize("where", ["at the path", "above the path", "as a dead link"])
def test_file_in_the_way_is_unwritable(tmp_path: Path, where: str) -> None:
    path = tmp_path / "data"
    if where == "as a dead link":
        path.symlink_to(tmp_path / "nowhere" / "at all")
    else:
        path.touch()
    target = path / "below" if where == "above the path" else path
    before = contents(tmp_path)
    with pytest.raises(DataDirUnwritable, match="cannot be used"):
        DataDir.open(target)
    assert contents(tmp_path) == before


@pytest.fixture
def not_root() -> Iterator[Path]:
    """A folder that can be read and not written; root would be allowed everything."""
    with TemporaryDirectory() as name:
        Path(name).chmod(0o755)
        user = os.geteuid()
        if user == 0:
            os.seteuid(NOBODY)
        else:
            Path(name).chmod(0o555)
        try:
            yield Path(name)
        finally:
            os.seteuid(user)
            Path(name).chmod(0o755)


def test_missing_permission_is_unwritable_and_names_the_path(not_root: Path) -> None:
    for path in (not_root, not_root / "data"):
        with pytest.raises(DataDirUnwritable, match=rf"{not_root}.*Permission denied"):
            DataDir.open(path)
    assert list(not_root.iterdir()) == []


# --- crashes while it is created ------------------------------------------------------------------


class Killed(BaseException):
    """Stands for SIGKILL: nothing may catch it and repair."""


def crash_at(patch: pytest.MonkeyPatch, step: int) -> None:
    """Every system call that matters counts; the one with this number never happens."""
    left = [step]

    def guard(owner: object, name: str) -> None:
        original = getattr(owner, name)

        def call(*args: object, **kwargs: object) -> object:
            left[0] -= 1
            if left[0] < 0:
                raise Killed
            return original(*args, **kwargs)

        patch.setattr(owner, name, call)

    for name in ("open", "replace", "rename", "fsync"):
        guard(os, name)
    guard(Path, "mkdir")
    guard(fcntl, "flock")
    guard(RocksEngine, "open")


def test_crash_before_any_step_of_the_creation_still_opens_afterwards(tmp_path: Path) -> None:
    """Walks through the creation and dies one step later each time, until nothing is left."""
    for step in range(100):
        path = tmp_path / f"data-{step}"
        with pytest.MonkeyPatch.context() as patch:
            crash_at(patch, step)
            directory, finished = None, False
            try:
                directory = DataDir.open(path)
                directory.open_engine().close()
                finished = True
            except Killed:
                pass
            finally:
                if directory is not None:
                    directory.close()  # the kernel's part of a kill
        before = contents(path)
        assert_works(path)
        if finished:
            assert before[MARKER] == (path / MARKER).read_bytes()
            break
    assert step >= 10, "the steps are not guarded any more"


def test_crash_inside_the_first_rocksdb_open_still_opens_afterwards(tmp_path: Path) -> None:
    """It leaves some of RocksDB's files; which, nobody knows, so all of them are thrown away."""
    directory = DataDir.open(tmp_path)
    half = tmp_path / f"{STORE}.new"
    half.mkdir()
    (half / "MANIFEST-000001").write_bytes(b"half")
    (half / "LOCK").touch()
    directory.close()
    assert_works(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([MARKER, LOCK, STORE])


def test_torn_temporary_marker_is_overwritten(tmp_path: Path) -> None:
    (tmp_path / f"{MARKER}.new").write_bytes(b'{"form')
    (tmp_path / LOCK).touch()
    assert_works(tmp_path)


def test_uuid_is_kept_when_the_creation_goes_on_after_a_crash(tmp_path: Path) -> None:
    first = DataDir.open(tmp_path)
    first.close()
    second = DataDir.open(tmp_path)
    second.open_engine().close()
    second.close()
    assert second.uuid == first.uuid
