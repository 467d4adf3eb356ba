"""Migrations on the wire between a coordinator, shards and routers.

What it is: the codec of base/reshard's values, of a map's tablets, and `checked`, which every
decoder of these links passes. What it is not: the kinds of messages and all other bodies
(`coordinator_wire.py`).

Invariants: what is decoded is what was encoded; bytes that are no message of ours raise Malformed.

Worked example: `encode_reshard(5, Control("m1", Action.CANCEL))` is what an operator's `cancel m1`
sends under the number 5; the answer comes under 5, None for done.

Tested in tests/unit/proto/test_coordinator_reshard.py.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import wraps
from typing import NamedTuple, TypeVar

from google.protobuf.message import DecodeError

from kubebraid.base.errors import Code, RequestRefused, Unanswered
from kubebraid.base.keyspace import KeyRange
from kubebraid.base.reshard import (
    Action,
    Control,
    HandOver,
    Kind,
    Migration,
    Order,
    Phase,
    Planned,
    Progress,
    Removal,
    Report,
)
from kubebraid.base.revision import Revision, TabletId
from kubebraid.base.tabletmap import Tablet

from .internal import coordinator_pb2 as pb
from .owner_wire import Malformed

T = TypeVar("T")


def checked(decode: Callable[[bytes], T]) -> Callable[[bytes], T]:
    """For every decoder: what protobuf takes may still be no value of ours (columns of different
    lengths, a map with a gap, a code that nobody knows)."""

    @wraps(decode)
    def decoded(body: bytes) -> T:
        try:
            return decode(body)
        except (DecodeError, ValueError, AssertionError) as error:
            raise Malformed(str(error)) from None

    return decoded


# -- tablets -----------------------------------------------------------------------------------


def tablets_message(version: int, tablets: Sequence[Tablet]) -> pb.Tablets:
    """In columns. `version`: of the map; 0 where they are none."""
    return pb.Tablets(
        version=version,
        ids=[t.id for t in tablets],
        names=[t.name for t in tablets],
        starts=[t.span.start for t in tablets],
        ends=[t.span.end or b"" for t in tablets],
        ended=[t.span.end is not None for t in tablets],
        shards=[t.shard for t in tablets],
        oepochs=[t.oepoch for t in tablets],
        buckets=[t.bucket for t in tablets],
        of_buckets=[t.buckets for t in tablets],
        begins=[t.begin for t in tablets],
    )


def tablets_of(message: pb.Tablets) -> tuple[Tablet, ...]:
    """The inverse. Raises ValueError, AssertionError."""
    ends = [end if ended else None for end, ended in zip(message.ends, message.ended, strict=True)]
    spans = [KeyRange(*bounds) for bounds in zip(message.starts, ends, strict=True)]
    columns = zip(
        message.ids,
        message.names,
        spans,
        message.shards,
        message.oepochs,
        message.buckets,
        message.of_buckets,
        message.begins,
        strict=True,
    )
    return tuple(Tablet(*column) for column in columns)


# -- migrations and reports --------------------------------------------------------------------


def migration_message(migration: Migration) -> pb.Migration:
    told = migration._asdict()
    told["targets"] = tablets_message(0, migration.targets)
    told["ended"], told["ends"] = _columns(told.pop("ends"))
    return pb.Migration(**told)


def migration_of(message: pb.Migration) -> Migration:
    """The inverse. Raises ValueError."""
    return Migration(
        message.id,
        Kind(message.kind),
        message.source,
        message.target,
        tuple(message.sources),
        tablets_of(message.targets),
        Phase(message.phase),
        message.manual,
        message.rate,
        message.after,
        message.keep_source,
        message.version,
        _pairs(message.ended, message.ends),
        message.why,
        message.tries,
        message.pause_ms,
        message.freeze,
        message.back,
    )


def encode_report(report: Report) -> bytes:
    return _report(report).SerializeToString()


@checked
def decode_report(body: bytes) -> Report:
    return _report_of(pb.Report.FromString(body))


def _report(report: Report) -> pb.Report:
    told = report._asdict()
    told["ended"], told["ends"] = _columns(told.pop("ends"))
    return pb.Report(**told)


def _report_of(message: pb.Report) -> Report:
    return Report(
        message.id,
        message.shard,
        message.process,
        message.rows,
        message.bytes,
        message.upto,
        message.lag,
        message.took_ms,
        message.verified,
        _pairs(message.ended, message.ends),
        message.served,
        message.failed,
        message.freeze,
        message.away,
    )


def _columns(ends: Sequence[tuple[TabletId, Revision]]) -> tuple[list[TabletId], list[Revision]]:
    return [tablet for tablet, _ in ends], [end for _, end in ends]


def _pairs(
    tablets: Iterable[TabletId], ends: Iterable[Revision]
) -> tuple[tuple[TabletId, Revision], ...]:
    return tuple(zip(tablets, ends, strict=True))


# -- what operators ask ------------------------------------------------------------------------


class Answered(NamedTuple):
    """To a plan or a word. refused: None where it is done; an Unanswered where that is unknown."""

    number: int
    refused: RequestRefused | None


class Listed(NamedTuple):
    """migrations: None where another coordinator is the one to ask."""

    number: int
    migrations: tuple[Progress, ...] | None


def encode_reshard(number: int, request: Order) -> bytes:
    message = pb.Reshard(number=number)
    if isinstance(request, Planned):
        message.map_version = request.map_version
        message.plan.extend(migration_message(migration) for migration in request.migrations)
    elif isinstance(request, Removal):
        message.removal = request.shard
    elif isinstance(request, HandOver):
        message.hand_over.CopyFrom(pb.HandOver(shard=request.shard, host=request.host))
    else:
        message.control.CopyFrom(pb.Control(**request._asdict()))
    return message.SerializeToString()


@checked
def decode_reshard(body: bytes) -> tuple[int, Order]:
    message = pb.Reshard.FromString(body)
    if message.removal:
        return message.number, Removal(message.removal)
    if message.HasField("hand_over"):
        return message.number, HandOver(message.hand_over.shard, message.hand_over.host)
    if not message.HasField("control"):
        plan = tuple(migration_of(told) for told in message.plan)
        return message.number, Planned(plan, message.map_version)
    told = message.control
    action = Action(told.action)
    limits = (told.rate, told.pause_ms, told.lag_ms)
    return message.number, Control(told.id, action, *limits, told.keep_source)


def encode_reshard_answer(answer: Answered) -> bytes:
    refused = answer.refused
    if refused is None:
        return pb.ReshardAnswer(number=answer.number).SerializeToString()
    return pb.ReshardAnswer(
        number=answer.number,
        code=int(refused.code),
        text=refused.message,
        unknown=not refused.definite,
    ).SerializeToString()


@checked
def decode_reshard_answer(body: bytes) -> Answered:
    message = pb.ReshardAnswer.FromString(body)
    if not message.code:
        return Answered(message.number, None)
    kind = Unanswered if message.unknown else RequestRefused
    return Answered(message.number, kind(Code(message.code), message.text))


def encode_reshard_ask(number: int) -> bytes:
    return pb.ReshardAsk(number=number).SerializeToString()


@checked
def decode_reshard_ask(body: bytes) -> int:
    return pb.ReshardAsk.FromString(body).number


def encode_reshard_list(listed: Listed) -> bytes:
    message = pb.ReshardList(number=listed.number, serving=listed.migrations is not None)
    message.migrations.extend(
        pb.Progress(
            migration=migration_message(progress.migration),
            reports=[_report(report) for report in progress.reports],
            phase_ms=progress.phase_ms,
            switch_ms=progress.switch_ms,
        )
        for progress in listed.migrations or ()
    )
    return message.SerializeToString()


@checked
def decode_reshard_list(body: bytes) -> Listed:
    message = pb.ReshardList.FromString(body)
    if not message.serving:
        return Listed(message.number, None)
    migrations = tuple(
        Progress(
            migration_of(told.migration),
            tuple(_report_of(report) for report in told.reports),
            told.phase_ms,
            told.switch_ms,
        )
        for told in message.migrations
    )
    return Listed(message.number, migrations)
