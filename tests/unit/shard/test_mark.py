"""A shard's own mark in its store."""

from __future__ import annotations

import pytest

from kubebraid.shard import keycodec
from kubebraid.shard.mark import ForeignCluster, StartRefused, check, mark, store_id
from kubebraid.shard.storage.engine import Batch
from kubebraid.shard.storage.memory import MemoryEngine

HERE = "cluster-1"


def test_store_of_this_shard_is_taken_again() -> None:
    engine = MemoryEngine()
    mark(engine, "shard-1", HERE)
    mark(engine, "shard-1", HERE)


def test_store_of_another_shard_is_refused() -> None:
    engine = MemoryEngine()
    mark(engine, "shard-1", HERE)
    with pytest.raises(StartRefused, match="that of shard-1"):
        mark(engine, "shard-2", HERE)


def test_store_of_a_single_process_is_refused_and_left_as_it_was() -> None:
    engine = MemoryEngine()
    engine.write(Batch().put(keycodec.cell("coordinator"), b"state"), sync=True)
    with pytest.raises(StartRefused, match="kubebraid serve"):
        mark(engine, "shard-1", HERE)
    assert engine.count(b"", b"\xff", 10) == 1


def test_store_keeps_the_id_that_was_drawn_for_it() -> None:
    engine, other = MemoryEngine(), MemoryEngine()
    drawn = store_id(engine)
    mark(engine, "shard-1", HERE)
    assert store_id(engine) == drawn
    assert store_id(other) != drawn


def test_store_with_an_id_is_one_clusters() -> None:
    engine = MemoryEngine()
    store_id(engine)
    check(engine, "shard-1", "cluster-2")
    mark(engine, "shard-1", HERE)
    mark(engine, "shard-1", HERE)
    with pytest.raises(ForeignCluster, match="another cluster, cluster-1"):
        check(engine, "shard-1", "cluster-2")
    with pytest.raises(ForeignCluster):
        mark(engine, "shard-1", "cluster-2")
