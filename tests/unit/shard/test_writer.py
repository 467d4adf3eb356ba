"""The write path: one batch in flight, and nothing is said before it is durable."""

from __future__ import annotations

import pytest

from kubebraid.base import errors
from kubebraid.base.limits import BATCH_BYTES_MAX, BATCH_WRITES_MAX, WRITE_QUEUE_MAX
from kubebraid.base.ports import WRITE_PUT, AllocRequest, WriteCall
from kubebraid.base.tabletmap import with_new_epochs
from kubebraid.coordinator.sequencer import Sequencer
from kubebraid.proto.etcd import rpc_pb2
from kubebraid.shard import keycodec
from tests.unit.shard.fakes import (
    A,
    B,
    BreakableEngine,
    Stand,
    delete_call,
    grant_call,
    put_call,
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
    assert stand.owner.lease_info(7) == (30, 30, (b"/a/y",))


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
    assert [reply.error for reply in stand.replies] == [errors.TIMED_OUT]
    stand.run()
    assert stand.sequencer.asked == []


def test_refused_alloc_leaves_no_trace() -> None:
    """The sequencer knows another owner: nothing was allocated, so nothing happened."""
    stand = Stand(late=True)
    before = stand.engine.scan(b"", b"\xff", 1_000)
    stand.submit(put_call(b"/a/x"), grant_call(7, 60))
    stand.run()
    stand.sequencer.refuse()
    assert [reply.error for reply in stand.replies] == [errors.TIMED_OUT] * 2
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
    assert [reply.error for reply in replies] == [errors.TIMED_OUT]
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


@pytest.mark.parametrize("lands", [False, True])
def test_inv16_failed_write_is_of_unknown_outcome_and_stops_the_writer(lands: bool) -> None:
    engine = BreakableEngine()
    stand = Stand(late=True, engine=engine)
    stand.submit(put_call(b"/a/x"), delete_call(b"/a/none"))
    stand.run()
    stand.submit(put_call(b"/a/queued"))
    engine.breaks, engine.lands = True, lands
    stand.sequencer.answer()
    assert [(r.tag, r.error) for r in stand.replies] == [
        (b"/a/x", errors.TIMED_OUT),
        (b"/a/none", errors.TIMED_OUT),
        (b"/a/queued", errors.TIMED_OUT),
    ]
    assert stand.published == []
    assert stand.owned.closed[A] == 1
    assert stand.owned.fences[A].last == 1
    assert [str(error) for error in stand.fatal] == ["the device is gone"]


def test_stopped_writer_refuses_for_good() -> None:
    engine = BreakableEngine()
    stand = Stand(engine=engine)
    engine.breaks = True
    stand.write(put_call(b"/a/x"))
    engine.breaks = False
    assert [reply.error for reply in stand.write(put_call(b"/a/y"))] == [errors.STOPPED]
    assert len(stand.sequencer.asked) == 1


def test_failed_write_of_a_grant_grants_nothing() -> None:
    engine = BreakableEngine()
    stand = Stand(engine=engine)
    engine.breaks = True
    stand.write(grant_call(7, 60))
    assert 7 not in stand.owned.leases


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
