"""Auto-compaction's decisions: etcd's timetable, and what may never be proposed."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kubebraid.base.revision import Revision
from kubebraid.coordinator.autocompact import (
    HOUR_MS,
    PERIOD_MS_MIN,
    REVISION_INTERVAL_MS,
    ByRevision,
    Periodic,
    Policy,
    Retention,
    policy_of,
)

START_MS = 1_000_000
MINUTE_MS = 60_000


def play(policy: Policy, revisions: Sequence[Revision]) -> list[tuple[int, Revision]]:
    """One tick a revision; what was proposed at which time since START_MS, each carried out."""
    told = []
    for revision in revisions:
        now_ms = policy.tick_ms
        proposed = policy.propose(now_ms, revision)
        if proposed is not None:
            told.append((now_ms - START_MS, proposed))
            policy.done(proposed, now_ms)
    return told


def test_ten_seconds_kept_are_sampled_each_second_and_compacted_every_ten() -> None:
    """etcd TestPeriodic...: the first proposal is the sample of the start, then one tick older."""
    policy = Periodic(10_000, START_MS, 7)
    told = play(policy, range(100, 131))
    assert told == [(10_000, 7), (20_000, 108), (30_000, 118)]


def test_more_than_an_hour_is_waited_for_once_and_then_compacted_hourly() -> None:
    """Samples every 6 minutes; 2 h are kept, so the 21 samples reach back 126 minutes."""
    policy = Periodic(2 * HOUR_MS, START_MS, 1)
    told = play(policy, range(2, 60))
    assert [when // MINUTE_MS for when, _ in told] == [120, 180, 240, 300]
    # The sample with revision n was taken in minute 6 (n - 1).
    assert [(when // MINUTE_MS) - 6 * (rev - 1) for when, rev in told] == [120, 126, 126, 126]


def test_nothing_new_is_not_compacted_again() -> None:
    policy = Periodic(10_000, START_MS, 5)
    assert play(policy, [5] * 100) == [(10_000, 5)]


def test_writes_after_a_pause_are_compacted_once_they_are_old_enough() -> None:
    policy = Periodic(10_000, START_MS, 5)
    play(policy, [5] * 99)
    began_ms = policy.tick_ms
    told = play(policy, [9] * 30)
    # Sampled at the first of these ticks; etcd's window is eleven samples long.
    assert told == [(began_ms + 11_000 - START_MS, 9)]


def test_refused_proposal_comes_again_at_the_next_tick() -> None:
    policy = Periodic(10_000, START_MS, 5)
    proposals = [policy.propose(policy.tick_ms, 6) for _ in range(13)]
    assert proposals == [None] * 9 + [5, 5, 6, 6]


def test_pause_of_the_machine_does_not_make_ticks_pile_up() -> None:
    """Ticks made up for would take samples of one instant for samples of a whole retention."""
    policy = Periodic(10_000, START_MS, 5)
    late_ms = START_MS + HOUR_MS
    assert policy.propose(late_ms, 50) == 5
    assert policy.tick_ms == late_ms + 1_000


def test_newest_revisions_are_kept_and_looked_at_every_five_minutes() -> None:
    policy = ByRevision(100, START_MS)
    told = play(policy, [90, 100, 101, 101, 350])
    assert told == [(3 * REVISION_INTERVAL_MS, 1), (5 * REVISION_INTERVAL_MS, 250)]


def test_refused_compaction_by_revision_is_proposed_again() -> None:
    policy = ByRevision(10, START_MS)
    assert [policy.propose(policy.tick_ms, 15) for _ in range(2)] == [5, 5]


@pytest.mark.parametrize("mode", ["periodic", "revision"])
def test_zero_is_off(mode: str) -> None:
    retention = Retention("periodic" if mode == "periodic" else "revision", 0)
    assert policy_of(retention, START_MS, 1) is None


def test_retention_chooses_the_policy() -> None:
    assert isinstance(policy_of(Retention("periodic", 1_000), START_MS, 1), Periodic)
    assert isinstance(policy_of(Retention("revision", 1_000), START_MS, 1), ByRevision)


@given(
    period_ms=st.integers(PERIOD_MS_MIN, 5 * HOUR_MS),
    ticks=st.lists(
        st.tuples(st.integers(0, 2 * HOUR_MS), st.integers(0, 5), st.booleans()), max_size=150
    ),
)
def test_whatever_is_younger_than_the_retention_stays_readable(
    period_ms: int, ticks: list[tuple[int, int, bool]]
) -> None:
    """However late the ticks come and however many proposals are refused."""
    policy = Periodic(period_ms, START_MS, 1)
    revision = 1
    newest_at = [(START_MS, 1)]  # every write's time, as (time, revision after it)
    for late_ms, writes, refused in ticks:
        now_ms = policy.tick_ms + late_ms
        revision += writes
        newest_at.append((now_ms, revision))
        proposed = policy.propose(now_ms, revision)
        assert policy.tick_ms > now_ms
        if proposed is None:
            continue
        old_enough = [r for when, r in newest_at if when <= now_ms - period_ms]
        assert old_enough
        assert proposed <= old_enough[-1]
        if not refused:
            policy.done(proposed, now_ms)


@given(
    kept=st.integers(1, 50),
    writes=st.lists(st.tuples(st.integers(0, 60), st.booleans()), max_size=50),
)
def test_newest_revisions_stay_readable(kept: int, writes: list[tuple[int, bool]]) -> None:
    policy = ByRevision(kept, START_MS)
    revision, done = 1, 0
    for more, refused in writes:
        revision += more
        proposed = policy.propose(policy.tick_ms, revision)
        if proposed is None:
            assert revision - kept <= max(0, done)
            continue
        assert 0 < proposed == revision - kept
        assert proposed > done
        if not refused:
            done = proposed
            policy.done(proposed, policy.tick_ms)
