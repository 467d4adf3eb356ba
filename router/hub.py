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
- a watcher below the compaction floor is cancelled with compact_revision, never served in part.

Worked example: a watch of /a/ from 5 while R=9: the log gives 5..9, then `next` is 10 and the
watcher joins; commit 10 reaches it live.

Tested in tests/unit/router/test_hub.py, tests/property/test_watch_history.py.
"""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Callable, Mapping, Sequence

from kubebraid.base import errors
from kubebraid.base.errors import RequestRefused
from kubebraid.base.keyspace import KeyRange
from kubebraid.base.limits import LOG_SLICE_REVISIONS
from kubebraid.base.ports import CoordinatorPort, LogCall, LogReply, OwnerPort, Publication, Sample
from kubebraid.base.record import Commit
from kubebraid.base.revision import Revision, TabletId
from kubebraid.base.tabletmap import TabletMap

from .groups import Groups
from .merge import Feed, View, join
from .session import Session
from .watcher import Request, Watcher, encode

CATCH_UPS_PER_TURN = 16  # watchers that get a slice of the log in one turn


class Hub:
    """All watchers of one router."""

    def __init__(
        self,
        owners: Mapping[str, OwnerPort],
        coordinator: CoordinatorPort,
        tablets: TabletMap,
        sample: Sample,
    ) -> None:
        """Subscribes to every owner; `sample` was taken before that."""
        self._owners = owners
        self._coordinator = coordinator
        self._tablets = tablets
        self._by_id = tablets.by_id()
        self._feeds: dict[tuple[TabletId, ...], Feed] = {}
        self._groups: dict[Feed, Groups] = {}
        self._users: dict[Feed, int] = {}
        self._by_tablet: dict[TabletId, list[Feed]] = {}
        self._behind: deque[Watcher] = deque()
        self._waiting: list[Watcher] = []  # have read all that is released; wait for a publication
        self._sessions: dict[Session, None] = {}  # in the order of their arrival
        closed: dict[TabletId, Revision] = {}
        for owner in owners.values():
            closed.update({news.tablet: news.closed for news in owner.subscribe(self.publish)})
        self.view = View(sample, closed)

    # -- owners --------------------------------------------------------------------------------

    def publish(self, publication: Publication) -> None:
        """A shard's group commit: absorb it, release what it allows."""
        touched: dict[Feed, None] = {}
        for news in publication.news:
            for feed in self._by_tablet.get(news.tablet, ()):
                feed.offer(news)
                touched[feed] = None
            self.view.close(news.tablet, news.closed)
        self.view.absorb(publication.sample)
        for feed in touched:
            self._release(feed)
        self._behind.extend(self._waiting)
        self._waiting.clear()
        self._answer_progress()

    def _release(self, feed: Feed) -> None:
        commits = feed.release()
        if not commits:
            return
        for options, theirs, members in self._groups[feed].concerned(commits):
            pieces = encode(theirs, options)
            for watcher in members:
                if watcher.session.slow():
                    self._stall(watcher, commits[0].revision)
                    continue
                # A start that lies ahead cuts the released run short: encode it for this one.
                fits = watcher.next <= commits[0].revision
                mine = pieces if fits else encode(_from(theirs, watcher.next), options)
                for piece in mine:
                    watcher.session.events(watcher, piece)

    def _stall(self, watcher: Watcher, upto: Revision) -> None:
        """Out of the live group: it has everything below `upto`, also what it had no event in."""
        self._groups[watcher.feed].remove(watcher)
        watcher.next = max(watcher.next, upto)
        watcher.session.stalled[watcher] = None

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
        self._behind.extend(session.stalled)
        session.stalled.clear()

    def watch(self, session: Session, watch_id: int, request: Request, sample: Sample) -> None:
        """Create a watcher; `sample` was read after the request arrived."""
        self.view.absorb(sample)
        session.created(watch_id, sample.revision)
        floor = self._coordinator.compact_revision()
        if request.start and request.start < floor:
            session.compacted(watch_id, floor)
            return
        feed = self._feed(request.options.span)
        watcher = Watcher(session, watch_id, request, sample.revision, feed)
        session.watchers[watch_id] = watcher
        self._users[feed] += 1
        if not self._join(watcher):
            self._behind.append(watcher)

    def cancel(self, session: Session, watch_id: int) -> None:
        """The client's cancel. An unknown id is not answered, as etcd has it."""
        watcher = session.watchers.get(watch_id)
        if watcher is not None:
            self._forget(watcher)
            session.canceled(watch_id, self.view.revision)

    def request_progress(self, session: Session, sample: Sample) -> None:
        """RequestProgress: answer as soon as the release rule holds at the sample's R."""
        self.view.absorb(sample)
        # A client that does not read its answers gets no more of them, as with etcd's full channel.
        if not session.slow():
            session.asked.append(sample.revision)
            session.answer_asked()

    def tick(self) -> None:
        """The periodic progress of every stream."""
        for session in self._sessions:
            session.tick()

    def _answer_progress(self) -> None:
        for session in self._sessions:
            if session.asked:
                session.answer_asked()

    # -- feeds ---------------------------------------------------------------------------------

    def _feed(self, span: KeyRange) -> Feed:
        """The feed of the tablets that meet `span`."""
        ids = tuple(tablet.id for tablet in self._tablets.tablets_of(span))
        feed = self._feeds.get(ids)
        if feed is None:
            feed = self._feeds[ids] = Feed(ids, self.view)
            self._groups[feed] = Groups()
            self._users[feed] = 0
            for tablet in ids:
                self._by_tablet.setdefault(tablet, []).append(feed)
        return feed

    def _join(self, watcher: Watcher) -> bool:
        """Into the live group, if nothing it has yet to see was released or published before."""
        feed = watcher.feed
        self._release(feed)
        if watcher.next <= max(feed.released, feed.since):
            return False
        self._groups[feed].add(watcher)
        return True

    def _forget(self, watcher: Watcher) -> None:
        """Remove a watcher; a feed that nobody uses goes too."""
        del watcher.session.watchers[watcher.id]
        watcher.session.stalled.pop(watcher, None)
        feed = watcher.feed
        if watcher.synced:
            self._groups[feed].remove(watcher)
        self._users[feed] -= 1
        if not self._users[feed]:
            del self._users[feed], self._groups[feed], self._feeds[feed.tablets]
            for tablet in feed.tablets:
                self._by_tablet[tablet].remove(feed)

    # -- catching up ---------------------------------------------------------------------------

    def turn(self) -> bool:
        """A slice of the log for some of those behind. Answers: can more be done now?"""
        for _ in range(min(len(self._behind), CATCH_UPS_PER_TURN)):
            self._catch_up(self._behind.popleft())
        return bool(self._behind)

    def _catch_up(self, watcher: Watcher) -> None:
        if watcher.session.watchers.get(watcher.id) is not watcher:
            return  # cancelled or closed meanwhile
        if watcher.session.slow():
            watcher.session.stalled[watcher] = None
        elif self._join(watcher):
            return
        elif watcher.next > watcher.feed.released:
            self._waiting.append(watcher)
        else:
            LogRead(self._owners, self._shards(watcher), watcher, self._caught).start()

    def _shards(self, watcher: Watcher) -> dict[str, tuple[TabletId, ...]]:
        by_shard: dict[str, tuple[TabletId, ...]] = {}
        for tablet in watcher.feed.tablets:
            shard = self._by_id[tablet].shard
            by_shard[shard] = (*by_shard.get(shard, ()), tablet)
        return by_shard

    def _caught(self, watcher: Watcher, reply: LogReply | RequestRefused) -> None:
        """A slice of the log arrived."""
        session = watcher.session
        if session.watchers.get(watcher.id) is not watcher:
            return
        if isinstance(reply, RequestRefused):
            self._log_refused(watcher, reply)
            return
        for piece in encode(reply.commits, watcher.options):
            session.events(watcher, piece)
            if session.slow() and not piece.fragment:
                session.stalled[watcher] = None  # what was not sent is read again later
                return
        watcher.advance(max(reply.complete, watcher.next - 1))
        if not self._join(watcher):
            self._behind.append(watcher)

    def _log_refused(self, watcher: Watcher, refused: RequestRefused) -> None:
        """Below the floor the watch ends; anything else passes, and the log is asked again."""
        if refused is not errors.COMPACTED:
            self._waiting.append(watcher)
            return
        self._forget(watcher)
        floor = self._coordinator.compact_revision()
        watcher.session.compacted(watcher.id, floor)


