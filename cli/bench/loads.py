"""Requests a second and their latency: writes, reads, lists, watches, leases.

What it is: how each scenario of these groups is loaded. etcd's own `benchmark` does it where it
can, bench-load where it cannot. What it is not: a schedule; `runner.py` alternates the stores.

Invariants: both stores get the same flags; what a load needs is prepared outside its window.

Worked example: `cas-delete/64` creates its keys, puts each once to know our put rate, then deletes
each in a transaction that compares its mod revision; only the deletes are in the window.
"""

from __future__ import annotations

from functools import partial
from typing import Final

from .drivers import RequestsFailed
from .figures import THROUGHPUT, Figure, Measured
from .goals import AGAINST_PUTS, EVENTS, LIST_RATE
from .scenario import Scenario, Setting
from .site import Site, latencies, rate

CONNECTIONS: Final = {1: 1, 64: 8, 256: 32}
REQUESTS: Final = {1: 10_000, 64: 100_000, 256: 200_000}
MIXED_REQUESTS: Final = {1: 4_000, 64: 40_000, 256: 40_000}
MIXED_MIN: Final = 200  # by chance that the tool takes: of fewer, all may be of one kind
DELETES: Final = {1: 5_000, 64: 50_000, 256: 100_000}
KEY_SPACE: Final = 100_000
FILLERS: Final = 8
BENCH: Final = "/registry/pods/bench/"
WATCHED: Final = "/registry/configmaps/watched/"
# Enough puts for some seconds of delivery: events are puts times watchers.
DELIVERED_PUTS: Final = {1: 100_000, 100: 5_000, 1_000: 500}
PACED_PUTS: Final = {1: 200, 100: 200, 1_000: 20}  # a second: far from what either store can do
PACED_S: Final = 5
LEASES: Final = 1_000
LIST_TIMES: Final = {100_000: 5, 1_000_000: 1}
COUNT_TIMES: Final = {100_000: 1_000, 1_000_000: 100}
SHORT: Final = {100_000: "100k", 1_000_000: "1m"}


def nothing(_: Site) -> None:
    """An empty store."""


def clients(number: int) -> list[str]:
    """The two flags that both tools have."""
    return [f"--clients={number}", f"--conns={CONNECTIONS[number]}"]


def many(number: int, what: str = "client") -> str:
    """As one says it: 1 client, 64 clients."""
    return f"{number:,} {what}{'s' if number > 1 else ''}"


def filled(site: Site, count: int, size: int, prefix: str = BENCH) -> list[Measured]:
    """Keys of a range, through transactions of 128 puts."""
    return site.driver.load(
        "fill",
        f"--clients={FILLERS}",
        f"--conns={FILLERS}",
        f"--keys={count}",
        f"--value-size={size}",
        f"--prefix={prefix}",
    )


def put(site: Site, number: int, command: str) -> list[Figure]:
    """`put` or `txn-put` of etcd's tool."""
    total = site.requests(REQUESTS[number], number)
    flags = [f"--total={total}", "--key-size=64", "--val-size=256"]
    flags.append(f"--key-space-size={KEY_SPACE}")
    return site.measure(
        lambda: site.driver.benchmark(command, *clients(number), *flags, expect=total)
    )


def one_setting(site: Site) -> None:
    """The key that is read."""
    filled(site, 1, 256)


def read_one(site: Site, number: int) -> list[Figure]:
    """`range` of etcd's tool, linearizable, on one key of 256 B."""
    total = site.requests(REQUESTS[number], number)
    key = f"{BENCH}{0:010d}"
    return site.measure(
        lambda: site.driver.benchmark(
            "range", key, *clients(number), f"--total={total}", expect=total
        )
    )


def mixed(site: Site, number: int, reads_to_writes: float) -> list[Figure]:
    """`txn-mixed` of etcd's tool: pages of 100 keys, and puts."""
    total = max(site.requests(MIXED_REQUESTS[number], number), MIXED_MIN)
    found, figures = site.window(
        lambda: site.driver.benchmark(
            "txn-mixed",
            *clients(number),
            f"--total={total}",
            f"--rw-ratio={reads_to_writes}",
            "--limit=100",
            "--key-size=64",
            "--val-size=256",
            "--key-space-size=10000",
            names=("read", "write"),
            expect=total,
        )
    )
    reads, writes = found
    both = reads.ops + writes.ops
    throughput = Figure(THROUGHPUT, "/s", both / max(reads.seconds, writes.seconds))
    return [throughput, *latencies(reads, "read "), *latencies(writes, "write "), *figures]


def mixed_setting(site: Site) -> None:
    """The keys that `txn-mixed` reads and writes."""
    flags = ["--sequential-keys", "--key-size=64", "--val-size=256", "--key-space-size=10000"]
    site.driver.benchmark("put", *clients(64), "--total=10000", *flags, expect=10_000)


