"""A cluster under load: which processes its figures add up."""

from __future__ import annotations

import json
import os
from pathlib import Path

from kubebraid.cli.bench.clusters import STATE, Cluster, cluster_argv, maker, roles_of
from kubebraid.cli.bench.drivers import Tools
from kubebraid.cli.bench.results import OURS, PEER


def state(*processes: tuple[str, str, int]) -> dict[str, object]:
    rows = [{"role": role, "name": name, "pid": pid} for role, name, pid in processes]
    return {"endpoints": ["http://127.0.0.1:1"], "processes": rows}


def test_roles_are_all_processes_of_one_kind() -> None:
    found = roles_of(state(("coordinator", "c-0", 1), ("shard", "s-0", 2), ("shard", "s-1", 3)))
    assert found == {"coordinator": [1], "shard": [2, 3]}


def test_command_starts_one_of_each_but_for_the_shards(tmp_path: Path) -> None:
    argv = cluster_argv(tmp_path, 4, "single")
    assert {"--coordinators=1", "--shards=4", "--routers=1", "--tablets=single"} <= set(argv)
    assert f"--state-file={tmp_path / STATE}" in argv


def test_cpu_is_added_up_by_role(tmp_path: Path) -> None:
    """Two entries of this very process count twice; the one that looks after them is not in it."""
    made = Cluster(tmp_path / "a", Tools(), 2, "single")
    me = os.getpid()
    (made.folder / STATE).write_text(json.dumps(state(("shard", "s-0", me), ("shard", "s-1", me))))
    made._pids = roles_of(json.loads((made.folder / STATE).read_text()))
    assert made.roles == {"shard-0": me, "shard-1": me}
    sum(range(2_000_000))
    assert set(made.cpu_s()) == {"shard"}
    assert made.cpu_s()["shard"] > 0
    assert made.memory_mib("VmRSS") > 1


def test_peer_stays_what_it_is(tmp_path: Path) -> None:
    make = maker(2, "single")
    assert isinstance(make(OURS, tmp_path / "ours", Tools()), Cluster)
    assert not isinstance(make(PEER, tmp_path / "peer", Tools()), Cluster)


def test_logs_of_the_roles_stay_after_a_failure(tmp_path: Path) -> None:
    for keep_log in (True, False):
        made = Cluster(tmp_path / str(keep_log), Tools(), 1, "single")
        (made.data / "logs").mkdir(parents=True)
        (made.data / "logs" / "shard-0.log").write_text("why")
        (made.data / "shard-0").mkdir()
        made.remove(keep_log=keep_log)
        assert not made.data.exists(), "it may be large"
        assert (made.folder / "logs" / "shard-0.log").exists() is keep_log
