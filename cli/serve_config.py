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
from dataclasses import dataclass, field
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
from kubebraid.proto.fronts import FrontKind
from kubebraid.shard.storage.tikv_seam import Tls

from .flag_sources import BadFlags, Values, read_values
from .flag_values import (
    LogConfig,
    advertised_urls,
    duration_ms,
    front_kind,
    interval_ms,
    listen_urls,
    log_config,
    number,
)
from .layouts import BadLayout, read_layout
from .node import SHARD
from .tikv_flags import pd_of_engine, store_name, tls_of

_PERIOD_MS_MAX: Final = 292 * 365 * 24 * HOUR_MS  # Go's longest duration, about
_REVISIONS_MAX: Final = 1 << 62


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
    pd: tuple[str, ...] = ()
    tls: Tls | None = None
    tikv_store: str = ""
    quota_bytes: int = 0
    request_bytes_max: int = REQUEST_BYTES_MAX
    txn_ops_max: int = TXN_OPS_MAX
    log: LogConfig = field(default_factory=LogConfig)
    warnings: tuple[str, ...] = ()


def parse_serve(argv: Sequence[str], environ: Mapping[str, str] | None = None) -> ServeConfig:
    """Raises BadFlags; exits for --help, as argparse does."""
    values = read_values(argv, os.environ if environ is None else environ)
    client_urls = listen_urls(values, "listen-client-urls")
    if not client_urls:
        name = values.named("listen-client-urls")
        raise BadFlags(f"{name} is empty: there would be nothing to serve")
    advertised = advertised_urls(values, "advertise-client-urls") or client_urls
    request_bytes_max = number(values, "max-request-bytes", 1, REQUEST_BYTES_CEILING)
    return ServeConfig(
        data_dir=Path(values["data-dir"]),
        client_urls=client_urls,
        advertised_urls=advertised,
        metrics_urls=listen_urls(values, "listen-metrics-urls"),
        name=values["name"],
        front=front_kind(values["front"]),
        engine=values["engine"],
        pd=pd_of_engine(values),
        tls=tls_of(values),
        tikv_store=store_name(values),
        first_map=_first_map(values),
        progress_interval_ms=interval_ms(values, "watch-progress-notify-interval"),
        retention=_retention(values),
        quota_bytes=max(0, number(values, "quota-backend-bytes", -(1 << 62), 1 << 62)),
        request_bytes_max=request_bytes_max,
        txn_ops_max=number(values, "max-txn-ops", 1, 1 << 16),
        log=log_config(values),
        warnings=(*values.warnings, *_advice(advertised, request_bytes_max)),
    )


def _advice(advertised: Sequence[str], request_bytes_max: int) -> list[str]:
    found = [
        f"clients are told to use {url}, which is every machine's own address; "
        "set --advertise-client-urls"
        for url in advertised
        if urlsplit(url).hostname in ("0.0.0.0", "::")
    ]
    if request_bytes_max > REQUEST_BYTES_ADVISED:
        found.append(f"--max-request-bytes is above the {REQUEST_BYTES_ADVISED} that etcd advises")
    return found


def _first_map(values: Values) -> TabletMap:
    try:
        return read_layout(values["tablets"], SHARD)
    except BadLayout as error:
        raise BadFlags(f"{values.named('tablets')}: {error}; {error.hint}") from error


def _retention(values: Values) -> Retention:
    """As etcd: a number is hours, or revisions; with a unit it is a duration; 0 is off."""
    name, text = values.named("auto-compaction-retention"), values["auto-compaction-retention"]
    amount = int(text) if re.fullmatch(r"\d{1,19}", text) else None
    if values["auto-compaction-mode"] == "revision":
        if amount is None or amount > _REVISIONS_MAX:
            # etcd takes 5m for 300,000,000,000 revisions: nobody can mean that.
            raise BadFlags(f"{name}={text} is no number of revisions, as the mode 'revision' wants")
        return Retention("revision", amount)
    span_ms = amount * HOUR_MS if amount is not None else duration_ms(text)
    if span_ms is None or span_ms > _PERIOD_MS_MAX:
        raise BadFlags(f"{name}={text} is no number of hours and no duration; write 8, 30m or 0")
    if 0 < span_ms < PERIOD_MS_MIN:
        raise BadFlags(f"{name}={text} is too short; {PERIOD_MS_MIN}ms is the least, 0 is off")
    return Retention("periodic", int(span_ms))
