"""Rows of one span from several owners, in key order, as if one owner held them all.

What it is: the read of a segment whose keys are hashed among shards: it asks every owner at once
and hands one sequence of chunks on. What it is not: the answer (`gather.py`), or the merge of
watches (`merge.py`).

Words: a *strand* is one owner's rows; it is *open* while more of it may come, and *lacks* while
also nothing of it is here. A row is *settled* once no open strand can bring a smaller key. Where
the read has a limit, a strand is read in *pages*: about its share of the limit, and another where
that was too little.

Invariants:
- rows leave in strictly ascending key order, each once (inv17: a key has one owner);
- it answers a ReadCall as an owner does: at most limit + 1 rows, or limit of them as bytes; the
  total, in the last chunk alone, is the sum of the strands';
- an owner reads on only while its strand lacks and the asker is ready: of each strand at most one
  chunk is kept, and nothing of it behind the limit;
- the first refusal is handed on and ends every strand.

Worked example: open strands [a c] and [b d f]: "c" is the least of what they end with, so a, b and
c are settled; the first strand lacks, d and f wait for its next chunk.

Tested in tests/unit/router/test_interleave.py, tests/property/test_gather.py.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from itertools import islice
from math import isqrt
from operator import itemgetter, lt

from kubebraid.base.errors import RequestRefused
from kubebraid.base.keyspace import KeyRange
from kubebraid.base.limits import STREAM_CHUNK_BYTES
from kubebraid.base.ports import OwnerPort, ReadCall, ReadChunk, ReadSink
from kubebraid.base.record import Row
from kubebraid.proto.kvwire import key_of, range_rows, row_chunks


def page_rows(rows: int, strands: int) -> int:
    """A strand's share of `rows`, with what chance may add to it (three times its deviation)."""
    share = -(-rows // strands)
    return min(rows, share + 3 * isqrt(share) + 1)


class Interleaved:
    """One read under way. `calls`: the same read of each owner, with its own needs."""

    def __init__(self, calls: Sequence[tuple[OwnerPort, ReadCall]], sink: ReadSink) -> None:
        assert len(calls) > 1, "one owner's rows are in order"
        call = calls[0][1]
        self._sink = sink
        self._spliced = call.spliced
        self._bounded = call.limit > 0
        self._left = call.limit + (not call.spliced)  # rows that may leave, if that is bounded
        self._total = 0
        page = page_rows(self._left, len(calls)) if self._bounded else 0
        # Owners splice no rows here: bytes cannot be put in order.
        self._strands = tuple(
            _Strand(self, owner, call._replace(limit=page, spliced=False)) for owner, call in calls
        )
        self.over = False

    def start(self) -> None:
        """Ask every owner."""
        self._ask()

    def _ask(self) -> None:
        """Let every owner work whose strand lacks and is not asked for."""
        for strand in self._strands:
            if not self.over and strand.lacks() and not strand.asked:
                strand.ask()

    def ready(self) -> bool:
        return self._sink.ready()

    def refused(self, why: RequestRefused) -> None:
        self._end()
        self._sink.take(why)

    def came(self, total: int) -> None:
        """A strand has grown, or come to the end of a page; `total`: what it adds to the count."""
        self._total += total
        if not self._hand_on(self._settled()):
            self._end()
        elif any(strand.open() for strand in self._strands):
            self._ask()
        else:
            self._end()
            self._sink.take(ReadChunk((), self._total, True))

    def _end(self) -> None:
        self.over = True
        self._strands = ()  # they know this read: without them its rows go at once

    def _settled(self) -> list[Row]:
        """Take every row that may leave now, in key order."""
        if any(strand.lacks() for strand in self._strands):
            return []
        open_ends = [strand.keys[-1] for strand in self._strands if strand.open()]
        bound = min(open_ends, default=None)
        pairs: list[tuple[bytes, Row]] = []
        for strand in self._strands:
            pairs += strand.take_upto(bound)
        pairs.sort(key=itemgetter(0))  # a few ascending runs: merged in one pass
        keys = [key for key, _ in pairs]
        assert all(map(lt, keys, islice(keys, 1, None))), "inv17: a key of two owners"
        return [row for _, row in pairs]

    def _hand_on(self, rows: list[Row]) -> bool:
        """Answers whether more is wanted."""
        if self._bounded:
            rows = rows[: self._left]
            self._left -= len(rows)
            if not self._left:
                for strand in self._strands:
                    strand.drop()
        if not rows:
            return True
        if not self._spliced:
            return self._sink.take(ReadChunk(rows, 0, False))
        return all(
            self._sink.take(ReadChunk((), 0, False, range_rows(raws), len(raws)))
            for raws in row_chunks([row.raw for row in rows], STREAM_CHUNK_BYTES)
        )


class _Strand:
    """One owner's rows that are not settled. Implements ReadSink. Of a read that is over it is
    ready and wants nothing, so that the owner's work ends at its next slice."""

    def __init__(self, whole: Interleaved, owner: OwnerPort, call: ReadCall) -> None:
        self._whole = whole
        self._owner = owner
        self._call = call
        self._page = 0  # rows of the present page so far
        self._counted = False
        self._more = True  # whether rows follow the present page, if they are wanted
        self.asked = False
        self.keys: list[bytes] = []
        self._rows: list[Row] = []

    def open(self) -> bool:
        return self.asked or self._more

    def lacks(self) -> bool:
        return not self.keys and self.open()

    def ask(self) -> None:
        """For the first page, or the next."""
        self.asked, self._page = True, 0
        self._owner.read(self._call, self)

    def ready(self) -> bool:
        return self._whole.over or (not self.keys and self._whole.ready())

    def take(self, part: ReadChunk | RequestRefused) -> bool:
        whole = self._whole
        if whole.over:
            return False
        if isinstance(part, RequestRefused):
            whole.refused(part)
            return False
        self._grow(part.rows)
        total = 0 if self._counted else part.total
        if part.last:
            self.asked, self._counted = False, True
            self._more = 0 < self._page == self._call.limit < part.total
        whole.came(total)
        return not whole.over

    def _grow(self, rows: Sequence[Row]) -> None:
        call = self._call
        if call.limit:
            # The owner shows one row beyond a page. It remembers what it counted behind the page,
            # not behind that row: so this row is left for the next page.
            rows = rows[: call.limit - self._page]
        self._page += len(rows)
        self.keys += [key_of(row.raw) for row in rows]
        self._rows += rows
        if rows and self._page == call.limit:
            following = KeyRange(self.keys[-1] + b"\x00", call.span.end)
            self._call = call._replace(span=following)

    def take_upto(self, bound: bytes | None) -> list[tuple[bytes, Row]]:
        """The rows up to a key, or all."""
        cut = len(self.keys) if bound is None else bisect_right(self.keys, bound)
        taken = list(zip(self.keys[:cut], self._rows[:cut], strict=True))
        del self.keys[:cut], self._rows[:cut]
        return taken

    def drop(self) -> None:
        """No more rows leave; a total is still waited for."""
        self._more = False
        self.keys.clear()
        self._rows.clear()
