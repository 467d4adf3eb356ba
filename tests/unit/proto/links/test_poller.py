"""The poller: sockets, time and being woken, with real sockets and a clock that is moved."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator

import pytest

from kubebraid.base.loop import WaitingLoop
from kubebraid.base.seams import SystemClock
from kubebraid.proto.links.poller import READ, WRITE, Poller

from .kit import FakeClock

LONG_MS = 30_000  # a wait that nothing ends fails the test by its length
SHORT_MS = 10_000


@pytest.fixture
def poller() -> Iterator[Poller]:
    made = Poller(FakeClock())
    yield made
    made.close()


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    ends = socket.socketpair()
    yield ends
    for end in ends:
        end.close()


def test_ready_socket_calls_its_handler_until_it_is_unwatched(
    poller: Poller, pair: tuple[socket.socket, socket.socket]
) -> None:
    seen: list[int] = []
    poller.watch(pair[0], READ, seen.append)
    poller.wait(0)
    assert seen == []
    pair[1].send(b"x")
    poller.wait(LONG_MS)
    poller.wait(LONG_MS)
    assert seen == [READ, READ], "what is not read is reported again"
    poller.rewatch(pair[0], READ | WRITE, seen.append)
    poller.wait(LONG_MS)
    assert seen[2:] == [READ | WRITE]
    poller.unwatch(pair[0])
    poller.wait(0)
    assert len(seen) == 3


def test_time_is_that_of_the_last_look() -> None:
    clock = FakeClock()
    poller = Poller(clock)
    clock.ms += 5
    assert poller.polled_ms == clock.ms - 5
    poller.wait(0)
    assert poller.polled_ms == clock.ms
    poller.close()


def test_wake_ends_a_wait_and_is_forgotten() -> None:
    clock = SystemClock()
    poller = Poller(clock)
    began_ms = clock.now_ms()
    waker = threading.Timer(0.05, poller.wake)
    waker.start()
    poller.wait(LONG_MS)
    assert clock.now_ms() - began_ms < SHORT_MS
    waker.join()
    began_ms = clock.now_ms()
    poller.wait(20)
    assert clock.now_ms() - began_ms >= 15, "one wake ends one wait"
    poller.close()


def test_wakes_without_number_block_nobody_and_end_one_wait(poller: Poller) -> None:
    for _ in range(100_000):
        poller.wake()
    poller.wait(LONG_MS)


def test_posts_of_many_threads_wake_the_loop_each_time() -> None:
    """A lost wake would cost a second: the loop sleeps between any two of these posts."""
    clock = SystemClock()
    poller = Poller(clock)
    loop = WaitingLoop(clock, poller)
    runner = threading.Thread(target=loop.run)
    runner.start()
    began_ms = clock.now_ms()
    for _ in range(500):
        done = threading.Event()
        loop.post(done.set)
        assert done.wait(10)
    assert clock.now_ms() - began_ms < SHORT_MS
    loop.stop()
    runner.join(10)
    assert not runner.is_alive()
    poller.close()
