"""The number of keys that a range held at a revision, without walking over them.

What it is: the total of paged reads: remembered, or derived from the counters (`counts.py`) and
what the log says has come and gone since; only where neither can, the rest is counted.
What it is not: the rows.

Invariant: a total is that of the read's own revision, whatever was written meanwhile: the counters
are asked once, then the log is walked up to that moment, a bounded slice at a time.

Worked example: 1,000 keys now at R=50, and the log tells of 3 creations and 1 deletion in the range
after 40: at 40 there were 998.

Tested in tests/unit/shard/test_totals.py, tests/property/test_history.py.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Generator, Iterator, Sequence

from kubebraid.base.keyspace import KeyRange
from kubebraid.base.limits import COUNT_CACHE_ENTRIES, COUNT_LOG_REVISIONS_MAX, LOG_SLICE_REVISIONS
from kubebraid.base.ports import ReadCall
from kubebraid.base.revision import Revision

from . import keycodec
from .counts import KeyCounts
from .keycodec import LogChange
from .ownership import Ownership, may_have_left
from .storage.engine import Reader

Counting = Generator[None, None, int]
"""Yields after each slice of work; its value is the total."""


class CountCache:
    """Totals of ranges at revisions: immutable facts, so they never go stale."""

    def __init__(self) -> None:
        self._known: OrderedDict[tuple[bytes, bytes | None, Revision], int] = OrderedDict()

    def get(self, span: KeyRange, revision: Revision) -> int | None:
        return self._known.get((span.start, span.end, revision))

    def put(self, span: KeyRange, revision: Revision, count: int) -> None:
        assert count >= 0
        self._known[(span.start, span.end, revision)] = count
        while len(self._known) > COUNT_CACHE_ENTRIES:
            self._known.popitem(last=False)


class Totals:
    """The totals of one shard."""

    def __init__(self, engine: Reader, owned: Ownership, counts: KeyCounts) -> None:
        self._engine = engine
        self._owned = owned
        self._counts = counts
        self._cache = CountCache()
        self._since = owned.since

    def remember(self, call: ReadCall, span: KeyRange, count: int) -> None:
        """What a page leaves uncounted: where the next page of its listing begins."""
        if self._fits(call):
            self._cache.put(span, call.revision, count)

    def _fits(self, call: ReadCall) -> bool:
        """Whether what is ours is as it was when the call was planned; what was remembered of
        ranges that were cut otherwise is forgotten."""
        if self._since != self._owned.since:
            self._since = self._owned.since
            self._cache = CountCache()
        return self._owned.knows(call.map_version)

    def total(self, call: ReadCall, rest: Iterator[Sequence[object]], seen: int) -> Counting:
        """The keys of `call.span` at `call.revision`; `seen` were read, `rest` are the others."""
        total = self._cache.get(call.span, call.revision) if self._fits(call) else None
        if total is None and self._near(call):
            total = yield from self._derived(call)
        if total is None:
            for rows in rest:
                seen += len(rows)
                yield
            total = seen
        self.remember(call, call.span, total)
        return total

    def _near(self, call: ReadCall) -> bool:
        """Whether the log since then is short enough to be walked instead of the keys."""
        behind = self._owned.committed_revision - call.revision
        known = self._counts.complete and not may_have_left(self._owned)
        return self._fits(call) and known and behind <= COUNT_LOG_REVISIONS_MAX

    def _derived(self, call: ReadCall) -> Generator[None, None, int | None]:
        """From the counters and the log; None if the log was compacted under our hands."""
        now = self._counts.count(call.span)
        upto = {t: self._owned.closed[t] for t in self._owned.tablets_of(call.span)}
        gained = 0
        for tablet, end in upto.items():
            at = call.revision + 1
            while at <= end:
                if self._owned.floor() > at or not self._fits(call):
                    return None
                low, high = keycodec.log(tablet, at), keycodec.log(tablet, end + 1)
                rows = self._engine.scan(low, high, LOG_SLICE_REVISIONS)
                for _, value in rows:
                    gained += _gained(keycodec.unpack_changes(value), call.span)
                if len(rows) < LOG_SLICE_REVISIONS:
                    break
                at = keycodec.log_revision(rows[-1][0]) + 1
                yield
        return now - gained


def _gained(changes: Sequence[LogChange], span: KeyRange) -> int:
    """How many more keys of `span` there are after a revision than before it."""
    last = {change.key: change for change in changes if span.contains(change.key)}
    return sum((not change.deleted) - (change.before > 0) for change in last.values())
