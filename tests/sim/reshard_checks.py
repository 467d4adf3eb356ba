"""What resharding must have come to when a run is over.

What it is: whether each migration has ended, what lies in the stores, and whether it is what
happened. What it is not: who acts in between (`owners.py`, `truth.py`), or what clients were told.

Words: a row is *foreign* where the map gives its key or its tablet to another shard. Where shards
share rows there is none; what may stay then, `row_space.py` tells.

Invariants that it judges: inv18 (nothing is frozen or half-way; no foreign row and no cell stays
but of a migration that waits for an operator, or was told to keep its source; a former owner that
follows has the same sums), inv17 (an owner's store has each key as it was left, and the log of each
tablet down to the floor; so has the row space, if there is one).

Worked example: a move was cancelled while it copied, and s1 still has /a/1: a breach of inv18.

Tested in tests/sim/test_breaches.py.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Final

from kubebraid.base.reshard import ENDED, DigestCall, Migration, Phase
from kubebraid.base.tabletmap import Tablet, TabletMap
from kubebraid.coordinator.state import State
from kubebraid.shard import keycodec
from kubebraid.shard.cells import Cell, load
from kubebraid.shard.reshard.landing import holds
from kubebraid.shard.reshard.source import digest
from kubebraid.shard.storage.memory import MemoryEngine

from .disk import SimEngine
from .row_space import KEY_OF, tablet_of
from .verdict import Violation

if TYPE_CHECKING:
    from .world import World

ALL: Final = 1 << 20


def unsettled(world: World) -> list[str]:
    """What still has to pass, as text; empty: nothing."""
    member = world.spies.serving()
    if member is None:
        return ["nobody serves"]
    state = member.state
    found = [str(m) for m in state.migrations if not _at_rest(world, state, m)]
    return found or [*_behind(world, state), *_litter(world, state), *_unequal(world, state)]


def _at_rest(world: World, state: State, migration: Migration) -> bool:
    if migration.phase in ENDED or world.operators.left(migration):
        return True
    awaited = state.migration(migration.after) if migration.after else None
    if awaited is None or awaited.phase is Phase.DONE or migration.phase is not Phase.PLANNED:
        return False
    return _at_rest(world, state, awaited)


def _behind(world: World, state: State) -> Iterator[str]:
    """Who has not heard of the newest map."""
    for shard in world.shards:
        owned = None if shard.here is None else shard.here._owned
        if owned is None or owned.map_version != state.tablets.version:
            yield f"{shard.name} has another map"


def _litter(world: World, state: State) -> Iterator[str]:
    spared: list[Cell] = []
    for shard in world.shards:
        cells = load(shard.engine)
        kept = [cell for cell in cells.values() if _is_kept(cell, shard.name, state)]
        yield from (f"{shard.name}: {cell}" for cell in cells.values() if cell not in kept)
        spared += kept
        if world.space is None:
            yield from _foreign(shard.engine, shard.name, state.tablets, kept)
    if world.space is not None:
        yield from world.space.litter(state.tablets, (t for cell in spared for t in cell.tablets))


def _is_kept(cell: Cell, shard: str, state: State) -> bool:
    migration = state.migration(cell.migration)
    if migration is None:
        return False
    kept = migration.phase is Phase.DONE and migration.keep_source and migration.source == shard
    return kept or migration.phase not in ENDED


def _foreign(engine: SimEngine, shard: str, tablets: TabletMap, kept: list[Cell]) -> Iterator[str]:
    areas = [area for cell in kept for area in cell.areas]
    known = {t.id for t in tablets.tablets if t.shard == shard}
    known.update(tablet for cell in kept for tablet in cell.tablets)
    for stored in engine.keys(b"", b"\xff", ALL):
        kind = stored[:1]
        if kind in KEY_OF:
            key = KEY_OF[kind](stored)
            here = tablets.tablet_of(key).shard == shard
            if not here and not any(span.contains(key) for span, _, _ in areas):
                yield f"{shard} has {stored!r}, which is not its own"
        elif kind in b"lf" and tablet_of(stored) not in known:
            yield f"{shard} has {stored!r} of a tablet that is not its own"


def _unequal(world: World, state: State) -> Iterator[str]:
    """Former owners that follow; of rows that they share they have the new owner's."""
    if world.space is not None:
        return
    engines = {shard.name: shard.engine for shard in world.shards}
    tablets = state.tablets.by_id()
    for migration in state.migrations:
        if migration.phase is not Phase.DRAINING or not migration.copies:
            continue
        floor, newest = max(state.compact_revision, 0), max(world.truth.commits, default=1)
        for at in migration.targets:
            tablet = tablets[at.id]
            call = DigestCall(migration.id, (tablet.id,), b"", b"", floor, newest)
            ends = (migration.source, migration.target)
            sums = [digest(engines[name], [tablet], tablet.span, call) for name in ends]
            if sums[0] != sums[1]:
                yield f"{migration.id}: {tablet.name} has the sums {sums}"


