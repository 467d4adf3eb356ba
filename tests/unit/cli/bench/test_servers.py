"""What /proc and the disk say of a server."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from kubebraid.cli.bench.drivers import BenchError, child_environment
from kubebraid.cli.bench.servers import (
    cpu_ticks,
    disk_mib,
    etcd_argv,
    kubebraid_argv,
    status_mib,
)

STAT = "4711 (a) b (c) S 1 4711 4711 0 -1 4194560 9 0 0 0 123 45 7 8 20 0 11 0 1 2 3"


def test_cpu_is_read_behind_a_name_that_holds_anything() -> None:
    assert cpu_ticks(STAT) == 123 + 45


def test_cpu_of_this_very_process_grows() -> None:
    path = Path(f"/proc/{os.getpid()}/stat")
    if not path.exists():
        pytest.skip("there is no /proc here")
    before = cpu_ticks(path.read_text())
    end = before + 2
    for _ in range(200):
        sum(range(100_000))
        if cpu_ticks(path.read_text()) >= end:
            return
    pytest.fail("no CPU time was counted")


def test_size_of_a_process_is_in_mib() -> None:
    status = "Name:\tx\nVmHWM:\t  204800 kB\nVmRSS:\t  102400 kB\n"
    assert status_mib(status, "VmHWM") == 200.0
    assert status_mib(status, "VmRSS") == 100.0


def test_process_that_ended_has_no_size() -> None:
    with pytest.raises(BenchError, match="has ended"):
        status_mib("Name:\tx\nState:\tZ (zombie)\n", "VmRSS")


def test_disk_counts_blocks_and_no_holes(tmp_path: Path) -> None:
    (tmp_path / "below").mkdir()
    (tmp_path / "below" / "data").write_bytes(os.urandom(1 << 20))
    with (tmp_path / "hole").open("wb") as hole:
        hole.truncate(1 << 30)
    assert 1.0 <= disk_mib(tmp_path) < 1.5


@pytest.mark.parametrize("name", ["RESERVE", "0.tmp", "1.tmp"])
def test_space_that_only_stands_ready_is_not_counted(name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(os.urandom(1 << 20))
    (tmp_path / "000004.sst").write_bytes(os.urandom(1 << 20))
    assert 1.0 <= disk_mib(tmp_path) < 1.5


def test_both_servers_listen_on_the_machine_alone_and_have_one_quota() -> None:
    ours, peer = kubebraid_argv(Path("d"), 1234), etcd_argv("etcd", Path("d"), 1234)
    for argv in (ours, peer):
        assert "--listen-client-urls=http://127.0.0.1:1234" in argv
        assert not [word for word in argv if "0.0.0.0" in word]
    shared = [word for word in ours if word.startswith(("--quota", "--log-level"))]
    assert len(shared) == 2
    assert set(shared) <= set(peer)


def test_children_do_not_inherit_variables_that_stand_for_flags(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("ETCD_QUOTA_BACKEND_BYTES", "1")
    monkeypatch.setenv("KUBEBRAID_ENGINE", "memory")
    assert not {"ETCD_QUOTA_BACKEND_BYTES", "KUBEBRAID_ENGINE"} & set(child_environment())
    assert child_environment().get("PATH") == os.environ.get("PATH")