class LogRead:
    """One slice of the log for one watcher, from every shard of its feed, joined.

    Each shard is complete up to its own `complete`; together they are up to the least of them, so
    what lies above is dropped here and read again with the next slice.
    """

    def __init__(
        self,
        owners: Mapping[str, OwnerPort],
        shards: Mapping[str, tuple[TabletId, ...]],
        watcher: Watcher,
        done: Callable[[Watcher, LogReply | RequestRefused], None],
    ) -> None:
        self._owners = owners
        self._todo = list(shards.items())
        self._watcher = watcher
        self._done = done
        self._commits: list[Sequence[Commit]] = []
        self._complete: Revision = watcher.feed.released

    def start(self) -> None:
        shard, tablets = self._todo.pop()
        watcher = self._watcher
        call = LogCall(
            tablets, watcher.options.span, watcher.next, self._complete, LOG_SLICE_REVISIONS
        )
        self._owners[shard].read_log(call, self._take)

    def _take(self, reply: LogReply | RequestRefused) -> None:
        if isinstance(reply, RequestRefused):
            self._done(self._watcher, reply)
            return
        assert reply.complete <= self._complete
        self._complete = reply.complete
        self._commits.append(reply.commits)
        if self._todo:
            self.start()
            return
        merged = heapq.merge(*self._commits, key=lambda commit: commit.revision)
        within = [commit for commit in merged if commit.revision <= self._complete]
        self._done(self._watcher, LogReply(join(within), self._complete))


def _from(commits: Sequence[Commit], first: Revision) -> list[Commit]:
    return [commit for commit in commits if commit.revision >= first]
