"""The merge of watches: when may which events of which tablets be shown?

What it is: the release rule of the design as a value (`View`) and one ordered stream per set of
tablets (`Feed`). What it is not: clients, sessions or sending (`hub.py`).

Words: closed[t] and a sample as in base/ports. bound(W): the revision up to which everything of
the tablets W is here. *Released*: handed on; nothing of W at or below it comes again.

The rule: with the newest sample (R, last), each tablet t of W either has closed[t] >= last[t], then
everything of t up to R is here; or it lags, then everything up to closed[t] is. So bound(W) is R if
none lags, otherwise the least closed[t] of those that lag (or the R at which such a tablet last
lagged nothing, if that is higher). A tablet without closed[t] has not been
heard of: nothing of W may be released.

A new map: tablets may have been split and merged, once or often. A tablet that is new to the view
*inherits*: up to the bound of the old tablets that meet its range everything of it is here, for
each of its keys was in one of them. A *former* owner's news, of a lower owner epoch than one
already heard, tells nothing: all that it has is in the log of the owner of today.

Invariants:
- inv07, inv09: released revisions of a feed never fall, commits leave in strictly rising order;
- inv06: what one revision changed in several tablets of W leaves as one commit;
- inv11: no event arrives at or below what was released (asserted: it would be lost);
- inv17: no bound of a new map's tablet is above what is here of the old tablets of its range, and
  closed[t] is never above what t's owner says of itself.

Worked example: W = {1, 2}, sample R=7, last = {1: 7, 2: 6}, closed = {1: 7, 2: 5}: bound is 5, so
commit 7 of tablet 1 waits; closed[2]=6 (even without an event) makes bound 7 and releases it. Had
1 and 2 become 3 while bound was 5, closed[3] would be 5, until its owner says more.

Tested in tests/unit/router/test_merge.py, tests/property/test_merge.py.
"""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Iterable, Mapping, Sequence

from kubebraid.base.ports import Sample, TabletNews
from kubebraid.base.record import Commit
from kubebraid.base.revision import Epoch, Revision, TabletId
from kubebraid.base.tabletmap import TabletMap


class View:
    """What a router knows of the whole: one sample, and closed[t] of each tablet."""

    def __init__(self, sample: Sample, closed: dict[TabletId, Revision]) -> None:
        self.cepoch = sample.cepoch
        self.map_version = sample.map_version
        self.revision = sample.revision
        self.last: dict[TabletId, Revision] = dict(sample.last)
        self.closed = closed
        self._whole: dict[TabletId, Revision] = {}
        self._oepochs: dict[TabletId, Epoch] = {}  # of the newest owner that was heard
        # Of ids that no sample of this map has named yet: the tablets of their range before.
        self._parents: dict[TabletId, tuple[TabletId, ...]] = {}
        self._note_whole(self.last)

    def _note_whole(self, tablets: Iterable[TabletId]) -> None:
        """Remember R for each tablet that lags nothing: what is here stays here, whatever is
        allocated later, so a bound never falls."""
        for tablet in tablets:
            if self.closed.get(tablet, 0) >= self.last[tablet]:
                self._whole[tablet] = self.revision

    def absorb(self, sample: Sample) -> None:
        """Join a sample, whole, by maximum: R and last only grow, in a reign and from one to the
        next, which begins above everything that the one before handed out."""
        assert sample.map_version <= self.map_version, "a sample waits for its map (M11)"
        if sample.cepoch < self.cepoch or sample.revision < self.revision:
            return
        told = self._told(sample)
        if told is None:
            return
        self.cepoch = sample.cepoch
        self._note_whole(told)
        self.revision = sample.revision
        for tablet, last in told.items():
            if last > self.last.get(tablet, 0):
                self.last[tablet] = last

    def _told(self, sample: Sample) -> Mapping[TabletId, Revision] | None:
        """`last` of this map's tablets, by a sample of this map or of one before it: a tablet that
        was not there yet was given what those of its range were given. None if it cannot be told:
        the sample's map was never followed."""
        if sample.map_version == self.map_version:
            # The sequencer follows maps in order: later samples of older maps tell less than this.
            self._parents.clear()
            return sample.last
        try:
            return {tablet: self._given(sample.last, tablet) for tablet in self.last}
        except KeyError:
            return None

    def _given(self, last: Mapping[TabletId, Revision], tablet: TabletId) -> Revision:
        if tablet in last:
            return last[tablet]
        return max(self._given(last, parent) for parent in self._parents[tablet])

    def former(self, news: TabletNews) -> bool:
        """Whether it comes from an owner that another one was heard after."""
        return news.oepoch < self._oepochs.get(news.tablet, 0)

    def begins(self, news: TabletNews) -> bool:
        """Whether nothing was heard before from this owner of the tablet."""
        return news.oepoch > self._oepochs.get(news.tablet, 0)

    def close(
        self, tablet: TabletId, closed: Revision, anew: bool = False, oepoch: Epoch = 0
    ) -> None:
        """Tablet `tablet` is published up to `closed`. `anew`: a process that begins may know less
        than the one before it told; what was told stays so."""
        known = self.closed.get(tablet, 0)
        assert anew or closed >= known, "closed never falls (inv11)"
        self.closed[tablet] = max(closed, known)
        if oepoch > self._oepochs.get(tablet, 0):
            self._oepochs[tablet] = oepoch

    def inherit(self, old: TabletMap, new: TabletMap) -> None:
        """Follow from one map to a later one, perhaps over several."""
        before, after = old.by_id(), new.by_id()
        born = [tablet for tablet in new.tablets if tablet.id not in before]
        parents = {child.id: [t.id for t in old.tablets_of(child.span)] for child in born}
        for child, ids in parents.items():
            self._inherit(child, ids)
        for tablet in before.keys() - after.keys():
            for known in (self.closed, self.last, self._whole, self._oepochs):
                known.pop(tablet, None)
        self.map_version = new.version

    def _inherit(self, child: TabletId, parents: Sequence[TabletId]) -> None:
        """A range's new tablet, from those that held its keys.

        closed[child]: each parent is published up to its own; and if the bound is higher, all of
        them are published up to the bound, of which the highest of their own is the part that
        their owners have told: the new owner begins at or behind it (M12), and will tell so."""
        bound = self.bound(parents)
        closed = [self.closed.get(parent, 0) for parent in parents]
        here = max(min(closed), min(bound, max(closed)))
        self.closed[child] = max(here, self.closed.get(child, 0))
        self.last[child] = max(self.last[parent] for parent in parents)
        self._whole[child] = bound
        self._parents[child] = tuple(parents)

    def bound(self, tablets: Iterable[TabletId]) -> Revision:
        """The highest revision up to which all of `tablets` is here."""
        bound = self.revision
        for tablet in tablets:
            closed = self.closed.get(tablet, 0)
            if closed < self.last[tablet]:
                bound = min(bound, max(closed, self._whole.get(tablet, 0)))
        return bound