def create(site: Site, number: int) -> list[Figure]:
    """Transactions that make a key if it is absent; new keys in each round."""
    keys = site.requests(REQUESTS[number], number)
    prefix = f"{BENCH}{site.turn}/"
    return site.measure(
        lambda: site.driver.load(
            "create", *clients(number), f"--keys={keys}", f"--prefix={prefix}", expect=keys
        )
    )


def update_setting(site: Site) -> None:
    """The keys that are updated."""
    filled(site, 10_000, 256)


def update(site: Site, number: int) -> list[Figure]:
    """Transactions that change a key if nobody else did."""
    total = site.requests(REQUESTS[number], number)
    return site.measure(
        lambda: site.driver.load(
            "update", *clients(number), f"--total={total}", f"--prefix={BENCH}", expect=total
        )
    )


def cas_delete(site: Site, number: int) -> list[Figure]:
    """Transactions that delete a key if nobody changed it, beside puts of the same keys."""
    keys = site.requests(DELETES[number], number)
    prefix = f"{BENCH}{site.turn}/"
    which = [f"--keys={keys}", f"--prefix={prefix}"]
    filled(site, keys, 256, prefix)
    puts = site.driver.load("put", *clients(number), *which, f"--total={keys}", expect=keys)
    figures = site.measure(
        lambda: site.driver.load("delete", *clients(number), *which, expect=keys)
    )
    against = Figure(AGAINST_PUTS, "x", figures[0].value / puts[0].rate)
    return [figures[0], against, *figures[1:]]


def list_setting(site: Site, count: int) -> None:
    """The keys that are listed and counted."""
    filled(site, site.keys(count), 1024)


def list_all(site: Site, count: int, mode: str, limit: int = 0) -> list[Figure]:
    """All keys of 1 KiB in one of three forms; an op is a whole list."""
    keys = site.keys(count)
    times = 1 if site.warming else LIST_TIMES[count]
    flags = [f"--mode={mode}", f"--limit={limit}", f"--keys={keys}", f"--total={times}"]
    found, figures = site.window(
        lambda: site.driver.load("list", *flags, f"--prefix={BENCH}", expect=times)
    )
    lists = found[0]
    return [
        Figure(LIST_RATE, "MB/s", lists.bytes / lists.seconds / 1e6),
        Figure("keys", "/s", lists.keys / lists.seconds),
        *latencies(lists, "list "),
        *figures,
    ]


def count_all(site: Site, count: int) -> list[Figure]:
    """count_only over all keys."""
    total = site.requests(COUNT_TIMES[count])
    flags = ["--mode=count", f"--keys={site.keys(count)}", f"--total={total}"]
    return site.measure(lambda: site.driver.load("page", *flags, f"--prefix={BENCH}", expect=total))


def watch(site: Site, watchers: int, puts: int, per_second: int = 0) -> list[Figure]:
    """Events to watchers of one prefix; an op is one event at one watcher."""
    total = site.requests(puts, 1 if per_second else 64)
    found, figures = site.window(
        lambda: site.driver.load(
            "watch",
            *clients(1 if per_second else 64),
            f"--watchers={watchers}",
            f"--total={total}",
            f"--rate={per_second}",
            "--keys=1000",
            f"--prefix={WATCHED}",
            expect=total,
        )[::-1]  # the delivery first: it is what is measured
    )
    delivery, written = found
    if delivery.ops != total * watchers:
        raise RequestsFailed(f"{delivery.ops} events were delivered, not {total * watchers}")
    return [
        Figure(EVENTS, "/s", delivery.rate),
        *latencies(delivery),
        rate(written, "puts meanwhile"),
        *figures,
    ]


def watch_latency(site: Site) -> list[Figure]:
    """`watch-latency` of etcd's tool: from the put's answer until the event, if that is later."""
    total = site.requests(1_000)
    flags = ["--streams=10", "--watchers-per-stream=10", f"--put-total={total}", "--put-rate=100"]
    found, figures = site.window(
        lambda: site.driver.benchmark(
            "watch-latency", *flags, names=("put", "events"), expect=total
        )[::-1]
    )
    events, puts = found
    return [*latencies(events), *latencies(puts, "put "), *figures]


def simple(site: Site, tool: str, command: str, total: int, *flags: str) -> list[Figure]:
    """A command with 64 clients that needs no word more."""
    total = site.requests(total, 64)
    run = site.driver.load if tool == "load" else site.driver.benchmark
    return site.measure(
        lambda: run(command, *clients(64), f"--total={total}", *flags, expect=total)
    )


def lease_setting(site: Site) -> None:
    """The leases that puts belong to."""
    site.driver.load("lease-grant", *clients(64), f"--total={LEASES}", expect=LEASES)


