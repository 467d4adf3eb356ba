"""Watches over a change of map: a move, a split, a merge, and who hears of it first."""

from __future__ import annotations

import time
from dataclasses import replace

import pytest

from kubebraid.base.ports import Publication, TabletNews
from kubebraid.base.tabletmap import TabletMap

from .fakes import LEFT, RIGHT, Client, commit, is_mark
from .shifting import SPARE, Cluster

D = b"d"  # a key of tablet 3, which is right's
A, B = b"a", b"b"  # keys of tablets 1 and 2, which are left's


def stand() -> tuple[Cluster, Client]:
    cluster = Cluster()
    cluster.deliver()
    return cluster, cluster.client()


def log_calls(cluster: Cluster) -> int:
    return sum(store.log_calls for store in cluster.stores.values())


def subscribed(cluster: Cluster, name: str) -> bool:
    return cluster.stores[name].publish is not None


def switch(cluster: Cluster, *shards: str) -> None:
    """All hear of the newest map: the router first."""
    cluster.follow()
    for name in shards:
        cluster.adopt(name)
    cluster.deliver()
    cluster.hub.absorb(cluster.sample())


# -- nobody notices --------------------------------------------------------------------------------


@pytest.mark.parametrize("late", [False, True])
def test_inv07_watch_goes_on_over_a_split(late: bool) -> None:
    """`late`: the router hears of the map when the new tablets have been written already."""
    cluster, client = stand()
    client.watch(b"d", b"f")
    cluster.write(b"d")
    cluster.split(3, b"e")
    if not late:
        switch(cluster, RIGHT)
    cluster.adopt(RIGHT)
    cluster.write(b"e")
    cluster.write(b"d")
    cluster.settle()
    assert client.events() == [(2, b"d"), (3, b"e"), (4, b"d")]
    assert client.session.watchers[0].synced
    if not late:
        assert log_calls(cluster) == 0, "nothing was missing"


def test_inv07_merge_of_which_nothing_is_missing_sends_nobody_to_the_log() -> None:
    """closed[1] is 2 and closed[2] is 3, but all of both up to 3 is here, and its owner says so."""
    cluster, client = stand()
    client.watch(b"a", b"d")
    client.watch(b"a", b"")
    cluster.write(A)
    cluster.write(B)
    cluster.merge(1, 2)
    switch(cluster, LEFT)
    cluster.write(A, B)
    cluster.turn()
    assert client.events(0) == [(2, A), (3, B), (4, A + B)]
    assert client.events(1) == [(2, A), (4, A)]
    assert log_calls(cluster) == 0


def test_inv07_move_changes_no_feed() -> None:
    cluster, client = stand()
    client.watch(b"d", b"e")
    feed = client.session.watchers[0].feed
    cluster.write(D)
    cluster.move(3, SPARE)
    switch(cluster, RIGHT, SPARE)
    cluster.write(D)
    cluster.turn()
    assert client.events() == [(2, D), (3, D)]
    assert client.session.watchers[0].feed is feed
    assert log_calls(cluster) == 0


def test_inv17_router_that_skips_maps_loses_nothing() -> None:
    """2 and 3 went from two shards into one tablet: 3 of right is on its way, 4 of left here."""
    cluster, client = stand()
    client.watch(b"b", b"f")
    cluster.write(B)
    cluster.commit(D)
    cluster.commit(B)
    cluster.land()
    cluster.deliver(LEFT)
    cluster.move(3, LEFT)
    cluster.adopt(LEFT)
    cluster.merge(2, 3)
    cluster.follow()
    cluster.hub.absorb(cluster.sample())
    assert client.events() == [(2, B)]
    cluster.settle()
    assert client.events() == [(2, B), (3, D), (4, B)]


def test_feeds_of_other_tablets_are_not_touched() -> None:
    cluster, client = stand()
    client.watch(b"d", b"e")
    client.watch(b"a", b"")
    other = client.session.watchers[1].feed
    cluster.split(3, b"e")
    switch(cluster, RIGHT)
    assert client.session.watchers[1].feed is other
    feeds = cluster.hub._feeds
    assert sorted(feeds._feeds) == [(1,), (5,)], "and those that nobody uses are gone"
    assert set(feeds._feeds.values()) == set(feeds.groups) == set(feeds._users)
    assert sorted(feeds._by_tablet) == [1, 5]


# -- what waited, what is behind -------------------------------------------------------------------


