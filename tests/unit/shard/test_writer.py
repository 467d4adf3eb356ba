"""The write path: one batch in flight, and nothing is said before it is durable."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

import pytest

from kubebraid.base import errors
from kubebraid.base.errors import RequestRefused
from kubebraid.base.keyspace import EVERYTHING, KeyRange, single
from kubebraid.base.limits import BATCH_BYTES_MAX, BATCH_WRITES_MAX, WRITE_QUEUE_MAX
from kubebraid.base.ports import (
    WRITE_PUT,
    AllocReply,
    AllocRequest,
    LogCall,
    LogReply,
    Sample,
    WriteCall,
)
from kubebraid.base.tabletmap import layout, with_new_epochs
from kubebraid.coordinator.sequencer import Sequencer
from kubebraid.proto.etcd import rpc_pb2
from kubebraid.shard import keycodec
from kubebraid.shard.fencing import Fence, FenceDamaged
from kubebraid.shard.ownership import adopt
from kubebraid.shard.storage.engine import Batch, EngineCorrupt, EngineError, EngineFull
from kubebraid.shard.storage.tikv_errors import EngineConflict, EngineFenced, EngineUncertain
from tests.unit.shard.fakes import (
    PREFIXES,
    SHARD,
    A,
    B,
    BreakableEngine,
    Sink,
    Stand,
    asked,
    delete_call,
    grant_call,
    put_call,
    read_call,
    revoke_call,
    txn_call,
)


def update(key: bytes, mod: int) -> rpc_pb2.TxnRequest:
    """What kube-apiserver sends: put if mod is the revision that was read."""
    same = rpc_pb2.Compare(
        key=key,
        target=rpc_pb2.Compare.MOD,
        result=rpc_pb2.Compare.EQUAL,
        mod_revision=mod,
    )
    put = rpc_pb2.RequestOp(request_put=rpc_pb2.PutRequest(key=key, value=b"updated"))
    return rpc_pb2.TxnRequest(compare=[same], success=[put])


# -- a batch ---------------------------------------------------------------------------------------


def test_queued_writes_are_one_batch_with_the_next_revisions() -> None:
    """The worked example of the module, from an empty store on."""
    engine = BreakableEngine()
    stand = Stand(engine=engine)
    before = engine.writes
    stand.write(put_call(b"/a/a"), put_call(b"/a/b"))
    assert stand.revisions() == {b"/a/a": 2, b"/a/b": 3}
    assert engine.writes - before == 1
    (publication,) = stand.published
    (news,) = publication.news
    assert (news.tablet, news.closed) == (A, 3)
    assert [commit.revision for commit in news.commits] == [2, 3]


def test_alloc_asks_for_the_last_write_of_each_tablet_alone() -> None:
    """The worked example of base/ports: a, b, a ask for ((a, 2), (b, 1))."""
    stand = Stand(late=True)
    stand.submit(put_call(b"/a/x"), put_call(b"/b/x"), put_call(b"/a/y"))
    stand.run()
    (request,) = stand.sequencer.asked
    assert request.writes == 3
    assert sorted(request.ends) == [(A, 1, 2), (B, 1, 1)]


def test_write_that_changes_nothing_proves_ownership_and_takes_no_revision() -> None:
    stand = Stand()
    replies = stand.write(delete_call(b"/a/none"))
    (request,) = stand.sequencer.asked
    assert (request.writes, request.ends) == (0, ((A, 1, -1),))
    assert replies[0].revision == 1
    assert stand.published == []


def test_inv04_answers_show_what_they_have_seen() -> None:
    """A failed compare between two puts says the first one's revision, not its own."""
    stand = Stand()
    stand.write(
        put_call(b"/a/x"), txn_call(update(b"/a/x", 1)), delete_call(b"/a/none"), put_call(b"/a/y")
    )
    assert stand.revisions() == {b"/a/x": 2, "txn": 2, b"/a/none": 2, b"/a/y": 3}


def test_empty_turn_asks_nobody() -> None:
    stand = Stand()
    assert not stand.owner.turn()
    assert stand.sequencer.asked == []


def test_grant_writes_its_row_without_a_revision() -> None:
    stand = Stand()
    replies = stand.write(grant_call(7, 60))
    assert rpc_pb2.LeaseGrantResponse.FromString(replies[0].body).TTL == 60
    assert replies[0].revision == 1
    assert 7 in stand.owned.leases
    assert stand.owned.known == 1


# -- late answers ----------------------------------------------------------------------------------


def test_nothing_is_said_before_the_revisions_are_known() -> None:
    stand = Stand(late=True)
    stand.submit(put_call(b"/a/x"))
    stand.run()
    assert (stand.replies, stand.published) == ([], [])
    assert stand.owned.closed[A] == 1
    assert not stand.owner.drained
    stand.sequencer.answer()
    assert stand.revisions() == {b"/a/x": 2}
    assert stand.owned.closed[A] == 2
    assert stand.owner.drained


