"""What the shares of a transaction over several shards come to: etcd's answer.

What it is: the pure end of such a transaction: shares joined by operation, then rendered. What it
is not: the procedure (`across.py`), or the same for one shard (shard/draft.py), whose bytes these
equal: a property test holds them together.

Invariants:
- rows of several shards leave in key order; totals add up;
- an operation's header is the newest revision that its content shows: the transaction's own once an
  operation up to it has changed something, and the one before until then.

Worked example: delete [a, z) at revision 12 with 2 keys on shard-0 and 3 on shard-1: deleted 5, the
previous rows of both by key.

Source: etcd server/etcdserver/txn/txn.go. Tested in tests/unit/router/test_across_answer.py,
tests/property/test_across.py.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from kubebraid.base.across import Leaf, OpShare, leaves_of
from kubebraid.base.ops import DeleteOp, Op, PutOp, RangeOp, TxnOp
from kubebraid.base.record import Row
from kubebraid.base.revision import Revision, is_pending, resolve
from kubebraid.proto import ranges
from kubebraid.proto.kvwire import blob, inner_header, integer, key_of, key_value, value_of

_OP_FIELD: dict[type, int] = {RangeOp: 1, PutOp: 2, DeleteOp: 3, TxnOp: 4}


class _Done(NamedTuple):
    """An operation that ran. `position`: 1 once it or one before it has changed something."""

    op: Leaf
    position: int
    total: int
    rows: Sequence[Row]


def body(op: TxnOp, path: Sequence[bool], shares: Iterable[OpShare], first: Revision) -> bytes:
    """A TxnResponse without its header; `first`: the transaction's revision, or the one that would
    come next if it changes nothing."""
    done = iter(_joined(leaves_of(op, path), shares, first))
    return _branch(op, iter(path), done, first)


def delete_body(op: TxnOp, shares: Iterable[OpShare], first: Revision) -> bytes:
    """A DeleteRangeResponse without its header."""
    (done,) = _joined(leaves_of(op, (True,)), shares, first)
    return _leaf(done)


def _joined(leaves: Sequence[Leaf], shares: Iterable[OpShare], first: Revision) -> list[_Done]:
    of_place: list[list[OpShare]] = [[] for _ in leaves]
    for share in shares:
        of_place[share.place].append(share)
    done = []
    position = 0
    for leaf, parts in zip(leaves, of_place, strict=True):
        if any(part.changes for part in parts):
            position = 1
        rows = [[settled(row, first) for row in part.rows] for part in parts]
        merged = rows[0] if len(rows) == 1 else list(heapq.merge(*rows, key=_key))
        done.append(_Done(leaf, position, sum(part.total for part in parts), merged))
    return done


def _key(row: Row) -> bytes:
    return key_of(row.raw)


def settled(row: Row, first: Revision) -> Row:
    """A row of this very transaction with its real revisions."""
    if not is_pending(row.mod):
        return row
    mod, create = resolve(row.mod, first), resolve(row.create, first)
    key, value = key_of(row.raw), value_of(row.raw)
    raw = key_value(key, create, mod, row.version, value, row.lease)
    return Row(mod, create, row.version, row.lease, raw)


def _branch(op: TxnOp, path: Iterator[bool], done: Iterator[_Done], first: Revision) -> bytes:
    succeeded = next(path)
    ops = op.success if succeeded else op.failure
    answers = [blob(3, _response_op(inner, path, done, first)) for inner in ops]
    return b"".join([b"\x10\x01" if succeeded else b"", *answers])


def _response_op(op: Op, path: Iterator[bool], done: Iterator[_Done], first: Revision) -> bytes:
    """A ResponseOp; etcd leaves the header of a nested transaction's answer empty."""
    if isinstance(op, TxnOp):
        return blob(_OP_FIELD[TxnOp], blob(1, b"") + _branch(op, path, done, first))
    leaf = next(done)
    assert leaf.op is op, "answers come in the order of operations"
    header = inner_header(first - 1 + leaf.position)
    return blob(_OP_FIELD[type(op)], header + _leaf(leaf))


def _leaf(done: _Done) -> bytes:
    match done.op:
        case PutOp():
            return b"".join([blob(2, row.raw) for row in done.rows])
        case DeleteOp():
            previous = b"".join([blob(3, row.raw) for row in done.rows])
            return integer(2, done.total) + previous
        case RangeOp():
            return ranges.body(done.op, done.rows, done.total)
