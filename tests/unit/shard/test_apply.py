"""Evaluation: a batch of writes as etcd would apply them one after the other."""

from __future__ import annotations

import pytest

from kubebraid.base import errors
from kubebraid.base.errors import RequestRefused
from kubebraid.base.limits import LEASE_TTL_S_MAX, LEASE_TTL_S_MIN
from kubebraid.base.ops import CompareResult, CompareTarget
from kubebraid.proto.etcd import rpc_pb2
from kubebraid.shard import keycodec
from kubebraid.shard.apply import Evaluation
from kubebraid.shard.draft import (
    Branched,
    Deleted,
    DraftRow,
    LeaseAnswer,
    Outcome,
    Put,
    Ranged,
    value_in,
)
from kubebraid.shard.lease import LeaseRow
from kubebraid.shard.view import Ambiguous
from tests.unit.shard.fakes import (
    Stand,
    compare,
    delete,
    get,
    grant_call,
    put,
    put_call,
    txn,
)

FIRST = 11  # where a test's batch begins once it is settled


def batch(*stored: bytes) -> Evaluation:
    """A batch over a store in which some keys stand, from revision 2 on."""
    stand = Stand()
    stand.write(*[put_call(key, b"old") for key in stored])
    return stand.evaluation()


def settled(evaluation: Evaluation, outcome: Outcome) -> bytes:
    """The body of an answer, once the batch's first revision is known."""
    for change in evaluation.changes:
        if change.new is not None and not change.new.raw:
            change.new.settle(FIRST)
    assert not isinstance(outcome, RequestRefused)
    return outcome.body(FIRST)


def drafts(evaluation: Evaluation) -> list[tuple[int, bytes, int | None]]:
    """(index, key, version) of what the batch changes; None is a deletion."""
    return [(c.index, c.key, None if c.new is None else c.new.version) for c in evaluation.changes]


# -- puts ------------------------------------------------------------------------------------------


def test_put_and_transaction_that_sees_it_take_the_next_two_revisions() -> None:
    """The worked example of the module."""
    made = batch()
    made.put(put(b"/a/x", b"1"))
    equal = compare(b"/a/x", CompareTarget.VERSION, CompareResult.EQUAL, 1)
    answer = made.txn(txn([equal], [put(b"/a/x", b"2")]))
    assert isinstance(answer, Branched)
    assert answer.succeeded
    assert drafts(made) == [(0, b"/a/x", 1), (1, b"/a/x", 2)]
    assert made.writes == 2


def test_inv03_version_grows_and_create_stays_until_a_delete() -> None:
    made = batch(b"/a/x")
    for _ in range(2):
        made.put(put(b"/a/x"))
    made.delete(delete(b"/a/x"))
    made.put(put(b"/a/x"))
    for change in made.changes:
        if change.new is not None:
            change.new.settle(FIRST)
    rows = [c.new for c in made.changes if c.new is not None]
    assert [(row.mod, row.create, row.version) for row in rows] == [
        (11, 2, 2),
        (12, 2, 3),
        (14, 14, 1),
    ]


def test_put_that_asks_for_the_previous_row_gets_the_batchs_own() -> None:
    made = batch()
    made.put(put(b"/a/x", b"1"))
    answer = made.put(put(b"/a/x", b"2", prev_kv=True))
    shown = rpc_pb2.PutResponse.FromString(settled(made, answer)).prev_kv
    assert (shown.value, shown.mod_revision, shown.create_revision) == (b"1", 11, 11)


def test_put_that_keeps_value_and_lease_takes_them_from_the_row() -> None:
    stand = Stand()
    stand.write(grant_call(7, 60))
    stand.write(put_call(b"/a/x", b"old", lease=7))
    made = stand.evaluation()
    made.put(put(b"/a/x", b"", ignore_value=True))
    made.put(put(b"/a/x", b"new", ignore_lease=True))
    rows = [c.new for c in made.changes if c.new is not None]
    assert [(row.value, row.lease) for row in rows] == [(b"old", 0), (b"new", 0)]
    again = stand.evaluation()
    again.put(put(b"/a/x", b"new", ignore_lease=True))
    assert [c.new.lease for c in again.changes if c.new is not None] == [7]


