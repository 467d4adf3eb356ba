"""What the values of flags mean where several commands share a meaning: numbers, times, URLs, logs.

What it is: from text to a checked value. What it is not: where the text is from
(`flag_sources.py`), or which flags a command has.

Invariants: nothing is read or opened; a refusal names the flag, the variable or the key that is
meant.

Worked example: `interval_ms` of `--watch-progress-notify-interval=1m30s` is 90,000.

Tested in tests/unit/cli/test_serve_config.py, tests/unit/cli/test_role_config.py.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from .flag_sources import BadFlags, Values

if TYPE_CHECKING:
    from kubebraid.proto.fronts import FrontKind

_UNITS_MS: Final = {
    "ns": 1e-6,
    "us": 1e-3,
    "µs": 1e-3,
    "ms": 1,
    "s": 1_000,
    "m": 60_000,
    "h": 3_600_000,
}
_UNITS_BYTES: Final = {
    "": 1,
    "b": 1,
    "kb": 10**3,
    "mb": 10**6,
    "gb": 10**9,
    "kib": 1 << 10,
    "mib": 1 << 20,
    "gib": 1 << 30,
}


@dataclass(frozen=True, slots=True)
class LogConfig:
    """Level, format and output, by etcd's names."""

    level: str = "info"
    form: str = "json"
    output: str = "default"


def log_config(values: Values) -> LogConfig:
    """Of the three log flags."""
    return LogConfig(values["log-level"], values["log-format"], values["log-outputs"])


def split(value: str) -> tuple[str, ...]:
    """The parts of a comma-separated list; empty ones do not count."""
    return tuple(part.strip() for part in value.split(",") if part.strip())


def listen_urls(values: Values, name: str) -> tuple[str, ...]:
    """URLs that a front can serve, each address once. Raises BadFlags."""
    # Here, not above: a process without clients needs no gRPC.
    from kubebraid.proto.fronts import BadListenUrl, listen_address

    urls = split(values[name])
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


def advertised_urls(values: Values, name: str) -> tuple[str, ...]:
    """What others connect to: https and unixs too, as a proxy may end TLS in front of us.

    Raises BadFlags.
    """
    urls = split(values[name])
    for url in urls:
        try:
            parts = urlsplit(url)
            complete = bool(parts.hostname) and parts.port is not None
        except ValueError:
            complete = False
        is_file = url.partition(":")[0] in ("unix", "unixs") and len(url.strip("/")) > len("unix:")
        is_host = url.partition(":")[0] in ("http", "https") and complete
        if not is_file and not is_host:
            named = values.named(name)
            raise BadFlags(f"{named}: {url} is no http://host:port and no unix:///path")
    return urls


def front_kind(value: str) -> FrontKind:
    """Of a value that is one of the flag's choices."""
    if value == "native":
        return "native"
    return "grpcio" if value == "grpcio" else "auto"


def number(values: Values, name: str, least: int, most: int) -> int:
    """A decimal integer within bounds. Raises BadFlags."""
    text = values[name]
    if not re.fullmatch(r"-?\d{1,19}", text) or not least <= int(text) <= most:
        raise BadFlags(f"{values.named(name)}={text} is no number from {least} to {most}")
    return int(text)


def size_bytes(values: Values, name: str) -> int:
    """Bytes, or with a unit such as 500MB or 4GiB. Raises BadFlags."""
    found = bytes_in(values[name])
    if found is None:
        told = f"{values.named(name)}={values[name]}"
        raise BadFlags(f"{told} is no size; write bytes, 500MB or 4GiB")
    return found


def bytes_in(text: str) -> int | None:
    """A size such as 4096, 500MB, 1.5GiB or 4gib, in bytes; None if it is none."""
    found = re.fullmatch(r"([0-9]{1,15}(?:\.[0-9]{1,15})?) *([a-zA-Z]*)", text)
    if found is None or found[2].lower() not in _UNITS_BYTES:
        return None
    return int(float(found[1]) * _UNITS_BYTES[found[2].lower()])


def duration_ms(text: str) -> float | None:
    """A Go duration such as 10m, 1h30m or 500ms, in milliseconds; None if it is none."""
    parts = re.findall(r"(\d+(?:\.\d+)?)(ns|us|µs|ms|h|m|s)", text)
    if not parts or "".join(count + unit for count, unit in parts) != text:
        return None
    return sum(float(count) * _UNITS_MS[unit] for count, unit in parts)


def interval_ms(values: Values, name: str) -> int:
    """A duration of a millisecond or more. Raises BadFlags."""
    text = values[name]
    if values.of_file and re.fullmatch(r"\d{1,19}", text):
        text += "ns"  # etcd's files give Go durations as plain numbers
    found_ms = duration_ms(text)
    if found_ms is None:
        raise BadFlags(f"{values.named(name)}={text} is no duration; write 10m, 30s or 500ms")
    if found_ms < 1:
        raise BadFlags(f"{values.named(name)}={text} must be positive: 1ms or more")
    return int(found_ms)
