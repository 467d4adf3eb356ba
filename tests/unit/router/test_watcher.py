"""Watchers as values: what they want, whom they share bytes with, how events become messages."""

from __future__ import annotations

import pytest

from kubebraid.base.keyspace import KeyRange
from kubebraid.base.limits import MESSAGE_BYTES_MAX, WATCH_BYTES_MAX, WATCH_EVENTS_MAX
from kubebraid.base.record import Commit, Event
from kubebraid.proto.etcd import kv_pb2, rpc_pb2
from kubebraid.proto.kvwire import key_value
from kubebraid.router.watcher import Options, Piece, Request, Watcher, encode

from .fakes import Client, Shards, commit, event

ALL = Options(KeyRange(b"a", b"z"), False, False, False)


def watcher(options: Options = ALL, start: int = 0, now: int = 9) -> Watcher:
    shards = Shards()
    hub = shards.hub()
    client = Client(shards, hub)
    client.watch()
    feed = client.session.watchers[0].feed
    return Watcher(client.session, 7, Request(options, start, False), now, feed)


def decoded(payload: bytes) -> list[kv_pb2.Event]:
    return list(rpc_pb2.WatchResponse.FromString(payload).events)


def test_watch_without_start_begins_behind_the_newest_revision() -> None:
    assert watcher(start=0, now=9).next == 10


def test_watch_with_a_start_begins_there_also_in_the_future() -> None:
    assert watcher(start=5, now=9).next == 5
    assert watcher(start=50, now=9).next == 50


def test_position_only_grows() -> None:
    """inv07: a position that went back would send an event twice."""
    one = watcher(start=5)
    one.advance(8)
    assert one.next == 9
    one.advance(8)
    with pytest.raises(AssertionError):
        one.advance(7)


# -- encoding --------------------------------------------------------------------------------------


def test_events_outside_the_span_are_left_out() -> None:
    (piece,) = encode([commit(5, b"A", b"b"), commit(6, b"zz")], ALL)
    assert piece.last == 5
    assert [e.kv.key for e in decoded(piece.payload)] == [b"b"]


def test_commits_that_concern_nobody_make_no_message() -> None:
    assert encode([commit(5, b"zz")], ALL) == []


def test_filters_drop_puts_or_deletes() -> None:
    both = [Commit(5, (event(b"b", 5), event(b"c", 5, deleted=True)))]
    (no_put,) = encode(both, ALL._replace(no_put=True))
    (no_delete,) = encode(both, ALL._replace(no_delete=True))
    assert [e.kv.key for e in decoded(no_put.payload)] == [b"c"]
    assert [e.kv.key for e in decoded(no_delete.payload)] == [b"b"]
    assert encode(both, ALL._replace(no_put=True, no_delete=True)) == []


def test_previous_value_is_there_only_if_asked_for() -> None:
    """kube-apiserver asks, and ends a watch whose DELETE has none."""
    deleted = [Commit(5, (event(b"c", 5, deleted=True),))]
    (asked,) = encode(deleted, ALL._replace(prev_kv=True))
    (plain,) = encode(deleted, ALL)
    assert decoded(asked.payload)[0].prev_kv.key == b"c"
    assert not decoded(plain.payload)[0].HasField("prev_kv")


def test_messages_are_bounded_by_events_but_no_revision_is_split() -> None:
    """etcd: all events of one revision are in one response."""
    half = [b"b%d" % n for n in range(WATCH_EVENTS_MAX // 2 + 1)]
    pieces = encode([commit(5, *half), commit(6, *half), commit(7, b"c")], ALL)
    assert [piece.last for piece in pieces] == [5, 7]
    assert len(decoded(pieces[0].payload)) == len(half)
    assert len(decoded(pieces[1].payload)) == len(half) + 1


def test_revision_larger_than_a_message_is_sent_whole() -> None:
    keys = [b"b%d" % n for n in range(WATCH_EVENTS_MAX + 1)]
    (piece,) = encode([commit(5, *keys)], ALL)
    assert len(decoded(piece.payload)) == len(keys)


def test_messages_are_bounded_by_bytes() -> None:
    big = key_value(b"b", 1, 1, 1, b"v" * (WATCH_BYTES_MAX // 2 + 1), 0)
    commits = [Commit(revision, (Event(b"b", False, big, None),)) for revision in (5, 6, 7)]
    assert [piece.last for piece in encode(commits, ALL)] == [5, 6, 7]


def test_large_response_is_cut_into_fragments_for_a_client_that_asked() -> None:
    """etcd: all but the last say that more of the same revisions follows."""
    big = key_value(b"b", 1, 1, 1, b"v" * (MESSAGE_BYTES_MAX // 2), 0)
    commits = [Commit(5, (Event(b"b", False, big, None),) * 3)]
    (whole,) = encode(commits, ALL)
    pieces = encode(commits, ALL._replace(fragment=True))
    assert not whole.fragment
    assert [(piece.last, piece.fragment) for piece in pieces] == [(5, True), (5, True), (5, False)]
    assert all(len(piece.payload) < MESSAGE_BYTES_MAX for piece in pieces)
    assert b"".join(piece.payload for piece in pieces) == whole.payload


def test_single_event_larger_than_a_fragment_travels_whole() -> None:
    big = key_value(b"b", 1, 1, 1, b"v" * MESSAGE_BYTES_MAX, 0)
    commits = [Commit(5, (Event(b"b", False, big, None), event(b"c", 5)))]
    pieces = encode(commits, ALL._replace(fragment=True))
    assert [len(decoded(piece.payload)) for piece in pieces] == [1, 1]


def test_position_moves_behind_the_last_fragment_only() -> None:
    """A client cut off between two fragments must get the whole revision again."""
    one = watcher(start=5)
    one.session.events(one, Piece(6, b"", True))
    assert one.next == 5
    one.session.events(one, Piece(6, b"", False))
    assert one.next == 7
