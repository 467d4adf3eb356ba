"""One coordinator on a log that applies at once, later, twice, or never: lease, answers, starts."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

import pytest

from kubebraid.base import errors
from kubebraid.base.errors import Code, RequestRefused
from kubebraid.base.limits import SEQUENCER_TTL_MS, WINDOW_REVISIONS_MIN
from kubebraid.base.ports import (
    ALARM_NOSPACE,
    Alarm,
    AllocReply,
    AllocRequest,
    Sample,
    ShardPlace,
    ShardStart,
)
from kubebraid.base.tabletmap import layout
from kubebraid.coordinator import starts
from kubebraid.coordinator.machine import CHANGED, UNCHANGED
from kubebraid.coordinator.member import Member
from kubebraid.coordinator.raft.log import QueueFull
from kubebraid.coordinator.reign import CANDIDATE_WAIT_MS
from kubebraid.coordinator.transition import Found

FOUND = Found("cluster-1", layout([b"/a/"], "s0"))  # tablets 1, 2 and 3
STEP_MS = 10


class FakeClock:
    def __init__(self) -> None:
        self.ms = 10_000

    def now_ms(self) -> int:
        return self.ms


class FakeLog:
    """One member's end of a log. `fates`: of the next submissions, in order; without one a
    submission is applied and answered in the next turn.

    "late": answered None at once, in the log when `arrive` is called; "unknown": applied, answered
    None; "twice": in the log twice; "held": nothing happens before `arrive`; "full": QueueFull."""

    def __init__(self, entries: list[bytes], machine: Member) -> None:
        self.entries = entries
        self.machine = machine
        self.fates: deque[str] = deque()
        self.fate = "applied"
        self.cut = False  # nothing goes in, nothing comes
        self.submitted: list[bytes] = []
        self.barriers: list[Callable[[bool], None]] = []
        self.passes = True  # whether a barrier does, or its outcome stays unknown
        self._applied = 0
        self._queue: deque[tuple[bytes, Callable[[bytes | None], None], str]] = deque()
        self._held: list[tuple[bytes, Callable[[bytes | None], None], str]] = []

    def submit(self, command: bytes, done: Callable[[bytes | None], None]) -> None:
        fate = self.fates.popleft() if self.fates else self.fate
        if fate == "full":
            raise QueueFull("enough")
        self.submitted.append(command)
        (self._held if fate == "held" else self._queue).append((command, done, fate))

    def arrive(self) -> None:
        """What was held or late goes into the log."""
        self._queue.extendleft(reversed([(c, d, "applied") for c, d, _ in self._held]))
        self._held.clear()

    def turn(self) -> bool:
        if self.cut:
            return False
        answers: list[tuple[Callable[[bytes | None], None], bytes | None]] = []
        while self._queue:
            command, done, fate = self._queue.popleft()
            if fate == "late":
                self._held.append((command, lambda _: None, fate))
                answers.append((done, None))
                continue
            self.entries.append(command)
            answer = self._catch_up()
            if fate == "twice":
                self.entries.append(command)
                self._catch_up()
            answers.append((done, None if fate == "unknown" else answer))
        self._catch_up()
        for done, said in answers:
            done(said)
        barriers, self.barriers = self.barriers, []
        for passed in barriers:
            passed(self.passes)
        return False

    def _catch_up(self) -> bytes:
        answer = b""
        while self._applied < len(self.entries):
            self._applied += 1
            answer = self.machine.apply(self._applied, self.entries[self._applied - 1])
        return answer

    def barrier(self, done: Callable[[bool], None]) -> None:
        """A command that is none, and is no entry in the fake."""
        self.barriers.append(done)

    def leader_name(self) -> str | None:
        return None

    def next_deadline_ms(self) -> int | None:
        return None

    def close(self) -> None:
        """Nothing to stop."""


class Cluster:
    """Members by name, around one log and one clock."""

    def __init__(self, *names: str, founding: Found | None = FOUND) -> None:
        self.clock = FakeClock()
        self.entries: list[bytes] = []
        self.members: dict[str, Member] = {}
        self.logs: dict[str, FakeLog] = {}
        self.asked = 0
        for name in names:
            self.join(name, founding)

    def join(self, name: str, founding: Found | None = None, life: int = 1) -> Member:
        member = Member(f"{name}#{life}", self.clock, founding)
        log = FakeLog(self.entries, member)
        member.attach(log)
        self.members[name], self.logs[name] = member, log
        return member

    def turn(self, *names: str) -> None:
        for name in names or tuple(self.members):
            self.logs[name].turn()
            self.members[name].turn()

    def run(self, ms: int = 50, *names: str) -> None:
        """Turns of all, or of some, while time passes."""
        for _ in range(0, ms, STEP_MS):
            self.turn(*names)
            self.clock.ms += STEP_MS
        self.turn(*names)

    # -- questions -----------------------------------------------------------------------------

    def alloc(self, member: Member, writes: int = 1, **changed: object) -> list[AllocReply]:
        """Ask for revisions of tablet 1; the replies come into the list."""
        self.asked += 1
        request = AllocRequest(
            member.state.cepoch, "s0", self.asked, writes, ((1, 1, writes - 1),), 7
        )
        replies: list[AllocReply] = []
        member.alloc(self, request._replace(**changed), replies.append)  # type: ignore[arg-type]
        return replies

    def read(self, member: Member) -> list[Sample]:
        samples: list[Sample] = []
        member.read_revision(self, samples.append)
        return samples


def serving(*others: str) -> tuple[Cluster, Member]:
    """A cluster in which a serves reign 1."""
    cluster = Cluster("a")
    cluster.run()
    for name in others:
        cluster.join(name)
    cluster.run()
    assert cluster.members["a"].serves
    return cluster, cluster.members["a"]


def taken_over() -> tuple[Cluster, Member, Member]:
    """b serves reign 2; a has not heard of it."""
    cluster, a = serving("b")
    cluster.logs["a"].cut = True
    cluster.run(CANDIDATE_WAIT_MS + 100)
    b = cluster.members["b"]
    assert b.serves
    return cluster, a, b


START = ShardStart("s0", "disk", 7, "h:7")


def ask(member: Member, start: ShardStart) -> list[RequestRefused]:
    """What it is refused with, perhaps later."""
    refused: list[RequestRefused] = []
    member.start_shard(start, refused.append)
    return refused


# -- the lease -------------------------------------------------------------------------------------


def test_first_member_founds_the_cluster_and_serves() -> None:
    cluster, a = serving()
    view = a.view()
    assert (view.cluster, view.cepoch, view.serves, view.sequencer) == ("cluster-1", 1, True, "a")
    (reply,) = asked_now(cluster, a)
    assert (reply.first, reply.refused) == (2, ())


def asked_now(cluster: Cluster, member: Member) -> list[AllocReply]:
    replies = cluster.alloc(member)
    cluster.turn()
    return replies


def test_inv13_worked_example_a_dies_and_b_goes_on_behind_its_window() -> None:
    cluster, a = serving("b")
    asked_now(cluster, a)
    died_ms = cluster.clock.ms
    b = cluster.members["b"]
    while not b.serves:
        cluster.run(STEP_MS, "b")
    assert cluster.clock.ms - died_ms <= CANDIDATE_WAIT_MS + 100
    samples = cluster.read(b)
    cluster.run(50, "b")
    window = 1 + WINDOW_REVISIONS_MIN
    assert samples == [Sample(2, 1, window, {1: window, 2: window, 3: window})]
    replies = cluster.alloc(b)
    cluster.run(50, "b")
    assert [reply.first for reply in replies] == [window + 1]


def test_cluster_is_founded_once_whoever_is_first() -> None:
    cluster = Cluster("a", "b")
    cluster.join("c", Found("cluster-2", layout([])))
    cluster.run()
    assert {member.state.cluster for member in cluster.members.values()} == {"cluster-1"}
    assert sum(b'"found"' in entry for entry in cluster.entries) <= 3
    assert sum(member.serves for member in cluster.members.values()) == 1


def test_founding_is_tried_again_when_its_outcome_is_unknown() -> None:
    cluster = Cluster("a")
    cluster.logs["a"].fates.extend(["late", "full"])
    cluster.run()
    assert cluster.members["a"].state.cluster == "cluster-1"


def test_member_without_a_founding_waits_for_one() -> None:
    cluster = Cluster("a", founding=None)
    cluster.run(5_000)
    assert cluster.entries == []
    assert ask(cluster.members["a"], START) == []
    assert not cluster.members["a"].serves


@pytest.mark.parametrize("fate", ["late", "unknown", "twice", "full", "held"])
def test_inv13_lease_is_kept_over_every_outcome_of_a_submission(fate: str) -> None:
    cluster, a = serving()
    for _ in range(6):
        cluster.logs["a"].fates.append(fate)
        cluster.run(SEQUENCER_TTL_MS // 2)
        cluster.logs["a"].arrive()
        cluster.run(100)
        (reply,) = asked_now(cluster, a)
        assert not reply.refused
    assert a.state.cepoch == 1


def test_inv13_nothing_is_answered_while_the_lease_is_unproved_and_it_is_when_it_is() -> None:
    """The question came before the check that answers it, however long that takes."""
    cluster, a = serving()
    cluster.logs["a"].cut = True
    cluster.run(SEQUENCER_TTL_MS)
    assert a.serves, "nobody has told it otherwise"
    replies, samples = cluster.alloc(a), cluster.read(a)
    cluster.run(500)
    assert (replies, samples) == ([], [])
    cluster.logs["a"].cut = False
    cluster.run(20)
    assert [reply.first for reply in replies] == [2]
    assert [sample.revision for sample in samples] == [2]


def test_inv13_question_behind_the_end_of_the_lease_is_not_answered_in_the_same_turn() -> None:
    """A pause between two turns: the check is of the turn that answers."""
    cluster, a = serving()
    cluster.run(100)
    replies = cluster.alloc(a)
    cluster.clock.ms += SEQUENCER_TTL_MS
    cluster.members["a"].turn()
    assert replies == []


def test_inv13_deposed_member_answers_nobody() -> None:
    cluster, a, b = taken_over()
    replies, samples = cluster.alloc(a), cluster.read(a)
    cluster.run(100)
    cluster.logs["a"].cut = False
    cluster.run(100)
    assert not a.serves
    assert (replies, samples) == ([], [])
    assert asked_now(cluster, b)[0].first > WINDOW_REVISIONS_MIN


def test_inv13_question_of_a_reign_that_is_over_is_refused_by_the_next() -> None:
    cluster, _, b = taken_over()
    replies = cluster.alloc(b, cepoch=1)
    cluster.turn("b")
    (reply,) = replies
    assert reply.refused == (1,)
    assert reply.sample.cepoch == 2


def test_inv13_window_is_widened_before_it_is_used_up_at_a_high_rate() -> None:
    """4,096 revisions each 20 ms are 200,000 a second; nobody waits for a window."""
    cluster, a = serving()
    for _ in range(400):
        replies = cluster.alloc(a, 4_096)
        cluster.run(20)
        assert replies, f"waits at {cluster.clock.ms}"
        assert a.state.lease.window > replies[0].first + 4_095
    assert a.state.cepoch == 1


def test_inv13_request_beyond_the_window_waits_until_the_log_has_widened_it() -> None:
    cluster, a = serving()
    cluster.logs["a"].fate = "held"
    taken = [cluster.alloc(a, 4_096) for _ in range(3)]
    cluster.run(100)
    assert [len(replies) for replies in taken] == [1, 1, 0]
    cluster.logs["a"].fate = "applied"
    cluster.logs["a"].arrive()
    cluster.run(100)
    assert taken[2][0].first == 2 + 2 * 4_096


def test_member_that_restarts_waits_for_its_own_former_lease() -> None:
    cluster, _ = serving()
    again = cluster.join("a", FOUND, life=2)
    cluster.run(CANDIDATE_WAIT_MS - 100)
    assert again.state.cepoch == 1
    cluster.run(300)
    assert again.serves
    assert again.state.cepoch == 2


def test_operator_is_shown_a_sample_by_who_may_serve_alone() -> None:
    cluster, a = serving("b")
    shown = a.sampled()
    assert shown is not None
    assert shown.revision == 1
    assert cluster.members["b"].sampled() is None
    cluster.clock.ms += SEQUENCER_TTL_MS
    assert a.sampled() is None


def test_inv14_request_that_was_asked_twice_is_answered_alike() -> None:
    cluster, a = serving()
    first = cluster.alloc(a, 3, request_number=77)
    again = cluster.alloc(a, 3, request_number=77)
    cluster.turn()
    assert first == again
    assert first[0].sample.revision == 4


def test_nobody_waits_for_an_answer_behind_a_lost_connection() -> None:
    cluster, a = serving()
    mine, theirs = cluster.alloc(a), cluster.read(a)
    samples: list[Sample] = []
    a.read_revision("another", samples.append)
    a.forget(cluster)
    cluster.turn()
    assert (mine, theirs) == ([], [])
    assert samples[0].revision == 1, "nothing was taken for who is gone"


def test_member_wakes_for_its_lease_and_not_for_what_only_the_log_can_bring() -> None:
    """A deadline in the past is a loop that never sleeps, as long as there is no quorum."""
    cluster, a = serving("b")
    deadline_ms = a.next_deadline_ms()
    assert deadline_ms is not None
    assert cluster.clock.ms < deadline_ms <= cluster.clock.ms + SEQUENCER_TTL_MS // 2
    for log in cluster.logs.values():
        log.cut = True
    cluster.run(2 * CANDIDATE_WAIT_MS)
    assert [member.next_deadline_ms() for member in cluster.members.values()] == [None, None]
    for log in cluster.logs.values():
        log.cut = False
    cluster.run(100)
    assert all(member.next_deadline_ms() for member in cluster.members.values())
    unfounded = Cluster("c", founding=None)
    unfounded.run(2 * CANDIDATE_WAIT_MS)
    assert unfounded.members["c"].next_deadline_ms() is None


def test_m03_newer_owner_epoch_waits_until_its_map_is_applied() -> None:
    cluster, a = serving()
    early = cluster.alloc(a, ends=((1, 2, 0),))
    cluster.run()
    assert early == []
    ask(a, START)
    cluster.run()
    assert [(reply.first, reply.refused) for reply in early] == [(2, ())]


# -- the end ---------------------------------------------------------------------------------------


def test_m09_released_lease_is_taken_at_once_and_nothing_is_handed_out_twice() -> None:
    cluster, a = serving("b")
    asked_now(cluster, a)
    ended: list[bool] = []
    waiting = cluster.alloc(a)
    a.release(lambda: ended.append(True))
    cluster.run(50)
    assert ended == [True]
    assert waiting == []
    b = cluster.members["b"]
    assert b.serves
    assert asked_now(cluster, b)[0].first == 3, "right behind what a handed out"


def test_m09_member_serves_no_more_from_the_submission_of_its_release_on() -> None:
    cluster, a = serving()
    cluster.logs["a"].fate = "held"
    a.release(lambda: None)
    replies = cluster.alloc(a)
    cluster.run(50)
    assert replies == []
    assert not a.serves


def test_m09_member_without_the_lease_ends_at_once() -> None:
    cluster, _ = serving("b")
    ended: list[bool] = []
    cluster.members["b"].release(lambda: ended.append(True))
    assert ended == [True]


# -- shards ----------------------------------------------------------------------------------------


def test_m06_started_shard_is_named_by_a_map_with_new_oepochs() -> None:
    cluster, a = serving()
    asked_now(cluster, a)
    assert ask(a, START) == []
    cluster.run()
    assert a.state.shards == (ShardPlace("s0", "disk", 7, "h:7", 2, tried=(7,)),)
    assert [(t.oepoch, t.begin) for t in a.state.tablets.tablets] == [(2, 2), (2, 1), (2, 1)]
    refused, granted = cluster.alloc(a), cluster.alloc(a, ends=((1, 2, 0),))
    cluster.turn()
    assert refused[0].refused == (1,)
    assert granted[0].first == 3


def test_start_that_is_repeated_does_nothing_more() -> None:
    cluster, a = serving()
    for _ in range(3):
        ask(a, START)
        cluster.run()
    assert a.state.tablets.version == 2


def test_m06_next_process_of_the_shard_replaces_the_one_before() -> None:
    cluster, a = serving()
    ask(a, START)
    cluster.run()
    ask(a, START._replace(incarnation=8, address="h:8"))
    cluster.run()
    assert a.state.shards == (ShardPlace("s0", "disk", 8, "h:8", 3, tried=(7, 8)),)
    assert [t.oepoch for t in a.state.tablets.tablets] == [3, 3, 3]


def test_second_disk_that_asks_while_the_first_is_being_named_leaves_nothing_frozen() -> None:
    """Its start can never succeed, and the first one's tablets must not wait for it."""
    cluster, a = serving()
    cluster.logs["a"].fate = "held"
    ask(a, START)
    cluster.turn()
    assert ask(a, START._replace(store="other", incarnation=8)) == []
    cluster.logs["a"].fate = "applied"
    cluster.logs["a"].arrive()
    cluster.run()
    granted = cluster.alloc(a, ends=((1, a.state.tablets.tablets[0].oepoch, 0),))
    cluster.run(50)
    assert len(granted) == 1


