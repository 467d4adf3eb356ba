"""What a batch sees: the engine's newest rows, overlaid by what the batch itself wrote so far.

What it is: the read side of an evaluation. What it is not: the evaluation (`apply.py`).

Invariants: a key that the batch changed is read from the overlay alone; rows come in key order,
each key once; a lease granted or revoked by the batch is alive or gone at once.

Worked example: engine {a, c}, overlay {a: deleted, b: new}: `rows(everything)` is b, c.

Tested in tests/unit/shard/test_view.py.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from kubebraid.base.keyspace import KeyRange
from kubebraid.base.record import Row
from kubebraid.base.revision import LeaseId

from . import keycodec, mvcc
from .draft import AnyRow, DraftRow
from .lease import LeaseRow, LeaseTable
from .storage.engine import Reader


class Ambiguous(Exception):
    """The answer hangs on a revision that this batch has yet to be given."""


class Elsewhere(Exception):
    """The request cannot be decided without another shard: the lease's home, or its guests."""

    def __init__(self, lease: LeaseId) -> None:
        super().__init__(lease)
        self.lease = lease


class BatchView:
    """The state that the next request of a batch meets."""

    def __init__(
        self, reader: Reader, leases: LeaseTable, counted: Callable[[KeyRange], int | None]
    ) -> None:
        """`counted`: the engine's keys in a range, None while they are not known."""
        self._reader = reader
        self._leases = leases
        self._counted = counted
        self.overlay: dict[bytes, DraftRow | None] = {}
        # What was read of the engine, which does not change meanwhile: a transaction compares a
        # key and then writes it.
        self._stored: dict[bytes, Row | None] = {}
        self.granted: dict[LeaseId, LeaseRow] = {}  # rows that this batch writes
        self.revoked: set[LeaseId] = set()

    def get(self, key: bytes) -> AnyRow | None:
        if key in self.overlay:
            return self.overlay[key]
        return self._newest(key)

    def _newest(self, key: bytes) -> Row | None:
        if key not in self._stored:
            self._stored[key] = mvcc.newest(self._reader, key)
        return self._stored[key]

    def rows(self, span: KeyRange | None) -> Iterator[tuple[bytes, AnyRow]]:
        """Live rows in key order."""
        if span is None:
            return
        if span.is_single():
            row = self.get(span.start)
            if row is not None:
                yield span.start, row
            return
        ours = sorted(key for key in self.overlay if span.contains(key))
        at = 0
        for page in mvcc.pages(self._reader, *keycodec.newest_bounds(span)):
            for stored, value in page:
                key = stored[1:]
                while at < len(ours) and ours[at] < key:
                    yield from self._drafted(ours[at])
                    at += 1
                if at < len(ours) and ours[at] == key:
                    yield from self._drafted(key)
                    at += 1
                else:
                    yield key, keycodec.unpack_row(value)
        for key in ours[at:]:
            yield from self._drafted(key)

    def count(self, span: KeyRange) -> int | None:
        """How many rows there are, without walking over them; None if only that would tell."""
        total = self._counted(span)
        if total is None:
            return None
        for key, row in self.overlay.items():
            if span.contains(key):
                total += (row is not None) - (self._newest(key) is not None)
        return total

    def _drafted(self, key: bytes) -> Iterator[tuple[bytes, AnyRow]]:
        row = self.overlay[key]
        if row is not None:
            yield key, row

    def lease_lives(self, lease: LeaseId) -> bool:
        """Whether keys may be attached to it. Raises Elsewhere if only its home can tell."""
        if lease in self.revoked:
            return False
        if lease in self.granted:
            return not self.granted[lease].ended
        if lease in self._leases:
            return self._leases.attaches(lease)
        if not self._leases.ours(lease):
            raise Elsewhere(lease)
        return False

    def lease_row(self, lease: LeaseId) -> LeaseRow | None:
        """The lease as the next request of the batch finds it, at home or as a guest."""
        if lease in self.revoked:
            return None
        if lease in self.granted:
            return self.granted[lease]
        return self._leases.row(lease) if lease in self._leases else None

    def attached(self, lease: LeaseId) -> list[bytes]:
        """Keys attached to a lease: the engine's, corrected by this batch."""
        keys = {key for key in attached_keys(self._reader, lease) if key not in self.overlay}
        keys |= {k for k, row in self.overlay.items() if row is not None and row.lease == lease}
        return sorted(keys)


def attached_keys(reader: Reader, lease: LeaseId) -> Iterator[bytes]:
    """The keys that the engine has attached to a lease, whatever their tablet."""
    for page in mvcc.pages(reader, *keycodec.attachment_bounds(lease)):
        for stored, _ in page:
            yield keycodec.attached_key(stored)
