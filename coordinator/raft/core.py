"""PySyncObj, with all that it takes from its surroundings replaced. Only this file imports it.

What it is: one SyncObj, driven by hand, and the hooks that give it our journal, snapshots, clock
and chance. What it is not: the queue of commands or the network (`node.py`, `transport.py`).

The hooks are names of the module `pysyncobj.syncobj`, so they are set once for the process; each
looks up the *seams* of the core that is running on this thread (`_running`), which every entry
point below sets. So several members live in one process, each with its own disk and clock.

Invariants (of version 0.3.17, which is pinned for them; test_core checks each hook):
- nothing is pickled or unpickled: entries are bytes of ours, applied by `_apply` in place of
  PySyncObj's own, and its pickle module is replaced by one that refuses;
- no socket, thread, fork, pipe or poll; no clock and no chance but the seams';
- what is called from inside PySyncObj (`applied`, `sink`, a `refused`) only notes things down.

Worked example: three Cores a, b, c with sinks that append to a list: tick each while the clocks
advance, hand each message in the list to `deliver` of its receiver, and one of them leads.

Tested in tests/unit/coordinator/raft/test_core.py.
"""

from __future__ import annotations

import logging
import threading
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Final, NamedTuple

import pysyncobj.syncobj as upstream
from pysyncobj.config import FAIL_REASON, SyncObjConf
from pysyncobj.node import Node
from pysyncobj.transport import Transport

from kubebraid.base.limits import (
    RAFT_APPEND_BYTES_MAX,
    RAFT_COMPACT_ENTRIES,
    RAFT_COMPACT_MS,
    RAFT_ELECTION_MS_MAX,
    RAFT_ELECTION_MS_MIN,
    RAFT_FALLBACK_MS,
    RAFT_HEARTBEAT_MS,
    RAFT_QUEUE_MAX,
    RAFT_TICK_MS,
)
from kubebraid.base.seams import Clock

from .chance import Chance
from .journal import Journal
from .snapshot import Snapshots
from .wire import REGULAR

VERSION: Final = "0.3.17"
SUCCESS: Final = int(FAIL_REASON.SUCCESS)


class Seams(NamedTuple):
    """What a core's PySyncObj finds in place of the world."""

    journal: Journal
    snapshots: Snapshots
    clock: Clock
    chance: Chance


class Ears(NamedTuple):
    """Whom a core calls. None of them may call back or raise, but to stop this member."""

    sink: Callable[[str, dict[str, Any]], None]
    """(member, message): to be sent."""
    applied: Callable[[int, bytes], None]
    """(index, envelope): committed."""


_thread = threading.local()


def _running() -> Seams:
    seams = getattr(_thread, "seams", None)
    assert isinstance(seams, Seams), "PySyncObj ran outside of a Core"
    return seams


@contextmanager
def _inside(seams: Seams) -> Iterator[None]:
    before = getattr(_thread, "seams", None)
    _thread.seams = seams
    try:
        yield
    finally:
        _thread.seams = before


class _Chance:
    """In place of the module `random`."""

    @staticmethod
    def random() -> float:
        return _running().chance.fraction()


class _Pickle:
    """In place of the module `pickle`."""

    @staticmethod
    def _refuse(*_: object) -> object:
        raise AssertionError("PySyncObj wanted to pickle: nothing here may")

    dumps = loads = dump = load = to_bytes = _refuse


class _Poller:
    """In place of select: there is no descriptor to wait for."""

    def poll(self, _: float) -> None:
        """Nothing."""


def _install_hooks() -> None:
    """Once a process. A hook that is no longer there must not be missed silently."""
    hooks: dict[str, Any] = {
        "createJournal": lambda _: _running().journal,
        "Serializer": lambda *_: _running().snapshots,
        "monotonicTime": lambda: _running().clock.now_ms() / 1000,
        "random": _Chance,
        "pickle": _Pickle,
        "createPoller": lambda _: _Poller(),
        "PIPE_NOTIFIER_ENABLED": False,
        "logger": logging.getLogger("kubebraid.raft"),
    }
    assert upstream.VERSION == VERSION, f"these hooks are for {VERSION}, not {upstream.VERSION}"
    for name, hook in hooks.items():
        assert hasattr(upstream, name), f"PySyncObj {upstream.VERSION} has no {name}"
        setattr(upstream, name, hook)


_install_hooks()


class _Member(Node):  # type: ignore[misc]  # PySyncObj has no types
    """A peer by its name, hashed alike in every process: sets of them keep their order."""

    def __hash__(self) -> int:
        return zlib.crc32(str(self.id).encode())

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Member) and bool(self.id == other.id)


