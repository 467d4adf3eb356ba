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
from collections.abc import Callable
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
        self._settler = settler
        self._seams = seams
        # Each kind of work with the time of its next try (0: it has not failed): a row that one
        # cannot read must not hold up the other.
        self._due_ms: dict[Callable[[], bool], int] = {counts.turn: 0, compactor.turn: 0}
        self._tend_at_ms = 0

    def turn(self, now_ms: int) -> bool:
        """A slice of what is due. Answers: can more be done now?"""
        if now_ms >= self._tend_at_ms:
            self._tend_at_ms = now_ms + TEND_MS
            self._tend()
        more = False
        for work, due_ms in self._due_ms.items():
            if now_ms >= due_ms:
                more = self._slice(work, now_ms) or more
        return more

    def _slice(self, work: Callable[[], bool], now_ms: int) -> bool:
        self._due_ms[work] = 0
        try:
            return work()
        except SliceUnwritten as failed:
            self._mend(failed.error)
        except EngineError as error:
            _LOG.error("background work met an unreadable row", extra={"error": str(error)})
        self._due_ms[work] = now_ms + UPKEEP_RETRY_MS
        return False

    def next_deadline_ms(self) -> int | None:
        """When a failed slice is tried again."""
        return min(filter(None, self._due_ms.values()), default=None)

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