def test_inv07_what_an_old_feed_held_back_is_read_from_the_log() -> None:
    """3 of tablet 1 waits for 2 of tablet 3 when 1 is split: it was published, nobody saw it."""
    cluster, client = stand()
    client.watch()
    cluster.commit(D)
    cluster.commit(A)
    cluster.land()
    cluster.deliver(LEFT)
    cluster.split(1, b"a")
    switch(cluster, LEFT, RIGHT)
    cluster.turn()
    assert client.events() == [(2, D), (3, A)]
    assert log_calls(cluster) > 0


def test_inv06_revision_half_of_which_waited_is_one_response() -> None:
    cluster, client = stand()
    client.watch()
    cluster.commit(A, D)
    cluster.land()
    cluster.deliver(LEFT)
    cluster.split(1, b"a")
    switch(cluster, LEFT, RIGHT)
    cluster.turn()
    (response,) = [r for r in client.take() if r.events]
    assert [e.kv.key for e in response.events] == [A, D]


def test_inv17_slice_of_the_log_in_flight_over_a_split_is_taken_once() -> None:
    cluster, client = stand()
    cluster.write(D)
    store = cluster.stores[RIGHT]
    store.hold_log = True
    client.watch(b"d", b"f", start=2)
    cluster.hub.turn()
    cluster.split(3, b"e")
    switch(cluster, RIGHT)
    cluster.write(b"e")
    store.hold_log = False
    cluster.turn()
    assert client.events() == [(2, b"d"), (3, b"e")]


def test_inv17_slice_that_meets_a_former_owner_is_planned_with_the_new_map() -> None:
    """It is asked of right, which has handed the tablet over when the question comes there."""
    cluster, client = stand()
    cluster.write(D)
    old, new = cluster.stores[RIGHT], cluster.stores[SPARE]
    old.hold_log = True
    client.watch(b"d", b"f", start=2)
    cluster.hub.turn()
    cluster.move(3, SPARE)
    switch(cluster, RIGHT, SPARE)
    old.hold_log = False
    cluster.turn()
    assert client.events() == [(2, D)]
    assert (old.log_calls, new.log_calls) == (1, 1)


def test_inv17_log_is_asked_for_with_what_is_known_to_be_closed() -> None:
    cluster, client = stand()
    cluster.write(A)
    cluster.write(D)
    for store in cluster.stores.values():
        store.hold_log = True
    client.watch(b"a", b"e", start=2)
    client.watch(b"b", b"c", start=2)
    cluster.hub.turn()
    calls = [call for store in cluster.stores.values() for call, _ in store._logs]
    asked = [(call.tablets, call.upto, call.needs) for call in calls]
    assert ((3,), 3, (3,)) in asked, "right holds the newest"
    assert ((2,), 3, (1,)) in asked, "of 2 nothing was written: up to 1 is all that there is"


def test_client_that_does_not_read_over_a_merge_has_everything_once_it_reads() -> None:
    cluster, client = stand()
    client.watch(b"a", b"d")
    client.slow = True
    cluster.write(A)
    cluster.merge(1, 2)
    switch(cluster, LEFT)
    cluster.write(B)
    client.slow = False
    cluster.hub.drained(client.session)
    cluster.turn()
    assert client.events() == [(2, A), (3, B)]


def test_inv20_idle_watcher_does_not_fall_behind_a_compaction_by_a_split() -> None:
    """It was live up to 6, silently; its old feed had released nothing since 1."""
    cluster, client = stand()
    client.watch(b"d", b"e")
    for _ in range(5):
        cluster.write(A)
    cluster.commit(D)
    cluster.split(3, b"e")
    cluster.coordinator.floor = 6
    cluster.follow()
    assert client.session.watchers[0].next == 7
    cluster.settle()
    assert client.events() == [(7, D)]
    assert not any(r.canceled for r in client.history)


# -- progress --------------------------------------------------------------------------------------


def test_inv09_mark_does_not_fall_when_a_tablet_merges_with_one_that_lags() -> None:
    """Of 2 all is here up to 3, and was marked; of 1, with which it merges, only up to 2."""
    cluster, client = stand()
    client.watch(b"b", b"c", progress_notify=True)
    cluster.write(D)
    cluster.commit(A)
    cluster.hub.absorb(cluster.sample())
    cluster.hub.tick()
    assert client.marks() == [(0, 3)]
    cluster.merge(1, 2)
    cluster.follow()
    cluster.hub.absorb(cluster.sample())
    watcher = client.session.watchers[0]
    assert watcher.feed.bound() == 2
    cluster.hub.tick()
    assert client.take() == []
    cluster.adopt(LEFT)
    cluster.write(B)
    cluster.settle()
    client.ask_progress()
    assert client.events() == [(4, B)]
    assert [r.header.revision for r in client.history if is_mark(r)] == [3, 4]
    cluster.check(client)


