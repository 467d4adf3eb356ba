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

Invariants:
- inv07, inv09: released revisions of a feed never fall, commits leave in strictly rising order;
- inv06: what one revision changed in several tablets of W leaves as one commit;
- inv11: no event arrives at or below what was released (asserted: it would be lost).

Worked example: W = {1, 2}, sample R=7, last = {1: 7, 2: 6}, closed = {1: 7, 2: 5}: bound is 5, so
commit 7 of tablet 1 waits; closed[2]=6 (even without an event) makes bound 7 and releases it.

Tested in tests/unit/router/test_merge.py, tests/property/test_merge.py.
"""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Iterable, Sequence

from kubebraid.base.ports import Sample, TabletNews
from kubebraid.base.record import Commit
from kubebraid.base.revision import Revision, TabletId


class View:
    """What a router knows of the whole: one sample, and closed[t] of each tablet."""

    def __init__(self, sample: Sample, closed: dict[TabletId, Revision]) -> None:
        self.cepoch = sample.cepoch
        self.map_version = sample.map_version
        self.revision = sample.revision
        self.last: dict[TabletId, Revision] = dict(sample.last)
        self.closed = closed
        self._whole: dict[TabletId, Revision] = {}
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
        self.cepoch = sample.cepoch
        self._note_whole(sample.last)
        self.revision = sample.revision
        for tablet, last in sample.last.items():
            if last > self.last.get(tablet, 0):
                self.last[tablet] = last

    def close(self, tablet: TabletId, closed: Revision, anew: bool = False) -> None:
        """Tablet `tablet` is published up to `closed`. `anew`: a process that begins may know less
        than the one before it told; what was told stays so."""
        known = self.closed.get(tablet, 0)
        assert anew or closed >= known, "closed never falls (inv11)"
        self.closed[tablet] = max(closed, known)

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
