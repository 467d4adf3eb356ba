"""The feeds of one router: which there are, who uses them, and what becomes of them at a new map.

What it is: one feed for each set of tablets that some watcher's span has, with the groups of its
live watchers. What it is not: the release rule (`merge.py`), or what is sent to whom (`hub.py`).

Words: a feed is *stale* when a tablet of it is not in the new map.

Invariants:
- inv17: each watcher's feed is of the tablets that its span has in the map that is followed;
- a feed lives as long as a watcher uses it, live or not;
- at a new map only stale feeds are touched; a move makes none, for the tablet keeps its id.

How watchers go over (a split, a merge, several maps at once): the stale feed is released for the
last time, with the map that it belongs to. Who was live on it has everything up to there, also what
a progress mark has told, and goes to the feed of its span's tablets as if it were created there
with that start. What the stale feed held back was published, so it is in the log of the tablets
there are: their log is whole before the map changes. It is not lost: either the new feed's `since`
is at or above it, or the new owner's first publication will tell of more than is known here (see
View.inherit), and both make the watcher read the log up to there. It is not repeated: what was
released lies below `next`, by which each watcher's events are cut.

Worked example: watches of /a/x and /a/y share the feed of tablet 7. 7 is split in between into 8
and 9: the first watch is now live on the feed (8,), the second on (9,), and that of 7 is gone.

Tested in tests/unit/router/test_hub_maps.py, tests/property/test_watch_maps.py.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from kubebraid.base.keyspace import KeyRange
from kubebraid.base.revision import Revision, TabletId
from kubebraid.base.tabletmap import TabletMap

from .groups import Groups
from .merge import Feed, View
from .watcher import Watcher


class Feeds:
    """Those of one hub."""

    def __init__(self, tablets: TabletMap, view: View) -> None:
        self._tablets = tablets
        self._view = view
        self._feeds: dict[tuple[TabletId, ...], Feed] = {}
        self._users: dict[Feed, int] = {}
        self._by_tablet: dict[TabletId, list[Feed]] = {}
        self.groups: dict[Feed, Groups] = {}
        self.holding: dict[Feed, None] = {}  # with commits that wait for a newer sample

    def __len__(self) -> int:
        return len(self._feeds)

    def of(self, span: KeyRange) -> Feed:
        """The feed of the tablets that meet `span`; whoever asks uses it, or it would stay."""
        ids = tuple(tablet.id for tablet in self._tablets.tablets_of(span))
        feed = self._feeds.get(ids)
        if feed is None:
            feed = self._feeds[ids] = Feed(ids, self._view)
            self.groups[feed] = Groups()
            self._users[feed] = 0
            for tablet in ids:
                self._by_tablet.setdefault(tablet, []).append(feed)
        return feed

    def touched_by(self, tablet: TabletId) -> Sequence[Feed]:
        """The feeds of which it is a part."""
        return self._by_tablet.get(tablet, ())

    def used(self, feed: Feed) -> None:
        """One watcher more."""
        self._users[feed] += 1

    def unused(self, feed: Feed) -> None:
        """A watcher left it; a feed that nobody uses goes."""
        self._users[feed] -= 1
        if self._users[feed]:
            return
        del self._users[feed], self.groups[feed], self._feeds[feed.tablets]
        self.holding.pop(feed, None)
        for tablet in feed.tablets:
            feeds = self._by_tablet[tablet]
            feeds.remove(feed)
            if not feeds:
                del self._by_tablet[tablet]

    def leave(self, watcher: Watcher, upto: Revision) -> None:
        """Out of the live group: it has everything below `upto`, also what it had no event in."""
        self.groups[watcher.feed].remove(watcher)
        watcher.next = max(watcher.next, upto)

    def enter(self, watcher: Watcher) -> bool:
        """Into the live group, if nothing it has yet to see was released or published before."""
        feed = watcher.feed
        if watcher.next <= max(feed.released, feed.since):
            return False
        self.groups[feed].add(watcher)
        return True

    def stale(self, tablets: TabletMap) -> list[Feed]:
        """The feeds of tablets that a new map lacks."""
        there = tablets.by_id()
        gone = (tablet.id for tablet in self._tablets.tablets if tablet.id not in there)
        found = dict.fromkeys(feed for tablet in gone for feed in self.touched_by(tablet))
        return list(found)

    def follow(
        self,
        tablets: TabletMap,
        stale: Sequence[Feed],
        watchers: Iterable[Watcher],
        behind: Callable[[Watcher], None],
    ) -> None:
        """A new map, and the feeds that are stale by it, which were released just now. `watchers`:
        all that there are; `behind`: was live, and has something to read."""
        old, self._tablets = self._tablets, tablets
        self._view.inherit(old, tablets)
        left = frozenset(stale)
        made: dict[KeyRange, Feed] = {}
        for watcher in watchers if left else ():
            before, span = watcher.feed, watcher.options.span
            if before not in left:
                continue
            live = watcher.synced
            if live:
                self.leave(watcher, before.released + 1)
            feed = made.get(span)
            if feed is None:
                feed = made[span] = self.of(span)
            watcher.feed = feed
            self.used(feed)
            self.unused(before)
            # Whoever was not live is behind already, or its client does not read: it goes on there.
            if live and not self.enter(watcher):
                behind(watcher)
