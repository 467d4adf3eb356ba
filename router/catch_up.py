"""Watchers that are behind, fed from the owners' logs until they can join the live group.

What it is: who is behind, a slice of the log for some of them in each turn, and what becomes of the
answer. What it is not: the live way (`hub.py`), or the rule of what may be shown (`merge.py`).

Words: a watcher *waits* when it has read all that is released, or its log could not be read: the
next publication wakes it.

Invariants: inv07: a watcher is sent the log's commits in order, each once, up to what its feed has
released; those of a client that does not read are read again later; a log below the compaction
floor ends the watch, any other refusal passes.

inv17: a log is asked for with `needs`: so much as this router knows that an owner has closed. All
that a tablet has up to `upto`, which the release rule allowed, lies at or below that (merge.py:
either closed[t] >= last[t], and `last` is the highest there is, or `upto` is at or below closed[t],
or it was so when R was `upto`). So a slice is whole, whoever answers it: a map that changes while
it is on its way makes it refused, or leaves it right; the next slice is planned with the new map.

Worked example: a watch of /a/ from 5 while R=9: one slice gives 5..9, then it joins.

Tested in tests/unit/router/test_hub.py, tests/unit/router/test_hub_maps.py,
tests/property/test_watch_history.py, tests/property/test_watch_maps.py.
"""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Final

from kubebraid.base import errors
from kubebraid.base.errors import RequestRefused
from kubebraid.base.limits import LOG_SLICE_REVISIONS
from kubebraid.base.ports import LogCall, LogReply, OwnerPort
from kubebraid.base.record import Commit
from kubebraid.base.revision import Revision, TabletId
from kubebraid.base.tabletmap import Tablet, TabletMap

from .merge import View, join
from .watcher import Watcher, encode

CATCH_UPS_PER_TURN: Final = 16  # watchers that get a slice of the log in one turn, or at a time


class CatchUp:
    """All watchers of a router that are behind."""

    def __init__(
        self,
        owners: Mapping[str, OwnerPort],
        tablets: TabletMap,
        view: View,
        floor: Callable[[], Revision],
        join_live: Callable[[Watcher], bool],
        compacted: Callable[[Watcher], None],
    ) -> None:
        """`join_live`: into the live group, if nothing is missing; `compacted`: its log is gone."""
        self._floor = floor
        self._owners = owners
        self._by_id = tablets.by_id()
        self._view = view
        self._join = join_live
        self._compacted = compacted
        self._behind: deque[Watcher] = deque()
        self._waiting: list[Watcher] = []
        self._reading = 0  # slices that owners have yet to answer
        self._heard = 0  # how often something was, that a refusal may have waited for

    def follow(self, tablets: TabletMap) -> None:
        """A newer map, of which the watchers' feeds are."""
        self._by_id = tablets.by_id()

    def add(self, *watchers: Watcher) -> None:
        """They are behind."""
        self._behind.extend(watchers)

    def wake(self) -> None:
        """Something was published."""
        self._heard += 1
        self._behind.extend(self._waiting)
        self._waiting.clear()

    def turn(self) -> bool:
        """A slice of the log for some. Answers: can more be done now?"""
        for _ in range(min(len(self._behind), CATCH_UPS_PER_TURN - self._reading)):
            self._feed(self._behind.popleft())
        return bool(self._behind) and self._reading < CATCH_UPS_PER_TURN

    def _feed(self, watcher: Watcher) -> None:
        if watcher.session.watchers.get(watcher.id) is not watcher:
            return  # cancelled or closed meanwhile
        if watcher.session.slow():
            watcher.session.stalled[watcher] = None
        elif self._join(watcher):
            return
        elif watcher.next > watcher.feed.released:
            self._waiting.append(watcher)
        else:
            shards = _by_shard(watcher.feed.tablets, self._by_id)
            self._reading += 1
            done = partial(self._answered, self._heard)
            LogRead(self._owners, shards, self._view.closed, watcher, done).start()

    def _answered(self, heard: int, watcher: Watcher, reply: LogReply | RequestRefused) -> None:
        self._reading -= 1
        self._caught(heard, watcher, reply)

    def _caught(self, heard: int, watcher: Watcher, reply: LogReply | RequestRefused) -> None:
        """A slice of the log arrived; `heard`: when it was asked for."""
        session = watcher.session
        if session.watchers.get(watcher.id) is not watcher:
            return
        if isinstance(reply, RequestRefused):
            # A shard may hear of a floor before this router: then its number is waited for.
            if reply is errors.COMPACTED and watcher.next < self._floor():
                self._compacted(watcher)
            elif heard != self._heard:
                self._behind.append(watcher)  # what it would wait for may have come before it
            else:
                self._waiting.append(watcher)
            return
        for piece in encode(reply.commits, watcher.options):
            session.events(watcher, piece)
            if session.slow() and not piece.fragment:
                session.stalled[watcher] = None  # what was not sent is read again later
                return
        watcher.advance(max(reply.complete, watcher.next - 1))
        if not self._join(watcher):
            self._behind.append(watcher)


class LogRead:
    """One slice of the log for one watcher, from every shard of its feed, joined.

    Each shard is complete up to its own `complete`; together they are up to the least of them, so
    what lies above is dropped here and read again with the next slice.
    """

    def __init__(
        self,
        owners: Mapping[str, OwnerPort],
        shards: Mapping[str, tuple[TabletId, ...]],
        closed: Mapping[TabletId, Revision],
        watcher: Watcher,
        done: Callable[[Watcher, LogReply | RequestRefused], None],
    ) -> None:
        """`closed`: as the router knows it now; what it forgets later is still needed."""
        self._owners = owners
        self._closed = {tablet: closed.get(tablet, 0) for tablet in watcher.feed.tablets}
        self._todo = list(shards.items())
        self._watcher = watcher
        self._done = done
        self._commits: list[Sequence[Commit]] = []
        self._complete: Revision = watcher.feed.released

    def start(self) -> None:
        shard, tablets = self._todo.pop()
        watcher, upto = self._watcher, self._complete
        needs = tuple(min(upto, self._closed[tablet]) for tablet in tablets)
        span, first = watcher.options.span, watcher.next
        call = LogCall(tablets, span, first, upto, LOG_SLICE_REVISIONS, needs=needs)
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


def _by_shard(
    tablets: Sequence[TabletId], by_id: Mapping[TabletId, Tablet]
) -> dict[str, tuple[TabletId, ...]]:
    by_shard: dict[str, tuple[TabletId, ...]] = {}
    for tablet in tablets:
        shard = by_id[tablet].shard
        by_shard[shard] = (*by_shard.get(shard, ()), tablet)
    return by_shard
