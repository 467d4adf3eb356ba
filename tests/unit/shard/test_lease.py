"""The lease table: a deadline only moves forward, and ends once."""

from __future__ import annotations

import pytest

from kubebraid.shard.lease import LeaseTable


def granted(ttl_s: int = 10, now_ms: int = 1_000) -> LeaseTable:
    table = LeaseTable()
    table.grant(7, ttl_s, now_ms)
    return table


def test_lease_expires_when_its_ttl_has_passed() -> None:
    """The worked example of the module."""
    assert granted().take_expired(11_000, 64) == [7]


def test_inv21_lease_does_not_expire_a_millisecond_early() -> None:
    table = granted()
    assert table.take_expired(10_999, 64) == []
    assert table.next_deadline_ms() == 11_000


def test_inv21_renewed_lease_gets_its_whole_ttl_again() -> None:
    table = granted()
    assert table.renew(7, 6_000) == 10
    assert table.take_expired(15_999, 64) == []
    assert table.take_expired(16_000, 64) == [7]


def test_inv21_deadline_never_moves_back() -> None:
    """A clock that is read out of order must not shorten a lease."""
    table = granted()
    table.renew(7, 6_000)
    table.renew(7, 2_000)
    assert table.next_deadline_ms() == 16_000
    assert table.take_expired(15_999, 64) == []


def test_expired_lease_is_taken_once() -> None:
    table = granted()
    assert table.take_expired(11_000, 64) == [7]
    assert table.take_expired(99_000, 64) == []
    assert table.next_deadline_ms() is None
    assert 7 in table, "it lives until its revoke is committed"


def test_lease_renewed_in_the_millisecond_of_its_grant_expires_once() -> None:
    """Twice would revoke a lease that a client granted anew under the same id in between."""
    table = granted()
    table.renew(7, 1_000)
    table.renew(7, 1_000)
    assert table.take_expired(11_000, 64) == [7]
    assert table.take_expired(11_000, 64) == []


def test_lease_granted_anew_with_the_deadline_of_the_removed_one_expires_once() -> None:
    table = granted()
    table.remove(7)
    table.grant(7, 10, 1_000)
    assert table.take_expired(11_000, 64) == [7]


def test_expired_lease_whose_revoke_was_refused_can_expire_again() -> None:
    """A revoke that was refused for a full queue is tried again, soon."""
    table = granted()
    table.take_expired(11_000, 64)
    assert table.renew(7, 11_500) == 0, "its end is on its way"
    table.keep(7, 12_000)
    assert table.take_expired(11_999, 64) == []
    assert table.take_expired(12_000, 64) == [7]


def test_removed_lease_does_not_expire() -> None:
    table = granted()
    table.remove(7)
    assert 7 not in table
    assert table.next_deadline_ms() is None
    assert table.take_expired(99_000, 64) == []


def test_expiry_is_taken_in_the_order_of_deadlines_up_to_the_limit() -> None:
    table = LeaseTable()
    for lease, ttl_s in ((1, 30), (2, 10), (3, 20)):
        table.grant(lease, ttl_s, 0)
    assert table.take_expired(60_000, 2) == [2, 3]
    assert table.take_expired(60_000, 2) == [1]


def test_unknown_lease_renews_to_zero() -> None:
    """etcd answers a keep-alive of it with TTL 0."""
    assert LeaseTable().renew(7, 1_000) == 0


def test_remaining_time_falls_to_zero_and_not_below() -> None:
    table = granted()
    assert table.remaining_s(7, 1_000) == 10
    assert table.remaining_s(7, 1_001) == 9
    assert table.remaining_s(7, 99_000) == 0
    assert table.ttl_s(7) == 10


def test_ids_are_sorted_and_counted() -> None:
    table = LeaseTable()
    for lease in (9, 3, 5):
        table.grant(lease, 10, 0)
    assert table.ids() == [3, 5, 9]
    assert len(table) == 3


@pytest.mark.parametrize(("lease", "ttl_s"), [(0, 10), (8, 0), (7, 10)])
def test_grant_without_an_id_or_a_ttl_or_twice_is_a_bug(lease: int, ttl_s: int) -> None:
    with pytest.raises(AssertionError):
        granted().grant(lease, ttl_s, 1_000)


def test_keep_alives_of_one_lease_do_not_pile_up() -> None:
    """A client that renews a long lease ten times a second must not cost memory for its TTL."""
    table = granted(ttl_s=9_000_000_000)
    for now_ms in range(1_000, 20_000):
        table.renew(7, now_ms)
    assert len(table._heap) < 1_000
