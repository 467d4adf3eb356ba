"""The KV service over ports that answer later: who is asked, in which order, and what is said."""

from __future__ import annotations

import dataclasses

import pytest

from kubebraid.base import errors
from kubebraid.base.across import Step
from kubebraid.base.errors import RequestRefused
from kubebraid.base.limits import REQUEST_BYTES_MAX, RETRY_FIRST_MS
from kubebraid.base.ports import WRITE_DELETE, WRITE_PUT, WRITE_TXN
from kubebraid.proto.etcd import rpc_pb2
from kubebraid.proto.server import Kind
from kubebraid.router.core import Router

from .fakes import LEFT, RIGHT, Calls, row

ALL = rpc_pb2.RangeRequest(key=b"a", range_end=b"\x00")


def put(key: bytes, value: bytes = b"") -> rpc_pb2.PutRequest:
    return rpc_pb2.PutRequest(key=key, value=value)


def put_op(key: bytes) -> rpc_pb2.RequestOp:
    return rpc_pb2.RequestOp(request_put=put(key))


def ranged(calls: Calls, call_id: int) -> rpc_pb2.RangeResponse:
    return rpc_pb2.RangeResponse.FromString(calls.answer(call_id))


def text(refused: RequestRefused) -> tuple[int, str]:
    return int(refused.code), refused.message


# -- a batch ---------------------------------------------------------------------------------------


def test_worked_example_of_two_ranges_and_three_puts_costs_one_readrev_and_one_submit() -> None:
    calls = Calls()
    calls.deliver(
        calls.event("KV/Put", put(b"a")),
        calls.event("KV/Range", ALL),
        calls.event("KV/Put", put(b"b")),
        calls.event("KV/Range", ALL),
        calls.event("KV/Put", put(b"c")),
    )
    assert calls.shards.sequencer.reads == 1
    (submitted,) = calls.shards.left.writes
    assert [call.payload for call in submitted] == [
        put(key).SerializeToString() for key in (b"a", b"b", b"c")
    ]
    assert calls.shards.right.writes == []


def test_writes_of_a_batch_reach_each_owner_in_order_with_their_tablets() -> None:
    calls = Calls()
    delete = rpc_pb2.DeleteRangeRequest(key=b"n")
    calls.deliver(
        calls.event("KV/Put", put(b"z")),
        calls.event("KV/Put", put(b"a")),
        calls.event("KV/DeleteRange", delete),
        calls.event("KV/Txn", rpc_pb2.TxnRequest(success=[put_op(b"y")])),
    )
    (left,), (right,) = calls.shards.left.writes, calls.shards.right.writes
    assert [(c.kind, c.tablets, c.map_version) for c in left] == [(WRITE_PUT, (1,), 1)]
    assert [c.kind for c in right] == [WRITE_PUT, WRITE_DELETE, WRITE_TXN]
    assert {c.tablets for c in right} == {(2,)}


def test_write_is_answered_with_its_own_revision_not_a_later_one() -> None:
    """kube-apiserver takes header.revision as the object's resourceVersion."""
    calls = Calls()
    call_id = calls.call("KV/Put", put(b"a"))
    ((write,),) = calls.shards.left.writes
    assert call_id not in calls.edge.answers
    for _ in range(5):
        calls.shards.write(b"z")
    calls.shards.left.answer_write(write, 2)
    answered = rpc_pb2.PutResponse.FromString(calls.answer(call_id))
    assert answered.header == rpc_pb2.ResponseHeader(
        cluster_id=11, member_id=12, revision=2, raft_term=13
    )


def test_write_refused_by_its_owner_fails_with_the_owners_words() -> None:
    calls = Calls()
    call_id = calls.call("KV/Put", put(b"a"))
    ((write,),) = calls.shards.left.writes
    calls.shards.left.answer_write(write, 0, refused=errors.LEASE_NOT_FOUND)
    assert calls.refusal(call_id) == (5, "etcdserver: requested lease not found")


