"""What a shard owns right now: tablets, epochs, fences, watermarks, leases.

What it is: the in-memory state that recovery builds from the fence rows and each commit advances.
What it is not: the engine's content.

Invariants:
- M6: `adopt` rewrites the fence of every tablet under this incarnation's oepoch before anything of
  it is served; a fence with a higher oepoch stops the start;
- inv11: closed[t] only grows, and closed[t] >= fence[t].last between commits;
- M12: a tablet that was adopted is closed at the H that the map names, where it names one, unless
  the store holds an intent;
- M1: `proved` names the reign whose sequencer has accepted all of our oepochs; only by its answer
  closed[t] may rise to a last[t] that we were not given ourselves;
- `known` is at least every stored revision.

Worked example: fences (3, 17) and (3, 19) of tablets 1 and 2, map oepoch 4: after `adopt` both
fences carry 4, closed = {1: 17, 2: 19}, known = 19, and the next revision is 20. With H = 25 for
both (18 to 25 were handed out and never written) both are closed at 25.

Tested in tests/unit/shard/test_ownership.py.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Final

from kubebraid.base.keyspace import KeyRange
from kubebraid.base.leasehome import home
from kubebraid.base.ports import Sample
from kubebraid.base.revision import FIRST_REVISION, Epoch, LeaseId, Revision, TabletId
from kubebraid.base.tabletmap import TabletMap

from . import fencing, keycodec
from .apply import Evaluation
from .cells import Area
from .fencing import Fence
from .foreign import Foreign
from .lease import LeaseTable
from .seal import Sealed, unpack_lease
from .storage.engine import Batch, Engine, Reader
from .windows import window

_DATA: Final = ((b"h", b"i"), (b"l", b"m"), (b"n", keycodec.NEWEST_END))


class Ownership:
    """The shard's tablets and how far each is written."""

    def __init__(
        self,
        shard: str,
        cepoch: Epoch,
        tablets: TabletMap,
        fences: dict[TabletId, Fence],
        floor: Callable[[], Revision],
        incarnation: int = 0,
    ) -> None:
        mine = [t for t in tablets.tablets if t.shard == shard]
        assert set(fences) == {t.id for t in mine}, "each owned tablet has a fence"
        self.shard = shard
        self.incarnation = incarnation
        self.cepoch = cepoch
        self.proved: Epoch = cepoch
        self.map_version = tablets.version
        self.since = tablets.version
        self._floor = floor
        self._told: Revision = -1
        self.oepochs: dict[TabletId, Epoch] = {t.id: t.oepoch for t in mine}
        self.fences = fences
        self.closed: dict[TabletId, Revision] = {t: f.last for t, f in fences.items()}
        self.committed_revision: Revision = max(self.closed.values(), default=FIRST_REVISION)
        self.known: Revision = self.committed_revision
        self.leases = LeaseTable(lambda lease: self.lease_home(lease) == shard)
        self.stopped = False
        self.batches = 0  # of tablets, committed by this process
        self.tablets = tablets
        self.sealed: frozenset[TabletId] = frozenset()  # about to go: no write is admitted
        self.shares_rows = False  # with the other shards of the cluster
        self.members: frozenset[str] = frozenset()  # all shards that were started; none: not known
        self.migrating: frozenset[str] = frozenset()  # shards that a migration names, if unfinished
        self.foreign = Foreign(
            self.owns, self.oepochs.__contains__, lambda area: _owns(self.tablets, shard, area)
        )

    def owns(self, key: bytes) -> bool:
        """Whether a key is ours."""
        return self.tablets.tablet_of(key).shard == self.shard

    def fixed_foreign(self) -> Foreign:
        """What is hidden now, for a snapshot: what it shows does not change with the map."""
        tablets, shard, ids = self.tablets, self.shard, frozenset(self.oepochs)
        fixed = Foreign(
            lambda key: tablets.tablet_of(key).shard == shard,
            ids.__contains__,
            lambda area: _owns(tablets, shard, area),
        )
        fixed.add(*self.foreign.cells.values())
        return fixed

    def is_bare(self, shard: str) -> bool:
        """Whether a shard has no keys, and none are on their way to it: it was drained, and may be
        gone for good."""
        owns = any(tablet.shard == shard for tablet in self.tablets.tablets)
        return not owns and shard not in self.migrating

    def lease_home(self, lease: LeaseId) -> str:
        """The shard that keeps a lease."""
        return home(self.tablets, lease).shard

    def tablet_of(self, key: bytes) -> TabletId:
        """The tablet of a key; the asker has checked that this shard owns it."""
        tablet = self.tablets.tablet_of(key)
        assert tablet.shard == self.shard, f"{key!r} belongs to {tablet.shard}"
        return tablet.id

    def tablets_of(self, span: KeyRange) -> list[TabletId]:
        """Our tablets that meet a range."""
        return [t.id for t in self.tablets.tablets_of(span) if t.shard == self.shard]

    def adopt_map(self, tablets: TabletMap, come: Mapping[TabletId, Fence] | None = None) -> bool:
        """A newer map. `come`: the fences of tablets that are ours from now on, durably written;
        what is ours no more is forgotten. Answers: has anything come or gone?"""
        assert tablets.version > self.map_version, "maps come in order"
        come = come or {}
        mine = {t.id: t.oepoch for t in tablets.tablets if t.shard == self.shard}
        gone = self.oepochs.keys() - mine.keys()
        stay = {tablet: oepoch for tablet, oepoch in self.oepochs.items() if tablet in mine}
        came = {tablet: fence.oepoch for tablet, fence in come.items()}
        assert stay | came == mine, "another incarnation of us owns them: this one ends"
        for tablet in gone:
            del self.oepochs[tablet], self.fences[tablet], self.closed[tablet]
        for tablet, fence in come.items():
            assert tablet not in self.closed, "a tablet comes once"
            self.oepochs[tablet], self.fences[tablet] = fence.oepoch, fence
            self.closed[tablet] = fence.last
            self.committed_revision = max(self.committed_revision, fence.last)
            self.known = max(self.known, fence.last)
        self.map_version = tablets.version
        self.tablets = tablets
        self.foreign.refresh()
        if gone or come:
            self.since = tablets.version
        if come:
            self.proved = 0  # whoever rules has yet to accept these oepochs
        return bool(gone or come)

    def knows(self, map_version: int) -> bool:
        """Whether a call that was planned with this map may be answered: it names our tablets as
        they are (M3: what we have not heard of yet waits)."""
        return self.since <= map_version <= self.map_version

    def floor(self) -> Revision:
        """Below it rows may be gone: the highest floor that anybody has told this shard."""
        return max(self._floor(), self._told)

    def raise_floor(self, floor: Revision) -> None:
        """Told by whoever asks to compact: perhaps before the coordinators' own word arrives."""
        self._told = max(self._told, floor)

    def begin_reign(self, cepoch: Epoch) -> None:
        """Another sequencer: what the one before has not answered is void."""
        assert cepoch > self.cepoch, "reigns come in order"
        self.cepoch = cepoch

    def register(self, sample: Sample, granted: Iterable[TabletId]) -> dict[TabletId, Revision]:
        """The reign of `sample` has accepted all our oepochs: close what it says was handed out of
        the tablets that hold nothing of its answer (all but `granted`). What rose, and to where."""
        assert sample.cepoch == self.cepoch, "its own reign's word"
        assert sample.last.keys() >= self.oepochs.keys(), "all of ours were named"
        self.proved = self.cepoch
        idle = self.oepochs.keys() - set(granted)
        risen = {t: sample.last[t] for t in sorted(idle) if sample.last[t] > self.closed[t]}
        self.closed.update(risen)
        return risen

    def heard(self, revision: Revision) -> None:
        """R of a sample: everything up to it was allocated to somebody."""
        self.known = max(self.known, revision)

    def doubt(self) -> None:
        """A commit may have landed unseen, and its revisions may be handed out again by the next
        start: nothing that tells a revision is answered any more (inv13)."""
        self.stopped = True

    def load_leases(self, reader: Reader, now_ms: int) -> None:
        """After a start every lease gets its whole TTL again: never early (inv21)."""
        start, end = keycodec.LEASES
        while page := reader.scan(start, end, 1_000):
            for stored, value in page:
                self.leases.put(keycodec.lease_id(stored), unpack_lease(value), now_ms)
            start = page[-1][0] + b"\x00"
        self.leases.visit_strangers(now_ms)

    def committed(
        self, sealed: Sealed, sample: Sample, evaluation: Evaluation, now_ms: int
    ) -> None:
        """A batch is durable: move the watermarks, fences and leases."""
        self._advance(sealed.fences, sample)
        for lease, row in evaluation.granted.items():
            self.leases.put(lease, row, now_ms)
        for lease in evaluation.revoked:
            self.leases.remove(lease)

    def applied(self, fences: Mapping[TabletId, Fence]) -> None:
        """A share of a transaction over several shards is durable. The reign has to accept all our
        oepochs anew: whatever else was handed out behind our back is void by then."""
        self.batches += len(fences)
        for tablet, fence in fences.items():
            assert fence.last > self.closed[tablet], "closed never falls"
            self.fences[tablet] = fence
            self.closed[tablet] = fence.last
            self.committed_revision = max(self.committed_revision, fence.last)
        self.heard(self.committed_revision)
        self.proved = 0

    def voided(self, fences: Mapping[TabletId, Fence], sample: Sample) -> None:
        """A batch's revisions hold nothing and never will: the watermarks pass over them."""
        self._advance(fences, sample)

    def _advance(self, fences: Mapping[TabletId, Fence], sample: Sample) -> None:
        self.batches += len(fences)
        for tablet, fence in fences.items():
            # A fence that is only touched stays where it was, also where a registration has closed
            # the tablet beyond it.
            touched = fence.last == self.fences[tablet].last
            assert touched or fence.last > self.closed[tablet], "closed never falls"
            assert fence.nonce > self.fences[tablet].nonce, "each write of a fence differs (inv15)"
            assert fence.last <= sample.last[tablet], "closed <= last (inv11)"
            self.fences[tablet] = fence
            self.closed[tablet] = max(self.closed[tablet], fence.last)
            self.committed_revision = max(self.committed_revision, fence.last)
        assert sample.revision >= self.known, "R never falls"
        self.known = sample.revision


