"""Statuses for the tests of `kubebraid ctl`: a healthy cluster, and what can become of it."""

from __future__ import annotations

from typing import Final

from kubebraid.proto.adminwire import ClusterStatus, Coordinator, Sequencer, Shard, Tablet

HEALTHY: Final = ClusterStatus(
    router="r1",
    version="1.2.3",
    cluster="c1",
    stale=False,
    revision=40,
    floor=-1,
    map_version=7,
    alarms=(),
    coordinators=(
        Coordinator("a", "h:1", "leader", "a", 2, 90),
        Coordinator("b", "h:2", "follower", "a", 2, 90),
        Coordinator("c", "h:3", "follower", "a", 2, 89),
    ),
    sequencer=Sequencer("b", 3, True, 10_001, 12),
    shards=(
        Shard("s0", "h:4", "up", "d0", 255, 5 << 20, 1 << 20, 3),
        Shard("s1", "h:5", "up", "d1", 16, 1 << 20, 1 << 20, 0),
    ),
    tablets=(
        Tablet(1, "default-0", "", "/r/pods", 0, 1, "s0", 4, 1, 12, 40),
        Tablet(2, "pods.0", "/r/pods", "/r/pods0", 0, 2, "s0", 4, 1, 40, 38),
        Tablet(3, "pods.1", "/r/pods", "/r/pods0", 1, 2, "s1", 5, 1, 39, 39),
        Tablet(4, "default-1", "/r/pods0", None, 0, 1, "s1", 5, 1, 1, 39),
    ),
)


def coordinators(**states: str) -> ClusterStatus:
    """HEALTHY, but these coordinators are as told; those that do not run know nothing."""
    changed = []
    for member in HEALTHY.coordinators:
        state = states.get(member.name, member.state)
        runs = state in ("leader", "follower")
        leader, term, applied = (member.leader, member.term, member.applied) if runs else ("", 0, 0)
        changed.append(Coordinator(member.name, member.address, state, leader, term, applied))
    return HEALTHY._replace(coordinators=tuple(changed))


def shards(**states: str) -> ClusterStatus:
    """HEALTHY, but these shards are as told."""
    changed = (
        shard._replace(state=states.get(shard.name, shard.state)) for shard in HEALTHY.shards
    )
    return HEALTHY._replace(shards=tuple(changed))


def without_quorum() -> ClusterStatus:
    """Only a runs."""
    left = coordinators(a="alone", b="unreachable", c="unreachable")
    return left._replace(stale=True, sequencer=Sequencer("b", 3, False))
