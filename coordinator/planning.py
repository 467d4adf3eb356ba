"""Whether a plan can be taken, and the ids that its new tablets get.

What it is: the checks of a plan against the state, with a sentence for the operator where one
fails. What it is not: the making of a plan (router/planner.py).

Words: a *placeholder* is the id that the planner gave a new tablet: 0, or one that the map does not
have. Later migrations of the same plan may name the latter; a move of a tablet with the id 0 means
the new one of that name.

Invariants: what is taken fits the map as it will be when everything that it waits for is done; ids
of new tablets are drawn upwards and never again; a plan that is known already is taken as it is.

Worked example: the map has tablets 1 to 3. A split of 2 into placeholders 4 and 5 and a move of 5
`after` it: they get 4 and 5. The same plan behind another split would have got 6 and 7.

Tested in tests/unit/coordinator/test_planning.py.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Final

from kubebraid.base.limits import RESHARD_UNFINISHED_MAX, TABLETS_MAX
from kubebraid.base.placement import BUCKETS, BUCKETS_MAX
from kubebraid.base.reshard import ENDED, UNDECIDED, Kind, Migration, Phase, Planned
from kubebraid.base.revision import TabletId
from kubebraid.base.tabletmap import Tablet, check_cover

from . import phases
from .state import State

_NOTHING: Final = "Nothing was changed"


def taken(state: State, command: Planned) -> tuple[tuple[Migration, ...], TabletId] | str:
    """(what to add, the highest id given); nothing to add: it is known already. Or why not."""
    plan = command.migrations
    why = _known(state, plan)
    if why is None:
        return (), state.given
    why = why or _bounded(state, command)
    if why:
        return f"{why}. {_NOTHING}"
    migrations, given = _with_ids(plan, state)
    why = _fits(state, migrations)
    return f"{why}. {_NOTHING}" if why else (migrations, given)


def _known(state: State, plan: tuple[Migration, ...]) -> str | None:
    """None: all of it is known. Otherwise why it is refused for its ids, if it is."""
    if not plan:
        return "the plan is empty"
    ids = [migration.id for migration in plan]
    if len(set(ids)) != len(ids) or not all(ids):
        return "each migration of a plan has an id of its own"
    found = [state.migration(migration.id) for migration in plan]
    if all(known is not None and _same(known, m) for known, m in zip(found, plan, strict=True)):
        return None
    other = [known.id for known in found if known is not None]
    return f"the id {other[0]} is in use" if other else ""


def _same(known: Migration, planned: Migration) -> bool:
    """Whether it can have been made of this plan; ids of new tablets are not the planner's."""
    ways = {(known.source, known.target), (known.target, known.source)}
    return (
        (known.kind, known.after) == (planned.kind, planned.after)
        and (planned.source, planned.target) in ways
        and [_looks(t) for t in known.targets] == [_looks(t) for t in planned.targets]
    )


def _looks(tablet: Tablet) -> tuple[object, ...]:
    return tablet.name, tablet.span, tablet.bucket, tablet.buckets


def _bounded(state: State, command: Planned) -> str:
    if not state.cluster:
        return "there is no cluster yet"
    if command.map_version != state.tablets.version:
        return (
            f"the map has changed since the plan was made (version {state.tablets.version}, not "
            f"{command.map_version}); plan again"
        )
    unfinished = [m for m in state.migrations if m.phase not in ENDED]
    if len(unfinished) + len(command.migrations) > RESHARD_UNFINISHED_MAX:
        return f"more than {RESHARD_UNFINISHED_MAX} migrations would be unfinished; plan in parts"
    for migration in command.migrations:
        why = _shaped(migration) or _shards(state, migration)
        if why:
            return f"{migration.id}: {why}"
    return ""


def _shaped(m: Migration) -> str:
    """Why it is no migration of its kind that has not begun."""
    begun = (m.phase, m.version, m.ends, m.why, m.tries, m.freeze, m.back)
    if begun != (Phase.PLANNED, 0, (), "", 0, 0, False) or m.rate < 0 or m.pause_ms < 0:
        return "a plan's migrations have not begun"
    if any(tablet.shard != m.target for tablet in m.targets):
        return "a tablet does not belong to the target"
    if any(tablet.buckets not in BUCKETS for tablet in m.targets):
        return f"buckets are a power of two, from 1 to {BUCKETS_MAX}"
    names = len(set(m.sources)) == len(m.sources) > 0 and len(m.targets) > 0
    match m.kind:
        case Kind.MOVE:
            kept = names and m.sources == tuple(tablet.id for tablet in m.targets)
            return "" if kept and m.source != m.target else "a move takes tablets elsewhere"
        case Kind.SPLIT:
            cut = names and len(m.sources) == 1 and len(m.targets) > 1
            return "" if cut and m.source == m.target else "a split makes several of one, in place"
        case Kind.MERGE:
            one = names and len(m.sources) > 1 and len(m.targets) == 1
            return "" if one and m.source == m.target else "a merge makes one of several, in place"


