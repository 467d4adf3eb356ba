"""Engines in memory whose rows of keys are one space, as those of shards on one TiKV are.

What it is: a MemoryEngine that reads its own rows and what it knows of the shared ones, and whose
writes of fences are judged as TiKV's engine judges them. What it is not: locks, or a network.

Words: the *journal* is every operation on shared rows, in order; an engine has *read* it up to some
place.

Invariants:
- what others write is seen behind `catch_up`, a write of one's own or a reopening, and not before;
- a batch whose guarded rows are not as this engine's caller last read or wrote them is refused
  whole;
- a range of shared rows that is deleted is what this engine sees of it when it writes.

Worked example: a and b share a journal: a puts n/x; b's `get` finds nothing, then `catch_up`.

Tested in tests/unit/shard/test_windows.py.
"""

from __future__ import annotations

import pytest

from kubebraid.shard.keycodec import GUARDED_KINDS, SHARED_KINDS
from kubebraid.shard.storage.engine import DELETE, DELETE_RANGE, PUT, Batch, Operation
from kubebraid.shard.storage.memory import MemoryEngine
from kubebraid.shard.storage.tikv_errors import EngineFenced
from tests import moving
from tests.unit.shard.fakes import BreakableEngine


class Journal:
    """The rows of all shards; `by`: who wrote each operation."""

    def __init__(self) -> None:
        self.operations: list[Operation] = []
        self.by: list[object] = []
        self.guarded: dict[bytes, bytes] = {}

    def add(self, by: object, operations: list[Operation]) -> None:
        for operation in operations:
            kind, key, value = operation
            assert kind != DELETE_RANGE, "it is spelled out"
            self.operations.append(operation)
            self.by.append(by)
            if key[:1] in GUARDED_KINDS:
                self.guarded.pop(key, None)
                if kind == PUT:
                    self.guarded[key] = value


class Sharing(MemoryEngine):
    """Durable with each write, as TiKV is."""

    shares_rows = True  # type: ignore[misc]  # what a nearer engine says for good
    journal = Journal()

    def __init__(self) -> None:
        super().__init__()
        self._read = 0
        self._known: dict[bytes, bytes | None] = {}

    def join(self, journal: Journal) -> None:
        """Before anything is read."""
        self.journal = journal
        self._read_on()

    def catch_up(self) -> None:
        self._read_on()

    def _read_on(self) -> None:
        table = self._open_table()
        news = self.journal.operations[self._read :]
        if not news:
            return
        if table.pins > 0:
            self._table = table = table.copy()
        table.apply(news)
        self._read = len(self.journal.operations)

    def get(self, key: bytes) -> bytes | None:
        value = super().get(key)
        if key[:1] in GUARDED_KINDS:
            self._known[key] = value
        return value

    def spelled(self, batch: Batch) -> Batch:
        """With each shared row that a deleted range has."""
        found = Batch()
        for kind, key, value in batch.operations:
            if kind == DELETE_RANGE and _is_shared(key):
                assert value <= bytes((key[0] + 1,)), "of one kind of rows"
                here = self._open_table().scan(key, value, 1 << 30, reverse=False)
                put = [k for _, k, _ in found.operations if key <= k < value]
                found.operations += [(DELETE, k, b"") for k in dict.fromkeys((*here, *put))]
            else:
                found.operations.append((kind, key, value))
        return found

    def write(self, batch: Batch, *, sync: bool) -> None:
        spelled = self.spelled(batch)
        shared = [each for each in spelled.operations if _is_shared(each[1])]
        guarded = [key for _, key, _ in shared if key[:1] in GUARDED_KINDS]
        self.guard(guarded)
        self._read_on()
        super().write(spelled if len(spelled) else batch, sync=True)
        self.journal.add(self, shared)
        self._read = len(self.journal.operations)
        self._known |= {key: self.journal.guarded.get(key) for key in guarded}

    def guard(self, keys: list[bytes]) -> None:
        """Raises EngineFenced."""
        for key in keys:
            known = self._known.get(key, self._open_table().rows.get(key))
            if known != self.journal.guarded.get(key):
                raise EngineFenced("another shard has taken a tablet over")

    def reopen(self) -> None:
        super().reopen()
        self._read_on()


def _is_shared(key: bytes) -> bool:
    return bool(key) and key[0] in SHARED_KINDS


class SharingBreakable(BreakableEngine, Sharing):
    """... that fails as it is told."""


def engines_that_share(shards: tuple[str, ...]) -> dict[str, BreakableEngine]:
    """Of one row space."""
    journal = Journal()
    engines = {name: SharingBreakable() for name in shards}
    for engine in engines.values():
        engine.join(journal)
    return dict(engines)


@pytest.fixture(params=["apart", "shared"])
def stores(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """The shards of tests/moving.py, each with a store of its own, and with shared rows."""
    if request.param == "shared":
        monkeypatch.setattr(moving, "engines_of", engines_that_share)
    return str(request.param)


APART = pytest.mark.parametrize("stores", ["apart"], indirect=True)
"""Of what only a copy does: what it writes, or leaves."""
TOGETHER = pytest.mark.parametrize("stores", ["shared"], indirect=True)
"""Of what only shards that share their rows do."""
