"""The power goes at every moment of a store's life, from the making of its directory on.

One recorded process makes a data directory, writes, compacts, stops and starts again, and notes
each acknowledged write beside it. The record is then cut at many places, and each disk that is left
is opened: it must open, hold what was acknowledged until then, and nothing that was not written.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Final

import pytest

from kubebraid.proto.etcd import rpc_pb2
from kubebraid.shard.storage.datadir import DataDir
from tests.e2e.processes import child_environment
from tests.e2e.store import kubebraid_environment
from tests.faults.powercut import Disk, Mode, Tree, store_tree
from tests.faults.record import Entry, read_record
from tests.faults.shim import Shim
from tests.world import RpcError, World

pytestmark = pytest.mark.e2e

OUT_OF_RANGE: Final = 11
KEYS: Final = 5
WRITES: Final = 60  # of one life
COMPACTED: Final = 20
PROGRAM_S_MAX: Final = 60.0
MOMENTS: Final = (
    pytest.param(150, id="ci"),
    pytest.param(3_000, id="soak", marks=pytest.mark.slow),
)

LIVES: Final = f"""
import os
from pathlib import Path
from kubebraid.proto.etcd.rpc_pb2 import CompactionRequest, PutRequest
from kubebraid.shard.storage.datadir import DataDir
from tests.world import World
told = os.open("told", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
for life in range(2):
    directory = DataDir.open(Path("data"))
    directory.open_engine().close()
    world = World(engine="rocksdb", directory=directory.engine_path)
    for number in range(life * {WRITES}, (life + 1) * {WRITES}):
        request = PutRequest(key=b"k%d" % (number % {KEYS}), value=b"%d" % number * 300)
        revision = world.call("KV.Put", request).header.revision
        assert revision == number + 2
        os.write(told, b"%d " % revision)
        if number == {WRITES} // 2: world.engine.defragment()
        if number == {WRITES} + {WRITES} // 2:
            world.call("KV.Compact", CompactionRequest(revision={COMPACTED}))
            os.write(told, b"c ")
            world.engine.defragment()
    world.engine.close()
    directory.close()
"""


@pytest.fixture(scope="module")
def record(tmp_path_factory: pytest.TempPathFactory) -> list[Entry]:
    """The record of both lives."""
    folder = tmp_path_factory.mktemp("lives")
    (folder / "disk").mkdir()
    shim = Shim(folder / "faults", folder / "disk")
    shim.control.sync_takes(0)
    shim.control.device(32 << 20)
    environment = kubebraid_environment()
    environment["PYTHONPATH"] += f":{Path(__file__).parents[2]}"
    done = subprocess.run(
        [sys.executable, "-c", LIVES],
        env=child_environment({**environment, **shim.environment()}),
        cwd=folder / "disk",
        capture_output=True,
        text=True,
        timeout=PROGRAM_S_MAX,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return list(read_record(folder / "faults" / "record"))


def moments(record: list[Entry], count: int) -> list[int]:
    """Places in the record: half of them around syncs and renames, where what is safe changes."""
    random = Random(count)
    near = [at for at, entry in enumerate(record) if entry.kind in "SNMU"]
    near = [at + offset for at in near for offset in (0, 1)]
    chosen = random.sample(near, min(count // 2, len(near)))
    rest = min(count - len(chosen), len(record))
    return sorted({*chosen, *random.sample(range(len(record) + 1), rest)})


def disks(record: list[Entry], count: int) -> Iterator[tuple[int, Disk]]:
    """The model at each moment."""
    disk, at = Disk({}), 0
    for moment in moments(record, count):
        for entry in record[at:moment]:
            disk.replay(entry)
        at = moment
        yield moment, disk


def check(tree: Tree, told: list[str], folder: Path) -> None:
    """The disk serves what was told, and at most one write more."""
    store_tree({name: tree[name] for name in tree if name != "told"}, folder)
    revisions = [int(word) for word in told if word != "c"]
    last = revisions[-1] if revisions else 1
    directory = DataDir.open(folder / "data")
    try:
        directory.open_engine().close()
        world = World(engine="rocksdb", directory=directory.engine_path)
        try:
            check_content(world, last, COMPACTED if "c" in told else 2)
        finally:
            world.engine.close()
    finally:
        directory.close()


def check_content(world: World, last: int, oldest: int) -> None:
    """Every revision from the oldest one on, and today's count."""
    head = world.call("KV.Range", rpc_pb2.RangeRequest(key=b"k", range_end=b"l"))
    found = head.header.revision
    assert found in {last, last + 1}, f"told up to {last}, found {found}"
    assert head.count == len(head.kvs) == min(KEYS, found - 1)
    for revision in range(oldest, found + 1):
        number = revision - 2
        request = rpc_pb2.RangeRequest(key=b"k%d" % (number % KEYS), revision=revision)
        try:
            (row,) = world.call("KV.Range", request).kvs
        except RpcError as error:
            # A compaction that was under way counts as done or not done.
            if error.code != OUT_OF_RANGE or revision >= COMPACTED:
                raise
            continue
        assert (row.mod_revision, row.value) == (revision, b"%d" % number * 300)


@pytest.mark.parametrize("count", MOMENTS)
def test_power_cut_at_any_moment_leaves_what_was_told(
    record: list[Entry], tmp_path: Path, count: int
) -> None:
    strict = 0
    for number, (moment, disk) in enumerate(disks(record, count)):
        told = (disk.seen().get("told") or b"").decode().split()
        mode = Mode.STRICT if number % 3 == 0 else Mode.RANDOM
        strict += mode is Mode.STRICT
        folder = tmp_path / str(number)
        try:
            check(disk.cut(mode, number), told, folder)
        except Exception as error:
            error.add_note(f"cut {mode.value} with seed {number} at entry {moment}, told {told}")
            raise
        shutil.rmtree(folder)
    assert strict > 0


def test_directory_that_was_made_with_its_parents_survives_a_power_cut(tmp_path: Path) -> None:
    """`--data-dir a/b/c` makes a and b too. The name of each is an entry in the one above it, and
    only the last was synced: without the others a store that had acknowledged writes was gone."""
    root = tmp_path / "disk"
    root.mkdir()
    shim = Shim(tmp_path / "faults", root)
    text = (
        "from pathlib import Path\n"
        "from kubebraid.shard.storage.datadir import DataDir\n"
        "DataDir.open(Path('a/b/c')).open_engine().close()"
    )
    subprocess.run(
        [sys.executable, "-c", text],
        env=child_environment({**kubebraid_environment(), **shim.environment()}),
        cwd=root,
        timeout=PROGRAM_S_MAX,
        check=True,
    )
    assert "a/b/c/KUBEBRAID" in shim.disk().cut(Mode.STRICT, 0)
