"""PySyncObj's traps, by their numbers in the design's table: each shown not to catch us.

What it is: whole members on the fake world. What it is not: SIGKILL and real files (traps 2 and 3),
which are in tests/e2e/test_raft_kill.py.
"""

from __future__ import annotations

import os
import pickle
import socket
import threading
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest

from kubebraid.base.limits import RAFT_OUTCOME_MS_MAX
from kubebraid.coordinator.raft import wire
from kubebraid.coordinator.raft.log import FAILED_ANSWER, RaftFailed
from kubebraid.coordinator.raft.node import RaftLog
from kubebraid.coordinator.raft.transport import LINK_KIND
from kubebraid.coordinator.raft.wire import Ack, Append, Header

from .kit import Cluster, first_link


def raft(cluster: Cluster, name: str) -> Any:
    """The parts of a running member."""
    parts = cluster.logs[name]._parts
    assert parts is not None
    return parts


def test_trap01_term_and_vote_survive_restart() -> None:
    """The design's recipe: with 0.3.14 two entries were acknowledged at one index.

    The leader is cut off, the other two commit X; the follower of these restarts and meets only the
    old leader, which must not commit Y with its help.
    """
    cluster = Cluster(3, seed=1)
    old = cluster.lead()
    assert cluster.submit(old, b"before") is not None
    cluster.isolate(old)
    new = cluster.lead([n for n in cluster.members if n != old])
    (third,) = set(cluster.members) - {old, new}
    assert cluster.submit(new, b"X") is not None
    term = raft(cluster, third).core.term
    cluster.kill(third)
    cluster.isolate(new)
    cluster.cut.discard(frozenset((old, third)))
    cluster.start(third)
    assert raft(cluster, third).core.term >= term
    assert raft(cluster, third).journal.getVotedForNodeId() is not None
    answers: list[bytes | None] = []
    cluster.logs[old].submit(b"Y", answers.append)
    cluster.run(6_000)
    cluster.heal()
    cluster.run(3_000)
    assert not cluster.breaches
    for name in cluster.members:
        assert cluster.barrier(name)
        rows = cluster.commands(name)
        assert rows[:2] == [b"before", b"X"]
        assert rows == cluster.commands(old)


def test_trap01_a_vote_is_durable_before_it_is_sent() -> None:
    cluster = Cluster(3)
    seen: list[tuple[str, int]] = []

    def spy(source: str, _: str, body: bytes) -> bytes:
        header, message = wire.decode(body)
        if isinstance(message, wire.Vote | wire.VoteAsk):
            seen.append((source, header.term))
            durable = b"".join(f.synced for f in cluster.disks[source]._names.values())
            # The record of a vote says the term as 8 bytes, then that there is one.
            assert header.term.to_bytes(8, "little") + b"\x01" in durable
        return body

    cluster.spy = spy
    cluster.lead()
    assert len(seen) >= 2, "a candidate and a voter"


def test_trap01_an_entry_is_durable_before_it_is_acknowledged() -> None:
    cluster = Cluster(3)
    leader = cluster.lead()
    seen: list[int] = []

    def spy(source: str, _: str, body: bytes) -> bytes:
        if isinstance(wire.decode(body)[1], Ack) and raft(cluster, source).journal.last_index >= 3:
            seen.append(1)
            assert b"precious" in b"".join(f.synced for f in cluster.disks[source]._names.values())
        return body

    cluster.spy = spy
    assert cluster.submit(leader, b"precious") is not None
    assert seen


