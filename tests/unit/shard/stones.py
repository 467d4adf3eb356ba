"""What a program from before would have written: a tombstone for every deletion.

What it is: an engine's rows turned into that form, by their bytes and not by `keycodec`, which is
what is tested; so that stores from before, and such as a newer program went on with, can be had
from any history. What it is not: a way back for real stores.

Worked example: h/a/11, ended at 12, and the log row "12: a is deleted, h/a/11 tells it" become
h/a/11, an empty h/a/12 and the log row "12: a is deleted".
"""

from __future__ import annotations

import struct
from typing import Final

from kubebraid.shard.storage.engine import Batch, Engine, Reader

_HEADER: Final = struct.Struct(">QQQq")
_CHANGE: Final = struct.Struct(">BIQI")
_TOP: Final = 1 << 63
_ALL: Final = 1 << 30


def with_tombstones(engine: Engine) -> int:
    """Turn all rows that are there. How many deletions were told by the version that they ended."""
    batch = Batch()
    turned = 0
    for stored, value in engine.scan(b"h", b"i", _ALL):
        if value and _HEADER.unpack_from(value)[2] & _TOP:
            turned += 1
            mod, create, version, lease = _HEADER.unpack_from(value)
            (ended,) = struct.unpack_from(">Q", value, _HEADER.size)
            batch.put(stored, _HEADER.pack(mod, create, version ^ _TOP, lease) + value[40:])
            batch.put(stored[:-12] + struct.pack(">QI", (1 << 64) - 1 - ended, 0), b"")
    for stored, value in engine.scan(b"l", b"m", _ALL):
        if (plain := _plain(value)) != value:
            batch.put(stored, plain)
    if len(batch):
        engine.write(batch, sync=True)
    return turned


def _plain(value: bytes) -> bytes:
    """A log row whose deletions are nothing but that."""
    made, at = bytearray(value), 0
    while at < len(value):
        kind, _, _, size = _CHANGE.unpack_from(value, at)
        assert kind in (0, 1, 3), kind
        made[at] = kind & 1
        at += _CHANGE.size + size
    return bytes(made)


def tombstones(reader: Reader) -> int:
    """How many there are."""
    return sum(not value for _, value in reader.scan(b"h", b"i", _ALL))
