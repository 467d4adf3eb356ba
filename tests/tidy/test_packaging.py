"""The wheel holds what git knows of the package, under kubebraid and nowhere else.

The folders at the top reach the package through links (docs/decisions/0001-layout.md). Some ways to
build follow them by halves and stay silent: a folder without `__init__.py`, or a kind of file that
package-data does not name, would be missing only on the machines of others.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import zipfile
from pathlib import Path, PurePosixPath
from typing import Final

import pytest

from tools.tidy import FOLDERS, known_files

ROOT: Final = Path(__file__).resolve().parents[2]
PACKAGED: Final = {".py", ".pyi", ".proto", ".typed"}
# The backend itself, in the environment at hand: no isolation, hence no network.
BUILD: Final = "import sys; from setuptools.build_meta import build_wheel; build_wheel(sys.argv[1])"


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> zipfile.ZipFile:
    """Built from a copy: a build folder left in the checkout would be packed again next time."""
    copy, out = tmp_path_factory.mktemp("copy"), tmp_path_factory.mktemp("wheel")
    for path in known_files(ROOT):
        if path.split("/")[0] in {*FOLDERS, "src"} or "/" not in path:
            (copy / path).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / path, copy / path)
    for folder in FOLDERS:
        (copy / "src/kubebraid" / folder).symlink_to(f"../../{folder}")
    command = [sys.executable, "-c", BUILD, str(out)]
    built = subprocess.run(command, cwd=copy, capture_output=True, text=True, check=False)
    assert built.returncode == 0, built.stdout + built.stderr
    (path_of_wheel,) = out.glob("*.whl")
    return zipfile.ZipFile(path_of_wheel)


def expected() -> set[str]:
    names = set()
    for path in map(PurePosixPath, known_files(ROOT)):
        if path.suffix in PACKAGED and path.parts[0] in FOLDERS:
            names.add(f"kubebraid/{path}")
        elif path.suffix in PACKAGED and path.parts[:2] == ("src", "kubebraid"):
            names.add(str(path.relative_to("src")))
    return names


def test_wheel_holds_every_file_that_git_knows_and_no_other(wheel: zipfile.ZipFile) -> None:
    held = {name for name in wheel.namelist() if ".dist-info/" not in name}
    assert "kubebraid/py.typed" in held
    assert held == expected()


def test_wheel_puts_only_kubebraid_at_the_top(wheel: zipfile.ZipFile) -> None:
    """`proto`, `router`, `shard`, `coordinator` and `base` belong to others on site-packages."""
    top = {name.split("/")[0] for name in wheel.namelist()}
    assert {name for name in top if not name.endswith(".dist-info")} == {"kubebraid"}


def test_wheel_names_version_license_and_command(wheel: zipfile.ZipFile) -> None:
    folder = next(n for n in wheel.namelist() if n.endswith(".dist-info/METADATA")).split("/")[0]
    metadata = wheel.read(f"{folder}/METADATA").decode()
    (version,) = [
        line.split('"')[1]
        for line in (ROOT / "src/kubebraid/__init__.py").read_text().splitlines()
        if line.startswith("VERSION")
    ]
    assert f"\nVersion: {version}\n" in metadata
    assert "\nLicense-Expression: Apache-2.0\n" in metadata
    assert f"{folder}/licenses/LICENSE" in wheel.namelist()
    scripts = wheel.read(f"{folder}/entry_points.txt").decode()
    assert "kubebraid = kubebraid.__main__:main" in scripts


def test_each_link_is_relative_and_leads_to_its_folder() -> None:
    """An absolute link would work here and nowhere else."""
    links = {p.name: p.readlink() for p in (ROOT / "src/kubebraid").iterdir() if p.is_symlink()}
    assert links == {folder: Path("../..") / folder for folder in FOLDERS}


@pytest.mark.parametrize("name", ["run", "dev"])
def test_lock_pins_and_hashes_everything_and_names_no_index(name: str) -> None:
    text = (ROOT / f"requirements/{name}.lock").read_text()
    code = [line for line in text.splitlines() if not line.startswith("#")]
    entries = [line for line in code if not line.startswith(" ")]
    assert entries
    assert all("==" in line and line.endswith("\\") for line in entries)
    assert all(line.strip().startswith("--hash=sha256:") for line in code if line.startswith(" "))
    assert "://" not in text


def test_dev_lock_agrees_with_run_lock() -> None:
    """`make dev` installs over `make install`: another version there would go untested here."""

    def pins(name: str) -> set[str]:
        lines = (ROOT / f"requirements/{name}.lock").read_text().splitlines()
        return {line for line in lines if line and line[0] not in " #"}

    assert pins("run") <= pins("dev")