def test_trap04_no_truncation_without_a_conflict_of_terms(caplog: pytest.LogCaptureFixture) -> None:
    """Hundreds of entries under way, on a network that reorders, with compactions between them."""
    cluster = Cluster(3, seed=4)
    leader = cluster.lead()
    cuts: list[int] = []
    for name in cluster.members:
        journal = raft(cluster, name).journal

        def spy(
            position: int,
            real: Callable[[int], None] = journal.deleteEntriesFrom,
            journal: Any = journal,
        ) -> None:
            if position < len(journal):
                cuts.append(position)
            real(position)

        journal.deleteEntriesFrom = spy
    cluster.shuffle = True
    cluster.repeat = 0.2
    core = raft(cluster, leader).core
    for number in range(400):
        envelope = b"\x01" + b"not one of ours %d" % number  # skipped alike by all
        core.replicate(envelope, lambda _: None)
        if number % 3 == 0:
            cluster.guard(leader, lambda log: log._guarded(core.tick))
        if number % 7 == 0:
            cluster.deliver(5)
        if number % 100 == 50:
            for log in cluster.logs.values():
                log.compact()
            cluster.step()
    cluster.run(3_000)
    assert not cluster.stopped
    assert cluster.barrier(leader)
    ends = {raft(cluster, name).journal.last_index for name in cluster.members}
    assert min(ends) > 400
    assert cuts == []
    assert "truncating already-applied" not in caplog.text
    assert "exceeds journal end" not in caplog.text


def test_trap04_a_repeated_older_message_moves_nothing_back() -> None:
    """What a follower acknowledges is what was compared, not where its log ends."""
    cluster = Cluster(3, seed=2)
    leader = cluster.lead()
    follower = next(n for n in cluster.members if n != leader)
    kept: list[bytes] = []

    def keep(source: str, target: str, body: bytes) -> bytes:
        message = wire.decode(body)[1]
        if target == follower and isinstance(message, Append) and message.entries:
            kept.append(body)
        return body

    cluster.spy = keep
    for number in range(5):
        cluster.submit(leader, b"%d" % number)
    acks: list[Ack] = []

    def hear(source: str, target: str, body: bytes) -> bytes:
        message = wire.decode(body)[1]
        if source == follower and isinstance(message, Ack):
            acks.append(message)
        return body

    cluster.spy = hear
    before = list(raft(cluster, follower).journal[:])
    oldest = wire.decode(kept[0])[1]
    assert isinstance(oldest, Append)
    cluster.logs[follower].received(first_link(cluster, leader, follower), LINK_KIND, kept[0])
    assert list(raft(cluster, follower).journal[:]) == before
    assert acks[0].success
    assert acks[0].next_index == oldest.entries[-1].index + 1


def test_trap04_entries_beyond_a_message_are_neither_committed_nor_acknowledged_by_it() -> None:
    """A deposed leader holds entries of its own; the new one's heartbeat ends before them."""
    cluster = Cluster(3, seed=8)
    old = cluster.lead()
    new = next(n for n in cluster.members if n != old)
    cluster.submit(old, b"common")
    cluster.barrier(new)
    cluster.isolate(old)
    core, journal, _, _ = raft(cluster, old)
    common, common_term = core.committed, journal[-1].term
    cluster.logs[old].submit(b"of the old leader alone", lambda _: None)
    cluster.turn()
    assert journal.last_index > common
    acks: list[Ack] = []

    def hear(source: str, target: str, body: bytes) -> bytes:
        message = wire.decode(body)[1]
        if source == old and isinstance(message, Ack):
            acks.append(message)
        return body

    cluster.spy = hear
    header = Header(raft_cluster(cluster, old), core.term + 1)
    beat = wire.encode(header, Append(common + 1, common, common_term, ()))
    cluster.logs[old].received(first_link_of(cluster, old, new), LINK_KIND, beat)
    assert core.committed == common, "the leader's entry there is another"
    assert acks == [Ack(common + 1, False, True)]
    assert journal.last_index > common, "nothing contradicts it yet"


