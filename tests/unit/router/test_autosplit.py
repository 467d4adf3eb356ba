"""Which tablet is split by itself: bounds, three looks, cooldowns, limits, refusals."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from kubebraid.base.keyspace import KeyRange
from kubebraid.base.ports import TabletLoad
from kubebraid.base.reshard import ENDED, Kind, Migration, Phase, Progress
from kubebraid.base.tabletmap import Tablet, TabletMap
from kubebraid.router.autosplit import LOOKS, OFF, AutoSplit, Bounds, Seen, Want

A = Tablet(1, "a", KeyRange(b"", b"m"), "s", 1)
B = Tablet(2, "b", KeyRange(b"m", None), "s", 1)
MAP = TabletMap(1, (A, B))
COOLDOWN_MS = 1_000
BOUNDS = Bounds(bytes=100, writes=10, tablets_max=3, cooldown_ms=COOLDOWN_MS)
NOW_MS = 50_000


def load(tablet: int, size: int = 0, writes: float = 0.0) -> TabletLoad:
    return TabletLoad(tablet, size, 9, writes, 1.0)


def look(
    auto: AutoSplit,
    *loads: TabletLoad,
    migrations: Sequence[Progress] = (),
    now_ms: int = NOW_MS,
    tablets: TabletMap = MAP,
) -> Seen:
    return auto.look(tablets, {load.tablet: load for load in loads}, migrations, now_ms)


def last_look(
    *loads: TabletLoad,
    bounds: Bounds = BOUNDS,
    migrations: Sequence[Progress] = (),
    tablets: TabletMap = MAP,
) -> Seen:
    """The first that may want anything."""
    auto = AutoSplit(bounds)
    for _ in range(LOOKS - 1):
        assert look(auto, *loads, migrations=migrations, tablets=tablets) == Seen()
    return look(auto, *loads, migrations=migrations, tablets=tablets)


def told(kind: Kind, phase: Phase, phase_ms: int) -> Progress:
    return Progress(Migration("m1", kind, "s", "s", (7,), (), phase), (), phase_ms)


def test_nothing_is_on_by_itself() -> None:
    assert not OFF.on
    assert Bounds(bytes=1).on
    assert Bounds(writes=1).on
    assert last_look(load(1, 1 << 60, 1e9), bounds=OFF) == Seen()


@pytest.mark.parametrize(
    ("figures", "want"),
    [
        (load(1, 100, 10.0), None),  # at the bounds is not above them
        (load(1, 101), Want(A, False, 101, 100)),
        (load(1, 0, 10.5), Want(A, True, 10.5, 10)),
        (load(1, 300, 20.0), Want(A, False, 300, 100)),
        (load(1, 200, 30.0), Want(A, True, 30.0, 10)),
    ],
)
def test_tablet_above_a_bound_is_split_by_what_it_has_most_of(
    figures: TabletLoad, want: Want | None
) -> None:
    assert last_look(figures) == Seen(want)


@pytest.mark.parametrize(
    ("bounds", "by_load"), [(Bounds(bytes=1), False), (Bounds(writes=1), True)]
)
def test_bound_that_is_off_counts_for_nothing(bounds: Bounds, by_load: bool) -> None:
    want = last_look(load(1, 500, 900.0), bounds=bounds).want
    assert want is not None
    assert want.by_load is by_load


def test_furthest_above_its_bound_comes_first() -> None:
    want = last_look(load(1, 150), load(2, 10, 16.0)).want
    assert want is not None
    assert (want.tablet, want.by_load) == (B, True)


def test_a_look_below_the_bound_begins_anew() -> None:
    auto = AutoSplit(BOUNDS)
    for size in (200, 200, 99, 200, 200):
        assert look(auto, load(1, size)) == Seen()
    assert look(auto, load(1, 200)).want is not None


def test_tablet_without_figures_is_above_nothing() -> None:
    auto = AutoSplit(BOUNDS)
    for figures in ([load(1, 200)], [load(1, 200)], [], [load(1, 200)]):
        assert look(auto, *figures) == Seen()


def test_hash_bucket_is_left_alone() -> None:
    buckets = tuple(Tablet(n, f"a.{n}", KeyRange(b"", None), "s", 1, n, 2) for n in range(2))
    assert last_look(load(0, 900), load(1, 900), tablets=TabletMap(1, buckets)) == Seen()


def test_limit_of_tablets_holds() -> None:
    full = last_look(load(1, 200), bounds=BOUNDS._replace(tablets_max=2))
    assert full == Seen(None, "there are 2 tablets, and 2 are allowed")


@pytest.mark.parametrize("kind", Kind)
@pytest.mark.parametrize("phase", [phase for phase in Phase if phase not in ENDED])
def test_unfinished_migration_holds_whatever_it_moves(kind: Kind, phase: Phase) -> None:
    seen = last_look(load(1, 200), migrations=[told(kind, phase, 1 << 40)])
    assert seen == Seen(None, "migration m1 has not ended")


@pytest.mark.parametrize("phase", sorted(ENDED))
def test_split_that_ended_holds_for_the_cooldown(phase: Phase) -> None:
    lately = told(Kind.SPLIT, phase, COOLDOWN_MS - 1)
    seen = last_look(load(1, 200), migrations=[lately])
    assert seen == Seen(None, "m1 ended within the cooldown")
    before = lately._replace(phase_ms=COOLDOWN_MS)
    assert last_look(load(1, 200), migrations=[before]).want is not None


def test_move_that_ended_holds_nothing() -> None:
    assert last_look(load(1, 200), migrations=[told(Kind.MOVE, Phase.DONE, 0)]).want is not None


@pytest.mark.parametrize("refused", [False, True])
def test_rests_after_what_it_asked_itself(refused: bool) -> None:
    auto = AutoSplit(BOUNDS)
    for _ in range(LOOKS - 1):
        look(auto, load(1, 200))
    seen = look(auto, load(1, 200))
    assert seen.want is not None
    auto.asked(seen.want, NOW_MS, 30, refused)
    over_ms = NOW_MS + COOLDOWN_MS + 30
    held = look(auto, load(1, 200), now_ms=over_ms - 1)
    assert held == Seen(None, "the cooldown is not over")
    assert look(auto, load(1, 200), now_ms=over_ms).want is not None


def test_refused_tablet_goes_behind_those_that_were_not() -> None:
    auto = AutoSplit(BOUNDS)
    wanted = []
    for turn in range(LOOKS + 3):
        now_ms = NOW_MS + turn * 2 * COOLDOWN_MS
        seen = look(auto, load(1, 900), load(2, 200), now_ms=now_ms)
        if seen.want is not None:
            wanted.append(seen.want.tablet.name)
            auto.asked(seen.want, now_ms, 0, refused=True)
    assert wanted == ["a", "b", "a", "b"]
