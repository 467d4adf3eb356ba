"""Writes that spread over the shards of a cluster: what one more shard costs, and brings.

What it is: puts of a hashed prefix with 256 clients a shard, and a watch over every tablet beside
one over a single tablet. What it is not: a choice of shards; `--shards` and `--tablets` make it.

Invariants: a shard has as many clients whatever their number, so that a flat CPU a put means that
writers do not cost each other; the peer, which has one writer, gets the same clients.

Worked example: `kubebraid bench spread --profile=cluster --shards=4 --tablets=/registry/pods/=16`.

Tested in tests/unit/cli/bench/test_spread.py.
"""

from __future__ import annotations

from typing import Final

from .figures import Figure
from .goals import SPREAD
from .loads import BENCH, nothing
from .scenario import Scenario, Setting
from .site import Site

CLIENTS_A_SHARD: Final = 256
CONNECTIONS_A_SHARD: Final = 32
REQUESTS_A_SHARD: Final = 200_000
KEYS: Final = 100_000


def spread(site: Site) -> list[Figure]:
    """Puts of 256 B below one prefix, whose buckets lie on all shards."""
    shards = site.server.shards
    clients = CLIENTS_A_SHARD * shards
    total = site.requests(REQUESTS_A_SHARD * shards, clients)
    flags = [f"--clients={clients}", f"--conns={CONNECTIONS_A_SHARD * shards}"]
    flags += [f"--total={total}", f"--keys={KEYS}", f"--prefix={BENCH}"]
    return site.measure(lambda: site.driver.load("put", *flags, expect=total))


def scenarios() -> list[Scenario]:
    """For the cluster profile; a plain run has no use for them."""
    text = f"{CLIENTS_A_SHARD} clients a shard put 256 B, {KEYS:,} keys of one prefix"
    return [Scenario(SPREAD, text, spread, Setting("spread", nothing), by_default=False)]
