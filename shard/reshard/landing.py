"""Rows of a copy as they land in the target's store.

What it is: a piece as a batch: rows of keys as they came, attachments of leases, log rows under the
target tablets' ids. What it is not: when it is written (`copier.py`).

Invariants:
- attachments follow the n rows: there is one for each staged n row with a lease, and no other;
- a log row of a split is cut by the children's keys, one of a merge is joined with what the other
  source brought at the same revision; of a move it stays as it is;
- landing twice is landing once;
- what has landed before is read in pages: a row at a time would be a call to TiKV each, and the
  shard says nothing to anybody meanwhile.

Worked example: tablet 7 is split at "m" into 9 and 10: l/7/5 = [put a, put x] lands as l/9/5 = [put
a] and l/10/5 = [put x].

Tested in tests/unit/shard/test_reshard_landing.py.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping, Sequence
from typing import Final

from kubebraid.base.placement import bucket_of
from kubebraid.base.reshard import CopyReply, Kind, Migration
from kubebraid.base.revision import LeaseId, Revision, TabletId
from kubebraid.base.tabletmap import Tablet

from .. import keycodec
from ..keycodec import LogChange
from ..storage.engine import Batch, Reader

# Of the log that has landed: one call reads it all where it is as dense as the piece, and where it
# is denser, not much more than the piece has rows.
PAGE_ROWS: Final = 128


class Landing:
    """Of one migration. `leases`: those that staged keys have named so far."""

    def __init__(self, reader: Reader, migration: Migration) -> None:
        self._reader = reader
        self._kind = migration.kind
        self._targets = migration.targets
        self.leases: set[LeaseId] = set()

    def batch(self, reply: CopyReply) -> Batch:
        """What writes the piece."""
        batch = Batch()
        logs = []
        for stored, value in reply.puts:
            kind = stored[:1]
            if kind == b"l":
                logs.append((stored, value))
                continue
            if kind == b"k":
                # The row is here: of rows that two shards share nothing but its lease is news.
                self.leases.add(keycodec.lease_id(stored))
                continue
            if kind == b"n":
                self._attach(batch, stored[1:], keycodec.unpack_row(value).lease)
            batch.put(stored, value)
        for stored in reply.deletes:
            self._attach(batch, stored[1:], 0)
            batch.delete(stored)
        for stored, value in self._landed(logs).items():
            batch.put(stored, value)
        return batch

    def is_copied(self, key: bytes) -> bool:
        """Whether it is a key of the targets."""
        return any(holds(target, key) for target in self._targets)

    def _attach(self, batch: Batch, key: bytes, lease: LeaseId) -> None:
        """The key has this lease from now on."""
        value = self._reader.get(keycodec.newest(key))
        old = 0 if value is None else keycodec.unpack_row(value).lease
        if old and old != lease:
            batch.delete(keycodec.attachment(old, key))
        if lease:
            batch.put(keycodec.attachment(lease, key), b"")
            self.leases.add(lease)

    def _landed(self, rows: Sequence[tuple[bytes, bytes]]) -> Mapping[bytes, bytes]:
        """Log rows, as those of the targets."""
        if self._kind is Kind.MOVE:
            return dict(rows)
        logs = self._known([keycodec.log_revision(stored) for stored, _ in rows])
        landed = {}
        for stored, value in rows:
            revision = keycodec.log_revision(stored)
            for tablet, changes in self._cut(keycodec.unpack_changes(value)).items():
                row = keycodec.log(tablet, revision)
                landed[row] = logs[row] = keycodec.pack_changes(_joined(logs.get(row), changes))
        return landed

    def _known(self, revisions: Sequence[Revision]) -> dict[bytes, bytes]:
        """The log rows of the targets that are there at these revisions, and some others."""
        found: dict[bytes, bytes] = {}
        ordered = sorted(revisions)
        for target in self._targets:
            at = 0
            while at < len(ordered):
                low, high = (keycodec.log(target.id, r) for r in (ordered[at], ordered[-1] + 1))
                page = self._reader.scan(low, high, PAGE_ROWS)
                found.update(page)
                if len(page) < PAGE_ROWS:
                    break
                at = bisect_right(ordered, keycodec.log_revision(page[-1][0]))
        return found

    def _cut(self, changes: Sequence[LogChange]) -> Mapping[TabletId, list[LogChange]]:
        cut: dict[TabletId, list[LogChange]] = {}
        for change in changes:
            cut.setdefault(self._target_of(change.key), []).append(change)
        return cut

    def _target_of(self, key: bytes) -> TabletId:
        return next(target.id for target in self._targets if holds(target, key))


def holds(tablet: Tablet, key: bytes) -> bool:
    """Whether the key is the tablet's."""
    if not tablet.span.contains(key):
        return False
    return tablet.buckets == 1 or bucket_of(key, tablet.buckets) == tablet.bucket


def _joined(known: bytes | None, changes: Sequence[LogChange]) -> list[LogChange]:
    """Both, in the order in which a commit has them, each once."""
    before = [] if known is None else keycodec.unpack_changes(known)
    both = {(change.sub, change.key): change for change in (*before, *changes)}
    return [both[place] for place in sorted(both)]