def test_two_batches_are_never_in_flight() -> None:
    stand = Stand(late=True)
    stand.submit(put_call(b"/a/x"))
    stand.run()
    stand.submit(put_call(b"/a/y"), put_call(b"/a/z"))
    stand.run()
    assert [request.writes for request in stand.sequencer.asked] == [1]
    stand.sequencer.answer()
    stand.run()
    assert [request.writes for request in stand.sequencer.asked] == [1, 2]
    stand.sequencer.answer()
    assert stand.revisions() == {b"/a/x": 2, b"/a/y": 3, b"/a/z": 4}


def test_inv02_write_that_arrives_after_the_alloc_gets_no_number_of_it() -> None:
    """No prefetch: another shard's write may have been acknowledged in between."""
    stand = Stand(late=True)
    stand.submit(put_call(b"/a/x"))
    stand.run()
    stand.submit(put_call(b"/a/late"))
    stand.sequencer.answer()
    assert set(stand.revisions()) == {b"/a/x"}


def test_writes_behind_one_in_flight_are_evaluated_on_its_result() -> None:
    stand = Stand(late=True)
    stand.submit(put_call(b"/a/x"))
    stand.run()
    stand.submit(txn_call(update(b"/a/x", 2)))
    stand.run()
    stand.sequencer.answer()
    stand.run()
    stand.sequencer.answer()
    reply = rpc_pb2.TxnResponse.FromString(stand.replies[-1].body)
    assert reply.succeeded
    assert stand.replies[-1].revision == 3


def test_requests_are_numbered_upwards() -> None:
    """The sequencer tells a repeated request from a new one by its number."""
    stand = Stand()
    for _ in range(3):
        stand.write(put_call(b"/a/x"))
    assert [request.request_number for request in stand.sequencer.asked] == [1, 2, 3]


# -- what cuts a batch -----------------------------------------------------------------------------


def test_ambiguous_write_cuts_the_batch_and_leads_the_next() -> None:
    """The update names the revision that the put before it is about to get."""
    stand = Stand(late=True)
    stand.submit(put_call(b"/a/x"), txn_call(update(b"/a/x", 2)), put_call(b"/a/z"))
    stand.run()
    stand.sequencer.answer()
    assert stand.revisions() == {b"/a/x": 2}
    stand.run()
    stand.sequencer.answer()
    assert [request.writes for request in stand.sequencer.asked] == [1, 2]
    assert stand.revisions() == {b"/a/x": 2, "txn": 3, b"/a/z": 4}


def test_ambiguous_write_does_not_let_the_ones_behind_it_pass() -> None:
    stand = Stand()
    stand.write(put_call(b"/a/x"), txn_call(update(b"/a/x", 2)), put_call(b"/a/x"))
    assert [reply.revision for reply in stand.replies] == [2, 3, 4]


def test_lease_that_is_revoked_and_granted_anew_takes_two_batches() -> None:
    stand = Stand()
    stand.write(grant_call(7, 60))
    stand.write(put_call(b"/a/x", lease=7))
    replies = stand.write(revoke_call(7), grant_call(7, 30), put_call(b"/a/y", lease=7))
    assert [reply.error for reply in replies] == [None, None, None]
    assert [reply.revision for reply in replies] == [3, 3, 4]
    assert asked(stand.owner.lease_info, 7) == (30, 30, (b"/a/y",))


def test_batch_is_bounded_in_writes() -> None:
    stand = Stand(late=True)
    stand.submit(*[put_call(b"/a/x") for _ in range(BATCH_WRITES_MAX + 1)])
    assert stand.owner.turn(), "more is queued"
    assert [request.writes for request in stand.sequencer.asked] == [BATCH_WRITES_MAX]


