"""The committed modules are what protoc makes of the .proto files today."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tools import proto


def test_generated_files_are_fresh() -> None:
    assert proto.stale() == []


def test_check_tells_a_stale_and_a_missing_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(proto.ROOT / "proto/etcd", tmp_path / "proto/etcd")
    (tmp_path / "src/kubebraid").mkdir(parents=True)
    (tmp_path / "src/kubebraid/proto").symlink_to(tmp_path / "proto")
    monkeypatch.setattr(proto, "ROOT", tmp_path)
    monkeypatch.setattr(proto, "SOURCE", tmp_path / "src")
    assert proto.main(["--check"]) == 0

    (tmp_path / "proto/etcd/kv_pb2.py").write_text("")
    (tmp_path / "proto/etcd/rpc_pb2.pyi").unlink()
    assert proto.main(["--check"]) == 1
    assert capsys.readouterr().err.splitlines() == [
        "proto/etcd/kv_pb2.py is stale: run python tools/proto.py",
        "proto/etcd/rpc_pb2.pyi is stale: run python tools/proto.py",
    ]

    assert proto.main([]) == 0
    assert proto.stale() == []


def test_wrong_usage_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    assert proto.main(["--frobnicate"]) == 2
    assert capsys.readouterr().err == "usage: python tools/proto.py [--check]\n"