@pytest.mark.parametrize("flags", [(True, False), (False, True)])
def test_put_that_keeps_what_is_not_there_is_refused(flags: tuple[bool, bool]) -> None:
    made = batch()
    op = put(b"/a/x", ignore_value=flags[0], ignore_lease=flags[1])
    assert made.put(op) is errors.KEY_NOT_FOUND
    assert (made.writes, made.changes) == (0, [])


def test_put_under_an_unknown_lease_is_refused_and_takes_no_revision() -> None:
    made = batch()
    assert made.put(put(b"/a/x", lease=7)) is errors.LEASE_NOT_FOUND
    assert made.writes == 0
    made.put(put(b"/a/y"))
    assert drafts(made) == [(0, b"/a/y", 1)]


# -- deletes ---------------------------------------------------------------------------------------


def test_delete_of_nothing_takes_no_revision() -> None:
    """etcd answers it with the present revision."""
    made = batch()
    answer = made.delete(delete(b"/a/", b"/a0"))
    assert answer == Deleted(0, 0, [])
    assert made.writes == 0


def test_delete_of_a_range_is_one_revision_and_counts_its_keys() -> None:
    made = batch(b"/a/x", b"/a/y")
    made.put(put(b"/a/z"))
    answer = made.delete(delete(b"/a/", b"/a0", prev_kv=True))
    assert drafts(made)[1:] == [(1, b"/a/x", None), (1, b"/a/y", None), (1, b"/a/z", None)]
    body = rpc_pb2.DeleteRangeResponse.FromString(settled(made, answer))
    assert body.deleted == 3
    assert [kv.mod_revision for kv in body.prev_kvs] == [2, 3, 11]


def test_delete_of_an_empty_range_deletes_nothing() -> None:
    made = batch(b"/a/x")
    assert made.delete(delete(b"/a/z", b"/a/a")) == Deleted(0, 0, [])


# -- transactions ----------------------------------------------------------------------------------


def test_failed_compare_takes_the_other_branch_and_no_revision() -> None:
    """The worked example of draft.py: its header shows what it saw, the put before it."""
    made = batch()
    made.put(put(b"/a/x"))
    equal = compare(b"/a/x", CompareTarget.VERSION, CompareResult.EQUAL, 9)
    answer = made.txn(txn([equal], [put(b"/a/x")], [get(b"/a/x")]))
    assert isinstance(answer, Branched)
    assert not answer.succeeded
    assert (answer.position, made.writes) == (1, 1)
    body = rpc_pb2.TxnResponse.FromString(settled(made, answer))
    assert [kv.mod_revision for kv in body.responses[0].response_range.kvs] == [11]
    assert body.responses[0].response_range.header.revision == 11


def test_operations_see_the_ones_before_them_and_compares_do_not() -> None:
    """etcd: compareToPath looks at the state before, also for a nested transaction."""
    made = batch()
    absent = compare(b"/a/x", CompareTarget.CREATE, CompareResult.EQUAL, 0)
    nested = txn([absent], [get(b"/a/x")], [get(b"/a/none")])
    answer = made.txn(txn([absent], [put(b"/a/x", b"1"), nested]))
    assert isinstance(answer, Branched)
    inner = answer.answers[1]
    assert isinstance(inner, Branched)
    assert inner.succeeded
    seen = inner.answers[0]
    assert isinstance(seen, Ranged)
    assert [value_in(row) for row in seen.rows] == [b"1"]
    assert made.writes == 1


def test_operations_of_a_transaction_share_one_revision() -> None:
    made = batch(b"/a/x")
    answer = made.txn(txn([], [delete(b"/a/x"), put(b"/a/y"), put(b"/b/z")]))
    assert {change.index for change in made.changes} == {0}
    assert [change.tablet for change in made.changes] == [2, 2, 4]
    body = rpc_pb2.TxnResponse.FromString(settled(made, answer))
    assert body.succeeded
    headers = [
        body.responses[0].response_delete_range.header.revision,
        body.responses[1].response_put.header.revision,
        body.responses[2].response_put.header.revision,
    ]
    assert headers == [11, 11, 11]


def test_header_of_an_operation_shows_the_revision_its_place_has_seen() -> None:
    """etcd: a range before the first change of its transaction still says the old revision."""
    made = batch()
    answer = made.txn(txn([], [get(b"/a/x"), put(b"/a/x"), get(b"/a/x")]))
    body = rpc_pb2.TxnResponse.FromString(settled(made, answer))
    revisions = [
        body.responses[0].response_range.header.revision,
        body.responses[1].response_put.header.revision,
        body.responses[2].response_range.header.revision,
    ]
    assert revisions == [10, 11, 11]


