"""One member's part in the sequencer's lease: what it submits, when, and when it may serve."""

from __future__ import annotations

from dataclasses import replace

import pytest

from kubebraid.base.limits import (
    LEASE_DRIFT_PERCENT,
    SEQUENCER_TTL_MS,
    WINDOW_REVISIONS_MIN,
    WINDOW_SECONDS,
)
from kubebraid.base.tabletmap import layout
from kubebraid.coordinator.reign import CANDIDATE_WAIT_MS, RENEW_EVERY_MS, LeaseCommand, Reign
from kubebraid.coordinator.state import Lease, State
from kubebraid.coordinator.transition import Acquire, RaiseFloor, Release, Renew, apply

START_MS = 10_000


def founded(holder: str = "", window: int = 1, renewals: int = 0, cepoch: int = 0) -> State:
    return State(cepoch, -1, layout([]), cluster="c", lease=Lease(holder, window, renewals))


def held(renewals: int = 3) -> State:
    """A reign of somebody else."""
    return founded("b#2", 10_001, renewals, 4)


class Log:
    """The applied state of one member, and the member."""

    def __init__(self, state: State, node: str = "a#1", now_ms: int = START_MS) -> None:
        self.state = state
        self.reign = Reign(node, state, now_ms)

    def commits(self, command: LeaseCommand | None, now_ms: int) -> bool:
        """Applied here at `now_ms`. Answers whether it changed anything."""
        assert command is not None
        before = self.state
        self.state = apply(before, command)
        self.reign.applied(self.state, now_ms)
        return self.state is not before


def holding(now_ms: int = START_MS) -> Log:
    """A member that has just acquired: its proof counts from `now_ms`."""
    log = Log(founded(), now_ms=now_ms)
    assert log.commits(log.reign.next(now_ms, 1), now_ms + 20)
    return log


# -- may it serve ----------------------------------------------------------------------------------


def test_m08_proof_counts_from_the_submission_and_moves_with_each_renewal() -> None:
    """The worked example of the module."""
    log = holding()
    assert log.reign.may_serve(11_499)
    assert not log.reign.may_serve(11_500)
    assert log.commits(log.reign.next(10_500, 1), 10_510)
    assert log.reign.may_serve(11_999)
    assert not log.reign.may_serve(12_000)


def test_m08_repetition_of_a_command_does_not_move_its_time() -> None:
    """Reckoned from the repetition the lease would outlive what others have applied (the fault
    retryNewT0 of docs/model/Lease.tla)."""
    log = Log(founded())
    first = log.reign.next(START_MS, 1)
    assert log.reign.next(START_MS + 700, 1) is None, "at most one is on its way"
    assert log.reign.repeat() == first
    assert log.commits(log.reign.repeat(), START_MS + 900)
    assert log.reign.may_serve(START_MS + SEQUENCER_TTL_MS - 1)
    assert not log.reign.may_serve(START_MS + SEQUENCER_TTL_MS)


def test_m08_acquisition_that_came_too_late_serves_nothing_until_it_is_renewed() -> None:
    log = Log(founded())
    late_ms = START_MS + SEQUENCER_TTL_MS + 1
    assert log.commits(log.reign.next(START_MS, 1), late_ms)
    assert log.reign.holds
    assert not log.reign.may_serve(late_ms)
    renew = log.reign.next(late_ms, 1)
    assert isinstance(renew, Renew), "at once"
    assert log.commits(renew, late_ms + 5)
    assert log.reign.may_serve(late_ms + 5)


def test_applied_state_alone_proves_nothing() -> None:
    """A member that finds itself named in what it applied has not measured when that was made."""
    reign = Reign("b#2", held(), START_MS)
    assert reign.holds
    assert not reign.may_serve(START_MS)


def test_restarted_member_is_somebody_else() -> None:
    """Its old proof is gone, and its clock may have been set anew."""
    reign = Reign("b#3", held(), START_MS)
    assert not reign.holds
    assert reign.next(START_MS, 1) is None


