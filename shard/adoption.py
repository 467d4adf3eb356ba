"""How new a store is: a row beside the fences, by which an older copy of it is known.

What it is: the row, its bytes, and the marks that a serving shard leaves in it. What it is not: the
judgement; the coordinators hold the newest row that was confirmed (`coordinator/state.py:admits`).

Words: an *adoption* is (incarnation, marks): which process took the store last, and how often that
one has said since that it goes on. A *mark* raises the second number.

Invariants:
- the incarnation is written in the batch of the fences, and confirmed before anything is served:
  what was acknowledged later is not in a store that says another incarnation of before;
- a mark is confirmed after it is durable: a store that says less lacks what the shard wrote in
  between; marks never fall while a process lives.

What it cannot tell: a copy made while the present process ran lacks what was written since, and is
taken for the newest until the next mark, MARK_EVERY_MS later, is confirmed.

Worked example: incarnation 7 writes (7, 0), then (7, 1) and (7, 2). A copy that says (7, 1) is
older, and one that says (3, 9) is of another process.

Tested in tests/unit/shard/test_adoption.py.
"""

from __future__ import annotations

import logging
import struct
import zlib
from collections.abc import Callable
from typing import Final

from kubebraid.base.limits import MARK_EVERY_MS
from kubebraid.base.ports import NEVER_ADOPTED, Adoption

from . import keycodec
from .fencing import FenceDamaged
from .ownership import Ownership
from .seams import ShardSeams
from .settle import Settler
from .storage.engine import Batch, Engine, EngineError, Reader

ADOPTED_CELL: Final = keycodec.cell("adopted")
_FIELDS: Final = struct.Struct(">QQ")
_ROW: Final = struct.Struct(">QQI")
_LOG: Final = logging.getLogger("kubebraid.shard")


def pack(adoption: Adoption) -> bytes:
    return _ROW.pack(*adoption, zlib.crc32(_FIELDS.pack(*adoption)))


def stored(reader: Reader) -> Adoption:
    """What the store says; NEVER_ADOPTED without a row. Raises FenceDamaged, EngineError."""
    raw = reader.get(ADOPTED_CELL)
    if raw is None:
        return NEVER_ADOPTED
    if len(raw) != _ROW.size:
        raise FenceDamaged(f"the row of the last adoption has {len(raw)} bytes")
    incarnation, marks, crc = _ROW.unpack(raw)
    if zlib.crc32(_FIELDS.pack(incarnation, marks)) != crc:
        raise FenceDamaged("the row of the last adoption fails its checksum")
    return Adoption(incarnation, marks)


class Marks:
    """Leaves marks while a shard writes. A part of the loop."""

    def __init__(
        self,
        engine: Engine,
        owned: Ownership,
        seams: ShardSeams,
        confirm: Callable[[Adoption], None],
    ) -> None:
        """`confirm`: have the coordinators say that the store says this, durably."""
        self._engine = engine
        self._owned = owned
        self._seams = seams
        self._confirm = confirm
        self._adoption = Adoption(owned.incarnation, 0)
        self._marked = self._written()
        self._due_ms = seams.clock.now_ms() + MARK_EVERY_MS

    def _written(self) -> int:
        """Each commit raises a fence's nonce."""
        return sum(fence.nonce for fence in self._owned.fences.values())

    def turn(self, now_ms: int) -> None:
        """A mark, if one is due and there is something to tell."""
        if now_ms < self._due_ms:
            return
        self._due_ms = now_ms + MARK_EVERY_MS
        written = self._written()
        if written == self._marked:
            return
        # A write that failed may have landed: its number is not used again.
        self._adoption = self._adoption._replace(marks=self._adoption.marks + 1)
        try:
            self._engine.write(Batch().put(ADOPTED_CELL, pack(self._adoption)), sync=True)
        except EngineError as error:
            self._mend(error)
            return
        self._marked = written
        self._confirm(self._adoption)

    def _mend(self, error: EngineError) -> None:
        _LOG.warning("a mark was not written", extra={"error": str(error)})
        try:
            Settler(self._engine, self._seams.space).mend(error)
        except EngineError as lasting:
            self._seams.on_fatal(lasting)

    def next_deadline_ms(self) -> int:
        return self._due_ms
