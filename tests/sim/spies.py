"""What is watched within the processes: leases, allocations, applied commands, watermarks.

What it is: ears on the shipped functions while a world runs; they call the original and note what
it did. What it is not: a change of any behaviour.

Words: a *reign* is named by its cepoch; its *window* is what the log says it may hand out.

Invariants that it judges: inv11 (closed <= last), inv13 (windows, reigns, one holder at a time),
inv14 (an Alloc repeated is answered alike), inv20 (what was compacted is removed in the end), inv22
(equal states at equal indexes).

Worked example: cepoch 3 handed out 17 and cepoch 4 hands out 17 too: a breach of inv13.

Tested in tests/sim/test_breaches.py.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING
from unittest import mock

from kubebraid.base.ports import AllocReply, AllocRequest
from kubebraid.base.revision import Epoch, Revision, TabletId
from kubebraid.coordinator import state as codec
from kubebraid.coordinator.member import Member
from kubebraid.coordinator.reign import Reign
from kubebraid.coordinator.sequencer import Sequencer
from kubebraid.shard import keycodec

from .verdict import Violation

if TYPE_CHECKING:
    from .nodes import CoordinatorNode, ShardNode
    from .world import World

SLACK_US = 2_000  # a clock tells milliseconds


class Spies:
    """The notes of one world."""

    def __init__(self, world: World) -> None:
        self._world = world
        self.windows: dict[Epoch, Revision] = {}
        self.begins: dict[Epoch, Revision] = {}
        self.issued: dict[Epoch, tuple[Revision, Revision]] = {}
        self.last: dict[TabletId, Revision] = {}
        self._answers: dict[tuple[Epoch, str, int, int], Revision] = {}
        self._served: list[tuple[int, Epoch, str]] = []
        self._states: dict[int, int] = {}
        self._broken: Violation | None = None

    # -- what the ears hear --------------------------------------------------------------------

    def served(self, reign: Reign, now_ms: int) -> None:
        """A lease check was passed; `now_ms` is what the clock said."""
        name = reign._node.partition("#")[0]
        node = next(node for node in self._world.members if node.name == name)
        self._served.append((node.clock.true_us(now_ms), reign.cepoch, name))

    def allocated(self, cepoch: Epoch, request: AllocRequest, reply: AllocReply) -> None:
        if reply.refused or request.cepoch != cepoch:
            return
        name = (cepoch, request.owner, request.incarnation, request.request_number)
        if self._answers.setdefault(name, reply.first) != reply.first:
            raise Violation("inv14", f"{name}: {self._answers[name]}, then {reply.first}")
        owners = self._world.truth.owners
        for tablet, oepoch, index in request.ends:
            if index >= 0:
                owners.allocated(tablet, oepoch, reply.first + index)
                self.last[tablet] = max(self.last.get(tablet, 0), reply.first + index)
        if request.writes:
            top = reply.first + request.writes - 1
            if top > self.windows.get(cepoch, 0):
                raise Violation("inv13", f"{top} lies above the window {self.windows.get(cepoch)}")
            low, high = self.issued.get(cepoch, (reply.first, top))
            self.issued[cepoch] = (min(low, reply.first), max(high, top))

    def applied(self, member: Member, index: int, command: bytes) -> None:
        name = member.node.partition("#")[0]
        self._world.truth.applied(name, index, command)
        state = member.state
        try:
            self._mapped(state)
        except Violation as broken:
            self._broken = broken  # whoever applies the log keeps what is raised
            raise
        known = self.windows.get(state.cepoch)
        if known is None:
            self.begins[state.cepoch] = max(self.windows.values(), default=1)
        self.windows[state.cepoch] = max(known or 0, state.lease.window)
        found = zlib.crc32(codec.encode(state))
        if self._states.setdefault(index, found) != found:
            self._broken = Violation("inv22", f"two states at index {index}")
            raise self._broken

    def _mapped(self, state: codec.State) -> None:
        if state.cluster and self._world.truth.owners.mapped(state.tablets, self.last):
            for tablet in state.tablets.tablets:
                self.last[tablet.id] = max(self.last.get(tablet.id, 0), tablet.begin)

    # -- turns ---------------------------------------------------------------------------------

    def shard_turned(self, node: ShardNode) -> None:
        """inv11: closed[t] <= last[t]."""
        here = node.here
        if here is None or here._owned is None:
            return
        begin = max(self.windows.values(), default=1)
        for tablet, closed in here._owned.closed.items():
            if closed > self.last.get(tablet, 1) and closed not in self._borders(begin):
                raise Violation("inv11", f"closed[{tablet}]={closed}, last {self.last.get(tablet)}")

    def _borders(self, begin: Revision) -> set[Revision]:
        """Where a reign may have begun: its last[t] is there for all tablets."""
        return {1, begin, *self.windows.values(), *self.begins.values(), *self._releases()}

    def _releases(self) -> list[Revision]:
        return [high for _, high in self.issued.values()]

    def member_turned(self, node: CoordinatorNode) -> None:
        """inv13: nothing was handed out above the committed window."""
        if self._broken is not None:
            raise self._broken
        here = node.here
        if here is None or here.member._sequencer is None:
            return
        sequencer = here.member._sequencer
        window = self.windows.get(sequencer.cepoch, 0)
        if sequencer.revision > window:
            raise Violation("inv13", f"R={sequencer.revision} above the window {window}")

    def serving(self) -> Member | None:
        """The one member that is the sequencer."""
        members = [node.here.member for node in self._world.members if node.here is not None]
        serving = [member for member in members if member.serves]
        return serving[0] if len(serving) == 1 else None

    def settled(self) -> bool:
        """Whether one member serves, nothing is frozen, and every tablet is closed at its last."""
        member = self.serving()
        sequencer = None if member is None else member._sequencer
        if sequencer is None or sequencer._frozen or sequencer._switching:
            return False
        last = sequencer.last()
        for node in self._world.shards:
            owned = node.here._owned if node.here is not None else None
            if owned is None or any(at < last.get(t, at + 1) for t, at in owned.closed.items()):
                return False
        return not self.litter()

    def resting(self) -> set[TabletId]:
        """The tablets of active migrations, which are not compacted."""
        member = self.serving()
        active = [m for m in member.state.migrations if m.active] if member is not None else []
        return {t for m in active for t in (*m.sources, *(new.id for new in m.targets))}

    def litter(self) -> list[str]:
        """inv20: what a compaction should have removed by the end: log rows below the floor; of a
        tablet in a migration they rest."""
        found = []
        resting = self.resting()
        for node in self._world.shards:
            owned = node.here._owned if node.here is not None else None
            if owned is None or owned.floor() <= 0:
                continue
            for tablet in owned.closed.keys() - resting if resting else owned.closed:
                below = keycodec.log(tablet, 0), keycodec.log(tablet, owned.floor())
                found += [f"{node.name} {key!r}" for key, _ in node.engine.scan(*below, 1)]
        return found

    # -- the end -------------------------------------------------------------------------------

    def check_end(self) -> None:
        """inv13: reigns do not overlap, in revisions or in time."""
        highest, of = 0, 0
        for cepoch, (low, high) in sorted(self.issued.items()):
            if low <= highest:
                raise Violation("inv13", f"reign {cepoch} began at {low}, {of} went to {highest}")
            highest, of = high, cepoch
        newest, since = 0, 0
        for at_us, cepoch, name in sorted(self._served):
            if cepoch < newest and at_us > since + SLACK_US:
                raise Violation(
                    "inv13", f"{name} served in {cepoch} at {at_us}, {newest} had begun"
                )
            if cepoch > newest:
                newest, since = cepoch, at_us


@contextmanager
def spied(spies: Spies) -> Iterator[None]:
    """The ears, around whatever the functions are now (a breach, perhaps)."""
    may_serve, allocate, apply = Reign.may_serve, Sequencer.allocate, Member.apply

    def heard_serve(reign: Reign, now_ms: int) -> bool:
        passed = may_serve(reign, now_ms)
        if passed:
            spies.served(reign, now_ms)
        return passed

    def heard_allocate(sequencer: Sequencer, request: AllocRequest) -> AllocReply | None:
        reply = allocate(sequencer, request)
        if reply is not None:
            spies.allocated(sequencer.cepoch, request, reply)
        return reply

    def heard_apply(member: Member, index: int, command: bytes) -> bytes:
        answer = apply(member, index, command)
        spies.applied(member, index, command)
        return answer

    with ExitStack() as stack:
        stack.enter_context(mock.patch.object(Reign, "may_serve", heard_serve))
        stack.enter_context(mock.patch.object(Sequencer, "allocate", heard_allocate))
        stack.enter_context(mock.patch.object(Member, "apply", heard_apply))
        yield
