"""The hand-written bytes of hot messages are those that protobuf's own classes would write.

An answer that differs by a byte is still legal protobuf, so nothing else would notice: a client
would read another revision, or none.
"""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kubebraid.base.record import Event
from kubebraid.proto import kvwire
from kubebraid.proto.etcd import kv_pb2, rpc_pb2

INT64_MAX = (1 << 63) - 1
EDGES = (0, 1, 127, 128, 16_383, 16_384, (1 << 31) - 1, 1 << 31, 1 << 62, INT64_MAX)
NATURALS = st.sampled_from(EDGES) | st.integers(0, INT64_MAX)
INT64 = NATURALS | st.sampled_from((-1, -128, -INT64_MAX - 1)) | st.integers(-INT64_MAX - 1, -1)
UINT64 = st.integers(1, (1 << 64) - 1)
BYTES = st.binary(max_size=300)
KEY_VALUES = st.builds(
    kv_pb2.KeyValue,
    key=BYTES,
    create_revision=INT64,
    mod_revision=INT64,
    version=INT64,
    value=BYTES,
    lease=INT64,
)


def ours(kv: kv_pb2.KeyValue) -> bytes:
    return kvwire.key_value(
        kv.key, kv.create_revision, kv.mod_revision, kv.version, kv.value, kv.lease
    )


def test_key_value_of_the_worked_example_has_these_bytes() -> None:
    expected = bytes.fromhex("0a 01 61 10 02 18 02 20 01 2a 01 78")
    assert kvwire.key_value(b"a", 2, 2, 1, b"x", 0) == expected


@given(KEY_VALUES)
def test_key_value_is_byte_equal_to_the_generated_class(kv: kv_pb2.KeyValue) -> None:
    assert ours(kv) == kv.SerializeToString(deterministic=True)


def test_key_value_without_any_field_is_empty() -> None:
    """proto3 leaves defaults out."""
    assert kvwire.key_value(b"", 0, 0, 0, b"", 0) == b""


@pytest.mark.parametrize("size", [127, 128, 16_383, 16_384, 2_097_152])
def test_key_value_length_prefixes_grow_where_protobufs_do(size: int) -> None:
    kv = kv_pb2.KeyValue(key=b"k" * size, value=b"v" * size, mod_revision=1)
    assert ours(kv) == kv.SerializeToString()
    assert kvwire.key_of(ours(kv)) == kv.key


@given(KEY_VALUES)
def test_key_and_value_are_read_back_from_the_bytes(kv: kv_pb2.KeyValue) -> None:
    assert kvwire.key_of(ours(kv)) == kv.key
    assert kvwire.value_of(ours(kv)) == kv.value


@given(BYTES, NATURALS)
def test_tombstone_has_key_and_revision_only(key: bytes, revision: int) -> None:
    expected = kv_pb2.KeyValue(key=key, mod_revision=revision)
    assert kvwire.tombstone(key, revision) == expected.SerializeToString()


@given(NATURALS)
def test_varint_is_protobufs(n: int) -> None:
    tag = b"\x10"
    expected = kv_pb2.KeyValue(create_revision=n).SerializeToString()
    assert (tag + kvwire.varint(n) if n else b"") == expected


@pytest.mark.parametrize("n", [-1, -INT64_MAX - 1])
def test_varint_of_a_negative_number_takes_ten_bytes(n: int) -> None:
    """int64 is two's complement on the wire, sign extended: a watch_id of -1 depends on it."""
    assert len(kvwire.varint(n)) == 10
    decoded = kv_pb2.KeyValue.FromString(b"\x30" + kvwire.varint(n))
    assert decoded.lease == n


def test_varint_refuses_what_has_no_64_bits() -> None:
    with pytest.raises(AssertionError):
        kvwire.varint(1 << 64)


