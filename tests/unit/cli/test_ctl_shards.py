"""`kubebraid ctl shard add | remove`: how a shard comes, and when it may go."""

from __future__ import annotations

import grpc
import pytest

from kubebraid.__main__ import main
from kubebraid.cli.ctl import shards
from kubebraid.cli.ctl.operator import Operator
from kubebraid.proto.adminreshard import REMOVE_SHARD
from kubebraid.proto.adminwire import Shard

from .ctl_routers import FakeCluster, Refusal, serving
from .ctl_status import HEALTHY

Capture = pytest.CaptureFixture[str]
IDLE = HEALTHY._replace(shards=(*HEALTHY.shards, Shard("s9", "h:6", "up")))


def ctl(cluster: FakeCluster, *argv: str) -> int:
    with serving(cluster) as endpoint:
        return main(["ctl", f"--endpoint={endpoint}", *argv])


def test_shard_is_removed_by_the_routers_word(capsys: Capture) -> None:
    cluster = FakeCluster("done")
    assert ctl(cluster, "shard", "remove", "s9") == 0
    assert cluster.removed == ["s9"]
    assert "s9 is removed and its process ends" in capsys.readouterr().out


def test_shard_that_is_needed_is_not_removed(capsys: Capture) -> None:
    cluster = FakeCluster("done")
    said = "kubebraid: s0 owns 2 tablets; first 'shard drain s0'"
    cluster.refusals[REMOVE_SHARD] = [Refusal(grpc.StatusCode.FAILED_PRECONDITION, said)]
    assert ctl(cluster, "shard", "remove", "s0") == 1
    told = capsys.readouterr()
    assert not told.out
    assert "s0 owns 2 tablets; first 'shard drain s0'" in told.err
    assert "nothing was changed" in told.err


@pytest.mark.parametrize(("refusals", "code"), [(2, 0), (1_000, 1)])
def test_shard_that_was_just_drained_is_asked_again_for_a_while(
    refusals: int, code: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shards, "LOOK_EVERY_S", 0.01)
    monkeypatch.setattr(shards, "REMOVE_S", 0.5)
    cluster = FakeCluster("done")
    cluster.status = IDLE
    behind = Refusal(grpc.StatusCode.FAILED_PRECONDITION, "kubebraid: s9 has not heard it yet")
    cluster.refusals[REMOVE_SHARD] = [behind] * refusals
    assert ctl(cluster, "shard", "remove", "s9") == code
    assert bool(cluster.removed) is (code == 0)


def test_removal_without_an_answer_is_not_known() -> None:
    cluster = FakeCluster("done")
    cluster.refusals[REMOVE_SHARD] = [Refusal(grpc.StatusCode.DEADLINE_EXCEEDED, "late")]
    assert ctl(cluster, "shard", "remove", "s9") == 3


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
