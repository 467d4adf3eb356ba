"""Rows of a copy as they land in the target's store.

What it is: a piece as a batch: rows of keys as they came, attachments of leases, log rows under the
target tablets' ids. What it is not: when it is written (`copier.py`).

Invariants:
- attachments follow the n rows: there is one for each staged n row with a lease, and no other;
- a log row of a split is cut by the children's keys, one of a merge is joined with what the other
  source brought at the same revision; of a move it stays as it is;
- landing twice is landing once.

Worked example: tablet 7 is split at "m" into 9 and 10: l/7/5 = [put a, put x] lands as l/9/5 = [put
a] and l/10/5 = [put x].

Tested in tests/unit/shard/test_reshard_landing.py.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from kubebraid.base.placement import bucket_of
from kubebraid.base.reshard import CopyReply, Kind, Migration
from kubebraid.base.revision import LeaseId, TabletId
from kubebraid.base.tabletmap import Tablet

from .. import keycodec
from ..keycodec import LogChange
from ..storage.engine import Batch, Reader


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
        logs: dict[bytes, bytes] = {}
        for stored, value in reply.puts:
            kind = stored[:1]
            if kind == b"l":
                self._log(logs, stored, value)
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
        for stored, value in logs.items():
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

    def _log(self, logs: dict[bytes, bytes], stored: bytes, value: bytes) -> None:
        if self._kind is Kind.MOVE:
            logs[stored] = value
            return
        revision = keycodec.log_revision(stored)
        for tablet, changes in self._cut(keycodec.unpack_changes(value)).items():
            landed = keycodec.log(tablet, revision)
            known = logs.get(landed, self._reader.get(landed))
            logs[landed] = keycodec.pack_changes(_joined(known, changes))

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
