"""`kubebraid ctl tablet|shard|reshard|rebalance`: what is asked, what is told, and exit codes."""

from __future__ import annotations

import io
import json
import sys
from collections.abc import Callable
from typing import Any

import grpc
import pytest

from kubebraid.__main__ import main
from kubebraid.base import errors
from kubebraid.base.errors import RequestRefused
from kubebraid.base.limits import RESHARD_LAG_MAX
from kubebraid.base.ports import TabletLoad
from kubebraid.base.reshard import Action, Control, Phase, Planned
from kubebraid.cli.bench.servers import free_port
from kubebraid.cli.ctl import operator, wait
from kubebraid.coordinator.reshard import Resharding
from kubebraid.coordinator.transition import refusal
from kubebraid.proto.adminreshard import (
    CONTROL_RESHARD,
    LIST_RESHARD,
    PLAN_RESHARD,
    PlanRequest,
    Progress,
    Verb,
)
from kubebraid.router.draft import Scene, Standing
from tests.unit.coordinator import reshard_kit
from tests.unit.coordinator.reshard_kit import founded
from tests.unit.router.test_planner import UP, made, move, one, placed

from .ctl_routers import SPLIT, FakeCluster, Refusal, serving

Capture = pytest.CaptureFixture[str]
Patch = pytest.MonkeyPatch
MOVE = ["tablet", "move", "pods", "--to=s1"]
PRECONDITION = grpc.StatusCode.FAILED_PRECONDITION


@pytest.fixture(autouse=True)
def _fast(monkeypatch: Patch) -> None:
    monkeypatch.setattr(wait, "ASK_EVERY_S", 0.01)
    monkeypatch.setattr(operator, "TRY_EVERY_S", 0.01)


def ctl(cluster: FakeCluster, *argv: str) -> int:
    with serving(cluster) as endpoint:
        return main(["ctl", f"--endpoint={endpoint}", *argv])


class Terminal(io.StringIO):
    """A stdin that somebody types on."""

    def isatty(self) -> bool:
        return True


# -- plan, yes, wait -------------------------------------------------------------------------------


def test_plan_is_shown_recorded_and_waited_for(capsys: Capture) -> None:
    cluster = FakeCluster("planned", "preparing", "ready", "frozen", "draining", "done")
    assert ctl(cluster, *MOVE, "--yes") == 0
    run = capsys.readouterr()
    assert run.out.splitlines() == [
        "STEP  ID           WHAT       FROM  TO  SIZE     PAUSE  AFTER",
        "   1  move-pods-1  move pods  s0    s1  100 MiB      -  -",
        "done; writes waited for 12 ms at most",
    ]
    assert run.err.splitlines() == [
        f"move-pods-1: {phase}"
        for phase in ("planned", "preparing", "ready", "frozen", "draining", "done")
    ]
    assert cluster.requests == [PlanRequest(Verb.MOVE, ("pods",), to=("s1",), dry_run=True)]
    assert cluster.recorded == 1


@pytest.mark.parametrize(
    ("argv", "request_"),
    [
        (
            ["tablet", "split", "pods", "--at=/registry/pods/m\\x00"],
            PlanRequest(Verb.SPLIT, ("pods",), at=b"/registry/pods/m\x00"),
        ),
        (
            ["tablet", "split", "--parts=3", "--by=load", "/registry/pods/"],
            PlanRequest(Verb.SPLIT, ("/registry/pods/",), parts=3, by_load=True),
        ),
        (
            ["tablet", "split", "7", "--hash=4", "--to=s0,s1"],
            PlanRequest(Verb.SPLIT, ("7",), buckets=4, to=("s0", "s1")),
        ),
        (
            [*MOVE, "--manual", "--rate=10MB"],
            PlanRequest(Verb.MOVE, ("pods",), to=("s1",), manual=True, rate=10_000_000),
        ),
        (["tablet", "merge", "a", "b", "c"], PlanRequest(Verb.MERGE, ("a", "b", "c"))),
        (["shard", "drain", "s0"], PlanRequest(Verb.DRAIN, ("s0",))),
        (["rebalance"], PlanRequest(Verb.REBALANCE)),
    ],
)
def test_flags_become_the_request(argv: list[str], request_: PlanRequest, capsys: Capture) -> None:
    cluster = FakeCluster("planned", step=SPLIT)
    assert ctl(cluster, *argv, "--dry-run") == 0
    assert cluster.requests == [request_._replace(dry_run=True)]
    assert cluster.recorded == 0
    row = capsys.readouterr().out.splitlines()[1]
    assert row == "   1  split-pods-2  split pods into pods-1, pods-2  s0     -     -  ~40ms  -"


