"""Batches that an engine would refuse for their size: found before a revision is taken.

What it is: a look at what a batch would write, of an engine that has limits. What it is not: the
limits (`storage/tikv.py`), or the batch (`seal.py`).

Why before: behind the Alloc a refused write costs its revision, a reopening of the store, and a
client that is told to try again what can never be done.

Invariants:
- an engine without limits is not asked, and pays nothing: the writer sees to it;
- a batch that is too large as a whole is tried again call by call: each call that fits is done, and
  one that does not is refused as such.

Worked example: 30 puts and one of a key of 8,000 bytes are queued: the next 31 batches have one
call each, and one of them is answered "request is too large".

Tested in tests/unit/shard/test_fitting.py.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

from kubebraid.base.ports import WriteCall

from .apply import Evaluation
from .outcome import outcome_of
from .ownership import Ownership
from .seal import seal
from .storage.engine import Batch, Engine

# Below these no batch is refused: a key is encoded to twice its length at most, and each change is
# four rows at most.
CALL_BYTES_SURE: Final = 3_000
CHANGES_SURE: Final = 6_000
BYTES_SURE: Final = 1 << 20


class Fitting:
    """Of one writer."""

    def __init__(self, engine: Engine, owned: Ownership, begun: Callable[[], Evaluation]) -> None:
        """`begun`: an evaluation with nothing in it yet."""
        self._engine = engine
        self._owned = owned
        self._begun = begun
        self._singles = 0  # so many calls are tried one by one

    @property
    def alone(self) -> bool:
        """Whether the next batch may have one call only."""
        return self._singles > 0

    def fits(self, evaluation: Evaluation, calls: Sequence[WriteCall], certain: bool) -> bool:
        """Whether the engine takes it. `certain`: as the first call was evaluated."""
        self._singles = max(0, self._singles - 1)
        if (
            not evaluation.changes
            or _sure(evaluation, calls)
            or not self._engine.refuses(lambda: self._trial(calls, certain))
        ):
            return True
        if len(calls) > 1:
            self._singles = len(calls)
        return False

    def _trial(self, calls: Sequence[WriteCall], certain: bool) -> Batch:
        """Evaluated again, for rows are numbered once."""
        owned, evaluation = self._owned, self._begun()
        for call in calls:
            evaluation.certain = certain
            outcome_of(evaluation, call)
            certain = False
        first = owned.known + 1
        return seal(evaluation, first, owned.fences, owned.oepochs, owned.sealed).batch


def _sure(evaluation: Evaluation, calls: Sequence[WriteCall]) -> bool:
    return (
        len(evaluation.changes) <= CHANGES_SURE
        and evaluation.bytes <= BYTES_SURE
        and all(len(call.payload) <= CALL_BYTES_SURE for call in calls)
    )