def test_start_that_can_never_succeed_is_refused_with_what_to_do() -> None:
    cluster, a = serving()
    ask(a, START)
    cluster.run()
    (refused,) = ask(a, START._replace(store="other", incarnation=8))
    assert refused.code is Code.UNIMPLEMENTED
    assert "data directory" in refused.message
    cluster.run()
    assert a.state.shards[0].incarnation == 7


def test_shard_that_owns_nothing_is_let_in_to_be_given_tablets() -> None:
    cluster, a = serving()
    before = a.state.tablets
    assert ask(a, START._replace(shard="s9")) == []
    cluster.run()
    assert a.state.shard("s9") is not None
    assert a.state.tablets.tablets == before.tablets


def test_shards_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(starts, "SHARDS_MAX", 1)
    cluster, a = serving()
    ask(a, START)
    cluster.run()
    (refused,) = ask(a, START._replace(shard="s9", store="other"))
    assert "1 are the most" in refused.message


def test_m02_nothing_is_handed_out_between_h_and_the_map() -> None:
    cluster, a = serving()
    asked_now(cluster, a)
    cluster.logs["a"].fate = "held"
    ask(a, START)
    cluster.run()
    old, new = cluster.alloc(a), cluster.alloc(a, ends=((1, 2, 0),))
    cluster.run()
    assert (old, new) == ([], []), "M3: the next epoch's owner waits for the map too"
    cluster.logs["a"].fate = "applied"
    cluster.logs["a"].arrive()
    cluster.run()
    assert a.state.tablets.tablets[0].begin == 2
    assert old[0].refused == (1,)
    assert new[0].first == 3


