"""What each tablet holds and does: figures for operators, and keys where it could be cut.

What it is: writes a second, the slow hundredth of sampled writes, keys and bytes, and a sample of
written keys. What it is not: a judgement (router/balance.py), or exact: bytes are those of some
rows, scaled; of a hashed range each bucket is told the same share.

Invariants:
- the hot path pays for one write in SAMPLE_EVERY submissions; figures are made when they are asked
  for, once a second at most;
- rows are looked at for WEIGH_MS_MAX at a time, a range once for all of its buckets: of hundreds of
  tablets on a store that is far away some are told as they were seconds ago;
- borders rise, and there are keys on both sides of each.

Worked example: a tablet of 10,000 keys that is to be cut in 4 has borders near its keys 2,500,
5,000 and 7,500.

Tested in tests/unit/shard/test_loads.py.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from typing import Final

from kubebraid.base.keyspace import KeyRange
from kubebraid.base.limits import BUCKET_KEYS_MAX
from kubebraid.base.ports import Publication, TabletLoad, WriteCall, WriteReply
from kubebraid.base.revision import TabletId
from kubebraid.base.seams import Clock
from kubebraid.base.tabletmap import Tablet

from . import keycodec
from .counts import FEW, KeyCounts
from .ownership import Ownership
from .storage.engine import Reader

SAMPLE_EVERY: Final = 16  # submissions; one write of it is timed
WINDOW_MS: Final = 5_000  # what "a second" is averaged over
SAMPLES_MAX: Final = 512  # times and written keys that are remembered of a tablet
TOLD_MS: Final = 1_000
ROWS_WEIGHED: Final = 64  # rows whose size stands for all
WEIGH_MS_MAX: Final = 20  # of a second; behind it ranges keep the weight that they had

Done = Callable[[WriteReply], None]


class _Tablet:
    """What is counted of one."""

    def __init__(self) -> None:
        self.commits = 0  # in this window
        self.per_s = 0.0  # of the one before
        self.times: deque[int] = deque(maxlen=SAMPLES_MAX)
        self.keys: deque[bytes] = deque(maxlen=SAMPLES_MAX)


class Loads:
    """The figures of one shard."""

    def __init__(self, reader: Reader, owned: Ownership, counts: KeyCounts, clock: Clock) -> None:
        self._reader = reader
        self._owned = owned
        self._counts = counts
        self._clock = clock
        self._tablets: dict[TabletId, _Tablet] = {}
        self._submissions = 0
        self._window_ms = clock.now_ms()
        self._told: tuple[TabletLoad, ...] = ()
        self._told_ms = self._window_ms
        self._weights: dict[KeyRange, tuple[int, int]] = {}  # rows and bytes; the oldest first

    # -- what is heard -------------------------------------------------------------------------

    def timed(self, calls: Sequence[WriteCall], done: Done) -> Done:
        """`done`, which may also note how long the first of the calls took."""
        self._submissions += 1
        if self._submissions % SAMPLE_EVERY or not calls or not calls[0].tablets:
            return done
        first, began_ms = calls[0], self._clock.now_ms()

        def answered(reply: WriteReply) -> None:
            if reply.tag is first.tag and reply.error is None:
                times = self._of(first.tablets[0]).times
                times.append(self._clock.now_ms() - began_ms)
            done(reply)

        return answered

    def published(self, publication: Publication) -> None:
        """A group commit."""
        for news in publication.news:
            if news.commits:
                tablet = self._of(news.tablet)
                tablet.commits += len(news.commits)
                tablet.keys.append(news.commits[-1].events[0].key)

    def _of(self, tablet: TabletId) -> _Tablet:
        found = self._tablets.get(tablet)
        if found is None:
            found = self._tablets[tablet] = _Tablet()
        return found

    # -- what is told --------------------------------------------------------------------------

    def now(self) -> tuple[TabletLoad, ...]:
        """The figures of each tablet, a second old at most. Raises EngineError."""
        now_ms = self._clock.now_ms()
        if now_ms < self._told_ms:
            return self._told
        self._told_ms = now_ms + TOLD_MS
        self._turn_window()
        mine = [t for t in self._owned.tablets.tablets if t.id in self._owned.oepochs]
        self._weigh({tablet.span for tablet in mine})
        self._told = tuple(self._load(tablet) for tablet in mine)
        return self._told

    def _turn_window(self) -> None:
        passed = self._clock.now_ms() - self._window_ms
        if passed < WINDOW_MS:
            return
        self._window_ms += passed
        for tablet in self._tablets.values():
            tablet.per_s, tablet.commits = tablet.commits * 1_000 / passed, 0
        gone = self._tablets.keys() - self._owned.oepochs.keys()
        for number in gone:
            del self._tablets[number]

    def _weigh(self, spans: set[KeyRange]) -> None:
        """Look at the first rows of ranges, beginning with those that never were."""
        self._weights = {span: seen for span, seen in self._weights.items() if span in spans}
        new = sorted(spans - self._weights.keys(), key=lambda span: span.start)
        until_ms = self._clock.now_ms() + WEIGH_MS_MAX
        for span in (*new, *list(self._weights)):
            rows = self._reader.scan(*keycodec.newest_bounds(span), ROWS_WEIGHED)
            self._weights.pop(span, None)
            self._weights[span] = len(rows), sum(len(key) + len(value) for key, value in rows)
            if self._clock.now_ms() >= until_ms:
                return

    def _load(self, tablet: Tablet) -> TabletLoad:
        heard = self._of(tablet.id)
        weighed, size = self._weights.get(tablet.span, (0, 0))
        keys = weighed
        if keys == ROWS_WEIGHED:
            counted = self._counts.known(tablet.span)
            keys = keys if counted is None else counted
            keys //= self._share(tablet)
        stored = size * keys // max(1, weighed)
        times = sorted(heard.times)
        p99_ms = times[len(times) * 99 // 100] if times else 0
        return TabletLoad(tablet.id, stored, keys, round(heard.per_s, 1), float(p99_ms))

    def _share(self, tablet: Tablet) -> int:
        """How many buckets of its range are ours: a count of the range is of them all."""
        ours = self._owned.tablets_of(tablet.span)
        return max(1, len(ours)) if tablet.buckets > 1 else 1

    # -- where it could be cut -----------------------------------------------------------------

    def borders(self, tablet: TabletId, parts: int, by_load: bool) -> tuple[bytes, ...]:
        """Keys that cut it; fewer where there are too few keys. Raises EngineError."""
        found = next(t for t in self._owned.tablets.tablets if t.id == tablet)
        if by_load:
            keys = sorted(set(self._of(tablet).keys))
        else:
            keys = self._counts.marks(found.span) or self._few(found)
        cuts = {keys[len(keys) * cut // parts] for cut in range(1, parts)} if keys else set()
        return tuple(sorted(cut for cut in cuts if cut > max(found.span.start, keys[0])))

    def _few(self, tablet: Tablet) -> list[bytes]:
        """All of its keys, where they are few; none of many that are not counted yet."""
        low, high = keycodec.newest_bounds(tablet.span)
        stored = self._reader.keys(low, high, FEW * BUCKET_KEYS_MAX)
        return [key[1:] for key in stored] if len(stored) < FEW * BUCKET_KEYS_MAX else []