def test_header_of_a_nested_transaction_is_empty() -> None:
    """etcd's newTxnResp makes it and only the outermost is filled in."""
    made = batch()
    answer = made.txn(txn([], [txn([], [put(b"/a/x")])]))
    inner = rpc_pb2.TxnResponse.FromString(settled(made, answer)).responses[0].response_txn
    assert inner.HasField("header")
    assert inner.header.revision == 0
    assert inner.responses[0].response_put.header.revision == 11


def test_refusal_inside_a_transaction_undoes_nothing_because_nothing_was_done() -> None:
    made = batch()
    answer = made.txn(txn([], [put(b"/a/x"), txn([], [put(b"/a/y", lease=7)])]))
    assert answer is errors.LEASE_NOT_FOUND
    assert (made.changes, made.writes, made.bytes) == ([], 0, 0)


def test_only_the_branch_that_runs_is_checked() -> None:
    made = batch()
    assert isinstance(made.txn(txn([], [put(b"/a/x")], [put(b"/a/y", lease=7)])), Branched)


def test_put_that_keeps_a_value_is_checked_against_the_state_before() -> None:
    """etcd checks the whole branch before it runs: a put of the same transaction is too late."""
    made = batch()
    keeps = txn([], [put(b"/a/y"), put(b"/a/x", ignore_value=True)])
    assert made.txn(keeps) is errors.KEY_NOT_FOUND
    assert made.changes == []


# -- ranges at a revision --------------------------------------------------------------------------


@pytest.mark.parametrize("limit", [1, 2, 3, 4, 5, (1 << 63) - 1])
def test_range_with_a_limit_counts_all_and_sees_the_batch(limit: int) -> None:
    made = batch(b"/a/b", b"/a/c", b"/a/d")
    ranged = get(b"/a/", b"/a0")._replace(limit=limit)
    answer = made.txn(txn([], [put(b"/a/a"), delete(b"/a/c"), put(b"/a/d"), ranged]))
    assert isinstance(answer, Branched)
    body = rpc_pb2.RangeResponse.FromString(settled(made, answer.answers[3]))
    assert [kv.key for kv in body.kvs] == [b"/a/a", b"/a/b", b"/a/d"][:limit]
    assert (body.count, body.more) == (3, limit < 3)


def test_range_at_a_revision_does_not_see_the_batch() -> None:
    made = batch(b"/a/x")  # at revision 2
    answer = made.txn(txn([], [put(b"/a/x"), put(b"/a/y"), get(b"/a/", b"/a0", revision=2)]))
    assert isinstance(answer, Branched)
    seen = answer.answers[2]
    assert isinstance(seen, Ranged)
    assert [row.mod for row in seen.rows] == [2]


def test_range_at_a_revision_that_nobody_has_allocated_is_refused() -> None:
    assert batch(b"/a/x").txn(txn([], [get(b"/a/x", revision=3)])) is errors.FUTURE_REVISION


def test_range_below_the_floor_is_refused() -> None:
    stand = Stand()
    stand.write(*[put_call(b"/a/x") for _ in range(4)])
    stand.floor = 4
    made = stand.evaluation()
    assert made.txn(txn([], [get(b"/a/x", revision=3)])) is errors.COMPACTED
    assert isinstance(made.txn(txn([], [get(b"/a/x", revision=4)])), Branched)
    assert made.txn(txn([], [get(b"/a/x", revision=-1)])) is errors.COMPACTED


def test_range_at_a_revision_the_batch_may_yet_be_given_waits_for_the_next_batch() -> None:
    made = batch(b"/a/x")
    made.put(put(b"/a/x"))
    with pytest.raises(Ambiguous):
        made.txn(txn([], [put(b"/a/y"), get(b"/a/x", revision=3)]))
    assert drafts(made) == [(0, b"/a/x", 2)], "nothing of the waiting request was recorded"


def test_compare_with_a_number_the_batch_may_yet_be_given_waits_for_the_next_batch() -> None:
    """kube-apiserver's update, sent with the revision that the put before it will get."""
    made = batch(b"/a/x")
    made.put(put(b"/a/x"))
    equal = compare(b"/a/x", CompareTarget.MOD, CompareResult.EQUAL, 3)
    with pytest.raises(Ambiguous):
        made.txn(txn([equal], [put(b"/a/x")]))
    assert made.writes == 1


