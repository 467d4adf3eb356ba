"""Generates the Python modules of every .proto file under proto/; `--check` only compares.

What it is: `python tools/proto.py` writes `*_pb2.py` and `*_pb2.pyi` beside their .proto files
through the link src/kubebraid/proto, so that they import as `kubebraid.proto.…` and register in
protobuf's pool under that name, never under etcd's own. What it is not: it makes no gRPC stubs;
the fronts work on raw bytes.

Invariant: `--check` writes nothing inside the repository and exits 1 when a file is stale.

Tested in tests/tidy/test_proto_fresh.py.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parent.parent
SOURCE: Final = ROOT / "src"
GENERATED: Final = ("*_pb2.py", "*_pb2.pyi")


def proto_files() -> list[str]:
    """Every .proto file, as it is registered: relative to src, through the link."""
    folder = ROOT / "proto"
    found = sorted(path.relative_to(folder) for path in folder.rglob("*.proto"))
    assert found, f"no .proto file below {folder}"
    return [str(Path("kubebraid/proto") / path) for path in found]


def generate(target: Path) -> None:
    """Runs protoc in a process of its own: its pool must not meet ours."""
    command = [sys.executable, "-m", "grpc_tools.protoc", f"-I{SOURCE}"]
    command += [f"--python_out={target}", f"--pyi_out={target}", *proto_files()]
    subprocess.run(command, cwd=SOURCE, check=True)


def generated(folder: Path) -> dict[str, bytes]:
    """The generated files below `folder`, by relative name."""
    found = (path for pattern in GENERATED for path in folder.rglob(pattern))
    return {str(path.relative_to(folder)): path.read_bytes() for path in found}


def stale() -> list[str]:
    """Names of generated files that are missing, left over or differ from their .proto."""
    with tempfile.TemporaryDirectory(prefix="kubebraid-proto-") as temporary:
        generate(Path(temporary))
        fresh = generated(Path(temporary) / "kubebraid/proto")
    here = generated(ROOT / "proto")
    assert fresh, "protoc wrote nothing"
    return sorted(name for name in fresh.keys() | here.keys() if fresh.get(name) != here.get(name))


def main(arguments: list[str]) -> int:
    """0: done or fresh; 1: something is stale; 2: usage."""
    if arguments == ["--check"]:
        names = stale()
        for name in names:
            sys.stderr.write(f"proto/{name} is stale: run python tools/proto.py\n")
        return 1 if names else 0
    if arguments:
        sys.stderr.write("usage: python tools/proto.py [--check]\n")
        return 2
    generate(SOURCE)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
