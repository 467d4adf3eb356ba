"""One stream: its ids, and when it may say that nothing at or below a revision is to come."""

from __future__ import annotations

import pytest

from kubebraid.proto.etcd import rpc_pb2

from .fakes import LEFT, RIGHT, Client, Shards


def test_ids_given_by_us_rise_from_zero_past_those_the_client_chose() -> None:
    """etcd's nextID: it is not advanced by a client's choice, and skips what is taken."""
    shards = Shards()
    client = Client(shards, shards.hub())
    assert client.watch() == 0
    client.session.watchers[1] = client.session.watchers[0]
    assert client.session.choose_id(0) == 2
    assert client.session.choose_id(0) == 3


def test_id_of_a_cancelled_watch_is_not_given_again() -> None:
    """A late event of the old watch must not look like one of the new."""
    shards = Shards()
    hub = shards.hub()
    client = Client(shards, hub)
    assert client.watch() == 0
    hub.cancel(client.session, 0)
    assert client.watch() == 1


def test_chosen_id_is_refused_only_while_it_is_taken() -> None:
    shards = Shards()
    hub = shards.hub()
    client = Client(shards, hub)
    client.session.watchers[7] = client.session.watchers.setdefault(
        client.watch(), client.session.watchers[0]
    )
    assert client.session.choose_id(7) is None
    assert client.session.choose_id(8) == 8
    assert client.session.choose_id(-3) == -3


def test_worked_example_sends_one_mark_for_all_watchers() -> None:
    shards = Shards()
    client = Client(shards, shards.hub())
    client.watch()
    client.watch(b"z", b"")
    for _ in range(11):
        shards.write(b"a")
    client.take()
    assert client.ask_progress() == 12
    (mark,) = client.take()
    assert mark == rpc_pb2.WatchResponse(
        header=rpc_pb2.ResponseHeader(cluster_id=11, member_id=12, revision=12, raft_term=13),
        watch_id=-1,
    )


def test_stream_without_watchers_is_not_answered() -> None:
    shards = Shards()
    client = Client(shards, shards.hub())
    client.ask_progress()
    assert client.take() == []


def test_watcher_that_catches_up_holds_back_the_mark_and_the_request_is_dropped() -> None:
    """etcd progressIfSync: one unsynced watcher is enough; the client asks again."""
    shards = Shards()
    hub = shards.hub()
    client = Client(shards, hub)
    shards.write(b"a")
    client.watch()
    client.watch(start=2)
    client.take()
    client.ask_progress()
    assert client.marks() == []
    hub.turn()
    assert client.events(1) == [(2, b"a")]
    client.ask_progress()
    assert client.marks() == [(-1, 2)]


def test_watcher_with_a_start_ahead_holds_back_the_mark() -> None:
    """A mark at 2 would move its client's position back from 4 to 3."""
    shards = Shards()
    client = Client(shards, shards.hub())
    client.watch(start=4)
    shards.write(b"a")
    client.take()
    client.ask_progress()
    assert client.marks() == []
    shards.write(b"a")
    shards.write(b"a")
    client.take()
    client.ask_progress()
    assert client.marks() == [(-1, 4)]


# -- periodic marks --------------------------------------------------------------------------------


def test_quiet_watch_that_asked_is_told_the_revision_at_each_tick() -> None:
    shards = Shards()
    hub = shards.hub()
    client = Client(shards, hub)
    client.watch(b"z", b"", progress_notify=True)
    client.watch(b"z", b"", progress_notify=False)
    shards.write(b"a")
    client.take()
    hub.tick()
    assert client.marks() == [(0, 2)]
    hub.tick()
    assert client.marks() == [(0, 2)]


def test_inv09_answer_behind_a_tick_is_not_below_it() -> None:
    """The tick was about one watch, the answer is for all of the stream."""
    shards = Shards()
    hub = shards.hub()
    client = Client(shards, hub)
    client.watch(b"z", b"", progress_notify=True)
    client.watch(b"a", b"b")
    shards.commit(b"a")
    assert client.ask_progress() == 2
    shards.commit(b"y")
    shards.deliver(RIGHT)
    hub.tick()
    assert client.marks() == [(0, 3)]
    shards.deliver(LEFT)
    assert client.marks() == [(-1, 3)]


def test_watch_that_got_an_event_skips_one_tick() -> None:
    """etcd: the event told the revision already."""
    shards = Shards()
    hub = shards.hub()
    client = Client(shards, hub)
    client.watch(progress_notify=True)
    shards.write(b"a")
    client.take()
    hub.tick()
    assert client.marks() == []
    hub.tick()
    assert client.marks() == [(0, 2)]


def test_watch_that_is_not_synced_or_starts_ahead_is_not_told_at_a_tick() -> None:
    shards = Shards()
    hub = shards.hub()
    client = Client(shards, hub)
    shards.write(b"a")
    client.watch(start=2, progress_notify=True)
    client.watch(start=9, progress_notify=True)
    client.take()
    hub.tick()
    assert client.marks() == []


@pytest.mark.parametrize("first", [LEFT, RIGHT])
def test_tick_while_a_commit_is_in_flight_does_not_go_back(first: str) -> None:
    """The client would resume behind what it was told: bookmarks never fall."""
    shards = Shards()
    hub = shards.hub()
    client = Client(shards, hub)
    client.watch(progress_notify=True)
    shards.write(b"a")
    shards.write(b"z")
    hub.tick()
    hub.tick()
    assert client.marks()[-1] == (0, 3)
    shards.commit(b"a" if first == LEFT else b"z")
    client.ask_progress()
    hub.tick()
    assert [revision for _, revision in client.marks()] == [3]


def test_tick_right_after_creation_is_not_below_the_created_revision() -> None:
    """created said 2, so the client holds 2; a mark at 1 would move it back before the watch."""
    shards = Shards()
    hub = shards.hub()
    client = Client(shards, hub)
    shards.commit(b"a")
    client.watch(progress_notify=True)
    (created,) = client.take()
    assert created.header.revision == 2
    hub.tick()
    assert all(revision >= 2 for _, revision in client.marks())
    shards.deliver(LEFT)
    hub.tick()
    assert client.marks()[-1:] == [(0, 2)]
