"""The fault kit itself: what is not synced is lost, what is synced is not, and the n-th call fails.

A kit that loses nothing would let every durability test pass. So each test here shows a loss, or a
failure, that the same program does not have without the kit.
"""

from __future__ import annotations

import contextlib
import errno
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Final

import pytest

from kubebraid.shard.storage.engine import EngineCorrupt
from kubebraid.shard.storage.rocksdb import RocksEngine
from tests.e2e.processes import child_environment
from tests.e2e.store import kubebraid_environment
from tests.faults.control import LIE, SHORT, On
from tests.faults.powercut import SECTOR, Disk, Mode, Tree, Unfollowed, load_tree, store_tree
from tests.faults.record import CREATED, DIRECTORY, Entry
from tests.faults.shim import Shim

pytestmark = pytest.mark.e2e

PROGRAM_S_MAX: Final = 60.0
SEEDS: Final = range(200)

PRELUDE: Final = """
import errno, os, signal, sys
def append(name, data):
    fd = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    try:
        assert os.write(fd, data) == len(data)
    finally:
        os.close(fd)
def sync(name):
    fd = os.open(name, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
def attempt(call, *arguments):
    try:
        call(*arguments)
        print("ok")
    except OSError as error:
        print(errno.errorcode[error.errno])
"""


@pytest.fixture
def disk(tmp_path: Path) -> Path:
    """The directory under the shim; programs run in it."""
    root = tmp_path / "disk"
    root.mkdir()
    return root


@pytest.fixture
def shim(tmp_path: Path, disk: Path) -> Shim:
    return Shim(tmp_path / "faults", disk)


def program(shim: Shim, text: str, *, killed: bool = True) -> list[str]:
    """Run Python under the shim; its lines. It kills itself in the end, if `killed`."""
    ending = "\nsys.stdout.flush(); os.kill(os.getpid(), signal.SIGKILL)" if killed else ""
    done = subprocess.run(
        [sys.executable, "-c", PRELUDE + text + ending],
        env=child_environment({**kubebraid_environment(), **shim.environment()}),
        cwd=shim.root,
        capture_output=True,
        text=True,
        timeout=PROGRAM_S_MAX,
        check=False,
    )
    assert done.returncode == (-signal.SIGKILL if killed else 0), done.stderr
    return done.stdout.splitlines()


# --- power cuts -----------------------------------------------------------------------------------


def test_strict_cut_keeps_exactly_what_was_synced(shim: Shim, disk: Path) -> None:
    program(
        shim,
        """
append("kept", b"one"); sync("kept"); sync(".")
append("kept", b"two")
append("name-only", b"x"); sync(".")
append("bytes-only", b"y"); sync("bytes-only")
""",
    )
    assert load_tree(disk)["kept"] == b"onetwo", "SIGKILL alone loses nothing"
    assert shim.power_cut(Mode.STRICT, 0) == {"kept": b"one", "name-only": b""}
    assert load_tree(disk) == {"kept": b"one", "name-only": b""}


def test_what_was_there_before_the_record_is_safe_and_may_come_back(tmp_path: Path) -> None:
    """A truncation, a removal and a rename that no sync covered are undone."""
    root = tmp_path / "disk"
    root.mkdir()
    before: Tree = {"cut": b"old", "gone": b"g", "named": b"n", "sub": None, "sub/in": b"s"}
    for name, contents in before.items():
        if contents is None:
            (root / name).mkdir()
        else:
            (root / name).write_bytes(contents)
    shim = Shim(tmp_path / "faults", root)
    program(
        shim,
        """
open("cut", "wb").write(b"new")
os.unlink("gone"); os.rename("named", "renamed")
os.unlink("sub/in"); os.rmdir("sub"); os.mkdir("other")
""",
    )
    assert shim.disk().cut(Mode.STRICT, 0) == before
    assert shim.disk().seen() == {"cut": b"new", "other": None, "renamed": b"n"}


def test_marker_replaced_by_rename_is_old_or_new_and_never_both_or_half(shim: Shim) -> None:
    program(
        shim,
        """
append("m", b"old"); sync("m"); sync(".")
append("m.new", b"brand new"); sync("m.new")
os.rename("m.new", "m")
""",
    )
    cuts = [shim.disk().cut(Mode.RANDOM, seed) for seed in SEEDS]
    found = {tuple(sorted(cut.items())) for cut in cuts}
    assert found == {
        (("m", b"old"),),
        (("m", b"old"), ("m.new", b"brand new")),
        (("m", b"brand new"),),
    }


