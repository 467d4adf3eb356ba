"""The copy of one migration, on the shard that it goes to: rounds, sums, and the last piece.

What it is: what the target does from PREPARING to COMMITTED, and an old owner while DRAINING: it
asks the source for pieces, writes them, compares, and reports. What it is not: the bytes of a piece
(`pieces.py`, `landing.py`) or the decision (the coordinators').

Words: to *follow* is to ask for round after round. The copy is *final* once a sealed round is here
and durable, with fences that let a start find the tablets.

Invariants:
- one question at a time; the first round begins in an area that was swept, behind a durable cell;
- a copy is reported as final only if its last round began sealed, every row of it is synced with
  the fences, each lease of a copied key is joined here and not being left, and no share of a
  transaction waits here;
- what is final is so for one freeze: thawed, or frozen again, the copy follows again, for the
  source may have granted leases meanwhile, without a revision that would tell;
- a sealed round that is here is not asked for again in its freeze: what it waits for is here;
- sums are compared once all is here, range by range at one revision: a copy that differs is made
  anew, and never served; one that cannot be made in COPY_TRIES_MAX beginnings has failed.

Worked example: 10,000 keys: 40 pieces, a round of 3 ms for what was written meanwhile, 20 sums;
then a round each 20 ms, until one is sealed: cell, fences, report.

Tested in tests/unit/shard/test_copier.py, tests/property/test_reshard_copy.py.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import Final, Protocol

from kubebraid.base import errors
from kubebraid.base.errors import RequestRefused
from kubebraid.base.limits import (
    COPY_AWAY_MS,
    COPY_FOLLOW_MS,
    COPY_PIECE_BYTES_MAX,
    COPY_REPORT_MS,
    COPY_RETRY_MS,
    COPY_TRIES_MAX,
)
from kubebraid.base.reshard import (
    Brings,
    CopyCall,
    CopyReply,
    Digest,
    DigestCall,
    Migration,
    Phase,
    Report,
)
from kubebraid.base.revision import LeaseId, Revision
from kubebraid.base.seams import Clock

from ..ownership import Ownership
from ..storage.engine import Engine, EngineError
from .checks import Checks
from .final import final_batch
from .joins import Joins
from .landing import Landing
from .prepare import cell_of, seeded, swept
from .source import Slot

_LOG: Final = logging.getLogger("kubebraid.shard")


class CopyPort(Protocol):
    """The source, as a target uses it."""

    def copy(self, call: CopyCall, done: Callable[[CopyReply | RequestRefused], None]) -> None: ...

    def digest(self, call: DigestCall, done: Callable[[Digest | RequestRefused], None]) -> None: ...

    def lease_join(
        self, lease: LeaseId, guest: str, done: Callable[[int | RequestRefused], None]
    ) -> None: ...


@dataclass(frozen=True, slots=True)
class Here:
    """The shard that copies. `engine`: all that it can read, also rows that are not its own;
    `port`: another shard by its name, or this one itself; `mend`: the
    store is opened again after a write that failed; `leaving`: leases that this shard was told to
    leave, and has not left yet."""

    engine: Engine
    owned: Ownership
    clock: Clock
    slot: Slot
    port: Callable[[str], CopyPort | None]
    tell: Callable[[Report], None]
    mend: Callable[[EngineError], None]
    leaving: list[LeaseId] = field(default_factory=list)


class _Stage(Enum):
    SEEDING = auto()
    SWEEPING = auto()
    COPYING = auto()
    CHECKING = auto()
    FOLLOWING = auto()


class Copier:
    """One migration's copy; `turn` takes the next step."""

    def __init__(self, here: Here, migration: Migration, since: Revision = -1) -> None:
        """`since`: everything up to it is here already (an old owner's rows); -1: nothing."""
        self._here = here
        self.migration = migration
        self._brings = migration.brings(here.owned.shares_rows)
        self._landing = Landing(here.engine, migration)
        self._joins = Joins(here.owned, here.port)
        self._checks: Checks | None = None
        self._slices: Iterator[None] | None = None
        self._stage = _Stage.SEEDING if since >= 0 else _Stage.SWEEPING
        self._since = self._upto = since
        self._round: CopyReply | None = None  # the first piece of the round in hand
        self._sealed: CopyReply | None = None  # of the sealed round, which is here
        self._cursor = b""
        self._asked = False
        self._generation = 0  # of the copy: what is answered to one before counts for nothing
        self._unheard_ms: int | None = None  # since when the source has not answered
        self._due_ms = 0
        self._report_ms = 0
        self._began_ms = 0
        self._floor: Revision = 0  # of the compaction, as known when the round in hand began
        self._tries = 0  # beginnings since the copy was last verified
        self._report = Report(
            migration.id,
            here.owned.shard,
            here.owned.incarnation,
            upto=max(since, 0),
            verified=since >= 0,
            freeze=migration.freeze,
        )

    # -- what is heard -------------------------------------------------------------------------

    def follow(self, migration: Migration) -> None:
        """A newer state of it."""
        known = (self.migration.phase, self.migration.freeze)
        if known != (migration.phase, migration.freeze):
            self._due_ms = 0
            self._sealed = None
            self._note(ends=(), freeze=migration.freeze)
        if self.migration.rate != migration.rate:
            self._due_ms = 0  # by the old rate it may lie hours ahead
        self.migration = migration

    def stop(self) -> None:
        """The migration goes on without this copy, or has ended: what is answered late would land
        in rows that are swept, or served."""
        self._generation += 1

    @property
    def final(self) -> bool:
        """Whether it may be committed at any moment: nothing about its leases may change."""
        return bool(self._report.ends)

    def left(self, lease: LeaseId) -> None:
        """The lease's home has ended it here."""
        self._joins.forget(lease)

    # -- the loop ------------------------------------------------------------------------------

    def turn(self, now_ms: int) -> bool:
        """The next step, if it is due. Answers: can more be done now?"""
        try:
            return self._step(now_ms)
        except EngineError as error:
            self._failed(error)
            return False

    def _failed(self, error: EngineError) -> None:
        self._here.mend(error)
        self.begin_anew(str(error))

    def _step(self, now_ms: int) -> bool:
        away = self._unheard_ms is not None and now_ms - self._unheard_ms >= COPY_AWAY_MS
        if away != self._report.away:
            self._note(away=away)
        if now_ms >= self._report_ms:
            self._report_ms = now_ms + COPY_REPORT_MS
            self._here.tell(self._report)
        if self._sealed is not None:
            self._finish(self._sealed)
            return False
        if self._asked or now_ms < self._due_ms or self.final:
            return False
        match self._stage:
            case _Stage.SEEDING | _Stage.SWEEPING:
                return self._prepare()
            case _Stage.CHECKING:
                return self._check(now_ms)
            case _:
                self._joins.turn(self._landing.leases)
                self._ask(now_ms)
                return True

    def next_deadline_ms(self) -> int:
        if self._asked or self.final or self._sealed is not None:
            return self._report_ms  # who gives the slot back, or answers a join, wakes the loop
        return min(self._due_ms, self._report_ms)

    def _note(self, **what: object) -> None:
        self._report = self._report._replace(**what)  # type: ignore[arg-type]
        self._report_ms = 0

    def begin_anew(self, why: str) -> None:
        """What is here cannot be relied on."""
        _LOG.warning("a copy begins anew", extra={"migration": self.migration.id, "reason": why})
        self._generation += 1
        self._asked = False
        self._stage, self._slices, self._checks = _Stage.SWEEPING, None, None
        self._landing = Landing(self._here.engine, self.migration)
        self._since = self._upto = -1
        self._round, self._sealed, self._cursor = None, None, b""
        self._due_ms = self._here.clock.now_ms() + COPY_RETRY_MS
        self._unheard_ms = None
        self._tries += 1
        failed = why if self._tries >= COPY_TRIES_MAX else ""
        self._note(rows=0, bytes=0, upto=0, verified=False, ends=(), failed=failed)

    # -- before the first round ----------------------------------------------------------------

    def _prepare(self) -> bool:
        """A slice of what comes before the first round."""
        seeding = self._stage is _Stage.SEEDING
        if self._slices is None:
            engine, migration = self._here.engine, self.migration
            if seeding:
                self._slices = seeded(engine, migration, self._landing)
            else:
                self._slices = swept(engine, self._here.owned, migration)
        if next(self._slices, self) is self:
            self._slices = None
            self._stage = _Stage.FOLLOWING if seeding else _Stage.COPYING
        return True

    # -- rounds --------------------------------------------------------------------------------

    def _ask(self, now_ms: int) -> None:
        port = self._here.port(_source_of(self.migration))
        if port is None:
            self._take(errors.NO_LEADER, now_ms)
            return
        self._unheard_ms = now_ms if self._unheard_ms is None else self._unheard_ms
        if self._round is None:
            self._began_ms = now_ms
            self._floor = self._here.owned.floor()
        call = CopyCall(
            self.migration.id,
            self.migration.sources,
            self._since,
            0 if self._round is None else self._round.upto,
            self._cursor,
            COPY_PIECE_BYTES_MAX,
            self._brings,
        )
        self._asked = True
        generation = self._generation
        port.copy(call, lambda reply: self._answered(generation, reply))

    def _answered(self, generation: int, reply: CopyReply | RequestRefused) -> None:
        if generation != self._generation:
            return
        self._asked = False
        try:
            self._take(reply, self._here.clock.now_ms())
        except EngineError as error:
            self._failed(error)

    def _take(self, reply: CopyReply | RequestRefused, now_ms: int) -> None:
        if isinstance(reply, RequestRefused):
            self._due_ms = now_ms + COPY_RETRY_MS
            if reply is errors.OWNER_AWAY or reply is errors.NO_LEADER:
                self._unheard_ms = now_ms - COPY_AWAY_MS  # known at once: there is no link to it
            if reply is errors.OTHER_MAP:
                self._round, self._cursor = None, b""
            return
        self._unheard_ms = None
        batch = self._landing.batch(reply)
        if len(batch):
            self._here.engine.write(batch, sync=False)
        copied = [put for put in reply.puts if put[0][:1] != b"k"]
        size = sum(len(key) + len(value) for key, value in copied)
        self._report = self._report._replace(
            rows=self._report.rows + len(copied),
            bytes=self._report.bytes + size,
        )
        if self.migration.rate and self.migration.phase is not Phase.FROZEN:
            self._due_ms = now_ms + size * 1_000 // self.migration.rate
        if self._round is None:
            self._round = reply
        self._cursor = reply.cursor
        if not reply.cursor:
            self._rounded(self._round, now_ms)

    def _rounded(self, first: CopyReply, now_ms: int) -> None:
        """A round is whole."""
        self._round, self._cursor = None, b""
        lag = max(0, first.upto - self._since) if self._since >= 0 else first.upto
        # What was overwritten while everything was read is here as it was, and behind it once more;
        # the next round puts it right.
        settled = self._since >= 0
        self._since = self._upto = first.upto
        self._report = self._report._replace(
            upto=first.upto, lag=lag, took_ms=now_ms - self._began_ms
        )
        frozen = self.migration.freeze if self.migration.phase is Phase.FROZEN else 0
        if frozen and first.sealed == frozen and self._report.verified:
            self._sealed = first
            self._finish(first)
            return
        if self._stage is _Stage.COPYING and not settled:
            return
        if self._stage is _Stage.COPYING:
            # An idle tablet may lie below the floor, where no sum can be asked for. What the source
            # writes behind this round lies above any floor from before it.
            upto = max(first.upto, self._floor)
            self._checks = Checks(self._here.engine, self.migration, upto)
            compares = bool(self._brings & Brings.KEYS)
            self._stage = _Stage.CHECKING if compares else _Stage.FOLLOWING
            if not compares:
                self._verified()
        elif self.migration.phase is not Phase.FROZEN:
            self._due_ms = max(self._due_ms, now_ms + COPY_FOLLOW_MS)

    def _verified(self) -> None:
        self._tries = 0
        self._note(verified=True, failed="")

    def _finish(self, first: CopyReply) -> None:
        """Everything up to H is here: make it durable, with what a start needs to serve it. Not yet
        while a batch or a share has the slot, or a lease is not joined: looked at in each turn."""
        here, leases = self._here, self._landing.leases
        # What is queued here takes a visit away behind the last piece, whose keys it does not see.
        steady = here.slot.quiet and leases.isdisjoint(here.leaving)
        if not steady or not self._joins.complete(leases, here.engine, self._landing.is_copied):
            return
        cell = cell_of(self.migration, here.owned.shares_rows)
        batch, cell = final_batch(here.owned, self.migration, cell, first, self._joins, leases)
        here.engine.write(batch, sync=True)
        here.owned.foreign.add(cell)
        self._sealed = None
        self._note(ends=first.ends)

    # -- sums ----------------------------------------------------------------------------------

    def _check(self, now_ms: int) -> bool:
        checks = self._checks
        assert checks is not None, "made with the first round"
        port = self._here.port(_source_of(self.migration))
        if port is None:
            self._due_ms = now_ms + COPY_RETRY_MS
            return False
        call = checks.next(self._here.owned.floor())
        if call is None:
            self._stage, self._checks = _Stage.FOLLOWING, None
            self._verified()
            return True
        self._asked = True
        generation = self._generation
        port.digest(call, lambda found: self._checked(generation, checks, call, found))
        return True

    def _checked(
        self, generation: int, checks: Checks, call: DigestCall, found: Digest | RequestRefused
    ) -> None:
        if generation != self._generation:
            return
        self._asked = False
        if isinstance(found, RequestRefused):
            self._due_ms = self._here.clock.now_ms() + COPY_RETRY_MS
            if found is errors.COMPACTED and not checks.raise_floor():
                self._stage, self._checks = _Stage.COPYING, None  # a round, and sums at its end
            return
        try:
            if not checks.equal(call, found):
                self.begin_anew("the copy differs from its source")
        except EngineError as error:
            self._failed(error)


def _source_of(migration: Migration) -> str:
    """Whom to ask. What is followed while DRAINING is a move: its tablets keep their ids."""
    return migration.target if migration.phase is Phase.DRAINING else migration.source