def test_inv09_progress_asked_before_a_split_is_answered_after_it() -> None:
    cluster, client = stand()
    client.watch(b"a", b"f")
    client.take()
    cluster.commit(D)
    assert client.ask_progress() == 2
    assert client.take() == []
    cluster.split(1, b"a")
    switch(cluster, LEFT)
    assert client.take() == []
    cluster.land()
    cluster.deliver()
    told = client.take()
    assert [(is_mark(r), r.header.revision) for r in told] == [(False, 2), (True, 2)]


# -- former owners, owners nobody knew -------------------------------------------------------------


def test_inv17_late_news_of_a_former_owner_are_dropped() -> None:
    """Its 2 is in the log of the new owner, and was read there."""
    cluster, client = stand()
    client.watch(b"d", b"e")
    cluster.commit(D)
    cluster.move(3, SPARE)
    cluster.follow()
    cluster.adopt(SPARE)
    cluster.deliver(SPARE)
    cluster.hub.absorb(cluster.sample())
    cluster.turn()
    assert client.events() == [(2, D)]
    cluster.deliver(RIGHT)
    cluster.write(D)
    assert client.events() == [(2, D), (3, D)]


def test_inv17_fresh_news_of_a_former_owner_that_has_not_heard_of_the_map_are_dropped() -> None:
    cluster, client = stand()
    client.watch(b"d", b"e")
    cluster.move(3, SPARE)
    cluster.follow()
    cluster.adopt(SPARE)
    cluster.write(D)
    cluster.stores[RIGHT].begin()
    cluster.deliver()
    assert cluster.hub.view.closed[3] == 2
    assert client.session.watchers[0].synced


def test_inv17_first_news_of_an_owner_count_as_fresh_also_if_they_are_not() -> None:
    """What lies between the owner before and it is only in the log: so is what they bring."""
    cluster, client = stand()
    client.watch(b"d", b"e")
    cluster.commit(D)
    cluster.move(3, SPARE)
    cluster.follow()
    cluster.adopt(SPARE)
    cluster.commit(D)
    store = cluster.stores[SPARE]
    store.stream.clear()
    cluster.land()
    (publication,) = store.stream
    assert not publication.fresh
    cluster.deliver(SPARE)
    cluster.turn()
    assert client.events() == [(2, D), (3, D)]


def test_news_of_a_tablet_that_no_map_here_names_yet_are_kept() -> None:
    """Its owner heard of the map first, and says it but once."""
    cluster, client = stand()
    client.watch(b"d", b"e")
    first, _ = cluster.split(3, b"e")
    cluster.adopt(RIGHT)
    cluster.deliver()
    cluster.hub.publish(
        Publication(RIGHT, (TabletNews(first, 2, (commit(9, D),), 9),), cluster.sample())
    )
    cluster.follow()
    assert cluster.hub.view.closed[first] == 9
    assert not client.session.watchers[0].synced, "9 is only in the log"


def test_shard_that_owned_nothing_is_subscribed_to_once_it_does() -> None:
    cluster, client = stand()
    client.watch(b"d", b"e")
    assert not subscribed(cluster, SPARE)
    cluster.move(3, SPARE)
    cluster.follow()
    assert subscribed(cluster, SPARE)
    cluster.adopt(SPARE)
    cluster.write(D)
    cluster.settle()
    assert client.events() == [(2, D)]


# -- its price -------------------------------------------------------------------------------------


def test_split_under_thousands_of_watchers_takes_milliseconds() -> None:
    """Here some 20 ms on a busy machine; what grows with the square would take minutes."""
    cluster, _ = stand()
    clients = [cluster.client() for _ in range(50)]
    for number in range(5_000):
        key = b"%c/%d/" % (b"def"[number % 3], number)
        clients[number % 50].watch(key, key[:-1] + b"0")
    cluster.split(3, b"e")
    began = time.process_time()
    cluster.follow()
    took_s = time.process_time() - began
    assert took_s < 0.5, took_s
    assert all(w.synced for c in clients for w in c.session.watchers.values())


def test_map_that_changes_no_tablet_disturbs_nobody() -> None:
    """A shard has started: its tablets have new owner epochs, and their ids."""
    cluster, client = stand()
    client.watch()
    feed = client.session.watchers[0].feed
    tablets = tuple(replace(t, oepoch=t.oepoch + 1) for t in cluster.tablets.tablets)
    cluster.hub.follow(TabletMap(2, tablets))
    assert client.session.watchers[0].feed is feed
    assert client.session.watchers[0].synced