class _Bridge(Transport):  # type: ignore[misc]  # PySyncObj has no types
    """PySyncObj's end of the transport; always ready, because links come and go without it."""

    ready = True

    def __init__(self, sink: Callable[[str, dict[str, Any]], None]) -> None:
        super().__init__(None, None, [])
        self._sink = sink

    def send(self, node: Node, message: dict[str, Any]) -> bool:
        self._sink(node.id, message)
        return True

    def destroy(self) -> None:
        """Links are their owner's."""

    def hand_in(self, node: Node, message: dict[str, Any]) -> None:
        self._onMessageReceived(node, message)

    def note_link(self, node: Node, up: bool) -> None:
        (self._onNodeConnected if up else self._onNodeDisconnected)(node)


class _Raft(upstream.SyncObj):  # type: ignore[misc]  # PySyncObj has no types
    """SyncObj whose commands are bytes. It hides its parts by Python's name mangling."""

    def _SyncObj__doApplyCommand(self, command: bytes) -> None:  # noqa: N802 (the mangled name)
        if command[0] == REGULAR:
            self.heard_applied(self.raftLastApplied + 1, command[1:])

    def load_snapshot(self) -> None:
        self._SyncObj__loadDumpFile(clearJournal=False)

    def next_due_s(self) -> float:
        """When the next heartbeat or election is."""
        if self._isLeader():
            return float(self._SyncObj__newAppendEntriesTime)
        return float(self._SyncObj__raftElectionDeadline)


def _conf() -> SyncObjConf:
    return SyncObjConf(
        autoTick=False,
        raftMinTimeout=RAFT_ELECTION_MS_MIN / 1000,
        raftMaxTimeout=RAFT_ELECTION_MS_MAX / 1000,
        appendEntriesPeriod=RAFT_HEARTBEAT_MS / 1000,
        leaderFallbackTimeout=RAFT_FALLBACK_MS / 1000,
        appendEntriesUseBatch=False,
        appendEntriesBatchSizeBytes=RAFT_APPEND_BYTES_MAX,
        commandsQueueSize=RAFT_QUEUE_MAX,
        commandsWaitLeader=False,
        dynamicMembershipChange=False,
        logCompactionMinEntries=RAFT_COMPACT_ENTRIES,
        logCompactionMinTime=RAFT_COMPACT_MS / 1000,
        useFork=False,
        journalFile=None,
        fullDumpFile=None,
    )


class Core:
    """One member's Raft. Journal and snapshot are aligned (Journal.align) before it is made."""

    def __init__(self, name: str, members: Sequence[str], seams: Seams, ears: Ears) -> None:
        assert name in members
        self.name = name
        self._seams = seams
        self._peers = {other: _Member(other) for other in members if other != name}
        self._bridge = _Bridge(ears.sink)
        with _inside(seams):
            self._raft = _Raft(
                _Member(name), list(self._peers.values()), _conf(), transport=self._bridge
            )
            self._raft.heard_applied = ears.applied
            if seams.snapshots.image() is not None:
                self._raft.load_snapshot()

    def tick(self) -> None:
        """Elections, heartbeats, commits: whatever is due."""
        with _inside(self._seams):
            self._raft.doTick(0)

    def next_tick_ms(self) -> int:
        """When to tick although nothing happened: by then the next deadline has passed."""
        now = self._seams.clock.now_ms()
        due = int(self._raft.next_due_s() * 1000) + 1
        # An election that is due and cannot be held (no link is up) must not keep us awake.
        return max(now + RAFT_TICK_MS, min(due, now + RAFT_HEARTBEAT_MS))

    def deliver(self, peer: str, message: dict[str, Any]) -> None:
        """A message from `peer`, in PySyncObj's own form."""
        with _inside(self._seams):
            self._bridge.hand_in(self._peers[peer], message)

    def note_link(self, peer: str, up: bool) -> None:
        with _inside(self._seams):
            self._bridge.note_link(self._peers[peer], up)

    def replicate(self, envelope: bytes, refused: Callable[[int], None]) -> None:
        """Append it, or forward it to the leader, at the next tick.

        `refused(reason)`: this attempt may have failed. Silence says nothing.
        """
        with _inside(self._seams):
            self._raft._applyCommand(
                bytes([REGULAR]) + envelope,
                lambda _, reason: None if reason == SUCCESS else refused(int(reason)),
            )

    def compact(self) -> None:
        """Make a snapshot at the next tick and drop what it covers."""
        self._raft.forceLogCompaction()

    @property
    def term(self) -> int:
        return int(self._raft.raftCurrentTerm)

    @property
    def applied(self) -> int:
        return int(self._raft.raftLastApplied)

    @property
    def committed(self) -> int:
        return max(int(self._raft.raftCommitIndex), self.applied)

    @property
    def leads(self) -> bool:
        """A hint: others may think so of themselves."""
        return bool(self._raft._isLeader())

    @property
    def leader(self) -> str | None:
        """A hint, as old as the last heartbeat."""
        leader = self._raft._getLeader()
        return None if leader is None else str(leader.id)

    def close(self) -> None:
        with _inside(self._seams):
            self._raft.destroy()
