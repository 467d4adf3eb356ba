"""The shim as a test uses it: built when it is needed, and given to a process by its environment.

What it is: the way from shim.c to a recorded process and on to the directory after a power cut.
What it is not: a test's schedule.

Worked example:

    shim = Shim(tmp_path / "faults", root=tmp_path / "disk")
    subprocess.run(program, env={**os.environ, **shim.environment()})
    tree = shim.disk().cut(Mode.STRICT, seed=0)

The library lies in the user's cache folder under the digest of its source. Without a C compiler
the test is skipped, or fails where KUBEBRAID_REQUIRE_PEERS=1.

Tested in tests/faults/test_shim.py.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
from pathlib import Path
from typing import Final

from tests.e2e.processes import missing
from tests.faults.control import Control
from tests.faults.powercut import Disk, Mode, Tree, load_tree, store_tree
from tests.faults.record import read_record

SOURCES: Final = ("shim.c", "shim_data.c", "shim_names.c")
HEADERS: Final = ("shim.h",)
FLAGS: Final = ("-O1", "-g", "-Wall", "-Wextra", "-Werror", "-shared", "-fPIC")
BUILD_S_MAX: Final = 60.0


def library() -> Path:
    """The built library. Skips or fails the test where there is no compiler."""
    here = Path(__file__).parent
    raw = b"".join((here / name).read_bytes() for name in (*SOURCES, *HEADERS))
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    built = cache / "kubebraid" / "faults" / hashlib.sha256(raw).hexdigest()[:16] / "shim.so"
    if built.is_file():
        return built
    compiler = shutil.which("cc")
    if compiler is None:
        missing("cc is not on PATH: install a C compiler with the system's package manager")
    assert compiler is not None
    built.parent.mkdir(parents=True, exist_ok=True)
    fresh = built.with_suffix(f".{os.getpid()}")
    sources = [str(here / name) for name in SOURCES]
    argv = [compiler, *FLAGS, "-o", str(fresh), *sources, "-lpthread", "-ldl"]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=BUILD_S_MAX, check=False)
    assert done.returncode == 0, done.stderr
    fresh.rename(built)  # another test process may be building too
    return built


class Shim:
    """One recorded directory. `root` must exist; it may be changed by recorded processes only."""

    def __init__(self, folder: Path, root: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.root = root.resolve(strict=True)
        assert self.root not in folder.resolve().parents, "the record would record itself"
        self._record = folder / "record"
        self._library = library()
        self.control = Control(folder / "control")
        self._start: Tree = {}
        self.begin()

    def begin(self) -> None:
        """Forget the record: what is in the directory now counts as safe."""
        self._record.unlink(missing_ok=True)
        self._start = load_tree(self.root)

    def environment(self) -> dict[str, str]:
        """What makes a process a recorded one."""
        return {
            "LD_PRELOAD": str(self._library),
            "FAULTS_ROOT": str(self.root),
            "FAULTS_RECORD": str(self._record.resolve()),
            "FAULTS_CONTROL": str(self.control.path.resolve()),
        }

    def disk(self) -> Disk:
        """The model at the end of the record. Raises Unfollowed."""
        return Disk(self._start, read_record(self._record))

    def power_cut(self, mode: Mode, seed: int) -> Tree:
        """After the recorded process was killed: the directory becomes what the disk holds."""
        tree = self.disk().cut(mode, seed)
        shutil.rmtree(self.root)
        store_tree(tree, self.root)
        self.begin()
        return tree
