"""The write path: admit, evaluate, allocate, commit, answer, publish; one batch in flight.

What it is: the loop of group commits of one shard. What it is not: the rules of evaluation
(`apply.py`) or the bytes written (`seal.py`).

Words: *queued*: arrived, not yet evaluated; *in flight*: evaluated, waiting for its revisions or
for the engine.

Invariants:
- revisions are allocated after the batch was evaluated, for exactly its changing writes, and
  before anything is answered; a write that arrives later is not in the batch (no prefetch, ever);
- nothing is answered, published or closed before the engine has made it durable;
- inv11: closed[t] moves to the last revision of a durable batch, and never back;
- after a failed write nothing is answered before its outcome is settled (`settle.py`): landed, it
  is answered and published as any other; void, all of it is refused and its revisions stay empty;
  where that cannot be found out the writer stops for good (`on_fatal`), and a start tells.

Worked example: puts of a and b wait in the queue at R=10; one turn evaluates both, gets first=11,
writes one engine batch, answers 11 and 12, publishes both commits with closed=12.

Tested in tests/unit/shard/test_writer.py.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import NamedTuple

from kubebraid.base import errors
from kubebraid.base.errors import RequestRefused
from kubebraid.base.limits import (
    BATCH_BYTES_MAX,
    BATCH_WRITES_MAX,
    WRITE_QUEUE_BYTES_MAX,
    WRITE_QUEUE_MAX,
)
from kubebraid.base.ops import DeleteOp, PutOp, TxnOp, WriteOp
from kubebraid.base.ports import (
    WRITE_DELETE,
    WRITE_LEASE_GRANT,
    WRITE_LEASE_REVOKE,
    WRITE_PUT,
    WRITE_TXN,
    AllocReply,
    AllocRequest,
    Publication,
    Sample,
    SequencerPort,
    TabletNews,
    WriteCall,
    WriteReply,
)
from kubebraid.base.record import Commit
from kubebraid.base.revision import TabletId
from kubebraid.proto import requests

from .apply import Evaluation
from .counts import KeyCounts
from .draft import Outcome
from .fencing import FenceDamaged
from .ownership import Ownership
from .seal import Sealed, last_index, seal
from .seams import ShardSeams
from .settle import Settler, refusal, void
from .storage.engine import Engine, EngineError, EngineFull
from .view import Ambiguous

Done = Callable[[WriteReply], None]


class _InFlight(NamedTuple):
    evaluation: Evaluation
    answers: list[tuple[WriteCall, Done, Outcome]]


class Writer:
    """Group commit for all tablets of one shard."""

    def __init__(
        self,
        engine: Engine,
        ownership: Ownership,
        sequencer: SequencerPort,
        settler: Settler,
        seams: ShardSeams,
        counts: KeyCounts,
    ) -> None:
        self._engine = engine
        self._owned = ownership
        self._sequencer = sequencer
        self._settler = settler
        self._counts = counts
        self._clock = seams.clock
        self._on_fatal = seams.on_fatal
        self._on_full = seams.on_full
        self._queue: deque[tuple[WriteCall, Done]] = deque()
        self._queued_bytes = 0
        self._flight: _InFlight | None = None
        self._sampling = False  # a read of the sequencer's R is on its way
        self._certain = False  # `known` is R as of after the first queued call arrived
        self._requests = 0
        self._failed = False
        # The counters first: what a batch publishes, the next one's evaluation counts on.
        self.subscribers: list[Callable[[Publication], None]] = [counts.published]

    def submit(self, calls: Iterable[WriteCall], done: Done) -> None:
        """Queue writes. Refused at once: a stopped writer, a full queue, another map."""
        for call in calls:
            refused = self._admit(call)
            if refused is None:
                self._queue.append((call, done))
                self._queued_bytes += len(call.payload)
            else:
                done(WriteReply(call.tag, 0, b"", refused))

    def _admit(self, call: WriteCall) -> RequestRefused | None:
        if self._failed:
            return errors.STOPPED
        if len(self._queue) >= WRITE_QUEUE_MAX or self._queued_bytes >= WRITE_QUEUE_BYTES_MAX:
            return errors.TOO_MANY_REQUESTS
        if call.map_version != self._owned.map_version:
            return errors.TIMED_OUT
        return None

    @property
    def idle(self) -> bool:
        return not self._queue and self._flight is None

    def turn(self) -> bool:
        """Commit one batch, if there is one and none is in flight. Answers: is there more?"""
        if self._flight is not None or self._sampling or not self._queue or self._failed:
            return False
        flight = self._evaluate()
        if not flight.answers and not self._queue:
            self._certain = False  # of the next call it is not known when it came
            return False
        if not flight.answers:
            self._sampling = True
            self._sequencer.read_revision(self._sampled)
            return bool(self._queue) and not self._sampling
        self._flight = flight
        self._certain = False
        self._requests += 1
        touched = last_index(flight.evaluation.changes)
        named = {tablet for call, _, _ in flight.answers for tablet in call.tablets} | set(touched)
        # A batch of lease grants names no tablet: it proves the ownership of our first one.
        ends = tuple(
            (tablet, self._owned.oepochs[tablet], touched.get(tablet, -1))
            for tablet in named or {min(self._owned.oepochs)}
        )
        request = AllocRequest(
            self._owned.cepoch,
            self._owned.shard,
            self._requests,
            flight.evaluation.writes,
            ends,
        )
        self._sequencer.alloc(request, self._granted)
        return bool(self._queue)

    def _sampled(self, sample: Sample) -> None:
        """The first queued call names a revision that this shard has not heard of: now it has."""
        self._sampling = False
        self._certain = True
        self._owned.heard(sample.revision)

    def _evaluate(self) -> _InFlight:
        """Take what has queued, up to the batch's bounds or an answer that must wait."""
        while True:
            flight = self._take()
            if flight is not None:
                return flight

    def _take(self) -> _InFlight | None:
        """None: a call met an unreadable row; it is refused, what was taken is queued again."""
        evaluation = Evaluation(
            self._engine,
            self._owned.tablet_of,
            self._owned.leases,
            self._owned.known,
            self._owned.floor(),
            self._counts.known,
        )
        answers: list[tuple[WriteCall, Done, Outcome]] = []
        while (
            self._queue and len(answers) < BATCH_WRITES_MAX and evaluation.bytes < BATCH_BYTES_MAX
        ):
            call, done = self._queue[0]
            evaluation.certain = self._certain and not answers
            try:
                outcome = _outcome(evaluation, call)
            except Ambiguous:
                assert answers or not self._certain, "nothing is pending for the first of a batch"
                break
            except EngineError as error:
                self._drop(answers)
                done(WriteReply(call.tag, 0, b"", refusal(error)))
                return None
            self._queue.popleft()
            self._queued_bytes -= len(call.payload)
            answers.append((call, done, outcome))
        return _InFlight(evaluation, answers)

    def _drop(self, answers: list[tuple[WriteCall, Done, Outcome]]) -> None:
        """Take the first call out of the queue and put those before it back: of an evaluation that
        ended in the middle nothing may be kept."""
        self._certain = self._certain and bool(answers)
        culprit, _ = self._queue.popleft()
        self._queued_bytes -= len(culprit.payload)
        for call, done, _ in reversed(answers):
            self._queue.appendleft((call, done))
            self._queued_bytes += len(call.payload)

    def _granted(self, reply: AllocReply) -> None:
        """The revisions are ours: write, then answer and publish."""
        flight = self._flight
        assert flight is not None, "an answer without a request"
        if reply.refused:
            self._deposed(flight)
            return
        evaluation = flight.evaluation
        sealed = seal(evaluation, reply.first, self._owned.fences, self._owned.oepochs)
        if len(sealed.batch):
            try:
                self._engine.write(sealed.batch, sync=True)
            except EngineError as error:
                if not self._settled(flight, sealed, reply, error):
                    return
        self._flight = None
        self._owned.committed(sealed, reply.sample, evaluation, self._clock.now_ms())
        self._answer(flight, reply.first)
        if evaluation.writes:
            self._publish(sealed.commits, reply)

    def _settled(
        self, flight: _InFlight, sealed: Sealed, reply: AllocReply, error: EngineError
    ) -> bool:
        """Whether the batch landed after all; otherwise everything about it was said here."""
        try:
            landed = self._settler.settle(error, self._owned.fences, sealed.fences)
        except (EngineError, FenceDamaged) as unsettled:
            self._fail(flight, unsettled)
            return False
        full = isinstance(error, EngineFull)
        if full:
            self._on_full()
        if landed:
            return True
        self._flight = None
        fences = {tablet: void(fence) for tablet, fence in sealed.fences.items()}
        self._owned.voided(fences, reply.sample)
        refused = errors.NO_SPACE if full else errors.TIMED_OUT
        for call, done, _ in flight.answers:
            done(WriteReply(call.tag, 0, b"", refused))
        if flight.evaluation.writes:
            self._publish(dict.fromkeys(fences, ()), reply)
        return False

    def _answer(self, flight: _InFlight, first: int) -> None:
        for call, done, outcome in flight.answers:
            if isinstance(outcome, RequestRefused):
                done(WriteReply(call.tag, 0, b"", outcome))
            else:
                revision = first - 1 + outcome.position
                done(WriteReply(call.tag, revision, outcome.body(first), None))

    def _publish(self, commits: Mapping[TabletId, Sequence[Commit]], reply: AllocReply) -> None:
        news = tuple(
            TabletNews(tablet, self._owned.oepochs[tablet], of_tablet, self._owned.closed[tablet])
            for tablet, of_tablet in commits.items()
        )
        publication = Publication(self._owned.shard, news, reply.sample)
        for publish in self.subscribers:
            publish(publication)

    def _deposed(self, flight: _InFlight) -> None:
        """The sequencer knows another owner: nothing was allocated, so nothing happened."""
        self._flight = None
        for call, done, _ in flight.answers:
            done(WriteReply(call.tag, 0, b"", errors.TIMED_OUT))

    def _fail(self, flight: _InFlight, error: EngineError | FenceDamaged) -> None:
        """Unknown outcome: answer so, and stop before anything could contradict it."""
        self._failed = True
        self._owned.doubt()
        waiting = [(call, done) for call, done, _ in flight.answers] + list(self._queue)
        self._queue.clear()
        for call, done in waiting:
            done(WriteReply(call.tag, 0, b"", errors.TIMED_OUT))
        self._on_fatal(error)


def _outcome(evaluation: Evaluation, call: WriteCall) -> Outcome:
    """Evaluate one call; the payload is the client's message, decoded here if it came by a wire."""
    match call.op or _decoded(call):
        case PutOp() as put:
            return evaluation.put(put)
        case TxnOp() as txn:
            return evaluation.txn(txn)
        case DeleteOp() as delete:
            return evaluation.delete(delete)
        case None:
            return _lease_outcome(evaluation, call)


def _lease_outcome(evaluation: Evaluation, call: WriteCall) -> Outcome:
    if call.kind == WRITE_LEASE_GRANT:
        return evaluation.lease_grant(*requests.lease_grant(call.payload))
    assert call.kind == WRITE_LEASE_REVOKE, call.kind
    return evaluation.lease_revoke(requests.lease_revoke(call.payload))


def _decoded(call: WriteCall) -> WriteOp | None:
    """None: a lease's."""
    if call.kind == WRITE_PUT:
        return requests.decode_put(call.payload)
    if call.kind == WRITE_TXN:
        return requests.decode_txn(call.payload)
    if call.kind == WRITE_DELETE:
        return requests.decode_delete(call.payload)
    return None
