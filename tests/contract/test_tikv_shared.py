"""Two shards whose stores share rows in TiKV: what one sees of the other, and that a tablet is
written by one of them, whatever both believe.
"""

from __future__ import annotations

import random
import secrets
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing
from functools import partial
from pathlib import Path
from threading import Barrier, Thread
from time import sleep
from typing import Any, Final

import pytest

from kubebraid.shard import keycodec
from kubebraid.shard.storage import tikv_commit
from kubebraid.shard.storage.engine import Batch, EngineClosed, EngineError
from kubebraid.shard.storage.tikv import TikvEngine
from kubebraid.shard.storage.tikv_errors import EngineFenced, EngineUnavailable, EngineUncertain
from kubebraid.shard.storage.tikv_keeper import elapsed
from kubebraid.shard.storage.tikv_link import Link
from kubebraid.shard.storage.tikv_space import Shared, shared_space_of
from tests.tikv.cluster import Cluster
from tests.tikv.late import Late

pytestmark = pytest.mark.tikv

FENCE: Final = keycodec.fence(3)
ROW: Final = keycodec.newest(b"/a")
CELL: Final = keycodec.cell("own")
LAST: Final = b"\xff"
ROUNDS: Final = 25
TRIES: Final = 12
HELD_AFTER_S_MAX: Final = 0.012  # a write takes about 6 ms
ARRIVES_S: Final = 0.2


def opened(cluster: Cluster, shared: bytes, shard: bytes) -> TikvEngine:
    kinds = Shared(shared, keycodec.SHARED_KINDS, keycodec.GUARDED_KINDS)
    name = shared + b"/" + shard
    return TikvEngine.open([cluster.pd_address], name, create=True, shared=kinds)


@pytest.fixture
def pair(tikv_cluster: Cluster) -> Iterator[tuple[TikvEngine, TikvEngine]]:
    """Of two shards; the first has written the tablet, the second knows of it."""
    shared = secrets.token_bytes(8)
    with (
        closing(opened(tikv_cluster, shared, b"a")) as one,
        closing(opened(tikv_cluster, shared, b"b")) as other,
    ):
        one.write(Batch().put(FENCE, b"a1").put(ROW, b"a1").put(CELL, b"a1"), sync=True)
        other.catch_up()
        yield one, other


def written(value: bytes) -> Batch:
    """A batch of the tablet, and of what is the shard's own."""
    return Batch().put(FENCE, value).put(ROW, value).put(CELL, value)


def took(engine: TikvEngine, value: bytes) -> None:
    """As the shard does that a tablet is moved to."""
    engine.catch_up()
    engine.get(FENCE)
    engine.write(written(value), sync=True)


def rows(engine: TikvEngine) -> list[bytes | None]:
    return [engine.get(FENCE), engine.get(ROW), engine.get(CELL)]


def refused(engine: TikvEngine, batch: Batch) -> None:
    with pytest.raises(EngineFenced) as failed:
        engine.write(batch, sync=True)
    assert type(failed.value) is EngineFenced
    assert failed.value.definite


# --- what is seen ---------------------------------------------------------------------------------


def test_rows_of_tablets_are_seen_by_the_other_shard_when_it_has_caught_up(
    pair: tuple[TikvEngine, TikvEngine],
) -> None:
    one, other = pair
    assert one.shares_rows
    one.write(written(b"a2"), sync=True)
    assert rows(other) == [b"a1", b"a1", None]
    other.expect([FENCE, ROW])
    other.catch_up()
    assert rows(other) == [b"a2", b"a2", None], "its own cells are another store's"
    assert other.scan(b"", LAST, 9) == [(FENCE, b"a2"), (ROW, b"a2")]
    assert other.scan(b"", LAST, 9, reverse=True) == [(ROW, b"a2"), (FENCE, b"a2")]
    assert other.keys(b"", LAST, 1) == [FENCE]
    assert other.count(b"", LAST, 9) == 2
    assert one.scan(b"", LAST, 9) == [(FENCE, b"a2"), (CELL, b"a2"), (ROW, b"a2")]


def test_commit_of_its_own_shows_a_shard_what_others_wrote_before(
    pair: tuple[TikvEngine, TikvEngine],
) -> None:
    one, other = pair
    one.write(written(b"a2"), sync=True)
    other.write(Batch().put(CELL, b"b1"), sync=True)
    assert rows(other) == [b"a2", b"a2", b"b1"]
    assert rows(one) == [b"a2", b"a2", b"a2"]