def test_without_a_terminal_and_without_yes_nothing_is_changed(
    monkeypatch: Patch, capsys: Capture
) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO("y\n"))
    cluster = FakeCluster("done")
    assert ctl(cluster, *MOVE) == 2
    run = capsys.readouterr()
    assert "add --yes" in run.err
    assert "move-pods-1" in run.out
    assert cluster.recorded == 0


@pytest.mark.parametrize(("typed", "code"), [("y", 0), ("Yes", 0), ("", 1), ("n", 1)])
def test_operator_is_asked(typed: str, code: int, monkeypatch: Patch, capsys: Capture) -> None:
    monkeypatch.setattr(sys, "stdin", Terminal(f"{typed}\n"))
    cluster = FakeCluster("done")
    assert ctl(cluster, *MOVE) == code
    assert "Do it? [y/N]" in capsys.readouterr().out
    assert cluster.recorded == (code == 0)


def test_drained_shard_is_to_be_removed_next(capsys: Capture) -> None:
    assert ctl(FakeCluster("done"), "shard", "drain", "s0", "--yes") == 0
    assert capsys.readouterr().out.endswith("; next: kubebraid ctl shard remove s0\n")


def test_no_wait_ends_when_it_is_recorded(capsys: Capture) -> None:
    cluster = FakeCluster("planned")
    assert ctl(cluster, *MOVE, "--yes", "--no-wait") == 0
    assert "kubebraid ctl reshard status move-pods-1 --watch" in capsys.readouterr().out
    assert (cluster.recorded, cluster.lists) == (1, 0)


def test_nothing_to_do_is_success(capsys: Capture) -> None:
    cluster = FakeCluster("done")
    cluster.plan = cluster.plan._replace(steps=(), token=b"", notes=("it is even",))
    assert ctl(cluster, "rebalance", "--yes") == 0
    assert capsys.readouterr().out == "nothing to do\nnote: it is even\n"
    assert cluster.recorded == 0


@pytest.mark.parametrize(
    ("phase", "next_"),
    [("ready", "reshard switch move-pods-1"), ("draining", "reshard complete move-pods-1")],
)
def test_manual_migration_is_waited_for_until_its_operator_is_needed(
    phase: str, next_: str, capsys: Capture
) -> None:
    assert ctl(FakeCluster("preparing", phase), *MOVE, "--yes", "--manual") == 0
    assert next_ in capsys.readouterr().out


# -- refusals and unknown outcomes -----------------------------------------------------------------


def of_plan(**scene: Any) -> RequestRefused:
    """The router's, of a move of pods to b."""
    with pytest.raises(RequestRefused) as caught:
        made(move("pods", "b"), Scene(placed(), **{"shards": UP, **scene}))
    return caught.value


def busy() -> RequestRefused:
    other = one(move("pods", "c"), placed())._replace(phase=Phase.PREPARING)
    return of_plan(migrations=(other,))


def too_large() -> RequestRefused:
    loads = {7: TabletLoad(7, 100, 1, 0, 0)}
    return of_plan(shards={**UP, "b": Standing(True, 99)}, loads=loads)


def other_map() -> RequestRefused:
    """The coordinators'."""
    return errors.precondition(refusal(founded(), Planned((reshard_kit.move(),), 0)))


def lagging() -> RequestRefused:
    state, driver = reshard_kit.at(Phase.READY, manual=True), Resharding()
    driver.next(state, {}, 0)
    driver.heard(reshard_kit.report(lag=RESHARD_LAG_MAX + 1))
    why = driver.hinders(state, Control("m1", Action.SWITCH))
    return errors.precondition(f"{why}. Nothing was changed")