def test_deposed_member_serves_no_more_from_the_moment_it_applies_that() -> None:
    log = holding()
    other = Acquire("b#1", 1, 0, WINDOW_REVISIONS_MIN)
    assert log.commits(other, START_MS + 100)
    assert not log.reign.holds
    assert not log.reign.may_serve(START_MS + 100)
    with pytest.raises(AssertionError, match="holder"):
        _ = log.reign.window


# -- candidates ------------------------------------------------------------------------------------


def test_candidate_waits_a_whole_ttl_and_the_drift_since_it_applied_the_last_sign_of_life() -> None:
    assert CANDIDATE_WAIT_MS * 100 > SEQUENCER_TTL_MS * (100 + LEASE_DRIFT_PERCENT)
    log = Log(held())
    seen_ms = START_MS + 700
    assert log.commits(Renew("b#2", 4, 3, 10_001), seen_ms)
    assert log.reign.next_deadline_ms() == seen_ms + CANDIDATE_WAIT_MS
    assert log.reign.next(seen_ms + CANDIDATE_WAIT_MS - 1, 1) is None
    found = log.reign.next(seen_ms + CANDIDATE_WAIT_MS, 1)
    assert found == Acquire("a#1", 4, 4, WINDOW_REVISIONS_MIN)


def test_other_changes_of_the_state_are_no_sign_of_life() -> None:
    log = Log(held())
    log.reign.applied(apply(log.state, RaiseFloor(7)), START_MS + 1_600)
    assert log.reign.next(START_MS + CANDIDATE_WAIT_MS, 1) is not None


def test_released_lease_is_taken_without_waiting() -> None:
    log = Log(held())
    assert log.commits(Release("b#2", 4, 9_000), START_MS + 1)
    assert isinstance(log.reign.next(START_MS + 1, 1), Acquire)


def test_nobody_acquires_before_there_is_a_cluster() -> None:
    reign = Reign("a#1", State(0, -1, layout([])), START_MS)
    assert reign.next(START_MS + 99_000, 1) is None


def test_acquisition_that_lost_is_given_up_and_the_winner_is_waited_for() -> None:
    log = Log(held())
    mine = log.reign.next(START_MS + CANDIDATE_WAIT_MS, 1)
    now_ms = START_MS + CANDIDATE_WAIT_MS + 5
    assert log.commits(Acquire("c#3", 4, 3, WINDOW_REVISIONS_MIN), now_ms)
    assert log.reign.repeat() is None
    assert not log.commits(mine, now_ms + 1)
    assert log.reign.next(now_ms + CANDIDATE_WAIT_MS - 1, 1) is None


def test_command_that_changed_nothing_is_not_repeated() -> None:
    log = Log(founded())
    assert log.reign.next(START_MS, 1) is not None
    log.reign.failed()
    assert log.reign.repeat() is None


# -- windows ---------------------------------------------------------------------------------------


def test_inv13_reign_begins_behind_the_window_of_the_one_before() -> None:
    """What that one handed out is not known, but not more than its window."""
    log = Log(held())
    assert log.commits(log.reign.next(START_MS + CANDIDATE_WAIT_MS, 1), START_MS + 1_700)
    assert log.reign.begin == 10_001
    assert log.reign.window == 10_001 + WINDOW_REVISIONS_MIN
    assert log.reign.cepoch == 5


def test_inv13_acquisition_overtaken_by_a_renewal_and_a_release_is_not_taken_up() -> None:
    """The holder renewed with a wider window, and left; then an Acquire arrives that was made
    before. Its member believes in nothing of it any more, and knows not where to begin."""
    log = Log(held())
    mine = log.reign.next(START_MS + CANDIDATE_WAIT_MS, 1)
    now_ms = START_MS + CANDIDATE_WAIT_MS
    assert log.commits(Renew("b#2", 4, 3, 30_001), now_ms + 1)
    assert log.commits(Release("b#2", 4, 25_000), now_ms + 2)
    assert not log.commits(mine, now_ms + 3)
    assert log.commits(log.reign.next(now_ms + 4, 1), now_ms + 5)
    assert log.reign.begin == 25_000


