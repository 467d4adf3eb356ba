from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Writes(_message.Message):
    __slots__ = ("numbers", "kinds", "payloads", "tablet_counts", "tablets", "map_versions")
    NUMBERS_FIELD_NUMBER: _ClassVar[int]
    KINDS_FIELD_NUMBER: _ClassVar[int]
    PAYLOADS_FIELD_NUMBER: _ClassVar[int]
    TABLET_COUNTS_FIELD_NUMBER: _ClassVar[int]
    TABLETS_FIELD_NUMBER: _ClassVar[int]
    MAP_VERSIONS_FIELD_NUMBER: _ClassVar[int]
    numbers: _containers.RepeatedScalarFieldContainer[int]
    kinds: _containers.RepeatedScalarFieldContainer[int]
    payloads: _containers.RepeatedScalarFieldContainer[bytes]
    tablet_counts: _containers.RepeatedScalarFieldContainer[int]
    tablets: _containers.RepeatedScalarFieldContainer[int]
    map_versions: _containers.RepeatedScalarFieldContainer[int]
    def __init__(self, numbers: _Optional[_Iterable[int]] = ..., kinds: _Optional[_Iterable[int]] = ..., payloads: _Optional[_Iterable[bytes]] = ..., tablet_counts: _Optional[_Iterable[int]] = ..., tablets: _Optional[_Iterable[int]] = ..., map_versions: _Optional[_Iterable[int]] = ...) -> None: ...

class Points(_message.Message):
    __slots__ = ("numbers", "keys", "revisions", "tablets", "needs", "map_versions")
    NUMBERS_FIELD_NUMBER: _ClassVar[int]
    KEYS_FIELD_NUMBER: _ClassVar[int]
    REVISIONS_FIELD_NUMBER: _ClassVar[int]
    TABLETS_FIELD_NUMBER: _ClassVar[int]
    NEEDS_FIELD_NUMBER: _ClassVar[int]
    MAP_VERSIONS_FIELD_NUMBER: _ClassVar[int]
    numbers: _containers.RepeatedScalarFieldContainer[int]
    keys: _containers.RepeatedScalarFieldContainer[bytes]
    revisions: _containers.RepeatedScalarFieldContainer[int]
    tablets: _containers.RepeatedScalarFieldContainer[int]
    needs: _containers.RepeatedScalarFieldContainer[int]
    map_versions: _containers.RepeatedScalarFieldContainer[int]
    def __init__(self, numbers: _Optional[_Iterable[int]] = ..., keys: _Optional[_Iterable[bytes]] = ..., revisions: _Optional[_Iterable[int]] = ..., tablets: _Optional[_Iterable[int]] = ..., needs: _Optional[_Iterable[int]] = ..., map_versions: _Optional[_Iterable[int]] = ...) -> None: ...

class Span(_message.Message):
    __slots__ = ("start", "end")
    START_FIELD_NUMBER: _ClassVar[int]
    END_FIELD_NUMBER: _ClassVar[int]
    start: bytes
    end: bytes
    def __init__(self, start: _Optional[bytes] = ..., end: _Optional[bytes] = ...) -> None: ...

class Read(_message.Message):
    __slots__ = ("number", "span", "revision", "need_tablets", "needs", "map_version", "limit", "count_only", "spliced")
    NUMBER_FIELD_NUMBER: _ClassVar[int]
    SPAN_FIELD_NUMBER: _ClassVar[int]
    REVISION_FIELD_NUMBER: _ClassVar[int]
    NEED_TABLETS_FIELD_NUMBER: _ClassVar[int]
    NEEDS_FIELD_NUMBER: _ClassVar[int]
    MAP_VERSION_FIELD_NUMBER: _ClassVar[int]
    LIMIT_FIELD_NUMBER: _ClassVar[int]
    COUNT_ONLY_FIELD_NUMBER: _ClassVar[int]
    SPLICED_FIELD_NUMBER: _ClassVar[int]
    number: int
    span: Span
    revision: int
    need_tablets: _containers.RepeatedScalarFieldContainer[int]
    needs: _containers.RepeatedScalarFieldContainer[int]
    map_version: int
    limit: int
    count_only: bool
    spliced: bool
    def __init__(self, number: _Optional[int] = ..., span: _Optional[_Union[Span, _Mapping]] = ..., revision: _Optional[int] = ..., need_tablets: _Optional[_Iterable[int]] = ..., needs: _Optional[_Iterable[int]] = ..., map_version: _Optional[int] = ..., limit: _Optional[int] = ..., count_only: _Optional[bool] = ..., spliced: _Optional[bool] = ...) -> None: ...

