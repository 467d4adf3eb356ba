"""The sequencer's state machine: it hands out revisions and says what was handed out.

What it is: `Alloc` and `ReadRev` of the design as pure functions on in-memory state, within a
window and for the tablets that are not frozen. What it is not: the lease that says whether it may
be asked at all (`reign.py`), nor the clock.

Words: `last[t]`: highest revision ever allocated to t; R: highest revision ever allocated;
*cepoch*: the reign of this sequencer; *window*: the highest revision it may hand out; a *frozen*
tablet's owner is about to change, and its last is what the next one begins behind: for a process
that starts, or for a migration that *switches* it; a request is *held* when only what is on its way
(a map, a window) can decide it; a tablet is *retired* that was in a map and will not be again.

Invariants:
- inv13: revisions of one cepoch are issued strictly upwards, each once (+1, dense);
- inv13: nothing above the window is handed out;
- inv14: the same (owner, incarnation, request number) gets the same answer and takes nothing twice;
- M3: an oepoch higher than the map's is held until the map has it, and so is a tablet that may
  still come; a lower oepoch and a retired tablet are refused;
- last[t] <= R for every t of the map; neither falls; R == max(last) unless the store is new;
- a refused or held request takes nothing at all;
- one that several owners wait for (lanes) is refused once any of them has asked for anything else:
  whoever gave up and closed its tablets is given no revision behind its back.

Worked example: R=10. `alloc(writes=3, ends=((1, e, 2), (2, e, 1)))` answers first=11 and leaves
R=13, last[1]=13, last[2]=12.

Tested in tests/unit/coordinator/test_sequencer.py, tests/property/test_sequencer.py.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from kubebraid.base.ports import AllocReply, AllocRequest, Sample
from kubebraid.base.revision import FIRST_REVISION, PENDING_BASE, Epoch, Revision, TabletId
from kubebraid.base.tabletmap import TabletMap

UNBOUNDED: Final[Revision] = 2**63 - 1  # the window of a process that is everything


class Sequencer:
    """In-memory allocation for one cepoch. Implements SequencerPort directly, where it is asked by
    its own process alone."""

    def __init__(
        self,
        cepoch: Epoch,
        tablets: TabletMap,
        last: Mapping[TabletId, Revision],
        window: Revision = UNBOUNDED,
    ) -> None:
        """`last`: recovered from the fence rows of every tablet of the map; in a cluster the window
        of the reign before, for all (what that one handed out is not known, but not more)."""
        assert cepoch >= 1, cepoch
        assert set(last) == {t.id for t in tablets.tablets}, "each tablet states its last"
        assert min(last.values()) >= FIRST_REVISION
        self._cepoch = cepoch
        self._map_version = tablets.version
        self._oepoch = {t.id: t.oepoch for t in tablets.tablets}
        self._last = dict(last)
        self._revision: Revision = max(last.values())
        self._floor: Revision = -1
        self._window = window
        self._frozen: set[TabletId] = set()
        self._switching: frozenset[TabletId] = frozenset()
        self._next_tablet = 1 + max(last)
        self._coming: frozenset[TabletId] = frozenset()
        self._answered: dict[str, tuple[int, int, AllocReply]] = {}

    @property
    def revision(self) -> Revision:
        """R: everything up to it was allocated."""
        return self._revision

    @property
    def cepoch(self) -> Epoch:
        """The reign in which this sequencer allocates."""
        return self._cepoch

    @property
    def map_version(self) -> int:
        """The map whose owner epochs count."""
        return self._map_version

    def sample(self) -> Sample:
        """M10: all of one instant."""
        last = dict(self._last)
        return Sample(self._cepoch, self._map_version, self._revision, last, self._floor)

    def read_revision(self, done: Callable[[Sample], None]) -> None:
        done(self.sample())

    # -- what the replicated state says --------------------------------------------------------

    def widen(self, window: Revision) -> None:
        """The window that the log has taken up."""
        assert window >= self._window, "a window never falls"
        self._window = window

    def raise_floor(self, floor: Revision) -> None:
        """The compaction floor; each later sample says it."""
        self._floor = max(self._floor, floor)

    def freeze(self, shard: str, tablets: TabletMap) -> tuple[tuple[TabletId, Revision], ...]:
        """Allocate nothing more to the tablets of `shard`; H of each (its last)."""
        mine = [t.id for t in tablets.tablets if t.shard == shard]
        self._frozen.update(mine)
        return tuple((tablet, self._last[tablet]) for tablet in mine)

    def thaw(self, shard: str, tablets: TabletMap) -> None:
        """Its H will never be used."""
        self._frozen.difference_update(t.id for t in tablets.tablets if t.shard == shard)

    def switch(self, tablets: frozenset[TabletId]) -> None:
        """Exactly these are frozen for migrations from now on, until the next call."""
        self._switching = tablets

    def last(self) -> Mapping[TabletId, Revision]:
        """H of every tablet of the map, if it were frozen now."""
        return self._last

    def expect(self, next_tablet: TabletId, coming: frozenset[TabletId]) -> None:
        """Which tablets may be in a later map: those from `next_tablet` on, and `coming`. All
        others that the present one lacks are retired."""
        assert next_tablet >= self._next_tablet, "ids are not given twice"
        self._next_tablet, self._coming = next_tablet, coming

    def adopt_map(self, tablets: TabletMap) -> None:
        """A new map was applied: its owner epochs count, what they replaced is frozen no more. A
        new tablet's last is its beginning: that of whatever had its keys."""
        assert tablets.version > self._map_version, "maps come in order"
        self._map_version = tablets.version
        for tablet in tablets.tablets:
            if self._oepoch.get(tablet.id) != tablet.oepoch:
                self._frozen.discard(tablet.id)
                self._oepoch[tablet.id] = tablet.oepoch
                self._last.setdefault(tablet.id, tablet.begin)
                assert self._last[tablet.id] >= tablet.begin, "a commit begins at an end (inv18)"
        for gone in self._last.keys() - {tablet.id for tablet in tablets.tablets}:
            del self._last[gone], self._oepoch[gone]
            self._frozen.discard(gone)

    # -- requests ------------------------------------------------------------------------------

    def alloc(self, request: AllocRequest, done: Callable[[AllocReply], None]) -> None:
        """For the own process: there is nothing to wait for."""
        reply = self.allocate(request)
        assert reply is not None, "one process holds nothing"
        done(reply)

    def allocate(self, request: AllocRequest) -> AllocReply | None:
        """The answer; None while the request is held."""
        known = self._answered.get(request.owner)
        if known is not None and known[0] == request.incarnation:
            if request.request_number == known[1]:
                return known[2]
            if request.request_number < known[1]:
                return self._refuse(request)  # late, from a connection that was given up
        reply = self._allocate(request)
        if reply is not None:
            answered = (request.incarnation, request.request_number, reply)
            self._answered[request.owner] = answered
        return reply

    def _held(self, request: AllocRequest) -> bool:
        if self._revision + request.writes > self._window:
            return True
        return any(
            tablet in self._frozen
            or tablet in self._switching
            or oepoch > self._oepoch.get(tablet, 0)
            for tablet, oepoch, _ in request.ends
        )

    def _refuse(self, request: AllocRequest) -> AllocReply:
        return AllocReply(0, self.sample(), tuple(tablet for tablet, _, _ in request.ends))

    def _holds_still(self, lane: tuple[str, int, int]) -> bool:
        """Whether an owner has asked for nothing since it began to hold its slot."""
        owner, *newest = lane
        known = self._answered.get(owner)
        return known is not None and list(known[:2]) == newest

    def _allocate(self, request: AllocRequest) -> AllocReply | None:
        assert request.ends or request.cepoch == self._cepoch, "what could be refused by name"
        if request.cepoch != self._cepoch or not all(map(self._holds_still, request.lanes)):
            return self._refuse(request)
        known, below, coming = self._oepoch, self._next_tablet, self._coming
        stale = tuple(
            t
            for t, oepoch, _ in request.ends
            if (oepoch < known[t] if t in known else t < below and t not in coming)
        )
        if stale:
            return AllocReply(0, self.sample(), stale)
        if self._held(request):
            return None
        first = self._revision + 1
        assert all(index >= -1 for _, _, index in request.ends)
        highest = max((index for _, _, index in request.ends), default=-1)
        assert highest == request.writes - 1, "each revision belongs to a tablet"
        for tablet, _, index in request.ends:
            if index >= 0:
                assert self._last[tablet] < first, "a tablet's revisions grow"
                self._last[tablet] = first + index
        self._revision += request.writes
        assert self._revision < PENDING_BASE, "the revision space is used up"
        assert self._revision <= self._window, "within the window (inv13)"
        return AllocReply(first, self.sample(), ())