def _shards(state: State, migration: Migration) -> str:
    if state.shard(migration.target) is None:
        return f"no shard {migration.target} was ever started"
    return ""


def _with_ids(plan: tuple[Migration, ...], state: State) -> tuple[tuple[Migration, ...], TabletId]:
    """New tablets get the next ids in the order of the plan."""
    given = state.next_tablet - 1
    ids: dict[TabletId, TabletId] = {}
    names: dict[str, TabletId] = {}
    made = []
    for migration in plan:
        sources = tuple(ids.get(tablet, tablet) for tablet in migration.sources)
        targets = []
        for tablet in migration.targets:
            if migration.kind is Kind.MOVE:
                known = ids.get(tablet.id, tablet.id) or names.get(tablet.name, 0)
                targets.append(replace(tablet, id=known))
                continue
            given += 1
            names[tablet.name] = given
            if tablet.id:
                ids[tablet.id] = given
            targets.append(replace(tablet, id=given))
        if migration.kind is Kind.MOVE:
            sources = tuple(tablet.id for tablet in targets)
        made.append(migration._replace(sources=sources, targets=tuple(targets)))
    return tuple(made), given


def _fits(state: State, plan: tuple[Migration, ...]) -> str:
    """Each in the map that those before it will have made."""
    earlier = [m for m in state.migrations if m.phase not in ENDED]
    tablets = state.tablets.by_id()
    for migration in earlier:
        if migration.phase in UNDECIDED and not phases.owned(migration, tablets):
            tablets = _behind(migration, tablets)
    for migration in plan:
        why = _shared(migration, earlier) or _awaits(state, migration, earlier)
        why = why or phases.owned(migration, tablets) or _unlike(migration, tablets)
        if why:
            return f"{migration.id}: {why}"
        tablets = _behind(migration, tablets)
        if len(tablets) > TABLETS_MAX:
            return f"{migration.id}: there would be more than {TABLETS_MAX} tablets"
        earlier.append(migration)
        if migration.kind is not Kind.MOVE:
            try:
                check_cover(tuple(tablets.values()))
            except AssertionError as error:
                return f"{migration.id}: the map would not be whole ({error})"
    return ""


def _shared(migration: Migration, earlier: list[Migration]) -> str:
    """Another one that has a tablet of it, and that it does not wait for."""
    by_id = {m.id: m for m in earlier}
    awaited, waits = set(), migration.after
    while waits in by_id and waits not in awaited:
        awaited.add(waits)
        waits = by_id[waits].after
    mine = {*migration.sources, *(tablet.id for tablet in migration.targets)}
    for other in earlier:
        shared = mine & {*other.sources, *(tablet.id for tablet in other.targets)}
        if shared and other.id not in awaited:
            return f"tablet {min(shared)} is in the migration {other.id}, which has not ended"
    return ""


def _awaits(state: State, migration: Migration, earlier: list[Migration]) -> str:
    if not migration.after or any(m.id == migration.after for m in earlier):
        return ""
    known = state.migration(migration.after)
    done = known is not None and known.phase is Phase.DONE
    return "" if done else f"it waits for {migration.after}, which nobody has planned"


def _unlike(migration: Migration, tablets: Mapping[TabletId, Tablet]) -> str:
    """A move changes nothing but the owner."""
    if migration.kind is not Kind.MOVE:
        return ""
    same = all(_looks(tablet) == _looks(tablets[tablet.id]) for tablet in migration.targets)
    return "" if same else "a move keeps names and ranges"


def _behind(migration: Migration, tablets: Mapping[TabletId, Tablet]) -> dict[TabletId, Tablet]:
    ends = {tablet: tablets[tablet].begin for tablet in migration.sources}
    return {tablet.id: tablet for tablet in phases.exchanged(migration, tablets, ends)}
