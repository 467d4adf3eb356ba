"""The snapshot file: a consistent copy of one store as a stream of bytes, and its reading back.

What it is: the format, its writer and its checking reader. What it is not: where the pairs come
from or go to.

    "KBSNAP02" | u32 size | JSON head | records | end | padding | SHA-256

A record is u32 key size, u32 value size, key, value. The end is the size 2**32-1 and a u64 count
of records. Zeros fill up to a multiple of 512 bytes; the SHA-256 of everything before follows, as
etcdctl demands of a snapshot (client/v3/snapshot). etcdutl cannot read what is inside.

Invariants: reading what `Writer` made answers the same pairs in the same order; a flipped, missing
or additional byte anywhere is refused with `SnapshotDamaged` before `read_pairs` ends, so whoever
restores puts the result in place only after it has. What begins with KBSNAP01 is read alike: its
rows are of before some told their own end (shard/keycodec.py), which its programs would misread.

Worked example: a file of one pair is 512 + 32 bytes long.

Tested in tests/unit/base/test_dump.py.
"""

from __future__ import annotations

import hashlib
import json
import struct
from collections.abc import Iterable, Iterator
from typing import BinaryIO, Final, NamedTuple

MAGIC: Final = b"KBSNAP02"
READABLE: Final = (b"KBSNAP01", MAGIC)
BLOCK: Final = 512
DIGEST_BYTES: Final = 32
END: Final = 0xFFFFFFFF
_SIZES: Final = struct.Struct(">II")
_END: Final = struct.Struct(">IQ")
Pair = tuple[bytes, bytes]


class SnapshotDamaged(Exception):
    """The file is no whole snapshot."""

    definite = True
    hint = "take or fetch the snapshot again; nothing was changed"


class Head(NamedTuple):
    """What a snapshot says of itself."""

    revision: int
    compact_revision: int
    version: str

    def encode(self) -> bytes:
        body = json.dumps(self._asdict(), sort_keys=True).encode()
        return MAGIC + struct.pack(">I", len(body)) + body


class Writer:
    """Turns a head and pairs into the bytes of the file, piece by piece."""

    def __init__(self, head: Head) -> None:
        self._digest = hashlib.sha256()
        self._size = 0
        self._records = 0
        self._head = head.encode()

    def head(self) -> bytes:
        return self._count(self._head)

    def pairs(self, pairs: Iterable[Pair]) -> bytes:
        """Some records."""
        parts: list[bytes] = []
        for key, value in pairs:
            parts += (_SIZES.pack(len(key), len(value)), key, value)
            self._records += 1
        return self._count(b"".join(parts))

    def end(self) -> bytes:
        """End mark and padding."""
        tail = _END.pack(END, self._records)
        return self._count(tail + bytes(-(self._size + len(tail)) % BLOCK))

    def digest(self) -> bytes:
        """The last bytes of the file, after `end`."""
        assert self._size % BLOCK == 0, "the digest follows a whole number of blocks"
        return self._digest.digest()

    def _count(self, piece: bytes) -> bytes:
        self._size += len(piece)
        self._digest.update(piece)
        return piece


def size(head: Head, pairs_bytes: int, records: int) -> int:
    """The file's size, given what its pairs hold."""
    body = len(head.encode()) + pairs_bytes + records * _SIZES.size + _END.size
    return body + -body % BLOCK + DIGEST_BYTES


class _Checked:
    """Reads exactly, and digests what it read."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.digest = hashlib.sha256()
        self.size = 0

    def take(self, size: int) -> bytes:
        data = self._file.read(size)
        if len(data) != size:
            raise SnapshotDamaged("the snapshot ends too early")
        self.digest.update(data)
        self.size += size
        return data


def read_head(file: BinaryIO) -> tuple[Head, _Checked]:
    """The head, and the source that `read_pairs` goes on with. Raises SnapshotDamaged."""
    source = _Checked(file)
    if source.take(len(MAGIC)) not in READABLE:
        raise SnapshotDamaged("this is no snapshot of KubeBraid")
    (length,) = struct.unpack(">I", source.take(4))
    if length > 1 << 20:
        raise SnapshotDamaged("the head of the snapshot is damaged")
    try:
        head = Head(**json.loads(source.take(length)))
    except (ValueError, TypeError) as error:
        raise SnapshotDamaged(f"the head of the snapshot is damaged: {error}") from error
    return head, source


def read_pairs(source: _Checked, file: BinaryIO) -> Iterator[Pair]:
    """Every pair, in order. The digest is checked before the generator ends."""
    records = 0
    while True:
        (key_size,) = struct.unpack(">I", source.take(4))
        if key_size == END:
            break
        (value_size,) = struct.unpack(">I", source.take(4))
        if key_size > 1 << 28 or value_size > 1 << 30:
            raise SnapshotDamaged("a record of the snapshot is damaged")
        key = source.take(key_size)
        yield key, source.take(value_size)
        records += 1
    (count,) = struct.unpack(">Q", source.take(8))
    source.take(-source.size % BLOCK)
    if count != records or file.read() != source.digest.digest():
        raise SnapshotDamaged("the snapshot's checksum is wrong")