class Log(_message.Message):
    __slots__ = ("number", "span", "tablets", "first", "upto", "limit", "bytes_max", "needs")
    NUMBER_FIELD_NUMBER: _ClassVar[int]
    SPAN_FIELD_NUMBER: _ClassVar[int]
    TABLETS_FIELD_NUMBER: _ClassVar[int]
    FIRST_FIELD_NUMBER: _ClassVar[int]
    UPTO_FIELD_NUMBER: _ClassVar[int]
    LIMIT_FIELD_NUMBER: _ClassVar[int]
    BYTES_MAX_FIELD_NUMBER: _ClassVar[int]
    NEEDS_FIELD_NUMBER: _ClassVar[int]
    number: int
    span: Span
    tablets: _containers.RepeatedScalarFieldContainer[int]
    first: int
    upto: int
    limit: int
    bytes_max: int
    needs: _containers.RepeatedScalarFieldContainer[int]
    def __init__(self, number: _Optional[int] = ..., span: _Optional[_Union[Span, _Mapping]] = ..., tablets: _Optional[_Iterable[int]] = ..., first: _Optional[int] = ..., upto: _Optional[int] = ..., limit: _Optional[int] = ..., bytes_max: _Optional[int] = ..., needs: _Optional[_Iterable[int]] = ...) -> None: ...

class Questions(_message.Message):
    __slots__ = ("numbers", "kinds", "firsts", "seconds", "names")
    NUMBERS_FIELD_NUMBER: _ClassVar[int]
    KINDS_FIELD_NUMBER: _ClassVar[int]
    FIRSTS_FIELD_NUMBER: _ClassVar[int]
    SECONDS_FIELD_NUMBER: _ClassVar[int]
    NAMES_FIELD_NUMBER: _ClassVar[int]
    numbers: _containers.RepeatedScalarFieldContainer[int]
    kinds: _containers.RepeatedScalarFieldContainer[int]
    firsts: _containers.RepeatedScalarFieldContainer[int]
    seconds: _containers.RepeatedScalarFieldContainer[int]
    names: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, numbers: _Optional[_Iterable[int]] = ..., kinds: _Optional[_Iterable[int]] = ..., firsts: _Optional[_Iterable[int]] = ..., seconds: _Optional[_Iterable[int]] = ..., names: _Optional[_Iterable[str]] = ...) -> None: ...

class AcrossCall(_message.Message):
    __slots__ = ("number", "step", "router", "txn", "kind", "payload", "map_version", "path", "known", "participants", "revision")
    NUMBER_FIELD_NUMBER: _ClassVar[int]
    STEP_FIELD_NUMBER: _ClassVar[int]
    ROUTER_FIELD_NUMBER: _ClassVar[int]
    TXN_FIELD_NUMBER: _ClassVar[int]
    KIND_FIELD_NUMBER: _ClassVar[int]
    PAYLOAD_FIELD_NUMBER: _ClassVar[int]
    MAP_VERSION_FIELD_NUMBER: _ClassVar[int]
    PATH_FIELD_NUMBER: _ClassVar[int]
    KNOWN_FIELD_NUMBER: _ClassVar[int]
    PARTICIPANTS_FIELD_NUMBER: _ClassVar[int]
    REVISION_FIELD_NUMBER: _ClassVar[int]
    number: int
    step: int
    router: int
    txn: int
    kind: int
    payload: bytes
    map_version: int
    path: _containers.RepeatedScalarFieldContainer[bool]
    known: int
    participants: _containers.RepeatedScalarFieldContainer[str]
    revision: int
    def __init__(self, number: _Optional[int] = ..., step: _Optional[int] = ..., router: _Optional[int] = ..., txn: _Optional[int] = ..., kind: _Optional[int] = ..., payload: _Optional[bytes] = ..., map_version: _Optional[int] = ..., path: _Optional[_Iterable[bool]] = ..., known: _Optional[int] = ..., participants: _Optional[_Iterable[str]] = ..., revision: _Optional[int] = ...) -> None: ...

