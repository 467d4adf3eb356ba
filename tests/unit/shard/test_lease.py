"""The lease table: a deadline only moves forward, and ends once."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kubebraid.shard.lease import LeaseRow, LeaseTable, forget_visits


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


# -- leases that more than one shard knows ---------------------------------------------------------

VISIT = LeaseRow(10, visiting=True)
ENDED = LeaseRow(10, guests=("s1",), ended=True)


def test_guest_holds_keys_of_a_lease_and_leaves_everything_else_to_its_home() -> None:
    table = LeaseTable(lambda _lease: False)
    table.put(7, VISIT, 1_000)
    assert 7 in table
    assert table.attaches(7)
    assert (table.is_home(7), table.ids(), table.renew(7, 2_000)) == (False, [], 0)
    assert table.next_deadline_ms() is None
    assert table.take_expired(99_000, 64) == []


def test_inv21_lease_whose_end_is_durable_neither_attaches_nor_renews() -> None:
    table = granted()
    table.put(7, LeaseRow(10, guests=("s1",)), 2_000)
    assert table.attaches(7)
    assert table.renew(7, 2_000) == 10
    table.put(7, ENDED, 3_000)
    assert not table.attaches(7)
    assert table.renew(7, 3_000) == 0
    assert table.is_home(7)
    assert table.ids() == [7], "it is listed until it is gone"


def test_inv21_newer_row_changes_no_deadline() -> None:
    """To note a guest is no renewal, and takes nothing from the lease either."""
    table = granted()
    table.put(7, LeaseRow(10, guests=("s1",)), 9_000)
    assert table.next_deadline_ms() == 11_000
    assert table.take_expired(10_999, 64) == []
    assert table.take_expired(11_000, 64) == [7]


def test_inv21_end_that_a_restart_interrupted_goes_on_at_once() -> None:
    table = LeaseTable()
    table.put(7, ENDED, 5_000)
    assert table.take_expired(5_000, 64) == [7]
    table.keep(7, 6_000)
    assert table.take_expired(5_999, 64) == []
    assert table.take_expired(6_000, 64) == [7]


def test_inv21_lease_that_went_to_live_elsewhere_does_not_expire_at_its_old_home() -> None:
    """Its home renews it: whoever ends its keys here by the old deadline ends them early."""
    homes = {7}
    table = LeaseTable(homes.__contains__)
    table.grant(7, 10, 0)
    homes.clear()
    table.visit_strangers(5_000)
    assert table.next_deadline_ms() is None
    assert table.take_expired(10_000, 64) == []
    assert table.take_expired(60_000, 64) == []


def test_inv21_lease_that_comes_back_expires_here_again() -> None:
    homes = {7}
    table = LeaseTable(homes.__contains__)
    table.grant(7, 10, 0)
    homes.clear()
    table.visit_strangers(5_000)
    homes.add(7)
    table.rehome(7, LeaseRow(10), 8_000)
    assert table.take_expired(17_999, 64) == []
    assert table.take_expired(18_000, 64) == [7]


def test_ttl_of_a_lease_does_not_change_by_its_rows() -> None:
    with pytest.raises(AssertionError, match="granted once"):
        granted().put(7, LeaseRow(11), 2_000)


def test_leases_are_listed_by_their_deadlines_as_etcd_lists_them() -> None:
    table = LeaseTable()
    for lease, ttl_s in ((1, 30), (2, 10), (3, 20)):
        table.grant(lease, ttl_s, 0)
    table.put(4, VISIT, 0)
    table.renew(2, 25_000)
    assert table.ids() == [3, 1, 2]


TABLE_ACTS = st.lists(
    st.tuples(
        st.sampled_from(("grant", "renew", "note", "end", "take", "keep", "remove")),
        st.integers(1, 3),
        st.integers(0, 4_000),
    ),
    max_size=40,
)


@given(TABLE_ACTS)
def test_inv21_no_history_of_a_table_ends_a_lease_early_or_forgets_it(
    acts: list[tuple[str, int, int]],
) -> None:
    """Beside a model that knows each lease's deadline alone."""
    table, now_ms = LeaseTable(), 0
    due: dict[int, int] = {}
    ending: set[int] = set()
    ended: set[int] = set()
    for act, lease, ms in acts:
        now_ms += ms
        if act == "grant" and lease not in due:
            table.grant(lease, 2, now_ms)
            due[lease] = now_ms + 2_000
        elif act == "renew":
            lives = lease in due and lease not in ending | ended
            assert table.renew(lease, now_ms) == (2 if lives else 0)
            if lives:
                due[lease] = now_ms + 2_000
        elif act in ("note", "end") and lease in due:
            ended |= {lease} if act == "end" else set()
            table.put(lease, LeaseRow(2, ("s1",), ended=lease in ended), now_ms)
        elif act == "take":
            taken = table.take_expired(now_ms, 64)
            assert set(taken) == {one for one in due if due[one] <= now_ms} - ending
            ending.update(taken)
        elif act == "keep" and lease in ending:
            table.keep(lease, now_ms + 1_000)
            ending.discard(lease)
            due[lease] = max(due[lease], now_ms + 1_000)
        elif act == "remove" and lease in due:
            table.remove(lease)
            del due[lease]
            ending.discard(lease)
            ended.discard(lease)
        waiting = [due[one] for one in due if one not in ending]
        found = table.next_deadline_ms()
        assert found == min(waiting, default=None)


def test_inv21_a_visit_that_was_drafted_before_its_lease_came_is_not_written() -> None:
    table = LeaseTable()
    table.put(7, LeaseRow(10), 0)
    rows = {7: LeaseRow(10, visiting=True), 8: LeaseRow(10, visiting=True), 9: LeaseRow(5)}
    forget_visits(table, rows)
    assert sorted(rows) == [8, 9]
