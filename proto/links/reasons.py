"""Every way in which a link ends, in the words that the log uses.

What it is: one table. What it is not: something a peer is told; who has not proved itself learns
nothing from us, and a peer of ours sees a connection that closes.

Tested in tests/unit/proto/links: each reason is shown there by what brings it about.
"""

from __future__ import annotations

from enum import StrEnum


class Reason(StrEnum):
    """Why."""

    # the handshake
    STRANGE = "what came is no greeting of a link"
    VERSION = "the other side speaks no version of links that we speak"
    MIRROR = "the other side claims our own end of the link"
    SCHEME = "one side has a cluster secret and the other has none"
    SECRET = "the other side does not know the cluster secret"
    EAGER = "the other side sent more than the handshake asks for"
    IDENTITY = "the other side's identity is malformed"
    CLUSTER = "the other side belongs to another cluster"
    LATE = "the handshake took too long"
    SHUNNED = "the other side ended the handshake: does it hold the same cluster secret?"
    # frames
    MAC = "a frame's MAC is wrong"
    COUNTER = "a frame is missing, repeated or out of order"
    LENGTH = "a frame is longer than any may be"
    STUCK = "a frame took too long to arrive"
    # the connection
    ENDED = "the other side ended the connection"
    NETWORK = "the network failed"
    SILENT = "nothing was heard for too long"
    BACKLOG = "too much waits to be sent"
    CROWDED = "too many handshakes at once"
    CLOSED = "closed by us"

    def sentence(self, detail: str) -> str:
        """For the log; `detail` may be empty."""
        return f"{self.value}: {detail}" if detail else self.value


class LinkBroken(Exception):
    """The link cannot go on. Messages sent on it may have arrived or not."""

    definite = False
    hint = "look at the log of both processes; ask again on the next link"

    def __init__(self, reason: Reason, detail: str = "") -> None:
        super().__init__(reason.sentence(detail))
        self.reason = reason
        self.detail = detail
