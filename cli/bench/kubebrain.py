"""The load that KubeBrain was published with: insert, insert and read, delete; 300 clients.

What it is: keys of 70 B, values of 512 B, each write a transaction as kube-apiserver makes it, by
bench-load. What it is not: a repetition of its figures: those are of three machines with TiKV's own
server, and of go-ycsb, which is not ours.

Why: KubeBrain inserted at 2.7 times etcd's rate, and deleted at less than half of it, a sixth of
its own inserts. A delete is one write as any other here, so it must not be slower than an insert.

Words: *mixed*: behind each insert its client reads the key; as many reads as inserts, at once.

Invariants: every round has new keys; a delete is judged against inserts of the same keys by the
same clients just before it.

Worked example: `kubebraid bench kubebrain`; on TiKV with `--engine=tikv --pd=HOST:PORT`.

Tested in tests/unit/cli/bench/test_kubebrain.py, tests/e2e/test_bench_tikv.py.
"""

from __future__ import annotations

from typing import Final

from .figures import Figure
from .goals import AGAINST_INSERTS
from .loads import BENCH, nothing
from .scenario import Scenario, Setting
from .site import Site, latencies, rate

CLIENTS: Final = 300
CONNECTIONS: Final = 30
KEYS: Final = 20_000
KEY_BYTES: Final = 70
NUMBER_BYTES: Final = 10  # of bench-load's keys, behind the prefix
VALUE_BYTES: Final = 512
READ: Final = "read"  # as bench-load calls that kind


def prefix(turn: int, kind: str) -> str:
    """Of the keys of a round, as long as makes them 70 B."""
    made = f"{BENCH}{kind}-{turn}-".ljust(KEY_BYTES - NUMBER_BYTES, "k")
    assert len(made) == KEY_BYTES - NUMBER_BYTES, made
    return made


def shape(site: Site, kind: str) -> tuple[int, list[str]]:
    """How many keys, and the flags that say so."""
    keys = site.requests(KEYS, CLIENTS // 3)  # some for each client, and few enough for a trial
    flags = [f"--clients={CLIENTS}", f"--conns={CONNECTIONS}", f"--keys={keys}"]
    return keys, [*flags, f"--value-size={VALUE_BYTES}", f"--prefix={prefix(site.turn, kind)}"]


def insert(site: Site) -> list[Figure]:
    """Transactions that make a key if it is absent."""
    keys, flags = shape(site, "insert")
    return site.measure(lambda: site.driver.load("create", *flags, expect=keys))


def mixed(site: Site) -> list[Figure]:
    """The same, and a linearizable read behind each."""
    keys, flags = shape(site, "mixed")
    found, figures = site.window(lambda: site.driver.load("insert-read", *flags, expect=keys))
    inserts, reads = found
    return [
        rate(inserts, "inserts"),
        rate(reads, "reads"),
        *latencies(inserts, "insert "),
        *latencies(reads, "read "),
        *figures,
    ]


def delete(site: Site) -> list[Figure]:
    """Transactions that delete a key if nobody changed it, behind the inserts of the same keys."""
    keys, flags = shape(site, "delete")
    inserted = site.driver.load("create", *flags, expect=keys)[0]
    figures = site.measure(lambda: site.driver.load("delete", *flags, expect=keys))
    against = Figure(AGAINST_INSERTS, "x", figures[0].value / inserted.rate)
    return [figures[0], against, *figures[1:]]


def scenarios() -> list[Scenario]:
    """No part of a plain run: other scenarios tell the same of one process."""
    empty = Setting("kubebrain", nothing)
    text = f"{CLIENTS} clients, keys of {KEY_BYTES} B, values of {VALUE_BYTES} B: "
    return [
        Scenario(f"kubebrain/{name}", f"{text}{words}", measure, empty, by_default=False)
        for name, words, measure in (
            ("insert", "make new keys if absent", insert),
            ("mixed", "make new keys if absent and read each", mixed),
            ("delete", "delete keys if unchanged", delete),
        )
    ]
