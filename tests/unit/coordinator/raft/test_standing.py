"""Where a member stands, as operators are told."""

from __future__ import annotations

import random

from kubebraid.coordinator.raft.log import Standing
from kubebraid.coordinator.raft.node import Config, RaftLog, World

from .kit import Cluster, FakeClock, FakeDisk, Ledger, SeededChance


def test_members_of_a_cluster_name_one_leader_and_how_far_they_are() -> None:
    cluster = Cluster(3)
    leader = cluster.lead()
    before = cluster.logs[leader].standing()
    assert cluster.submit(leader, b"x") is not None
    for name in cluster.members:
        assert cluster.barrier(name)
        standing = cluster.logs[name].standing()
        assert (standing.waiting, standing.leader, standing.term) == (False, leader, before.term)
        assert standing.applied > before.applied


def test_member_without_the_others_names_no_leader() -> None:
    cluster = Cluster(3)
    leader = cluster.lead()
    for name in cluster.members:
        if name != leader:
            cluster.kill(name)
    cluster.run(5_000)
    assert cluster.logs[leader].standing().leader == ""


def test_member_without_a_log_waits() -> None:
    world = World(FakeDisk(), FakeClock(), SeededChance(random.Random(1)))
    log = RaftLog(Config("a", ("a", "b", "c")), Ledger({}, []), world)
    assert log.standing() == Standing(True, "", 0, 0)
