"""The commands of the roles: exit codes and sentences of a start that does not happen."""

from __future__ import annotations

import logging
import socket
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from kubebraid.base import secret
from kubebraid.base.errors import Removed, StaleEpoch
from kubebraid.cli.locked_folder import locked
from kubebraid.cli.role import exit_code
from kubebraid.cli.roles import role
from tests.e2e.processes import run

OPEN = "--coordinators=a=127.0.0.1:1"
HOST_ENDS_S = 20.0


@pytest.fixture(autouse=True)
def as_before() -> Iterator[None]:
    """Logging is the process's: pytest's own handlers come back."""
    root, ours = logging.getLogger(), logging.getLogger("kubebraid")
    handlers, levels = list(root.handlers), (root.level, ours.level)
    yield
    root.handlers[:] = handlers
    root.setLevel(levels[0])
    ours.setLevel(levels[1])


@pytest.fixture
def address() -> str:
    """One that is free."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{probe.getsockname()[1]}"


def coordinator(address: str, folder: Path, *more: str) -> int:
    known = ("--name=a", f"--coordinators=a={address}", f"--listen={address}")
    return role(["coordinator", *known, f"--data-dir={folder}", "--initial-shards=s", *more])


def test_host_without_a_client_of_tikv_does_not_wait_until_it_is_given_a_shard(
    address: str,
) -> None:
    flags = ("--name=s", OPEN, f"--listen={address}", "--engine=tikv", "--pd=127.0.0.1:1")
    argv = [sys.executable, "-m", "kubebraid", "shard", *flags]
    told = run(argv, env={"KUBEBRAID_TIKV_CLIENT": "none"}, seconds=HOST_ENDS_S)
    assert told.code == 1
    assert "kubebraid shard: KUBEBRAID_TIKV_CLIENT=none: it has to be native or" in told.stderr


@pytest.mark.parametrize("name", ["coordinator", "shard", "router"])
def test_usage_is_told_in_one_sentence(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert role([name, "--nme=x"]) == 2
    sentence = f"unknown flag --nme; did you mean --name (see 'kubebraid {name} --help')"
    assert capsys.readouterr().err == f"kubebraid {name}: {sentence}\n"


def test_printed_configuration_starts_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    flags = ("--name=s", OPEN, "--listen=127.0.0.1:2", f"--data-dir={tmp_path / 'd'}")
    assert role(["shard", *flags, "--cluster-secret-file=/none", "--print-config"]) == 0
    out, err = capsys.readouterr()
    assert 'cluster-secret-file = "/none"' in out
    assert err == ""
    assert not (tmp_path / "d").exists()


def test_coordinators_folder_has_one_process(
    tmp_path: Path, address: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with locked(tmp_path):
        assert coordinator(address, tmp_path) == 1
    assert "is in use by another process; stop the other process" in capsys.readouterr().err


def test_coordinator_leaves_a_shards_folder_alone(
    tmp_path: Path, address: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "KUBEBRAID").write_text("{}")
    assert coordinator(address, tmp_path) == 1
    assert "is the data directory of a shard or of serve" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["KUBEBRAID"]


@pytest.mark.parametrize("name", ["coordinator", "shard", "router"])
def test_used_address_is_refused_before_the_folder_is_touched(
    tmp_path: Path, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "never"
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        address = f"127.0.0.1:{listener.getsockname()[1]}"
        if name == "coordinator":
            code = coordinator(address, folder)
        elif name == "shard":
            where = (f"--listen={address}", f"--data-dir={folder}")
            code = role(["shard", "--name=s", OPEN, *where])
        else:
            code = role(["router", "--name=r", OPEN, f"--listen-client-urls=http://{address}"])
    assert code == 1
    assert f"kubebraid {name}: cannot listen on {address}" in capsys.readouterr().err
    assert not folder.exists()


def test_secret_that_others_may_read_is_refused(
    tmp_path: Path, address: str, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "secret"
    secret.make(path)
    path.chmod(0o644)
    assert coordinator(address, tmp_path / "never", f"--cluster-secret-file={path}") == 1
    assert "others may use it (mode 0644); chmod 600" in capsys.readouterr().err
    assert not (tmp_path / "never").exists()


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (None, 0),
        (Removed("s was removed from the cluster"), 4),
        (StaleEpoch("another process of s has been started"), 1),
        (ValueError("s was removed from the cluster"), 1),
    ],
)
def test_who_was_removed_has_an_exit_code_of_its_own(error: Exception | None, code: int) -> None:
    assert exit_code(error) == code