def test_batch_is_bounded_in_bytes() -> None:
    stand = Stand(late=True)
    large = bytes(1 << 20)
    for number in range(BATCH_BYTES_MAX // len(large) + 3):
        stand.submit(put_call(b"/a/%d" % number, large))
    stand.run()
    assert stand.sequencer.asked[0].writes == BATCH_BYTES_MAX // len(large)


# -- refusals --------------------------------------------------------------------------------------


def test_refused_write_is_answered_with_its_batch() -> None:
    stand = Stand()
    replies = stand.write(put_call(b"/a/x", lease=9), put_call(b"/a/y"))
    assert [reply.error for reply in replies] == [errors.LEASE_NOT_FOUND, None]
    assert replies[1].revision == 2


def test_full_queue_refuses_at_once() -> None:
    stand = Stand(late=True)
    stand.submit(*[put_call(b"/a/x") for _ in range(WRITE_QUEUE_MAX)])
    assert stand.replies == []
    stand.submit(put_call(b"/a/one-more"))
    assert [(r.tag, r.error) for r in stand.replies] == [(b"/a/one-more", errors.TOO_MANY_REQUESTS)]


def test_write_planned_with_another_map_is_refused_at_once() -> None:
    stand = Stand(late=True)
    payload = rpc_pb2.PutRequest(key=b"/a/x").SerializeToString()
    stand.submit(WriteCall(WRITE_PUT, payload, (A,), 2, "stale"))
    assert [reply.error for reply in stand.replies] == [errors.OTHER_MAP]
    stand.run()
    assert stand.sequencer.asked == []


def test_refused_alloc_leaves_no_trace() -> None:
    """The sequencer knows another owner: nothing was allocated, so nothing happened."""
    stand = Stand(late=True)
    before = stand.engine.scan(b"", b"\xff", 1_000)
    stand.submit(put_call(b"/a/x"), grant_call(7, 60))
    stand.run()
    stand.sequencer.refuse()
    assert [reply.error for reply in stand.replies] == [errors.OTHER_MAP] * 2
    assert stand.published == []
    assert stand.engine.scan(b"", b"\xff", 1_000) == before
    assert 7 not in stand.owned.leases
    assert stand.owned.closed[A] == 1
    assert stand.fatal == []


def test_writer_goes_on_after_a_refused_alloc() -> None:
    """The tablet may come back; a key of the lost batch starts at version 1."""
    stand = Stand(late=True)
    stand.submit(put_call(b"/a/x"))
    stand.run()
    stand.submit(put_call(b"/a/x", tag="next"))
    stand.sequencer.refuse()
    stand.run()
    stand.sequencer.answer()
    assert stand.revisions()["next"] == 2
    (commit,) = stand.published[0].news[0].commits
    assert commit.events[0].previous is None


def test_inv15_deposed_owner_grants_no_lease() -> None:
    """The tablets have gone to another incarnation: its puts are refused, and so is this."""
    stand = Stand()
    last = dict.fromkeys(stand.owned.closed, 1)
    stand.sequencer.inner = Sequencer(1, with_new_epochs(stand.tablets), last)
    replies = stand.write(grant_call(7, 60))
    assert [reply.error for reply in replies] == [errors.OTHER_MAP]
    assert stand.engine.get(keycodec.lease(7)) is None


def test_range_at_a_revision_of_another_shard_is_not_in_the_future() -> None:
    """A client read revision 3 elsewhere; this shard has not heard of it before the batch."""
    stand = Stand()
    stand.write(put_call(b"/a/x"))
    elsewhere = AllocRequest(1, "shard-1", 1, 1, ((5, 1, 0),))
    stand.sequencer.inner.alloc(elsewhere, lambda _: None)
    ranged = rpc_pb2.RequestOp(request_range=rpc_pb2.RangeRequest(key=b"/a/x", revision=3))
    replies = stand.write(txn_call(rpc_pb2.TxnRequest(success=[ranged])))
    assert [reply.error for reply in replies] == [None]


# -- a failing engine ------------------------------------------------------------------------------


GONE = EngineError("the device is gone")
FULL = EngineFull("no space left")
KINDS = pytest.mark.parametrize("error", [GONE, FULL], ids=["gone", "full"])


def failing(error: EngineError, *, lands: bool) -> tuple[Stand, BreakableEngine]:
    """A stand with /a/x at 2 whose next write fails; its sequencer answers late from now on."""
    engine = BreakableEngine()
    stand = Stand(engine=engine)
    stand.write(put_call(b"/a/x"))
    stand.replies.clear()
    stand.published.clear()
    stand.sequencer.late = True
    engine.write_faults.append((error, lands))
    return stand, engine


def go_on(stand: Stand) -> None:
    """The sequencer answers what is asked, until nobody asks any more."""
    while stand.sequencer.waiting:
        stand.sequencer.answer()
        stand.run()


def adopted_by_the_next(stand: Stand) -> dict[int, int]:
    """`last` of each tablet, as the process after this one finds it after a crash right now."""
    fences = adopt(stand.engine.clone(), SHARD, with_new_epochs(stand.tablets))
    return {tablet: fence.last for tablet, fence in fences.items()}


def live_keys(stand: Stand) -> list[bytes]:
    return [key[1:] for key in stand.engine.clone().keys(b"n", b"o", 1_000)]


@KINDS
def test_inv16_failed_write_that_landed_is_answered_and_published_as_any_other(
    error: EngineError,
) -> None:
    stand, engine = failing(error, lands=True)
    stand.submit(put_call(b"/a/x"), delete_call(b"/a/none"), put_call(b"/b/x"))
    stand.run()
    stand.submit(put_call(b"/a/queued"))
    writes = engine.writes
    stand.sequencer.answer()
    assert engine.writes == writes + 1, "nothing was written to find it out"
    assert [(r.tag, r.error) for r in stand.replies] == [
        (b"/a/x", None),
        (b"/a/none", None),
        (b"/b/x", None),
    ]
    assert stand.revisions() == {b"/a/x": 3, b"/a/none": 3, b"/b/x": 4}
    (publication,) = stand.published
    told = {
        news.tablet: (news.closed, [c.revision for c in news.commits]) for news in publication.news
    }
    assert told == {A: (3, [3]), B: (4, [4])}
    stand.run()
    go_on(stand)
    assert stand.revisions()[b"/a/queued"] == 5
    assert stand.full == (error is FULL)
    assert stand.fatal == []


@KINDS
def test_inv16_void_write_is_refused_whole_and_its_revisions_stay_empty(error: EngineError) -> None:
    """All of its batch, also what would have changed nothing: it was evaluated on the others."""
    stand, _ = failing(error, lands=False)
    stand.submit(put_call(b"/a/x"), delete_call(b"/a/none"), put_call(b"/b/x"), grant_call(7, 60))
    stand.run()
    stand.submit(put_call(b"/a/queued"))
    assert stand.replies == []
    stand.sequencer.answer()
    refused = errors.NO_SPACE if error is FULL else errors.TIMED_OUT
    assert [r.error for r in stand.replies] == [refused] * 4
    assert live_keys(stand) == [b"/a/x"]
    assert 7 not in stand.owned.leases
    assert {t: stand.owned.closed[t] for t in (A, B)} == {A: 3, B: 4}
    (publication,) = stand.published
    told = {news.tablet: (news.closed, tuple(news.commits)) for news in publication.news}
    assert told == {A: (3, ()), B: (4, ())}, "whoever waits for these revisions learns of them"
    assert publication.sample.revision == 4
    assert stand.full == (error is FULL)
    assert stand.fatal == []


def test_write_behind_a_void_one_is_evaluated_without_it_and_gets_the_next_revision() -> None:
    stand, _ = failing(GONE, lands=False)
    stand.submit(put_call(b"/a/x", b"lost"), put_call(b"/a/new"))
    stand.run()
    stand.submit(put_call(b"/a/x", tag="next"), put_call(b"/a/new", tag="new"))
    stand.sequencer.answer()
    stand.run()
    go_on(stand)
    assert stand.revisions()["next"] == 5
    (news,) = stand.published[-1].news
    first, second = (event for commit in news.commits for event in commit.events)
    assert (first.before, second.before) == (2, 0)
    row = stand.read(read_call(single(b"/a/x"), 5)).rows[0]
    assert (row.mod, row.create, row.version) == (5, 2, 2)


def test_update_on_the_revision_of_a_void_write_fails_its_compare() -> None:
    """Nobody was told of 3; a client that guesses it must not be taken for one who was."""
    stand, _ = failing(GONE, lands=False)
    stand.submit(put_call(b"/a/x"))
    stand.run()
    stand.submit(txn_call(update(b"/a/x", 3)), txn_call(update(b"/a/x", 2), tag="seen"))
    stand.sequencer.answer()
    stand.run()
    go_on(stand)
    replies = {r.tag: rpc_pb2.TxnResponse.FromString(r.body).succeeded for r in stand.replies[1:]}
    assert replies == {"txn": False, "seen": True}


def test_void_revisions_read_as_the_state_before_them_and_hold_no_events() -> None:
    stand, _ = failing(GONE, lands=False)
    stand.submit(put_call(b"/a/x"), put_call(b"/a/y"))
    stand.run()
    stand.sequencer.answer()
    stand.sequencer.late = False
    stand.write(put_call(b"/a/z"))
    for revision in (2, 3, 4):
        sink = stand.read(read_call(KeyRange(b"/a/", b"/a0"), revision, [(A, revision)]))
        assert [row.mod for row in sink.rows] == [2]
    replies: list[LogReply | RequestRefused] = []
    stand.owner.read_log(LogCall((A,), EVERYTHING, 2, 5, 10), replies.append)
    (reply,) = replies
    assert isinstance(reply, LogReply)
    assert ([c.revision for c in reply.commits], reply.complete) == ([2, 5], 5)


@pytest.mark.parametrize("lands", [False, True])
def test_inv13_void_or_landed_revisions_are_never_handed_out_again(lands: bool) -> None:
    """Whatever comes next: a crash right now, or after another write elsewhere."""
    stand, _ = failing(GONE, lands=lands)
    stand.submit(put_call(b"/a/x"), put_call(b"/b/x"), put_call(b"/a/y"))
    stand.run()
    stand.sequencer.answer()
    assert adopted_by_the_next(stand) == {1: 1, A: 5, 3: 1, B: 4, 5: 1}
    stand.sequencer.late = False
    stand.write(put_call(b"/b/x", tag="next"))
    assert stand.revisions()["next"] == 6
    assert adopted_by_the_next(stand) == {1: 1, A: 5, 3: 1, B: 6, 5: 1}
    assert {t: fence.last for t, fence in stand.owned.fences.items()} == adopted_by_the_next(stand)


@pytest.mark.parametrize("lands", [False, True])
def test_writer_survives_one_failure_after_another(lands: bool) -> None:
    """The fences in memory stay those on disk: each settling begins where the last one ended."""
    stand, engine = failing(GONE, lands=lands)
    stand.sequencer.late = False
    for number in range(5):
        engine.write_faults = deque([(GONE, lands)])
        stand.write(put_call(b"/a/%d" % number, tag=number))
        stand.write(put_call(b"/b/%d" % number), grant_call(70 + number, 60))
    assert stand.fatal == []
    refusals = [r.tag for r in stand.replies if r.error is not None]
    assert refusals == ([] if lands else list(range(5)))
    assert stand.owned.known == 12
    assert adopted_by_the_next(stand)[B] == 12
    assert len(live_keys(stand)) == (11 if lands else 6)


@pytest.mark.parametrize("lands", [False, True])
def test_failed_batch_of_lease_grants_is_settled_by_its_touched_fence(lands: bool) -> None:
    stand, _ = failing(GONE, lands=lands)
    stand.sequencer.late = False
    (reply,) = stand.write(grant_call(7, 60))
    assert reply.error == (None if lands else errors.TIMED_OUT)
    assert (7 in stand.owned.leases) is lands
    assert (stand.engine.get(keycodec.lease(7)) is not None) is lands
    assert stand.published == [], "no revision was taken"
    assert (stand.owned.known, stand.owned.closed[1]) == (2, 1)
    stand.write(grant_call(8, 60), put_call(b"/a/y"))
    assert stand.revisions()[b"/a/y"] == 3
    assert stand.fatal == []


def test_void_revoke_keeps_the_lease_and_its_keys() -> None:
    stand, _ = failing(GONE, lands=False)
    engine = stand.engine
    assert isinstance(engine, BreakableEngine)
    stand.sequencer.late = False
    engine.write_faults.appendleft(None)
    engine.write_faults.appendleft(None)
    stand.write(grant_call(7, 60))
    stand.write(put_call(b"/a/leased", lease=7))
    (reply,) = stand.write(revoke_call(7))
    assert reply.error is errors.TIMED_OUT
    assert asked(stand.owner.lease_info, 7) == (60, 60, (b"/a/leased",))
    (reply,) = stand.write(revoke_call(7))
    assert reply.error is None
    assert live_keys(stand) == [b"/a/x"]


@pytest.mark.parametrize("lands", [False, True])
def test_unsettled_write_is_of_unknown_outcome_and_stops_the_writer_for_good(lands: bool) -> None:
    stand, engine = failing(GONE, lands=lands)
    lasting = EngineError("still gone")
    engine.reopen_faults.extend([GONE, GONE, lasting])
    stand.submit(put_call(b"/a/x"), delete_call(b"/a/none"))
    stand.run()
    stand.submit(put_call(b"/a/queued"))
    stand.sequencer.answer()
    assert [(r.tag, r.error) for r in stand.replies] == [
        (b"/a/x", errors.TIMED_OUT),
        (b"/a/none", errors.TIMED_OUT),
        (b"/a/queued", errors.TIMED_OUT),
    ]
    assert stand.published == []
    assert (stand.owned.closed[A], stand.owned.fences[A].last) == (2, 2)
    assert stand.fatal == [lasting]
    stand.submit(put_call(b"/a/later"))
    assert stand.replies[-1].error is errors.STOPPED
    assert len(stand.sequencer.asked) == 2, "nothing is allocated any more"


def test_foreign_fence_stops_the_writer() -> None:
    """Between the failure and the reopening another process has taken the store."""
    stand, engine = failing(GONE, lands=False)
    stand.submit(put_call(b"/a/x"))
    stand.run()
    reopen = engine.reopen

    def taken_meanwhile() -> None:
        reopen()
        foreign = Fence(9, 40, 70).pack()
        engine.write(Batch().put(keycodec.fence(A), foreign), sync=True)

    engine.reopen = taken_meanwhile  # type: ignore[method-assign]
    stand.sequencer.answer()
    assert [r.error for r in stand.replies] == [errors.TIMED_OUT]
    assert [type(error) for error in stand.fatal] == [FenceDamaged]
    stand.submit(put_call(b"/a/later"))
    assert stand.replies[-1].error is errors.STOPPED


def test_stopped_writer_refuses_for_good() -> None:
    engine = BreakableEngine()
    stand = Stand(engine=engine)
    engine.breaks = True
    stand.write(put_call(b"/a/x"))
    engine.breaks = False
    assert [reply.error for reply in stand.write(put_call(b"/a/y"))] == [errors.STOPPED]
    assert len(stand.sequencer.asked) == 1


def test_inv13_stopped_shard_answers_no_read_with_a_revision_that_may_come_again() -> None:
    """The loop goes on for a few turns after the fatal error. The sequencer's R counts the lost
    batch already; the next start will not, and gives its revisions to other writes."""
    stand, engine = failing(GONE, lands=False)
    engine.reopen_faults.extend([GONE] * 3)
    stand.submit(put_call(b"/a/y"))
    stand.run()
    stand.sequencer.answer()
    assert stand.fatal
    assert max(adopted_by_the_next(stand).values()) == 2
    engine.reopen()
    sample = stand.sequencer.inner.sample()
    sink = Sink()
    stand.owner.read(read_call(single(b"/b/x"), sample.revision, [(B, sample.last[B])]), sink)
    assert sink.total is None, f"answered at {sample.revision}, which nobody has written"


# -- rows that cannot be read ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("error", "refused"),
    [(EngineCorrupt("checksum"), errors.CORRUPT), (GONE, errors.TIMED_OUT)],
    ids=["damaged", "gone"],
)
@pytest.mark.parametrize("place", [0, 1, 2])
def test_unreadable_row_refuses_its_call_alone_and_its_batch_mates_commit(
    error: EngineError, refused: RequestRefused, place: int
) -> None:
    """What had been evaluated is evaluated anew, once: each put counts one version."""
    engine = BreakableEngine()
    stand = Stand(engine=engine)
    stand.write(put_call(b"/a/x"), put_call(b"/a/bad"))
    engine.faults[keycodec.newest(b"/a/bad")] = error
    calls = [put_call(b"/a/x"), put_call(b"/b/y")]
    calls.insert(place, put_call(b"/a/bad", tag="bad"))
    asked = len(stand.sequencer.asked)
    replies = {reply.tag: reply for reply in stand.write(*calls)}
    assert replies["bad"].error is refused
    assert {tag: (r.error, r.revision) for tag, r in replies.items() if tag != "bad"} == {
        b"/a/x": (None, 4),
        b"/b/y": (None, 5),
    }
    assert len(stand.sequencer.asked) == asked + 1, "one batch"
    row = stand.read(read_call(single(b"/a/x"), 5)).rows[0]
    assert (row.version, row.mod) == (2, 4)
    assert stand.fatal == []
    assert engine.reopens == 0
    engine.faults.clear()
    assert stand.read(read_call(single(b"/a/bad"), 5)).rows[0].mod == 3