class CopyCall(_message.Message):
    __slots__ = ("number", "migration", "tablets", "since", "upto", "cursor", "bytes_max", "digest", "start", "end", "floor", "brings")
    NUMBER_FIELD_NUMBER: _ClassVar[int]
    MIGRATION_FIELD_NUMBER: _ClassVar[int]
    TABLETS_FIELD_NUMBER: _ClassVar[int]
    SINCE_FIELD_NUMBER: _ClassVar[int]
    UPTO_FIELD_NUMBER: _ClassVar[int]
    CURSOR_FIELD_NUMBER: _ClassVar[int]
    BYTES_MAX_FIELD_NUMBER: _ClassVar[int]
    DIGEST_FIELD_NUMBER: _ClassVar[int]
    START_FIELD_NUMBER: _ClassVar[int]
    END_FIELD_NUMBER: _ClassVar[int]
    FLOOR_FIELD_NUMBER: _ClassVar[int]
    BRINGS_FIELD_NUMBER: _ClassVar[int]
    number: int
    migration: str
    tablets: _containers.RepeatedScalarFieldContainer[int]
    since: int
    upto: int
    cursor: bytes
    bytes_max: int
    digest: bool
    start: bytes
    end: bytes
    floor: int
    brings: int
    def __init__(self, number: _Optional[int] = ..., migration: _Optional[str] = ..., tablets: _Optional[_Iterable[int]] = ..., since: _Optional[int] = ..., upto: _Optional[int] = ..., cursor: _Optional[bytes] = ..., bytes_max: _Optional[int] = ..., digest: _Optional[bool] = ..., start: _Optional[bytes] = ..., end: _Optional[bytes] = ..., floor: _Optional[int] = ..., brings: _Optional[int] = ...) -> None: ...

class OtherCalls(_message.Message):
    __slots__ = ("reads", "logs", "questions", "granted", "grants", "cancelled", "subscribe", "across", "copies")
    READS_FIELD_NUMBER: _ClassVar[int]
    LOGS_FIELD_NUMBER: _ClassVar[int]
    QUESTIONS_FIELD_NUMBER: _ClassVar[int]
    GRANTED_FIELD_NUMBER: _ClassVar[int]
    GRANTS_FIELD_NUMBER: _ClassVar[int]
    CANCELLED_FIELD_NUMBER: _ClassVar[int]
    SUBSCRIBE_FIELD_NUMBER: _ClassVar[int]
    ACROSS_FIELD_NUMBER: _ClassVar[int]
    COPIES_FIELD_NUMBER: _ClassVar[int]
    reads: _containers.RepeatedCompositeFieldContainer[Read]
    logs: _containers.RepeatedCompositeFieldContainer[Log]
    questions: Questions
    granted: _containers.RepeatedScalarFieldContainer[int]
    grants: _containers.RepeatedScalarFieldContainer[int]
    cancelled: _containers.RepeatedScalarFieldContainer[int]
    subscribe: bool
    across: _containers.RepeatedCompositeFieldContainer[AcrossCall]
    copies: _containers.RepeatedCompositeFieldContainer[CopyCall]
    def __init__(self, reads: _Optional[_Iterable[_Union[Read, _Mapping]]] = ..., logs: _Optional[_Iterable[_Union[Log, _Mapping]]] = ..., questions: _Optional[_Union[Questions, _Mapping]] = ..., granted: _Optional[_Iterable[int]] = ..., grants: _Optional[_Iterable[int]] = ..., cancelled: _Optional[_Iterable[int]] = ..., subscribe: _Optional[bool] = ..., across: _Optional[_Iterable[_Union[AcrossCall, _Mapping]]] = ..., copies: _Optional[_Iterable[_Union[CopyCall, _Mapping]]] = ...) -> None: ...

class OwnerCalls(_message.Message):
    __slots__ = ("writes", "points", "others")
    WRITES_FIELD_NUMBER: _ClassVar[int]
    POINTS_FIELD_NUMBER: _ClassVar[int]
    OTHERS_FIELD_NUMBER: _ClassVar[int]
    writes: Writes
    points: Points
    others: OtherCalls
    def __init__(self, writes: _Optional[_Union[Writes, _Mapping]] = ..., points: _Optional[_Union[Points, _Mapping]] = ..., others: _Optional[_Union[OtherCalls, _Mapping]] = ...) -> None: ...

