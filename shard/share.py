"""A shard's share of a transaction over several shards, evaluated.

What it is: `apply.py` for the keys that this shard owns: verdicts of compares, checks, operations.
What it is not: the protocol (`across.py`), or what the shares come to together (router/across.py).

Invariants:
- an operation sees what the ones before it did to keys of this shard; compares see none of them;
- a change's sub is the place of its operation in the whole transaction, so that the shares' events
  join in the order of the operations; one operation's are in key order (base/record.py);
- evaluated again over the same rows a share changes the same: an intent holds the request alone.

Worked example: txn{then [put x, delete [a, z)]} where this shard owns a to m: the place of the
deletion is 1, and so is the sub of each key that it deletes here.

Tested in tests/unit/shard/test_share.py, tests/property/test_across.py.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeAlias

from kubebraid.base import errors
from kubebraid.base.across import Leaf, OpShare, Verdict, compares_of, leaves_of
from kubebraid.base.errors import RequestRefused
from kubebraid.base.ops import CompareOp, DeleteOp, PutOp, RangeOp, TxnOp
from kubebraid.base.record import Row
from kubebraid.base.revision import Revision
from kubebraid.proto.kvwire import key_value

from .apply import Evaluation, read
from .compare import holds_of
from .draft import AnyRow, DraftRow
from .view import Elsewhere

Refusal: TypeAlias = tuple[int, RequestRefused]


class Share(Evaluation):
    """A batch of one: this shard's part of one transaction."""

    _place = 0  # of the operation in hand

    def verdicts(self, op: TxnOp, owns: Callable[[bytes], bool]) -> list[Verdict]:
        """Of every compare, in the order of `compares_of`; `owns`: which keys are this shard's."""
        return [self._verdict(compare, owns) for compare in compares_of(op)]

    def _verdict(self, compare: CompareOp, owns: Callable[[bytes], bool]) -> Verdict:
        # A scan hides what is another's; a row that is asked for is shown, also one that a move has
        # left here, or that shards share.
        span = compare.span
        if span is not None and span.is_single() and not owns(span.start):
            return Verdict(found=False, satisfied=True)
        found = False
        for _, row in self._view.rows(compare.span):
            found = True
            if not holds_of(compare, row, self._known):
                return Verdict(found, satisfied=False)
        return Verdict(found, satisfied=True)

    def check(
        self, op: TxnOp, path: Sequence[bool], owns: Callable[[Leaf], bool], known: Revision
    ) -> Refusal | None:
        """The first operation that may not run here; `known`: R as of after the request came."""
        self._known = max(self._known, known)
        for place, leaf in enumerate(leaves_of(op, path)):
            refused = self._check_leaf(leaf) if owns(leaf) else None
            if refused is not None:
                return place, refused
        return None

    def _check_leaf(self, leaf: Leaf) -> RequestRefused | None:
        match leaf:
            case PutOp():
                try:
                    return self._check_put(leaf)
                except Elsewhere:
                    # Its home was asked before the slot was taken, and did not know it.
                    return errors.LEASE_NOT_FOUND
            case RangeOp():
                return self._check_revision(leaf.revision)
            case DeleteOp():
                return None

    def run(self, op: TxnOp, path: Sequence[bool], owns: Callable[[Leaf], bool]) -> list[OpShare]:
        """Our operations, in order; the changes are collected as one write's."""
        shares = []
        for place, leaf in enumerate(leaves_of(op, path)):
            if owns(leaf):
                self._place = place
                shares.append(self._share(place, leaf))
        self.writes = min(len(self.changes), 1)
        return shares

    def _share(self, place: int, leaf: Leaf) -> OpShare:
        match leaf:
            case PutOp():
                previous = self._put(leaf).previous
                return OpShare(place, 1, 0, _rows([] if previous is None else [previous]))
            case DeleteOp():
                deleted = self._delete(leaf)
                return OpShare(place, deleted.count, deleted.count, _rows(deleted.previous))
            case RangeOp():
                rows, count = read(self._reader, self._view, leaf)
                return OpShare(place, 0, count, _rows(rows))

    def _next_sub(self) -> int:
        return self._place


def _rows(rows: Sequence[AnyRow]) -> list[Row]:
    return [_drafted(row) if isinstance(row, DraftRow) else row for row in rows]


def _drafted(row: DraftRow) -> Row:
    """A row of this very transaction, its revisions pending: the router puts the real ones in."""
    raw = key_value(row.key, row.create, row.mod, row.version, row.value, row.lease)
    return Row(row.mod, row.create, row.version, row.lease, raw)
