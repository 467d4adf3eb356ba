"""The shim's record, read back: what one or more processes did to a directory, in order.

What it is: the layout of `struct entry` in shim.h, and a reader that copes with what SIGKILL
leaves. What it is not: an opinion about disks; powercut.py has one.

Words: a *handle* stands for one opening of a file, also after its name has changed; `number` counts
the entries of one process; `a` and `b` are, by kind:

    O  opened `name` (flags: created, truncated, synchronous, directory)
    W  wrote `data` at offset a          T  cut or grew the file to size a
    S  synced; covers entries <= a       F  a sync failed; what it would have covered is not safe
    N  renamed `name` to `other`         L  linked `name` as `other` too
    M  made the directory `name`         U  removed `name`
    Y  sync(): covers all entries <= a   !  did to `name` what is not followed: `other`

Invariants: an entry is whole or the last one, which is then dropped: that call had not returned.

Worked example: `echo hi > f` is O f (created), W "hi\\n" at 0; nothing says that it is safe.

Tested in tests/faults/test_shim.py.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Final, NamedTuple

CREATED: Final = 1
TRUNCATED: Final = 2
SYNCHRONOUS: Final = 4
DIRECTORY: Final = 8

_HEAD: Final = struct.Struct("<IcBHHHIQQQ")
_MAGIC: Final = 0x5EEDF11E
assert _HEAD.size == 40, "as the compiler lays it out"


class Entry(NamedTuple):
    """One thing that happened."""

    kind: str
    flags: int
    handle: int
    number: int
    a: int
    name: str
    other: str
    data: bytes


def read_record(path: Path) -> Iterator[Entry]:
    """All whole entries. Raises ValueError where the record itself is broken."""
    raw = path.read_bytes() if path.exists() else b""
    at = 0
    while at + _HEAD.size <= len(raw):
        magic, kind, flags, names, others, _, handle, number, a, b = _HEAD.unpack_from(raw, at)
        if magic != _MAGIC:
            raise ValueError(f"{path} has no entry at byte {at}")
        body = at + _HEAD.size
        data_at = body + names + others
        end = data_at + (b if kind == b"W" else 0)
        if end > len(raw):
            return
        name = raw[body : body + names].decode(errors="surrogateescape")
        other = raw[body + names : data_at].decode(errors="surrogateescape")
        yield Entry(kind.decode(), flags, handle, number, a, name, other, raw[data_at:end])
        at = end
