"""Segments of a read, of one owner each or of several, become one etcd answer.

What it is: the receiving end of reads: a unary Range and a RangeStream. What it is not: routing
(`plan.py`), reading, or the merge of a segment's owners (`interleave.py`).

Invariants:
- segments are asked in key order, one after the other, each with what is left of the limit; behind
  the limit only counts are asked;
- a refusal by any part refuses the whole; nothing partial is answered as if it were whole;
- RangeStream: the merged chunks equal the Range; header, more and count are in the last alone.

Worked example: limit 3 over two owners with 2 and 5 rows: the first answers 2 rows, the second is
asked for 1 and shows one more, so `more` is true and count is 7.

Tested in tests/unit/router/test_gather.py, tests/property/test_gather.py.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from kubebraid.base.errors import RequestRefused
from kubebraid.base.limits import STREAM_CHUNK_BYTES
from kubebraid.base.ports import OwnerPort, ReadCall, ReadChunk
from kubebraid.base.record import Row
from kubebraid.proto import ranges
from kubebraid.proto.kvwire import blob, range_rows, range_tail, row_chunks

from .interleave import Interleaved
from .plan import Read, ReadPart


class Gather:
    """Drives the segments of one read. Subclasses say what becomes of the rows."""

    def __init__(self, owners: Mapping[str, OwnerPort], read: Read) -> None:
        assert read.segments
        self._owners = owners
        self._read = read
        self._segments = list(read.segments)
        self._op = read.op
        self._plain = read.op.plain()
        self._limit = read.op.fetch_limit()
        self._taken = 0
        self._count = 0

    def start(self) -> None:
        """Ask the next segment."""
        segment = self._segments.pop(0)
        if len(segment) == 1:
            self._owners[segment[0].shard].read(self._call(segment[0]), self)
        else:
            calls = [(self._owners[part.shard], self._call(part)) for part in segment]
            Interleaved(calls, self).start()

    def _call(self, part: ReadPart) -> ReadCall:
        """What is left to be read, of one part."""
        # The rows of a plain read are cut by their owners; others are asked for one more.
        enough = self._limit if self._plain else self._limit + 1
        beyond = bool(self._limit) and self._taken >= enough
        left = max(self._limit - self._taken, 1) if self._limit else 0
        return ReadCall(
            part.span,
            self._read.revision,
            part.needs,
            self._read.map_version,
            left,
            self._op.count_only or beyond,
            self._plain and not beyond,
        )

    def ready(self) -> bool:
        return True

    def take(self, part: ReadChunk | RequestRefused) -> bool:
        if isinstance(part, RequestRefused):
            self._refuse(part)
            return False
        self._taken += len(part.rows) + part.spliced
        wanted = self._spliced(part.body) if part.body else self._rows(part.rows)
        if part.last and wanted:
            self._count += part.total
            if self._segments:
                self.start()
            else:
                self._finish()
        return wanted

    def _rows(self, rows: Sequence[Row]) -> bool:
        raise NotImplementedError

    def _spliced(self, body: bytes) -> bool:
        """Rows that are bytes of the answer already."""
        raise NotImplementedError

    def _more(self) -> bool:
        """Whether rows lie beyond the limit."""
        return 0 < self._limit < (self._count if self._plain else self._taken)

    def _finish(self) -> None:
        raise NotImplementedError

    def _refuse(self, refused: RequestRefused) -> None:
        raise NotImplementedError


class UnaryGather(Gather):
    """Collects everything, then answers once with the body of a RangeResponse, in parts."""

    def __init__(
        self,
        owners: Mapping[str, OwnerPort],
        read: Read,
        respond: Callable[[Sequence[bytes]], None],
        fail: Callable[[RequestRefused], None],
    ) -> None:
        super().__init__(owners, read)
        self._respond = respond
        self._fail = fail
        self._collected: list[Row] = []
        self._bodies: list[bytes] = []

    def _rows(self, rows: Sequence[Row]) -> bool:
        self._collected += rows
        return True

    def _spliced(self, body: bytes) -> bool:
        self._bodies.append(body)
        return True

    def _finish(self) -> None:
        if self._plain:
            assert not self._collected, "a plain read is spliced by its owner"
            bodies, self._bodies = self._bodies, []
            self._respond([*bodies, range_tail(self._more(), self._count)])
        else:
            collected, self._collected = self._collected, []
            self._respond([ranges.body(self._op, collected, self._count)])

    def _refuse(self, refused: RequestRefused) -> None:
        self._fail(refused)


class ChunkSink:
    """Where a RangeStream's chunks go."""

    def __init__(
        self,
        ready: Callable[[], bool],
        send: Callable[[bytes], bool],
        end: Callable[[], None],
        fail: Callable[[RequestRefused], None],
    ) -> None:
        self.ready = ready
        self.send = send
        self.end = end
        self.fail = fail


class StreamGather(Gather):
    """Sends rows as they come, in chunks of about STREAM_CHUNK_BYTES."""

    def __init__(
        self,
        owners: Mapping[str, OwnerPort],
        read: Read,
        sink: ChunkSink,
        header: bytes,
    ) -> None:
        super().__init__(owners, read)
        self._sink = sink
        self._header = header
        self._sent = 0

    def ready(self) -> bool:
        return self._sink.ready()

    def _rows(self, rows: Sequence[Row]) -> bool:
        if self._limit:
            rows = rows[: max(self._limit - self._sent, 0)]
        self._sent += len(rows)
        raws = [row.raw for row in rows]
        if self._op.keys_only:
            raws = [ranges.stripped(self._op, raw) for raw in raws]
        chunks = row_chunks(raws, STREAM_CHUNK_BYTES)
        return all(self._sink.send(blob(1, range_rows(chunk))) for chunk in chunks)

    def _spliced(self, body: bytes) -> bool:
        return self._sink.send(blob(1, body))

    def _finish(self) -> None:
        self._sink.send(blob(1, self._header + range_tail(self._more(), self._count)))
        self._sink.end()

    def _refuse(self, refused: RequestRefused) -> None:
        self._sink.fail(refused)
