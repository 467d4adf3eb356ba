from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class SampleNews(_message.Message):
    __slots__ = ("cepoch", "map_version", "revision", "floor", "full", "tablets", "last")
    CEPOCH_FIELD_NUMBER: _ClassVar[int]
    MAP_VERSION_FIELD_NUMBER: _ClassVar[int]
    REVISION_FIELD_NUMBER: _ClassVar[int]
    FLOOR_FIELD_NUMBER: _ClassVar[int]
    FULL_FIELD_NUMBER: _ClassVar[int]
    TABLETS_FIELD_NUMBER: _ClassVar[int]
    LAST_FIELD_NUMBER: _ClassVar[int]
    cepoch: int
    map_version: int
    revision: int
    floor: int
    full: bool
    tablets: _containers.RepeatedScalarFieldContainer[int]
    last: _containers.RepeatedScalarFieldContainer[int]
    def __init__(self, cepoch: _Optional[int] = ..., map_version: _Optional[int] = ..., revision: _Optional[int] = ..., floor: _Optional[int] = ..., full: _Optional[bool] = ..., tablets: _Optional[_Iterable[int]] = ..., last: _Optional[_Iterable[int]] = ...) -> None: ...

class Known(_message.Message):
    __slots__ = ("cepoch", "map_version", "revision")
    CEPOCH_FIELD_NUMBER: _ClassVar[int]
    MAP_VERSION_FIELD_NUMBER: _ClassVar[int]
    REVISION_FIELD_NUMBER: _ClassVar[int]
    cepoch: int
    map_version: int
    revision: int
    def __init__(self, cepoch: _Optional[int] = ..., map_version: _Optional[int] = ..., revision: _Optional[int] = ...) -> None: ...

class Alloc(_message.Message):
    __slots__ = ("known", "cepoch", "owner", "incarnation", "request_number", "writes", "tablets", "oepochs", "indexes", "lane_owners", "lane_incarnations", "lane_numbers")
    KNOWN_FIELD_NUMBER: _ClassVar[int]
    CEPOCH_FIELD_NUMBER: _ClassVar[int]
    OWNER_FIELD_NUMBER: _ClassVar[int]
    INCARNATION_FIELD_NUMBER: _ClassVar[int]
    REQUEST_NUMBER_FIELD_NUMBER: _ClassVar[int]
    WRITES_FIELD_NUMBER: _ClassVar[int]
    TABLETS_FIELD_NUMBER: _ClassVar[int]
    OEPOCHS_FIELD_NUMBER: _ClassVar[int]
    INDEXES_FIELD_NUMBER: _ClassVar[int]
    LANE_OWNERS_FIELD_NUMBER: _ClassVar[int]
    LANE_INCARNATIONS_FIELD_NUMBER: _ClassVar[int]
    LANE_NUMBERS_FIELD_NUMBER: _ClassVar[int]
    known: Known
    cepoch: int
    owner: str
    incarnation: int
    request_number: int
    writes: int
    tablets: _containers.RepeatedScalarFieldContainer[int]
    oepochs: _containers.RepeatedScalarFieldContainer[int]
    indexes: _containers.RepeatedScalarFieldContainer[int]
    lane_owners: _containers.RepeatedScalarFieldContainer[str]
    lane_incarnations: _containers.RepeatedScalarFieldContainer[int]
    lane_numbers: _containers.RepeatedScalarFieldContainer[int]
    def __init__(self, known: _Optional[_Union[Known, _Mapping]] = ..., cepoch: _Optional[int] = ..., owner: _Optional[str] = ..., incarnation: _Optional[int] = ..., request_number: _Optional[int] = ..., writes: _Optional[int] = ..., tablets: _Optional[_Iterable[int]] = ..., oepochs: _Optional[_Iterable[int]] = ..., indexes: _Optional[_Iterable[int]] = ..., lane_owners: _Optional[_Iterable[str]] = ..., lane_incarnations: _Optional[_Iterable[int]] = ..., lane_numbers: _Optional[_Iterable[int]] = ...) -> None: ...