def test_trap05_an_acknowledgement_of_an_older_leadership_is_dropped() -> None:
    cluster = Cluster(3, seed=5)
    leader = cluster.lead()
    others = [n for n in cluster.members if n != leader]
    cluster.submit(leader, b"one")
    cluster.isolate(leader)
    core, journal, _, _ = raft(cluster, leader)
    stale = Header(raft_cluster(cluster, leader), core.term - 1)
    for number in range(3):
        cluster.logs[leader].submit(b"%d" % number, lambda _: None)
        cluster.turn()
    committed = core.committed
    assert journal.last_index > committed
    for name in others:
        body = wire.encode(stale, Ack(journal.last_index + 1, False, True))
        link = first_link_of(cluster, leader, name)
        cluster.logs[leader].received(link, LINK_KIND, body)
    cluster.turn()
    assert core.committed == committed, "nobody holds it but the leader"
    assert cluster.logs[leader].transport.dropped["stale"] == 2
    good = Header(stale.cluster, core.term)
    link, end = first_link_of(cluster, leader, others[0]), journal.last_index
    cluster.logs[leader].received(link, LINK_KIND, wire.encode(good, Ack(end + 1, False, True)))
    cluster.turn()
    assert core.committed == end, "the same in this term counts"


def raft_cluster(cluster: Cluster, name: str) -> int:
    running = cluster.logs[name].transport._running
    assert running is not None
    return running.cluster


def first_link_of(cluster: Cluster, name: str, peer: str) -> Any:
    """A new link between two that are cut off: for messages that were under way."""
    cluster.cut.clear()
    cluster.join(name, peer)
    return cluster.links[name, peer]


def test_trap06_an_exception_in_apply_is_one_answer_everywhere() -> None:
    cluster = Cluster(3)
    leader = cluster.lead()
    assert cluster.submit(leader, b"raise") == FAILED_ANSWER
    assert cluster.submit(leader, b"next") == b"1:next"
    for name in cluster.members:
        assert cluster.barrier(name)
        assert cluster.commands(name) == [b"next"]
    assert not cluster.breaches


def test_trap07_an_exception_in_a_callback_applies_nothing_twice() -> None:
    cluster = Cluster(3)
    leader = cluster.lead()
    calls: list[bytes | None] = []

    def fail(answer: bytes | None) -> None:
        calls.append(answer)
        raise ZeroDivisionError("of the user")

    cluster.logs[leader].submit(b"once", fail)
    with pytest.raises(ZeroDivisionError):
        cluster.run(2_000)
    cluster.run(2_000)
    assert calls == [b"1:once"]
    for name in cluster.members:
        assert cluster.barrier(name)
        assert cluster.commands(name) == [b"once"]


def test_trap08_a_submission_without_a_quorum_ends_unknown_in_time() -> None:
    cluster = Cluster(3)
    leader = cluster.lead()
    cluster.isolate(leader)
    answers: list[bytes | None] = []
    passed: list[bool] = []
    asked = cluster.clock.now
    cluster.logs[leader].submit(b"x", answers.append)
    cluster.logs[leader].barrier(passed.append)
    cluster.run(RAFT_OUTCOME_MS_MAX + 100, lambda: bool(answers and passed))
    assert answers == [None]
    assert passed == [False]
    assert cluster.clock.now - asked <= RAFT_OUTCOME_MS_MAX + 20


def test_trap08_a_command_whose_leader_dies_is_sent_again_and_applied_once() -> None:
    """It was committed and its outcome lost: the second copy must find the first."""
    cluster = Cluster(3, seed=3)
    leader = cluster.lead()
    asker = next(n for n in cluster.members if n != leader)
    answers: list[bytes | None] = []

    def deaf(source: str, target: str, body: bytes) -> bytes | None:
        # The asker hears nothing, while its command is committed by the other two.
        return None if target == asker else body

    cluster.spy = deaf
    cluster.logs[asker].submit(b"once", answers.append)
    cluster.run(100)
    assert cluster.commands(leader) == [b"once"]
    cluster.spy = None
    cluster.kill(leader)
    assert cluster.run(4_000, lambda: bool(answers))
    assert answers == [b"1:once"]
    cluster.start(leader)
    for name in cluster.members:
        assert cluster.barrier(name)
        assert cluster.commands(name) == [b"once"]


