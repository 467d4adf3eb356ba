"""The hub: publications in, released events out to every watcher; catch-up from the log.

What it is: the feeds of one router, their watchers, and the two ways events reach them: live, as
the release rule lets them go, and from the owners' logs for watchers that are behind. What it is
not: the rule itself (`merge.py`) or a stream's protocol (`session.py`).

Invariants:
- inv07, inv08: a watcher joins its feed's live group only when it has everything up to what the
  feed has released and to what was published before the feed began; so nothing is missed or
  repeated at the seam;
- a client that does not read leaves the group (its position is kept, its events are not): memory
  is bounded by the high-water mark of its stream, and no other client notices;
- a subscription that began anew may have lost commits: whoever was live on their tablets leaves the
  group and catches up from the log, so nothing is missed or repeated at that seam either;
- a watcher below the compaction floor is cancelled with compact_revision, never served in part;
- inv17: a new map changes feeds (`feeds.py`), and nothing of what a watcher is sent.

Worked example: a watch of /a/ from 5 while R=9: the log gives 5..9, then `next` is 10 and the
watcher joins; commit 10 reaches it live.

Tested in tests/unit/router/test_hub.py, tests/unit/router/test_hub_maps.py,
tests/property/test_watch_history.py, tests/property/test_watch_maps.py.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from kubebraid.base.ports import CoordinatorPort, OwnerPort, Publication, Sample, TabletNews
from kubebraid.base.record import Commit
from kubebraid.base.revision import Revision
from kubebraid.base.tabletmap import TabletMap

from .catch_up import CatchUp
from .feeds import Feeds
from .merge import Feed, View
from .session import Session
from .watcher import Request, Watcher, encode


class Hub:
    """All watchers of one router."""

    def __init__(
        self,
        owners: Mapping[str, OwnerPort],
        coordinator: CoordinatorPort,
        tablets: TabletMap,
        sample: Sample,
    ) -> None:
        """Subscribes to every owner; `sample` was taken before that. Before a shard's first
        publication nothing of its tablets is released."""
        self._owners = owners
        self._coordinator = coordinator
        self.view = View(sample, {})
        self._feeds = Feeds(tablets, self.view)
        self._catch_up = CatchUp(
            owners, tablets, self.view, coordinator.compact_revision, self._join, self._compacted
        )
        self._sessions: dict[Session, None] = {}  # in the order of their arrival
        self._held: Sample | None = None  # of a map that is not here yet
        self._subscribed: set[str] = set()
        self._subscribe()

    def _subscribe(self) -> None:
        """Hear every owner that there is; a map may name one for the first time."""
        for name, owner in self._owners.items():
            if name not in self._subscribed:
                self._subscribed.add(name)
                owner.subscribe(self.publish)

    def follow(self, tablets: TabletMap) -> None:
        """A newer map, and the samples that waited for it."""
        stale = self._feeds.stale(tablets)
        for feed in stale:
            self._release(feed)
        watchers = (watcher for session in self._sessions for watcher in session.watchers.values())
        self._feeds.follow(tablets, stale, watchers, self._catch_up.add)
        self._catch_up.follow(tablets)
        self._subscribe()
        held, self._held = self._held, None
        if held is not None:
            self.absorb(held)
        self.wake()

    def absorb(self, sample: Sample) -> None:
        """Take a sample, now or once its map is here (M11)."""
        if sample.map_version <= self.view.map_version:
            self.view.absorb(sample)
            for feed in list(self._feeds.holding):
                self._release(feed)
        elif self._held is None or sample.revision >= self._held.revision:
            self._held = sample

    def hear(self, sample: Sample) -> None:
        """A sample that came for nobody else."""
        self.absorb(sample)
        self.wake()

    # -- owners --------------------------------------------------------------------------------

    def publish(self, publication: Publication) -> None:
        """A shard's group commit: absorb it, release what it allows."""
        view, fresh = self.view, publication.fresh
        anew = [n for n in publication.news if (fresh and not view.former(n)) or view.begins(n)]
        if anew:
            self._begin_anew(anew)
        touched: dict[Feed, None] = {}
        for news in publication.news:
            if view.former(news):
                continue
            begins = fresh or view.begins(news)
            for feed in self._feeds.touched_by(news.tablet):
                if not begins:
                    feed.offer(news)
                touched[feed] = None
            view.close(news.tablet, news.closed, begins, news.oepoch)
        self.absorb(publication.sample)
        for feed in touched:
            self._release(feed)
        self.wake()

    def _begin_anew(self, begun: Sequence[TabletNews]) -> None:
        """What was published between the closed[t] known here and this one did not come: whoever is
        live on such a tablet has all that was released, and reads the rest from the log."""
        missed: set[Feed] = set()
        for news in begun:
            if news.closed <= self.view.closed.get(news.tablet, 0):
                continue
            for feed in self._feeds.touched_by(news.tablet):
                # Progress marks may be ahead of what an idle feed has released: whoever has one
                # must not read from before it, where a compaction may have been.
                self._release(feed)
                feed.missed(news.closed)
                missed.add(feed)
        for session in self._sessions if missed else ():
            for watcher in session.watchers.values():
                if watcher.synced and watcher.feed in missed:
                    self._feeds.leave(watcher, watcher.feed.released + 1)
                    self._catch_up.add(watcher)

    def _release(self, feed: Feed) -> None:
        commits = feed.release()
        if feed.waits:
            self._feeds.holding[feed] = None
        else:
            self._feeds.holding.pop(feed, None)
        if not commits:
            return
        for options, theirs, members in self._feeds.groups[feed].concerned(commits):
            pieces = encode(theirs, options)
            for watcher in members:
                if watcher.session.slow():
                    self._feeds.leave(watcher, commits[0].revision)
                    watcher.session.stalled[watcher] = None
                    continue
                # A start that lies ahead cuts the released run short: encode it for this one.
                fits = watcher.next <= commits[0].revision
                mine = pieces if fits else encode(_from(theirs, watcher.next), options)
                for piece in mine:
                    watcher.session.events(watcher, piece)

    # -- sessions ------------------------------------------------------------------------------

    def open(self, session: Session) -> None:
        self._sessions[session] = None

    def close(self, session: Session) -> None:
        """The stream is gone."""
        session.closed = True
        self._sessions.pop(session, None)
        for watcher in list(session.watchers.values()):
            self._forget(watcher)

    def drained(self, session: Session) -> None:
        """The client has read on: feed its watchers from where they are."""
        self._catch_up.add(*session.stalled)
        session.stalled.clear()

    def watch(self, session: Session, watch_id: int, request: Request, sample: Sample) -> None:
        """Create a watcher; `sample` was read after the request arrived."""
        self.absorb(sample)
        session.created(watch_id, sample.revision)
        floor = self._coordinator.compact_revision()
        if request.start and request.start < floor:
            session.compacted(watch_id, floor)
            return
        feed = self._feeds.of(request.options.span)
        watcher = Watcher(session, watch_id, request, sample.revision, feed)
        session.watchers[watch_id] = watcher
        self._feeds.used(feed)
        if not self._join(watcher):
            self._catch_up.add(watcher)

    def cancel(self, session: Session, watch_id: int) -> None:
        """The client's cancel. An unknown id is not answered, as etcd has it."""
        watcher = session.watchers.get(watch_id)
        if watcher is not None:
            self._forget(watcher)
            session.canceled(watch_id, self.view.revision)

    def request_progress(self, session: Session, sample: Sample) -> None:
        """RequestProgress: answer as soon as the release rule holds at the sample's R."""
        self.absorb(sample)
        # A client that does not read its answers gets no more of them, as with etcd's full channel.
        if not session.slow():
            session.asked.append(sample.revision)
            session.answer_asked()

    def tick(self) -> None:
        """The periodic progress of every stream."""
        for session in self._sessions:
            session.tick()

    # -- watchers ------------------------------------------------------------------------------

    def _join(self, watcher: Watcher) -> bool:
        """Into the live group, if nothing is missing."""
        self._release(watcher.feed)
        return self._feeds.enter(watcher)

    def _forget(self, watcher: Watcher) -> None:
        """Remove a watcher; a feed that nobody uses goes too."""
        del watcher.session.watchers[watcher.id]
        watcher.session.stalled.pop(watcher, None)
        if watcher.synced:
            self._feeds.groups[watcher.feed].remove(watcher)
        self._feeds.unused(watcher.feed)

    def wake(self) -> None:
        """Something was heard that watchers or askers of progress may wait for."""
        self._catch_up.wake()
        for session in self._sessions:
            if session.asked:
                session.answer_asked()

    def turn(self) -> bool:
        """A slice of the log for some of those behind. Answers: can more be done now?"""
        return self._catch_up.turn()

    def _compacted(self, watcher: Watcher) -> None:
        """The log that it would have to read is gone."""
        self._forget(watcher)
        watcher.session.compacted(watcher.id, self._coordinator.compact_revision())


def _from(commits: Sequence[Commit], first: Revision) -> list[Commit]:
    return [commit for commit in commits if commit.revision >= first]
