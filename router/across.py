"""A transaction over several shards: locked everywhere, prepared, numbered once, decided, applied.

What it is: the router's procedure, a step at a time, by callbacks. What it is not: what a shard
does at each step (shard/across.py), evaluation, or the answer's bytes (`across_answer.py`).

Words: as in base/across.

    LOCK each, in name order ─ any refusal ─────────────────▶ ABORT all, definite
      │ compares of all shares choose the path
    PREPARE all ─ any error ────────────────────────────────▶ ABORT all, definite
      │
    one Alloc for every tablet, bound to every lane ─ refused ▶ ABORT all, definite
      │            └ nothing changes, or etcd refuses: ABORT all, answer at R
    COMMIT at the primary ─ no answer ──────────────────────▶ outcome unknown; the primary tells
      │            └ 0: it was aborted meanwhile ───────────▶ ABORT all, definite
    answer; APPLY at the others; FORGET at the primary

Why the client is answered once the primary has decided: from then on the transaction can only be
applied, whoever crashes; and since the Alloc, a read at its revision or a later one waits for each
participant's closed[t], so nobody reads around it.

Invariants:
- all slots are held when the path is chosen, and until the Alloc is granted: the Alloc names every
  tablet that was looked at, and every lane, so nothing was written there in between;
- locks are taken in one order by everybody: no two transactions wait for each other;
- ABORT is sent only while no COMMIT may be on its way; what is definite is tried again (retry.py).

Worked example: put x on shard-0 and y on shard-1: two LOCKs, two PREPAREs, Alloc(1) gives 12,
COMMIT 12 at shard-0, the client has its answer, APPLY 12 at shard-1, FORGET at shard-0.

Source: docs/model/Across.tla. Tested in tests/unit/router/test_across.py,
tests/property/test_across.py.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

from kubebraid.base import errors
from kubebraid.base.across import (
    AcrossCall,
    AcrossReply,
    ParticipantPort,
    Prepared,
    Step,
    TxnId,
    Verdict,
    as_txn,
    compares_of,
    holds_together,
    leaves_of,
    path_of,
)
from kubebraid.base.errors import RequestRefused
from kubebraid.base.ops import DeleteOp, RangeOp, TxnOp
from kubebraid.base.ports import AllocReply, AllocRequest, Sample, SequencerPort
from kubebraid.base.revision import Revision

from .across_answer import body, delete_body


@dataclass(frozen=True, slots=True)
class Request:
    """What the client asks. `shards`: all that own a key of it; `kind`, `payload`: as a
    WriteCall's; `respond` takes the revision and the body; it or `fail` is called, once."""

    kind: int
    payload: bytes
    op: TxnOp | DeleteOp
    shards: frozenset[str]
    map_version: int
    respond: Callable[[Revision, bytes], None]
    fail: Callable[[RequestRefused], None]


class Transactions:
    """Those of one router."""

    def __init__(
        self,
        owners: Mapping[str, ParticipantPort],
        sequencer: SequencerPort,
        draw: Callable[[], int],
        floor: Callable[[], Revision],
    ) -> None:
        """`draw`: a random number, so that no other router has the same names; `floor`: what is
        compacted lies below it."""
        self.owners = owners
        self.sequencer = sequencer
        self.floor = floor
        self._draw = draw
        self._incarnation = 0  # drawn with the first that is needed: one shard needs none
        self._begun = 0
        self._allocs = 0

    def begin(self, request: Request) -> None:
        """Run it to its end."""
        self._incarnation = self._incarnation or self._draw()
        self._begun += 1
        Transaction(self, TxnId(self._incarnation, self._begun), request).start()

    def alloc(
        self, shares: Sequence[Prepared], writes: int, done: Callable[[AllocReply], None]
    ) -> None:
        """One revision for all of them, or the proof that they own what they looked at."""
        self._allocs += 1
        ends = tuple(sorted(end for share in shares for end in share.ends))
        owner, lanes = f"router/{self._incarnation}", tuple(share.lane for share in shares)
        number, incarnation = self._allocs, self._incarnation
        cepoch = shares[0].cepoch
        request = AllocRequest(cepoch, owner, number, writes, ends, incarnation, lanes)
        self.sequencer.alloc(request, done)


