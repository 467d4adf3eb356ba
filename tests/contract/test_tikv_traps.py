"""What TiKV and its client do that nobody expects, each trap as a test of our engine.

Where a trap is the client's own, a `..._trap_is_still_there` shows it on the bare client too: when
a new version removes it, that test fails, and the detour may go. Commits that arrive late have a
file of their own, test_tikv_late.py.
"""

from __future__ import annotations

import secrets
import subprocess
import sys
from contextlib import closing
from itertools import islice
from pathlib import Path
from threading import Thread, Timer
from time import monotonic
from typing import TYPE_CHECKING, Final

import pytest

from kubebraid.shard.storage import tikv
from kubebraid.shard.storage.engine import Batch, EngineClosed, EngineCorrupt, EngineError
from kubebraid.shard.storage.tikv import TikvEngine
from kubebraid.shard.storage.tikv_errors import (
    EngineFenced,
    EngineOversized,
    EngineUnavailable,
    EngineUncertain,
)
from kubebraid.shard.storage.tikv_link import Link, chosen
from kubebraid.shard.storage.tikv_native import NativeClient
from kubebraid.shard.storage.tikv_seam import Client
from tests.tikv.cluster import Cluster, stopped

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

pytestmark = pytest.mark.tikv

LAST: Final = b"\xff" * 4
SHORT_S: Final = 1.5  # a deadline in place of the usual ones, where it has to pass
KILLS: Final = 10  # of a store, each of which may lose what the last batch wrote


@pytest.fixture
def engine(tikv_cluster: Cluster) -> Iterator[TikvEngine]:
    opened = TikvEngine.open([tikv_cluster.pd_address], secrets.token_bytes(8), create=True)
    yield opened
    opened.close()


@pytest.fixture
def own_cluster(tmp_path: Path, tikv_cluster: Cluster) -> Iterator[Cluster]:
    """One that this test may harm."""
    with Cluster.started(tmp_path) as cluster:
        yield cluster


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("READ_S", "WRITE_S", "CLAIM_S"):
        monkeypatch.setattr(tikv, name, SHORT_S)


def again(engine: TikvEngine) -> TikvEngine:
    """The same store, opened once more."""
    return TikvEngine.open(engine._link._addresses, engine._name, create=False)


# --- one writer -----------------------------------------------------------------------------------


def test_second_opener_fences_the_first_which_stays_fenced_when_reopened(
    engine: TikvEngine,
) -> None:
    engine.write(Batch().put(b"a", b"1"), sync=True)
    second = again(engine)
    with pytest.raises(EngineFenced) as refused:
        engine.write(Batch().put(b"a", b"2"), sync=True)
    assert refused.value.definite
    second.write(Batch().put(b"b", b"1"), sync=True)
    assert engine.scan(b"", LAST, 9) == [(b"a", b"1")], "it reads what it knew"
    with pytest.raises(EngineFenced):
        engine.reopen()
    with pytest.raises(EngineClosed):
        engine.get(b"a")
    assert second.scan(b"", LAST, 9) == [(b"a", b"1"), (b"b", b"1")]
    second.close()


def test_opener_that_comes_while_a_batch_is_written_splits_no_batch(engine: TikvEngine) -> None:
    """Its writer row conflicts with the transaction under way, or comes behind it."""
    seconds: list[TikvEngine] = []

    def take(first: TikvEngine) -> None:
        seconds.append(again(first))

    for number in range(12):
        timer = Timer(0.002 * number, take, (engine,))
        timer.start()
        batch = Batch()
        for row in range(200):
            batch.put(b"%d/%d" % (number, row), b"v")
        try:
            engine.write(batch, sync=True)
            landed = 200
        except EngineFenced:
            landed = 0
        timer.join()
        engine.close()
        engine = seconds.pop()
        assert engine.count(b"%d/" % number, b"%d0" % number, 999) == landed
    engine.close()


def test_store_that_does_not_exist_is_made_only_if_asked(tikv_cluster: Cluster) -> None:
    with pytest.raises(EngineCorrupt):
        TikvEngine.open([tikv_cluster.pd_address], secrets.token_bytes(8), create=False)


