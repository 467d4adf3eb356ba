"""Watches over two shards whose publications come late and in any order.

Every test asks the same in the end: does the client get each event once, in revision order, with
all of a revision together, and is what a progress mark says true?
"""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kubebraid.base import errors
from kubebraid.base.ports import TabletNews
from kubebraid.router.catch_up import CATCH_UPS_PER_TURN

from .fakes import LEFT, RIGHT, Client, Shards, commit, is_mark, run


def stand() -> tuple[Shards, Any, Client]:
    shards = Shards()
    hub = shards.hub()
    return shards, hub, Client(shards, hub)


def feeds(hub: Any) -> int:
    known = hub._feeds
    assert set(known._feeds.values()) == set(known.groups) == set(known._users)
    return len(known)


# -- two shards, late publications -----------------------------------------------------------------


def test_event_is_held_until_the_slower_shard_has_published() -> None:
    """2 is right's and on its way: showing 3 first would lose 2 for whoever resumes behind 3."""
    shards, _, client = stand()
    client.watch()
    shards.commit(b"z")
    shards.commit(b"a")
    shards.deliver(LEFT)
    assert client.events() == []
    shards.deliver(RIGHT)
    assert client.events() == [(2, b"z"), (3, b"a")]


def test_watch_of_one_tablet_is_not_held_back_by_another_shard() -> None:
    shards, _, client = stand()
    client.watch(b"a", b"b")
    shards.commit(b"z")
    shards.commit(b"a")
    shards.deliver(LEFT)
    assert client.events() == [(3, b"a")]


@pytest.mark.parametrize("order", [(LEFT, RIGHT), (RIGHT, LEFT)])
def test_revision_of_both_shards_is_one_response(order: tuple[str, str]) -> None:
    """inv06: etcd never splits a revision over two responses."""
    shards, _, client = stand()
    client.watch()
    shards.commit(b"y", b"a", b"z")
    shards.deliver(order[0])
    assert client.events() == []
    shards.deliver(order[1])
    (response,) = [r for r in client.take() if r.events]
    assert [e.kv.key for e in response.events] == [b"y", b"a", b"z"], "the operations' order"
    assert {e.kv.mod_revision for e in response.events} == {2}


def test_idle_shard_that_is_given_a_revision_holds_back_only_what_is_newer() -> None:
    """Left was idle while right wrote up to 3; then left has 4 in flight and right publishes 5."""
    shards, _, client = stand()
    client.watch()
    shards.write(b"z")
    shards.write(b"z")
    shards.commit(b"a")
    shards.commit(b"z")
    shards.deliver(RIGHT)
    assert client.events() == [(2, b"z"), (3, b"z")]
    shards.deliver(LEFT)
    assert client.events() == [(2, b"z"), (3, b"z"), (4, b"a"), (5, b"z")]


def test_header_of_a_response_is_its_last_revision() -> None:
    """Not the newest one: the client resumes behind it, and a later one may still be held."""
    shards, _, client = stand()
    client.watch()
    shards.commit(b"z")
    shards.commit(b"a")
    shards.deliver(LEFT)
    shards.deliver(RIGHT)
    assert [r.header.revision for r in client.take() if r.events] == [3]


# -- creation --------------------------------------------------------------------------------------


def test_watch_created_while_its_tablet_lags_begins_behind_the_created_revision() -> None:
    shards, _, client = stand()
    shards.commit(b"a")
    client.watch()
    (created,) = client.take()
    assert (created.created, created.header.revision) == (True, 2)
    shards.deliver(LEFT)
    shards.write(b"b")
    assert client.events() == [(3, b"b")]


def test_watch_created_while_another_shard_lags_does_not_disturb_the_watchers_there_are() -> None:
    """The new sample says that left has 3 in flight; the first watcher was shown all up to 2."""
    shards, hub, client = stand()
    client.watch()
    shards.write(b"z")
    shards.commit(b"a")
    other = Client(shards, hub)
    other.watch(start=2)
    shards.deliver(LEFT)
    run(hub)
    assert client.events() == [(2, b"z"), (3, b"a")]
    assert other.events() == [(2, b"z"), (3, b"a")]


