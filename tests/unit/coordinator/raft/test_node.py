"""A member as its process sees it: starts, restarts, turns, deadlines, ends."""

from __future__ import annotations

import random

import pytest

from kubebraid.base.limits import RAFT_HEARTBEAT_MS, RAFT_TICK_MS
from kubebraid.coordinator.raft.log import (
    IdentityRefused,
    JournalDamaged,
    RaftFailed,
    ReplicatedLog,
)
from kubebraid.coordinator.raft.node import Config, RaftLog, World

from .kit import Cluster, FakeClock, FakeDisk, Ledger, SeededChance


def test_one_member_is_a_cluster() -> None:
    cluster = Cluster(1)
    log: ReplicatedLog = cluster.logs["a"]
    assert cluster.lead() == "a"
    assert cluster.submit("a", b"x") == b"1:x"
    assert cluster.barrier("a")
    assert log.leader_name() == "a"
    cluster.kill("a")
    cluster.start("a")
    assert cluster.submit("a", b"y") == b"2:y"
    assert cluster.commands("a") == [b"x", b"y"]


@pytest.mark.parametrize("size", [3, 5])
def test_a_cluster_survives_the_restart_of_every_member(size: int) -> None:
    cluster = Cluster(size)
    for name in cluster.members:
        assert cluster.submit(name, name.encode()) is not None
    for name in cluster.members:
        cluster.kill(name)
    for name in cluster.members:
        cluster.start(name)
    for name in cluster.members:
        assert cluster.barrier(name)
        assert cluster.commands(name) == [n.encode() for n in cluster.members]


def test_bootstrap_again_changes_nothing() -> None:
    cluster = Cluster(3)
    cluster.submit(cluster.lead(), b"x")
    for name in cluster.members:
        cluster.kill(name)
        cluster.start(name, bootstrap="test")
    assert cluster.barrier("a")
    assert cluster.commands("a") == [b"x"]


def test_a_snapshot_and_the_log_after_it_are_read_back() -> None:
    cluster = Cluster(3)
    leader = cluster.lead()
    for number in range(6):
        cluster.submit(leader, b"%d" % number)
        if number == 3:
            for log in cluster.logs.values():
                log.compact()
            cluster.run(250)
    for name in cluster.members:
        cluster.kill(name)
        cluster.start(name)
    for name in cluster.members:
        assert cluster.barrier(name)
        assert cluster.commands(name) == [b"%d" % number for number in range(6)]


def test_power_lost_between_the_snapshot_and_the_journal_s_new_front() -> None:
    """PySyncObj would drop the whole log and keep the snapshot's two entries."""
    cluster = Cluster(1)
    cluster.lead()
    for number in range(6):
        cluster.submit("a", b"%d" % number)
    cluster.logs["a"].compact()
    cluster.disks["a"].fail_sync = "journal-0000000000000003"
    cluster.run(250)
    assert cluster.stopped == ["a"]
    disk = cluster.disks["a"]
    disk.fail_sync = None
    assert "snapshot" in disk.names()
    cluster.start("a")
    assert cluster.submit("a", b"6") == b"7:6"


def test_entries_after_the_snapshot_survive_a_start_with_the_journal_s_old_front() -> None:
    cluster = Cluster(1)
    cluster.lead()
    for number in range(6):
        cluster.submit("a", b"%d" % number)
        if number == 2:
            parts = cluster.logs["a"]._parts
            assert parts is not None
            *_, previous, last = parts.journal._entries
            parts.snapshots.store(parts.snapshots.fresh(previous, last))
    cluster.kill("a")
    cluster.start("a")
    assert cluster.submit("a", b"6") == b"7:6"


def test_a_leader_that_is_cut_off_knows_it_soon() -> None:
    cluster = Cluster(3)
    leader = cluster.lead()
    cluster.isolate(leader)
    cluster.run(1_500)
    assert cluster.logs[leader].leader_name() is None