class Refusals(_message.Message):
    __slots__ = ("numbers", "codes", "texts", "unknown")
    NUMBERS_FIELD_NUMBER: _ClassVar[int]
    CODES_FIELD_NUMBER: _ClassVar[int]
    TEXTS_FIELD_NUMBER: _ClassVar[int]
    UNKNOWN_FIELD_NUMBER: _ClassVar[int]
    numbers: _containers.RepeatedScalarFieldContainer[int]
    codes: _containers.RepeatedScalarFieldContainer[int]
    texts: _containers.RepeatedScalarFieldContainer[str]
    unknown: _containers.RepeatedScalarFieldContainer[bool]
    def __init__(self, numbers: _Optional[_Iterable[int]] = ..., codes: _Optional[_Iterable[int]] = ..., texts: _Optional[_Iterable[str]] = ..., unknown: _Optional[_Iterable[bool]] = ...) -> None: ...

class WriteReplies(_message.Message):
    __slots__ = ("numbers", "revisions", "bodies")
    NUMBERS_FIELD_NUMBER: _ClassVar[int]
    REVISIONS_FIELD_NUMBER: _ClassVar[int]
    BODIES_FIELD_NUMBER: _ClassVar[int]
    numbers: _containers.RepeatedScalarFieldContainer[int]
    revisions: _containers.RepeatedScalarFieldContainer[int]
    bodies: _containers.RepeatedScalarFieldContainer[bytes]
    def __init__(self, numbers: _Optional[_Iterable[int]] = ..., revisions: _Optional[_Iterable[int]] = ..., bodies: _Optional[_Iterable[bytes]] = ...) -> None: ...

class Rows(_message.Message):
    __slots__ = ("mods", "creates", "versions", "leases", "raws")
    MODS_FIELD_NUMBER: _ClassVar[int]
    CREATES_FIELD_NUMBER: _ClassVar[int]
    VERSIONS_FIELD_NUMBER: _ClassVar[int]
    LEASES_FIELD_NUMBER: _ClassVar[int]
    RAWS_FIELD_NUMBER: _ClassVar[int]
    mods: _containers.RepeatedScalarFieldContainer[int]
    creates: _containers.RepeatedScalarFieldContainer[int]
    versions: _containers.RepeatedScalarFieldContainer[int]
    leases: _containers.RepeatedScalarFieldContainer[int]
    raws: _containers.RepeatedScalarFieldContainer[bytes]
    def __init__(self, mods: _Optional[_Iterable[int]] = ..., creates: _Optional[_Iterable[int]] = ..., versions: _Optional[_Iterable[int]] = ..., leases: _Optional[_Iterable[int]] = ..., raws: _Optional[_Iterable[bytes]] = ...) -> None: ...

class PointReplies(_message.Message):
    __slots__ = ("numbers", "rows")
    NUMBERS_FIELD_NUMBER: _ClassVar[int]
    ROWS_FIELD_NUMBER: _ClassVar[int]
    numbers: _containers.RepeatedScalarFieldContainer[int]
    rows: Rows
    def __init__(self, numbers: _Optional[_Iterable[int]] = ..., rows: _Optional[_Union[Rows, _Mapping]] = ...) -> None: ...

class ReadPart(_message.Message):
    __slots__ = ("number", "rows", "total", "last", "body", "spliced")
    NUMBER_FIELD_NUMBER: _ClassVar[int]
    ROWS_FIELD_NUMBER: _ClassVar[int]
    TOTAL_FIELD_NUMBER: _ClassVar[int]
    LAST_FIELD_NUMBER: _ClassVar[int]
    BODY_FIELD_NUMBER: _ClassVar[int]
    SPLICED_FIELD_NUMBER: _ClassVar[int]
    number: int
    rows: Rows
    total: int
    last: bool
    body: bytes
    spliced: int
    def __init__(self, number: _Optional[int] = ..., rows: _Optional[_Union[Rows, _Mapping]] = ..., total: _Optional[int] = ..., last: _Optional[bool] = ..., body: _Optional[bytes] = ..., spliced: _Optional[int] = ...) -> None: ...

