"""A shard's own mark in its store."""

from __future__ import annotations

import pytest

from kubebraid.shard import keycodec
from kubebraid.shard.mark import ForeignCluster, StartRefused, check, mark, rows_id, store_id
from kubebraid.shard.storage.engine import Batch
from kubebraid.shard.storage.memory import MemoryEngine
from kubebraid.shard.storage.tikv_errors import EngineFenced

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


# -- rows that shards share ------------------------------------------------------------------------


CLUSTER = "cluster-1"


class Shared(MemoryEngine):
    """An engine whose rows others write. `theirs`: another engine writes this id just before ours
    does; empty: it was the store that was taken."""

    shares_rows = True  # type: ignore[misc]  # what a farther engine says for good

    def __init__(self, theirs: bytes | None = None) -> None:
        super().__init__()
        self._theirs = theirs
        self._fenced = False
        self.writes = 0

    def get(self, key: bytes) -> bytes | None:
        assert not self._fenced, "nothing is taken before it is reopened"
        return super().get(key)

    def write(self, batch: Batch, *, sync: bool) -> None:
        self.writes += 1
        if self._theirs is not None:
            self._fenced = True
            raise EngineFenced("the row was written meanwhile")
        super().write(batch, sync=sync)

    def reopen(self) -> None:
        super().reopen()
        self._fenced = False
        if self._theirs:
            super().write(Batch().put(keycodec.ROWS_ID, self._theirs), sync=True)


def test_engine_that_shares_no_rows_has_no_id_of_them_and_gets_none() -> None:
    engine = MemoryEngine()
    assert rows_id(engine, CLUSTER) == ""
    assert engine.count(b"", b"\xff", 10) == 0


def test_row_space_gets_its_id_once() -> None:
    engine, other = Shared(), Shared()
    drawn = rows_id(engine, CLUSTER)
    assert len(bytes.fromhex(drawn)) == 16
    assert engine.get(keycodec.ROWS_ID) == f"{drawn} {CLUSTER}".encode()
    assert (rows_id(engine, CLUSTER), engine.writes) == (drawn, 1), "whoever comes later finds it"
    assert rows_id(other, CLUSTER) != drawn


def test_of_two_shards_that_come_first_both_have_the_id_that_is_there() -> None:
    engine = Shared(b"theirs cluster-1")
    assert rows_id(engine, CLUSTER) == "theirs"
    assert engine.get(keycodec.ROWS_ID) == b"theirs cluster-1"


def test_the_row_space_of_another_cluster_is_refused() -> None:
    engine = Shared()
    rows_id(engine, CLUSTER)
    with pytest.raises(ForeignCluster, match="another cluster, cluster-1"):
        rows_id(engine, "cluster-2")


def test_store_that_was_taken_meanwhile_gets_no_id_of_rows() -> None:
    with pytest.raises(EngineFenced):
        rows_id(Shared(b""), CLUSTER)
