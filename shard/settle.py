"""After a failed write: reopen the store, find out what happened, and make it final.

What it is: the way from "outcome unknown" to "landed" or "void". What it is not: the answers to
clients (`writer.py`), or retries of their writes.

Words: a write *landed* if its rows are there; it is *void* if they are not and can no longer come.
The fence row is in the same atomic batch, so it alone tells.

Invariants:
- nothing is answered, published or closed between the failure and the end of `settle`;
- a void batch's revisions were allocated, so its fences are moved over them, durably: a restart
  never hands them out again, and R never falls (inv13, inv15);
- a fence that is neither before nor after the batch belongs to somebody else: the store is not
  served any more;
- a store that another process took over is not opened again: nothing was written, nothing can be.

Worked example: fence (4, 17, 6), a batch for revision 18 fails. Reopened, the fence reads
(4, 18, 7): landed. Or it reads (4, 17, 6): void, and (4, 18, 8) is written.

Source: ordering rules of docs/decisions/0007. Tested in tests/unit/shard/test_settle.py.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from enum import Enum
from typing import Final

from kubebraid.base import errors
from kubebraid.base.errors import RequestRefused
from kubebraid.base.limits import SETTLE_TRIES_MAX
from kubebraid.base.revision import TabletId

from . import fencing, keycodec
from .fencing import Fence, FenceDamaged
from .storage.engine import Batch, Engine, EngineCorrupt, EngineError, EngineFull, Reader
from .storage.space import Space
from .storage.tikv_errors import EngineFenced

Fences = Mapping[TabletId, Fence]
_LOG: Final = logging.getLogger("kubebraid.shard")


class Found(Enum):
    """What the stored fences say of a batch."""

    BEFORE = "before"
    LANDED = "landed"
    VOID = "void"


def void(fence: Fence) -> Fence:
    """The fence that closes the revisions of a batch which is not there."""
    return Fence(fence.oepoch, fence.last, fence.nonce + 1)


def find(stored: Fences, before: Fences, after: Fences) -> Found:
    """Which of its three states every fence is in. Raises FenceDamaged if they disagree.

    Fences that the batch did not touch are ignored.
    """
    assert after, "a batch always writes a fence"
    states = {
        Found.BEFORE: {tablet: before[tablet] for tablet in after},
        Found.LANDED: dict(after),
        Found.VOID: {tablet: void(fence) for tablet, fence in after.items()},
    }
    for found, fences in states.items():
        if all(stored[tablet] == fence for tablet, fence in fences.items()):
            return found
    raise FenceDamaged("after a failed write the fences are neither those before nor those after")


class Settler:
    """Owns the recovery of one shard's engine."""

    def __init__(self, engine: Engine, space: Space) -> None:
        self._engine = engine
        self._space = space

    def mend(self, error: EngineError) -> None:
        """Make the engine usable again; what failed may or may not have landed.

        Raises EngineError if it cannot be made so.
        """
        if is_deposed(error):
            raise error
        _LOG.error("a write failed, the store is opened again", extra={"error": str(error)})
        if isinstance(error, EngineFull):
            self._space.release()
        self._engine.reopen()

    def insist(self, batch: Batch, before: Fences, after: Fences) -> bool:
        """Write a batch that may not be given up, for others know what it says. Answers: was the
        device full?

        Raises EngineError if the device does not take it, FenceDamaged."""
        failed: EngineError | None = None
        full = False
        for _ in range(SETTLE_TRIES_MAX):
            try:
                if failed is not None:
                    self.mend(failed)
                    if find(_stored(self._engine, after), before, after) is Found.LANDED:
                        return full
                self._engine.write(batch, sync=True)
                return full
            except EngineError as error:
                if is_deposed(error):
                    raise
                failed = error
                full |= isinstance(error, EngineFull)
        assert failed is not None, "it was tried"
        raise failed

    def settle(self, error: EngineError, before: Fences, after: Fences) -> bool:
        """Whether the failed batch landed; it is final on return.

        Raises EngineError if the device does not allow to find out, FenceDamaged.
        """
        for _ in range(SETTLE_TRIES_MAX):
            try:
                self.mend(error)
                found = find(_stored(self._engine, after), before, after)
                if found is Found.BEFORE:
                    batch = Batch()
                    for tablet, fence in after.items():
                        batch.put(keycodec.fence(tablet), void(fence).pack())
                    self._engine.write(batch, sync=True)
                _LOG.warning("the failed write is settled", extra={"landed": found.value})
                return found is Found.LANDED
            except EngineError as again:
                if is_deposed(again):
                    raise
                error = again
        raise error


def is_deposed(error: EngineError) -> bool:
    """Whether the store says so itself. A conflict is only a sign of it, and is looked into."""
    return type(error) is EngineFenced


def refusal(error: EngineError) -> RequestRefused:
    """What the asker of a read is told. Damage is never served; other failures may pass."""
    _LOG.error("a read failed", extra={"error": str(error)})
    return errors.CORRUPT if isinstance(error, EngineCorrupt) else errors.TIMED_OUT


def _stored(reader: Reader, tablets: Fences) -> dict[TabletId, Fence]:
    found = {}
    for tablet in tablets:
        raw = reader.get(keycodec.fence(tablet))
        if raw is None:
            raise FenceDamaged(f"the fence row of tablet {tablet} is missing")
        found[tablet] = fencing.unpack(raw)
    return found
