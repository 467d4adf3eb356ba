"""The world of the tests of links: it closes what it opened."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from .kit import World


@pytest.fixture
def world() -> Iterator[World]:
    made = World()
    yield made
    made.close()
