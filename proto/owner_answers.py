"""OwnerPort on a wire, from shard to router: answers, publications and status as bytes, and back.

What it is: the codec of the way back, pure, in columns (the way there is `owner_wire.py`). What it
is not: who waits for which answer.

Invariants:
- bodies and stored KeyValues pass as they are, refusals as `owner_refusals.py` has it;
- a publication is encoded once, whoever receives it.

Worked example: replies to the writes 7 and 8, of which 8 is refused, are `writes.numbers=[7]` and
`refused.numbers=[8]`.

Tested in tests/unit/proto/test_owner_answers.py.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import chain
from typing import Final, NamedTuple

from google.protobuf.message import DecodeError

from kubebraid.base.across import AcrossReply
from kubebraid.base.errors import RequestRefused
from kubebraid.base.ports import (
    LogReply,
    PointReply,
    Publication,
    ReadChunk,
    Sample,
    ShardStatus,
    TabletLoad,
    TabletNews,
    WriteReply,
)
from kubebraid.base.record import Commit, Event, Row
from kubebraid.base.revision import Revision

from .internal import owner_pb2
from .owner_across import put_reply, put_rows, take_reply, take_rows
from .owner_refusals import put_refusals, take_refusals
from .owner_reshard import Told, put_told, take_told
from .owner_wire import Malformed


class Answer(NamedTuple):
    """What a question is answered: some numbers, some keys."""

    values: tuple[int, ...] = ()
    keys: tuple[bytes, ...] = ()


class DumpPart(NamedTuple):
    """Part of a dump: its size first (bytes of all pairs, pairs, the floor), then pairs, then
    `ends`."""

    pairs: Sequence[tuple[bytes, bytes]] = ()
    size: tuple[int, int, Revision] | None = None
    ends: bool = False


@dataclass(slots=True)
class Answers:
    """All answers of one turn to one router, to be sent; the tags of replies are numbers."""

    writes: list[WriteReply] = field(default_factory=list)
    points: list[PointReply] = field(default_factory=list)
    reads: list[tuple[int, ReadChunk]] = field(default_factory=list)
    logs: list[tuple[int, LogReply]] = field(default_factory=list)
    dumps: list[tuple[int, DumpPart]] = field(default_factory=list)
    answers: list[tuple[int, Answer]] = field(default_factory=list)
    refused: list[tuple[int, RequestRefused]] = field(default_factory=list)
    across: list[tuple[int, AcrossReply]] = field(default_factory=list)
    copies: list[tuple[int, Told]] = field(default_factory=list)

    def others(self) -> bool:
        """Whether there is more than writes and points."""
        flows = self.reads or self.logs or self.dumps
        return bool(flows or self.answers or self.refused or self.across or self.copies)

    def empty(self) -> bool:
        return not (self.writes or self.points or self.others())

    def clear(self) -> None:
        """Empty it, and keep its lists: the owner appends to them directly."""
        self.writes.clear()
        self.points.clear()
        self.reads.clear()
        self.logs.clear()
        self.dumps.clear()
        self.answers.clear()
        self.refused.clear()
        self.across.clear()
        self.copies.clear()


@dataclass(slots=True)
class Arrived:
    """The same at its other end, each by its number; a point is its row, None if it is absent."""

    writes: Sequence[tuple[int, Revision, bytes]] = ()
    points: Sequence[tuple[int, Row | None]] = ()
    reads: Sequence[tuple[int, ReadChunk]] = ()
    logs: Sequence[tuple[int, LogReply]] = ()
    dumps: Sequence[tuple[int, DumpPart]] = ()
    answers: Sequence[tuple[int, Answer]] = ()
    refused: Sequence[tuple[int, RequestRefused]] = ()
    across: Sequence[tuple[int, AcrossReply]] = ()
    copies: Sequence[tuple[int, Told]] = ()


# -- commits -----------------------------------------------------------------------------------

_ABSENT: Final = Row(0, 0, 0, 0, b"")


def _put_commits(message: owner_pb2.Commits, commits: Iterable[Commit]) -> None:
    revisions, of_each = zip(*commits, strict=True)
    message.revisions.extend(revisions)
    message.event_counts.extend(map(len, of_each))
    events = list(chain.from_iterable(of_each))
    if events:
        keys, deleted, raws, previous, subs, befores = zip(*events, strict=True)
        message.keys.extend(keys)
        message.deleted.extend(deleted)
        message.raws.extend(raws)
        message.previous.extend([value or b"" for value in previous])
        message.subs.extend(subs)
        message.befores.extend(befores)


def _commits(message: owner_pb2.Commits) -> list[Commit]:
    events = list(
        map(
            Event,
            message.keys,
            message.deleted,
            message.raws,
            [value or None for value in message.previous],
            message.subs,
            message.befores,
        )
    )
    if len(events) == len(message.revisions) and 0 not in message.event_counts:
        return list(map(Commit, message.revisions, zip(events)))
    commits = []
    start = 0
    for revision, count in zip(message.revisions, message.event_counts, strict=True):
        commits.append(Commit(revision, tuple(events[start : start + count])))
        start += count
    return commits


# -- answers -----------------------------------------------------------------------------------


def encode_answers(answers: Answers) -> bytes:
    message = owner_pb2.OwnerAnswers()
    if answers.writes:
        _put_writes(message, answers.writes)
    if answers.points:
        _put_points(message, answers.points)
    if answers.others():
        _put_others(message.others, answers)
    return message.SerializeToString()


def _put_others(message: owner_pb2.OtherAnswers, answers: Answers) -> None:
    for number, part in answers.reads:
        _put_read(message.reads.add(), number, part)
    for number, reply in answers.logs:
        log = message.logs.add()
        log.number = number
        log.complete = reply.complete
        if reply.commits:
            _put_commits(log.commits, reply.commits)
    for number, pairs in answers.dumps:
        _put_dump(message.dumps.add(), number, pairs)
    for number, (values, keys) in answers.answers:
        message.answers.add(number=number, values=values, keys=keys)
    put_refusals(message.refused, answers.refused)
    for number, done in answers.across:
        put_reply(message.across.add(), number, done)
    for number, told in answers.copies:
        put_told(message.copies.add(), number, told)


def _put_writes(message: owner_pb2.OwnerAnswers, replies: Sequence[WriteReply]) -> None:
    numbers, revisions, bodies, refused = zip(*replies, strict=True)
    if any(refused):
        told = zip(numbers, refused, strict=True)
        put_refusals(message.others.refused, [(n, why) for n, why in told if why])
        replies = [reply for reply in replies if reply.error is None]
        if not replies:
            return
        numbers, revisions, bodies, _ = zip(*replies, strict=True)
    message.writes.numbers.extend(numbers)
    message.writes.revisions.extend(revisions)
    message.writes.bodies.extend(bodies)


def _put_points(message: owner_pb2.OwnerAnswers, replies: Sequence[PointReply]) -> None:
    numbers, rows, refused = zip(*replies, strict=True)
    if any(refused):
        told = zip(numbers, refused, strict=True)
        put_refusals(message.others.refused, [(n, why) for n, why in told if why])
        replies = [reply for reply in replies if reply.error is None]
        if not replies:
            return
        numbers, rows, _ = zip(*replies, strict=True)
    message.points.numbers.extend(numbers)
    put_rows(message.points.rows, [row or _ABSENT for row in rows])


def _put_read(message: owner_pb2.ReadPart, number: int, part: ReadChunk) -> None:
    message.number = number
    put_rows(message.rows, part.rows)
    message.total = part.total
    message.last = part.last
    message.body = part.body
    message.spliced = part.spliced


def _put_dump(message: owner_pb2.DumpPart, number: int, part: DumpPart) -> None:
    message.number = number
    message.begins = part.size is not None
    if part.size is not None:
        message.payload, message.records, message.floor = part.size
    message.keys.extend([key for key, _ in part.pairs])
    message.values.extend([value for _, value in part.pairs])
    message.ends = part.ends


def decode_answers(body: bytes) -> Arrived:
    """Raises Malformed."""
    try:
        return _arrived(owner_pb2.OwnerAnswers.FromString(body))
    except (DecodeError, ValueError) as error:
        raise Malformed(str(error)) from None


def _arrived(message: owner_pb2.OwnerAnswers) -> Arrived:
    arrived = Arrived()
    if message.HasField("writes"):
        writes = message.writes
        arrived.writes = list(zip(writes.numbers, writes.revisions, writes.bodies, strict=True))
    if message.HasField("points"):
        points = message.points
        rows = [row if row.mod else None for row in take_rows(points.rows)]
        arrived.points = list(zip(points.numbers, rows, strict=True))
    if message.HasField("others"):
        _take_others(message.others, arrived)
    return arrived


def _take_others(message: owner_pb2.OtherAnswers, arrived: Arrived) -> None:
    arrived.reads = [(read.number, _read(read)) for read in message.reads]
    arrived.logs = [
        (log.number, LogReply(_commits(log.commits), log.complete)) for log in message.logs
    ]
    arrived.dumps = [(dump.number, _dump(dump)) for dump in message.dumps]
    arrived.answers = [
        (answer.number, Answer(tuple(answer.values), tuple(answer.keys)))
        for answer in message.answers
    ]
    arrived.refused = list(take_refusals(message.refused))
    arrived.across = [(reply.number, take_reply(reply)) for reply in message.across]
    arrived.copies = [(reply.number, take_told(reply)) for reply in message.copies]


def _read(message: owner_pb2.ReadPart) -> ReadChunk:
    rows = take_rows(message.rows)
    return ReadChunk(rows, message.total, message.last, message.body, message.spliced)


def _dump(message: owner_pb2.DumpPart) -> DumpPart:
    pairs = list(zip(message.keys, message.values, strict=True))
    begins = (message.payload, message.records, message.floor)
    return DumpPart(pairs, begins if message.begins else None, message.ends)


# -- publications and status -------------------------------------------------------------------


def encode_publication(publication: Publication) -> bytes:
    message = owner_pb2.OwnerPublication(shard=publication.shard, fresh=publication.fresh)
    if publication.news:
        tablets, oepochs, commits, closed = zip(*publication.news, strict=True)
        message.tablets.extend(tablets)
        message.oepochs.extend(oepochs)
        message.closed.extend(closed)
        message.commit_counts.extend(map(len, commits))
        joined = list(chain.from_iterable(commits))
        if joined:
            _put_commits(message.commits, joined)
    sample = publication.sample
    message.cepoch = sample.cepoch
    message.map_version = sample.map_version
    message.revision = sample.revision
    message.floor = sample.floor
    message.last_tablets.extend(sample.last)
    message.last.extend(sample.last.values())
    return message.SerializeToString()


def decode_publication(body: bytes) -> Publication:
    """Raises Malformed."""
    try:
        return _publication(owner_pb2.OwnerPublication.FromString(body))
    except (DecodeError, ValueError) as error:
        raise Malformed(str(error)) from None


def _publication(message: owner_pb2.OwnerPublication) -> Publication:
    commits = _commits(message.commits) if message.HasField("commits") else []
    news = []
    start = 0
    columns = (message.tablets, message.oepochs, message.closed, message.commit_counts)
    for tablet, oepoch, closed, count in zip(*columns, strict=True):
        news.append(TabletNews(tablet, oepoch, tuple(commits[start : start + count]), closed))
        start += count
    last = dict(zip(message.last_tablets, message.last, strict=True))
    sample = Sample(message.cepoch, message.map_version, message.revision, last, message.floor)
    return Publication(message.shard, tuple(news), sample, message.fresh)


def encode_status(status: ShardStatus) -> bytes:
    return owner_pb2.OwnerStatus(
        disk_bytes=status.disk_bytes,
        used_bytes=status.used_bytes,
        tablets=status.tablets,
        leases=status.leases,
        free_bytes=status.free_bytes,
        undecided=status.undecided,
        load_tablets=[load.tablet for load in status.loads],
        load_bytes=[load.bytes for load in status.loads],
        load_keys=[load.keys for load in status.loads],
        load_writes=[load.writes_per_s for load in status.loads],
        load_p99=[load.p99_ms for load in status.loads],
    ).SerializeToString()


def decode_status(body: bytes) -> ShardStatus:
    """Raises Malformed."""
    try:
        return _status(owner_pb2.OwnerStatus.FromString(body))
    except (DecodeError, ValueError) as error:
        raise Malformed(str(error)) from None


def _status(message: owner_pb2.OwnerStatus) -> ShardStatus:
    figures = (message.load_bytes, message.load_keys, message.load_writes, message.load_p99)
    columns = zip(message.load_tablets, *figures, strict=True)
    sizes = (message.disk_bytes, message.used_bytes, message.tablets, message.leases)
    loads = tuple(TabletLoad(*load) for load in columns)
    return ShardStatus(*sizes, loads, message.free_bytes, message.undecided)
