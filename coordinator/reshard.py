"""Which step each migration takes next, as the serving coordinator sees it.

What it is: applied states, reports of shards, the sequencer's last revisions and clock values in;
steps for the log, and which tablets are frozen, out. What it is not: what a step does
(`migrations.py`, `phases.py`), the log, or a clock.

Words: to *fix* the ends is to take H of each source from the sequencer and to freeze it there in
the same instant; a report is *close* if its copy was verified and little is missing.

Invariants:
- inv18: ends are fixed only if the target has everything up to them durably, by its own report of
  the present freeze;
- M5: what was fixed stays frozen until the state shows that its freeze is over, whatever becomes of
  the commit; the deadline only submits the way back;
- a commit whose outcome is unknown is submitted again as it was;
- reports of another process than the present one of a shard count for nothing;
- no switch begins while its source or its target is away, and one that fails then is no try;
- of one migration at most one step is on its way;
- while writes wait for one switch, no step of another migration is submitted: the log takes one
  command after the other, and the commit is the next. No switch holds up the others for longer than
  its deadline and, behind the commit, RESHARD_FREEZE_MS.

Reports live in memory: a new sequencer waits until the shards repeat them (docs/decisions/0013).

Worked example: tablet 7 was last given 90. The report says ends ((7, 90),): 7 is frozen and the
commit submitted with 90. Had it been given 91 in the meantime, the next report would be awaited.

Tested in tests/unit/coordinator/test_reshard.py, tests/property/test_reshard.py.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import NamedTuple

from kubebraid.base.limits import (
    RESHARD_ACTIVE_MAX,
    RESHARD_FREEZE_MS,
    RESHARD_LAG_MAX,
    RESHARD_RETRY_MS,
    RESHARD_SILENT_MS,
    RESHARD_TRIES_MAX,
)
from kubebraid.base.reshard import ENDED, Action, Control, Migration, Phase, Progress, Report
from kubebraid.base.revision import Revision, TabletId

from . import phases
from .migrations import Step
from .state import State


class _Seen(NamedTuple):
    """Where a migration was found, and when it was found there first."""

    phase: Phase
    freeze: int
    at_ms: int


class Resharding:
    """What one member keeps in mind of migrations while it serves."""

    def __init__(self) -> None:
        self._state: State | None = None
        self._unfinished: tuple[Migration, ...] = ()
        self._reports: dict[tuple[str, str], Report] = {}
        self._unread: set[tuple[str, str]] = set()  # reports that came since the last look
        self._heard_ms: dict[tuple[str, str], int] = {}
        self._seen: dict[str, _Seen] = {}
        self._froze: dict[str, int] = {}  # when the present or last freeze began
        self._switch_ms: dict[str, int] = {}
        self._sent: dict[str, Step] = {}
        self._fixed: dict[str, Step] = {}  # the commit of a freeze, once there is one
        self._vain: set[str] = set()  # migrations whose commit the log took, and it changed nothing
        self._news = False
        self._wake_ms: int | None = None

    # -- what happens --------------------------------------------------------------------------

    def heard(self, report: Report) -> None:
        """A shard's report; of a migration that is not known here it is dropped."""
        migration = None if self._state is None else self._state.migration(report.id)
        if migration is not None and report.shard in (migration.source, migration.target):
            self._reports[report.id, report.shard] = report
            self._unread.add((report.id, report.shard))
            self._news = True

    def answered(self, step: Step, changed: bool | None) -> None:
        """The log has answered; None: its outcome is unknown."""
        if self._sent.get(step.id) == step:
            del self._sent[step.id]
        if changed is False and step.after is Phase.COMMITTED:
            self._vain.add(step.id)
        self._news = True

    def next(
        self, state: State, last: Mapping[TabletId, Revision], now_ms: int
    ) -> tuple[Step, ...]:
        """What to submit now. `last`: of the sequencer of the state's reign, at this instant; the
        caller freezes `switching` before anything else is allocated."""
        self._follow(state, now_ms)
        self._heard_ms |= dict.fromkeys(self._unread, now_ms)
        self._unread.clear()
        due = self._wake_ms is not None and now_ms >= self._wake_ms
        if not self._news and not due:
            return ()
        self._news, self._wake_ms = False, None
        steps: list[Step] = []
        active = [m for m in self._unfinished if self._is_active(m)]
        first = {m.id for m in self._unfinished if self._holds_writes(m, now_ms)}
        for migration in self._unfinished:
            if migration.id in self._sent or (first and migration.id not in first):
                continue
            step = self._next(state, migration, active, last, now_ms)
            if step is not None:
                steps.append(step)
                self._sent[migration.id] = step
                if step.after is Phase.PREPARING:
                    active.append(migration)
                if step.after is Phase.FROZEN:
                    first.add(migration.id)
        return tuple(steps)

    def _holds_writes(self, migration: Migration, now_ms: int) -> bool:
        """Whether writes wait for its switch, or are about to. A target that does not serve what
        was committed may be down for long: the others do not wait for that."""
        sent = self._sent.get(migration.id)
        if migration.phase is Phase.FROZEN or (sent is not None and sent.after is Phase.FROZEN):
            return True
        if migration.phase is not Phase.COMMITTED:
            return False
        until = self._seen[migration.id].at_ms + RESHARD_FREEZE_MS
        if now_ms < until:
            self._wake(until)
        return now_ms < until

    def _is_active(self, migration: Migration) -> bool:
        """Whether it copies, or its turn to do so is on its way to the log."""
        sent = self._sent.get(migration.id)
        begins = sent is not None and sent.after is Phase.PREPARING
        return begins or (migration.active and migration.phase is not Phase.DRAINING)

    def _follow(self, state: State, now_ms: int) -> None:
        if state is self._state:
            return
        self._state, self._news = state, True
        self._unfinished = tuple(m for m in state.migrations if m.phase not in ENDED)
        for migration in state.migrations:
            seen = self._seen.get(migration.id)
            if seen is None or seen[:2] != (migration.phase, migration.freeze):
                self._seen[migration.id] = _Seen(migration.phase, migration.freeze, now_ms)
                self._entered(migration, now_ms)
        known = {migration.id for migration in state.migrations}
        if known != self._seen.keys():
            self._forget(known)

    def _entered(self, migration: Migration, now_ms: int) -> None:
        """It is in another phase or freeze than before; what was fixed for that one is over."""
        name, phase = migration.id, migration.phase
        self._fixed.pop(name, None)
        self._vain.discard(name)
        if phase is Phase.FROZEN:
            self._froze[name] = now_ms
        elif phase is not Phase.COMMITTED:
            self._froze.pop(name, None)

    def _forget(self, known: set[str]) -> None:
        for name in self._seen.keys() - known:
            del self._seen[name]
            self._froze.pop(name, None)
            self._switch_ms.pop(name, None)
        self._reports = {key: told for key, told in self._reports.items() if key[0] in known}
        self._heard_ms = {key: ms for key, ms in self._heard_ms.items() if key in self._reports}

    # -- what is asked -------------------------------------------------------------------------

    def switching(self) -> frozenset[TabletId]:
        """The tablets whose ends are fixed, or may be part of a commit that is on its way."""
        return frozenset(tablet for step in self._fixed.values() for tablet, _ in step.ends)

    def next_deadline_ms(self) -> int | None:
        """When to ask `next` though nothing happened."""
        return self._wake_ms

    def hinders(self, state: State, control: Control) -> str:
        """Why the reports forbid an operator's word; empty: they do not."""
        migration = state.migration(control.id)
        if control.action is not Action.SWITCH or migration is None:
            return ""
        if migration.phase is not Phase.READY:
            return ""  # the log's to say
        report = self._valid(state, migration, migration.target)
        if report is None:
            return f"{migration.target} has said nothing of {migration.id} yet; try again"
        if not _close(report):
            return (
                f"{migration.id} lags {report.lag} revisions behind, {RESHARD_LAG_MAX} are allowed"
                if report.verified
                else f"the copy of {migration.id} has not been verified yet"
            )
        if report.away:
            return f"{migration.source} does not answer {migration.target}; try again when it does"
        if control.lag_ms and report.took_ms > control.lag_ms:
            return (
                f"the last round of {migration.id} took {report.took_ms} ms, {control.lag_ms} ms "
                "are allowed"
            )
        return ""

    def progress(self, state: State, now_ms: int) -> tuple[Progress, ...]:
        """For operators: all that are known."""
        told = []
        for migration in state.migrations:
            seen = self._seen.get(migration.id)
            reports = [self._valid(state, migration, shard) for shard in _shards(migration)]
            told.append(
                Progress(
                    migration,
                    tuple(report for report in reports if report is not None),
                    0 if seen is None else now_ms - seen.at_ms,
                    self._switch_ms.get(migration.id, 0),
                )
            )
        return tuple(told)

    def _valid(self, state: State, migration: Migration, shard: str) -> Report | None:
        """The newest report of the shard's present process."""
        report, place = self._reports.get((migration.id, shard)), state.shard(shard)
        if report is None or place is None or report.process != place.incarnation:
            return None
        return report

    # -- decisions -----------------------------------------------------------------------------

    def _next(
        self,
        state: State,
        migration: Migration,
        active: list[Migration],
        last: Mapping[TabletId, Revision],
        now_ms: int,
    ) -> Step | None:
        match migration.phase:
            case Phase.PLANNED:
                found = _turn(state, migration, active)
            case Phase.FROZEN:
                commit = self._commit(state, migration, last)
                deadline = self._froze[migration.id] + (migration.pause_ms or RESHARD_FREEZE_MS)
                if now_ms < deadline:
                    self._wake(deadline)
                    return commit
                away = self._away(state, migration, now_ms)
                return _given_up(state, migration, away)
            case _:
                reports = (self._valid(state, migration, shard) for shard in _shards(migration))
                found = _reported(migration, *reports)
                served = migration.phase is Phase.COMMITTED and found is not None
                if served and migration.id in self._froze:
                    self._switch_ms[migration.id] = now_ms - self._froze.pop(migration.id)
                if found is not None and found[0] is Phase.FROZEN:
                    if self._away(state, migration, now_ms):
                        return None  # a report tells when it is back
                    again = self._seen[migration.id].at_ms + _backoff_ms(migration)
                    if now_ms < again:
                        self._wake(again)
                        return None
        if found is None:
            return None
        return _step(state, migration, *found)

    def _commit(
        self, state: State, migration: Migration, last: Mapping[TabletId, Revision]
    ) -> Step | None:
        """The commit with the ends that are fixed, or can be now."""
        fixed = self._fixed.get(migration.id)
        if fixed is not None:
            return None if migration.id in self._vain else fixed
        report = self._valid(state, migration, migration.target)
        # What an earlier freeze sealed lacks what changed since without a revision, as leases do.
        final = report is not None and report.freeze == migration.freeze
        durable = dict(report.ends) if report is not None and final else {}
        if any(durable.get(tablet, -1) < last[tablet] for tablet in migration.sources):
            return None
        ends = tuple((tablet, last[tablet]) for tablet in migration.sources)
        step = replace(_step(state, migration, Phase.COMMITTED), ends=ends)
        self._fixed[migration.id] = step
        return step

    def _away(self, state: State, migration: Migration, now_ms: int) -> str:
        """Which of its shards is not there, as far as can be seen; empty: both are."""
        report = self._valid(state, migration, migration.target)
        heard_ms = self._heard_ms.get((migration.id, migration.target))
        if report is None or heard_ms is None or now_ms - heard_ms >= RESHARD_SILENT_MS:
            return migration.target
        return migration.source if report.away else ""

    def _wake(self, at_ms: int) -> None:
        self._wake_ms = at_ms if self._wake_ms is None else min(self._wake_ms, at_ms)