def test_m02_h_of_a_reign_that_is_over_changes_nothing_and_is_asked_anew() -> None:
    """a froze, and was deposed before its command was applied: b hands out more meanwhile."""
    cluster, a = serving("b")
    cluster.logs["a"].fate = "held"
    ask(a, START)
    cluster.run(50, "a")
    cluster.run(CANDIDATE_WAIT_MS + 100, "b")
    b = cluster.members["b"]
    replies = cluster.alloc(b)
    cluster.run(50, "b")
    last = replies[0].first
    cluster.logs["a"].fate = "applied"
    cluster.logs["a"].arrive()
    cluster.run(100)
    assert b.state.shards == ()
    ask(b, START)
    cluster.run(100)
    assert b.state.tablets.tablets[0].begin == last


def test_m02_h_that_was_fixed_before_another_process_took_over_is_fixed_anew() -> None:
    """The first start was answered by nobody, the second asked for with the same H. Then both are
    applied, and in between the first process writes."""
    cluster, a = serving()
    log = cluster.logs["a"]
    log.fates.extend(["late", "held"])
    ask(a, START)
    a.turn()
    ask(a, START._replace(incarnation=8, address="h:8"))
    cluster.turn()
    second = log._held.pop()
    log.arrive()
    cluster.turn()
    assert a.state.shards[0].incarnation == 7
    granted = cluster.alloc(a, 5, ends=((1, 2, 4),))
    cluster.turn()
    last = granted[0].first + 4
    log._queue.append((second[0], second[1], "applied"))
    cluster.run(50)
    assert a.state.shards[0].incarnation == 8
    assert a.state.tablets.tablets[0].begin == last


