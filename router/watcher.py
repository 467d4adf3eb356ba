"""One watch as a value, and the bytes of its events.

What it is: what a watcher asked for and how far it has got; the encoding of commits for all
watchers of one kind at once. What it is not: streams (`session.py`), release (`merge.py`) or the
question which watchers a commit concerns (`groups.py`).

Words: *synced*: the watcher is in a group of its feed and gets what the feed releases; otherwise
it is *catching up* from the log, from `next` on. A *group* shares (span, options).

Invariants:
- inv07: `next` only grows; an event is sent once, if its revision >= next, and moves it on;
- a revision's events are never split over two messages (etcd Atomic), except into fragments
  for a client that asked for them.

Worked example: watchers of one span and the same options share one encoded payload; their messages
differ in the watch_id alone, and those of equal id (each the first of its stream) are one object.

Tested in tests/unit/router/test_watcher.py.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Final, NamedTuple

from kubebraid.base.keyspace import KeyRange
from kubebraid.base.limits import MESSAGE_BYTES_MAX, WATCH_BYTES_MAX, WATCH_EVENTS_MAX
from kubebraid.base.record import Commit, Event
from kubebraid.base.revision import Revision
from kubebraid.proto import kvwire, watchwire
from kubebraid.proto.kvwire import Header

if TYPE_CHECKING:
    from .merge import Feed
    from .session import Session


FRAME_BYTES_MAX: Final = 6  # tag and length of one event of up to 512 MiB
FRAGMENT_BYTES_MAX: Final = MESSAGE_BYTES_MAX - 256  # etcd's limit; room for header and flags


class Options(NamedTuple):
    """What decides the bytes of a watcher's events."""

    span: KeyRange
    prev_kv: bool
    no_put: bool
    no_delete: bool
    fragment: bool = False

    def wants(self, event: Event) -> bool:
        """Whether the filters let it pass; the span is checked by the index."""
        return not (self.no_delete if event.deleted else self.no_put)


class Request(NamedTuple):
    """A WatchCreateRequest that passed its checks. `start` 0 is "from now on"."""

    options: Options
    start: Revision
    progress_notify: bool


class Watcher:
    """One watch of one stream."""

    __slots__ = (
        "feed",
        "id",
        "next",
        "options",
        "progress_notify",
        "quiet",
        "session",
        "start",
        "synced",
    )

    def __init__(
        self, session: Session, watch_id: int, request: Request, now: Revision, feed: Feed
    ) -> None:
        """`now`: the newest revision, behind which a watch without a start begins."""
        self.session = session
        self.id = watch_id
        self.options = request.options
        self.start = request.start
        self.next = request.start or now + 1
        self.feed = feed
        self.progress_notify = request.progress_notify
        self.quiet = True  # whether nothing was sent since the last progress tick
        self.synced = False

    def advance(self, sent: Revision) -> None:
        """Everything up to `sent` was handed over."""
        assert sent >= self.next - 1, (sent, self.next)
        self.next = sent + 1


class Piece:
    """Encoded events, ready for a message: of whole revisions, or a fragment of them.

    `fragment`: more of the same revisions follows in the next piece.
    """

    __slots__ = ("_messages", "fragment", "last", "payload")

    def __init__(self, last: Revision, payload: bytes, fragment: bool = False) -> None:
        self.last = last
        self.payload = payload
        self.fragment = fragment
        self._messages: dict[int, bytes] = {}

    def message(self, header: Header, watch_id: int) -> bytes:
        """The whole response for the watches of this id; `header` is the router's one."""
        found = self._messages.get(watch_id)
        if found is None:
            found = self._messages[watch_id] = watchwire.events(header, self, watch_id)
        return found


def encode(commits: Iterable[Commit], options: Options) -> list[Piece]:
    """The matching events of `commits` in messages of bounded size."""
    pieces: list[Piece] = []
    parts: list[bytes] = []
    size = 0
    last = 0
    for commit in commits:
        matching = [
            kvwire.event(event, with_previous=options.prev_kv)
            for event in commit.events
            if options.span.contains(event.key) and options.wants(event)
        ]
        if not matching:
            continue
        weight = sum(map(len, matching))
        too_many = len(parts) + len(matching) > WATCH_EVENTS_MAX
        # Fragments bound the messages themselves, wherever revisions end.
        too_large = size + weight > WATCH_BYTES_MAX and not options.fragment
        if parts and (too_many or too_large):
            pieces += _pieces(last, parts, options.fragment)
            parts, size = [], 0
        parts += matching
        size += weight
        last = commit.revision
    return pieces + _pieces(last, parts, options.fragment)


def _pieces(last: Revision, parts: Sequence[bytes], fragment: bool) -> list[Piece]:
    """One message, or, for a client that asked for it, fragments below the request limit."""
    if not parts:
        return []
    runs: list[list[bytes]] = [[]]
    size = 0
    for part in parts:
        if fragment and runs[-1] and size + len(part) >= FRAGMENT_BYTES_MAX:
            runs.append([])
            size = 0
        runs[-1].append(part)
        size += len(part) + FRAME_BYTES_MAX
    return [
        Piece(last, kvwire.watch_events(run), fragment=number < len(runs))
        for number, run in enumerate(runs, start=1)
    ]
