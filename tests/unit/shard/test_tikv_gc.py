"""How far TiKV may forget: the decision of a round, and the rows it is made of."""

from __future__ import annotations

import pytest

from kubebraid.shard.storage.engine import EngineCorrupt
from kubebraid.shard.storage.tikv_gc import (
    COMMON,
    HOLDS,
    HOLDS_END,
    ROUND,
    Ages,
    Next,
    Pair,
    decided,
    earlier,
    packed,
    unpacked,
    wait_s,
)
from kubebraid.shard.storage.tikv_space import _SPACE

AGES = Ages(interval_s=600, age_s=600, trust_s=300, move_s=120, tick_s=30)


def at(seconds: float) -> int:
    """PD's timestamp so many seconds behind some midnight."""
    return (1_700_000_000_000 + int(seconds * 1000)) << 18


def test_first_round_is_due_at_once_and_the_next_an_interval_behind_it() -> None:
    assert wait_s(at(0), None, AGES) == 0
    assert wait_s(at(599), Pair(at(0), 0), AGES) == 1
    assert wait_s(at(600), Pair(at(0), 0), AGES) == 0
    assert wait_s(at(9_999), Pair(at(0), 0), AGES) == 0


def test_round_of_a_time_before_the_last_one_waits_the_longer() -> None:
    """PD's clock may fall back by what its leaders differ."""
    assert wait_s(at(0), Pair(at(5), 0), AGES) == 605


def test_without_holds_all_is_passed_but_the_last_minutes() -> None:
    assert decided(at(700), None, {}, AGES) == Next(at(100), [])


def test_hold_of_an_older_timestamp_keeps_the_safe_point_there() -> None:
    holds = {b"a": Pair(at(690), at(50)), b"b": Pair(at(699), at(40))}
    assert decided(at(700), None, holds, AGES) == Next(at(40) - 1, [])


def test_hold_of_a_younger_timestamp_changes_nothing() -> None:
    assert decided(at(700), None, {b"a": Pair(at(690), at(500))}, AGES) == Next(at(100), [])


def test_hold_that_nobody_refreshed_counts_no_more_and_is_removed() -> None:
    holds = {b"a": Pair(at(100), at(1)), b"b": Pair(at(101), at(40))}
    assert decided(at(700), None, holds, AGES) == Next(at(40) - 1, [b"a"])


def test_safe_point_stays_when_what_is_held_is_older_than_the_last_one() -> None:
    """Whoever holds it came too late, and knows it by its own clock."""
    holds = {b"a": Pair(at(690), at(20))}
    assert decided(at(700), Pair(at(99), at(60)), holds, AGES).safe_point == at(60)


def test_cluster_that_is_younger_than_the_age_has_nothing_to_forget() -> None:
    assert decided(5_000 << 18, None, {}, AGES) == Next(0, [])
    assert earlier(600_001 << 18, 600) == 1 << 18


def test_row_comes_back_as_it_was_and_another_one_is_refused() -> None:
    pair = Pair(at(1), at(0))
    assert unpacked(packed(pair)) == pair
    for other in (b"", b"\x02" + packed(pair)[1:], packed(pair) + b"x"):
        with pytest.raises(EngineCorrupt):
            unpacked(other)


def test_rows_of_the_collection_are_no_stores() -> None:
    """The length of a store's name is one at least, and it stands where this has 0."""
    assert _SPACE + b"\0" == COMMON
    assert all(row.startswith(COMMON) for row in (ROUND, HOLDS, HOLDS_END))
    assert not HOLDS <= ROUND < HOLDS_END, "the round is no hold"


@pytest.mark.parametrize(
    "ages", [{"trust_s": 301}, {"move_s": 241}, {"tick_s": 91}, {"age_s": 599}]
)
def test_ages_without_room_are_refused(ages: dict[str, float]) -> None:
    with pytest.raises(AssertionError):
        Ages(**ages)