def test_snapshot_stays_as_it_is_when_its_engine_catches_up(
    pair: tuple[TikvEngine, TikvEngine],
) -> None:
    one, other = pair
    with closing(other.snapshot()) as before:
        one.write(written(b"a2").put(keycodec.newest(b"/b"), b"a2"), sync=True)
        other.catch_up()
        assert before.scan(b"", LAST, 9) == [(FENCE, b"a1"), (ROW, b"a1")]
        assert before.get(FENCE) == b"a1"
    assert other.get(ROW) == b"a2"


def test_cells_and_leases_of_two_shards_are_removed_apart(
    pair: tuple[TikvEngine, TikvEngine],
) -> None:
    one, other = pair
    for engine in pair:
        engine.write(Batch().put(CELL, b"own").put(keycodec.lease(7), b"own"), sync=True)
    one.write(Batch().delete_range(*keycodec.LEASES).delete_range(*keycodec.CELLS), sync=True)
    assert one.keys(b"", LAST, 9) == [FENCE, ROW]
    assert other.keys(b"", LAST, 9) == [keycodec.lease(7), FENCE, CELL, ROW]


def test_range_deletion_reaches_shared_rows_of_others_that_are_seen(
    pair: tuple[TikvEngine, TikvEngine],
) -> None:
    one, other = pair
    one.write(Batch().put(keycodec.newest(b"/b"), b"later"), sync=True)
    other.write(Batch().put(CELL, b"b").delete_range(b"m", b"o"), sync=True)
    assert other.keys(b"", LAST, 9) == [FENCE, keycodec.newest(b"/b")]


def test_store_without_shared_rows_has_none_of_theirs(
    pair: tuple[TikvEngine, TikvEngine],
) -> None:
    """As `serve` has it; by the name that the others share, too."""
    addresses, name = pair[0]._link._addresses, pair[0]._name[:8]
    with closing(TikvEngine.open(addresses, name, create=True)) as alone:
        assert not alone.shares_rows
        alone.write(Batch().delete_range(b"", LAST), sync=True)
        alone.catch_up()
        assert alone.keys(b"", LAST, 9) == []
    pair[0].catch_up()
    assert rows(pair[0]) == [b"a1", b"a1", b"a1"]


def test_catching_up_is_refused_to_a_deposed_a_failed_and_a_closed_engine(
    pair: tuple[TikvEngine, TikvEngine],
) -> None:
    one, other = pair
    other._failed = EngineUncertain("a commit did not end")
    with pytest.raises(EngineUnavailable, match="reopening"):
        other.catch_up()
    other.reopen()
    other.catch_up()
    other.close()
    with pytest.raises(EngineClosed):
        other.catch_up()
    addresses, name = one._link._addresses, one._name
    with closing(TikvEngine.open(addresses, name, create=False, shared=one._shared)) as next_one:
        with pytest.raises(EngineFenced):
            one.catch_up()
        next_one.catch_up()
        assert rows(next_one) == [b"a1", b"a1", b"a1"]


# --- both believe that the tablet is theirs -------------------------------------------------------


def test_of_two_that_believe_the_second_writes_nothing_at_all(
    pair: tuple[TikvEngine, TikvEngine],
) -> None:
    one, other = pair
    assert (one.get(FENCE), other.get(FENCE)) == (b"a1", b"a1")
    other.write(written(b"b2"), sync=True)
    refused(one, written(b"a2"))
    assert rows(one) == [b"a1", b"a1", b"a1"], "it reads what it knew"
    with pytest.raises(EngineUnavailable):
        one.write(Batch().put(CELL, b"a2"), sync=True)
    one.reopen()
    assert rows(one) == [b"b2", b"b2", b"a1"]
    assert rows(other) == [b"b2", b"b2", b"b2"]


def test_shard_that_writes_on_and_on_is_refused_from_the_taking_on(
    pair: tuple[TikvEngine, TikvEngine],
) -> None:
    """It knows the fence as it wrote it; it never reads it."""
    one, other = pair
    for number in range(3):
        one.write(written(b"a%d" % (2 + number)), sync=True)
    took(other, b"b5")
    refused(one, written(b"a5"))
    other.write(written(b"b6"), sync=True)
    one.reopen()
    took(one, b"a7")
    refused(other, written(b"b7"))


def moved(engine: TikvEngine) -> None:
    """The present, as the keeper does it, or a read behind a long sleep."""
    engine.since = elapsed() - engine._ages.trust_s
    engine.get(ROW)


def another_write(engine: TikvEngine) -> None:
    engine.write(Batch().put(CELL, b"x"), sync=True)


