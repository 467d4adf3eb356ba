"""The flags of `kubebraid serve`: what an operator writes becomes frozen values.

What it is: which source of a value wins, and the checks that need no disk. What it is not: the
server, or the table of flags (`flags.py`).

A flag wins over KUBEBRAID_DATA_DIR, which wins over ETCD_DATA_DIR, which wins over the default. A
configuration file stands alone: what else was said is ignored, as in etcd, but with a warning. An
empty variable is one that is not set; a flag is given once.

Invariants: whatever cannot be served is refused here with a sentence, before anything is touched; a
refusal names the flag, the variable or the file that is meant.

Worked example: `ETCD_NAME=a kubebraid serve --data-dir=/data` is a member named a.

Source: etcd server/etcdmain/config.go, server/embed/etcd.go parseCompactionRetention. Tested in
tests/unit/cli/test_serve_config.py.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from kubebraid.base.limits import (
    REQUEST_BYTES_ADVISED,
    REQUEST_BYTES_CEILING,
    REQUEST_BYTES_MAX,
    TXN_OPS_MAX,
)
from kubebraid.base.tabletmap import TabletMap
from kubebraid.coordinator.autocompact import HOUR_MS, PERIOD_MS_MIN, Retention
from kubebraid.proto.fronts import BadListenUrl, FrontKind, listen_address

from .flag_sources import BadFlags, Values, read_values
from .layouts import BadLayout, read_layout
from .node import SHARD

_UNITS_MS: Final = {
    "ns": 1e-6,
    "us": 1e-3,
    "µs": 1e-3,
    "ms": 1,
    "s": 1_000,
    "m": 60_000,
    "h": HOUR_MS,
}
_PERIOD_MS_MAX: Final = 292 * 365 * 24 * HOUR_MS  # Go's longest duration, about
_REVISIONS_MAX: Final = 1 << 62


@dataclass(frozen=True, slots=True)
class LogConfig:
    """Level, format and output, by etcd's names."""

    level: str = "info"
    form: str = "json"
    output: str = "default"


@dataclass(frozen=True, slots=True)
class ServeConfig:
    """Everything `serve` was told. URLs are kept as written; `warnings` are to be logged."""

    data_dir: Path
    client_urls: tuple[str, ...]
    advertised_urls: tuple[str, ...]
    metrics_urls: tuple[str, ...]
    name: str
    front: FrontKind
    engine: str
    first_map: TabletMap
    progress_interval_ms: int
    retention: Retention
    quota_bytes: int = 0
    request_bytes_max: int = REQUEST_BYTES_MAX
    txn_ops_max: int = TXN_OPS_MAX
    log: LogConfig = LogConfig()
    warnings: tuple[str, ...] = ()


def parse_serve(argv: Sequence[str], environ: Mapping[str, str] | None = None) -> ServeConfig:
    """Raises BadFlags; exits for --help, as argparse does."""
    values = read_values(argv, os.environ if environ is None else environ)
    client_urls = _listen_urls(values, "listen-client-urls")
    if not client_urls:
        name = values.named("listen-client-urls")
        raise BadFlags(f"{name} is empty: there would be nothing to serve")
    advertised_urls = _advertised_urls(values) or client_urls
    front = _front(values["front"])
    request_bytes_max = _number(values, "max-request-bytes", 1, REQUEST_BYTES_CEILING)
    return ServeConfig(
        data_dir=Path(values["data-dir"]),
        client_urls=client_urls,
        advertised_urls=advertised_urls,
        metrics_urls=_listen_urls(values, "listen-metrics-urls"),
        name=values["name"],
        front=front,
        engine=values["engine"],
        first_map=_first_map(values),
        progress_interval_ms=_interval_ms(values, "watch-progress-notify-interval"),
        retention=_retention(values),
        quota_bytes=max(0, _number(values, "quota-backend-bytes", -(1 << 62), 1 << 62)),
        request_bytes_max=request_bytes_max,
        txn_ops_max=_number(values, "max-txn-ops", 1, 1 << 16),
        log=LogConfig(values["log-level"], values["log-format"], values["log-outputs"]),
        warnings=(*values.warnings, *_advice(advertised_urls, request_bytes_max)),
    )


