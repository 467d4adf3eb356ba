"""THE phase table: which phase of a migration may follow which, and on whose word.

What it is: the rows, and what becomes of a migration and of the map on the way along one. What it
is not: when a step is taken (`reshard.py`), or how the log carries it (`migrations.py`).

Words: a *word* is what a step needs: an operator's command, the report of a shard, the deadline of
the freeze, a new reign of the sequencer, the restart of one of the two shards, or that it is the
migration's turn. A *way back* leads to an earlier phase, and says why.

Invariants:
- M2: what was decided on the sequencer's last revisions, or while it had frozen tablets, counts in
  that reign and that freeze alone (`freeze` numbers them, and never falls);
- M5: a deadline only proposes a way back; the sequencer lets go when the log has taken it, or the
  commit;
- before COMMITTED every phase has a row to ABORTED; from COMMITTED on none has;
- DONE and ABORTED have no rows.

A kind of its own for a dead owner's tablets on a shared engine would begin with PLANNED -> FROZEN
on the word TURN (there is nothing to copy) and share all rows from FROZEN on.

Worked example: (FROZEN, READY) stands on DEADLINE, REIGN and RESTART; (FROZEN, COMMITTED) on REPORT
alone, with the ends that the sequencer fixed.

Tested in tests/unit/coordinator/test_phases.py.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from enum import Enum
from typing import Final, NamedTuple

from kubebraid.base.reshard import Kind, Migration, Phase
from kubebraid.base.revision import Revision, TabletId
from kubebraid.base.tabletmap import Tablet, TabletMap


class Word(Enum):
    """Whose word a step needs."""

    TURN = "its turn has come, or the map does not fit it any more"
    OPERATOR = "an operator's"
    REPORT = "a shard's report"
    DEADLINE = "the deadline of the freeze"
    REIGN = "another sequencer"
    RESTART = "another process of its source or target"


class Row(NamedTuple):
    """One arrow. `fixed`: it carries H of each source, which the sequencer fixed."""

    before: Phase
    after: Phase
    words: frozenset[Word]
    kinds: frozenset[Kind] = frozenset(Kind)
    fixed: bool = False


def _row(before: Phase, after: Phase, *words: Word, fixed: bool = False) -> Row:
    return Row(before, after, frozenset(words), fixed=fixed)


TABLE: Final = (
    _row(Phase.PLANNED, Phase.PREPARING, Word.TURN),
    _row(Phase.PLANNED, Phase.ABORTED, Word.OPERATOR, Word.TURN),
    _row(Phase.PREPARING, Phase.READY, Word.REPORT),
    _row(Phase.PREPARING, Phase.ABORTED, Word.OPERATOR, Word.REPORT),
    _row(Phase.READY, Phase.FROZEN, Word.OPERATOR, Word.REPORT),
    _row(Phase.READY, Phase.PREPARING, Word.RESTART),
    _row(Phase.READY, Phase.ABORTED, Word.OPERATOR, Word.REPORT),
    _row(Phase.FROZEN, Phase.COMMITTED, Word.REPORT, fixed=True),
    _row(Phase.FROZEN, Phase.READY, Word.DEADLINE, Word.REIGN, Word.RESTART),
    _row(Phase.FROZEN, Phase.PREPARING, Word.RESTART),
    _row(Phase.FROZEN, Phase.ABORTED, Word.OPERATOR, Word.REPORT, Word.DEADLINE),
    _row(Phase.COMMITTED, Phase.DRAINING, Word.REPORT),
    _row(Phase.DRAINING, Phase.DONE, Word.REPORT),
    Row(Phase.DRAINING, Phase.READY, frozenset((Word.OPERATOR,)), frozenset((Kind.MOVE,))),
)
ROWS: Final = {(row.before, row.after): row for row in TABLE}
DRIVEN: Final = frozenset((Word.TURN, Word.REPORT, Word.DEADLINE))  # a Step's, of the log
_TAKEOVER: Final = "another coordinator became the sequencer"


def allows(migration: Migration, after: Phase, words: frozenset[Word]) -> bool:
    """Whether one of these words leads it there."""
    row = ROWS.get((migration.phase, after))
    return row is not None and migration.kind in row.kinds and not row.words.isdisjoint(words)


def moved(migration: Migration, after: Phase, why: str = "") -> Migration:
    """Along a row that carries nothing."""
    assert (migration.phase, after) in ROWS, (migration.phase, after)
    if after is Phase.FROZEN:
        return migration._replace(phase=after, why="", freeze=migration.freeze + 1)
    return migration._replace(phase=after, why=why)


def committed(
    migration: Migration, version: int, ends: tuple[tuple[TabletId, Revision], ...]
) -> Migration:
    """Behind the commit that made the map of this version."""
    assert (migration.phase, Phase.COMMITTED) in ROWS
    return migration._replace(phase=Phase.COMMITTED, version=version, ends=ends, why="")


def sent_back(migration: Migration) -> Migration:
    """Back: the same protocol with source and target exchanged, by itself to its end. The old
    owner has followed, so it begins where the copy is there."""
    assert migration.kind is Kind.MOVE, migration
    assert migration.phase is Phase.DRAINING, migration
    back = tuple(replace(tablet, shard=migration.source) for tablet in migration.targets)
    return migration._replace(
        source=migration.target,
        target=migration.source,
        targets=back,
        phase=Phase.READY,
        manual=False,
        version=0,
        ends=(),
        tries=0,
        back=True,
        why="reversed by an operator",
    )


def taken_over(migration: Migration) -> Migration:
    """M2: H was the word of a sequencer that is no more."""
    if migration.phase is not Phase.FROZEN:
        return migration
    return moved(migration, Phase.READY, _TAKEOVER)


def restarted(migration: Migration, shard: str) -> Migration:
    """A process of the shard took its tablets: what its former one reported counts no more. A
    source's new process writes behind another H; a target's has to look what it has."""
    if shard == migration.target and migration.phase in (Phase.READY, Phase.FROZEN):
        return moved(migration, Phase.PREPARING, f"{shard} was started anew")
    if shard == migration.source and migration.phase is Phase.FROZEN:
        return moved(migration, Phase.READY, f"{shard} was started anew")
    return migration


# -- the map -----------------------------------------------------------------------------------


def owned(migration: Migration, tablets: Mapping[TabletId, Tablet]) -> str:
    """Why the sources are not what the migration says; empty: they are."""
    for tablet in migration.sources:
        found = tablets.get(tablet)
        if found is None:
            return f"there is no tablet {tablet}"
        if found.shard != migration.source:
            return f"tablet {tablet} ({found.name}) is of {found.shard}, not {migration.source}"
    return ""


def exchanged(
    migration: Migration,
    tablets: Mapping[TabletId, Tablet],
    ends: Mapping[TabletId, Revision],
) -> tuple[Tablet, ...]:
    """All tablets, sorted, with the targets in place of the sources. One that is moved goes on
    behind its end under its next owner epoch; a new one behind all ends and epochs. Raises
    KeyError for a source that is not there."""
    sources = {tablet: tablets[tablet] for tablet in migration.sources}
    oepoch = max(source.oepoch for source in sources.values())
    begin = max(ends[tablet] for tablet in sources)
    targets = [
        replace(
            tablet,
            shard=migration.target,
            oepoch=1 + (sources[tablet.id].oepoch if tablet.id in sources else oepoch),
            begin=ends.get(tablet.id, begin),
        )
        for tablet in migration.targets
    ]
    stay = [tablet for tablet in tablets.values() if tablet.id not in sources]
    return tuple(sorted((*stay, *targets), key=_place))


def map_behind(
    migration: Migration, before: TabletMap, ends: Mapping[TabletId, Revision]
) -> TabletMap:
    """The map that the commit makes. Raises AssertionError where it would not cover every key."""
    return TabletMap(before.version + 1, exchanged(migration, before.by_id(), ends))


def _place(tablet: Tablet) -> tuple[bytes, int]:
    return tablet.place
