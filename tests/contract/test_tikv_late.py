"""Commits that arrive late: after a reopening, or another process's opening, they are there
already, or never will be.

A relay before the store holds back what a write has under way, at a moment that differs from try to
try: before its first read, between its phases, before or behind its commit. Meanwhile a connection
that passes opens the store and reads it; then what was held is delivered, and the write goes on.
The same without the row that an opening writes shows that such commits do land. The moments are
drawn: the same ones in CI, and five to ten times as many, new ones, in the soak.
"""

from __future__ import annotations

import random
import secrets
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from threading import Thread
from time import sleep
from typing import Final

import pytest

from kubebraid.shard.storage import tikv
from kubebraid.shard.storage.engine import Batch, EngineError
from kubebraid.shard.storage.tikv import TikvEngine
from kubebraid.shard.storage.tikv_errors import EngineUncertain
from kubebraid.shard.storage.tikv_link import Link
from tests.tikv.cluster import Cluster
from tests.tikv.late import Late

pytestmark = pytest.mark.tikv

TRIES: Final = 20
SOAK_TRIES: Final = 100
HELD_AFTER_S_MAX: Final = 0.006  # a write takes 2 to 4 ms
GIVES_UP_S: Final = 1.0
ARRIVES_S: Final = 0.2


class Planted:
    """Engines behind a relay, and a write of one of them that is held back."""

    def __init__(self, late: Late, cluster: Cluster) -> None:
        self.late = late
        self.addresses = [cluster.pd_address]
        self.chance = random.Random(7)
        self.ended: EngineError | None = None

    def drawn_anew(self) -> None:
        """Other moments in each run; the seed is printed."""
        seed = secrets.randbelow(1_000_000)
        print(f"seed {seed}")
        self.chance.seed(seed)

    def open(self) -> TikvEngine:
        return TikvEngine.open(self.addresses, b"s", create=True)

    def write(self, engine: TikvEngine, number: int) -> Thread:
        """Two rows in one batch, held back; how that ends is in `ended`."""
        for _ in range(2):  # so that its connection and its regions are known
            engine.write(Batch().put(b"warm", b"%d" % number), sync=True)
        self.ended = None

        def write() -> None:
            batch = Batch().put(b"a%d" % number, b"1").put(b"z%d" % number, b"1")
            try:
                engine.write(batch, sync=True)
            except EngineError as error:
                self.ended = error

        thread = Thread(target=write)
        thread.start()
        sleep(self.chance.uniform(0, HELD_AFTER_S_MAX))
        self.late.hold()
        return thread


def newest(engine: TikvEngine, number: int) -> bool:
    """Whether the batch is there by now; both of its rows, or neither."""
    # The newest state, not the one of the engine's last commit.
    engine._seen = engine._link.call(lambda client: client.current_timestamp(), "ask", 5)
    rows = [engine.get(b"a%d" % number), engine.get(b"z%d" % number)]
    assert rows in ([None, None], [b"1", b"1"]), "half a batch"
    return rows[0] is not None


@pytest.fixture(params=["one region", "two regions"])
def planted(
    request: pytest.FixtureRequest, tmp_path: Path, tikv_cluster: Cluster
) -> Iterator[Planted]:
    with Late() as late, Cluster.started(tmp_path, before=late.before) as cluster:
        planted = Planted(late, cluster)
        if request.param == "two regions":
            engine = planted.open()
            cluster.split(engine._space.stored(b"m"), engine._writer)
            engine.close()
        yield planted


def opened_elsewhere(planted: Planted, tries: int) -> None:
    """As of a process that was stopped for a while: it learns of nothing in time."""
    seen: Counter[tuple[str, bool]] = Counter()
    first = planted.open()
    for number in range(tries):
        thread = planted.write(first, number)
        second = planted.open()
        landed = newest(second, number)
        planted.late.release()
        thread.join()
        sleep(ARRIVES_S)
        assert newest(second, number) == landed, "what an opening found out has changed"
        ended = planted.ended
        assert landed if ended is None else not (landed and ended.definite), repr(ended)
        seen["written" if ended is None else type(ended).__name__, landed] += 1
        first.close()
        first = second
    first.close()
    assert sum(count for (_, landed), count in seen.items() if not landed) >= 3, seen


def test_write_that_goes_on_late_never_lands_behind_another_opening(planted: Planted) -> None:
    opened_elsewhere(planted, TRIES)


@pytest.mark.slow
def test_write_that_goes_on_late_never_lands_at_a_hundred_moments(planted: Planted) -> None:
    planted.drawn_anew()
    opened_elsewhere(planted, SOAK_TRIES)


def test_write_that_goes_on_late_lands_where_the_other_only_reads(planted: Planted) -> None:
    """Else the other test would show nothing."""
    first = planted.open()
    second = TikvEngine(Link.opened(planted.addresses), b"s")
    late = 0
    for number in range(TRIES):
        thread = planted.write(first, number)
        landed = newest(second, number)
        planted.late.release()
        thread.join()
        if planted.ended is not None:
            first.reopen()
        late += newest(second, number) and not landed
        second._link.reconnect()
    first.close()
    second.close()
    assert late >= 1


def reopened(planted: Planted, tries: int) -> None:
    """The writer itself gives up, and is usable again."""
    seen: Counter[tuple[str, bool]] = Counter()
    engine = planted.open()
    for number in range(tries):
        planted.write(engine, number).join()
        engine.reopen()
        landed = newest(engine, number)
        planted.late.release()
        sleep(ARRIVES_S)
        assert newest(engine, number) == landed, "what a reopening found out has changed"
        engine.write(Batch().put(b"next", b"%d" % number), sync=True)
        ended = planted.ended
        assert landed if ended is None else not (landed and ended.definite), repr(ended)
        seen["written" if ended is None else type(ended).__name__, landed] += 1
    engine.close()
    assert seen[EngineUncertain.__name__, False] >= 1, seen


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A write gives up before what is held is delivered."""
    monkeypatch.setattr(tikv, "WRITE_S", GIVES_UP_S)


def test_late_commit_never_lands_behind_a_reopening(planted: Planted, impatient: None) -> None:
    reopened(planted, TRIES // 2)


@pytest.mark.slow
def test_late_commit_never_lands_at_a_hundred_moments(planted: Planted, impatient: None) -> None:
    planted.drawn_anew()
    reopened(planted, SOAK_TRIES)