def test_rename_without_a_sync_of_the_file_may_leave_an_empty_one(shim: Shim) -> None:
    """The mistake that journaling file systems are known for; the kit has to find it."""
    program(shim, "append('f.new', b'x' * 2000)\nos.rename('f.new', 'f'); sync('.')")
    sizes = set()
    for seed in SEEDS:
        contents = shim.disk().cut(Mode.RANDOM, seed)["f"]
        assert contents is not None
        sizes.add(len(contents))
    assert {0, 2000} <= sizes
    assert sizes & {SECTOR, 2 * SECTOR, 3 * SECTOR}, "torn at a sector"


def test_random_cuts_keep_names_in_the_order_of_their_making(shim: Shim) -> None:
    program(shim, "for n in range(8): append(str(n), b'x')")
    lengths = set()
    for seed in SEEDS:
        names = sorted(shim.disk().cut(Mode.RANDOM, seed))
        assert names == [str(number) for number in range(len(names))]
        lengths.add(len(names))
    assert lengths == set(range(9))


def test_random_cut_tears_a_write_and_keeps_what_was_synced_before_it(shim: Shim) -> None:
    program(
        shim,
        "append('f', b'a' * 700); sync('f'); sync('.')\nappend('f', b'b' * 5000)",
    )
    holes = 0
    for seed in SEEDS:
        contents = shim.disk().cut(Mode.RANDOM, seed)["f"]
        assert contents is not None
        assert contents[:700] == b"a" * 700
        assert set(contents[700:]) <= set(b"b\0")
        holes += b"\0" in contents
    assert holes > 10, "sectors must also get lost in the middle"


def test_ways_to_write_and_to_sync_all_count(shim: Shim) -> None:
    program(
        shim,
        """
fd = os.open("a", os.O_RDWR | os.O_CREAT)
other = os.dup(fd)
os.pwrite(fd, b"0123456789", 5); os.writev(other, [b"ab", b"cd"]); os.ftruncate(fd, 12)
os.fdatasync(other); sync(".")
fd = os.open("d", os.O_WRONLY | os.O_CREAT | os.O_DSYNC); os.write(fd, b"dsync")
os.link("d", "e"); sync(".")
with open("c", "wb") as file: file.write(b"copied"); file.flush(); os.fsync(file.fileno())
source, goal = os.open("a", os.O_RDONLY), os.open("b", os.O_WRONLY | os.O_CREAT)
os.copy_file_range(source, goal, 4); os.fsync(goal)
os.posix_fallocate(goal, 0, 6); os.fsync(goal)
os.truncate("c", 2); sync("c"); os.sync()
""",
    )
    at_end = {"a": b"abcd\x000123456", "b": b"abcd\0\0", "c": b"co", "d": b"dsync", "e": b"dsync"}
    assert shim.disk().cut(Mode.STRICT, 0) == at_end
    assert shim.disk().seen() == load_tree(shim.root) == at_end


def test_range_sync_promises_nothing(shim: Shim) -> None:
    program(
        shim,
        """
import ctypes
append("f", b"x"); sync(".")
fd = os.open("f", os.O_WRONLY)
assert ctypes.CDLL(None).sync_file_range(fd, ctypes.c_long(0), ctypes.c_long(0), 7) == 0
""",
    )
    assert shim.disk().cut(Mode.STRICT, 0) == {"f": b""}
    assert shim.control.loose_syncs == 1


@pytest.mark.parametrize(
    "text",
    [
        "import mmap\nappend('f', b'x' * 4096)\n"
        "fd = os.open('f', os.O_RDWR); mmap.mmap(fd, 4096)[0] = 1",
        "append('f', b'x'); os.symlink('f', 'g')",
        "append('f', b'x'); os.rename('f', '../g')",
        "import ctypes\nc = ctypes.CDLL(None); c.fopen.restype = ctypes.c_void_p\n"
        "c.fclose(ctypes.c_void_p(c.fopen(b'f', b'w')))",
    ],
    ids=["mapping", "symbolic link", "rename out", "stdio"],
)
def test_what_cannot_be_followed_is_refused(shim: Shim, text: str) -> None:
    """Silence would make a cut that never happens on any disk."""
    program(shim, text)
    with pytest.raises(Unfollowed):
        shim.disk()


