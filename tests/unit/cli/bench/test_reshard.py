"""One tablet that is changed again and again: which, whereto, and what a failure becomes."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from kubebraid.cli.bench import reshard
from kubebraid.cli.bench.command import EXIT_USAGE, Mixed, bench, needed, parser, settle, spoken
from kubebraid.cli.bench.drivers import BenchError, RequestsFailed
from kubebraid.cli.bench.loads import BENCH
from kubebraid.cli.bench.reshard import Bench, Undone, bystanders, following, groups, tablet_of
from kubebraid.cli.bench.scenarios import choose, known
from kubebraid.cli.ctl.ask import NotDone
from kubebraid.proto.adminreshard import Plan, PlanRequest, Progress, Step, Verb
from kubebraid.proto.adminwire import Tablet


def tablet(number: int, start: str, end: str | None, shard: str) -> Tablet:
    return Tablet(number, f"t{number}", start, end, 0, 1, shard, 1, 0, 0, 0)


PODS = tablet(3, "/registry/pods", "/registry/pods0", "shard-1")
TABLETS = (
    tablet(1, "", "/registry/jobs", "shard-0"),
    tablet(2, "/registry/jobs", "/registry/jobs0", "shard-0"),
    PODS,
    tablet(4, "/registry/pods0", None, "shard-1"),
    tablet(5, "/registry/roles", "/registry/roles0", "shard-1"),
)


class Routers:
    """A map, and migrations that take the phases that they are given."""

    def __init__(self, *phases: str) -> None:
        self.tablets = TABLETS
        self.phases = list(phases)
        self.asked: list[PlanRequest] = []
        self.refusal: Exception | None = None
        self.routers = self

    def status(self) -> Any:
        names = ("shard-0", "shard-1", "shard-2")
        shards = [SimpleNamespace(name=name) for name in names]
        return SimpleNamespace(tablets=self.tablets, shards=shards)

    def plan(self, request: PlanRequest) -> Plan:
        if self.refusal is not None:
            raise self.refusal
        self.asked.append(request)
        to = request.to[0] if request.to else "shard-1"
        return Plan(1, (Step("m", request.verb.value, "shard-1", to, (), ()),), token=b"t")

    def record(self, request: PlanRequest, plan: Plan) -> None:
        assert plan.token
        assert request is self.asked[-1]

    def migrations(self, ids: tuple[str, ...]) -> tuple[Progress, ...]:
        assert ids == ("m",)
        phase = self.phases.pop(0) if len(self.phases) > 1 else self.phases[0]
        if phase == "gone":
            return ()
        step = Step("m", "move", "shard-1", "shard-2", (), ())
        return (Progress(step, phase, why="because", switch_ms=33),)


class Server:
    """Each look at its CPU finds a second more."""

    looks = 0

    def check(self) -> None:
        pass

    def cpu_by_process(self) -> dict[str, float]:
        self.looks += 1
        return {"shard-1": float(self.looks)}


class Quietly:
    """Writers that fail if told to."""

    error = ""

    def check(self, when: str) -> None:
        if self.error:
            raise RequestsFailed(f"{self.error} {when}")


@pytest.fixture
def bench_of(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setattr(reshard, "LOOK_EVERY_S", 0.0)

    def made(*phases: str) -> Any:
        operator: Any = Routers(*phases)
        server: Any = Server()
        writers: Any = Quietly()
        return Bench(server, operator, writers, PODS)

    return made


def test_switch_lies_between_the_looks_around_it(bench_of: Any) -> None:
    one = bench_of("planned", "preparing", "ready", "frozen", "draining", "done")
    move = one.change(PlanRequest(Verb.MOVE, ("3",), to=("shard-2",)))
    assert (move.kind, move.source, move.target) == ("move", "shard-1", "shard-2")
    assert move.began_s < move.copied_s == move.before_s < move.behind_s
    assert move.pause_ms == 33
    assert move.cpu == {"shard-1": 1.0}, "until it was copied, not to its end"


def test_change_that_is_quicker_than_a_look_has_all_its_times(bench_of: Any) -> None:
    move = bench_of("done").change(PlanRequest(Verb.MOVE, ("3",), to=("shard-2",)))
    assert move.began_s == move.before_s < move.copied_s == move.behind_s


@pytest.mark.parametrize(
    ("phases", "words"), [(("preparing", "aborted"), "because"), (("gone",), "not known")]
)
def test_undone_change_is_a_failure(bench_of: Any, phases: tuple[str, ...], words: str) -> None:
    with pytest.raises(Undone, match=words):
        bench_of(*phases).change(PlanRequest(Verb.MOVE, ("3",), to=("shard-2",)))


def test_endless_change_is_a_failure(bench_of: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reshard, "CHANGE_S_MAX", 0.0)
    with pytest.raises(Undone, match="preparing after"):
        bench_of("preparing").change(PlanRequest(Verb.MOVE, ("3",), to=("shard-2",)))


def test_failed_write_ends_the_change_and_a_refusal_is_told(bench_of: Any) -> None:
    one = bench_of("preparing")
    one.writers.error = "writers: 1 requests failed"
    with pytest.raises(RequestsFailed, match="1 requests failed in m, preparing"):
        one.change(PlanRequest(Verb.MOVE, ("3",), to=("shard-2",)))
    one.operator.refusal = NotDone("the disk is full")
    with pytest.raises(BenchError, match="merge: the disk is full"):
        one.change(PlanRequest(Verb.MERGE, ("3",)))


def test_cycle_is_two_moves_a_split_and_a_merge_of_what_is_there_then(bench_of: Any) -> None:
    one = bench_of("done")
    cycle = one.cycle()
    next(cycle)
    assert one.operator.asked[-1] == PlanRequest(Verb.MOVE, ("3",), to=("shard-2",))
    one.operator.tablets = (*TABLETS[:2], PODS._replace(shard="shard-2"), *TABLETS[3:])
    next(cycle)
    assert one.operator.asked[-1] == PlanRequest(Verb.MOVE, ("3",), to=("shard-0",))
    next(cycle)
    assert one.operator.asked[-1] == PlanRequest(Verb.SPLIT, ("3",), parts=2)
    low = tablet(8, PODS.start, f"{BENCH}5", "shard-0")
    high = tablet(9, f"{BENCH}5", PODS.end, "shard-0")
    one.operator.tablets = (*TABLETS[:2], high, low, *TABLETS[3:])
    next(cycle)
    assert one.operator.asked[-1] == PlanRequest(Verb.MERGE, ("8", "9"))
    assert next(cycle, None) is None


def test_others_write_in_one_other_folder_of_each_shard() -> None:
    status: Any = SimpleNamespace(
        tablets=TABLETS, shards=[SimpleNamespace(name=name) for name in ("shard-0", "shard-1")]
    )
    others = bystanders(status, PODS)
    assert [other.id for other in others] == [2, 5]
    made = groups(50, others)
    assert [(group.name, group.key(1)) for group in made] == [
        ("moved", f"{BENCH}0000000001".encode()),
        ("shard-0", b"/registry/jobs/bench/0000000001"),
        ("shard-1", b"/registry/roles/bench/0000000001"),
    ]
    assert tablet_of(status, BENCH) is PODS
    for group in made[1:]:
        assert tablet_of(status, group.key(7).decode()).shard == group.name
    status.shards.append(SimpleNamespace(name="shard-2"))
    with pytest.raises(BenchError, match="shard-2"):
        bystanders(status, PODS)


def test_shards_follow_each_other_in_a_ring() -> None:
    assert following(["a", "b", "c"], "a") == "b"
    assert following(["a", "b", "c"], "c") == "a"


def test_it_makes_its_cluster_and_has_no_peer() -> None:
    chosen, flags = settle(choose(["reshard"]), parser().parse_args(["reshard"]))
    assert [one.name for one in chosen] == ["reshard/10m", "reshard/100m", "reshard/1g"]
    assert (flags.profile, flags.peer, flags.shards) == ("cluster", "none", (3,))
    assert needed(chosen, ("kubebraid",)) == ["bench-load"]
    assert "--shards=3" in spoken(flags)
    more = parser().parse_args(["reshard", "--profile=cluster", "--shards=5"])
    assert settle(choose(["reshard"]), more)[1].shards == (5,)


def test_it_stands_in_no_run_with_a_peer(capsys: pytest.CaptureFixture[str]) -> None:
    both = choose(["put/64", "reshard/10m"])
    with pytest.raises(Mixed, match="put/64 has a peer"):
        settle(both, parser().parse_args([]))
    assert bench(["put/64", "reshard/10m"]) == EXIT_USAGE
    assert "two runs" in capsys.readouterr().err
    for words in ([], ["all"]):
        assert not [one.name for one in choose(words) if one.shards]
    assert [one.name for one in known() if one.shards] == [
        f"reshard/{s}" for s in ("10m", "100m", "1g")
    ]