def a_snapshot(engine: TikvEngine) -> None:
    engine.catch_up()
    assert engine.snapshot().get(FENCE) == b"b2"


def a_scan(engine: TikvEngine) -> None:
    engine.catch_up()
    assert engine.scan(*keycodec.FENCES, 9) == [(FENCE, b"b2")]


def expected(engine: TikvEngine) -> None:
    engine.catch_up()
    engine.expect([FENCE])


LOOKS: Final = (TikvEngine.catch_up, TikvEngine.reopen, moved, another_write, a_snapshot, a_scan)


@pytest.mark.parametrize("look", [*LOOKS, expected])
@pytest.mark.parametrize("knows", ["read", "expected", "written"])
def test_nothing_but_a_get_makes_a_shard_know_another_fence(
    pair: tuple[TikvEngine, TikvEngine], look: Callable[[TikvEngine], None], knows: str
) -> None:
    one, other = pair
    if knows == "written":
        one, other = other, one
        took(one, b"x")
    else:
        one.reopen()
        if knows == "expected":
            one.expect([FENCE])
        one.get(FENCE)
    took(other, b"b2")
    look(one)
    refused(one, written(b"a2"))
    one.reopen()
    assert one.get(FENCE) == b"b2"
    one.write(written(b"a3"), sync=True)
    assert rows(one) == [b"a3"] * 3


def test_fence_that_was_never_asked_for_is_compared_with_what_is_seen(
    pair: tuple[TikvEngine, TikvEngine],
) -> None:
    one, other = pair
    one.write(written(b"a2"), sync=True)
    refused(other, written(b"b2"))
    other.reopen()
    refused(other, written(b"b2"))  # what it had seen at its first try
    other.reopen()
    took(other, b"b3")


def test_fence_that_is_not_there_is_guarded_and_so_is_its_removal(
    pair: tuple[TikvEngine, TikvEngine],
) -> None:
    one, other = pair
    new = keycodec.fence(4)
    assert one.get(new) is other.get(new) is None
    one.write(Batch().put(new, b"a"), sync=True)
    refused(other, Batch().put(new, b"b"))
    other.reopen()
    assert other.get(new) == b"a"
    one.write(Batch().put(new, b"a2"), sync=True)
    refused(other, Batch().delete_range(*keycodec.FENCES))
    other.reopen()
    assert [other.get(fence) for fence in (FENCE, new)] == [b"a1", b"a2"]
    other.write(Batch().delete_range(*keycodec.FENCES), sync=True)
    refused(one, Batch().put(new, b"a3"))


