"""A plan in the making: which migrations it has, and the map that they would leave.

What it is: the checks that every plan passes, whatever it is for. What it is not: the choice of
tablets (`planner.py`, `splits.py`).

Invariants:
- its tablets are those that there would be if all of its migrations were done, so each is checked
  against those before it;
- no migration of it has a tablet of an unfinished one, or a shard that cannot be reached;
- what it brings to a shard fits the disk there, where sizes are known.

Worked example: `draft.move(pods, "shard-1")` answers the tablet as it is on shard-1, from where the
next migration of the plan goes on.

Tested in tests/unit/router/test_planner.py, tests/property/test_planner.py.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final, NamedTuple

from kubebraid.base.errors import Code
from kubebraid.base.limits import TABLETS_MAX
from kubebraid.base.ports import TabletLoad
from kubebraid.base.reshard import ENDED, UNDECIDED, Kind, Migration
from kubebraid.base.revision import TabletId
from kubebraid.base.tabletmap import Tablet, TabletMap
from kubebraid.proto.adminreshard import PlanRequest

from .naming import migration_id, refuse, stem

DISK_MARGIN: Final = 1.2  # of a copy's size: log rows, and what is written meanwhile


class Standing(NamedTuple):
    """A shard as this router sees it. free_bytes: of its device, -1 if not known."""

    up: bool
    free_bytes: int = -1


@dataclass(frozen=True, slots=True)
class Scene:
    """What a plan is made from. `migrations`: all that are recorded; `borders`: keys that cut the
    tablet of a split by parts; `rested`: tablets that a balance must leave alone for now."""

    tablets: TabletMap
    shards: Mapping[str, Standing]
    loads: Mapping[TabletId, TabletLoad] = field(default_factory=dict)
    migrations: tuple[Migration, ...] = ()
    borders: tuple[bytes, ...] = ()
    rested: frozenset[TabletId] = frozenset()


class Draft:
    """A plan in the making."""

    def __init__(self, request: PlanRequest, scene: Scene, draw: Callable[[], int]) -> None:
        self.request = request
        self.scene = scene
        self.tablets = list(scene.tablets.tablets)
        self.migrations: list[Migration] = []
        self.notes: list[str] = []
        self._draw = draw
        self._ids = {migration.id for migration in scene.migrations}
        self._busy = busy(scene.migrations)
        self._arriving: dict[str, int] = {}
        known = {t for m in scene.migrations for t in (*m.sources, *(t.id for t in m.targets))}
        self._placeholder = max({0} | known | {tablet.id for tablet in self.tablets})

    @property
    def taken(self) -> set[str]:
        """Names that no new tablet may have, for they are in use or promised."""
        promised = {
            tablet.name
            for migration in self.scene.migrations
            if migration.phase not in ENDED
            for tablet in migration.targets
        }
        return promised | {tablet.name for tablet in self.tablets}

    def placeholder(self) -> TabletId:
        """For a new tablet, until the plan is taken: an id that nobody has."""
        self._placeholder += 1
        return self._placeholder

    def size(self, tablet: Tablet) -> int | None:
        load = self.scene.loads.get(tablet.id)
        return None if load is None else load.bytes

    def move(self, tablet: Tablet, to: str, after: str = "") -> Tablet:
        """The tablet at its new place."""
        self.receiver(to)
        self._room(tablet, to)
        moved = replace(tablet, shard=to)
        self._add(Kind.MOVE, (tablet,), (moved,), tablet.name, after)
        return moved

    def exchange(
        self, kind: Kind, sources: Sequence[Tablet], targets: Sequence[Tablet], after: str = ""
    ) -> None:
        """A split or a merge."""
        if len(self.tablets) - len(sources) + len(targets) > TABLETS_MAX:
            raise refuse(f"a map has {TABLETS_MAX} tablets at most; merge some first")
        name = stem(sources[0].name) if kind is Kind.MERGE else sources[0].name
        self._add(kind, tuple(sources), tuple(targets), name, after)

    def _add(
        self,
        kind: Kind,
        sources: tuple[Tablet, ...],
        targets: tuple[Tablet, ...],
        name: str,
        after: str,
    ) -> None:
        self.sender(sources[0].shard)
        for tablet in sources:
            self._free(tablet)
        request = self.request
        migration = Migration(
            id=migration_id(kind.name.lower(), name, self._ids, self._draw),
            kind=kind,
            source=sources[0].shard,
            target=targets[0].shard,
            sources=tuple(tablet.id for tablet in sources),
            targets=targets,
            manual=request.manual,
            rate=request.rate,
            after=after,
            keep_source=request.keep_source,
        )
        assert {tablet.shard for tablet in sources} == {migration.source}, sources
        assert {tablet.shard for tablet in targets} == {migration.target}, targets
        self._ids.add(migration.id)
        self.migrations.append(migration)
        left = [tablet for tablet in self.tablets if tablet not in sources]
        self.tablets = sorted([*left, *targets], key=lambda tablet: tablet.place)

    def _free(self, tablet: Tablet) -> None:
        holder = self._busy.get(tablet.id)
        if holder is not None:
            way = f", or 'reshard cancel {holder.id}'" if holder.phase in UNDECIDED else ""
            phase = holder.phase.name.lower()
            raise refuse(
                f"tablet {tablet.name} is in migration {holder.id} ({phase}); wait for its end{way}"
            )

    def receiver(self, shard: str) -> None:
        """Refuse a shard that cannot take anything."""
        standing = self.scene.shards.get(shard)
        if standing is None:
            known = ", ".join(sorted(self.scene.shards))
            raise refuse(f"no shard is called {shard!r}; there are {known}", Code.NOT_FOUND)
        if not standing.up:
            raise refuse(f"shard {shard} cannot be reached; start it, or choose another")

    def sender(self, shard: str) -> None:
        """Refuse a shard that cannot give anything."""
        if not self.scene.shards[shard].up:
            raise refuse(f"shard {shard}, which owns the data, cannot be reached; start it again")

    def _room(self, tablet: Tablet, to: str) -> None:
        """A copy must fit beside what was planned before it."""
        size, free = self.size(tablet), self.scene.shards[to].free_bytes
        if size is None or free < 0:
            return
        wanted = self._arriving[to] = self._arriving.get(to, 0) + int(size * DISK_MARGIN)
        if wanted > free:
            raise refuse(
                f"{to} has {free >> 20} MiB of disk free, and the plan brings {wanted >> 20} MiB "
                "there; choose another shard, or make room"
            )


def busy(migrations: Iterable[Migration]) -> dict[TabletId, Migration]:
    """The tablets of migrations that have not ended."""
    return {
        tablet: migration
        for migration in migrations
        if migration.phase not in ENDED
        for tablet in (*migration.sources, *(t.id for t in migration.targets))
    }
