"""A cluster of RaftLogs in one process, on a fake disk, clock, network and chance.

What it is: the world of the tests of coordinator/raft. What it is not: fair: messages are lost,
repeated and reordered as the seed says, and a crash tears what was not synced.

Invariants:
- everything is decided by the seed: the same seed, the same run;
- a crash keeps what was synced, any part of the rest (the last piece perhaps torn, perhaps turned
  to zeros), and a prefix of the renames since the last sync of the directory.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial

from kubebraid.base.links import Link, Peer
from kubebraid.coordinator.raft.log import RaftFailed
from kubebraid.coordinator.raft.node import Config, RaftLog, World

NAMES = ("a", "b", "c", "d", "e")


class FakeClock:
    """Steps when told."""

    def __init__(self) -> None:
        self.now = 1_000

    def now_ms(self) -> int:
        return self.now


class SeededChance:
    """From a seed."""

    def __init__(self, rng: random.Random) -> None:
        self._rng = rng

    def fraction(self) -> float:
        return self._rng.random()

    def token(self) -> int:
        return self._rng.getrandbits(64)


@dataclass
class _File:
    synced: bytes = b""
    pending: list[bytes] = field(default_factory=list)

    @property
    def content(self) -> bytes:
        return self.synced + b"".join(self.pending)


Names = dict[str, _File]


class FakeDisk:
    """A directory that can lose power. `fail_sync`: names whose sync raises from now on."""

    def __init__(self) -> None:
        self._names: Names = {}
        self._history: list[Names] = [{}]  # the directory after each change since its last sync
        self.syncs = 0
        self.fail_sync: str | None = None
        self.lie: Callable[[bytes], bool] = lambda _: False  # a sync that does nothing

    def names(self) -> list[str]:
        return sorted(self._names)

    def read(self, name: str) -> bytes:
        return self._names[name].content

    def append(self, name: str, data: bytes) -> None:
        if name not in self._names:
            self._names[name] = _File()
            self._changed()
        self._names[name].pending.append(data)

    def sync(self, name: str) -> None:
        if self.fail_sync is not None and name.startswith(self.fail_sync):
            raise OSError(5, f"sync of {name}")
        self.syncs += 1
        file = self._names[name]
        if not self.lie(b"".join(file.pending)):
            file.synced, file.pending = file.content, []

    def rename(self, old: str, new: str) -> None:
        self._names[new] = self._names.pop(old)
        self._changed()

    def remove(self, name: str) -> None:
        del self._names[name]
        self._changed()

    def sync_names(self) -> None:
        self._history = [dict(self._names)]

    def close(self) -> None:
        """Nothing is open."""

    def _changed(self) -> None:
        self._history.append(dict(self._names))

    def crash(self, rng: random.Random) -> None:
        """Lose power."""
        # ext4 and the like: a file that was synced has its name, if the file was made in it.
        self._names = dict(rng.choice(self._history))
        for file in self._names.values():
            kept = file.pending[: rng.randint(0, len(file.pending))]
            if len(kept) < len(file.pending) and rng.random() < 0.7:
                torn = file.pending[len(kept)]
                torn = torn[: rng.randint(0, len(torn))]
                kept.append(bytes(len(torn)) if rng.random() < 0.3 else torn)
            file.synced, file.pending = file.synced + b"".join(kept), []
        self.sync_names()


class Ledger:
    """A machine that keeps every (index, command), and says how many it has.

    `history`: what any machine of the cluster ever applied, by index; `breaches`: two at one index.
    """

    def __init__(self, history: dict[int, bytes], breaches: list[str]) -> None:
        self.rows: list[tuple[int, bytes]] = []
        self._history = history
        self._breaches = breaches

    def apply(self, index: int, command: bytes) -> bytes:
        if self._history.setdefault(index, command) != command:
            self._breaches.append(f"{index}: {self._history[index]!r} and {command!r}")
        if self.rows and index <= self.rows[-1][0]:
            self._breaches.append(f"{index} after {self.rows[-1][0]}")
        if command.startswith(b"raise"):
            raise ValueError("a bug of the machine")
        self.rows.append((index, command))
        return b"%d:%s" % (len(self.rows), command)

    def snapshot(self) -> bytes:
        return b"\n".join(b"%d %s" % row for row in self.rows)

    def restore(self, snapshot: bytes) -> None:
        pairs = [line.split(b" ", 1) for line in snapshot.splitlines()]
        self.rows = [(int(index), command) for index, command in pairs]


class FakeLink:
    """One end of a connection."""

    def __init__(self, cluster: Cluster, owner: str, peer: Peer) -> None:
        self._cluster = cluster
        self._owner = owner
        self._peer = peer
        self.open = True
        self.other: FakeLink | None = None

    @property
    def peer(self) -> Peer:
        return self._peer

    def send(self, kind: int, body: bytes) -> None:
        if self.open:
            self._cluster.put(self, kind, body)

    def pending_bytes(self) -> int:
        return 0

    def close(self) -> None:
        self.open = False


Packet = tuple[FakeLink, int, bytes]


class Cluster:
    """Members by name. `cut`: pairs that cannot reach each other; a cut loses what is under way."""

    def __init__(self, size: int = 3, seed: int = 0, boot: bool = True) -> None:
        self.rng = random.Random(seed)
        self.clock = FakeClock()
        self.members = NAMES[:size]
        self.disks = {name: FakeDisk() for name in self.members}
        self.machines: dict[str, Ledger] = {}
        self.logs: dict[str, RaftLog] = {}
        self.links: dict[tuple[str, str], FakeLink] = {}
        self.wire: list[Packet] = []
        self.cut: set[frozenset[str]] = set()
        self.history: dict[int, bytes] = {}
        self.breaches: list[str] = []
        self.incarnation = 0
        self.loss = self.repeat = 0.0
        self.shuffle = False
        self.most = 200  # messages that a step of time delivers: 1 is a very slow network
        self.stopped: list[str] = []
        self.spy: Callable[[str, str, bytes], bytes | None] | None = None
        for name in self.members:
            if boot:
                self.start(name, bootstrap="test")

    # -- members --

    def start(self, name: str, bootstrap: str | None = None) -> RaftLog:
        """A process of `name`, linked to all that run and can be reached."""
        self.incarnation += 1
        machine = Ledger(self.history, self.breaches)
        world = World(self.disks[name], self.clock, SeededChance(self.rng))
        log = RaftLog(Config(name, self.members, bootstrap), machine, world)
        self.machines[name], self.logs[name] = machine, log
        for other in self.members:
            self.join(name, other)
        return log

    def kill(self, name: str, power: bool = True) -> None:
        """The process ends; with `power`, the machine does."""
        for other in self.members:
            self.part(name, other)
        self.logs.pop(name, None)
        if power:
            self.disks[name].crash(self.rng)

    def join(self, one: str, two: str) -> None:
        if one == two or frozenset((one, two)) in self.cut or (one, two) in self.links:
            return
        if one not in self.logs or two not in self.logs:
            return
        ends = [
            FakeLink(self, a, Peer("coordinator", b, self.incarnation))
            for a, b in ((one, two), (two, one))
        ]
        ends[0].other, ends[1].other = ends[1], ends[0]
        self.links[one, two], self.links[two, one] = ends
        self.logs[one].opened(ends[0])
        self.logs[two].opened(ends[1])

    def part(self, one: str, two: str) -> None:
        for pair in ((one, two), (two, one)):
            link = self.links.pop(pair, None)
            if link is not None:
                link.open = False
                if pair[0] in self.logs:
                    self.logs[pair[0]].closed(link)
        self.wire = [p for p in self.wire if p[0].open]

    def isolate(self, *names: str) -> None:
        """`names` on one side, all others on the other."""
        for one in self.members:
            for two in self.members:
                if (one in names) != (two in names):
                    self.cut.add(frozenset((one, two)))
                    self.part(one, two)

    def heal(self) -> None:
        self.cut.clear()
        for one in self.members:
            for two in self.members:
                self.join(one, two)

    # -- the network --

    def put(self, link: FakeLink, kind: int, body: bytes) -> None:
        if self.rng.random() < self.loss:
            return
        source, target = link._owner, link.peer.name
        if self.spy is not None:
            changed = self.spy(source, target, body)
            if changed is None:
                return
            body = changed
        self.wire.append((link, kind, body))
        if self.rng.random() < self.repeat:
            self.wire.append((link, kind, body))

    def deliver(self, most: int = 10_000) -> int:
        """Hand over what is under way, answers included."""
        count = 0
        while self.wire and count < most:
            at = self.rng.randrange(len(self.wire)) if self.shuffle else 0
            link, kind, body = self.wire.pop(at)
            count += 1
            target = link.peer.name
            if link.open and link.other is not None and target in self.logs:
                other = link.other
                self.guard(target, partial(RaftLog.received, link=other, kind=kind, body=body))
                self.guard(target, lambda log: log.turn())
        return count

    def guard(self, name: str, work: Callable[[RaftLog], object]) -> None:
        """Whoever stops is gone, until it is started again."""
        if name not in self.logs:
            return
        try:
            work(self.logs[name])
        except RaftFailed:
            self.stopped.append(name)
            self.kill(name)

    # -- time --

    def step(self, ms: int = 10) -> None:
        self.clock.now += ms
        self.turn()
        self.deliver(self.most)

    def turn(self) -> None:
        for name in self.members:
            for _ in range(3):
                if name in self.logs:
                    self.guard(name, lambda log: log.turn())

    def run(self, ms: int, until: Callable[[], bool] | None = None) -> bool:
        """Let time pass, at most so much. Answers whether `until` came true."""
        end = self.clock.now + ms
        while self.clock.now < end:
            if until is not None and until():
                return True
            self.step()
        return until is not None and until()

    # -- what a test asks --

    def leaders(self) -> list[str]:
        return [n for n, log in self.logs.items() if log._parts and log._parts.core.leads]

    def lead(self, among: Sequence[str] | None = None) -> str:
        """Wait for a leader and name it."""

        def found() -> list[str]:
            return [n for n in self.leaders() if among is None or n in among]

        assert self.run(10_000, lambda: bool(found())), "no leader in ten seconds"
        return found()[-1]

    def submit(self, name: str, command: bytes, ms: int = 4_000) -> bytes | None:
        """Wait for the outcome."""
        got: list[bytes | None] = []
        self.logs[name].submit(command, got.append)
        assert self.run(ms, lambda: bool(got)), f"{command!r} never ended"
        return got[0]

    def barrier(self, name: str, ms: int = 4_000) -> bool:
        got: list[bool] = []
        self.logs[name].barrier(got.append)
        assert self.run(ms, lambda: bool(got)), "a barrier never ended"
        return got[0]

    def commands(self, name: str) -> list[bytes]:
        return [command for _, command in self.machines[name].rows]


def first_link(cluster: Cluster, source: str, target: str) -> Link:
    """The end that `target` hears `source` on."""
    return cluster.links[target, source]
