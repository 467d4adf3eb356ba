"""A shard's part in every migration: what it seals, copies, follows and cleans.

What it is: from the coordinators' list of migrations to seals, copies and sweeps, and the reports
about them. What it is not: the list (coordinator/), or the adoption of a map (`shard/owner.py`).

Invariants:
- what is done here follows from the newest state alone: a missed state, or a start, changes nothing
  but the time that it takes;
- inv20: the history of tablets in a migration rests on whoever is copied from;
- rows are removed only for a migration that has ended, or that has left them behind for good;
- a store that fails while it copies is mended, and the copy begins anew: serving goes on.

Worked example: m1 moves pods from here: READY copies on, FROZEN seals, COMMITTED forgets, DRAINING
sweeps (or follows, where an operator may turn back), and the report says that it is clean.

Tested in tests/unit/shard/test_moves.py, tests/sim.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Final, Protocol

from kubebraid.base.limits import COPY_REPORT_MS, COPY_RETRY_MS
from kubebraid.base.reshard import ENDED, Migration, Phase, Report
from kubebraid.base.revision import LeaseId, TabletId

from ..cells import Cell
from ..storage.engine import EngineError
from .copier import Copier, Here
from .source import Source
from .sweep import sweep

_LOG: Final = logging.getLogger("kubebraid.shard")
_COPYING: Final = frozenset((Phase.PREPARING, Phase.READY, Phase.FROZEN))
_SERVED: Final = frozenset((Phase.COMMITTED, Phase.DRAINING))


class Resting(Protocol):
    """The compactor."""

    def rest(self, tablets: frozenset[TabletId]) -> None:
        """Leave the history of these alone, until another set is named."""


class Moves:
    """Of one shard."""

    def __init__(
        self, here: Here, source: Source, compactor: Resting, reviewed: Callable[[], None]
    ) -> None:
        """`reviewed`: the set of sealed tablets is another one."""
        self._here = here
        self._name = here.owned.shard
        self.source = source
        self._compactor = compactor
        self._reviewed = reviewed
        self._migrations: dict[str, Migration] = {}
        self._copiers: dict[str, Copier] = {}
        self._sweeps: dict[str, Iterator[None]] = {}
        self._again_ms = 0  # when sweeps go on after a failure
        self._report_ms = 0

    # -- the newest state ----------------------------------------------------------------------

    def follow(self, migrations: Sequence[Migration]) -> None:
        """After the map of the same state was taken."""
        self._migrations = {migration.id: migration for migration in migrations}
        self.source.active = {
            m.id: m.freeze if m.phase is Phase.FROZEN else 0 for m in migrations if m.active
        }
        unfinished = [m for m in migrations if m.phase not in ENDED]
        self._here.owned.migrating = frozenset(s for m in unfinished for s in (m.source, m.target))
        self._seal()
        self._rest()
        self._copy()
        self._report_ms = 0

    def _seal(self) -> None:
        sealed = frozenset(
            tablet
            for m in self._migrations.values()
            if m.phase is Phase.FROZEN and m.source == self._name
            for tablet in m.sources
            if tablet in self._here.owned.oepochs
        )
        if sealed != self._here.owned.sealed:
            self._here.owned.sealed = sealed
            self._reviewed()

    def _rest(self) -> None:
        resting: set[TabletId] = set()
        for m in self._migrations.values():
            if m.active and self._name in (m.source, m.target):
                resting.update(m.sources, [target.id for target in m.targets])
        self._compactor.rest(frozenset(resting))

    def _copy(self) -> None:
        for name in [name for name in self._copiers if not self._copies(name)]:
            self._copiers.pop(name).stop()
        for name, migration in self._migrations.items():
            if not self._copies(name):
                continue
            copier = self._copiers.get(name)
            if copier is not None:
                copier.follow(migration)
            elif self._follows(migration):
                since = max(end for _, end in migration.ends)
                self._copiers[name] = Copier(self._here, migration, since)
            else:
                self._copiers[name] = Copier(self._here, migration)

    def _copies(self, name: str) -> bool:
        migration = self._migrations.get(name)
        if migration is None:
            return False
        wanted = migration.phase in _COPYING and migration.target == self._name
        return wanted or self._follows(migration)

    def _follows(self, migration: Migration) -> bool:
        """Whether our rows, left behind, are kept up to date: the operator may turn back."""
        left = migration.copies and migration.source == self._name
        return left and migration.manual and migration.phase is Phase.DRAINING

    # -- leases --------------------------------------------------------------------------------

    def leaves(self, lease: LeaseId) -> bool:
        """A lease's home has ended it. False: a copy may be committed at any moment, and its keys
        are not ours to delete yet; the home asks again."""
        if any(copier.final for copier in self._copiers.values()):
            return False
        for copier in self._copiers.values():
            copier.left(lease)
        return True

    # -- the loop ------------------------------------------------------------------------------

    @property
    def idle(self) -> bool:
        """Whether there is no migration, and none has left anything."""
        return not (self._migrations or self._here.owned.foreign.cells)

    def turn(self, now_ms: int) -> bool:
        """A step of each copy, a slice of each sweep. Answers: can more be done now?"""
        self.source.turn()
        more = False
        for copier in list(self._copiers.values()):
            more |= copier.turn(now_ms)
        if self._here.owned.foreign.cells or self._sweeps:
            more |= self._clean(now_ms)
        if self._migrations and now_ms >= self._report_ms:
            self._report_ms = now_ms + COPY_REPORT_MS
            self._report()
        return more

    def next_deadline_ms(self) -> int | None:
        if not self._migrations:
            return None
        due: list[int] = [copier.next_deadline_ms() for copier in self._copiers.values()]
        if self._sweeps:
            due.append(self._again_ms)
        return min([*due, self._report_ms])

    def _report(self) -> None:
        owned = self._here.owned
        for m in self._migrations.values():
            served = m.phase in _SERVED and m.target == self._name and self._has(m)
            clean = m.phase is Phase.DRAINING and m.source == self._name and self._is_clean(m)
            if served or clean:
                report = Report(m.id, self._name, owned.incarnation, served=True, freeze=m.freeze)
                self._here.tell(report)

    def _has(self, migration: Migration) -> bool:
        return all(target.id in self._here.owned.oepochs for target in migration.targets)

    def _is_clean(self, migration: Migration) -> bool:
        if migration.manual:
            return False
        return migration.keep_source or migration.id not in self._here.owned.foreign.cells

    # -- sweeps --------------------------------------------------------------------------------

    def _clean(self, now_ms: int) -> bool:
        for name, cell in self._here.owned.foreign.cells.items():
            if name not in self._sweeps and self._is_litter(cell):
                spared = partial(self._spared, name)
                self._sweeps[name] = sweep(self._here.engine, self._here.owned, cell, spared)
        if now_ms < self._again_ms:
            return False
        for name, sweeping in list(self._sweeps.items()):
            try:
                ended = next(sweeping, self) is self
            except EngineError as error:
                self._here.mend(error)
                self._sweeps.clear()  # each begins anew
                self._again_ms = now_ms + COPY_RETRY_MS
                return False
            if ended:
                del self._sweeps[name]
                self._report_ms = 0
                _LOG.info("a migration is cleaned up", extra={"migration": name})
        return bool(self._sweeps)

    def _spared(self, name: str) -> list[Cell]:
        """What the sweep of one migration leaves to others, which may copy into its range."""
        cells = self._here.owned.foreign.cells
        return [c for other, c in cells.items() if other != name and not self._is_litter(c)]

    def _is_litter(self, cell: Cell) -> bool:
        migration = self._migrations.get(cell.migration)
        if migration is None:
            return True
        left = migration.source == self._name and migration.copies
        if migration.phase in ENDED:
            return not (left and migration.keep_source and migration.phase is Phase.DONE)
        if migration.phase is not Phase.DRAINING or migration.manual:
            return False
        return not (left and migration.keep_source)