# -- the stores, held against the history ----------------------------------------------------------


def check_stores(world: World) -> None:
    """Of a run that has settled, its history checked."""
    tablets = world.truth.owners.newest
    keys = world.truth.all_keys()
    engines = {shard.name: shard for shard in world.shards}
    for tablet in tablets.tablets:
        shard = engines[tablet.shard]
        mine = [key for key in keys if holds(tablet, key)]
        readers: list[MemoryEngine] = [shard.engine]
        if world.space is not None:
            readers.append(world.space.rows())
        owned = None if shard.here is None else shard.here._owned
        assert owned is not None, "it has settled"
        for reader in readers:
            _check_keys(world, reader, tablet, mine)
            _check_log(world, reader, tablet, mine, owned.floor())
            if tablet.id not in world.spies.resting():
                _check_history(world, reader, mine, owned.floor())
    if world.space is not None:
        world.space.check_attachments(world.truth)


def _check_keys(world: World, engine: MemoryEngine, tablet: Tablet, keys: list[bytes]) -> None:
    for key in keys:
        raw = engine.get(keycodec.newest(key))
        wanted = world.truth.at(key, ALL)
        found = None if raw is None else keycodec.row_revision(raw)
        if found != (None if wanted is None else wanted.mod):
            raise Violation("inv17", f"{tablet.name}: {key!r} is of {found}, there was {wanted}")


def _check_history(world: World, engine: MemoryEngine, keys: list[bytes], floor: int) -> None:
    """inv20: no version is kept that was replaced below the floor."""
    for key in keys:
        mods = [version.mod for version in world.truth.versions(key)]
        for stored in engine.keys(keycodec.history_prefix(key), keycodec.history_end(key), ALL):
            kept = keycodec.split_history(stored)[1]
            later = [mod for mod in mods if kept < mod < floor]
            if later:
                raise Violation("inv20", f"{key!r} of {kept} is kept, {later} lie below {floor}")


def _check_log(
    world: World, engine: MemoryEngine, tablet: Tablet, keys: list[bytes], floor: int
) -> None:
    """M13: down to the floor, whatever the tablet was made of."""
    low, high = keycodec.log(tablet.id, max(floor, 0)), keycodec.log(tablet.id + 1, 0)
    there = {
        (keycodec.log_revision(stored), change.key)
        for stored, value in engine.scan(low, high, ALL)
        for change in keycodec.unpack_changes(value)
    }
    mine = set(keys)
    wanted = {
        (revision, version.key)
        for revision in world.truth.revisions()
        if revision >= floor
        for version in world.truth.commits[revision]
        if version.key in mine
    }
    if there != wanted:
        raise Violation(
            "inv17",
            f"the log of {tablet.name} from {floor} on lacks {sorted(wanted - there)} "
            f"and has {sorted(there - wanted)}",
        )