class AllocAnswer(_message.Message):
    __slots__ = ("incarnation", "request_number", "first", "refused", "sample")
    INCARNATION_FIELD_NUMBER: _ClassVar[int]
    REQUEST_NUMBER_FIELD_NUMBER: _ClassVar[int]
    FIRST_FIELD_NUMBER: _ClassVar[int]
    REFUSED_FIELD_NUMBER: _ClassVar[int]
    SAMPLE_FIELD_NUMBER: _ClassVar[int]
    incarnation: int
    request_number: int
    first: int
    refused: _containers.RepeatedScalarFieldContainer[int]
    sample: SampleNews
    def __init__(self, incarnation: _Optional[int] = ..., request_number: _Optional[int] = ..., first: _Optional[int] = ..., refused: _Optional[_Iterable[int]] = ..., sample: _Optional[_Union[SampleNews, _Mapping]] = ...) -> None: ...

class ReadRevision(_message.Message):
    __slots__ = ("known", "number")
    KNOWN_FIELD_NUMBER: _ClassVar[int]
    NUMBER_FIELD_NUMBER: _ClassVar[int]
    known: Known
    number: int
    def __init__(self, known: _Optional[_Union[Known, _Mapping]] = ..., number: _Optional[int] = ...) -> None: ...

class RevisionAnswer(_message.Message):
    __slots__ = ("number", "sample")
    NUMBER_FIELD_NUMBER: _ClassVar[int]
    SAMPLE_FIELD_NUMBER: _ClassVar[int]
    number: int
    sample: SampleNews
    def __init__(self, number: _Optional[int] = ..., sample: _Optional[_Union[SampleNews, _Mapping]] = ...) -> None: ...

class ShardStart(_message.Message):
    __slots__ = ("shard", "store", "incarnation", "address", "previous", "host", "rows")
    SHARD_FIELD_NUMBER: _ClassVar[int]
    STORE_FIELD_NUMBER: _ClassVar[int]
    INCARNATION_FIELD_NUMBER: _ClassVar[int]
    ADDRESS_FIELD_NUMBER: _ClassVar[int]
    PREVIOUS_FIELD_NUMBER: _ClassVar[int]
    HOST_FIELD_NUMBER: _ClassVar[int]
    ROWS_FIELD_NUMBER: _ClassVar[int]
    shard: str
    store: str
    incarnation: int
    address: str
    previous: Adoption
    host: str
    rows: str
    def __init__(self, shard: _Optional[str] = ..., store: _Optional[str] = ..., incarnation: _Optional[int] = ..., address: _Optional[str] = ..., previous: _Optional[_Union[Adoption, _Mapping]] = ..., host: _Optional[str] = ..., rows: _Optional[str] = ...) -> None: ...

class HostBeat(_message.Message):
    __slots__ = ("host", "incarnation", "load", "leaving")
    HOST_FIELD_NUMBER: _ClassVar[int]
    INCARNATION_FIELD_NUMBER: _ClassVar[int]
    LOAD_FIELD_NUMBER: _ClassVar[int]
    LEAVING_FIELD_NUMBER: _ClassVar[int]
    host: str
    incarnation: int
    load: int
    leaving: bool
    def __init__(self, host: _Optional[str] = ..., incarnation: _Optional[int] = ..., load: _Optional[int] = ..., leaving: _Optional[bool] = ...) -> None: ...

class HostHeard(_message.Message):
    __slots__ = ("others",)
    OTHERS_FIELD_NUMBER: _ClassVar[int]
    others: int
    def __init__(self, others: _Optional[int] = ...) -> None: ...

class Adoption(_message.Message):
    __slots__ = ("incarnation", "marks")
    INCARNATION_FIELD_NUMBER: _ClassVar[int]
    MARKS_FIELD_NUMBER: _ClassVar[int]
    incarnation: int
    marks: int
    def __init__(self, incarnation: _Optional[int] = ..., marks: _Optional[int] = ...) -> None: ...

