"""Rows, changes and answers of a batch before its revisions are known.

What it is: the values between evaluation and commit. A write is evaluated first (so that a failed
compare takes no number) and numbered afterwards; until then its revision is pending. What it is
not: the evaluation (`apply.py`) or the engine batch (`seal.py`).

Invariants:
- a Draft row's mod is pending until `settle`, real afterwards; its raw bytes exist only then;
- an answer's `position` is the number of the batch's writes up to and including its own, so its
  header revision is first - 1 + position: the newest revision that its content shows.

Worked example: a put of a (write 0), then a failed compare on a: the failure's position is 1, so
with first=11 its header says 11, and its range shows a at mod revision 11.

Tested in tests/unit/shard/test_apply.py.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, TypeAlias

from kubebraid.base.errors import RequestRefused
from kubebraid.base.ops import RangeOp
from kubebraid.base.record import Row
from kubebraid.base.revision import LeaseId, Revision, TabletId, resolve
from kubebraid.proto import ranges
from kubebraid.proto.kvwire import (
    blob,
    inner_header,
    integer,
    key_value,
    put_in_txn,
    value_of,
)


@dataclass(slots=True)
class DraftRow:
    """A row that this batch writes."""

    key: bytes
    value: bytes
    mod: Revision
    create: Revision
    version: int
    lease: LeaseId
    sub: int = 0
    raw: bytes = b""

    def settle(self, first: Revision) -> None:
        """Give the row its real revisions and its bytes."""
        assert not self.raw, "a row settles once"
        mod = self.mod = resolve(self.mod, first)
        create = self.create = resolve(self.create, first)
        self.raw = key_value(self.key, create, mod, self.version, self.value, self.lease)


AnyRow: TypeAlias = Row | DraftRow


def value_in(row: AnyRow) -> bytes:
    """The value of a stored or a drafted row."""
    return row.value if isinstance(row, DraftRow) else value_of(row.raw)


@dataclass(slots=True)  # not frozen: that doubles its cost
class Change:
    """One key changed by write number `index`; `new` None is a deletion.

    `sub`: its place among the changes of that write, whatever their tablets. `old`: what it
    replaces; `before`: what stood before the whole write (prev_kv of etcd's events)."""

    index: int
    sub: int
    tablet: TabletId
    key: bytes
    new: DraftRow | None
    old: AnyRow | None
    before: AnyRow | None = None


class Put(NamedTuple):
    position: int
    previous: AnyRow | None  # what prev_kv asks for

    def body(self, first: Revision) -> bytes:
        return b"" if self.previous is None else blob(2, self.previous.raw)


@dataclass(slots=True)  # not frozen: that doubles its cost
class Deleted:
    position: int
    count: int
    previous: Sequence[AnyRow]

    def body(self, first: Revision) -> bytes:
        return integer(2, self.count) + b"".join([blob(3, row.raw) for row in self.previous])


@dataclass(slots=True)  # not frozen: that doubles its cost
class Ranged:
    position: int
    op: RangeOp
    rows: Sequence[AnyRow]
    count: int

    def body(self, first: Revision) -> bytes:
        return ranges.body(self.op, self.rows, self.count)


class Branched(NamedTuple):
    """The answer of a transaction: which branch ran, and each operation's answer."""

    position: int
    succeeded: bool
    answers: Sequence[Answer]

    def body(self, first: Revision) -> bytes:
        if len(self.answers) == 1:
            (answer,) = self.answers
            if isinstance(answer, Put) and answer.previous is None:
                return put_in_txn(first - 1 + answer.position, self.succeeded)
        parts = [b"\x10\x01"] if self.succeeded else []
        parts += [blob(3, _response_op(answer, first)) for answer in self.answers]
        return b"".join(parts)


class LeaseAnswer(NamedTuple):
    """LeaseGrantResponse (id and TTL) or LeaseRevokeResponse (nothing)."""

    position: int
    lease: LeaseId
    ttl_s: int

    def body(self, first: Revision) -> bytes:
        return integer(2, self.lease) + integer(3, self.ttl_s) if self.ttl_s else b""


Answer: TypeAlias = Put | Deleted | Ranged | Branched
Outcome: TypeAlias = Put | Deleted | Ranged | Branched | LeaseAnswer | RequestRefused

_OP_FIELD: dict[type, int] = {Ranged: 1, Put: 2, Deleted: 3, Branched: 4}


def _response_op(answer: Answer, first: Revision) -> bytes:
    """A ResponseOp; inside a transaction the header carries the revision alone."""
    nested = isinstance(answer, Branched)
    # etcd leaves the header of a nested transaction's answer empty
    header = blob(1, b"") if nested else inner_header(first - 1 + answer.position)
    return blob(_OP_FIELD[type(answer)], header + answer.body(first))