def test_transaction_that_meets_the_damage_behind_its_own_changes_leaves_none_of_them() -> None:
    engine = BreakableEngine()
    stand = Stand(engine=engine)
    stand.write(put_call(b"/a/bad"))
    engine.faults[keycodec.newest(b"/a/bad")] = EngineCorrupt("checksum")
    puts = [
        rpc_pb2.RequestOp(request_put=rpc_pb2.PutRequest(key=key)) for key in (b"/a/1", b"/a/bad")
    ]
    replies = stand.write(
        put_call(b"/a/0"), txn_call(rpc_pb2.TxnRequest(success=puts)), put_call(b"/a/2")
    )
    assert {r.tag: (r.error, r.revision) for r in replies} == {
        b"/a/0": (None, 3),
        "txn": (errors.CORRUPT, 0),
        b"/a/2": (None, 4),
    }
    assert live_keys(stand) == [b"/a/0", b"/a/2", b"/a/bad"]


def test_queue_of_calls_that_cannot_be_evaluated_empties_and_the_writer_goes_on() -> None:
    engine = BreakableEngine()
    stand = Stand(engine=engine)
    stand.run()
    for number in range(5):
        engine.faults[keycodec.newest(b"/a/%d" % number)] = EngineCorrupt("checksum")
    replies = stand.write(*[put_call(b"/a/%d" % number) for number in range(5)])
    assert [r.error for r in replies] == [errors.CORRUPT] * 5
    assert stand.owner.drained
    assert stand.sequencer.asked == []
    assert stand.write(put_call(b"/a/x"))[0].revision == 2


