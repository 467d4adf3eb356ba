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
    __slots__ = ("shard", "store", "incarnation", "address")
    SHARD_FIELD_NUMBER: _ClassVar[int]
    STORE_FIELD_NUMBER: _ClassVar[int]
    INCARNATION_FIELD_NUMBER: _ClassVar[int]
    ADDRESS_FIELD_NUMBER: _ClassVar[int]
    shard: str
    store: str
    incarnation: int
    address: str
    def __init__(self, shard: _Optional[str] = ..., store: _Optional[str] = ..., incarnation: _Optional[int] = ..., address: _Optional[str] = ...) -> None: ...

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
    __slots__ = ("applied", "cluster", "cepoch", "serves", "sequencer", "tablets", "floor", "alarm_members", "alarm_kinds", "shard_names", "shard_stores", "shard_incarnations", "shard_addresses", "shard_since")
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
    def __init__(self, applied: _Optional[int] = ..., cluster: _Optional[str] = ..., cepoch: _Optional[int] = ..., serves: _Optional[bool] = ..., sequencer: _Optional[str] = ..., tablets: _Optional[_Union[Tablets, _Mapping]] = ..., floor: _Optional[int] = ..., alarm_members: _Optional[_Iterable[int]] = ..., alarm_kinds: _Optional[_Iterable[int]] = ..., shard_names: _Optional[_Iterable[str]] = ..., shard_stores: _Optional[_Iterable[str]] = ..., shard_incarnations: _Optional[_Iterable[int]] = ..., shard_addresses: _Optional[_Iterable[str]] = ..., shard_since: _Optional[_Iterable[int]] = ...) -> None: ...
