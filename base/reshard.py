"""Resharding as values: one migration, its phases, and what two shards say while rows are copied.

What it is: the record of a migration as the coordinators keep it, the questions of a copy, the
reports about it, and what operators ask. What it is not: the phase table (coordinator/phases.py),
the copy (shard/reshard) or the making of a plan (router/planner.py).

Words: a *migration* replaces its source tablets, all of one shard, by its target tablets, all of
one shard (the same one for a split or a merge). A *round* of a copy brings what was written after
the round before; the first brings everything. *Sealed*: the source accepts no write of the tablets
and has none in hand. H: a tablet's last revision at that time; a target tablet begins behind it.

Invariants:
- a move keeps the tablet's id, name and range; a split or a merge makes new ids, and no id is ever
  used twice;
- `ends` are there from COMMITTED on: H of each source tablet;
- before COMMITTED a migration can end as if it had never been; behind it goes forward alone, and
  its reversal is the same protocol with source and target exchanged.

Worked example: `Migration("m1", Kind.MOVE, "shard-0", "shard-1", (7,), (pods on shard-1,))` begins
as PLANNED, copies while PREPARING, waits in READY, is FROZEN for some milliseconds, COMMITTED by a
new map, DRAINING while the old owner follows the new one, and DONE.

Tested in tests/unit/base/test_reshard.py.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import IntEnum, IntFlag
from typing import NamedTuple, TypeAlias

from .revision import Revision, TabletId
from .tabletmap import Tablet


class Kind(IntEnum):
    """What becomes of the sources."""

    MOVE = 1
    SPLIT = 2
    MERGE = 3


class Phase(IntEnum):
    """Where a migration stands; what follows what is coordinator/phases.py's."""

    PLANNED = 1  # recorded; it waits for its turn
    PREPARING = 2  # rows are being copied
    READY = 3  # the copy is close behind and was verified
    FROZEN = 4  # the source refuses writes of the tablets; there is a deadline
    COMMITTED = 5  # a new map names the targets; no way back but the reversal
    DRAINING = 6  # the targets are served; the old owner follows them
    DONE = 7
    ABORTED = 8


ENDED = frozenset((Phase.DONE, Phase.ABORTED))
UNDECIDED = frozenset((Phase.PLANNED, Phase.PREPARING, Phase.READY, Phase.FROZEN))


class Brings(IntFlag):
    """What the pieces of a copy bring. KEYS: versions of keys, whose attachments to leases follow
    from them; LOG: log rows; LEASES: attachments alone, where two shards share the rows."""

    KEYS = 1
    LOG = 2
    LEASES = 4


class Migration(NamedTuple):
    """One migration. `rate`: bytes a second of its copy, 0: as fast as it goes; `manual`: READY and
    DRAINING are left by an operator's word alone; `after`: the migration that must be DONE before
    this one begins; `version`: of the map that committed it last; `why`: of its last way back, or
    of its end as ABORTED; `tries`: how often the switch came to its deadline; `pause_ms`: how long
    the switch may take, 0: the usual; `freeze`: how often it was FROZEN, which names the present
    one; `back`: an operator has reversed it."""

    id: str
    kind: Kind
    source: str
    target: str
    sources: tuple[TabletId, ...]
    targets: tuple[Tablet, ...]
    phase: Phase = Phase.PLANNED
    manual: bool = False
    rate: int = 0
    after: str = ""
    keep_source: bool = False
    version: int = 0
    ends: tuple[tuple[TabletId, Revision], ...] = ()
    why: str = ""
    tries: int = 0
    pause_ms: int = 0
    freeze: int = 0
    back: bool = False

    @property
    def copies(self) -> bool:
        """Whether rows go from one shard to another; otherwise only the log is written anew."""
        return self.source != self.target

    def brings(self, shared: bool) -> Brings:
        """What its copy consists of. `shared`: both shards read and write the same rows: then what
        keeps its tablet's id stays where it is, and the target has to learn of leases alone."""
        if not self.copies:
            return Brings.LOG
        if not shared:
            return Brings.KEYS | Brings.LOG
        return Brings.LEASES if self.kind is Kind.MOVE else Brings.LEASES | Brings.LOG

    @property
    def active(self) -> bool:
        """Whether it has begun and has not ended."""
        return self.phase not in ENDED and self.phase is not Phase.PLANNED


