"""What the two load tools print, as values.

What it is: parsers for the report of etcd's `benchmark` (3.6) and for the JSON lines of bench-
load. What it is not: a runner of either; see `drivers.py`.

Invariants: a request is counted as done or as failed, never both; a text that neither tool prints
is refused, as a zero would look like a measurement.

Worked example: the lines `Total: 2.0000 secs.`, a histogram whose counts add up to 4,000 and
`99% in 0.0120 secs.` are 4,000 requests in 2 s with a p99 of 12 ms. `benchmark` prints
`Requests/sec` of the successful ones alone, so failures are added from its error distribution.

Tested in tests/unit/cli/bench/test_outputs.py, on output recorded from the real tools.
"""

from __future__ import annotations

import json
import re
from typing import Any, Final

from .figures import P50, P99, P999, PERCENTILES, Measured, enough, percentiles

NUMBER: Final = r"([0-9.]+(?:e[-+]?[0-9]+)?)"
TOTAL: Final = re.compile(rf"^\s*Total:\s+{NUMBER} secs", re.MULTILINE)
BAR: Final = re.compile(rf"^\s*{NUMBER} \[([0-9]+)\]\s*\|", re.MULTILINE)
QUANTILE: Final = re.compile(rf"^\s*([0-9.]+)% in {NUMBER} secs", re.MULTILINE)
FAILED: Final = re.compile(r"^\s*\[([0-9]+)\]\s+(.*)$", re.MULTILINE)
SUMMARY: Final = "Summary:\n"  # the headlines over it end in "summary:"
ERRORS: Final = "Error distribution:"
QUANTILES: Final = {"50": P50, "99": P99, "99.9": P999}


class NotUnderstood(Exception):
    """A tool printed something else than it should."""


def benchmark(text: str, names: tuple[str, ...]) -> list[Measured]:
    """The sections of a report, named in their order."""
    assert names
    sections = text.split(SUMMARY)[1:]
    failed = FAILED.findall("".join(part for part in text.split(ERRORS)[1:]))
    errors, first = sum(int(n) for n, _ in failed), failed[0][1] if failed else ""
    if len(sections) != len(names) and not errors:
        raise NotUnderstood(f"{len(sections)} summaries came, not {len(names)}: {text[:500]!r}")
    found = [_section(name, part) for name, part in zip(names, sections, strict=False)]
    if errors:
        rest = found[1:]
        head = found[0] if found else Measured(names[0], 0, 0.0, {})
        head = Measured(head.name, head.ops, head.seconds, head.latency_ms, errors, first)
        return [head, *rest]
    return found


def _section(name: str, text: str) -> Measured:
    text = text.split(ERRORS, maxsplit=1)[0]
    total = TOTAL.search(text)
    if total is None:
        raise NotUnderstood(f"a summary without its total: {text[:500]!r}")
    ops = sum(int(count) for _, count in BAR.findall(text))
    shares = dict(PERCENTILES)
    latency_ms = {
        QUANTILES[quantile]: float(seconds) * 1e3
        for quantile, seconds in QUANTILE.findall(text)
        if quantile in QUANTILES and enough(ops, shares[QUANTILES[quantile]])
    }
    return Measured(name, ops, float(total[1]), latency_ms)


def bench_load(text: str) -> list[Measured]:
    """The lines, in their order."""
    try:
        lines = [json.loads(line) for line in text.splitlines() if line]
        found = [_line(line) for line in lines]
    except (ValueError, KeyError, TypeError) as error:
        raise NotUnderstood(f"{error!r}: {text[:500]!r}") from error
    if not found:
        raise NotUnderstood("bench-load printed nothing")
    return found


def _line(line: dict[str, Any]) -> Measured:
    pairs = [(float(upper) / 1e3, int(count)) for upper, count in line["latency_us"]]
    return Measured(
        name=str(line["name"]),
        ops=int(line["ops"]),
        seconds=float(line["seconds"]),
        latency_ms=percentiles(pairs),
        errors=int(line["errors"]),
        first_error=str(line["first_error"]),
        bytes=int(line["bytes"]),
        keys=int(line["keys"]),
        revision=int(line["revision"]),
        resumed=int(line.get("resumed", 0)),
        client_cpu_s=float(line["client_cpu_seconds"]),
    )