class ShardAdopted(_message.Message):
    __slots__ = ("shard", "adoption")
    SHARD_FIELD_NUMBER: _ClassVar[int]
    ADOPTION_FIELD_NUMBER: _ClassVar[int]
    shard: str
    adoption: Adoption
    def __init__(self, shard: _Optional[str] = ..., adoption: _Optional[_Union[Adoption, _Mapping]] = ...) -> None: ...

class ShardStore(_message.Message):
    __slots__ = ("confirmed", "tried")
    CONFIRMED_FIELD_NUMBER: _ClassVar[int]
    TRIED_FIELD_NUMBER: _ClassVar[int]
    confirmed: Adoption
    tried: _containers.RepeatedScalarFieldContainer[int]
    def __init__(self, confirmed: _Optional[_Union[Adoption, _Mapping]] = ..., tried: _Optional[_Iterable[int]] = ...) -> None: ...

class Migration(_message.Message):
    __slots__ = ("id", "kind", "source", "target", "sources", "targets", "phase", "manual", "rate", "after", "keep_source", "version", "ended", "ends", "why", "tries", "pause_ms", "freeze", "back")
    ID_FIELD_NUMBER: _ClassVar[int]
    KIND_FIELD_NUMBER: _ClassVar[int]
    SOURCE_FIELD_NUMBER: _ClassVar[int]
    TARGET_FIELD_NUMBER: _ClassVar[int]
    SOURCES_FIELD_NUMBER: _ClassVar[int]
    TARGETS_FIELD_NUMBER: _ClassVar[int]
    PHASE_FIELD_NUMBER: _ClassVar[int]
    MANUAL_FIELD_NUMBER: _ClassVar[int]
    RATE_FIELD_NUMBER: _ClassVar[int]
    AFTER_FIELD_NUMBER: _ClassVar[int]
    KEEP_SOURCE_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    ENDED_FIELD_NUMBER: _ClassVar[int]
    ENDS_FIELD_NUMBER: _ClassVar[int]
    WHY_FIELD_NUMBER: _ClassVar[int]
    TRIES_FIELD_NUMBER: _ClassVar[int]
    PAUSE_MS_FIELD_NUMBER: _ClassVar[int]
    FREEZE_FIELD_NUMBER: _ClassVar[int]
    BACK_FIELD_NUMBER: _ClassVar[int]
    id: str
    kind: int
    source: str
    target: str
    sources: _containers.RepeatedScalarFieldContainer[int]
    targets: Tablets
    phase: int
    manual: bool
    rate: int
    after: str
    keep_source: bool
    version: int
    ended: _containers.RepeatedScalarFieldContainer[int]
    ends: _containers.RepeatedScalarFieldContainer[int]
    why: str
    tries: int
    pause_ms: int
    freeze: int
    back: bool
    def __init__(self, id: _Optional[str] = ..., kind: _Optional[int] = ..., source: _Optional[str] = ..., target: _Optional[str] = ..., sources: _Optional[_Iterable[int]] = ..., targets: _Optional[_Union[Tablets, _Mapping]] = ..., phase: _Optional[int] = ..., manual: _Optional[bool] = ..., rate: _Optional[int] = ..., after: _Optional[str] = ..., keep_source: _Optional[bool] = ..., version: _Optional[int] = ..., ended: _Optional[_Iterable[int]] = ..., ends: _Optional[_Iterable[int]] = ..., why: _Optional[str] = ..., tries: _Optional[int] = ..., pause_ms: _Optional[int] = ..., freeze: _Optional[int] = ..., back: _Optional[bool] = ...) -> None: ...

