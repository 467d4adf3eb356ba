"""The questions of a copy between two shards as bytes, and back.

What it is: CopyCall and DigestCall as parts of OwnerCalls, their answers as parts of OwnerAnswers.
What it is not: the copy (shard/reshard), or the rest of those messages.

Invariants: stored rows pass as they are; what is decoded is what was encoded.

Worked example: a piece of 40 rows is two lists of 40 byte strings and a cursor.

Tested in tests/unit/proto/test_owner_reshard.py.
"""

from __future__ import annotations

from typing import TypeAlias

from kubebraid.base.reshard import Brings, CopyCall, CopyReply, Digest, DigestCall

from .internal import owner_pb2

Asking: TypeAlias = CopyCall | DigestCall
Told: TypeAlias = CopyReply | Digest


def put_asking(message: owner_pb2.CopyCall, number: int, call: Asking) -> None:
    message.number = number
    message.migration = call.migration
    message.tablets.extend(call.tablets)
    match call:
        case CopyCall():
            message.since = call.since
            message.upto = call.upto
            message.cursor = call.cursor
            message.bytes_max = call.bytes_max
            message.brings = call.brings
        case DigestCall():
            message.digest = True
            message.start = call.start
            message.end = call.end
            message.floor = call.floor
            message.upto = call.revision


def take_asking(message: owner_pb2.CopyCall) -> Asking:
    tablets = tuple(message.tablets)
    if message.digest:
        bounds = (message.start, message.end)
        return DigestCall(message.migration, tablets, *bounds, message.floor, message.upto)
    round_of = (message.since, message.upto, message.cursor)
    brings = Brings(message.brings)
    return CopyCall(message.migration, tablets, *round_of, message.bytes_max, brings)


def put_told(message: owner_pb2.CopyReply, number: int, told: Told) -> None:
    message.number = number
    match told:
        case CopyReply():
            message.keys.extend([key for key, _ in told.puts])
            message.values.extend([value for _, value in told.puts])
            message.deletes.extend(told.deletes)
            message.cursor = told.cursor
            message.upto = told.upto
            message.sealed = told.sealed
            message.tablets.extend([tablet for tablet, _ in told.ends])
            message.ends.extend([end for _, end in told.ends])
            message.lease_keys.extend([key for key, _ in told.leases])
            message.leases.extend([row for _, row in told.leases])
        case Digest():
            message.digest = True
            message.versions = told.versions
            message.total = told.total


def take_told(message: owner_pb2.CopyReply) -> Told:
    """Raises ValueError: columns of different lengths."""
    if message.digest:
        return Digest(message.versions, message.total)
    return CopyReply(
        list(zip(message.keys, message.values, strict=True)),
        list(message.deletes),
        message.cursor,
        message.upto,
        message.sealed,
        tuple(zip(message.tablets, message.ends, strict=True)),
        tuple(zip(message.lease_keys, message.leases, strict=True)),
    )
