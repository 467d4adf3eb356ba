"""What one host begins, when it begins it again, and how it ends: with shards that are fakes."""

from __future__ import annotations

import pytest

from kubebraid.base.errors import Removed, StaleEpoch
from kubebraid.base.limits import HOST_BEAT_MS, HOST_RETRY_MS_MAX
from kubebraid.base.ports import Beat, ClusterView, ShardPlace
from kubebraid.base.tabletmap import layout
from kubebraid.shard.hosting import RETRY_FIRST_MS, Ended, Hosting
from kubebraid.shard.mark import StartRefused
from kubebraid.shard.storage.engine import EngineCorrupt, EngineError
from kubebraid.shard.storage.tikv_errors import EngineConflict, EngineFenced, EngineUnavailable
from tests.unit.shard.fakes import FakeClock

ME = "shard-0"
APPLIED = 41
TAKEN = (StaleEpoch("another process"), EngineFenced("taken over"))
PASSING = (EngineUnavailable("no answer"), EngineConflict("met"), EngineError("gone"))


class Running:
    def __init__(self, shard: str, founds: bool, since: int, ended: Ended) -> None:
        self.shard, self.founds, self.since, self.ended = shard, founds, since, ended
        self.incarnation = 7
        self.committed = 0
        self.stopped = False

    def stop(self) -> None:
        self.stopped = True


class Telling:
    """The coordinators, as a host tells them."""

    def __init__(self) -> None:
        self.beats: list[Beat] = []

    def beat(self, beat: Beat) -> None:
        self.beats.append(beat)


class Stand:
    """A host; `begun`: all that it ever began."""

    def __init__(self) -> None:
        self.clock = FakeClock()
        self.begun: list[Running] = []
        self.fatal: list[BaseException] = []
        self.drained = 0
        self.hosting = Hosting((ME, 9), self._begin, self.clock, lambda: 0.0, self.fatal.append)
        self.hosting.tell = told = Telling()
        self.beats = told.beats

    def _begin(self, shard: str, founds: bool, since: int, ended: Ended) -> Running:
        self.begun.append(Running(shard, founds, since, ended))
        return self.begun[-1]

    def told(self, cluster: str = "c", incarnation: int = 7, **hosts_of_shards: str) -> None:
        """A state with these seats; '_' stands for '-'."""
        places = tuple(
            ShardPlace(name.replace("_", "-"), "disk", incarnation, "h:1", 2, host=host)
            for name, host in hosts_of_shards.items()
        )
        tablets = layout([], ME)
        view = ClusterView(APPLIED, cluster, 1, True, "a", tablets, -1, frozenset(), places)
        self.hosting.told(view)
        self.turn()

    def turn(self, ms: int = 0) -> list[str]:
        """Time passes in one step. Answers what was begun."""
        before = len(self.begun)
        self.clock.ms += ms
        assert not self.hosting.turn()
        assert self.hosting.next_deadline_ms() > self.clock.ms, "the loop may sleep"
        return [running.shard for running in self.begun[before:]]

    def drain(self) -> None:
        def done() -> None:
            self.drained += 1

        self.hosting.drain(done)
        self.turn()


def two() -> Stand:
    """It serves its own shard and that of another."""
    stand = Stand()
    stand.told(shard_0=ME, shard_1=ME)
    assert [(r.shard, r.founds) for r in stand.begun] == [("shard-0", False), ("shard-1", False)]
    return stand


# -- what is begun ---------------------------------------------------------------------------------


def test_own_shard_is_founded_where_no_state_knows_it_and_no_sooner() -> None:
    stand = Stand()
    assert stand.turn(1_000) == [], "nobody was heard"
    stand.told(cluster="")
    assert stand.begun == [], "there is no cluster yet"
    stand.told(shard_1="shard-1")
    assert [(r.shard, r.founds) for r in stand.begun] == [(ME, True)]
    stand.told(shard_0=ME, shard_1="shard-1")
    assert len(stand.begun) == 1, "it runs"


def test_own_shard_is_begun_where_the_state_names_no_host_for_it() -> None:
    """As the format before hosts had it."""
    stand = Stand()
    stand.told(shard_0="", shard_1="")
    assert [(r.shard, r.founds) for r in stand.begun] == [(ME, False)]


def test_own_shard_that_is_seated_elsewhere_is_not_begun() -> None:
    stand = Stand()
    stand.told(shard_0="shard-1", shard_1="shard-1")
    assert stand.begun == []


def test_shards_that_are_seated_here_are_begun_beside_those_that_run() -> None:
    """The worked example of the module."""
    stand = Stand()
    stand.told(shard_0=ME, shard_2="shard-2")
    stand.told(shard_0=ME, shard_2=ME)
    assert [r.shard for r in stand.begun] == [ME, "shard-2"]
    assert not stand.begun[0].stopped


# -- what ended ------------------------------------------------------------------------------------


