"""etcd's KV service: decode, check, plan, call.

What it is: the thin layer between a call's bytes and the ports. What it is not: evaluation,
reading or merging.

Invariants:
- a linearizable read is answered from a sample that was asked for after the read arrived; all
  reads of one batch share one ReadRev (inv04);
- writes are handed to their owner in arrival order, one submission per owner and batch;
- a refused request reaches no owner.

Worked example: a batch of two Ranges and three Puts costs one ReadRev and one submit.

Source: etcd server/etcdserver/api/v3rpc/key.go, v3_server.go. Tested in
tests/property/test_history.py, tests/e2e/test_etcdctl.py.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from kubebraid.base import errors
from kubebraid.base.errors import RequestRefused
from kubebraid.base.keyspace import KeyRange
from kubebraid.base.ops import DeleteOp, RangeOp, TxnOp, WriteOp
from kubebraid.base.ports import (
    WRITE_DELETE,
    WRITE_PUT,
    WRITE_TXN,
    PointCall,
    Sample,
    WriteCall,
)
from kubebraid.base.revision import FIRST_REVISION, Revision
from kubebraid.proto import ranges, requests
from kubebraid.proto.kvwire import blob

from .across import Request, Transactions
from .answers import Caller, after_all, answer_point, answer_write
from .context import Context
from .gather import StreamGather, UnaryGather
from .guard import Guard, free, put_cost, txn_cost
from .merge import View
from .plan import Read, WriteTarget, put_target, read_parts, write_target
from .range_streams import RangeStreams
from .read_queue import ReadQueue, Waiting


class KvService:
    """Range, RangeStream, Put, DeleteRange, Txn, Compact."""

    def __init__(self, context: Context, view: View) -> None:
        self._context = context
        self._view = view
        self._guard = Guard(context)
        self._reads: list[Waiting] = []
        self._points: list[tuple[Caller, bytes]] = []
        self._writes: dict[str, list[WriteCall]] = {}
        self.queue = ReadQueue(context)
        draw, floor = context.random.lease_id, context.coordinator.compact_revision
        self._across = Transactions(context.owners, context.sequencer, draw, floor)
        self.streams = RangeStreams()

    # -- a batch -------------------------------------------------------------------------------

    def with_sample(self, then: Callable[[Sample], None], caller: Caller | None = None) -> None:
        """Run `then` with a sample that is asked for when the batch was decoded. Without a
        sequencer `caller` is told so after a while."""
        self._reads.append((then, caller))

    def submit(
        self,
        caller: Caller,
        kind: int,
        payload: bytes,
        target: WriteTarget,
        op: WriteOp | None = None,
    ) -> None:
        """Queue a write for its owner."""
        version = self._context.tablets.version
        if len(target.shards) != 1:
            assert isinstance(op, TxnOp | DeleteOp), "a put has one key, a lease one home"
            answer = (caller.respond, caller.fail)
            self._across.begin(Request(kind, payload, op, target.shards, version, *answer))
            return
        (shard,) = target.shards
        call = WriteCall(kind, payload, target.tablets, version, caller, op)
        self._writes.setdefault(shard, []).append(call)

    def flush(self) -> None:
        """End of a batch: one ReadRev for its reads, one submission per owner for its writes."""
        self._guard.end_batch()
        if self._reads or self._points:
            reads, self._reads = self._reads, []
            points, self._points = self._points, []
            ticket = self.queue.ticket(reads, points)

            def run(sample: Sample) -> None:
                if ticket is not None:
                    self.queue.served(ticket)
                for read, _ in reads:
                    read(sample)
                if points:
                    self._read_points(points, sample)

            self._context.sequencer.read_revision(run)
        if self._writes:
            writes, self._writes = self._writes, {}
            for shard, calls in writes.items():
                self._context.owners[shard].submit(calls, answer_write)

    # -- reads ---------------------------------------------------------------------------------

    def range(self, caller: Caller, payload: bytes) -> None:
        key = requests.point_key(payload)
        if key is not None:
            self._points.append((caller, key))
            return
        op = requests.range_request(payload)
        if isinstance(op, RequestRefused):
            caller.fail(op)
            return
        released = self._released(op) if op.serializable else None
        if released is not None:
            self._read(caller, op, released)
        else:
            self.with_sample(partial(self._read, caller, op), caller)

    def _read_points(self, points: list[tuple[Caller, bytes]], sample: Sample) -> None:
        """All Gets of a batch, packed by owner."""
        tablets, last, revision = self._context.tablets, sample.last, sample.revision
        header = self._context.header.field(revision)
        calls: dict[str, list[PointCall]] = {}
        for caller, key in points:
            tablet = tablets.tablet_of(key)
            need = last.get(tablet.id, 0)
            call = PointCall(key, revision, tablet.id, need, tablets.version, caller)
            calls.setdefault(tablet.shard, []).append(call)
        for shard, of_shard in calls.items():
            self._context.owners[shard].points(of_shard, partial(answer_point, header))

    def range_stream(self, caller: Caller, payload: bytes) -> None:
        op = requests.range_stream_request(payload)
        if isinstance(op, RequestRefused):
            caller.fail(op)
            return
        released = self._released(op) if op.serializable else None
        if released is not None:
            self._read_stream(caller, op, released)
        else:
            self.with_sample(partial(self._read_stream, caller, op), caller)

    def _released(self, op: RangeOp) -> Sample | None:
        """M15: the newest state of the span that this router may show without asking anybody. None
        if it has told more, or knows of a higher floor: like a member of etcd it never goes back
        behind its own answers, nor shows what it has heard to be compacted."""
        view = self._view
        spanned = () if op.span is None else self._context.tablets.tablets_of(op.span)
        bound = view.bound(tablet.id for tablet in spanned)
        floor = self._context.coordinator.compact_revision()
        if bound < max(self._context.header.told, FIRST_REVISION, floor):
            return None
        # What is closed there needs no waiting, not even behind a write in doubt.
        last = {tablet.id: min(bound, view.closed.get(tablet.id, 0)) for tablet in spanned}
        return Sample(view.cepoch, view.map_version, bound, last)

    def _bad_revision(self, op: RangeOp, sample: Sample) -> RequestRefused | None:
        if op.revision > sample.revision:
            return errors.FUTURE_REVISION
        if 0 < op.revision < self._context.coordinator.compact_revision():
            return errors.COMPACTED
        return None

    def _read(self, caller: Caller, op: RangeOp, sample: Sample) -> None:
        refused = self._bad_revision(op, sample)
        if refused is not None:
            caller.fail(refused)
        elif op.span is None:
            caller.respond(sample.revision, ranges.body(op, [], 0))
        else:
            UnaryGather(
                self._context.owners,
                self._plan(op, op.span, sample),
                lambda body: caller.respond(sample.revision, *body),
                caller.fail if op.revision > 0 else caller.fail_newest,
            ).start()

    def _read_stream(self, caller: Caller, op: RangeOp, sample: Sample) -> None:
        refused = self._bad_revision(op, sample)
        if refused is not None:
            caller.fail(refused)
            return
        edge, call_id = caller.edge, caller.call_id
        header = caller.header.field(sample.revision)
        if op.span is None:
            edge.send(call_id, blob(1, header))
            edge.end(call_id)
            return
        read = self._plan(op, op.span, sample)
        StreamGather(
            self._context.owners, read, self.streams.sink(caller, op.revision <= 0), header
        ).start()

    def _plan(self, op: RangeOp, span: KeyRange, sample: Sample) -> Read:
        tablets = self._context.tablets
        revision = op.revision if op.revision > 0 else sample.revision
        return Read(read_parts(tablets, span, sample.last), op, revision, tablets.version)

    # -- writes --------------------------------------------------------------------------------

    def refused(self, caller: Caller, payload: bytes, cost: Callable[[], int]) -> bool:
        """Whether size, alarms or the quota forbid the write; then it is answered."""
        if len(payload) > self._context.request_bytes_max:
            caller.fail(errors.REQUEST_TOO_LARGE)
            return True
        if self._guard.open():
            return False
        refused = self._guard.refuses(cost())
        if refused is not None:
            caller.fail(refused)
        return refused is not None

    def put(self, caller: Caller, payload: bytes) -> None:
        op = requests.put_request(payload)
        if isinstance(op, RequestRefused):
            caller.fail(op)
        elif not self.refused(caller, payload, partial(put_cost, op)):
            self.submit(caller, WRITE_PUT, payload, put_target(self._context.tablets, op.key), op)

    def delete_range(self, caller: Caller, payload: bytes) -> None:
        op = requests.delete_request(payload)
        if isinstance(op, RequestRefused):
            caller.fail(op)
        elif self.refused(caller, payload, free):
            return
        elif op.span is None:
            self.with_sample(lambda sample: caller.respond(sample.revision, b""), caller)
        else:
            self.submit(caller, WRITE_DELETE, payload, write_target(self._context.tablets, op), op)

    def txn(self, caller: Caller, payload: bytes) -> None:
        op = requests.txn_request(payload, self._context.txn_ops_max)
        if isinstance(op, RequestRefused):
            caller.fail(op)
        elif not (op.writes() and self.refused(caller, payload, partial(txn_cost, op))):
            target = write_target(self._context.tablets, op)
            if not target.tablets:
                # No key at all: still answered in order with the writes, by any owner.
                target = put_target(self._context.tablets, b"")
            self.submit(caller, WRITE_TXN, payload, target, op)

    def compact(self, caller: Caller, payload: bytes) -> None:
        revision, physical = requests.compact_request(payload)
        if self.refused(caller, payload, free):
            return
        self.with_sample(partial(self._compact, caller, revision, physical), caller)

    def _compact(self, caller: Caller, revision: Revision, physical: bool, sample: Sample) -> None:
        """etcd checks against its present revision, then raises the floor, then removes."""
        coordinator = self._context.coordinator
        if revision <= coordinator.compact_revision():
            caller.fail(errors.COMPACTED)
            return
        if revision > sample.revision:
            caller.fail(errors.FUTURE_REVISION)
            return
        owners = self._context.serving()

        def removed() -> None:
            if physical:
                caller.respond(sample.revision, b"")

        def raised(refused: RequestRefused | None) -> None:
            if refused is not None:
                caller.fail(refused)
                return
            done = after_all(len(owners), removed)
            for owner in owners:
                owner.compact(revision, done)
            if not physical:
                caller.respond(sample.revision, b"")

        coordinator.compact(revision, raised)
