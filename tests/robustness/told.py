"""Whether what watches told in a run of concurrent clients keeps etcd's promises.

What it is: the judges of `validate`, in one pass over long streams and over revisions with gaps.
What it is not: a judge of calls (`linear`).

Words: as in `validate`; a *chain* is what one watcher followed over all of its streams.

Invariants: as in `validate`, each with its promise in Broken; besides, a chain loses nothing
between two of its streams, because each begins behind what the one before had seen.

Worked example: told of a@3 and then bookmark 9 though b changed at 5: Bookmarkable.

Source: etcd, "KV API guarantees". Tested by planted faults in test_judges.py.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Sequence

from tests.robustness.records import Event, Following, History, Told
from tests.robustness.truth import Broken, Floors, Truth


def judge_followings(history: History, truth: Truth) -> int:
    """All promises of all watches; how many events were told."""
    floors = Floors(history)
    for following in history.followings:
        _Judge(following, truth, floors).judge()
    return sum(len(told.events) for each in history.followings for told in each.told)


def seen(following: Following) -> int:
    """The last revision up to which this client may believe to know everything."""
    last = start_of(following) - 1
    for told in following.told:
        if told.events:
            last = max(last, told.events[-1].row.mod)
        elif told.bookmark:
            last = max(last, told.revision)
    return last


def start_of(following: Following) -> int:
    """The first revision that the watch promises."""
    if following.start or not following.told:
        return following.start
    return following.told[0].revision + 1


class _Judge:
    """One stream."""

    def __init__(self, following: Following, truth: Truth, floors: Floors) -> None:
        self._following = following
        self._truth = truth
        self._floors = floors
        self._start = start_of(following)
        self._want: Sequence[int] = self._expected()
        self._got = 0  # of the revisions in _want
        self._last = 0
        self._keys: Sequence[str] = ()
        self._bookmark = 0

    def _expected(self) -> list[int]:
        """The revisions that concern this watch, from its start on."""
        first = bisect_left(self._truth.revisions, self._start)
        return [
            revision
            for revision in self._truth.revisions[first:]
            if self._events(revision)
        ]  # fmt: skip

    def _events(self, revision: int) -> list[Event]:
        events = self._truth.events.get(revision, ())
        return [event for event in events if self._following.wants(event.row.key)]

    def judge(self) -> None:
        for number, told in enumerate(self._following.told):
            if told.created != (number == 0 and not told.canceled):
                self._broken("Created", "created comes first, and once", told)
            for revision, events in _grouped(told.events):
                self._revision(revision, events, told)
            if told.canceled:
                self._canceled(told)
            elif told.bookmark:
                self._bookmarked(told)
            elif told.events and told.revision < self._last:
                self._broken("Bookmarkable", "the header lies before the events", told)

    def _revision(self, revision: int, events: Sequence[Event], told: Told) -> None:
        if not all(self._following.wants(event.row.key) for event in events):
            self._broken("Filter", "nobody asked for this", told)
        if revision < self._start:
            self._broken("Filter", f"{revision} lies before the start", told)
        if revision < self._last:
            self._broken("Ordered", f"{revision} came after {self._last}", told)
        keys = [event.row.key for event in events]
        if revision == self._last:
            again = any(event.row.key in self._keys for event in events)
            self._broken("Unique" if again else "Atomic", f"{revision} came again", told)
        if revision <= self._bookmark:
            self._broken("Bookmarkable", f"{revision} after bookmark {self._bookmark}", told)
        if len(set(keys)) < len(keys):
            self._broken("Unique", f"a key twice in {revision}", told)
        if self._got >= len(self._want) or self._want[self._got] != revision:
            promise = "Reliable" if self._got else "Resumable"
            missed = self._want[self._got : self._got + 1]
            self._broken(promise, f"{revision} came, and not {missed}", told)
        self._same(self._events(revision), events, told)
        self._got += 1
        self._last, self._keys = revision, keys

    def _same(self, want: Sequence[Event], got: Sequence[Event], told: Told) -> None:
        if [(e.put, e.row.key) for e in want] != [(e.put, e.row.key) for e in got]:
            self._broken("Atomic", f"the revision is {want}", told)
        for one, other in zip(want, got, strict=True):
            if one.row != other.row:
                self._broken("IsCreate", f"the row is {one.row}", told)
            before = self._truth.before(one.row.key, one.row.mod)
            if not self._following.prev_kv:
                before = None
            # What was before a compacted revision is gone, and etcd leaves it out.
            gone = other.previous is None and one.row.mod <= self._floors.possible(told.at)
            if other.previous != before and not gone:
                self._broken("PrevKV", f"{one.row.key} was {before}", told)

    def _bookmarked(self, told: Told) -> None:
        if told.revision < max(self._bookmark, self._last):
            self._broken("Bookmarkable", "it falls", told)
        if told.revision < self._start - 1:
            self._broken("Bookmarkable", "it would undo the start", told)
        due = bisect_right(self._want, told.revision)
        if due > self._got:
            self._broken("Bookmarkable", f"before {self._want[self._got : due][:3]} came", told)
        self._bookmark = told.revision

    def _canceled(self, told: Told) -> None:
        if told is not self._following.told[-1]:
            self._broken("Created", "an answer behind the last one", told)
        if not told.compacted:
            self._broken("Resumable", "cancelled without a reason", told)
        if told.compacted > self._floors.possible(told.at):
            self._broken("Resumable", "nobody compacted so far", told)
        following = max(self._start, self._last + 1, self._bookmark + 1)
        if following >= told.compacted:
            self._broken("Resumable", f"cancelled, though {following} is still there", told)

    def _broken(self, promise: str, what: str, told: Told) -> None:
        each = self._following
        watch = f"{each.watcher} of [{each.key!r}, {each.end!r}) from {self._start}"
        raise Broken(promise, f"{what}: {watch} was told {told}")


def _grouped(events: Sequence[Event]) -> list[tuple[int, list[Event]]]:
    """By revision, as long as it stays the same."""
    groups: list[tuple[int, list[Event]]] = []
    for event in events:
        if not groups or groups[-1][0] != event.row.mod:
            groups.append((event.row.mod, []))
        groups[-1][1].append(event)
    return groups


def judge_complete(history: History, watchers: Sequence[str], revision: int) -> None:
    """The last stream of each of these has seen everything up to this revision."""
    last = {following.watcher: following for following in history.followings}
    for watcher in watchers:
        if seen(last[watcher]) < revision:
            raise Broken("Reliable", f"{watcher} stopped at {seen(last[watcher])}, not {revision}")


def judge_chains(history: History) -> None:
    """A stream goes on where the one before it ended, or is begun anew behind a compaction."""
    before: dict[str, Following] = {}
    for following in history.followings:
        elder = before.get(following.watcher)
        before[following.watcher] = following
        if elder is None or (elder.told and elder.told[-1].compacted):
            continue
        if elder.told and following.start != seen(elder) + 1:
            raise Broken("Resumable", f"{following.watcher} left out what follows {seen(elder)}")
