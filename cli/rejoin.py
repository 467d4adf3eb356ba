"""A cluster's snapshot as one store for `kubebraid serve`: the shards' rows, as of one revision.

What it is: the rows of several shards, one shard behind the other, on their way into one engine.
What it is not: the file (base/dump), the directory (`snapshot.py`), the cut (router/snapshots.py).

A shard fixed its state at the head's revision R or later. What is newer than R is left out, and
what it had replaced comes back: the log names both. A shard's rows come sorted, history before log
before newest rows (keycodec), so one pass does it.

Invariants:
- afterwards the store is what one process would hold at R: newest rows, history and log at and
  above the floor, under its own map; its fences say R;
- a lease that several shards knew is its home's; one that a key names and nobody had any more had
  ended behind R, and ends again;
- rows of transactions on their way are left out: what they decided up to R is applied, for every
  tablet was closed at R or beyond.

Worked example: R = 40; a shard holds a at 45, the log row "45: a, before 38" and the history row of
a at 38. The row of 45 and its log go, and a at 38 is the newest row again.

Tested in tests/unit/cli/test_rejoin.py, tests/e2e/test_cluster_snapshot.py.
"""

from __future__ import annotations

from typing import Final

from kubebraid.base.dump import Head, SnapshotDamaged
from kubebraid.base.revision import LeaseId, Revision
from kubebraid.base.tabletmap import TabletMap
from kubebraid.coordinator import state
from kubebraid.coordinator.state import State
from kubebraid.shard import keycodec
from kubebraid.shard.fencing import NEW
from kubebraid.shard.keycodec import LogChange
from kubebraid.shard.lease import LeaseRow
from kubebraid.shard.seal import pack_lease, unpack_lease
from kubebraid.shard.storage.engine import Batch, Engine

BATCH_PAIRS: Final = 1_000
ENDED_TTL_S: Final = 1  # of a lease that had ended when its shard fixed its state


class Rejoined:
    """One store in the making: every pair of the file to `add`, then `finish`."""

    def __init__(self, engine: Engine, head: Head, tablets: TabletMap) -> None:
        """`tablets`: the new store's map."""
        self._engine = engine
        self._head = head
        self._tablets = tablets
        self._batch = Batch()
        self._log: dict[bytes, list[LogChange]] = {}  # goes with the batch
        self._has_history = False  # in the batch
        self._leases: dict[LeaseId, LeaseRow] = {}
        self._named: set[LeaseId] = set()

    def add(self, key: bytes, value: bytes) -> None:
        """A shard's pair. Raises SnapshotDamaged, EngineError."""
        revision = self._head.revision
        match key[:1]:
            case b"h":
                if keycodec.split_history(key)[1] <= revision:
                    self._batch.put(key, value)
                    self._has_history = True
            case b"n":
                if keycodec.row_revision(value) <= revision:
                    self._newest(key[1:], value)
            case b"l":
                self._logged(keycodec.log_revision(key), keycodec.unpack_changes(value))
            case b"e":
                self._lease(keycodec.lease_id(key), unpack_lease(value))
            case _:
                pass  # a shard's own; attachments are told by the newest rows
        if len(self._batch) + len(self._log) >= BATCH_PAIRS:
            self._flush()

    def finish(self) -> Batch:
        """What is to be written last, together with the caller's own rows."""
        ended = dict.fromkeys(self._named - self._leases.keys(), LeaseRow(ENDED_TTL_S))
        for lease, row in (self._leases | ended).items():
            self._batch.put(keycodec.lease(lease), pack_lease(row))
        self._flush()
        fence = NEW._replace(last=self._head.revision).pack()
        known = State(0, self._head.compact_revision, self._tablets)
        batch = Batch().put(keycodec.cell("coordinator"), state.encode(known))
        for tablet in self._tablets.tablets:
            batch.put(keycodec.fence(tablet.id), fence)
        return batch

    def _newest(self, key: bytes, value: bytes) -> None:
        self._batch.put(keycodec.newest(key), value)
        lease = keycodec.unpack_row(value).lease
        if lease:
            self._batch.put(keycodec.attachment(lease, key), b"")
            self._named.add(lease)

    def _logged(self, revision: Revision, changes: list[LogChange]) -> None:
        """Under the new map; a transaction over several shards has a row of each."""
        if revision > self._head.revision:
            self._undo(changes)
            return
        for change in changes:
            tablet = self._tablets.tablet_of(change.key).id
            stored = keycodec.log(tablet, revision)
            if stored not in self._log:
                found = self._engine.get(stored)
                self._log[stored] = [] if found is None else keycodec.unpack_changes(found)
            self._log[stored].append(change)

    def _undo(self, changes: list[LogChange]) -> None:
        """Bring back what stood before; where nothing did, leaving the change out is all."""
        if self._has_history:
            self._flush()
        for key, before in {change.key: change.before for change in changes}.items():
            if 0 < before <= self._head.revision:
                stored = keycodec.history(key, before)
                value = self._engine.get(stored)
                if value is None:
                    raise SnapshotDamaged(f"the version of {key!r} at {before} is not in it")
                self._batch.delete(stored)
                # A deletion behind the head's revision may have ended it.
                self._newest(key, keycodec.pack_row(keycodec.unpack_superseded(value).row))

    def _lease(self, lease: LeaseId, row: LeaseRow) -> None:
        """The home's word before that of a guest, which knows no more than the TTL."""
        if not row.visiting or lease not in self._leases:
            self._leases[lease] = LeaseRow(row.ttl_s, ended=row.ended)

    def _flush(self) -> None:
        for stored, changes in self._log.items():
            changes.sort(key=_place)
            self._batch.put(stored, keycodec.pack_changes(changes))
        if len(self._batch):
            self._engine.write(self._batch, sync=False)
        self._batch, self._log, self._has_history = Batch(), {}, False


def _place(change: LogChange) -> tuple[int, bytes]:
    """As the events of a revision are shown (base/record.py)."""
    return change.sub, change.key
