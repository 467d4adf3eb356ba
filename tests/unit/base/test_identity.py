"""Ids that stay."""

from __future__ import annotations

from kubebraid.base.identity import cluster_id, member_id


def test_ids_are_those_that_stores_have_been_known_by() -> None:
    """Written down once: a client that has seen one refuses a store with another."""
    assert cluster_id("a") == 7299139317422481125
    assert member_id("a", "default") == member_id("a", "default")


def test_ids_are_positive_and_differ() -> None:
    found = {cluster_id("a"), cluster_id("b"), member_id("a", "x"), member_id("a", "y")}
    assert len(found) == 4
    assert all(0 < number < 2**63 for number in found)
