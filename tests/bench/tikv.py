"""What the engine on TiKV costs: batches, gets and scans, in rates and in CPU of this process.

What it is: a script. It starts PD and one store of tests/tikv, opens one engine, and prints a line
a case: so that a later choice of another client has figures to beat. What it is not: a measure of
TiKV, whose stores are other programs; nor of the engine alone, as PD and the store share the
machine.

Words: CPU is that of this process, the client's threads included, in milliseconds a call.

Worked example: `python -m tests.bench.tikv --seconds=3`, after tests/tikv/build.sh.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from functools import partial
from itertools import count
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

from kubebraid.shard.storage.engine import Batch
from kubebraid.shard.storage.tikv import TikvEngine
from kubebraid.shard.storage.tikv_link import leave
from tests.tikv.cluster import Cluster

VALUE: Final = bytes(range(256)) * 4
BATCHES: Final = (1, 10, 100, 1_000)
SCANS: Final = (10, 100, 1_000)
ROWS: Final = 10_000


def measured(what: str, rows: int, seconds: float, call: Callable[[], object]) -> None:
    """Call it again and again for so long, and print a line."""
    call()
    calls = 0
    began, began_cpu = time.perf_counter(), time.process_time()
    while time.perf_counter() - began < seconds:
        call()
        calls += 1
    took, cpu = time.perf_counter() - began, time.process_time() - began_cpu
    rate, each = calls / took, 1_000 * took / calls
    busy = 1_000 * cpu / calls
    print(f"{what:24} {rate:9.0f}/s {rate * rows:10.0f} rows/s {each:8.2f} ms {busy:8.2f} ms CPU")


def filled(engine: TikvEngine) -> None:
    for start in range(0, ROWS, 1_000):
        batch = Batch()
        for number in range(start, start + 1_000):
            batch.put(b"row%08d" % number, VALUE)
        engine.write(batch, sync=True)


def cases(engine: TikvEngine, seconds: float) -> None:
    numbers = count()

    def write(rows: int) -> None:
        batch = Batch()
        for _ in range(rows):
            batch.put(b"new%08d" % next(numbers), VALUE)
        engine.write(batch, sync=True)

    def scan(rows: int) -> None:
        engine.scan(b"row%08d" % (next(numbers) % 5_000), b"rox", rows)

    for rows in BATCHES:
        measured(f"batch of {rows}", rows, seconds, partial(write, rows))
    filled(engine)
    measured("get", 1, seconds, lambda: engine.get(b"row%08d" % (next(numbers) * 7 % ROWS)))
    for rows in SCANS:
        measured(f"scan of {rows}", rows, seconds, partial(scan, rows))
    measured("keys of 1000", 1_000, seconds, lambda: engine.keys(b"row", b"rox", 1_000))
    measured("reopen", 1, seconds, engine.reopen)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--seconds", type=float, default=3.0, help="of each case")
    seconds = parser.parse_args().seconds
    with TemporaryDirectory() as folder, Cluster.started(Path(folder)) as cluster:
        engine = TikvEngine.open([cluster.pd_address], b"bench", create=True)
        cases(engine, seconds)
        engine.close()
    leave(0)


if __name__ == "__main__":
    main()