def test_store_whose_name_begins_like_another_ones_holds_none_of_its_rows(
    tikv_cluster: Cluster,
) -> None:
    name = secrets.token_bytes(8)
    addresses = [tikv_cluster.pd_address]
    engines = [TikvEngine.open(addresses, name + more, create=True) for more in (b"", b"r", b"rr")]
    for number, engine in enumerate(engines):
        engine.write(Batch().put(b"r", b"%d" % number), sync=True)
    engines[0].write(Batch().delete_range(b"", LAST), sync=True)
    assert [engine.scan(b"", LAST, 9) for engine in engines] == [
        [],
        [(b"r", b"1")],
        [(b"r", b"2")],
    ]
    for engine in engines:
        engine.close()


# --- sizes ----------------------------------------------------------------------------------------


def test_scan_of_more_bytes_than_one_answer_may_have_is_whole(engine: TikvEngine) -> None:
    """Small rows first, so that the page is large when it comes to the large ones."""
    batch = Batch()
    for number in range(3_000):
        batch.put(b"a%06d" % number, b"v")
    engine.write(batch, sync=True)
    for number in range(12):
        engine.write(Batch().put(b"b%06d" % number, bytes(1_000_000)), sync=True)
    with closing(engine.snapshot()) as snapshot:
        for reader in (engine, snapshot):
            rows = reader.scan(b"", LAST, 9_999)
            assert len(rows) == 3_012
            assert rows[-1] == (b"b000011", bytes(1_000_000))


def test_answer_that_is_too_long_trap_is_still_there_in_tikv_client_alone(
    engine: TikvEngine,
) -> None:
    for number in range(5):
        engine.write(Batch().put(b"%d" % number, bytes(1_000_000)), sync=True)
    prefix, at = engine._space.stored(b""), engine._at()

    async def scan(client: Client) -> int:
        return len(await client.snapshot(at, False).scan(prefix, prefix + LAST, 5, True, False))

    if chosen() is NativeClient:
        assert engine._link.call(scan, "a scan", 5) == 5
        return
    with pytest.raises(EngineUnavailable, match="message length too large"):
        engine._link.call(scan, "a scan", 5)


def test_row_or_batch_beyond_what_a_transaction_takes_is_refused_and_leaves_nothing(
    engine: TikvEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tikv, "WRITE_ROWS_MAX", 10)
    engine.write(Batch().put(b"a", bytes(tikv.VALUE_BYTES_MAX - 1)), sync=True)
    assert engine.get(b"a") == bytes(tikv.VALUE_BYTES_MAX - 1)
    many = Batch()
    for number in range(11):
        many.put(b"m%d" % number, b"v")
    for batch in (
        Batch().put(b"b", bytes(tikv.VALUE_BYTES_MAX + 1)),
        Batch().put(b"k" * tikv.KEY_BYTES_MAX, b""),
        many,
    ):
        with pytest.raises(EngineOversized):
            engine.write(batch, sync=True)
    for start in (0, 10):
        few = Batch()
        for number in range(start, min(start + 10, 11)):
            few.put(b"m%02d" % number, b"v")
        engine.write(few, sync=True)
    with pytest.raises(EngineOversized):
        engine.write(Batch().delete_range(b"m", b"n"), sync=True)
    assert engine.count(b"m", b"n", 99) == 11
    engine.write(Batch().delete_range(b"m01", b"n"), sync=True)
    assert engine.keys(b"m", b"n", 99) == [b"m00"]


def test_scan_and_batch_over_several_regions_are_whole(
    engine: TikvEngine, tikv_cluster: Cluster
) -> None:
    batch = Batch()
    for number in range(1_000):
        batch.put(b"k%06d" % number, b"v")
    engine.write(batch, sync=True)
    before = len(tikv_cluster.regions())
    stored = engine._space.stored
    tikv_cluster.split(stored(b"k000100"), stored(b"k000300"), engine._writer)
    assert len(tikv_cluster.regions()) == before + 3
    assert engine.count(b"", LAST, 9_999) == len(batch)
    assert len(engine.scan(b"", LAST, 9_999)) == len(batch)
    engine.write(Batch().delete_range(b"k000050", b"k000350"), sync=True)
    assert engine.count(b"", LAST, 9_999) == len(batch) - 300


# --- processes that die ---------------------------------------------------------------------------


def fails(call: Callable[[], object]) -> EngineError:
    """Its error, which has to come in time."""
    began = monotonic()
    with pytest.raises(EngineError) as failed:
        call()
    assert monotonic() - began < 6 * SHORT_S, "a call has an end"
    return failed.value


