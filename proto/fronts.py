"""Chooses and builds the front of a listen URL.

What it is: the one place that knows which fronts there are. What it is not: a dependency on the
native package; that is looked for only when it may be used.

Worked example: `make_front("auto", "http://127.0.0.1:2379", deliver)` is a `NativeFront` where
pygrpc-native is installed, else a `GrpcioFront`; both serve `127.0.0.1:2379`.

Tested in tests/contract/test_front.py.
"""

from __future__ import annotations

import importlib.util
from typing import Final, Literal
from urllib.parse import urlsplit

from .front_grpcio import GrpcioFront
from .server import Deliver, Front

FrontKind = Literal["native", "grpcio", "auto"]
NATIVE_PACKAGE: Final = "pygrpc_native"
PORT_MAX: Final = 65_535


class BadListenUrl(ValueError):
    """A listen URL that no front can serve; the text names it and the reason."""

    definite = True
    hint = "write http://host:port, for example http://127.0.0.1:2379"


def make_front(kind: FrontKind, url: str, deliver: Deliver) -> Front:
    """The front that serves `url`, not started yet. Raises `BadListenUrl`."""
    address = listen_address(url)
    if kind == "auto":
        kind = "native" if importlib.util.find_spec(NATIVE_PACKAGE) else "grpcio"
    if kind == "grpcio":
        return GrpcioFront(address, deliver)
    assert kind == "native", kind
    # Here, not above: the package is optional.
    from .front_native import NativeFront

    return NativeFront(address, deliver, name=f"front {address}")


def listen_address(url: str) -> str:
    """host:port of a listen URL, an IPv6 host in brackets. Raises `BadListenUrl`."""
    parts = urlsplit(url)
    if parts.scheme == "https":
        raise BadListenUrl(f"cannot listen on {url}: TLS is not there yet, use http")
    if parts.scheme != "http":
        raise BadListenUrl(f"cannot listen on {url}: the scheme must be http")
    if parts.path not in ("", "/") or parts.query or parts.fragment or parts.username is not None:
        raise BadListenUrl(f"cannot listen on {url}: only host and port may follow http://")
    try:
        port = parts.port
    except ValueError:
        raise BadListenUrl(
            f"cannot listen on {url}: the port is no number up to {PORT_MAX}"
        ) from None
    if not parts.hostname or port is None:
        raise BadListenUrl(f"cannot listen on {url}: host and port are both needed")
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    return f"{host}:{port}"