def test_tablets_of_two_shards_are_written_at_the_same_time(
    pair: tuple[TikvEngine, TikvEngine],
) -> None:
    def write(engine: TikvEngine, tablet: int) -> None:
        for number in range(ROUNDS):
            value = b"%d" % number
            batch = Batch().put(keycodec.fence(tablet), value).put(CELL, value)
            engine.write(batch.put(keycodec.newest(b"/%d" % tablet), value), sync=True)
        done.append(tablet)

    done: list[int] = []
    threads = [Thread(target=write, args=(engine, 4 + at)) for at, engine in enumerate(pair)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(done) == [4, 5]
    for engine in pair:
        engine.catch_up()
        assert [engine.get(keycodec.fence(4 + at)) for at in range(2)] == [b"24", b"24"]


def test_of_two_that_write_at_the_same_time_one_commits(
    pair: tuple[TikvEngine, TikvEngine],
) -> None:
    """Each round both know the same fence; whoever comes second meets a value, a lock, or neither
    before its commit."""
    start = Barrier(2)
    ends: dict[int, EngineError | None] = {}

    def write(at: int, value: bytes) -> None:
        start.wait()
        try:
            pair[at].write(written(value), sync=True)
            ends[at] = None
        except EngineError as error:
            ends[at] = error

    wins: Counter[int] = Counter()
    for number in range(ROUNDS):
        values = [b"%d of a" % number, b"%d of b" % number]
        before = [engine.get(CELL) for engine in pair]
        threads = [Thread(target=write, args=(at, values[at])) for at in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        won = [at for at in range(2) if ends[at] is None]
        assert len(won) == 1, ends
        (winner,) = won
        wins[winner] += 1
        lost = pair[1 - winner]
        assert isinstance(ends[1 - winner], EngineFenced)
        lost.reopen()
        assert rows(lost) == [values[winner], values[winner], before[1 - winner]]
        assert rows(pair[winner]) == [values[winner]] * 3


# --- commits without an answer --------------------------------------------------------------------


def unanswered(patch: pytest.MonkeyPatch, engine: TikvEngine, batch: Batch, lands: bool) -> None:
    """A write whose end is not known."""
    commit = tikv_commit.commit

    async def lost(client: Any, writer: Any, guarded: Any, changes: Any, seconds: float) -> int:
        if lands:
            await commit(client, writer, guarded, changes, seconds)
        raise EngineUncertain("a commit did not end")

    with patch.context() as patched:
        patched.setattr(tikv_commit, "commit", lost)
        with pytest.raises(EngineUncertain):
            engine.write(batch, sync=True)


@pytest.mark.parametrize("lands", [True, False])
@pytest.mark.parametrize("reads", [True, False])
def test_write_without_an_answer_is_looked_for_and_gone_on_from(
    pair: tuple[TikvEngine, TikvEngine], monkeypatch: pytest.MonkeyPatch, lands: bool, reads: bool
) -> None:
    one, _ = pair
    unanswered(monkeypatch, one, written(b"a2"), lands)
    assert one.get(FENCE) == b"a1", "of the time before"
    one.reopen()
    if reads:
        assert rows(one) == [b"a2" if lands else b"a1"] * 3
    one.write(written(b"a3"), sync=True)
    assert rows(one) == [b"a3"] * 3


@pytest.mark.parametrize("lands", [True, False])
def test_tablet_that_was_taken_behind_a_write_without_an_answer_is_not_written(
    pair: tuple[TikvEngine, TikvEngine], monkeypatch: pytest.MonkeyPatch, lands: bool
) -> None:
    one, other = pair
    unanswered(monkeypatch, one, written(b"a2"), lands)
    took(other, b"b3")
    one.reopen()
    refused(one, written(b"a4"))


# --- commits that arrive late ---------------------------------------------------------------------


@pytest.fixture(params=["one region", "a region each"])
def late(
    request: pytest.FixtureRequest, tmp_path: Path, tikv_cluster: Cluster
) -> Iterator[tuple[Late, Cluster]]:
    with Late() as relay, Cluster.started(tmp_path, before=relay.before) as cluster:
        if request.param == "a region each":
            space = shared_space_of(b"prod")
            cluster.split(space + b"g", space + b"o")
        yield relay, cluster


def test_late_commit_never_lands_behind_the_taking_of_its_tablet(
    late: tuple[Late, Cluster],
) -> None:
    """The former owner is stopped in its write, the tablet is taken by a shard of another store,
    which never touches the writer row of the former one; then the write goes on."""
    relay, cluster = late
    chance = random.Random(7)
    seen: Counter[tuple[str, bool]] = Counter()
    with (
        closing(opened(cluster, b"prod", b"a")) as one,
        closing(opened(cluster, b"prod", b"b")) as two,
    ):
        for number in range(TRIES):
            old, new = (one, two) if number % 2 else (two, one)
            for warm in range(2):
                took(old, b"warm %d" % warm)
            ended: list[EngineError | None] = []
            thread = Thread(target=tried, args=(old, b"%d old" % number, ended))
            thread.start()
            sleep(chance.uniform(0, HELD_AFTER_S_MAX))
            relay.hold()
            new._link.reconnect()
            new.catch_up()
            landed = new.get(FENCE) == b"%d old" % number
            new.write(Batch().put(FENCE, b"%d new" % number).put(CELL, b"new"), sync=True)
            relay.release()
            thread.join()
            sleep(ARRIVES_S)
            new.catch_up()
            assert new.get(FENCE) == b"%d new" % number
            assert (new.get(ROW) == b"%d old" % number) == landed, "half of it came late"
            (error,) = ended
            assert landed if error is None else not (landed and error.definite), repr(error)
            seen["written" if error is None else type(error).__name__, landed] += 1
            old.reopen()
            assert (old.get(CELL) == b"%d old" % number) == landed
    assert sum(count for (_, landed), count in seen.items() if not landed) >= 3, seen


def tried(engine: TikvEngine, value: bytes, ended: list[EngineError | None]) -> None:
    try:
        engine.write(written(value), sync=True)
        ended.append(None)
    except EngineError as error:
        ended.append(error)


def test_engine_that_only_connects_reads_nothing(tikv_cluster: Cluster) -> None:
    """A host connects before it may take its store."""
    kinds = Shared(b"prod", keycodec.SHARED_KINDS, keycodec.GUARDED_KINDS)
    with closing(
        TikvEngine(Link.opened([tikv_cluster.pd_address]), secrets.token_bytes(8), shared=kinds)
    ) as engine:
        for call in (engine.catch_up, partial(engine.get, FENCE)):
            with pytest.raises(EngineClosed):
                call()
