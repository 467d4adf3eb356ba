"""What the contract tests share: one TiKV-protocol cluster for all that need one.

Each test has a store of its own in it, by a name that no other test has. Without the programs that
tests/tikv/build.sh builds, or on a machine for which there is no client, such a test is skipped,
and with KUBEBRAID_REQUIRE_PEERS=1 it fails.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from kubebraid.shard.storage import tikv_link
from kubebraid.shard.storage.tikv_errors import EngineUnsupported
from tests.e2e.processes import missing
from tests.tikv.cluster import Cluster


def need_client() -> None:
    """End the test where there is no client of TiKV."""
    if not tikv_link.available():
        missing(f"tikv-client is not installed: {EngineUnsupported.hint}")


@pytest.fixture(scope="session")
def tikv_cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """One PD and one store, for tests that do them no harm."""
    need_client()
    with Cluster.started(tmp_path_factory.mktemp("tikv")) as cluster:
        yield cluster