class Commits(_message.Message):
    __slots__ = ("revisions", "event_counts", "keys", "deleted", "raws", "previous", "subs", "befores")
    REVISIONS_FIELD_NUMBER: _ClassVar[int]
    EVENT_COUNTS_FIELD_NUMBER: _ClassVar[int]
    KEYS_FIELD_NUMBER: _ClassVar[int]
    DELETED_FIELD_NUMBER: _ClassVar[int]
    RAWS_FIELD_NUMBER: _ClassVar[int]
    PREVIOUS_FIELD_NUMBER: _ClassVar[int]
    SUBS_FIELD_NUMBER: _ClassVar[int]
    BEFORES_FIELD_NUMBER: _ClassVar[int]
    revisions: _containers.RepeatedScalarFieldContainer[int]
    event_counts: _containers.RepeatedScalarFieldContainer[int]
    keys: _containers.RepeatedScalarFieldContainer[bytes]
    deleted: _containers.RepeatedScalarFieldContainer[bool]
    raws: _containers.RepeatedScalarFieldContainer[bytes]
    previous: _containers.RepeatedScalarFieldContainer[bytes]
    subs: _containers.RepeatedScalarFieldContainer[int]
    befores: _containers.RepeatedScalarFieldContainer[int]
    def __init__(self, revisions: _Optional[_Iterable[int]] = ..., event_counts: _Optional[_Iterable[int]] = ..., keys: _Optional[_Iterable[bytes]] = ..., deleted: _Optional[_Iterable[bool]] = ..., raws: _Optional[_Iterable[bytes]] = ..., previous: _Optional[_Iterable[bytes]] = ..., subs: _Optional[_Iterable[int]] = ..., befores: _Optional[_Iterable[int]] = ...) -> None: ...

class LogAnswer(_message.Message):
    __slots__ = ("number", "commits", "complete")
    NUMBER_FIELD_NUMBER: _ClassVar[int]
    COMMITS_FIELD_NUMBER: _ClassVar[int]
    COMPLETE_FIELD_NUMBER: _ClassVar[int]
    number: int
    commits: Commits
    complete: int
    def __init__(self, number: _Optional[int] = ..., commits: _Optional[_Union[Commits, _Mapping]] = ..., complete: _Optional[int] = ...) -> None: ...

class DumpPart(_message.Message):
    __slots__ = ("number", "begins", "payload", "records", "keys", "values", "ends", "floor")
    NUMBER_FIELD_NUMBER: _ClassVar[int]
    BEGINS_FIELD_NUMBER: _ClassVar[int]
    PAYLOAD_FIELD_NUMBER: _ClassVar[int]
    RECORDS_FIELD_NUMBER: _ClassVar[int]
    KEYS_FIELD_NUMBER: _ClassVar[int]
    VALUES_FIELD_NUMBER: _ClassVar[int]
    ENDS_FIELD_NUMBER: _ClassVar[int]
    FLOOR_FIELD_NUMBER: _ClassVar[int]
    number: int
    begins: bool
    payload: int
    records: int
    keys: _containers.RepeatedScalarFieldContainer[bytes]
    values: _containers.RepeatedScalarFieldContainer[bytes]
    ends: bool
    floor: int
    def __init__(self, number: _Optional[int] = ..., begins: _Optional[bool] = ..., payload: _Optional[int] = ..., records: _Optional[int] = ..., keys: _Optional[_Iterable[bytes]] = ..., values: _Optional[_Iterable[bytes]] = ..., ends: _Optional[bool] = ..., floor: _Optional[int] = ...) -> None: ...

class Answer(_message.Message):
    __slots__ = ("number", "values", "keys")
    NUMBER_FIELD_NUMBER: _ClassVar[int]
    VALUES_FIELD_NUMBER: _ClassVar[int]
    KEYS_FIELD_NUMBER: _ClassVar[int]
    number: int
    values: _containers.RepeatedScalarFieldContainer[int]
    keys: _containers.RepeatedScalarFieldContainer[bytes]
    def __init__(self, number: _Optional[int] = ..., values: _Optional[_Iterable[int]] = ..., keys: _Optional[_Iterable[bytes]] = ...) -> None: ...

