"""A link between two roles in one process: bytes both ways, delayed and cut as a test says.

What it is: both ends of a `base.links.Link` without a network. What it is not: the roles, a clock,
or the real connections (proto/links).

Words: *near* is the router's end, *far* the shard's; what was sent and not delivered is *on its
way*.

Invariants: as base/links has them: messages arrive whole, in order, at most once; after `closed`
none arrives; what is sent on a closed link is dropped.

Worked example: `pair.open()`, the client flushes, `pair.to_far()` hands its message to the service;
`pair.cut(late=1)` closes the near end first, and the far end still receives one message.
"""

from __future__ import annotations

from collections import deque
from typing import Final

from kubebraid.base.links import LinkUser, Peer

NEAR: Final = Peer("router", "near", 1)
FAR: Final = Peer("shard", "far", 1)


class End:
    """One end. Implements Link."""

    def __init__(self, peer: Peer) -> None:
        self.peer = peer
        self.sent: deque[tuple[int, bytes]] = deque()
        self.alive = True
        self.ended = False  # by the role that holds it
        self.backlog = 0  # bytes that a test pretends to be waiting too

    def send(self, kind: int, body: bytes) -> None:
        assert 0 <= kind < 1 << 16
        if self.alive:
            self.sent.append((int(kind), bytes(body)))

    def pending_bytes(self) -> int:
        return self.backlog + sum(len(body) for _, body in self.sent)

    def close(self) -> None:
        self.ended = True


class Pair:
    """The links between a router's client and a shard's service, one after the other."""

    def __init__(self, near: LinkUser, far: LinkUser) -> None:
        self._near_user = near
        self._far_user = far
        self.near: End | None = None
        self.far: End | None = None

    def open(self) -> None:
        assert self.near is None
        self.near, self.far = End(FAR), End(NEAR)
        self._far_user.opened(self.far)
        self._near_user.opened(self.near)

    @property
    def busy(self) -> bool:
        """Whether something is on its way."""
        return bool(self.near and self.near.sent) or bool(self.far and self.far.sent)

    def to_far(self, count: int | None = None) -> bool:
        """So many of the router's messages arrive; None: all there are. Answers whether any did."""
        if self.near is None or self.far is None:
            return False
        return _deliver(self.near, self.far, self._far_user, count)

    def to_near(self, count: int | None = None) -> bool:
        """So many of the shard's messages arrive; None: all there are. Answers whether any did."""
        if self.near is None or self.far is None:
            return False
        return _deliver(self.far, self.near, self._near_user, count)

    def cut(self, late: int = 0) -> None:
        """The link ends. The router hears it at once, the shard after `late` more messages."""
        near, far = self.near, self.far
        assert near is not None
        assert far is not None
        self.near = self.far = None
        near.alive = False
        self._near_user.closed(near)
        _deliver(near, far, self._far_user, late)
        far.alive = False
        self._far_user.closed(far)


def _deliver(sender: End, receiver: End, user: LinkUser, count: int | None) -> bool:
    due = len(sender.sent) if count is None else min(count, len(sender.sent))
    for _ in range(due):
        user.received(receiver, *sender.sent.popleft())
    return due > 0
