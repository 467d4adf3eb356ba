"""`kubebraid ctl data check`: a whole store passes, damage is told, and nothing is changed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from kubebraid.__main__ import main
from kubebraid.cli.data_check import EXIT_DAMAGED, EXIT_WHOLE, data
from kubebraid.proto.etcd import rpc_pb2
from kubebraid.shard import keycodec
from kubebraid.shard.mark import SHARD_CELL, mark
from kubebraid.shard.storage.datadir import DataDir
from kubebraid.shard.storage.engine import Batch
from tests.faults.damage import DiskWorld
from tests.faults.powercut import Tree, load_tree
from tests.unit.cli.test_snapshot import restore, store
from tests.unit.router.test_backup import take_snapshot

WRITES = 20


def served(path: Path, *, killed: bool = False) -> Path:
    """A store that was written and stopped in order, or killed; at revision 21."""
    directory = DataDir.open(path)
    world = DiskWorld(directory, directory.open_engine())
    for number in range(WRITES):
        key, value = b"/a/%d" % (number % 5), b"%d" % number * 50
        world.call("KV.Put", rpc_pb2.PutRequest(key=key, value=value))
    if killed:
        world.engine.close()
    else:
        world.stop()
    directory.close()
    return path


def change(path: Path, batch: Batch) -> None:
    """Rows that are changed behind the back of the store."""
    directory = DataDir.open(path)
    engine = directory.open_engine()
    engine.write(batch, sync=True)
    engine.close()
    directory.close()


def data_files(path: Path) -> Tree:
    """Without what opening makes again, and RocksDB's own log."""
    tree = load_tree(path)
    return {name: tree[name] for name in tree if not Path(name).name.startswith(("LOG", "LOCK"))}


class Run:
    """One run of the command, which changes nothing."""

    def __init__(self, capsys: pytest.CaptureFixture[str], path: Path, *flags: str) -> None:
        before = data_files(path)
        self.code = data(["check", str(path), *flags])
        assert data_files(path) == before
        told = capsys.readouterr()
        self.out, self.err = told.out, told.err


# -- whole -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("killed", [False, True], ids=["stopped", "killed"])
def test_whole_store_passes_with_its_figures(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], killed: bool
) -> None:
    path = served(tmp_path / "data", killed=killed)
    run = Run(capsys, path, "--output=json")
    assert (run.code, run.err) == (EXIT_WHOLE, "")
    told = json.loads(run.out)
    assert (told["revision"], told["keys"], told["versions"]) == (WRITES + 1, 5, WRITES - 5)
    assert (told["wrong"], told["findings"]) == (0, [])
    table = Run(capsys, path)
    assert table.code == EXIT_WHOLE
    assert f"{path} is whole; nothing was changed." in table.out
    assert "revision                            21\n" in table.out


def test_it_is_a_command_of_ctl(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["ctl", "data", "check", str(served(tmp_path / "data"))]) == EXIT_WHOLE
    assert "is whole" in capsys.readouterr().out


@pytest.mark.parametrize("flags", [(), ("--bump-revision=1000",)], ids=["as it was", "bumped"])
def test_restored_store_is_whole(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], flags: tuple[str, ...]
) -> None:
    """A bump leaves a gap, and everything before it counts as compacted."""
    (tmp_path / "file").write_bytes(take_snapshot(store()))
    assert restore(tmp_path / "file", tmp_path / "new", *flags) == 0
    capsys.readouterr()
    run = Run(capsys, tmp_path / "new")
    assert (run.code, run.err) == (EXIT_WHOLE, ""), run.out


