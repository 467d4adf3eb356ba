from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class ClusterStatusRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class ClusterStatusResponse(_message.Message):
    __slots__ = ("router", "version", "cluster", "stale", "revision", "floor", "map_version", "alarms", "coordinators", "sequencer", "shards", "tablets")
    ROUTER_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    CLUSTER_FIELD_NUMBER: _ClassVar[int]
    STALE_FIELD_NUMBER: _ClassVar[int]
    REVISION_FIELD_NUMBER: _ClassVar[int]
    FLOOR_FIELD_NUMBER: _ClassVar[int]
    MAP_VERSION_FIELD_NUMBER: _ClassVar[int]
    ALARMS_FIELD_NUMBER: _ClassVar[int]
    COORDINATORS_FIELD_NUMBER: _ClassVar[int]
    SEQUENCER_FIELD_NUMBER: _ClassVar[int]
    SHARDS_FIELD_NUMBER: _ClassVar[int]
    TABLETS_FIELD_NUMBER: _ClassVar[int]
    router: str
    version: str
    cluster: str
    stale: bool
    revision: int
    floor: int
    map_version: int
    alarms: _containers.RepeatedCompositeFieldContainer[Alarm]
    coordinators: _containers.RepeatedCompositeFieldContainer[Coordinator]
    sequencer: Sequencer
    shards: _containers.RepeatedCompositeFieldContainer[Shard]
    tablets: _containers.RepeatedCompositeFieldContainer[Tablet]
    def __init__(self, router: _Optional[str] = ..., version: _Optional[str] = ..., cluster: _Optional[str] = ..., stale: _Optional[bool] = ..., revision: _Optional[int] = ..., floor: _Optional[int] = ..., map_version: _Optional[int] = ..., alarms: _Optional[_Iterable[_Union[Alarm, _Mapping]]] = ..., coordinators: _Optional[_Iterable[_Union[Coordinator, _Mapping]]] = ..., sequencer: _Optional[_Union[Sequencer, _Mapping]] = ..., shards: _Optional[_Iterable[_Union[Shard, _Mapping]]] = ..., tablets: _Optional[_Iterable[_Union[Tablet, _Mapping]]] = ...) -> None: ...

class Alarm(_message.Message):
    __slots__ = ("member", "kind")
    MEMBER_FIELD_NUMBER: _ClassVar[int]
    KIND_FIELD_NUMBER: _ClassVar[int]
    member: int
    kind: int
    def __init__(self, member: _Optional[int] = ..., kind: _Optional[int] = ...) -> None: ...

class Coordinator(_message.Message):
    __slots__ = ("name", "address", "state", "leader", "term", "applied")
    NAME_FIELD_NUMBER: _ClassVar[int]
    ADDRESS_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    LEADER_FIELD_NUMBER: _ClassVar[int]
    TERM_FIELD_NUMBER: _ClassVar[int]
    APPLIED_FIELD_NUMBER: _ClassVar[int]
    name: str
    address: str
    state: str
    leader: str
    term: int
    applied: int
    def __init__(self, name: _Optional[str] = ..., address: _Optional[str] = ..., state: _Optional[str] = ..., leader: _Optional[str] = ..., term: _Optional[int] = ..., applied: _Optional[int] = ...) -> None: ...

class Sequencer(_message.Message):
    __slots__ = ("name", "cepoch", "serves", "window", "renewals")
    NAME_FIELD_NUMBER: _ClassVar[int]
    CEPOCH_FIELD_NUMBER: _ClassVar[int]
    SERVES_FIELD_NUMBER: _ClassVar[int]
    WINDOW_FIELD_NUMBER: _ClassVar[int]
    RENEWALS_FIELD_NUMBER: _ClassVar[int]
    name: str
    cepoch: int
    serves: bool
    window: int
    renewals: int
    def __init__(self, name: _Optional[str] = ..., cepoch: _Optional[int] = ..., serves: _Optional[bool] = ..., window: _Optional[int] = ..., renewals: _Optional[int] = ...) -> None: ...

