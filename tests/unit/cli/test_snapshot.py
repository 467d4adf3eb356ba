"""`kubebraid ctl snapshot`: a store comes back as it was, or nothing is touched."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Final

import pytest

from kubebraid.__main__ import main
from kubebraid.base import dump
from kubebraid.cli.snapshot import BUMP_MAX, snapshot
from kubebraid.proto.etcd import kv_pb2, rpc_pb2
from kubebraid.shard.storage.datadir import DataDir
from kubebraid.shard.storage.engine import Engine
from tests.contract.test_datadir import contents
from tests.unit.router.test_backup import compact, delete, hash_kv, put, take_snapshot
from tests.world import RpcError, World

PREFIXES: Final = (b"/a/", b"/b/")
EVERYTHING: Final = rpc_pb2.RangeRequest(key=b"\x00", range_end=b"\x00")


class Restored(World):
    """A node on a restored data directory."""

    def __init__(self, path: Path) -> None:
        self._opened = DataDir.open(path)
        super().__init__(PREFIXES)

    def _start(self) -> None:
        self.engine: Engine = self._opened.open_engine()
        super()._start()

    @property
    def uuid(self) -> str:
        return self._opened.uuid

    def close(self) -> None:
        self.engine.close()
        self._opened.close()


def store() -> World:
    """Keys over several tablets, a history, a lease; at revision 17."""
    world = World(PREFIXES)
    for number in range(12):
        put(world, b"/a/%d" % (number % 5), b"value %d" % number)
    put(world, b"/b/x")
    put(world, b"c")
    delete(world, b"c")
    world.call("Lease.LeaseGrant", rpc_pb2.LeaseGrantRequest(ID=77, TTL=600))
    world.call("KV.Put", rpc_pb2.PutRequest(key=b"/b/leased", lease=77))
    return world


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    path = tmp_path / "file.db"
    path.write_bytes(take_snapshot(store()))
    return path


def restore(path: Path, target: Path, *more: str) -> int:
    return snapshot(["restore", str(path), f"--data-dir={target}", *more])


def kvs(world: World, revision: int = 0) -> list[kv_pb2.KeyValue]:
    request = rpc_pb2.RangeRequest(key=b"\x00", range_end=b"\x00", revision=revision)
    return list(world.call("KV.Range", request).kvs)


def revision_of(world: World) -> int:
    return int(world.call("KV.Range", EVERYTHING).header.revision)


def damage(path: Path) -> None:
    raw = bytearray(path.read_bytes())
    raw[len(raw) // 2] ^= 1
    path.write_bytes(bytes(raw))


# -- restore ---------------------------------------------------------------------------------------


def test_restored_store_serves_the_same_keys_history_and_leases_and_goes_on(
    saved: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert restore(saved, tmp_path / "deep" / "new") == 0
    told = capsys.readouterr()
    assert "revision 17" in told.out
    assert not told.err
    world, before = Restored(tmp_path / "deep" / "new"), store()
    try:
        assert revision_of(world) == revision_of(before) == 17
        for revision in (0, 2, 8, 16):
            assert kvs(world, revision) == kvs(before, revision)
        assert hash_kv(world).hash == hash_kv(before).hash
        request = rpc_pb2.LeaseTimeToLiveRequest(ID=77, keys=True)
        assert list(world.call("Lease.LeaseTimeToLive", request).keys) == [b"/b/leased"]
        assert put(world, b"/a/next") == 18
    finally:
        world.close()


def test_restored_store_has_an_identity_of_its_own(saved: Path, tmp_path: Path) -> None:
    """Two clusters from one file must not pass for one."""
    uuids = set()
    for name in ("one", "two"):
        assert restore(saved, tmp_path / name) == 0
        with_engine = Restored(tmp_path / name)
        uuids.add(with_engine.uuid)
        with_engine.close()
    assert len(uuids) == 2


def test_floor_of_the_snapshot_is_that_of_the_restored_store(tmp_path: Path) -> None:
    world = store()
    compact(world, 9)
    (tmp_path / "file").write_bytes(take_snapshot(world))
    assert restore(tmp_path / "file", tmp_path / "new") == 0
    again = Restored(tmp_path / "new")
    try:
        assert kvs(again, 9) == kvs(world, 9)
        with pytest.raises(RpcError, match="has been compacted"):
            kvs(again, 8)
    finally:
        again.close()


def test_bump_raises_the_next_revision_and_compacts_what_was_before(
    saved: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert restore(saved, tmp_path / "new", "--bump-revision=1000") == 0
    assert "revision 1017" in capsys.readouterr().out
    world = Restored(tmp_path / "new")
    try:
        assert revision_of(world) == 1017
        assert kvs(world) == kvs(store())
        with pytest.raises(RpcError, match="has been compacted"):
            kvs(world, 1016)
        stream = world.watch_stream()
        create = rpc_pb2.WatchCreateRequest(key=b"/a/", range_end=b"/a0", start_revision=17)
        stream.send(rpc_pb2.WatchRequest(create_request=create))
        canceled = [told for told in stream.take() if told.canceled]
        assert [told.compact_revision for told in canceled] == [1017]
        assert put(world, b"/a/next") == 1018
    finally:
        world.close()


def test_existing_empty_directory_is_taken(saved: Path, tmp_path: Path) -> None:
    (tmp_path / "new").mkdir()
    assert restore(saved, tmp_path / "new") == 0
    world = Restored(tmp_path / "new")
    assert revision_of(world) == 17
    world.close()


def test_directory_that_holds_something_is_refused_untouched(
    saved: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    target = tmp_path / "used"
    assert restore(saved, target) == 0
    before = contents(target)
    capsys.readouterr()
    assert restore(saved, target) == 1
    assert contents(target) == before
    told = capsys.readouterr()
    assert not told.out
    assert "is not an empty directory; nothing was changed" in told.err


def test_file_in_the_place_of_the_directory_is_refused_untouched(
    saved: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    target = tmp_path / "plain"
    target.write_bytes(b"mine")
    assert restore(saved, target) == 1
    assert target.read_bytes() == b"mine"
    assert "nothing was changed" in capsys.readouterr().err


def test_damaged_file_leaves_no_directory(
    saved: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    damage(saved)
    assert restore(saved, tmp_path / "new") == 1
    assert not (tmp_path / "new").exists()
    told = capsys.readouterr()
    assert not told.out
    assert "file.db" in told.err
    assert "nothing was changed" in told.err


def test_damaged_file_leaves_an_empty_directory_empty(saved: Path, tmp_path: Path) -> None:
    (tmp_path / "new").mkdir()
    saved.write_bytes(saved.read_bytes()[:-1])
    assert restore(saved, tmp_path / "new") == 1
    assert contents(tmp_path / "new") == {}


def test_restore_that_breaks_in_its_middle_leaves_no_directory(
    saved: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The file was whole when it was checked, and is not when it is read again."""
    reads = []
    genuine = dump.read_pairs

    def read_pairs(source: dump._Checked, file: io.BufferedReader) -> object:
        reads.append(file)
        if len(reads) > 1:
            raise dump.SnapshotDamaged("gone bad")
        return genuine(source, file)

    monkeypatch.setattr(dump, "read_pairs", read_pairs)
    assert restore(saved, tmp_path / "new") == 1
    assert len(reads) == 2
    assert not (tmp_path / "new").exists()