def test_worked_example_reads_the_log_and_then_joins() -> None:
    shards, hub, client = stand()
    for _ in range(8):
        shards.write(b"a")
    client.watch(b"a", b"b", start=5)
    run(hub)
    assert [revision for revision, _ in client.events()] == [5, 6, 7, 8, 9]
    watcher = client.session.watchers[0]
    assert (watcher.next, watcher.synced) == (10, True)
    calls = len(shards.left.log_calls)
    shards.write(b"a")
    assert client.events()[-1] == (10, b"a")
    assert len(shards.left.log_calls) == calls


def test_start_in_the_future_waits_silently_and_then_delivers_from_there() -> None:
    """etcd answers no error, and no event below the start."""
    shards, hub, client = stand()
    client.watch(start=4)
    for _ in range(4):
        shards.write(b"a")
    run(hub)
    assert client.events() == [(4, b"a"), (5, b"a")]
    assert shards.left.log_calls == []


def test_future_start_inside_a_released_run_cuts_it_for_this_watcher_alone() -> None:
    shards, _, client = stand()
    client.watch()
    client.watch(start=4)
    shards.commit(b"z")
    shards.commit(b"a")
    shards.commit(b"a")
    shards.deliver(LEFT, 2)
    shards.deliver(RIGHT)
    assert client.events(0) == [(2, b"z"), (3, b"a"), (4, b"a")]
    assert client.events(1) == [(4, b"a")]


def test_start_below_the_floor_is_created_and_cancelled_with_the_floor() -> None:
    shards, hub, client = stand()
    for _ in range(5):
        shards.write(b"a")
    shards.compact(4)
    client.watch(start=3)
    created, canceled = client.take()
    assert created.created
    assert (canceled.canceled, canceled.compact_revision) == (True, 4)
    assert client.session.watchers == {}
    assert feeds(hub) == 0


def test_start_at_the_floor_is_served() -> None:
    """etcd refuses only what lies below it."""
    shards, hub, client = stand()
    for _ in range(5):
        shards.write(b"a")
    shards.compact(4)
    client.watch(start=4)
    run(hub)
    assert [revision for revision, _ in client.events()] == [4, 5, 6]


def test_compaction_while_a_watcher_catches_up_cancels_it_with_the_floor() -> None:
    shards, hub, client = stand()
    for _ in range(5):
        shards.write(b"a")
    shards.left.log_slice = 1
    client.watch(b"a", b"b", start=2)
    hub.turn()
    shards.compact(5)
    run(hub)
    last = client.take()[-1]
    assert (last.canceled, last.compact_revision) == (True, 5)
    assert feeds(hub) == 0


def test_log_refused_for_another_reason_is_not_told_as_a_compaction() -> None:
    """compact_revision makes kube-apiserver list everything again; nothing was compacted."""
    shards, hub, client = stand()
    shards.write(b"a")
    shards.left.log_refused = errors.TIMED_OUT
    client.watch(b"a", b"b", start=2)
    hub.turn()
    assert [r.compact_revision for r in client.take() if r.compact_revision] == []


# -- catching up -----------------------------------------------------------------------------------


def test_log_is_read_in_slices_and_joined_over_the_shards() -> None:
    """Each shard is complete up to its own bound; what lies above the least is read again."""
    shards, hub, client = stand()
    wrote = [((b"z", b"a"), (b"a",), (b"z",))[n % 3] for n in range(20)]
    for keys in wrote:
        shards.write(*keys)
    shards.left.log_slice, shards.right.log_slice = 3, 2
    client.watch(start=2)
    run(hub)
    got = client.events()
    assert [revision for revision, _ in got] == list(range(2, 22))
    assert [keys for _, keys in got] == [b"".join(keys) for keys in wrote]
    assert len(shards.left.log_calls) > 3


def test_log_that_answers_late_loses_nothing_that_is_published_meanwhile() -> None:
    """inv08: the seam between log and live is where events get lost."""
    shards, hub, client = stand()
    for owner in shards.owners.values():
        owner.hold_log = True
    shards.write(b"a")
    client.watch(start=2)
    assert not hub.turn(), "waiting for an answer is not work"
    shards.write(b"z")
    while any(owner.logs_waiting for owner in shards.owners.values()):
        for owner in shards.owners.values():
            if owner.logs_waiting:
                owner.answer_log()
        hub.turn()
    shards.write(b"b")
    assert client.events() == [(2, b"a"), (3, b"z"), (4, b"b")]


