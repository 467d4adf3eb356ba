"""The source of copies: a shard whose tablets another one, or it itself, copies.

What it is: the answers to CopyCall and DigestCall, and when the tablets count as sealed. What it is
not: the reading of rows (`pieces.py`), or who asks (`copier.py`).

Invariants:
- a round begins when no batch is in flight and no transaction over shards has the slot: every row
  in the store belongs to a commit that is settled, and `upto` is at least its revision;
- *sealed* is answered only when, at that moment, the tablets are sealed: what was admitted has been
  answered, and nothing is admitted any more until a newer state of the coordinators says so; it
  names the freeze, for leases are granted without a revision once that is over;
- inv18: what is sealed is closed at all that was handed out: the reign has accepted our epochs;
- inv20: the tablets' history is not compacted while this shard knows of their migration;
- the cell of the migration is durable before the first piece leaves.

Worked example: FROZEN is heard while a batch is in flight: its writes of other tablets and of these
are answered, queued ones of these are refused, and the round that waited is told sealed.

Tested in tests/unit/shard/test_reshard_source.py.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Protocol, TypeAlias

from kubebraid.base import errors
from kubebraid.base.errors import RequestRefused
from kubebraid.base.keyspace import KeyRange
from kubebraid.base.leasehome import home
from kubebraid.base.limits import COPY_PIECE_BYTES_MAX, COPY_WAITING_MAX
from kubebraid.base.reshard import Brings, CopyCall, CopyReply, Digest, DigestCall
from kubebraid.base.tabletmap import Tablet

from .. import keycodec
from ..cells import Cell, area, pack
from ..checksum import digest_versions
from ..ownership import Ownership
from ..seal import pack_lease
from ..settle import refusal
from ..storage.engine import Batch, Engine, EngineError
from .pieces import keeps, piece

CopyDone: TypeAlias = Callable[[CopyReply | RequestRefused], None]
DigestDone: TypeAlias = Callable[[Digest | RequestRefused], None]


class Slot(Protocol):
    """The batch slot of the shard."""

    @property
    def quiet(self) -> bool:
        """Nobody has it, and nothing in the store waits for a decision."""


class Source:
    """Of one shard; `turn` begins the rounds that wait for the slot."""

    def __init__(
        self, engine: Engine, owned: Ownership, slot: Slot, mend: Callable[[EngineError], None]
    ) -> None:
        """`mend`: the store is opened again after a write that failed."""
        self._engine = engine
        self._owned = owned
        self._slot = slot
        self._mend = mend
        self._waiting: list[tuple[CopyCall, CopyDone]] = []
        # Migrations that this shard has heard of, with the freeze that each is in (0: in none).
        self.active: Mapping[str, int] = {}

    def copy(self, call: CopyCall, done: CopyDone) -> None:
        """See PeerPort."""
        known = call.migration in self.active and bool(call.tablets)
        if not known or not set(call.tablets) <= self._owned.oepochs.keys():
            done(errors.OTHER_MAP)
        elif call.upto:
            self._answer(call, done, 0)
        elif len(self._waiting) >= COPY_WAITING_MAX:
            done(errors.TOO_MANY_REQUESTS)
        else:
            self._waiting.append((call, done))

    def digest(self, call: DigestCall, done: DigestDone) -> None:
        """See PeerPort."""
        tablets = self._tablets(call.tablets)
        span = KeyRange(call.start, call.end or None)
        if tablets is None:
            done(errors.OTHER_MAP)
        elif call.floor < self._owned.floor():
            done(errors.COMPACTED)
        else:
            try:
                done(digest(self._engine, tablets, span, call))
            except EngineError as error:
                done(refusal(error))

    def turn(self) -> None:
        """Before the writer's, which takes the slot again."""
        if not self._waiting or not self._slot.quiet or self._owned.stopped:
            return
        waiting, self._waiting = self._waiting, []
        for call, done in waiting:
            if not set(call.tablets) <= self._owned.oepochs.keys():
                done(errors.OTHER_MAP)
                continue
            upto = max(self._owned.closed[tablet] for tablet in call.tablets)
            self._answer(call._replace(upto=upto), done, self._sealed(call))

    def _sealed(self, call: CopyCall) -> int:
        owned = self._owned
        whole = set(call.tablets) <= owned.sealed and owned.proved == owned.cepoch
        return self.active.get(call.migration, 0) if whole else 0

    def _answer(self, call: CopyCall, done: CopyDone, sealed: int) -> None:
        tablets = self._tablets(call.tablets)
        assert tablets is not None, "asked before"
        call = call._replace(bytes_max=min(call.bytes_max, COPY_PIECE_BYTES_MAX))
        try:
            self._claim(call, tablets)
            puts, deletes, cursor = piece(self._engine, tablets, call)
        except EngineError as error:
            done(refusal(error))
            return
        except ValueError:
            done(errors.OTHER_MAP)  # a cursor of another round: the copy begins anew
            return
        ends = tuple((tablet.id, self._owned.closed[tablet.id]) for tablet in tablets)
        goes = call.brings & (Brings.KEYS | Brings.LEASES)
        leases = self._leases(tablets) if sealed and goes else ()
        done(CopyReply(puts, deletes, cursor, call.upto, sealed, ends, leases))

    def _claim(self, call: CopyCall, tablets: list[Tablet]) -> None:
        """What stays behind is noted while it is still ours. Of shared rows that is the log of
        tablets that end: a moved one's is the next owner's, and so are all keys."""
        left = call.brings & Brings.LOG and call.brings != Brings.LOG
        if not left or call.migration in self._owned.foreign.cells:
            return
        areas = tuple(map(area, tablets)) if call.brings & Brings.KEYS else ()
        cell = Cell(call.migration, call.tablets, areas)
        try:
            self._engine.write(Batch().put(cell.key, pack(cell)), sync=True)
        except EngineError as error:
            self._mend(error)
            if self._engine.get(cell.key) is None:
                raise
        self._owned.foreign.add(cell)

    def _leases(self, tablets: list[Tablet]) -> tuple[tuple[bytes, bytes], ...]:
        """The rows of the leases that live in these tablets."""
        ids = {tablet.id for tablet in tablets}
        table = self._owned.leases
        return tuple(
            (keycodec.lease(lease), pack_lease(table.row(lease)))
            for lease in table.ids()
            if home(self._owned.tablets, lease).id in ids
        )

    def _tablets(self, ids: tuple[int, ...]) -> list[Tablet] | None:
        known = {t.id: t for t in self._owned.tablets.tablets if t.id in self._owned.oepochs}
        return [known[tablet] for tablet in ids] if set(ids) <= known.keys() else None


def digest(engine: Engine, tablets: list[Tablet], span: KeyRange, call: DigestCall) -> Digest:
    """The sum over the tablets' keys in `span`. Raises EngineError."""
    count = total = 0
    for tablet in tablets:
        within = tablet.span.intersect(span)
        if within is not None:
            found = digest_versions(engine, within, keeps(tablet), call.floor, call.revision)
            count += found.versions
            total = (total + found.total) & 0xFFFFFFFFFFFFFFFF
    return Digest(count, total)
