"""Which shard carries how much, and what a few moves make of it."""

from __future__ import annotations

from dataclasses import replace

from kubebraid.base.keyspace import KeyRange
from kubebraid.base.ports import TabletLoad
from kubebraid.base.tabletmap import TabletMap, layout
from kubebraid.router.balance import MOVES_MAX, balanced, drained, weights


def spread(shards: str) -> TabletMap:
    """Tablets 1, 2, ... on the shards that the letters say."""
    made = layout([b"/registry/%03d/" % n for n in range(len(shards))], "a")
    tablets = made.tablets[: len(shards)]
    last = replace(tablets[-1], span=KeyRange(tablets[-1].span.start, None))
    placed = zip((*tablets[:-1], last), shards, strict=True)
    return TabletMap(1, tuple(replace(t, shard=shard) for t, shard in placed))


def of_size(*sizes: float) -> dict[int, TabletLoad]:
    return {n: TabletLoad(n, int(size), 1, 0, 0) for n, size in enumerate(sizes, 1)}


def test_weight_is_the_share_of_bytes_and_of_writes() -> None:
    loads = {1: TabletLoad(1, 30, 1, 9, 0), 2: TabletLoad(2, 10, 1, 0, 0)}
    assert weights(spread("aab"), loads) == {1: 1.75, 2: 0.25, 3: 0.0}


def test_without_figures_tablets_are_counted() -> None:
    assert weights(spread("aabb"), {}) == {1: 0.25, 2: 0.25, 3: 0.25, 4: 0.25}


def test_tablet_that_halves_the_gap_moves() -> None:
    tablets = spread("aaab")
    moves = balanced(tablets, ["a", "b"], of_size(40, 30, 10, 20), ())
    assert [(t.id, to) for t, to in moves.moves] == [(2, "b")]
    assert moves.notes == ()


def test_heavy_tablet_alone_is_told_to_be_split() -> None:
    tablets = spread("aab")
    moves = balanced(tablets, ["a", "b"], of_size(90, 5, 5), ())
    assert [(t.id, to) for t, to in moves.moves] == [(2, "b")]
    assert [note.split()[1] for note in moves.notes] == [tablets.tablets[0].name]
    assert "split it" in moves.notes[0]


def test_moves_are_bounded_and_end_even() -> None:
    tablets = spread("a" * 60)
    moves = balanced(tablets, ["a", "b", "c"], {}, ())
    assert len(moves.moves) == MOVES_MAX
    assert {to for _, to in moves.moves} == {"b", "c"}
    small = balanced(spread("a" * 6), ["a", "b", "c"], {}, ())
    assert sorted(to for _, to in small.moves) == ["b", "b", "c", "c"]


def test_tablets_left_alone_and_shards_that_are_down_do_not_move() -> None:
    tablets = spread("aaaa")
    moves = balanced(tablets, ["a", "b"], {}, {1, 2, 3})
    assert [t.id for t, _ in moves.moves] == [4]
    assert balanced(tablets, ["a"], {}, ()).notes == (
        "there is no other shard to move anything to",
    )
    assert balanced(tablets, ["b", "c"], {}, ()).moves == ()


def test_drained_tablets_go_to_the_lightest_the_heaviest_first() -> None:
    tablets = spread("aaabc")
    loads = of_size(50, 30, 20, 10, 65)
    moves = [(t.id, to) for t, to in drained(tablets.tablets[:3], ["b", "c"], tablets, loads)]
    assert moves == [(1, "b"), (2, "b"), (3, "c")]


def test_drained_tablets_without_figures_are_spread_by_number() -> None:
    tablets = spread("aaaaaa")
    found = [to for _, to in drained(tablets.tablets, ["b", "c"], tablets, {})]
    assert sorted(found) == ["b", "b", "b", "c", "c", "c"]
