"""A damaged data directory is refused, healed or read in part, and never answered from wrongly.

Mostly on the engine and a node within this process, because each damage is one start; a few as
whole processes, for the sentence that an operator reads.
"""

from __future__ import annotations

import contextlib
import io
import shutil
from pathlib import Path
from random import Random
from typing import Final, NamedTuple

import grpc
import pytest

from kubebraid.cli.data_check import EXIT_DAMAGED, EXIT_WHOLE, data
from kubebraid.proto.etcd import rpc_pb2
from kubebraid.shard.storage.datadir import DataDir
from tests.e2e.processes import Supervisor
from tests.faults.clients import Connection
from tests.faults.damage import Damage, DiskWorld, Finding, Verdict, apply, examine, questions
from tests.faults.harness import Server
from tests.faults.judge import bare
from tests.faults.powercut import Tree, load_tree
from tests.robustness.checks import Refusal
from tests.robustness.model import Model, Request

pytestmark = pytest.mark.e2e

FOLDERS: Final = (b"/registry/pods/", b"/registry/leases/", b"/x/")
KEYS: Final = 60
LIVES: Final = 4
WRITES_PER_LIFE: Final = 80
LEASES: Final = (1_001, 1_002)
FILES: Final = {
    "table": "rocksdb/*.sst",
    "log": "rocksdb/*.log",
    "manifest": "rocksdb/MANIFEST-*",
    "CURRENT": "rocksdb/CURRENT",
    "options": "rocksdb/OPTIONS-*",
    "identity": "rocksdb/IDENTITY",
    "rocksdict": "rocksdb/rocksdict-config.json",
    "its own log": "rocksdb/LOG*",
    "marker": "KUBEBRAID",
    "locks": "**/LOCK",
    "reserve": "RESERVE",
}
STOP_S_MAX: Final = 20.0
RESERVE_BYTES: Final = 3 * 4_096  # a real one has hundreds of MiB, which nobody reads either
MADE_AGAIN: Final = ("LOCK", "rocksdict-config.json")
# A log that a crash left may lose its end unseen: what was never synced looks the same.
MAY_BE_EARLIER: Final = ("killed", "log", Damage.CUT)
STATES: Final = ("stopped", "killed")
ROUNDS: Final = (pytest.param(1, id="ci"), pytest.param(20, id="soak", marks=pytest.mark.slow))
# Of these no answer depends; a life that ended in another way makes no difference to them.
IDLE: Final = ("options", "identity", "rocksdict", "its own log", "reserve")
CASES: Final = [
    pytest.param(state, kind, marks=[pytest.mark.slow] * (state == "killed" and kind in IDLE))
    for state in STATES
    for kind in FILES
]


