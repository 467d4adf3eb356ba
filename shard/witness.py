"""Short names of how far a store was written, to be compared at the next start.

What it is: a digest of the fence rows and the coordinator's cell, of which every commit changes
one; and the owner epoch, which every start raises. What it is not: a checksum of the data (RocksDB
has its own, and there is `audit.py`), nor a proof after a kill: what the log held behind the last
start may be gone unseen, since a log that a crash cut looks the same.

Invariants: two states of one store have the same witness only if no commit lies between them; the
epoch never falls, also where fences go with their tablets.

Worked example: taken before the stop, kept in the data directory's marker, compared at the start: a
store whose last log file is gone has the fences of an earlier moment.

Tested in tests/unit/shard/test_witness.py.
"""

from __future__ import annotations

import hashlib
from typing import Final

from kubebraid.base.revision import Epoch, TabletId

from . import fencing, keycodec
from .storage.engine import Batch, Reader

EPOCH_CELL: Final = keycodec.cell("owner-epoch")


def witness(reader: Reader) -> str:
    """Hexadecimal. Raises EngineError."""
    digest = hashlib.sha256()
    for start, end in (keycodec.FENCES, keycodec.CELLS):
        for key, value in reader.scan(start, end, 1 << 20):
            digest.update(b"%d,%d:" % (len(key), len(value)) + key + value)
    return digest.hexdigest()


def epoch(reader: Reader) -> Epoch:
    """The newest owner epoch of all fences; 0 where nobody ever owned a tablet.

    Raises EngineError, FenceDamaged.
    """
    rows = reader.scan(*keycodec.FENCES, 1 << 20)
    return max([_kept(reader), *(fencing.unpack(value).oepoch for _, value in rows)])


def _kept(reader: Reader) -> Epoch:
    """Of fences that are gone."""
    return int(reader.get(EPOCH_CELL) or 0)


def remove_fence(reader: Reader, tablet: TabletId, batch: Batch) -> None:
    """In the batch; its epoch stays. Raises EngineError, FenceDamaged."""
    raw = reader.get(keycodec.fence(tablet))
    if raw is not None:
        batch.delete(keycodec.fence(tablet))
        batch.put(EPOCH_CELL, b"%d" % max(_kept(reader), fencing.unpack(raw).oepoch))
