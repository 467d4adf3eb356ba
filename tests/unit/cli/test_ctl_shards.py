"""`kubebraid ctl shard add | remove`: how a shard comes, and when it may go."""

from __future__ import annotations

import pytest

from kubebraid.__main__ import main
from kubebraid.cli.ctl.ask import NotDone
from kubebraid.cli.ctl.operator import Operator
from kubebraid.cli.ctl.shards import removed
from kubebraid.proto.adminreshard import Progress
from kubebraid.proto.adminwire import Shard

from .ctl_routers import MOVE, FakeCluster, serving
from .ctl_status import HEALTHY

Capture = pytest.CaptureFixture[str]
IDLE = HEALTHY._replace(shards=(*HEALTHY.shards, Shard("s9", "h:6", "up")))


def ctl(cluster: FakeCluster, *argv: str) -> int:
    with serving(cluster) as endpoint:
        return main(["ctl", f"--endpoint={endpoint}", *argv])


def test_empty_shard_may_go() -> None:
    done = Progress(MOVE._replace(source="s9"), "done")
    assert removed("s9", IDLE, [done]).startswith("s9 owns no tablet and no migration needs it")


def test_shard_that_is_needed_may_not_go() -> None:
    with pytest.raises(NotDone, match="no shard is called 'x'; there are s0, s1, s9"):
        removed("x", IDLE, [])
    with pytest.raises(NotDone, match="s1 owns 2 tablets; first 'shard drain s1'"):
        removed("s1", IDLE, [])
    with pytest.raises(NotDone, match=r"s9 is needed by move-pods-1 \(planned\)"):
        removed("s9", IDLE, [Progress(MOVE._replace(target="s9"), "planned")])


def test_remove_has_the_exit_code_of_its_answer(capsys: Capture) -> None:
    cluster = FakeCluster("done")
    cluster.status = IDLE
    assert ctl(cluster, "shard", "remove", "s9") == 0
    assert "end its process" in capsys.readouterr().out
    assert ctl(cluster, "shard", "remove", "s0") == 1


def test_add_of_a_shard_that_is_up_says_what_comes_next(capsys: Capture) -> None:
    cluster = FakeCluster("done")
    cluster.status = IDLE
    assert ctl(cluster, "shard", "add", "s9") == 0
    assert capsys.readouterr().out.startswith("s9 is up; 'kubebraid ctl rebalance'")


def test_add_tells_how_to_start_it_and_waits(
    monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    cluster = FakeCluster("done")

    def comes(_self: object, _seconds: float) -> None:
        cluster.status = IDLE

    monkeypatch.setattr(Operator, "pause", comes)
    assert ctl(cluster, "shard", "add", "s9") == 0
    told = capsys.readouterr().out
    assert "kubebraid shard --name=s9 --coordinators=a=h:1,b=h:2,c=h:3 --listen=" in told
    assert "s9 is up" in told


def test_add_without_waiting_and_with_too_little_time(capsys: Capture) -> None:
    cluster = FakeCluster("done")
    assert ctl(cluster, "shard", "add", "s9", "--no-wait") == 0
    assert ctl(cluster, "shard", "add", "s9", "--timeout=0.01") == 1
    assert "s9 has not come up yet" in capsys.readouterr().err


def test_shard_with_tablets_that_is_down_is_no_new_one(capsys: Capture) -> None:
    cluster = FakeCluster("done")
    down = (HEALTHY.shards[0], HEALTHY.shards[1]._replace(state="down"))
    cluster.status = HEALTHY._replace(shards=down)
    assert ctl(cluster, "shard", "add", "s1") == 1
    assert "s1 is a shard of this cluster, with 2 tablets; start it" in capsys.readouterr().err
