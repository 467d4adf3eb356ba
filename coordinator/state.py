"""The coordinator's replicated state: slow, small, and a value.

What it is: the tablet map, the compaction floor, the alarms and the reign number, with a versioned
byte form. What it is not: how it changes (`transition.py`) or where it is kept (`store.py`).

Invariants: version 1 of the byte form decodes to what was encoded; an unknown version is refused
with a message, never guessed at.

Tested in tests/unit/coordinator/test_state.py.
"""

from __future__ import annotations

import json
import zlib
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

from kubebraid.base.keyspace import KeyRange
from kubebraid.base.ports import Alarm
from kubebraid.base.revision import Epoch, Revision
from kubebraid.base.tabletmap import Tablet, TabletMap

FORMAT: Final = 1
Stored: TypeAlias = dict[str, Any]  # type: ignore[explicit-any]  # JSON has any shape
NEVER_COMPACTED: Final[Revision] = -1  # etcd: even Compact(0) is taken once


class StateUnreadable(Exception):
    """The stored state is damaged, or of a version that this program does not know."""

    definite = True
    hint = "use the version of kubebraid that wrote it, or restore the data directory"


@dataclass(frozen=True, slots=True)
class State:
    """What must survive a restart."""

    cepoch: Epoch
    compact_revision: Revision
    tablets: TabletMap
    alarms: frozenset[Alarm] = frozenset()

    def __post_init__(self) -> None:
        assert self.cepoch >= 0
        assert self.compact_revision >= NEVER_COMPACTED


def encode(state: State) -> bytes:
    """The byte form: a CRC and JSON; keys of the map are hex because they are bytes."""
    body = json.dumps(
        {
            "format": FORMAT,
            "cepoch": state.cepoch,
            "compact_revision": state.compact_revision,
            "alarms": sorted(state.alarms),
            "map_version": state.tablets.version,
            "tablets": [
                [t.id, t.name, t.span.start.hex(), _hex(t.span.end), t.shard, t.oepoch]
                for t in state.tablets.tablets
            ],
        },
        separators=(",", ":"),
    ).encode()
    return b"%08x" % zlib.crc32(body) + body


def decode(raw: bytes) -> State:
    """The inverse of `encode`. Raises StateUnreadable."""
    if len(raw) < 8 or b"%08x" % zlib.crc32(raw[8:]) != raw[:8]:
        raise StateUnreadable("the coordinator's stored state is damaged (checksum)")
    try:
        body = json.loads(raw[8:])
        found = body["format"]
    except (ValueError, KeyError, TypeError) as error:
        raise StateUnreadable("the coordinator's stored state is no state") from error
    if found != FORMAT:
        raise StateUnreadable(f"the coordinator's state has the unknown format {found!r}")
    try:
        return _state(body)
    except (ValueError, KeyError, TypeError) as error:
        raise StateUnreadable(f"the coordinator's stored state is incomplete: {error}") from error


def _state(body: Stored) -> State:
    tablets = tuple(
        Tablet(number, name, KeyRange(bytes.fromhex(start), _unhex(end)), shard, oepoch)
        for number, name, start, end, shard, oepoch in body["tablets"]
    )
    return State(
        cepoch=body["cepoch"],
        compact_revision=body["compact_revision"],
        tablets=TabletMap(body["map_version"], tablets),
        alarms=frozenset(Alarm(member, kind) for member, kind in body.get("alarms", ())),
    )


def _hex(end: bytes | None) -> str | None:
    return None if end is None else end.hex()


def _unhex(end: str | None) -> bytes | None:
    return None if end is None else bytes.fromhex(end)