class Report(_message.Message):
    __slots__ = ("id", "shard", "process", "rows", "bytes", "upto", "lag", "took_ms", "verified", "ended", "ends", "served", "failed", "freeze", "away")
    ID_FIELD_NUMBER: _ClassVar[int]
    SHARD_FIELD_NUMBER: _ClassVar[int]
    PROCESS_FIELD_NUMBER: _ClassVar[int]
    ROWS_FIELD_NUMBER: _ClassVar[int]
    BYTES_FIELD_NUMBER: _ClassVar[int]
    UPTO_FIELD_NUMBER: _ClassVar[int]
    LAG_FIELD_NUMBER: _ClassVar[int]
    TOOK_MS_FIELD_NUMBER: _ClassVar[int]
    VERIFIED_FIELD_NUMBER: _ClassVar[int]
    ENDED_FIELD_NUMBER: _ClassVar[int]
    ENDS_FIELD_NUMBER: _ClassVar[int]
    SERVED_FIELD_NUMBER: _ClassVar[int]
    FAILED_FIELD_NUMBER: _ClassVar[int]
    FREEZE_FIELD_NUMBER: _ClassVar[int]
    AWAY_FIELD_NUMBER: _ClassVar[int]
    id: str
    shard: str
    process: int
    rows: int
    bytes: int
    upto: int
    lag: int
    took_ms: int
    verified: bool
    ended: _containers.RepeatedScalarFieldContainer[int]
    ends: _containers.RepeatedScalarFieldContainer[int]
    served: bool
    failed: str
    freeze: int
    away: bool
    def __init__(self, id: _Optional[str] = ..., shard: _Optional[str] = ..., process: _Optional[int] = ..., rows: _Optional[int] = ..., bytes: _Optional[int] = ..., upto: _Optional[int] = ..., lag: _Optional[int] = ..., took_ms: _Optional[int] = ..., verified: _Optional[bool] = ..., ended: _Optional[_Iterable[int]] = ..., ends: _Optional[_Iterable[int]] = ..., served: _Optional[bool] = ..., failed: _Optional[str] = ..., freeze: _Optional[int] = ..., away: _Optional[bool] = ...) -> None: ...

class Control(_message.Message):
    __slots__ = ("id", "action", "rate", "pause_ms", "lag_ms", "keep_source")
    ID_FIELD_NUMBER: _ClassVar[int]
    ACTION_FIELD_NUMBER: _ClassVar[int]
    RATE_FIELD_NUMBER: _ClassVar[int]
    PAUSE_MS_FIELD_NUMBER: _ClassVar[int]
    LAG_MS_FIELD_NUMBER: _ClassVar[int]
    KEEP_SOURCE_FIELD_NUMBER: _ClassVar[int]
    id: str
    action: int
    rate: int
    pause_ms: int
    lag_ms: int
    keep_source: bool
    def __init__(self, id: _Optional[str] = ..., action: _Optional[int] = ..., rate: _Optional[int] = ..., pause_ms: _Optional[int] = ..., lag_ms: _Optional[int] = ..., keep_source: _Optional[bool] = ...) -> None: ...

class Reshard(_message.Message):
    __slots__ = ("number", "plan", "map_version", "control", "removal", "hand_over")
    NUMBER_FIELD_NUMBER: _ClassVar[int]
    PLAN_FIELD_NUMBER: _ClassVar[int]
    MAP_VERSION_FIELD_NUMBER: _ClassVar[int]
    CONTROL_FIELD_NUMBER: _ClassVar[int]
    REMOVAL_FIELD_NUMBER: _ClassVar[int]
    HAND_OVER_FIELD_NUMBER: _ClassVar[int]
    number: int
    plan: _containers.RepeatedCompositeFieldContainer[Migration]
    map_version: int
    control: Control
    removal: str
    hand_over: HandOver
    def __init__(self, number: _Optional[int] = ..., plan: _Optional[_Iterable[_Union[Migration, _Mapping]]] = ..., map_version: _Optional[int] = ..., control: _Optional[_Union[Control, _Mapping]] = ..., removal: _Optional[str] = ..., hand_over: _Optional[_Union[HandOver, _Mapping]] = ...) -> None: ...

