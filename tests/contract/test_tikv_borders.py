"""The printed borders, given to a cluster: regions begin there, by the names PD has for them."""

from __future__ import annotations

import json
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Final

import pytest

from kubebraid.base.keyspace import EVERYTHING
from kubebraid.cli.layouts import read_layout
from kubebraid.cli.tikv_borders import borders
from kubebraid.shard import keycodec
from kubebraid.shard.storage.engine import Batch
from kubebraid.shard.storage.tikv import TikvEngine
from kubebraid.shard.storage.tikv_space import Shared
from tests.tikv.cluster import Cluster

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.tikv

SHARDS: Final = ("shard-0", "shard-1")
LAYOUT: Final = "/registry/pods/=2,/registry/leases/"
FLAGS: Final = ("--tikv-store=prod", f"--shards={','.join(SHARDS)}", f"--tablets={LAYOUT}")
SHARED: Final = Shared(b"prod", keycodec.SHARED_KINDS, keycodec.GUARDED_KINDS)
KEYS: Final = [b"/registry/%s/%d" % (kind, n) for kind in (b"leases", b"pods") for n in range(9)]


@pytest.fixture
def cluster(tmp_path: Path, tikv_cluster: Cluster) -> Iterator[Cluster]:
    with Cluster.started(tmp_path) as own:
        yield own


def test_regions_begin_at_the_borders_and_rows_are_read_over_them(
    cluster: Cluster, capsys: pytest.CaptureFixture[str]
) -> None:
    assert borders(FLAGS) == 0
    keys = [bytes.fromhex(line) for line in capsys.readouterr().out.split()]
    assert borders([*FLAGS, "--pd-json"]) == 0
    told = json.loads(capsys.readouterr().out)["split_keys"]
    cluster.split(*keys)
    starts = {region["start_key"].lower() for region in cluster.regions()}
    assert set(told) <= starts, "what PD is to be told is what it calls them"
    tablets = read_layout(LAYOUT, SHARDS)
    for number, shard in enumerate(SHARDS):
        opened = TikvEngine.open(
            [cluster.pd_address], f"prod/{shard}".encode(), create=True, shared=SHARED
        )
        with closing(opened) as engine:
            batch = Batch().put(keycodec.lease(1), b"")
            for key in KEYS[number :: len(SHARDS)]:
                tablet = tablets.tablet_of(key)
                batch.put(keycodec.newest(key), key).put(keycodec.history(key, 1), key)
                batch.put(keycodec.log(tablet.id, 1), key)
            engine.write(batch, sync=True)
            if shard != SHARDS[-1]:
                continue
            start, end = keycodec.newest_bounds(EVERYTHING)
            assert engine.scan(start, end, 99) == [(keycodec.newest(key), key) for key in KEYS]
            assert engine.count(*keycodec.history_bounds(EVERYTHING), 99) == len(KEYS)
