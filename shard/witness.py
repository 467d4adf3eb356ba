"""A short name of how far a store was written, to be compared after a stop.

What it is: a digest of the fence rows and the coordinator's cell: every commit changes one of them.
What it is not: a checksum of the data (RocksDB's own, and `audit.py`).

Invariant: two states of one store have the same witness only if no commit lies between them.

Worked example: taken before the stop, kept in the data directory's marker, compared at the start: a
store whose last log file is gone has the fences of an earlier moment.

Tested in tests/unit/shard/test_witness.py.
"""

from __future__ import annotations

import hashlib

from . import keycodec
from .storage.engine import Reader


def witness(reader: Reader) -> str:
    """Hexadecimal. Raises EngineError."""
    digest = hashlib.sha256()
    for start, end in (keycodec.FENCES, keycodec.CELLS):
        for key, value in reader.scan(start, end, 1 << 20):
            digest.update(b"%d,%d:" % (len(key), len(value)) + key + value)
    return digest.hexdigest()
