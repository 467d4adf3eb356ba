"""What the engine on TiKV costs: batches, gets and scans, in rates and in CPU of this process.

What it is: a script. It starts PD and one store of tests/tikv, opens one engine, and prints a line
a case: so that a later choice of another client has figures to beat. What it is not: a measure of
TiKV, whose stores are other programs; nor of the engine alone, as PD and the store share the
machine.

Words: CPU is that of this process, the client's threads included, in milliseconds a call. What is
left of the time is waiting: for PD and the store, and, as they share the machine, for a processor.
The *steps* are those of one batch's transaction (shard/storage/tikv_steps.py), made here one by
one; `put` is all rows of it, under way at once. Our own client has one step.

Worked example: `KUBEBRAID_TIKV_CLIENT=tikv-client python -m tests.bench.tikv --seconds=3`, after
tests/tikv/build.sh; without the variable it measures our own client, where it was built.
"""

from __future__ import annotations

import argparse
import asyncio
import time
from collections.abc import Callable
from functools import partial
from itertools import count
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

from kubebraid.shard.storage.engine import Batch
from kubebraid.shard.storage.tikv import TikvEngine
from kubebraid.shard.storage.tikv_link import Link, chosen, leave
from kubebraid.shard.storage.tikv_seam import Client
from kubebraid.shard.storage.tikv_steps import SteppedClient
from tests.tikv.cluster import Cluster

VALUE: Final = bytes(range(256)) * 4
BATCHES: Final = (1, 10, 100, 1_000)
SCANS: Final = (10, 100, 1_000)
ROWS: Final = 10_000
MANY: Final = 100  # about as many writes meet in one batch of 300 clients
STEPPED: Final = (10, 100)
STEP_S_MAX: Final = 10.0


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


async def stepped(client: Client, at: int, rows: int, spent: dict[str, list[float]]) -> None:
    """One transaction of so many rows; wall and CPU seconds are added by step."""
    clock = (time.perf_counter(), time.process_time())

    def past(step: str) -> None:
        nonlocal clock
        now = (time.perf_counter(), time.process_time())
        for index in range(2):
            spent.setdefault(step, [0.0, 0.0])[index] += now[index] - clock[index]
        clock = now

    assert isinstance(client, SteppedClient)
    txn = await client.begin()
    past("begin (a timestamp)")
    await txn.get(b"steps/writer")
    past("get the writer row")
    await asyncio.gather(*(txn.put(b"steps/%d/%d" % (at, row), VALUE) for row in range(rows)))
    past("put")
    await txn.commit()
    past("commit")


def steps(link: Link, rows: int, seconds: float) -> None:
    """Where the time of a batch goes."""
    spent: dict[str, list[float]] = {}
    at, began = 0, time.perf_counter()
    while at == 0 or time.perf_counter() - began < seconds:
        at += 1
        link.call(partial(stepped, at=at, rows=rows, spent=spent), "steps", STEP_S_MAX)
    wall, cpu = (1_000 * sum(both[index] for both in spent.values()) / at for index in (0, 1))
    print(f"a batch of {rows}: {wall:.2f} ms, of it {cpu:.2f} ms CPU here ({cpu / wall:.0%})")
    for step, (each, busy) in spent.items():
        print(f"  {step:22} {1_000 * each / at:8.2f} ms {1_000 * busy / at:8.2f} ms CPU")


def many(link: Link, engine: TikvEngine, seconds: float) -> None:
    """Keys that are read one by one, as a shard reads those that it is to write, and at once."""
    keys = [b"row%08d" % (number * 97 % ROWS) for number in range(MANY)]

    async def at_once(client: Client) -> object:
        snapshot = client.snapshot(await client.current_timestamp(), False)
        return await snapshot.batch_get(keys)

    def expected() -> None:
        engine.expect(keys)
        for key in keys:
            engine.get(key)

    measured(f"{MANY} gets", MANY, seconds, lambda: [engine.get(key) for key in keys])
    measured(f"expect, {MANY} gets", MANY, seconds, expected)
    once = partial(link.call, at_once, "a read", STEP_S_MAX)
    measured(f"batch_get of {MANY}", MANY, seconds, once)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--seconds", type=float, default=3.0, help="of each case")
    seconds = parser.parse_args().seconds
    with TemporaryDirectory() as folder, Cluster.started(Path(folder)) as cluster:
        print(f"by {chosen().version()}")
        engine = TikvEngine.open([cluster.pd_address], b"bench", create=True)
        cases(engine, seconds)
        link = Link.opened([cluster.pd_address])
        many(link, engine, seconds)
        if chosen() is SteppedClient:
            for rows in STEPPED:
                steps(link, rows, seconds)
        link.close()
        engine.close()
    leave(0)


if __name__ == "__main__":
    main()
