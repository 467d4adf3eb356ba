"""Compaction: remove what no read at or above the floor can see, a slice per turn.

What it is: the background removal. What it is not: the floor itself (the coordinator's); reads
below it are refused from the moment it is raised, removed or not.

The log tells what to remove: a change of a key at revision r made the version before r invisible
to every read at r or later. So walking the log up to the floor, each of its rows removes the
older versions of its keys and, if it is a deletion, its tombstone; then the row itself goes. The
cost is that of the changes, not of the store, and a crash in between repeats a part, harmlessly.

Invariants:
- inv20: after removal reads at >= floor see what they saw before; so do events at >= floor,
  whose previous versions are kept too (only changes *below* the floor remove anything);
- a slice reads at most COMPACT_SLICE_REVISIONS log rows.

Worked example: a put at 5, 8 and 12, floor 10: the row of 8 removes version 5; version 8 stays,
because 10 and 11 see it.

Tested in tests/unit/shard/test_compaction.py, tests/property/test_history.py.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence

from kubebraid.base.limits import COMPACT_SLICE_REVISIONS
from kubebraid.base.revision import Revision, TabletId

from . import keycodec
from .storage.engine import Batch, Engine


class Compactor:
    """Walks each tablet's log up to the floor."""

    def __init__(self, engine: Engine, tablets: Sequence[TabletId]) -> None:
        self._engine = engine
        self._tablets = tuple(tablets)
        self._floor: Revision = 0
        self._todo: deque[TabletId] = deque()
        self._waiting: list[Callable[[], None]] = []

    def compact(self, floor: Revision, done: Callable[[], None] | None) -> None:
        """Begin, or go on to a higher floor; `done` once everything below it is removed."""
        self._floor = max(self._floor, floor)
        self._todo = deque(self._tablets)
        if done is not None:
            self._waiting.append(done)

    def turn(self) -> bool:
        """One slice. Answers: is there more?"""
        if not self._todo:
            return False
        if self._slice(self._todo[0]):
            self._todo.popleft()
        if not self._todo:
            waiting, self._waiting = self._waiting, []
            for done in waiting:
                done()
        return bool(self._todo)

    def _slice(self, tablet: TabletId) -> bool:
        """Remove one slice of one tablet's history; whether that tablet is finished."""
        start, end = keycodec.log(tablet, 0), keycodec.log(tablet, self._floor)
        rows = self._engine.scan(start, end, COMPACT_SLICE_REVISIONS)
        if not rows:
            return True
        batch = Batch()
        for stored, value in rows:
            revision = keycodec.log_revision(stored)
            for key, deleted, _ in keycodec.unpack_changes(value):
                self._remove_before(batch, key, revision, deleted)
            batch.delete(stored)
        self._engine.write(batch, sync=False)
        return len(rows) < COMPACT_SLICE_REVISIONS

    def _remove_before(self, batch: Batch, key: bytes, revision: Revision, deleted: bool) -> None:
        """The versions that `revision` made invisible, and its own tombstone."""
        prefix_end = keycodec.history_prefix(key) + b"\xff" * 9
        if deleted:
            batch.delete(keycodec.history(key, revision))
        start = keycodec.history(key, revision - 1)
        while rows := self._engine.scan(start, prefix_end, COMPACT_SLICE_REVISIONS):
            for stored, _ in rows:
                batch.delete(stored)
            start = rows[-1][0] + b"\x00"
