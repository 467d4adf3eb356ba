"""Whether what a watch delivered keeps etcd's promises, one function a promise.

What it is: judges of (the create request, the responses of that watch in order, the model that
knows the history). What it is not: a client; `watching` sorts the responses of a stream.

Words: the *start* is the first revision that a watch promises: start_revision, or what follows the
created answer's header; a *bookmark* is an answer with nothing but a header, by which the client
knows that it missed nothing up to there; *seen* is the last revision that a client can be sure of.

Invariants: a judge raises Broken, which names the promise; it is silent about all other promises,
so a test that wants them all calls `judge`.

Worked example: a watch on [a, c) from revision 3 that was told of a@3 and c@4 broke Filter; told of
a@3 and then bookmark 9 though b changed at 5, Bookmarkable and Reliable.

Source: etcd, "KV API guarantees", and what kube-apiserver concludes from each answer. Tested on
a real etcd by tests/property/test_watch_history.py.
"""

from __future__ import annotations

from collections.abc import Sequence

from kubebraid.proto.etcd import kv_pb2, rpc_pb2
from tests.robustness.model import Model
from tests.robustness.reading import TO_THE_END

Request = rpc_pb2.WatchCreateRequest
Responses = Sequence[rpc_pb2.WatchResponse]


class Broken(AssertionError):
    """A promise was broken."""

    def __init__(self, promise: str, what: str) -> None:
        super().__init__(f"{promise}: {what}")
        self.promise = promise


def judge(
    request: Request, responses: Responses, history: Model, complete_to: int | None = None
) -> None:
    """All promises. `complete_to`: everything up to this revision must have been delivered."""
    judge_filter(request, responses, history)
    judge_ordered(request, responses, history)
    judge_unique(request, responses, history)
    judge_atomic(request, responses, history)
    judge_resumable(request, responses, history)
    judge_reliable(request, responses, history, complete_to)
    judge_bookmarkable(request, responses, history)
    judge_prev_kv(request, responses, history)
    judge_is_create(request, responses, history)


# -- what a client knows -----------------------------------------------------------------------


def events_of(responses: Responses) -> list[kv_pb2.Event]:
    """All events, in the order of delivery."""
    return [event for response in responses for event in response.events]


def is_bookmark(response: rpc_pb2.WatchResponse) -> bool:
    """What clientv3 calls a progress notification."""
    return not (
        response.events or response.created or response.canceled or response.compact_revision
    )


def start_of(request: Request, responses: Responses) -> int:
    """The first revision that the watch promises."""
    if request.start_revision > 0:
        return request.start_revision
    assert responses, "not created yet"
    assert responses[0].created, f"the first answer is not the created one: {responses[0]}"
    return responses[0].header.revision + 1


def seen(request: Request, responses: Responses) -> int:
    """The last revision up to which the client may believe to know everything."""
    last = start_of(request, responses) - 1
    for response in responses:
        if response.events:
            last = max(last, response.events[-1].kv.mod_revision)
        elif is_bookmark(response):
            last = max(last, response.header.revision)
    return last


def matches(request: Request, event: kv_pb2.Event) -> bool:
    """Whether the watch asks for such an event, revisions aside."""
    kind = Request.NODELETE if event.type == kv_pb2.Event.DELETE else Request.NOPUT
    if kind in request.filters:
        return False
    key = event.kv.key
    if not request.range_end:
        return key == (request.key or b"\x00")
    return request.key <= key and (request.range_end == TO_THE_END or key < request.range_end)


def expected(request: Request, history: Model, first: int, last: int) -> list[kv_pb2.Event]:
    """The history that the watch asks for, with first <= revision <= last."""
    revisions = sorted(revision for revision in history.events if first <= revision <= last)
    return [
        event for revision in revisions for event in history.events[revision]
        if matches(request, event)
    ]  # fmt: skip


# -- the promises ------------------------------------------------------------------------------


def judge_filter(request: Request, responses: Responses, history: Model) -> None:
    """Filter: a watch tells only what was asked for, and nothing from before its start."""
    for event in events_of(responses):
        if not matches(request, event):
            raise Broken("Filter", f"nobody asked for {_name(event)}")
        if event.kv.mod_revision < start_of(request, responses):
            raise Broken("Filter", f"{_name(event)} lies before {start_of(request, responses)}")
        if event.kv.mod_revision not in history.events:
            raise Broken("Filter", f"{_name(event)} never happened")


def judge_ordered(request: Request, responses: Responses, history: Model) -> None:
    """Ordered: no event comes after one of a later revision."""
    last = 0
    for event in events_of(responses):
        if event.kv.mod_revision < last:
            raise Broken("Ordered", f"{_name(event)} came after revision {last}")
        last = event.kv.mod_revision


def judge_unique(request: Request, responses: Responses, history: Model) -> None:
    """Unique: no event comes twice."""
    told: set[tuple[int, bytes, int]] = set()
    for event in events_of(responses):
        identity = (event.kv.mod_revision, event.kv.key, event.type)
        if identity in told:
            raise Broken("Unique", f"{_name(event)} came twice")
        told.add(identity)


def judge_atomic(request: Request, responses: Responses, history: Model) -> None:
    """Atomic: a revision comes whole, in one answer (or in one run of fragments)."""
    last, continued = 0, False
    for response in responses:
        if not response.events:
            continue
        first = response.events[0].kv.mod_revision
        if first == last and not continued:
            raise Broken("Atomic", f"revision {first} was split over two answers")
        if response.fragment and not request.fragment:
            raise Broken("Atomic", f"nobody asked for the fragment that begins at {first}")
        last, continued = response.events[-1].kv.mod_revision, response.fragment
    for revision in {event.kv.mod_revision for event in events_of(responses)}:
        got = [e for e in events_of(responses) if e.kv.mod_revision == revision]
        want = expected(request, history, revision, revision)
        if _told(got) != _told(want):
            raise Broken("Atomic", f"revision {revision}: got {_names(got)} of {_names(want)}")