class OpShare(_message.Message):
    __slots__ = ("place", "changes", "total", "rows")
    PLACE_FIELD_NUMBER: _ClassVar[int]
    CHANGES_FIELD_NUMBER: _ClassVar[int]
    TOTAL_FIELD_NUMBER: _ClassVar[int]
    ROWS_FIELD_NUMBER: _ClassVar[int]
    place: int
    changes: int
    total: int
    rows: Rows
    def __init__(self, place: _Optional[int] = ..., changes: _Optional[int] = ..., total: _Optional[int] = ..., rows: _Optional[_Union[Rows, _Mapping]] = ...) -> None: ...

class Prepared(_message.Message):
    __slots__ = ("cepoch", "owner", "incarnation", "request_number", "end_tablets", "end_oepochs", "end_indexes", "shares", "refused")
    CEPOCH_FIELD_NUMBER: _ClassVar[int]
    OWNER_FIELD_NUMBER: _ClassVar[int]
    INCARNATION_FIELD_NUMBER: _ClassVar[int]
    REQUEST_NUMBER_FIELD_NUMBER: _ClassVar[int]
    END_TABLETS_FIELD_NUMBER: _ClassVar[int]
    END_OEPOCHS_FIELD_NUMBER: _ClassVar[int]
    END_INDEXES_FIELD_NUMBER: _ClassVar[int]
    SHARES_FIELD_NUMBER: _ClassVar[int]
    REFUSED_FIELD_NUMBER: _ClassVar[int]
    cepoch: int
    owner: str
    incarnation: int
    request_number: int
    end_tablets: _containers.RepeatedScalarFieldContainer[int]
    end_oepochs: _containers.RepeatedScalarFieldContainer[int]
    end_indexes: _containers.RepeatedScalarFieldContainer[int]
    shares: _containers.RepeatedCompositeFieldContainer[OpShare]
    refused: Refusals
    def __init__(self, cepoch: _Optional[int] = ..., owner: _Optional[str] = ..., incarnation: _Optional[int] = ..., request_number: _Optional[int] = ..., end_tablets: _Optional[_Iterable[int]] = ..., end_oepochs: _Optional[_Iterable[int]] = ..., end_indexes: _Optional[_Iterable[int]] = ..., shares: _Optional[_Iterable[_Union[OpShare, _Mapping]]] = ..., refused: _Optional[_Union[Refusals, _Mapping]] = ...) -> None: ...

class AcrossReply(_message.Message):
    __slots__ = ("number", "error", "found", "satisfied", "prepared", "revision")
    NUMBER_FIELD_NUMBER: _ClassVar[int]
    ERROR_FIELD_NUMBER: _ClassVar[int]
    FOUND_FIELD_NUMBER: _ClassVar[int]
    SATISFIED_FIELD_NUMBER: _ClassVar[int]
    PREPARED_FIELD_NUMBER: _ClassVar[int]
    REVISION_FIELD_NUMBER: _ClassVar[int]
    number: int
    error: Refusals
    found: _containers.RepeatedScalarFieldContainer[bool]
    satisfied: _containers.RepeatedScalarFieldContainer[bool]
    prepared: Prepared
    revision: int
    def __init__(self, number: _Optional[int] = ..., error: _Optional[_Union[Refusals, _Mapping]] = ..., found: _Optional[_Iterable[bool]] = ..., satisfied: _Optional[_Iterable[bool]] = ..., prepared: _Optional[_Union[Prepared, _Mapping]] = ..., revision: _Optional[int] = ...) -> None: ...

