"""Snapshot and hashes: what operators take from a running store.

What it is: the maintenance calls that read everything: Snapshot, Hash, HashKV, Defragment. What it
is not: the file format (base/dump) or the reading (the owners' jobs).

Invariants: a snapshot is consistent: one state, its revision in the head; a hash is of a revision
that was closed when it was taken; none of them stops the traffic.

Worked example: `etcdctl snapshot save f` receives `dump.size(..)` bytes, the last 32 of which are
the SHA-256 of the rest.

Tested in tests/unit/router/test_backup.py, tests/e2e/test_etcdctl.py.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from kubebraid import ETCD_VERSION, VERSION
from kubebraid.base import dump, errors
from kubebraid.base.errors import RequestRefused
from kubebraid.base.limits import STREAM_CHUNK_BYTES
from kubebraid.base.ports import Sample
from kubebraid.base.revision import Revision
from kubebraid.proto import requests, responses
from kubebraid.proto.server import STREAM_HIGH_WATER_BYTES, Edge

from .answers import Caller, after_all
from .context import Context
from .kv import KvService

HASH_MODULUS = 1 << 32
ETCD_STORAGE_VERSION = ETCD_VERSION.rpartition(".")[0] + ".0"


class BackupService:
    """Snapshot, Hash, HashKV, Defragment."""

    def __init__(self, context: Context, kv: KvService) -> None:
        self._context = context
        self._kv = kv
        self._open: set[tuple[Edge, int]] = set()

    def defragment(self, caller: Caller, payload: bytes) -> None:
        """Answered when the space is back; the store serves meanwhile, unlike etcd's."""
        requests.check_empty(payload)
        owners = list(self._context.owners.values())

        def answer(_sample: Sample) -> None:
            failed: list[RequestRefused] = []

            def end() -> None:
                if failed:
                    caller.fail(failed[0])
                else:
                    caller.edge.respond(caller.call_id, b"")  # etcd's answer has no header

            one_done = after_all(len(owners), end)

            def done(refused: RequestRefused | None) -> None:
                failed.extend([] if refused is None else [refused])
                one_done()

            for owner in owners:
                owner.defragment(done)

        self._kv.with_sample(answer)

    def hash(self, caller: Caller, payload: bytes) -> None:
        requests.check_empty(payload)

        def answer(sample: Sample) -> None:
            self._hash(
                caller,
                sample.revision,
                lambda total: caller.respond(sample.revision, responses.hash_of(total)),
            )

        self._kv.with_sample(answer)

    def hash_kv(self, caller: Caller, payload: bytes) -> None:
        wanted = requests.hash_revision(payload)

        def answer(sample: Sample) -> None:
            floor = self._context.coordinator.compact_revision()
            revision = wanted if wanted > 0 else sample.revision
            if revision > sample.revision:
                caller.fail(errors.FUTURE_REVISION)
            elif revision < floor:
                caller.fail(errors.COMPACTED)
            else:
                self._hash(
                    caller,
                    revision,
                    lambda total: caller.respond(
                        sample.revision,
                        responses.hash_kv(total, floor, wanted or revision),
                    ),
                )

        self._kv.with_sample(answer)

    def _hash(self, caller: Caller, revision: Revision, done: Callable[[int], None]) -> None:
        floor = self._context.coordinator.compact_revision()
        sums: list[int] = []
        owners = list(self._context.owners.values())

        refused: list[RequestRefused] = []

        def add(part: int | RequestRefused) -> None:
            if isinstance(part, RequestRefused):
                refused.append(part)
            else:
                sums.append(part)
            if len(sums) + len(refused) < len(owners):
                return
            if refused:
                caller.fail(refused[0])
            else:
                done(sum(sums) % HASH_MODULUS)

        for owner in owners:
            owner.hash_versions(floor, revision, add)

    def snapshot(self, caller: Caller, payload: bytes) -> None:
        """One store, one owner: a cluster's snapshot needs a cut through all of them."""
        requests.check_empty(payload)
        if len(self._context.owners) != 1:
            caller.fail(errors.unimplemented("a snapshot over several shards is not there yet"))
            return
        (owner,) = self._context.owners.values()
        self._open.add((caller.edge, caller.call_id))

        def answer(sample: Sample) -> None:
            caller.desk = None  # what is sent cannot be begun anew
            floor = self._context.coordinator.compact_revision()
            head = dump.Head(sample.revision, floor, VERSION)
            owner.dump(_SnapshotStream(caller, head, sample.revision, self._open))

        self._kv.with_sample(answer)

    def cancelled(self, edge: Edge, call_id: int) -> None:
        """The client of a Snapshot is gone: its dump ends at the next slice."""
        self._open.discard((edge, call_id))


class _SnapshotStream:
    """Pairs in, SnapshotResponses out. Implements DumpSink."""

    def __init__(
        self, caller: Caller, head: dump.Head, revision: Revision, live: set[tuple[Edge, int]]
    ) -> None:
        self._caller = caller
        self._head = head
        self._revision = revision
        self._live = live
        self._writer = dump.Writer(head)
        self._remaining = 0

    def begin(self, payload: int, records: int) -> None:
        self._remaining = dump.size(self._head, payload, records) - dump.DIGEST_BYTES
        self._send(self._writer.head())

    def ready(self) -> bool:
        return self._caller.edge.pending_bytes(self._caller.call_id) <= STREAM_HIGH_WATER_BYTES

    def take(self, pairs: Sequence[tuple[bytes, bytes]]) -> bool:
        for start, end in _cuts(pairs):
            self._send(self._writer.pairs(pairs[start:end]))
        return (self._caller.edge, self._caller.call_id) in self._live

    def fail(self, refused: RequestRefused) -> None:
        """Without its digest nobody takes the snapshot for whole."""
        self._live.discard((self._caller.edge, self._caller.call_id))
        self._caller.fail(refused)

    def end(self) -> None:
        """The digest leaves by itself, on top of what remains, as etcd sends it."""
        self._send(self._writer.end())
        assert self._remaining == 0, "the size was told rightly"
        self._send(self._writer.digest())
        self._live.discard((self._caller.edge, self._caller.call_id))
        self._caller.edge.end(self._caller.call_id)

    def _send(self, blob: bytes) -> None:
        self._remaining -= len(blob)
        header = self._caller.header.field(self._revision)
        body = responses.snapshot_part(max(self._remaining, 0), blob, ETCD_STORAGE_VERSION)
        self._caller.edge.send(self._caller.call_id, header + body)


def _cuts(pairs: Sequence[tuple[bytes, bytes]]) -> Iterator[tuple[int, int]]:
    """Runs of pairs of at most STREAM_CHUNK_BYTES, or one pair that is larger."""
    start = size = 0
    for number, (key, value) in enumerate(pairs):
        weight = len(key) + len(value)
        if number > start and size + weight > STREAM_CHUNK_BYTES:
            yield start, number
            start, size = number, 0
        size += weight
    if start < len(pairs):
        yield start, len(pairs)
