"""dev-cluster's two hand-written messages, against the generated ones."""

from __future__ import annotations

import pytest

from kubebraid.cli.dev.probe import ONE, WHOLE, Heard, header
from kubebraid.proto.etcd import rpc_pb2


def test_questions_are_what_they_seem() -> None:
    assert rpc_pb2.RangeRequest.FromString(ONE) == rpc_pb2.RangeRequest(key=b"\0")
    everything = rpc_pb2.RangeRequest(key=b"\0", range_end=b"\0", count_only=True)
    assert rpc_pb2.RangeRequest.FromString(WHOLE) == everything


@pytest.mark.parametrize(
    ("revision", "reign"), [(0, 0), (1, 0), (127, 1), (128, 300), (2**62, 2**40)]
)
def test_header_is_read(revision: int, reign: int) -> None:
    told = rpc_pb2.ResponseHeader(
        cluster_id=2**64 - 1, member_id=7, revision=revision, raft_term=reign
    )
    answer = rpc_pb2.RangeResponse(header=told, count=5, more=True).SerializeToString()
    assert header(answer) == Heard(revision, reign)


@pytest.mark.parametrize("answer", [b"", b"\x0a", b"\x0a\x80", b"\x12\x00", b"\x0a\x02\x08"])
def test_anything_else_is_no_answer(answer: bytes) -> None:
    with pytest.raises(ValueError, match=r"no header|cut off"):
        header(answer)
