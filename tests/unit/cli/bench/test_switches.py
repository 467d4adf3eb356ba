"""Changes of a tablet: what becomes of what was recorded."""

from __future__ import annotations

import pytest

from kubebraid.cli.bench.figures import Figure
from kubebraid.cli.bench.goals import LONG_PAUSES, goal
from kubebraid.cli.bench.switches import (
    MOVED,
    Change,
    Quiet,
    copies,
    extra,
    figures,
    histogram,
    latencies,
    pauses,
    percentile,
    seen,
)
from kubebraid.cli.bench.writers import Wrote

QUIET = Quiet(0.0, 10.0, {"shard-0": 2.0, "shard-1": 1.0, "router-0": 2.0})
# From 100 on: copied in 10 s, and switched between 110 and 111.
MOVE = Change(
    *("move", "shard-0", "shard-1", 100.0, 110.0, 110.0, 111.0, 40),
    cpu={"shard-0": 5.0, "shard-1": 2.0, "router-0": 2.0},
)
SPLIT = MOVE._replace(kind="split", target="shard-0", pause_ms=120)


def by_name(found: list[Figure]) -> dict[str, float]:
    assert len({figure.name for figure in found}) == len(found), "a name is one figure"
    return {figure.name: figure.value for figure in found}


def test_pauses_are_counted_once_each_and_the_unknown_ones_nowhere() -> None:
    unknown = MOVE._replace(pause_ms=0)
    found = by_name(pauses([MOVE, SPLIT, MOVE._replace(pause_ms=60), unknown]))
    assert found == {
        "changes": 4,
        "pauses known": 3,
        "pause, median": 60,
        "pause, longest move": 60,
        "pause, longest split": 120,
        "pauses of 0 to 25 ms": 0,
        "pauses of 25 to 50 ms": 1,
        "pauses of 50 to 75 ms": 1,
        "pauses of 75 to 100 ms": 0,
        "pauses of 100 to 150 ms": 1,
        LONG_PAUSES: 1,
    }
    assert by_name(pauses([unknown])) == {"changes": 1, "pauses known": 0}


def test_one_long_pause_meets_the_goal_and_two_miss_it() -> None:
    aim = goal("reshard/100m", LONG_PAUSES)
    assert aim is not None
    assert aim.met(by_name(pauses([MOVE, SPLIT]))[LONG_PAUSES])
    assert not aim.met(by_name(pauses([SPLIT, SPLIT._replace(pause_ms=100)]))[LONG_PAUSES])


def test_histogram_has_each_value_in_one_part() -> None:
    values = [24.9, 25.0, 99.0, 400.0, 5_000.0]
    found = histogram(values)
    assert sum(count for _, count in found) == len(values)
    assert dict(found)["pauses of 25 to 50 ms"] == 1
    assert found[-1] == ("pauses from 400 ms", 2)


def test_writers_see_the_longest_write_that_touches_the_switch() -> None:
    """Not one of another tablet, nor one that ended before it or began behind it."""
    wrote = [
        Wrote(MOVED, 109.98, 0.09),
        Wrote(MOVED, 110.5, 0.02),
        Wrote(MOVED, 105.0, 3.0),
        Wrote(MOVED, 111.0, 3.0),
        Wrote("shard-0", 110.5, 3.0),
    ]
    later = MOVE._replace(before_s=111.5, behind_s=112.0)
    assert by_name(seen([MOVE], wrote)) == pytest.approx(
        {"longest write of a switch, median": 90, "longest write of all switches": 90}
    )
    assert by_name(seen([MOVE, later], wrote))["longest write of all switches"] == 3_000
    assert seen([MOVE], []) == []


def test_extra_cpu_is_beyond_the_quiet_rate() -> None:
    assert extra(MOVE, QUIET, "shard-0") == pytest.approx(3.0)
    assert extra(MOVE, QUIET, "router-0") == 0.0
    assert extra(MOVE._replace(cpu={"router-0": 1.0}), QUIET, "router-0") == 0.0


def test_copies_are_of_moves_alone() -> None:
    slow = MOVE._replace(copied_s=120.0)
    found = by_name(copies([MOVE, slow, SPLIT], QUIET, 100.0))
    assert found["copy, slowest"] == pytest.approx(5.0)
    assert found["copy, median"] == pytest.approx(7.5)
    # Source: 3 s and 1 s beyond; target: 1 s and nothing; 200 MB; all quiet: 0.5 s a second, 30 s.
    assert found["extra CPU of the source"] == pytest.approx(20.0)
    assert found["extra CPU of the target"] == pytest.approx(5.0)
    assert found["extra CPU / all CPU when quiet"] == pytest.approx(5.0 / 15.0)
    assert copies([SPLIT], QUIET, 100.0) == []


def test_p99_of_others_is_told_where_enough_writes_stand_behind_it() -> None:
    def many(group: str, began_s: float, took_s: float) -> list[Wrote]:
        return [Wrote(group, began_s, took_s)] * 100

    wrote = [
        *many(MOVED, 5.0, 0.001),
        *many("shard-0", 5.0, 0.002),
        *many("shard-0", 105.0, 0.004),
        *many("shard-1", 105.0, 0.003),
        *many(MOVED, 110.5, 0.005),  # behind the copy, before its first or behind its last
        *many("shard-0", 99.0, 9.0),
        *many("shard-0", 111.0, 9.0),
    ]
    assert by_name(latencies([MOVE], QUIET, wrote)) == pytest.approx(
        {
            "p99 of the tablet, quiet": 1.0,
            "p99 of other tablets, quiet": 2.0,
            "p99 of other tablets, during changes": 4.0,
            "p99 of other tablets of a copy's source": 4.0,
        }
    )
    assert latencies([MOVE], QUIET, wrote[:99]) == []


def test_percentile_leaves_its_share_above() -> None:
    assert percentile(list(range(1, 101)), 0.99) == 99
    assert percentile([7.0], 0.99) == 7.0


def test_all_figures_of_a_run_have_names_of_their_own() -> None:
    wrote = [Wrote(MOVED, second, 0.01) for second in range(111)]
    found = by_name(figures([MOVE, SPLIT], QUIET, wrote, 100e6))
    assert found["writes meanwhile"] == pytest.approx(1.0)
    assert found["copy, median"] == pytest.approx(10.0)