class Shard(_message.Message):
    __slots__ = ("name", "address", "state", "store", "incarnation", "disk_bytes", "used_bytes", "leases", "host")
    NAME_FIELD_NUMBER: _ClassVar[int]
    ADDRESS_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    STORE_FIELD_NUMBER: _ClassVar[int]
    INCARNATION_FIELD_NUMBER: _ClassVar[int]
    DISK_BYTES_FIELD_NUMBER: _ClassVar[int]
    USED_BYTES_FIELD_NUMBER: _ClassVar[int]
    LEASES_FIELD_NUMBER: _ClassVar[int]
    HOST_FIELD_NUMBER: _ClassVar[int]
    name: str
    address: str
    state: str
    store: str
    incarnation: int
    disk_bytes: int
    used_bytes: int
    leases: int
    host: str
    def __init__(self, name: _Optional[str] = ..., address: _Optional[str] = ..., state: _Optional[str] = ..., store: _Optional[str] = ..., incarnation: _Optional[int] = ..., disk_bytes: _Optional[int] = ..., used_bytes: _Optional[int] = ..., leases: _Optional[int] = ..., host: _Optional[str] = ...) -> None: ...

class Tablet(_message.Message):
    __slots__ = ("id", "name", "start", "end", "bucket", "buckets", "shard", "oepoch", "begin", "last", "closed", "load")
    ID_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    START_FIELD_NUMBER: _ClassVar[int]
    END_FIELD_NUMBER: _ClassVar[int]
    BUCKET_FIELD_NUMBER: _ClassVar[int]
    BUCKETS_FIELD_NUMBER: _ClassVar[int]
    SHARD_FIELD_NUMBER: _ClassVar[int]
    OEPOCH_FIELD_NUMBER: _ClassVar[int]
    BEGIN_FIELD_NUMBER: _ClassVar[int]
    LAST_FIELD_NUMBER: _ClassVar[int]
    CLOSED_FIELD_NUMBER: _ClassVar[int]
    LOAD_FIELD_NUMBER: _ClassVar[int]
    id: int
    name: str
    start: str
    end: str
    bucket: int
    buckets: int
    shard: str
    oepoch: int
    begin: int
    last: int
    closed: int
    load: TabletLoad
    def __init__(self, id: _Optional[int] = ..., name: _Optional[str] = ..., start: _Optional[str] = ..., end: _Optional[str] = ..., bucket: _Optional[int] = ..., buckets: _Optional[int] = ..., shard: _Optional[str] = ..., oepoch: _Optional[int] = ..., begin: _Optional[int] = ..., last: _Optional[int] = ..., closed: _Optional[int] = ..., load: _Optional[_Union[TabletLoad, _Mapping]] = ...) -> None: ...

class TabletLoad(_message.Message):
    __slots__ = ("bytes", "keys", "writes_per_s", "p99_ms")
    BYTES_FIELD_NUMBER: _ClassVar[int]
    KEYS_FIELD_NUMBER: _ClassVar[int]
    WRITES_PER_S_FIELD_NUMBER: _ClassVar[int]
    P99_MS_FIELD_NUMBER: _ClassVar[int]
    bytes: int
    keys: int
    writes_per_s: float
    p99_ms: float
    def __init__(self, bytes: _Optional[int] = ..., keys: _Optional[int] = ..., writes_per_s: _Optional[float] = ..., p99_ms: _Optional[float] = ...) -> None: ...

class PlanReshardRequest(_message.Message):
    __slots__ = ("verb", "names", "at", "parts", "buckets", "to", "by_load", "manual", "rate", "keep_source", "dry_run", "planned")
    VERB_FIELD_NUMBER: _ClassVar[int]
    NAMES_FIELD_NUMBER: _ClassVar[int]
    AT_FIELD_NUMBER: _ClassVar[int]
    PARTS_FIELD_NUMBER: _ClassVar[int]
    BUCKETS_FIELD_NUMBER: _ClassVar[int]
    TO_FIELD_NUMBER: _ClassVar[int]
    BY_LOAD_FIELD_NUMBER: _ClassVar[int]
    MANUAL_FIELD_NUMBER: _ClassVar[int]
    RATE_FIELD_NUMBER: _ClassVar[int]
    KEEP_SOURCE_FIELD_NUMBER: _ClassVar[int]
    DRY_RUN_FIELD_NUMBER: _ClassVar[int]
    PLANNED_FIELD_NUMBER: _ClassVar[int]
    verb: str
    names: _containers.RepeatedScalarFieldContainer[str]
    at: bytes
    parts: int
    buckets: int
    to: _containers.RepeatedScalarFieldContainer[str]
    by_load: bool
    manual: bool
    rate: int
    keep_source: bool
    dry_run: bool
    planned: bytes
    def __init__(self, verb: _Optional[str] = ..., names: _Optional[_Iterable[str]] = ..., at: _Optional[bytes] = ..., parts: _Optional[int] = ..., buckets: _Optional[int] = ..., to: _Optional[_Iterable[str]] = ..., by_load: _Optional[bool] = ..., manual: _Optional[bool] = ..., rate: _Optional[int] = ..., keep_source: _Optional[bool] = ..., dry_run: _Optional[bool] = ..., planned: _Optional[bytes] = ...) -> None: ...

