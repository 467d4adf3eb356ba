"""Another map, for a shard that serves: tablets that come are taken, those that go are forgotten.

What it is: the order of the steps, each of which is some part's. What it is not: the parts, or the
start of a process (`role.py`).

Invariants:
- M6: a tablet that comes is served only behind the synced batch with its fence under this map's
  owner epoch, at H;
- whoever waits for what is ours no more is refused as definite, in the same step;
- a shard that owns nothing knows no lease: of one that it only visited it has no key any more;
- routers are told anew where each of our tablets stands.

Worked example: map 8 gives `pods` to shard-1: its fence and the leases that came with it are
written, its keys are counted, and the publication behind says closed = H.

Tested in tests/property/test_reshard_copy.py, tests/unit/shard/test_maps.py.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from kubebraid.base.ports import ClusterView, Publication
from kubebraid.base.reshard import Migration
from kubebraid.base.revision import LeaseId, TabletId
from kubebraid.base.seams import Clock
from kubebraid.base.tabletmap import TabletMap

from . import keycodec
from .across import Participant
from .compaction import Compactor
from .counts import KeyCounts
from .fencing import Fence
from .guests import Guests
from .lease import LeaseRow
from .ownership import Ownership
from .reshard.arrival import committed, fences_of, leases_of
from .reshard.moves import Moves
from .storage.engine import Batch, Engine
from .storage.wipe import wiped
from .writer import Writer

LEASES_WIPED: Final = 4_096  # in one batch


@dataclass(frozen=True, slots=True)
class Parts:
    """Those of a shard that a map concerns. `fresh`: where each of its tablets stands."""

    engine: Engine
    owned: Ownership
    clock: Clock
    writer: Writer
    participant: Participant
    guests: Guests
    counts: KeyCounts
    compactor: Compactor
    fresh: Callable[[], Publication]

    def review(self) -> None:
        """Whoever waits for what is ours no more, or is sealed, plans anew."""
        self.writer.review()
        self.participant.locks.review()


def follow(parts: Parts, moves: Moves, view: ClusterView) -> None:
    """A newer state of the coordinators. Raises EngineError, FenceDamaged, KubeBraidError: then
    nothing more may be served."""
    parts.owned.members = frozenset(place.name for place in view.shards)
    if view.tablets.version > parts.owned.map_version:
        _take(parts, view.tablets, view.migrations)
    if not parts.owned.oepochs and len(parts.owned.leases):
        for _ in wiped(parts.engine, *keycodec.LEASES, LEASES_WIPED, sync=True):
            pass  # those that a crash leaves are read at the start, and go then
        for lease in parts.owned.leases.ids(visits=True):
            parts.owned.leases.remove(lease)
    moves.follow(view.migrations)


def _take(parts: Parts, tablets: TabletMap, migrations: Sequence[Migration]) -> None:
    owned = parts.owned
    come = [t for t in tablets.tablets if t.shard == owned.shard and t.id not in owned.oepochs]
    rows: dict[LeaseId, LeaseRow] = {}
    fences: dict[TabletId, Fence] = {}
    if come:
        parts.engine.catch_up()  # with what the one before wrote
        batch = Batch()
        fences = fences_of(parts.engine, come, batch)
        cells = committed(owned.foreign.cells.values(), migrations)
        rows, emptied = leases_of(cells, tablets, owned.shard, owned.leases.known, batch)
        parts.engine.write(batch, sync=True)
        owned.foreign.add(*emptied)
    if not owned.adopt_map(tablets, fences):
        return
    now_ms = parts.clock.now_ms()
    for lease, row in rows.items():
        owned.leases.rehome(lease, row, now_ms)
    owned.leases.visit_strangers(now_ms)
    parts.guests.rehomed()
    parts.counts.begin_anew()
    if owned.floor() > 0:
        parts.compactor.compact(owned.floor(), None)
    parts.review()
    publication = parts.fresh()
    for publish in parts.writer.subscribers:
        publish(publication)
