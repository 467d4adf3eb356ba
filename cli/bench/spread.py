"""What spreads over the shards of a cluster: what one more shard costs, and what joining costs.

What it is: puts of a hashed prefix with 256 clients a shard; a watch over every tablet beside one
over a single tablet; progress of such a watch while all shards but one are idle. What it is not: a
choice of shards; `--shards` and `--tablets` make it.

Invariants: a shard has as many clients and keys whatever their number, so that a flat CPU a put
means that writers do not cost each other; the peer, which has one writer, gets the same load.

Worked example: `kubebraid bench spread --profile=cluster --shards=4 --tablets=/registry/pods/=16`.

Tested in tests/unit/cli/bench/test_spread.py.
"""

from __future__ import annotations

from functools import partial
from typing import Final

from .drivers import RequestsFailed
from .figures import P50, P99, Figure
from .goals import ALL_TO_ONE, SPREAD
from .loads import BENCH, nothing
from .scenario import Scenario, Setting
from .site import Site, latencies

CLIENTS_A_SHARD: Final = 256
CONNECTIONS_A_SHARD: Final = 32
REQUESTS_A_SHARD: Final = 200_000
KEYS_A_SHARD: Final = 100_000  # a key that is there costs its put more than a new one
FEW: Final = {64: (8, 20_000), 256: (32, 40_000)}  # clients: connections, requests
# As many clients as meet in one batch, far from what either store can do.
MERGED_CLIENTS: Final = 16
MERGED_RATE: Final = 1_000
MERGED_PUTS: Final = 10_000
MERGED_KEYS: Final = 256
ASKED: Final = 2_000
ASKED_RATE: Final = 200


def spread(site: Site) -> list[Figure]:
    """Puts of 256 B below one prefix, whose buckets lie on all shards."""
    shards = site.server.shards
    clients = CLIENTS_A_SHARD * shards
    total = site.requests(REQUESTS_A_SHARD * shards, clients)
    flags = [f"--clients={clients}", f"--conns={CONNECTIONS_A_SHARD * shards}"]
    flags += [f"--total={total}", f"--keys={KEYS_A_SHARD * shards}", f"--prefix={BENCH}"]
    return site.measure(lambda: site.driver.load("put", *flags, expect=total))


def few(site: Site, clients: int) -> list[Figure]:
    """The same with as many clients however many shards there are."""
    connections, requests = FEW[clients]
    total = site.requests(requests, clients)
    flags = [f"--clients={clients}", f"--conns={connections}", f"--keys={KEYS_A_SHARD}"]
    flags += [f"--total={total}", f"--prefix={BENCH}"]
    return site.measure(lambda: site.driver.load("put", *flags, expect=total))


def merged(site: Site) -> list[Figure]:
    """The same events twice: at a watcher of all tablets, and at one watcher for each key."""
    total = site.requests(MERGED_PUTS, MERGED_CLIENTS)
    flags = [f"--clients={MERGED_CLIENTS}", "--conns=2", f"--rate={MERGED_RATE}"]
    flags += [f"--total={total}", f"--keys={MERGED_KEYS}", f"--prefix={BENCH}"]
    found, figures = site.window(lambda: site.driver.load("merge", *flags, expect=total))
    every, one, written = found
    if one.ops != total or written.ops != total:
        raise RequestsFailed(f"{one.ops} events and {written.ops} puts, not {total}")
    shared = [name for name in (P50, P99) if name in every.latency_ms and name in one.latency_ms]
    return [
        *latencies(every, "all tablets "),
        *latencies(one, "one tablet "),
        *[
            Figure(f"{ALL_TO_ONE}{name}", "x", every.latency_ms[name] / one.latency_ms[name])
            for name in shared
        ],
        *latencies(written, "put "),
        *figures,
    ]


def progress(site: Site) -> list[Figure]:
    """From the request for progress to its answer; one key is put meanwhile, so one shard works."""
    total = site.requests(ASKED)
    flags = [f"--total={total}", f"--rate={ASKED_RATE}", f"--prefix={BENCH}"]
    found, figures = site.window(lambda: site.driver.load("progress", *flags))
    if found[0].ops != total:
        raise RequestsFailed(f"{found[0].ops} answers, not {total}")
    return [*latencies(found[0]), *figures]


def scenarios() -> list[Scenario]:
    """For the cluster profile; a plain run has no use for them."""
    joined = Setting("joined", nothing)
    texts = (
        f"{CLIENTS_A_SHARD} clients a shard put 256 B, {KEYS_A_SHARD:,} keys a shard of one prefix",
        f"{MERGED_RATE:,} puts a second seen by a watch over all tablets and by one a key",
        f"progress of a watch over all tablets, {ASKED_RATE} puts a second of one key",
    )
    return [
        *(
            Scenario(
                f"spread/{clients}",
                f"{clients} clients put 256 B, {KEYS_A_SHARD:,} keys of one prefix",
                partial(few, clients=clients),
                Setting("spread", nothing),
                by_default=False,
            )
            for clients in FEW
        ),
        Scenario(SPREAD, texts[0], spread, Setting("spread", nothing), by_default=False),
        Scenario("spread/merge", texts[1], merged, joined, by_default=False),
        Scenario("spread/progress", texts[2], progress, joined, by_default=False),
    ]
