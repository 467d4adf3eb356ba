"""Compaction: remove what no read at or above the floor can see, a slice per turn.

What it is: the background removal. What it is not: the floor itself (the coordinator's); reads
below it are refused from the moment it is raised, removed or not.

The log tells what to remove: a change of a key at revision r made the version before r invisible
to every read at r or later, and names its revision. So walking the log up to the floor, each of its
rows removes the versions before its keys, what the same revision replaced again, and tombstones;
then the row itself goes. Every removal is a point: no search walks over what was removed before.
The cost is that of the changes, not of the store; a crash in between repeats a part, harmlessly.

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
from .storage.engine import Batch, Engine, EngineError


class SliceUnwritten(Exception):
    """The removal of a slice may or may not have landed; `error` is the engine's."""

    definite = False
    hint = "reopen the store; the slice is removed again later"

    def __init__(self, error: EngineError) -> None:
        super().__init__(str(error))
        self.error = error


class Compactor:
    """Walks each tablet's log up to the floor."""

    def __init__(self, engine: Engine, tablets: Sequence[TabletId]) -> None:
        self._engine = engine
        self._tablets = tuple(tablets)
        self._floor: Revision = 0
        self._todo: deque[TabletId] = deque()
        self._done_until: dict[TabletId, Revision] = {}  # in this process; a restart begins at 0
        self._waiting: list[Callable[[], None]] = []

    def compact(self, floor: Revision, done: Callable[[], None] | None) -> None:
        """Begin, or go on to a higher floor; `done` once everything below it is removed."""
        self._floor = max(self._floor, floor)
        self._todo = deque(self._tablets)
        if done is not None:
            self._waiting.append(done)

    @property
    def busy(self) -> bool:
        """Whether there is something left to remove."""
        return bool(self._todo)

    def turn(self) -> bool:
        """One slice. Answers: is there more? Raises SliceUnwritten, or EngineError where the log
        cannot be read."""
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
        start, end = self._done_until.get(tablet, 0), self._floor
        if start >= end:
            return True
        rows = self._engine.scan(
            keycodec.log(tablet, start), keycodec.log(tablet, end), COMPACT_SLICE_REVISIONS
        )
        finished = len(rows) < COMPACT_SLICE_REVISIONS
        until = end if finished else keycodec.log_revision(rows[-1][0]) + 1
        if rows:
            batch = Batch()
            for stored, value in rows:
                self._remove(batch, keycodec.log_revision(stored), value)
            batch.delete_range(keycodec.log(tablet, start), keycodec.log(tablet, until))
            try:
                self._engine.write(batch, sync=False)
            except EngineError as error:
                raise SliceUnwritten(error) from error
        self._done_until[tablet] = until
        return finished

    def _remove(self, batch: Batch, revision: Revision, value: bytes) -> None:
        """What one revision made invisible: its log row names all of it, so nothing is sought."""
        changes = keycodec.unpack_changes(value)
        last = {change.key: change.sub for change in changes}
        for change in changes:
            key = change.key
            if change.before:
                batch.delete(keycodec.history(key, change.before))
            if change.sub != last[key]:
                batch.delete(keycodec.history(key, revision, change.sub))
            elif change.deleted:
                batch.delete(keycodec.history(key, revision))