@given(st.booleans(), KEY_VALUES, st.none() | KEY_VALUES, st.booleans())
def test_event_is_byte_equal_to_the_generated_class(
    deleted: bool, kv: kv_pb2.KeyValue, previous: kv_pb2.KeyValue | None, asked: bool
) -> None:
    item = Event(kv.key, deleted, ours(kv), None if previous is None else ours(previous))
    expected = kv_pb2.Event(
        type=kv_pb2.Event.DELETE if deleted else kv_pb2.Event.PUT,
        kv=kv,
        prev_kv=previous if asked else None,
    )
    assert kvwire.event(item, with_previous=asked) == expected.SerializeToString()


def test_event_keeps_an_empty_previous_value_apart_from_none() -> None:
    """kube-apiserver ends a watch whose modification has no prev_kv: present must stay present."""
    present = kvwire.event(Event(b"a", False, b"", b""), with_previous=True)
    absent = kvwire.event(Event(b"a", False, b"", None), with_previous=True)
    assert kv_pb2.Event.FromString(present).HasField("prev_kv")
    assert not kv_pb2.Event.FromString(absent).HasField("prev_kv")


@given(st.lists(KEY_VALUES, max_size=5), st.booleans(), NATURALS, NATURALS.filter(bool))
def test_range_response_spliced_of_its_parts_is_the_generated_one(
    kvs: list[kv_pb2.KeyValue], more: bool, count: int, revision: int
) -> None:
    header = kvwire.Header(1 << 63, 7, 3)
    spliced = (
        header.field(revision)
        + kvwire.range_rows([ours(kv) for kv in kvs])
        + kvwire.range_tail(more, count)
    )
    expected = rpc_pb2.RangeResponse(
        header=rpc_pb2.ResponseHeader(
            cluster_id=1 << 63, member_id=7, revision=revision, raft_term=3
        ),
        kvs=kvs,
        more=more,
        count=count,
    )
    assert spliced == expected.SerializeToString(deterministic=True)


@given(UINT64, UINT64, NATURALS, NATURALS.filter(bool))
def test_header_is_byte_equal_to_the_generated_class(
    cluster: int, member: int, term: int, revision: int
) -> None:
    expected = rpc_pb2.PutResponse(
        header=rpc_pb2.ResponseHeader(
            cluster_id=cluster, member_id=member, revision=revision, raft_term=term
        )
    )
    header = kvwire.Header(cluster, member, term)
    assert header.field(revision) == expected.SerializeToString(deterministic=True)


def test_header_tells_a_new_term_and_remembers_the_newest_revision() -> None:
    """A router keeps one over several reigns, and its open streams with it."""
    header = kvwire.Header(11, 12, 13)
    header.field(9)
    header.begin_term(14)
    assert header.field(7) == kvwire.Header(11, 12, 14).field(7)
    assert (header.raft_term, header.told) == (14, 9)


def test_header_without_a_revision_is_refused() -> None:
    """kube-apiserver needs revision > 0 of every answer: an empty store is at 1."""
    with pytest.raises(AssertionError):
        kvwire.Header(1, 1, 1).field(0)


@given(NATURALS.filter(bool))
def test_inner_header_has_the_revision_alone(revision: int) -> None:
    expected = rpc_pb2.PutResponse(header=rpc_pb2.ResponseHeader(revision=revision))
    assert kvwire.inner_header(revision) == expected.SerializeToString()


@given(st.lists(BYTES, max_size=4))
def test_watch_events_are_field_11_of_a_watch_response(keys: list[bytes]) -> None:
    items = [Event(key, False, kvwire.key_value(key, 1, 1, 1, b"", 0), None) for key in keys]
    spliced = kvwire.watch_events([kvwire.event(item, with_previous=False) for item in items])
    expected = rpc_pb2.WatchResponse(
        events=[
            kv_pb2.Event(kv=kv_pb2.KeyValue(key=key, create_revision=1, mod_revision=1, version=1))
            for key in keys
        ]
    )
    assert spliced == expected.SerializeToString()


def test_blob_is_present_even_when_empty() -> None:
    """An empty answer inside a TxnResponse must still say which answer it is."""
    inner = rpc_pb2.ResponseOp.FromString(kvwire.blob(3, b""))
    assert inner.WhichOneof("response") == "response_delete_range"
