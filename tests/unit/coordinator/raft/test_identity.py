"""Whose directory it is; a lost one neither votes nor leads until it is refilled."""

from __future__ import annotations

import random

import pytest

from kubebraid.base.limits import RAFT_QUEUE_MAX
from kubebraid.coordinator.raft import identity, snapshot, wire
from kubebraid.coordinator.raft.journal import Journal
from kubebraid.coordinator.raft.journal_codec import Entry
from kubebraid.coordinator.raft.log import IdentityRefused, JournalDamaged
from kubebraid.coordinator.raft.snapshot import Image
from kubebraid.coordinator.raft.transport import LINK_KIND

from .kit import Cluster, FakeDisk, FakeLink

ABC = ("a", "b", "c")


def test_members_agree_on_the_cluster_s_number_and_others_do_not() -> None:
    number = identity.cluster_of("token", ABC)
    assert identity.cluster_of("token", ("c", "a", "b")) == number
    assert identity.cluster_of("other", ABC) != number
    assert identity.cluster_of("token", ("a", "b", "d")) != number


def test_an_identity_is_read_as_it_was_written() -> None:
    disk = FakeDisk()
    assert identity.load(disk, "a", ABC) is None
    made = identity.bootstrap(disk, "token", "a", ABC)
    assert identity.load(disk, "a", ("c", "b", "a")) == made
    assert identity.load(disk, "a", ABC) == (identity.cluster_of("token", ABC), "a", ABC)


@pytest.mark.parametrize(
    ("name", "members"),
    [("b", ABC), ("a", ("a", "b", "d")), ("a", ("a",)), ("a", ("a", "b")), ("z", ABC)],
)
def test_another_name_or_membership_is_refused(name: str, members: tuple[str, ...]) -> None:
    disk = FakeDisk()
    identity.bootstrap(disk, "token", "a", ABC)
    with pytest.raises(IdentityRefused):
        identity.load(disk, name, members)


def test_a_bootstrap_cut_short_anywhere_has_no_identity_or_all() -> None:
    class Cut(Exception):
        pass

    seen = set()
    for seed in range(200):
        rng = random.Random(seed)
        disk = FakeDisk()
        left = rng.randint(1, 8)

        class CutDisk(FakeDisk):
            def sync(self, name: str) -> None:
                nonlocal left
                left -= 1
                if left == 0:
                    raise Cut
                super().sync(name)

        disk = CutDisk()
        try:
            identity.bootstrap(disk, "token", "a", ABC)
        except Cut:
            pass
        disk.crash(rng)
        found = identity.load(disk, "a", ABC)
        seen.add(found is None)
        if found is not None:
            assert any(name.startswith("journal-") for name in disk.names())
        left = 1_000
        identity.bootstrap(disk, "token", "a", ABC)
        assert sorted(n.split("-")[0] for n in disk.names()) == ["identity", "journal"]
    assert seen == {True, False}


def test_files_of_others_in_the_directory_are_left_alone() -> None:
    disk = FakeDisk()
    disk.append("lock", b"of the process")
    disk.append("identity.tmp", b"of a start that was cut short")
    identity.bootstrap(disk, "token", "a", ABC)
    Journal.load(disk, identity.cluster_of("token", ABC), "a")
    assert disk.read("lock") == b"of the process"
    assert "identity.tmp" not in disk.names()


def test_a_refill_is_read_as_it_was_written_or_refused() -> None:
    refill = identity.Refill(5, 8, "b", b"image")
    data = identity.encode_refill(refill)
    assert identity.decode_refill(data) == refill
    for at in range(len(data)):
        with pytest.raises(JournalDamaged):
            identity.decode_refill(data[:at])


def test_a_refilled_directory_has_spent_its_vote() -> None:
    disk = FakeDisk()
    image = Image(7, Entry(b"\0p", 89, 3), Entry(b"\0l", 90, 4), b"", b"")
    refill = identity.Refill(5, 8, "b", snapshot.encode(image))
    made = identity.install_refill(disk, refill, "a", ABC)
    assert made.cluster == 7
    assert identity.load(disk, "a", ABC) == made
    journal = Journal.load(disk, 7, "a")
    assert (journal.getCurrentTerm(), journal.getVotedForNodeId()) == (8, "b")
    assert journal[:] == [image.previous, image.last]


