"""The release rule by hand: what may be shown, when, and that it never goes back."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kubebraid.base.keyspace import KeyRange
from kubebraid.base.ports import Sample, TabletNews
from kubebraid.base.record import Commit
from kubebraid.base.tabletmap import Tablet, TabletMap
from kubebraid.router.merge import Feed, View, join

from .fakes import commit, event, sample


def view(revision: int, last: dict[int, int], closed: dict[int, int]) -> View:
    return View(sample(revision, last), dict(closed))


def news(tablet: int, closed: int, *commits: Commit) -> TabletNews:
    return TabletNews(tablet, 1, commits, closed)


def hear(feed: Feed, of: View, item: TabletNews) -> None:
    feed.offer(item)
    of.close(item.tablet, item.closed)


def test_worked_example_holds_back_until_the_slow_tablet_closes() -> None:
    """Commit 7 of tablet 1 waits while 6 of tablet 2 may still come, even if it is void."""
    state = view(5, {1: 5, 2: 5}, {1: 5, 2: 5})
    feed = Feed((1, 2), state)
    hear(feed, state, news(1, 7, commit(7, b"a")))
    state.absorb(sample(7, {1: 7, 2: 6}))
    assert state.bound((1, 2)) == 5
    assert feed.release() == []
    state.close(2, 6)
    assert state.bound((1, 2)) == 7
    assert feed.release() == [commit(7, b"a")]


def test_bound_is_the_samples_revision_if_no_tablet_lags() -> None:
    """A tablet without writes holds nobody back: its last is what it has closed."""
    assert view(90, {1: 3, 2: 90}, {1: 3, 2: 90}).bound((1, 2)) == 90
    assert view(90, {1: 3, 2: 90}, {1: 3, 2: 5}).bound((1,)) == 90


def test_bound_is_the_least_closed_of_those_that_lag() -> None:
    assert view(9, {1: 9, 2: 8, 3: 2}, {1: 6, 2: 5, 3: 2}).bound((1, 2, 3)) == 5


def test_tablet_that_was_never_heard_of_releases_nothing() -> None:
    assert view(9, {1: 9, 2: 4}, {1: 9}).bound((1, 2)) == 0


def test_bound_does_not_fall_when_an_idle_tablet_is_given_a_revision() -> None:
    """Up to 10 all was here and was shown; that tablet 1 now has 12 in flight changes nothing.

    closed[1] is 5 because nothing of it was written after 5, not because 6 to 10 are missing.
    """
    state = view(10, {1: 5, 2: 10}, {1: 5, 2: 10})
    feed = Feed((1, 2), state)
    assert feed.released == 10
    state.absorb(sample(12, {1: 12, 2: 10}))
    assert feed.release() == []
    assert feed.released == 10
    assert feed.bound() >= 10
    hear(feed, state, news(1, 12, commit(12, b"a")))
    assert feed.release() == [commit(12, b"a")]
    assert feed.released == 12


def test_one_revision_in_two_tablets_leaves_as_one_commit() -> None:
    """inv06: etcd puts all events of a revision into one response."""
    state = view(1, {1: 1, 2: 1}, {1: 1, 2: 1})
    feed = Feed((1, 2), state)
    state.absorb(sample(2, {1: 2, 2: 2}))
    hear(feed, state, news(2, 2, commit(2, b"z")))
    assert feed.release() == []
    hear(feed, state, news(1, 2, commit(2, b"a")))
    (joined,) = feed.release()
    assert joined == commit(2, b"a", b"z")


def test_late_old_publication_does_not_bring_back_an_old_sample() -> None:
    state = view(7, {1: 7, 2: 6}, {1: 7, 2: 5})
    state.absorb(sample(6, {1: 5, 2: 6}))
    assert (state.revision, state.last) == (7, {1: 7, 2: 6})
    state.close(2, 6)
    assert state.bound((1, 2)) == 7


def test_feed_remembers_what_was_published_before_it_began() -> None:
    """Commit 7 is in the log only: a watcher must read past it before it may join."""
    feed = Feed((1, 2), view(7, {1: 7, 2: 6}, {1: 7, 2: 5}))
    assert (feed.released, feed.since) == (5, 7)


def test_event_at_or_below_what_was_released_is_our_own_mistake() -> None:
    """inv11: it would be lost, or shown out of order; better to stop."""
    state = view(7, {1: 7}, {1: 7})
    feed = Feed((1,), state)
    with pytest.raises(AssertionError, match="released"):
        feed.offer(news(1, 8, commit(7, b"a")))


def test_commits_of_a_tablet_out_of_order_are_our_own_mistake() -> None:
    feed = Feed((1,), view(1, {1: 1}, {1: 1}))
    with pytest.raises(AssertionError, match="order"):
        feed.offer(news(1, 3, commit(3, b"a"), commit(2, b"b")))


def test_closed_that_falls_is_our_own_mistake() -> None:
    with pytest.raises(AssertionError, match="never falls"):
        view(7, {1: 7}, {1: 7}).close(1, 6)


def test_inv11_owner_that_begins_with_less_takes_nothing_back() -> None:
    """It holds an intent whose outcome it has to ask for; what the one before told stays so."""
    state = view(7, {1: 7}, {1: 7})
    state.close(1, 5, anew=True)
    assert state.bound((1,)) == 7


def test_m11_sample_of_a_newer_map_is_not_read_with_this_one() -> None:
    """`last` names tablets of its own map."""
    with pytest.raises(AssertionError, match="waits for its map"):
        view(7, {1: 7}, {1: 7}).absorb(Sample(1, 2, 8, {1: 8}))


def test_new_reign_begins_above_and_what_an_earlier_one_says_later_counts_no_more() -> None:
    """Nothing new is released before the owners have closed what the reign begins with."""
    state = view(7, {1: 7, 2: 6}, {1: 7, 2: 6})
    state.absorb(Sample(2, 1, 10_000, {1: 10_000, 2: 10_000}))
    assert state.bound((1, 2)) == 7
    state.absorb(Sample(1, 1, 20_000, {1: 20_000, 2: 20_000}))
    assert (state.cepoch, state.revision) == (2, 10_000)
    state.close(1, 10_000)
    assert state.bound((1,)) == 10_000
    assert state.bound((1, 2)) == 7


# -- a new map -------------------------------------------------------------------------------------


def cut(version: int, *tablets: tuple[int, bytes]) -> TabletMap:
    """Tablets by id and first key."""
    ends = [*(start for _, start in tablets[1:]), None]
    return TabletMap(
        version,
        tuple(
            Tablet(number, f"t{number}", KeyRange(start, end), "one", 1)
            for (number, start), end in zip(tablets, ends, strict=True)
        ),
    )


TWO = cut(1, (1, b""), (2, b"m"))
MERGED = cut(2, (3, b""))
SPLIT = cut(2, (1, b""), (4, b"m"), (5, b"s"))


def test_inv17_merged_tablet_begins_with_what_is_here_of_both() -> None:
    """The worked example: 2 lags at 5, and 6 of it is to come; that 1 is closed at 7 is no help."""
    state = view(7, {1: 7, 2: 6}, {1: 7, 2: 5})
    state.inherit(TWO, MERGED)
    assert (state.closed, state.last) == ({3: 5}, {3: 7})
    assert state.bound((3,)) == 5
    state.close(3, 7, anew=True, oepoch=2)
    assert state.bound((3,)) == 7


def test_inv17_merged_tablet_of_two_that_lack_nothing_is_closed_where_its_owner_will_begin() -> (
    None
):
    """closed[1] is 3 because nothing of it came later. Were closed[3] put at 9, no owner would
    answer for its log: none has said so."""
    state = view(9, {1: 3, 2: 7}, {1: 3, 2: 7})
    state.inherit(TWO, MERGED)
    assert (state.closed, state.bound((3,))) == ({3: 7}, 9)


def test_inv17_split_tablets_begin_where_theirs_ended() -> None:
    state = view(9, {1: 3, 2: 8}, {1: 3, 2: 7})
    state.inherit(TWO, SPLIT)
    assert (state.closed, state.last) == ({1: 3, 4: 7, 5: 7}, {1: 3, 4: 8, 5: 8})
    assert state.bound((1,)) == 9
    assert [state.bound((tablet,)) for tablet in (4, 5)] == [7, 7]
    assert state.map_version == 2


def test_bound_does_not_fall_for_what_was_whole_before_the_map() -> None:
    """2 lacked nothing at 10; that it has been given 12 since does not take back what was shown."""
    state = view(10, {1: 5, 2: 6}, {1: 5, 2: 6})
    state.absorb(sample(12, {1: 5, 2: 12}))
    state.inherit(TWO, SPLIT)
    assert state.bound((4, 5)) == 10


def test_tablet_of_which_a_part_was_never_heard_of_releases_nothing() -> None:
    state = view(9, {1: 3, 2: 8}, {1: 3})
    state.inherit(TWO, MERGED)
    assert state.bound((3,)) == 0


def test_what_the_new_owner_said_before_the_map_came_is_kept() -> None:
    state = view(9, {1: 3, 2: 8}, {1: 3, 2: 7})
    state.close(4, 11, anew=True, oepoch=2)
    state.inherit(TWO, SPLIT)
    assert (state.closed[4], state.closed[5]) == (11, 7)
    assert state.bound((4,)) == 9


def test_m11_sample_of_an_older_map_tells_of_the_tablets_that_came_of_its_own() -> None:
    """10 went to tablet 2, perhaps to a key of 4: read as if 4 had been given nothing it would let
    10 be lost."""
    state = view(9, {1: 3, 2: 8}, {1: 3, 2: 8})
    state.inherit(TWO, SPLIT)
    state.absorb(sample(10, {1: 3, 2: 10}))
    assert (state.revision, state.last) == (10, {1: 3, 4: 10, 5: 10})
    assert (state.bound((1,)), state.bound((4,))) == (10, 9)


def test_m11_sample_of_a_map_that_was_never_followed_is_not_read() -> None:
    """Followed were 1 and 3; in map 2 tablet 2 was already gone, and 6 and 7 there instead."""
    state = view(9, {1: 3, 2: 8}, {1: 3, 2: 8})
    state.inherit(TWO, cut(3, (1, b""), (8, b"m")))
    state.absorb(Sample(1, 2, 10, {1: 3, 6: 10, 7: 8}))
    assert state.revision == 9
    state.absorb(Sample(1, 3, 11, {1: 3, 8: 10}))
    assert (state.revision, state.last) == (11, {1: 3, 8: 10})


def test_m11_sample_of_two_maps_ago_is_read_through_both() -> None:
    state = view(9, {1: 3, 2: 8}, {1: 3, 2: 8})
    state.inherit(TWO, SPLIT)
    state.inherit(SPLIT, cut(3, (1, b""), (6, b"m")))
    state.absorb(sample(10, {1: 3, 2: 10}))
    assert (state.revision, state.last) == (10, {1: 3, 6: 10})


def test_news_of_an_owner_are_judged_by_the_newest_that_was_heard() -> None:
    state = view(9, {1: 3, 2: 8}, {})
    first = TabletNews(1, 2, (), 3)
    assert state.begins(first)
    assert not state.former(first)
    state.close(1, 3, anew=True, oepoch=2)
    assert not state.begins(first)
    assert state.former(TabletNews(1, 1, (), 9))
    assert state.begins(TabletNews(1, 3, (), 9))


# -- joining ---------------------------------------------------------------------------------------


def test_join_makes_one_commit_of_a_revision_and_keeps_the_order() -> None:
    parts = [commit(2, b"a"), commit(3, b"b"), commit(3, b"c"), commit(4, b"d")]
    assert join(parts) == [commit(2, b"a"), commit(3, b"b", b"c"), commit(4, b"d")]


def test_joined_events_are_in_the_order_of_the_operations() -> None:
    """etcd's order within a revision; grouped by tablet, a put could come before its delete."""
    first = Commit(2, (event(b"z", 2, place=0), event(b"y", 2, place=2)))
    second = Commit(2, (event(b"a", 2, place=1),))
    ((joined),) = join([second, first])
    assert [e.key for e in joined.events] == [b"z", b"a", b"y"]


