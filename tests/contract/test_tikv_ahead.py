"""Keys the engine on TiKV was told of: one call for all, and never the rows of another time."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from contextlib import closing
from typing import TYPE_CHECKING, Any, Final

import pytest

from kubebraid.shard.storage.engine import Batch
from kubebraid.shard.storage.tikv import TikvEngine
from kubebraid.shard.storage.tikv_errors import EngineFenced, EngineUnavailable
from kubebraid.shard.storage.tikv_keeper import elapsed

if TYPE_CHECKING:
    from tests.tikv.cluster import Cluster

pytestmark = pytest.mark.tikv

KEYS: Final = [b"k%03d" % number for number in range(100)]


@pytest.fixture
def engine(tikv_cluster: Cluster) -> Iterator[TikvEngine]:
    name = secrets.token_bytes(8)
    with closing(TikvEngine.open([tikv_cluster.pd_address], name, create=True)) as opened:
        written(opened, b"1")
        yield opened


@pytest.fixture
def calls(engine: TikvEngine, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What was asked of TiKV."""
    asked: list[str] = []
    call = engine._link.call

    def counted(work: Any, doing: str, seconds: float) -> object:
        asked.append(doing)
        return call(work, doing, seconds)

    monkeypatch.setattr(engine._link, "call", counted)
    return asked


def written(engine: TikvEngine, value: bytes) -> None:
    batch = Batch()
    for key in KEYS[::2]:
        batch.put(key, value)
    engine.write(batch, sync=True)


def read(engine: TikvEngine) -> list[bytes | None]:
    return [engine.get(key) for key in KEYS]


def test_expected_keys_cost_one_call_until_the_next_write(
    engine: TikvEngine, calls: list[str]
) -> None:
    engine.expect(KEYS)
    for _ in range(2):
        assert read(engine) == [b"1", None] * 50
    assert calls == ["a read"]
    written(engine, b"2")
    calls.clear()
    assert engine.get(KEYS[0]) == b"2"
    assert calls == ["a read"]


def test_present_that_moved_without_a_change_is_read_anew(
    engine: TikvEngine, calls: list[str]
) -> None:
    """What was held was right, but is not known to be: nothing but the timestamp tells."""
    engine.expect(KEYS)
    present = engine.present()
    assert present is not None
    engine.move(present.at, present.at + 1, present.since)
    assert engine.get(KEYS[0]) == b"1"
    assert calls == ["a read"] * 2


def test_rows_at_an_old_timestamp_are_not_expected(engine: TikvEngine, calls: list[str]) -> None:
    """It is renewed first, as by any read; and what came too late is not kept."""
    engine.since = elapsed() - engine._ages.trust_s
    old = engine._at()
    engine.expect(KEYS)
    assert len(calls) == 2
    assert engine._ahead.at == engine._at() > old
    engine.since = elapsed() - engine._ages.trust_s
    engine._failed = EngineUnavailable("which keeps the present where it is")
    engine.expect(KEYS)
    assert engine._ahead.rows == {}
    with pytest.raises(EngineUnavailable):
        engine.get(KEYS[0])


def test_deposed_engine_knows_what_it_knew_and_never_its_successors_rows(
    engine: TikvEngine, tikv_cluster: Cluster
) -> None:
    engine.expect(KEYS)
    with closing(TikvEngine.open([tikv_cluster.pd_address], engine._name, create=False)) as other:
        written(other, b"2")
        assert read(engine) == [b"1", None] * 50
        engine.expect(KEYS)
        assert read(engine) == [b"1", None] * 50
        with pytest.raises(EngineFenced):
            written(engine, b"3")
        assert read(engine) == [b"1", None] * 50
        other.expect(KEYS)
        assert read(other) == [b"2", None] * 50


def test_reopened_engine_reads_what_is_durable(engine: TikvEngine, calls: list[str]) -> None:
    engine.expect(KEYS)
    engine.reopen()
    calls.clear()
    assert engine.get(KEYS[0]) == b"1"
    assert calls == ["a read"]
