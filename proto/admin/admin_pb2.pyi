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
    __slots__ = ("name", "address", "state", "store", "incarnation", "disk_bytes", "used_bytes", "leases")
    NAME_FIELD_NUMBER: _ClassVar[int]
    ADDRESS_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    STORE_FIELD_NUMBER: _ClassVar[int]
    INCARNATION_FIELD_NUMBER: _ClassVar[int]
    DISK_BYTES_FIELD_NUMBER: _ClassVar[int]
    USED_BYTES_FIELD_NUMBER: _ClassVar[int]
    LEASES_FIELD_NUMBER: _ClassVar[int]
    name: str
    address: str
    state: str
    store: str
    incarnation: int
    disk_bytes: int
    used_bytes: int
    leases: int
    def __init__(self, name: _Optional[str] = ..., address: _Optional[str] = ..., state: _Optional[str] = ..., store: _Optional[str] = ..., incarnation: _Optional[int] = ..., disk_bytes: _Optional[int] = ..., used_bytes: _Optional[int] = ..., leases: _Optional[int] = ...) -> None: ...

class Tablet(_message.Message):
    __slots__ = ("id", "name", "start", "end", "bucket", "buckets", "shard", "oepoch", "begin", "last", "closed")
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
    def __init__(self, id: _Optional[int] = ..., name: _Optional[str] = ..., start: _Optional[str] = ..., end: _Optional[str] = ..., bucket: _Optional[int] = ..., buckets: _Optional[int] = ..., shard: _Optional[str] = ..., oepoch: _Optional[int] = ..., begin: _Optional[int] = ..., last: _Optional[int] = ..., closed: _Optional[int] = ...) -> None: ...
