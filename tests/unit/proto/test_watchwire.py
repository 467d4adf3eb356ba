"""What a watch stream sends is byte for byte what the generated WatchResponse would be."""

from __future__ import annotations

from typing import NamedTuple

from hypothesis import given
from hypothesis import strategies as st

from kubebraid.base.record import Event
from kubebraid.proto import kvwire, watchwire
from kubebraid.proto.etcd import kv_pb2, rpc_pb2

INT64_MAX = (1 << 63) - 1
HEADER = kvwire.Header(11, 12, 13)
REVISIONS = st.sampled_from((1, 127, 128, INT64_MAX)) | st.integers(1, INT64_MAX)
IDS = st.sampled_from((-1, 0, 1, INT64_MAX, -INT64_MAX - 1)) | st.integers(-2, 1_000)


def response(revision: int, watch_id: int) -> rpc_pb2.WatchResponse:
    header = rpc_pb2.ResponseHeader(cluster_id=11, member_id=12, revision=revision, raft_term=13)
    return rpc_pb2.WatchResponse(header=header, watch_id=watch_id)


@given(REVISIONS, IDS)
def test_created_says_created_and_the_id(revision: int, watch_id: int) -> None:
    expected = response(revision, watch_id)
    expected.created = True
    assert watchwire.created(HEADER, revision, watch_id) == expected.SerializeToString()


@given(REVISIONS, st.text(min_size=1, max_size=200))
def test_refused_is_created_and_canceled_with_no_watch_id(revision: int, reason: str) -> None:
    """etcd answers a watch that it does not create with both flags and the id -1."""
    expected = response(revision, -1)
    expected.created = expected.canceled = True
    expected.cancel_reason = reason
    assert watchwire.refused(HEADER, revision, reason) == expected.SerializeToString()


@given(REVISIONS, IDS)
def test_canceled_is_a_header_an_id_and_the_mark(revision: int, watch_id: int) -> None:
    expected = response(revision, watch_id)
    expected.canceled = True
    assert watchwire.canceled(HEADER, revision, watch_id) == expected.SerializeToString()


@given(IDS, st.sampled_from((1, INT64_MAX)))
def test_compacted_names_the_floor_and_no_revision(watch_id: int, floor: int) -> None:
    """etcd leaves the revision of this header out; a client resumes from nothing here."""
    expected = response(1, watch_id)
    expected.header.revision = 0
    expected.canceled = True
    expected.compact_revision = floor
    assert watchwire.compacted(HEADER, watch_id, floor) == expected.SerializeToString()


@given(REVISIONS, IDS)
def test_progress_is_a_header_and_an_id(revision: int, watch_id: int) -> None:
    ours = watchwire.progress(HEADER, revision, watch_id)
    assert ours == response(revision, watch_id).SerializeToString()


def test_broadcast_progress_has_the_id_that_etcds_client_knows() -> None:
    """clientv3 hands a progress mark with this id to every watcher of the stream."""
    sent = watchwire.progress(HEADER, 5, watchwire.BROADCAST_ID)
    assert rpc_pb2.WatchResponse.FromString(sent).watch_id == -1


class Piece(NamedTuple):
    """Encoded events, as the router hands them over."""

    last: int
    payload: bytes
    fragment: bool


@given(
    REVISIONS,
    IDS,
    st.lists(st.tuples(st.binary(max_size=40), st.booleans()), max_size=5),
    st.booleans(),
)
def test_events_are_spliced_behind_header_id_and_flag(
    revision: int, watch_id: int, changes: list[tuple[bytes, bool]], fragment: bool
) -> None:
    expected = response(revision, watch_id)
    expected.fragment = fragment
    encoded = []
    for key, deleted in changes:
        kv = kv_pb2.KeyValue(key=key, mod_revision=revision)
        kind = kv_pb2.Event.DELETE if deleted else kv_pb2.Event.PUT
        expected.events.append(kv_pb2.Event(type=kind, kv=kv))
        item = Event(key, deleted, kvwire.tombstone(key, revision), None)
        encoded.append(kvwire.event(item, with_previous=True))
    piece = Piece(revision, kvwire.watch_events(encoded), fragment)
    assert watchwire.events(HEADER, piece, watch_id) == expected.SerializeToString()
