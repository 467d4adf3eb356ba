"""PySyncObj's hooks: each is there, each is used, and members do not see each other's."""

from __future__ import annotations

import pickle
import threading
from typing import Any

import pysyncobj.syncobj as upstream
import pytest
from pysyncobj.config import SERIALIZER_STATE
from pysyncobj.journal import Journal as TheirJournal
from pysyncobj.serializer import Serializer

from kubebraid.coordinator.raft import core, snapshot
from kubebraid.coordinator.raft.chance import SystemChance
from kubebraid.coordinator.raft.journal import Journal
from kubebraid.coordinator.raft.snapshot import Snapshots

from .kit import Cluster


def test_the_version_is_the_one_that_the_hooks_are_for() -> None:
    assert upstream.VERSION == core.VERSION


def test_our_journal_and_snapshots_offer_all_that_theirs_do() -> None:
    def calls(kind: type) -> set[str]:
        return {n for n in vars(kind) if not n.startswith("_") or n == "_destroy"}

    assert calls(TheirJournal) <= set(dir(Journal))
    assert calls(Serializer) <= set(dir(Snapshots))
    ours = (snapshot.IDLE, snapshot.BUSY, snapshot.DONE, snapshot.FAILED)
    theirs = SERIALIZER_STATE
    assert ours == (
        theirs.NOT_SERIALIZING,
        theirs.SERIALIZING,
        theirs.SUCCESS,
        theirs.FAILED,
    )


def test_our_apply_stands_in_place_of_the_one_that_unpickles() -> None:
    mangled = "_SyncObj__doApplyCommand"
    assert callable(getattr(upstream.SyncObj, mangled))
    assert vars(core._Raft)[mangled] is not getattr(upstream.SyncObj, mangled)
    assert callable(upstream.SyncObj._SyncObj__loadDumpFile)
    parts = Cluster(1).logs["a"]._parts
    assert parts is not None
    for name in ("newAppendEntriesTime", "raftElectionDeadline"):
        assert f"_SyncObj__{name}" in vars(parts.core._raft)


def test_pysyncobj_can_not_pickle() -> None:
    with pytest.raises(AssertionError, match="pickle"):
        upstream.pickle.loads(pickle.dumps(1))
    with pytest.raises(AssertionError, match="pickle"):
        upstream.pickle.dumps(1)


def test_pysyncobj_runs_only_inside_a_core() -> None:
    with pytest.raises(AssertionError, match="outside"):
        upstream.monotonicTime()
    with pytest.raises(AssertionError, match="outside"):
        upstream.random.random()


def test_members_with_clocks_of_their_own_in_one_process_and_on_another_thread() -> None:
    """The hooks are of the module, the seams of the member that runs."""
    clusters = [Cluster(3, seed=n) for n in range(2)]
    leaders: list[str] = []

    def drive() -> None:
        leaders.append(clusters[1].lead())

    thread = threading.Thread(target=drive)
    thread.start()
    leader = clusters[0].lead()
    assert clusters[0].submit(leader, b"x") == b"1:x"
    thread.join(30)
    assert len(leaders) == 1
    assert clusters[1].submit(leaders[0], b"y") == b"1:y"


def test_a_seed_replays_a_run() -> None:
    def run() -> list[tuple[str, str, bytes]]:
        cluster = Cluster(3, seed=11)
        seen: list[tuple[str, str, bytes]] = []

        def spy(source: str, target: str, body: bytes) -> bytes:
            seen.append((source, target, body))
            return body

        cluster.spy = spy
        cluster.loss = 0.1
        cluster.run(3_000)
        return seen

    first = run()
    assert len(first) > 50
    assert run() == first


def test_one_leader_a_term() -> None:
    """Over many elections; votes that are repeated by the network count once."""
    for seed in range(20):
        cluster = Cluster(5, seed=seed)
        cluster.repeat = 0.5
        cluster.loss = 0.3
        by_term: dict[int, set[str]] = {}
        for _ in range(60):
            cluster.run(50)
            for name in cluster.leaders():
                parts: Any = cluster.logs[name]._parts
                by_term.setdefault(parts.core.term, set()).add(name)
        assert all(len(names) == 1 for names in by_term.values()), (seed, by_term)


def test_chance_is_a_fraction_and_tokens_differ() -> None:
    chance = SystemChance()
    assert all(0 <= chance.fraction() < 1 for _ in range(100))
    assert len({chance.token() for _ in range(100)}) == 100