def _step(state: State, migration: Migration, after: Phase, why: str = "") -> Step:
    where = (migration.id, state.cepoch, migration.freeze, migration.phase)
    return Step(*where, after, why=why)


def _shards(migration: Migration) -> tuple[str, ...]:
    return tuple(dict.fromkeys((migration.source, migration.target)))


def _close(report: Report) -> bool:
    return report.verified and report.lag <= RESHARD_LAG_MAX


def _backoff_ms(migration: Migration) -> int:
    return RESHARD_RETRY_MS << (migration.tries - 1) if migration.tries else 0


def _turn(state: State, migration: Migration, active: list[Migration]) -> tuple[Phase, str] | None:
    """Whether it begins, or never will."""
    before = state.migration(migration.after) if migration.after else None
    if before is not None and before.phase is Phase.ABORTED:
        return Phase.ABORTED, f"{before.id}, which it waited for, was aborted"
    if before is not None and before.phase is not Phase.DONE:
        return None
    why = phases.owned(migration, state.tablets.by_id())
    if why:
        return Phase.ABORTED, f"the map has changed since the plan was made: {why}"
    pairs = [{other.source, other.target} for other in active]
    if len(active) >= RESHARD_ACTIVE_MAX or {migration.source, migration.target} in pairs:
        return None
    return Phase.PREPARING, ""


