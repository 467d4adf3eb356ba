"""The comparison of a copy with its source, range by range.

What it is: which range is summed next, and whether two sums agree. What it is not: the sum
(`shard/checksum.py`), or who asks for the source's (`copier.py`).

Invariants:
- the ranges together are the targets' ranges; one has COPY_CHECK_KEYS live keys at most here, and
  fewer where the first of them are large, so a sum is a short piece of work (a source that has more
  in it is found out all the same);
- both sums are of the versions that reads in [floor, revision] can see, so what is written above
  the revision, or compacted below the floor, changes neither.

Worked example: 1,200 keys: [start, key 500), [key 500, key 1000), [key 1000, end).

Tested in tests/unit/shard/test_reshard_checks.py.
"""

from __future__ import annotations

from typing import Final

from kubebraid.base.keyspace import KeyRange
from kubebraid.base.limits import COPY_CHECK_BYTES, COPY_CHECK_KEYS
from kubebraid.base.reshard import Digest, DigestCall, Migration
from kubebraid.base.revision import Revision

from .. import keycodec
from ..storage.engine import Engine
from .source import digest

SAMPLE: Final = 8  # rows whose sizes stand for those behind them


class Checks:
    """Of one copy that is whole up to `revision`."""

    def __init__(self, engine: Engine, migration: Migration, revision: Revision) -> None:
        self._engine = engine
        self._migration = migration
        self._revision = revision
        self._floor: Revision = 0
        spans = sorted({target.span for target in migration.targets})
        self._todo: list[KeyRange] = list(reversed(spans))

    def next(self, floor: Revision) -> DigestCall | None:
        """The next sum to ask for; None: all were equal. Raises EngineError."""
        if not self._todo:
            return None
        span = self._todo[-1]
        low, high = keycodec.newest_bounds(span)
        most = self._keys_max(low, high)
        keys = self._engine.keys(low, high, most + 1)
        if len(keys) > most:
            border = keys[-1][1:]
            self._todo[-1:] = [KeyRange(border, span.end), KeyRange(span.start, border)]
            span = self._todo[-1]
        # Nothing above `revision` was compared, so nothing below it need be in history any more.
        self._floor = min(max(self._floor, floor, 0), self._revision)
        sources = self._migration.sources
        end = b"" if span.end is None else span.end
        return DigestCall(self._migration.id, sources, span.start, end, self._floor, self._revision)

    def _keys_max(self, low: bytes, high: bytes) -> int:
        """Of the next sum, from the rows that it begins with."""
        sizes = [len(value) for _, value in self._engine.scan(low, high, SAMPLE)]
        return max(1, min(COPY_CHECK_KEYS, COPY_CHECK_BYTES // max(sizes, default=1)))

    def raise_floor(self) -> bool:
        """The source has compacted further than is known here. False: and further than `revision`,
        where nothing can be compared any more."""
        before, self._floor = self._floor, self._revision
        return before < self._revision

    def equal(self, call: DigestCall, theirs: Digest) -> bool:
        """Whether ours is the same. Raises EngineError."""
        span = self._todo.pop()
        assert span.start == call.start, "one range at a time"
        return digest(self._engine, list(self._migration.targets), span, call) == theirs