def test_after_a_failed_sync_a_second_one_saves_nothing(shim: Shim) -> None:
    """Linux marks the pages clean: whoever tries again is told that all is well."""
    rule = shim.control.rule(On.SYNC, "f", errno.EIO, times=1)
    told = program(
        shim,
        """
append("f", b"one")
attempt(sync, "f"); attempt(sync, "f"); sync(".")
append("f", b"two"); attempt(sync, "f")
""",
    )
    assert told == ["EIO", "ok", "ok"]
    assert rule.failed == 1
    assert shim.disk().cut(Mode.STRICT, 0) == {"f": b"\0\0\0two"}


def test_sync_covers_only_what_came_before_it_began() -> None:
    """Another thread may write while the disk is busy."""

    def entry(kind: str, number: int, a: int = 0, data: bytes = b"", flags: int = 0) -> Entry:
        return Entry(kind, flags, 1 + (flags == DIRECTORY), number, a, "f" * (flags != 8), "", data)

    opened = [entry("O", 1, flags=CREATED), entry("O", 2, flags=DIRECTORY)]
    named = entry("S", 4, a=2)._replace(handle=2)
    late = [entry("W", 5, 1, b"y"), entry("S", 6, a=4)]
    disk = Disk({}, [*opened, entry("W", 3, 0, b"x"), named, *late])
    assert disk.cut(Mode.STRICT, 0) == {"f": b"x"}
    assert disk.unsafe() == 1


# --- a store on the shim --------------------------------------------------------------------------

STORE: Final = """
from pathlib import Path
from kubebraid.shard.storage.engine import Batch
from kubebraid.shard.storage.rocksdb import RocksEngine
os.mkdir("store"); sync(".")
engine = RocksEngine.open(Path("store"), create=True)
for number in range(300):
    engine.write(Batch().put(b"k%04d" % number, bytes(500)), sync=SYNC)
    if number == 100: engine.compact(b"", b"\\xff")
"""
ROWS: Final = 300
STORE_CUTS: Final = [(Mode.STRICT, 0), *((Mode.RANDOM, seed) for seed in range(12))]


def rows_after(tree: Tree, folder: Path) -> int:
    """How many rows RocksDB finds on that disk."""
    store_tree(tree, folder)
    engine = RocksEngine.open(folder / "store", create=False)
    try:
        return engine.count(b"", b"\xff", ROWS + 1)
    finally:
        engine.close()


def test_rocksdb_keeps_every_synced_row_through_a_cut(shim: Shim, tmp_path: Path) -> None:
    shim.control.sync_takes(0)
    program(shim, STORE.replace("SYNC", "True"))
    assert shim.disk().seen() == load_tree(shim.root), "nothing escaped the record"
    assert shim.control.syncs > ROWS
    for number, (mode, seed) in enumerate(STORE_CUTS):
        assert rows_after(shim.disk().cut(mode, seed), tmp_path / str(number)) == ROWS


def test_rocksdb_without_syncs_loses_its_tail_in_a_cut_though_not_by_sigkill(
    shim: Shim, tmp_path: Path
) -> None:
    """The proof that a green durability test means something: only the compaction had synced."""
    program(shim, STORE.replace("SYNC", "False"))
    assert rows_after(shim.disk().seen(), tmp_path / "killed") == ROWS
    assert rows_after(shim.disk().cut(Mode.STRICT, 0), tmp_path / "strict") == 101
    found = set()
    for seed in range(12):
        tree = shim.disk().cut(Mode.RANDOM, seed)
        with contextlib.suppress(EngineCorrupt):  # a hole in the log: refused, as it should be
            found.add(rows_after(tree, tmp_path / str(seed)))
    assert min(found) < ROWS
    assert found <= set(range(101, ROWS + 1))


# --- errors ---------------------------------------------------------------------------------------


