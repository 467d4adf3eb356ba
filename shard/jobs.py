"""Long work of a shard besides reads: hashing and dumping, a slice per turn, on a snapshot.

What it is: jobs for the reader's loop. What it is not: their formats (`checksum.py`, base/dump).

Invariants: a job sees one snapshot from its start to its end, and closes it; it never holds the
loop for longer than a slice.

Tested in tests/unit/shard/test_jobs.py.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Final

from kubebraid.base.errors import RequestRefused
from kubebraid.base.limits import DUMP_PAGE_ROWS, STREAM_CHUNK_BYTES
from kubebraid.base.ports import DumpSink
from kubebraid.base.revision import Revision

from . import mvcc
from .checksum import hash_versions
from .storage.engine import Snapshot

EVERY_ROW: Final = (b"\x00", b"\xff")  # row kinds are letters


class HashJob:
    """HashKV over a snapshot."""

    def __init__(
        self,
        snapshot: Snapshot,
        floor: Revision,
        revision: Revision,
        done: Callable[[int | RequestRefused], None],
    ) -> None:
        self._snapshot = snapshot
        self._work = hash_versions(snapshot, floor, revision)
        self._done = done

    def ready(self) -> bool:
        return True

    def step(self) -> bool:
        crc = next(self._work)
        if crc is None:
            return False
        self._snapshot.close()
        self._done(crc)
        return True

    def fail(self, refused: RequestRefused) -> None:
        self._snapshot.close()
        self._done(refused)


class DumpJob:
    """Every stored pair, measured first, then sent at the sink's pace."""

    def __init__(self, snapshot: Snapshot, sink: DumpSink, floor: Revision) -> None:
        """`floor`: of the moment of the snapshot."""
        self._snapshot = snapshot
        self._sink = sink
        self._floor = floor
        self._work = self._slices()

    def ready(self) -> bool:
        return self._sink.ready()

    def step(self) -> bool:
        ended = next(self._work)
        if ended:
            self._snapshot.close()
        return ended

    def fail(self, refused: RequestRefused) -> None:
        self._snapshot.close()
        self._sink.fail(refused)

    def _slices(self) -> Iterator[bool]:
        """False after each slice, True once: at the end, or when nobody waits any more."""
        payload = records = 0
        for page in mvcc.pages(self._snapshot, *EVERY_ROW, DUMP_PAGE_ROWS):
            payload += sum(len(key) + len(value) for key, value in page)
            records += len(page)
            yield False
        self._sink.begin(payload, records, self._floor)
        yield False  # from here on the sink may let us wait
        for page in mvcc.pages(self._snapshot, *EVERY_ROW, DUMP_PAGE_ROWS):
            for start, end in _cuts(page):
                if not self._sink.take(page[start:end]):
                    yield True
                    return
                yield False
        self._sink.end()
        yield True


def _cuts(pairs: Sequence[tuple[bytes, bytes]]) -> Iterator[tuple[int, int]]:
    """Runs of pairs of at most STREAM_CHUNK_BYTES, or one pair that is larger."""
    start = size = 0
    for number, (key, value) in enumerate(pairs):
        weight = len(key) + len(value)
        if number > start and size + weight > STREAM_CHUNK_BYTES:
            yield start, number
            start, size = number, 0
        size += weight
    if start < len(pairs):
        yield start, len(pairs)
