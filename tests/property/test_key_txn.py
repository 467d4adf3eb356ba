"""The short way of a transaction of one key is the long way, request by request.

What it is: transactions around the shape that kube-apiserver sends (and many that just miss it),
decoded, checked, evaluated and answered on both ways. What it is not: the rules of either, which
tests/unit/shard/test_apply.py and the histories hold.
"""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from kubebraid.base.errors import RequestRefused
from kubebraid.base.ops import TxnOp
from kubebraid.proto import check, convert, kvwire
from kubebraid.proto.etcd import rpc_pb2
from kubebraid.shard.apply import Evaluation
from kubebraid.shard.view import Ambiguous
from tests.unit.shard.fakes import Stand, grant_call, put_call

FIRST = 11
LEASE = 7
KEYS = st.sampled_from([b"", b"/a/x", b"/a/x", b"/a/x", b"/a/y", b"/a/" + b"l" * 200])
ENDS = st.sampled_from([b"", b"", b"", b"\x00", b"/a0"])
NUMBERS = st.integers(min_value=0, max_value=14)
VALUES = st.sampled_from([b"", b"1", b"old"])

compares = st.builds(
    rpc_pb2.Compare,
    key=KEYS,
    range_end=ENDS,
    result=st.integers(min_value=0, max_value=4),
    target=st.integers(min_value=0, max_value=5),
    mod_revision=st.none() | NUMBERS,
) | st.builds(
    rpc_pb2.Compare,
    key=KEYS,
    target=st.sampled_from([0, 0, 1, 3]),
    version=st.none() | st.integers(min_value=0, max_value=2),
)
puts = st.builds(
    rpc_pb2.PutRequest,
    key=KEYS,
    value=VALUES,
    lease=st.sampled_from([0, 0, LEASE, 404]),
    prev_kv=st.booleans(),
    ignore_value=st.sampled_from([False, False, True]),
    ignore_lease=st.sampled_from([False, False, True]),
)
deletes = st.builds(rpc_pb2.DeleteRangeRequest, key=KEYS, range_end=ENDS, prev_kv=st.booleans())
ranges = st.builds(
    rpc_pb2.RangeRequest,
    key=KEYS,
    range_end=ENDS,
    revision=st.sampled_from([0, 0, 0, 3]),
    limit=st.sampled_from([0, 0, 1]),
    keys_only=st.booleans(),
)
ops = (
    st.builds(rpc_pb2.RequestOp, request_put=puts)
    | st.builds(rpc_pb2.RequestOp, request_delete_range=deletes)
    | st.builds(rpc_pb2.RequestOp, request_range=ranges)
    | st.builds(rpc_pb2.RequestOp)
)
txns = st.builds(
    rpc_pb2.TxnRequest,
    compare=st.lists(compares, max_size=2),
    success=st.lists(ops, max_size=2),
    failure=st.lists(ops, max_size=2),
)


@st.composite
def likely(draw: st.DrawFn) -> rpc_pb2.TxnRequest:
    """What kube-apiserver sends, but for one key that may be another one."""
    key = draw(st.sampled_from([b"/a/x", b"/a/y", b"/a/" + b"l" * 200]))
    compare = draw(compares)
    compare.key, compare.range_end = key, b""
    write = draw(ops)
    if write.HasField("request_put"):
        write.request_put.key = key
    if write.HasField("request_delete_range"):
        write.request_delete_range.key = key
    failure = draw(st.sampled_from([[], [rpc_pb2.RequestOp()]]))
    for op in failure:
        op.request_range.key = draw(st.sampled_from([key, key, b"/a/z"]))
    return rpc_pb2.TxnRequest(compare=[compare], success=[write], failure=failure)


def evaluation() -> Evaluation:
    stand = Stand()
    stand.write(grant_call(LEASE, 60), put_call(b"/a/x", b"old"), put_call(b"/a/x", b"1"))
    return stand.evaluation()


def outcome(op: TxnOp) -> tuple[object, ...]:
    """Everything that an evaluation decides."""
    made = evaluation()
    try:
        answer = made.txn(op)
    except Ambiguous:
        return ("ambiguous",)
    if isinstance(answer, RequestRefused):
        return (answer, made.writes, len(made.changes))
    for change in made.changes:
        if change.new is not None:
            change.new.settle(FIRST)
    changes = [(c.index, c.sub, c.key, c.new, c.old, c.before) for c in made.changes]
    return (answer.position, answer.body(FIRST), made.writes, made.bytes, changes)


@given(txns | likely())
def test_short_way_decides_and_answers_what_the_long_one_does(request: rpc_pb2.TxnRequest) -> None:
    """And whatever takes it would have passed the checks."""
    short = convert.key_txn(request)
    if short is None:
        return
    assert check.check_txn(request) is None
    long = convert.txn_op(request)
    assert short._replace(key=None) == long
    assert short.writes()
    assert long.writes()
    assert outcome(short) == outcome(long)


def test_what_kube_apiserver_sends_goes_the_short_way() -> None:
    """Create, update, delete: otherwise the test above would hold of nothing."""
    for key in (b"/registry/configmaps/default/a", b"/registry/" + b"l" * 120, b"k" * 20_000):
        read = rpc_pb2.RequestOp(request_range=rpc_pb2.RangeRequest(key=key))
        put = rpc_pb2.RequestOp(request_put=rpc_pb2.PutRequest(key=key, value=b"v", lease=LEASE))
        gone = rpc_pb2.RequestOp(request_delete_range=rpc_pb2.DeleteRangeRequest(key=key))
        mod = rpc_pb2.Compare.MOD
        new = rpc_pb2.Compare(key=key, target=mod, mod_revision=0)
        same = rpc_pb2.Compare(key=key, target=mod, mod_revision=8)
        for compare, write in ((new, put), (same, put), (same, gone)):
            for failure in ([read], []):
                txn = rpc_pb2.TxnRequest(compare=[compare], success=[write], failure=failure)
                found = convert.key_txn(txn)
                assert found is not None
                assert found.key == key


@given(st.integers(min_value=1, max_value=2**63 - 1), st.booleans())
def test_answer_of_a_lone_put_is_the_generated_one(revision: int, succeeded: bool) -> None:
    """Fields 2 and 3 of the TxnResponse."""
    put = rpc_pb2.PutResponse(header=rpc_pb2.ResponseHeader(revision=revision))
    answer = rpc_pb2.TxnResponse(
        succeeded=succeeded, responses=[rpc_pb2.ResponseOp(response_put=put)]
    )
    assert kvwire.put_in_txn(revision, succeeded) == answer.SerializeToString()
