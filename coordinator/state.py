"""The coordinator's replicated state: slow, small, and a value.

What it is: the tablet map, the sequencer's lease and window, the shards, the compaction floor and
the alarms, with a versioned byte form. What it is not: how it changes (`transition.py`) or where
it is kept (one cell of an engine, or the replicated log).

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

from kubebraid.base.keyspace import KeyRange
from kubebraid.base.ports import Alarm, ShardPlace
from kubebraid.base.revision import FIRST_REVISION, Epoch, Revision
from kubebraid.base.tabletmap import Tablet, TabletMap

FORMAT: Final = 2
READABLE: Final = (1, FORMAT)  # 1: before there were leases, shards and buckets
Stored: TypeAlias = dict[str, Any]  # type: ignore[explicit-any]  # JSON has any shape
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

    def __post_init__(self) -> None:
        assert self.cepoch >= 0
        assert self.compact_revision >= NEVER_COMPACTED
        assert self.lease.window >= FIRST_REVISION
        names = [shard.name for shard in self.shards]
        assert names == sorted(set(names)), "shards are sorted, each once"

    def shard(self, name: str) -> ShardPlace | None:
        """The record of a shard that has been started once."""
        return next((shard for shard in self.shards if shard.name == name), None)


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
            **map_fields(state.tablets),
        },
        separators=(",", ":"),
    ).encode()
    return b"%08x" % zlib.crc32(body) + body


def map_fields(tablets: TabletMap) -> Stored:
    """A map as JSON can hold it."""
    return {
        "map_version": tablets.version,
        "tablets": [
            [
                *(t.id, t.name, t.span.start.hex(), _hex(t.span.end), t.shard, t.oepoch),
                *(t.bucket, t.buckets, t.begin),
            ]
            for t in tablets.tablets
        ],
    }


def map_of(body: Stored) -> TabletMap:
    """The inverse of `map_fields`; rows of format 1 end with the owner epoch."""
    tablets = tuple(
        Tablet(number, name, KeyRange(bytes.fromhex(start), _unhex(end)), shard, oepoch, *later)
        for number, name, start, end, shard, oepoch, *later in body["tablets"]
    )
    return TabletMap(body["map_version"], tablets)


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
        shards=tuple(ShardPlace(*shard) for shard in body.get("shards", ())),
    )


def _hex(end: bytes | None) -> str | None:
    return None if end is None else end.hex()


def _unhex(end: str | None) -> bytes | None:
    return None if end is None else bytes.fromhex(end)
