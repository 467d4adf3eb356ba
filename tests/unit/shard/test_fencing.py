"""The fence record: adoption and commits only ever move it up."""

from __future__ import annotations

import pytest

from kubebraid.base.errors import StaleEpoch
from kubebraid.base.revision import FIRST_REVISION
from kubebraid.shard import fencing
from kubebraid.shard.fencing import Fence, FenceDamaged


def test_start_and_first_commit_move_epoch_and_last() -> None:
    """The worked example of the module."""
    adopted = fencing.adopt(Fence(3, 17, 5), 4)
    assert adopted == Fence(4, 17, 6)
    assert fencing.advance(adopted, 4, 18) == Fence(4, 18, 7)


@pytest.mark.parametrize(("last", "begin", "adopted"), [(17, 25, 25), (17, 17, 17), (17, 0, 17)])
def test_m12_adopter_stands_at_h_and_not_where_the_last_commit_was(
    last: int, begin: int, adopted: int
) -> None:
    """What was handed out between the two is void: closed there, it is never waited for."""
    assert fencing.adopt(Fence(3, last, 5), 4, begin) == Fence(4, adopted, 6)


def test_touch_changes_the_nonce_alone() -> None:
    assert fencing.touch(Fence(3, 17, 5), 3) == Fence(3, 17, 6)
    with pytest.raises(AssertionError, match="fence at 3"):
        fencing.touch(Fence(3, 17, 5), 4)


def test_map_that_knows_less_than_the_store_tells_the_operator_what_to_do() -> None:
    refused = fencing.MapBehind("pods", 17, 9)
    assert refused.definite
    assert "pods" in str(refused)
    assert "coordinators" in refused.hint


@pytest.mark.parametrize("stored", [4, 5, 99])
def test_inv15_owner_that_is_not_newer_cannot_adopt(stored: int) -> None:
    """Equal counts too (rule M6): two incarnations of one epoch could not be told apart."""
    with pytest.raises(StaleEpoch):
        fencing.adopt(Fence(stored, 17, 5), 4)


def test_inv15_commit_under_another_epoch_is_a_bug() -> None:
    for oepoch in (2, 4):
        with pytest.raises(AssertionError, match="fence at 3"):
            fencing.advance(Fence(3, 17, 5), oepoch, 18)


@pytest.mark.parametrize("last", [17, 16, 0])
def test_inv15_commit_that_does_not_rise_is_a_bug(last: int) -> None:
    with pytest.raises(AssertionError, match="must follow 17"):
        fencing.advance(Fence(3, 17, 5), 3, last)


def test_every_rewrite_differs_from_the_one_before() -> None:
    """A conflict between two writers is seen only where bytes change."""
    fence = fencing.NEW
    seen = {fence.pack()}
    for oepoch in range(1, 5):
        fence = fencing.adopt(fence, oepoch)
        seen.add(fence.pack())
    assert len(seen) == 5


def test_tablet_that_nobody_has_owned_is_at_the_empty_stores_revision() -> None:
    assert fencing.NEW.last == FIRST_REVISION
    assert fencing.adopt(fencing.NEW, 1) == Fence(1, FIRST_REVISION, 1)


def test_packed_fence_is_read_back() -> None:
    for fence in (fencing.NEW, Fence(3, 17, 5), Fence((1 << 62), (1 << 62) - 1, (1 << 63))):
        assert fencing.unpack(fence.pack()) == fence


def test_damaged_fence_stops_the_start() -> None:
    """Whoever guesses at it may hand out revisions twice."""
    raw = Fence(3, 17, 5).pack()
    for at in range(len(raw)):
        damaged = raw[:at] + bytes([raw[at] ^ 1]) + raw[at + 1 :]
        with pytest.raises(FenceDamaged):
            fencing.unpack(damaged)


@pytest.mark.parametrize("raw", [b"", b"x", Fence(3, 17, 5).pack()[:-1], bytes(29)])
def test_fence_of_another_length_is_damaged(raw: bytes) -> None:
    with pytest.raises(FenceDamaged, match="bytes"):
        fencing.unpack(raw)
