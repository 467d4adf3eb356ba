"""Auto-compaction at work: a part of the loop that asks for what its policy proposes.

What it is: the timer of a policy, and a client of the router: a proposal becomes a Compact call
like any other, so that the floor is checked and raised in one place. What it is not: the decision
(`coordinator/autocompact.py`) or the removal (`shard/compaction.py`).

Invariants: a compaction that somebody else was faster with counts as done; one that is refused is
proposed again at a later tick.

Worked example: the policy proposes 7; the router gets `(CALL, 1, Compact, revision=7)` and answers
`respond(1, ..)`, or fails it with OUT_OF_RANGE because a kube-apiserver has compacted at 9.

Tested in tests/unit/cli/test_autocompactor.py.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from typing import Final

from kubebraid.base import errors
from kubebraid.base.revision import Revision
from kubebraid.base.seams import Clock
from kubebraid.coordinator.autocompact import Policy
from kubebraid.proto.kvwire import integer
from kubebraid.proto.server import METHOD_BY_PATH, Edge, EdgeEvent, Kind

from .logs import fields

COMPACT: Final = METHOD_BY_PATH["/etcdserverpb.KV/Compact"]
Handle = Callable[[Edge, Iterable[EdgeEvent]], None]

_log = logging.getLogger("kubebraid.compaction")


class AutoCompactor:
    """Implements Part, and Edge for the answers to its own calls."""

    def __init__(
        self, policy: Policy, clock: Clock, revision: Callable[[], Revision], handle: Handle
    ) -> None:
        """`revision` tells the newest one; `handle` is the router's."""
        self._policy = policy
        self._clock = clock
        self._revision = revision
        self._handle = handle
        self._calls = 0
        self._asked: dict[int, Revision] = {}  # call id -> what it compacts at

    # -- Part

    def turn(self) -> bool:
        now_ms = self._clock.now_ms()
        if now_ms < self._policy.tick_ms:
            return False
        proposed = self._policy.propose(now_ms, self._revision())
        if proposed is None:
            return False
        self._calls += 1
        self._asked[self._calls] = proposed
        request = integer(1, proposed)  # CompactionRequest.revision
        self._handle(self, [EdgeEvent(Kind.CALL, self._calls, COMPACT, request)])
        return True

    def next_deadline_ms(self) -> int | None:
        return self._policy.tick_ms

    # -- Edge

    def respond(self, call_id: int, payload: bytes) -> None:
        self._done(call_id)

    def fail(self, call_id: int, code: int, message: str) -> None:
        if message == errors.COMPACTED.message:
            self._done(call_id)
            return
        proposed = self._asked.pop(call_id)
        details = fields(revision=proposed, reason=message)
        # A drain refuses everything that is new: no news.
        level = logging.DEBUG if message == errors.STOPPED.message else logging.WARNING
        _log.log(level, "auto-compaction was refused, to be tried again", extra=details)

    def _done(self, call_id: int) -> None:
        proposed = self._asked.pop(call_id)
        self._policy.done(proposed, self._clock.now_ms())
        _log.debug("auto-compaction at a revision is done", extra=fields(revision=proposed))

    def send(self, call_id: int, payload: bytes) -> None:
        raise AssertionError("Compact is unary")

    def pending_bytes(self, call_id: int) -> int:
        return 0

    def end(self, call_id: int) -> None:
        raise AssertionError("Compact is unary")