@pytest.mark.parametrize("how", ["cancel", "close"])
def test_log_that_answers_a_watch_that_is_gone_is_dropped(how: str) -> None:
    shards, hub, client = stand()
    shards.left.hold_log = True
    shards.write(b"a")
    client.watch(b"a", b"b", start=2)
    hub.turn()
    if how == "cancel":
        hub.cancel(client.session, 0)
    else:
        hub.close(client.session)
    client.take()
    shards.left.answer_log()
    run(hub)
    assert client.take() == []
    assert feeds(hub) == 0


def test_watch_of_a_feed_that_began_between_publications_waits_for_the_rule() -> None:
    """3 was published and is only in the log; 2 is in flight: neither may be shown, nor lost."""
    shards, hub, client = stand()
    shards.commit(b"z")
    shards.commit(b"a")
    shards.deliver(LEFT)
    client.watch(start=2)
    run(hub)
    assert client.events() == []
    shards.deliver(RIGHT)
    run(hub)
    assert client.events() == [(2, b"z"), (3, b"a")]


def test_many_that_are_behind_take_turns() -> None:
    """A turn is bounded, so that a thousand resuming watchers do not stop the writes."""
    shards, hub, client = stand()
    shards.write(b"a")
    for _ in range(CATCH_UPS_PER_TURN * 2):
        client.watch(b"a", b"b", start=2)
    hub.turn()
    assert len(shards.left.log_calls) == CATCH_UPS_PER_TURN
    run(hub)
    assert len([r for r in client.take() if r.events]) == CATCH_UPS_PER_TURN * 2


# -- progress --------------------------------------------------------------------------------------


def test_progress_asked_while_a_commit_is_in_flight_is_answered_later_behind_its_event() -> None:
    """inv09: the mark says that nothing at or below it is to come."""
    shards, _, client = stand()
    client.watch(b"a", b"b")
    shards.commit(b"a")
    client.take()
    assert client.ask_progress() == 2
    assert client.take() == []
    shards.deliver(LEFT)
    told = client.take()
    assert [(is_mark(r), r.header.revision) for r in told] == [(False, 2), (True, 2)]


def test_inv09_commit_that_came_with_an_older_sample_leaves_before_its_mark() -> None:
    """So it comes from a transaction over several shards: its revision was not the owner's to ask
    for, and the sample that allows it to leave is another's."""
    shards, _, client = stand()
    client.watch(b"a", b"b")
    client.take()
    older = shards.sample()
    shards.revision = shards.last[1] = 2
    shards.left.publish([TabletNews(1, 1, (commit(2, b"a"),), 2)], older)
    assert client.take() == []
    assert client.ask_progress() == 2
    told = client.take()
    assert [(is_mark(r), r.header.revision) for r in told] == [(False, 2), (True, 2)]


def test_commit_that_came_with_an_older_sample_leaves_with_the_next_one_of_any_shard() -> None:
    shards, _, client = stand()
    client.watch(b"a", b"b")
    older = shards.sample()
    shards.revision = shards.last[1] = 2
    shards.left.publish([TabletNews(1, 1, (commit(2, b"a"),), 2)], older)
    shards.write(b"z")
    assert client.events() == [(2, b"a")]


def test_log_that_is_gone_before_this_router_has_heard_of_the_floor_is_told_with_it() -> None:
    """A cancel that names no floor would make the client begin anew at the same place."""
    shards, hub, client = stand()
    for _ in range(5):
        shards.write(b"a")
    for owner in shards.owners.values():
        owner.floor = 4
    client.watch(b"a", b"b", start=2)
    run(hub)
    assert not any(r.canceled for r in client.take())
    shards.coordinator.floor = 4
    hub.wake()
    run(hub)
    assert [(r.canceled, r.compact_revision) for r in client.take() if r.canceled] == [(True, 4)]


def test_progress_waits_only_for_tablets_that_the_stream_watches() -> None:
    shards, _, client = stand()
    client.watch(b"a", b"b")
    shards.commit(b"z")
    client.take()
    client.ask_progress()
    assert client.marks() == [(-1, 2)]


def test_progress_asked_over_two_shards_is_answered_when_the_last_has_published() -> None:
    shards, _, client = stand()
    client.watch()
    shards.commit(b"z")
    shards.commit(b"a")
    client.take()
    assert client.ask_progress() == 3
    shards.deliver(LEFT)
    assert client.take() == []
    shards.deliver(RIGHT)
    assert [is_mark(r) for r in client.take()] == [False, True]


