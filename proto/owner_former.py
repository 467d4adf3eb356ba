"""Writes that a shard's former process still has to answer, while its successor's link is open.

What it is: what a hand-over leaves in flight. What it is not: a way to ask the former anything; it
has been replaced, and says of each write that it did it, or surely not (shard/writer.py, `retire`).

Invariants: each write is answered once: by the former's link, or as OUTCOME_UNKNOWN_REPLY when that
is lost; nothing else that it says counts any more.

Worked example: a put is on its way into TiKV when shard-2's next process takes the store. Its
transaction is refused, which the former process tells some milliseconds after the router has
reached the next one: the put is tried again there, and its client sees no error.

Tested in tests/unit/proto/test_shard_links.py.
"""

from __future__ import annotations

from collections.abc import Callable

from kubebraid.base import errors
from kubebraid.base.errors import RequestRefused
from kubebraid.base.links import Link
from kubebraid.base.ports import WriteReply

from .owner_answers import decode_answers
from .owner_wire import Joiner, Malformed, OwnerKind

Writes = dict[int, tuple[object, Callable[[WriteReply], None]]]


class Former:
    """A link, if there is one, and the writes that wait for an answer on it."""

    def __init__(self) -> None:
        self.link: Link | None = None
        self._writes: Writes = {}
        self._joiner = Joiner()

    def follow(self, link: Link, writes: Writes, joiner: Joiner) -> None:
        """A process was replaced; the one before it is not waited for any more. `joiner`: has what
        came of a message that is not whole."""
        self.lost()
        self.link, self._writes, self._joiner = link, writes, joiner

    @property
    def waited_for(self) -> bool:
        return bool(self._writes)

    def received(self, kind: int, body: bytes) -> None:
        whole = self._joiner.take(kind, body)
        if whole is None or kind != OwnerKind.ANSWERS:
            return
        try:
            arrived = decode_answers(whole)
        except Malformed:
            self.lost()
            return
        for number, revision, answer in arrived.writes:
            if number in self._writes:
                tag, done = self._writes.pop(number)
                done(WriteReply(tag, revision, answer, None))
        for number, why in arrived.refused:
            self._refuse(number, why)

    def lost(self) -> None:
        """It says nothing any more."""
        self.link = None
        for number in list(self._writes):
            self._refuse(number, errors.OUTCOME_UNKNOWN_REPLY)

    def _refuse(self, number: int, why: RequestRefused) -> None:
        if number in self._writes:
            tag, done = self._writes.pop(number)
            done(WriteReply(tag, 0, b"", why))
