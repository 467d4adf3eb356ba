"""What a shard does for its store besides serving: compaction, counters, tombstones, space.

What it is: when each is due, and what becomes of a failure. What it is not: the work itself
(`compaction.py`, `counts.py`, the engine, `storage/space.py`).

Invariants: a slice of compaction that failed is made again later (removing twice is removing
once), and the store is reopened only where a write failed; a device that is short of space is told
of at every look, so that a disarmed alarm comes back while it is short.

Worked example: free space falls below the reserve: at the next look, at most TEND_MS later,
`on_full` raises NOSPACE; deletes and compaction go on.

Tested in tests/unit/shard/test_owner.py.
"""

from __future__ import annotations

import logging
from typing import Final

from kubebraid.base.limits import TEND_MS, UPKEEP_RETRY_MS

from .compaction import Compactor, SliceUnwritten
from .counts import KeyCounts
from .seams import ShardSeams
from .settle import Settler
from .storage.engine import Engine, EngineError

_LOG: Final = logging.getLogger("kubebraid.shard")


class Upkeep:
    """The background work of one shard."""

    def __init__(
        self,
        engine: Engine,
        compactor: Compactor,
        counts: KeyCounts,
        settler: Settler,
        seams: ShardSeams,
    ) -> None:
        self._engine = engine
        self._compactor = compactor
        self._counts = counts
        self._settler = settler
        self._seams = seams
        self._retry_at_ms = 0  # 0: nothing has failed
        self._tend_at_ms = 0

    def turn(self, now_ms: int) -> bool:
        """A slice of what is due. Answers: can more be done now?"""
        if now_ms >= self._tend_at_ms:
            self._tend_at_ms = now_ms + TEND_MS
            self._tend()
        if now_ms < self._retry_at_ms:
            return False
        self._retry_at_ms = 0
        more = False
        try:
            more = self._counts.turn()
            return self._compactor.turn() or more
        except SliceUnwritten as failed:
            self._mend(failed.error)
        except EngineError as error:
            _LOG.error("background work met an unreadable row", extra={"error": str(error)})
        self._retry_at_ms = now_ms + UPKEEP_RETRY_MS
        return False

    def next_deadline_ms(self) -> int | None:
        """When a failed slice is tried again."""
        return self._retry_at_ms or None

    def _tend(self) -> None:
        if self._seams.space.short():
            self._seams.on_full()
        else:
            self._seams.space.restore()
        try:
            self._engine.tidy()
        except EngineError as error:
            self._mend(error)

    def _mend(self, error: EngineError) -> None:
        try:
            self._settler.mend(error)
        except EngineError as lasting:
            self._seams.on_fatal(lasting)
