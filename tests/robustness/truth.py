"""What happened in a run, from what the watches of all keys were told, and who did it.

What it is: revision by revision the events, the rows of any key at any revision, and for each
change the call that made it. What it is not: what single clients may see of it (`linear`, `told`).

Words: a change is *explained* by the one call that was answered with its revision, or by one whose
answer never came and which could have done it; a *sighting* is a revision that somebody was told,
and when.

Invariants: where two watches of all keys tell the same revision they tell the same; versions and
create revisions go on without a jump, so that a change that nobody was told would show.

Worked example: a@5 version 1 and then a@9 version 3: some change between the two was lost.

Tested in test_judges.py.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections import defaultdict
from collections.abc import Iterable, Sequence

from tests.robustness.records import (
    EVERYTHING,
    Call,
    Compact,
    Delete,
    Done,
    Event,
    History,
    Outcome,
    Put,
    Revoke,
    Row,
    Txn,
)


class Broken(AssertionError):
    """A promise was broken; the text says which, and by what."""

    def __init__(self, promise: str, what: str) -> None:
        super().__init__(f"{promise}: {what}")
        self.promise = promise


class Truth:
    """The history of all keys. Raises Broken where the watches contradict each other."""

    def __init__(self, history: History) -> None:
        self.events: dict[int, tuple[Event, ...]] = {}
        for following in history.followings:
            if (following.key, following.end) == (EVERYTHING, EVERYTHING):
                for told in following.told:
                    self._take(told.events)
        self.revisions: list[int] = sorted(self.events)
        self._versions: dict[str, list[tuple[int, Row | None]]] = defaultdict(list)
        for revision in self.revisions:
            for event in self.events[revision]:
                self._append(revision, event)
        self.keys: list[str] = sorted(self._versions)

    def _take(self, events: Sequence[Event]) -> None:
        found: dict[int, list[Event]] = defaultdict(list)
        for event in events:
            found[event.row.mod].append(event)
        for revision, group in found.items():
            known = self.events.setdefault(revision, tuple(group))
            if _plain(known) != _plain(group):
                raise Broken("Atomic", f"revision {revision} was told as {known} and as {group}")

    def _append(self, revision: int, event: Event) -> None:
        before = self.before(event.row.key, revision)
        row = event.row
        if event.put:
            wanted = (before.create, before.version + 1) if before else (revision, 1)
            if (row.create, row.version) != wanted:
                raise Broken("Lost", f"{row} follows {before}")
        elif before is None:
            raise Broken("Lost", f"{row.key} was deleted at {revision}, and was not there")
        self._versions[row.key].append((revision, row if event.put else None))

    def at(self, key: str, revision: int) -> Row | None:
        """The row of a key once everything up to `revision` has happened."""
        versions = self._versions.get(key, [])
        place = bisect_right(versions, revision, key=lambda version: version[0])
        return versions[place - 1][1] if place else None

    def before(self, key: str, revision: int) -> Row | None:
        """The row of a key before `revision`."""
        return self.at(key, revision - 1)

    def rows(self, key: str, end: str, revision: int) -> list[Row]:
        """The rows of a range at `revision`, in key order."""
        if not end:
            row = self.at(key, revision)
            return [row] if row else []
        stop = len(self.keys) if end == EVERYTHING else bisect_left(self.keys, end)
        keys = self.keys[bisect_left(self.keys, key) : stop]
        return [row for row in (self.at(each, revision) for each in keys) if row]

    @property
    def last(self) -> int:
        """The newest change; 1, the revision of an empty store, if there is none."""
        return self.revisions[-1] if self.revisions else 1


def _plain(events: Sequence[Event]) -> list[tuple[bool, Row]]:
    return [(event.put, event.row) for event in events]


class Sightings:
    """What anybody knew of revisions, and when."""

    def __init__(self, history: History) -> None:
        """Bookmarks and events count: who was told a revision knows that it is in the past."""
        found = [(call.returned, call.revision) for call in history.calls if call.revision]
        for following in history.followings:
            found += [(told.at, told.revision) for told in following.told if not told.canceled]
        found.sort()
        self._times = [at for at, _ in found]
        self._newest: list[int] = []
        newest = 1
        for _, revision in found:
            newest = max(newest, revision)
            self._newest.append(newest)

    def before(self, at: int) -> int:
        """The newest revision that was known to anybody before this time."""
        place = bisect_left(self._times, at)
        return self._newest[place - 1] if place else 1


def holds(request: Txn, truth: Truth, revision: int) -> bool:
    """Whether the compares of a transaction are true at `revision`."""
    rows = ((truth.at(key, revision), mod) for key, mod in request.compares)
    return all((row.mod if row else 0) == mod for row, mod in rows)


def effects(request: Txn, truth: Truth, revision: int) -> list[tuple[bool, str, str, int]]:
    """What the transaction changes if it is carried out on top of `revision`, in order."""
    ops = request.then if holds(request, truth, revision) else request.otherwise
    found: list[tuple[bool, str, str, int]] = []
    for op in ops:
        match op:
            case Put(key, value, lease):
                found.append((True, key, value, lease))
            case Delete(key) if truth.at(key, revision) is not None:
                found.append((False, key, "", 0))
    return found


def told_effects(events: Sequence[Event]) -> list[tuple[bool, str, str, int]]:
    """The same of a revision's events."""
    return [(e.put, e.row.key, e.row.value, e.row.lease if e.put else 0) for e in events]


