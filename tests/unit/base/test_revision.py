"""Revisions: real, pending, and the step from one to the other."""

from __future__ import annotations

import pytest

from kubebraid.base.revision import FIRST_REVISION, PENDING_BASE, is_pending, pending, resolve


def test_pending_revision_resolves_to_the_first_plus_its_index() -> None:
    """The worked example of the module."""
    assert resolve(PENDING_BASE + 2, 11) == 13
    assert resolve(7, 11) == 7


def test_pending_revisions_keep_their_order_when_resolved() -> None:
    assert [resolve(pending(index), 40) for index in range(4)] == [40, 41, 42, 43]


@pytest.mark.parametrize("real", [FIRST_REVISION, 2, PENDING_BASE - 1])
def test_pending_revision_is_above_every_real_one(real: int) -> None:
    """That is what lets a batch compare before it knows its numbers."""
    assert not is_pending(real)
    assert is_pending(pending(0))
    assert pending(0) > real


def test_pending_revision_fits_an_int64() -> None:
    assert pending((1 << 32) - 1) < 1 << 63


@pytest.mark.parametrize("index", [-1, 1 << 32])
def test_index_outside_of_any_batch_is_a_bug(index: int) -> None:
    with pytest.raises(AssertionError):
        pending(index)


@pytest.mark.parametrize("first", [0, FIRST_REVISION, PENDING_BASE])
def test_block_cannot_start_at_the_empty_stores_revision_or_above_all(first: int) -> None:
    """Revision 1 belongs to a store that nothing was written to: no write ever has it."""
    with pytest.raises(AssertionError):
        resolve(pending(0), first)