def test_m06_start_that_was_left_with_a_deposed_member_is_forgotten() -> None:
    """Carried out in a later reign it would name a process that is long gone, and end the one that
    serves."""
    cluster, a = serving("b")
    cluster.logs["a"].fate = "held"
    ask(a, START)
    cluster.run(CANDIDATE_WAIT_MS + 100, "b")
    b = cluster.members["b"]
    cluster.logs["a"].fate = "applied"
    cluster.run(50)
    ask(b, START)
    cluster.run(50)
    ask(b, START._replace(incarnation=8, address="h:8"))
    cluster.run(50)
    assert b.state.shards[0].incarnation == 8
    cluster.logs["a"].arrive()
    cluster.run(CANDIDATE_WAIT_MS + 200, "a")
    assert a.serves
    cluster.run(100, "a")
    assert a.state.shards[0].incarnation == 8


@pytest.mark.parametrize("fate", ["late", "unknown", "twice", "full"])
def test_start_comes_about_over_every_outcome_of_its_submission(fate: str) -> None:
    cluster, a = serving()
    cluster.logs["a"].fates.append(fate)
    ask(a, START)
    cluster.run()
    assert a.state.shards[0].incarnation == 7
    cluster.logs["a"].arrive()
    cluster.run()
    assert a.state.tablets.version == 2
    granted = cluster.alloc(a, ends=((1, 2, 0),))
    cluster.turn()
    assert not granted[0].refused


