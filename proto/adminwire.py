"""The operators' view of a cluster as values, and their bytes in kubebraid.admin.v1.

What it is: what `ClusterStatus` answers, for the router that encodes it and the command that reads
it. What it is not: where the facts come from (router/admin.py) or what is wrong (cli/ctl).

Invariants: what is decoded is what was encoded; bytes that are no such message raise Malformed; a
range is text that names each byte of its bounds, so two ranges never look alike.

Worked example: the tablet from b"/a\\x00" on, where a\\b would be unclear, starts at `/a\\x00`.

Tested in tests/unit/proto/test_adminwire.py.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from google.protobuf.message import DecodeError

from kubebraid.base.keyspace import KeyRange
from kubebraid.base.ports import Alarm

from .admin import admin_pb2 as pb
from .owner_wire import Malformed

CLUSTER_STATUS: Final = "/kubebraid.admin.v1.Admin/ClusterStatus"

LEADER: Final = "leader"  # of Raft
FOLLOWER: Final = "follower"
ALONE: Final = "alone"  # it runs, and knows of no leader
WAITING: Final = "waiting"  # without a log: for a refill
SILENT: Final = "silent"  # connected, and gave no answer in time
UNREACHABLE: Final = "unreachable"

UP: Final = "up"
DOWN: Final = "down"
NEVER: Final = "never started"


class Coordinator(NamedTuple):
    """One member. `leader`: whom it takes for Raft's leader; `applied`: an index in the log."""

    name: str
    address: str
    state: str
    leader: str = ""
    term: int = 0
    applied: int = 0

    @property
    def votes(self) -> bool:
        """Whether it runs with its log, so that it counts for a quorum."""
        return self.state in (LEADER, FOLLOWER, ALONE)


class Sequencer(NamedTuple):
    """Who holds the lease, or held it last; `window`: the highest revision it may hand out."""

    name: str
    cepoch: int
    serves: bool
    window: int = 0
    renewals: int = 0


class Shard(NamedTuple):
    """`state`: as the router's link to it has it; sizes in bytes; `host`: the process whose part it
    is to serve it, empty where its data is in a directory."""

    name: str
    address: str
    state: str
    store: str = ""
    incarnation: int = 0
    disk_bytes: int = 0
    used_bytes: int = 0
    leases: int = 0
    host: str = ""


class Load(NamedTuple):
    """Figures of a tablet, as its owner last told them; see base/ports.TabletLoad."""

    bytes: int
    keys: int
    writes_per_s: float
    p99_ms: float


class Tablet(NamedTuple):
    """`end`: None where the range has none; `closed`: None if the router has not heard of it;
    `load`: None if its owner has told no figures of it."""

    id: int
    name: str
    start: str
    end: str | None
    bucket: int
    buckets: int
    shard: str
    oepoch: int
    begin: int
    last: int
    closed: int | None
    load: Load | None = None

    @property
    def lag(self) -> int | None:
        """How many revisions of the whole order lie between what was given and what is here."""
        return None if self.closed is None else max(0, self.last - self.closed)


class ClusterStatus(NamedTuple):
    """Everything. `stale`: no sequencer answered, so it is the router's last news."""

    router: str
    version: str
    cluster: str
    stale: bool
    revision: int
    floor: int
    map_version: int
    alarms: tuple[Alarm, ...]
    coordinators: tuple[Coordinator, ...]
    sequencer: Sequencer
    shards: tuple[Shard, ...]
    tablets: tuple[Tablet, ...]

    def tablets_of(self, shard: str) -> tuple[Tablet, ...]:
        """Those that `shard` owns."""
        return tuple(tablet for tablet in self.tablets if tablet.shard == shard)


def range_text(span: KeyRange) -> tuple[str, str | None]:
    """Start and end of a range as text."""
    return key_text(span.start), None if span.end is None else key_text(span.end)


def key_text(key: bytes) -> str:
    """Printable ASCII stands for itself, the backslash and every other byte is \\xNN."""
    return "".join(
        chr(byte) if 0x20 <= byte < 0x7F and byte != 0x5C else f"\\x{byte:02x}" for byte in key
    )


def encode_status(status: ClusterStatus) -> bytes:
    return pb.ClusterStatusResponse(
        router=status.router,
        version=status.version,
        cluster=status.cluster,
        stale=status.stale,
        revision=status.revision,
        floor=status.floor,
        map_version=status.map_version,
        alarms=[pb.Alarm(**alarm._asdict()) for alarm in status.alarms],
        coordinators=[pb.Coordinator(**member._asdict()) for member in status.coordinators],
        sequencer=pb.Sequencer(**status.sequencer._asdict()),
        shards=[pb.Shard(**shard._asdict()) for shard in status.shards],
        tablets=[_tablet_message(tablet) for tablet in status.tablets],
    ).SerializeToString()


def _tablet_message(tablet: Tablet) -> pb.Tablet:
    load = None if tablet.load is None else pb.TabletLoad(**tablet.load._asdict())
    return pb.Tablet(**{**tablet._asdict(), "load": load})


def decode_status(body: bytes) -> ClusterStatus:
    """Raises Malformed."""
    try:
        told = pb.ClusterStatusResponse.FromString(body)
    except DecodeError as error:
        raise Malformed(str(error)) from None
    return ClusterStatus(
        told.router,
        told.version,
        told.cluster,
        told.stale,
        told.revision,
        told.floor,
        told.map_version,
        tuple(Alarm(alarm.member, alarm.kind) for alarm in told.alarms),
        tuple(
            Coordinator(c.name, c.address, c.state, c.leader, c.term, c.applied)
            for c in told.coordinators
        ),
        _sequencer(told.sequencer),
        tuple(_shard(shard) for shard in told.shards),
        tuple(_tablet(tablet) for tablet in told.tablets),
    )


def _sequencer(told: pb.Sequencer) -> Sequencer:
    return Sequencer(told.name, told.cepoch, told.serves, told.window, told.renewals)


def _shard(told: pb.Shard) -> Shard:
    return Shard(
        told.name,
        told.address,
        told.state,
        told.store,
        told.incarnation,
        told.disk_bytes,
        told.used_bytes,
        told.leases,
        told.host,
    )


def _tablet(told: pb.Tablet) -> Tablet:
    return Tablet(
        told.id,
        told.name,
        told.start,
        told.end if told.HasField("end") else None,
        told.bucket,
        told.buckets,
        told.shard,
        told.oepoch,
        told.begin,
        told.last,
        told.closed if told.HasField("closed") else None,
        _load(told.load) if told.HasField("load") else None,
    )


def _load(told: pb.TabletLoad) -> Load:
    return Load(told.bytes, told.keys, told.writes_per_s, told.p99_ms)
