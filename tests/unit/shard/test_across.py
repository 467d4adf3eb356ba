"""A participant's steps, one shard at a time: the slot, the intent, the decision."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import pytest

from kubebraid.base import errors
from kubebraid.base.across import AcrossCall, AcrossReply, Step, TxnId
from kubebraid.base.limits import (
    ACROSS_ASK_MS,
    ACROSS_LOCK_MS,
    ACROSS_PREPARED_MS,
    ACROSS_WAIT_MS,
)
from kubebraid.base.ports import WRITE_TXN, AllocReply, AllocRequest, Publication
from kubebraid.base.tabletmap import TabletMap
from kubebraid.coordinator.sequencer import Sequencer
from kubebraid.proto.etcd import rpc_pb2
from kubebraid.shard import keycodec
from kubebraid.shard.across import Participant, Surroundings
from kubebraid.shard.intents import decisions, undecided
from kubebraid.shard.owner import Owner
from kubebraid.shard.ownership import Ownership, adopt
from kubebraid.shard.seams import ShardSeams
from kubebraid.shard.settle import Settler
from kubebraid.shard.storage.engine import Batch, EngineError
from kubebraid.shard.storage.space import ENDLESS
from tests.unit.shard.fakes import (
    SHARD,
    A,
    BreakableEngine,
    LateSequencer,
    Stand,
    put_call,
)

TXN = TxnId(7, 1)
PRIMARY = (SHARD, "shard-9")  # this shard decides
OTHER = ("shard--", SHARD)  # another one does


class Peer:
    """The primary, when it is another shard."""

    def __init__(self) -> None:
        self.asked: list[tuple[AcrossCall, Callable[[AcrossReply], None]]] = []

    def across(self, call: AcrossCall, done: Callable[[AcrossReply], None]) -> None:
        self.asked.append((call, done))


class Case:
    """One shard, its participant, and a transaction that puts /a/x."""

    def __init__(self, stand: Stand | None = None) -> None:
        self.stand = stand or Stand(engine=BreakableEngine())
        self.stand.owned.proved = 0  # as a shard's process begins
        self.peer = Peer()
        self.participant = self._made(self.stand)
        self.stand.run()
        if self.stand.sequencer.late:
            self.stand.sequencer.answer()

    def _made(self, stand: Stand) -> Participant:
        """Another participant than the stand's own, with a peer."""
        peers: Mapping[str, Peer] = {"shard--": self.peer, "shard-9": self.peer}
        seams = ShardSeams(stand.clock, stand.fatal.append, on_full=stand._on_full)
        settler = Settler(stand.engine, ENDLESS)
        around = Surroundings(stand.engine, stand.owned, settler, seams, peers)
        made = Participant(around, stand.owner._writer)
        stand.owner.participant = made
        return made

    def ask(self, step: Step, txn: TxnId = TXN, **fields: Any) -> list[AcrossReply]:
        """The answers that have come when nothing more can be done."""
        replies: list[AcrossReply] = []
        call = AcrossCall(step, txn)._replace(**fields)
        self.participant.across(call, replies.append)
        self.stand.run()
        self.stand.run()
        return replies

    def lock(self, txn: TxnId = TXN, key: bytes = b"/a/x") -> list[AcrossReply]:
        request = rpc_pb2.TxnRequest()
        request.compare.add(key=key, target="VERSION", result="EQUAL", version=0)
        request.success.add().request_put.CopyFrom(rpc_pb2.PutRequest(key=key, value=b"new"))
        request.failure.add().request_range.CopyFrom(rpc_pb2.RangeRequest(key=key))
        payload = request.SerializeToString()
        return self.ask(Step.LOCK, txn, kind=WRITE_TXN, payload=payload, map_version=1)

    def prepare(
        self, participants: tuple[str, ...] = PRIMARY, branch: bool = True
    ) -> list[AcrossReply]:
        return self.ask(Step.PREPARE, path=(branch,), participants=participants)

    def grant(self) -> int:
        """What the router's joint Alloc does."""
        owned, granted = self.stand.owned, []
        lane = (SHARD, owned.incarnation, self.stand.owner._writer.requests)
        ends = ((A, owned.oepochs[A], 0),)
        request = AllocRequest(owned.cepoch, "router/7", 1, 1, ends, 7, (lane,))

        def done(reply: AllocReply) -> None:
            granted.append(reply.first)

        self.stand.sequencer.inner.alloc(request, done)
        return granted[0]

    def prepared(self, participants: tuple[str, ...] = PRIMARY) -> int:
        """Locked, prepared, and a revision was handed out for it."""
        self.lock()
        self.prepare(participants)
        return self.grant()

    def pass_ms(self, ms: int) -> None:
        self.stand.clock.ms += ms
        self.stand.run()
        self.stand.run()

    def crash(self) -> Case:
        """A new process on what was durable; the sequencer stays."""
        old = self.stand
        engine = BreakableEngine()
        engine._table = old.engine.clone()._table
        made = Stand.__new__(Stand)
        made.__dict__ |= {**old.__dict__, "engine": engine, "published": [], "replies": []}
        return Case(_restarted(made, old))

    @property
    def free(self) -> bool:
        return self.stand.owner._writer.free

    def stored(self, key: bytes = b"/a/x") -> bytes | None:
        return self.stand.engine.get(keycodec.newest(key))