def test_refused_calls_give_their_room_in_the_queue_back() -> None:
    engine = BreakableEngine()
    stand = Stand(engine=engine)
    stand.run()
    engine.faults[keycodec.newest(b"/a/bad")] = EngineCorrupt("checksum")
    for _ in range(3):
        stand.write(put_call(b"/a/x", bytes(1_000)), put_call(b"/a/bad", bytes(1_000)))
    assert stand.owner._writer._queued_bytes == 0


def test_revision_of_another_shard_is_not_in_the_future_after_an_unreadable_row() -> None:
    """The refused call was the only one: what was known when it came says nothing of later calls.
    A client read revision 3 elsewhere; this shard has not heard of it before."""
    engine = BreakableEngine()
    stand = Stand(engine=engine)
    stand.write(put_call(b"/a/x"))
    engine.faults[keycodec.newest(b"/a/bad")] = EngineCorrupt("checksum")
    stand.write(put_call(b"/a/bad"))
    elsewhere = AllocRequest(1, "shard-1", 1, 1, ((5, 1, 0),))
    stand.sequencer.inner.alloc(elsewhere, lambda _: None)
    ranged = rpc_pb2.RequestOp(request_range=rpc_pb2.RangeRequest(key=b"/a/x", revision=3))
    replies = stand.write(txn_call(rpc_pb2.TxnRequest(success=[ranged])))
    assert [reply.error for reply in replies] == [None]