def judge_resumable(request: Request, responses: Responses, history: Model) -> None:
    """Resumable: a watch begins with what follows its start, or says why it cannot."""
    start, got = start_of(request, responses), events_of(responses)
    if got:
        want = expected(request, history, start, got[0].kv.mod_revision)
        if not want or want[0].kv.mod_revision != got[0].kv.mod_revision:
            what = f"from {start}: began with {_name(got[0])}, not {_names(want[:1])}"
            raise Broken("Resumable", what)
    for number, response in enumerate(responses):
        floor = response.compact_revision
        if not floor:
            continue
        following = seen(request, responses[:number]) + 1
        if not response.canceled or response.events:
            raise Broken("Resumable", f"compacted at {floor}, but it goes on")
        if floor > history.compacted:
            raise Broken("Resumable", f"told of a compaction at {floor}, was {history.compacted}")
        if following >= floor:
            raise Broken("Resumable", f"cancelled for {floor}, though {following} is still there")


def judge_reliable(
    request: Request, responses: Responses, history: Model, complete_to: int | None = None
) -> None:
    """Reliable: up to whatever a client has seen, it was told everything, as it happened."""
    start = start_of(request, responses)
    last = max(seen(request, responses), complete_to or 0)
    want = expected(request, history, start, last)
    got = events_of(responses)
    if _told(got) != _told(want):
        missing = [e for e in want if _identity(e) not in {_identity(g) for g in got}]
        raise Broken("Reliable", f"from {start} to {last}: missing {_names(missing)}")


def judge_bookmarkable(request: Request, responses: Responses, history: Model) -> None:
    """Bookmarkable: after bookmark R nothing <= R comes, before it all of it came, and bookmarks
    never go back. No header runs ahead of the store or behind its own events."""
    start, bookmark = start_of(request, responses), 0
    for number, response in enumerate(responses):
        revision = response.header.revision
        for event in response.events:
            if event.kv.mod_revision <= bookmark:
                raise Broken("Bookmarkable", f"{_name(event)} came after bookmark {bookmark}")
            if event.kv.mod_revision > revision:
                raise Broken("Bookmarkable", f"header {revision} of {_name(event)}")
        if revision > history.revision:
            raise Broken("Bookmarkable", f"header {revision}, store at {history.revision}")
        if not is_bookmark(response):
            continue
        if revision < bookmark:
            raise Broken("Bookmarkable", f"bookmark {revision} after {bookmark}")
        if revision < start - 1:
            raise Broken("Bookmarkable", f"bookmark {revision} would undo the start {start}")
        want, got = expected(request, history, start, revision), events_of(responses[:number])
        if len(got) < len(want):
            raise Broken("Bookmarkable", f"bookmark {revision} before {_names(want[len(got) :])}")
        if got and got[-1].kv.mod_revision > revision:
            raise Broken("Bookmarkable", f"bookmark {revision} after {_name(got[-1])}")
        bookmark = revision


def judge_prev_kv(request: Request, responses: Responses, history: Model) -> None:
    """PrevKV: who asked for it is told what each key was before; who did not is not."""
    for event in events_of(responses):
        revision = event.kv.mod_revision
        before = history.states[revision - 1].get(event.kv.key) if request.prev_kv else None
        if event.HasField("prev_kv"):
            if before is None or event.prev_kv != before:
                raise Broken("PrevKV", f"{_name(event)}: got {event.prev_kv}, was {before}")
        elif before is not None and revision > history.compacted:
            # What was before the compacted revision is gone, and etcd leaves it out.
            raise Broken("PrevKV", f"{_name(event)}: none given, was {before}")


def judge_is_create(request: Request, responses: Responses, history: Model) -> None:
    """IsCreate: create_revision == mod_revision exactly for keys that were absent; and the rest
    of the KeyValue is what was stored."""
    for event in events_of(responses):
        revision, key = event.kv.mod_revision, event.kv.key
        if event.type == kv_pb2.Event.PUT and _created(event) == (
            key in history.states[revision - 1]
        ):
            raise Broken("IsCreate", f"{_name(event)} has create {event.kv.create_revision}")
        stored = [e.kv for e in history.events[revision] if _identity(e) == _identity(event)]
        if event.kv not in stored:
            raise Broken("IsCreate", f"{_name(event)} is {event.kv}, stored was {stored}")


def _created(event: kv_pb2.Event) -> bool:
    return event.type == kv_pb2.Event.PUT and event.kv.create_revision == event.kv.mod_revision


def _identity(event: kv_pb2.Event) -> tuple[int, bytes, int]:
    return event.kv.mod_revision, event.kv.key, event.type


def _told(events: Sequence[kv_pb2.Event]) -> list[tuple[int, bytes, int]]:
    """What was told, in the order of telling: within a revision that of its operations."""
    return [_identity(event) for event in events]


def _name(event: kv_pb2.Event) -> str:
    kind = "delete" if event.type == kv_pb2.Event.DELETE else "put"
    return f"{kind} {event.kv.key!r}@{event.kv.mod_revision}"


def _names(events: Sequence[kv_pb2.Event]) -> str:
    return "[" + ", ".join(_name(event) for event in events) + "]"