@pytest.mark.parametrize(
    ("refused", "argv", "text"),
    [
        (busy, MOVE, "tablet pods is in migration"),
        (lambda: of_plan(shards={**UP, "b": Standing(False)}), MOVE, "b cannot be reached"),
        (lambda: of_plan(shards={**UP, "a": Standing(False)}), MOVE, "a, which owns the data"),
        (too_large, MOVE, "MiB of disk free"),
        (other_map, MOVE, "the map has changed since the plan was made"),
        (lagging, ["reshard", "switch", "move-pods-1"], "revisions behind"),
    ],
)
def test_whatever_is_refused_is_exit_code_1_and_nothing_was_changed(
    refused: Callable[[], RequestRefused], argv: list[str], text: str, capsys: Capture
) -> None:
    """In the words of those who refuse it."""
    found = refused()
    code = {each.value[0]: each for each in grpc.StatusCode}[int(found.code)]
    cluster = FakeCluster("ready")
    cluster.refusals[PLAN_RESHARD if argv is MOVE else CONTROL_RESHARD] = [
        Refusal(code, found.message)
    ]
    assert ctl(cluster, *argv, "--yes") == 1
    told = capsys.readouterr().err
    assert text in told
    assert told.lower().rstrip(".\n").endswith("nothing was changed")
    assert (cluster.recorded, cluster.controls) == (0, [])


@pytest.mark.parametrize("recording", [False, True])
def test_refusal_is_exit_code_1_in_the_routers_words(recording: bool, capsys: Capture) -> None:
    cluster = FakeCluster("done")
    refusal = Refusal(PRECONDITION, "kubebraid: the map has changed; plan again")
    cluster.refusals[PLAN_RESHARD] = [refusal]
    argv = [*MOVE, "--yes"]
    if recording:
        shown = cluster._planned

        def first_shown(request: PlanRequest) -> bytes:
            cluster._planned = shown  # type: ignore[method-assign]
            cluster.refusals[PLAN_RESHARD] = [refusal]
            return shown(request)

        cluster.refusals[PLAN_RESHARD] = []
        cluster._planned = first_shown  # type: ignore[method-assign]
    assert ctl(cluster, *argv) == 1
    told = capsys.readouterr().err
    assert told == "kubebraid ctl: the map has changed; plan again; nothing was changed\n"
    assert cluster.recorded == 0


def test_undone_migration_is_exit_code_1_with_its_reason(capsys: Capture) -> None:
    cluster = FakeCluster("preparing", "aborted", why="the target is full")
    assert ctl(cluster, *MOVE, "--yes") == 1
    assert "move-pods-1 was undone: the target is full" in capsys.readouterr().err


def test_plan_that_was_done_in_part_is_exit_code_3(capsys: Capture) -> None:
    cluster = FakeCluster("done")
    other = cluster.step._replace(id="move-nodes-1")
    cluster.plan = cluster.plan._replace(steps=(cluster.step, other))
    cluster.others = (Progress(other, "aborted", "the target is full"),)
    assert ctl(cluster, *MOVE, "--yes") == 3
    run = capsys.readouterr()
    assert "done in part" in run.out
    assert "move-nodes-1 was undone: the target is full" in run.err


def test_outcome_that_is_not_known_is_exit_code_3(capsys: Capture) -> None:
    cluster = FakeCluster("done")
    unknown = Refusal(grpc.StatusCode.DEADLINE_EXCEEDED, "kubebraid: it is not known whether")
    cluster.refusals[CONTROL_RESHARD] = [unknown]
    assert ctl(cluster, "reshard", "cancel", "move-pods-1") == 3
    told = capsys.readouterr().err
    assert "it is not known whether" in told
    assert "reshard list" in told


def test_change_is_tried_again_while_no_coordinator_serves() -> None:
    cluster = FakeCluster("aborted")
    away = Refusal(grpc.StatusCode.UNAVAILABLE, "etcdserver: no leader")
    cluster.refusals[CONTROL_RESHARD] = [away] * 3
    assert ctl(cluster, "reshard", "cancel", "move-pods-1") == 0
    assert [c.action for c in cluster.controls] == [Action.CANCEL]


def test_router_that_dies_while_one_waits_is_replaced_by_the_next(capsys: Capture) -> None:
    first, second = FakeCluster("preparing"), FakeCluster("preparing", "done")
    with serving(second) as spare:
        gone = f"http://127.0.0.1:{free_port()}"
        with serving(first) as endpoint:
            dead = Refusal(grpc.StatusCode.UNAVAILABLE, "Socket closed")
            first.refusals[LIST_RESHARD] = [dead]
            argv = ["ctl", f"--endpoint={gone},{endpoint},{spare}", *MOVE, "--yes"]
            assert main(argv) == 0
    assert (first.recorded, second.recorded) == (1, 0)
    assert second.lists == 2
    assert "done" in capsys.readouterr().out


