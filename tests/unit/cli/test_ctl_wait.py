"""When a wait is over, and what its end means."""

from __future__ import annotations

import io
from collections.abc import Sequence

import pytest

from kubebraid.cli.ctl.ask import Unreachable
from kubebraid.cli.ctl.progress import Screen
from kubebraid.cli.ctl.wait import ASK_EVERY_S, AWAY_S_MAX, MISSING_MAX, Lost, Seen, Waits
from kubebraid.proto.adminreshard import Progress

from .ctl_routers import MOVE

Answer = tuple[Progress, ...] | Unreachable


def at(phase: str, name: str = "m1", why: str = "", phase_ms: int = 10**6) -> Progress:
    return Progress(MOVE._replace(id=name), phase, why, phase_ms=phase_ms)


class Script:
    """Lists, one after the other; the last one for ever."""

    def __init__(self, *answers: Answer) -> None:
        self._answers = list(answers)
        self.pauses = 0
        self.ask_ms = 0
        self._now_ms = 0

    def until(self, ids: Sequence[str], *goal: str, said_ms: int | None = None) -> Seen:
        def pause(seconds: float) -> None:
            self.pauses += 1
            self._now_ms += int(seconds * 1_000)

        screen = Screen(io.StringIO(), lambda: 0)
        waits = Waits(self._ask, pause, screen, lambda: self._now_ms)
        return waits.until(ids, goal, said_ms)

    def _ask(self, ids: Sequence[str]) -> tuple[Progress, ...]:
        self._now_ms += self.ask_ms
        answer = self._answers[0] if len(self._answers) == 1 else self._answers.pop(0)
        if isinstance(answer, Unreachable):
            raise answer
        return tuple(m for m in answer if m.step.id in ids)


def test_wait_is_over_when_all_are_there() -> None:
    script = Script((at("done"), at("ready", "m2")), (at("done"), at("done", "m2")))
    seen = script.until(["m1", "m2"], "done")
    assert (seen.reached, seen.failed) == (True, ())
    assert script.pauses == 1


def test_end_elsewhere_is_a_failure_but_the_others_are_waited_for() -> None:
    script = Script((at("aborted"), at("ready", "m2")), (at("aborted"), at("done", "m2")))
    seen = script.until(["m1", "m2"], "done")
    assert not seen.reached
    assert [m.step.id for m in seen.failed] == ["m1"]


@pytest.mark.parametrize(
    ("phase_ms", "why", "failed"),
    [(0, "too slow", True), (10**6, "too slow", False), (0, "", True), (10**6, "", False)],
)
def test_ready_behind_the_word_is_a_failure(phase_ms: int, why: str, failed: bool) -> None:
    back = (at("ready", why=why, phase_ms=phase_ms),)
    script = Script(back, back, (at("draining"),))
    assert script.until(["m1"], "draining", said_ms=0).reached is not failed


def test_time_that_an_answer_took_counts_as_waited() -> None:
    """READY for 3 s, first told by an answer that an election kept for 4 s."""
    script = Script((at("ready", phase_ms=3_000),), (at("draining"),))
    script.ask_ms = 4_000
    assert not script.until(["m1"], "draining", said_ms=0).reached


def test_ready_from_before_the_word_is_none_behind_it() -> None:
    script = Script((at("ready", phase_ms=3_000),), (at("draining"),))
    script.ask_ms = 2_000
    assert script.until(["m1"], "draining", said_ms=0).reached


def test_routers_may_be_away_for_a_while() -> None:
    away = Unreachable("nobody")
    assert Script(away, away, (at("done"),)).until(["m1"], "done").reached
    script = Script(away)
    with pytest.raises(Lost):
        script.until(["m1"], "done")
    assert script.pauses == pytest.approx(AWAY_S_MAX / ASK_EVERY_S, abs=2)


def test_routers_that_come_back_may_go_again() -> None:
    often = int(AWAY_S_MAX / ASK_EVERY_S) + 10
    flapping: list[Answer] = [Unreachable("nobody"), (at("ready"),)] * often
    assert Script(*flapping, (at("done"),)).until(["m1"], "done").reached


def test_ready_with_a_reason_is_on_its_way_where_no_word_was_said() -> None:
    back = (at("ready", why="too slow", phase_ms=0),)
    assert Script(back, back, (at("done"),)).until(["m1"], "done").reached


def test_migration_that_nobody_knows_is_lost() -> None:
    assert Script((), (at("done"),)).until(["m1"], "done").reached
    script = Script(())
    with pytest.raises(Lost, match="m1"):
        script.until(["m1"], "done")
    assert script.pauses == MISSING_MAX