def _restarted(made: Stand, old: Stand) -> Stand:
    """The same shard under new owner epochs."""
    inner = old.sequencer.inner
    ends = dict(inner.freeze(SHARD, old.tablets))
    tablets = tuple(replace(t, oepoch=t.oepoch + 1, begin=ends[t.id]) for t in old.tablets.tablets)
    made.tablets = TabletMap(old.tablets.version + 1, tablets)
    inner.adopt_map(made.tablets)
    made.sequencer = LateSequencer(inner, late=False)
    fences = adopt(made.engine, SHARD, made.tablets)
    made.owned = Ownership(SHARD, 1, made.tablets, fences, lambda: -1, incarnation=2)
    made.owned.proved = 0
    made.fatal = []
    seams = ShardSeams(made.clock, made.fatal.append)
    made.owner = Owner(made.engine, made.owned, made.sequencer, seams)
    made.owner.subscribe(made._hear)
    return made


# -- the slot --------------------------------------------------------------------------------------


def test_lock_has_the_slot_to_itself() -> None:
    """Writes queue behind it, and pass when it ends."""
    case = Case()
    (reply,) = case.lock()
    assert reply.error is None
    assert [(verdict.found, verdict.satisfied) for verdict in reply.verdicts] == [(False, True)]
    assert not case.stand.write(put_call(b"/b/y"))
    assert not case.free
    case.ask(Step.ABORT)
    assert case.stand.revisions() == {b"/b/y": 2}


def test_lock_waits_for_the_batch_in_flight_and_for_its_turn() -> None:
    case = Case(Stand(late=True, engine=BreakableEngine()))
    case.stand.submit(put_call(b"/a/x"))
    case.stand.run()
    assert not case.lock(), "a batch waits for its revisions"
    case.stand.sequencer.answer()
    case.stand.run()
    assert not case.free


def test_lock_without_a_next_step_ends() -> None:
    case = Case()
    case.lock()
    case.pass_ms(ACROSS_LOCK_MS)
    assert case.free
    (reply,) = case.prepare()
    assert reply.error is errors.OWNER_AWAY, "the slot was somebody else's meanwhile"


def test_lock_that_waits_too_long_is_refused_as_definite() -> None:
    case = Case()
    case.lock()
    replies: list[AcrossReply] = []
    call = AcrossCall(Step.LOCK, TxnId(7, 2), WRITE_TXN, b"", 1)
    case.participant.across(call, replies.append)
    case.pass_ms(ACROSS_WAIT_MS)
    assert [reply.error for reply in replies] == [errors.OWNER_AWAY]
    assert not case.free, "the first has it still"


