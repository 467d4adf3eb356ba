"""How many live keys a range holds, in milliseconds, whatever its size.

What it is: counters of consecutive sub-ranges ("buckets") of the newest rows, kept in memory and
moved by every commit. What it is not: durable (it is built in the background after a start), nor a
judge of old revisions (`totals.py` reads the log for the difference).

Words: a bucket is [its start, the start of the next); *covered* is what the building has passed.

Invariants:
- the sum of the buckets is the number of live keys below `covered`, after every commit;
- a bucket holds at most BUCKET_KEYS_MAX keys once `turn` has nothing to do, so a count costs two
  scans of at most as many keys, and a sum of integers;
- memory is that of the buckets' starts: a ten-thousandth of the keys.

Worked example: buckets "" -> 512, "g" -> 700, "p" -> 600: the count of [c, z) is the keys scanned
in [c, g), 700, and the keys scanned in [p, z).

Tested in tests/unit/shard/test_counts.py.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Sequence
from typing import Final

from kubebraid.base.keyspace import KeyRange
from kubebraid.base.limits import BUCKET_KEYS_MAX
from kubebraid.base.ports import Publication
from kubebraid.base.record import Commit, Event

from . import keycodec
from .storage.engine import Reader

_HALF: Final = BUCKET_KEYS_MAX // 2
FEW: Final = 16  # buckets of a range, below which its keys are counted one by one


class KeyCounts:
    """The counters of one shard's engine."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader
        self._starts: list[bytes] = [b""]
        self._counts: list[int] = [0]
        self._covered: bytes | None = b""  # None: everything
        self._crowded: dict[bytes, None] = {}  # starts of buckets that may hold too many

    def begin_anew(self) -> None:
        """Ranges have come or gone: count again."""
        self._starts, self._counts, self._covered = [b""], [0], b""
        self._crowded.clear()

    @property
    def complete(self) -> bool:
        """Whether every range can be counted."""
        return self._covered is None

    def published(self, publication: Publication) -> None:
        """What a group commit changed."""
        for news in publication.news:
            self.committed(news.commits)

    def committed(self, commits: Iterable[Commit]) -> None:
        """What the engine now holds besides; called once for each commit, in order."""
        for commit in commits:
            events = commit.events
            for event in events if len(events) == 1 else _last_of_each_key(events):
                if event.deleted:
                    if event.before:
                        self._move(event.key, -1)
                elif not event.before:
                    self._move(event.key, 1)

    def turn(self) -> bool:
        """Split a crowded bucket, or count on. Answers: is there more to do? Raises EngineError;
        then the same is tried at the next turn."""
        if self._crowded:
            start = next(iter(self._crowded))
            self._split(start)
            del self._crowded[start]
        elif self._covered is not None:
            self._build(self._covered)
        return bool(self._crowded) or self._covered is not None

    def known(self, span: KeyRange) -> int | None:
        """As `count`; None before the counters are complete."""
        return self.count(span) if self.complete else None

    def count(self, span: KeyRange) -> int:
        """Live keys of a range now. Only when `complete`. Raises EngineError."""
        assert self.complete
        first = bisect_right(self._starts, span.start) - 1
        last = len(self._starts) if span.end is None else bisect_left(self._starts, span.end)
        if last - first <= 1:
            return self._scanned(span.start, span.end)
        total = sum(self._counts[first + 1 : last - 1])
        head, tail = self._starts[first + 1], self._starts[last - 1]
        if span.start == self._starts[first]:
            total += self._counts[first]
        else:
            total += self._scanned(span.start, head)
        if span.end is None or (last < len(self._starts) and self._starts[last] == span.end):
            return total + self._counts[last - 1]
        return total + self._scanned(tail, span.end)

    def marks(self, span: KeyRange) -> list[bytes]:
        """Keys of the range with about as many keys between any two; none where it has few, or
        while they are being counted."""
        if not self.complete:
            return []
        first = bisect_right(self._starts, span.start)
        last = len(self._starts) if span.end is None else bisect_left(self._starts, span.end)
        return self._starts[first:last] if last - first >= FEW else []

    def _scanned(self, start: bytes, end: bytes | None) -> int:
        low, high = keycodec.newest_bounds(KeyRange(start, end))
        return self._reader.count(low, high, 1 << 62)

    def _move(self, key: bytes, by: int) -> None:
        if self._covered is not None and key >= self._covered:
            return  # the building will meet it as it then is
        at = bisect_right(self._starts, key) - 1
        self._counts[at] += by
        assert self._counts[at] >= 0, "no more keys go than came"
        if self._counts[at] > BUCKET_KEYS_MAX:
            self._crowded[self._starts[at]] = None
        elif by < 0 and at and self._counts[at] + self._counts[at - 1] <= _HALF:
            self._counts[at - 1] += self._counts.pop(at)
            self._crowded.pop(self._starts.pop(at), None)

    def _split(self, start: bytes) -> None:
        at = bisect_left(self._starts, start)
        assert self._starts[at] == start, "a bucket that is gone is not crowded"
        if self._counts[at] <= BUCKET_KEYS_MAX:
            return  # the same commit took away what it brought
        following = self._starts[at + 1] if at + 1 < len(self._starts) else self._covered
        low, high = keycodec.newest_bounds(KeyRange(start, following))
        keys = self._reader.keys(low, high, self._counts[at])
        assert len(keys) == self._counts[at], "the counter is the number of keys"
        cuts = range(0, len(keys), _HALF)
        sizes = [min(_HALF, len(keys) - cut) for cut in cuts]
        self._starts[at : at + 1] = [start] + [keys[cut][1:] for cut in cuts[1:]]
        self._counts[at : at + 1] = sizes

    def _build(self, covered: bytes) -> None:
        """One bucket's worth; what is written later in it arrives as commits."""
        low, high = keycodec.newest_bounds(KeyRange(covered, None))
        keys = self._reader.keys(low, high, _HALF + 1)
        if len(keys) <= _HALF:
            self._counts[-1], self._covered = len(keys), None
            return
        following = keys[-1][1:]
        self._counts[-1] = _HALF
        self._starts.append(following)
        self._counts.append(0)
        self._covered = following


def _last_of_each_key(events: Sequence[Event]) -> Iterable[Event]:
    """A revision that changes a key twice leaves what the last change says."""
    return {event.key: event for event in events}.values()