def _given_up(state: State, migration: Migration, away: str) -> Step:
    """The freeze has come to its deadline."""
    if away:
        why = f"{away} could not be reached: the switch waits for it"
        return replace(_step(state, migration, Phase.READY, why), counts=False)
    limit = migration.pause_ms or RESHARD_FREEZE_MS
    why = f"writes had waited for {limit} ms, and the switch was not ready"
    if not migration.manual and migration.tries + 1 >= RESHARD_TRIES_MAX:
        why = f"{why}, {RESHARD_TRIES_MAX} times"
        return _step(state, migration, Phase.ABORTED, why)
    return _step(state, migration, Phase.READY, why)


def _reported(
    migration: Migration, source: Report | None, target: Report | None = None
) -> tuple[Phase, str] | None:
    """What the reports lead to; of one shard that is both there is one."""
    target = target if migration.copies else source
    match migration.phase:
        case Phase.PREPARING | Phase.READY if target is not None and target.failed:
            return Phase.ABORTED, target.failed
        case Phase.PREPARING if target is not None and _close(target):
            return Phase.READY, ""
        case Phase.READY if target is not None and _close(target) and not migration.manual:
            return Phase.FROZEN, ""
        case Phase.COMMITTED if _served(migration, target):
            return Phase.DRAINING, ""
        case Phase.DRAINING if not migration.copies:
            return Phase.DONE, ""
        case Phase.DRAINING if not migration.manual:
            # Also one that keeps its rows has to have heard that it lost the tablets: until then it
            # reads what, behind DONE, the target compacts where they share it.
            return (Phase.DONE, "") if _served(migration, source) else None
        case _:
            return None


def _served(migration: Migration, report: Report | None) -> bool:
    """A reversal has another freeze, so nothing that was served before it counts."""
    return report is not None and report.served and report.freeze == migration.freeze
