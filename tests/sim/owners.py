"""Who owns what: every map that the coordinators' log has made, and who acts by which.

What it is: the maps by version, the owner of each tablet in each owner epoch, and judges of those
who write, publish or allocate. What it is not: the history (`truth.py`).

Words: a tablet *of an epoch* is (id, oepoch): it has one owner for ever; it is *over* when the
newest map does not name it any more, and ended at the beginning of what replaced it.

Invariants that it judges: inv17 (one map a version, one owner of a tablet of an epoch, epochs and
beginnings rise, nobody serves what is over), inv18 (a map begins a tablet at or behind all that was
handed out before).

Worked example: map 5 gives (7, 3) of s0 to s1 as (7, 4), begin 90: a commit 91 by s0 is a breach.

Tested in tests/sim/test_breaches.py.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeAlias

from kubebraid.base.revision import Epoch, Revision, TabletId
from kubebraid.base.tabletmap import Tablet, TabletMap

from .verdict import Violation

Held: TypeAlias = tuple[TabletId, Epoch]


class Owners:
    """Of one world."""

    def __init__(self, first: TabletMap) -> None:
        self.newest = first
        self._maps = {first.version: first}
        self._of: dict[Held, Tablet] = {(t.id, t.oepoch): t for t in first.tablets}
        self._ends: dict[Held, Revision] = {}
        self._born: dict[Held, Revision] = {}
        self._current: dict[TabletId, Epoch] = {t.id: t.oepoch for t in first.tablets}

    def mapped(self, tablets: TabletMap, last: Mapping[TabletId, Revision]) -> bool:
        """A member has applied a map; `last`: the highest that was handed out, for each tablet.
        Answers: is it new?"""
        if tablets is self.newest:
            return False
        if self._maps.setdefault(tablets.version, tablets) != tablets:
            raise Violation("inv17", f"two maps of version {tablets.version}")
        if tablets.version <= self.newest.version:
            return False
        before, self.newest = self.newest, tablets
        for tablet in tablets.tablets:
            held = (tablet.id, tablet.oepoch)
            if self._current.get(tablet.id) != tablet.oepoch:
                self._begins(tablet, before, last)
            elif self._of[held] != tablet:
                raise Violation("inv17", f"{tablet} was {self._of[held]}, in the same epoch")
        self._current = {t.id: t.oepoch for t in tablets.tablets}
        return True

    def _begins(self, tablet: Tablet, before: TabletMap, last: Mapping[TabletId, Revision]) -> None:
        parents = [t for t in before.tablets if t.id == tablet.id]
        parents = parents or list(before.tablets_of(tablet.span))
        for parent in parents:
            if tablet.oepoch <= parent.oepoch or tablet.begin < parent.begin:
                raise Violation("inv17", f"{tablet} comes behind {parent}")
            if tablet.begin < last.get(parent.id, 0):
                raise Violation(
                    "inv18", f"{tablet} begins below {last[parent.id]} of {parent.name}"
                )
            held = (parent.id, parent.oepoch)
            self._ends[held] = max(tablet.begin, self._ends.get(held, 0))
        self._of[tablet.id, tablet.oepoch] = tablet
        (first, *_) = parents
        stays = first.id == tablet.id and first.shard == tablet.shard
        born = self._born.get((first.id, first.oepoch), 0) if stays else tablet.begin
        self._born[tablet.id, tablet.oepoch] = born

    # -- who acts ------------------------------------------------------------------------------

    def allocated(self, tablet: TabletId, oepoch: Epoch, revision: Revision) -> None:
        """The sequencer has given a revision to a tablet."""
        if self._current.get(tablet) != oepoch:
            raise Violation("inv17", f"{revision} was given to {tablet} of {oepoch}, which is over")

    def wrote(self, shard: str, tablet: TabletId, oepoch: Epoch) -> None:
        """A fence that serves a tablet, or a commit behind it, is in the store of a shard."""
        self._owner(shard, tablet, oepoch, "written")
        if self._current.get(tablet) != oepoch:
            raise Violation("inv17", f"{shard} wrote tablet {tablet} of {oepoch}, which is over")

    def staged(self, shard: str, tablet: TabletId) -> None:
        """A fence of a tablet that is to come."""
        now = next((t for t in self.newest.tablets if t.id == tablet), None)
        if now is not None and now.shard == shard:
            raise Violation("inv17", f"{shard} stages the fence of {tablet}, which it owns")

    def begin(self, tablet: TabletId, oepoch: Epoch) -> Revision:
        """Everything that its shard writes of a tablet lies behind it. Behind a start of the same
        shard a share that had waited for its decision may lie below the map's beginning."""
        return self._born.get((tablet, oepoch), 0)

    def published(self, shard: str, tablet: TabletId, oepoch: Epoch, closed: Revision) -> None:
        """An owner said that nothing of a tablet will come at or below `closed`."""
        self._owner(shard, tablet, oepoch, "published")
        end = self._ends.get((tablet, oepoch))
        if end is not None and closed > end:
            raise Violation("inv17", f"{shard} closed {tablet} of {oepoch} at {closed}, not {end}")

    def _owner(self, shard: str, tablet: TabletId, oepoch: Epoch, done: str) -> None:
        owner = self._of.get((tablet, oepoch))
        if owner is None or owner.shard != shard:
            raise Violation("inv17", f"tablet {tablet} of {oepoch} was {done} by {shard}: {owner}")
