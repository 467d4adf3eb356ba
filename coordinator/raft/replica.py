"""The replicated state of one member: the machine and the sessions, moved by the log alone.

What it is: what happens to an envelope when it is committed, and the state as an image. What it is
not: the log, or the lane of those who wait.

Invariants:
- an envelope that stands in the log twice reaches the machine once (rows 7, 8);
- an exception of the machine is FAILED_ANSWER on every member (row 6): it is a bug, but a
  deterministic one. What is this member's alone (memory, an envelope of a newer version) is raised,
  and ends the member;
- PySyncObj swallows what loading an image raises: `failed` keeps it.

Worked example: the log says a's (start 1, sequence 4) twice, at 9 and 12: the machine applies index
9, index 12 finds its id in the sessions.

Tested in tests/unit/coordinator/raft/test_replica.py.
"""

from __future__ import annotations

import logging

from . import sessions
from .journal_codec import Entry
from .log import FAILED_ANSWER, Machine
from .sessions import Kind, Session, Sessions, Verdict
from .snapshot import Image

logger = logging.getLogger("kubebraid.raft")


class Replica:
    """Of one member."""

    def __init__(self, cluster: int, machine: Machine) -> None:
        self._cluster = cluster
        self._machine = machine
        self._sessions = Sessions()
        self.failed: BaseException | None = None

    def last(self, origin: str) -> Session | None:
        """What became of the last submission of a member."""
        return self._sessions.last(origin)

    def applied(self, index: int, data: bytes) -> None:
        """A committed envelope. Raises UnknownVersion, MemoryError."""
        try:
            envelope = sessions.decode(data)
        except sessions.UnknownVersion:
            raise
        except ValueError:
            logger.exception("entry %d is no envelope; every member skips it", index)
            return
        if self._sessions.judge(envelope) is Verdict.FRESH:
            barrier = envelope.kind is Kind.BARRIER
            answer = b"" if barrier else self._answer(index, envelope.command)
            self._sessions.settle(envelope, answer)

    def _answer(self, index: int, command: bytes) -> bytes:
        try:
            return self._machine.apply(index, command)
        except MemoryError:
            raise  # of this member alone: the others applied it
        except Exception:
            logger.exception("the machine failed at %d: a bug, answered alike everywhere", index)
            return FAILED_ANSWER

    def image(self, previous: Entry, last: Entry) -> Image:
        """The state now; `last` is the entry that was applied last."""
        said, machine = self._sessions.encode(), self._machine.snapshot()
        return Image(self._cluster, previous, last, said, machine)

    def take(self, image: Image) -> None:
        """Become what the image says."""
        try:
            self._sessions.restore(image.sessions)
            self._machine.restore(image.machine)
        except Exception as error:
            self.failed = error
            raise
