"""A long range goes in pages, and nothing beside it."""

from __future__ import annotations

import pytest

from kubebraid.shard.storage.engine import Batch
from kubebraid.shard.storage.memory import MemoryEngine
from kubebraid.shard.storage.wipe import wiped


def filled() -> MemoryEngine:
    engine = MemoryEngine()
    batch = Batch().put(b"a", b"").put(b"m", b"")
    for number in range(10):
        batch.put(b"l%d" % number, b"row")
    engine.write(batch, sync=True)
    return engine


@pytest.mark.parametrize(("rows", "pages"), [(1, 10), (3, 4), (10, 1), (11, 1)])
def test_each_page_is_a_batch_of_its_own(rows: int, pages: int) -> None:
    engine = filled()
    left = [engine.count(b"l", b"m", 99) for _ in wiped(engine, b"l", b"m", rows, sync=False)]
    assert left == [max(0, 10 - rows * page) for page in range(1, pages + 1)]
    assert engine.keys(b"", b"z", 99) == [b"a", b"m"]


def test_a_part_that_was_left_goes_the_next_time() -> None:
    engine = filled()
    next(wiped(engine, b"l", b"m", 3, sync=True))
    assert engine.count(b"l", b"m", 99) == 7
    assert len([*wiped(engine, b"l", b"m", 3, sync=True)]) == 3
    assert engine.count(b"", b"z", 99) == 2