@pytest.mark.parametrize("error", TAKEN)
def test_shard_that_another_host_took_is_not_begun_until_it_is_seated_here_again(
    error: BaseException,
) -> None:
    stand = two()
    stand.told(shard_0=ME, shard_1="shard-1")
    assert not stand.begun[1].stopped, "who serves goes on until it is replaced"
    stand.begun[1].ended(error)
    assert stand.turn(60_000) == []
    stand.told(shard_0=ME, shard_1=ME)
    assert [r.shard for r in stand.begun[2:]] == ["shard-1"]
    assert stand.fatal == []


@pytest.mark.parametrize("error", TAKEN)
def test_shard_that_came_back_before_its_process_had_ended_is_begun_again(
    error: BaseException,
) -> None:
    """The other host got it, and left; ours still said its refusals."""
    stand = two()
    stand.told(shard_0=ME, shard_1="shard-1")
    stand.told(shard_0=ME, shard_1=ME, incarnation=8)
    stand.begun[1].ended(error)
    assert stand.turn(RETRY_FIRST_MS) == ["shard-1"]
    assert stand.fatal == []


@pytest.mark.parametrize("error", TAKEN)
def test_process_that_is_not_wanted_any_more_takes_nothing_back_and_ends(
    error: BaseException,
) -> None:
    """A second one has the same name, was started later, and was let in."""
    stand = two()
    stand.begun[1].ended(error)
    stand.told(shard_0=ME, shard_1=ME, incarnation=8)
    assert stand.turn(RETRY_FIRST_MS) == []
    assert isinstance(stand.fatal[0], StaleEpoch)


@pytest.mark.parametrize("error", TAKEN)
def test_store_that_was_taken_by_whom_nobody_let_in_is_taken_back_after_a_while(
    error: BaseException,
) -> None:
    stand = two()
    stand.begun[1].ended(error)
    assert stand.turn(HOST_RETRY_MS_MAX - 1) == []
    assert stand.turn(1) == ["shard-1"]
    assert stand.fatal == []


def test_shard_that_a_state_has_refused_before_its_process_was_known_ends_nobody() -> None:
    """A hand-over; its process heard, from a coordinator that lags or is ahead, of another seat."""
    stand = Stand()
    stand.told(shard_0=ME, shard_1="shard-1")
    stand.told(shard_0=ME, shard_1=ME, incarnation=5)  # its former process's
    stand.begun[1].ended(StaleEpoch("shard-1 is seated at shard-1 by now"))
    assert stand.turn(HOST_RETRY_MS_MAX - 1) == []
    assert stand.fatal == []
    assert stand.turn(1) == ["shard-1"]


def test_begun_process_is_told_as_of_which_state_it_is_seated_here() -> None:
    stand = Stand()
    stand.told(shard_0=ME)
    assert stand.begun[0].since == APPLIED


def test_own_shard_that_was_removed_ends_the_process_when_others_have_what_it_serves() -> None:
    stand = two()
    stand.told(shard_1=ME)
    error = Removed("removed")
    stand.begun[0].ended(error)
    stand.turn()
    assert stand.beats[-1].leaving
    assert stand.fatal == []
    stand.told(shard_1="shard-1")
    stand.begun[1].ended(StaleEpoch("another process"))
    stand.turn()
    assert stand.fatal == [error]
    assert len(stand.begun) == 2, "nothing is founded anew"


def test_own_shard_that_was_removed_ends_the_process_at_once_where_nothing_else_runs() -> None:
    stand = Stand()
    stand.told(shard_0=ME)
    error = Removed("removed")
    stand.begun[0].ended(error)
    stand.turn()
    assert stand.fatal == [error]


def test_shard_of_another_that_was_removed_just_ends() -> None:
    stand = two()
    stand.told(shard_0=ME)
    stand.begun[1].ended(Removed("removed"))
    assert stand.turn(60_000) == []
    assert stand.fatal == []


@pytest.mark.parametrize("error", PASSING)
@pytest.mark.parametrize("which", [0, 1])
def test_what_may_pass_is_begun_again_later_and_later(error: EngineError, which: int) -> None:
    stand = two()
    name = stand.begun[which].shard
    stand.begun[which].ended(error)
    due_ms = RETRY_FIRST_MS
    for _ in range(8):
        assert stand.turn(due_ms - 1) == []
        assert stand.turn(1) == [name]
        stand.begun[-1].ended(error)
        due_ms = min(2 * due_ms, HOST_RETRY_MS_MAX)
    assert due_ms == HOST_RETRY_MS_MAX
    assert stand.fatal == []


def test_shard_that_had_worked_for_a_while_is_begun_again_soon() -> None:
    stand = two()
    for _ in range(8):
        stand.begun[-1].ended(PASSING[0])
        assert stand.turn(HOST_RETRY_MS_MAX) == ["shard-1"]
    stand.turn(HOST_RETRY_MS_MAX)
    stand.begun[-1].ended(PASSING[0])
    assert stand.turn(RETRY_FIRST_MS) == ["shard-1"]


