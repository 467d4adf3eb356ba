"""The router's core: events of the edges in, answers out, on the loop's thread.

What it is: the dispatch of one batch of events and the router's turn. What it is not: any
service's rules.

Invariants:
- a malformed message fails its own call and nothing else;
- while draining new calls are refused as Unavailable, accepted ones are answered;
- one batch of events costs at most one ReadRev for its reads and one submission per owner.

Worked example: `handle(edge, [(CALL, 1, RANGE, ..), (CALL, 2, PUT, ..)])` reads one sample,
answers call 1, and submits call 2, which the owner's turn commits.

Tested in tests/property/test_history.py, tests/unit/router/test_core.py.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from kubebraid.base import errors
from kubebraid.base.errors import Code, RequestRefused
from kubebraid.base.ports import Sample
from kubebraid.base.tabletmap import TabletMap
from kubebraid.proto.requests import MalformedMessage
from kubebraid.proto.server import METHOD_BY_PATH, METHODS, Edge, EdgeEvent, Kind, Shape

from .admin import AdminService
from .answers import Caller
from .backup import BackupService
from .concurrency import Concurrency
from .context import Context
from .hub import Hub
from .kv import KvService
from .lease import LeaseService
from .maintenance import MaintenanceService, not_there
from .matched import Matched
from .resharding import ReshardService
from .retry import Retries
from .snapshots import Snapshots
from .splitter import Splitter
from .watch import WatchService

Handler = Callable[[Caller, bytes], None]

WATCH = METHOD_BY_PATH["/etcdserverpb.Watch/Watch"]
RANGE_STREAM = METHOD_BY_PATH["/etcdserverpb.KV/RangeStream"]
SNAPSHOT = METHOD_BY_PATH["/etcdserverpb.Maintenance/Snapshot"]
KEEP_ALIVE = METHOD_BY_PATH["/etcdserverpb.Lease/LeaseKeepAlive"]
HEALTH_WATCH = METHOD_BY_PATH["/grpc.health.v1.Health/Watch"]
CONCURRENCY = frozenset(
    number
    for number, spec in enumerate(METHODS)
    if spec.path.startswith(("/v3lockpb.", "/v3electionpb."))
)


class Router:
    """Implements Part of base/loop; `handle` is what fronts deliver to."""

    def __init__(self, context: Context, sample: Sample) -> None:
        self._context = context
        self._retries: Retries | None = None
        self._matched: Matched | None = None
        if context.remote:
            self._retries = Retries(context.clock)
            self._matched = Matched(context.sequencer, lambda: context.tablets.version)
            context.sequencer = self._matched
        self._hub = Hub(context.owners, context.coordinator, context.tablets, sample)
        self._kv = KvService(context, self._hub.view)
        self._watch = WatchService(context, self._hub)
        self._lease = LeaseService(context, self._kv)
        self._maintenance = MaintenanceService(context, self._kv)
        self._backup = BackupService(context, self._kv)
        self._snapshots = Snapshots(context, self._kv)
        self._admin = AdminService(context, self._hub.view)
        self._reshard = ReshardService(context)
        self._splitter: Splitter | None = None
        if context.auto_split.on:
            self._splitter = Splitter(context, self._reshard, context.auto_split)
        self.concurrency = Concurrency(context, self._kv, self._lease, self._watch)
        self._handlers = self._table()
        self._draining = False
        self._tick_ms = context.clock.now_ms() + context.progress_interval_ms

    def _table(self) -> list[Handler]:
        kv, lease = self._kv, self._lease
        maintenance, backup = self._maintenance, self._backup
        there: dict[str, Handler] = {
            "KV/Range": kv.range,
            "KV/RangeStream": kv.range_stream,
            "KV/Put": kv.put,
            "KV/DeleteRange": kv.delete_range,
            "KV/Txn": kv.txn,
            "KV/Compact": kv.compact,
            "Lease/LeaseGrant": lease.grant,
            "Lease/LeaseRevoke": lease.revoke,
            "Lease/LeaseTimeToLive": lease.time_to_live,
            "Lease/LeaseLeases": lease.leases,
            "Cluster/MemberList": maintenance.member_list,
            "Maintenance/Status": maintenance.status,
            "Maintenance/Alarm": maintenance.alarm,
            "Maintenance/Defragment": backup.defragment,
            "Maintenance/Hash": backup.hash,
            "Maintenance/HashKV": backup.hash_kv,
            "Maintenance/Snapshot": self._snapshots.begin,
            "Auth/AuthStatus": maintenance.auth_status,
            "Health/Check": maintenance.health_check,
            "Health/List": maintenance.health_list,
            "Health/Watch": maintenance.health_watch,
            "Admin/ClusterStatus": self._admin.cluster_status,
            "Admin/PlanReshard": self._reshard.plan,
            "Admin/ControlReshard": self._reshard.control,
            "Admin/ListReshard": self._reshard.list,
            "Admin/RemoveShard": self._reshard.remove,
            "Admin/HandOverShard": self._reshard.hand_over,
            **self.concurrency.handlers(),
        }
        table: list[Handler] = []
        for spec in METHODS:
            service, method = spec.path[1:].split("/")
            short = service.rpartition(".")[2] + "/" + method
            if spec.shape is Shape.BIDI:
                table.append(_no_unary)
            else:
                table.append(there.get(short) or not_there(method, service))
        return table

    # -- events --------------------------------------------------------------------------------

    def handle(self, edge: Edge, events: Iterable[EdgeEvent]) -> None:
        """One batch of events of one front, in order."""
        header, desk = self._context.header, self._retries
        for kind, call_id, method, payload in events:
            try:
                if kind == Kind.CALL:
                    caller = Caller(edge, call_id, header, desk, (method, payload))
                    if self._draining:
                        caller.fail(errors.STOPPED)
                    else:
                        self._handlers[method](caller, payload)
                else:
                    self._stream_event(edge, EdgeEvent(kind, call_id, method, payload))
            except MalformedMessage as refused:
                edge.fail(call_id, int(refused.code), refused.message)
        self._kv.flush()

    def _stream_event(self, edge: Edge, event: EdgeEvent) -> None:
        kind, call_id, method, payload = event
        if method == WATCH:
            self._watch_event(edge, kind, call_id, payload)
        elif method == KEEP_ALIVE:
            self._keep_alive_event(edge, kind, call_id, payload)
        elif method == RANGE_STREAM and kind == Kind.CANCELLED:
            self._kv.streams.cancelled(edge, call_id)
        elif method == SNAPSHOT and kind == Kind.CANCELLED:
            self._snapshots.cancelled(edge, call_id)
        elif method == HEALTH_WATCH and kind == Kind.CANCELLED:
            self._maintenance.health_gone(edge, call_id)
        elif method in CONCURRENCY:
            self.concurrency.event(edge, kind, call_id)

    def _watch_event(self, edge: Edge, kind: int, call_id: int, payload: bytes) -> None:
        if kind == Kind.MESSAGE:
            self._watch.message(edge, call_id, payload)
        elif kind == Kind.OPEN:
            if self._draining:
                edge.fail(call_id, int(errors.STOPPED.code), errors.STOPPED.message)
            else:
                self._watch.open(edge, call_id)
        elif kind == Kind.DRAINED:
            self._watch.drained(edge, call_id)
        elif kind == Kind.CLOSED:
            self._watch.close(edge, call_id)

    def _keep_alive_event(self, edge: Edge, kind: int, call_id: int, payload: bytes) -> None:
        if kind == Kind.MESSAGE:
            self._lease.keep_alive(edge, call_id, payload)
        elif kind == Kind.OPEN:
            if self._draining:
                edge.fail(call_id, int(errors.STOPPED.code), errors.STOPPED.message)
            else:
                self._lease.open(edge, call_id)
        elif kind == Kind.HALF_CLOSED:
            self._lease.half_close(edge, call_id)
        elif kind == Kind.CLOSED:
            self._lease.close(edge, call_id)

    # -- the loop ------------------------------------------------------------------------------

    def turn(self) -> bool:
        """Catch watchers up, send periodic progress. Answers: can more be done now?"""
        now_ms = self._context.clock.now_ms()
        if now_ms >= self._tick_ms:
            self._tick_ms = now_ms + self._context.progress_interval_ms
            self._hub.tick()
        self._admin.turn()
        self._reshard.turn()
        if self._splitter is not None:
            self._splitter.turn(now_ms)
        self._snapshots.turn(now_ms)
        if self._matched is not None:
            self._matched.turn()
            self._kv.queue.expire()
        if self._retries is not None and self._retries.turn(self._try):
            self._kv.flush()
        return self._hub.turn()

    def _try(self, caller: Caller) -> None:
        try:
            self._handlers[caller.method](caller, caller.payload)
        except MalformedMessage as refused:
            caller.fail(refused)

    def next_deadline_ms(self) -> int | None:
        again = None if self._retries is None else self._retries.next_deadline_ms()
        parts = (self._admin, self._reshard, self._snapshots, self._kv.queue)
        look = None if self._splitter is None else self._splitter.next_deadline_ms()
        deadlines = [self._tick_ms, again, look, *(part.next_deadline_ms() for part in parts)]
        return min(deadline for deadline in deadlines if deadline is not None)

    @property
    def map_version(self) -> int:
        """Of the map that requests are planned with."""
        return self._context.tablets.version

    def follow(self, tablets: TabletMap) -> None:
        """A newer map: plan with it, and try again what met it too early."""
        self._context.tablets = tablets
        self._hub.follow(tablets)
        if self._matched is not None:
            self._matched.followed()
        # Of a map that was skipped no sample can be read: what waits for one must not wait longer.
        self._context.sequencer.read_revision(self._hub.hear)
        self.poke()

    def poke(self) -> None:
        """A link opened, another sequencer serves, a floor rose: what was refused may go now."""
        self._hub.wake()
        if self._retries is not None:
            self._retries.poke()

    def drain(self) -> None:
        """Refuse what is new and end the streams, so that clients resume elsewhere."""
        self._draining = True
        if self._retries is not None:
            self._retries.closed = True
        self.concurrency.end_all()
        self._watch.end_all(int(errors.STOPPED.code), errors.STOPPED.message)
        self._lease.end_all(int(errors.STOPPED.code), errors.STOPPED.message)
        self._maintenance.end_all()


def _no_unary(caller: Caller, _payload: bytes) -> None:
    caller.fail(RequestRefused(Code.UNIMPLEMENTED, "this method takes a stream"))