class HandOver(_message.Message):
    __slots__ = ("shard", "host")
    SHARD_FIELD_NUMBER: _ClassVar[int]
    HOST_FIELD_NUMBER: _ClassVar[int]
    shard: str
    host: str
    def __init__(self, shard: _Optional[str] = ..., host: _Optional[str] = ...) -> None: ...

class ReshardAnswer(_message.Message):
    __slots__ = ("number", "code", "text", "unknown")
    NUMBER_FIELD_NUMBER: _ClassVar[int]
    CODE_FIELD_NUMBER: _ClassVar[int]
    TEXT_FIELD_NUMBER: _ClassVar[int]
    UNKNOWN_FIELD_NUMBER: _ClassVar[int]
    number: int
    code: int
    text: str
    unknown: bool
    def __init__(self, number: _Optional[int] = ..., code: _Optional[int] = ..., text: _Optional[str] = ..., unknown: _Optional[bool] = ...) -> None: ...

class ReshardAsk(_message.Message):
    __slots__ = ("number",)
    NUMBER_FIELD_NUMBER: _ClassVar[int]
    number: int
    def __init__(self, number: _Optional[int] = ...) -> None: ...

class Progress(_message.Message):
    __slots__ = ("migration", "reports", "phase_ms", "switch_ms")
    MIGRATION_FIELD_NUMBER: _ClassVar[int]
    REPORTS_FIELD_NUMBER: _ClassVar[int]
    PHASE_MS_FIELD_NUMBER: _ClassVar[int]
    SWITCH_MS_FIELD_NUMBER: _ClassVar[int]
    migration: Migration
    reports: _containers.RepeatedCompositeFieldContainer[Report]
    phase_ms: int
    switch_ms: int
    def __init__(self, migration: _Optional[_Union[Migration, _Mapping]] = ..., reports: _Optional[_Iterable[_Union[Report, _Mapping]]] = ..., phase_ms: _Optional[int] = ..., switch_ms: _Optional[int] = ...) -> None: ...

class ReshardList(_message.Message):
    __slots__ = ("number", "migrations", "serving")
    NUMBER_FIELD_NUMBER: _ClassVar[int]
    MIGRATIONS_FIELD_NUMBER: _ClassVar[int]
    SERVING_FIELD_NUMBER: _ClassVar[int]
    number: int
    migrations: _containers.RepeatedCompositeFieldContainer[Progress]
    serving: bool
    def __init__(self, number: _Optional[int] = ..., migrations: _Optional[_Iterable[_Union[Progress, _Mapping]]] = ..., serving: _Optional[bool] = ...) -> None: ...

class ShardRefused(_message.Message):
    __slots__ = ("incarnation", "why")
    INCARNATION_FIELD_NUMBER: _ClassVar[int]
    WHY_FIELD_NUMBER: _ClassVar[int]
    incarnation: int
    why: str
    def __init__(self, incarnation: _Optional[int] = ..., why: _Optional[str] = ...) -> None: ...

class Change(_message.Message):
    __slots__ = ("number", "floor", "member", "alarm", "raised")
    NUMBER_FIELD_NUMBER: _ClassVar[int]
    FLOOR_FIELD_NUMBER: _ClassVar[int]
    MEMBER_FIELD_NUMBER: _ClassVar[int]
    ALARM_FIELD_NUMBER: _ClassVar[int]
    RAISED_FIELD_NUMBER: _ClassVar[int]
    number: int
    floor: int
    member: int
    alarm: int
    raised: bool
    def __init__(self, number: _Optional[int] = ..., floor: _Optional[int] = ..., member: _Optional[int] = ..., alarm: _Optional[int] = ..., raised: _Optional[bool] = ...) -> None: ...

class ChangeAnswer(_message.Message):
    __slots__ = ("number", "changed", "code", "text")
    NUMBER_FIELD_NUMBER: _ClassVar[int]
    CHANGED_FIELD_NUMBER: _ClassVar[int]
    CODE_FIELD_NUMBER: _ClassVar[int]
    TEXT_FIELD_NUMBER: _ClassVar[int]
    number: int
    changed: bool
    code: int
    text: str
    def __init__(self, number: _Optional[int] = ..., changed: _Optional[bool] = ..., code: _Optional[int] = ..., text: _Optional[str] = ...) -> None: ...

