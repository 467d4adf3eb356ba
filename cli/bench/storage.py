"""What large stores cost: memory, starts, deep pages, counts, space, compaction, mass deletes.

What it is: one procedure a scenario, each on a fresh server. What it is not: throughput; see
`loads.py`.

Invariants: data is random bytes that compress in neither store; the keys of a filled store come
through transactions of 128 puts by 8 clients; a revision that is said to be compacted was one put.

Worked example: `storage/space` fills 1 GiB, deletes nine keys of ten, compacts, defragments, and
divides what is on the disk by the bytes of the keys and values that are left.
"""

from __future__ import annotations

import signal
import time
from collections.abc import Callable
from functools import partial
from typing import Final

from .figures import P50, P99, PEAK_RSS, THROUGHPUT, Figure, Measured
from .goals import (
    COMPACTING_P99,
    LARGE_TO_SMALL,
    READY_CLEAN,
    READY_KILLED,
    RSS_FILLED,
    SPACE_FACTOR,
)
from .loads import BENCH, clients, filled
from .scenario import Scenario
from .servers import MIB
from .site import Site, latencies

SMALL: Final = "/registry/events/bench/"
NUMBER_BYTES: Final = 10  # of the digits that a key ends in
PAGE: Final = 500
PAGES: Final = 200  # times that a page is read


def filling(site: Site, count: int, size: int) -> list[Figure]:
    """Keys a second, and what the server holds then."""
    found, figures = site.window(lambda: filled(site, count, size))
    fill = found[0]
    kept = {PEAK_RSS, "disk"}
    return [
        Figure("fill keys", "/s", fill.keys / fill.seconds),
        *(figure for figure in figures if figure.name in kept),
        Figure(RSS_FILLED, "MiB", site.server.memory_mib("VmRSS")),
    ]


def footprint(site: Site, count: int, size: int) -> list[Figure]:
    """Memory, disk and starts of a store with so many keys."""
    figures = filling(site, site.keys(count), size)
    site.server.end(signal.SIGTERM)
    clean = site.server.start()
    resident = site.server.memory_mib("VmRSS")
    site.server.end(signal.SIGKILL)
    killed = site.server.start()
    return [
        *figures,
        Figure(READY_CLEAN, "s", clean),
        Figure(READY_KILLED, "s", killed),
        Figure("RSS after a start", "MiB", resident),
    ]


def pages(site: Site) -> list[Figure]:
    """One page of 500 in a large and in a small prefix: what depends on the size of the rest?"""
    # A page is whole at any scale: else the two would differ in what they carry.
    small = max(site.keys(10_000), 2 * PAGE)
    large = max(site.keys(1_000_000), 10 * small)
    filled(site, large, 256)
    filled(site, small, 256, SMALL)
    pinned = site.driver.load("status")[0].revision
    # The newest state is another one than the pinned one.
    for prefix, keys in ((BENCH, large), (SMALL, small)):
        flags = [f"--prefix={prefix}", f"--keys={keys}", f"--total={small}"]
        site.driver.load("put", *clients(64), *flags, expect=small)
    figures = []
    for revision, when in ((0, "newest"), (pinned, "old revision")):
        for mode in ("first", "middle"):
            took = {}
            for prefix, keys in ((BENCH, large), (SMALL, small)):
                flags = [f"--mode={mode}", f"--revision={revision}", f"--limit={PAGE}"]
                flags += [f"--prefix={prefix}", f"--keys={keys}", f"--total={PAGES}"]
                took[prefix] = site.driver.load("page", *flags, expect=PAGES)[0].latency_ms[P50]
            figures += [
                Figure(f"{mode} page, {when}, large", "ms", took[BENCH]),
                Figure(f"{mode} page, {when}, small", "ms", took[SMALL]),
                Figure(f"{LARGE_TO_SMALL}, {mode}, {when}", "x", took[BENCH] / took[SMALL]),
            ]
    return figures


def count(site: Site) -> list[Figure]:
    """count_only over all keys: the first time, and then."""
    keys = site.keys(1_000_000)
    filled(site, keys, 256)
    flags = ["--mode=count", f"--keys={keys}", f"--prefix={BENCH}"]
    begun = time.monotonic()
    site.driver.load("page", *flags, "--total=1", expect=1)
    first = time.monotonic() - begun
    found, figures = site.window(
        lambda: site.driver.load("page", *flags, f"--total={PAGES}", expect=PAGES)
    )
    return [Figure("first count", "ms", first * 1e3), *latencies(found[0]), *figures]


