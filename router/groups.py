"""The synced watchers of one feed, and which of them a commit concerns.

What it is: an index from keys to groups of watchers. What it is not: encoding or sending.

Words: a *group* shares (span, options), so its members get the same bytes. A span is a *single*
key, a *prefix* (its end is `prefix_end` of its start) or an *odd* range, of which there are few.

Invariants:
- a group whose span holds an event's key is found for that event; others may be found too, `encode`
  looks at the span again;
- a prefix is found in one lookup for each distinct length of prefixes, however many there are, so
  that 5,000 watches of 5,000 namespaces cost a commit what a few cost.

Worked example: prefixes /a/ and /b/ (one length, 3) and an event of /b/x: `/b/` is looked up, /a/
is never touched.

Tested in tests/unit/router/test_groups.py.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final, NamedTuple

from kubebraid.base.keyspace import KeyRange, prefix_end
from kubebraid.base.record import Commit, Event
from kubebraid.base.revision import Revision

from .watcher import Options, Watcher

FEW: Final = 4  # so many groups are asked one by one: cheaper than lookups for each event


class Concerned(NamedTuple):
    """A group, and of the commits what may concern it."""

    options: Options
    commits: Sequence[Commit]
    members: list[Watcher]


def _prefix(span: KeyRange) -> bool:
    return bool(span.start) and span.end == prefix_end(span.start)


class _Index:
    """Groups under a key that they all share: a single key or a prefix."""

    def __init__(self) -> None:
        self._groups: dict[bytes, dict[Options, None]] = {}

    def __len__(self) -> int:
        return len(self._groups)

    def add(self, options: Options) -> None:
        self._groups.setdefault(options.span.start, {})[options] = None

    def remove(self, options: Options) -> None:
        found = self._groups[options.span.start]
        del found[options]
        if not found:
            del self._groups[options.span.start]

    def get(self, key: bytes) -> dict[Options, None]:
        return self._groups.get(key, {})


class Groups:
    """The synced watchers of one feed, indexed by what they want."""

    def __init__(self) -> None:
        self._members: dict[Options, dict[Watcher, None]] = {}
        self._singles = _Index()
        self._prefixes: dict[int, _Index] = {}  # by the length of the prefix
        self._odd: dict[Options, None] = {}

    def __len__(self) -> int:
        return sum(map(len, self._members.values()))

    def add(self, watcher: Watcher) -> None:
        """`watcher` is synced from now on."""
        options = watcher.options
        watcher.synced = True
        members = self._members.get(options)
        if members is not None:
            members[watcher] = None
            return
        self._members[options] = {watcher: None}
        if options.span.is_single():
            self._singles.add(options)
        elif _prefix(options.span):
            self._prefixes.setdefault(len(options.span.start), _Index()).add(options)
        else:
            self._odd[options] = None

    def remove(self, watcher: Watcher) -> None:
        """`watcher` is behind, or gone; a group without members goes too."""
        options = watcher.options
        watcher.synced = False
        members = self._members[options]
        del members[watcher]
        if members:
            return
        del self._members[options]
        if options.span.is_single():
            self._singles.remove(options)
        elif _prefix(options.span):
            length = len(options.span.start)
            self._prefixes[length].remove(options)
            if not self._prefixes[length]:
                del self._prefixes[length]
        else:
            del self._odd[options]

    def concerned(self, commits: Sequence[Commit]) -> list[Concerned]:
        """The groups that some event of `commits` may concern, each with its part of them."""
        if len(self._members) <= FEW:
            return [Concerned(o, commits, list(members)) for o, members in self._members.items()]
        parts: dict[Options, list[tuple[Revision, Event]]] = {}
        for commit in commits:
            for event in commit.events:
                for options in self._of(event.key):
                    parts.setdefault(options, []).append((commit.revision, event))
        found = [Concerned(o, _joined(part), list(self._members[o])) for o, part in parts.items()]
        return found + [Concerned(o, commits, list(self._members[o])) for o in self._odd]

    def _of(self, key: bytes) -> Iterator[Options]:
        """The groups of single keys and prefixes that hold `key`."""
        yield from self._singles.get(key)
        for length, index in self._prefixes.items():
            if length <= len(key):
                yield from index.get(key[:length])


def _joined(part: Sequence[tuple[Revision, Event]]) -> list[Commit]:
    """Events in revision order as commits."""
    by_revision: dict[Revision, list[Event]] = {}
    for revision, event in part:
        by_revision.setdefault(revision, []).append(event)
    return [Commit(revision, tuple(events)) for revision, events in by_revision.items()]
