"""What links share: deadlines, flushes and ends, with links that only write down."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from kubebraid.proto.links.network import JUDGE_MS_MIN, Network
from kubebraid.proto.links.poller import Poller

from .kit import FakeClock


class Thing:
    """Timed and flushed."""

    def __init__(self, network: Network, log: list[str], name: str) -> None:
        self.network, self.log, self.name = network, log, name
        self.due_ms: int | None = None

    def tick(self, now_ms: int) -> int | None:
        self.log.append(f"tick {self.name}")
        return self.due_ms

    def flush(self) -> None:
        self.log.append(f"flush {self.name}")

    def close(self) -> None:
        self.network.remove(self)
        self.network.tell_later(lambda: self.log.append(f"ended {self.name}"))


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def network(clock: FakeClock) -> Iterator[Network]:
    poller = Poller(clock)
    yield Network(poller, lambda _work: None)
    poller.close()


def test_turn_judges_then_writes_then_tells(network: Network) -> None:
    log: list[str] = []
    thing = Thing(network, log, "a")
    network.add(thing)
    network.tell_later(lambda: log.append("ended"))
    network.flush_later(thing)
    assert network.turn(), "who heard of an end may have work"
    assert log == ["tick a", "flush a", "ended"]
    assert not network.turn()


def test_nearest_deadline_is_the_networks(network: Network, clock: FakeClock) -> None:
    log: list[str] = []
    for name, after_ms in (("a", 500), ("b", 300)):
        thing = Thing(network, log, name)
        thing.due_ms = clock.ms + after_ms
        network.add(thing)
    assert network.next_deadline_ms() == clock.ms, "a new one is looked at in this turn"
    network.turn()
    assert network.next_deadline_ms() == clock.ms + 300
    network.hurry(clock.ms + 400)
    assert network.next_deadline_ms() == clock.ms + 300
    network.hurry(clock.ms + 100)
    assert network.next_deadline_ms() == clock.ms + 100


def test_deadlines_are_judged_by_the_time_of_the_last_look(
    network: Network, clock: FakeClock
) -> None:
    """After a long turn the sockets are read before a peer is blamed."""
    log: list[str] = []
    thing = Thing(network, log, "a")
    thing.due_ms = clock.ms + 1_000
    network.add(thing)
    network.turn()
    log.clear()
    clock.ms += 60_000
    network.turn()
    assert log == []
    network.poller.wait(0)
    network.turn()
    assert log == ["tick a"]


def test_deadline_that_has_passed_does_not_keep_the_loop_busy(
    network: Network, clock: FakeClock
) -> None:
    thing = Thing(network, [], "a")
    thing.due_ms = clock.ms - 5
    network.add(thing)
    network.turn()
    assert network.next_deadline_ms() == clock.ms + JUDGE_MS_MIN


def test_close_ends_all_and_tells_them(network: Network) -> None:
    log: list[str] = []
    for name in "ab":
        network.add(Thing(network, log, name))
    network.close()
    assert [line for line in log if line.startswith("ended")] == ["ended a", "ended b"]
