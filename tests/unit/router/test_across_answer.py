"""Shares of a transaction become etcd's answer; equality with one shard's bytes is a property test
(tests/property/test_across.py)."""

from __future__ import annotations

from kubebraid.base.across import OpShare, as_txn
from kubebraid.base.record import Row
from kubebraid.base.revision import pending
from kubebraid.proto.etcd import rpc_pb2
from kubebraid.proto.kvwire import key_value
from kubebraid.router.across_answer import body, delete_body, settled
from tests.unit.shard.fakes import delete, get, put, row, txn


def parsed(answer: bytes) -> rpc_pb2.TxnResponse:
    return rpc_pb2.TxnResponse.FromString(answer)


def test_rows_of_several_shards_leave_in_key_order_and_totals_add_up() -> None:
    """The worked example of the module."""
    op = as_txn(delete(b"a", b"z", prev_kv=True))
    shares = [
        OpShare(0, 2, 2, [row(b"b", 3), row(b"d", 4)]),
        OpShare(0, 3, 3, [row(b"a", 5), row(b"c", 6), row(b"e", 7)]),
    ]
    answer = rpc_pb2.DeleteRangeResponse.FromString(delete_body(op, shares, 12))
    assert answer.deleted == 5
    assert [kv.key for kv in answer.prev_kvs] == [b"a", b"b", b"c", b"d", b"e"]


def test_range_is_cut_to_its_limit_behind_the_merge() -> None:
    op = txn([], [get(b"a", b"z")._replace(limit=2)])
    shares = [OpShare(0, 0, 2, [row(b"b", 3), row(b"d", 4)]), OpShare(0, 0, 1, [row(b"a", 5)])]
    (response,) = parsed(body(op, (True,), shares, 12)).responses
    assert [kv.key for kv in response.response_range.kvs] == [b"a", b"b"]
    assert (response.response_range.more, response.response_range.count) == (True, 3)


def test_headers_turn_with_the_first_operation_that_changes_something() -> None:
    """A deletion of nothing changes nothing."""
    op = txn([], [delete(b"q"), put(b"a"), get(b"a")])
    shares = [OpShare(0, 0, 0, []), OpShare(1, 1, 0, []), OpShare(2, 0, 1, [row(b"a", 3)])]
    answer = parsed(body(op, (True,), shares, 12))
    assert answer.succeeded
    first, second, third = answer.responses
    assert first.response_delete_range.header.revision == 11
    assert second.response_put.header.revision == 12
    assert third.response_range.header.revision == 12


def test_nested_transaction_and_the_branch_that_failed() -> None:
    op = txn([], [], [txn([], [put(b"a", prev_kv=True)]), get(b"z")])
    shares = [OpShare(0, 1, 0, [row(b"a", 3)])]
    answer = parsed(body(op, (False, True), shares, 12))
    assert not answer.succeeded
    nested, ranged = answer.responses
    assert nested.response_txn.succeeded
    assert not nested.response_txn.HasField("header") or not nested.response_txn.header.revision
    assert nested.response_txn.responses[0].response_put.prev_kv.key == b"a"
    assert ranged.response_range.count == 0, "a range that nobody has a share of is empty"


def test_pending_row_gets_the_revision_that_was_given() -> None:
    """What the transaction wrote itself and read again."""
    made = Row(pending(0), 5, 2, 7, key_value(b"a", 5, pending(0), 2, b"v", 7))
    assert settled(made, 12) == Row(12, 5, 2, 7, key_value(b"a", 5, 12, 2, b"v", 7))
    stored = row(b"a", 3)
    assert settled(stored, 12) is stored
