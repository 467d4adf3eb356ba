"""Shards that start: who is let in, whose adoption is confirmed, who is refused.

What it is: what shards' processes ask of the member that serves, until the state says it. What it
is not: the rule (`transition.py`), or who serves (`member.py`).

Words: a *start* is a shard's process that wants its tablets; an *adoption* is what its store says
of the process that took it last, and how many marks that one has made since.

Invariants:
- M2: the tablets of a start are frozen from the choice of H until a map names it; they thaw only if
  it was refused and no command with an H of this reign is left that could still be applied;
- a store that is not admitted by the state here is refused only behind a barrier: the shard may
  have heard of its adoption from a member that is ahead;
- nothing is frozen for a store that is not admitted: the one that it is a copy of may be serving;
- nor for one whose rows are elsewhere than those of the shards that have been started.

Worked example: s0 was confirmed as incarnation 8. A process comes with a store that says 7: one
barrier later it is told that it has an older copy. Incarnation 8 has noticed nothing.

Tested in tests/unit/coordinator/test_starts.py.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import NamedTuple, TypeAlias

from kubebraid.base import errors
from kubebraid.base.errors import RequestRefused
from kubebraid.base.limits import SHARDS_MAX
from kubebraid.base.ports import Adoption, ShardPlace, ShardStart

from .machine import StateMachine
from .sequencer import Sequencer
from .state import State, admits, alike
from .transition import Adopted, StartShard, apply

Refuse: TypeAlias = Callable[[RequestRefused], None]


class _Asked(NamedTuple):
    start: ShardStart
    refuse: Refuse


class Starts:
    """What shards have asked of one member in its present reign."""

    def __init__(self, machine: StateMachine) -> None:
        self._machine = machine
        self._asked: dict[str, _Asked] = {}
        self._running: set[str] = set()  # shards with a command or a barrier on its way
        self._loose: set[str] = set()  # shards with a StartShard that may still be applied
        self._adoptions: dict[str, Adoption] = {}
        self._confirming: set[str] = set()

    def start(self, start: ShardStart, refuse: Refuse) -> None:
        """Give a shard's process its tablets: the map says it when it is done. Repeated, it does
        nothing more. `refuse`: told what is for the operator, and final."""
        state = self._machine.state
        if not state.cluster:
            return
        known = state.shard(start.shard)
        if known is None and len(state.shards) >= SHARDS_MAX and not _expected(state, start.shard):
            said = f"there are {len(state.shards)} shards, and {SHARDS_MAX} are the most"
            refuse(errors.unimplemented(said))
        elif strange := _strange(state, start):
            refuse(errors.unimplemented(strange))
        elif known is None or known.incarnation != start.incarnation:
            self._asked[start.shard] = _Asked(start, refuse)

    def adopted(self, shard: str, adoption: Adoption) -> None:
        """The shard's store says so, durably: the state says it when it is confirmed. Of a process
        that was replaced it does nothing."""
        self._adoptions[shard] = adoption

    def clear(self) -> None:
        """The reign is over: whoever waits asks the next one."""
        self._asked.clear()
        self._adoptions.clear()
        self._loose.clear()

    def turn(self, sequencer: Sequencer) -> None:
        """Freeze, which fixes H, and ask the log for a map that names the new process; have the log
        say which adoptions are durable."""
        for shard, asked in list(self._asked.items()):
            start, state = asked.start, self._machine.state
            known = state.shard(shard)
            done = known is not None and known.incarnation == start.incarnation
            if done or _strange(state, start):
                del self._asked[shard]  # named, or another came first: it asks again, in vain
            elif shard in self._running:
                pass
            elif admits(known, start.previous):
                self._let_in(sequencer, start, known)
            else:
                self._doubt(sequencer, asked)
        for shard, adoption in list(self._adoptions.items()):
            self._confirm(Adopted(shard, adoption))

    def _let_in(self, sequencer: Sequencer, start: ShardStart, known: ShardPlace | None) -> None:
        def answered(answer: bytes | None) -> None:
            """Whatever it was: the state tells whether it has to be tried again."""
            self._running.discard(start.shard)
            if answer is None:
                self._loose.add(start.shard)

        self._running.add(start.shard)
        ends = sequencer.freeze(start.shard, self._machine.state.tablets)
        replaces = 0 if known is None else known.since
        who = (start.shard, start.store, start.incarnation, start.address)
        later = (ends, replaces, start.previous, start.host)
        command = StartShard(sequencer.cepoch, *who, *later, rows=start.rows)
        self._machine.submit(command, answered)

    def _doubt(self, sequencer: Sequencer, asked: _Asked) -> None:
        """Refuse it, unless what its store says has just not been applied here."""
        start = asked.start

        def passed(caught_up: bool) -> None:
            self._running.discard(start.shard)
            known = self._machine.state.shard(start.shard)
            waits = self._asked.get(start.shard) is asked
            if caught_up and waits and not admits(known, start.previous):
                del self._asked[start.shard]
                if start.shard not in self._loose:
                    sequencer.thaw(start.shard, self._machine.state.tablets)
                asked.refuse(errors.unimplemented(_older(start, known)))

        self._running.add(start.shard)
        self._machine.barrier(passed)

    def _confirm(self, command: Adopted) -> None:
        shard = command.shard
        if shard in self._confirming:
            return
        if apply(self._machine.state, command) is self._machine.state:
            del self._adoptions[shard]  # said, or not this process's to say; it asks again
            return
        self._confirming.add(shard)
        self._machine.submit(command, partial(_ended, self._confirming, shard))


def _expected(state: State, shard: str) -> bool:
    """Whether it has tablets from the beginning; any other begins with none, to be given some."""
    return any(tablet.shard == shard for tablet in state.tablets.tablets)


def _ended(running: set[str], shard: str, _answer: bytes | None) -> None:
    """Whatever was answered: the state tells whether it has to be tried again."""
    running.discard(shard)


def _strange(state: State, start: ShardStart) -> str:
    """What an operator is told of a process that this shard's cannot be; empty: it may be."""
    known = state.shard(start.shard)
    if not alike(state, start.rows):
        return _elsewhere(start, known)
    if known is not None and known.store != start.store:
        return (
            f"{start.shard} is the shard of store {known.store}, not of {start.store}: start "
            "it with the data directory it had, or begin another shard under another name"
        )
    if known is not None and not known.seats(start.host):
        return f"{start.shard} is served by the host {known.host} from now on"
    return ""


def _elsewhere(start: ShardStart, known: ShardPlace | None) -> str:
    """What an operator is told of a shard among whose rows those of the others are not."""
    than, whose = ("the other shards", "their") if known is None else ("before", "its former")
    return (
        f"{start.shard} keeps its rows in another place than {than} (all shards have one row space "
        "on TiKV, or each has its own disk). Nothing was changed. Start it with "
        f"{whose} --engine, --pd and --tikv-store"
    )


def _older(start: ShardStart, known: ShardPlace | None) -> str:
    """What an operator is told of a store that may lack what was acknowledged."""
    if known is None:
        return (
            f"the data directory of {start.shard} was in use, and the coordinators have no record "
            f"of that. Nothing was changed. If {start.shard} was removed, start it with an empty "
            "directory; otherwise give the coordinators their data back"
        )
    return (
        f"the data directory of {start.shard} is an older copy: it was last taken by "
        f"{_named(start.previous)}, and writes were acknowledged behind {_named(known.confirmed)}. "
        "Nothing was changed. Put the newest directory back: with this one acknowledged writes "
        "would be lost"
    )


def _named(adoption: Adoption) -> str:
    return f"incarnation {adoption.incarnation:x} (mark {adoption.marks})"
