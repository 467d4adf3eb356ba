"""Revisions: the one global order of committed write transactions.

What it is: the integer types that every role shares, and the arithmetic on them that has a name.
What it is not: an allocator; only `coordinator/sequencer.py` hands revisions out.

Words: a *revision* names one committed write transaction; a new store is at revision 1 (etcd:
mvcc starts at 1), the first write makes 2. A *pending* revision stands for one that the sequencer
has not allocated yet: PENDING_BASE + the index of the write in its batch. Any pending revision is
greater than any real one, which is what lets a batch compare before it knows its numbers.

Invariants:
- 1 <= a real revision < PENDING_BASE < 2**63;
- `resolve` maps pending revisions to real ones in order, and leaves real ones alone.

Worked example: with `first=11`, `resolve(PENDING_BASE + 2, 11)` is 13 and `resolve(7, 11)` is 7.

Tested in tests/unit/base/test_revision.py.
"""

from __future__ import annotations

from typing import Final, TypeAlias

Revision: TypeAlias = int
TabletId: TypeAlias = int
Epoch: TypeAlias = int
LeaseId: TypeAlias = int

FIRST_REVISION: Final[Revision] = 1  # the revision of a store that nothing was written to
PENDING_BASE: Final[Revision] = 1 << 62  # 4.6e18: at a million writes a second, 146,000 years

assert PENDING_BASE + (1 << 32) < 1 << 63, "a pending revision must fit etcd's int64"


def is_pending(revision: Revision) -> bool:
    """Whether `revision` stands for a number that is not allocated yet."""
    return revision >= PENDING_BASE


def pending(index: int) -> Revision:
    """The stand-in for the revision of the batch's write number `index` (from 0)."""
    assert 0 <= index < 1 << 32, index
    return PENDING_BASE + index


def resolve(revision: Revision, first: Revision) -> Revision:
    """The real revision, once the batch's first one is known to be `first`."""
    assert FIRST_REVISION < first < PENDING_BASE, first
    return first + (revision - PENDING_BASE) if revision >= PENDING_BASE else revision