# -- leases ----------------------------------------------------------------------------------------


def test_grant_takes_no_revision_and_at_least_the_smallest_ttl() -> None:
    made = batch()
    assert made.lease_grant(7, 1) == LeaseAnswer(0, 7, LEASE_TTL_S_MIN)
    assert made.lease_grant(8, -5) == LeaseAnswer(0, 8, LEASE_TTL_S_MIN)
    assert made.lease_grant(9, 60) == LeaseAnswer(0, 9, 60)
    assert made.writes == 0
    assert made.granted == {7: LeaseRow(2), 8: LeaseRow(2), 9: LeaseRow(60)}


def test_grant_of_a_lease_that_lives_or_lasts_too_long_is_refused() -> None:
    stand = Stand()
    stand.write(grant_call(7, 60))
    made = stand.evaluation()
    assert made.lease_grant(7, 60) is errors.LEASE_EXISTS
    assert made.lease_grant(8, LEASE_TTL_S_MAX + 1) is errors.LEASE_TTL_TOO_LARGE
    assert made.lease_grant(7, LEASE_TTL_S_MAX + 1) is errors.LEASE_TTL_TOO_LARGE, "etcd's order"
    assert isinstance(made.lease_grant(9, LEASE_TTL_S_MAX), LeaseAnswer)
    assert made.lease_grant(9, 60) is errors.LEASE_EXISTS


def test_lease_granted_by_the_batch_can_be_put_under_at_once() -> None:
    made = batch()
    made.lease_grant(7, 60)
    assert isinstance(made.put(put(b"/a/x", lease=7)), Put)


def test_revoke_deletes_its_keys_in_one_revision_wherever_they_are() -> None:
    stand = Stand()
    stand.write(grant_call(7, 60))
    stand.write(put_call(b"/b/y", lease=7), put_call(b"/a/x", lease=7), put_call(b"/a/z"))
    made = stand.evaluation()
    assert made.lease_revoke(7) == LeaseAnswer(1, 7, 0)
    assert drafts(made) == [(0, b"/a/x", None), (0, b"/b/y", None)]
    assert made.put(put(b"/a/x", lease=7)) is errors.LEASE_NOT_FOUND
    assert made.lease_revoke(7) is errors.LEASE_NOT_FOUND


def test_revoke_of_a_lease_without_keys_takes_no_revision() -> None:
    stand = Stand()
    stand.write(grant_call(7, 60))
    made = stand.evaluation()
    assert made.lease_revoke(7) == LeaseAnswer(0, 7, 0)
    assert (made.writes, made.revoked) == (0, {7})


def test_revoke_sees_what_the_batch_has_attached_and_detached() -> None:
    stand = Stand()
    stand.write(grant_call(7, 60))
    stand.write(put_call(b"/a/x", lease=7))
    made = stand.evaluation()
    made.put(put(b"/a/y", lease=7))
    made.put(put(b"/a/x"))
    made.lease_revoke(7)
    assert drafts(made)[2:] == [(2, b"/a/y", None)]


def test_second_event_of_a_lease_waits_for_the_next_batch() -> None:
    stand = Stand()
    stand.write(grant_call(7, 60))
    made = stand.evaluation()
    made.lease_revoke(7)
    with pytest.raises(Ambiguous):
        made.lease_grant(7, 60)
    made.lease_grant(8, 60)
    with pytest.raises(Ambiguous):
        made.lease_revoke(8)
    assert made.revoked == {7}


def test_grant_without_an_id_is_a_bug_of_the_router() -> None:
    with pytest.raises(AssertionError):
        batch().lease_grant(0, 60)


# -- drafts ----------------------------------------------------------------------------------------


def test_draft_has_bytes_only_once_it_has_settled() -> None:
    made = batch()
    made.put(put(b"/a/x", b"1"))
    draft = made.changes[0].new
    assert isinstance(draft, DraftRow)
    with pytest.raises(AssertionError, match="settled"):
        keycodec.pack_row(draft)
    draft.settle(FIRST)
    row = keycodec.unpack_row(keycodec.pack_row(draft))
    assert (row.mod, row.create) == (11, 11)
    with pytest.raises(AssertionError, match="once"):
        draft.settle(FIRST)