class Good:
    """Directories in good order, and what they hold: `stopped`, `killed`, and as it was `old`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "stopped"
        self.killed = folder / "killed"
        self.old = folder / "old"
        self.model = Model()
        self.earlier: dict[int, Model] = {}  # the moments of the last life
        random = Random(1)
        for life in range(LIVES):
            self._live(life, random)

    def _live(self, life: int, random: Random) -> None:
        directory = DataDir.open(self.folder)
        world = DiskWorld(directory, directory.open_engine())
        (self.folder / "RESERVE").write_bytes(bytes(RESERVE_BYTES))
        if life == 0:
            for lease in LEASES:
                grant = rpc_pb2.LeaseGrantRequest(ID=lease, TTL=9_999_999)
                self.model.apply(grant)
                world.call("Lease.LeaseGrant", grant)
        for number in range(WRITES_PER_LIFE):
            if life == LIVES - 1:
                self.earlier[self.model.revision] = self.model.copy()
            method, write = self._request(random, life * WRITES_PER_LIFE + number)
            right = self.model.apply(write)
            assert not isinstance(right, Refusal), right
            assert world.call(method, write).header.revision == self.model.revision
        self.earlier.pop(self.model.revision, None)  # the last writes may have changed nothing
        if life == 1:
            world.engine.defragment()
        if life == 2:
            compact = rpc_pb2.CompactionRequest(revision=WRITES_PER_LIFE // 2)
            self.model.apply(compact)
            world.call("KV.Compact", compact)
        if life >= LIVES - 2:
            # Everything is synced, so this is what SIGKILL leaves: the last life is in the log.
            shutil.copytree(self.folder, self.killed if life == LIVES - 1 else self.old)
        world.stop()
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
    assert examine(folder, good.model, good.earlier) == (Verdict.HEALED, "")


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
        assert examine(folder, model, {}).verdict is Verdict.WRONG


@pytest.mark.parametrize("rounds", ROUNDS)
@pytest.mark.parametrize(("state", "kind"), CASES)
def test_damage_is_never_answered_from_wrongly(
    good: Good, tmp_path: Path, state: str, kind: str, rounds: int
) -> None:
    found: list[Verdict] = []
    for number, damage in enumerate([*Damage] * rounds):
        folder = good.copy(state, tmp_path / str(number))
        seed = f"{state} {kind} {number}"
        random = Random(seed)
        path = random.choice(sorted(folder.glob(FILES[kind])))
        if apply(damage, path, good.old / path.parent.relative_to(folder), random):
            checked = check(folder)
            finding = examine(folder, good.model, good.earlier)
            what = f"{path.name} of {seed!r}, {damage.value}: {finding}, the check says {checked}"
            print(what[:600])
            found.append(finding.verdict)
            judge_finding(finding, checked, may_be_earlier=(state, kind, damage) == MAY_BE_EARLIER)
            if finding.verdict is Verdict.REFUSED:
                assert str(folder) in finding.text, finding.text
                assert "\n" not in finding.text, "one sentence"
        shutil.rmtree(folder)
    assert found


def judge_finding(finding: Finding, checked: Checked, *, may_be_earlier: bool) -> None:
    """No wrong answer; and the offline check calls whole what is answered from as a whole."""
    assert finding.verdict is not Verdict.WRONG, finding
    assert finding.verdict is not Verdict.EARLIER or may_be_earlier, finding
    served_whole = finding.verdict in {Verdict.HEALED, Verdict.EARLIER}
    assert checked.code == (EXIT_WHOLE if served_whole else EXIT_DAMAGED), (finding, checked)


class Checked(NamedTuple):
    """What `kubebraid ctl data check` did."""

    code: int
    text: str


def check(folder: Path) -> Checked:
    """Run it. It never raises, and changes nothing that holds data."""
    before = data_files(folder)
    told = io.StringIO()
    with contextlib.redirect_stdout(told), contextlib.redirect_stderr(told):
        code = data(["check", str(folder)])
    assert data_files(folder) == before
    return Checked(code, told.getvalue())


def data_files(folder: Path) -> Tree:
    """Without those that opening makes again, which tell nothing."""
    tree = load_tree(folder)
    return {name: tree[name] for name in tree if Path(name).name not in MADE_AGAIN}


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


@pytest.mark.parametrize("end", ["stop", "kill"])
def test_serve_on_the_store_of_an_earlier_start_refuses_it(
    supervisor: Supervisor, tmp_path: Path, end: str
) -> None:
    """The files are whole, and are not those that were served last."""
    server = Server(supervisor, tmp_path, recorded=False)
    server.start()
    assert server.process.terminate(STOP_S_MAX) == 0
    shutil.copytree(server.data_dir / "rocksdb", tmp_path / "earlier")
    server.start()
    if end == "stop":
        assert server.process.terminate(STOP_S_MAX) == 0
    else:
        server.kill()
    shutil.rmtree(server.data_dir / "rocksdb")
    shutil.copytree(tmp_path / "earlier", server.data_dir / "rocksdb")
    assert not server.launched()
    assert "holds less than when it was last served" in server.wait_exit()


def damage_a_value(folder: Path, model: Model) -> None:
    """Flip a bit of a long value: random bytes stand in a table as they are."""
    for path in sorted(folder.glob("rocksdb/*.sst")):
        raw = bytearray(path.read_bytes())
        for row in model.state.values():
            at = raw.find(row.value[500:600]) if len(row.value) > 1_000 else -1
            if at >= 0:
                raw[at] ^= 1
                path.write_bytes(bytes(raw))
                return
    raise AssertionError("no table holds a long value")


def test_serve_with_a_damaged_table_refuses_what_it_cannot_read(
    good: Good, supervisor: Supervisor, tmp_path: Path
) -> None:
    """The rest goes on: a start reads no more than it needs."""
    server = Server(supervisor, tmp_path, recorded=False)
    good.copy("stopped", server.data_dir)
    damage_a_value(server.data_dir, good.model)
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
