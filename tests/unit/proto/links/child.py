"""A process with one link, for tests that stop it, kill it or load it.

    child.py echo ADDRESS       listens; answers each message with its own body and kind + 1
    child.py count ADDRESS      listens; answers each kind 2 with the bytes that it has received
    child.py fill ADDRESS MIB   dials; sends that much in messages of 1 MiB, then waits for the end

What it is: real loops on real clocks, with the secret of `kit.py`. It prints one line a fact:
`listening ADDRESS`, `opened NAME INCARNATION`, `closed NAME`, `done VmHWM-in-KiB`. What it is not:
a test.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from kubebraid.base.links import Link, Peer
from kubebraid.base.loop import WaitingLoop
from kubebraid.base.seams import SystemClock
from kubebraid.proto.links.endpoints import LinkDialer, LinkServer
from kubebraid.proto.links.handshake import Identity
from kubebraid.proto.links.network import Network
from kubebraid.proto.links.poller import Poller

SECRET = bytes(range(32))  # of kit.py, which is not importable from a bare script
MIB = 1 << 20
UNSENT_MAX = 8 * MIB


def say(*words: object) -> None:
    print(*words, flush=True)


def memory_peak_kib() -> int:
    """The most that this process has had in memory."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1])
    return 0


class Child:
    """Its user and a part of its loop."""

    def __init__(self, loop: WaitingLoop, mode: str, mib: int) -> None:
        self._loop, self._mode, self._left = loop, mode, mib
        self._received = 0
        self._link: Link | None = None

    def opened(self, link: Link) -> None:
        say("opened", link.peer.name, link.peer.incarnation)
        self._link = link

    def received(self, link: Link, kind: int, body: bytes) -> None:
        self._received += len(body)
        if self._mode == "echo":
            link.send(kind + 1, body)
        elif self._mode == "fill":
            say("done", memory_peak_kib())
            self._loop.stop()
        elif kind == 2:
            say("done", memory_peak_kib())
            link.send(3, self._received.to_bytes(8, "big"))

    def closed(self, link: Link) -> None:
        say("closed", link.peer.name)
        self._link = None

    def turn(self) -> bool:
        """Fills the link, but not the memory."""
        link = self._link
        if self._mode != "fill" or link is None or not self._left:
            return False
        while self._left and link.pending_bytes() < UNSENT_MAX:
            link.send(1, os.urandom(MIB))
            self._left -= 1
        if not self._left:
            link.send(2, b"")
        return False

    def next_deadline_ms(self) -> int | None:
        return None


def main(mode: str, address: str, mib: int = 0) -> None:
    clock = SystemClock()
    poller = Poller(clock)
    loop = WaitingLoop(clock, poller)
    network = Network(poller, loop.post)
    child = Child(loop, mode, mib)
    me = Identity(Peer("shard", mode, os.getpid()), "braid-1")
    loop.attach((child, network))
    if mode == "fill":
        LinkDialer(network, address, me, SECRET, child)
    else:
        say("listening", LinkServer(network, address, me, SECRET, child).address)
    loop.run()


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], *map(int, sys.argv[3:]))