class CopyCall(NamedTuple):
    """A target asks the source for the next piece of a round.

    since: what was written after it; -1: everything. upto: of the round; 0 begins one, and the
    answer tells it. cursor: where the piece before ended; empty: the round's first."""

    migration: str
    tablets: tuple[TabletId, ...]
    since: Revision
    upto: Revision
    cursor: bytes
    bytes_max: int
    brings: Brings


class CopyReply(NamedTuple):
    """Stored rows to put, and stored keys to delete, in this order. cursor: empty ends the round.

    sealed: the freeze in which, when the round began, nothing of the tablets could be written any
    more, 0: it could; ends: closed[t] of each tablet then. leases: rows of the leases that live in
    the tablets, in the first piece of a sealed round. They change without a revision, so what one
    freeze has sealed says nothing of the next."""

    puts: Sequence[tuple[bytes, bytes]]
    deletes: Sequence[bytes]
    cursor: bytes
    upto: Revision
    sealed: int
    ends: tuple[tuple[TabletId, Revision], ...]
    leases: Sequence[tuple[bytes, bytes]] = ()


class DigestCall(NamedTuple):
    """A sum over all versions of the tablets' keys in [start, end) that reads in [floor, revision]
    can see; an empty end is the end of the keyspace."""

    migration: str
    tablets: tuple[TabletId, ...]
    start: bytes
    end: bytes
    floor: Revision
    revision: Revision


class Digest(NamedTuple):
    """How many versions, and their order-independent sum modulo 2**64."""

    versions: int
    total: int


class Report(NamedTuple):
    """What the shard that copies says of a migration. `process`: its incarnation, so that a report
    of the process before counts for nothing.

    rows, bytes: copied so far; upto: the revision up to which all is there; lag: how many revisions
    the source's newest is ahead of it; took_ms: of the last round; verified: sums were equal, at
    `upto` or before; ends: H of each source tablet, durable here, if the source was sealed (empty
    otherwise); served: the targets are served, or, of an old owner, cleaned; failed: why it cannot
    go on, empty if it can; freeze: the migration's, as the shard knew it: what was served before a
    reversal is not what is served behind it; away: the source does not answer."""

    id: str
    shard: str
    process: int
    rows: int = 0
    bytes: int = 0
    upto: Revision = 0
    lag: int = 0
    took_ms: int = 0
    verified: bool = False
    ends: tuple[tuple[TabletId, Revision], ...] = ()
    served: bool = False
    failed: str = ""
    freeze: int = 0
    away: bool = False


class Action(IntEnum):
    """What an operator can ask of a migration."""

    SWITCH = 1  # READY, manual: freeze and commit
    CANCEL = 2  # before COMMITTED: as if it had never been
    REVERSE = 3  # a manual move in DRAINING: back, and to its end by itself
    COMPLETE = 4  # manual, in DRAINING: there is no way back any more
    RATE = 5


class Control(NamedTuple):
    """An operator's word. rate: of RATE, bytes a second; pause_ms, lag_ms: of SWITCH, how long the
    switch may take, and the last round have taken (0: the usual); keep_source: of COMPLETE."""

    id: str
    action: Action
    rate: int = 0
    pause_ms: int = 0
    lag_ms: int = 0
    keep_source: bool = False


class Removal(NamedTuple):
    """A shard that owns nothing and holds nothing is forgotten: its process ends, and its name is
    free for an empty store."""

    shard: str


class HandOver(NamedTuple):
    """Another host has to serve a shard from now on."""

    shard: str
    host: str


class Planned(NamedTuple):
    """A plan made on a map: taken as a whole while the map has that version. New tablets (of a
    split or a merge) have the id 0 and get theirs when it is taken; all have the shard of the
    migration's target."""

    migrations: tuple[Migration, ...]
    map_version: int


Order: TypeAlias = Planned | Control | Removal | HandOver


class Progress(NamedTuple):
    """A migration as operators see it. reports: the newest of each of its shards; phase_ms: since
    when it is in its phase, as far as the serving coordinator was there; switch_ms: how long its
    last switch kept writes waiting, 0 if that is not known."""

    migration: Migration
    reports: tuple[Report, ...] = ()
    phase_ms: int = 0
    switch_ms: int = 0