def _advice(advertised_urls: Sequence[str], request_bytes_max: int) -> list[str]:
    found = [
        f"clients are told to use {url}, which is every machine's own address; "
        "set --advertise-client-urls"
        for url in advertised_urls
        if urlsplit(url).hostname in ("0.0.0.0", "::")
    ]
    if request_bytes_max > REQUEST_BYTES_ADVISED:
        found.append(f"--max-request-bytes is above the {REQUEST_BYTES_ADVISED} that etcd advises")
    return found


# -- URLs -----------------------------------------------------------------------------------------


def _split(value: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in value.split(",") if part.strip())


def _listen_urls(values: Values, name: str) -> tuple[str, ...]:
    urls = _split(values[name])
    addresses: set[str] = set()
    for url in urls:
        try:
            address = listen_address(url)
        except BadListenUrl as error:
            raise BadFlags(f"{values.named(name)}: {error}; {error.hint}") from error
        if address in addresses:
            raise BadFlags(f"{values.named(name)} has {url} twice")
        addresses.add(address)
    return urls


def _advertised_urls(values: Values) -> tuple[str, ...]:
    """What others connect to: https and unixs too, as a proxy may end TLS in front of us."""
    urls = _split(values["advertise-client-urls"])
    for url in urls:
        try:
            parts = urlsplit(url)
            complete = bool(parts.hostname) and parts.port is not None
        except ValueError:
            complete = False
        is_file = url.partition(":")[0] in ("unix", "unixs") and len(url.strip("/")) > len("unix:")
        is_host = url.partition(":")[0] in ("http", "https") and complete
        if not is_file and not is_host:
            named = values.named("advertise-client-urls")
            raise BadFlags(f"{named}: {url} is no http://host:port and no unix:///path")
    return urls


def _first_map(values: Values) -> TabletMap:
    try:
        return read_layout(values["tablets"], SHARD)
    except BadLayout as error:
        raise BadFlags(f"{values.named('tablets')}: {error}; {error.hint}") from error


def _front(value: str) -> FrontKind:
    if value == "native":
        return "native"
    return "grpcio" if value == "grpcio" else "auto"


# -- numbers and durations ------------------------------------------------------------------------


def _number(values: Values, name: str, least: int, most: int) -> int:
    """A decimal integer within bounds."""
    text = values[name]
    if not re.fullmatch(r"-?\d{1,19}", text) or not least <= int(text) <= most:
        raise BadFlags(f"{values.named(name)}={text} is no number from {least} to {most}")
    return int(text)


def _duration_ms(text: str) -> float | None:
    """A Go duration such as 10m, 1h30m or 500ms, in milliseconds; None if it is none."""
    parts = re.findall(r"(\d+(?:\.\d+)?)(ns|us|µs|ms|h|m|s)", text)
    if not parts or "".join(number + unit for number, unit in parts) != text:
        return None
    return sum(float(number) * _UNITS_MS[unit] for number, unit in parts)


def _interval_ms(values: Values, name: str) -> int:
    text = values[name]
    if values.of_file and re.fullmatch(r"\d{1,19}", text):
        text += "ns"  # etcd's files give Go durations as plain numbers
    duration_ms = _duration_ms(text)
    if duration_ms is None:
        raise BadFlags(f"{values.named(name)}={text} is no duration; write 10m, 30s or 500ms")
    if duration_ms < 1:
        raise BadFlags(f"{values.named(name)}={text} must be positive: 1ms or more")
    return int(duration_ms)


def _retention(values: Values) -> Retention:
    """As etcd: a number is hours, or revisions; with a unit it is a duration; 0 is off."""
    name, text = values.named("auto-compaction-retention"), values["auto-compaction-retention"]
    number = int(text) if re.fullmatch(r"\d{1,19}", text) else None
    if values["auto-compaction-mode"] == "revision":
        if number is None or number > _REVISIONS_MAX:
            # etcd takes 5m for 300,000,000,000 revisions: nobody can mean that.
            raise BadFlags(f"{name}={text} is no number of revisions, as the mode 'revision' wants")
        return Retention("revision", number)
    duration_ms = number * HOUR_MS if number is not None else _duration_ms(text)
    if duration_ms is None or duration_ms > _PERIOD_MS_MAX:
        raise BadFlags(f"{name}={text} is no number of hours and no duration; write 8, 30m or 0")
    if 0 < duration_ms < PERIOD_MS_MIN:
        raise BadFlags(f"{name}={text} is too short; {PERIOD_MS_MIN}ms is the least, 0 is off")
    return Retention("periodic", int(duration_ms))
