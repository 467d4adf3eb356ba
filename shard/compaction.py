"""Compaction: remove what no read at or above the floor can see, a slice per turn.

What it is: the background removal. What it is not: the floor itself (the coordinator's); reads
below it are refused from the moment it is raised, removed or not.

The log tells what to remove: a change of a key at revision r made the version before r invisible
to every read at r or later, and names its revision. So walking the log up to the floor, each of its
rows removes the versions before its keys, what the same revision replaced again, and tombstones (a
version that tells its own end takes that with it); then the row itself goes. Every removal is a
point: no search walks over what was removed before. The cost is that of the changes, not of the
store; a crash in between repeats a part, harmlessly.

A write may land below the floor after the walk: it was allocated before, and was in flight. So a
tablet is walked up to closed[t] at most, and on from there when it is published further.

Invariants:
- inv20: after removal reads at >= floor see what they saw before; so do events at >= floor,
  whose previous versions are kept too (only changes *below* the floor remove anything);
- a slice reads at most COMPACT_SLICE_REVISIONS log rows, and removes at most COMPACT_SLICE_ROWS
  rows, or those of one revision.

Worked example: a put at 5, 8 and 12, floor 10: the row of 8 removes version 5; version 8 stays,
because 10 and 11 see it. Had 8 been in flight, closed at 5, the walk would have ended behind 5, and
gone on to 10 with the publication of 8.

Tested in tests/unit/shard/test_compaction.py, tests/property/test_history.py.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping, Sequence

from kubebraid.base.limits import COMPACT_SLICE_REVISIONS, COMPACT_SLICE_ROWS
from kubebraid.base.ports import Publication
from kubebraid.base.revision import Revision, TabletId

from . import keycodec
from .keycodec import LogChange
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

    def __init__(self, engine: Engine, closed: Mapping[TabletId, Revision]) -> None:
        """`closed`: of each tablet, as it rises."""
        self._engine = engine
        self._closed = closed
        self._floor: Revision = 0
        self._todo: deque[TabletId] = deque()
        self._done_until: dict[TabletId, Revision] = {}  # in this process; a restart begins at 0
        self._waiting: list[Callable[[], None]] = []
        self._resting: frozenset[TabletId] = frozenset()

    def compact(self, floor: Revision, done: Callable[[], None] | None) -> None:
        """Begin, or go on to a higher floor; `done` once everything is removed that is below it by
        now."""
        self._floor = max(self._floor, floor)
        # A tablet that comes back has rows of the time between.
        self._done_until = {t: d for t, d in self._done_until.items() if t in self._closed}
        self._todo = deque(sorted(self._closed))
        if done is not None:
            self._waiting.append(done)

    def published(self, publication: Publication) -> None:
        """Tablets have risen: what was in flight when they were walked is there, or never will."""
        for news in publication.news:
            if self._done_until.get(news.tablet, self._floor) < self._floor:
                self._todo.append(news.tablet)

    def rest(self, tablets: frozenset[TabletId]) -> None:
        """Leave these alone until another set is named: they are being copied."""
        woken = self._resting - tablets
        self._resting = tablets
        self._todo.extend(t for t in sorted(woken) if self._done_until.get(t, 0) < self._floor)

    @property
    def busy(self) -> bool:
        """Whether there is something left to remove, or somebody to be told that there is nothing:
        the last tablets may have gone."""
        return bool(self._todo or self._waiting)

    def turn(self) -> bool:
        """One slice. Answers: is there more? Raises SliceUnwritten, or EngineError where the log
        cannot be read."""
        if not self.busy:
            return False
        if self._todo and self._slice(self._todo[0]):
            self._todo.popleft()
        if not self._todo:
            waiting, self._waiting = self._waiting, []
            for done in waiting:
                done()
        return bool(self._todo)

    def _slice(self, tablet: TabletId) -> bool:
        """Remove one slice of one tablet's history; whether that tablet is finished."""
        if tablet in self._resting or tablet not in self._closed:
            return True  # it rests, or is another shard's by now
        start = self._done_until.get(tablet, 0)
        end = min(self._floor, self._closed[tablet] + 1)
        if start >= end:
            return True
        rows = self._engine.scan(
            keycodec.log(tablet, start), keycodec.log(tablet, end), COMPACT_SLICE_REVISIONS
        )
        batch = Batch()
        taken = 0
        for stored, value in rows:
            changes = keycodec.unpack_changes(value)
            if taken and len(batch) + 2 * len(changes) > COMPACT_SLICE_ROWS:
                break
            self._remove(batch, keycodec.log_revision(stored), changes)
            taken += 1
        finished = taken == len(rows) < COMPACT_SLICE_REVISIONS
        until = end if finished else keycodec.log_revision(rows[taken - 1][0]) + 1
        if rows:
            batch.delete_range(keycodec.log(tablet, start), keycodec.log(tablet, until))
            try:
                self._engine.write(batch, sync=False)
            except EngineError as error:
                raise SliceUnwritten(error) from error
        self._done_until[tablet] = until
        return finished

    def _remove(self, batch: Batch, revision: Revision, changes: Sequence[LogChange]) -> None:
        """What one revision made invisible: its log row names all of it, so nothing is sought."""
        last = {change.key: change.sub for change in changes}
        for change in changes:
            key = change.key
            if change.before:
                batch.delete(keycodec.history(key, change.before))
            if change.sub != last[key]:
                batch.delete(keycodec.history(key, revision, change.sub))
            elif change.deleted and not change.ended:
                batch.delete(keycodec.history(key, revision))
