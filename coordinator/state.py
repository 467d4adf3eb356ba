"""The coordinator's replicated state: slow, small, and a value.

What it is: the tablet map, the sequencer's lease and window, the shards, the migrations, the
compaction floor and the alarms, with a versioned byte form. What it is not: how it changes
(`transition.py`) or where it is kept (one cell of an engine, or the replicated log).

Words: a *reign* is the time of one sequencer, numbered by cepoch; `window` is the highest revision
that the present reign may hand out; `renewals` counts the renewals of its lease.

Invariants: each version of the byte form decodes to what was encoded; an unknown version is refused
with a message, never guessed at.

Tested in tests/unit/coordinator/test_state.py.
"""

from __future__ import annotations

import json
import zlib
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple, TypeAlias

from kubebraid.base.ports import NEVER_ADOPTED, Adoption, Alarm, ShardPlace
from kubebraid.base.reshard import UNDECIDED, Migration
from kubebraid.base.revision import FIRST_REVISION, Epoch, Revision, TabletId
from kubebraid.base.tabletmap import TabletMap

from .rows import Stored, migration_of, migration_row, tablet_of, tablet_row

FORMAT: Final = 6
# 1: before there were leases, shards and buckets; 2: before adoptions and migrations; 3: before
# hosts; 4: before rows that shards share; 5: as 6, but no row of a shard tells of its own end
# (shard/keycodec.py), and a program that does not know of that would misread those that do.
READABLE: Final = (1, 2, 3, 4, 5, FORMAT)
Fields: TypeAlias = list[Any]  # type: ignore[explicit-any]  # JSON has any shape
NEVER_COMPACTED: Final[Revision] = -1  # etcd: even Compact(0) is taken once


class StateUnreadable(Exception):
    """The stored state is damaged, or of a version that this program does not know."""

    definite = True
    hint = "use the version of kubebraid that wrote it, or restore the data directory"


class Lease(NamedTuple):
    """Who may hand out revisions, and up to which. No holder: nobody may."""

    holder: str = ""
    window: Revision = FIRST_REVISION
    renewals: int = 0


@dataclass(frozen=True, slots=True)
class State:
    """What must survive a restart. `cluster` is empty until the cluster was founded."""

    cepoch: Epoch
    compact_revision: Revision
    tablets: TabletMap
    alarms: frozenset[Alarm] = frozenset()
    cluster: str = ""
    lease: Lease = field(default_factory=Lease)
    shards: tuple[ShardPlace, ...] = ()
    migrations: tuple[Migration, ...] = ()  # in the order in which they were planned
    given: TabletId = 0  # the highest id that a plan has given to a new tablet

    def __post_init__(self) -> None:
        assert self.cepoch >= 0
        assert self.compact_revision >= NEVER_COMPACTED
        assert self.lease.window >= FIRST_REVISION
        names = [shard.name for shard in self.shards]
        assert names == sorted(set(names)), "shards are sorted, each once"
        assert len({m.id for m in self.migrations}) == len(self.migrations), "ids are unique"

    @property
    def next_tablet(self) -> TabletId:
        """The id of the next new tablet; none at or above it was ever given, none is given twice:
        whatever has left the map had been in it, or was given by a plan."""
        return 1 + max(self.given, *(tablet.id for tablet in self.tablets.tablets))

    @property
    def coming(self) -> frozenset[TabletId]:
        """Tablets that a migration may still bring into the map."""
        undecided = (m for m in self.migrations if m.phase in UNDECIDED)
        return frozenset(tablet.id for m in undecided for tablet in m.targets)

    def migration(self, name: str) -> Migration | None:
        """The migration with this id."""
        return next((m for m in self.migrations if m.id == name), None)

    def shard(self, name: str) -> ShardPlace | None:
        """The record of a shard that has been started once."""
        return next((shard for shard in self.shards if shard.name == name), None)


def admits(known: ShardPlace | None, previous: Adoption) -> bool:
    """Whether a store that says `previous` holds all that its shard ever acknowledged, as far as
    the coordinators can tell. Incarnations that were never confirmed acknowledged nothing, so a
    store that any of them took will do."""
    if known is None:
        return previous == NEVER_ADOPTED
    newest = known.confirmed
    if previous.incarnation == newest.incarnation:
        return previous.marks >= newest.marks
    return previous.incarnation in known.tried


def alike(state: State, rows: str) -> bool:
    """Whether all shards that have been started keep their rows where one does that says `rows`:
    in the same row space, or each in its own. A tablet moves without a copy between two that say
    the same, so the first one decides for those that come later."""
    return all(shard.rows == rows for shard in state.shards)


def encode(state: State) -> bytes:
    """The byte form: a CRC and JSON; keys of the map are hex because they are bytes."""
    body = json.dumps(
        {
            "format": FORMAT,
            "cluster": state.cluster,
            "cepoch": state.cepoch,
            "lease": list(state.lease),
            "compact_revision": state.compact_revision,
            "alarms": sorted(state.alarms),
            "shards": [list(shard) for shard in state.shards],
            "migrations": [migration_row(migration) for migration in state.migrations],
            "given": state.given,
            **map_fields(state.tablets),
        },
        separators=(",", ":"),
    ).encode()
    return b"%08x" % zlib.crc32(body) + body


def map_fields(tablets: TabletMap) -> Stored:
    """A map as JSON can hold it."""
    return {
        "map_version": tablets.version,
        "tablets": [tablet_row(tablet) for tablet in tablets.tablets],
    }


def map_of(body: Stored) -> TabletMap:
    """The inverse of `map_fields`."""
    return TabletMap(body["map_version"], tuple(tablet_of(row) for row in body["tablets"]))


def decode(raw: bytes) -> State:
    """The inverse of `encode`. Raises StateUnreadable."""
    if len(raw) < 8 or b"%08x" % zlib.crc32(raw[8:]) != raw[:8]:
        raise StateUnreadable("the coordinator's stored state is damaged (checksum)")
    try:
        body = json.loads(raw[8:])
        found = body["format"]
    except (ValueError, KeyError, TypeError) as error:
        raise StateUnreadable("the coordinator's stored state is no state") from error
    if found not in READABLE:
        raise StateUnreadable(f"the coordinator's state has the unknown format {found!r}")
    try:
        return _state(body)
    except (ValueError, KeyError, TypeError, AttributeError, AssertionError) as error:
        raise StateUnreadable(f"the coordinator's stored state is incomplete: {error}") from error


def _state(body: Stored) -> State:
    return State(
        cepoch=body["cepoch"],
        compact_revision=body["compact_revision"],
        tablets=map_of(body),
        alarms=frozenset(Alarm(member, kind) for member, kind in body.get("alarms", ())),
        cluster=body.get("cluster", ""),
        lease=Lease(*body.get("lease", ())),
        shards=tuple(_place(shard) for shard in body.get("shards", ())),
        migrations=tuple(migration_of(row) for row in body.get("migrations", ())),
        given=body.get("given", 0),
    )


def _place(fields: Fields) -> ShardPlace:
    """Rows of format 2 end with `since`, those of 3 with `tried`, those of 4 with `host`."""
    confirmed, tried = fields[5:7] or (NEVER_ADOPTED, ())
    name, store, incarnation, address, since = fields[:5]
    durable = Adoption(*confirmed)
    who = (name, store, incarnation, address, since)
    return ShardPlace(*who, durable, tuple(tried), *fields[7:])