# -- the floor and the alarms ----------------------------------------------------------------------


def compacted(member: Member, revision: int) -> list[RequestRefused | None]:
    answers: list[RequestRefused | None] = []
    member.compact(revision, answers.append)
    return answers


def test_m10_compaction_is_answered_when_every_later_sample_says_it() -> None:
    cluster, a = serving()
    before = cluster.read(a)
    answers = compacted(a, 5)
    cluster.members["a"].turn()
    assert answers == []
    after: list[Sample] = []

    def answered(_refused: RequestRefused | None) -> None:
        a.read_revision(cluster, after.append)

    a.compact(6, answered)
    cluster.turn()
    assert answers == [None]
    assert [sample.floor for sample in before] == [-1]
    assert [sample.floor for sample in after] == [6]


def test_m10_compaction_that_a_deposed_member_applied_is_not_confirmed_by_it() -> None:
    """The successor may not have applied it yet: its samples would still say the floor before."""
    cluster, a, b = taken_over()
    answers = compacted(a, 5)
    cluster.logs["a"].cut = False
    cluster.turn("a")
    samples = cluster.read(b)
    b.turn()
    assert samples[0].floor == -1, "b has not heard of it"
    assert answers == [errors.TIMED_OUT]


def test_floor_that_does_not_rise_is_refused() -> None:
    cluster, a = serving()
    assert compacted(a, -1) == [errors.COMPACTED]
    twice = compacted(a, 5), compacted(a, 5)
    cluster.turn()
    assert twice == ([None], [errors.COMPACTED])


