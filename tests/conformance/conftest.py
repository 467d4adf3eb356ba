"""The servers of the table: one world for the whole run."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.e2e.ledger import Ledger
from tests.e2e.processes import Peers, Supervisor

from .world import CLUSTER, World, closing


@pytest.fixture(scope="session")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """etcd and both fronts."""
    with (
        Supervisor(tmp_path_factory.mktemp("conformance")) as supervisor,
        closing(World(supervisor, Peers())) as world,
    ):
        yield world


@pytest.fixture(scope="session")
def ledger(world: World) -> Iterator[Ledger | None]:
    """What the cluster told over one watch of all its keys; None where no cluster is under test."""
    if CLUSTER is None:
        yield None
        return
    with world.followed() as ledger:
        yield ledger
