"""The journal on a disk that loses power: what it promised is there, whatever was under way."""

from __future__ import annotations

import random

import pytest

from kubebraid.coordinator.raft.journal import Journal
from kubebraid.coordinator.raft.journal_codec import Entry, Head, Vote
from kubebraid.coordinator.raft.log import IdentityRefused, JournalDamaged, RaftFailed

from .kit import FakeDisk

HEAD = Head(1, 7, "a")


def entry(index: int, term: int = 1) -> Entry:
    return Entry(b"\0%d" % index, index, term)


def made(disk: FakeDisk, count: int) -> Journal:
    journal = Journal.create(disk, HEAD, Vote(1, None), [Entry(b"\1", 1, 0)])
    for index in range(2, count + 1):
        journal.add(*entry(index))
    return journal


def again(disk: FakeDisk) -> Journal:
    return Journal.load(disk, 7, "a")


def test_what_was_promised_survives_power_cuts_at_random_moments() -> None:
    for seed in range(300):
        rng = random.Random(seed)
        disk = FakeDisk()
        journal = made(disk, 3)
        term = 1
        for _ in range(rng.randint(1, 25)):
            match rng.randrange(5):
                case 0:
                    term += 1
                    journal.setCurrentTerm(term, rng.choice([None, "a", "b"]))
                case 1 if len(journal) > 2:
                    journal.deleteEntriesFrom(rng.randint(1, len(journal)))
                case 2 if len(journal) > 3:
                    journal.deleteEntriesTo(rng.randint(0, len(journal) - 2))
                case _:
                    journal.add(*entry(journal.last_index + 1, term))
            said = (journal[:], journal.getCurrentTerm(), journal.getVotedForNodeId())
            if rng.random() < 0.3:
                disk.append(disk.names()[0], rng.randbytes(rng.randint(1, 60)))
                disk.crash(rng)
                journal = again(disk)
                found = (journal[:], journal.getCurrentTerm(), journal.getVotedForNodeId())
                assert found == said, seed


class Cut(Exception):
    """The power goes."""


class CutDisk(FakeDisk):
    """A disk whose power goes before a chosen call."""

    def __init__(self) -> None:
        super().__init__()
        self.left: int | None = None

    def _count(self) -> None:
        if self.left is not None:
            self.left -= 1
            if self.left == 0:
                raise Cut

    def append(self, name: str, data: bytes) -> None:
        self._count()
        super().append(name, data)

    def sync(self, name: str) -> None:
        self._count()
        super().sync(name)

    def rename(self, old: str, new: str) -> None:
        self._count()
        super().rename(old, new)

    def sync_names(self) -> None:
        self._count()
        super().sync_names()

    def remove(self, name: str) -> None:
        self._count()
        super().remove(name)


@pytest.mark.parametrize("position", range(1, 6))
def test_a_compaction_interrupted_anywhere_leaves_the_old_or_the_new(position: int) -> None:
    for seed in range(40):
        disk = CutDisk()
        journal = made(disk, 9)
        disk.left = position
        with pytest.raises(Cut):
            journal.deleteEntriesTo(5)
        disk.left = None
        disk.crash(random.Random(seed))
        found = again(disk)
        assert found.last_index == 9
        assert found.first_index in (1, 6)
        assert found.getCurrentTerm() == 1
        assert len(disk.names()) == 1, "remains are removed"


def test_align_keeps_what_follows_the_snapshot() -> None:
    disk = FakeDisk()
    journal = made(disk, 100)
    journal.align(entry(89), entry(90))
    assert (journal.first_index, journal.last_index) == (89, 100)
    found = again(disk)
    assert (found.first_index, found.last_index) == (89, 100)
    assert found.getRaftCommitIndex() == 90


def test_align_drops_a_log_that_lacks_the_snapshot() -> None:
    disk = FakeDisk()
    journal = made(disk, 100)
    journal.setCurrentTerm(6, "b")
    journal.align(entry(199, 5), entry(200, 5))
    found = again(disk)
    assert found[:] == [entry(199, 5), entry(200, 5)]
    assert (found.getCurrentTerm(), found.getVotedForNodeId()) == (6, "b")


def test_align_drops_a_log_with_another_term_at_the_snapshot() -> None:
    journal = made(FakeDisk(), 100)
    journal.align(entry(49, 2), entry(50, 2))
    assert journal[:] == [entry(49, 2), entry(50, 2)]


def test_after_a_failed_sync_nothing_is_written() -> None:
    disk = FakeDisk()
    journal = made(disk, 3)
    disk.fail_sync = "journal-"
    with pytest.raises(RaftFailed, match="cannot be written"):
        journal.setCurrentTerm(2, "a")
    disk.fail_sync = None
    with pytest.raises(RaftFailed, match="failed before"):
        journal.add(*entry(4))
    assert journal.file.failed is not None
    assert journal.getCurrentTerm() == 1, "what is not durable is not said"


def test_a_journal_of_another_cluster_or_member_is_refused() -> None:
    disk = FakeDisk()
    made(disk, 3)
    for cluster, name in ((8, "a"), (7, "b")):
        with pytest.raises(IdentityRefused):
            Journal.load(disk, cluster, name)


def test_a_directory_without_a_journal_is_refused() -> None:
    with pytest.raises(JournalDamaged):
        again(FakeDisk())


def test_the_same_vote_is_not_written_twice() -> None:
    disk = FakeDisk()
    journal = made(disk, 2)
    journal.setCurrentTerm(2, "b")
    before = disk.syncs
    journal.setCurrentTerm(2, "b")
    assert disk.syncs == before
