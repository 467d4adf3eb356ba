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
- M1: in a new reign nothing of an earlier one's answer is used: the batch that waited for it asks
  again, and the first request names all our tablets, which registers them;
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
from functools import partial
from typing import NamedTuple, TypeVar

from kubebraid.base import errors
from kubebraid.base.errors import RequestRefused
from kubebraid.base.limits import (
    BATCH_BYTES_MAX,
    BATCH_WRITES_MAX,
    WRITE_QUEUE_BYTES_MAX,
    WRITE_QUEUE_MAX,
)
from kubebraid.base.ports import (
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
from kubebraid.base.revision import Epoch, LeaseId, Revision, TabletId

from .admission import refused as not_admitted
from .ahead import announce
from .apply import Evaluation
from .counts import KeyCounts
from .draft import Outcome
from .fencing import FenceDamaged
from .fitting import Fitting
from .foreign import Visible
from .lease import forget_visits
from .outcome import outcome_of
from .ownership import Ownership
from .seal import Sealed, last_index, prover, seal
from .seams import ShardSeams
from .settle import Settler, refusal, void
from .storage.engine import Engine, EngineError, EngineFull
from .storage.tikv_errors import EngineFenced
from .view import Ambiguous, Elsewhere

Done = Callable[[WriteReply], None]
Queue = deque[tuple[WriteCall, Done]]
Answers = Sequence[tuple[WriteCall, Done, Outcome]]
E = TypeVar("E", bound=Evaluation)


class _InFlight(NamedTuple):
    """An evaluated batch; without answers it proves our ownership alone."""

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
        self._visible = Visible(engine, ownership.foreign)
        self._sequencer = sequencer
        self._settler = settler
        self._counts = counts
        self._clock = seams.clock
        self._on_fatal = seams.on_fatal
        self._on_full = seams.on_full
        self._queue: Queue = deque()
        self._queued_bytes = 0
        self._flight: _InFlight | None = None
        self._sampling = False  # a read of the sequencer's R is on its way
        self._certain = False  # `known` is R as of after the first queued call arrived
        self.requests = 0  # the number of our newest Alloc
        self._fitting = Fitting(engine, ownership, partial(self.evaluation, Evaluation))
        self._refuses: RequestRefused | None = None  # all that comes, once it has stopped
        self.held = False  # a transaction over several shards has the slot (across.py)
        self.litter: list[bytes] = []  # stored keys that the next batch deletes
        self._owed: dict[TabletId, Sequence[Commit]] = {}  # told with a sample that was too old
        self._sample = Sample(ownership.cepoch, ownership.map_version, 0, {})  # the newest told
        # The counters first: what a batch publishes, the next one's evaluation counts on.
        self.subscribers: list[Callable[[Publication], None]] = [counts.published]
        # Takes a call that only another shard lets us decide; submits it again, or answers it.
        self.aside: Callable[[LeaseId, WriteCall, Done], None] = _alone

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
        if self._refuses is not None:
            return self._refuses
        if len(self._queue) >= WRITE_QUEUE_MAX or self._queued_bytes >= WRITE_QUEUE_BYTES_MAX:
            return errors.TOO_MANY_REQUESTS
        try:
            return not_admitted(self._owned, self._visible, call)
        except EngineError as error:
            return refusal(error)

    def review(self) -> None:
        """Tablets went, or were sealed: refuse what waits and may not be queued any more."""
        self._owed = {t: told for t, told in self._owed.items() if t in self._owned.oepochs}
        waiting, self._queue = self._queue, deque()
        self._queued_bytes = 0
        for call, done in waiting:
            self.submit((call,), done)

    @property
    def idle(self) -> bool:
        return not self._queue and self._flight is None

    @property
    def free(self) -> bool:
        """Whether nobody has the slot."""
        busy = self._flight is not None or self._sampling or self._refuses is not None
        return not (busy or self.held)

    def turn(self) -> bool:
        """Commit one batch, if there is one and none is in flight. Answers: is there more?"""
        if not self.free:
            return False
        if not self._queue:
            if self._owned.oepochs and self._owned.proved != self._owned.cepoch:
                self._flight = _InFlight(self.evaluation(Evaluation), [])
                self._allocate(self._flight)
            return False
        flight = self._take()
        while flight is None:
            flight = self._take()
        if not flight.answers and not self._queue:
            self._certain = False  # of the next call it is not known when it came
            return False
        if not flight.answers:
            self._sampling = True
            self._sequencer.read_revision(self._sampled)
            return bool(self._queue) and not self._sampling
        # An engine on another machine: the one kind that has limits, and whose reads are batched.
        if self._engine.batches_reads:
            calls = [call for call, _, _ in flight.answers]
            if not self._fitting.fits(flight.evaluation, calls, self._certain):
                self._certain = self._certain and len(calls) > 1
                self._queued_bytes += _unfit(self._queue, flight.answers)
                return bool(self._queue)
        self._flight = flight
        self._certain = False
        self._allocate(flight)
        return bool(self._queue)

    def _allocate(self, flight: _InFlight) -> None:
        """Ask for exactly the revisions of the batch."""
        self.requests += 1
        owned = self._owned
        if not owned.oepochs:
            self._flight = None
            _refuse(flight.answers, errors.OTHER_MAP)
            return
        touched = last_index(flight.evaluation.changes)
        named = {tablet for call, _, _ in flight.answers for tablet in call.tablets} | set(touched)
        if owned.proved != owned.cepoch:
            named = set(owned.oepochs)
        # A batch of lease grants names no tablet: it proves the ownership of one that stays.
        ends = tuple(
            (tablet, owned.oepochs[tablet], touched.get(tablet, -1))
            for tablet in sorted(named or {prover(owned.oepochs, owned.sealed)})
        )
        request = AllocRequest(
            owned.cepoch,
            owned.shard,
            self.requests,
            flight.evaluation.writes,
            ends,
            owned.incarnation,
        )
        self._sequencer.alloc(request, partial(self._granted, request))

    def begin_reign(self, cepoch: Epoch) -> None:
        """Another sequencer rules: whatever the one before may still answer is not used."""
        self._owned.begin_reign(cepoch)
        if self._flight is not None:
            self._allocate(self._flight)

    def _sampled(self, sample: Sample) -> None:
        """The first queued call names a revision that this shard has not heard of: now it has."""
        self._sampling = False
        if sample.cepoch > self._owned.cepoch:
            self.begin_reign(sample.cepoch)
        self._certain = True
        self._owned.heard(sample.revision)

    def _take(self) -> _InFlight | None:
        """What has queued, up to the batch's bounds or an answer that must wait. None: a call met
        an unreadable row; it is refused, what was taken is queued again."""
        evaluation = self.evaluation(Evaluation)
        answers: list[tuple[WriteCall, Done, Outcome]] = []
        if self._engine.batches_reads:
            announce(self._engine, self._queue)
        most = 1 if self._fitting.alone else BATCH_WRITES_MAX
        while self._queue and len(answers) < most and evaluation.bytes < BATCH_BYTES_MAX:
            call, done = self._queue[0]
            evaluation.certain = self._certain and not answers
            try:
                outcome = outcome_of(evaluation, call)
            except Ambiguous:
                assert answers or not self._certain, "nothing is pending for the first of a batch"
                break
            except Elsewhere as other:
                self._queue.popleft()
                self._queued_bytes -= len(call.payload)
                self.aside(other.lease, call, done)
                continue
            except EngineError as error:
                self._drop(answers)
                done(WriteReply(call.tag, 0, b"", refusal(error)))
                return None
            self._queue.popleft()
            self._queued_bytes -= len(call.payload)
            answers.append((call, done, outcome))
        return _InFlight(evaluation, answers)

    def evaluation(self, kind: type[E]) -> E:
        """A batch with nothing in it yet."""
        owned, counted = self._owned, self._counts.known
        known, floor = owned.known, owned.floor()
        return kind(self._visible, owned.tablet_of, owned.leases, known, floor, counted)

    def _drop(self, answers: list[tuple[WriteCall, Done, Outcome]]) -> None:
        """Take the first call out of the queue and put those before it back: of an evaluation that
        ended in the middle nothing may be kept."""
        self._certain = self._certain and bool(answers)
        culprit, _ = self._queue.popleft()
        self._queued_bytes -= len(culprit.payload)
        self._queued_bytes += _put_back(self._queue, answers)

    def _granted(self, request: AllocRequest, reply: AllocReply) -> None:
        """The revisions are ours: write, then answer and publish."""
        flight = self._flight
        if request.request_number != self.requests or flight is None:
            return  # of a reign that is over: the batch has asked again
        if reply.sample.cepoch > self._owned.cepoch:
            self.begin_reign(reply.sample.cepoch)
            return
        evaluation = flight.evaluation
        if reply.refused or not (evaluation.writes or _ours(self._owned, request)):
            self._flight = None  # another owner has them: nothing was allocated
            _refuse(flight.answers, errors.OTHER_MAP)
            return
        forget_visits(self._owned.leases, evaluation.granted)
        owned = self._owned
        sealed = seal(evaluation, reply.first, owned.fences, owned.oepochs, owned.sealed)
        if len(sealed.batch):
            for stored in self.litter:
                sealed.batch.delete(stored)
            try:
                self._engine.write(sealed.batch, sync=True)
            except EngineError as error:
                if not self._settled(flight, sealed, reply, error):
                    return
            self.litter.clear()
        self._flight = None
        self._owned.committed(sealed, reply.sample, evaluation, self._clock.now_ms())
        risen = _register(self._owned, request, reply)
        self._answer(flight, reply.first)
        owed, self._owed = self._owed, {}
        if evaluation.writes or risen or owed:
            news = {**owed, **dict.fromkeys(risen, ()), **sealed.commits}
            self._publish(news, reply.sample)

    def _settled(
        self, flight: _InFlight, sealed: Sealed, reply: AllocReply, error: EngineError
    ) -> bool:
        """Whether the batch landed after all; otherwise everything about it was said here."""
        try:
            landed = self._settler.settle(error, self._owned.fences, sealed.fences)
        except (EngineError, FenceDamaged) as unsettled:
            if isinstance(error, EngineFenced):  # the batch is not there, and cannot come
                self.retire()
            self.stop(unsettled)
            return False
        full = isinstance(error, EngineFull)
        if full:
            self._on_full()
        if landed:
            return True
        self._flight = None
        fences = {tablet: void(fence) for tablet, fence in sealed.fences.items()}
        self._owned.voided(fences, reply.sample)
        _refuse(flight.answers, errors.NO_SPACE if full else errors.TIMED_OUT)
        if flight.evaluation.writes:
            self._publish(dict.fromkeys(fences, ()), reply.sample)
        return False

    def applied(self, sealed: Sealed) -> None:
        """A share of a transaction over several shards is durable (across.py). It is told with the
        newest sample there is; the next Alloc's, of all our tablets, lets it be shown."""
        self._owned.applied(sealed.fences)
        self._owed |= dict.fromkeys(sealed.commits, ())
        self._publish(sealed.commits, self._sample)

    def _answer(self, flight: _InFlight, first: int) -> None:
        for call, done, outcome in flight.answers:
            if isinstance(outcome, RequestRefused):
                done(WriteReply(call.tag, 0, b"", outcome))
            else:
                revision = first - 1 + outcome.position
                done(WriteReply(call.tag, revision, outcome.body(first), None))

    def _publish(self, commits: Mapping[TabletId, Sequence[Commit]], sample: Sample) -> None:
        self._sample = sample
        news = tuple(
            TabletNews(tablet, self._owned.oepochs[tablet], of_tablet, self._owned.closed[tablet])
            for tablet, of_tablet in commits.items()
        )
        publication = Publication(self._owned.shard, news, sample)
        for publish in self.subscribers:
            publish(publication)

    def stop(self, error: EngineError | FenceDamaged) -> None:
        """Unknown outcome: answer so, and stop before anything could contradict it."""
        if self._refuses is None:
            self.retire(errors.TIMED_OUT, errors.STOPPED)
        self._on_fatal(error)

    def retire(
        self,
        waiting: RequestRefused = errors.OWNER_AWAY,
        later: RequestRefused = errors.OWNER_AWAY,
    ) -> None:
        """Write nothing any more. By itself: another process owns what we own. What waits did
        nothing, and what is in flight neither, for it is not written: that one may do it."""
        self._refuses = later
        self._owned.doubt()
        flying = [] if self._flight is None else self._flight.answers
        self._flight = None  # a reign that begins meanwhile must not ask for it again
        calls = [(call, done) for call, done, _ in flying] + list(self._queue)
        self._queue.clear()
        for call, done in calls:
            done(WriteReply(call.tag, 0, b"", waiting))


def _register(
    owned: Ownership, request: AllocRequest, reply: AllocReply
) -> Mapping[TabletId, Revision]:
    """The tablets that this answer closes because it named all of ours."""
    named = {tablet for tablet, _, _ in request.ends}
    if owned.proved == owned.cepoch or named != owned.oepochs.keys():
        return {}  # proved, or asked before a tablet came
    granted = [tablet for tablet, _, index in request.ends if index >= 0]
    return owned.register(reply.sample, granted)


def _ours(owned: Ownership, request: AllocRequest) -> bool:
    """Whether all that was named is ours still. What a batch has changed is: tablets go only when
    nothing of theirs is in flight; leases are proved by some tablet."""
    return all(owned.oepochs.get(tablet) == oepoch for tablet, oepoch, _ in request.ends)


def _put_back(queue: Queue, answers: Answers) -> int:
    """Answers: how many bytes of calls."""
    queue.extendleft((call, done) for call, done, _ in reversed(answers))
    return sum(len(call.payload) for call, _, _ in answers)


def _unfit(queue: Queue, answers: Answers) -> int:
    """The engine does not take it. Of several calls each is tried by itself. Answers: how many
    bytes are queued again."""
    if len(answers) > 1:
        return _put_back(queue, answers)
    _refuse(answers, errors.REQUEST_TOO_LARGE)
    return 0


def _refuse(answers: Iterable[tuple[WriteCall, Done, Outcome]], why: RequestRefused) -> None:
    for call, done, _ in answers:
        done(WriteReply(call.tag, 0, b"", why))


def _alone(_lease: LeaseId, call: WriteCall, done: Done) -> None:
    """There is no other shard that we could ask: nobody can tell."""
    done(WriteReply(call.tag, 0, b"", errors.NO_LEADER))
