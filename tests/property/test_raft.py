"""Invariant 22 over random histories: crashes, lost disks, partitions, lost and reordered messages.

What it is: a whole cluster on the fake world of tests/unit/coordinator/raft/kit.py, a seed at a
time, judged against what every machine ever applied. What it is not: real files or processes.
"""

from __future__ import annotations

import hashlib
import random
from functools import partial

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kubebraid.coordinator.raft.log import QueueFull, RaftFailed
from tests.unit.coordinator.raft.kit import Cluster, FakeDisk

STEPS = 60


class History:
    """Random events on one cluster, and the submissions with their outcomes."""

    def __init__(self, seed: int) -> None:
        self.rng = random.Random(seed)
        size = self.rng.choice((1, 3, 3, 3, 5))
        self.cluster = Cluster(size, seed)
        self.cluster.loss = self.rng.choice((0.0, 0.0, 0.02, 0.2))
        self.cluster.repeat = self.rng.choice((0.0, 0.1))
        self.cluster.shuffle = self.rng.random() < 0.4
        self.sent: list[bytes] = []
        self.acked: dict[bytes, bytes] = {}
        self.unknown: set[bytes] = set()
        self.lost: set[str] = set()
        self.barriers = 0
        self.by: dict[str, list[bytes]] = {name: [] for name in self.cluster.members}
        self.never: set[bytes] = set()

    def ended(self, command: bytes, answer: bytes | None) -> None:
        assert command not in self.acked
        assert command not in self.unknown, "done is called once"
        if answer is None:
            self.unknown.add(command)
        else:
            self.acked[command] = answer

    def submit(self) -> None:
        running = sorted(self.cluster.logs)
        if not running:
            return
        name = self.rng.choice(running)
        for _ in range(self.rng.randint(1, 4)):
            command = b"%d" % len(self.sent)
            self.sent.append(command)
            self.by[name].append(command)
            try:
                self.cluster.logs[name].submit(command, partial(self.ended, command))
            except (QueueFull, RaftFailed):
                self.unknown.add(command)

    def barrier(self) -> None:
        """After it, this machine has all that anybody was answered before it.

        And what this member asked for before it, as any of its processes, is here or never comes.
        """
        running = sorted(self.cluster.logs)
        if not running:
            return
        name = self.rng.choice(running)
        machine, known = self.cluster.machines[name], set(self.acked)
        asked = set(self.by[name])

        def passed(so: bool) -> None:
            if so:
                self.barriers += 1
                here = {command for _, command in machine.rows}
                assert known <= here, f"{name} lacks {known - here}"
                self.never |= asked - here

        try:
            self.cluster.logs[name].barrier(passed)
        except (QueueFull, RaftFailed):
            pass

    def kill(self) -> None:
        running = sorted(self.cluster.logs)
        if running:
            self.cluster.kill(self.rng.choice(running), power=self.rng.random() < 0.8)

    def lose_disk(self) -> None:
        """Of one member at a time, and only while the others could do without it."""
        cluster = self.cluster
        if len(cluster.members) < 3 or self.lost - self.refilled():
            return
        name = self.rng.choice(cluster.members)
        if name in cluster.logs:
            cluster.kill(name)
        cluster.disks[name] = FakeDisk()
        self.lost = {name}

    def refilled(self) -> set[str]:
        return {n for n in self.lost if "identity" in self.cluster.disks[n].names()}

    def start(self) -> None:
        down = [n for n in self.cluster.members if n not in self.cluster.logs]
        if down:
            self.cluster.start(self.rng.choice(down))

    def divide(self) -> None:
        count = self.rng.randint(1, len(self.cluster.members))
        self.cluster.isolate(*self.rng.sample(self.cluster.members, count))

    def pivot(self) -> None:
        """Two that do not hear each other court a third, which restarts again and again.

        Messages are slow, so a restart falls between a vote and what the elected leader sends.
        """
        cluster = self.cluster
        if len(cluster.members) < 3:
            return
        third, *others = self.rng.sample(cluster.members, len(cluster.members))
        for one in others[::2]:
            for two in others[1::2]:
                cluster.cut.add(frozenset((one, two)))
                cluster.part(one, two)
        cluster.most = 1
        for _ in range(self.rng.randint(5, 15)):
            if third in cluster.logs:
                cluster.kill(third)
            cluster.start(third)
            self.submit()
            cluster.run(self.rng.choice((20, 50, 100, 200, 400)))
        cluster.most = 200

    def compact(self) -> None:
        for log in self.cluster.logs.values():
            if self.rng.random() < 0.5:
                log.compact()

    def event(self) -> None:
        kinds = [self.submit] * 8 + [self.barrier] * 3 + [self.kill] * 2 + [self.start] * 3
        kinds += [self.divide, self.cluster.heal, self.cluster.heal, self.compact, self.lose_disk]
        kinds += [self.pivot] * 2
        self.rng.choice(kinds)()
        self.cluster.run(self.rng.choice((10, 30, 100, 300, 1_500)))

    def settle(self) -> None:
        """Good times: everything runs and is connected, and catches up."""
        cluster = self.cluster
        cluster.loss = cluster.repeat = 0.0
        cluster.cut.clear()
        for name in cluster.members:
            if name not in cluster.logs:
                cluster.start(name)
        cluster.heal()
        cluster.run(4_000)
        for name in cluster.members:
            assert any(cluster.barrier(name) for _ in range(5)), f"{name} never caught up"

    def judge(self) -> None:
        cluster = self.cluster
        assert not cluster.breaches, cluster.breaches
        assert not cluster.stopped, "nobody had a reason to stop"
        hashes = {
            name: hashlib.sha256(cluster.machines[name].snapshot()).hexdigest()
            for name in cluster.members
        }
        assert len(set(hashes.values())) == 1, hashes
        rows = cluster.commands(cluster.members[0])
        assert len(rows) == len(set(rows)), "each command at most once"
        assert set(rows) <= set(self.sent)
        assert not set(rows) & self.never, "given up, overtaken, and yet applied"
        for command, answer in self.acked.items():
            count, _, said = answer.partition(b":")
            assert rows[int(count) - 1] == command == said, (command, answer)


def play(seed: int) -> History:
    history = History(seed)
    for _ in range(STEPS):
        history.event()
    history.settle()
    history.judge()
    return history


@settings(max_examples=15)
@given(st.integers(0, 2**32))
def test_inv22_one_command_per_index_and_equal_states_whatever_fails(seed: int) -> None:
    play(seed)


@pytest.mark.slow
@given(st.integers(0, 2**32))
def test_inv22_over_many_histories(seed: int) -> None:
    play(seed)


def test_inv22_the_histories_do_something() -> None:
    """A judge of empty histories would always be content."""
    histories = [play(seed) for seed in range(8)]
    assert sum(len(h.acked) for h in histories) > 200
    assert sum(len(h.unknown) for h in histories) > 20
    assert sum(h.barriers for h in histories) > 20
    assert any(h.lost for h in histories)
    assert any(h.never for h in histories)