def test_missing_file_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert restore(tmp_path / "none", tmp_path / "new") == 1
    assert not (tmp_path / "new").exists()
    assert "No such file" in capsys.readouterr().err


@pytest.mark.parametrize("bump", [-1, BUMP_MAX])
def test_bump_out_of_bounds_is_a_usage_error(saved: Path, tmp_path: Path, bump: int) -> None:
    assert restore(saved, tmp_path / "new", f"--bump-revision={bump}") == 2
    assert not (tmp_path / "new").exists()


# -- status ----------------------------------------------------------------------------------------


def test_status_says_what_a_whole_file_holds(
    saved: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert snapshot(["status", str(saved)]) == 0
    told = capsys.readouterr()
    assert not told.err
    # Five keys below /a/ and two below /b/: c is deleted.
    for part in ("revision 17, ", "compacted below 0, ", " 7 keys, ", ": whole\n"):
        assert part in told.out
    assert f"{saved.stat().st_size} bytes" in told.out


def test_status_tells_the_floor(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    world = store()
    compact(world, 9)
    (tmp_path / "file").write_bytes(take_snapshot(world))
    assert snapshot(["status", str(tmp_path / "file")]) == 0
    assert "compacted below 9" in capsys.readouterr().out


def test_status_of_a_damaged_file_is_refused(
    saved: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    damage(saved)
    assert snapshot(["status", str(saved)]) == 1
    told = capsys.readouterr()
    assert not told.out
    assert "snapshot" in told.err


def test_status_of_a_foreign_file_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "etcd.db").write_bytes(bytes(8_192))
    assert snapshot(["status", str(tmp_path / "etcd.db")]) == 1
    assert "no snapshot of KubeBraid" in capsys.readouterr().err


# -- usage -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "arguments",
    [[], ["burn"], ["status"], ["restore", "file"], ["status", "file", "--data-dir=x"]],
    ids=["nothing", "unknown", "no file", "no directory", "foreign flag"],
)
def test_wrong_usage_exits_with_2(arguments: list[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        snapshot(arguments)
    assert caught.value.code == 2


def test_command_line_reaches_the_command(saved: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["ctl", "snapshot", "status", str(saved)]) == 0
    assert "whole" in capsys.readouterr().out
    assert main(["ctl", "unknown"]) == 2