# -- the order of things ---------------------------------------------------------------------------


def test_reply_is_given_after_the_engine_and_before_or_with_the_publication() -> None:
    """Whoever is told of a revision can read it: closed[t] has moved by then."""
    stand = Stand(late=True)
    seen: list[tuple[int, bool]] = []
    stand.owner.submit(
        [put_call(b"/a/x")],
        lambda reply: seen.append((stand.owned.closed[A], stand.engine.get(b"n/a/x") is not None)),
    )
    stand.run()
    stand.sequencer.answer()
    assert seen == [(2, True)]


# -- reigns ----------------------------------------------------------------------------------------


class Reigns:
    """Sequencers that follow each other; every answer waits until the test gives it."""

    def __init__(self, inner: Sequencer) -> None:
        self.inner = inner
        self.asked: list[tuple[AllocRequest, Callable[[AllocReply], None]]] = []

    def alloc(self, request: AllocRequest, done: Callable[[AllocReply], None]) -> None:
        self.asked.append((request, done))

    def read_revision(self, done: Callable[[Sample], None]) -> None:
        self.inner.read_revision(done)

    def take_over(self, begin: int) -> None:
        tablets = layout(PREFIXES)
        last = {tablet.id: begin for tablet in tablets.tablets}
        self.inner = Sequencer(self.inner.cepoch + 1, tablets, last)

    def answer(self, at: int = -1, inner: Sequencer | None = None) -> None:
        request, done = self.asked.pop(at)
        (inner or self.inner).alloc(request, done)


