"""Each rule of transactions over several shards, broken: the model-based test must notice.

What it is: the storms of test_across.py over code with one rule taken out, until the judge or an
assertion of the code itself objects. A breach that no seed shows would mean that the rule, or the
test, is not needed.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, Final

import pytest

from kubebraid.base.across import AcrossCall, AcrossReply
from kubebraid.coordinator.sequencer import Sequencer
from kubebraid.router.across import Transaction
from kubebraid.shard import keycodec, ownership
from kubebraid.shard.across import Participant
from kubebraid.shard.decisions import OpenDecisions
from kubebraid.shard.storage.engine import Batch
from kubebraid.shard.writer import Writer

from .test_across import judge, storm
from .test_across_steps import FAULTS, looking, sweep

SEEDS_MAX: Final = 150


def _lanes(patch: pytest.MonkeyPatch) -> None:
    """An Alloc is granted although a participant has gone on meanwhile."""
    patch.setattr(Sequencer, "_holds_still", lambda _self, _lane: True)


def _adopt(patch: pytest.MonkeyPatch) -> None:
    """M12 without its exception: an adopter closes at H over its own intent."""

    class Blind:
        def __getattr__(self, name: str) -> Any:
            return (b"\xfe", b"\xff") if name == "INTENTS" else getattr(keycodec, name)

    patch.setattr(ownership, "keycodec", Blind())


def _slot(patch: pytest.MonkeyPatch) -> None:
    """M1: other writes pass, and tablets register, while a share waits for its decision."""
    turn = Writer.turn

    def careless(self: Writer) -> bool:
        held, self.held = self.held, False
        more = turn(self)
        self.held = held
        return more

    patch.setattr(Writer, "turn", careless)


def _resolve(patch: pytest.MonkeyPatch) -> None:
    """M7: ABORT is said and not kept: the primary may still commit."""
    patch.setattr(Participant, "_resolve", lambda self, txn: self._open.revision(txn))


def _decide(patch: pytest.MonkeyPatch) -> None:
    """M7: COMMIT without the primary's own share."""

    def commit(_self: Participant, call: AcrossCall, done: Callable[[AcrossReply], None]) -> None:
        done(AcrossReply(revision=call.revision))

    commit_ = Participant._commit

    def careless(self: Participant, call: AcrossCall, done: Callable[[AcrossReply], None]) -> None:
        held = self._held
        ours = held is not None and held.txn == call.txn and held.intent is not None
        (commit_ if ours else commit)(self, call, done)

    patch.setattr(Participant, "_commit", careless)


def _forget(patch: pytest.MonkeyPatch) -> None:
    """M7: a decision is forgotten for its age."""

    def careless(self: OpenDecisions, now_ms: int) -> None:
        for txn, known in list(self._open.items()):
            if now_ms >= known.due_ms:
                self.forget(txn)

    patch.setattr(OpenDecisions, "turn", careless)


def _void(patch: pytest.MonkeyPatch) -> None:
    """A revision that was handed out for nothing is never closed."""
    drop = Participant._drop

    def careless(self: Participant, held: Any) -> None:
        proved = self._owned.proved
        drop(self, held)
        self._owned.proved = proved

    patch.setattr(Participant, "_drop", careless)


def _unknown(patch: pytest.MonkeyPatch) -> None:
    """ABORT while a COMMIT may be on its way."""
    committed = Transaction._committed

    def careless(self: Transaction, revision: int, reply: AcrossReply) -> None:
        if reply.error is not None and not reply.error.definite:
            self._end(self._names[1:])
        committed(self, revision, reply)

    patch.setattr(Transaction, "_committed", careless)


def _intent(patch: pytest.MonkeyPatch) -> None:
    """A participant calls itself prepared before its intent is durable."""
    write = Participant._write

    def careless(self: Participant, batch: Batch, fences: Any) -> bool:
        if any(key[:1] == b"i" and value for _, key, value in batch.operations):
            return True
        return write(self, batch, fences)

    patch.setattr(Participant, "_write", careless)


def _order(patch: pytest.MonkeyPatch) -> None:
    """Locks, then compares, then nothing held: the slots are given back before the Alloc."""
    granted = Participant._evaluate

    def careless(self: Participant, held: Any, call: AcrossCall) -> Any:
        prepared = granted(self, held, call)
        if not held.share.changes:
            self._writer.held = False
        return prepared

    patch.setattr(Participant, "_evaluate", careless)
    patch.setattr(Sequencer, "_holds_still", lambda _self, _lane: True)


BREACHES: Final = (
    _lanes,
    _adopt,
    _slot,
    _resolve,
    _decide,
    _forget,
    _void,
    _unknown,
    _intent,
    _order,
)


@pytest.mark.parametrize("breach", BREACHES, ids=lambda breach: breach.__name__[1:])
def test_a_broken_rule_is_noticed(
    breach: Callable[[pytest.MonkeyPatch], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """By some fault at some step, or within SEEDS_MAX storms."""
    breach(monkeypatch)
    runs: list[Callable[[], object]] = [partial(sweep, fault, looking) for fault in FAULTS]
    runs += [partial(_judged_storm, seed) for seed in range(SEEDS_MAX)]
    for run in runs:
        try:
            run()
        except (AssertionError, KeyError):
            return
    pytest.fail(f"{breach.__doc__}: nothing shows it")


def _judged_storm(seed: int) -> None:
    judge(*storm(seed, steps=1_500, faults=0.02))
