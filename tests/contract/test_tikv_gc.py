"""Old versions of rows in TiKV: one engine at a time asks to forget them, and none that is read is.

How many versions a row has is read at the timestamp of each of its commits: what was forgotten is
no longer found there. The test's store drops versions only when it compacts, so the tests that
count have a store of their own which does so often; the others ask PD for its safe point.
"""

from __future__ import annotations

import secrets
from contextlib import ExitStack, closing
from itertools import pairwise
from pathlib import Path
from time import monotonic, sleep
from typing import TYPE_CHECKING, Final

import pytest

from kubebraid.shard.storage import tikv_gc
from kubebraid.shard.storage.engine import Batch
from kubebraid.shard.storage.tikv import TikvEngine
from kubebraid.shard.storage.tikv_errors import EngineFenced, EngineUnavailable
from kubebraid.shard.storage.tikv_gc import Ages
from kubebraid.shard.storage.tikv_seam import Client
from tests.e2e.processes import wait_for
from tests.tikv.cluster import Cluster

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

pytestmark = pytest.mark.tikv

QUICK: Final = Ages(interval_s=1.0, age_s=2.0, trust_s=1.0, move_s=0.3, tick_s=0.1)
NEVER: Final = Ages(interval_s=9e9, age_s=2.0, trust_s=1.0, move_s=0.5, tick_s=0.25)
FOLLOWED_S: Final = 1.5  # the test store asks PD for it each second
PATIENCE_S: Final = 20.0
FENCE: Final = b"f\0\0\0\1"


@pytest.fixture
def cluster(tmp_path: Path, tikv_cluster: Cluster) -> Iterator[Cluster]:
    """One that this test has for itself: a safe point is everybody's."""
    with Cluster.started(tmp_path) as own:
        yield own


@pytest.fixture
def compacting(tmp_path: Path, tikv_cluster: Cluster) -> Iterator[Cluster]:
    """One whose store flushes, and so compacts, every half mebibyte."""
    with Cluster.started(tmp_path, flags=["-memtable=524288"]) as own:
        yield own


@pytest.fixture
def opened(cluster: Cluster) -> Iterator[Callable[[Ages], TikvEngine]]:
    with ExitStack() as stack:
        yield lambda ages: stack.enter_context(closing(engine_of(cluster, ages)))


def engine_of(cluster: Cluster, ages: Ages) -> TikvEngine:
    return TikvEngine.open([cluster.pd_address], secrets.token_bytes(8), create=True, ages=ages)


def safe_point(cluster: Cluster) -> int:
    """PD's."""
    answer = cluster._api("gc/safepoint")
    assert answer is not None
    point: int = answer["gc_safe_point"]
    return point


def rows(engine: TikvEngine, start: bytes, end: bytes) -> list[tuple[bytes, bytes]]:
    """The newest, of all engines."""

    async def scan(client: Client) -> list[tuple[bytes, bytes]]:
        at = await client.current_timestamp()
        return await client.snapshot(at, False).scan(start, end, 999, True, False)

    return engine._link.call(scan, "a scan", 5)


def asked(engine: TikvEngine) -> tikv_gc.Pair | None:
    """The row of the last round."""
    found = rows(engine, tikv_gc.ROUND, tikv_gc.ROUND + b"\0")
    return tikv_gc.unpacked(found[0][1]) if found else None


def found_at(engine: TikvEngine, at: int, key: bytes) -> bytes | None:
    async def get(client: Client) -> bytes | None:
        return await client.snapshot(at, False).get(engine._space.stored(key))

    return engine._link.call(get, "a read", 5)


def rewritten(engine: TikvEngine, times: int) -> list[int]:
    """The timestamps of so many commits of a fence row, each beside 16 KiB."""
    commits = []
    for number in range(times):
        batch = Batch().put(FENCE, b"%d" % number).put(b"n%d" % (number % 8), bytes(16384))
        engine.write(batch, sync=True)
        commits.append(engine._at())
    return commits


def versions(engine: TikvEngine, commits: list[int]) -> int:
    """How many of them can still be read."""
    return sum(found_at(engine, at, FENCE) is not None for at in commits)


# --- rounds ---------------------------------------------------------------------------------------


def test_safe_point_follows_an_idle_engine_which_reads_on(
    cluster: Cluster, opened: Callable[[Ages], TikvEngine]
) -> None:
    """It is moved behind the engine's last commit, and so is what the engine reads at."""
    engine = opened(QUICK)
    engine.write(Batch().put(b"a", b"1"), sync=True)
    wrote = engine._at()
    wait_for("a safe point behind it", lambda: safe_point(cluster) > wrote, PATIENCE_S)
    assert engine._at() > safe_point(cluster)
    assert engine.get(b"a") == b"1"
    last = asked(engine)
    assert last is not None
    assert safe_point(cluster) <= last.at <= tikv_gc.earlier(last.time, QUICK.age_s)
    engine.write(Batch().put(b"a", b"2"), sync=True)
    assert engine.get(b"a") == b"2"


def test_of_several_engines_one_has_each_round(
    cluster: Cluster, opened: Callable[[Ages], TikvEngine]
) -> None:
    """The row of the round has a version for each: there are fewer than one engine alone makes."""
    engines = [opened(QUICK) for _ in range(4)]
    seen: set[int] = set()
    began = monotonic()
    while monotonic() - began < 5 * QUICK.interval_s:
        last = asked(engines[0])
        if last is not None:
            seen.add(last.time)
        sleep(0.02)
    times = sorted(time >> 18 for time in seen)
    assert 3 <= len(times) <= 6, times
    gaps = [later - earlier for earlier, later in pairwise(times)]
    assert min(gaps) >= 1000 * QUICK.interval_s, gaps


