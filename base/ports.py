"""What one role may ask of another: batches in, batches out, answers by callback.

What it is: the messages and Protocols between router, shard and coordinator. What it is not: a
transport. In one process the roles implement these directly and may call `done` before the call
returns; across processes streams will implement them and call `done` later, from the same loop
thread. A caller must be right under both.

Words: a *sample* is what the sequencer says at one instant: (cepoch, map version, R, last[.]);
`last[t]` is the highest revision ever allocated to t; `closed[t]` the highest c such that all of
t's revisions <= c are durable or void, and published. A *watermark need* is "closed[t] >= n".

Invariants:
- a sample is copied at one instant, after the batch's last allocation, and is read only with its
  own map version (rules M10 and M11 of the design);
- a batch of writes gets one contiguous block of revisions, in the order of evaluation; either
  every tablet of the request is granted or nothing is allocated;
- publications of one shard arrive in revision order and each states closed[t] afterwards.

Worked example: a shard with writes to pods (2) and leases (1), evaluated in the order pods,
leases, pods, asks `AllocRequest(writes=3, ends=((pods, 4, 2), (leases, 2, 1)))` and is answered
`first=11`: pods holds 11 and 13, leases 12; last[pods]=13, last[leases]=12.

Tested through every role's tests; the order rules in tests/property/test_sequencer.py.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple, Protocol, runtime_checkable

from .errors import RequestRefused
from .keyspace import KeyRange
from .limits import LOG_SLICE_BYTES
from .ops import WriteOp
from .record import Commit, Row
from .reshard import CopyCall, CopyReply, Digest, DigestCall, Migration
from .revision import Epoch, LeaseId, Revision, TabletId
from .tabletmap import TabletMap


class Sample(NamedTuple):
    """(R, last) of one instant: every revision <= R was allocated, to the tablets `last` says.

    `floor`: the compaction floor of that instant; -1 if nothing was ever compacted."""

    cepoch: Epoch
    map_version: int
    revision: Revision
    last: Mapping[TabletId, Revision]
    floor: Revision = -1


# -- sequencer ---------------------------------------------------------------------------------


class AllocRequest(NamedTuple):
    """Ask for `writes` revisions.

    ends: (tablet, oepoch, index of its last write in the batch); index -1 proves ownership
    without taking a number. `incarnation`: of the owner's process, for request numbers begin anew
    with each. `lanes`: the owners (owner, incarnation, request number) whose newest request must
    be that one: they hold their slots for this one (base/across), or it is refused.
    """

    cepoch: Epoch
    owner: str
    request_number: int
    writes: int
    ends: tuple[tuple[TabletId, Epoch, int], ...]
    incarnation: int = 0
    lanes: tuple[tuple[str, int, int], ...] = ()


class AllocReply(NamedTuple):
    """`first` starts the block (no writes: R + 1). Any tablet in `refused`: nothing was taken; the
    asker owns it no more, or asked in a reign that is over (the sample's is another)."""

    first: Revision
    sample: Sample
    refused: tuple[TabletId, ...]


class SequencerPort(Protocol):
    """The timestamp oracle."""

    def alloc(self, request: AllocRequest, done: Callable[[AllocReply], None]) -> None: ...

    def read_revision(self, done: Callable[[Sample], None]) -> None:
        """A sample that covers every write acknowledged before the call."""


# -- coordinator -------------------------------------------------------------------------------


class Alarm(NamedTuple):
    """etcd's AlarmMember: who raised it, and its kind (ALARM_...)."""

    member: int
    kind: int


ALARM_NOSPACE: Final = 1  # AlarmType.NOSPACE: writes that need space are refused
ALARM_CORRUPT: Final = 2  # AlarmType.CORRUPT: no write passes


class Adoption(NamedTuple):
    """How new a shard's store is: the incarnation that took it last, and how many marks that one
    has left in it since. Two of different incarnations say nothing about their order."""

    incarnation: int = 0
    marks: int = 0


NEVER_ADOPTED: Final = Adoption()  # a new store, or one from before there were adoptions


class ShardPlace(NamedTuple):
    """A shard's present process. `store`: the id of its data; `since`: the map version by which
    this process owns its tablets; `confirmed`: the newest adoption that is known to be durable,
    without which nothing was acknowledged; `tried`: incarnations that were let in behind that one
    and were not confirmed (yet), oldest first; `host`: the process whose part it is to serve it,
    empty where its store can be reached from one machine alone; `rows`: the id of the row space
    that it shares with other shards, empty where it shares none."""

    name: str
    store: str
    incarnation: int
    address: str
    since: int
    confirmed: Adoption = NEVER_ADOPTED
    tried: tuple[int, ...] = ()
    host: str = ""
    rows: str = ""

    @property
    def process(self) -> tuple[str, int, str]:
        """Which process it is, and where."""
        return self.store, self.incarnation, self.address

    @property
    def serving(self) -> bool:
        """Whether its present process may acknowledge writes."""
        return self.confirmed.incarnation == self.incarnation

    def seats(self, host: str) -> bool:
        """Whether a process of this host may serve it. Where nobody was named, anybody may."""
        return self.host in ("", host)

    def says(self, adoption: Adoption) -> bool:
        """Whether this adoption of its present process is confirmed, or a later one."""
        return self.serving and adoption.marks <= self.confirmed.marks


class ShardStart(NamedTuple):
    """A shard's process asks for its tablets. `previous`: what its store says; `host`: the process
    that it runs in, where it is one that takes shards of others too; `rows`: the id of the row
    space that its store shares with those of other shards, empty where it shares none."""

    shard: str
    store: str
    incarnation: int
    address: str
    previous: Adoption = NEVER_ADOPTED
    host: str = ""
    rows: str = ""


class Beat(NamedTuple):
    """A host says that it lives. `load`: batches committed since the beat before; `leaving`: it
    ends, and wants others to take its shards."""

    host: str
    incarnation: int
    load: int = 0
    leaving: bool = False


class ClusterView(NamedTuple):
    """The coordinators' state as one of them has it. `applied`: how far; `serves`: whether
    that one is the sequencer; `sequencer`: who is, as far as known there; `cluster` is empty until
    the cluster was founded."""

    applied: int
    cluster: str
    cepoch: Epoch
    serves: bool
    sequencer: str
    tablets: TabletMap
    floor: Revision
    alarms: frozenset[Alarm]
    shards: tuple[ShardPlace, ...]
    migrations: tuple[Migration, ...] = ()

    def shard(self, name: str) -> ShardPlace | None:
        """The present process of a shard that was started once."""
        return next((shard for shard in self.shards if shard.name == name), None)


class CoordinatorPort(Protocol):
    """The slow state: map and compaction floor."""

    def tablet_map(self) -> TabletMap: ...

    def compact_revision(self) -> Revision:
        """The floor: reads below it are refused; -1 if nothing was ever compacted."""

    def alarms(self) -> frozenset[Alarm]:
        """The alarms that are raised."""

    def set_alarm(
        self, alarm: Alarm, raised: bool, done: Callable[[bool | RequestRefused], None]
    ) -> None:
        """Raise or disarm one, durably; `done` is told whether it was raised before, or why that
        is not known."""

    def compact(self, revision: Revision, done: Callable[[RequestRefused | None], None]) -> None:
        """Raise the floor durably. The caller has checked it against a sample."""


# -- owner -------------------------------------------------------------------------------------

WRITE_PUT: Final = 0
WRITE_DELETE: Final = 1
WRITE_TXN: Final = 2
WRITE_LEASE_GRANT: Final = 3
WRITE_LEASE_REVOKE: Final = 4
WRITE_LEASE_ROW: Final = 5  # a shard's own: a lease's row changes; never from a router


class WriteCall(NamedTuple):
    """One write as the client sent it. `tablets`: all that its keys can touch.

    `op`: the payload decoded, where the asker lives in the same process; never on a wire."""

    kind: int
    payload: bytes
    tablets: tuple[TabletId, ...]
    map_version: int
    tag: object
    op: WriteOp | None = None


class WriteReply(NamedTuple):
    """`body` is the etcd answer without its header field; `error` excludes it."""

    tag: object
    revision: Revision
    body: bytes
    error: RequestRefused | None


class ReadCall(NamedTuple):
    """Rows of `span` at `revision`, once every need holds, and the number of keys in all.

    limit 0: all rows; otherwise at most limit + 1 of them, so that the asker sees `more`.
    count_only: no rows. spliced: rows as the bytes of an answer, at most limit of them."""

    span: KeyRange
    revision: Revision
    needs: tuple[tuple[TabletId, Revision], ...]
    map_version: int
    limit: int
    count_only: bool
    spliced: bool = False


class PointCall(NamedTuple):
    """One key at `revision`, once closed[tablet] >= need. Packed: a router asks for all of a batch
    at once."""

    key: bytes
    revision: Revision
    tablet: TabletId
    need: Revision
    map_version: int
    tag: object


class PointReply(NamedTuple):
    """`row` is None if the key was absent; `error` excludes it."""

    tag: object
    row: Row | None
    error: RequestRefused | None


class ReadChunk(NamedTuple):
    """Part of an answer, in key order. `total`, the number of keys, counts in the last alone.

    Of a spliced read: `body` holds `spliced` rows as field 2 of a RangeResponse, at most
    STREAM_CHUNK_BYTES of them, or one row that is larger."""

    rows: Sequence[Row]
    total: int
    last: bool
    body: bytes = b""
    spliced: int = 0


class ReadSink(Protocol):
    """Who receives a read's parts."""

    def ready(self) -> bool:
        """Whether the next part can be taken now; asked before each slice of work."""

    def take(self, part: ReadChunk | RequestRefused) -> bool:
        """Receive a part; False if nobody waits any more (the read then ends)."""


class LogCall(NamedTuple):
    """Commits of `tablets` in `span` with first <= revision <= upto, oldest first.

    needs: beside each tablet a revision up to which its owner must have closed it; empty: none.
    All that the tablet has at or below `upto` must lie at or below its need. So a shard that was
    the owner once answers rightly, or not at all."""

    tablets: tuple[TabletId, ...]
    span: KeyRange
    first: Revision
    upto: Revision
    limit: int
    bytes_max: int = LOG_SLICE_BYTES
    needs: tuple[Revision, ...] = ()


class LogReply(NamedTuple):
    """`commits` are complete up to `complete` (<= upto); tablets of a revision are joined."""

    commits: Sequence[Commit]
    complete: Revision


class TabletNews(NamedTuple):
    """What happened in one tablet since the last publication."""

    tablet: TabletId
    oepoch: Epoch
    commits: Sequence[Commit]
    closed: Revision


class Publication(NamedTuple):
    """One group commit as its subscribers see it, with a sample of the same exchange.

    `fresh`: the start of a subscription instead. It states closed[t] of every tablet of the shard,
    without commits; what lies between the closed[t] that was known and this one is only in the
    log. Its sample is the newest that the shard has heard (revision 0: none yet)."""

    shard: str
    news: tuple[TabletNews, ...]
    sample: Sample
    fresh: bool = False


class TabletLoad(NamedTuple):
    """What an owner says of one tablet: stored bytes and live keys, about; writes a second and the
    slowest hundredth of them, in ms, of the last seconds."""

    tablet: TabletId
    bytes: int
    keys: int
    writes_per_s: float
    p99_ms: float


@dataclass(frozen=True, slots=True)
class ShardStatus:
    """What an owner says of itself. `loads`: of the tablets that it has figures of; `free_bytes`:
    of its device, -1 if that is not known; `undecided`: transactions over shards that others may
    ask it about."""

    disk_bytes: int
    used_bytes: int
    tablets: int
    leases: int
    loads: tuple[TabletLoad, ...] = ()
    free_bytes: int = -1
    undecided: int = 0


class LeaseInfo(NamedTuple):
    """A live lease: its TTL as granted, what remains of it (both in seconds), its keys."""

    granted_s: int
    remaining_s: int
    keys: tuple[bytes, ...]


class DumpSink(Protocol):
    """Who receives a shard's stored pairs."""

    def begin(self, payload: int, records: int, floor: Revision) -> None:
        """How many bytes of keys and values, and how many pairs, will come; rows that only reads
        below `floor` would see may be missing."""

    def ready(self) -> bool:
        """Whether the next pairs can be taken now."""

    def take(self, pairs: Sequence[tuple[bytes, bytes]]) -> bool:
        """Some pairs, at most STREAM_CHUNK_BYTES of them or one; False if nobody waits any more."""

    def fail(self, refused: RequestRefused) -> None:
        """The store cannot be read: what came is not whole."""

    def end(self) -> None:
        """That was all."""


class OwnerPort(Protocol):
    """A shard, as a router uses it."""

    def submit(self, calls: Sequence[WriteCall], done: Callable[[WriteReply], None]) -> None:
        """Queue writes; each is answered when it is durable, or refused."""

    def read(self, call: ReadCall, sink: ReadSink) -> None:
        """Answer in one or more parts, the last one marked, or by a refusal."""

    def points(self, calls: Sequence[PointCall], done: Callable[[PointReply], None]) -> None:
        """Single keys; each is answered by itself."""

    def read_log(self, call: LogCall, done: Callable[[LogReply | RequestRefused], None]) -> None:
        """Refused with COMPACTED when `first` lies below what is still kept; with OTHER_MAP, which
        passes, when a tablet is not owned here or not closed up to its need."""

    def subscribe(self, publish: Callable[[Publication], None]) -> None:
        """Receive a fresh publication, perhaps at once, and then every later one. Another fresh one
        follows where the subscription had to begin anew."""

    def compact(self, floor: Revision, done: Callable[[], None] | None) -> None:
        """Remove history below `floor` in the background; `done` when it is gone."""

    def hash_versions(
        self, floor: Revision, revision: Revision, done: Callable[[int | RequestRefused], None]
    ) -> None:
        """A sum over what reads in [floor, revision] can see; shards add up modulo 2**32."""

    def dump(self, sink: DumpSink) -> None:
        """Everything stored, as of now, at the sink's pace."""

    def defragment(self, done: Callable[[RequestRefused | None], None]) -> None:
        """Give space of removed rows back; the shard goes on serving meanwhile."""

    def lease_info(
        self, lease: LeaseId, done: Callable[[LeaseInfo | RequestRefused | None], None]
    ) -> None:
        """None: there is no such lease."""

    def leases(self, done: Callable[[Sequence[LeaseId] | RequestRefused], None]) -> None:
        """The ids of all live leases."""

    def keep_alive(self, lease: LeaseId, done: Callable[[int | RequestRefused], None]) -> None:
        """The renewed TTL in seconds; 0 if the lease is gone."""

    def status(self) -> ShardStatus:
        """What the owner last said of itself; from afar it may be a second old."""


@runtime_checkable
class KeySource(Protocol):
    """An owner that can tell where to cut its tablets."""

    def sample_keys(
        self,
        tablet: TabletId,
        parts: int,
        by_load: bool,
        done: Callable[[tuple[bytes, ...] | RequestRefused], None],
    ) -> None:
        """Keys that cut the tablet into `parts` of about equal size (by_load: write rate), rising,
        parts - 1 of them, or fewer where it has too few keys. From a sample: no full scan."""


class PeerPort(Protocol):
    """A shard, as the other shards use it."""

    def lease_info(
        self, lease: int, done: Callable[[LeaseInfo | RequestRefused | None], None]
    ) -> None:
        """A lease as it is known there, with the keys that lie there; None if it is not."""

    def lease_join(
        self, lease: int, guest: str, done: Callable[[int | RequestRefused], None]
    ) -> None:
        """Another shard wants to attach keys to a lease that lives here: its TTL in seconds, once
        the guest is noted durably; LEASE_NOT_FOUND."""

    def lease_leave(self, lease: int, done: Callable[[RequestRefused | None], None]) -> None:
        """The lease ends: delete the keys that this guest holds of it; `done` when they are gone,
        also if there were none."""

    def copy(self, call: CopyCall, done: Callable[[CopyReply | RequestRefused], None]) -> None:
        """The next piece of a copy of its tablets; OTHER_MAP: it has not heard of the migration, or
        owns them no more."""

    def digest(self, call: DigestCall, done: Callable[[Digest | RequestRefused], None]) -> None:
        """A sum over what it has of its tablets; COMPACTED: ask with a higher floor."""
