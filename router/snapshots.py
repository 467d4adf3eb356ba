"""Snapshots: what all shards hold, cut at one revision, as one stream of bytes.

What it is: the Snapshot RPC: the cut through the shards and the sending. What it is not: the file
format (base/dump), the reading (the owners' jobs), or what becomes of a file (cli/snapshot.py).

The cut: a sample (R, last); each shard answers a read that needs closed[t] >= last[t] of all its
tablets, so that everything up to R is on its disk, and then begins its dump, which fixes its state.
What lies above R is in the file too, with the log that undoes it: whoever restores takes it out.

Invariants:
- nothing is sent before every shard has fixed its state and told its size and floor, and the
  sequencer said that the map is still that of R: each tablet is in its owner's share alone;
- the head's floor is the highest of all shards', and is not above R;
- shards send one after the other; those that wait hold their state and OWNER_AHEAD_BYTES each;
- a snapshot that fails or whose client is gone wants no more of anybody: every shard lets its state
  go at its next slice; so it does when the client has taken nothing for SNAPSHOT_STALL_MS.

Worked example: R = 40; shard-1 fixes its state at 41, shard-0 at 44. The head says 40, the rows of
shard-0 follow, then those of shard-1, among them what 41 to 44 wrote.

Tested in tests/unit/router/test_snapshots.py, tests/unit/router/test_backup.py,
tests/e2e/test_etcdctl_snapshot.py, tests/e2e/test_cluster_snapshot.py.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Final

from kubebraid import ETCD_VERSION, VERSION
from kubebraid.base import dump, errors
from kubebraid.base.errors import Code, RequestRefused
from kubebraid.base.limits import (
    SAMPLE_WAIT_MS_MAX,
    SNAPSHOT_STALL_MS,
    SNAPSHOTS_MAX,
)
from kubebraid.base.ports import OwnerPort, Sample
from kubebraid.base.revision import Revision
from kubebraid.proto import requests, responses
from kubebraid.proto.server import STREAM_HIGH_WATER_BYTES, Edge

from .answers import Caller
from .context import Context
from .kv import KvService
from .on_disk import when_on_disk

ETCD_STORAGE_VERSION: Final = ETCD_VERSION.rpartition(".")[0] + ".0"
STALLED: Final = RequestRefused(
    Code.UNAVAILABLE, "kubebraid: the snapshot was not read for too long"
)
UNEVEN: Final = RequestRefused(
    Code.UNAVAILABLE, "kubebraid: a shard sent another size than it told; take the snapshot again"
)


class Snapshots:
    """All that are open at one router."""

    def __init__(self, context: Context, kv: KvService) -> None:
        self._context = context
        self._kv = kv
        self._open: dict[tuple[Edge, int], _Snapshot] = {}

    def begin(self, caller: Caller, payload: bytes) -> None:
        """Answer one Snapshot call."""
        requests.check_empty(payload)
        if len(self._open) >= SNAPSHOTS_MAX:
            caller.fail(errors.TOO_MANY_REQUESTS)
            return
        snapshot = self._open[caller.edge, caller.call_id] = _Snapshot(self._context, caller)
        self._kv.with_sample(snapshot.cut, caller)

    def cancelled(self, edge: Edge, call_id: int) -> None:
        """The client is gone."""
        snapshot = self._open.pop((edge, call_id), None)
        if snapshot is not None:
            snapshot.over = True

    def turn(self, now_ms: int) -> None:
        """Forget those that are over, end those that are not read."""
        for call, snapshot in list(self._open.items()):
            snapshot.look(now_ms)
            if snapshot.over:
                del self._open[call]

    def next_deadline_ms(self) -> int | None:
        """When `turn` should be called although nothing arrived."""
        return min((snapshot.deadline_ms for snapshot in self._open.values()), default=None)


class _Snapshot:
    """One of them. `over`: it wants no more."""

    def __init__(self, context: Context, caller: Caller) -> None:
        self._context = context
        self._caller = caller
        self._parts: list[_Part] = []
        self._writer: dump.Writer | None = None  # from the head on
        self._remaining = 0
        self._sampled: Revision = 0
        self._map_version = 0
        # A process with its own sequencer fixes both in one turn: its file is of the sample, and
        # nothing else is in it.
        self._alone = len(context.owners) == 1 and not context.remote
        self._asks = False  # the sequencer, whether the map is still the same
        self._pending = 0  # when it was looked at
        self.over = False
        self.deadline_ms = context.clock.now_ms() + SAMPLE_WAIT_MS_MAX

    def cut(self, sample: Sample) -> None:
        """Ask every shard for its state, once everything of the sample is on its disk."""
        if self.over:
            return
        self.deadline_ms = self._context.clock.now_ms() + SNAPSHOT_STALL_MS
        self._sampled, self._map_version = sample.revision, sample.map_version
        owners, tablets = self._context.owners, self._context.tablets
        names = sorted({tablet.shard for tablet in tablets.tablets})
        self._parts = [_Part(self) for _ in names]
        for part, name in zip(self._parts, names, strict=True):
            owner = owners[name]
            if self._alone:
                owner.dump(part)
                continue
            then = partial(self._dump, owner, part)
            when_on_disk(self._context, name, sample, then, self.fail)

    def _dump(self, owner: OwnerPort, part: _Part) -> None:
        if not self.over:
            owner.dump(part)

    def begun(self) -> None:
        """A shard has told its size: with the last of them the file begins."""
        sizes = [part.size for part in self._parts if part.size is not None]
        if self.over or len(sizes) < len(self._parts):
            return
        payloads, records, floors = zip(*sizes, strict=True)
        floor = max(*floors, self._context.coordinator.compact_revision())
        head = dump.Head(self._sampled, floor, VERSION)
        self._remaining = dump.size(head, sum(payloads), sum(records)) - dump.DIGEST_BYTES
        if floor > self._sampled:
            self.fail(errors.COMPACTED)
        elif self._alone:
            self._head(head)
        else:
            self._asks = True
            self.deadline_ms = self._context.clock.now_ms() + SAMPLE_WAIT_MS_MAX
            self._context.sequencer.read_revision(partial(self._checked, head))

    def _checked(self, head: dump.Head, sample: Sample) -> None:
        """A tablet that changed hands meanwhile may be in no share, or in two."""
        self._asks = False
        if self.over:
            return
        if sample.map_version != self._map_version:
            self.fail(errors.OTHER_MAP)
        else:
            self._head(head)

    def _head(self, head: dump.Head) -> None:
        self._caller.desk = None  # what is sent cannot be begun anew
        self._writer = dump.Writer(head)
        self._send(self._writer.head())

    def ready(self, part: _Part) -> bool:
        """Whether this one may go on: one after the other, at the client's pace."""
        if self.over or part.size is None:
            return True
        if self._writer is None or next((p for p in self._parts if not p.ended), None) is not part:
            return False
        pending = self._caller.edge.pending_bytes(self._caller.call_id)
        return pending <= STREAM_HIGH_WATER_BYTES

    def take(self, pairs: Sequence[tuple[bytes, bytes]]) -> bool:
        assert self._writer is not None or self.over, "rows follow the head"
        if self.over or self._writer is None:
            return False
        self._send(self._writer.pairs(pairs))
        return True

    def end(self) -> None:
        """The digest leaves by itself, on top of what remains, as etcd sends it."""
        if self.over or self._writer is None or not all(part.ended for part in self._parts):
            return
        self._send(self._writer.end())
        if self._remaining:
            self.fail(UNEVEN)
            return
        self._send(self._writer.digest())
        self.over = True
        self._caller.edge.end(self._caller.call_id)

    def fail(self, refused: RequestRefused) -> None:
        """Without its digest nobody takes the snapshot for whole. Before its head it may be tried
        again, also at a newer revision where this one was compacted."""
        if not self.over:
            self.over = True
            self._caller.fail_newest(refused)

    def look(self, now_ms: int) -> None:
        """Has it waited for its client for too long? A shard at work is no such wait, nor is a
        client that takes something now and then."""
        if self.over:
            return
        pending = self._caller.edge.pending_bytes(self._caller.call_id)
        reads = pending <= STREAM_HIGH_WATER_BYTES or pending != self._pending
        self._pending = pending
        if self._parts and not self._asks and reads:
            self.deadline_ms = now_ms + SNAPSHOT_STALL_MS
        elif now_ms >= self.deadline_ms:
            self.over = True  # without a first sample the queue of reads has told it
            if self._parts:
                self._caller.fail(errors.NO_LEADER if self._asks else STALLED)

    def _send(self, blob: bytes) -> None:
        self._remaining -= len(blob)
        header = self._caller.header.field(self._sampled)
        body = responses.snapshot_part(max(self._remaining, 0), blob, ETCD_STORAGE_VERSION)
        self._caller.edge.send(self._caller.call_id, header + body)


class _Part:
    """One shard's share. Implements DumpSink."""

    def __init__(self, snapshot: _Snapshot) -> None:
        self._snapshot = snapshot
        self.take = snapshot.take
        self.fail = snapshot.fail
        self.size: tuple[int, int, Revision] | None = None  # bytes, pairs, its floor
        self.ended = False

    def begin(self, payload: int, records: int, floor: Revision) -> None:
        self.size = (payload, records, floor)
        self._snapshot.begun()

    def ready(self) -> bool:
        return self._snapshot.ready(self)

    def end(self) -> None:
        self.ended = True
        self._snapshot.end()