@pytest.mark.parametrize(
    ("path", "request_", "refused"),
    [
        ("KV/Range", rpc_pb2.RangeRequest(), errors.EMPTY_KEY),
        ("KV/RangeStream", rpc_pb2.RangeRequest(), errors.EMPTY_KEY),
        ("KV/Put", rpc_pb2.PutRequest(), errors.EMPTY_KEY),
        ("KV/DeleteRange", rpc_pb2.DeleteRangeRequest(), errors.EMPTY_KEY),
        ("KV/Txn", rpc_pb2.TxnRequest(success=[put_op(b"")]), errors.EMPTY_KEY),
        ("KV/Put", put(b"a", b"v" * REQUEST_BYTES_MAX), errors.REQUEST_TOO_LARGE),
        (
            "KV/DeleteRange",
            rpc_pb2.DeleteRangeRequest(key=b"a" * REQUEST_BYTES_MAX),
            errors.REQUEST_TOO_LARGE,
        ),
        (
            "KV/Txn",
            rpc_pb2.TxnRequest(success=[put_op(b"a" * REQUEST_BYTES_MAX)]),
            errors.REQUEST_TOO_LARGE,
        ),
    ],
)
def test_refused_request_reaches_no_owner(
    path: str,
    request_: rpc_pb2.RangeRequest
    | rpc_pb2.PutRequest
    | rpc_pb2.DeleteRangeRequest
    | rpc_pb2.TxnRequest,
    refused: RequestRefused,
) -> None:
    calls = Calls()
    call_id = calls.call(path, request_)
    if path == "KV/RangeStream":
        assert calls.edge.ended[call_id] == text(refused)
    else:
        assert calls.refusal(call_id) == text(refused)
    for owner in calls.shards.owners.values():
        assert (owner.writes, owner.read_calls) == ([], [])
    assert calls.shards.sequencer.reads == 0


def test_request_of_exactly_the_maximum_passes() -> None:
    calls = Calls()
    largest = put(b"a", b"v" * (REQUEST_BYTES_MAX - 7))
    assert len(largest.SerializeToString()) == REQUEST_BYTES_MAX
    calls.call("KV/Put", largest)
    assert len(calls.shards.left.writes) == 1


@pytest.mark.parametrize(
    ("path", "request_"),
    [
        ("KV/DeleteRange", rpc_pb2.DeleteRangeRequest(key=b"a", range_end=b"z")),
        ("KV/Txn", rpc_pb2.TxnRequest(success=[put_op(b"a")], failure=[put_op(b"z")])),
    ],
)
def test_write_over_two_shards_begins_with_the_first_of_them(
    path: str, request_: rpc_pb2.DeleteRangeRequest | rpc_pb2.TxnRequest
) -> None:
    """As a transaction over several shards (test_across.py), not as a write of either."""
    calls = Calls()
    calls.call(path, request_)
    ((lock, _),) = calls.shards.left.steps
    assert (lock.step, lock.payload) == (Step.LOCK, request_.SerializeToString())
    assert calls.shards.left.writes == calls.shards.right.writes == []


def test_delete_of_an_empty_range_is_answered_at_the_present_revision_without_an_owner() -> None:
    calls = Calls()
    calls.shards.write(b"a")
    call_id = calls.call("KV/DeleteRange", rpc_pb2.DeleteRangeRequest(key=b"b", range_end=b"a"))
    answered = rpc_pb2.DeleteRangeResponse.FromString(calls.answer(call_id))
    assert (answered.header.revision, answered.deleted) == (2, 0)
    assert calls.shards.left.writes == []


def test_txn_without_any_key_is_still_evaluated_by_an_owner() -> None:
    """etcd answers it: succeeded, at the present revision."""
    calls = Calls()
    calls.call("KV/Txn", rpc_pb2.TxnRequest())
    ((write,),) = calls.shards.left.writes
    assert write.kind == WRITE_TXN


# -- reads -----------------------------------------------------------------------------------------


def test_read_is_answered_from_a_sample_taken_after_it_arrived() -> None:
    """inv04: a write acknowledged before the read was sent must be in it."""
    calls = Calls()
    calls.shards.sequencer.hold = True
    call_id = calls.call("KV/Range", ALL)
    calls.shards.write(b"a")
    calls.shards.sequencer.answer()
    assert ranged(calls, call_id).header.revision == 2
    assert calls.shards.left.read_calls[0].revision == 2
    assert calls.shards.left.read_calls[0].needs == ((1, 2),)