def reigned() -> tuple[Stand, Reigns]:
    """A put is in flight when another sequencer takes over."""
    stand = Stand()
    reigns = Reigns(stand.sequencer.inner)
    stand.owner._writer._sequencer = reigns
    stand.submit(put_call(b"/a/x"))
    stand.run()
    return stand, reigns


def test_m01_batch_in_flight_asks_again_and_its_request_registers_every_tablet() -> None:
    stand, reigns = reigned()
    reigns.take_over(10_001)
    stand.owner.begin_reign(2)
    first, again = (request for request, _ in reigns.asked)
    assert again.request_number > first.request_number
    assert (again.cepoch, again.writes) == (2, 1)
    assert again.ends == ((1, 1, -1), (A, 1, 0), (3, 1, -1), (B, 1, -1), (5, 1, -1))
    reigns.answer()
    assert stand.revisions() == {b"/a/x": 10_002}
    assert stand.owned.closed == {1: 10_001, A: 10_002, 3: 10_001, B: 10_001, 5: 10_001}
    (publication,) = stand.published
    told = {news.tablet: (len(news.commits), news.closed) for news in publication.news}
    assert told[1] == (0, 10_001)
    assert told[A] == (1, 10_002)
    assert len(told) == 5, "what a registration closes is told to routers"


@pytest.mark.parametrize("first", [True, False])
def test_m01_answer_of_the_reign_before_is_never_used(first: bool) -> None:
    """Its revision lies below B, where routers have closed the tablet already."""
    stand, reigns = reigned()
    old = reigns.inner
    reigns.take_over(10_001)
    stand.owner.begin_reign(2)
    if not first:
        reigns.answer()
    reigns.answer(0, old)
    if first:
        assert stand.replies == []
        reigns.answer()
    assert stand.revisions() == {b"/a/x": 10_002}
    assert stand.engine.get(keycodec.fence(A)) == stand.owned.fences[A].pack()


def test_m01_new_reign_may_be_learnt_from_the_answer_itself() -> None:
    """The request came to the next sequencer, which refuses what was asked of another reign."""
    stand, reigns = reigned()
    reigns.take_over(10_001)
    reigns.answer()
    assert stand.replies == []
    ((again, _),) = reigns.asked
    assert (again.cepoch, len(again.ends)) == (2, 5)
    reigns.answer()
    assert stand.revisions() == {b"/a/x": 10_002}


def test_m01_idle_shard_registers_by_itself() -> None:
    """Else no read could be answered from it: closed[t] < B for good."""
    stand, reigns = reigned()
    reigns.answer()
    reigns.take_over(10_001)
    stand.owner.begin_reign(2)
    stand.run()
    ((request, _),) = reigns.asked
    assert (request.writes, [index for _, _, index in request.ends]) == (0, [-1] * 5)
    reigns.answer()
    assert set(stand.owned.closed.values()) == {10_001}
    assert stand.published[-1].sample.cepoch == 2
    stand.run()
    assert reigns.asked == [], "once a reign"


def test_m01_second_takeover_meets_the_same_batch() -> None:
    stand, reigns = reigned()
    for begin in (10_001, 20_001):
        reigns.take_over(begin)
        stand.owner.begin_reign(reigns.inner.cepoch)
    while reigns.asked:
        reigns.answer(0)
    assert stand.revisions() == {b"/a/x": 20_002}
    assert [reply.error for reply in stand.replies] == [None]