def test_ctrl_c_says_that_the_work_goes_on(monkeypatch: Patch, capsys: Capture) -> None:
    def pressed(_self: object, _seconds: float) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(operator.Operator, "pause", pressed)
    assert ctl(FakeCluster("preparing"), *MOVE, "--yes") == 3
    told = capsys.readouterr().err
    assert "you stopped watching" in told
    assert "kubebraid ctl reshard status move-pods-1 --watch" in told


def test_ctrl_c_at_the_question_is_a_no(monkeypatch: Patch, capsys: Capture) -> None:
    def pressed(_question: str) -> str:
        raise KeyboardInterrupt

    monkeypatch.setattr(sys, "stdin", Terminal())
    monkeypatch.setattr("builtins.input", pressed)
    cluster = FakeCluster("done")
    assert ctl(cluster, *MOVE) == 1
    assert "nothing was changed" in capsys.readouterr().err
    assert cluster.recorded == 0


def test_ctrl_c_while_a_word_is_said_leaves_its_outcome_unknown(
    monkeypatch: Patch, capsys: Capture
) -> None:
    def pressed(_self: object, _control: Control) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(operator.Operator, "control", pressed)
    assert ctl(FakeCluster("ready"), "reshard", "switch", "move-pods-1") == 3
    assert "kubebraid ctl reshard list" in capsys.readouterr().err


def test_hint_that_the_router_gave_is_not_repeated(capsys: Capture) -> None:
    cluster = FakeCluster("ready")
    cluster.refusals[CONTROL_RESHARD] = [
        Refusal(PRECONDITION, "kubebraid: it lags too far. Nothing was changed")
    ]
    assert ctl(cluster, "reshard", "switch", "move-pods-1") == 1
    assert capsys.readouterr().err == "kubebraid ctl: it lags too far. Nothing was changed\n"


# -- words -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("argv", "control", "phases"),
    [
        (
            ["switch", "move-pods-1", "--max-pause=100ms", "--max-lag=50ms"],
            Control("move-pods-1", Action.SWITCH, 0, 100, 50),
            ("frozen", "committed", "draining"),
        ),
        (
            ["reverse", "move-pods-1"],
            Control("move-pods-1", Action.REVERSE),
            ("draining", "ready", "done"),
        ),
        (["cancel", "move-pods-1"], Control("move-pods-1", Action.CANCEL), ("ready", "aborted")),
        (
            ["complete", "move-pods-1", "--keep-source"],
            Control("move-pods-1", Action.COMPLETE, keep_source=True),
            ("draining", "done"),
        ),
        (
            ["throttle", "move-pods-1", "--rate=1.5MiB"],
            Control("move-pods-1", Action.RATE, rate=1_572_864),
            ("preparing",),
        ),
    ],
)
def test_word_is_said_and_its_end_waited_for(
    argv: list[str], control: Control, phases: tuple[str, ...], capsys: Capture
) -> None:
    cluster = FakeCluster(*phases)
    assert ctl(cluster, "reshard", *argv) == 0
    assert cluster.controls == [control]
    assert cluster.lists == (0 if argv[0] == "throttle" else len(phases))
    assert "move-pods-1" in capsys.readouterr().out


def test_switch_that_came_back_to_ready_is_exit_code_1(capsys: Capture) -> None:
    cluster = FakeCluster("frozen", "ready", why="the deadline passed")
    assert ctl(cluster, "reshard", "switch", "move-pods-1") == 1
    assert "move-pods-1 is ready: the deadline passed" in capsys.readouterr().err


def test_cancel_of_a_migration_that_is_done_is_exit_code_1(capsys: Capture) -> None:
    cluster = FakeCluster("done")
    assert ctl(cluster, "reshard", "cancel", "move-pods-1") == 1
    cluster.refusals[CONTROL_RESHARD] = [Refusal(PRECONDITION, "kubebraid: it is committed")]
    assert ctl(cluster, "reshard", "cancel", "move-pods-1") == 1
    assert "it is committed; nothing was changed" in capsys.readouterr().err


@pytest.mark.parametrize(("phases", "code"), [(("preparing", "ready"), 0), (("aborted",), 1)])
def test_verify_waits_for_the_comparison(phases: tuple[str, ...], code: int) -> None:
    assert ctl(FakeCluster(*phases), "reshard", "verify", "move-pods-1") == code