def test_inv13_reign_that_is_learnt_from_a_snapshot_begins_behind_all_that_came_before() -> None:
    """Nothing between the proposal and the acquisition was applied here one by one."""
    log = Log(held())
    mine = log.reign.next(START_MS + CANDIDATE_WAIT_MS, 1)
    assert mine is not None
    elsewhere = log.state
    for command in (Renew("b#2", 4, 3, 30_001), Release("b#2", 4, 25_000), mine):
        elsewhere = apply(elsewhere, command)
    log.reign.applied(elsewhere, START_MS + 2_000)
    assert not log.reign.holds or log.reign.begin >= 25_000


def test_idle_holder_renews_each_third_of_its_ttl_and_keeps_its_window() -> None:
    log = holding()
    window = log.reign.window
    assert log.reign.next(START_MS + RENEW_EVERY_MS - 1, 1) is None
    assert log.reign.next_deadline_ms() == START_MS + RENEW_EVERY_MS
    assert log.commits(log.reign.next(START_MS + RENEW_EVERY_MS, 1), START_MS + 600)
    assert log.reign.window == window


def test_window_is_widened_before_it_is_used_up() -> None:
    log = holding()
    used = log.reign.window - WINDOW_REVISIONS_MIN // 2
    assert log.reign.next(START_MS + 30, used) is None
    renew = log.reign.next(START_MS + 30, used + 1)
    assert isinstance(renew, Renew), "long before its time"
    assert renew.window == used + 1 + WINDOW_REVISIONS_MIN


@pytest.mark.parametrize("per_ms", [1, 20, 60])
def test_inv13_window_stays_ahead_of_a_steady_rate_whatever_it_is(per_ms: int) -> None:
    """60,000 revisions a second, and a log that takes 20 ms: never at the end of the window."""
    log, handed_out, closest = holding(), 1, WINDOW_REVISIONS_MIN
    pending: tuple[LeaseCommand, int] | None = None
    for now_ms in range(START_MS + 20, START_MS + 6_000, 5):
        handed_out += 5 * per_ms
        closest = min(closest, log.reign.window - handed_out)
        if pending is not None and now_ms >= pending[1] + 20:
            assert log.commits(pending[0], now_ms)
            pending = None
        command = log.reign.next(now_ms, handed_out)
        if command is not None:
            assert pending is None
            pending = command, now_ms
    assert closest > 0
    assert log.reign.window - handed_out <= 2 * WINDOW_SECONDS * max(per_ms * 1_000, 10_000)


# -- the end ---------------------------------------------------------------------------------------


def test_m09_release_ends_the_service_at_once_whatever_becomes_of_it() -> None:
    log = holding()
    released = log.reign.release(77)
    assert released == Release("a#1", 1, 77)
    assert not log.reign.holds
    assert not log.reign.may_serve(START_MS + 30)
    assert log.reign.next(START_MS + 5_000, 77) is None, "it never acquires again either"


def test_m09_renewal_under_way_at_a_release_gives_no_proof_back() -> None:
    log = holding()
    renew = log.reign.next(START_MS + RENEW_EVERY_MS, 1)
    log.reign.release(77)
    assert log.commits(renew, START_MS + 510)
    assert not log.reign.may_serve(START_MS + 511)
    assert log.reign.repeat() is None


def test_m09_member_that_ends_repeats_no_acquisition() -> None:
    """Acquired for nobody the lease would have to be waited out by all."""
    log = Log(founded())
    assert log.reign.next(START_MS, 1) is not None
    assert log.reign.release(1) is None, "there is nothing to give back yet"
    assert log.reign.repeat() is None


def test_m09_released_window_is_where_the_next_reign_begins() -> None:
    log = holding()
    assert log.commits(log.reign.release(77), START_MS + 40)
    assert log.state.lease == Lease("", 77, 0)
    successor = Log(log.state, "b#2", START_MS + 40)
    assert successor.commits(successor.reign.next(START_MS + 41, 1), START_MS + 42)
    assert successor.reign.begin == 77
    assert replace(successor.state, lease=log.state.lease, cepoch=1) == log.state