# --- what is read ---------------------------------------------------------------------------------


def test_long_snapshot_holds_the_safe_point_until_it_is_closed(
    cluster: Cluster, opened: Callable[[Ages], TikvEngine]
) -> None:
    engine, other = opened(QUICK), opened(QUICK)
    engine.write(Batch().put(b"a", b"1"), sync=True)
    with closing(engine.snapshot()) as snapshot:
        at = snapshot._at()
        end = monotonic() + 3 * QUICK.age_s
        while monotonic() < end:
            engine.write(Batch().put(b"a", b"2"), sync=True)
            assert snapshot.get(b"a") == b"1"
            assert safe_point(cluster) <= at
            sleep(0.05)
        last = asked(other)
        assert last is not None
        assert last.at == at - 1 < tikv_gc.earlier(last.time, QUICK.age_s), "else it held nothing"
    wait_for("a safe point behind it", lambda: safe_point(cluster) > at, PATIENCE_S)
    wait_for(
        "the hold to be removed",
        lambda: not rows(other, tikv_gc.HOLDS, tikv_gc.HOLDS_END),
        PATIENCE_S,
    )


def test_hold_of_a_process_that_is_gone_passes(
    cluster: Cluster, opened: Callable[[Ages], TikvEngine]
) -> None:
    with closing(engine_of(cluster, QUICK)) as gone:
        at = gone.snapshot()._at()
        held = lambda: rows(gone, tikv_gc.HOLDS, tikv_gc.HOLDS_END)  # noqa: E731
        wait_for("a hold", held, PATIENCE_S)
    opened(QUICK)
    wait_for("a safe point behind it", lambda: safe_point(cluster) > at, PATIENCE_S)


def test_snapshot_that_nobody_holds_is_refused_before_a_round_may_pass_it(
    opened: Callable[[Ages], TikvEngine],
) -> None:
    """Its keeper never ticks, as that of a process without PD."""
    engine = opened(Ages(interval_s=1, age_s=1.2, trust_s=0.6, move_s=0, tick_s=0.3))
    engine._link._loop.call_soon_threadsafe(engine._link._beside[0].cancel)
    engine.write(Batch().put(b"a", b"1"), sync=True)
    snapshot = engine.snapshot()
    assert snapshot.get(b"a") == b"1"
    sleep(0.7)
    with pytest.raises(EngineUnavailable) as refused:
        snapshot.get(b"a")
    assert refused.value.definite
    before = engine._at()
    assert engine.get(b"a") == b"1", "the present is drawn anew"
    assert engine._at() > before


def test_engine_that_slept_and_was_deposed_meanwhile_reads_nothing(cluster: Cluster) -> None:
    ages = Ages(interval_s=1, age_s=1.2, trust_s=0.6, move_s=0, tick_s=0.3)
    with closing(engine_of(cluster, ages)) as first:
        first._link._loop.call_soon_threadsafe(first._link._beside[0].cancel)
        first.write(Batch().put(b"a", b"1"), sync=True)
        with closing(TikvEngine.open([cluster.pd_address], first._name, create=False)) as second:
            second.write(Batch().put(b"a", b"2"), sync=True)
            sleep(0.7)
            with pytest.raises(EngineFenced):
                first.get(b"a")
            assert second.get(b"a") == b"2"


def test_present_of_an_engine_that_was_deposed_is_not_moved(
    opened: Callable[[Ages], TikvEngine], cluster: Cluster
) -> None:
    first = opened(NEVER)
    at = first._at()
    wait_for("the present to be moved", lambda: first._at() > at, PATIENCE_S)
    with closing(TikvEngine.open([cluster.pd_address], first._name, create=False)):
        stays = first._at()
        sleep(2 * NEVER.move_s)
        assert first._at() == stays


def test_failed_write_keeps_the_present_where_it_was(
    opened: Callable[[Ages], TikvEngine],
) -> None:
    """What it wrote may be there or not: a later present could show it."""
    engine = opened(NEVER)
    stays = engine._at()
    engine._failed = EngineUnavailable("as of a write")
    sleep(2 * NEVER.move_s)
    assert engine._at() == stays


def test_pd_that_is_away_ends_nothing_and_rounds_go_on_when_it_is_back(
    cluster: Cluster, opened: Callable[[Ages], TikvEngine], caplog: pytest.LogCaptureFixture
) -> None:
    engine = opened(QUICK)
    wait_for("a round", lambda: asked(engine) is not None, PATIENCE_S)
    cluster.pd.kill()
    wait_for("a warning", lambda: "TiKV: a look after old versions" in caplog.text, PATIENCE_S)
    assert not engine._link._beside[0].done()
    cluster.start_pd()
    before = safe_point(cluster)
    wait_for("the next round", lambda: safe_point(cluster) > before, 60.0)


# --- versions -------------------------------------------------------------------------------------


def test_versions_of_a_hot_row_do_not_grow(compacting: Cluster) -> None:
    with closing(engine_of(compacting, QUICK)) as engine:
        commits = rewritten(engine, 300)
        sleep(QUICK.age_s + 2 * QUICK.interval_s)
        wait_for("a safe point", lambda: safe_point(compacting) > commits[-1], PATIENCE_S)
        sleep(FOLLOWED_S)
        commits += rewritten(engine, 300)
        assert versions(engine, commits[:300]) <= 30
        assert engine.get(FENCE) == b"299"


def test_versions_of_a_hot_row_grow_where_nobody_asks(compacting: Cluster) -> None:
    """Else the other test would show nothing."""
    with closing(engine_of(compacting, NEVER)) as engine:
        commits = rewritten(engine, 600)
        assert versions(engine, commits) == 600
