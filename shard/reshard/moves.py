"""A shard's part in every migration: what it seals, copies, follows and cleans.

What it is: from the coordinators' list of migrations to seals, copies and sweeps, and the reports
about them. What it is not: the list (coordinator/), or the adoption of a map (`shard/owner.py`).

Invariants:
- what is done here follows from the newest state alone: a missed state, or a start, changes nothing
  but the time that it takes;
- inv20: the history of tablets in a migration rests on whoever is copied from;
- rows are removed only for a migration that has ended, or that has left them behind for good;
- a store that fails while it copies is mended, and the copy begins anew: serving goes on;
- while a switch is under way on this shard or its source, other copies and sweeps wait.

Worked example: m1 moves pods from here: READY copies on, FROZEN seals, COMMITTED forgets, DRAINING
sweeps (or follows, where an operator may turn back), and the report says that it is clean.

Tested in tests/unit/shard/test_moves.py, tests/sim.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Final, Protocol

from kubebraid.base.backoff import Backoff
from kubebraid.base.limits import COPY_REPORT_MS, COPY_RETRY_MS, COPY_SWEEP_RETRY_MS_MAX
from kubebraid.base.reshard import ENDED, Migration, Phase, Report
from kubebraid.base.revision import LeaseId, TabletId

from ..cells import Cell
from ..ownership import Ownership, may_have_left
from ..storage.engine import EngineError
from .copier import Copier, Here
from .source import Source
from .sweep import sweep
from .switches import Switches

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
        self._again: dict[str, int] = {}  # when a sweep that has failed is begun anew
        self._pauses: dict[str, Backoff] = {}
        self._report_ms = 0
        self._switches = Switches()

    # -- the newest state ----------------------------------------------------------------------

    def follow(self, migrations: Sequence[Migration]) -> None:
        """After the map of the same state was taken."""
        self._migrations = {migration.id: migration for migration in migrations}
        self._switches.follow(migrations, self._here.clock.now_ms())
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
            elif self._follows(migration) and not self._here.owned.shares_rows:
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
        cleans = self._here.owned.foreign.cells or self._sweeps or self._again
        return not (self._migrations or cleans)

    def turn(self, now_ms: int) -> bool:
        """A step of each copy, a slice of each sweep. Answers: can more be done now?"""
        self.source.turn()
        more = False
        for copier in list(self._copiers.values()):
            if not self._waits(copier, now_ms):
                more |= copier.turn(now_ms)
        left = self._here.owned.foreign.cells or self._sweeps or self._again
        if left and not self.switching(now_ms):
            more |= self._clean(now_ms)
        if self._migrations and now_ms >= self._report_ms:
            self._report_ms = now_ms + COPY_REPORT_MS
            self._report()
        return more

    def switching(self, now_ms: int) -> bool:
        """Whether writes wait for this shard, or rows that it calls its own may be another's by
        now: what can be done later is done later."""
        return self._switches.busy((self._name,), now_ms) or may_have_left(self._here.owned)

    def _waits(self, copier: Copier, now_ms: int) -> bool:
        """Whether it would disturb the switch of another."""
        m = copier.migration
        return m.phase is not Phase.FROZEN and self._switches.busy((m.source, m.target), now_ms)

    def next_deadline_ms(self) -> int | None:
        if self.idle:
            return None
        now_ms = self._here.clock.now_ms()
        going = [c for c in self._copiers.values() if not self._waits(c, now_ms)]
        due: list[int] = [copier.next_deadline_ms() for copier in going]
        over_ms = self._switches.next_deadline_ms(now_ms)
        if over_ms is not None:
            due.append(over_ms)
        if not self.switching(now_ms):
            due += self._again.values()
            due += [0] if self._sweeps else []
        if self._migrations:
            due.append(self._report_ms)
        return min(due, default=None)

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
        return (
            _keeps(migration, self._here.owned)
            or migration.id not in self._here.owned.foreign.cells
        )

    # -- sweeps --------------------------------------------------------------------------------

    def _clean(self, now_ms: int) -> bool:
        self._again = {name: due_ms for name, due_ms in self._again.items() if now_ms < due_ms}
        for name, cell in self._here.owned.foreign.cells.items():
            if name not in self._sweeps | self._again and self._is_litter(cell):
                spared = partial(self._spared, name)
                self._sweeps[name] = sweep(self._here.engine, self._here.owned, cell, spared)
        for name, sweeping in list(self._sweeps.items()):
            try:
                ended = next(sweeping, self) is self
            except EngineError as error:
                self._here.mend(error)
                self._fail(name, now_ms)
                return True
            if ended:
                del self._sweeps[name]
                self._pauses.pop(name, None)
                self._report_ms = 0
                _LOG.info("a migration is cleaned up", extra={"migration": name})
        return bool(self._sweeps)

    def _fail(self, name: str, now_ms: int) -> None:
        """All begin anew, for what they removed may be lost with the store that was open. The one
        that failed does so later: a row that nobody can read holds up its own sweep alone."""
        self._sweeps.clear()
        if name not in self._pauses:
            self._pauses[name] = Backoff(COPY_RETRY_MS, COPY_SWEEP_RETRY_MS_MAX, lambda: 0.0)
        self._again[name] = now_ms + self._pauses[name].next_ms()

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
            return not (
                left and _keeps(migration, self._here.owned) and migration.phase is Phase.DONE
            )
        if migration.phase is not Phase.DRAINING or migration.manual:
            return False
        return not (left and _keeps(migration, self._here.owned))


def _keeps(migration: Migration, owned: Ownership) -> bool:
    """Whether the old rows stay where they are: of shared ones there are none."""
    return migration.keep_source and not owned.shares_rows
