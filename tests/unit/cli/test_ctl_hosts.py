"""`kubebraid ctl shard hand-over | take-back`: who serves a shard, and when it is so."""

from __future__ import annotations

import grpc
import pytest

from kubebraid.__main__ import main
from kubebraid.base.reshard import HandOver
from kubebraid.cli.ctl import operator
from kubebraid.proto.adminreshard import HAND_OVER_SHARD
from kubebraid.proto.adminwire import CLUSTER_STATUS, ClusterStatus, Shard

from .ctl_routers import FakeCluster, Refusal, serving
from .ctl_status import HEALTHY

Capture = pytest.CaptureFixture[str]
OWN = Shard("s1", "h:5", "up", "d1", 16, host="s1")
GUEST = OWN._replace(host="s0", incarnation=17, address="h:4")


def status(shard: Shard) -> ClusterStatus:
    return HEALTHY._replace(shards=(HEALTHY.shards[0]._replace(host="s0"), shard))


class Stepping(FakeCluster):
    """`looks`: what s1 is, one status after the other; the last one stays."""

    def __init__(self, *looks: Shard) -> None:
        super().__init__("done")
        self.looks = list(looks)
        self.asked = 0

    def answer(self, method: str, body: bytes) -> bytes:
        if method == CLUSTER_STATUS:
            self.status = status(self.looks[0])
            self.looks = self.looks[1:] or self.looks
            self.asked += 1
        return super().answer(method, body)


@pytest.fixture(autouse=True)
def _no_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(operator, "LOOK_EVERY_S", 0.001)


def ctl(cluster: FakeCluster, *argv: str) -> int:
    with serving(cluster) as endpoint:
        return main(["ctl", f"--endpoint={endpoint}", *argv])


def test_hand_over_ends_when_another_process_serves(capsys: Capture) -> None:
    """The worked example of the module: neither the word of the log nor the process before, be it
    started anew in between, will do."""
    seated, starting = OWN._replace(host="s0"), GUEST._replace(state="down")
    cluster = Stepping(OWN, OWN, OWN._replace(incarnation=9), seated, starting, GUEST)
    assert ctl(cluster, "shard", "hand-over", "s1", "--to=s0") == 0
    assert cluster.handed == [HandOver("s1", "s0")]
    assert capsys.readouterr().out == "s1 is served by host s0\n"
    assert cluster.asked == 6


def test_take_back_is_a_hand_over_to_its_own_name(capsys: Capture) -> None:
    back = OWN._replace(incarnation=18)
    cluster = Stepping(GUEST, GUEST._replace(host="s1"), back)
    assert ctl(cluster, "shard", "take-back", "s1") == 0
    assert cluster.handed == [HandOver("s1", "s1")]
    assert capsys.readouterr().out == "s1 is served by host s1\n"
    assert cluster.asked == 3


def test_hand_over_without_waiting(capsys: Capture) -> None:
    cluster = Stepping(OWN)
    assert ctl(cluster, "shard", "hand-over", "s1", "--to=s0", "--no-wait") == 0
    assert cluster.handed == [HandOver("s1", "s0")]
    assert "s1 is handed over to host s0, which begins with it" in capsys.readouterr().out


def test_same_host_is_said_and_nothing_is_asked(capsys: Capture) -> None:
    for argv in (("take-back", "s1"), ("hand-over", "s1", "--to=s1", "--no-wait")):
        cluster = Stepping(OWN)
        assert ctl(cluster, "shard", *argv) == 0
        assert cluster.handed == []
        assert capsys.readouterr().out == "s1 has host s1 already; nothing was changed\n"


def test_repeated_it_goes_on_waiting(capsys: Capture) -> None:
    away = GUEST._replace(state="down")
    cluster = Stepping(away, away, GUEST)
    assert ctl(cluster, "shard", "hand-over", "s1", "--to=s0") == 0
    assert (cluster.handed, cluster.asked) == ([], 3)
    assert capsys.readouterr().out == "s1 is served by host s0\n"


def test_router_that_restarts_ends_no_wait() -> None:
    class Restarting(Stepping):
        def answer(self, method: str, body: bytes) -> bytes:
            if method == HAND_OVER_SHARD:
                away = Refusal(grpc.StatusCode.UNAVAILABLE, "kubebraid: it restarts")
                self.refusals[CLUSTER_STATUS] = [away]
            return super().answer(method, body)

    cluster = Restarting(OWN, GUEST)
    assert ctl(cluster, "shard", "hand-over", "s1", "--to=s0") == 0
    assert cluster.refusals[CLUSTER_STATUS] == []


def test_too_little_time_is_an_outcome_that_is_not_known(capsys: Capture) -> None:
    cluster = Stepping(OWN)
    assert ctl(cluster, "shard", "hand-over", "s1", "--to=s0", "--timeout=0.01") == 3
    told = capsys.readouterr()
    assert not told.out
    assert "s1 is handed over to host s0 and is not up there yet; repeat this" in told.err


@pytest.mark.parametrize(
    "said",
    [
        "s1 keeps its data in a directory, which no other process can serve; move its tablets. "
        "Nothing was changed",
        "no host is called s9. Nothing was changed",
    ],
)
def test_refusal_is_told_and_nothing_waited_for(said: str, capsys: Capture) -> None:
    cluster = Stepping(OWN._replace(host=""))
    refusal = Refusal(grpc.StatusCode.FAILED_PRECONDITION, f"kubebraid: {said}")
    cluster.refusals[HAND_OVER_SHARD] = [refusal]
    assert ctl(cluster, "shard", "hand-over", "s1", "--to=s9") == 1
    told = capsys.readouterr()
    assert not told.out
    assert told.err == f"kubebraid ctl: {said}\n"


def test_unknown_shard_is_the_routers_to_refuse(capsys: Capture) -> None:
    cluster = Stepping(OWN)
    said = "kubebraid: no shard is called 's7'; there are s0, s1"
    cluster.refusals[HAND_OVER_SHARD] = [Refusal(grpc.StatusCode.NOT_FOUND, said)]
    assert ctl(cluster, "shard", "take-back", "s7") == 1
    assert "no shard is called 's7'; there are s0, s1; nothing was" in capsys.readouterr().err


def test_hand_over_without_an_answer_is_not_known() -> None:
    cluster = Stepping(OWN)
    cluster.refusals[HAND_OVER_SHARD] = [Refusal(grpc.StatusCode.DEADLINE_EXCEEDED, "late")]
    assert ctl(cluster, "shard", "hand-over", "s1", "--to=s0") == 3


@pytest.mark.parametrize("flags", [(), ("--to=",), ("--to=s0,s1",)])
def test_hand_over_wants_one_host(flags: tuple[str, ...], capsys: Capture) -> None:
    cluster = Stepping(OWN)
    assert ctl(cluster, "shard", "hand-over", "s1", *flags) == 2
    assert cluster.handed == []
    assert "a hand-over wants --to=HOST" in capsys.readouterr().err


def test_take_back_says_itself_where_to(capsys: Capture) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["ctl", "shard", "take-back", "s1", "--to=s0"])
    assert ended.value.code == 2
    assert "--to says nothing to 'shard take-back SHARD'" in capsys.readouterr().err
