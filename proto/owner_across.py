"""The steps of transactions over several shards as bytes, and back.

What it is: base/across's calls and replies as parts of OwnerCalls and OwnerAnswers. What it is not:
the protocol, or the rest of those messages (`owner_wire.py`, `owner_answers.py`).

Invariants: rows pass as they are, pending revisions too; whether an error is definite survives.

Worked example: LOCK of a txn with two compares, answered by the verdict of each.

Tested in tests/unit/proto/test_owner_across.py.
"""

from __future__ import annotations

from collections.abc import Sequence

from kubebraid.base.across import (
    AcrossCall,
    AcrossReply,
    Lane,
    OpShare,
    Prepared,
    Step,
    TxnId,
    Verdict,
)
from kubebraid.base.errors import RequestRefused
from kubebraid.base.record import Row

from .internal import owner_pb2
from .owner_refusals import put_refusals, take_refusals


def put_call(message: owner_pb2.AcrossCall, number: int, call: AcrossCall) -> None:
    message.number = number
    message.step = call.step
    message.router, message.txn = call.txn
    message.kind = call.kind
    message.payload = call.payload
    message.map_version = call.map_version
    message.path.extend(call.path)
    message.known = call.known
    message.participants.extend(call.participants)
    message.revision = call.revision


def take_call(message: owner_pb2.AcrossCall) -> AcrossCall:
    """Raises ValueError: no such step."""
    return AcrossCall(
        Step(message.step),
        TxnId(message.router, message.txn),
        message.kind,
        message.payload,
        message.map_version,
        tuple(message.path),
        message.known,
        tuple(message.participants),
        message.revision,
    )


def put_reply(message: owner_pb2.AcrossReply, number: int, reply: AcrossReply) -> None:
    message.number = number
    _put_refusal(message.error, 0, reply.error)
    message.found.extend([verdict.found for verdict in reply.verdicts])
    message.satisfied.extend([verdict.satisfied for verdict in reply.verdicts])
    message.revision = reply.revision
    if reply.prepared is not None:
        _put_prepared(message.prepared, reply.prepared)


def take_reply(message: owner_pb2.AcrossReply) -> AcrossReply:
    """Raises ValueError."""
    refused = _refusal(message.error)
    return AcrossReply(
        None if refused is None else refused[1],
        [Verdict(*both) for both in zip(message.found, message.satisfied, strict=True)],
        _prepared(message.prepared) if message.HasField("prepared") else None,
        message.revision,
    )


def _put_prepared(message: owner_pb2.Prepared, prepared: Prepared) -> None:
    message.cepoch = prepared.cepoch
    message.owner, message.incarnation, message.request_number = prepared.lane
    for tablet, oepoch, index in prepared.ends:
        message.end_tablets.append(tablet)
        message.end_oepochs.append(oepoch)
        message.end_indexes.append(index)
    for share in prepared.shares:
        _put_share(message.shares.add(), share)
    if prepared.refused is not None:
        _put_refusal(message.refused, *prepared.refused)


def _prepared(message: owner_pb2.Prepared) -> Prepared:
    return Prepared(
        message.cepoch,
        Lane(message.owner, message.incarnation, message.request_number),
        tuple(zip(message.end_tablets, message.end_oepochs, message.end_indexes, strict=True)),
        [_share(share) for share in message.shares],
        _refusal(message.refused),
    )


def _put_share(message: owner_pb2.OpShare, share: OpShare) -> None:
    message.place = share.place
    message.changes = share.changes
    message.total = share.total
    put_rows(message.rows, share.rows)


def _share(message: owner_pb2.OpShare) -> OpShare:
    return OpShare(message.place, message.changes, message.total, take_rows(message.rows))


def _put_refusal(message: owner_pb2.Refusals, number: int, why: RequestRefused | None) -> None:
    """At most one."""
    if why is not None:
        put_refusals(message, [(number, why)])


def _refusal(message: owner_pb2.Refusals) -> tuple[int, RequestRefused] | None:
    return next(take_refusals(message), None)


def put_rows(message: owner_pb2.Rows, rows: Sequence[Row]) -> None:
    if rows:
        mods, creates, versions, leases, raws = zip(*rows, strict=True)
        message.mods.extend(mods)
        message.creates.extend(creates)
        message.versions.extend(versions)
        message.leases.extend(leases)
        message.raws.extend(raws)


def take_rows(message: owner_pb2.Rows) -> list[Row]:
    columns = (message.mods, message.creates, message.versions, message.leases, message.raws)
    return list(map(Row, *columns))
