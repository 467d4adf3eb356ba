"""Whether a stopped store agrees with itself: rows against log against fences.

What it is: every rule that ties the stored rows together, checked one row after the other. What it
is not: a repair, nor the engine's own checksums (reading every row verifies those).

Invariants checked, with R the fence of the row's tablet and F the compaction floor:
- an n or h row decodes, names its own key, 1 <= version, create <= mod <= R, and its bytes are
  those of its header;
- no older version of a key is newer than its n row; what was ended, was so behind its mod, and is
  no n row;
- what was written or deleted above F is named by the log row of its revision, and what the log
  names above F is there, as is the version that it says was replaced;
- a key with a lease is attached to it, the lease exists, and no attachment names another key.

Worked example: a store whose n row of /a has mod 9, while the log row of 9 names only /b: "the row
of b'/a' at 9 is not in the log".

Tested in tests/unit/shard/test_audit.py.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

from google.protobuf.message import DecodeError

from kubebraid.base.keyspace import EVERYTHING
from kubebraid.base.record import Row
from kubebraid.base.revision import Revision, TabletId
from kubebraid.base.tabletmap import TabletMap
from kubebraid.proto.kvwire import key_of, key_value, value_of

from . import fencing, keycodec, mvcc
from .fencing import FenceDamaged
from .keycodec import LogChange, Superseded
from .storage.engine import Reader

_UNREADABLE: Final = (AssertionError, IndexError, ValueError, struct.error)
_HISTORY_KEY_BYTES_MIN: Final = len(keycodec.history(b"", 0))
_NOW: Final[Revision] = (1 << 63) - 1
FINDINGS_MAX: Final = 20  # told in full; the others are counted


@dataclass(slots=True)
class Report:
    """What was read and what is wrong. `findings` are sentences. `shard`: whose store it is, in a
    cluster; its floor is not in it."""

    revision: Revision = 0
    floor: Revision = -1
    keys: int = 0
    versions: int = 0
    revisions: int = 0
    leases: int = 0
    stored_bytes: int = 0
    wrong: int = 0
    findings: list[str] = field(default_factory=list)
    shard: str = ""

    def find(self, sentence: str) -> None:
        self.wrong += 1
        if len(self.findings) < FINDINGS_MAX:
            self.findings.append(sentence)


class Audit:
    """One pass over a store that nobody writes."""

    def __init__(self, reader: Reader, tablets: TabletMap, floor: Revision) -> None:
        self._reader = reader
        self._tablets = tablets
        self._last: dict[TabletId, Revision] = {}
        self.report = Report(floor=floor)

    def run(self) -> Iterator[None]:
        """Yields after each page of rows. Raises EngineError where the engine finds damage."""
        self._fences()
        yield from self._newest()
        yield from self._history()
        for tablet in self._last:
            yield from self._log(tablet)
        yield from self._attachments()

    def _pages(self, start: bytes, end: bytes) -> Iterator[list[tuple[bytes, bytes]]]:
        for page in mvcc.pages(self._reader, start, end):
            self.report.stored_bytes += sum(len(key) + len(value) for key, value in page)
            yield page

    def _fences(self) -> None:
        for tablet in self._tablets.tablets:
            raw = self._reader.get(keycodec.fence(tablet.id))
            if raw is None:
                self.report.find(f"the fence row of tablet {tablet.name} is missing")
                continue
            try:
                self._last[tablet.id] = fencing.unpack(raw).last
            except FenceDamaged as error:
                self.report.find(f"tablet {tablet.name}: {error}")
        self.report.revision = max(self._last.values(), default=0)

    def _newest(self) -> Iterator[None]:
        for page in self._pages(*keycodec.newest_bounds(EVERYTHING)):
            for stored, value in page:
                self.report.keys += 1
                found = self._row(stored[1:], value)
                if found is None:
                    continue
                row, ended = found
                if ended:
                    self.report.find(f"the newest row of {stored[1:]!r} was ended at {ended}")
                self._newer_than_history(stored[1:], row)
                if not row.lease:
                    continue
                if self._reader.get(keycodec.attachment(row.lease, stored[1:])) is None:
                    self.report.find(f"{stored[1:]!r} is not attached to its lease {row.lease:x}")
                if self._reader.get(keycodec.lease(row.lease)) is None:
                    self.report.find(f"{stored[1:]!r} has the lease {row.lease:x}, which is gone")
            yield

    def _history(self) -> Iterator[None]:
        for page in self._pages(*keycodec.history_bounds(EVERYTHING)):
            for stored, value in page:
                self.report.versions += 1
                if len(stored) < _HISTORY_KEY_BYTES_MIN or stored[-14:-12] != b"\x00\x01":
                    self.report.find(f"{stored!r} is no name of an older version")
                    continue
                key, revision = keycodec.split_history(stored)
                if not value:
                    self._known(key, revision)
                    continue
                found = self._row(key, value)
                if found is not None:
                    self._older(key, revision, found)
            yield

    def _older(self, key: bytes, revision: Revision, found: Superseded) -> None:
        row, ended = found
        if row.mod != revision:
            self.report.find(f"the version of {key!r} at {revision} says {row.mod}")
        if 0 < ended <= row.mod:
            self.report.find(f"the version of {key!r} at {revision} was ended at {ended}")
        elif ended:
            self._known(key, ended)

    def _newer_than_history(self, key: bytes, row: Row) -> None:
        found = self._reader.scan(keycodec.history_prefix(key), keycodec.history_end(key), 1)
        # What a transaction replaced itself has its revision; see keycodec.py.
        if found and keycodec.split_history(found[0][0])[1] > row.mod:
            self.report.find(f"an older version of {key!r} is newer than its row at {row.mod}")

    def _row(self, key: bytes, value: bytes) -> Superseded | None:
        """A decoded row whose own rules hold."""
        try:
            found = keycodec.unpack_superseded(value)
        except struct.error:
            found = None
        if found is None or not found.row.raw:
            self.report.find(f"the row of {key!r} is cut short")
            return None
        row = found.row
        named = f"the row of {key!r} at {row.mod}"
        try:
            again = key_value(key, row.create, row.mod, row.version, value_of(row.raw), row.lease)
            same = key_of(row.raw) == key and again == row.raw
        except (*_UNREADABLE, DecodeError):
            same = False
        if not same:
            self.report.find(f"{named} does not hold what its header says")
            return None
        if not (row.version >= 1 and row.create <= row.mod):
            self.report.find(f"{named} has version {row.version} and was created at {row.create}")
        self._known(key, row.mod)
        return found

    def _known(self, key: bytes, revision: Revision) -> None:
        """The fence has reached the revision, and the log names the key there."""
        tablet = self._tablets.tablet_of(key)
        last = self._last.get(tablet.id, self.report.revision)
        if revision > last:
            self.report.find(f"{key!r} was written at {revision}, its tablet's fence says {last}")
        elif revision > self.report.floor:
            changes = changes_of(self._reader.get(keycodec.log(tablet.id, revision)))
            if all(change.key != key for change in changes or ()):
                self.report.find(f"the row of {key!r} at {revision} is not in the log")

    def _log(self, tablet: TabletId) -> Iterator[None]:
        start, end = keycodec.log(tablet, 0), keycodec.log(tablet + 1, 0)
        for page in self._pages(start, end):
            for stored, value in page:
                self.report.revisions += 1
                self._log_row(tablet, keycodec.log_revision(stored), value)
            yield

    def _log_row(self, tablet: TabletId, revision: Revision, value: bytes) -> None:
        if revision > self._last[tablet]:
            self.report.find(
                f"the log of tablet {tablet} tells of {revision}, its fence of {self._last[tablet]}"
            )
        if revision <= self.report.floor:
            return  # what it names may be removed already
        changes = changes_of(value)
        if not changes:
            self.report.find(f"the log of tablet {tablet} cannot be read at {revision}")
            return
        for key, change in {change.key: change for change in changes}.items():
            if not self._belongs(key, tablet):
                self.report.find(f"the log of tablet {tablet} names {key!r}, which is another's")
            found = self._at(key, revision)
            if (found is None) is not change.deleted or (found and found.mod != revision):
                self.report.find(f"the log names {key!r} at {revision}, and no such row is there")
            prior = self._at(key, revision - 1)
            if change.before != (prior.mod if prior else 0):
                self.report.find(f"the log has another version of {key!r} before {revision}")

    def _belongs(self, key: bytes, tablet: TabletId) -> bool:
        return self._tablets.tablet_of(key).id == tablet

    def _attachments(self) -> Iterator[None]:
        start, end = keycodec.LEASES
        for page in self._pages(start, end):
            self.report.leases += len(page)
            yield
        for page in self._pages(*keycodec.ATTACHMENTS):
            for stored, _ in page:
                key = keycodec.attached_key(stored)
                row = self._at(key, _NOW)
                if row is None or row.lease != keycodec.lease_id(stored):
                    self.report.find(f"a lease holds {key!r}, and the key does not say so")
            yield

    def _at(self, key: bytes, revision: Revision) -> Row | None:
        """What the revision sees of a key; None also where that row is no row, which was found."""
        try:
            return mvcc.at(self._reader, key, revision)
        except _UNREADABLE:
            return None


def changes_of(value: bytes | None) -> list[LogChange] | None:
    """None where the log row is missing or no log row."""
    try:
        return None if value is None else keycodec.unpack_changes(value)
    except _UNREADABLE:
        return None