@pytest.mark.parametrize("fate", ["late", "unknown", "full"])
def test_compaction_of_unknown_outcome_is_told_so(fate: str) -> None:
    cluster, a = serving()
    cluster.logs["a"].fates.append(fate)
    answers = compacted(a, 5)
    cluster.turn()
    assert answers == [errors.TIMED_OUT]


def test_alarm_tells_whether_it_was_raised_before() -> None:
    cluster, a = serving()
    told: list[bool | RequestRefused] = []
    full = Alarm(5, ALARM_NOSPACE)
    for raised in (False, True, True, False, False):
        a.set_alarm(full, raised, told.append)
        cluster.turn()
    assert told == [False, False, True, True, False]
    assert a.view().alarms == frozenset()


@pytest.mark.parametrize("fate", ["unknown", "full"])
def test_alarm_of_unknown_outcome_is_told_so(fate: str) -> None:
    cluster, a = serving()
    cluster.logs["a"].fates.append(fate)
    told: list[bool | RequestRefused] = []
    a.set_alarm(Alarm(5, ALARM_NOSPACE), True, told.append)
    cluster.turn()
    assert told == [errors.TIMED_OUT]


# -- the machine -----------------------------------------------------------------------------------


def test_bytes_that_are_no_command_change_nothing() -> None:
    _, a = serving()
    before, index = a.state, a.index
    assert a.apply(999, b"\xff nonsense") == UNCHANGED
    assert (a.state, a.index) == (before, index)


def test_answer_says_whether_the_command_changed_anything() -> None:
    cluster, a = serving()
    entry = cluster.entries[-1]
    assert b'"acquire"' in entry
    assert a.apply(999, entry) == UNCHANGED
    assert Member("x#1", cluster.clock, None).apply(1, cluster.entries[0]) == CHANGED


def test_snapshot_makes_another_member_the_same() -> None:
    cluster, a = serving()
    ask(a, START)
    cluster.run()
    other = Member("b#1", cluster.clock, None)
    other.restore(a.snapshot())
    assert (other.state, other.index) == (a.state, a.index)
    assert other.view()._replace(serves=True) == a.view()


def test_renewals_alone_are_no_news() -> None:
    """Else every connection would be told the whole state twice a second."""
    cluster, a = serving()
    before = a.view()
    cluster.run(3 * SEQUENCER_TTL_MS)
    assert a.state.lease.renewals > 3
    assert a.view() == before
