"""The real clock and the real chance: the little that can be promised of them."""

from __future__ import annotations

import time

from kubebraid.base.seams import Clock, Random, SystemClock, SystemRandom


def test_system_clock_counts_milliseconds_and_never_goes_back() -> None:
    clock: Clock = SystemClock()
    readings = [clock.now_ms() for _ in range(1_000)]
    assert readings == sorted(readings)
    assert readings[0] > 0


def test_system_clock_counts_time_asleep_where_the_system_can() -> None:
    """A suspended machine's leases go on ageing, or another owner would disagree about them."""
    kind = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)
    before = time.clock_gettime_ns(kind) // 1_000_000
    assert before <= SystemClock().now_ms() <= time.clock_gettime_ns(kind) // 1_000_000


def test_lease_ids_are_positive_int64_and_differ() -> None:
    """Zero means "choose one", and etcd's clients read an int64."""
    random: Random = SystemRandom()
    ids = {random.lease_id() for _ in range(1_000)}
    assert len(ids) == 1_000
    assert all(0 < lease < 1 << 63 for lease in ids)
