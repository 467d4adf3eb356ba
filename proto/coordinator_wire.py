"""SequencerPort and CoordinatorPort on a wire: messages between a coordinator and its clients.

What it is: the kinds of messages and their codec, pure. What it is not: migrations
(`coordinator_reshard.py`), who waits for which answer (`coordinator_client.py`) or who answers
(coordinator/service.py).

Invariants:
- M11: a sample travels as the changes behind what the asker said it knows, or whole where its reign
  or map differs; a tablet that a partial one lacks has the last that the asker knew;
- what is decoded is what was encoded; the map and the migrations that a state has in common with
  the one before are neither encoded nor decoded again: all coordinators tell each state to all;
- bytes that are no message of ours raise Malformed, whatever they are.

Worked example: the asker knows (cepoch 3, map 7, R 40); R is 42 and only tablet 2 was written
since: the answer has tablets=[2], last=[42].

Tested in tests/unit/proto/test_coordinator_wire.py.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import IntEnum
from functools import lru_cache
from typing import Final, NamedTuple

from kubebraid.base.errors import Code, RequestRefused
from kubebraid.base.ports import (
    Adoption,
    Alarm,
    AllocReply,
    AllocRequest,
    ClusterView,
    Sample,
    ShardPlace,
    ShardStart,
)
from kubebraid.base.reshard import Migration
from kubebraid.base.revision import Epoch, Revision, TabletId
from kubebraid.base.tabletmap import TabletMap

from .coordinator_reshard import (
    checked,
    migration_message,
    migration_of,
    tablets_message,
    tablets_of,
)
from .internal import coordinator_pb2 as pb

MAPS_KEPT: Final = 4  # that a process meets at a time, from coordinators of which some lag
MIGRATIONS_KEPT: Final = 512  # RESHARD_UNFINISHED_MAX and RESHARD_ENDED_MAX, and some steps


class CoordinatorKind(IntEnum):
    """Kinds of messages on a link to a coordinator: 128 to 191."""

    ALLOC = 128
    ALLOC_ANSWER = 129
    READ_REVISION = 130
    REVISION_ANSWER = 131
    START_SHARD = 132
    SHARD_REFUSED = 133
    CHANGE = 134
    CHANGE_ANSWER = 135
    STATE = 136
    STATUS = 137
    STATUS_ANSWER = 138
    SHARD_ADOPTED = 139
    REPORT = 140
    RESHARD = 141
    RESHARD_ANSWER = 142
    RESHARD_ASK = 143
    RESHARD_LIST = 144
    HOST_BEAT = 145
    HOST_HEARD = 146


class Known(NamedTuple):
    """What an asker knows already."""

    cepoch: Epoch = 0
    map_version: int = 0
    revision: Revision = 0


class Change(NamedTuple):
    """Raise the compaction floor, or raise or disarm an alarm."""

    number: int
    floor: Revision | None
    alarm: Alarm = Alarm(0, 0)
    raised: bool = False


class Changed(NamedTuple):
    """`was_raised`: of an alarm."""

    number: int
    was_raised: bool
    refused: RequestRefused | None


class MemberStatus(NamedTuple):
    """What one coordinator says of itself, for operators.

    `waiting`: it has no log and waits for a refill; `leader`: of Raft, empty if unknown there;
    `applied`: an index in the log; `holder`: of the sequencer's lease; `sample`: of the sequencer,
    where it may hand out revisions."""

    waiting: bool
    leader: str
    term: int
    applied: int
    cepoch: Epoch
    holder: str
    renewals: int
    window: Revision
    sample: Sample | None


# -- samples -----------------------------------------------------------------------------------


def sample_news(sample: Sample, known: Known) -> pb.SampleNews:
    """The sample, as little of it as the asker needs."""
    full = (sample.cepoch, sample.map_version) != (known.cepoch, known.map_version)
    since = -1 if full else known.revision
    news = pb.SampleNews(
        cepoch=sample.cepoch,
        map_version=sample.map_version,
        revision=sample.revision,
        floor=sample.floor,
        full=full,
    )
    changed = [(tablet, last) for tablet, last in sample.last.items() if last > since]
    news.tablets.extend([tablet for tablet, _ in changed])
    news.last.extend([last for _, last in changed])
    return news


def sample_of(news: pb.SampleNews, last: Mapping[TabletId, Revision]) -> Sample:
    """The whole sample; `last`: what the asker knew when it asked, or later."""
    told = dict(zip(news.tablets, news.last, strict=True))
    if not news.full:
        told = {tablet: max(told.get(tablet, 0), known) for tablet, known in last.items()} | {
            tablet: mine for tablet, mine in told.items() if tablet not in last
        }
    return Sample(news.cepoch, news.map_version, news.revision, told, news.floor)


def _known(known: Known) -> pb.Known:
    return pb.Known(cepoch=known.cepoch, map_version=known.map_version, revision=known.revision)


def _known_of(known: pb.Known) -> Known:
    return Known(known.cepoch, known.map_version, known.revision)


# -- the sequencer -----------------------------------------------------------------------------


def encode_alloc(request: AllocRequest, known: Known) -> bytes:
    message = pb.Alloc(
        known=_known(known),
        cepoch=request.cepoch,
        owner=request.owner,
        incarnation=request.incarnation,
        request_number=request.request_number,
        writes=request.writes,
    )
    message.tablets.extend([tablet for tablet, _, _ in request.ends])
    message.oepochs.extend([oepoch for _, oepoch, _ in request.ends])
    message.indexes.extend([index for _, _, index in request.ends])
    message.lane_owners.extend([owner for owner, _, _ in request.lanes])
    message.lane_incarnations.extend([incarnation for _, incarnation, _ in request.lanes])
    message.lane_numbers.extend([number for _, _, number in request.lanes])
    return message.SerializeToString()


@checked
def decode_alloc(body: bytes) -> tuple[AllocRequest, Known]:
    message = pb.Alloc.FromString(body)
    ends = tuple(zip(message.tablets, message.oepochs, message.indexes, strict=True))
    if (
        max(message.indexes, default=-1) != message.writes - 1
        or min(message.indexes, default=0) < -1
    ):
        raise ValueError("each revision belongs to a tablet")
    columns = (message.lane_owners, message.lane_incarnations, message.lane_numbers)
    request = AllocRequest(
        message.cepoch,
        message.owner,
        message.request_number,
        message.writes,
        ends,
        message.incarnation,
        tuple(zip(*columns, strict=True)),
    )
    return request, _known_of(message.known)


def encode_alloc_answer(request: AllocRequest, reply: AllocReply, known: Known) -> bytes:
    return pb.AllocAnswer(
        incarnation=request.incarnation,
        request_number=request.request_number,
        first=reply.first,
        refused=reply.refused,
        sample=sample_news(reply.sample, known),
    ).SerializeToString()


@checked
def decode_alloc_answer(body: bytes) -> pb.AllocAnswer:
    """As it came: the sample needs what the asker knew. Raises Malformed."""
    answer = pb.AllocAnswer.FromString(body)
    _check_news(answer.sample)
    return answer


def encode_read_revision(number: int, known: Known) -> bytes:
    return pb.ReadRevision(number=number, known=_known(known)).SerializeToString()


@checked
def decode_read_revision(body: bytes) -> tuple[int, Known]:
    message = pb.ReadRevision.FromString(body)
    return message.number, _known_of(message.known)


def encode_revision_answer(number: int, sample: Sample, known: Known) -> bytes:
    return pb.RevisionAnswer(number=number, sample=sample_news(sample, known)).SerializeToString()


@checked
def decode_revision_answer(body: bytes) -> pb.RevisionAnswer:
    """As it came: the sample needs what the asker knew. Raises Malformed."""
    answer = pb.RevisionAnswer.FromString(body)
    _check_news(answer.sample)
    return answer


def _check_news(news: pb.SampleNews) -> None:
    assert len(news.tablets) == len(news.last), "each tablet states its last"


# -- shards and changes ------------------------------------------------------------------------


def encode_start(start: ShardStart) -> bytes:
    told = start._asdict() | {"previous": _adoption(start.previous)}
    return pb.ShardStart(**told).SerializeToString()


@checked
def decode_start(body: bytes) -> ShardStart:
    start = pb.ShardStart.FromString(body)
    previous = _adoption_of(start.previous)
    who = (start.shard, start.store, start.incarnation, start.address)
    return ShardStart(*who, previous, start.host, start.rows)


def encode_adopted(shard: str, adoption: Adoption) -> bytes:
    return pb.ShardAdopted(shard=shard, adoption=_adoption(adoption)).SerializeToString()


@checked
def decode_adopted(body: bytes) -> tuple[str, Adoption]:
    message = pb.ShardAdopted.FromString(body)
    return message.shard, _adoption_of(message.adoption)


def _adoption(adoption: Adoption) -> pb.Adoption:
    return pb.Adoption(incarnation=adoption.incarnation, marks=adoption.marks)


def _adoption_of(message: pb.Adoption) -> Adoption:
    return Adoption(message.incarnation, message.marks)


def encode_shard_refused(incarnation: int, why: str) -> bytes:
    return pb.ShardRefused(incarnation=incarnation, why=why).SerializeToString()


@checked
def decode_shard_refused(body: bytes) -> tuple[int, str]:
    message = pb.ShardRefused.FromString(body)
    return message.incarnation, message.why


def encode_change(change: Change) -> bytes:
    return pb.Change(
        number=change.number,
        floor=change.floor,
        member=change.alarm.member,
        alarm=change.alarm.kind,
        raised=change.raised,
    ).SerializeToString()


@checked
def decode_change(body: bytes) -> Change:
    message = pb.Change.FromString(body)
    floor = message.floor if message.HasField("floor") else None
    return Change(message.number, floor, Alarm(message.member, message.alarm), message.raised)


def encode_changed(changed: Changed) -> bytes:
    refused = changed.refused
    return pb.ChangeAnswer(
        number=changed.number,
        changed=changed.was_raised,
        code=0 if refused is None else int(refused.code),
        text="" if refused is None else refused.message,
    ).SerializeToString()


@checked
def decode_changed(body: bytes) -> Changed:
    message = pb.ChangeAnswer.FromString(body)
    refused = RequestRefused(Code(message.code), message.text) if message.code else None
    return Changed(message.number, message.changed, refused)


# -- the status --------------------------------------------------------------------------------


def encode_status_ask(number: int) -> bytes:
    return pb.StatusAsk(number=number).SerializeToString()


@checked
def decode_status_ask(body: bytes) -> int:
    return pb.StatusAsk.FromString(body).number


def encode_status(number: int, status: MemberStatus) -> bytes:
    told = status._asdict()
    sample = told.pop("sample")
    news = None if sample is None else sample_news(sample, Known())
    return pb.StatusAnswer(number=number, sample=news, **told).SerializeToString()


@checked
def decode_status(body: bytes) -> tuple[int, MemberStatus]:
    answer = pb.StatusAnswer.FromString(body)
    sample = sample_of(answer.sample, {}) if answer.HasField("sample") else None
    return answer.number, MemberStatus(
        answer.waiting,
        answer.leader,
        answer.term,
        answer.applied,
        answer.cepoch,
        answer.holder,
        answer.renewals,
        answer.window,
        sample,
    )


# -- the state ---------------------------------------------------------------------------------


def encode_state(view: ClusterView) -> bytes:
    state = pb.ClusterState(
        applied=view.applied,
        cluster=view.cluster,
        cepoch=view.cepoch,
        serves=view.serves,
        sequencer=view.sequencer,
        floor=view.floor,
    )
    alarms = sorted(view.alarms)
    state.alarm_members.extend([alarm.member for alarm in alarms])
    state.alarm_kinds.extend([alarm.kind for alarm in alarms])
    state.shard_names.extend([shard.name for shard in view.shards])
    state.shard_stores.extend([shard.store for shard in view.shards])
    state.shard_incarnations.extend([shard.incarnation for shard in view.shards])
    state.shard_addresses.extend([shard.address for shard in view.shards])
    state.shard_since.extend([shard.since for shard in view.shards])
    state.shard_adoptions.extend(
        pb.ShardStore(confirmed=_adoption(shard.confirmed), tried=shard.tried)
        for shard in view.shards
    )
    state.shard_hosts.extend([shard.host for shard in view.shards])
    state.shard_rows.extend([shard.rows for shard in view.shards])
    # The fields of a message may come in any order, and a repeated one in parts.
    parts = (_tablets_part(view.tablets), *map(_migration_part, view.migrations))
    return b"".join((state.SerializeToString(), *parts))


@lru_cache(MAPS_KEPT)
def _tablets_part(tablets: TabletMap) -> bytes:
    message = tablets_message(tablets.version, tablets.tablets)
    return pb.ClusterState(tablets=message).SerializeToString()


@lru_cache(MIGRATIONS_KEPT)
def _migration_part(migration: Migration) -> bytes:
    return pb.ClusterState(migrations=[migration_message(migration)]).SerializeToString()


@lru_cache(MAPS_KEPT)
def _tablets_in(part: bytes) -> TabletMap:
    message = pb.Tablets.FromString(part)
    return TabletMap(message.version, tablets_of(message))


@lru_cache(MIGRATIONS_KEPT)
def _migration_in(part: bytes) -> Migration:
    return migration_of(pb.Migration.FromString(part))


@checked
def decode_state(body: bytes) -> ClusterView:
    state = pb.ClusterState.FromString(body)
    alarms = zip(state.alarm_members, state.alarm_kinds, strict=True)
    shards = zip(
        state.shard_names,
        state.shard_stores,
        state.shard_incarnations,
        state.shard_addresses,
        state.shard_since,
        [_adoption_of(told.confirmed) for told in state.shard_adoptions],
        [tuple(told.tried) for told in state.shard_adoptions],
        state.shard_hosts or [""] * len(state.shard_names),
        state.shard_rows or [""] * len(state.shard_names),
        strict=True,
    )
    return ClusterView(
        state.applied,
        state.cluster,
        state.cepoch,
        state.serves,
        state.sequencer,
        _tablets_in(state.tablets.SerializeToString()),
        state.floor,
        frozenset(Alarm(member, kind) for member, kind in alarms),
        tuple(ShardPlace(*shard) for shard in shards),
        tuple(_migration_in(told.SerializeToString()) for told in state.migrations),
    )
