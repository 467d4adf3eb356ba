"""How a refusal and a body leave through an edge: the header stands before every body."""

from __future__ import annotations

from typing import Final

from kubebraid.base import errors
from kubebraid.base.ports import WriteReply
from kubebraid.proto.etcd import rpc_pb2
from kubebraid.router.answers import Caller, answer_write
from tests.unit.router.fakes import HEADER
from tests.world import FakeEdge, RpcError

BODY: Final = rpc_pb2.DeleteRangeResponse(deleted=3).SerializeToString()


def answered(edge: FakeEdge, call_id: int) -> rpc_pb2.DeleteRangeResponse:
    raw = edge.answers[call_id]
    assert isinstance(raw, bytes)
    return rpc_pb2.DeleteRangeResponse.FromString(raw)


def test_body_follows_a_header_of_the_given_revision() -> None:
    edge = FakeEdge()
    Caller(edge, 7, HEADER).respond(42, BODY)
    answer = answered(edge, 7)
    assert answer.deleted == 3
    header = answer.header
    assert (header.cluster_id, header.member_id, header.raft_term) == (11, 12, 13)
    assert header.revision == 42


def test_write_is_answered_by_its_tag_alone() -> None:
    edge = FakeEdge()
    answer_write(WriteReply(Caller(edge, 8, HEADER), 9, BODY, None))
    assert answered(edge, 8).header.revision == 9
    assert list(edge.answers) == [8]


def test_refused_write_fails_with_etcds_code_and_text() -> None:
    edge = FakeEdge()
    answer_write(WriteReply(Caller(edge, 8, HEADER), 0, b"", errors.LEASE_NOT_FOUND))
    refusal = edge.answers[8]
    assert isinstance(refusal, RpcError)
    assert (refusal.code, refusal.text) == (5, "etcdserver: requested lease not found")
