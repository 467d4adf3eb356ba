"""The flags of `kubebraid serve`: what an operator writes becomes frozen values.

What it is: names, defaults, environment and the checks that need no disk. What it is not: the
server. A flag wins over its environment variable (KUBEBRAID_DATA_DIR for --data-dir, ...), which
wins over the default; a flag is given once.

Invariant: whatever cannot be served is refused here with a sentence, before anything is touched.

Tested in tests/unit/cli/test_serve_config.py.
"""

from __future__ import annotations

import argparse
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, NoReturn

from kubebraid.base.limits import PROGRESS_INTERVAL_MS, REQUEST_BYTES_MAX, TXN_OPS_MAX
from kubebraid.base.tabletmap import TabletMap
from kubebraid.proto.fronts import BadListenUrl, FrontKind, listen_address

from .layouts import BadLayout, read_layout
from .node import SHARD

_UNITS_MS: Final = {"ms": 1, "s": 1_000, "m": 60_000, "h": 3_600_000}


class BadFlags(ValueError):
    """The command line cannot be served; the text is for the operator."""

    definite = True
    hint = "see 'kubebraid serve --help'"


@dataclass(frozen=True, slots=True)
class ServeConfig:
    """Everything `serve` was told. URLs are kept as written."""

    data_dir: Path
    client_urls: tuple[str, ...]
    metrics_urls: tuple[str, ...]
    name: str
    front: FrontKind
    engine: str
    first_map: TabletMap
    progress_interval_ms: int
    quota_bytes: int = 0
    request_bytes_max: int = REQUEST_BYTES_MAX
    txn_ops_max: int = TXN_OPS_MAX


def _argument_parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="kubebraid serve",
        description="Serve the etcd v3 API from one process, on one data directory.",
        allow_abbrev=False,
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )

    def add(flag: str, default: str, text: str, choices: tuple[str, ...] | None = None) -> None:
        parser.add_argument(flag, action=_Once, default=default, help=text, choices=choices)

    add("--data-dir", "default.kubebraid", "where everything is kept")
    add("--listen-client-urls", "http://127.0.0.1:2379", "comma-separated URLs for etcd clients")
    add("--listen-metrics-urls", "", "comma-separated URLs of /metrics, /health and /version")
    add("--name", "default", "the name of this member")
    add(
        "--front",
        "auto",
        "what carries gRPC; auto is native where it is installed",
        ("auto", "native", "grpcio"),
    )
    add("--engine", "rocksdb", "memory keeps nothing: for tests", ("rocksdb", "memory"))
    add(
        "--tablets",
        "kubernetes",
        "layout of a new store: kubernetes, single, a list of prefixes, or a file of them",
    )
    add(
        "--watch-progress-notify-interval",
        f"{PROGRESS_INTERVAL_MS // 60_000}m",
        "how often idle watches that asked for it are told the revision",
    )
    add("--quota-backend-bytes", "0", "refuse writes beyond so many bytes on disk; 0 is no quota")
    add("--max-request-bytes", str(REQUEST_BYTES_MAX), "the largest write, in bytes")
    add("--max-txn-ops", str(TXN_OPS_MAX), "the most operations in a branch of a transaction")
    return parser


class _Parser(argparse.ArgumentParser):
    """One sentence on stderr and no usage dump: the sentence must not scroll away."""

    def error(self, message: str) -> NoReturn:
        raise BadFlags(message)


class _Once(argparse.Action):
    """A repeated flag is refused: which one was meant?"""

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: str | Sequence[Any] | None,
        option_string: str | None = None,
    ) -> None:
        given: set[str] = getattr(namespace, "given", set())
        if self.dest in given:
            parser.error(f"{option_string} is given twice")
        namespace.given = given | {self.dest}
        setattr(namespace, self.dest, values)


def parse_serve(argv: Sequence[str], environ: Mapping[str, str] | None = None) -> ServeConfig:
    """Raises BadFlags; exits for --help, as argparse does."""
    environ = os.environ if environ is None else environ
    parser = _argument_parser()
    for action in list(parser._actions):
        name = "KUBEBRAID_" + action.dest.upper()
        if name in environ and action.dest != "help":
            if action.choices is not None and environ[name] not in action.choices:
                raise BadFlags(f"{name}={environ[name]} is none of {', '.join(action.choices)}")
            parser.set_defaults(**{action.dest: environ[name]})
    flags = parser.parse_args(argv)
    try:
        client_urls = _urls(flags.listen_client_urls)
        metrics_urls = _urls(flags.listen_metrics_urls)
        first_map = read_layout(flags.tablets, SHARD)
    except (BadListenUrl, BadLayout) as error:
        raise BadFlags(f"{error}; {error.hint}") from error
    if not client_urls:
        raise BadFlags("--listen-client-urls is empty: there would be nothing to serve")
    return ServeConfig(
        data_dir=Path(flags.data_dir),
        client_urls=client_urls,
        metrics_urls=metrics_urls,
        name=flags.name,
        front=flags.front,
        engine=flags.engine,
        first_map=first_map,
        progress_interval_ms=_duration_ms(flags.watch_progress_notify_interval),
        quota_bytes=_number("--quota-backend-bytes", flags.quota_backend_bytes, 0, 1 << 62),
        request_bytes_max=_number(
            "--max-request-bytes", flags.max_request_bytes, 1, REQUEST_BYTES_MAX
        ),
        txn_ops_max=_number("--max-txn-ops", flags.max_txn_ops, 1, 1 << 16),
    )


def _urls(value: str) -> tuple[str, ...]:
    urls = tuple(part.strip() for part in value.split(",") if part.strip())
    for url in urls:
        listen_address(url)
    return urls


def _number(flag: str, text: str, least: int, most: int) -> int:
    """A decimal integer within bounds."""
    if not re.fullmatch(r"-?\d+", text) or not least <= int(text) <= most:
        raise BadFlags(f"{flag}={text} is no number from {least} to {most}")
    return int(text)


def _duration_ms(text: str) -> int:
    """A Go duration such as 10m, 1h30m or 500ms, in milliseconds."""
    parts = re.findall(r"(\d+(?:\.\d+)?)(ms|h|m|s)", text)
    if not parts or "".join(number + unit for number, unit in parts) != text:
        raise BadFlags(f"{text!r} is no duration; write 10m, 30s or 500ms")
    total = int(sum(float(number) * _UNITS_MS[unit] for number, unit in parts))
    if total <= 0:
        raise BadFlags(f"the duration {text!r} must be positive")
    return total