def test_call_that_nobody_here_can_decide_leaves_the_queue_and_the_others_go_on() -> None:
    """Its lease lives on another shard; who answers it is not the writer's business."""
    stand = Stand()
    stand.owned.leases.ours = lambda lease: lease != 7
    asides: list[tuple[int, object]] = []
    stand.owner._writer.aside = lambda lease, call, _done: asides.append((lease, call.tag))
    stand.write(put_call(b"/a/1"), put_call(b"/a/2", lease=7), put_call(b"/a/3"))
    assert stand.revisions() == {b"/a/1": 2, b"/a/3": 3}
    assert asides == [(7, b"/a/2")]
    assert stand.owner._writer._queued_bytes == 0


# -- another process has the shard -----------------------------------------------------------------


FENCED = EngineFenced("another process took the store over")


def retired() -> Stand:
    """One call was in flight and one waited when it was heard of."""
    stand = Stand(engine=BreakableEngine(), late=True)
    stand.submit(put_call(b"/a/flying"))
    stand.run()
    stand.submit(put_call(b"/a/waiting"))
    stand.owner.retire()
    return stand


def test_retired_writer_refuses_as_definite_what_waits_what_flies_and_what_comes() -> None:
    stand = retired()
    stand.submit(put_call(b"/a/later"))
    stand.run()
    assert [(r.tag, r.error) for r in stand.replies] == [
        (b"/a/flying", errors.OWNER_AWAY),
        (b"/a/waiting", errors.OWNER_AWAY),
        (b"/a/later", errors.OWNER_AWAY),
    ]
    assert errors.OWNER_AWAY.definite
    assert stand.fatal == [], "whoever retired it ends it"


@pytest.mark.parametrize("reigns", [False, True])
def test_retired_writer_writes_nothing_whatever_the_sequencer_still_answers(reigns: bool) -> None:
    """What it answered as definite another owner may do meanwhile."""
    stand = retired()
    assert isinstance(stand.engine, BreakableEngine)
    writes, asked = stand.engine.writes, len(stand.sequencer.asked)
    if reigns:
        stand.owner.begin_reign(2)
    stand.sequencer.answer()
    stand.clock.ms += 60_000
    stand.run()
    assert (stand.engine.writes, len(stand.sequencer.asked)) == (writes, asked)
    assert (live_keys(stand), stand.published) == ([], [])
    assert len(stand.replies) == 2, "each call is answered once"


def test_retired_shard_answers_no_read_with_what_it_last_knew() -> None:
    stand = Stand()
    stand.write(put_call(b"/a/x"))
    stand.owner.retire()
    sink = stand.read(read_call(single(b"/a/x"), 2, ((A, 2),)))
    assert sink.refused is errors.STOPPED
    assert sink.rows == []


def test_write_that_finds_its_shard_taken_is_definite_and_so_is_what_waits_for_it() -> None:
    """The engine is fenced: the batch is not there, and cannot come."""
    stand, engine = failing(FENCED, lands=False)
    stand.submit(put_call(b"/a/x"), delete_call(b"/a/none"))
    stand.run()
    stand.submit(put_call(b"/a/queued"))
    stand.sequencer.answer()
    assert [r.error for r in stand.replies] == [errors.OWNER_AWAY] * 3
    assert stand.fatal == [FENCED]
    assert engine.reopens == 0, "nothing is taken back"
    stand.submit(put_call(b"/a/later"))
    assert stand.replies[-1].error is errors.OWNER_AWAY


def test_write_behind_a_conflict_is_definite_where_the_store_proves_to_be_taken() -> None:
    """A conflict is looked into first; the reopening meets another one's row."""
    stand, engine = failing(EngineConflict("met"), lands=False)
    engine.reopen_faults.append(FENCED)
    stand.submit(put_call(b"/a/x"))
    stand.run()
    stand.sequencer.answer()
    assert [r.error for r in stand.replies] == [errors.OWNER_AWAY]
    assert stand.fatal == [FENCED]


@pytest.mark.parametrize("lands", [False, True])
def test_write_of_unknown_outcome_stays_so_though_the_store_was_taken_behind_it(
    lands: bool,
) -> None:
    """The one that took the store finds the batch, or does not."""
    stand, engine = failing(EngineUncertain("no answer"), lands=lands)
    engine.reopen_faults.append(FENCED)
    stand.submit(put_call(b"/a/x"))
    stand.run()
    stand.submit(put_call(b"/a/queued"))
    stand.sequencer.answer()
    assert [r.error for r in stand.replies] == [errors.TIMED_OUT] * 2
    assert stand.fatal == [FENCED]
    stand.owner.retire()
    assert len(stand.replies) == 2, "what was answered is not answered otherwise"
    stand.submit(put_call(b"/a/later"))
    assert stand.replies[-1].error is errors.OWNER_AWAY