def test_lock_of_another_map_is_refused() -> None:
    case = Case()
    (reply,) = case.ask(Step.LOCK, kind=WRITE_TXN, map_version=99)
    assert reply.error is errors.OTHER_MAP


def test_slot_that_is_given_back_is_offered_to_the_queue_first() -> None:
    """A stream of transactions does not starve single writes."""
    case = Case()
    case.lock()
    case.stand.submit(put_call(b"/b/y"))
    waiting: list[AcrossReply] = []
    payload = rpc_pb2.TxnRequest().SerializeToString()
    call = AcrossCall(Step.LOCK, TxnId(7, 2), WRITE_TXN, payload, 1)
    case.participant.across(call, waiting.append)
    case.ask(Step.ABORT)
    assert case.stand.revisions() == {b"/b/y": 2}
    assert [reply.error for reply in waiting] == [None]


# -- prepare and decide ----------------------------------------------------------------------------


def test_prepared_share_is_durable_and_names_its_lane() -> None:
    case = Case()
    case.lock()
    (reply,) = case.prepare()
    assert reply.prepared is not None
    assert reply.prepared.lane == (SHARD, 0, case.stand.owner._writer.requests)
    assert reply.prepared.ends == ((A, 1, 0),)
    found = undecided(case.stand.engine.clone())
    assert found is not None
    assert found[0] == TXN
    assert case.stored() is None, "nothing is applied"


def test_share_that_changes_nothing_writes_nothing_and_ends_by_itself() -> None:
    """Somebody else's share may still change something: the lane tells that this one has ended."""
    case = Case()
    case.lock()
    (reply,) = case.prepare(OTHER, branch=False)
    assert reply.prepared is not None
    assert reply.prepared.ends == ((A, 1, -1),)
    assert undecided(case.stand.engine) is None
    case.pass_ms(ACROSS_PREPARED_MS)
    assert case.free
    assert not case.peer.asked