def test_store_that_no_server_ever_started_on_is_whole_if_it_is_empty(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    directory = DataDir.open(tmp_path / "data")
    directory.open_engine().close()
    directory.close()
    assert Run(capsys, tmp_path / "data").code == EXIT_WHOLE
    change(tmp_path / "data", Batch().put(b"n/a/x", b"row"))
    run = Run(capsys, tmp_path / "data")
    assert run.code == EXIT_DAMAGED
    assert "the coordinator's cell is missing" in run.out


# -- damaged ---------------------------------------------------------------------------------------


def test_lost_row_is_told_with_what_to_do(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = served(tmp_path / "data")
    change(path, Batch().delete(keycodec.newest(b"/a/3")))
    run = Run(capsys, path)
    assert run.code == EXIT_DAMAGED
    assert "- the log names b'/a/3' at 20, and no such row is there" in run.out
    assert "is damaged; nothing was changed" in run.out
    assert "kubebraid ctl snapshot restore" in run.out


def test_more_findings_than_are_told_are_counted(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = served(tmp_path / "data")
    change(path, Batch().delete_range(b"h", b"i").delete_range(b"n", b"o"))
    run = Run(capsys, path)
    assert run.code == EXIT_DAMAGED
    wrong = json.loads(Run(capsys, path, "--output=json").out)["wrong"]
    assert wrong > 20
    assert f"- and {wrong - 20} more" in run.out


@pytest.mark.parametrize("lost", ["commit", "start"])
def test_store_that_holds_less_than_it_did_is_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], lost: str
) -> None:
    """After a stop every commit counts; after a kill the last start does."""
    path = served(tmp_path / "data")
    old = {name: raw for name, raw in load_tree(path).items() if name.startswith("rocksdb/")}
    served(path, killed=lost == "start")
    for found in (path / "rocksdb").iterdir():
        found.unlink()
    for name, raw in old.items():
        assert raw is not None
        (path / name).write_bytes(raw)
    run = Run(capsys, path)
    assert run.code == EXIT_DAMAGED
    assert "the store holds less than when it was last served" in run.out


def test_damaged_fence_is_a_finding_and_no_crash(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = served(tmp_path / "data")
    change(path, Batch().put(keycodec.fence(1), b"x" * 28))
    run = Run(capsys, path)
    assert run.code == EXIT_DAMAGED
    assert "a fence row fails its checksum" in run.out


@pytest.mark.parametrize("cell", [b"", b"x", b"00000000{}"])
def test_damaged_state_is_one_sentence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], cell: bytes
) -> None:
    path = served(tmp_path / "data")
    change(path, Batch().put(keycodec.cell("coordinator"), cell))
    run = Run(capsys, path)
    assert (run.code, run.out) == (EXIT_DAMAGED, "")
    assert run.err.startswith("kubebraid ctl data check: the coordinator's stored state")
    assert run.err.count("\n") == 1


def test_block_that_cannot_be_read_is_one_sentence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """RocksDB tells it in two."""
    path = served(tmp_path / "data")
    files = [*path.glob("rocksdb/*.log"), *path.glob("rocksdb/*.sst")]
    target = max(files, key=lambda found: found.stat().st_size)
    raw = bytearray(target.read_bytes())
    raw[len(raw) // 3] ^= 1
    target.write_bytes(bytes(raw))
    run = Run(capsys, path)
    assert (run.code, run.out) == (EXIT_DAMAGED, "")
    assert "orruption" in run.err
    assert "restore" in run.err
    assert run.err.count("\n") == 1


# -- not a store, or in use ------------------------------------------------------------------------


def test_what_is_no_store_is_refused_and_left_alone(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "foreign").mkdir()
    (tmp_path / "foreign" / "file").write_bytes(b"mine")
    for name in ("missing", "empty", "foreign"):
        run = Run(capsys, tmp_path / name)
        assert (run.code, run.out) == (EXIT_DAMAGED, "")
        assert "nothing was changed" in run.err
    assert not (tmp_path / "missing").exists()
    assert load_tree(tmp_path / "empty") == {}


def test_store_in_use_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = served(tmp_path / "data")
    directory = DataDir.open(path)
    assert "in use by another server" in Run(capsys, path).err
    directory.close()
    assert Run(capsys, path).code == EXIT_WHOLE


def test_wrong_usage_has_a_code_of_its_own(capsys: pytest.CaptureFixture[str]) -> None:
    for argv in ([], ["check"], ["mend", "x"], ["check", "x", "--output=xml"]):
        with pytest.raises(SystemExit) as ended:
            data(argv)
        assert ended.value.code == 2


def shards_store(path: Path) -> Path:
    """What a server of one process wrote, as a shard would hold it."""
    served(path, killed=True)
    shard = Batch().delete(keycodec.cell("coordinator"))
    change(path, shard.put(keycodec.cell(SHARD_CELL), b"shard-1"))
    return path


def test_store_of_a_clusters_shard_is_judged_without_its_map(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Once every one was called damaged: the coordinator's cell is missing."""
    path = shards_store(tmp_path / "data")
    run = Run(capsys, path)
    assert (run.code, run.err) == (EXIT_WHOLE, ""), run.out
    assert run.out.startswith("the store of shard-1, a shard of a cluster\n")
    assert "compacted below" not in run.out
    assert "is whole; nothing was changed" in run.out
    told = json.loads(Run(capsys, path, "--output=json").out)
    assert (told["shard"], told["revision"], told["keys"]) == ("shard-1", WRITES + 1, 5)


def test_damage_of_a_shards_store_is_told_with_what_to_do(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = shards_store(tmp_path / "data")
    change(path, Batch().delete(keycodec.newest(b"/a/1")))
    run = Run(capsys, path)
    assert run.code == EXIT_DAMAGED
    assert "the log names b'/a/1'" in run.out
    assert "put its last image back" in run.out
    assert "--data-dir" not in run.out, "a shard cannot be restored from a snapshot by itself"


def test_shards_store_on_which_nothing_was_written_is_whole(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    directory = DataDir.open(tmp_path / "data")
    engine = directory.open_engine()
    mark(engine, "shard-1", "cluster")
    engine.close()
    directory.close()
    assert Run(capsys, tmp_path / "data").code == EXIT_WHOLE
