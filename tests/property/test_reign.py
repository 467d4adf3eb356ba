"""Invariant 13 over random histories: members with drifting clocks around one replicated log.

What it is: several `Reign`s and a log of whole commands, whose submissions are lost, late or
doubled; members pause, lag, restart, leave, and take up the state by commands or by a snapshot.
What it is not: Raft, or the connections over which others ask (tests/unit/coordinator, tests/sim).

Words: the *true* time is the world's; a member's clock runs up to LEASE_DRIFT_PERCENT faster than
another's. A *batch* is what a member has collected and not yet answered, as in Lease.tla: it is
collected, checked and answered at three moments, between which anything may happen.

Source: docs/model/Lease.tla, with OneLease and the order of reigns among the answers.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kubebraid.base.limits import LEASE_DRIFT_PERCENT, SEQUENCER_TTL_MS
from kubebraid.base.tabletmap import layout
from kubebraid.coordinator.reign import LeaseCommand, Reign
from kubebraid.coordinator.state import State
from kubebraid.coordinator.transition import apply

STEPS = 400


@dataclass
class Batch:
    """Of one reign. `floor`: the highest that had answered anybody when it was collected."""

    cepoch: int
    floor: int
    checked: bool = False


@dataclass
class Member:
    name: str
    percent: int  # the speed of its clock
    offset_ms: int
    state: State
    life: int = 0
    applied: int = 0  # how many entries of the log
    paused_until: int = 0
    pending: LeaseCommand | None = None
    handed_out: int = 1
    of_reign: int = 0
    batch: Batch | None = None
    reign: Reign = field(init=False)

    def clock(self, true_ms: int) -> int:
        return self.offset_ms + true_ms * self.percent // 100


class World:
    """One history. `judge` is called after every step."""

    def __init__(self, seed: int) -> None:
        self.rng = random.Random(seed)
        self.now = 0
        self.genesis = State(0, -1, layout([]), cluster="c")
        self.log: list[LeaseCommand] = []
        self.states = [self.genesis]  # behind each entry
        self.on_way: list[LeaseCommand] = []
        self.served = 0
        self.issued: list[tuple[int, int]] = []  # (cepoch, revision), in the order of the answers
        self.members: list[Member] = []
        for number in range(self.rng.choice((2, 3, 3))):
            percent = self.rng.randint(100, 100 + LEASE_DRIFT_PERCENT)
            offset_ms = self.rng.randint(0, 10**9)
            member = Member(f"m{number}", percent, offset_ms, self.genesis)
            self.members.append(member)
            self.restart(member)

    # -- what happens --------------------------------------------------------------------------

    def restart(self, member: Member) -> None:
        member.life += 1
        member.pending = member.batch = None
        node, now_ms = f"{member.name}#{member.life}", member.clock(self.now)
        member.reign = Reign(node, member.state, now_ms)

    def pass_time(self) -> None:
        self.now += self.rng.choice((0, 0, 0, 1, 1, 7, 20, 40, 60, 400))

    def pause(self, member: Member) -> None:
        member.paused_until = self.now + self.rng.choice((300, 1_500, 2_500))

    def catch_up(self, member: Member) -> None:
        """Some entries one by one, or all of them as a snapshot."""
        behind = len(self.log) - member.applied
        if behind > 1 and self.rng.random() < 0.2:
            member.applied = len(self.log)
            member.state = self.states[-1]
            member.reign.applied(member.state, member.clock(self.now))
            return
        for _ in range(min(behind, self.rng.choice((1, 1, 2, 5)))):
            member.applied += 1
            before, member.state = member.state, self.states[member.applied]
            member.reign.applied(member.state, member.clock(self.now))
            entry = self.log[member.applied - 1]
            if entry is member.pending and before is member.state:
                member.reign.failed()
                member.pending = None

    def submit(self, member: Member) -> None:
        command = member.reign.repeat()
        if command is None:
            command = member.reign.next(member.clock(self.now), member.handed_out)
        if command is not None:
            member.pending = command
            self.on_way.extend([command] * self.rng.choice((0, 1, 1, 1, 2)))

    def commit(self) -> None:
        if self.on_way:
            command = self.on_way.pop(self.rng.randrange(len(self.on_way)))
            self.log.append(command)
            self.states.append(apply(self.states[-1], command))

    def leave(self, member: Member) -> None:
        if member.batch is None and self.rng.random() < 0.2:
            command = member.reign.release(member.handed_out)
            if command is not None:
                self.on_way.append(command)

    def serve(self, member: Member) -> None:
        """One of: collect, check, answer."""
        reign, batch = member.reign, member.batch
        if not reign.holds or (batch is not None and batch.cepoch != reign.cepoch):
            member.batch = None  # it was for a sequencer that is gone
        elif batch is None:
            member.batch = Batch(reign.cepoch, self.served)
            if member.of_reign != reign.cepoch:
                member.of_reign, member.handed_out = reign.cepoch, reign.begin
        elif not batch.checked:
            batch.checked = reign.may_serve(member.clock(self.now))
        else:
            self.answer(member, batch)

    def answer(self, member: Member, batch: Batch) -> None:
        reign = member.reign
        count = min(self.rng.choice((1, 50, 4_000)), reign.window - member.handed_out)
        if count > 0:
            member.handed_out += count
            self.issued.append((reign.cepoch, member.handed_out - count + 1))
            self.issued.append((reign.cepoch, member.handed_out))
            assert batch.floor <= reign.cepoch, "asked after a higher reign had answered"
            self.served = max(self.served, reign.cepoch)
        member.batch = None

    def step(self) -> None:
        self.pass_time()
        awake = [m for m in self.members if m.paused_until <= self.now]
        chance = self.rng.random()
        if chance < 0.3:
            self.commit()
        elif awake:
            member = self.rng.choice(awake)
            acts: list[tuple[float, Callable[[Member], None]]] = [
                (0.25, self.catch_up),
                (0.3, self.submit),
                (0.35, self.serve),
                (0.03, self.pause),
                (0.03, self.leave),
                (0.01, self.restart),
            ]
            (act,) = self.rng.choices([a for _, a in acts], [weight for weight, _ in acts])
            act(member)

    # -- what must hold ------------------------------------------------------------------------

    def judge(self) -> None:
        serving = [m.name for m in self.members if m.reign.may_serve(m.clock(self.now))]
        assert len(serving) <= 1, f"{serving} both pass the check at {self.now}"

    def judge_revisions(self) -> None:
        """Within a reign upwards, and every reign above all of those before it."""
        of_reign: dict[int, list[int]] = {}
        for cepoch, revision in self.issued:
            of_reign.setdefault(cepoch, []).append(revision)
        highest = 0
        for cepoch in sorted(of_reign):
            revisions = of_reign[cepoch]
            assert revisions == sorted(revisions), f"reign {cepoch} goes back"
            assert revisions[0] > highest, f"reign {cepoch} hands out what was handed out before"
            highest = revisions[-1]


def history(seed: int) -> World:
    world = World(seed)
    for _ in range(STEPS):
        world.step()
        world.judge()
    world.judge_revisions()
    return world


@given(st.integers(0, 2**32))
def test_inv13_no_two_members_pass_the_check_at_one_true_instant(seed: int) -> None:
    history(seed)


def test_inv13_histories_have_takeovers_releases_and_answers() -> None:
    """Else the property above would say nothing."""
    worlds = [history(seed) for seed in range(60)]
    assert sum(len({cepoch for cepoch, _ in world.issued}) > 1 for world in worlds) > 10
    assert sum(len(world.issued) for world in worlds) > 300


@pytest.mark.parametrize("fast", [0, 1])
def test_inv13_clock_that_runs_as_much_faster_as_allowed_takes_over_right_behind(fast: int) -> None:
    """Two members, no delay anywhere: the end of the proof and the takeover meet, and do not
    overlap, at any phase of the two clocks."""
    for phase in range(0, 100, 7):
        state = State(0, -1, layout([]), cluster="c")
        percents = (100, 100 + LEASE_DRIFT_PERCENT) if fast else (100, 100)
        ours, theirs = (Member(n, p, phase, state) for n, p in zip("ab", percents, strict=True))
        for member in (ours, theirs):
            member.reign = Reign(member.name + "#1", state, member.clock(phase))
        taken = ours.reign.next(ours.clock(phase), 1)
        assert taken is not None
        state = apply(state, taken)
        for member in (ours, theirs):
            member.reign.applied(state, member.clock(phase))
        now = phase
        while (command := theirs.reign.next(theirs.clock(now), 1)) is None:
            now += 1
        theirs.reign.applied(apply(state, command), theirs.clock(now))
        assert theirs.reign.may_serve(theirs.clock(now))
        assert not ours.reign.may_serve(ours.clock(now)), f"both at {now - phase} ms"
        assert now - phase <= SEQUENCER_TTL_MS * (100 + LEASE_DRIFT_PERCENT) // 100 + 1
