"""A member of the replicated log: its directory, its Raft, its lane, turned by the process's loop.

What it is: `ReplicatedLog` on PySyncObj. What it is not: Raft (`core`), the network (`transport`),
or a judge of commands (the Machine).

Words: a *waiting* member has a directory without an identity: it neither votes nor campaigns, asks
its peers for a refill, and runs when it has one.

Invariants:
- users' callbacks run in `turn` and `close`, with no PySyncObj on the stack (row 7);
- an exception from below ends this member: it and every later call raise RaftFailed;
- the sessions say what became of a submission, also after a snapshot, which calls nobody (row 8).

Worked example: the first start of three: RaftLog(Config("a", ("a", "b", "c"), "prod"), ...) on
each, links opened to `transport`, turns; a second later one of them leads.

Tested in tests/unit/coordinator/raft/test_node.py, tests/property/test_raft.py.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import NamedTuple

from kubebraid.base.limits import RAFT_REFILL_ASK_MS
from kubebraid.base.links import Link
from kubebraid.base.seams import Clock

from . import identity, snapshot, wire
from .chance import Chance
from .core import Core, Ears, Seams
from .disk import Disk
from .identity import Identity
from .journal import Journal
from .journal_codec import Entry
from .lane import Lane
from .log import JournalDamaged, Machine, QueueFull, RaftFailed, Standing
from .replica import Replica
from .snapshot import Snapshots
from .transport import Running, Transport

logger = logging.getLogger("kubebraid.raft")


class Config(NamedTuple):
    """`bootstrap`: the cluster's token, on the very first start of each member only.

    A directory that has an identity is started from it, with or without `bootstrap`. Giving it to a
    member that lost its directory makes a voter that forgot its votes: never do.
    """

    name: str
    members: tuple[str, ...]
    bootstrap: str | None = None


class World(NamedTuple):
    """What a member lives on."""

    disk: Disk
    clock: Clock
    chance: Chance


class _Parts(NamedTuple):
    """Of a member that runs."""

    core: Core
    journal: Journal
    replica: Replica
    snapshots: Snapshots


class RaftLog:
    """Implements ReplicatedLog, and LinkUser for the links between coordinators."""

    def __init__(self, config: Config, machine: Machine, world: World) -> None:
        """Raises IdentityRefused, JournalDamaged, OSError."""
        self._config = config
        self._machine = machine
        self._world = world
        self._failure: BaseException | None = None
        self._parts: _Parts | None = None
        self._lane = Lane(config.name, world.chance.token())
        self._tick_at_ms = self._ask_at_ms = world.clock.now_ms()
        self._asks = 0
        self._token = world.chance.token()
        self._refilling: set[str] = set()
        self._touched = False
        self.transport = Transport(
            config.name, config.members, self._give_refill, self._take_refill
        )
        found = identity.load(world.disk, config.name, config.members)
        if found is None and config.bootstrap is not None:
            found = identity.bootstrap(world.disk, config.bootstrap, config.name, config.members)
        if found is None:
            logger.warning("%s has no identity: waiting for a refill", config.name)
        else:
            self._run(found)

    # -- ReplicatedLog --

    def submit(self, command: bytes, done: Callable[[bytes | None], None]) -> None:
        """Raises QueueFull, RaftFailed."""
        self._check()
        self._lane.submit(command, done, self._world.clock.now_ms())

    def barrier(self, done: Callable[[bool], None]) -> None:
        """Raises QueueFull, RaftFailed."""
        self._check()
        self._lane.barrier(lambda answer: done(answer is not None), self._world.clock.now_ms())

    def leader_name(self) -> str | None:
        return None if self._parts is None else self._parts.core.leader

    def standing(self) -> Standing:
        """Where this member is, for operators."""
        if self._parts is None:
            return Standing(True, "", 0, 0)
        core = self._parts.core
        return Standing(False, core.leader or "", core.term, core.applied)

    def turn(self) -> bool:
        """Raises RaftFailed."""
        self._check()
        now = self._world.clock.now_ms()
        self._lane.expire(now)
        if self._parts is None:
            self._touched = False
            self._ask_refill(now)
        else:
            self._drive(self._parts.core, now)
        ended = self._lane.ended
        while ended:
            ended.popleft()()
        return self._touched or (self.leader_name() is not None and self._lane.can_send(now))

    def next_deadline_ms(self) -> int | None:
        own = self._ask_at_ms if self._parts is None else self._tick_at_ms
        of_lane = self._lane.next_deadline_ms(self.leader_name() is not None)
        return own if of_lane is None else min(own, of_lane)

    def close(self) -> None:
        self._lane.close()
        while self._lane.ended:
            self._lane.ended.popleft()()
        if self._parts is not None:
            self._parts.core.close()
            self._parts = None
        self._failure = self._failure or RaftFailed("closed")

    def compact(self) -> None:
        """Snapshot now, and drop the log before it."""
        if self._parts is not None:
            self._parts.core.compact()
            self._touched = True

    # -- LinkUser --

    def opened(self, link: Link) -> None:
        self.transport.opened(link)

    def received(self, link: Link, kind: int, body: bytes) -> None:
        """Raises RaftFailed."""
        self._check()
        self._touched = True
        self._guarded(lambda: self.transport.received(link, kind, body))

    def closed(self, link: Link) -> None:
        self.transport.closed(link)

    # -- driving --

    def _drive(self, core: Core, now: int) -> None:
        """Submit what is due, and tick if anything calls for it."""
        due = None if core.leader is None else self._lane.due(now)
        if due is not None:
            core.replicate(due, lambda _: self._lane.refused(self._world.clock.now_ms()))
        if due is None and not self._touched and now < self._tick_at_ms:
            return
        self._guarded(core.tick)
        self._tick_at_ms = core.next_tick_ms()
        # What a tick appends, only the next one can commit, if no follower has a say in it.
        self._touched = due is not None

    def _guarded(self, work: Callable[[], None]) -> None:
        """Run what may change the log, and look at what it did; an exception ends this member."""
        try:
            work()
        except Exception as error:  # noqa: BLE001 (kept, and raised by _check below)
            self._failure = self._failure or error
        if self._parts is not None:
            journal, replica = self._parts.journal, self._parts.replica
            self._failure = self._failure or journal.file.failed or replica.failed
            known = replica.last(self._config.name)
            if known is not None:
                self._lane.look(known)
        self._check()

    def _check(self) -> None:
        if isinstance(self._failure, RaftFailed):
            raise self._failure
        if self._failure is not None:
            raise RaftFailed(f"stopped: {self._failure!r}") from self._failure

    # -- starting --

    def _run(self, found: Identity) -> None:
        disk, clock, chance = self._world
        journal = Journal.load(disk, found.cluster, found.name)
        replica = Replica(found.cluster, self._machine)
        snapshots = Snapshots(disk, clock, replica.image, replica.take)
        image = snapshots.image()
        if image is not None:
            if image.cluster != found.cluster:
                raise JournalDamaged(f"a snapshot of cluster {image.cluster:x}")
            journal.align(image.previous, image.last)
        elif len(journal) == 0 or journal.first_index != 1:
            raise JournalDamaged("the journal's beginning is in a snapshot that is not there")
        ears = Ears(self.transport.send, replica.applied)
        core = Core(found.name, found.members, Seams(journal, snapshots, clock, chance), ears)
        if image is not None and core.applied < image.last.index:
            raise JournalDamaged(f"the snapshot's state: {replica.failed}") from replica.failed
        self._parts = _Parts(core, journal, replica, snapshots)
        self.transport.run(Running(core, journal, found.cluster))

    # -- refills --

    def _ask_refill(self, now: int) -> None:
        if now >= self._ask_at_ms:
            self._ask_at_ms = now + RAFT_REFILL_ASK_MS
            self._asks += 1
            self.transport.ask_refill(self._token, self._asks)

    def _take_refill(self, message: wire.Refill) -> None:
        """The answer to our question, and to no earlier one."""
        try:
            refill = identity.decode_refill(message.image)
            snapshot.decode(refill.image)
        except JournalDamaged:
            logger.exception("a refill is not readable")
            return
        if refill.token != self._token:
            self.transport.dropped["refill"] += 1
            return
        name, members, _ = self._config
        self._run(identity.install_refill(self._world.disk, refill, name, members))
        logger.warning("%s was refilled by %s", name, refill.giver)

    def _give_refill(self, peer: str, token: int) -> None:
        """After a barrier that began after the question; one at a time for a peer."""
        if peer in self._refilling:
            return
        try:
            self.barrier(lambda passed: self._send_refill(peer, token, passed))
        except QueueFull:
            return  # it asks again
        self._refilling.add(peer)

    def _send_refill(self, peer: str, token: int, passed: bool) -> None:
        self._refilling.discard(peer)
        if not passed or self._parts is None:
            return
        core, journal, _, snapshots = self._parts
        at = core.applied - journal.first_index
        previous, last = journal[at - 1], journal[at]
        assert isinstance(previous, Entry)
        assert isinstance(last, Entry)
        image = snapshots.fresh(previous, last)
        refill = identity.Refill(token, core.term, self._config.name, image)
        self.transport.send_refill(peer, wire.Refill(token, identity.encode_refill(refill)))