def test_trap08_a_snapshot_that_covers_the_command_answers_it() -> None:
    """PySyncObj calls nobody back for entries that arrive in a snapshot."""
    cluster = Cluster(3, seed=6)
    leader = cluster.lead()
    asker, other = (n for n in cluster.members if n != leader)
    answers: list[bytes | None] = []
    cluster.spy = lambda source, target, body: None if target == asker else body
    cluster.logs[asker].submit(b"covered", answers.append)
    cluster.run(100)
    for number in range(3):
        cluster.submit(leader, b"%d" % number)
    for name in (leader, other):
        cluster.logs[name].compact()
    cluster.run(250)
    assert raft(cluster, leader).journal.first_index > 3
    installs: list[int] = []

    def count(source: str, target: str, body: bytes) -> bytes:
        installs.extend([1] * isinstance(wire.decode(body)[1], wire.Install))
        return body

    cluster.spy = count
    assert cluster.run(2_500, lambda: bool(answers))
    assert installs
    assert answers == [b"1:covered"]


class Bomb:
    """Its unpickling is seen."""

    fired: list[int] = []  # noqa: RUF012 (one for all: a pickle finds it by the class)

    def __reduce__(self) -> tuple[Any, ...]:
        return _fire, ()


def _fire() -> None:
    Bomb.fired.append(1)


def bombs() -> list[bytes]:
    """A pickle in the place of every command, image and body, as each kind of command."""
    said = pickle.dumps(Bomb())
    made: list[bytes] = [said]
    for kind in range(12):
        for command in range(5):
            for lead in (b"", b"\0" * 8, b"\1" + b"\0" * 7, b"\2" + b"\0" * 40):
                made += [lead + bytes([command]) + said]
        made += [bytes([1, kind]) + b"\0" * 16 + body for body in list(made)[-20:]]
    return made


def test_trap11_a_pickle_in_any_message_has_no_effect() -> None:
    pickle.loads(pickle.dumps(Bomb()))
    assert Bomb.fired == [1], "the bomb is one"
    Bomb.fired.clear()
    cluster = Cluster(3)
    leader = cluster.lead()
    header = Header(raft_cluster(cluster, leader), raft(cluster, leader).core.term)
    head = bytes([1, 0]) + header.cluster.to_bytes(8, "little") + header.term.to_bytes(8, "little")
    for target in cluster.members:
        source = next(n for n in cluster.members if n != target)
        link = first_link(cluster, source, target)
        for body in bombs():
            for kind in range(11):
                forged = head[:1] + bytes([kind]) + head[2:] + body
                for packet in (body, forged):
                    heard = partial(RaftLog.received, link=link, kind=LINK_KIND, body=packet)
                    cluster.guard(target, heard)
        cluster.run(50)
    assert Bomb.fired == []
    assert not cluster.stopped, "nor does it stop a member"
    cluster.run(3_000)
    assert cluster.submit(cluster.lead(), b"alive") is not None
    assert not cluster.breaches


def test_trap11_command_kinds_that_pysyncobj_unpickles_are_refused() -> None:
    for kind in (2, 3, 255):
        command = bytes([kind]) + pickle.dumps(Bomb())
        body = wire.encode(Header(1, 1), wire.Forward(1, b"\0x"))[:-2] + command
        with pytest.raises(wire.WireError):
            wire.decode(body)


def test_trap14_no_fork_no_thread_no_socket_no_pipe(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("a member of the log wanted one")

    for where, name in ((os, "fork"), (os, "pipe"), (socket, "socket"), (threading, "Thread")):
        monkeypatch.setattr(where, name, refuse)
    cluster = Cluster(3)
    leader = cluster.lead()
    for number in range(3):
        assert cluster.submit(leader, b"%d" % number) is not None
    for log in cluster.logs.values():
        log.compact()
    cluster.run(250)
    assert all("snapshot" in disk.names() for disk in cluster.disks.values())


def test_a_member_whose_disk_fails_stops_and_stays_stopped() -> None:
    cluster = Cluster(3)
    leader = cluster.lead()
    log: RaftLog = cluster.logs[leader]
    cluster.disks[leader].fail_sync = "journal-"
    log.submit(b"x", lambda _: None)
    with pytest.raises(RaftFailed, match="cannot be written"):
        log.turn()
    with pytest.raises(RaftFailed):
        log.turn()
    with pytest.raises(RaftFailed):
        log.submit(b"y", lambda _: None)
