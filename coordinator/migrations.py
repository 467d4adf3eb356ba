"""Plans, steps and operators' words in the log: (state, command) -> state, or why not.

What it is: what the log does with migrations, total and the same on every member. What it is not:
the phase table (`phases.py`), or whoever submits a step (`reshard.py`).

Invariants:
- inv17: a map is made by a commit alone, from the newest one; it covers every key, each tablet's
  owner epoch and beginning rise, and no id is used twice;
- inv18: a commit carries an end of each source, at or above the tablet's beginning, fixed in the
  present reign and the present freeze;
- a plan is taken as a whole or not at all; taken twice it changes nothing, and neither does a word;
- of two unfinished migrations that share a tablet, one waits for the other (`after`).

Worked example: `Step("m1", 3, 1, Phase.FROZEN, Phase.COMMITTED, ((7, 90),))` of reign 3 and freeze
1 makes the map with tablet 7 on m1's target, beginning behind 90. Sent again it does nothing.

Tested in tests/unit/coordinator/test_migrations.py, tests/property/test_reshard.py.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from kubebraid.base.limits import RESHARD_ENDED_MAX
from kubebraid.base.reshard import ENDED, UNDECIDED, Action, Control, Migration, Phase, Planned
from kubebraid.base.revision import Epoch, Revision, TabletId

from . import phases
from .phases import Word
from .planning import taken
from .state import State

BY_OPERATOR = frozenset((Word.OPERATOR,))


@dataclass(frozen=True, slots=True)
class Step:
    """Along one row of the phase table, in this reign and this freeze. `ends`: of a commit;
    `counts`: of a way back, whether both shards were there, so that the pause was really too long.
    """

    id: str
    cepoch: Epoch
    freeze: int
    before: Phase
    after: Phase
    ends: tuple[tuple[TabletId, Revision], ...] = ()
    why: str = ""
    counts: bool = True


def plan(state: State, command: Planned) -> State | str:
    """The state with the plan's migrations, or why it is refused: then nothing was changed."""
    found = taken(state, command)
    if isinstance(found, str):
        return found
    migrations, given = found
    if not migrations:
        return state
    return replace(state, migrations=_kept((*state.migrations, *migrations)), given=given)


def step(state: State, command: Step) -> State:
    """Unchanged where it is of another reign, freeze or phase."""
    migration = state.migration(command.id)
    if migration is None or command.cepoch != state.cepoch or command.freeze != migration.freeze:
        return state
    if command.before is not migration.phase:
        return state
    if not phases.allows(migration, command.after, phases.DRIVEN):
        return state
    if command.after is Phase.COMMITTED:
        return _commit(state, migration, command.ends)
    after = phases.moved(migration, command.after, command.why)
    if migration.phase is Phase.FROZEN and command.counts:
        after = after._replace(tries=migration.tries + 1)  # it has come to its deadline
    return _with(state, after)


def _commit(
    state: State, migration: Migration, ends: tuple[tuple[TabletId, Revision], ...]
) -> State:
    fixed, tablets = dict(ends), state.tablets.by_id()
    if set(fixed) != set(migration.sources) or phases.owned(migration, tablets):
        return state
    if any(end < tablets[tablet].begin for tablet, end in ends):
        return state
    try:
        made = phases.map_behind(migration, state.tablets, fixed)
    except AssertionError:
        return state  # the plan was checked; a total function does not rely on it
    return replace(_with(state, phases.committed(migration, made.version, ends)), tablets=made)


def control(state: State, command: Control) -> State | str:
    """The state after an operator's word, or why it is refused: then nothing was changed."""
    migration = state.migration(command.id)
    if migration is None:
        return f"no migration {command.id} is known; it may have ended long ago"
    after = _controlled(migration, command)
    if isinstance(after, str):
        return f"{after}. Nothing was changed"
    return state if after == migration else _with(state, after)


def _controlled(migration: Migration, command: Control) -> Migration | str:
    match command.action:
        case Action.SWITCH:
            return _switch(migration, command)
        case Action.CANCEL:
            if migration.phase is Phase.ABORTED:
                return migration
            if not phases.allows(migration, Phase.ABORTED, BY_OPERATOR):
                return f"{migration.id} is {migration.phase.name}: it cannot be cancelled any more"
            return phases.moved(migration, Phase.ABORTED, "cancelled by an operator")
        case Action.REVERSE:
            return _reverse(migration)
        case Action.COMPLETE:
            return _complete(migration, command)
        case Action.RATE:
            if migration.phase in ENDED:
                return f"{migration.id} has ended"
            return migration._replace(rate=max(0, command.rate))


def _switch(migration: Migration, command: Control) -> Migration | str:
    if migration.phase in (Phase.FROZEN, Phase.COMMITTED, Phase.DRAINING, Phase.DONE):
        return migration
    if not phases.allows(migration, Phase.FROZEN, BY_OPERATOR):
        return f"{migration.id} is {migration.phase.name}; it can be switched when it is READY"
    pause_ms = max(0, command.pause_ms)
    return phases.moved(migration._replace(pause_ms=pause_ms), Phase.FROZEN)


def _reverse(migration: Migration) -> Migration | str:
    if migration.back:
        return migration
    if not phases.allows(migration, Phase.READY, BY_OPERATOR):
        return (
            f"{migration.id} is {migration.phase.name}; a move can be reversed while it is "
            "DRAINING, that is between its switch and `complete`. Move the tablet back instead"
        )
    if not migration.manual:
        return f"{migration.id} is completing, its old rows are being deleted. Move it back instead"
    return phases.sent_back(migration)


def _complete(migration: Migration, command: Control) -> Migration | str:
    if migration.phase is Phase.DONE:
        return migration
    if migration.phase is not Phase.DRAINING:
        return f"{migration.id} is {migration.phase.name}; it can be completed behind its switch"
    if not migration.manual:
        return migration
    return migration._replace(manual=False, keep_source=command.keep_source)


# -- what else the log brings ------------------------------------------------------------------


def taken_over(state: State) -> State:
    """A new reign."""
    return _each(state, tuple(phases.taken_over(migration) for migration in state.migrations))


def restarted(state: State, shard: str) -> State:
    """A process of this shard took its tablets."""
    return _each(state, tuple(phases.restarted(m, shard) for m in state.migrations))


def _each(state: State, migrations: tuple[Migration, ...]) -> State:
    if migrations == state.migrations:
        return state
    return replace(state, migrations=migrations)


def _with(state: State, changed: Migration) -> State:
    """In its place; the oldest that have ended are forgotten."""
    after = tuple(changed if m.id == changed.id else m for m in state.migrations)
    return replace(state, migrations=_kept(after))


def _kept(migrations: tuple[Migration, ...]) -> tuple[Migration, ...]:
    """Without the oldest ended ones, but for those that somebody waits for."""
    awaited = {m.after for m in migrations if m.phase in UNDECIDED}
    ended = [m.id for m in migrations if m.phase in ENDED and m.id not in awaited]
    forgotten = set(ended[: max(0, len(ended) - RESHARD_ENDED_MAX)])
    return tuple(m for m in migrations if m.id not in forgotten)