class Transaction:
    """One of them."""

    def __init__(self, context: Transactions, txn: TxnId, request: Request) -> None:
        assert len(request.shards) > 1, "one shard needs nobody else"
        self._context = context
        self._txn = txn
        self._request = request
        self._op = as_txn(request.op)
        self._names = tuple(sorted(request.shards))
        self._verdicts: list[Sequence[Verdict]] = []
        self._path: tuple[bool, ...] = ()
        self._known: Revision = 0
        self._shares: dict[str, Prepared] = {}
        self._unprepared = len(self._names)
        self._failed: RequestRefused | None = None
        self._unapplied = len(self._names) - 1

    def _ask(self, name: str, call: AcrossCall, done: Callable[[AcrossReply], None]) -> None:
        self._context.owners[name].across(call, done)

    # -- lock ----------------------------------------------------------------------------------

    def start(self) -> None:
        """Lock the next participant."""
        request = self._request
        name = self._names[len(self._verdicts)]
        call = AcrossCall(Step.LOCK, self._txn, request.kind, request.payload, request.map_version)
        self._ask(name, call, self._locked)

    def _locked(self, reply: AcrossReply) -> None:
        if reply.error is not None:
            self._abort(self._names[: len(self._verdicts) + 1], _definite(reply.error))
            return
        self._verdicts.append(reply.verdicts)
        if len(self._verdicts) < len(self._names):
            self.start()
            return
        compares = compares_of(self._op)
        columns = zip(*self._verdicts, strict=True) if compares else ()
        held = [holds_together(*both) for both in zip(compares, columns, strict=True)]
        self._path = path_of(self._op, held)
        if any(isinstance(leaf, RangeOp) and leaf.revision for leaf in self._leaves()):
            self._context.sequencer.read_revision(self._sampled)
        else:
            self._prepare()

    def _leaves(self) -> Sequence[object]:
        return leaves_of(self._op, self._path)

    def _sampled(self, sample: Sample) -> None:
        """R while all is locked: what lies above it is in the future."""
        self._known = sample.revision
        self._prepare()

    # -- prepare -------------------------------------------------------------------------------

    def _prepare(self) -> None:
        call = AcrossCall(
            Step.PREPARE,
            self._txn,
            path=self._path,
            known=self._known,
            participants=self._names,
        )
        for name in self._names:
            self._ask(name, call, partial(self._prepared, name))

    def _prepared(self, name: str, reply: AcrossReply) -> None:
        self._unprepared -= 1
        if reply.error is not None:
            self._failed = _definite(reply.error)
        else:
            assert reply.prepared is not None, "an answer to PREPARE"
            self._shares[name] = reply.prepared
        if self._unprepared:
            return
        if self._failed is None and len({share.cepoch for share in self._shares.values()}) > 1:
            self._failed = errors.OWNER_AWAY  # some have heard of another reign already
        if self._failed is not None:
            self._abort(self._names, self._failed)
        else:
            self._allocate()

    # -- the revision --------------------------------------------------------------------------

    def _allocate(self) -> None:
        shares = [self._shares[name] for name in self._names]
        refused = self._refused(shares)
        changes = any(index >= 0 for share in shares for _, _, index in share.ends)
        if refused is not None:
            shares = [share._replace(ends=_unchanged(share)) for share in shares]
        writes = int(changes and refused is None)
        self._context.alloc(shares, writes, partial(self._granted, writes, refused))

    def _refused(self, shares: Sequence[Prepared]) -> RequestRefused | None:
        """etcd's refusal: the first in the order of operations, whoever gave it."""
        given = [share.refused for share in shares if share.refused is not None]
        floor = self._context.floor()
        for place, leaf in enumerate(self._leaves()):
            if isinstance(leaf, RangeOp) and leaf.revision:
                if leaf.revision > self._known:
                    given.append((place, errors.FUTURE_REVISION))
                elif leaf.revision < floor:
                    given.append((place, errors.COMPACTED))
        return min(given, key=lambda refused: refused[0])[1] if given else None

    def _granted(self, writes: int, refused: RequestRefused | None, reply: AllocReply) -> None:
        if reply.refused:
            self._abort(self._names, errors.OTHER_MAP)
        elif refused is not None:
            self._abort(self._names, refused)
        elif not writes:
            self._end(self._names)
            self._respond(reply.first, reply.first - 1)
        else:
            self._commit(reply.first)

    # -- the decision --------------------------------------------------------------------------

    def _commit(self, revision: Revision) -> None:
        call = AcrossCall(Step.COMMIT, self._txn, revision=revision)
        self._ask(self._names[0], call, partial(self._committed, revision))

    def _committed(self, revision: Revision, reply: AcrossReply) -> None:
        if reply.error is not None and not reply.error.definite:
            self._request.fail(reply.error)
        elif reply.error is not None or not reply.revision:
            self._abort(self._names, errors.OWNER_AWAY)
        else:
            assert reply.revision == revision, "it is decided once"
            call = AcrossCall(Step.APPLY, self._txn, revision=revision)
            for name in self._names[1:]:
                self._ask(name, call, self._applied)
            self._respond(revision, revision)

    def _applied(self, reply: AcrossReply) -> None:
        """Where one does not answer, the primary asks it."""
        if reply.error is None:
            self._unapplied -= 1
            if not self._unapplied:
                self._ask(self._names[0], AcrossCall(Step.FORGET, self._txn), _ignored)

    # -- the end -------------------------------------------------------------------------------

    def _respond(self, first: Revision, revision: Revision) -> None:
        shares = [op for name in self._names for op in self._shares[name].shares]
        if isinstance(self._request.op, DeleteOp):
            answer = delete_body(self._op, shares, first)
        else:
            answer = body(self._op, self._path, shares, first)
        self._request.respond(revision, answer)

    def _abort(self, names: Sequence[str], why: RequestRefused) -> None:
        self._end(names)
        self._request.fail(why)

    def _end(self, names: Sequence[str]) -> None:
        """Nothing of it happens, or nothing of it is to be done: the slots are free."""
        for name in names:
            self._ask(name, AcrossCall(Step.ABORT, self._txn), _ignored)


def _ignored(_reply: AcrossReply) -> None:
    """Who does not hear of it asks the primary."""


def _definite(refused: RequestRefused) -> RequestRefused:
    """Before a decision nothing is done, whatever a participant has heard of."""
    return refused if refused.definite else errors.OWNER_AWAY


def _unchanged(share: Prepared) -> tuple[tuple[int, int, int], ...]:
    """Its tablets, as if nothing were written."""
    return tuple((tablet, oepoch, -1) for tablet, oepoch, _ in share.ends)
