"""A damaged data directory is refused, healed or read in part, and never answered from wrongly.

Mostly on the engine and a node within this process, because each damage is one start; a few as
whole processes, for the sentence that an operator reads.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from random import Random
from typing import Final

import grpc
import pytest

from kubebraid.proto.etcd import rpc_pb2
from kubebraid.shard.storage.datadir import DataDir
from tests.e2e.processes import Supervisor
from tests.faults.clients import Connection
from tests.faults.damage import Damage, DiskWorld, Verdict, apply, examine, questions
from tests.faults.harness import Server
from tests.faults.judge import bare
from tests.faults.powercut import load_tree
from tests.robustness.checks import Refusal
from tests.robustness.model import Model, Request

pytestmark = pytest.mark.e2e

FOLDERS: Final = (b"/registry/pods/", b"/registry/leases/", b"/x/")
KEYS: Final = 60
LIVES: Final = 4
WRITES_PER_LIFE: Final = 120
LEASES: Final = (1_001, 1_002)
FILES: Final = {
    "table": "rocksdb/*.sst",
    "log": "rocksdb/*.log",
    "manifest": "rocksdb/MANIFEST-*",
    "CURRENT": "rocksdb/CURRENT",
    "options": "rocksdb/OPTIONS-*",
    "identity": "rocksdb/IDENTITY",
    "rocksdict": "rocksdb/rocksdict-config.json",
    "marker": "KUBEBRAID",
    "lock": "LOCK",
}
STATES: Final = ("stopped", "killed")
ROUNDS: Final = (pytest.param(1, id="ci"), pytest.param(40, id="soak", marks=pytest.mark.slow))


class Good:
    """Directories in good order, and what they hold: `stopped`, `killed`, and as it was `old`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "stopped"
        self.killed = folder / "killed"
        self.old = folder / "old"
        self.model = Model()
        random = Random(1)
        for life in range(LIVES):
            self._live(life, random)

    def _live(self, life: int, random: Random) -> None:
        directory = DataDir.open(self.folder)
        engine = directory.open_engine()
        world = DiskWorld(engine)
        if life == 0:
            for lease in LEASES:
                grant = rpc_pb2.LeaseGrantRequest(ID=lease, TTL=9_999_999)
                self.model.apply(grant)
                world.call("Lease.LeaseGrant", grant)
        for number in range(WRITES_PER_LIFE):
            method, write = self._request(random, life * WRITES_PER_LIFE + number)
            right = self.model.apply(write)
            assert not isinstance(right, Refusal), right
            assert world.call(method, write).header.revision == self.model.revision
        if life == 1:
            engine.defragment()
        if life == 2:
            compact = rpc_pb2.CompactionRequest(revision=WRITES_PER_LIFE // 2)
            self.model.apply(compact)
            world.call("KV.Compact", compact)
        if life >= LIVES - 2:
            # Everything is synced, so this is what SIGKILL leaves: the last life is in the log.
            shutil.copytree(self.folder, self.killed if life == LIVES - 1 else self.old)
        engine.close()
        directory.close()

    @staticmethod
    def _request(random: Random, number: int) -> tuple[str, Request]:
        key = random.choice(FOLDERS) + b"%03d" % random.randrange(KEYS)
        if random.random() < 0.15:
            return "KV.DeleteRange", rpc_pb2.DeleteRangeRequest(key=key)
        value = b"%d " % number + random.randbytes(random.choice((20, 200, 2_000)))
        lease = random.choice((0, 0, 0, *LEASES))
        return "KV.Put", rpc_pb2.PutRequest(key=key, value=value, lease=lease)

    def copy(self, state: str, folder: Path) -> Path:
        """A directory to be damaged, which was left by a `stopped` or a `killed` process."""
        shutil.copytree(self.killed if state == "killed" else self.folder, folder)
        return folder


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Good:
    return Good(tmp_path_factory.mktemp("good"))


@pytest.mark.parametrize("state", STATES)
def test_directory_in_good_order_passes_the_examination(
    good: Good, tmp_path: Path, state: str
) -> None:
    folder = good.copy(state, tmp_path / "data")
    assert len(list(folder.glob("rocksdb/*.sst"))) >= 2
    assert examine(folder, good.model) == (Verdict.HEALED, "")


def test_killed_directory_has_its_last_writes_in_the_log(good: Good, tmp_path: Path) -> None:
    folder = good.copy("killed", tmp_path / "data")
    assert sum(path.stat().st_size for path in folder.glob("rocksdb/*.log")) > 10_000


def test_examination_finds_a_lost_and_a_changed_row(good: Good, tmp_path: Path) -> None:
    """Otherwise the other tests here could not fail."""
    folder = good.copy("stopped", tmp_path / "data")
    key = max(good.model.state)
    less, more, changed = good.model.copy(), good.model.copy(), good.model.copy()
    less.apply(rpc_pb2.DeleteRangeRequest(key=key))
    more.apply(rpc_pb2.PutRequest(key=b"more", value=b"x"))
    changed.revision -= 1
    for model in (less, more, changed):
        assert examine(folder, model).verdict is Verdict.WRONG


@pytest.mark.parametrize("rounds", ROUNDS)
@pytest.mark.parametrize("kind", FILES)
@pytest.mark.parametrize("state", STATES)
def test_damage_is_never_answered_from_wrongly(
    good: Good, tmp_path: Path, state: str, kind: str, rounds: int
) -> None:
    found: list[tuple[str, Verdict]] = []
    for number, damage in enumerate([*Damage] * rounds):
        folder = good.copy(state, tmp_path / str(number))
        seed = f"{state} {kind} {number}"
        random = Random(seed)
        path = random.choice(sorted(folder.glob(FILES[kind])))
        if apply(damage, path, good.old / path.parent.relative_to(folder), random):
            finding = examine(folder, good.model)
            what = f"{path.name} of {seed!r}, {damage.value}: {finding.verdict.value}"
            print(f"{what}: {finding.text[:400]}")
            found.append((what, finding.verdict))
            if finding.verdict is Verdict.REFUSED:
                assert str(folder) in finding.text, finding.text
        shutil.rmtree(folder)
    assert found
    assert not [what for what, verdict in found if verdict is Verdict.WRONG]


@pytest.mark.parametrize(
    ("pattern", "damage"),
    [
        ("KUBEBRAID", Damage.FLIP),
        ("rocksdb/CURRENT", Damage.GONE),
        ("rocksdb/MANIFEST-*", Damage.GONE),
        ("rocksdb/MANIFEST-*", Damage.EMPTY),
        ("rocksdb/*.sst", Damage.CUT),
    ],
)
def test_serve_on_a_damaged_directory_says_what_to_do_and_keeps_the_damage(
    good: Good, supervisor: Supervisor, tmp_path: Path, pattern: str, damage: Damage
) -> None:
    server = Server(supervisor, tmp_path, recorded=False)
    good.copy("stopped", server.data_dir)
    path = sorted(server.data_dir.glob(pattern))[0]
    assert apply(damage, path, None, Random(pattern))
    assert not server.launched()
    sentence = server.wait_exit()
    assert str(server.data_dir) in sentence
    assert "restore" in sentence, sentence
    for name, contents in load_tree(good.folder).items():
        left = server.data_dir / name
        if contents is not None and left != path and left.suffix == ".sst":
            assert left.read_bytes() == contents, f"{name} was changed by a start that failed"


def test_serve_with_a_damaged_table_refuses_what_it_cannot_read(
    good: Good, supervisor: Supervisor, tmp_path: Path
) -> None:
    """The rest goes on: a start reads no more than it needs."""
    server = Server(supervisor, tmp_path, recorded=False)
    good.copy("stopped", server.data_dir)
    largest = max(server.data_dir.glob("rocksdb/*.sst"), key=lambda path: path.stat().st_size)
    raw = bytearray(largest.read_bytes())
    raw[len(raw) // 2] ^= 1
    largest.write_bytes(bytes(raw))
    server.start()
    connection = Connection(server.port)
    refused = 0
    for request in questions(good.model):
        if isinstance(request, rpc_pb2.RangeRequest):
            try:
                answer = bare(connection.call("KV/Range", request))
            except grpc.RpcError as error:
                refused += error.code() is grpc.StatusCode.DATA_LOSS
            else:
                assert answer == good.model.apply(request)
    connection.close()
    assert refused > 0
    assert server.process.alive