class CopyReply(_message.Message):
    __slots__ = ("number", "keys", "values", "deletes", "cursor", "upto", "sealed", "tablets", "ends", "lease_keys", "leases", "digest", "versions", "total")
    NUMBER_FIELD_NUMBER: _ClassVar[int]
    KEYS_FIELD_NUMBER: _ClassVar[int]
    VALUES_FIELD_NUMBER: _ClassVar[int]
    DELETES_FIELD_NUMBER: _ClassVar[int]
    CURSOR_FIELD_NUMBER: _ClassVar[int]
    UPTO_FIELD_NUMBER: _ClassVar[int]
    SEALED_FIELD_NUMBER: _ClassVar[int]
    TABLETS_FIELD_NUMBER: _ClassVar[int]
    ENDS_FIELD_NUMBER: _ClassVar[int]
    LEASE_KEYS_FIELD_NUMBER: _ClassVar[int]
    LEASES_FIELD_NUMBER: _ClassVar[int]
    DIGEST_FIELD_NUMBER: _ClassVar[int]
    VERSIONS_FIELD_NUMBER: _ClassVar[int]
    TOTAL_FIELD_NUMBER: _ClassVar[int]
    number: int
    keys: _containers.RepeatedScalarFieldContainer[bytes]
    values: _containers.RepeatedScalarFieldContainer[bytes]
    deletes: _containers.RepeatedScalarFieldContainer[bytes]
    cursor: bytes
    upto: int
    sealed: int
    tablets: _containers.RepeatedScalarFieldContainer[int]
    ends: _containers.RepeatedScalarFieldContainer[int]
    lease_keys: _containers.RepeatedScalarFieldContainer[bytes]
    leases: _containers.RepeatedScalarFieldContainer[bytes]
    digest: bool
    versions: int
    total: int
    def __init__(self, number: _Optional[int] = ..., keys: _Optional[_Iterable[bytes]] = ..., values: _Optional[_Iterable[bytes]] = ..., deletes: _Optional[_Iterable[bytes]] = ..., cursor: _Optional[bytes] = ..., upto: _Optional[int] = ..., sealed: _Optional[int] = ..., tablets: _Optional[_Iterable[int]] = ..., ends: _Optional[_Iterable[int]] = ..., lease_keys: _Optional[_Iterable[bytes]] = ..., leases: _Optional[_Iterable[bytes]] = ..., digest: _Optional[bool] = ..., versions: _Optional[int] = ..., total: _Optional[int] = ...) -> None: ...

class OtherAnswers(_message.Message):
    __slots__ = ("reads", "logs", "dumps", "answers", "refused", "across", "copies")
    READS_FIELD_NUMBER: _ClassVar[int]
    LOGS_FIELD_NUMBER: _ClassVar[int]
    DUMPS_FIELD_NUMBER: _ClassVar[int]
    ANSWERS_FIELD_NUMBER: _ClassVar[int]
    REFUSED_FIELD_NUMBER: _ClassVar[int]
    ACROSS_FIELD_NUMBER: _ClassVar[int]
    COPIES_FIELD_NUMBER: _ClassVar[int]
    reads: _containers.RepeatedCompositeFieldContainer[ReadPart]
    logs: _containers.RepeatedCompositeFieldContainer[LogAnswer]
    dumps: _containers.RepeatedCompositeFieldContainer[DumpPart]
    answers: _containers.RepeatedCompositeFieldContainer[Answer]
    refused: Refusals
    across: _containers.RepeatedCompositeFieldContainer[AcrossReply]
    copies: _containers.RepeatedCompositeFieldContainer[CopyReply]
    def __init__(self, reads: _Optional[_Iterable[_Union[ReadPart, _Mapping]]] = ..., logs: _Optional[_Iterable[_Union[LogAnswer, _Mapping]]] = ..., dumps: _Optional[_Iterable[_Union[DumpPart, _Mapping]]] = ..., answers: _Optional[_Iterable[_Union[Answer, _Mapping]]] = ..., refused: _Optional[_Union[Refusals, _Mapping]] = ..., across: _Optional[_Iterable[_Union[AcrossReply, _Mapping]]] = ..., copies: _Optional[_Iterable[_Union[CopyReply, _Mapping]]] = ...) -> None: ...

class OwnerAnswers(_message.Message):
    __slots__ = ("writes", "points", "others")
    WRITES_FIELD_NUMBER: _ClassVar[int]
    POINTS_FIELD_NUMBER: _ClassVar[int]
    OTHERS_FIELD_NUMBER: _ClassVar[int]
    writes: WriteReplies
    points: PointReplies
    others: OtherAnswers
    def __init__(self, writes: _Optional[_Union[WriteReplies, _Mapping]] = ..., points: _Optional[_Union[PointReplies, _Mapping]] = ..., others: _Optional[_Union[OtherAnswers, _Mapping]] = ...) -> None: ...