def scenarios() -> list[Scenario]:
    """All of these groups."""
    return [*_writes(), *_reads(), *_lists(), *_watches(), *_leases()]


def _writes() -> list[Scenario]:
    updated = Setting("updated", update_setting)
    mixture = Setting("mixed", mixed_setting)
    found = []
    for command in ("put", "txn-put"):
        empty = Setting(command, nothing)
        text = f"`{command}` 64 B + 256 B, {KEY_SPACE:,} keys, etcd's tool"
        found += [
            Scenario(
                f"{command}/{n}",
                f"{many(n)} {text}",
                partial(put, number=n, command=command),
                empty,
            )
            for n in CONNECTIONS
        ]
    for name, do, setting, text in (
        ("txn-create", create, Setting("created", nothing), "make new keys of 256 B if absent"),
        ("txn-update", update, updated, "change 10,000 keys of 256 B if unchanged"),
        ("cas-delete", cas_delete, Setting("deleted", nothing), "delete keys if unchanged"),
    ):
        found += [
            Scenario(f"{name}/{n}", f"{many(n)} {text}", partial(do, number=n), setting)
            for n in CONNECTIONS
        ]
    for name, ratio in (("r1w8", 0.125), ("r8w1", 8.0)):
        found += [
            Scenario(
                f"txn-mixed/{name}/{n}",
                f"{many(n)}, {ratio:g} reads of 100 keys to a write, etcd's tool",
                partial(mixed, number=n, reads_to_writes=ratio),
                mixture,
            )
            for n in CONNECTIONS
        ]
    found.append(
        Scenario(
            "stm/64",
            "64 clients, etcd's software transactions over 1,000 keys, etcd's tool",
            lambda site: simple(site, "benchmark", "stm", 20_000, "--keys=1000"),
            Setting("stm", nothing),
        )
    )
    return found


def _reads() -> list[Scenario]:
    one = Setting("one key", one_setting)
    return [
        Scenario(
            f"range/{n}",
            f"{many(n)} read one key of 256 B, linearizable, etcd's tool",
            partial(read_one, number=n),
            one,
        )
        for n in CONNECTIONS
    ]


def _lists() -> list[Scenario]:
    found = []
    for count, short in SHORT.items():
        setting = Setting(f"{short} keys", partial(list_setting, count=count))
        text = f"{count:,} keys of 1 KiB"
        # The largest answer last: memory that it once took would hide what the others take.
        forms = [
            ("stream", "stream", 0, "by RangeStream"),
            ("pages-500", "pages", 500, "in pages of 500"),
            ("pages-10000", "pages", 10_000, "in pages of 10,000"),
            ("one", "one", 0, "as one Range"),
        ]
        usual = count == min(SHORT)
        counting = partial(count_all, count=count)
        found.append(Scenario(f"count/{short}", f"count_only of {text}", counting, setting, usual))
        found += [
            Scenario(
                f"list/{short}/{name}",
                f"list {text} {how}",
                partial(list_all, count=count, mode=mode, limit=limit),
                setting,
                usual,
            )
            for name, mode, limit, how in forms
        ]
    return found


def _watches() -> list[Scenario]:
    """Few watchers first: memory that many once took would hide what few take."""
    watched = Setting("watched", nothing)
    text = "100 puts a second at 100 watchers, from the put's answer until the event, etcd's tool"
    found = [Scenario("watch-latency/100", text, watch_latency, watched)]
    for watchers, puts in DELIVERED_PUTS.items():
        pace, who = PACED_PUTS[watchers], many(watchers, "watcher")
        paced = partial(watch, watchers=watchers, puts=pace * PACED_S, per_second=pace)
        full = partial(watch, watchers=watchers, puts=puts)
        found += [
            Scenario(
                f"watch-paced/{watchers}",
                f"{pace} puts a second at {who}, from before the put until the event",
                paced,
                watched,
            ),
            Scenario(
                f"watch-delivery/{watchers}",
                f"{who} of a prefix that 64 clients put to as fast as they can",
                full,
                watched,
            ),
        ]
    return found


def _leases() -> list[Scenario]:
    leased = Setting("leased", lease_setting)
    return [
        Scenario(
            "lease-grant/64",
            "64 clients grant leases",
            lambda site: simple(site, "load", "lease-grant", 20_000),
            leased,
        ),
        Scenario(
            "lease-put/64",
            "64 clients put 256 B with one of 1,000 leases",
            lambda site: simple(
                site, "load", "lease-put", 50_000, f"--leases={LEASES}", "--keys=10000"
            ),
            leased,
        ),
        Scenario(
            "lease-keepalive/64",
            "64 clients keep leases alive, etcd's tool",
            lambda site: simple(site, "benchmark", "lease-keepalive", 50_000),
            leased,
        ),
    ]
