"""What both fronts do alike: the message limit, the texts of etcd's gRPC library, addresses.

What it is not: a front, or anything that knows asyncio, threads or gRPC.

Worked example: `too_large(2_097_153, 2_097_152)` is the ending with code 8 and the text
`grpc: received message larger than max (2097153 vs. 2097152)`.

Tested in tests/contract/test_front.py.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from .server import METHODS

RESOURCE_EXHAUSTED: Final = 8
UNIMPLEMENTED: Final = 12
UNAVAILABLE: Final = 14


class Ending(NamedTuple):
    """How a call ends, after what was sent on it: a gRPC status code and its text."""

    code: int
    message: str


OK: Final = Ending(0, "")
STOPPED: Final = Ending(UNAVAILABLE, "etcdserver: server stopped")


def too_large(size: int, limit: int) -> Ending:
    """For a message above the limit."""
    assert size > limit, (size, limit)
    text = f"grpc: received message larger than max ({size} vs. {limit})"
    return Ending(RESOURCE_EXHAUSTED, text)


def unknown_method(path: str) -> Ending:
    """For a path that is not in METHODS."""
    service, slash, method = path.removeprefix("/").rpartition("/")
    if not slash:
        return Ending(UNIMPLEMENTED, f'malformed method name: "{path}"')
    if any(spec.path.startswith(f"/{service}/") for spec in METHODS):
        return Ending(UNIMPLEMENTED, f"unknown method {method} for service {service}")
    return Ending(UNIMPLEMENTED, f"unknown service {service}")


def target_of(address: str) -> str:
    """The gRPC target of an address: host:port as it is, a path as a Unix socket."""
    return f"unix:{address}" if "/" in address else address


def with_port(address: str, port: int) -> str:
    """The address with the port that was really bound; a path has none."""
    if "/" in address:
        return address
    host, colon, asked = address.rpartition(":")
    assert colon, f"{address} is not host:port"
    assert asked in ("0", str(port)), f"asked for {asked}, bound {port}"
    return f"{host}:{port}"
