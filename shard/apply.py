"""Evaluation: a batch of writes against the newest rows, before any revision is allocated.

What it is: compares, puts, deletes, ranges, leases of one group commit, as etcd would apply them
one after the other. What it is not: allocation, durability or answers' headers.

Words: the *view* is what the batch has made of the engine's newest rows (`view.py`). A write's
*index* counts only transactions that change something, because only they take a revision.

Invariants:
- inv03: version = previous + 1; create stays until a delete; mod is the write's own revision;
- a request that is refused or changes nothing takes no index (revisions stay dense);
- all compares of a transaction, nested ones too, see the state before it; its operations see the
  ones before them (etcd compareToPath, executeTxn);
- an outcome never depends on a number that is not allocated: where it would, `Ambiguous` is raised
  before anything of that request was recorded, and the request waits for the next batch.

Worked example: batch [put a=1, txn{if version(a)=1 then put a=2}] on an empty store: indexes 0
and 1, versions 1 and 2.

Source: etcd server/etcdserver/txn/{txn,put,delete,range}.go. Tested in
tests/unit/shard/test_apply.py, tests/property/test_history.py.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import islice

from kubebraid.base import errors
from kubebraid.base.errors import RequestRefused
from kubebraid.base.keyspace import KeyRange
from kubebraid.base.limits import LEASE_TTL_S_MAX, LEASE_TTL_S_MIN
from kubebraid.base.ops import (
    DeleteOp,
    Op,
    PutOp,
    RangeOp,
    TxnOp,
)
from kubebraid.base.revision import LeaseId, Revision, TabletId, pending

from . import mvcc
from .compare import holds, holds_of
from .draft import (
    Answer,
    AnyRow,
    Branched,
    Change,
    Deleted,
    DraftRow,
    LeaseAnswer,
    Outcome,
    Put,
    Ranged,
    value_in,
)
from .lease import LeaseChange, LeaseRow, LeaseTable
from .storage.engine import Reader
from .view import Ambiguous, BatchView, Elsewhere


class Evaluation:
    """One batch. Call the methods in arrival order, then seal what it collected."""

    def __init__(
        self,
        reader: Reader,
        tablet_of: Callable[[bytes], TabletId],
        leases: LeaseTable,
        known: Revision,
        floor: Revision,
        counted: Callable[[KeyRange], int | None],
    ) -> None:
        """`known`: a revision that everything stored is at or below; `floor`: compacted below;
        `counted`: see BatchView.

        `certain`: `known` is R as of after the request in hand arrived, so what lies above it is in
        the future; otherwise such a request is ambiguous until a sample was read.
        """
        self.certain = True
        self._view = BatchView(reader, leases, counted)
        self.granted = self._view.granted  # the lease rows that this batch writes
        self.revoked = self._view.revoked  # the leases that it ends
        self._reader = reader
        self._tablet_of = tablet_of
        self._known = known
        self._floor = floor
        self.changes: list[Change] = []
        self.writes = 0
        self.bytes = 0
        self._dirty = False  # whether the request in hand has changed something
        self._before: dict[bytes, AnyRow | None] = {}  # ... and what its keys were before it

    # -- requests ------------------------------------------------------------------------------

    def _position(self) -> int:
        return self.writes + self._dirty

    def put(self, op: PutOp) -> Outcome:
        refused = self._check_put(op)
        return self._finish(self._put(op) if refused is None else refused)

    def delete(self, op: DeleteOp) -> Outcome:
        return self._finish(self._delete(op))

    def txn(self, op: TxnOp) -> Outcome:
        """Compare everywhere, check everything, then run: a refusal changes nothing."""
        if op.key is not None:
            return self._finish(self._key_txn(op, op.key))
        path = self._decide(op)
        refused = self._check_txn(op, iter(path))
        return self._finish(self._run_txn(op, iter(path)) if refused is None else refused)

    def lease_grant(self, lease: LeaseId, ttl_s: int) -> Outcome:
        assert lease != 0, "the router picks an id"
        if ttl_s > LEASE_TTL_S_MAX:
            return errors.LEASE_TTL_TOO_LARGE
        if self._view.lease_row(lease) is not None:
            return errors.LEASE_EXISTS  # also of one whose end has begun
        if lease in self._view.revoked:
            raise Ambiguous  # one batch holds one event of a lease id; the next one takes it
        granted_s = max(ttl_s, LEASE_TTL_S_MIN)
        self._view.granted[lease] = LeaseRow(granted_s)
        return LeaseAnswer(self._position(), lease, granted_s)

    def lease_row(self, lease: LeaseId, change: LeaseChange) -> Outcome:
        """Write a lease's row anew, if the lease is there to be changed."""
        row = change(self._view.lease_row(lease))
        if row is None:
            return errors.LEASE_NOT_FOUND
        self._view.granted[lease] = row
        return LeaseAnswer(self._position(), lease, row.ttl_s)

    def lease_revoke(self, lease: LeaseId) -> Outcome:
        """Delete the attached keys in one revision; a lease without keys takes none. Its guests
        have deleted theirs before: otherwise Elsewhere is raised."""
        row = self._view.lease_row(lease)
        if row is None:
            return errors.LEASE_NOT_FOUND
        if lease in self._view.granted:
            raise Ambiguous  # written by this very batch: its rows are not in the engine yet
        if row.guests:
            raise Elsewhere(lease)
        for key in self._view.attached(lease):
            attached = self._view.get(key)
            assert attached is not None, "an attached key is live"
            self._change(key, None, attached)
        self._view.revoked.add(lease)
        return self._finish(LeaseAnswer(self._position(), lease, 0))

    def _finish(self, outcome: Outcome) -> Outcome:
        if self._dirty:
            self.writes += 1
            self._dirty = False
        return outcome

    # -- operations ----------------------------------------------------------------------------

    def _next_sub(self) -> int:
        return self.changes[-1].sub + 1 if self._dirty else 0

    def _change(self, key: bytes, new: DraftRow | None, old: AnyRow | None) -> None:
        sub = self._next_sub()
        if not self._dirty:
            self._before.clear()
        before = self._before.setdefault(key, old)
        change = Change(self.writes, sub, self._tablet_of(key), key, new, old, before)
        self.changes.append(change)
        self._view.overlay[key] = new
        self.bytes += len(key) + (len(new.value) if new is not None else 0)
        self._dirty = True

    def _check_put(self, op: PutOp) -> RequestRefused | None:
        if op.lease and not self._view.lease_lives(op.lease):
            return errors.LEASE_NOT_FOUND
        if (op.ignore_value or op.ignore_lease) and self._view.get(op.key) is None:
            return errors.KEY_NOT_FOUND
        return None

    def _put(self, op: PutOp) -> Put:
        old = self._view.get(op.key)
        value, lease = op.value, op.lease
        if op.ignore_value and old is not None:
            value = value_in(old)
        if op.ignore_lease and old is not None:
            lease = old.lease
        revision = pending(self.writes)
        create, version = (revision, 1) if old is None else (old.create, old.version + 1)
        new = DraftRow(op.key, value, revision, create, version, lease, self._next_sub())
        self._change(op.key, new, old)
        return Put(self._position(), old if op.prev_kv else None)

    def _delete(self, op: DeleteOp) -> Deleted:
        found = list(self._view.rows(op.span))
        for key, row in found:
            self._change(key, None, row)
        previous = [row for _, row in found] if op.prev_kv else []
        return Deleted(self._position(), len(found), previous)

    # -- transactions --------------------------------------------------------------------------

    def _key_txn(self, op: TxnOp, key: bytes) -> Branched | RequestRefused:
        """The same for a transaction of one key, without walks."""
        row = self._view.get(key)
        (compare,) = op.compares
        succeeded = holds_of(compare, row, self._known)
        if not succeeded:
            rows = [] if row is None else [row]
            position = self._position()
            reads = [op for op in op.failure if isinstance(op, RangeOp)]
            answers = [Ranged(position, read, rows, len(rows)) for read in reads]
            return Branched(position, False, answers)
        (write,) = op.success
        answer: Answer
        if isinstance(write, PutOp):
            if write.lease and not self._view.lease_lives(write.lease):
                return errors.LEASE_NOT_FOUND
            answer = self._put(write)
        else:
            assert isinstance(write, DeleteOp), write
            answer = self._delete(write)
        return Branched(self._position(), True, (answer,))

    def _decide(self, op: TxnOp) -> list[bool]:
        """The branch taken by the transaction and, in order, by those nested in that branch."""
        succeeded = all(holds(self._view, compare, self._known) for compare in op.compares)
        path = [succeeded]
        for inner in op.success if succeeded else op.failure:
            if isinstance(inner, TxnOp):
                path += self._decide(inner)
        return path

    def _check_txn(self, op: TxnOp, path: Iterator[bool]) -> RequestRefused | None:
        """The checks of the branch that will run; `path` is consumed as _decide made it."""
        for inner in op.success if next(path) else op.failure:
            refused = None
            if isinstance(inner, TxnOp):
                refused = self._check_txn(inner, path)
            elif isinstance(inner, PutOp):
                refused = self._check_put(inner)
            elif isinstance(inner, RangeOp):
                refused = self._check_revision(inner.revision)
            if refused is not None:
                return refused
        return None

    def _check_revision(self, revision: Revision) -> RequestRefused | None:
        if revision == 0:
            return None
        if revision > self._known:
            if self.writes or not self.certain:
                raise Ambiguous
            return errors.FUTURE_REVISION
        return errors.COMPACTED if revision < self._floor else None

    def _run_txn(self, op: TxnOp, path: Iterator[bool]) -> Branched:
        succeeded = next(path)
        ops = op.success if succeeded else op.failure
        answers = [self._run(inner, path) for inner in ops]
        return Branched(self._position(), succeeded, answers)

    def _run(self, op: Op, path: Iterator[bool]) -> Answer:
        match op:
            case PutOp():
                return self._put(op)
            case DeleteOp():
                return self._delete(op)
            case RangeOp():
                return Ranged(self._position(), op, *read(self._reader, self._view, op))
            case TxnOp():
                return self._run_txn(op, path)


def read(reader: Reader, view: BatchView, op: RangeOp) -> tuple[Sequence[AnyRow], int]:
    """The rows that decide the answer to a range inside a transaction, and the number of all: what
    the view shows now, or what an explicit revision (checked before) saw."""
    rows: Sequence[AnyRow]
    if op.revision > 0 and op.span is not None:
        rows = [row for page in mvcc.rows_at(reader, op.span, op.revision) for row in page]
        return rows, len(rows)
    wanted = 0 if op.count_only else op.fetch_limit() + 1
    if op.span is not None and (op.count_only or wanted > 1):
        total = view.count(op.span)
        if total is not None:
            return [row for _, row in islice(view.rows(op.span), min(wanted, total))], total
    rows = [row for _, row in view.rows(op.span)]
    return rows, len(rows)
