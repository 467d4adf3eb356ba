"""Transactions over several shards that wait for this shard's batch slot.

What it is: the queue of LOCK requests, and what each needs before it may have the slot. What it is
not: the slot (`writer.py`), or what is done with it (`across.py`).

Invariants:
- the slot is given in the order of arrival, but to nobody who waits for another shard: a lease that
  this shard has not heard of is joined first, for the visit is a write of its own;
- nobody waits longer than ACROSS_WAIT_MS; the answer is then definite, and worth another try.

Worked example: a LOCK whose put names lease 7 of shard-1: it is joined (`guests.py`), then the lock
may be given.

Tested in tests/unit/shard/test_locks.py.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

from kubebraid.base import errors
from kubebraid.base.across import (
    AcrossCall,
    AcrossReply,
    Leaf,
    TxnId,
    compares_of,
    every_leaf,
    leaf_span,
)
from kubebraid.base.errors import RequestRefused
from kubebraid.base.limits import ACROSS_WAIT_MS, ACROSS_WAITING_MAX
from kubebraid.base.ops import PutOp, TxnOp
from kubebraid.base.ports import WRITE_LEASE_ROW, WriteCall, WriteReply
from kubebraid.base.revision import LeaseId, TabletId
from kubebraid.base.seams import Clock

from .intents import decoded
from .lease import LeaseTask
from .ownership import Ownership
from .writer import Writer

Done: TypeAlias = Callable[[AcrossReply], None]


@dataclass(slots=True, eq=False)
class Waiting:
    """A LOCK without the slot. `joins`: leases whose homes have not answered yet."""

    call: AcrossCall
    op: TxnOp
    done: Done
    until_ms: int
    joins: int = 0


def named_tablets(owned: Ownership, op: TxnOp) -> set[TabletId]:
    """Our tablets that the transaction can read or change, whatever branch it takes."""
    spans = [compare.span for compare in compares_of(op)]
    spans += [leaf_span(leaf) for leaf in every_leaf(op)]
    return {t for span in spans if span is not None for t in owned.tablets_of(span)}


class LockQueue:
    """Those of one shard."""

    def __init__(
        self, owned: Ownership, writer: Writer, clock: Clock, owns: Callable[[Leaf], bool]
    ) -> None:
        self._owned = owned
        self._writer = writer
        self._clock = clock
        self._owns = owns
        self._waiting: dict[TxnId, Waiting] = {}

    @property
    def empty(self) -> bool:
        return not self._waiting

    def lock(self, call: AcrossCall, done: Done) -> None:
        """Wait for the slot; answered by whoever gives it, or by a refusal."""
        op = decoded(call.kind, call.payload)
        refused = self._admit(call, op)
        if refused is not None:
            done(AcrossReply(refused))
            return
        until_ms = self._clock.now_ms() + ACROSS_WAIT_MS
        waiting = self._waiting[call.txn] = Waiting(call, op, done, until_ms)
        for lease in self._strangers(op):
            self._join(waiting, lease)

    def _admit(self, call: AcrossCall, op: TxnOp) -> RequestRefused | None:
        if len(self._waiting) >= ACROSS_WAITING_MAX:
            return errors.TOO_MANY_REQUESTS
        return None if self._fits(call, op) else errors.OTHER_MAP

    def _fits(self, call: AcrossCall, op: TxnOp) -> bool:
        """Planned with a map that names our tablets as they are, none of its own about to go."""
        owned = self._owned
        if not owned.knows(call.map_version):
            return False
        return not owned.sealed or owned.sealed.isdisjoint(named_tablets(owned, op))

    def review(self) -> None:
        """Tablets went, or were sealed: who waits and does not fit any more plans anew."""
        for txn, waiting in list(self._waiting.items()):
            if not self._fits(waiting.call, waiting.op):
                self.give_up(txn, errors.OTHER_MAP)

    def _strangers(self, op: TxnOp) -> list[LeaseId]:
        """Leases that our puts name and only another shard can tell of."""
        leases = self._owned.leases
        puts = [leaf for leaf in every_leaf(op) if isinstance(leaf, PutOp) and self._owns(leaf)]
        named = {put.lease for put in puts if put.lease}
        return sorted(lease for lease in named if lease not in leases and not leases.ours(lease))

    def _join(self, waiting: Waiting, lease: LeaseId) -> None:
        waiting.joins += 1

        def joined(reply: WriteReply) -> None:
            """Not found: whether that is a refusal depends on the branch that runs."""
            waiting.joins -= 1
            if reply.error is not None and reply.error is not errors.LEASE_NOT_FOUND:
                self.give_up(waiting.call.txn, reply.error)

        task = LeaseTask(lease, lambda row: row)
        call = WriteCall(WRITE_LEASE_ROW, b"", (), self._owned.map_version, task)
        self._writer.aside(lease, call, joined)

    def first(self) -> Waiting | None:
        """Take out the first that may have the slot."""
        for txn, waiting in self._waiting.items():
            if not waiting.joins:
                return self._waiting.pop(txn)
        return None

    def give_up(self, txn: TxnId, why: RequestRefused) -> None:
        """It waits no longer, if it still did."""
        waiting = self._waiting.pop(txn, None)
        if waiting is not None:
            waiting.done(AcrossReply(why))

    def expire(self, now_ms: int) -> None:
        for txn in [txn for txn, lock in self._waiting.items() if now_ms >= lock.until_ms]:
            self.give_up(txn, errors.OWNER_AWAY)

    def next_deadline_ms(self) -> int | None:
        """When `expire` has something to do."""
        return min((lock.until_ms for lock in self._waiting.values()), default=None)