def test_read_waits_for_owners_that_answer_late_and_keeps_its_revision() -> None:
    calls = Calls()
    for owner in calls.shards.owners.values():
        owner.hold_reads = True
        owner.rows = [row(b"a"), row(b"z")]
    call_id = calls.call("KV/Range", ALL)
    calls.shards.write(b"b")
    calls.shards.left.answer_read()
    calls.shards.write(b"c")
    calls.shards.right.answer_read()
    answered = ranged(calls, call_id)
    assert (answered.header.revision, answered.count) == (1, 2)
    assert {owner.read_calls[0].revision for owner in calls.shards.owners.values()} == {1}


def test_read_at_a_revision_says_the_present_one_in_its_header() -> None:
    """etcd's header is the store's revision, whatever revision was read."""
    calls = Calls()
    for _ in range(4):
        calls.shards.write(b"a")
    pinned = rpc_pb2.RangeRequest(key=b"a", revision=3)
    call_id = calls.call("KV/Range", pinned)
    assert ranged(calls, call_id).header.revision == 5
    assert calls.shards.left.read_calls[0].revision == 3


@pytest.mark.parametrize(
    ("revision", "refused"),
    [(6, errors.FUTURE_REVISION), (2, errors.COMPACTED), (3, None), (5, None), (-1, None)],
)
@pytest.mark.parametrize("path", ["KV/Range", "KV/RangeStream"])
def test_revision_ahead_or_below_the_floor_is_refused_with_etcds_words(
    path: str, revision: int, refused: RequestRefused | None
) -> None:
    """R is 5, the floor 3: etcd serves the floor itself; a negative one is the newest."""
    calls = Calls()
    for _ in range(4):
        calls.shards.write(b"a")
    calls.shards.compact(3)
    call_id = calls.call(path, rpc_pb2.RangeRequest(key=b"a", revision=revision))
    if refused is None:
        assert len(calls.shards.left.read_calls) == 1
        return
    stream = path == "KV/RangeStream"
    assert (calls.edge.ended[call_id] if stream else calls.refusal(call_id)) == text(refused)
    assert calls.shards.left.read_calls == []


def test_range_that_is_empty_by_its_ends_is_answered_without_an_owner() -> None:
    calls = Calls()
    empty = rpc_pb2.RangeRequest(key=b"b", range_end=b"a")
    answered = ranged(calls, calls.call("KV/Range", empty))
    assert (answered.header.revision, answered.count, len(answered.kvs)) == (1, 0, 0)
    call_id = calls.call("KV/RangeStream", empty)
    (chunk,) = calls.edge.sent[call_id]
    assert rpc_pb2.RangeStreamResponse.FromString(chunk).range_response.header.revision == 1
    assert calls.edge.ended[call_id] == (0, "")
    assert calls.shards.left.read_calls == calls.shards.right.read_calls == []


def test_serializable_read_asks_no_sequencer_and_sees_what_was_released() -> None:
    """M15: it may be old, but it is one state of the whole, and needs no hop."""
    calls = Calls()
    calls.shards.write(b"a")
    calls.shards.commit(b"z")
    calls.shards.sequencer.hold = True
    request = rpc_pb2.RangeRequest(key=b"a", range_end=b"\x00", serializable=True)
    answered = ranged(calls, calls.call("KV/Range", request))
    assert answered.header.revision == 2
    assert calls.shards.sequencer.reads == 0
    assert calls.shards.right.read_calls[0].needs == ((2, 1),)


def test_serializable_reads_of_one_router_never_go_back() -> None:
    """3 was shown; that idle left now has 4 in flight does not unmake it."""
    calls = Calls()
    request = rpc_pb2.RangeRequest(key=b"a", range_end=b"\x00", serializable=True)
    calls.shards.write(b"z")
    calls.shards.write(b"z")
    assert ranged(calls, calls.call("KV/Range", request)).header.revision == 3
    calls.shards.commit(b"a")
    calls.shards.commit(b"z")
    calls.shards.deliver(RIGHT)
    assert ranged(calls, calls.call("KV/Range", request)).header.revision >= 3