def lost(cluster: Cluster, name: str) -> None:
    """`name` comes back with an empty disk."""
    cluster.kill(name)
    cluster.disks[name] = FakeDisk()
    cluster.start(name)


def test_an_empty_directory_votes_for_nobody_and_campaigns_for_nothing() -> None:
    cluster = Cluster(3)
    leader = cluster.lead()
    cluster.submit(leader, b"x")
    empty = next(n for n in cluster.members if n != leader)
    said: list[wire.Message] = []

    def hear(source: str, target: str, body: bytes) -> bytes | None:
        message = wire.decode(body)[1]
        if source == empty:
            said.append(message)
        return None if isinstance(message, wire.Refill) else body

    cluster.spy = hear
    lost(cluster, empty)
    cluster.kill(leader)
    cluster.run(6_000)
    assert cluster.leaders() == [], "one of the two that are left has no vote"
    assert said
    assert all(isinstance(message, wire.RefillAsk) for message in said)
    assert cluster.logs[empty].standing().waiting


def test_a_member_is_refilled_and_then_counts() -> None:
    cluster = Cluster(3, seed=5)
    leader = cluster.lead()
    assert cluster.submit(leader, b"x") == b"1:x"
    empty, third = (n for n in cluster.members if n != leader)
    lost(cluster, empty)
    assert cluster.run(5_000, lambda: not cluster.logs[empty].standing().waiting)
    cluster.kill(third)
    assert cluster.submit(leader, b"y") == b"2:y"
    assert cluster.barrier(empty)
    assert cluster.commands(empty) == [b"x", b"y"]
    assert cluster.submit(empty, b"z") == b"3:z"
    cluster.kill(empty)
    cluster.start(empty)
    assert cluster.barrier(empty)
    assert cluster.commands(empty) == [b"x", b"y", b"z"]


def test_a_refill_waits_for_a_quorum_without_the_lost_member() -> None:
    cluster = Cluster(3, seed=5)
    leader = cluster.lead()
    empty, third = (n for n in cluster.members if n != leader)
    cluster.kill(third)
    lost(cluster, empty)
    cluster.run(8_000)
    assert cluster.logs[empty].standing().waiting, "one member is no quorum"
    cluster.start(third)
    assert cluster.run(8_000, lambda: not cluster.logs[empty].standing().waiting)


def test_a_member_with_a_full_queue_refills_later() -> None:
    cluster = Cluster(3, seed=5)
    leader = cluster.lead()
    empty, third = (n for n in cluster.members if n != leader)
    cluster.isolate(leader)
    for _ in range(RAFT_QUEUE_MAX):
        cluster.logs[leader].submit(b"x", lambda _: None)
    cluster.logs[leader].received(cluster_link(cluster, leader, empty), LINK_KIND, refill_ask())
    cluster.heal()
    assert cluster.submit(third, b"y", 20_000) is not None
    assert not cluster.stopped


def cluster_link(cluster: Cluster, name: str, peer: str) -> FakeLink:
    cluster.cut.clear()
    cluster.join(name, peer)
    return cluster.links[name, peer]


def refill_ask() -> bytes:
    return wire.encode(wire.Header(0, 0), wire.RefillAsk(1))


def test_an_answer_to_an_earlier_question_is_not_taken() -> None:
    cluster = Cluster(3, seed=5)
    leader = cluster.lead()
    empty = next(n for n in cluster.members if n != leader)
    old: list[bytes] = []

    def hear(source: str, target: str, body: bytes) -> bytes | None:
        if isinstance(wire.decode(body)[1], wire.Refill):
            old.append(body)
            return None
        return body

    cluster.spy = hear
    lost(cluster, empty)
    assert cluster.run(5_000, lambda: bool(old))
    lost(cluster, empty)
    link = cluster.links[empty, leader]
    cluster.logs[empty].received(link, LINK_KIND, old[0])
    assert cluster.logs[empty].standing().waiting
    assert cluster.logs[empty].transport.dropped["refill"] == 1
