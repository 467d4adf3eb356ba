"""The sequencer's state machine: it hands out revisions and says what was handed out.

What it is: `Alloc` and `ReadRev` of the design as pure functions on in-memory state. What it is
not: the lease and the window that protect it in a cluster (they wrap it), nor the clock.

Words: `last[t]`: highest revision ever allocated to t; R: highest revision ever allocated;
*cepoch*: the reign of this sequencer.

Invariants:
- inv13: revisions of one cepoch are issued strictly upwards, each once (+1, dense);
- inv14: the same (owner, request number) gets the same answer and takes nothing twice;
- last[t] <= R for every t; neither falls; R == max(last) unless the store is new;
- a refused request (unknown tablet, other oepoch, frozen) takes nothing at all.

Worked example: R=10. `alloc(writes=3, ends=((1, e, 2), (2, e, 1)))` answers first=11 and leaves
R=13, last[1]=13, last[2]=12.

Tested in tests/unit/coordinator/test_sequencer.py, tests/property/test_sequencer.py.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from kubebraid.base.ports import AllocReply, AllocRequest, Sample
from kubebraid.base.revision import FIRST_REVISION, PENDING_BASE, Epoch, Revision, TabletId
from kubebraid.base.tabletmap import TabletMap


class Sequencer:
    """In-memory allocation for one cepoch. Implements SequencerPort directly."""

    def __init__(
        self, cepoch: Epoch, tablets: TabletMap, last: Mapping[TabletId, Revision]
    ) -> None:
        """`last`: recovered from the fence rows of every tablet of the map."""
        assert cepoch >= 1, cepoch
        assert set(last) == {t.id for t in tablets.tablets}, "each tablet states its last"
        assert min(last.values()) >= FIRST_REVISION
        self._cepoch = cepoch
        self._map_version = tablets.version
        self._oepoch = {t.id: t.oepoch for t in tablets.tablets}
        self._last = dict(last)
        self._revision: Revision = max(last.values())
        self._answered: dict[str, tuple[int, AllocReply]] = {}

    @property
    def revision(self) -> Revision:
        """R: everything up to it was allocated."""
        return self._revision

    def sample(self) -> Sample:
        return Sample(self._cepoch, self._map_version, self._revision, dict(self._last))

    def read_revision(self, done: Callable[[Sample], None]) -> None:
        done(self.sample())

    def alloc(self, request: AllocRequest, done: Callable[[AllocReply], None]) -> None:
        known = self._answered.get(request.owner)
        if known is not None and known[0] == request.request_number:
            done(known[1])
            return
        assert known is None or request.request_number > known[0], "requests come in order"
        reply = self._allocate(request)
        self._answered[request.owner] = (request.request_number, reply)
        done(reply)

    def _allocate(self, request: AllocRequest) -> AllocReply:
        assert request.ends or request.cepoch == self._cepoch, "what could be refused by name"
        refused = tuple(
            tablet
            for tablet, oepoch, _ in request.ends
            if request.cepoch != self._cepoch or self._oepoch.get(tablet) != oepoch
        )
        if refused:
            return AllocReply(0, self.sample(), refused)
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
        return AllocReply(first, self.sample(), ())