def test_serializable_read_waits_for_no_tablet_but_its_own() -> None:
    """A watcher was told of 3 in left; a read of left behind it found nothing, as right lagged."""
    calls = Calls()
    calls.shards.commit(b"z")
    assert calls.shards.commit(b"a") == 3
    calls.shards.deliver(LEFT)
    calls.shards.sequencer.hold = True
    left = rpc_pb2.RangeRequest(key=b"a", range_end=b"b", serializable=True)
    assert ranged(calls, calls.call("KV/Range", left)).header.revision == 3
    both = rpc_pb2.RangeRequest(key=b"a", range_end=b"\x00", serializable=True)
    call_id = calls.call("KV/Range", both)
    assert call_id not in calls.edge.answers, "3 was told, and of right less is here"


def test_serializable_read_behind_a_newer_answer_asks_as_any_other_does() -> None:
    """What clientv3's ordering demands of one endpoint: no answer is older than the one before."""
    calls = Calls()
    calls.shards.commit(b"z")
    left = rpc_pb2.RangeRequest(key=b"a", range_end=b"b")
    assert ranged(calls, calls.call("KV/Range", left)).header.revision == 2
    asked = calls.shards.sequencer.reads
    left.serializable = True
    assert ranged(calls, calls.call("KV/Range", left)).header.revision == 2
    assert calls.shards.sequencer.reads == asked + 1


def test_inv20_serializable_read_behind_a_floor_that_is_known_asks_as_any_other_does() -> None:
    """The simulator's seed 1223: right's news did not come, both were written and compacted through
    another router; left had not heard of the floor yet and answered at 2."""
    calls = Calls()
    calls.shards.write(b"z")
    calls.shards.commit(b"z")
    calls.shards.coordinator.floor = 3
    for path in ("KV/Range", "KV/RangeStream"):
        left = rpc_pb2.RangeRequest(key=b"a", range_end=b"b", serializable=True)
        asked = calls.shards.sequencer.reads
        calls.call(path, left)
        assert calls.shards.sequencer.reads == asked + 1
        assert calls.shards.left.read_calls[-1].revision == 3


# -- RangeStream -----------------------------------------------------------------------------------


def test_stream_sends_rows_then_its_header_and_ends() -> None:
    calls = Calls()
    for owner in calls.shards.owners.values():
        owner.rows = [row(b"a"), row(b"z")]
    call_id = calls.call("KV/RangeStream", ALL)
    whole = rpc_pb2.RangeStreamResponse()
    for chunk in calls.edge.sent[call_id]:
        whole.MergeFromString(chunk)
    assert [kv.key for kv in whole.range_response.kvs] == [b"a", b"z"]
    assert whole.range_response.header.revision == 1
    assert calls.edge.ended[call_id] == (0, "")


def test_stream_whose_client_is_gone_asks_no_further_owner() -> None:
    calls = Calls()
    left = calls.shards.left
    left.hold_reads, left.rows = True, [row(b"a"), row(b"b")]
    call_id = calls.call("KV/RangeStream", ALL)
    calls.deliver(calls.of(call_id, "KV/RangeStream", kind=Kind.CANCELLED))
    assert not left.answer_read(parts=2)
    assert calls.shards.right.read_calls == []


@pytest.mark.parametrize("how", ["ends", "fails", "is cancelled"])
def test_stream_that_is_over_is_forgotten(how: str) -> None:
    """Or a router keeps an entry for each listing that was ever refused."""
    calls = Calls()
    calls.shards.left.hold_reads = True
    call_id = calls.call("KV/RangeStream", rpc_pb2.RangeRequest(key=b"a"))
    if how == "fails":
        calls.shards.left.refuse_read(errors.COMPACTED)
    elif how == "is cancelled":
        calls.deliver(calls.of(call_id, "KV/RangeStream", kind=Kind.CANCELLED))
    else:
        calls.shards.left.answer_read()
    assert calls.router._kv.streams._open == set()


# -- compaction ------------------------------------------------------------------------------------


def compact(calls: Calls, revision: int, physical: bool = False) -> int:
    return calls.call("KV/Compact", rpc_pb2.CompactionRequest(revision=revision, physical=physical))