def test_killed_store_fails_calls_in_time_and_serves_all_when_it_is_back(
    own_cluster: Cluster, impatient: None
) -> None:
    engine = TikvEngine.open([own_cluster.pd_address], b"s", create=True)
    rows = [(b"a", b"1"), (b"b", b"1")]
    engine.write(Batch().put(b"a", b"1").put(b"b", b"1"), sync=True)
    own_cluster.stores[0].kill()
    fails(lambda: engine.write(Batch().put(b"c", b"1"), sync=True))
    assert not isinstance(fails(lambda: engine.get(b"a")), EngineClosed)
    fails(engine.reopen)
    assert isinstance(fails(lambda: engine.get(b"a")), EngineClosed), "closed until reopened"
    own_cluster.start_store(0)
    reopened(engine)
    assert engine.get(b"c") is None
    engine.write(Batch().put(b"c", b"2"), sync=True)
    assert engine.scan(b"", LAST, 9) == [*rows, (b"c", b"2")]
    engine.close()


def test_store_that_is_killed_right_behind_an_answer_has_all_rows_of_the_batch(
    own_cluster: Cluster,
) -> None:
    """The client commits one row, answers, and commits the others behind it: a kill may come first.
    A store that forgets locks loses a batch in about two of five kills."""
    engine = TikvEngine.open([own_cluster.pd_address], b"s", create=True)
    for number in range(KILLS):
        batch = Batch()
        for row in range(50):
            batch.put(b"%d/%d" % (number, row), b"v")
        engine.write(batch, sync=True)
        own_cluster.stores[0].kill()
        own_cluster.start_store(0)
        reopened(engine)
        assert engine.count(b"%d/" % number, b"%d0" % number, 99) == len(batch), number
    engine.close()


def test_killed_pd_fails_writes_definitely_and_a_reopening_mends_it(
    own_cluster: Cluster, impatient: None
) -> None:
    """There are no timestamps without it, so no transaction can begin."""
    engine = TikvEngine.open([own_cluster.pd_address], b"s", create=True)
    engine.write(Batch().put(b"a", b"1"), sync=True)
    own_cluster.pd.kill()
    failed = fails(lambda: engine.write(Batch().put(b"b", b"1"), sync=True))
    assert failed.definite
    assert engine.get(b"a") == b"1", "reads of the present need no timestamp"
    own_cluster.start_pd()
    reopened(engine)
    assert engine.get(b"b") is None
    engine.write(Batch().put(b"b", b"2"), sync=True)
    assert engine.get(b"b") == b"2"
    engine.close()


def reopened(engine: TikvEngine) -> None:
    """As a patient caller does it: PD and the stores need some seconds to find each other."""
    end = monotonic() + 30
    while True:
        try:
            engine.reopen()
            return
        except EngineError:
            assert monotonic() < end, "the cluster does not come back"


def test_store_that_is_silent_for_less_than_a_deadline_delays_a_write_and_no_more(
    own_cluster: Cluster,
) -> None:
    engine = TikvEngine.open([own_cluster.pd_address], b"s", create=True)
    engine.write(Batch().put(b"a", b"1"), sync=True)
    thread = Thread(target=lambda: engine.write(Batch().put(b"a", b"2"), sync=True))
    began = monotonic()
    with stopped(own_cluster, 0):
        thread.start()
        thread.join(1.0)
        assert thread.is_alive()
    thread.join(20)
    assert monotonic() - began < tikv.WRITE_S
    assert engine.get(b"a") == b"2"
    engine.close()


def test_silent_store_fails_a_write_at_its_deadline(own_cluster: Cluster, impatient: None) -> None:
    engine = TikvEngine.open([own_cluster.pd_address], b"s", create=True)
    engine.write(Batch().put(b"a", b"1"), sync=True)
    with stopped(own_cluster, 0):
        failed = fails(lambda: engine.write(Batch().put(b"a", b"2"), sync=True))
    assert isinstance(failed, EngineUnavailable | EngineUncertain)
    reopened(engine)
    assert engine.get(b"a") in (b"1", b"2")
    engine.close()


