"""Links between real processes, in real time: stopped, killed, and loaded."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from kubebraid.base.loop import WaitingLoop
from kubebraid.base.seams import SystemClock
from kubebraid.proto.links.endpoints import LinkDialer
from kubebraid.proto.links.network import Network
from kubebraid.proto.links.poller import Poller

from .kit import ROUTER, SECRET, User

CHILD = Path(__file__).with_name("child.py")
PATIENCE_S = 30.0  # only what hangs takes so long
MIB = 1 << 20
FILL_MIB = 200
MEMORY_MIB_MAX = 64  # of a side: Python, 8 MiB unsent, one message in and one out; not 200 MiB


class Child:
    """A process of child.py, and the lines that it prints."""

    def __init__(self, *arguments: str) -> None:
        command = [sys.executable, str(CHILD), *arguments]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)

    def line(self) -> list[str]:
        assert self.process.stdout is not None
        return self.process.stdout.readline().split()

    def address(self) -> str:
        word, address = self.line()
        assert word == "listening"
        return address

    def send(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    def end(self) -> None:
        self.process.kill()
        self.process.wait(PATIENCE_S)
        assert self.process.stdout is not None
        self.process.stdout.close()


@pytest.fixture
def start() -> Iterator[Callable[..., Child]]:
    children: list[Child] = []

    def begin(*arguments: str) -> Child:
        children.append(Child(*arguments))
        return children[-1]

    yield begin
    for child in children:
        child.end()


class Here:
    """The loop of this process, in a thread of its own."""

    def __init__(self) -> None:
        clock = SystemClock()
        self.user = User()
        self.poller = Poller(clock)
        self.loop = WaitingLoop(clock, self.poller)
        self.network = Network(self.poller, self.loop.post)
        self.loop.attach((self.network,))
        self._thread = threading.Thread(target=self.loop.run)
        self._thread.start()

    def dial(self, address: str) -> None:
        def begin() -> None:
            LinkDialer(self.network, address, ROUTER, SECRET, self.user)

        self.loop.post(begin)

    def until(self, condition: Callable[[], object]) -> float:
        """How many seconds it took to come true."""
        began_s = time.monotonic()
        while not condition():
            assert time.monotonic() - began_s < PATIENCE_S, self.user.log
            threading.Event().wait(0.01)
        return time.monotonic() - began_s

    def send(self, kind: int, body: bytes) -> None:
        self.loop.post(lambda: self.user.links[0].send(kind, body))

    def close(self) -> None:
        self.loop.post(self.network.close)
        self.loop.stop()
        self._thread.join(PATIENCE_S)
        assert not self._thread.is_alive()
        self.poller.close()


@pytest.fixture
def here() -> Iterator[Here]:
    made = Here()
    yield made
    made.close()


def test_peer_that_is_stopped_is_noticed_and_found_again(
    here: Here, start: Callable[..., Child]
) -> None:
    """Its kernel acknowledges all the time. It hears of the end when it goes on."""
    child = start("echo", "127.0.0.1:0")
    here.dial(child.address())
    here.until(lambda: here.user.links)
    here.send(1, b"hi")
    here.until(lambda: here.user.got == [(2, b"hi")])
    child.send(signal.SIGSTOP)
    noticed_s = here.until(lambda: not here.user.links)
    assert 0.5 < noticed_s <= 4.0
    child.send(signal.SIGCONT)
    here.until(lambda: here.user.links)
    assert here.user.log == ["opened echo", "closed echo", "opened echo"]
    lines = [child.line() for _ in range(3)]
    assert ["closed", "router-7"] in lines
    here.send(1, b"again")
    here.until(lambda: here.user.got[1:] == [(2, b"again")])


def test_process_that_was_stopped_itself_keeps_nothing_of_a_link_that_is_gone(
    here: Here, start: Callable[..., Child]
) -> None:
    """The peer has ended the link long ago: the stopped side learns it first of all."""
    child = start("echo", "127.0.0.1:0")
    here.dial(child.address())
    here.until(lambda: here.user.links)
    assert child.line()[0] == "opened"
    child.send(signal.SIGSTOP)
    here.until(lambda: not here.user.links)
    child.send(signal.SIGCONT)
    here.until(lambda: here.user.links)
    words = [child.line()[0] for _ in range(2)]
    assert sorted(words) == ["closed", "opened"]


def test_peer_that_was_killed_is_found_again_as_another_process(
    here: Here, start: Callable[..., Child]
) -> None:
    child = start("echo", "127.0.0.1:0")
    address = child.address()
    here.dial(address)
    here.until(lambda: here.user.links)
    first = here.user.links[0].peer.incarnation
    child.send(signal.SIGKILL)
    assert here.until(lambda: not here.user.links) < 2.0, "its kernel says so"
    again = start("echo", address)
    assert again.address() == address
    here.until(lambda: here.user.links)
    second = here.user.links[0].peer.incarnation
    assert (first, second) == (child.process.pid, again.process.pid)
    here.send(1, b"hi")
    here.until(lambda: here.user.got == [(2, b"hi")])


def test_two_hundred_megabytes_pass_through_bounded_memory(start: Callable[..., Child]) -> None:
    counter = start("count", "127.0.0.1:0")
    filler = start("fill", counter.address(), str(FILL_MIB))
    assert counter.line() == ["opened", "fill", str(filler.process.pid)]
    assert filler.line()[0] == "opened"
    for side in (counter, filler):
        word, peak_kib = side.line()
        assert word == "done"
        assert int(peak_kib) < MEMORY_MIB_MAX * 1024
    filler.process.wait(PATIENCE_S)


def test_threads_without_number_post_to_a_loop_with_links(
    here: Here, start: Callable[..., Child]
) -> None:
    """Each message is sent by a post of another thread, and each comes back."""
    child = start("echo", "127.0.0.1:0")
    here.dial(child.address())
    here.until(lambda: here.user.links)

    def post(thread: int) -> None:
        for number in range(200):
            here.send(1, bytes([thread, number]))

    threads = [threading.Thread(target=post, args=(thread,)) for thread in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE_S)
    here.until(lambda: len(here.user.got) == 1_600)
    for thread_number in range(8):
        own = [body[1] for _kind, body in here.user.got if body[0] == thread_number]
        assert own == list(range(200)), "in the order of posting"
