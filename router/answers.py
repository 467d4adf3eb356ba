"""Answering a call: status and header in one place.

What it is: how a refusal and a body leave through an edge. What it is not: what they say.

Tested through the services.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from kubebraid.base import errors
from kubebraid.base.errors import RequestRefused
from kubebraid.base.ports import PointReply, WriteReply
from kubebraid.proto.kvwire import Header, point_body
from kubebraid.proto.server import Edge


class Desk(Protocol):
    """Where a call that surely did nothing may be laid, to be tried again."""

    def again(self, caller: Caller, refused: RequestRefused) -> RequestRefused | None:
        """None: it will be tried again. Otherwise what the client is told."""


class Caller:
    """One call that waits for its answer. With a desk it may be tried again, until a part of its
    answer was sent."""

    __slots__ = ("call_id", "desk", "edge", "header", "method", "payload", "until_ms")

    def __init__(
        self,
        edge: Edge,
        call_id: int,
        header: Header,
        desk: Desk | None = None,
        call: tuple[int, bytes] = (0, b""),
    ) -> None:
        self.edge = edge
        self.call_id = call_id
        self.header = header
        self.desk = desk
        self.method, self.payload = call
        self.until_ms = 0  # of a call on the desk: how long it is tried

    def respond(self, revision: int, *body: bytes) -> None:
        """The parts of the body are joined here, once: a list's are large."""
        self.edge.respond(self.call_id, b"".join((self.header.field(revision), *body)))

    def fail_newest(self, refused: RequestRefused) -> None:
        """Of a read that names no revision: a floor that has overtaken its sample is no refusal,
        it takes another sample (M4)."""
        overtaken = refused is errors.COMPACTED and self.desk is not None
        self.fail(errors.OTHER_MAP if overtaken else refused)

    def fail(self, refused: RequestRefused) -> None:
        if self.desk is not None:
            told = self.desk.again(self, refused)
            if told is None:
                return
            refused = told
        self.edge.fail(self.call_id, int(refused.code), refused.message)


def answer_write(reply: WriteReply) -> None:
    """The end of a write: its tag is the Caller."""
    caller = reply.tag
    assert isinstance(caller, Caller)
    if reply.error is not None:
        caller.fail(reply.error)
    else:
        caller.respond(reply.revision, reply.body)


def answer_point(header: bytes, reply: PointReply) -> None:
    """The end of a Get; `header` is the whole field 1 of the answer."""
    caller = reply.tag
    assert isinstance(caller, Caller)
    if reply.error is not None:
        caller.fail_newest(reply.error)
    else:
        raw = None if reply.row is None else reply.row.raw
        caller.edge.respond(caller.call_id, header + point_body(raw))


def after_all(count: int, done: Callable[[], None]) -> Callable[[], None]:
    """A callback that calls `done` when it was called `count` times: once by each owner."""
    assert count >= 1, "nobody would ever call back"
    waiting = count

    def one() -> None:
        nonlocal waiting
        waiting -= 1
        if not waiting:
            done()

    return one