def test_progress_requests_in_flight_are_answered_once_each_in_order() -> None:
    shards, _, client = stand()
    client.watch(b"a", b"b")
    client.take()
    shards.commit(b"a")
    client.ask_progress()
    shards.commit(b"a")
    client.ask_progress()
    shards.deliver(LEFT)
    shards.deliver(LEFT)
    assert [revision for _, revision in client.marks()] == [2, 3]


def test_mark_for_the_whole_stream_is_not_below_an_event_already_sent_on_it() -> None:
    """One watcher was shown 4; a broadcast mark at 3 would set its client back to resume at 4."""
    shards, _, client = stand()
    client.watch(b"a", b"b")
    client.watch(b"z", b"")
    shards.write(b"a")
    shards.commit(b"z")
    client.take()
    assert client.ask_progress() == 3
    shards.commit(b"a")
    shards.deliver(LEFT)
    assert client.events(0) == [(2, b"a"), (4, b"a")]
    shards.deliver(RIGHT)
    told = [r for r in client.take() if is_mark(r)]
    assert all(r.header.revision >= 4 for r in told if r.watch_id in (0, -1))


def test_progress_of_a_closed_stream_is_forgotten() -> None:
    shards, hub, client = stand()
    client.watch(b"a", b"b")
    shards.commit(b"a")
    client.ask_progress()
    client.take()
    hub.close(client.session)
    shards.deliver(LEFT)
    assert client.take() == []


# -- clients that do not read ----------------------------------------------------------------------


def test_stalled_client_gets_nothing_and_then_everything_once() -> None:
    shards, hub, client = stand()
    client.watch()
    shards.write(b"a")
    client.slow = True
    shards.write(b"b")
    shards.write(b"z")
    run(hub)
    assert client.events() == [(2, b"a")]
    client.slow = False
    hub.drained(client.session)
    run(hub)
    shards.write(b"c")
    assert client.events() == [(2, b"a"), (3, b"b"), (4, b"z"), (5, b"c")]


def test_stalled_client_is_not_noticed_by_others() -> None:
    shards, hub, client = stand()
    other = Client(shards, hub)
    client.watch()
    other.watch()
    client.slow = True
    shards.write(b"a")
    assert other.events() == [(2, b"a")]
    assert client.events() == []


def test_client_that_stalls_again_while_it_catches_up_loses_nothing() -> None:
    shards, hub, client = stand()
    shards.left.log_slice = 1
    for _ in range(4):
        shards.write(b"a")
    client.watch(b"a", b"b", start=2)
    hub.turn()
    client.slow = True
    hub.turn()
    assert not hub.turn(), "a stalled watcher is no work"
    client.slow = False
    hub.drained(client.session)
    run(hub)
    assert [revision for revision, _ in client.events()] == [2, 3, 4, 5]


def test_stalled_stream_has_no_progress_until_it_has_caught_up() -> None:
    shards, hub, client = stand()
    client.watch(progress_notify=True)
    client.slow = True
    shards.write(b"a")
    client.ask_progress()
    hub.tick()
    client.take()
    assert [r for r in client.history if is_mark(r)] == []


def test_idle_watcher_that_stalls_after_a_compaction_resumes_where_it_was() -> None:
    """It was live up to 6, silently: what was compacted below does not concern it."""
    shards, hub, client = stand()
    client.watch(b"c", b"")
    for _ in range(5):
        shards.write(b"a")
    shards.compact(6)
    client.slow = True
    shards.write(b"c")
    client.slow = False
    hub.drained(client.session)
    run(hub)
    assert client.events() == [(7, b"c")]
    assert not any(r.canceled for r in client.history)


def test_stalled_watcher_can_be_cancelled() -> None:
    shards, hub, client = stand()
    client.watch()
    client.slow = True
    shards.write(b"a")
    hub.cancel(client.session, 0)
    hub.drained(client.session)
    run(hub)
    assert client.events() == []
    assert feeds(hub) == 0


# -- subscriptions that begin late, or anew --------------------------------------------------------


def late_stand() -> tuple[Shards, Any, Client]:
    """As `stand`, with left's first publication still to come."""
    shards = Shards()
    shards.left.hold_subscribe = True
    hub = shards.hub()
    return shards, hub, Client(shards, hub)


def test_nothing_is_released_before_the_first_publication_of_a_shard() -> None:
    shards, hub, client = late_stand()
    client.watch(start=2)
    assert client.ask_progress() == 1
    shards.write(b"z")
    run(hub)
    assert client.events() == []
    shards.left.begin()
    run(hub)
    assert client.events() == [(2, b"z")]
    assert [(is_mark(r), r.header.revision) for r in client.history[1:]] == [(False, 2)]