def test_compaction_is_answered_when_the_floor_is_durable() -> None:
    calls = Calls()
    for _ in range(4):
        calls.shards.write(b"a")
    calls.shards.coordinator.hold = True
    call_id = compact(calls, 3)
    assert call_id not in calls.edge.answers
    assert calls.shards.left.compactions == []
    calls.shards.coordinator.answer()
    answered = rpc_pb2.CompactionResponse.FromString(calls.answer(call_id))
    assert answered.header.revision == 5
    assert [c[0] for o in calls.shards.owners.values() for c in o.compactions] == [3, 3]


def test_physical_compaction_is_answered_when_every_owner_has_removed() -> None:
    calls = Calls()
    calls.shards.write(b"a")
    call_id = compact(calls, 2, physical=True)
    for shard in (LEFT, RIGHT):
        assert call_id not in calls.edge.answers
        ((_, removed),) = calls.shards.owners[shard].compactions
        assert removed is not None
        removed()
    assert calls.answer(call_id)


def test_plain_compaction_is_answered_once_also_when_owners_finish_later() -> None:
    calls = Calls()
    call_id = compact(calls, 1)
    calls.answer(call_id)
    for owner in calls.shards.owners.values():
        ((_, removed),) = owner.compactions
        assert removed is not None
        removed()
    assert call_id not in calls.edge.answers


@pytest.mark.parametrize(
    ("revision", "refused"),
    [(3, errors.COMPACTED), (1, errors.COMPACTED), (6, errors.FUTURE_REVISION), (5, None)],
)
def test_compaction_at_or_below_the_floor_or_ahead_is_refused(
    revision: int, refused: RequestRefused | None
) -> None:
    calls = Calls()
    for _ in range(4):
        calls.shards.write(b"a")
    calls.shards.compact(3)
    call_id = compact(calls, revision)
    if refused is None:
        assert calls.answer(call_id)
        assert calls.shards.coordinator.floor == revision
    else:
        assert calls.refusal(call_id) == text(refused)
        assert calls.shards.left.compactions == []


def test_compaction_that_the_coordinator_refuses_removes_nothing() -> None:
    calls = Calls()
    calls.shards.coordinator.hold = True
    call_id = compact(calls, 1)
    calls.shards.coordinator.answer(errors.TIMED_OUT)
    assert calls.refusal(call_id) == text(errors.TIMED_OUT)
    assert calls.shards.left.compactions == []


# -- a map that changes under a read ---------------------------------------------------------------


def among_maps() -> Calls:
    """A router of a cluster: what another map refuses is tried again."""
    calls = Calls()
    context = dataclasses.replace(calls.context, clock=calls.clock, remote=True)
    calls.router = Router(context, calls.shards.sample())
    return calls


def test_inv17_list_that_meets_another_map_in_its_middle_is_read_anew_as_a_whole() -> None:
    """Rows of two moments would be a state that never was."""
    calls = among_maps()
    left, right = calls.shards.left, calls.shards.right
    left.hold_reads = right.hold_reads = True
    left.rows, right.rows = [row(b"a", 2)], [row(b"z", 2)]
    listed = calls.call("KV/Range", ALL)
    left.answer_read()
    right.refuse_read(errors.OTHER_MAP)
    calls.shards.revision = 3
    left.rows = [row(b"a", 3)]
    assert not left.reads_waiting
    calls.clock.ms += RETRY_FIRST_MS
    calls.router.turn()
    left.answer_read()
    right.answer_read()
    answer = ranged(calls, listed)
    assert answer.header.revision == 3
    assert [(kv.key, kv.mod_revision) for kv in answer.kvs] == [(b"a", 3), (b"z", 2)]


def test_inv17_stream_that_meets_another_map_after_its_first_rows_fails() -> None:
    """What was sent cannot be taken back, and the rest of another moment does not belong to it."""
    calls = among_maps()
    left, right = calls.shards.left, calls.shards.right
    left.hold_reads = right.hold_reads = True
    left.rows = [row(b"a", 2)]
    call_id = calls.call("KV/RangeStream", ALL)
    left.answer_read()
    right.refuse_read(errors.OTHER_MAP)
    calls.clock.ms += RETRY_FIRST_MS
    calls.router.turn()
    assert not left.reads_waiting
    assert calls.edge.ended[call_id] == text(errors.OTHER_MAP)
