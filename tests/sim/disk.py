"""The disks of simulated nodes: an engine that fails and crashes, and Raft's directory.

What it is: MemoryEngine with failures by plan and an ear for what became durable; and the same on a
row space of several shards. What it is not: RocksDB or TiKV; the faults tests have those.

Invariants: what a crash keeps is what was synced; a write that failed landed or did not, as the
plan says, and the engine takes nothing more until it is opened again. Of shared rows each write is
durable, and a new process finds what all have written.

Worked example: `engine.fail_next(lands=True)`: the next commit raises, and its rows are there.

Tested in tests/sim/test_parts.py.
"""

from __future__ import annotations

from collections import deque
from typing import Protocol

from kubebraid.shard.keycodec import SHARED_KINDS
from kubebraid.shard.storage.engine import PUT, Batch, EngineError
from kubebraid.shard.storage.memory import MemoryEngine
from kubebraid.shard.storage.tikv_errors import EngineFenced
from tests.shared_rows import Journal, Sharing
from tests.unit.coordinator.raft.kit import FakeDisk

__all__ = ["FakeDisk", "SharingSimEngine", "SimEngine", "WriteEar"]


class WriteEar(Protocol):
    """Who hears of what is in the store."""

    def __call__(self, engine: SimEngine, batch: Batch, /) -> None: ...


class SimEngine(MemoryEngine):
    """`hear`: called behind each batch that landed."""

    def __init__(self, hear: WriteEar) -> None:
        super().__init__()
        self._hear = hear
        self._faults: deque[bool] = deque()
        self._stuck = False

    def fail_next(self, lands: bool) -> None:
        self._faults.append(lands)

    def write(self, batch: Batch, *, sync: bool) -> None:
        if self._stuck:
            raise EngineError("a write failed before")
        lands = self._faults.popleft() if self._faults else None
        if lands is not False:
            super().write(batch, sync=sync)
            self._hear(self, batch)
        if lands is not None:
            self._stuck = True
            raise EngineError(f"simulated; lands={lands}")

    def reopen(self) -> None:
        super().reopen()
        self._stuck = False

    def survivor(self) -> SimEngine:
        """What a new process finds."""
        engine = SimEngine(self._hear)
        engine._table = self.clone()._table
        return engine


class SharingSimEngine(SimEngine, Sharing):
    """`fenced`: called with a batch that was refused because another shard had written what it
    guards."""

    def __init__(self, hear: WriteEar, fenced: WriteEar, journal: Journal) -> None:
        super().__init__(hear)
        self._fenced = fenced
        self.join(journal)

    def write(self, batch: Batch, *, sync: bool) -> None:
        try:
            super().write(self.spelled(batch) or batch, sync=sync)
        except EngineFenced:
            self._stuck = True
            self._fenced(self, batch)
            raise

    def survivor(self) -> SharingSimEngine:
        engine = SharingSimEngine(self._hear, self._fenced, Journal())
        own = [row for row in self._open_table().rows.items() if row[0][0] not in SHARED_KINDS]
        engine._open_table().apply((PUT, *row) for row in own)
        engine.join(self.journal)
        return engine
