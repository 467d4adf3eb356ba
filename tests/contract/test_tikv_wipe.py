"""A range that is longer than a batch may be goes in pages."""

from __future__ import annotations

import secrets
from contextlib import closing
from typing import Final

import pytest

from kubebraid.shard.storage.engine import Batch
from kubebraid.shard.storage.tikv import WRITE_ROWS_MAX, TikvEngine
from kubebraid.shard.storage.tikv_errors import EngineOversized
from kubebraid.shard.storage.wipe import wiped
from tests.tikv.cluster import Cluster

pytestmark = pytest.mark.tikv

ROWS: Final = WRITE_ROWS_MAX + 1
PAGE: Final = 4_096


def test_range_of_more_rows_than_a_batch_may_have_goes_in_pages(tikv_cluster: Cluster) -> None:
    opened = TikvEngine.open([tikv_cluster.pd_address], secrets.token_bytes(8), create=True)
    with closing(opened) as engine:
        for first in range(0, ROWS, PAGE):
            batch = Batch()
            for number in range(first, min(first + PAGE, ROWS)):
                batch.put(b"l%06d" % number, b"row")
            engine.write(batch, sync=True)
        engine.write(Batch().put(b"a", b"").put(b"m", b""), sync=True)
        assert engine.refuses(lambda: Batch().delete_range(b"l", b"m"))
        assert not engine.refuses(lambda: Batch().delete_range(b"l", b"l030000"))
        with pytest.raises(EngineOversized):
            engine.write(Batch().delete_range(b"l", b"m"), sync=True)
        assert engine.count(b"l", b"m", ROWS + 1) == ROWS
        pages = sum(1 for _ in wiped(engine, b"l", b"m", PAGE, sync=True))
        assert pages == ROWS // PAGE + 1
        assert engine.keys(b"", b"\xff", 9) == [b"a", b"m"]
