"""The servers of the table: one world for the whole run."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.e2e.processes import Peers, Supervisor

from .world import World, closing


@pytest.fixture(scope="session")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """etcd and both fronts."""
    with (
        Supervisor(tmp_path_factory.mktemp("conformance")) as supervisor,
        closing(World(supervisor, Peers())) as world,
    ):
        yield world
