"""The log as commits: what happened in tablets after a revision, read back from the engine.

What it is: the catch-up path of watches. What it is not: the live path (publications).

Invariants:
- inv07: commits come in revision order, complete from `first` to `complete`; a revision that
  touched several tablets is one commit (inv06);
- every event has the bytes of its version, and of the one before it, as the live path had them;
- what lies below the floor is refused, never served in part (COMPACTED).

Worked example: log rows l/1/11 = [a put], l/2/12 = [b delete] read from 11 up to 12 over tablets
1 and 2: two commits, the second with the previous version of b.

Tested in tests/unit/shard/test_history.py, tests/property/test_watch_history.py.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator

from kubebraid.base import errors
from kubebraid.base.errors import RequestRefused
from kubebraid.base.keyspace import KeyRange
from kubebraid.base.ports import LogCall, LogReply
from kubebraid.base.record import Commit, Event
from kubebraid.base.revision import Revision, TabletId
from kubebraid.proto.kvwire import tombstone

from . import keycodec, mvcc
from .storage.engine import Reader


def read_log(reader: Reader, call: LogCall, floor: Revision) -> LogReply | RequestRefused:
    """At most `call.limit` log rows' worth of commits."""
    if call.first < floor:
        return errors.COMPACTED
    commits: list[Commit] = []
    merged = heapq.merge(*[_rows(reader, tablet, call) for tablet in call.tablets])
    for rows, (revision, value) in enumerate(merged):
        if rows >= call.limit and _whole(commits, revision):
            return LogReply(_matching(commits), revision - 1)
        events = _events(reader, revision, value, call.span)
        if commits and commits[-1].revision == revision:
            commits[-1] = commits[-1].joined(events)
        else:
            commits.append(Commit(revision, events))
    return LogReply(_matching(commits), call.upto)


def _whole(commits: list[Commit], revision: Revision) -> bool:
    """Whether the last commit is whole: the next row belongs to a later revision."""
    return not commits or commits[-1].revision < revision


def _matching(commits: list[Commit]) -> list[Commit]:
    return [commit for commit in commits if commit.events]


def _rows(reader: Reader, tablet: TabletId, call: LogCall) -> Iterator[tuple[Revision, bytes]]:
    start = keycodec.log(tablet, call.first)
    end = keycodec.log(tablet, call.upto + 1)
    for page in mvcc.pages(reader, start, end, min(call.limit, 128)):
        for stored, value in page:
            yield keycodec.log_revision(stored), value


def _events(reader: Reader, revision: Revision, value: bytes, span: KeyRange) -> tuple[Event, ...]:
    return tuple(
        _event(reader, revision, key, deleted, sub)
        for key, deleted, sub in keycodec.unpack_changes(value)
        if span.contains(key)
    )


def _event(reader: Reader, revision: Revision, key: bytes, deleted: bool, sub: int) -> Event:
    old = mvcc.before(reader, key, revision)
    previous = None if old is None else old.raw
    if deleted:
        return Event(key, True, tombstone(key, revision), previous, sub)
    row = mvcc.version(reader, key, revision)
    assert row is not None, f"the version of {key!r} at {revision} is above the floor"
    return Event(key, False, row.raw, previous, sub)
