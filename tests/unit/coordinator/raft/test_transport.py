"""What the transport refuses, counts, and keeps PySyncObj from believing."""

from __future__ import annotations

from typing import Any

from kubebraid.base.limits import RAFT_BACKLOG_BYTES_MAX, RAFT_COMMAND_BYTES_MAX
from kubebraid.base.links import Peer
from kubebraid.coordinator.raft import sessions, wire
from kubebraid.coordinator.raft.sessions import Envelope, Kind
from kubebraid.coordinator.raft.transport import LINK_KIND
from kubebraid.coordinator.raft.wire import Ack, Header, Message

from .kit import Cluster, FakeLink, first_link


class Scene:
    """A cluster with a leader, and messages put in by hand."""

    def __init__(self, seed: int = 0) -> None:
        self.cluster = Cluster(3, seed=seed)
        self.leader = self.cluster.lead()
        self.follower, self.third = (n for n in self.cluster.members if n != self.leader)
        assert self.cluster.submit(self.leader, b"first") is not None
        self.cluster.barrier(self.follower)

    def parts(self, name: str) -> Any:
        return self.cluster.logs[name]._parts

    def header(self, name: str) -> Header:
        running = self.cluster.logs[name].transport._running
        assert running is not None
        return Header(running.cluster, self.parts(name).core.term)

    def put(self, source: str, target: str, header: Header, message: Message) -> None:
        link = first_link(self.cluster, source, target)
        self.cluster.logs[target].received(link, LINK_KIND, wire.encode(header, message))

    def dropped(self, name: str) -> dict[str, int]:
        return dict(self.cluster.logs[name].transport.dropped)


def test_strangers_are_not_heard() -> None:
    scene = Scene()
    log = scene.cluster.logs[scene.leader]
    for peer in (Peer("shard", scene.follower, 1), Peer("coordinator", "z", 1)):
        stranger = FakeLink(scene.cluster, scene.leader, peer)
        log.opened(stranger)
        log.received(stranger, LINK_KIND, b"")
        log.closed(stranger)
    link = first_link(scene.cluster, scene.follower, scene.leader)
    log.received(link, LINK_KIND + 1, b"")
    assert scene.dropped(scene.leader) == {"stranger": 5}


def test_another_cluster_is_not_heard() -> None:
    scene = Scene()
    header = scene.header(scene.leader)
    foreign = Header(header.cluster + 1, header.term + 100)
    scene.put(scene.third, scene.leader, foreign, wire.VoteAsk(10_000, 10_000))
    assert scene.dropped(scene.leader) == {"cluster": 1}
    assert scene.parts(scene.leader).core.term == header.term


def test_a_second_vote_of_one_member_counts_once() -> None:
    """Five members: its own vote and one that the network doubled must not make a leader."""
    cluster = Cluster(5, seed=1)
    candidate, voter = cluster.members[:2]
    cluster.spy = lambda source, target, body: None
    cluster.run(900)
    parts: Any = cluster.logs[candidate]._parts
    running = cluster.logs[candidate].transport._running
    assert running is not None
    vote = wire.encode(Header(running.cluster, parts.core.term), wire.Vote())
    assert parts.core.term >= 1
    link = first_link(cluster, voter, candidate)
    for _ in range(3):
        cluster.logs[candidate].received(link, LINK_KIND, vote)
    assert not parts.core.leads
    assert cluster.logs[candidate].transport.dropped["stale"] == 2
    other = first_link(cluster, cluster.members[2], candidate)
    cluster.logs[candidate].received(other, LINK_KIND, vote)
    assert parts.core.leads, "three of five"