class PlanReshardResponse(_message.Message):
    __slots__ = ("map_version", "steps", "notes", "planned", "recorded")
    MAP_VERSION_FIELD_NUMBER: _ClassVar[int]
    STEPS_FIELD_NUMBER: _ClassVar[int]
    NOTES_FIELD_NUMBER: _ClassVar[int]
    PLANNED_FIELD_NUMBER: _ClassVar[int]
    RECORDED_FIELD_NUMBER: _ClassVar[int]
    map_version: int
    steps: _containers.RepeatedCompositeFieldContainer[ReshardStep]
    notes: _containers.RepeatedScalarFieldContainer[str]
    planned: bytes
    recorded: bool
    def __init__(self, map_version: _Optional[int] = ..., steps: _Optional[_Iterable[_Union[ReshardStep, _Mapping]]] = ..., notes: _Optional[_Iterable[str]] = ..., planned: _Optional[bytes] = ..., recorded: _Optional[bool] = ...) -> None: ...

class ReshardTablet(_message.Message):
    __slots__ = ("id", "name", "start", "end", "bucket", "buckets")
    ID_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    START_FIELD_NUMBER: _ClassVar[int]
    END_FIELD_NUMBER: _ClassVar[int]
    BUCKET_FIELD_NUMBER: _ClassVar[int]
    BUCKETS_FIELD_NUMBER: _ClassVar[int]
    id: int
    name: str
    start: str
    end: str
    bucket: int
    buckets: int
    def __init__(self, id: _Optional[int] = ..., name: _Optional[str] = ..., start: _Optional[str] = ..., end: _Optional[str] = ..., bucket: _Optional[int] = ..., buckets: _Optional[int] = ...) -> None: ...

class ReshardStep(_message.Message):
    __slots__ = ("id", "kind", "source", "target", "sources", "targets", "after", "manual", "rate", "keep_source", "bytes", "pause_ms", "shares_rows")
    ID_FIELD_NUMBER: _ClassVar[int]
    KIND_FIELD_NUMBER: _ClassVar[int]
    SOURCE_FIELD_NUMBER: _ClassVar[int]
    TARGET_FIELD_NUMBER: _ClassVar[int]
    SOURCES_FIELD_NUMBER: _ClassVar[int]
    TARGETS_FIELD_NUMBER: _ClassVar[int]
    AFTER_FIELD_NUMBER: _ClassVar[int]
    MANUAL_FIELD_NUMBER: _ClassVar[int]
    RATE_FIELD_NUMBER: _ClassVar[int]
    KEEP_SOURCE_FIELD_NUMBER: _ClassVar[int]
    BYTES_FIELD_NUMBER: _ClassVar[int]
    PAUSE_MS_FIELD_NUMBER: _ClassVar[int]
    SHARES_ROWS_FIELD_NUMBER: _ClassVar[int]
    id: str
    kind: str
    source: str
    target: str
    sources: _containers.RepeatedCompositeFieldContainer[ReshardTablet]
    targets: _containers.RepeatedCompositeFieldContainer[ReshardTablet]
    after: str
    manual: bool
    rate: int
    keep_source: bool
    bytes: int
    pause_ms: int
    shares_rows: bool
    def __init__(self, id: _Optional[str] = ..., kind: _Optional[str] = ..., source: _Optional[str] = ..., target: _Optional[str] = ..., sources: _Optional[_Iterable[_Union[ReshardTablet, _Mapping]]] = ..., targets: _Optional[_Iterable[_Union[ReshardTablet, _Mapping]]] = ..., after: _Optional[str] = ..., manual: _Optional[bool] = ..., rate: _Optional[int] = ..., keep_source: _Optional[bool] = ..., bytes: _Optional[int] = ..., pause_ms: _Optional[int] = ..., shares_rows: _Optional[bool] = ...) -> None: ...

