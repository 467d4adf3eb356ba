"""One coordinator: the replicated state as it stands here, and the sequencer while it holds it.

What it is: the machine that the log drives, the lease of the sequencer, and the queue of those who
ask for revisions: collect, check the lease, allocate, answer. What it is not: the log itself,
which shard may start (`starts.py`), or the connections over which others ask (`service.py`).

Words: a member *serves* while it holds the lease of the present reign.

Invariants:
- a request is answered only if the lease was checked after it had been collected: whatever pause
  happens before the check, no successor could exist when the request was made;
- M10: a sample is of one instant, and its floor is at least every floor that was answered before;
- M2, M6: a shard gets its tablets by a map that names its incarnation, with the H that this reign
  fixed by freezing them; nothing is allocated to them in between;
- what the log has not applied here is not so: answers to changes come behind it.

Worked example: members a, b, c; a holds the lease and dies. After 1.65 s b, the first to ask, has
applied its Acquire: cepoch 2, every last[t] = 10,001, the window of a. It answers what waits.

Tested in tests/unit/coordinator/test_member.py, tests/sim.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from kubebraid.base import errors
from kubebraid.base.errors import RequestRefused
from kubebraid.base.ports import (
    Adoption,
    Alarm,
    AllocReply,
    AllocRequest,
    ClusterView,
    Sample,
    ShardStart,
)
from kubebraid.base.revision import Revision
from kubebraid.base.seams import Clock

from .machine import CHANGED, UNCHANGED, StateMachine
from .orders import Orders
from .reign import Reign
from .sequencer import Sequencer
from .starts import Starts
from .state import State
from .transition import Found, RaiseFloor, SetAlarm


@dataclass(slots=True)
class _Asked:
    """An Alloc that waits. `asker`: whose connection it came by; gone, nobody waits."""

    asker: object
    request: AllocRequest
    done: Callable[[AllocReply], None]


class Member(StateMachine):
    """Implements Machine of raft/log, and what a coordinator answers; `turn` does the work."""

    def __init__(self, node: str, clock: Clock, founding: Found | None) -> None:
        """`node`: this incarnation, as name#number; `founding`: what to found where nothing is."""
        super().__init__()
        self.node = node
        self._clock = clock
        self._founding = founding
        self._founding_sent = False
        self._reign = Reign(node, self.state, clock.now_ms())
        self._sequencer: Sequencer | None = None
        self._allocs: list[_Asked] = []
        self._samples: list[tuple[object, Callable[[Sample], None]]] = []
        self._starts = Starts(self)
        self.orders = Orders(self, clock)
        self._followed: State | None = None
        self._lease_sent = False

    def _applied(self, state: State) -> None:
        self._reign.applied(state, self._clock.now_ms())

    # -- what others ask -----------------------------------------------------------------------

    @property
    def serves(self) -> bool:
        """Whether this member is the one to ask; whether it may answer is checked each time."""
        return self._sequencer is not None and self._reign.holds

    def alloc(
        self, asker: object, request: AllocRequest, done: Callable[[AllocReply], None]
    ) -> None:
        """`asker` is what `forget` names."""
        self._allocs.append(_Asked(asker, request, done))

    def read_revision(self, asker: object, done: Callable[[Sample], None]) -> None:
        """A sample that covers whatever was acknowledged before the call."""
        self._samples.append((asker, done))

    def start_shard(self, start: ShardStart, refuse: Callable[[RequestRefused], None]) -> None:
        """See Starts.start."""
        self._starts.start(start, refuse)

    def adopted(self, shard: str, adoption: Adoption) -> None:
        """See Starts.adopted."""
        self._starts.adopted(shard, adoption)

    def compact(self, revision: Revision, done: Callable[[RequestRefused | None], None]) -> None:
        """Raise the floor; answered behind its application here, so every later sample has it."""
        if revision <= self.state.compact_revision:
            done(errors.COMPACTED)
            return

        def answered(answer: bytes | None) -> None:
            self._follow_state()
            if answer is None or not self.serves:
                done(errors.TIMED_OUT)  # of another reign's samples this one knows nothing
            else:
                done(None if answer == CHANGED else errors.COMPACTED)

        self.submit(RaiseFloor(revision), answered)

    def set_alarm(
        self, alarm: Alarm, raised: bool, done: Callable[[bool | RequestRefused], None]
    ) -> None:
        """Raise or disarm; `done` is told whether it was raised before, if that is known."""

        def answered(answer: bytes | None) -> None:
            done(errors.TIMED_OUT if answer is None else raised is (answer == UNCHANGED))

        self.submit(SetAlarm(alarm, raised), answered)

    def forget(self, asker: object) -> None:
        """Its connection is gone: nobody waits for the answers."""
        self._allocs = [asked for asked in self._allocs if asked.asker is not asker]
        self._samples = [(whose, done) for whose, done in self._samples if whose is not asker]

    def view(self) -> ClusterView:
        """The state as applied here, for those who follow it."""
        state = self.state
        return ClusterView(
            self.index,
            state.cluster,
            state.cepoch,
            self.serves,
            state.lease.holder.partition("#")[0],
            state.tablets,
            state.compact_revision,
            state.alarms,
            state.shards,
            state.migrations,
        )

    def sampled(self) -> Sample | None:
        """For operators: a sample of now, if this member hands out revisions. It proves nothing of
        what was acknowledged; a reader asks `read_revision`."""
        sequencer = self._sequencer
        if sequencer is None or not self._reign.may_serve(self._clock.now_ms()):
            return None
        return sequencer.sample()

    # -- the loop ------------------------------------------------------------------------------

    def turn(self) -> bool:
        """Follow the state, answer who waits, keep the lease. Answers: can more be done now?"""
        self._follow_state()
        if self._sequencer is not None:
            self.orders.turn(self._sequencer)
        self._serve()
        self._found()
        self._keep_lease()
        if self._sequencer is not None:
            self._starts.turn(self._sequencer)
        return False

    def next_deadline_ms(self) -> int | None:
        reign = None if self._lease_sent else self._reign.next_deadline_ms()
        switch = None if self._sequencer is None else self.orders.next_deadline_ms()
        return min((d for d in (reign, switch) if d is not None), default=None)

    def release(self, done: Callable[[], None]) -> None:
        """A planned end (rule M9): hand the lease back, so that a successor need not wait."""
        handed_out = self._handed_out()
        command = self._reign.release(handed_out)
        self._sequencer = None
        if command is None:
            done()
        else:
            self.submit(command, lambda _answer: done())

    def _follow_state(self) -> None:
        """What was applied since: a reign that began or ended, a wider window, a new map."""
        state, sequencer = self.state, self._sequencer
        if not self._reign.holds:
            self._sequencer = None
            # Whoever waits asks the next one, as soon as it hears of it.
            self._allocs.clear()
            self._samples.clear()
            self._starts.clear()
            return
        if sequencer is None or sequencer.cepoch != state.cepoch:
            last = {tablet.id: self._reign.begin for tablet in state.tablets.tablets}
            sequencer = Sequencer(state.cepoch, state.tablets, last, state.lease.window)
            self._sequencer = sequencer
            self.orders.clear()
            self._followed = None
        if state is not self._followed:
            sequencer.expect(state.next_tablet, state.coming)
            self._followed = state
        sequencer.widen(state.lease.window)
        sequencer.raise_floor(state.compact_revision)
        if state.tablets.version > sequencer.map_version:
            sequencer.adopt_map(state.tablets)

    def _serve(self) -> None:
        """Collect, check, allocate, answer, in this order."""
        sequencer = self._sequencer
        if sequencer is None:
            return
        allocs, self._allocs = self._allocs, []
        samples, self._samples = self._samples, []
        if not self._reign.may_serve(self._clock.now_ms()):
            self._allocs, self._samples = allocs, samples
            return
        for asked in allocs:
            reply = sequencer.allocate(asked.request)
            if reply is None:
                self._allocs.append(asked)
            else:
                asked.done(reply)
        if samples:
            sample = sequencer.sample()
            for _, done in samples:
                done(sample)

    def _handed_out(self) -> Revision:
        sequencer = self._sequencer
        return self.state.lease.window if sequencer is None else sequencer.revision

    def _keep_lease(self) -> None:
        if self._lease_sent:
            return
        command = self._reign.repeat() or self._reign.next(self._clock.now_ms(), self._handed_out())
        if command is None:
            return
        self._lease_sent = True

        def answered(answer: bytes | None) -> None:
            self._lease_sent = False
            if answer == UNCHANGED:
                self._reign.failed()

        self.submit(command, answered)

    def _found(self) -> None:
        """The first state, from whoever leads; of several the log takes one."""
        assert self._log is not None
        if self._founding is None or self.state.cluster or self._founding_sent:
            return

        def answered(_answer: bytes | None) -> None:
            self._founding_sent = False

        self._founding_sent = True
        self.submit(self._founding, answered)
