"""An engine in memory: the contract without a disk, for tests and for simulation.

What it is: a sorted list of keys beside a dict. What it is not: durable in any real sense; it
only keeps apart what was synced from what was not, so that `clone` can play a crash.

Words: a *table* is one state of the store; it is *pinned* while a snapshot reads it.

Invariants:
- a pinned table never changes: the next write copies it first (copy-on-write), hence a snapshot
  costs nothing until somebody writes;
- `clone` holds every synced batch and every batch before the last synced one, and no later one,
  as a log that is synced up to its end would.

Worked example: write a=1 synced, b=2 not synced; `clone().scan(b"", b"z", 9)` is `[(b"a", b"1")]`.
After another synced write of c=3 it is a, b and c: a sync covers everything that lies before it.

Tested in tests/contract/test_engine.py.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from typing import TYPE_CHECKING, Final

from .engine import DELETE, DELETE_RANGE, PUT, Batch, EngineClosed, Operation

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence


class _Table:
    """One state: `keys` is the sorted list of exactly the keys of `rows`."""

    __slots__ = ("keys", "pins", "rows", "size_bytes")

    def __init__(self) -> None:
        self.keys: list[bytes] = []
        self.rows: dict[bytes, bytes] = {}
        self.size_bytes = 0
        self.pins = 0

    def copy(self) -> _Table:
        table = _Table()
        table.keys, table.rows = self.keys.copy(), self.rows.copy()
        table.size_bytes = self.size_bytes
        return table

    def apply(self, operations: Iterable[Operation]) -> None:
        assert self.pins == 0, "a snapshot would see this write"
        for kind, key, value in operations:
            if kind == PUT:
                self._put(key, value)
            elif kind == DELETE:
                self._delete(key, key + b"\0")
            else:
                assert kind == DELETE_RANGE, kind
                self._delete(key, value)
        assert len(self.keys) == len(self.rows), (len(self.keys), len(self.rows))

    def _put(self, key: bytes, value: bytes) -> None:
        old = self.rows.get(key)
        if old is None:
            insort(self.keys, key)
            self.size_bytes += len(key)
        self.rows[key] = value
        self.size_bytes += len(value) - len(old or b"")

    def _delete(self, start: bytes, end: bytes) -> None:
        low, high = self._bounds(start, end)
        for key in self.keys[low:high]:
            self.size_bytes -= len(key) + len(self.rows.pop(key))
        del self.keys[low:high]

    def scan(self, start: bytes, end: bytes, limit: int, reverse: bool) -> list[bytes]:
        assert limit >= 1, limit
        low, high = self._bounds(start, end)
        if reverse:
            return self.keys[max(low, high - limit) : high][::-1]
        return self.keys[low : min(high, low + limit)]

    def _bounds(self, start: bytes, end: bytes) -> tuple[int, int]:
        low = bisect_left(self.keys, start)
        return low, max(low, bisect_left(self.keys, end))


class _MemoryReader:
    """Reads of one table; what an engine and a snapshot have in common."""

    def __init__(self, table: _Table) -> None:
        self._table: _Table | None = table

    def _open_table(self) -> _Table:
        if self._table is None:
            raise EngineClosed("the memory engine or its snapshot was closed before this call")
        return self._table

    def get(self, key: bytes) -> bytes | None:
        return self._open_table().rows.get(key)

    def scan(
        self, start: bytes, end: bytes, limit: int, *, reverse: bool = False
    ) -> list[tuple[bytes, bytes]]:
        table = self._open_table()
        return [(key, table.rows[key]) for key in table.scan(start, end, limit, reverse)]

    def keys(self, start: bytes, end: bytes, limit: int) -> list[bytes]:
        return self._open_table().scan(start, end, limit, reverse=False)

    def count(self, start: bytes, end: bytes, limit: int) -> int:
        return len(self._open_table().scan(start, end, limit, reverse=False))


class MemorySnapshot(_MemoryReader):
    """A pinned table."""

    def __init__(self, table: _Table) -> None:
        super().__init__(table)
        table.pins += 1

    def close(self) -> None:
        if self._table is not None:
            self._table.pins -= 1
            assert self._table.pins >= 0, self._table.pins
            self._table = None


class MemoryEngine(_MemoryReader):
    """See the contract, `engine.Engine`."""

    batches_reads: Final = False
    shares_rows: Final = False

    def __init__(self) -> None:
        super().__init__(_Table())
        self._snapshots: list[MemorySnapshot] = []
        # None as long as the engine is open and nothing unsynced was ever written: then the
        # present table is what is durable, and it costs no second copy.
        self._durable: _Table | None = None
        self._unsynced: list[Operation] = []

    def write(self, batch: Batch, *, sync: bool) -> None:
        assert len(batch) > 0, "an empty batch has nothing to make durable"
        table = self._open_table()
        if not sync and self._durable is None:
            self._durable = table.copy()
        if table.pins > 0:
            self._table = table = table.copy()
        table.apply(batch.operations)
        if self._durable is not None:
            self._unsynced.extend(batch.operations)
            if sync:
                self._durable.apply(self._unsynced)
                self._unsynced.clear()

    def expect(self, keys: Sequence[bytes]) -> None:
        """A row in memory is there before anybody asks."""

    def refuses(self, make: Callable[[], Batch]) -> bool:
        return False

    def snapshot(self, start: bytes = b"", end: bytes = b"") -> MemorySnapshot:
        self._snapshots = [taken for taken in self._snapshots if taken._table is not None]
        self._snapshots.append(MemorySnapshot(self._open_table()))
        return self._snapshots[-1]

    def reopen(self) -> None:
        # No write of ours fails, so there is nothing to find out; but what is read from now on is
        # believed, so it has to be durable.
        self._open_table()
        if self._durable is not None:
            self._durable.apply(self._unsynced)
            self._unsynced.clear()
        for taken in self._snapshots:
            taken.close()

    def tidy(self) -> None:
        self._open_table()  # removed rows lie in nobody's way

    def disk_bytes(self) -> int:
        return self._open_table().size_bytes

    def defragment(self) -> None:
        self._open_table()  # removed rows hold no memory

    def clone(self) -> MemoryEngine:
        """An independent engine with what a crash now would leave; works on a closed one too."""
        engine = MemoryEngine()
        durable = self._open_table() if self._durable is None else self._durable
        engine._table = durable.copy()
        return engine

    def close(self) -> None:
        for taken in self._snapshots:
            taken.close()
        if self._durable is None:
            self._durable = self._table
        self._table = None
