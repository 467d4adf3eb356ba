"""The hot loop: order, turns, sleep, and what a failure does."""

from __future__ import annotations

import threading
from collections.abc import Callable
from functools import partial

import pytest

from kubebraid.base.loop import POSTS_PER_TURN_MAX, SLEEP_MS_MAX, Loop, WaitingLoop

PATIENCE_S = 10.0  # only a loop that hangs takes so long


class FakeClock:
    ms = 1_000

    def now_ms(self) -> int:
        return self.ms


class FakePart:
    """Tells the log of its turns; `more` of them can be done at once."""

    def __init__(self, log: list[str], name: str, more: int = 0) -> None:
        self._log = log
        self._name = name
        self._more = more
        self.deadline_ms: int | None = None
        self.on_turn: Callable[[], None] = lambda: None

    def turn(self) -> bool:
        self._log.append(self._name)
        self.on_turn()
        self._more -= 1
        return self._more >= 0

    def next_deadline_ms(self) -> int | None:
        return self.deadline_ms


def test_turn_runs_posts_in_order_and_then_each_part_once() -> None:
    """The worked example: the front's batch is routed before the owner's turn commits it."""
    log: list[str] = []
    loop = Loop(FakeClock())
    loop.attach((FakePart(log, "router"), FakePart(log, "owner")))
    for name in "abc":
        loop.post(partial(log.append, name))
    assert not loop.turn()
    assert log == ["a", "b", "c", "router", "owner"]


def test_turn_with_nothing_posted_runs_the_parts() -> None:
    log: list[str] = []
    loop = Loop(FakeClock())
    loop.attach((FakePart(log, "owner"),))
    loop.turn()
    assert log == ["owner"]


def test_part_that_can_do_more_keeps_the_loop_awake() -> None:
    log: list[str] = []
    loop = Loop(FakeClock())
    loop.attach((FakePart(log, "idle"), FakePart(log, "busy", more=1), FakePart(log, "idle")))
    assert [loop.turn(), loop.turn()] == [True, False]


def test_flood_of_posts_lets_the_parts_run_in_between() -> None:
    log: list[str] = []
    loop = Loop(FakeClock())
    loop.attach((FakePart(log, "part"),))
    for _ in range(POSTS_PER_TURN_MAX + 1):
        loop.post(lambda: log.append("post"))
    assert loop.turn(), "one post is left"
    assert log == ["post"] * POSTS_PER_TURN_MAX + ["part"]
    assert not loop.turn()
    assert log[-2:] == ["post", "part"]


def test_work_that_posts_is_followed_by_another_turn() -> None:
    log: list[str] = []
    loop = Loop(FakeClock())
    loop.post(lambda: loop.post(lambda: log.append("inner")))
    assert loop.turn()
    assert log == []
    assert not loop.turn()
    assert log == ["inner"]


def test_parts_are_attached_once() -> None:
    loop = Loop(FakeClock())
    loop.attach((FakePart([], "a"),))
    with pytest.raises(AssertionError):
        loop.attach((FakePart([], "b"),))


def test_stop_ends_the_run_after_what_was_posted_before() -> None:
    log: list[str] = []
    loop = Loop(FakeClock())
    loop.post(lambda: log.append("before"))
    loop.stop()
    loop.run()
    assert log == ["before"]


def test_failure_in_a_core_is_handed_over_and_ends_the_loop() -> None:
    """Fail-stop: a core whose invariant broke must not take another turn."""
    log: list[str] = []
    fatal: list[BaseException] = []
    loop = Loop(FakeClock(), fatal.append)
    part = FakePart(log, "part", more=99)
    part.on_turn = lambda: _fail("broken")
    loop.attach((part,))
    loop.run()
    assert [str(error) for error in fatal] == ["broken"]
    assert log == ["part"]


def test_failure_in_posted_work_is_fatal_too() -> None:
    fatal: list[BaseException] = []
    loop = Loop(FakeClock(), fatal.append)
    loop.post(lambda: _fail("bad post"))
    loop.run()
    assert [str(error) for error in fatal] == ["bad post"]


def test_failure_without_a_handler_leaves_run() -> None:
    loop = Loop(FakeClock())
    loop.post(lambda: _fail("nobody asked"))
    with pytest.raises(RuntimeError, match="nobody asked"):
        loop.run()


def _fail(text: str) -> None:
    raise RuntimeError(text)


def test_post_from_another_thread_runs_on_the_loops_thread() -> None:
    loop = Loop(FakeClock())
    seen: list[int] = []
    runner = threading.Thread(target=loop.run)
    runner.start()
    loop.post(lambda: seen.append(threading.get_ident()))
    loop.stop()
    runner.join(PATIENCE_S)
    assert seen == [runner.ident]


