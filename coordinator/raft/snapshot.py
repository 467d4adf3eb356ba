"""The snapshot file: the machine and the sessions at one index, made without a fork or a pickle.

What it is: what PySyncObj wants of a serializer, on a `Disk`. What it is not: the state itself; two
functions give and take it.

File `snapshot`: sealed (magic, crc32): cluster(8), the two log entries that the journal then begins
with (the last applied one and the one before), the sessions, the machine's bytes.

Invariants:
- the file is durable under its name before the journal drops what it covers;
- a snapshot goes to a follower whole, in one message, and is checked before anything is given up;
- one that fails to be written is tried again after RAFT_SNAPSHOT_RETRY_MS: until then the journal
  keeps what it would have covered.

Worked example: applied 90: the image holds entries 89 and 90, and the journal begins at 89.

Tested in tests/unit/coordinator/raft/test_snapshot.py.
"""

from __future__ import annotations

import logging
import struct
from collections.abc import Callable
from typing import Final, NamedTuple

from kubebraid.base.limits import RAFT_SNAPSHOT_BYTES_MAX, RAFT_SNAPSHOT_RETRY_MS
from kubebraid.base.seams import Clock

from .disk import Disk, replace_file
from .journal_codec import Entry, seal, unseal
from .log import JournalDamaged

logger = logging.getLogger("kubebraid.raft")

NAME: Final = "snapshot"
MAGIC: Final = b"kbsnap1"
_CLUSTER: Final = struct.Struct("<Q")
_ENTRY: Final = struct.Struct("<QQI")
_LENGTH: Final = struct.Struct("<I")
# PySyncObj's SERIALIZER_STATE; test_core holds them equal.
IDLE: Final = 0
BUSY: Final = 1
DONE: Final = 2
FAILED: Final = 3


class Image(NamedTuple):
    """A snapshot, read."""

    cluster: int
    previous: Entry
    last: Entry
    sessions: bytes
    machine: bytes


def encode(image: Image) -> bytes:
    assert image.previous.index + 1 == image.last.index
    parts = [_CLUSTER.pack(image.cluster)]
    for command, index, term in (image.previous, image.last):
        parts += [_ENTRY.pack(index, term, len(command)), command]
    parts += [_LENGTH.pack(len(image.sessions)), image.sessions, image.machine]
    return seal(MAGIC, b"".join(parts))


def decode(data: bytes) -> Image:
    """Raises JournalDamaged."""
    payload = unseal(MAGIC, data)
    try:
        (cluster,) = _CLUSTER.unpack_from(payload)
        at = _CLUSTER.size
        entries: list[Entry] = []
        for _ in range(2):
            index, term, length = _ENTRY.unpack_from(payload, at)
            at += _ENTRY.size
            entries.append(Entry(payload[at : at + length], index, term))
            at += length
        (length,) = _LENGTH.unpack_from(payload, at)
    except struct.error as error:
        raise JournalDamaged(f"snapshot: {error}") from error
    at += _LENGTH.size
    return Image(cluster, entries[0], entries[1], payload[at : at + length], payload[at + length :])


class Snapshots:
    """Makes, keeps, sends and installs images. Names in capitals are PySyncObj's: it calls them."""

    def __init__(
        self,
        disk: Disk,
        clock: Clock,
        make: Callable[[Entry, Entry], Image],
        take: Callable[[Image], None],
    ) -> None:
        """`make(previous, last)`: the state as of `last`. `take`: become what an image says."""
        self._disk = disk
        self._clock = clock
        self._make = make
        self._take = take
        self._state = IDLE
        self._index = 0
        self._retry_at_ms: int | None = None
        self._data = disk.read(NAME) if NAME in disk.names() else None

    def image(self) -> Image | None:
        """The newest, if there is one. Raises JournalDamaged."""
        return None if self._data is None else decode(self._data)

    def store(self, data: bytes) -> None:
        """Keep an image that came from elsewhere, durably. Raises OSError."""
        replace_file(self._disk, NAME, data)
        self._data = data

    def fresh(self, previous: Entry, last: Entry) -> bytes:
        """An image of now that is not kept."""
        return encode(self._make(previous, last))

    # -- what PySyncObj calls --

    def checkSerializing(self) -> tuple[int, int | None]:  # noqa: N802 (PySyncObj's name)
        """DONE and FAILED are told once."""
        if self._retry_at_ms is not None:
            if self._clock.now_ms() < self._retry_at_ms:
                return BUSY, self._index
            self._retry_at_ms = None
            return FAILED, self._index
        state, self._state = self._state, IDLE
        return state, self._index if state else None

    def serialize(self, data: tuple[object, Entry, Entry, object], index: int) -> None:
        """Here and now: the state is small, and a fork would copy locks of other threads."""
        self._index = index
        try:
            made = self.fresh(Entry(*data[2]), Entry(*data[1]))
            assert len(made) <= RAFT_SNAPSHOT_BYTES_MAX, f"a snapshot of {len(made)} bytes"
            self.store(made)
            self._state = DONE
        except Exception:
            logger.exception("the snapshot was not written; the journal keeps growing")
            self._retry_at_ms = self._clock.now_ms() + RAFT_SNAPSHOT_RETRY_MS

    def deserialize(self) -> tuple[None, Entry, Entry, tuple[()]]:
        """Become the newest image."""
        image = self.image()
        assert image is not None, "asked for only when there is one"
        self._take(image)
        return None, image.last, image.previous, ()

    def getTransmissionData(self, _: object) -> tuple[bytes, bool, bool]:  # noqa: N802 (its name)
        """For a follower that needs what the journal dropped: (data, first, last)."""
        assert self._data is not None, "the journal begins at 1 until there is an image"
        return self._data, True, True

    def setTransmissionData(self, data: tuple[bytes, bool, bool]) -> bool:  # noqa: N802 (its name)
        """From the leader; the transport has looked into it. True: now load it."""
        self.store(data[0])
        return True

    def cancelTransmisstion(self, _: object) -> None:  # noqa: N802 (PySyncObj's name)
        """Nothing is sent in parts."""