def space(site: Site) -> list[Figure]:
    """Delete nine of ten, compact, defragment: how much disk is left to how much data?"""
    keys, size = site.keys(1 << 20), 1024
    filled(site, keys, size)
    full = site.server.disk_mib()
    kept = max(keys // 10, 1)
    each = 10_000  # of one DeleteRange: both stores answer it within a second or so
    deleting = _timed(lambda: _delete_from(site, kept, keys, each))
    compacting = _timed(lambda: site.driver.load("compact", expect=1))
    defragmenting = _timed(lambda: site.driver.load("defragment", expect=1))
    live = kept * (size + len(BENCH) + NUMBER_BYTES) / MIB
    left = site.server.disk_mib()
    told = site.driver.load("status", expect=1)[0].bytes / MIB
    return [
        Figure("disk when full", "MiB", full),
        Figure("disk afterwards", "MiB", left),
        Figure("live data", "MiB", live),
        Figure(SPACE_FACTOR, "x", left / live),
        Figure("its own dbSize / live data", "x", told / live),
        Figure("deleting", "s", deleting),
        Figure("Compact", "s", compacting),
        Figure("Defragment", "s", defragmenting),
    ]


def _delete_from(site: Site, first: int, end: int, each: int) -> None:
    for begin in range(first, end, each):
        which = [f"--from={begin}", f"--keys={min(each, end - begin)}", f"--prefix={BENCH}"]
        site.driver.load("delete-prefix", *which, expect=1)


def _timed(do: Callable[[], object]) -> float:
    begun = time.monotonic()
    do()
    return time.monotonic() - begun


def compaction(site: Site) -> list[Figure]:
    """The latency of puts while 1,000,000 revisions are compacted, and in quiet."""
    revisions = max(site.keys(1_000_000), 10 * 256)
    which = ["--keys=10000", "--value-size=256", f"--prefix={BENCH}"]
    written = site.driver.load("put", *clients(256), *which, f"--total={revisions}")
    found = site.driver.load("compacting", *clients(64), *which, "--seconds=10")
    named: dict[str, Measured] = {one.name: one for one in found}
    quiet, busy, removal = named["quiet"], named["compacting"], named["compact"]
    figures = [
        Figure("puts before, 256 clients", "/s", written[0].rate),
        Figure(f"quiet {THROUGHPUT}", "/s", quiet.rate),
        *latencies(quiet, "quiet "),
        Figure(f"compacting {THROUGHPUT}", "/s", busy.rate),
        *latencies(busy, "compacting "),
        Figure("Compact", "s", removal.seconds),
    ]
    if P99 in quiet.latency_ms and P99 in busy.latency_ms:
        slower = busy.latency_ms[P99] / quiet.latency_ms[P99]
        figures.append(Figure(COMPACTING_P99, "x", slower))
    return figures


def mass_delete(site: Site) -> list[Figure]:
    """A list right after all of a prefix but its last keys is deleted: does it wade through?"""
    keys, left = site.keys(1_000_000), 5
    filled(site, keys, 256)
    deleting = _timed(lambda: _delete_from(site, 0, keys - left, 100_000))
    flags = ["--mode=first", f"--limit={left}", f"--prefix={BENCH}", f"--keys={keys}"]
    first = site.driver.load("page", *flags, "--total=1", expect=1)[0].seconds
    then = site.driver.load("page", *flags, f"--total={PAGES}", expect=PAGES)[0]
    return [
        Figure("deleting", "s", deleting),
        Figure("first list", "ms", first * 1e3),
        *latencies(then, "list "),
    ]


def scenarios() -> list[Scenario]:
    """All of this group; none runs unless it is named: they take minutes each."""
    rows: list[tuple[str, str, Callable[[Site], list[Figure]]]] = [
        (
            "1m-1k",
            "1,000,000 keys of 1 KiB: memory, disk, starts",
            partial(footprint, count=1_000_000, size=1024),
        ),
        (
            "10m-100b",
            "10,000,000 keys of 100 B: memory, disk, starts",
            partial(footprint, count=10_000_000, size=100),
        ),
        ("pages", "a page of 500 in 1,000,000 keys and in 10,000", pages),
        ("count", "count_only over 1,000,000 keys", count),
        ("space", "1 GiB, 90 % deleted, Compact, Defragment", space),
        ("compaction", "puts while 1,000,000 revisions are compacted", compaction),
        ("mass-delete", "a list right after 1,000,000 keys were deleted", mass_delete),
    ]
    return [
        Scenario(f"storage/{name}", text, measure, by_default=False) for name, text, measure in rows
    ]
