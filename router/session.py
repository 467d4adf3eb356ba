"""One Watch stream: its watchers by id, and what it says to its client.

What it is: the state of a stream as etcd's serverWatchStream has it. What it is not: the decision
what to release (`merge.py`) or how messages travel (the edge).

Invariants:
- a watch id names one live watcher of the stream; ids given by us rise from 0 (etcd nextID);
- inv09: a progress mark goes through the same queue as events, after all events at or below it, and
  progress never falls;
- a watcher whose start lies ahead, or that is catching up, holds back the stream's progress.

Worked example: watchers 0 and 1 are synced and everything up to 12 was released: `progress(12)`
sends one message with watch_id -1 and header revision 12.

Source: etcd server/etcdserver/api/v3rpc/watch.go. Tested in tests/unit/router/test_session.py.
"""

from __future__ import annotations

from collections.abc import Callable

from kubebraid.base.revision import Revision
from kubebraid.proto import watchwire
from kubebraid.proto.kvwire import Header

from .watcher import Piece, Watcher

DUPLICATE_ID = "mvcc: duplicate watch ID provided on the WatchStream"
EMPTY_RANGE = "mvcc: watcher range is empty"


class Session:
    """The watchers of one stream. `send` queues a message on it, in order."""

    def __init__(
        self, header: Header, send: Callable[[bytes], None], slow: Callable[[], bool]
    ) -> None:
        self._header = header
        self._send = send
        self.slow = slow
        self.watchers: dict[int, Watcher] = {}
        self.stalled: dict[Watcher, None] = {}  # wait until the client has read on
        self.closed = False
        self.asked: list[Revision] = []  # progress requests that wait for the release rule
        self._next_id = 0
        self._progress: Revision = 0
        self._shown: Revision = 0  # the newest revision of which the stream has shown an event

    # -- ids -----------------------------------------------------------------------------------

    def choose_id(self, wanted: int) -> int | None:
        """The id of a new watch; None if the client's choice is taken."""
        if wanted:
            return None if wanted in self.watchers else wanted
        while self._next_id in self.watchers:
            self._next_id += 1
        chosen = self._next_id
        self._next_id += 1
        return chosen

    # -- messages ------------------------------------------------------------------------------

    def created(self, watch_id: int, revision: Revision) -> None:
        self._send(watchwire.created(self._header, revision, watch_id))

    def refused(self, revision: Revision, reason: str) -> None:
        self._send(watchwire.refused(self._header, revision, reason))

    def canceled(self, watch_id: int, revision: Revision) -> None:
        self._send(watchwire.canceled(self._header, revision, watch_id))

    def compacted(self, watch_id: int, floor: Revision) -> None:
        self._send(watchwire.compacted(self._header, watch_id, floor))

    def events(self, watcher: Watcher, piece: Piece) -> None:
        """Send one piece and move the watcher past it."""
        assert piece.last >= watcher.next, "sent once"
        if not piece.fragment:
            watcher.advance(piece.last)
        watcher.quiet = False
        self._shown = max(self._shown, piece.last)
        self._send(piece.message(self._header, watcher.id))

    # -- progress ------------------------------------------------------------------------------

    def mark_for(self, asked: Revision) -> Revision:
        """The revision that answers a request made at `asked`: not below what was shown, or the
        clients of the stream's other watches would go back behind it."""
        return max(asked, self._shown, self._progress)

    def may_progress(self, revision: Revision) -> bool | None:
        """Whether a mark at `revision` may be sent: True now, None later, False never.

        etcd progressIfSync: every watcher synced, none with a start ahead; no watcher, no answer.
        """
        if not self.watchers:
            return False
        for watcher in self.watchers.values():
            if not watcher.synced or revision < watcher.start:
                return False
            if watcher.feed.bound() < revision:
                return None
            assert not watcher.feed.holds(revision), "what a mark covers was sent before it (inv09)"
        return True

    def answer_asked(self) -> None:
        """Answer the requests whose time has come; forget those that get no answer."""
        while self.asked:
            revision = self.mark_for(self.asked[0])
            verdict = self.may_progress(revision)
            if verdict is None:
                return
            self.asked.pop(0)
            if verdict:
                self.progress(revision)

    def progress(self, revision: Revision) -> None:
        """One mark for all watchers of the stream."""
        assert revision >= self._progress, "progress never falls (inv09)"
        self._progress = revision
        self._send(watchwire.progress(self._header, revision, watchwire.BROADCAST_ID))

    def tick(self) -> None:
        """The periodic mark of watchers that asked for it and got nothing since the last one."""
        for watcher in self.watchers.values():
            if not watcher.progress_notify:
                continue
            bound = watcher.feed.bound()
            due = watcher.quiet and watcher.synced and watcher.start <= bound
            if due and watcher.next - 1 <= bound:
                self._send(watchwire.progress(self._header, bound, watcher.id))
                self._shown = max(self._shown, bound)
            watcher.quiet = True
