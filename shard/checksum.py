"""HashKV: one number for what a store holds, comparable between replays of one history.

What it is: the sum of the CRCs of every version that a read at some revision in [floor, R] can
see; a sum, so that the parts of several shards add up whatever the borders between them. What it
is not: a guard of stored bytes (RocksDB checks its own blocks), nor equal to etcd's number for the
same history: etcd hashes its own file layout.

Invariants: the number depends on keys, versions and their revisions up to R and on the floor alone:
not on tablets, on what compaction has already removed, on how a deletion is stored, or on anything
written after R.

Worked example: put a at 2, put a at 3, delete a at 4; floor 3, R 4: the versions 3 and 4 are
hashed; version 2 is invisible at 3, whether or not it was removed.

Tested in tests/unit/shard/test_checksum.py.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable, Iterator
from hashlib import blake2b

from kubebraid.base.keyspace import EVERYTHING, KeyRange
from kubebraid.base.reshard import Digest
from kubebraid.base.revision import Revision

from . import keycodec, mvcc
from .storage.engine import Reader


def hash_versions(reader: Reader, floor: Revision, revision: Revision) -> Iterator[int | None]:
    """None after each slice of work, the sum at the end."""
    total = 0
    for versions in _by_key(reader):
        if versions is None:
            yield None
            continue
        for written, raw in _visible(versions, floor, revision):
            total += zlib.crc32(raw, zlib.crc32(struct.pack(">Q", written)))
    yield total & 0xFFFFFFFF


def digest_versions(
    reader: Reader,
    span: KeyRange,
    keep: Callable[[bytes], bool] | None,
    floor: Revision,
    revision: Revision,
) -> Digest:
    """As `hash_versions`, of some keys of a short range and with 64 bits: what a copy is compared
    by. Raises EngineError."""
    count = total = 0
    for versions in _by_key(reader, span):
        if versions is None or (keep is not None and not keep(versions[0][0])):
            continue
        for written, raw in _visible(versions, floor, revision):
            summed = blake2b(struct.pack(">Q", written) + raw, digest_size=8).digest()
            total += int.from_bytes(summed, "big")
            count += 1
    return Digest(count, total & 0xFFFFFFFFFFFFFFFF)


Version = tuple[Revision, bytes]


def _visible(
    versions: list[tuple[bytes, Version]], floor: Revision, upto: Revision
) -> list[Version]:
    """Of one key's versions, newest first, those that a read in [floor, upto] can see.

    A deletion (empty) counts while it is above the floor; at or below it, it hides nothing.
    """
    seen: list[Version] = []
    for key, (written, raw) in versions:
        if written > upto:
            continue
        if written > floor:
            seen.append((written, raw or key))
        else:
            if raw:
                seen.append((written, raw))
            break
    return seen


Group = list[tuple[bytes, Version]]


def _by_key(reader: Reader, span: KeyRange = EVERYTHING) -> Iterator[Group | None]:
    """Each key's versions, newest first; None as a breath between slices."""
    past = _Ahead(_history(reader, span))
    for page in mvcc.pages(reader, *keycodec.newest_bounds(span)):
        for stored, value in page:
            key = stored[1:]
            while past.breath or (past.group is not None and past.group[0][0] < key):
                yield past.take()
            row = keycodec.unpack_row(value)
            versions = [(key, (row.mod, row.raw))]
            if past.group is not None and past.group[0][0] == key:
                versions += past.take() or []
            yield versions
        yield None
    while past.breath or past.group is not None:
        yield past.take()


class _Ahead:
    """A look-ahead of one group, or of the breath before it."""

    def __init__(self, source: Iterator[Group | None]) -> None:
        self._source = source
        self.group: Group | None = None
        self.breath = False
        self._advance()

    def take(self) -> Group | None:
        taken = self.group
        self._advance()
        return taken

    def _advance(self) -> None:
        end: Group = []
        found = next(self._source, end)
        self.breath = found is None
        self.group = found or None


def _told(written: Revision, value: bytes) -> list[Version]:
    """What one h row tells, newest first: a deletion is hashed alike, however it is stored."""
    if not value:
        return [(written, b"")]
    row, ended = keycodec.unpack_superseded(value)
    version = (written, row.raw)
    return [(ended, b""), version] if ended else [version]


def _history(reader: Reader, span: KeyRange) -> Iterator[Group | None]:
    """The superseded versions of each key that has some; None between pages."""
    current: Group = []
    for page in mvcc.pages(reader, *keycodec.history_bounds(span)):
        for stored, value in page:
            key, written = keycodec.split_history(stored)
            if current and current[0][0] != key:
                yield current
                current = []
            current += [(key, version) for version in _told(written, value)]
        yield None
    if current:
        yield current