class OwnerPublication(_message.Message):
    __slots__ = ("shard", "fresh", "tablets", "oepochs", "closed", "commit_counts", "commits", "cepoch", "map_version", "revision", "last_tablets", "last", "floor")
    SHARD_FIELD_NUMBER: _ClassVar[int]
    FRESH_FIELD_NUMBER: _ClassVar[int]
    TABLETS_FIELD_NUMBER: _ClassVar[int]
    OEPOCHS_FIELD_NUMBER: _ClassVar[int]
    CLOSED_FIELD_NUMBER: _ClassVar[int]
    COMMIT_COUNTS_FIELD_NUMBER: _ClassVar[int]
    COMMITS_FIELD_NUMBER: _ClassVar[int]
    CEPOCH_FIELD_NUMBER: _ClassVar[int]
    MAP_VERSION_FIELD_NUMBER: _ClassVar[int]
    REVISION_FIELD_NUMBER: _ClassVar[int]
    LAST_TABLETS_FIELD_NUMBER: _ClassVar[int]
    LAST_FIELD_NUMBER: _ClassVar[int]
    FLOOR_FIELD_NUMBER: _ClassVar[int]
    shard: str
    fresh: bool
    tablets: _containers.RepeatedScalarFieldContainer[int]
    oepochs: _containers.RepeatedScalarFieldContainer[int]
    closed: _containers.RepeatedScalarFieldContainer[int]
    commit_counts: _containers.RepeatedScalarFieldContainer[int]
    commits: Commits
    cepoch: int
    map_version: int
    revision: int
    last_tablets: _containers.RepeatedScalarFieldContainer[int]
    last: _containers.RepeatedScalarFieldContainer[int]
    floor: int
    def __init__(self, shard: _Optional[str] = ..., fresh: _Optional[bool] = ..., tablets: _Optional[_Iterable[int]] = ..., oepochs: _Optional[_Iterable[int]] = ..., closed: _Optional[_Iterable[int]] = ..., commit_counts: _Optional[_Iterable[int]] = ..., commits: _Optional[_Union[Commits, _Mapping]] = ..., cepoch: _Optional[int] = ..., map_version: _Optional[int] = ..., revision: _Optional[int] = ..., last_tablets: _Optional[_Iterable[int]] = ..., last: _Optional[_Iterable[int]] = ..., floor: _Optional[int] = ...) -> None: ...

class OwnerStatus(_message.Message):
    __slots__ = ("disk_bytes", "used_bytes", "tablets", "leases", "free_bytes", "load_tablets", "load_bytes", "load_keys", "load_writes", "load_p99", "undecided")
    DISK_BYTES_FIELD_NUMBER: _ClassVar[int]
    USED_BYTES_FIELD_NUMBER: _ClassVar[int]
    TABLETS_FIELD_NUMBER: _ClassVar[int]
    LEASES_FIELD_NUMBER: _ClassVar[int]
    FREE_BYTES_FIELD_NUMBER: _ClassVar[int]
    LOAD_TABLETS_FIELD_NUMBER: _ClassVar[int]
    LOAD_BYTES_FIELD_NUMBER: _ClassVar[int]
    LOAD_KEYS_FIELD_NUMBER: _ClassVar[int]
    LOAD_WRITES_FIELD_NUMBER: _ClassVar[int]
    LOAD_P99_FIELD_NUMBER: _ClassVar[int]
    UNDECIDED_FIELD_NUMBER: _ClassVar[int]
    disk_bytes: int
    used_bytes: int
    tablets: int
    leases: int
    free_bytes: int
    load_tablets: _containers.RepeatedScalarFieldContainer[int]
    load_bytes: _containers.RepeatedScalarFieldContainer[int]
    load_keys: _containers.RepeatedScalarFieldContainer[int]
    load_writes: _containers.RepeatedScalarFieldContainer[float]
    load_p99: _containers.RepeatedScalarFieldContainer[float]
    undecided: int
    def __init__(self, disk_bytes: _Optional[int] = ..., used_bytes: _Optional[int] = ..., tablets: _Optional[int] = ..., leases: _Optional[int] = ..., free_bytes: _Optional[int] = ..., load_tablets: _Optional[_Iterable[int]] = ..., load_bytes: _Optional[_Iterable[int]] = ..., load_keys: _Optional[_Iterable[int]] = ..., load_writes: _Optional[_Iterable[float]] = ..., load_p99: _Optional[_Iterable[float]] = ..., undecided: _Optional[int] = ...) -> None: ...