def test_deadline_calls_the_parts_although_nothing_was_posted() -> None:
    log: list[str] = []
    clock = FakeClock()
    loop = Loop(clock)
    part = FakePart(log, "part")
    part.deadline_ms = clock.ms + 1
    part.on_turn = lambda: loop.stop() if len(log) == 3 else None
    loop.attach((part,))
    loop.run()
    assert log == ["part"] * 4


@pytest.mark.parametrize(
    ("deadlines", "patience_ms"),
    [
        ([None, None], SLEEP_MS_MAX),
        ([None, 1_250], 250),
        ([1_900, 1_250], 250),
        ([900], 1),
        ([999_999], SLEEP_MS_MAX),
    ],
)
def test_sleep_ends_at_the_nearest_deadline(deadlines: list[int | None], patience_ms: int) -> None:
    """The clock stands at 1000; a deadline that has passed still lets posts in."""
    loop = Loop(FakeClock())
    parts = [FakePart([], "part") for _ in deadlines]
    for part, deadline_ms in zip(parts, deadlines, strict=True):
        part.deadline_ms = deadline_ms
    loop.attach(parts)
    assert loop._patience_ms() == patience_ms


class FakeWaiter:
    """Tells the log how long the loop would sleep; what it then does is the test's."""

    def __init__(self, log: list[str]) -> None:
        self._log = log
        self.wakes = 0
        self.on_wait: Callable[[], None] = lambda: None

    def wait(self, timeout_ms: int) -> None:
        self._log.append(f"wait {timeout_ms}")
        self.on_wait()

    def wake(self) -> None:
        self.wakes += 1


def waiting(log: list[str]) -> tuple[WaitingLoop, FakeWaiter]:
    waiter = FakeWaiter(log)
    return WaitingLoop(FakeClock(), waiter), waiter


def test_waiter_runs_what_its_sockets_bring_before_posts_and_parts() -> None:
    log: list[str] = []
    loop, waiter = waiting(log)
    loop.attach((FakePart(log, "part"),))
    waiter.on_wait = lambda: log.append("socket")
    loop.post(lambda: log.append("post"))
    loop.turn()
    assert log == ["wait 0", "socket", "post", "part"]


def test_sockets_are_looked_at_also_while_there_is_other_work() -> None:
    log: list[str] = []
    loop, _waiter = waiting(log)
    part = FakePart(log, "part", more=2)
    part.on_turn = lambda: loop.stop() if len(log) >= 6 else None
    loop.attach((part,))
    loop.run()
    assert log[:6] == [f"wait {SLEEP_MS_MAX}", "part", "wait 0", "part", "wait 0", "part"]


def test_waiting_loop_sleeps_until_the_nearest_deadline_unless_something_was_posted() -> None:
    log: list[str] = []
    loop, _waiter = waiting(log)
    loop.turn(250)
    loop.post(lambda: None)
    loop.turn(250)
    assert log == ["wait 250", "wait 0"]


def test_post_wakes_the_waiter_only_if_it_may_be_asleep() -> None:
    """Once, however many posts there are: the first makes the loop take them all."""
    log: list[str] = []
    loop, waiter = waiting(log)
    loop.post(lambda: None)
    assert waiter.wakes == 0, "nobody sleeps yet"
    loop.turn()

    def three() -> None:
        for _ in range(3):
            loop.post(lambda: log.append("post"))

    waiter.on_wait = three
    loop.turn(250)
    assert waiter.wakes == 1
    assert log == ["wait 0", "wait 250", "post", "post", "post"]
    waiter.on_wait = lambda: loop.post(lambda: None)
    loop.turn(0)
    assert waiter.wakes == 1, "a look at the sockets is no sleep"


def test_stop_wakes_the_waiter() -> None:
    loop, waiter = waiting([])
    waiter.on_wait = loop.stop
    loop.run()
    assert waiter.wakes == 1


def test_failure_in_what_a_socket_brings_is_fatal_too() -> None:
    fatal: list[BaseException] = []
    waiter = FakeWaiter([])
    waiter.on_wait = lambda: _fail("bad message")
    WaitingLoop(FakeClock(), waiter, fatal.append).run()
    assert [str(error) for error in fatal] == ["bad message"]


def test_core_that_halts_while_sockets_are_read_runs_nothing_more() -> None:
    log: list[str] = []
    loop, waiter = waiting(log)
    loop.attach((FakePart(log, "part"),))
    loop.post(lambda: log.append("post"))
    waiter.on_wait = loop.halt
    loop.run()
    assert log == ["wait 0"]
