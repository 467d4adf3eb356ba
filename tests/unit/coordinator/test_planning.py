"""Plans: taken as a whole, refused as a whole with a sentence, and the ids of new tablets."""

from __future__ import annotations

from dataclasses import replace

import pytest

from kubebraid.base.limits import RESHARD_UNFINISHED_MAX, TABLETS_MAX
from kubebraid.base.reshard import Migration, Phase, Planned
from kubebraid.base.tabletmap import layout
from kubebraid.coordinator.state import State
from kubebraid.coordinator.transition import apply, refusal
from tests.unit.coordinator.reshard_kit import (
    TABLET_A,
    at,
    founded,
    hashed,
    merge,
    move,
    planned,
    split,
)


def refused(state: State, *migrations: Migration, version: int | None = None) -> str:
    """The sentence; the state is as it was."""
    plan = Planned(migrations, state.tablets.version if version is None else version)
    assert apply(state, plan) is state
    return refusal(state, plan)


def test_new_tablets_get_the_next_ids_in_order() -> None:
    """The worked example of the module: a move of what a split will make."""
    moved = replace(split().targets[1], shard="s1")
    follows = move("m2", sources=(11,), targets=(moved,), after="m1")
    state = planned(split(), follows)
    first, second = state.migrations
    assert [tablet.id for tablet in first.targets] == [4, 5]
    assert (second.sources, [t.id for t in second.targets]) == ((5,), [5])
    assert state.next_tablet == 6
    assert state.coming == {4, 5}


def test_move_of_a_new_tablet_may_name_it() -> None:
    """What the router plans: it gives no ids."""
    made = tuple(replace(tablet, id=0) for tablet in split().targets)
    follows = move("m2", sources=(0,), targets=(replace(made[1], shard="s1"),), after="m1")
    state = planned(split(targets=made), follows)
    first, second = state.migrations
    assert [tablet.id for tablet in first.targets] == [4, 5]
    assert (second.sources, second.targets[0].id, second.targets[0].name) == ((5,), 5, "a-1")
    lost = replace(follows.targets[0], name="b")
    assert "no tablet 0" in refused(
        founded(), split(targets=made), follows._replace(targets=(lost,))
    )


def test_inv17_no_id_is_given_twice_although_its_migration_came_to_nothing() -> None:
    state = planned(split())
    ended = replace(state, migrations=(state.migrations[0]._replace(phase=Phase.ABORTED),))
    again = planned(split("m2"), on=ended)
    assert [tablet.id for tablet in again.migrations[1].targets] == [6, 7]


def test_plan_that_is_known_is_done_already() -> None:
    """Also when the map has gone on: the answer to the first one may have been lost."""
    plan = Planned((split(),), 1)
    state = apply(founded(), plan)
    later = replace(state, tablets=replace(state.tablets, version=9))
    for known in (state, later):
        assert apply(known, plan) is known
        assert refusal(known, plan) == ""


def test_id_in_use_by_something_else_is_refused() -> None:
    state = planned(move())
    assert "m1 is in use" in refused(state, move(to="s2"))
    assert "m1 is in use" in refused(state, move(), move("m2", sources=(3,)))
    assert "id of its own" in refused(founded(), move(), move(to="s2"))
    assert "id of its own" in refused(founded(), move(""))


def test_plan_on_another_map_is_refused() -> None:
    told = refused(founded(), move(), version=7)
    assert "the map has changed" in told
    assert told.endswith("Nothing was changed")


def test_tablet_in_an_unfinished_migration_is_refused_unless_that_is_awaited() -> None:
    state = planned(move())
    assert "which has not ended" in refused(state, move("m2", to="s2"))
    back = replace(TABLET_A, shard="s2")
    follows = move("m2", "s2", source="s1", targets=(back,), after="m1")
    assert planned(follows, on=state).migrations[1].after == "m1"
    ended = at(Phase.ABORTED)
    assert planned(move("m2", to="s2"), on=ended).migrations[1].phase is Phase.PLANNED


def test_tablet_of_a_manual_migration_that_drains_is_still_taken() -> None:
    assert "which has not ended" in refused(at(Phase.DRAINING, manual=True), move("m2", "s2"))


def test_what_waits_for_nothing_known_is_refused() -> None:
    assert "nobody has planned" in refused(founded(), move(after="m0"))
    assert planned(move("m2", "s2", after="m1"), on=at(Phase.DONE)).migrations[1].after == "m1"


@pytest.mark.parametrize(
    ("migration", "why"),
    [
        (move(sources=(9,), targets=(replace(TABLET_A, id=9, shard="s1"),)), "no tablet 9"),
        (move(source="s2"), "is of s0, not s2"),
        (move(to="s9"), "no shard s9 was ever started"),
        (move(to="s0"), "elsewhere"),
        (move(targets=(TABLET_A,)), "belong to the target"),
        (move(targets=(replace(TABLET_A, shard="s1", name="b"),)), "keeps names and ranges"),
        (move(sources=(1, 2)), "elsewhere"),
        (move(sources=(), targets=()), "elsewhere"),
        (move(phase=Phase.READY), "not begun"),
        (move(freeze=1), "not begun"),
        (move(rate=-1), "not begun"),
        (split(targets=split().targets[:1]), "several of one"),
        (split(target="s1"), "does not belong"),
        (split(sources=(1,)), "would not be whole"),
        (split(targets=(split().targets[0],) * 2), "would not be whole"),
        (hashed(3), "power of two"),
        (hashed(512), "power of two"),
        (merge()._replace(sources=(2,)), "one of several"),
        (merge()._replace(sources=(2, 3)), "would not be whole"),
    ],
)
def test_plan_that_does_not_fit_is_refused_with_the_reason(migration: Migration, why: str) -> None:
    told = refused(founded(), migration)
    assert why in told
    assert told.endswith("Nothing was changed")


def test_plan_is_refused_as_a_whole() -> None:
    state = founded()
    assert "m2" in refused(state, move(), move("m2", sources=(9,)))
    assert "empty" in refused(state)


def test_bounds_of_what_is_unfinished_and_of_the_map() -> None:
    many = [move(f"m{n}") for n in range(RESHARD_UNFINISHED_MAX + 1)]
    assert "plan in parts" in refused(founded(), *many)
    full = founded(tablets=layout([b"/%03d/" % number for number in range(498)], "s0"))
    assert len(full.tablets.tablets) == 997
    last = full.tablets.tablets[-1]
    cut = tuple(replace(t, span=last.span, name=f"x{n}") for n, t in enumerate(hashed(8).targets))
    assert f"more than {TABLETS_MAX}" in refused(full, split(sources=(last.id,), targets=cut))


def test_before_there_is_a_cluster_nothing_is_planned() -> None:
    assert "no cluster" in refused(founded(cluster=""), move())