def test_nth_call_fails_once_and_the_counts_tell_it(shim: Shim) -> None:
    rule = shim.control.rule(On.WRITE, "*.log", errno.EIO, skip=2, times=1)
    text = "for n in range(5): attempt(append, '1.log', b'x'); append('other', b'y')"
    assert program(shim, text) == ["ok", "ok", "EIO", "ok", "ok"]
    assert (rule.matched, rule.failed) == (5, 1)
    assert (shim.root / "1.log").read_bytes() == b"xxxx"


@pytest.mark.parametrize(
    ("on", "pattern", "text"),
    [
        (On.SYNC, "f", "append('f', b'x'); attempt(sync, 'f')"),
        (On.SYNC, "", "attempt(sync, '.')"),
        (On.RENAME, "g", "append('f', b'x'); attempt(os.rename, 'f', 'g')"),
        (On.CREATE, "f", "attempt(append, 'f', b'x')"),
        (On.UNLINK, "f", "append('f', b'x'); attempt(os.unlink, 'f')"),
        (On.TRUNCATE, "f", "append('f', b'x'); attempt(os.truncate, 'f', 0)"),
        (On.MKDIR, "d", "attempt(os.mkdir, 'd')"),
    ],
)
def test_each_kind_of_call_can_fail_and_then_does_nothing(
    shim: Shim, on: On, pattern: str, text: str
) -> None:
    for error in (errno.EIO, errno.ENOSPC):
        rule = shim.control.rule(on, pattern, error, times=1)
        assert program(shim, text) == [errno.errorcode[error]]
        assert rule.failed == 1
        assert shim.disk().seen() == load_tree(shim.root)
        shim.control.clear()
        for path in shim.root.iterdir():
            path.unlink()
        shim.begin()
        assert program(shim, text) == ["ok"], "without the rule it works"
        for path in shim.root.iterdir():
            path.rmdir() if path.is_dir() else path.unlink()
        shim.begin()


def test_short_write_writes_half_and_says_so(shim: Shim) -> None:
    shim.control.rule(On.WRITE, "f", SHORT, times=1)
    text = (
        "fd = os.open('f', os.O_WRONLY | os.O_CREAT)\n" + "print(os.write(fd, b'12345678'))\n" * 2
    )
    assert program(shim, text) == ["4", "8"]
    assert (shim.root / "f").read_bytes() == b"123412345678"


def test_sync_that_lies_saves_nothing(shim: Shim) -> None:
    rule = shim.control.rule(On.SYNC, "f", LIE)
    assert program(shim, "append('f', b'x'); attempt(sync, 'f'); sync('.')") == ["ok"]
    assert rule.failed == 1
    assert shim.disk().cut(Mode.STRICT, 0) == {"f": b""}


def test_faults_are_turned_on_and_off_while_the_program_runs(shim: Shim) -> None:
    text = "for _ in sys.stdin: attempt(append, 'f', b'x'); sys.stdout.flush()"
    child = subprocess.Popen(
        [sys.executable, "-c", PRELUDE + text],
        env=child_environment(shim.environment()),
        cwd=shim.root,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    stdin, stdout = child.stdin, child.stdout
    assert stdin is not None
    assert stdout is not None

    def step() -> str:
        stdin.write("\n")
        stdin.flush()
        return stdout.readline().strip()

    with child:
        assert step() == "ok"
        rule = shim.control.rule(On.WRITE, "f", errno.ENOSPC)
        assert [step(), step()] == ["ENOSPC", "ENOSPC"]
        rule.off()
        assert [step(), rule.failed] == ["ok", 2]


def test_budget_is_a_device_that_fills_and_is_freed(shim: Shim) -> None:
    shim.control.budget = 1000
    told = program(
        shim,
        """
attempt(append, "a", b"x" * 600)
fd = os.open("b", os.O_WRONLY | os.O_CREAT)
print(os.write(fd, b"y" * 600)); attempt(os.write, fd, b"y")
print(os.statvfs(".").f_bavail)
os.unlink("a"); print(os.write(fd, b"z" * 500))
attempt(os.posix_fallocate, fd, 0, 1001); attempt(os.posix_fallocate, fd, 0, 950)
""",
    )
    assert told == ["ok", "400", "ENOSPC", "0", "500", "ENOSPC", "ok"]
    assert shim.control.budget == 50
    assert os.stat(shim.root / "b").st_size == 950
