"""The gate in front of writes: alarms and the quota, with etcd's behaviour.

What it is: may this request pass, given the alarms that are raised and the space in use? What it is
not: the alarms' storage (the coordinator's) or the disk's own errors (the engine's).

Invariants: under NOSPACE what needs space is refused and everything else goes on (reads, deletes,
compaction, revokes); under CORRUPT no write passes; reaching the quota raises NOSPACE, and it
stays until it is disarmed, as etcd has it.

Worked example: quota 1 MiB, 1 MiB in use: a put is refused and NOSPACE raised; a delete passes.

Source: etcd server/etcdserver/apply/{capped,corrupt}.go, storage/quota.go. Tested in
tests/unit/router/test_guard.py.
"""

from __future__ import annotations

from collections.abc import Sequence

from kubebraid.base import errors
from kubebraid.base.errors import RequestRefused
from kubebraid.base.ops import Op, PutOp, TxnOp
from kubebraid.base.ports import ALARM_CORRUPT, ALARM_NOSPACE, Alarm

from .context import Context


class Guard:
    """Asked for each write."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._quota = context.quota_bytes
        self._measured: int | None = None  # used bytes, with what the batch in hand adds

    def open(self) -> bool:
        """Whether every write passes, whatever its size: no alarm, no quota."""
        return not self._quota and not self._context.coordinator.alarms()

    def refuses(self, size: int = 0) -> RequestRefused | None:
        """Why a write that adds `size` bytes cannot pass; None if it can."""
        if self.open():
            return None
        coordinator = self._context.coordinator
        kinds = {alarm.kind for alarm in coordinator.alarms()}
        if ALARM_CORRUPT in kinds:
            return errors.CORRUPT
        if size == 0:
            return None
        if ALARM_NOSPACE in kinds:
            return errors.NO_SPACE
        if self._quota and self._over(size):
            alarm = Alarm(self._context.header.member_id, ALARM_NOSPACE)
            coordinator.set_alarm(alarm, True, _stored)
            return errors.NO_SPACE
        return None

    def end_batch(self) -> None:
        """The next write measures again: once a batch, for asking the engine is not free."""
        self._measured = None

    def _over(self, size: int) -> bool:
        if self._measured is None:
            owners = self._context.owners.values()
            self._measured = sum(owner.status().disk_bytes for owner in owners)
        if self._measured + size > self._quota:
            return True
        self._measured += size
        return False


def _stored(_: object) -> None:
    """The refusal does not wait for the alarm's record: refusing is right either way."""


def free() -> int:
    """What a write costs that adds nothing."""
    return 0


def lease_cost() -> int:
    """What a grant adds, in bytes (etcd leaseOverhead)."""
    return 64


def put_cost(op: PutOp) -> int:
    """What a put adds, in bytes; never 0. etcd counts 256 for a key's own rows."""
    return 256 + len(op.key) + len(op.value)


def txn_cost(op: TxnOp) -> int:
    """What the larger branch adds; 0 if no branch puts anything (etcd costTxn)."""
    return max(map(_branch_cost, (op.success, op.failure)))


def _branch_cost(branch: Sequence[Op]) -> int:
    cost = 0
    for op in branch:
        if isinstance(op, PutOp):
            cost += put_cost(op)
        elif isinstance(op, TxnOp):
            cost += txn_cost(op)
    return cost
