"""What a router has to say to a shard: packed by turn, numbered, sent on the link there is.

What it is: the outgoing half of `owner_client.py`, and who waits for the answers. What it is not:
the port's methods, or what comes in.

Invariants:
- a number is never used twice, whatever becomes of links;
- nothing is packed while there is no link: whoever asks is refused at once;
- a message leaves at the end of the turn, or when OWNER_MESSAGE_BYTES are packed.

Worked example: a turn packs 60 puts and a list; `flush` sends one message with numbers 1 to 61.

Tested in tests/unit/proto/test_owner_client.py.
"""

from __future__ import annotations

from collections.abc import Callable

from kubebraid.base import errors
from kubebraid.base.errors import RequestRefused
from kubebraid.base.limits import OWNER_BACKLOG_BYTES_MAX, OWNER_CALLS_MAX, OWNER_MESSAGE_BYTES
from kubebraid.base.links import Link

from . import owner_wire
from .owner_former import Writes
from .owner_pending import Pending
from .owner_wire import Calls, OwnerKind, encode_calls


class Outbox:
    """The calls of the turn, and those of the link that wait for answers."""

    def __init__(self) -> None:
        self.link: Link | None = None
        self.calls = Calls()
        self.pending = Pending()
        self.parting = False  # another process has taken the shard: answers come, calls wait
        self._packed = 0
        self._number = 0

    def part(self) -> None:
        """The shard is another process's by now: what was asked is answered by this link still, or
        lost with it; what comes is refused as definite until the other one's is open."""
        self.parting = True

    def is_parting(self) -> bool:
        """Whether the link is still that of the process before."""
        return self.link is not None and self.parting

    def refusal(self) -> RequestRefused | None:
        """Why a call cannot be taken now; None if it can."""
        link = self.link
        if link is None or self.parting:
            return errors.OWNER_AWAY
        if len(self.pending) >= OWNER_CALLS_MAX or link.pending_bytes() > OWNER_BACKLOG_BYTES_MAX:
            return errors.TOO_MANY_REQUESTS
        return None

    def numbers(self, count: int) -> range:
        """Names for so many calls."""
        first = self._number + 1
        self._number += count
        return range(first, first + count)

    def packed(self, size: int) -> None:
        """So many bytes more are in the message."""
        self._packed += size
        if self._packed >= OWNER_MESSAGE_BYTES:
            self.flush()

    def flush(self) -> None:
        """Send what is packed."""
        if self.link is not None and not self.calls.empty():
            calls = self._emptied()
            owner_wire.send(self.link, OwnerKind.CALLS, encode_calls(calls))

    def lose(self) -> None:
        """The link is gone: everybody who waits is told."""
        self._lose(self.pending.lost)

    def leave(self) -> Writes:
        """Another process's link takes its place: the writes that the former has been sent are its
        own to answer; everybody else who waits is told."""
        left: Writes = {}

        def tell(unsent: frozenset[int]) -> None:
            left.update(pending.left(unsent))
            pending.lost(unsent)

        pending = self.pending
        self._lose(tell)
        return left

    def _lose(self, tell: Callable[[frozenset[int]], None]) -> None:
        self.link = None
        calls = self._emptied()
        unsent = frozenset([*calls.write_numbers, *(number for number, _ in calls.across)])
        self.pending = Pending()
        tell(unsent)

    def _emptied(self) -> Calls:
        calls, self.calls = self.calls, Calls()
        self._packed = 0
        return calls
