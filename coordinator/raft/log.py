"""What the coordinator sees of Raft: commands in, the same commands applied on every member.

What it is: the Protocols on both sides of the log, and its errors. What it is not: Raft (`core`),
or a promise of leadership: `leader_name` is a hint, and two members may be named at one instant.

Words: a *command* is bytes that only the machine reads; *index*: its place in the log; a *barrier*
is a replicated command that does nothing; a *member* is one of 1, 3 or 5 fixed names.

Invariants (inv22):
- every member applies the same commands in the order of their indexes, each at most once, over all
  crashes and repetitions; one that `done` answered was applied exactly once, durably in a quorum;
- `done` is called once, from `turn`, never from inside `submit` or Raft;
- None answers nothing: the command may be applied, now, later or never;
- a barrier answered True: everything committed before it was asked is applied here, and whatever
  this member submitted before it, also as an earlier process, is applied here or never will be.

Worked example: submit(b"renew") on b reaches the leader a, is durable on a and b, is applied on a,
then on b, and b's `done` gets what b's machine answered. If a dies in between, b sends it once
more to c; should a have committed it, c's log holds it twice and every machine sees it once.

Tested in tests/unit/coordinator/raft, tests/property/test_raft.py.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, NamedTuple, Protocol

from kubebraid.base.errors import KubeBraidError, Refused

FAILED_ANSWER: Final = b"\xff\xffraft: the machine failed"
"""What a command is answered on which the machine raised: the same on every member."""


class Machine(Protocol):
    """The state that the log drives. Nothing but the commands may change it."""

    def apply(self, index: int, command: bytes) -> bytes:
        """Carry out one command. Total and deterministic: a refusal is an answer.

        An exception is a bug; it is logged and answered FAILED_ANSWER on every member.
        """

    def snapshot(self) -> bytes:
        """The whole state, at most RAFT_SNAPSHOT_BYTES_MAX."""

    def restore(self, snapshot: bytes) -> None:
        """Become what `snapshot` said, whatever was here before."""


class Standing(NamedTuple):
    """A member's place in the log, for operators. `waiting`: it has no log until a peer refills it;
    `leader`: empty if nobody is known; `applied`: an index."""

    waiting: bool
    leader: str
    term: int
    applied: int


class ReplicatedLog(Protocol):
    """A member's end of the log. All calls on one thread."""

    def submit(self, command: bytes, done: Callable[[bytes | None], None]) -> None:
        """Replicate and apply. `done(None)`: unknown, after RAFT_OUTCOME_MS_MAX at the latest."""

    def barrier(self, done: Callable[[bool], None]) -> None:
        """A replicated no-op. `done(False)` after RAFT_OUTCOME_MS_MAX without one."""

    def leader_name(self) -> str | None:
        """Who leads, as far as known here: a hint for placing work, never for safety."""

    def turn(self) -> bool:
        """A bounded amount of work. Answers: can more be done right now?

        Raises RaftFailed when this member must not go on; its process then ends.
        """

    def next_deadline_ms(self) -> int | None:
        """When to call `turn` although nothing happened."""

    def close(self) -> None:
        """Stop. Waiting submissions are answered None first."""


class QueueFull(Refused):
    """RAFT_QUEUE_MAX submissions wait already."""

    hint = "slow down; wait for the outcome of earlier submissions"


class IdentityRefused(Refused):
    """The data directory belongs to another cluster, member or membership."""

    hint = "check --name, the list of coordinators and the data directory"


class RaftFailed(KubeBraidError):
    """This member cannot go on: its disk failed, or its log contradicts a leader's."""

    hint = "restart the process; if it fails again, empty the data directory to have it refilled"


class JournalDamaged(RaftFailed):
    """A file holds what no crash can leave behind."""

    hint = "the disk lost or changed data: empty the data directory to have this member refilled"
