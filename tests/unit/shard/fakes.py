"""What the shard's unit tests stand on: a small shard in memory, and ports that answer late.

What it is: builders of operations and calls, and fakes for sequencer, engine, clock and sink. What
it is not: a node (that is tests/world.py).

Worked example: `Stand().write(put_call(b"/a/x"))` answers one WriteReply at revision 2.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from typing import TypeVar

from kubebraid.base.errors import RequestRefused
from kubebraid.base.keyspace import KeyRange, from_etcd
from kubebraid.base.ops import NO_FILTERS, CompareOp, DeleteOp, Op, PutOp, RangeOp, TxnOp
from kubebraid.base.ports import (
    WRITE_DELETE,
    WRITE_LEASE_GRANT,
    WRITE_LEASE_REVOKE,
    WRITE_PUT,
    WRITE_TXN,
    AllocReply,
    AllocRequest,
    OwnerPort,
    Publication,
    ReadCall,
    ReadChunk,
    Sample,
    WriteCall,
    WriteReply,
)
from kubebraid.base.record import Row
from kubebraid.base.tabletmap import layout
from kubebraid.coordinator.sequencer import Sequencer
from kubebraid.proto import requests
from kubebraid.proto.etcd import rpc_pb2
from kubebraid.proto.kvwire import key_of, key_value
from kubebraid.shard import keycodec
from kubebraid.shard.apply import Evaluation
from kubebraid.shard.counts import KeyCounts
from kubebraid.shard.fencing import FenceDamaged
from kubebraid.shard.owner import Owner
from kubebraid.shard.ownership import Ownership, adopt
from kubebraid.shard.seams import ShardSeams
from kubebraid.shard.storage.engine import Batch, Engine, EngineClosed, EngineError, Reader
from kubebraid.shard.storage.memory import MemoryEngine, MemorySnapshot, _Table
from kubebraid.shard.storage.space import ENDLESS, Space

SHARD = "shard-0"
PREFIXES = (b"/a/", b"/b/")
A, B = 2, 4  # the tablets of the two prefixes; 1, 3 and 5 lie around them


# -- operations and calls --------------------------------------------------------------------------


def put(
    key: bytes,
    value: bytes = b"v",
    lease: int = 0,
    prev_kv: bool = False,
    ignore_value: bool = False,
    ignore_lease: bool = False,
) -> PutOp:
    return PutOp(key, value, lease, prev_kv, ignore_value, ignore_lease)


def delete(key: bytes, range_end: bytes = b"", prev_kv: bool = False) -> DeleteOp:
    return DeleteOp(from_etcd(key, range_end), prev_kv)


def get(key: bytes, range_end: bytes = b"", revision: int = 0) -> RangeOp:
    span = from_etcd(key, range_end)
    return RangeOp(span, revision, 0, 0, 0, False, False, False, NO_FILTERS)


def compare(key: bytes, target: int, result: int, operand: bytes | int) -> CompareOp:
    return CompareOp(from_etcd(key, b""), target, result, operand)


def txn(
    compares: Sequence[CompareOp] = (), success: Sequence[Op] = (), failure: Sequence[Op] = ()
) -> TxnOp:
    return TxnOp(tuple(compares), tuple(success), tuple(failure))


def put_call(key: bytes, value: bytes = b"v", lease: int = 0, tag: object = None) -> WriteCall:
    payload = rpc_pb2.PutRequest(key=key, value=value, lease=lease).SerializeToString()
    return call(WRITE_PUT, payload, tag if tag is not None else key, _tablets_of(key))


def delete_call(key: bytes, range_end: bytes = b"", tag: object = None) -> WriteCall:
    request = rpc_pb2.DeleteRangeRequest(key=key, range_end=range_end)
    return call(WRITE_DELETE, request.SerializeToString(), tag or key, _tablets_of(key))


def txn_call(request: rpc_pb2.TxnRequest, tag: object = "txn") -> WriteCall:
    return call(WRITE_TXN, request.SerializeToString(), tag, (A,))


def grant_call(lease: int, ttl_s: int) -> WriteCall:
    return call(WRITE_LEASE_GRANT, requests.encode_lease_grant(lease, ttl_s), ("grant", lease))


def revoke_call(lease: int) -> WriteCall:
    return call(WRITE_LEASE_REVOKE, requests.encode_lease_revoke(lease), ("revoke", lease))


def call(kind: int, payload: bytes, tag: object, tablets: tuple[int, ...] = ()) -> WriteCall:
    return WriteCall(kind, payload, tablets, 1, tag)


def _tablets_of(key: bytes) -> tuple[int, ...]:
    return (layout(PREFIXES).tablet_of(key).id,)


def read_call(
    span: KeyRange,
    revision: int,
    needs: Sequence[tuple[int, int]] = (),
    limit: int = 0,
    count_only: bool = False,
) -> ReadCall:
    return ReadCall(span, revision, tuple(needs), 1, limit, count_only)


# -- ports -----------------------------------------------------------------------------------------


class FakeClock:
    def __init__(self) -> None:
        self.ms = 1_000

    def now_ms(self) -> int:
        return self.ms


class LateSequencer:
    """A sequencer whose answers come when the test says so; `late=False`: at once."""

    def __init__(self, inner: Sequencer, late: bool) -> None:
        self.inner = inner
        self.late = late
        self.asked: list[AllocRequest] = []
        self._waiting: list[tuple[AllocRequest, Callable[[AllocReply], None]]] = []

    def alloc(self, request: AllocRequest, done: Callable[[AllocReply], None]) -> None:
        assert not self._waiting, "one batch in flight"
        self.asked.append(request)
        self._waiting.append((request, done))
        if not self.late:
            self.answer()

    def answer(self) -> None:
        request, done = self._waiting.pop(0)
        self.inner.alloc(request, done)

    def refuse(self) -> None:
        """Another owner has the tablets: nothing is allocated."""
        request, done = self._waiting.pop(0)
        refused = tuple(tablet for tablet, _, _ in request.ends)
        done(AllocReply(0, self.inner.sample(), refused))

    @property
    def waiting(self) -> int:
        return len(self._waiting)

    def read_revision(self, done: Callable[[Sample], None]) -> None:
        self.inner.read_revision(done)


class _FaultyReads:
    """Reads that meet the damaged rows of their engine, as far as they really go."""

    faults: dict[bytes, EngineError]

    def _meet(self, start: bytes, end: bytes) -> None:
        for stored, error in self.faults.items():
            if start <= stored < end:
                raise error

    def get(self, key: bytes) -> bytes | None:
        self._meet(key, key + b"\x00")
        return super().get(key)  # type: ignore[misc,no-any-return]  # a mixin

    def scan(
        self, start: bytes, end: bytes, limit: int, *, reverse: bool = False
    ) -> list[tuple[bytes, bytes]]:
        found: list[tuple[bytes, bytes]]
        found = super().scan(start, end, limit, reverse=reverse)  # type: ignore[misc]  # a mixin
        if len(found) < limit:
            self._meet(start, end)
        elif reverse:
            self._meet(found[-1][0], end)
        else:
            self._meet(start, found[-1][0] + b"\x00")
        return found

    def keys(self, start: bytes, end: bytes, limit: int) -> list[bytes]:
        return [key for key, _ in self.scan(start, end, limit)]

    def count(self, start: bytes, end: bytes, limit: int) -> int:
        return len(self.scan(start, end, limit))


class _BreakableSnapshot(_FaultyReads, MemorySnapshot):
    """A snapshot of a breakable engine."""

    def __init__(self, table: _Table, faults: dict[bytes, EngineError]) -> None:
        super().__init__(table)
        self.faults = faults


class BreakableEngine(_FaultyReads, MemoryEngine):
    """An engine that fails as it is told, and behind a failure as RocksDB does: it takes no write
    until it is reopened, and after a failed reopening nothing at all.

    `breaks`: every write fails; `lands`: the rows are there all the same. `write_faults`: what the
    next writes meet, each an error and whether the rows land, or None for a write that passes;
    `reopen_faults`: what the next reopenings meet; `faults`: stored keys that cannot be read.
    """

    def __init__(self) -> None:
        super().__init__()
        self.breaks = False
        self.lands = False
        self.writes = 0
        self.reopens = 0
        self.write_faults: deque[tuple[EngineError, bool] | None] = deque()
        self.reopen_faults: deque[EngineError | None] = deque()
        self.faults = {}
        self._stuck = False
        self._shut = False

    def _open_table(self) -> _Table:
        if self._shut:
            raise EngineClosed("the last reopening failed")
        return super()._open_table()

    def write(self, batch: Batch, *, sync: bool) -> None:
        self.writes += 1
        self._open_table()
        if self._stuck:
            raise EngineError("a write failed before")
        fault = self.write_faults.popleft() if self.write_faults else None
        if fault is None and self.breaks:
            fault = EngineError("the device is gone"), self.lands
        if fault is None or fault[1]:
            super().write(batch, sync=sync)
        if fault is not None:
            self._stuck = True
            raise fault[0]

    def snapshot(self, start: bytes = b"", end: bytes = b"") -> MemorySnapshot:
        self._snapshots.append(_BreakableSnapshot(self._open_table(), self.faults))
        return self._snapshots[-1]

    def reopen(self) -> None:
        self.reopens += 1
        self._shut = False
        super().reopen()
        fault = self.reopen_faults.popleft() if self.reopen_faults else None
        if fault is not None:
            self._shut = True
            raise fault
        self._stuck = False

    def clone(self) -> MemoryEngine:
        """What a new process finds: it has no faults."""
        was_shut, self._shut = self._shut, False
        survivor = super().clone()
        self._shut = was_shut
        return survivor


class TightSpace:
    """A device whose owner says how it stands."""

    def __init__(self) -> None:
        self.is_short = False
        self.told: list[str] = []

    def short(self) -> bool:
        return self.is_short

    def free_bytes(self) -> int:
        return 0 if self.is_short else 1_000_000

    def release(self) -> None:
        self.told.append("release")

    def restore(self) -> None:
        self.told.append("restore")


class CountingReader:
    """Counts the rows that scans return."""

    def __init__(self, inner: Reader) -> None:
        self._inner = inner
        self.rows = 0

    def get(self, key: bytes) -> bytes | None:
        return self._inner.get(key)

    def scan(
        self, start: bytes, end: bytes, limit: int, *, reverse: bool = False
    ) -> list[tuple[bytes, bytes]]:
        found = self._inner.scan(start, end, limit, reverse=reverse)
        self.rows += len(found)
        return found

    def keys(self, start: bytes, end: bytes, limit: int) -> list[bytes]:
        return self._inner.keys(start, end, limit)

    def count(self, start: bytes, end: bytes, limit: int) -> int:
        return self._inner.count(start, end, limit)


class Sink:
    """Receives a read; `patience` parts are wanted, then the asker is gone."""

    def __init__(self, patience: int = 1_000_000) -> None:
        self.rows: list[Row] = []
        self.chunks: list[list[bytes]] = []  # the rows of spliced parts
        self.total: int | None = None
        self.refused: RequestRefused | None = None
        self.parts = 0
        self.open = True
        self._patience = patience

    def ready(self) -> bool:
        return self.open

    def take(self, part: ReadChunk | RequestRefused) -> bool:
        assert self.total is None, "nothing follows the last part"
        assert self.refused is None, "nothing follows a refusal"
        self.parts += 1
        if isinstance(part, RequestRefused):
            self.refused = part
            return False
        self.rows += part.rows
        if part.body:
            body = rpc_pb2.RangeResponse.FromString(part.body)
            assert len(body.kvs) == part.spliced, "a part tells how many rows it holds"
            self.chunks.append([kv.SerializeToString() for kv in body.kvs])
        if part.last:
            self.total = part.total
        return self.parts < self._patience

    @property
    def keys(self) -> list[bytes]:
        return [key_of(row.raw) for row in self.rows]

    @property
    def silent(self) -> bool:
        return not self.parts


# -- a shard ---------------------------------------------------------------------------------------


class Stand:
    """One shard in memory with all of its parts."""

    def __init__(
        self, late: bool = False, engine: MemoryEngine | None = None, space: Space = ENDLESS
    ) -> None:
        self.engine = engine or MemoryEngine()
        self.tablets = layout(PREFIXES)
        fences = adopt(self.engine, SHARD, self.tablets)
        inner = Sequencer(1, self.tablets, {t: fence.last for t, fence in fences.items()})
        self.sequencer = LateSequencer(inner, late)
        self.floor = -1
        self.owned = Ownership(SHARD, 1, self.tablets, fences, lambda: self.floor)
        self.clock = FakeClock()
        self.fatal: list[EngineError | FenceDamaged] = []
        self.full = 0  # how often the shard said that the device is short of space
        seams = ShardSeams(self.clock, self.fatal.append, space=space, on_full=self._on_full)
        self.owner = Owner(self.engine, self.owned, self.sequencer, seams)
        self.replies: list[WriteReply] = []
        self.began: list[Publication] = []
        self.published: list[Publication] = []
        self.owner.subscribe(self._hear)

    def _hear(self, publication: Publication) -> None:
        (self.began if publication.fresh else self.published).append(publication)

    def _on_full(self) -> None:
        self.full += 1

    def submit(self, *calls: WriteCall) -> None:
        self.owner.submit(calls, self.replies.append)

    def run(self) -> None:
        """Turn until nothing more can be done without an answer from outside."""
        for _ in range(10_000):
            if not self.owner.turn():
                return
        raise AssertionError("the owner never becomes idle")

    def write(self, *calls: WriteCall) -> list[WriteReply]:
        """Submit and commit; the replies to exactly these calls."""
        before = len(self.replies)
        self.submit(*calls)
        self.run()
        return self.replies[before:]

    def revisions(self) -> dict[object, int]:
        """The revision that each tag was answered with."""
        return {reply.tag: reply.revision for reply in self.replies}

    def evaluation(self, known: int | None = None) -> Evaluation:
        return Evaluation(
            self.engine,
            self.owned.tablet_of,
            self.owned.leases,
            self.owned.known if known is None else known,
            self.floor,
            counted(self.engine).known,
        )

    def read(self, wanted: ReadCall) -> Sink:
        """Read to the end."""
        sink = Sink()
        self.owner.read(wanted, sink)
        self.run()
        return sink


def counted(engine: Engine) -> KeyCounts:
    """Counters of what stands in an engine, complete."""
    counts = KeyCounts(engine)
    while counts.turn():
        pass
    return counts


# -- stored rows -----------------------------------------------------------------------------------


def row(key: bytes, mod: int, create: int | None = None, version: int = 1, lease: int = 0) -> Row:
    """A row whose value tells its revision."""
    first = mod if create is None else create
    raw = key_value(key, first, mod, version, b"%d" % mod, lease)
    return Row(mod, first, version, lease, raw)


def store_versions(engine: MemoryEngine, key: bytes, *revisions: int, ended: bool = False) -> None:
    """Versions of a key, oldest first; a negative revision is a deletion. `ended`: told by the
    version that it ended, if there is one, instead of a tombstone."""
    batch = Batch()
    for index, revision in enumerate(revisions):
        newest = index == len(revisions) - 1
        before = revisions[index - 1] if index else 0
        if revision < 0 and ended and before > 0:
            old = keycodec.pack_row(row(key, before), -revision)
            batch.put(keycodec.history(key, before), old)
        elif revision < 0:
            batch.put(keycodec.history(key, -revision), b"")
        elif newest:
            batch.put(keycodec.newest(key), keycodec.pack_row(row(key, revision)))
        else:
            batch.put(keycodec.history(key, revision), keycodec.pack_row(row(key, revision)))
    engine.write(batch, sync=True)


# -- questions -------------------------------------------------------------------------------------

T = TypeVar("T")


def asked(question: Callable[[int, Callable[[T], None]], None], lease: int) -> T:
    """The answer that came at once."""
    answers: list[T] = []
    question(lease, answers.append)
    (answer,) = answers
    return answer


def listed(owner: OwnerPort) -> object:
    """The live leases, or why they are not told."""
    answers: list[object] = []
    owner.leases(answers.append)
    (answer,) = answers
    return answer
