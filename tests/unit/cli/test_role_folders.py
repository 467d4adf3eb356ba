"""What a start may not take from another process: a folder, and an address."""

from __future__ import annotations

import os
import socket
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from kubebraid.cli import listening
from kubebraid.cli.listening import check_free, check_link_address
from kubebraid.cli.locked_folder import LOCK, FolderInUse, FolderRefused, locked
from kubebraid.proto.links.addresses import Address, AddressRefused, Endpoint
from kubebraid.proto.server import AddressInUse


def test_folder_is_made_for_its_owner_and_had_once(tmp_path: Path) -> None:
    folder = tmp_path / "a" / "b"
    with locked(folder):
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
        with pytest.raises(FolderInUse, match="is in use by another process"), locked(folder):
            pytest.fail("the lock was given twice")
    with locked(folder):
        assert os.listdir(folder) == [LOCK]


def test_child_does_not_keep_the_lock(tmp_path: Path) -> None:
    with locked(tmp_path):
        argv = [sys.executable, "-c", "print(flush=True); input()"]
        pipe = subprocess.PIPE
        child = subprocess.Popen(argv, stdin=pipe, stdout=pipe, close_fds=False)
        assert child.stdout is not None
        child.stdout.readline()  # it runs: what exec closes is closed
    try:
        with locked(tmp_path):
            assert child.poll() is None
    finally:
        child.communicate(b"\n")


def test_folder_that_cannot_be_made_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    refused = pytest.raises(FolderRefused, match="file cannot be used as a data directory")
    with refused, locked(tmp_path / "file"):
        pytest.fail("a file was locked as a folder")


@pytest.mark.parametrize("host", ["127.0.0.1", "[::1]"])
def test_address_that_somebody_listens_on_is_refused(host: str) -> None:
    family = socket.AF_INET6 if host == "[::1]" else socket.AF_INET
    with socket.socket(family) as listener:
        listener.bind((host.strip("[]"), 0))
        address = f"{host}:{listener.getsockname()[1]}"
        listener.listen()
        with pytest.raises(AddressInUse) as caught:
            check_free(address)
        assert address in str(caught.value)
    check_free(address)


def test_socket_file_that_somebody_listens_on_is_refused(tmp_path: Path) -> None:
    path = str(tmp_path / "kb.sock")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path)
        listener.listen()
        with pytest.raises(AddressInUse):
            check_free(path)


def test_name_beyond_loopback_needs_a_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    def resolve(address: Address) -> list[Endpoint]:
        host = {"near": "127.0.0.1", "far": "0.0.0.0"}[address.host]
        return [Endpoint(socket.AF_INET, (host, address.port))]

    monkeypatch.setattr(listening, "resolve", resolve)
    check_link_address("near:0", None)
    check_link_address("far:0", b"s" * 32)
    with pytest.raises(AddressRefused, match="far:0: without a cluster secret links stay on"):
        check_link_address("far:0", None)