def test_watch_of_now_that_was_created_before_the_first_publication_reads_what_it_missed() -> None:
    """Revision 2 is durable and its publication was never for us: only the log has it."""
    shards, hub, client = late_stand()
    client.watch(b"a", b"b")
    shards.commit(b"a")
    shards.deliver(LEFT, lost=True)
    shards.left.begin()
    run(hub)
    assert client.events() == [(2, b"a")]
    shards.write(b"a")
    assert client.events() == [(2, b"a"), (3, b"a")]


def test_shard_that_is_late_does_not_hold_back_watches_of_others() -> None:
    shards, _, client = late_stand()
    client.watch(b"z", b"")
    shards.write(b"z")
    assert client.events() == [(2, b"z")]


def test_publication_lost_between_two_fresh_ones_is_read_from_the_log() -> None:
    shards, hub, client = stand()
    client.watch(b"a", b"b")
    shards.write(b"a")
    shards.commit(b"a")
    shards.deliver(LEFT, lost=True)
    shards.left.begin()
    assert not client.session.watchers[0].synced
    run(hub)
    shards.write(b"a")
    assert client.events() == [(2, b"a"), (3, b"a"), (4, b"a")]
    assert client.session.watchers[0].synced


def test_subscription_that_begins_anew_without_a_loss_disturbs_nobody() -> None:
    shards, hub, client = stand()
    client.watch()
    shards.write(b"a")
    shards.left.begin()
    assert client.session.watchers[0].synced
    assert not hub.turn()
    shards.write(b"a")
    assert client.events() == [(2, b"a"), (3, b"a")]
    assert shards.left.log_calls == []


def test_commit_that_waited_for_another_shard_is_not_told_twice_after_a_loss() -> None:
    """3 of left is here and waits for 2 of right; 4 of left is lost; then 2 comes."""
    shards, hub, client = stand()
    client.watch()
    shards.commit(b"z")
    shards.commit(b"a")
    shards.commit(b"b")
    shards.deliver(LEFT)
    shards.deliver(LEFT, lost=True)
    shards.left.begin()
    run(hub)
    assert client.events() == []
    shards.deliver(RIGHT)
    run(hub)
    shards.write(b"a")
    assert client.events() == [(2, b"z"), (3, b"a"), (4, b"b"), (5, b"a")]


def test_revision_of_which_one_shard_was_lost_is_still_one_response() -> None:
    """inv06: right's half of 2 is here and waits, left's half is only in the log."""
    shards, hub, client = stand()
    client.watch()
    shards.commit(b"a", b"z")
    shards.deliver(RIGHT)
    shards.deliver(LEFT, lost=True)
    shards.left.begin()
    run(hub)
    (response,) = [r for r in client.take() if r.events]
    assert [e.kv.key for e in response.events] == [b"a", b"z"]


def test_start_ahead_of_a_loss_is_kept() -> None:
    shards, hub, client = stand()
    client.watch(start=4)
    shards.commit(b"a")
    shards.deliver(LEFT, lost=True)
    shards.left.begin()
    run(hub)
    shards.write(b"a")
    shards.write(b"a")
    assert client.events() == [(4, b"a")]


def test_idle_watcher_that_meets_a_loss_after_a_compaction_resumes_where_it_was() -> None:
    """It was live up to 6, silently: what was compacted below does not concern it."""
    shards, hub, client = stand()
    client.watch(b"c", b"")
    for _ in range(5):
        shards.write(b"a")
    shards.compact(6)
    shards.commit(b"c")
    shards.deliver(LEFT, lost=True)
    shards.left.begin()
    run(hub)
    assert client.events() == [(7, b"c")]
    assert not any(r.canceled for r in client.history)


def test_client_that_does_not_read_at_a_loss_has_everything_once_it_reads() -> None:
    shards, hub, client = stand()
    client.watch()
    client.slow = True
    shards.commit(b"a")
    shards.deliver(LEFT, lost=True)
    shards.left.begin()
    run(hub)
    assert client.events() == []
    client.slow = False
    hub.drained(client.session)
    run(hub)
    assert client.events() == [(2, b"a")]


# -- feeds -----------------------------------------------------------------------------------------


