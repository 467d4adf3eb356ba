"""Images: whole or refused, durable before anything is dropped, retried when the disk is full."""

from __future__ import annotations

import pytest

from kubebraid.base.limits import RAFT_SNAPSHOT_RETRY_MS
from kubebraid.coordinator.raft.journal_codec import Entry
from kubebraid.coordinator.raft.log import JournalDamaged
from kubebraid.coordinator.raft.snapshot import (
    BUSY,
    DONE,
    FAILED,
    IDLE,
    NAME,
    Image,
    Snapshots,
    decode,
    encode,
)

from .kit import FakeClock, FakeDisk

PREVIOUS, LAST = Entry(b"\0p", 89, 3), Entry(b"\0l", 90, 4)
IMAGE = Image(7, PREVIOUS, LAST, b"sessions", b"machine")


class Kept:
    """Snapshots of a constant state, and what was taken."""

    def __init__(self) -> None:
        self.disk = FakeDisk()
        self.clock = FakeClock()
        self.taken: list[Image] = []
        self.snapshots = self.open()

    def open(self) -> Snapshots:
        return Snapshots(self.disk, self.clock, self.make, self.taken.append)

    def make(self, previous: Entry, last: Entry) -> Image:
        return IMAGE._replace(previous=previous, last=last)


def test_an_image_is_read_as_it_was_written_or_refused() -> None:
    data = encode(IMAGE)
    assert decode(data) == IMAGE
    for at in range(len(data)):
        with pytest.raises(JournalDamaged):
            decode(data[:at])
        with pytest.raises(JournalDamaged):
            decode(data[:at] + bytes([data[at] ^ 4]) + data[at + 1 :])


def test_done_is_told_once_and_the_file_is_durable_by_then() -> None:
    kept = Kept()
    assert kept.snapshots.checkSerializing() == (IDLE, None)
    kept.snapshots.serialize((None, LAST, PREVIOUS, ()), 89)
    assert kept.disk._names[NAME].synced == encode(IMAGE)
    assert kept.snapshots.checkSerializing() == (DONE, 89)
    assert kept.snapshots.checkSerializing() == (IDLE, None)
    assert kept.open().image() == IMAGE


def test_a_full_disk_keeps_the_old_image_and_is_tried_again_later() -> None:
    kept = Kept()
    kept.snapshots.serialize((None, LAST, PREVIOUS, ()), 89)
    kept.snapshots.checkSerializing()
    kept.disk.fail_sync = "snapshot"
    kept.snapshots.serialize((None, Entry(b"\0m", 91, 4), LAST, ()), 90)
    assert kept.snapshots.checkSerializing() == (BUSY, 90)
    assert kept.snapshots.image() == IMAGE
    assert kept.open().image() == IMAGE
    kept.clock.now += RAFT_SNAPSHOT_RETRY_MS
    kept.disk.fail_sync = None
    assert kept.snapshots.checkSerializing() == (FAILED, 90)
    kept.snapshots.serialize((None, Entry(b"\0m", 91, 4), LAST, ()), 90)
    assert kept.snapshots.checkSerializing() == (DONE, 90)


def test_what_is_sent_is_what_is_taken() -> None:
    giver, taker = Kept(), Kept()
    giver.snapshots.serialize((None, LAST, PREVIOUS, ()), 89)
    assert taker.snapshots.setTransmissionData(giver.snapshots.getTransmissionData("b"))
    assert taker.snapshots.deserialize() == (None, LAST, PREVIOUS, ())
    assert taker.taken == [IMAGE]
    assert taker.open().image() == IMAGE