def test_verify_without_waiting_tells_how_it_is_now(capsys: Capture) -> None:
    assert ctl(FakeCluster("preparing"), "reshard", "verify", "move-pods-1", "--no-wait") == 1
    assert "move-pods-1 is not verified: preparing" in capsys.readouterr().err


@pytest.mark.parametrize(("phases", "code"), [(("ready", "done"), 0), (("ready", "aborted"), 1)])
def test_watched_status_ends_with_the_migration(phases: tuple[str, ...], code: int) -> None:
    cluster = FakeCluster("preparing", *phases)
    assert ctl(cluster, "reshard", "status", "move-pods-1", "--watch") == code
    assert cluster.lists == 3


def test_status_shows_all_of_one(capsys: Capture) -> None:
    assert ctl(FakeCluster("draining"), "reshard", "status", "move-pods-1") == 0
    assert capsys.readouterr().out.splitlines() == [
        "migration  move-pods-1: move pods",
        "shards     s0 to s1",
        "phase      draining, for 0ms",
        "verified   yes",
        "pause      12ms",
    ]
    assert ctl(FakeCluster("preparing"), "reshard", "status", "move-pods-1") == 0
    assert capsys.readouterr().out.splitlines()[3:] == [
        "copied     9 rows, 10.0 MiB of about 100 MiB",
        "behind     0 revisions; up to 0, the last round took 0ms",
        "verified   not yet",
    ]


@pytest.mark.parametrize("verb", ["status", "verify"])
def test_unknown_migration_is_exit_code_1(verb: str, capsys: Capture) -> None:
    assert ctl(FakeCluster("done"), "reshard", verb, "nothing") == 1
    assert "no migration is called 'nothing'" in capsys.readouterr().err


def test_throttle_without_a_rate_is_refused(capsys: Capture) -> None:
    assert ctl(FakeCluster("done"), "reshard", "throttle", "move-pods-1") == 2
    assert "--rate=10MB" in capsys.readouterr().err


# -- JSON ------------------------------------------------------------------------------------------


def document(capsys: Capture) -> Any:
    return json.loads(capsys.readouterr().out)


def test_plan_and_end_are_one_document(capsys: Capture) -> None:
    assert ctl(FakeCluster("done"), *MOVE, "--yes", "--output=json") == 0
    told = document(capsys)
    assert set(told) == {"plan", "recorded", "migrations"}
    assert told["recorded"] is True
    assert set(told["plan"]) == {"map_version", "steps", "notes"}
    step = told["plan"]["steps"][0]
    assert (step["id"], step["kind"], step["from"], step["to"]) == (
        *("move-pods-1", "move"),
        *("s0", "s1"),
    )
    assert step["targets"][0]["range"] == {"start": "/registry/pods", "end": "/registry/pods0"}
    (migration,) = told["migrations"]
    assert migration.items() >= step.items()
    assert (migration["phase"], migration["pause_ms"], migration["lag"]) == ("done", 12, None)


def test_dry_run_is_the_same_document(capsys: Capture) -> None:
    assert ctl(FakeCluster("done"), *MOVE, "--dry-run", "--output=json") == 0
    told = document(capsys)
    assert (told["recorded"], told["migrations"]) == (False, [])


@pytest.mark.parametrize("argv", [["list"], ["status", "move-pods-1"]])
def test_list_and_status_as_json(argv: list[str], capsys: Capture) -> None:
    assert ctl(FakeCluster("preparing"), "reshard", *argv, "--output=json") == 0
    told = document(capsys)
    one = told["migrations"][0] if argv == ["list"] else told
    assert one["copied"] == {"rows": 9, "bytes": 10 << 20, "upto": 0, "took_ms": 0}
    assert (one["verified"], one["why"], one["failed"]) == (False, None, None)


# -- usage -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "argv",
    [
        ["tablet", "split", "pods"],
        ["tablet", "split", "pods", "--hash=2", "--parts=2"],
        ["tablet", "split", "pods", "--hash=2", "--by=size"],
        ["tablet", "split", "pods", "--at=a\\"],
        ["tablet", "move", "pods"],
    ],
)
def test_request_that_makes_no_sense_is_exit_code_2(argv: list[str], capsys: Capture) -> None:
    assert main(["ctl", f"--endpoint=http://127.0.0.1:{free_port()}", *argv]) == 2
    assert "kubebraid ctl --help" in capsys.readouterr().err
