"""A shard's own mark in its store."""

from __future__ import annotations

import pytest

from kubebraid.shard import keycodec
from kubebraid.shard.mark import StartRefused, mark
from kubebraid.shard.storage.engine import Batch
from kubebraid.shard.storage.memory import MemoryEngine


def test_store_of_this_shard_is_taken_again() -> None:
    engine = MemoryEngine()
    mark(engine, "shard-1")
    mark(engine, "shard-1")


def test_store_of_another_shard_is_refused() -> None:
    engine = MemoryEngine()
    mark(engine, "shard-1")
    with pytest.raises(StartRefused, match="that of shard-1"):
        mark(engine, "shard-2")


def test_store_of_a_single_process_is_refused_and_left_as_it_was() -> None:
    engine = MemoryEngine()
    engine.write(Batch().put(keycodec.cell("coordinator"), b"state"), sync=True)
    with pytest.raises(StartRefused, match="kubebraid serve"):
        mark(engine, "shard-1")
    assert engine.count(b"", b"\xff", 10) == 1
