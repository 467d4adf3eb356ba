"""What a role sees of a connection to another process: messages out, messages in, the end.

What it is: the Protocols between the roles and whatever carries their messages: authenticated
connections between processes (`proto/links`), or the simulator's network. What it is not: an
encoding of messages (`proto/internal`), a socket, or a promise that a message arrives.

Words: a *link* is one live connection; *incarnation*: a number that a process draws at its start,
so that a peer can tell it from the one before it.

Invariants:
- messages of one link arrive whole, in order, each at most once; after `closed` none arrives;
- what was sent on a link that closed may have arrived or not: whoever needs to know asks again;
- all calls happen on the loop's thread; `send` never blocks and never calls back.

Worked example: a router's link to shard-1 is `opened`; it sends (SUBMIT, bytes), the shard answers
(WRITE_REPLIES, bytes), which is `received`; the shard dies: `closed`, and a new link follows.

Tested in tests/unit/proto/links, and through every role that uses it.
"""

from __future__ import annotations

from typing import NamedTuple, Protocol


class Peer(NamedTuple):
    """Who is at the other end. `role`: "coordinator", "shard", "router" or "host"."""

    role: str
    name: str
    incarnation: int


class Link(Protocol):
    """One live connection."""

    @property
    def peer(self) -> Peer: ...

    def send(self, kind: int, body: bytes) -> None:
        """Queue a message; it leaves at the end of the turn. Dropped if the link has closed."""

    def pending_bytes(self) -> int:
        """What was sent and not yet taken by the network."""

    def close(self) -> None:
        """End it; `closed` follows, later, once."""


class LinkUser(Protocol):
    """A role's end of its links."""

    def opened(self, link: Link) -> None: ...

    def received(self, link: Link, kind: int, body: bytes) -> None: ...

    def closed(self, link: Link) -> None: ...


class Closable(Protocol):
    """What keeps links coming."""

    def close(self) -> None:
        """No more of them. A dialer's link ends with it; those that a listener took stay."""


class Mesh(Protocol):
    """How a process reaches others, as whoever it is."""

    def dial(self, address: str, user: LinkUser) -> Closable:
        """Keep one link to `address`, again and again, until it is closed."""

    def listen(self, address: str, user: LinkUser) -> Closable:
        """Take links of others."""