class StatusAsk(_message.Message):
    __slots__ = ("number",)
    NUMBER_FIELD_NUMBER: _ClassVar[int]
    number: int
    def __init__(self, number: _Optional[int] = ...) -> None: ...

class StatusAnswer(_message.Message):
    __slots__ = ("number", "waiting", "leader", "term", "applied", "cepoch", "holder", "renewals", "window", "sample")
    NUMBER_FIELD_NUMBER: _ClassVar[int]
    WAITING_FIELD_NUMBER: _ClassVar[int]
    LEADER_FIELD_NUMBER: _ClassVar[int]
    TERM_FIELD_NUMBER: _ClassVar[int]
    APPLIED_FIELD_NUMBER: _ClassVar[int]
    CEPOCH_FIELD_NUMBER: _ClassVar[int]
    HOLDER_FIELD_NUMBER: _ClassVar[int]
    RENEWALS_FIELD_NUMBER: _ClassVar[int]
    WINDOW_FIELD_NUMBER: _ClassVar[int]
    SAMPLE_FIELD_NUMBER: _ClassVar[int]
    number: int
    waiting: bool
    leader: str
    term: int
    applied: int
    cepoch: int
    holder: str
    renewals: int
    window: int
    sample: SampleNews
    def __init__(self, number: _Optional[int] = ..., waiting: _Optional[bool] = ..., leader: _Optional[str] = ..., term: _Optional[int] = ..., applied: _Optional[int] = ..., cepoch: _Optional[int] = ..., holder: _Optional[str] = ..., renewals: _Optional[int] = ..., window: _Optional[int] = ..., sample: _Optional[_Union[SampleNews, _Mapping]] = ...) -> None: ...

class Tablets(_message.Message):
    __slots__ = ("version", "ids", "names", "starts", "ends", "ended", "shards", "oepochs", "buckets", "of_buckets", "begins")
    VERSION_FIELD_NUMBER: _ClassVar[int]
    IDS_FIELD_NUMBER: _ClassVar[int]
    NAMES_FIELD_NUMBER: _ClassVar[int]
    STARTS_FIELD_NUMBER: _ClassVar[int]
    ENDS_FIELD_NUMBER: _ClassVar[int]
    ENDED_FIELD_NUMBER: _ClassVar[int]
    SHARDS_FIELD_NUMBER: _ClassVar[int]
    OEPOCHS_FIELD_NUMBER: _ClassVar[int]
    BUCKETS_FIELD_NUMBER: _ClassVar[int]
    OF_BUCKETS_FIELD_NUMBER: _ClassVar[int]
    BEGINS_FIELD_NUMBER: _ClassVar[int]
    version: int
    ids: _containers.RepeatedScalarFieldContainer[int]
    names: _containers.RepeatedScalarFieldContainer[str]
    starts: _containers.RepeatedScalarFieldContainer[bytes]
    ends: _containers.RepeatedScalarFieldContainer[bytes]
    ended: _containers.RepeatedScalarFieldContainer[bool]
    shards: _containers.RepeatedScalarFieldContainer[str]
    oepochs: _containers.RepeatedScalarFieldContainer[int]
    buckets: _containers.RepeatedScalarFieldContainer[int]
    of_buckets: _containers.RepeatedScalarFieldContainer[int]
    begins: _containers.RepeatedScalarFieldContainer[int]
    def __init__(self, version: _Optional[int] = ..., ids: _Optional[_Iterable[int]] = ..., names: _Optional[_Iterable[str]] = ..., starts: _Optional[_Iterable[bytes]] = ..., ends: _Optional[_Iterable[bytes]] = ..., ended: _Optional[_Iterable[bool]] = ..., shards: _Optional[_Iterable[str]] = ..., oepochs: _Optional[_Iterable[int]] = ..., buckets: _Optional[_Iterable[int]] = ..., of_buckets: _Optional[_Iterable[int]] = ..., begins: _Optional[_Iterable[int]] = ...) -> None: ...

