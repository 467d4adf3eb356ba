"""Migrations as operators see them: what is beside the ids, and what earlier ones tell."""

from __future__ import annotations

from dataclasses import replace

import pytest

from kubebraid.base.ports import TabletLoad
from kubebraid.base.reshard import Kind, Migration, Phase, Progress
from kubebraid.router.balance import COOLDOWN_MS
from kubebraid.router.steps import progress, rested, step, usual_pauses

from .fakes import LEFT, MAP, RIGHT

MERGE = Migration("m1", Kind.MERGE, LEFT, LEFT, (1, 2), (replace(MAP.tablets[0], id=9, name="c"),))


def load(tablet: int, size: int) -> TabletLoad:
    return TabletLoad(tablet, size, 1, 0, 0)


@pytest.mark.parametrize(
    ("known", "size"), [({}, None), ({1: 5}, None), ({1: 5, 2: 6, 7: 100}, 11)]
)
def test_size_is_known_if_it_is_of_all_sources(known: dict[int, int], size: int | None) -> None:
    loads = {tablet: load(tablet, of) for tablet, of in known.items()}
    assert step(MERGE, MAP.by_id(), loads, {}, {}).bytes == size


def test_new_tablet_that_moves_is_named_by_its_target() -> None:
    new = replace(MAP.tablets[1], id=77, name="b.1", shard=LEFT)
    move = Migration("m2", Kind.MOVE, RIGHT, LEFT, (77,), (new,))
    told = step(move, MAP.by_id(), {}, {}, {}, planned=True)
    assert told.sources == told.targets
    assert (told.sources[0].id, told.sources[0].name) == (0, "b.1"), "a placeholder is not shown"
    assert step(move, MAP.by_id(), {}, {}, {}).sources[0].id == 77


@pytest.mark.parametrize(
    ("rows", "shared"),
    [
        ({}, False),
        ({LEFT: "", RIGHT: ""}, False),
        ({LEFT: "r"}, False),
        ({LEFT: "r", RIGHT: "q"}, False),
        ({LEFT: "r", RIGHT: "r"}, True),
    ],
)
def test_move_shares_rows_if_both_of_its_shards_have_them_in_one_place(
    rows: dict[str, str], shared: bool
) -> None:
    move = Migration("m2", Kind.MOVE, RIGHT, LEFT, (2,), (replace(MAP.tablets[1], shard=LEFT),))
    assert step(move, MAP.by_id(), {}, {}, rows).shares_rows is shared
    assert progress(Progress(move), MAP.by_id(), {}, rows).step.shares_rows is shared
    assert not step(MERGE, MAP.by_id(), {}, {}, rows).shares_rows, "of one shard alone"


def test_usual_pause_is_the_middle_one_of_its_kind() -> None:
    told = [Progress(MERGE, (), 0, pause) for pause in (50, 10, 0, 30, 20)]
    move = Progress(MERGE._replace(kind=Kind.MOVE), (), 0, 99)
    assert usual_pauses([*told, move]) == {Kind.MERGE: 20, Kind.MOVE: 99}
    assert usual_pauses(told[2:3]) == {}


@pytest.mark.parametrize(
    ("phase", "since_ms", "left_alone"),
    [
        (Phase.DONE, COOLDOWN_MS - 1, {9}),
        (Phase.DONE, COOLDOWN_MS, set()),
        (Phase.ABORTED, 0, set()),
    ],
)
def test_tablet_rests_behind_its_migration(
    phase: Phase, since_ms: int, left_alone: set[int]
) -> None:
    assert rested([Progress(MERGE._replace(phase=phase), (), since_ms)]) == left_alone


@pytest.mark.parametrize("phase", Phase)
def test_what_became_ready_was_verified_also_where_nobody_reports_it_any_more(phase: Phase) -> None:
    told = progress(Progress(MERGE._replace(phase=phase)), MAP.by_id(), {}, {})
    assert told.verified is (phase not in (Phase.PLANNED, Phase.PREPARING, Phase.ABORTED))