def may_have_left(owned: Ownership) -> bool:
    """Whether another shard may have taken, and written to, a tablet that this one still calls its
    own: what the shared rows are now may be newer than all that it knows of."""
    return owned.shares_rows and bool(owned.sealed)


def is_removed(owned: Ownership, shard: str) -> bool:
    """Whether a shard that was there is none of the cluster any more."""
    return bool(owned.members) and shard not in owned.members


def _owns(tablets: TabletMap, shard: str, area: Area) -> bool:
    """Whether no key of it is another shard's."""
    return all(tablet.shard == shard for tablet in tablets.tablets_of(area.span))


def _has_data(engine: Engine, shard: str, tablets: TabletMap) -> bool:
    """Whether there are versions or log rows: in a space that shards share, of this one's."""
    ours = window(engine, lambda: tablets, shard)
    return any(ours.scan(low, high, 1) for low, high in _DATA)


def adopt(
    engine: Engine, shard: str, tablets: TabletMap, beside: Batch | None = None
) -> dict[TabletId, Fence]:
    """Take every tablet of `shard`: rewrite its fence under the map's oepoch, in one synced batch,
    behind what it has already.

    Raises StaleEpoch if another incarnation with a higher oepoch was here; FenceDamaged if a fence
    is missing where others are (they are born in one batch) or where data is; MapBehind if the map
    begins a tablet below what is there; EngineError.
    """
    mine = [tablet for tablet in tablets.tablets if tablet.shard == shard]
    raws = {tablet.id: engine.get(keycodec.fence(tablet.id)) for tablet in mine}
    missing = [tablet.name for tablet in mine if raws[tablet.id] is None]
    if missing and (len(missing) < len(mine) or _has_data(engine, shard, tablets)):
        raise fencing.FenceDamaged(f"the fence row of tablet {missing[0]} is missing")
    # A share that waits for its decision may belong to a revision up to H: until it is known
    # nothing is closed past it, and the registration closes at H and beyond.
    waits = bool(engine.scan(*keycodec.INTENTS, 1))
    batch = Batch() if beside is None else beside
    fences: dict[TabletId, Fence] = {}
    for tablet in mine:
        raw = raws[tablet.id]
        stored = fencing.NEW if raw is None else fencing.unpack(raw)
        if tablet.begin and stored.last > tablet.begin:
            raise fencing.MapBehind(tablet.name, stored.last, tablet.begin)
        fences[tablet.id] = fencing.adopt(stored, tablet.oepoch, 0 if waits else tablet.begin)
        batch.put(keycodec.fence(tablet.id), fences[tablet.id].pack())
    if len(batch):
        engine.write(batch, sync=True)
    return fences
