"""Plans: what an operator wants, a map and some figures in; migrations out, or why there are none.

What it is: the table of what can be asked, and moves, merges and drains. What it is not: the way by
which they are done (coordinator/phases.py), splits (`splits.py`), a choice of shards for balance
(`balance.py`), or what a word means (`naming.py`).

Invariants:
- the migrations, done in their order, leave a map that covers every key;
- no tablet is in a plan that is in an unfinished migration, and in the plan itself two migrations
  that share a tablet come one `after` the other;
- a new tablet has a name that nobody has and, as a placeholder, an id that nobody has: by it a move
  names it later in the same plan, and it gets its own when the plan is taken;
- a refusal says what is wrong and what to do, and changes nothing.

Worked example: merge pods-1 (shard-0) and pods-2 (shard-1): `move-pods-2-1f` takes pods-2 to
shard-0, and `merge-pods-2a` comes after it.

Tested in tests/unit/router/test_planner.py, tests/property/test_planner.py.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import pairwise
from typing import Final, NamedTuple

from kubebraid.base.errors import Code
from kubebraid.base.keyspace import KeyRange
from kubebraid.base.reshard import Kind, Migration
from kubebraid.base.revision import TabletId
from kubebraid.base.tabletmap import Tablet, bucket_names
from kubebraid.proto.adminreshard import PlanRequest, Verb

from . import balance
from .draft import Draft, Scene, busy
from .naming import find, fresh_names, of_one_bucket, only, refuse, stem, whole
from .splits import new_tablet, split

MIGRATIONS_MAX: Final = 200  # of one plan: it is one command of the coordinators' log


class Made(NamedTuple):
    """A plan. No migrations: there is nothing to do, and the notes say why."""

    migrations: tuple[Migration, ...]
    notes: tuple[str, ...] = ()


def plan(request: PlanRequest, scene: Scene, draw: Callable[[], int]) -> Made:
    """`draw`: a number that is unlikely to come twice. Raises RequestRefused."""
    draft = Draft(request, scene, draw)
    match request.verb:
        case Verb.SPLIT:
            split(draft)
        case Verb.MOVE:
            _move(draft)
        case Verb.MERGE:
            _merge(draft)
        case Verb.DRAIN:
            _drain(draft)
        case Verb.REBALANCE:
            _rebalance(draft)
    if len(draft.migrations) > MIGRATIONS_MAX:
        more = len(draft.migrations) - MIGRATIONS_MAX
        draft.notes.append(f"{more} more follow: repeat the command when these are done")
    return Made(tuple(draft.migrations[:MIGRATIONS_MAX]), tuple(draft.notes))


# -- move, merge -------------------------------------------------------------------------------


def _move(draft: Draft) -> None:
    request = draft.request
    if len(request.to) != 1:
        raise refuse("a move goes to one shard", Code.INVALID_ARGUMENT)
    (to,) = request.to
    draft.receiver(to)
    named = find(draft.scene.tablets, only(request))
    if named.outside is not None:
        whole(named)
    for tablet in named.tablets:
        if tablet.shard == to:
            draft.notes.append(f"tablet {tablet.name} is on {to} already")
        else:
            draft.move(tablet, to)


def _merge(draft: Draft) -> None:
    found: dict[TabletId, Tablet] = {}
    for word in draft.request.names:
        named = find(draft.scene.tablets, word)
        if named.outside is not None:
            whole(named)
        found |= {tablet.id: tablet for tablet in named.tablets}
    tablets = sorted(found.values(), key=lambda tablet: tablet.place)
    span = _joint(tablets)
    owner = _largest_owner(draft, tablets)
    draft.receiver(owner)
    last = ""
    together = []
    for tablet in tablets:
        if tablet.shard != owner:
            together.append(draft.move(tablet, owner, after=last))
            last = draft.migrations[-1].id
        else:
            together.append(tablet)
    free = draft.taken - {tablet.name for tablet in tablets}
    base = stem(tablets[0].name)
    name = base if base not in free else fresh_names(base, 1, free)[0]
    oldest = max(tablets, key=lambda tablet: tablet.oepoch)
    begin = max(tablet.begin for tablet in tablets)
    target = replace(new_tablet(draft, oldest, name, span), shard=owner, begin=begin)
    draft.exchange(Kind.MERGE, together, (target,), after=last)


def _joint(tablets: Sequence[Tablet]) -> KeyRange:
    """The range of tablets that can be one. Raises RequestRefused."""
    if len(tablets) < 2:
        raise refuse("a merge wants two tablets or more")
    first = tablets[0]
    span = KeyRange(first.span.start, tablets[-1].span.end)
    if first.buckets > 1:
        if any(t.span != first.span for t in tablets) or len(tablets) != first.buckets:
            names = ", ".join(bucket_names(stem(first.name), first.buckets)[:6])
            raise refuse(
                f"of hash buckets all are merged at once: {first.buckets} of the range of "
                f"{first.name} ({names}{', ...' if first.buckets > 6 else ''}), and nothing else"
            )
        return span
    for left, right in pairwise(tablets):
        of_one_bucket(right)
        if left.span.end != right.span.start:
            raise refuse(f"tablets {left.name} and {right.name} are not neighbours")
    return span


def _largest_owner(draft: Draft, tablets: Sequence[Tablet]) -> str:
    """Where most of it is already, so that the least is copied; the first tablet's in doubt."""
    held: dict[str, int] = {}
    for tablet in tablets:
        held[tablet.shard] = held.get(tablet.shard, 0) + (draft.size(tablet) or 0)
    return max(held, key=lambda shard: held[shard])


# -- shards ------------------------------------------------------------------------------------


def _drain(draft: Draft) -> None:
    if len(draft.request.names) != 1:
        raise refuse("one shard is named", Code.INVALID_ARGUMENT)
    (shard,) = draft.request.names
    scene = draft.scene
    if shard not in scene.shards:
        draft.receiver(shard)
    others = [name for name, standing in scene.shards.items() if standing.up and name != shard]
    leaving = [tablet for tablet in scene.tablets.tablets if tablet.shard == shard]
    if not leaving:
        draft.notes.append(f"{shard} owns no tablet")
    elif not others:
        raise refuse(f"there is no other shard that could take the tablets of {shard}")
    for tablet, to in balance.drained(leaving, others, scene.tablets, scene.loads):
        draft.move(tablet, to)


def _rebalance(draft: Draft) -> None:
    scene = draft.scene
    up = [name for name, standing in scene.shards.items() if standing.up]
    left_alone = scene.rested | busy(scene.migrations).keys()
    moves = balance.balanced(scene.tablets, up, scene.loads, left_alone)
    for tablet, to in moves.moves:
        draft.move(tablet, to)
    draft.notes += moves.notes
