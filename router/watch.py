"""etcd's Watch service: streams of requests in, calls on the hub out.

What it is: decode and checks of WatchRequests, one Session per stream. What it is not: release
and catch-up (`hub.py`).

Invariants: the requests of one stream are answered in their order; what etcd ignores (an unknown
kind of request, the cancel of an unknown id) is ignored.

Source: etcd server/etcdserver/api/v3rpc/watch.go. Tested in tests/property/test_watch_history.py.
"""

from __future__ import annotations

from functools import partial

from kubebraid.base import errors
from kubebraid.base.keyspace import from_etcd
from kubebraid.base.limits import WATCHES_PER_STREAM_MAX
from kubebraid.base.ports import Sample
from kubebraid.proto.requests import AskProgress, CancelWatch, CreateWatch, watch_message
from kubebraid.proto.server import STREAM_HIGH_WATER_BYTES, Edge

from .context import Context
from .hub import Hub
from .session import DUPLICATE_ID, EMPTY_RANGE, Session
from .watcher import Options, Request


class WatchService:
    """All Watch streams of a router."""

    def __init__(self, context: Context, hub: Hub) -> None:
        self._context = context
        self._hub = hub
        self._sessions: dict[tuple[Edge, int], Session] = {}

    def open(self, edge: Edge, call_id: int) -> None:
        session = Session(
            self._context.header,
            partial(edge.send, call_id),
            lambda: edge.pending_bytes(call_id) > STREAM_HIGH_WATER_BYTES,
        )
        self._sessions[(edge, call_id)] = session
        self._hub.open(session)

    def message(self, edge: Edge, call_id: int, payload: bytes) -> None:
        session = self._sessions.get((edge, call_id))
        if session is None:
            return  # the stream was ended by a drain
        read_revision = self._context.sequencer.read_revision
        match watch_message(payload):
            case CreateWatch() as create:
                read_revision(partial(self._create, session, create))
            case CancelWatch(watch_id):
                # Not at once: it may belong to a create that still waits for its sample.
                read_revision(partial(self._cancel, session, watch_id))
            case AskProgress():
                read_revision(partial(self._progress, session))
            case None:
                return

    def _cancel(self, session: Session, watch_id: int, _sample: Sample) -> None:
        if not session.closed:
            self._hub.cancel(session, watch_id)

    def _progress(self, session: Session, sample: Sample) -> None:
        if not session.closed:
            self._hub.request_progress(session, sample)

    def _create(self, session: Session, create: CreateWatch, sample: Sample) -> None:
        if session.closed:
            return  # the client went, or a drain came, while the sample was on its way
        if create.start < 0:
            session.refused(sample.revision, errors.COMPACTED.message)
            return
        if len(session.watchers) >= WATCHES_PER_STREAM_MAX:
            session.refused(sample.revision, errors.TOO_MANY_REQUESTS.message)
            return
        # etcd: an empty key means the smallest one, \x00
        span = from_etcd(create.key or b"\x00", create.range_end)
        if span is None:
            session.refused(sample.revision, EMPTY_RANGE)
            return
        watch_id = session.choose_id(create.watch_id)
        if watch_id is None:
            session.refused(sample.revision, DUPLICATE_ID)
            return
        options = Options(span, create.prev_kv, create.no_put, create.no_delete, create.fragment)
        request = Request(options, create.start, create.progress_notify)
        self._hub.watch(session, watch_id, request, sample)

    def drained(self, edge: Edge, call_id: int) -> None:
        session = self._sessions.get((edge, call_id))
        if session is not None:
            self._hub.drained(session)

    def close(self, edge: Edge, call_id: int) -> None:
        session = self._sessions.pop((edge, call_id), None)
        if session is not None:
            self._hub.close(session)

    def end_all(self, code: int, text: str) -> None:
        """A drain: streams end so that their clients resume elsewhere."""
        for edge, call_id in list(self._sessions):
            self.close(edge, call_id)
            edge.fail(call_id, code, text)
