"""Which tablet is split without a word of an operator: bounds, figures and migrations in; one out.

What it is: the choice, and when to leave everything alone. What it is not: the plan, or who asks
for it (`splitter.py`); where a tablet is cut (its owner's sampled keys).

Words: a *look* is one call of `look`. A tablet is *due* when it was above a bound in LOOKS looks in
a row. It is split by size, or by write rate if it is further above that bound.

Invariants:
- at most one tablet a look, and none while any migration is unfinished, while a split ended less
  than the cooldown ago, or this one asked less than that ago, or at the limit of tablets;
- the one that is furthest above its bound, but behind all that were not refused: a tablet of one
  hot key cannot be cut, and keeps no other one waiting for ever;
- hash buckets are never chosen: they cannot be cut by key.

Worked example: a bound of 1 GiB; pods of 3 GiB and events of 2 GiB: after three looks pods is
wanted, by size, and events a cooldown after that split has ended.

Tested in tests/unit/router/test_autosplit.py.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Final, NamedTuple

from kubebraid.base.ports import TabletLoad
from kubebraid.base.reshard import ENDED, Kind, Progress
from kubebraid.base.revision import TabletId
from kubebraid.base.tabletmap import Tablet, TabletMap

LOOKS: Final = 3  # a burst is over by then


class Bounds(NamedTuple):
    """bytes: stored, of a tablet; writes: a second; 0: no bound. tablets_max: of the map."""

    bytes: int = 0
    writes: int = 0
    tablets_max: int = 256
    cooldown_ms: int = 300_000

    @property
    def on(self) -> bool:
        """Whether anything is ever split."""
        return bool(self.bytes or self.writes)


OFF: Final = Bounds()


class Want(NamedTuple):
    """A tablet to split in two, and why: what it has, and what it may have."""

    tablet: Tablet
    by_load: bool
    value: float
    bound: int

    @property
    def excess(self) -> float:
        """How many times the bound it has."""
        return self.value / self.bound


class Seen(NamedTuple):
    """What a look found. held: why a tablet that is due has to wait; empty if none has to."""

    want: Want | None = None
    held: str = ""


class AutoSplit:
    """The looks of one router."""

    def __init__(self, bounds: Bounds) -> None:
        self._bounds = bounds
        self._above: dict[TabletId, int] = {}  # for how many looks, of those that are
        self._refused: dict[TabletId, int] = {}  # when it was last, in ms
        self._rest_until_ms = 0

    def look(
        self,
        tablets: TabletMap,
        loads: Mapping[TabletId, TabletLoad],
        migrations: Iterable[Progress],
        now_ms: int,
    ) -> Seen:
        """`loads`: of shards that are up; a tablet without figures is above no bound."""
        above = {want.tablet.id: want for want in self._wants(tablets, loads)}
        self._above = {tablet: self._above.get(tablet, 0) + 1 for tablet in above}
        known = tablets.by_id().keys()
        self._refused = {tablet: at for tablet, at in self._refused.items() if tablet in known}
        due = [want for tablet, want in above.items() if self._above[tablet] >= LOOKS]
        if not due:
            return Seen()
        held = self._held(len(tablets.tablets), migrations, now_ms)
        return Seen(None, held) if held else Seen(min(due, key=self._turn_of))

    def asked(self, want: Want, now_ms: int, jitter_ms: int, refused: bool) -> None:
        """It was asked for, and this is how it ended: rest for the cooldown and the jitter."""
        self._rest_until_ms = now_ms + self._bounds.cooldown_ms + jitter_ms
        if refused:
            self._refused[want.tablet.id] = now_ms

    def _wants(self, tablets: TabletMap, loads: Mapping[TabletId, TabletLoad]) -> Iterator[Want]:
        for tablet in tablets.tablets:
            load = loads.get(tablet.id)
            if load is None or tablet.buckets > 1:
                continue
            kinds = (
                Want(tablet, by_load, value, bound)
                for by_load, value, bound in (
                    (False, load.bytes, self._bounds.bytes),
                    (True, load.writes_per_s, self._bounds.writes),
                )
                if bound and value > bound
            )
            furthest = max(kinds, key=lambda want: want.excess, default=None)
            if furthest is not None:
                yield furthest

    def _turn_of(self, want: Want) -> tuple[int, float, TabletId]:
        return self._refused.get(want.tablet.id, -1), -want.excess, want.tablet.id

    def _held(self, count: int, migrations: Iterable[Progress], now_ms: int) -> str:
        if count >= self._bounds.tablets_max:
            return f"there are {count} tablets, and {self._bounds.tablets_max} are allowed"
        if now_ms < self._rest_until_ms:
            return "the cooldown is not over"
        for told in migrations:
            migration = told.migration
            if migration.phase not in ENDED:
                return f"migration {migration.id} has not ended"
            if migration.kind is Kind.SPLIT and told.phase_ms < self._bounds.cooldown_ms:
                return f"{migration.id} ended within the cooldown"
        return ""