class Feed:
    """One ordered stream of the commits of a set of tablets."""

    def __init__(self, tablets: Sequence[TabletId], view: View) -> None:
        assert tablets, "a feed is of some tablets"
        self.tablets = tuple(tablets)
        self._view = view
        self._waiting: dict[TabletId, deque[Commit]] = {t: deque() for t in self.tablets}
        self.released: Revision = view.bound(self.tablets)
        # What was published before this feed began is only in the log: a watcher may join once
        # it has read on past it.
        self.since: Revision = max(view.closed.get(t, 0) for t in self.tablets)

    def bound(self) -> Revision:
        """Up to where everything of the feed's tablets is here."""
        return self._view.bound(self.tablets)

    def offer(self, news: TabletNews) -> None:
        """Take a tablet's commits; they wait here until the rule lets them go."""
        waiting = self._waiting[news.tablet]
        for commit in news.commits:
            assert commit.revision > self.released, "an event at or below a released revision"
            assert not waiting or commit.revision > waiting[-1].revision, "a tablet's order"
            waiting.append(commit)

    @property
    def waits(self) -> bool:
        """Whether commits are here that the rule does not let go yet."""
        return any(self._waiting.values())

    def holds(self, upto: Revision) -> bool:
        """Whether one of them is at or below `upto`."""
        return any(waiting and waiting[0].revision <= upto for waiting in self._waiting.values())

    def missed(self, upto: Revision) -> None:
        """Commits at or below `upto` were published and did not come: they are only in the log.
        What waits here is released to nobody, for whoever joins has read on past it."""
        self.since = max(self.since, upto)

    def release(self) -> list[Commit]:
        """Everything that may be shown now, in revision order, joined by revision."""
        bound = self._view.bound(self.tablets)
        assert bound >= self.released, "a bound never falls"
        self.released = bound
        ready = [_take(waiting, bound) for waiting in self._waiting.values() if waiting]
        if len(ready) <= 1:
            return ready[0] if ready else []
        return join(heapq.merge(*ready, key=_revision))


def _revision(commit: Commit) -> Revision:
    return commit.revision


def _take(waiting: deque[Commit], bound: Revision) -> list[Commit]:
    taken = []
    while waiting and waiting[0].revision <= bound:
        taken.append(waiting.popleft())
    return taken


def join(commits: Iterable[Commit]) -> list[Commit]:
    """Commits in revision order with those of one revision made one (inv06)."""
    joined: list[Commit] = []
    for commit in commits:
        if joined and joined[-1].revision == commit.revision:
            joined[-1] = joined[-1].joined(commit.events)
        else:
            joined.append(commit)
    return joined