class ClusterState(_message.Message):
    __slots__ = ("applied", "cluster", "cepoch", "serves", "sequencer", "tablets", "floor", "alarm_members", "alarm_kinds", "shard_names", "shard_stores", "shard_incarnations", "shard_addresses", "shard_since", "shard_adoptions", "migrations", "shard_hosts", "shard_rows")
    APPLIED_FIELD_NUMBER: _ClassVar[int]
    CLUSTER_FIELD_NUMBER: _ClassVar[int]
    CEPOCH_FIELD_NUMBER: _ClassVar[int]
    SERVES_FIELD_NUMBER: _ClassVar[int]
    SEQUENCER_FIELD_NUMBER: _ClassVar[int]
    TABLETS_FIELD_NUMBER: _ClassVar[int]
    FLOOR_FIELD_NUMBER: _ClassVar[int]
    ALARM_MEMBERS_FIELD_NUMBER: _ClassVar[int]
    ALARM_KINDS_FIELD_NUMBER: _ClassVar[int]
    SHARD_NAMES_FIELD_NUMBER: _ClassVar[int]
    SHARD_STORES_FIELD_NUMBER: _ClassVar[int]
    SHARD_INCARNATIONS_FIELD_NUMBER: _ClassVar[int]
    SHARD_ADDRESSES_FIELD_NUMBER: _ClassVar[int]
    SHARD_SINCE_FIELD_NUMBER: _ClassVar[int]
    SHARD_ADOPTIONS_FIELD_NUMBER: _ClassVar[int]
    MIGRATIONS_FIELD_NUMBER: _ClassVar[int]
    SHARD_HOSTS_FIELD_NUMBER: _ClassVar[int]
    SHARD_ROWS_FIELD_NUMBER: _ClassVar[int]
    applied: int
    cluster: str
    cepoch: int
    serves: bool
    sequencer: str
    tablets: Tablets
    floor: int
    alarm_members: _containers.RepeatedScalarFieldContainer[int]
    alarm_kinds: _containers.RepeatedScalarFieldContainer[int]
    shard_names: _containers.RepeatedScalarFieldContainer[str]
    shard_stores: _containers.RepeatedScalarFieldContainer[str]
    shard_incarnations: _containers.RepeatedScalarFieldContainer[int]
    shard_addresses: _containers.RepeatedScalarFieldContainer[str]
    shard_since: _containers.RepeatedScalarFieldContainer[int]
    shard_adoptions: _containers.RepeatedCompositeFieldContainer[ShardStore]
    migrations: _containers.RepeatedCompositeFieldContainer[Migration]
    shard_hosts: _containers.RepeatedScalarFieldContainer[str]
    shard_rows: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, applied: _Optional[int] = ..., cluster: _Optional[str] = ..., cepoch: _Optional[int] = ..., serves: _Optional[bool] = ..., sequencer: _Optional[str] = ..., tablets: _Optional[_Union[Tablets, _Mapping]] = ..., floor: _Optional[int] = ..., alarm_members: _Optional[_Iterable[int]] = ..., alarm_kinds: _Optional[_Iterable[int]] = ..., shard_names: _Optional[_Iterable[str]] = ..., shard_stores: _Optional[_Iterable[str]] = ..., shard_incarnations: _Optional[_Iterable[int]] = ..., shard_addresses: _Optional[_Iterable[str]] = ..., shard_since: _Optional[_Iterable[int]] = ..., shard_adoptions: _Optional[_Iterable[_Union[ShardStore, _Mapping]]] = ..., migrations: _Optional[_Iterable[_Union[Migration, _Mapping]]] = ..., shard_hosts: _Optional[_Iterable[str]] = ..., shard_rows: _Optional[_Iterable[str]] = ...) -> None: ...