def test_one_of_three_stores_is_killed_and_no_acknowledged_batch_is_lost(
    tmp_path: Path, tikv_cluster: Cluster
) -> None:
    """Whichever leads: each is killed once, and comes back before the next one goes."""
    with Cluster.started(tmp_path, stores=3) as cluster:
        engine = TikvEngine.open([cluster.pd_address], b"s", create=True)
        numbers = iter(range(1_000))
        written = [number for number in islice(numbers, 5) if landed(engine, number)]
        for index in range(3):
            cluster.stores[index].kill()
            written += [number for number in islice(numbers, 20) if landed(engine, number)]
            cluster.start_store(index)
            written += [number for number in islice(numbers, 5) if landed(engine, number)]
        engine.reopen()
        assert len(written) >= 40
        kept = {int(key[1:]) for key in engine.keys(b"a", b"b", 9_999)}
        assert kept >= set(written)
        assert kept == {int(key[1:]) for key in engine.keys(b"z", LAST, 9_999)}, "half a batch"
        engine.close()


def landed(engine: TikvEngine, number: int) -> bool:
    """Whether a batch of two rows was acknowledged; else the engine is made usable again."""
    try:
        engine.write(Batch().put(b"a%06d" % number, b"1").put(b"z%06d" % number, b"1"), sync=True)
        return True
    except EngineError:
        reopened(engine)
        return False


WRITER: Final = """
import os
import sys
from itertools import count
from kubebraid.shard.storage.engine import Batch
from kubebraid.shard.storage.tikv import TikvEngine

engine = TikvEngine.open([sys.argv[1]], sys.argv[2].encode(), create=True)
for number in count():
    batch = Batch().put(b"same", b"%d" % number)
    batch.put(b"left/%09d" % number, b"v" * 500).put(b"right/%09d" % number, b"v")
    engine.write(batch, sync=True)
    print(number, flush=True)
"""


@pytest.mark.parametrize("lines", [1, 40])
def test_sigkill_loses_no_acknowledged_batch_splits_none_and_its_locks_stop_nobody(
    lines: int, tikv_cluster: Cluster
) -> None:
    """A killed process leaves rows of its last commit locked for some seconds; the next one writes
    the same rows at once."""
    name = secrets.token_hex(8)
    command = [sys.executable, "-c", WRITER, tikv_cluster.pd_address, name]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        acknowledged = [int(line) for line in islice(process.stdout, lines)]
        process.kill()
        acknowledged += [int(line) for line in process.stdout if line.endswith("\n")]
    engine = TikvEngine.open([tikv_cluster.pd_address], name.encode(), create=False)
    batch = Batch().put(b"same", b"mine")
    batch.put(b"left/%09d" % acknowledged[-1], b"mine")
    engine.write(batch, sync=True)
    left = [key.split(b"/")[1] for key in engine.keys(b"left/", b"left0", 99_999)]
    right = [key.split(b"/")[1] for key in engine.keys(b"right/", b"right0", 99_999)]
    assert left == right == [b"%09d" % number for number in range(len(left))]
    assert len(acknowledged) <= len(left) <= len(acknowledged) + 1
    engine.close()


# --- the client's threads -------------------------------------------------------------------------

LEAVING: Final = """
import sys
from kubebraid.shard.storage.engine import Batch
from kubebraid.shard.storage.tikv import TikvEngine
from kubebraid.shard.storage.tikv_link import leave

engine = TikvEngine.open([sys.argv[1]], sys.argv[2].encode(), create=True)
engine.write(Batch().put(b"a", b"1"), sync=True)
print("written")
leave(7)
"""


def test_process_that_leaves_has_written_what_it_said_and_has_its_code(
    tikv_cluster: Cluster,
) -> None:
    name = secrets.token_hex(8)
    command = [sys.executable, "-c", LEAVING, tikv_cluster.pd_address, name]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (7, "written\n", "")


def test_calls_from_several_threads_do_not_disturb_each_other(engine: TikvEngine) -> None:
    """`defragment` and `close` may come from another thread; so may an operator's reads."""
    batch = Batch()
    for number in range(500):
        batch.put(b"k%06d" % number, b"%d" % number)
    engine.write(batch, sync=True)
    wrong: list[object] = []

    def read() -> None:
        for number in range(0, 500, 5):
            found = engine.get(b"k%06d" % number)
            if found != b"%d" % number:
                wrong.append((number, found))

    threads = [Thread(target=read) for _ in range(4)]
    for thread in threads:
        thread.start()
    for number in range(20):
        engine.write(Batch().put(b"z%d" % number, b"v"), sync=True)
    for thread in threads:
        thread.join()
    assert wrong == []


def test_address_where_nobody_listens_is_an_error_in_time(impatient: None) -> None:
    began = monotonic()
    with pytest.raises(EngineUnavailable):
        Link.opened(["127.0.0.1:1"])
    assert monotonic() - began < 15
