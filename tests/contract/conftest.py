"""What the contract tests share: one TiKV-protocol cluster for all that need one.

Each test has a store of its own in it, by a name that no other test has. Without the programs that
tests/tikv/build.sh builds, or on a machine for which there is no client, such a test is skipped,
and with KUBEBRAID_REQUIRE_PEERS=1 it fails.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.e2e.store import need_tikv_client
from tests.tikv.cluster import Cluster


@pytest.fixture(scope="session")
def tikv_cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """One PD and one store, for tests that do them no harm."""
    need_tikv_client()
    with Cluster.started(tmp_path_factory.mktemp("tikv")) as cluster:
        yield cluster