def test_feed_is_shared_by_watches_of_the_same_tablets_and_removed_with_the_last() -> None:
    shards, hub, client = stand()
    client.watch(b"a", b"b")
    client.watch(b"c", b"d")
    client.watch()
    assert feeds(hub) == 2
    hub.cancel(client.session, 0)
    assert feeds(hub) == 2
    hub.cancel(client.session, 1)
    assert feeds(hub) == 1
    hub.close(client.session)
    assert feeds(hub) == 0
    shards.write(b"a", b"z")


def test_feed_that_begins_again_does_not_repeat_what_was_published() -> None:
    shards, hub, client = stand()
    client.watch()
    hub.cancel(client.session, 0)
    shards.write(b"a")
    client.take()
    watch_id = client.watch()
    shards.write(b"b")
    assert client.events(watch_id) == [(3, b"b")]


def test_cancel_of_an_unknown_id_is_not_answered() -> None:
    _, hub, client = stand()
    hub.cancel(client.session, 9)
    assert client.take() == []


def test_cancelled_watch_is_told_so_and_gets_nothing_more() -> None:
    shards, hub, client = stand()
    client.watch()
    hub.cancel(client.session, 0)
    (_, canceled) = client.take()
    assert (canceled.canceled, canceled.watch_id, canceled.compact_revision) == (True, 0, 0)
    shards.write(b"a")
    assert client.take() == []


# -- everything at once ----------------------------------------------------------------------------

LOSSES = {"lose left": LEFT, "lose right": RIGHT}  # publications that nobody hears
STEPS = st.lists(
    st.sampled_from(
        ("a", "z", "az", "left", "right", "watch", "ask", "tick", "stall", "read", "turn", *LOSSES)
    ),
    max_size=40,
)


@given(STEPS)
def test_whatever_happens_each_event_comes_once_in_order_and_marks_are_true(
    steps: list[str],
) -> None:
    shards, hub, client = stand()
    starts = [client.watch(start=1, progress_notify=True)]
    for step in steps:
        if step in ("a", "z", "az"):
            shards.commit(*(bytes([letter]) for letter in step.encode()))
        elif step in (LEFT, RIGHT) and shards.in_flight(step):
            shards.deliver(step)
        elif step in LOSSES:
            shard = LOSSES[step]
            shards.deliver(shard, min(2, shards.in_flight(shard)), lost=True)
            shards.owners[shard].begin()
        elif step == "turn":
            hub.turn()
        elif step == "watch":
            client.watch(start=1)
        elif step == "ask":
            client.ask_progress()
        elif step == "tick":
            hub.tick()
        elif step == "stall":
            client.slow = True
        elif step == "read":
            client.slow = False
            hub.drained(client.session)
            run(hub)
    client.slow = False
    hub.drained(client.session)
    for shard in (LEFT, RIGHT):
        shards.deliver(shard, shards.in_flight(shard))
    run(hub)
    client.take()
    assert starts == [0]
    for watch_id in client.session.watchers:
        check_told(client, watch_id, shards.revision)


def check_told(client: Client, watch_id: int, newest: int) -> None:
    position = 0
    seen: list[int] = []
    for response in client.history:
        if response.watch_id not in (watch_id, -1) or response.created:
            continue
        if response.watch_id == -1 and not created_before(client, watch_id, response):
            continue
        revisions = sorted({e.kv.mod_revision for e in response.events})
        assert all(revision > position for revision in revisions), "an event behind a mark"
        seen += revisions
        assert response.header.revision >= position, "a position that falls"
        position = response.header.revision
    assert seen == list(range(2, newest + 1))


def created_before(client: Client, watch_id: int, mark: Any) -> bool:
    """Whether the watch was there when this very message was sent."""
    for response in client.history:
        if response is mark:
            return False
        if response.created and response.watch_id == watch_id:
            return True
    raise AssertionError("a mark that was not sent")


def test_owners_are_asked_for_few_slices_of_the_log_at_a_time() -> None:
    """A link that came back kicks out all watchers at once; their logs must not come at once."""
    shards, hub, client = stand()
    for owner in shards.owners.values():
        owner.hold_log = True
    shards.write(b"a")
    for _ in range(CATCH_UPS_PER_TURN * 3):
        client.watch(b"a", b"b", start=1)
    for _ in range(5):
        hub.turn()
    assert len(shards.left.log_calls) == CATCH_UPS_PER_TURN
    assert not hub.turn(), "only an answer makes room"
    shards.left.answer_log()
    hub.turn()
    assert len(shards.left.log_calls) == CATCH_UPS_PER_TURN + 1