def test_an_older_snapshot_clears_nothing() -> None:
    """Row 4: PySyncObj drops the log for any snapshot that comes from a leader of its term."""
    scene = Scene()
    cluster = scene.cluster
    cluster.logs[scene.leader].compact()
    cluster.run(250)
    old = cluster.disks[scene.leader].read("snapshot")
    for number in range(5):
        cluster.submit(scene.leader, b"%d" % number)
    cluster.barrier(scene.follower)
    before = list(scene.parts(scene.follower).journal[:])
    acks: list[Ack] = []

    def hear(source: str, target: str, body: bytes) -> bytes:
        message = wire.decode(body)[1]
        if source == scene.follower and isinstance(message, Ack):
            acks.append(message)
        return body

    cluster.spy = hear
    header = scene.header(scene.leader)
    scene.put(scene.leader, scene.follower, header, wire.Install(99, old))
    assert list(scene.parts(scene.follower).journal[:]) == before
    assert cluster.commands(scene.follower) == cluster.commands(scene.leader)
    last = wire.decode(wire.encode(header, wire.Install(99, old)))[1]
    assert isinstance(last, wire.Install)
    assert acks[0].success
    assert acks[0].next_index <= before[-1].index, "no more than the snapshot holds"


def test_a_snapshot_that_is_damaged_or_foreign_is_dropped() -> None:
    scene = Scene()
    scene.cluster.logs[scene.leader].compact()
    scene.cluster.run(250)
    data = scene.cluster.disks[scene.leader].read("snapshot")
    header = scene.header(scene.leader)
    scene.put(scene.leader, scene.follower, header, wire.Install(99, data[:-1]))
    assert scene.dropped(scene.follower) == {"garbled": 1}


def test_a_forwarded_command_is_its_sender_s_own_and_of_this_version() -> None:
    scene = Scene()
    header = scene.header(scene.leader)
    before = scene.parts(scene.leader).journal.last_index

    def forward(origin: str, command: bytes, version: int = 1) -> wire.Forward:
        data = sessions.encode(Envelope(Kind.COMMAND, origin, 50, 1, 1, command))
        return wire.Forward(1, b"\0" + bytes([version]) + data[1:])

    for message in (
        forward(scene.third, b"in another's name"),
        forward(scene.follower, b"of a later version", version=2),
        forward(scene.follower, b"x" * (RAFT_COMMAND_BYTES_MAX + 600)),
    ):
        scene.put(scene.follower, scene.leader, header, message)
    scene.cluster.run(200)
    assert scene.dropped(scene.leader) == {"garbled": 3}
    assert scene.parts(scene.leader).journal.last_index == before
    scene.put(scene.follower, scene.leader, header, forward(scene.follower, b"fine"))
    scene.cluster.run(200)
    assert scene.cluster.commands(scene.third)[-1] == b"fine"


def test_an_acknowledgement_beyond_our_log_is_no_more_than_our_log() -> None:
    """A follower with a longer log asks from its own end; PySyncObj found nothing to send it."""
    scene = Scene()
    header = scene.header(scene.leader)
    end = scene.parts(scene.leader).journal.last_index
    scene.put(scene.follower, scene.leader, header, Ack(end + 50, False, True))
    assert scene.dropped(scene.leader) == {"stale": 1}
    scene.put(scene.follower, scene.leader, header, Ack(end + 50, True, False))
    scene.cluster.run(300)
    assert scene.dropped(scene.leader) == {"stale": 1}, "nothing unanchored was made"
    assert scene.cluster.submit(scene.follower, b"goes on") is not None


def test_two_links_of_a_pair_are_one_peer() -> None:
    scene = Scene()
    cluster = scene.cluster
    first = cluster.links.pop((scene.leader, scene.follower))
    other = cluster.links.pop((scene.follower, scene.leader))
    cluster.join(scene.leader, scene.follower)
    assert cluster.submit(scene.follower, b"on both") is not None
    cluster.logs[scene.leader].closed(first)
    cluster.logs[scene.follower].closed(other)
    cluster.logs[scene.leader].closed(first)
    assert cluster.submit(scene.follower, b"on one") is not None
    assert cluster.logs[scene.leader].leader_name() == scene.leader


def test_a_peer_that_takes_nothing_is_sent_nothing_more() -> None:
    scene = Scene()
    link = scene.cluster.links[scene.leader, scene.follower]
    link.pending_bytes = lambda: RAFT_BACKLOG_BYTES_MAX + 1  # type: ignore[method-assign]  # stuck
    scene.cluster.run(300)
    assert scene.dropped(scene.leader)["backlog"] >= 2
    assert scene.cluster.submit(scene.leader, b"the others are enough") is not None
