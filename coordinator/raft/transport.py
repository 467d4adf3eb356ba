"""Raft's messages on links between coordinators, and every check that PySyncObj does not make.

What it is: what stands between `base/links` and a Core: wire to PySyncObj's dicts and back. What it
is not: a dialler. The process dials, the member with the lower name of a pair; should both have,
either link serves, the newest is sent on.

Invariants:
- only links of role "coordinator" and of a member's name are listened to; bytes that are no message
  of ours, or of another cluster, are dropped and counted;
- an acknowledgement or a vote of another term than ours is dropped (row 5), and a member's vote
  counts once a term;
- what we acknowledge was compared entry by entry (`follow`), and a snapshot replaces a log only if
  that log lacks the snapshot's last entry (row 4);
- a forwarded command is one that its sender submitted itself, in a version that we read.

Worked example: b restarts as a follower of a; an acknowledgement that it sent in term 3 arrives at
a, which leads term 5 by now: dropped["stale"] is one more, a's idea of b's log stays as it was.

Tested in tests/unit/coordinator/raft/test_transport.py.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any, Final, NamedTuple

from kubebraid.base.limits import RAFT_BACKLOG_BYTES_MAX, RAFT_COMMAND_BYTES_MAX
from kubebraid.base.links import Link

from . import sessions, snapshot
from .core import Core
from .follow import plan
from .journal import Journal
from .journal_codec import Entry
from .log import JournalDamaged
from .wire import (
    Ack,
    Append,
    Forward,
    Forwarded,
    Header,
    Install,
    Message,
    Refill,
    RefillAsk,
    TimeoutNow,
    Vote,
    VoteAsk,
    WireError,
    decode,
    encode,
)

logger = logging.getLogger("kubebraid.raft")

ROLE: Final = "coordinator"
LINK_KIND: Final = 192  # of all our messages; 192 to 255 are for links between coordinators
_ENVELOPE_BYTES: Final = 512  # at most, beside the command: a name and four numbers


class Running(NamedTuple):
    """A member that has an identity."""

    core: Core
    journal: Journal
    cluster: int


class Transport:
    """A LinkUser for the links between coordinators."""

    def __init__(
        self,
        name: str,
        members: Sequence[str],
        asked: Callable[[str, int], None],
        refilled: Callable[[Refill], None],
    ) -> None:
        """`asked(peer, token)`: a peer wants a refill. `refilled`: we, who do not run, got one."""
        self._links: dict[str, list[Link]] = {m: [] for m in members if m != name}
        self._asked = asked
        self._refilled = refilled
        self._running: Running | None = None
        self._voted: dict[str, int] = {}
        self._ack: int | None = None
        self.dropped: Counter[str] = Counter()

    def run(self, running: Running) -> None:
        """From now on messages of Raft are heard."""
        self._running = running
        for peer, links in self._links.items():
            if links:
                running.core.note_link(peer, True)

    # -- LinkUser --

    def opened(self, link: Link) -> None:
        links = self._links.get(link.peer.name)
        if links is None or link.peer.role != ROLE:
            self.dropped["stranger"] += 1
            return
        links.append(link)
        if self._running is not None and len(links) == 1:
            self._running.core.note_link(link.peer.name, True)

    def closed(self, link: Link) -> None:
        links = self._links.get(link.peer.name, [])
        if link in links:
            links.remove(link)
            if self._running is not None and not links:
                self._running.core.note_link(link.peer.name, False)

    def received(self, link: Link, kind: int, body: bytes) -> None:
        """Raises what stops this member: RaftFailed, Contradiction, OSError."""
        peer = link.peer.name
        if kind != LINK_KIND or link not in self._links.get(peer, []):
            self.dropped["stranger"] += 1
            return
        try:
            header, message = decode(body)
        except WireError as error:
            self._drop("garbled", peer, str(error))
            return
        if isinstance(message, RefillAsk | Refill):
            self._take_refill(peer, message)
        elif self._running is None:
            self.dropped["waiting"] += 1
        elif header.cluster != self._running.cluster:
            self._drop("cluster", peer, f"{header.cluster:x}, ours is {self._running.cluster:x}")
        else:
            self._take(self._running, peer, header.term, message)

    def _drop(self, why: str, peer: str, text: str) -> None:
        self.dropped[why] += 1
        if self.dropped[why] == 1:
            logger.warning("dropped a message of %s: %s: %s (others are counted)", peer, why, text)

    # -- in --

    def _take_refill(self, peer: str, message: RefillAsk | Refill) -> None:
        if isinstance(message, Refill):
            if self._running is None:
                self._refilled(message)
            else:
                self.dropped["refill"] += 1
        elif self._running is not None:
            self._asked(peer, message.token)

    def _take(self, running: Running, peer: str, term: int, message: Message) -> None:
        core = running.core
        match message:
            case Append():
                self._take_append(running, peer, term, message)
            case Install():
                self._take_install(running, peer, term, message)
            case Ack():
                self._take_ack(running, peer, term, message)
            case Vote():
                self._take_vote(core, peer, term)
            case Forward():
                self._take_forward(core, peer, message)
            case VoteAsk() | Forwarded() | TimeoutNow():
                core.deliver(peer, _plain(term, message))
            case RefillAsk() | Refill():
                raise AssertionError("taken before")

    def _take_vote(self, core: Core, peer: str, term: int) -> None:
        if term != core.term or self._voted.get(peer, 0) >= term:
            self.dropped["stale"] += 1
            return
        self._voted[peer] = term
        core.deliver(peer, {"type": "response_vote", "term": term})

    def _take_append(self, running: Running, peer: str, term: int, message: Append) -> None:
        core = running.core
        if term < core.term:
            self.dropped["stale"] += 1
            return
        made = plan(running.journal, core.committed, message)
        anchored = made.message
        self._ack = made.next_index
        try:
            core.deliver(
                peer,
                {
                    "type": "append_entries",
                    "term": term,
                    "commit_index": anchored.commit,
                    "entries": list(anchored.entries),
                    "prevLogIdx": anchored.previous_index,
                    "prevLogTerm": anchored.previous_term,
                },
            )
        finally:
            self._ack = None

    def _take_install(self, running: Running, peer: str, term: int, message: Install) -> None:
        core, journal = running.core, running.journal
        if term < core.term:
            self.dropped["stale"] += 1
            return
        try:
            image = snapshot.decode(message.image)
        except JournalDamaged as error:
            self._drop("garbled", peer, str(error))
            return
        if image.cluster != running.cluster:
            self._drop("cluster", peer, f"a snapshot of {image.cluster:x}")
            return
        last = image.last.index
        base: dict[str, Any] = {"type": "append_entries", "term": term}
        if last <= core.committed or journal.term_at(last) == image.last.term:
            # We have what it holds, and more: giving that up would lose what we acknowledged.
            core.deliver(peer, {**base, "commit_index": min(message.commit, last)})
            self.send(
                peer,
                {
                    "type": "next_node_idx",
                    "next_node_idx": last + 1,
                    "reset": False,
                    "success": True,
                },
            )
            return
        commit = min(message.commit, last)
        core.deliver(
            peer, {**base, "commit_index": commit, "serialized": (message.image, True, True)}
        )

    def _take_ack(self, running: Running, peer: str, term: int, message: Ack) -> None:
        end = running.journal.last_index + 1
        if term != running.core.term or (message.success and message.next_index > end):
            self.dropped["stale"] += 1
            return
        running.core.deliver(
            peer,
            {
                "type": "next_node_idx",
                "next_node_idx": min(message.next_index, end),
                "reset": message.reset,
                "success": message.success,
            },
        )

    def _take_forward(self, core: Core, peer: str, message: Forward) -> None:
        try:
            origin = sessions.decode(message.command[1:]).origin
        except ValueError as error:
            self._drop("garbled", peer, f"forwarded: {error}")
            return
        if origin != peer or len(message.command) > RAFT_COMMAND_BYTES_MAX + _ENVELOPE_BYTES:
            self._drop("garbled", peer, f"{len(message.command)} bytes, submitted by {origin}")
            return
        core.deliver(
            peer,
            {
                "type": "apply_command",
                "command": message.command,
                "request_id": message.request,
            },
        )

    # -- out --

    def send(self, peer: str, message: dict[str, Any]) -> None:
        """A Core's sink: one of PySyncObj's messages."""
        assert self._running is not None
        made = self._made(message)
        if made is not None:
            term = int(message.get("term", self._running.core.term))
            self._put(peer, Header(self._running.cluster, term), made)

    def send_refill(self, peer: str, refill: Refill) -> None:
        assert self._running is not None
        self._put(peer, Header(self._running.cluster, self._running.core.term), refill)

    def ask_refill(self, token: int, turn: int) -> None:
        """Of one connected peer, another one each `turn`."""
        ready = [peer for peer, links in sorted(self._links.items()) if links]
        if ready:
            self._put(ready[turn % len(ready)], Header(0, 0), RefillAsk(token))

    def _put(self, peer: str, header: Header, message: Message) -> None:
        links = self._links[peer]
        if not links:
            self.dropped["unlinked"] += 1
        elif links[-1].pending_bytes() > RAFT_BACKLOG_BYTES_MAX:
            self.dropped["backlog"] += 1
        else:
            links[-1].send(LINK_KIND, encode(header, message))

    def _made(self, said: dict[str, Any]) -> Message | None:
        """None: not worth sending."""
        match said["type"]:
            case "append_entries":
                return self._made_append(said)
            case "next_node_idx":
                wanted = said["next_node_idx"] if self._ack is None else self._ack
                return Ack(wanted, said["reset"], said["success"])
            case "request_vote":
                return VoteAsk(said["last_log_index"], said["last_log_term"])
            case "response_vote":
                return Vote()
            case "apply_command":
                return Forward(said.get("request_id", 0), said["command"])
            case "apply_command_response":
                error, index = said.get("error", 0), said.get("log_idx", 0)
                return Forwarded(said["request_id"], error, index, said.get("log_term", 0))
            case "timeout_now":
                return TimeoutNow()
            case other:
                raise AssertionError(f"PySyncObj sends {other}")

    def _made_append(self, said: dict[str, Any]) -> Message | None:
        assert "transmission" not in said, "an entry larger than a message"
        if "serialized" in said:
            return Install(said["commit_index"], said["serialized"][0])
        if said["prevLogIdx"] is None:
            self.dropped["unanchored"] += 1
            return None
        entries = tuple(Entry(*entry) for entry in said["entries"])
        return Append(said["commit_index"], said["prevLogIdx"], said["prevLogTerm"], entries)


def _plain(term: int, message: VoteAsk | Forwarded | TimeoutNow) -> dict[str, Any]:
    """What PySyncObj itself checks, in its own form."""
    match message:
        case VoteAsk(last_index, last_term):
            said = {"last_log_index": last_index, "last_log_term": last_term}
            return {"type": "request_vote", "term": term, **said}
        case Forwarded(request, error, index, index_term):
            said = {"error": error} if error else {"log_idx": index, "log_term": index_term}
            return {"type": "apply_command_response", "request_id": request, **said}
        case TimeoutNow():
            return {"type": "timeout_now", "term": term}