TABLETS = (1, 2, 3)


@given(
    st.lists(st.sets(st.sampled_from(TABLETS), min_size=1), min_size=1, max_size=12),
    st.lists(st.sampled_from(TABLETS), max_size=60),
)
def test_any_order_of_arrival_gives_the_one_order_of_revisions(
    writes: list[set[int]], arrivals: list[int]
) -> None:
    """inv07, inv09: nothing lost, nothing twice, strictly rising, joined; released never falls."""
    last = dict.fromkeys(TABLETS, 1)
    queues: dict[int, list[tuple[Commit, int, dict[int, int]]]] = {t: [] for t in TABLETS}
    for revision, touched in enumerate(writes, start=2):
        last |= dict.fromkeys(touched, revision)
        for tablet in touched:
            queues[tablet].append((commit(revision, b"%d" % tablet), revision, dict(last)))
    state = view(1, dict.fromkeys(TABLETS, 1), dict.fromkeys(TABLETS, 1))
    feed = Feed(TABLETS, state)
    shown: list[Commit] = []
    for tablet in [*arrivals, *(t for t in TABLETS for _ in range(len(writes)))]:
        if not queues[tablet]:
            continue
        item, revision, known = queues[tablet].pop(0)
        before = feed.released
        hear(feed, state, news(tablet, revision, item))
        state.absorb(sample(revision, known))
        shown += feed.release()
        assert feed.released >= before
        assert all(c.revision <= feed.released for c in shown)
    revisions = [c.revision for c in shown]
    assert revisions == list(range(2, len(writes) + 2))
    assert [{int(e.key) for e in c.events} for c in shown] == writes