def test_share_that_the_store_would_refuse_is_refused_before_anything_is_decided(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Behind the decision it would be tried again for ever. What is shown to the store is what the
    end writes."""
    case = Case()
    engine = case.stand.engine
    shown: list[set[bytes]] = []
    written: list[set[bytes]] = []
    verdict = True
    write = engine.write

    def refuses(make: Callable[[], Batch]) -> bool:
        shown.append({key for _, key, _ in make().operations})
        return verdict

    def watched(batch: Batch, *, sync: bool) -> None:
        written.append({key for _, key, _ in batch.operations})
        write(batch, sync=sync)

    monkeypatch.setattr(engine, "refuses", refuses)
    monkeypatch.setattr(engine, "write", watched)
    case.lock()
    (reply,) = case.prepare()
    assert reply.error == errors.REQUEST_TOO_LARGE
    assert case.free
    assert not written
    verdict = False
    revision = case.prepared()
    case.ask(Step.COMMIT, revision=revision)
    assert shown[1] == shown[0]
    assert written[-1] <= shown[1]
    assert case.stored() is not None


def test_commit_applies_and_decides_in_one_batch() -> None:
    case = Case()
    engine = case.stand.engine
    assert isinstance(engine, BreakableEngine)
    revision = case.prepared()
    writes = engine.writes
    (reply,) = case.ask(Step.COMMIT, revision=revision)
    assert reply.revision == revision
    assert undecided(case.stand.engine) is None
    assert decisions(case.stand.engine)[TXN].revision == revision
    assert engine.writes == writes + 1
    assert case.stored() is not None
    assert case.stand.owned.closed[A] == revision


def test_commit_is_published_and_the_next_alloc_lets_it_be_shown() -> None:
    """The first publication has an older sample; without another one no router could release."""
    case = Case()
    told: list[Publication] = case.stand.published
    told.clear()
    revision = case.prepared()
    case.ask(Step.COMMIT, revision=revision)
    (first, *_, last) = told
    assert [commit.revision for news in first.news for commit in news.commits] == [revision]
    assert last.sample.revision >= revision
    assert A in {news.tablet for news in last.news}


def test_commit_asked_again_tells_the_same() -> None:
    case = Case()
    revision = case.prepared()
    for _ in range(2):
        (reply,) = case.ask(Step.COMMIT, revision=revision)
        assert reply.revision == revision


def test_m07_commit_without_the_primarys_own_share_is_abort() -> None:
    """Never locked; only locked; aborted before; behind a start: the answer is 0 for ever."""
    for spoil in ("never", "locked", "aborted", "crashed"):
        case = Case()
        if spoil == "locked":
            case.lock()
        elif spoil != "never":
            case.prepared()
        if spoil == "aborted":
            case.ask(Step.RESOLVE)
        if spoil == "crashed":
            case = case.crash()
        (reply,) = case.ask(Step.COMMIT, revision=2)
        assert (reply.error, reply.revision) == (None, 0), spoil
        assert case.stored() is None, spoil


def test_m07_abort_that_was_told_is_kept() -> None:
    """A participant heard 0; whatever comes late, COMMIT or PREPARE, the primary stays with it."""
    case = Case()
    case.prepared()
    (reply,) = case.ask(Step.RESOLVE)
    assert reply.revision == 0
    assert undecided(case.stand.engine.clone()) is None, "durably"
    (late,) = case.ask(Step.COMMIT, revision=2)
    assert late.revision == 0
    (prepare,) = case.prepare()
    assert prepare.error is errors.OWNER_AWAY
    (again,) = case.ask(Step.RESOLVE)
    assert again.revision == 0


def test_m07_decision_outlives_its_process_and_goes_with_forget() -> None:
    case = Case()
    revision = case.prepared()
    case.ask(Step.COMMIT, revision=revision)
    case = case.crash()
    (reply,) = case.ask(Step.RESOLVE)
    assert reply.revision == revision
    case.ask(Step.FORGET)
    assert TXN in decisions(case.stand.engine), "its row goes with the next batch"
    case.stand.write(put_call(b"/b/y")._replace(map_version=2))
    assert decisions(case.stand.engine) == {}


def test_primary_aborts_when_its_router_is_silent() -> None:
    case = Case()
    case.prepared()
    case.pass_ms(ACROSS_PREPARED_MS)
    assert case.free
    assert case.stored() is None
    assert case.stand.owned.closed[A] == 2, "what was handed out for nothing is closed"


# -- a participant whose primary is another --------------------------------------------------------


def test_participant_asks_the_primary_until_it_answers() -> None:
    case = Case()
    revision = case.prepared(OTHER)
    case.pass_ms(ACROSS_PREPARED_MS)
    case.pass_ms(ACROSS_ASK_MS)
    assert [call.step for call, _ in case.peer.asked] == [Step.RESOLVE] * 2
    case.peer.asked[0][1](AcrossReply(errors.OWNER_AWAY))
    assert not case.free, "nobody has told"
    case.peer.asked[1][1](AcrossReply(revision=revision))
    assert case.stored() is not None
    assert case.stand.owned.closed[A] == revision
    case.peer.asked[0][1](AcrossReply(revision=0))  # late, of what has ended
    assert case.stored() is not None


def test_share_whose_primary_was_removed_is_aborted() -> None:
    case = Case()
    case.prepared(OTHER)
    assert case.participant.undecided == 1
    case.stand.owned.members = frozenset((SHARD, *OTHER))
    case.pass_ms(ACROSS_PREPARED_MS)
    assert len(case.peer.asked) == 1, "it may have decided"
    case.stand.owned.members = frozenset((SHARD,))
    case.pass_ms(ACROSS_ASK_MS)
    assert len(case.peer.asked) == 1
    assert case.free
    assert case.stored() is None
    assert case.participant.undecided == 0


def test_decision_that_somebody_may_ask_for_is_counted() -> None:
    case = Case()
    revision = case.prepared()
    case.ask(Step.COMMIT, revision=revision)
    assert case.participant.undecided == 1
    assert case.stand.owner.status().undecided == 1
    case.ask(Step.FORGET)
    assert case.participant.undecided == 0


def test_m01_prepared_tablet_does_not_register_in_a_new_reign_before_it_is_decided() -> None:
    """Neither it nor the others of its shard; then all, and the old reign's revision counts."""
    case = Case()
    revision = case.prepared(OTHER)
    tablets = case.stand.tablets
    begin = 1_000
    ruler = Sequencer(2, tablets, {tablet.id: begin for tablet in tablets.tablets})
    case.stand.sequencer.inner = ruler
    case.stand.owner.begin_reign(2)
    asked = len(case.stand.sequencer.asked)
    case.pass_ms(100)
    case.stand.submit(put_call(b"/b/y"))
    case.pass_ms(100)
    assert len(case.stand.sequencer.asked) == asked, "it asks for nothing"
    assert max(case.stand.owned.closed.values()) < revision, "and closes nothing"
    case.ask(Step.APPLY, revision=revision)
    assert case.stand.owned.proved == 2
    assert case.stand.owned.closed[A] == begin
    assert case.stored() is not None
    assert case.stand.revisions() == {b"/b/y": begin + 1}


def test_m01_start_with_an_intent_closes_nothing_up_to_h() -> None:
    """H may be the very revision that the decision names."""
    case = Case()
    revision = case.prepared(OTHER)
    case = case.crash()
    assert not case.free
    assert case.stand.owned.closed[A] < revision
    case.pass_ms(1)
    assert [call.step for call, _ in case.peer.asked] == [Step.RESOLVE]
    case.peer.asked[0][1](AcrossReply(revision=revision))
    case.stand.run()
    assert case.stored() is not None
    assert case.stand.owned.closed[A] == revision


def test_start_with_an_intent_of_its_own_decision_drops_it() -> None:
    case = Case()
    case.prepared(PRIMARY)
    case = case.crash()
    assert case.free
    assert undecided(case.stand.engine.clone()) is None
    assert case.stored() is None


def test_apply_that_comes_again_answers_and_does_nothing() -> None:
    case = Case()
    revision = case.prepared(OTHER)
    for _ in range(2):
        (reply,) = case.ask(Step.APPLY, revision=revision)
        assert reply.error is None
    assert case.stand.owned.closed[A] == revision


# -- a device that fails ---------------------------------------------------------------------------


def test_uncertain_writes_are_settled_before_anything_is_answered() -> None:
    """Landed or not, each step is there once when it is answered."""
    for landed in (False, True):
        case = Case()
        engine = case.stand.engine
        assert isinstance(engine, BreakableEngine)
        gone = EngineError("the device is gone")
        case.lock()
        engine.write_faults.append((gone, landed))
        (prepared,) = case.prepare()
        assert prepared.prepared is not None
        revision = case.grant()
        engine.write_faults.append((gone, landed))
        (reply,) = case.ask(Step.COMMIT, revision=revision)
        assert reply.revision == revision
        assert case.stored() is not None
        assert decisions(engine)[TXN].revision == revision


def test_device_that_takes_nothing_ends_the_shard_without_an_answer() -> None:
    case = Case()
    revision = case.prepared()
    engine = case.stand.engine
    assert isinstance(engine, BreakableEngine)
    engine.breaks = True
    for _ in range(2):
        assert not case.ask(Step.COMMIT, revision=revision)
        assert len(case.stand.fatal) == 1
