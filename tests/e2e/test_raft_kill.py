"""Traps 2 and 3 with real files: a member is killed in the middle of writing and of compacting.

What it is: a cluster of one in its own process, killed with SIGKILL at random moments, and what
its directory says afterwards. What it is not: a power cut: what the kernel has, it keeps; the fake
disk of tests/unit/coordinator/raft/kit.py loses that too.
"""

from __future__ import annotations

import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from kubebraid.base.seams import SystemClock
from kubebraid.coordinator.raft.chance import SystemChance
from kubebraid.coordinator.raft.disk import RealDisk
from kubebraid.coordinator.raft.journal import Journal
from kubebraid.coordinator.raft.node import Config, RaftLog, World

ROUNDS = 12
COMPACT_EVERY = 5


class Words:
    """A machine: the commands, in order."""

    def __init__(self) -> None:
        self.said: list[bytes] = []

    def apply(self, index: int, command: bytes) -> bytes:
        self.said.append(command)
        return b"%d" % index

    def snapshot(self) -> bytes:
        return b"\n".join(self.said)

    def restore(self, snapshot: bytes) -> None:
        self.said = snapshot.split(b"\n") if snapshot else []


def member(folder: Path) -> tuple[RaftLog, Words]:
    machine = Words()
    world = World(RealDisk(folder), SystemClock(), SystemChance())
    return RaftLog(Config("a", ("a",), bootstrap="kill"), machine, world), machine


def write_until_killed(folder: Path, round_number: int) -> None:
    """One command after the other, each printed when it is acknowledged."""
    log, _ = member(folder)
    number, waiting = 0, False

    def ended(answer: bytes | None) -> None:
        nonlocal waiting
        waiting = False
        if answer is not None:
            print(f"{round_number}.{number}", flush=True)

    while True:
        if not waiting:
            number += 1
            waiting = True
            log.submit(f"{round_number}.{number}".encode(), ended)
            if number % COMPACT_EVERY == 0:
                log.compact()
        if not log.turn():
            time.sleep(0.001)


def read_back(folder: Path) -> list[str]:
    """What a new start finds, once it leads itself."""
    log, machine = member(folder)
    passed: list[bool] = []
    log.barrier(passed.append)
    end = time.monotonic() + 20
    while not passed and time.monotonic() < end:
        if not log.turn():
            time.sleep(0.001)
    assert passed == [True]
    log.close()
    return [command.decode() for command in machine.said]


@pytest.mark.e2e
@pytest.mark.cluster
def test_trap02_trap03_a_killed_member_keeps_what_it_acknowledged(tmp_path: Path) -> None:
    rng = random.Random(3)
    acknowledged: list[str] = []
    generations: list[int] = []
    for round_number in range(ROUNDS):
        child = subprocess.Popen(
            [sys.executable, __file__, str(tmp_path), str(round_number)],
            stdout=subprocess.PIPE,
            text=True,
        )
        try:
            assert child.stdout is not None
            acknowledged.append(child.stdout.readline().strip())
            time.sleep(rng.uniform(0.05, 0.4))
            child.send_signal(signal.SIGKILL)
            acknowledged += [line.strip() for line in child.stdout]
        finally:
            child.kill()
            child.wait()
            if child.stdout is not None:
                child.stdout.close()
        said = read_back(tmp_path)
        assert len(said) == len(set(said))
        missing = set(acknowledged) - set(said)
        assert not missing, f"round {round_number} lost {sorted(missing)}"
        (journal,) = tmp_path.glob("journal-*")
        generations.append(int(journal.name.removeprefix("journal-")))
    assert len(acknowledged) > 20 * ROUNDS
    assert generations[-1] > 5 * ROUNDS, "there were compactions to be killed in"


@pytest.mark.e2e
@pytest.mark.cluster
def test_trap03_a_member_killed_in_a_compaction_has_the_whole_tail(tmp_path: Path) -> None:
    """The design's recipe: PySyncObj's own journal lost it in 25 of 40 runs."""
    for round_number in range(10):
        folder = tmp_path / str(round_number)
        folder.mkdir()
        code = (
            "import sys\n"
            "from pathlib import Path\n"
            "from kubebraid.coordinator.raft.disk import RealDisk\n"
            "from kubebraid.coordinator.raft.journal import Journal\n"
            "from kubebraid.coordinator.raft.journal_codec import Entry, Head, Vote\n"
            "entries = [Entry(b'x' * 100, n, 1) for n in range(1, 4001)]\n"
            "disk = RealDisk(Path(sys.argv[1]))\n"
            "journal = Journal.create(disk, Head(1, 7, 'a'), Vote(1, 'a'), entries)\n"
            "print('ready', flush=True)\n"
            "while len(journal) > 10:\n"
            "    journal.deleteEntriesTo(10)\n"
        )
        child = subprocess.Popen(
            [sys.executable, "-c", code, str(folder)], stdout=subprocess.PIPE, text=True
        )
        try:
            assert child.stdout is not None
            assert child.stdout.readline() == "ready\n"
            time.sleep(0.012 + 0.004 * round_number)
        finally:
            child.kill()
            child.wait()
            if child.stdout is not None:
                child.stdout.close()
        journal = Journal.load(RealDisk(folder), 7, "a")
        assert journal.last_index == 4000
        assert len(journal) == 4000 - journal.first_index + 1
        assert journal.getVotedForNodeId() == "a"


if __name__ == "__main__":
    write_until_killed(Path(sys.argv[1]), int(sys.argv[2]))
