"""What becomes of one queued call: its operation decoded where need be, then evaluated.

What it is: the table from kinds of writes to `Evaluation`'s methods. What it is not: their rules
(`apply.py`), or the queue (`writer.py`).

Worked example: a call of kind WRITE_PUT that came by a wire: its payload is a PutRequest, and the
outcome that of `Evaluation.put`.

Tested in tests/unit/shard/test_writer.py.
"""

from __future__ import annotations

from kubebraid.base.ops import DeleteOp, PutOp, TxnOp, WriteOp
from kubebraid.base.ports import (
    WRITE_DELETE,
    WRITE_LEASE_GRANT,
    WRITE_LEASE_REVOKE,
    WRITE_LEASE_ROW,
    WRITE_PUT,
    WRITE_TXN,
    WriteCall,
)
from kubebraid.proto import requests

from .apply import Evaluation
from .draft import Outcome
from .lease import LeaseTask


def outcome_of(evaluation: Evaluation, call: WriteCall) -> Outcome:
    """Evaluate one call; the payload is the client's message, decoded here if it came by a wire."""
    match call.op or op_of(call):
        case PutOp() as put:
            return evaluation.put(put)
        case TxnOp() as txn:
            return evaluation.txn(txn)
        case DeleteOp() as delete:
            return evaluation.delete(delete)
        case None:
            return _lease_outcome(evaluation, call)


def _lease_outcome(evaluation: Evaluation, call: WriteCall) -> Outcome:
    if call.kind == WRITE_LEASE_ROW:
        assert isinstance(call.tag, LeaseTask), call.tag
        return evaluation.lease_row(*call.tag)
    if call.kind == WRITE_LEASE_GRANT:
        return evaluation.lease_grant(*requests.lease_grant(call.payload))
    assert call.kind == WRITE_LEASE_REVOKE, call.kind
    return evaluation.lease_revoke(requests.lease_revoke(call.payload))


def op_of(call: WriteCall) -> WriteOp | None:
    """The payload, decoded. None: a lease's."""
    if call.kind == WRITE_PUT:
        return requests.decode_put(call.payload)
    if call.kind == WRITE_TXN:
        return requests.decode_txn(call.payload)
    if call.kind == WRITE_DELETE:
        return requests.decode_delete(call.payload)
    return None
