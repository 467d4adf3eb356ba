"""Which tablets go where so that shards carry about the same: pure choices of shards.

What it is: targets for a shard that is emptied, and a few moves from the fullest shards to the
emptiest. What it is not: a plan (`planner.py`), or a loop: it moves only when it is asked.

Words: the *weight* of a tablet is its share of all stored bytes plus its share of all writes; as
long as no owner has told any figures, its share of the number of tablets. A shard carries the
weights of its tablets.

Invariants:
- each move makes the fuller of its two shards lighter than it was, and the other no fuller than
  that; so the moves end;
- at most MOVES_MAX of them, and none of a tablet that is to be left alone.

Worked example: a carries 0.8 in tablets of 0.4, 0.3 and 0.1, b carries 0.2: the 0.3 moves to b.

Tested in tests/unit/router/test_balance.py, tests/property/test_planner.py.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Final, NamedTuple

from kubebraid.base.placement import place
from kubebraid.base.ports import TabletLoad
from kubebraid.base.revision import TabletId
from kubebraid.base.tabletmap import Tablet, TabletMap

MOVES_MAX: Final = 8  # of one rebalance: then look again, with fresh figures
COOLDOWN_MS: Final = 600_000  # a tablet that was moved is left alone: its figures must settle first
UNEVEN: Final = 0.2  # shards whose weights differ by less than this part of the mean are even
HOT_SHARE: Final = 1.0  # a tablet as heavy as a whole shard should be: moving does not help


class Moves(NamedTuple):
    """Where to; and what an operator should know."""

    moves: tuple[tuple[Tablet, str], ...]
    notes: tuple[str, ...]


def weights(tablets: TabletMap, loads: Mapping[TabletId, TabletLoad]) -> dict[TabletId, float]:
    """Of every tablet."""
    stored = sum(load.bytes for load in loads.values())
    written = sum(load.writes_per_s for load in loads.values())
    if not stored and not written:
        return {tablet.id: 1 / len(tablets.tablets) for tablet in tablets.tablets}
    found = {}
    for tablet in tablets.tablets:
        load = loads.get(tablet.id)
        of_bytes = load.bytes / stored if load and stored else 0.0
        of_writes = load.writes_per_s / written if load and written else 0.0
        found[tablet.id] = of_bytes + of_writes
    return found


def drained(
    leaving: Sequence[Tablet],
    others: Sequence[str],
    tablets: TabletMap,
    loads: Mapping[TabletId, TabletLoad],
) -> Iterator[tuple[Tablet, str]]:
    """The heaviest first, each to the lightest shard; among equals, rendezvous."""
    weight = weights(tablets, loads)
    carried = _carried(tablets, others, weight)
    count = dict.fromkeys(others, 0)
    for tablet in sorted(leaving, key=lambda t: -weight[t.id]):
        lightest = min((carried[shard], count[shard]) for shard in others)
        even = [shard for shard in others if (carried[shard], count[shard]) == lightest]
        to = place(tablet.name.encode(), even)
        carried[to] += weight[tablet.id]
        count[to] += 1
        yield tablet, to


def balanced(
    tablets: TabletMap,
    up: Sequence[str],
    loads: Mapping[TabletId, TabletLoad],
    left_alone: Collection[TabletId],
) -> Moves:
    """Moves among the shards that are up."""
    weight = weights(tablets, loads)
    carried = _carried(tablets, up, weight)
    if len(up) < 2:
        return Moves((), ("there is no other shard to move anything to",))
    mean = sum(carried.values()) / len(up)
    free = [t for t in tablets.tablets if t.shard in carried and t.id not in left_alone]
    moves: list[tuple[Tablet, str]] = []
    while len(moves) < MOVES_MAX:
        best = _best(free, weight, carried, mean * UNEVEN)
        if best is None:
            break
        tablet, to = best
        carried[tablet.shard] -= weight[tablet.id]
        carried[to] += weight[tablet.id]
        free.remove(tablet)
        moves.append(best)
    return Moves(tuple(moves), tuple(_notes(tablets, moves, weight, mean)))


def _carried(
    tablets: TabletMap, shards: Sequence[str], weight: Mapping[TabletId, float]
) -> dict[str, float]:
    carried = dict.fromkeys(shards, 0.0)
    for tablet in tablets.tablets:
        if tablet.shard in carried:
            carried[tablet.shard] += weight[tablet.id]
    return carried


def _best(
    free: Sequence[Tablet],
    weight: Mapping[TabletId, float],
    carried: Mapping[str, float],
    uneven: float,
) -> tuple[Tablet, str] | None:
    """The tablet of the heaviest shard that brings it and the lightest closest together."""
    heaviest = max(carried, key=lambda shard: (carried[shard], shard))
    lightest = min(carried, key=lambda shard: (carried[shard], shard))
    gap = carried[heaviest] - carried[lightest]
    if gap <= uneven:
        return None
    able = [t for t in free if t.shard == heaviest and 0 < weight[t.id] < gap]
    if not able:
        return None
    return min(able, key=lambda t: (abs(weight[t.id] - gap / 2), t.id)), lightest


def _notes(
    tablets: TabletMap,
    moves: Sequence[object],
    weight: Mapping[TabletId, float],
    mean: float,
) -> Iterator[str]:
    hottest = max(tablets.tablets, key=lambda tablet: weight[tablet.id])
    if weight[hottest.id] > mean * HOT_SHARE:
        yield (
            f"tablet {hottest.name} alone is more than one shard's share: moving it does not help; "
            "split it"
        )
    if not moves:
        yield "no move would make the shards more even"