@pytest.mark.parametrize("size", [1, 3])
def test_deadlines_are_a_heartbeat_ahead_and_idle_turns_want_no_other(size: int) -> None:
    cluster = Cluster(size)
    cluster.lead()
    cluster.run(100)
    for log in cluster.logs.values():
        assert log.turn() is False
        deadline = log.next_deadline_ms()
        assert deadline is not None
        assert 0 < deadline - cluster.clock.now <= RAFT_HEARTBEAT_MS


def test_turned_only_at_its_deadlines_a_cluster_elects_and_keeps_its_leader() -> None:
    cluster = Cluster(3)
    leaders: set[str] = set()
    for _ in range(200):
        deadlines = [log.next_deadline_ms() for log in cluster.logs.values()]
        cluster.clock.now = min(d for d in deadlines if d is not None)
        cluster.turn()
        cluster.deliver()
        leaders.update(cluster.leaders())
    assert cluster.clock.now > 5_000, "it sleeps in between"
    assert len(leaders) == 1


def test_a_member_that_can_reach_nobody_does_not_spin() -> None:
    cluster = Cluster(3)
    cluster.isolate("a")
    cluster.run(3_000)
    log = cluster.logs["a"]
    assert log.turn() is False
    assert log.next_deadline_ms() == cluster.clock.now + RAFT_TICK_MS


def test_closing_answers_everyone_and_stops() -> None:
    cluster = Cluster(3)
    leader = cluster.lead()
    log = cluster.logs[leader]
    answers: list[bytes | None] = []
    passed: list[bool] = []
    log.submit(b"x", answers.append)
    log.barrier(passed.append)
    log.close()
    assert answers == [None]
    assert passed == [False]
    with pytest.raises(RaftFailed):
        log.turn()


def test_callbacks_may_submit() -> None:
    cluster = Cluster(1)
    cluster.lead()
    answers: list[bytes | None] = []
    log = cluster.logs["a"]
    log.submit(b"x", lambda _: log.submit(b"y", answers.append))
    assert cluster.run(1_000, lambda: bool(answers))
    assert answers == [b"2:y"]


def member(disk: FakeDisk, bootstrap: str | None = None) -> RaftLog:
    world = World(disk, FakeClock(), SeededChance(random.Random(1)))
    return RaftLog(Config("a", ("a",), bootstrap), Ledger({}, []), world)


def test_a_damaged_directory_is_refused_with_its_file_and_hint() -> None:
    cluster = Cluster(1)
    cluster.lead()
    cluster.submit("a", b"x" * 100)
    disk = cluster.disks["a"]
    name = next(n for n in disk.names() if n.startswith("journal-"))
    file = disk._names[name]
    at = file.synced.index(b"xxx")
    file.synced = file.synced[:at] + b"y" + file.synced[at + 1 :]
    cluster.submit("a", b"more")
    with pytest.raises(JournalDamaged, match=name) as told:
        member(disk)
    assert "refilled" in told.value.hint
    assert not told.value.definite


def test_a_snapshot_that_is_gone_or_foreign_is_refused() -> None:
    cluster = Cluster(1)
    cluster.lead()
    for number in range(4):
        cluster.submit("a", b"%d" % number)
    cluster.logs["a"].compact()
    cluster.run(250)
    disk = cluster.disks["a"]
    data = disk.read("snapshot")
    disk.remove("snapshot")
    with pytest.raises(JournalDamaged, match="not there"):
        member(disk)
    disk.append("snapshot", data[:-1])
    with pytest.raises(JournalDamaged, match="checksum"):
        member(disk)


def test_a_directory_of_another_member_is_refused() -> None:
    cluster = Cluster(3)
    with pytest.raises(IdentityRefused):
        member(cluster.disks["b"])


def test_a_waiting_member_answers_none_and_turns_quietly() -> None:
    log = member(FakeDisk())
    assert log.standing().waiting
    assert log.leader_name() is None
    assert log.turn() is False
    deadline = log.next_deadline_ms()
    assert deadline is not None
    answers: list[bytes | None] = []
    log.submit(b"x", answers.append)
    log.close()
    assert answers == [None]
