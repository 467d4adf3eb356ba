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
from kubebraid.base.record import Commit, Event, Row
from kubebraid.base.revision import Revision, TabletId
from kubebraid.proto.kvwire import tombstone

from . import keycodec, mvcc
from .keycodec import LogChange
from .storage.engine import Reader


def read_log(reader: Reader, call: LogCall, floor: Revision) -> LogReply | RequestRefused:
    """At most `call.limit` log rows' worth of commits, or the revision that passes `bytes_max`."""
    if call.first < floor:
        return errors.COMPACTED
    commits: list[Commit] = []
    size = 0
    merged = heapq.merge(*[_rows(reader, tablet, call) for tablet in call.tablets])
    for rows, (revision, value) in enumerate(merged):
        full = rows >= call.limit or size >= call.bytes_max
        if full and _whole(commits, revision):
            return LogReply(_matching(commits), revision - 1)
        events = _events(reader, revision, value, call.span)
        size += sum(len(event.raw) + len(event.previous or b"") for event in events)
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
    changes = [c for c in keycodec.unpack_changes(value) if span.contains(c.key)]
    last = {change.key: change.sub for change in changes}
    return tuple(
        _event(reader, revision, change, change.sub == last[change.key]) for change in changes
    )


def _event(reader: Reader, revision: Revision, change: LogChange, is_last: bool) -> Event:
    """`is_last`: this revision did not change the key again."""
    key = change.key
    old = mvcc.before(reader, key, revision) if change.before else None
    previous = None if old is None else old.raw
    if change.deleted:
        raw = tombstone(key, revision)
        return Event(key, True, raw, previous, change.sub, change.before)
    row = _written(reader, revision, change, is_last)
    if row.create == revision:
        previous = None  # a creation has none, also after a deletion in the same revision
    return Event(key, False, row.raw, previous, change.sub, change.before)


def _written(reader: Reader, revision: Revision, change: LogChange, is_last: bool) -> Row:
    if is_last:
        row = mvcc.version(reader, change.key, revision)
        assert row is not None, f"the version of {change.key!r} at {revision} is above the floor"
        return row
    value = reader.get(keycodec.history(change.key, revision, change.sub))
    assert value, f"the version of {change.key!r} at {revision}.{change.sub} is above the floor"
    return keycodec.unpack_row(value)