def test_refused_shard_of_another_is_begun_again_and_a_refused_own_one_ends_the_process() -> None:
    stand = two()
    refused = StartRefused("an older copy")
    stand.begun[1].ended(refused)
    assert stand.fatal == []
    assert stand.turn(RETRY_FIRST_MS) == ["shard-1"]
    stand.begun[0].ended(refused)
    assert stand.fatal == [refused]


def test_own_shard_that_is_refused_because_another_has_its_seat_is_left_to_that_one() -> None:
    stand = two()
    stand.told(shard_0="shard-1", shard_1=ME)
    stand.begun[0].ended(StartRefused("served by the host shard-1 from now on"))
    assert stand.turn(60_000) == []
    assert stand.fatal == []


@pytest.mark.parametrize("error", [EngineCorrupt("no such store"), OSError("used"), KeyError("b")])
def test_what_nobody_expected_ends_the_process(error: BaseException) -> None:
    stand = two()
    stand.begun[0].ended(error)
    assert stand.fatal == [error]


def test_shard_that_was_stopped_and_nothing_more_is_begun_again_while_it_is_seated_here() -> None:
    stand = two()
    stand.begun[1].ended(None)
    assert stand.turn(RETRY_FIRST_MS) == ["shard-1"]


# -- the end ---------------------------------------------------------------------------------------


def test_drained_host_says_so_waits_until_others_have_taken_all_and_ends_once() -> None:
    stand = two()
    stand.drain()
    assert stand.beats[-1] == Beat(ME, 9, 0, True), "at once"
    stand.hosting.heard(2)
    assert not any(running.stopped for running in stand.begun)
    stand.told(shard_0="shard-1", shard_1="shard-1")
    stand.begun[0].ended(TAKEN[0])
    stand.turn(HOST_BEAT_MS)
    assert (stand.drained, stand.beats[-1].leaving) == (0, True)
    stand.begun[1].ended(TAKEN[0])
    stand.turn()
    assert stand.drained == 1
    stand.turn(HOST_BEAT_MS)
    assert stand.drained == 1


def test_drained_host_without_anybody_who_could_take_its_shards_stops_them() -> None:
    stand = two()
    stand.hosting.heard(0)
    assert not stand.begun[0].stopped, "it stays"
    stand.drain()
    stand.hosting.heard(0)
    assert [running.stopped for running in stand.begun] == [True, True]
    for running in stand.begun:
        running.ended(None)
    stand.turn()
    assert stand.drained == 1


def test_drained_host_begins_nothing_any_more() -> None:
    """The loop takes some turns more; what it began would take a store from its new host."""
    stand = two()
    stand.begun[1].ended(PASSING[0])
    stand.drain()
    stand.begun[0].ended(None)
    assert stand.turn() == []
    assert stand.drained == 1
    assert stand.turn(60_000) == []
    stand.told(shard_0=ME, shard_1=ME, shard_2=ME)
    assert len(stand.begun) == 2


def test_drained_host_on_which_nothing_runs_still_says_that_it_leaves() -> None:
    """What is seated here, and failed, is wanted elsewhere."""
    stand = two()
    for running in stand.begun:
        running.ended(PASSING[0])
    stand.drain()
    assert stand.drained == 1
    assert stand.beats[-1].leaving


# -- beats -----------------------------------------------------------------------------------------


def test_beats_come_while_nothing_else_happens_and_tell_what_was_committed_since() -> None:
    stand = two()
    stand.turn()
    assert stand.beats == [Beat(ME, 9)]
    stand.begun[0].committed, stand.begun[1].committed = 30, 4
    stand.turn(HOST_BEAT_MS - 1)
    assert len(stand.beats) == 1
    assert stand.hosting.next_deadline_ms() == stand.clock.ms + 1
    stand.turn(1)
    assert stand.beats[1:] == [Beat(ME, 9, 34)]
    stand.begun[1].committed = 9
    stand.turn(HOST_BEAT_MS)
    assert stand.beats[-1].load == 5


def test_tablets_that_went_are_no_negative_load_and_a_shard_that_began_anew_counts_anew() -> None:
    stand = two()
    stand.begun[0].committed, stand.begun[1].committed = 30, 40
    stand.turn(HOST_BEAT_MS)
    stand.begun[0].committed = 10
    stand.turn(HOST_BEAT_MS)
    assert stand.beats[-1].load == 0
    stand.begun[1].ended(PASSING[0])
    stand.turn(RETRY_FIRST_MS)
    stand.begun[-1].committed = 3
    stand.turn(HOST_BEAT_MS)
    assert stand.beats[-1].load == 3


def test_host_that_has_heard_nobody_beats_too() -> None:
    """The member that serves hears it as soon as there is one."""
    stand = Stand()
    stand.turn()
    stand.turn(HOST_BEAT_MS)
    assert len(stand.beats) == 2
