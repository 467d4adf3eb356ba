"""tools/tidy.py finds nothing hard in this tree, and each of its rules fails on a planted breach.

A rule that was never seen to fail guards nothing: hence the small trees, made in a temporary
folder, that are clean but for one file.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

import pytest

from tools.tidy import FOLDERS, Config, Finding, check_tree, known_files, main, read_config

ROOT: Final = Path(__file__).resolve().parents[2]
PURE: Final = Config(pure=("kubebraid.base.revision",), assertions_hard=(), contract=())
HEAD: Final = '"""What this is."""\n\n'


def plant(root: Path, path: str, text: str) -> None:
    target = root / path
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(text, encoding="utf-8")
    folder = path.split("/", maxsplit=1)[0]
    if folder in FOLDERS and path != f"{folder}/README.md":
        (root / folder / "README.md").touch()
    if folder == "tests":
        (root / "tests/README.md").touch()


def found(root: Path, config: Config = PURE) -> list[tuple[str, bool]]:
    return [(finding.rule, finding.hard) for finding in check_tree(root, config)]


def body(lines: int) -> str:
    return HEAD + "x = 1\n" * (lines - 2)


def function(lines: int) -> str:
    return HEAD + "def f() -> None:\n" + "    pass\n" * (lines - 1)


def methods(count: int) -> str:
    return HEAD + "class C:\n" + "".join(f"    def m{n}(self): ...\n" for n in range(count))


def parameters(count: int, first: str = "") -> str:
    names = ", ".join([first] * bool(first) + [f"p{n}" for n in range(count)])
    return HEAD + f"def f({names}): ...\n"


def test_this_tree_has_no_hard_finding() -> None:
    hard = [str(finding) for finding in check_tree(ROOT, read_config(ROOT)) if finding.hard]
    assert not hard, "\n".join(hard)


BREACHES: Final = [
    ("file", True, "router/kv.py", body(601)),
    ("file", False, "router/kv.py", body(401)),
    ("file", True, "tests/unit/router/test_kv.py", body(901)),
    ("file", False, "tests/unit/router/test_kv.py", body(601)),
    ("line", True, "router/kv.py", HEAD + f"x = '{'y' * 96}'\n"),
    ("function", True, "router/kv.py", function(71)),
    ("function", False, "router/kv.py", function(51)),
    ("parameters", True, "router/kv.py", parameters(7)),
    ("parameters", True, "router/kv.py", parameters(6, "*, key")),
    ("methods", True, "router/kv.py", methods(21)),
    ("methods", False, "tests/unit/router/test_kv.py", methods(21)),
    ("docstring", True, "router/kv.py", "x = 1\n"),
    ("syntax", True, "router/kv.py", HEAD + "def\n"),
    ("import", True, "router/kv.py", HEAD + "from kubebraid.router.plan import p\n"),
    ("import", True, "router/kv.py", HEAD + "from kubebraid.router import plan\n"),
    ("import", True, "router/kv.py", HEAD + "from kubebraid import router\n"),
    ("import", True, "router/kv.py", HEAD + "import kubebraid.router.plan\n"),
    ("import", True, "router/kv.py", HEAD + "from ..shard import writer\n"),
    ("import", True, "router/kv.py", HEAD + "from base.limits import X\n"),
    ("import", True, "tests/unit/router/test_kv.py", HEAD + "import router\n"),
    ("import", True, "shard/storage/rocksdb.py", HEAD + "from ...base import limits\n"),
    ("sleep", True, "tests/unit/router/test_kv.py", HEAD + "import time\ntime.sleep(1)\n"),
    ("mark", True, "router/kv.py", HEAD + "# TO" + "DO: later\n"),
    ("mark", True, "docs/start.md", "FIX" + "ME\n"),
    ("mark", True, "deploy/run.sh", "# XX" + "X\n"),
    ("leak", True, "docs/start.md", "cd /wo" + "rk/main\n"),
    ("leak", True, "docs/start.md", "see /ho" + "me/me/x\n"),
    ("leak", True, "requirements/run.lock", "--index" + "-url=x\n"),
    ("leak", True, "docs/start.md", "see https://py" + "pi.org/x\n"),
    ("leak", True, "docs/start.md", "see cra" + "tes.io\n"),
    ("leak", True, "proto/etcd/kv_pb2.py", "# made in /ro" + "ot/x\n"),
    ("document", True, "router/README.md", "a line\n" * 31),
    ("document", True, "CONTRIBUTING.md", "a line\n" * 101),
    ("document", True, "Makefile", "a:\n" * 61),
    *(
        ("name", True, f"router/{stem}.py", HEAD)
        for stem in ("utils", "helpers", "common", "misc", "manager")
    ),
]


@pytest.mark.parametrize(("rule", "hard", "path", "text"), BREACHES)
def test_planted_breach_is_the_only_finding(
    tmp_path: Path, rule: str, hard: bool, path: str, text: str
) -> None:
    plant(tmp_path, path, text)
    # Folders other than the roles' want their README.md too; that rule has a test of its own.
    assert [f for f in found(tmp_path) if f[0] != "readme"] == [(rule, hard)]


KEPT: Final = [
    ("router/kv.py", body(400)),
    ("router/kv.py", function(50)),
    ("router/kv.py", parameters(6)),
    ("router/kv.py", HEAD + "class C:\n    " + parameters(6, "self").splitlines()[-1] + "\n"),
    ("router/kv.py", methods(20)),
    ("router/kv.py", HEAD + "from kubebraid import VERSION\nfrom kubebraid.base import limits\n"),
    ("router/kv.py", HEAD + "from . import plan\nfrom .merge import release\n"),
    ("shard/storage/rocksdb.py", HEAD + "from ..keycodec import encode\nfrom .engine import E\n"),
    ("router/__init__.py", ""),
    ("tests/unit/test_kv.py", body(600)),
    ("tests/unit/test_kv.py", parameters(7).replace("def f", "def test_f")),
    ("tests/e2e/test_kv.py", HEAD + "import time\ntime.sleep(1)\n"),
    ("proto/etcd/kv_pb2.py", "x = 1\n" * 2_000 + "# TO" + "DO\n"),
    ("proto/etcd/kv.proto", "// TO" + "DO(theirs): kept\n"),
    ("router/README.md", "a line\n" * 30),
    ("router/kv.py", HEAD + "URL = 'http://127.0.0.1:2379/v3/root/x'\nPATH = 'frame/work/x'\n"),
    ("router/logo.png", "\udcff"),
]


@pytest.mark.parametrize(("path", "text"), KEPT)
def test_what_is_allowed_is_not_found(tmp_path: Path, path: str, text: str) -> None:
    if text == "\udcff":
        plant(tmp_path, path, "")
        (tmp_path / path).write_bytes(b"\xff\xfe\x00")
    else:
        plant(tmp_path, path, text)
    assert found(tmp_path) == []


def test_folder_without_readme_is_found(tmp_path: Path) -> None:
    plant(tmp_path, "router/kv.py", HEAD)
    (tmp_path / "router/README.md").unlink()
    assert found(tmp_path) == [("readme", True)]


def test_pure_module_missing_from_the_import_contract_is_found(tmp_path: Path) -> None:
    plant(tmp_path, "base/revision.py", HEAD)
    assert found(tmp_path) == [("pure", True)]


def test_import_contract_naming_a_missing_module_is_found(tmp_path: Path) -> None:
    config = Config(pure=PURE.pure, assertions_hard=(), contract=PURE.pure)
    assert found(tmp_path, config) == [("pure", True)]


def test_import_contract_naming_an_impure_module_is_found(tmp_path: Path) -> None:
    plant(tmp_path, "router/kv.py", HEAD)
    config = Config(pure=PURE.pure, assertions_hard=(), contract=("kubebraid.router.kv",))
    assert found(tmp_path, config) == [("pure", True)]


def test_pure_modules_without_assertions_are_a_note_until_listed_hard(tmp_path: Path) -> None:
    plant(tmp_path, "base/revision.py", HEAD + "def f(x):\n    return x\n")
    soft = Config(pure=PURE.pure, assertions_hard=(), contract=PURE.pure)
    assert found(tmp_path, soft) == [("assertions", False)]
    hard = Config(pure=PURE.pure, assertions_hard=PURE.pure, contract=PURE.pure)
    assert found(tmp_path, hard) == [("assertions", False), ("assertions", True)]
    plant(tmp_path, "base/revision.py", HEAD + "def f(x):\n    assert x\n    return x\n")
    assert found(tmp_path, hard) == []


def test_finding_reads_as_place_kind_rule_and_text() -> None:
    finding = Finding("line", "router/kv.py", 7, "101 columns, at most 100")
    assert str(finding) == "router/kv.py:7: error: line: 101 columns, at most 100"


def test_files_outside_a_repository_are_walked_without_hidden_and_built(tmp_path: Path) -> None:
    for path in ("router/kv.py", ".venv/x.py", "build/x.py", "router/__pycache__/kv.pyc"):
        plant(tmp_path, path, HEAD)
    (tmp_path / "link.py").symlink_to("router/kv.py")
    assert known_files(tmp_path) == ["router/README.md", "router/kv.py"]


MINIMAL: Final = """
[tool.kubebraid.tidy]
pure = []
assertions_hard = []
[[tool.importlinter.contracts]]
id = "pure"
source_modules = []
"""


def test_main_exits_1_on_a_hard_finding_and_0_on_a_note(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    plant(tmp_path, "pyproject.toml", MINIMAL)
    plant(tmp_path, "router/kv.py", body(401))
    assert main([str(tmp_path)]) == 0
    assert "note: file" in capsys.readouterr().out
    plant(tmp_path, "router/kv.py", body(601))
    assert main([str(tmp_path)]) == 1
    assert capsys.readouterr().out.endswith("tidy: 1 errors, 0 notes\n")


def test_main_exits_2_on_an_unknown_flag() -> None:
    assert main(["--fix"]) == 2