def changed(call: Call) -> bool:
    """Whether an answered call says that it changed something."""
    if not isinstance(call.request, Txn) or not isinstance(call.answer, Done):
        return False
    ops = call.request.then if call.answer.succeeded else call.request.otherwise
    pairs = zip(ops, call.answer.results, strict=True)
    return any(isinstance(op, Put) or (isinstance(op, Delete) and result) for op, result in pairs)


def explain(history: History, truth: Truth, sightings: Sightings) -> dict[int, Call]:
    """The call that made each change. Raises Broken for a change that nobody made, and for an
    answered write that is not in the history."""
    makers: dict[int, Call] = {}
    for call in history.calls:
        if call.outcome is Outcome.OK and changed(call):
            if call.revision not in truth.events:
                raise Broken("Lost", f"acknowledged, and told to no watch: {call}")
            if call.revision in makers:
                raise Broken("Unique", f"one revision for {call} and {makers[call.revision]}")
            makers[call.revision] = call
    open_calls = [call for call in history.calls if _may_have_changed(call)]
    for revision in truth.revisions:
        if revision not in makers:
            maker = _maker(revision, truth, sightings, open_calls)
            makers[revision] = maker
            open_calls.remove(maker)
    return makers


def _may_have_changed(call: Call) -> bool:
    if isinstance(call.request, Revoke):
        return call.outcome is not Outcome.REFUSED
    return isinstance(call.request, Txn) and call.outcome is Outcome.UNKNOWN


def _maker(revision: int, truth: Truth, sightings: Sightings, open_calls: Sequence[Call]) -> Call:
    events = truth.events[revision]
    for call in open_calls:
        if sightings.before(call.called) >= revision:
            continue  # the revision was known before it was called
        match call.request:
            case Txn() as txn if effects(txn, truth, revision - 1) == told_effects(events):
                return call
            case Revoke(lease) if all(_hung_on(lease, event, truth) for event in events):
                return call
            case _:
                pass
    raise Broken("Foreign", f"nobody made the change {revision}: {events}")


def _hung_on(lease: int, event: Event, truth: Truth) -> bool:
    before = truth.before(event.row.key, event.row.mod)
    return not event.put and before is not None and before.lease == lease


class Floors:
    """The compactions of a run."""

    def __init__(self, history: History) -> None:
        found = (call for call in history.calls if isinstance(call.request, Compact))
        self._calls = [call for call in found if call.outcome is not Outcome.REFUSED]

    def sure(self, at: int) -> int:
        """The floor that every request after this time has to know."""
        return self._highest(
            call for call in self._calls if call.outcome is Outcome.OK and call.returned < at
        )

    def possible(self, at: int) -> int:
        """The highest floor that can have been set before this time."""
        return self._highest(call for call in self._calls if call.called < at)

    @staticmethod
    def _highest(calls: Iterable[Call]) -> int:
        requests = [call.request for call in calls]
        return max((r.revision for r in requests if isinstance(r, Compact)), default=0)
