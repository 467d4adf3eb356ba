"""Questions to a shard in another process: what takes a number or two and one answer.

What it is: the methods of OwnerPort beside the data path: compaction, hashes, defragmentation,
leases, copies. What it is not: the data path (`owner_client.py`).

Invariants: each is answered once; a compaction is asked again after a lost link until it is
answered, and passes any bound: operators bound it.

Worked example: `keep_alive(7, done)` on a link that is lost before the answer: done(OWNER_AWAY).

Tested in tests/contract/test_owner_port.py, tests/unit/proto/test_owner_client.py.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

from kubebraid.base import errors
from kubebraid.base.errors import RequestRefused
from kubebraid.base.ports import LeaseInfo
from kubebraid.base.reshard import CopyCall, CopyReply, Digest, DigestCall
from kubebraid.base.revision import LeaseId, Revision, TabletId

from .owner_answers import Answer
from .owner_outbox import Outbox
from .owner_pending import Answered
from .owner_reshard import Asking, Told
from .owner_wire import Asked, Question

Removal = tuple[Revision, Callable[[], None] | None]


class Questions:
    """Part of OwnerPort."""

    def __init__(self, outbox: Outbox) -> None:
        self._outbox = outbox
        self._removals: list[Removal] = []  # asked again when there is a link

    def compact(self, floor: Revision, done: Callable[[], None] | None) -> None:
        """Asked again after a lost link, until it is answered."""
        self._ask(Asked.COMPACT, partial(self._removed, (floor, done)), floor)

    def _removed(self, removal: Removal, answer: Answer | RequestRefused) -> None:
        floor, done = removal
        if isinstance(answer, RequestRefused):
            # Of those that nobody waits for the newest says it all.
            self._removals = [other for other in self._removals if other[1] is not None]
            self._removals.append((floor, done))
        elif done is not None:
            done()

    def hash_versions(
        self, floor: Revision, revision: Revision, done: Callable[[int | RequestRefused], None]
    ) -> None:
        self._asked(Asked.HASH, partial(_one, done), floor, revision)

    def defragment(self, done: Callable[[RequestRefused | None], None]) -> None:
        self._asked(Asked.DEFRAGMENT, partial(_nothing, done))

    def lease_info(
        self, lease: LeaseId, done: Callable[[LeaseInfo | RequestRefused | None], None]
    ) -> None:
        def answered(answer: Answer | RequestRefused) -> None:
            if isinstance(answer, RequestRefused):
                done(answer)
            else:
                done(_lease(answer))

        self._asked(Asked.LEASE_INFO, answered, lease)

    def leases(self, done: Callable[[Sequence[LeaseId] | RequestRefused], None]) -> None:
        def answered(answer: Answer | RequestRefused) -> None:
            done(answer if isinstance(answer, RequestRefused) else answer.values)

        self._asked(Asked.LEASES, answered)

    def keep_alive(self, lease: LeaseId, done: Callable[[int | RequestRefused], None]) -> None:
        self._asked(Asked.KEEP_ALIVE, partial(_one, done), lease)

    def lease_join(
        self, lease: LeaseId, guest: str, done: Callable[[int | RequestRefused], None]
    ) -> None:
        self._asked(Asked.LEASE_JOIN, partial(_one, done), lease, name=guest)

    def lease_leave(self, lease: LeaseId, done: Callable[[RequestRefused | None], None]) -> None:
        self._asked(Asked.LEASE_LEAVE, partial(_nothing, done), lease)

    def sample_keys(
        self,
        tablet: TabletId,
        parts: int,
        by_load: bool,
        done: Callable[[tuple[bytes, ...] | RequestRefused], None],
    ) -> None:
        def answered(answer: Answer | RequestRefused) -> None:
            done(answer if isinstance(answer, RequestRefused) else answer.keys)

        self._asked(Asked.SAMPLE_KEYS, answered, tablet, parts, "load" if by_load else "")

    def copy(self, call: CopyCall, done: Callable[[CopyReply | RequestRefused], None]) -> None:
        def told(answer: Told | RequestRefused) -> None:
            assert not isinstance(answer, Digest), "a piece is answered by a piece"
            done(answer)

        self._copy(call, told)

    def digest(self, call: DigestCall, done: Callable[[Digest | RequestRefused], None]) -> None:
        def told(answer: Told | RequestRefused) -> None:
            assert not isinstance(answer, CopyReply), "a sum is answered by a sum"
            done(answer)

        self._copy(call, told)

    def _copy(self, call: Asking, told: Callable[[Told | RequestRefused], None]) -> None:
        outbox = self._outbox
        why = outbox.refusal()
        if why is not None:
            told(why)
            return
        (number,) = outbox.numbers(1)
        outbox.pending.copies[number] = told
        outbox.calls.copies.append((number, call))

    def _asked(
        self, kind: Asked, answered: Answered, first: int = 0, second: int = 0, name: str = ""
    ) -> None:
        why = self._outbox.refusal()
        if why is not None:
            answered(why)
        else:
            self._ask(kind, answered, first, second, name)

    def _ask(
        self, kind: Asked, answered: Answered, first: int = 0, second: int = 0, name: str = ""
    ) -> None:
        outbox = self._outbox
        if outbox.link is None:
            answered(errors.OWNER_AWAY)
            return
        (number,) = outbox.numbers(1)
        outbox.pending.questions[number] = answered
        outbox.calls.questions.append(Question(number, kind, first, second, name))

    def ask_again(self) -> None:
        """There is a link again."""
        removals, self._removals = self._removals, []
        for floor, done in removals:
            self.compact(floor, done)


def _lease(answer: Answer) -> LeaseInfo | None:
    if not answer.values:
        return None
    granted_s, remaining_s = answer.values
    return LeaseInfo(granted_s, remaining_s, answer.keys)


def _nothing(
    done: Callable[[RequestRefused | None], None], answer: Answer | RequestRefused
) -> None:
    done(answer if isinstance(answer, RequestRefused) else None)


def _one(done: Callable[[int | RequestRefused], None], answer: Answer | RequestRefused) -> None:
    done(answer if isinstance(answer, RequestRefused) else answer.values[0])
