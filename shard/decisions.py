"""Decisions of transactions over several shards that not every participant has confirmed.

What it is: the primary's memory of what it decided, and how it asks those who have not applied it.
What it is not: the deciding (`across.py`), or the rows (`intents.py`).

Invariants:
- M7: a decision is forgotten when its router says that all have applied it, or when all have said
  so to us, never for its age;
- a participant that was removed from the cluster had applied it: it held no share any more;
- a row goes with a later batch of the shard; one that a crash leaves is found at the start and its
  participants are asked, which does nothing to those that have applied it.

Worked example: COMMIT 12 with shard-1; its router dies. After ACROSS_PREPARED_MS shard-1 is asked
to apply 12, answers, and the row is litter.

Tested in tests/unit/shard/test_decisions.py, tests/property/test_across.py.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial

from kubebraid.base.across import AcrossCall, AcrossReply, ParticipantPort, Step, TxnId
from kubebraid.base.limits import ACROSS_ASK_MS
from kubebraid.base.revision import Revision

from . import keycodec
from .intents import Decision


@dataclass(slots=True)
class _Open:
    """A decision and who has not confirmed it."""

    revision: Revision
    missing: set[str]
    due_ms: int


class OpenDecisions:
    """Those of one shard."""

    def __init__(
        self,
        shard: str,
        peers: Mapping[str, ParticipantPort],
        litter: list[bytes],
        is_removed: Callable[[str], bool],
    ) -> None:
        """`litter`: stored keys that the next batch deletes; `is_removed`: of a shard's name."""
        self._shard = shard
        self._peers = peers
        self._litter = litter
        self._is_removed = is_removed
        self._open: dict[TxnId, _Open] = {}

    def __len__(self) -> int:
        return len(self._open)

    def add(self, txn: TxnId, decision: Decision, due_ms: int) -> None:
        """`due_ms`: when the participants are asked, if nobody says that they have applied it."""
        missing = set(decision.participants) - {self._shard}
        self._open[txn] = _Open(decision.revision, missing, due_ms)

    def revision(self, txn: TxnId) -> Revision:
        """Where it was committed; 0 if nothing is known of it."""
        known = self._open.get(txn)
        return 0 if known is None else known.revision

    def forget(self, txn: TxnId) -> None:
        """Everybody has applied it."""
        if self._open.pop(txn, None) is not None:
            self._litter.append(keycodec.decision(txn))

    def turn(self, now_ms: int) -> None:
        """Ask those who should have applied by now."""
        for txn, known in list(self._open.items()):
            if now_ms >= known.due_ms:
                self._ask(txn, known, now_ms)

    def _ask(self, txn: TxnId, known: _Open, now_ms: int) -> None:
        known.due_ms = now_ms + ACROSS_ASK_MS
        call = AcrossCall(Step.APPLY, txn, revision=known.revision)
        for name in sorted(known.missing):
            peer = self._peers.get(name)
            if self._is_removed(name):
                self._confirmed(txn, known, name, AcrossReply())
            elif peer is not None:
                peer.across(call, partial(self._confirmed, txn, known, name))

    def _confirmed(self, txn: TxnId, known: _Open, name: str, reply: AcrossReply) -> None:
        if reply.error is None:
            known.missing.discard(name)
            if not known.missing:
                self.forget(txn)

    def next_deadline_ms(self) -> int | None:
        """When `turn` has something to do."""
        return min((known.due_ms for known in self._open.values()), default=None)
