"""OwnerPort on a wire, from router to shard: the calls of a turn as bytes, and back.

What it is: the kinds of messages, and the codec of calls, pure, in columns. What it is not: the way
back (`owner_answers.py`), or who waits for which answer (`owner_client.py`, `owner_service.py`).

Words: a *number* takes a tag's place on the wire; *columns*: one list per field of a whole batch.

Invariants:
- a client's payload passes as it is; `WriteCall.op` and tags do not travel;
- a message of any size passes: what is larger than OWNER_PART_BYTES leaves in parts.

Worked example: three puts are one OwnerCalls with `numbers=[7, 8, 9]` and three payloads; the
decoded WriteCalls have 7, 8 and 9 for tags.

Tested in tests/unit/proto/test_owner_wire.py.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from itertools import chain
from typing import NamedTuple

from google.protobuf.message import DecodeError

from kubebraid.base.across import AcrossCall
from kubebraid.base.errors import KubeBraidError
from kubebraid.base.keyspace import KeyRange
from kubebraid.base.limits import OWNER_PART_BYTES
from kubebraid.base.links import Link
from kubebraid.base.ports import LogCall, PointCall, ReadCall, WriteCall

from .internal import owner_pb2
from .owner_across import put_call, take_call
from .owner_reshard import Asking, put_asking, take_asking


class OwnerKind(IntEnum):
    """Kinds of messages on a link between a router and a shard: 64 to 127."""

    PART = 64  # the beginning of the message that follows
    CALLS = 65
    ANSWERS = 66
    PUBLICATION = 67
    UNSUBSCRIBED = 68  # the router was too far behind; it may begin anew
    STATUS = 69


class Asked(IntEnum):
    """Kinds of questions, and what their numbers are."""

    COMPACT = 1  # floor
    HASH = 2  # floor, revision
    DUMP = 3
    DEFRAGMENT = 4
    LEASE_INFO = 5  # lease
    LEASES = 6
    KEEP_ALIVE = 7  # lease
    LEASE_JOIN = 8  # lease; the name is the guest's
    LEASE_LEAVE = 9  # lease
    SAMPLE_KEYS = 10  # tablet, parts; a name: by load


class Malformed(KubeBraidError):
    """The bytes are no message of ours, or its columns do not fit."""

    hint = "run the same version on both ends; the link ends"


class Question(NamedTuple):
    """What takes one or two numbers or a name."""

    number: int
    kind: int
    first: int = 0
    second: int = 0
    name: str = ""


@dataclass(slots=True)
class Calls:
    """All calls of one router's turn. `write_numbers` and `point_numbers` stand beside their calls;
    decoded, they are the tags of those."""

    writes: list[WriteCall] = field(default_factory=list)
    write_numbers: list[int] = field(default_factory=list)
    points: list[PointCall] = field(default_factory=list)
    point_numbers: list[int] = field(default_factory=list)
    reads: list[tuple[int, ReadCall]] = field(default_factory=list)
    logs: list[tuple[int, LogCall]] = field(default_factory=list)
    questions: list[Question] = field(default_factory=list)
    grants: list[tuple[int, int]] = field(default_factory=list)
    cancelled: list[int] = field(default_factory=list)
    subscribe: bool = False
    across: list[tuple[int, AcrossCall]] = field(default_factory=list)
    copies: list[tuple[int, Asking]] = field(default_factory=list)

    def others(self) -> bool:
        """Whether there is more than writes and points."""
        asked = self.reads or self.logs or self.questions or self.across or self.copies
        return bool(asked or self.grants or self.cancelled or self.subscribe)

    def empty(self) -> bool:
        return not (self.writes or self.points or self.others())


def send(link: Link, kind: OwnerKind, body: bytes) -> None:
    """One message, in parts if it is large."""
    while len(body) > OWNER_PART_BYTES:
        link.send(OwnerKind.PART, body[:OWNER_PART_BYTES])
        body = body[OWNER_PART_BYTES:]
    link.send(kind, body)


class Joiner:
    """The other end of `send`, of one link."""

    def __init__(self) -> None:
        self._parts: list[bytes] = []

    def take(self, kind: int, body: bytes) -> bytes | None:
        """The whole body of a message; None while parts of it are to come."""
        if kind == OwnerKind.PART:
            self._parts.append(body)
            return None
        if not self._parts:
            return body
        parts, self._parts = self._parts, []
        return b"".join((*parts, body))


# -- to bytes ----------------------------------------------------------------------------------


def encode_calls(calls: Calls) -> bytes:
    message = owner_pb2.OwnerCalls()
    if calls.writes:
        kinds, payloads, tablets, versions, _, _ = zip(*calls.writes, strict=True)
        writes = message.writes
        writes.numbers.extend(calls.write_numbers)
        writes.kinds.extend(kinds)
        writes.payloads.extend(payloads)
        writes.tablet_counts.extend(map(len, tablets))
        writes.tablets.extend(chain.from_iterable(tablets))
        writes.map_versions.extend(versions)
    if calls.points:
        keys, revisions, of, needs, versions, _ = zip(*calls.points, strict=True)
        points = message.points
        points.numbers.extend(calls.point_numbers)
        points.keys.extend(keys)
        points.revisions.extend(revisions)
        points.tablets.extend(of)
        points.needs.extend(needs)
        points.map_versions.extend(versions)
    if calls.others():
        _put_others(message.others, calls)
    return message.SerializeToString()


def _put_others(message: owner_pb2.OtherCalls, calls: Calls) -> None:
    for number, read in calls.reads:
        _put_read(message.reads.add(), number, read)
    for number, log in calls.logs:
        _put_log(message.logs.add(), number, log)
    if calls.questions:
        numbers, asked, firsts, seconds, names = zip(*calls.questions, strict=True)
        questions = message.questions
        questions.numbers.extend(numbers)
        questions.kinds.extend(asked)
        questions.firsts.extend(firsts)
        questions.seconds.extend(seconds)
        questions.names.extend(names)
    message.granted.extend([number for number, _ in calls.grants])
    message.grants.extend([size for _, size in calls.grants])
    message.cancelled.extend(calls.cancelled)
    message.subscribe = calls.subscribe
    for number, call in calls.across:
        put_call(message.across.add(), number, call)
    for number, asking in calls.copies:
        put_asking(message.copies.add(), number, asking)


def _put_read(message: owner_pb2.Read, number: int, call: ReadCall) -> None:
    message.number = number
    _put_span(message.span, call.span)
    message.revision = call.revision
    message.need_tablets.extend(tablet for tablet, _ in call.needs)
    message.needs.extend(need for _, need in call.needs)
    message.map_version = call.map_version
    message.limit = call.limit
    message.count_only = call.count_only
    message.spliced = call.spliced


def _put_log(message: owner_pb2.Log, number: int, call: LogCall) -> None:
    message.number = number
    _put_span(message.span, call.span)
    message.tablets.extend(call.tablets)
    message.first = call.first
    message.upto = call.upto
    message.limit = call.limit
    message.bytes_max = call.bytes_max
    message.needs.extend(call.needs)


def _put_span(message: owner_pb2.Span, span: KeyRange) -> None:
    message.start = span.start
    if span.end is not None:
        message.end = span.end


# -- from bytes --------------------------------------------------------------------------------


def decode_calls(body: bytes) -> Calls:
    """Raises Malformed."""
    try:
        return _calls(owner_pb2.OwnerCalls.FromString(body))
    except (DecodeError, ValueError) as error:
        raise Malformed(str(error)) from None


def _calls(message: owner_pb2.OwnerCalls) -> Calls:
    calls = Calls()
    if message.HasField("writes"):
        calls.writes = _writes(message.writes)
    if message.HasField("points"):
        calls.points = _points(message.points)
    if message.HasField("others"):
        _take_others(message.others, calls)
    return calls


def _writes(writes: owner_pb2.Writes) -> list[WriteCall]:
    several = len(writes.tablets) != len(writes.numbers) or 0 in writes.tablet_counts
    tablets = _cut(writes.tablets, writes.tablet_counts) if several else zip(writes.tablets)
    columns = (writes.kinds, writes.payloads, tablets, writes.map_versions, writes.numbers)
    return list(map(WriteCall, *columns))


def _points(points: owner_pb2.Points) -> list[PointCall]:
    columns = (points.keys, points.revisions, points.tablets, points.needs)
    return list(map(PointCall, *columns, points.map_versions, points.numbers))


def _take_others(message: owner_pb2.OtherCalls, calls: Calls) -> None:
    calls.reads = [(read.number, _read(read)) for read in message.reads]
    calls.logs = [(log.number, _log(log)) for log in message.logs]
    asked = message.questions
    columns = (asked.numbers, asked.kinds, asked.firsts, asked.seconds, asked.names)
    calls.questions = list(map(Question, *columns))
    calls.grants = list(zip(message.granted, message.grants, strict=True))
    calls.cancelled = list(message.cancelled)
    calls.subscribe = message.subscribe
    calls.across = [(call.number, take_call(call)) for call in message.across]
    calls.copies = [(call.number, take_asking(call)) for call in message.copies]


def _read(message: owner_pb2.Read) -> ReadCall:
    return ReadCall(
        _span(message.span),
        message.revision,
        tuple(zip(message.need_tablets, message.needs, strict=True)),
        message.map_version,
        message.limit,
        message.count_only,
        message.spliced,
    )


def _log(message: owner_pb2.Log) -> LogCall:
    if len(message.needs) not in (0, len(message.tablets)):
        raise ValueError("a read of the log has no need beside each tablet")
    return LogCall(
        tuple(message.tablets),
        _span(message.span),
        message.first,
        message.upto,
        message.limit,
        message.bytes_max,
        tuple(message.needs),
    )


def _span(message: owner_pb2.Span) -> KeyRange:
    return KeyRange(message.start, message.end if message.HasField("end") else None)


def _cut(items: Sequence[int], counts: Iterable[int]) -> Iterator[tuple[int, ...]]:
    """`items` in runs of so many."""
    start = 0
    for count in counts:
        yield tuple(items[start : start + count])
        start += count
