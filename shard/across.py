"""A shard's part in transactions over several shards: lock, prepare, decide, apply.

What it is: what each step does to the batch slot, the store and the watermarks, and what becomes of
a share whose router or primary is not heard of. What it is not: evaluation (`share.py`), stored
rows (`intents.py`), or the router's procedure (router/across.py).

Words: as in base/across. *Durable*: a prepared share that changes something has an intent row. An
*open decision* is a COMMIT that not every participant has confirmed.

Why ABORT needs no row (M7): the primary decides by its own slot. It commits only what it holds
prepared since this process began; what it does not hold and has no decision for is aborted, now and
for ever. A LOCK is sent once, to the primary first, so none can come behind an ABORT; and a primary
that finds its own intent at a start drops it before it answers anybody.

Invariants:
- from LOCK to the end the slot is held: no other write of this shard commits, no Alloc is sent;
- a durable share ends by its decision alone, whatever crashes; a lock, or a share that changes
  nothing, ends by a deadline too: the joint Alloc then meets another lane and is refused;
- M1: while a durable share waits, no tablet of this shard registers or closes past it;
- whatever was prepared, our next Alloc names all our tablets: it closes a revision that was handed
  out for nothing, and its sample lets routers show one that was applied;
- M7: a decision stays until each participant has applied it durably; where the router does not
  tell, the primary asks them; a shard is removed from the cluster only when it has none left, so
  what a removed primary did not tell is aborted.

Worked example: shard-0 (primary) and shard-1 are prepared; the router asks COMMIT 12 and dies.
shard-0 has applied 12 and holds the decision. shard-1 asks it after ACROSS_PREPARED_MS, applies 12,
and confirms when shard-0 asks.

Source: docs/model/Across.tla. Tested in tests/unit/shard/test_across.py,
tests/property/test_across.py.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import TypeAlias

from kubebraid.base import errors
from kubebraid.base.across import (
    AcrossCall,
    AcrossReply,
    Lane,
    Leaf,
    ParticipantPort,
    Prepared,
    Step,
    TxnId,
    leaf_span,
)
from kubebraid.base.limits import (
    ACROSS_ASK_MS,
    ACROSS_LOCK_MS,
    ACROSS_PREPARED_MS,
)
from kubebraid.base.ops import TxnOp
from kubebraid.base.revision import Revision

from . import fencing, keycodec
from .decisions import OpenDecisions
from .fencing import FenceDamaged
from .intents import Decision, Intent, decisions, pack_decision, pack_intent, undecided
from .locks import LockQueue, named_tablets
from .ownership import Ownership, is_removed
from .seal import last_index, prover, seal
from .seams import ShardSeams
from .settle import Fences, Settler, refusal
from .share import Share
from .storage.engine import Batch, Engine, EngineError
from .writer import Writer

Done: TypeAlias = Callable[[AcrossReply], None]


@dataclass(slots=True)
class _Held:
    """What has the slot. `share` is None behind a start; `intent` is None before PREPARE."""

    txn: TxnId
    call: AcrossCall
    op: TxnOp
    share: Share | None
    until_ms: int
    intent: Intent | None = None
    durable: bool = False


@dataclass(frozen=True, slots=True)
class Surroundings:
    """The shard that this is a part of. `peers`: the others, by name."""

    engine: Engine
    owned: Ownership
    settler: Settler
    seams: ShardSeams
    peers: Mapping[str, ParticipantPort] = field(default_factory=dict)


class Participant:
    """Implements ParticipantPort for one shard."""

    def __init__(self, shard: Surroundings, writer: Writer) -> None:
        """Finds what the store holds of the process before. Raises EngineError."""
        self._engine = shard.engine
        self._owned = shard.owned
        self._settler = shard.settler
        self._clock = shard.seams.clock
        self._on_full = shard.seams.on_full
        self._peers = shard.peers
        self._writer = writer
        self._owns = partial(_owns, shard.owned)
        self.locks = LockQueue(shard.owned, writer, self._clock, self._owns)
        self._open = OpenDecisions(
            shard.owned.shard, shard.peers, writer.litter, partial(is_removed, shard.owned)
        )
        self._held: _Held | None = None
        self._writers_turn = False  # a slot that was given back is offered to the queue first
        now_ms = self._clock.now_ms()
        for txn, decision in decisions(self._engine).items():
            self._open.add(txn, decision, now_ms)
        self._begin(now_ms)

    def _begin(self, now_ms: int) -> None:
        found = undecided(self._engine)
        if found is None:
            return
        txn, intent = found
        call = AcrossCall(Step.LOCK, txn, intent.kind, intent.payload)
        self._held = _Held(txn, call, intent.op(), None, now_ms, intent, durable=True)
        self._writer.held = True
        if intent.primary == self._owned.shard:
            self._drop(self._held)

    def across(self, call: AcrossCall, done: Done) -> None:
        """See ParticipantPort. A shard that has stopped says nothing of what may be decided: it may
        not know."""
        if self._owned.stopped:
            if call.step in (Step.LOCK, Step.PREPARE):
                done(AcrossReply(errors.OWNER_AWAY))
            return
        match call.step:
            case Step.LOCK:
                self.locks.lock(call, done)
            case Step.PREPARE:
                done(self._prepare(call))
            case Step.COMMIT:
                self._commit(call, done)
            case Step.APPLY:
                self._apply(call, done)
            case Step.ABORT:
                self._abort(call.txn)
                done(AcrossReply())
            case Step.FORGET:
                self._open.forget(call.txn)
                done(AcrossReply())
            case Step.RESOLVE:
                done(AcrossReply(revision=self._resolve(call.txn)))

    @property
    def quiet(self) -> bool:
        """Nobody has the batch slot, and no share waits for a decision."""
        return self._held is None and self._writer.free

    @property
    def undecided(self) -> int:
        """How many transactions others may ask about here."""
        return len(self._open) + (self._held is not None)

    # -- the slot ------------------------------------------------------------------------------

    def _grant(self, now_ms: int) -> None:
        """The slot to the first that waits, once the present reign has accepted our epochs."""
        if not self._writer.free or self._owned.proved != self._owned.cepoch:
            return
        waiting = self.locks.first()
        if waiting is None:
            return
        share = self._writer.evaluation(Share)
        try:
            verdicts = share.verdicts(waiting.op, self._owned.owns)
        except EngineError as error:
            waiting.done(AcrossReply(refusal(error)))
            return
        call = waiting.call
        self._held = _Held(call.txn, call, waiting.op, share, now_ms + ACROSS_LOCK_MS)
        self._writer.held = True
        waiting.done(AcrossReply(verdicts=verdicts))

    def _release(self) -> None:
        self._held = None
        self._writer.held = False
        self._writers_turn = True

    # -- prepare -------------------------------------------------------------------------------

    def _prepare(self, call: AcrossCall) -> AcrossReply:
        held = self._held
        if held is None or held.txn != call.txn or held.intent is not None:
            return AcrossReply(errors.OWNER_AWAY)
        if self._owned.proved != self._owned.cepoch:
            self._release()
            return AcrossReply(errors.OWNER_AWAY)
        intent = Intent(held.call.kind, call.path, call.participants, held.call.payload)
        assert held.share is not None
        try:
            prepared = self._evaluate(held, call)
            if held.share.changes and self._engine.refuses(partial(_trial, self, held, intent)):
                self._release()
                return AcrossReply(errors.REQUEST_TOO_LARGE)
        except EngineError as error:
            self._release()
            return AcrossReply(refusal(error))
        if held.share.changes:
            batch = Batch().put(keycodec.intent(held.txn), pack_intent(intent))
            if not self._write(batch, _touched(self._owned)):
                return AcrossReply(errors.STOPPED)
            held.durable = True
        held.intent = intent
        held.until_ms = self._clock.now_ms() + ACROSS_PREPARED_MS
        return AcrossReply(prepared=prepared)

    def _evaluate(self, held: _Held, call: AcrossCall) -> Prepared:
        share, owned = held.share, self._owned
        assert share is not None, "a lock has its evaluation"
        refused = share.check(held.op, call.path, self._owns, call.known)
        shares = share.run(held.op, call.path, self._owns) if refused is None else []
        changed = last_index(share.changes)
        named = named_tablets(owned, held.op)
        ends = tuple((t, owned.oepochs[t], changed.get(t, -1)) for t in sorted(named))
        lane = Lane(owned.shard, owned.incarnation, self._writer.requests)
        return Prepared(owned.cepoch, lane, ends, shares, refused)

    # -- the decision --------------------------------------------------------------------------

    def _commit(self, call: AcrossCall, done: Done) -> None:
        decided = self._open.revision(call.txn)
        if decided:
            done(AcrossReply(revision=decided))
            return
        held = self._held
        if held is None or held.txn != call.txn or held.intent is None:
            done(AcrossReply(revision=0))
            return
        assert held.intent.primary == self._owned.shard, "the primary decides"
        decision = Decision(call.revision, held.intent.participants)
        if self._finish(held, call.revision, decision):
            self._open.add(call.txn, decision, self._clock.now_ms() + ACROSS_PREPARED_MS)
            done(AcrossReply(revision=call.revision))

    def _apply(self, call: AcrossCall, done: Done) -> None:
        """Repeated, or of a share that changed nothing and has ended, it does nothing."""
        held = self._held
        ours = held is not None and held.txn == call.txn and held.intent is not None
        if held is None or not ours or self._finish(held, call.revision):
            done(AcrossReply())

    def _finish(self, held: _Held, revision: Revision, decision: Decision | None = None) -> bool:
        """Our share at its revision, durably, with the decision where we are the primary."""
        try:
            share = held.share or _repeated(self._writer, self._owns, held)
        except EngineError as error:
            refusal(error)  # nobody is answered: whoever asks for it asks again
            return False
        sealed = seal(share, revision, self._owned.fences, self._owned.oepochs)
        batch, fences = sealed.batch, sealed.fences
        if decision is not None:
            batch.put(keycodec.decision(held.txn), pack_decision(decision))
        if held.durable:
            batch.delete(keycodec.intent(held.txn))
        if len(batch) and not self._write(batch, fences or _touched(self._owned)):
            return False
        if sealed.fences:
            self._writer.applied(sealed)
        self._release()
        return True

    def _drop(self, held: _Held) -> None:
        """ABORT. A revision may have been handed out for it: the next Alloc closes that."""
        if held.durable:
            if not self._write(Batch().delete(keycodec.intent(held.txn)), _touched(self._owned)):
                return
            self._owned.proved = 0
        self._release()

    def _abort(self, txn: TxnId) -> None:
        self.locks.give_up(txn, errors.OWNER_AWAY)
        held = self._held
        if held is not None and held.txn == txn:
            self._drop(held)

    def _resolve(self, txn: TxnId) -> Revision:
        """Whoever asks has waited long: what is not decided is aborted."""
        decided = self._open.revision(txn)
        if not decided:
            self._abort(txn)
        return decided

    # -- the store -----------------------------------------------------------------------------

    def _write(self, batch: Batch, fences: Fences) -> bool:
        """Durably; False: the shard has stopped, and nothing is answered."""
        for tablet, fence in fences.items():
            batch.put(keycodec.fence(tablet), fence.pack())
        try:
            full = self._settler.insist(batch, self._owned.fences, fences)
        except (EngineError, FenceDamaged) as error:
            self._writer.stop(error)
            return False
        self._owned.fences.update(fences)
        if full:
            self._on_full()
        return True

    # -- the loop ------------------------------------------------------------------------------

    def turn(self, now_ms: int) -> bool:
        """Give the slot, and see to what waits too long. Answers: is there more to do?"""
        idle = _idle(self._held, self.locks, self._open)
        if self._owned.stopped or (idle and not self._writers_turn):
            return False
        self.locks.expire(now_ms)
        if self._held is not None and now_ms >= self._held.until_ms:
            self._overdue(self._held, now_ms)
        self._open.turn(now_ms)
        if self._writers_turn:
            self._writers_turn = False
            return not self.locks.empty
        self._grant(now_ms)
        return False

    def _overdue(self, held: _Held, now_ms: int) -> None:
        intent, owned = held.intent, self._owned
        if not held.durable or intent is None or intent.primary == owned.shard:
            self._drop(held)
            return
        if is_removed(owned, intent.primary):
            self._drop(held)  # it had no decision when it went, and makes none any more
            return
        held.until_ms = now_ms + ACROSS_ASK_MS
        primary = self._peers.get(intent.primary)
        if primary is not None:
            primary.across(AcrossCall(Step.RESOLVE, held.txn), partial(self._resolved, held))

    def _resolved(self, held: _Held, reply: AcrossReply) -> None:
        """Of the share that still waits; a router may have been faster."""
        if reply.error is not None or self._held is not held or self._owned.stopped:
            return
        if reply.revision:
            self._finish(held, reply.revision)
        else:
            self._drop(held)

    def next_deadline_ms(self) -> int | None:
        """When `turn` has something to do that nothing announces."""
        if _idle(self._held, self.locks, self._open):
            return None
        held_ms = None if self._held is None else self._held.until_ms
        due = (self.locks.next_deadline_ms(), self._open.next_deadline_ms(), held_ms)
        return min((ms for ms in due if ms is not None), default=None)


def _repeated(writer: Writer, owns: Callable[[Leaf], bool], held: _Held) -> Share:
    """Behind a start: the same rows, the same changes."""
    assert held.intent is not None
    share = writer.evaluation(Share)
    share.run(held.op, held.intent.path, owns)
    return share


def _trial(participant: Participant, held: _Held, intent: Intent) -> Batch:
    """All that prepare and the end will write: behind the decision nothing may be refused."""
    share = participant._writer.evaluation(Share)
    share.run(held.op, intent.path, participant._owns)
    owned = participant._owned
    batch = seal(share, owned.known + 1, owned.fences, owned.oepochs).batch
    batch.put(keycodec.intent(held.txn), pack_intent(intent))
    return batch.delete(keycodec.decision(held.txn))


def _idle(held: _Held | None, queue: LockQueue, decided: OpenDecisions) -> bool:
    """Asked first, for the sake of the shard's loop: most of its turns find nothing here."""
    return held is None and queue.empty and not decided


def _owns(owned: Ownership, leaf: Leaf) -> bool:
    span = leaf_span(leaf)
    return span is not None and bool(owned.tablets_of(span))


def _touched(owned: Ownership) -> Fences:
    """What tells of a batch that changes no key."""
    home = prover(owned.oepochs, owned.sealed)
    return {home: fencing.touch(owned.fences[home], owned.oepochs[home])}