class ControlReshardRequest(_message.Message):
    __slots__ = ("id", "action", "rate", "pause_ms", "lag_ms", "keep_source")
    ID_FIELD_NUMBER: _ClassVar[int]
    ACTION_FIELD_NUMBER: _ClassVar[int]
    RATE_FIELD_NUMBER: _ClassVar[int]
    PAUSE_MS_FIELD_NUMBER: _ClassVar[int]
    LAG_MS_FIELD_NUMBER: _ClassVar[int]
    KEEP_SOURCE_FIELD_NUMBER: _ClassVar[int]
    id: str
    action: str
    rate: int
    pause_ms: int
    lag_ms: int
    keep_source: bool
    def __init__(self, id: _Optional[str] = ..., action: _Optional[str] = ..., rate: _Optional[int] = ..., pause_ms: _Optional[int] = ..., lag_ms: _Optional[int] = ..., keep_source: _Optional[bool] = ...) -> None: ...

class ControlReshardResponse(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class RemoveShardRequest(_message.Message):
    __slots__ = ("name",)
    NAME_FIELD_NUMBER: _ClassVar[int]
    name: str
    def __init__(self, name: _Optional[str] = ...) -> None: ...

class RemoveShardResponse(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class HandOverShardRequest(_message.Message):
    __slots__ = ("name", "host")
    NAME_FIELD_NUMBER: _ClassVar[int]
    HOST_FIELD_NUMBER: _ClassVar[int]
    name: str
    host: str
    def __init__(self, name: _Optional[str] = ..., host: _Optional[str] = ...) -> None: ...

class HandOverShardResponse(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class ListReshardRequest(_message.Message):
    __slots__ = ("ids",)
    IDS_FIELD_NUMBER: _ClassVar[int]
    ids: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, ids: _Optional[_Iterable[str]] = ...) -> None: ...

class ListReshardResponse(_message.Message):
    __slots__ = ("migrations",)
    MIGRATIONS_FIELD_NUMBER: _ClassVar[int]
    migrations: _containers.RepeatedCompositeFieldContainer[Reshard]
    def __init__(self, migrations: _Optional[_Iterable[_Union[Reshard, _Mapping]]] = ...) -> None: ...

class Reshard(_message.Message):
    __slots__ = ("step", "phase", "why", "version", "phase_ms", "switch_ms", "rows", "bytes", "upto", "lag", "took_ms", "verified", "failed")
    STEP_FIELD_NUMBER: _ClassVar[int]
    PHASE_FIELD_NUMBER: _ClassVar[int]
    WHY_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    PHASE_MS_FIELD_NUMBER: _ClassVar[int]
    SWITCH_MS_FIELD_NUMBER: _ClassVar[int]
    ROWS_FIELD_NUMBER: _ClassVar[int]
    BYTES_FIELD_NUMBER: _ClassVar[int]
    UPTO_FIELD_NUMBER: _ClassVar[int]
    LAG_FIELD_NUMBER: _ClassVar[int]
    TOOK_MS_FIELD_NUMBER: _ClassVar[int]
    VERIFIED_FIELD_NUMBER: _ClassVar[int]
    FAILED_FIELD_NUMBER: _ClassVar[int]
    step: ReshardStep
    phase: str
    why: str
    version: int
    phase_ms: int
    switch_ms: int
    rows: int
    bytes: int
    upto: int
    lag: int
    took_ms: int
    verified: bool
    failed: str
    def __init__(self, step: _Optional[_Union[ReshardStep, _Mapping]] = ..., phase: _Optional[str] = ..., why: _Optional[str] = ..., version: _Optional[int] = ..., phase_ms: _Optional[int] = ..., switch_ms: _Optional[int] = ..., rows: _Optional[int] = ..., bytes: _Optional[int] = ..., upto: _Optional[int] = ..., lag: _Optional[int] = ..., took_ms: _Optional[int] = ..., verified: _Optional[bool] = ..., failed: _Optional[str] = ...) -> None: ...
