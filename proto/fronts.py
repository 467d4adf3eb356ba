"""Chooses and builds the front of a listen URL.

What it is: the one place that knows which fronts there are. What it is not: a dependency on the
native package; that is looked for only when it may be used.

Words: the *address* of a URL is host:port, or the path of a Unix socket; a path has a slash.

Worked example: `make_front("auto", "http://127.0.0.1:2379", deliver)` is a `NativeFront` where
pygrpc-native is installed, else a `GrpcioFront`; both serve `127.0.0.1:2379`. For
`unix:///run/kb.sock` either of them is inside a `UnixFront`, which owns that file.

Source of what a Unix URL may be: etcd server/embed/etcd.go resolveURL. Tested in
tests/unit/proto/test_fronts.py, tests/contract/test_front.py.
"""

from __future__ import annotations

import importlib.util
from typing import Final, Literal
from urllib.parse import SplitResult, unquote, urlsplit

from kubebraid.base.limits import MESSAGE_BYTES_MAX

from .front_grpcio import GrpcioFront
from .front_unix import PATH_BYTES_MAX, UnixFront
from .server import Deliver, Front

FrontKind = Literal["native", "grpcio", "auto"]
NATIVE_PACKAGE: Final = "pygrpc_native"
PORT_MAX: Final = 65_535


class BadListenUrl(ValueError):
    """A listen URL that no front can serve; the text names it and the reason."""

    definite = True
    hint = "write http://host:port or unix:///path, for example http://127.0.0.1:2379"


def make_front(
    kind: FrontKind, url: str, deliver: Deliver, message_bytes_max: int = MESSAGE_BYTES_MAX
) -> Front:
    """The front that serves `url`, not started yet. Raises `BadListenUrl`."""
    address = listen_address(url)
    if chosen_kind(kind) == "grpcio":
        front: Front = GrpcioFront(address, deliver, message_bytes_max)
    else:
        # Here, not above: the package is optional.
        from .front_native import NativeFront

        front = NativeFront(address, deliver, f"front {address}", message_bytes_max)
    return UnixFront(front, address) if is_path(address) else front


def chosen_kind(kind: FrontKind) -> Literal["native", "grpcio"]:
    """What `auto` stands for on this machine."""
    if kind == "auto":
        return "native" if importlib.util.find_spec(NATIVE_PACKAGE) else "grpcio"
    return kind


def is_path(address: str) -> bool:
    """Whether it is the path of a Unix socket."""
    return "/" in address


def listen_address(url: str) -> str:
    """host:port of a listen URL, an IPv6 host in brackets, or a path. Raises `BadListenUrl`."""
    parts = urlsplit(url)
    if parts.scheme in ("https", "unixs"):
        plain = parts.scheme.removesuffix("s")
        raise BadListenUrl(f"cannot listen on {url}: TLS is not there yet, use {plain}")
    if parts.scheme == "unix":
        return _path(url, parts)
    if parts.scheme != "http":
        raise BadListenUrl(f"cannot listen on {url}: the scheme must be http or unix")
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


def _path(url: str, parts: SplitResult) -> str:
    """As etcd: all behind unix://, so that unix://127.0.0.1:2379 is a file in this folder."""
    if not url[len("unix:") :].startswith("/"):
        # etcd's server would take unix:name for the empty path.
        raise BadListenUrl(f"cannot listen on {url}: a path must follow unix://")
    if parts.query or parts.fragment:
        raise BadListenUrl(f"cannot listen on {url}: only a path may follow unix://")
    path = parts.netloc + unquote(parts.path)
    if not path.strip("/"):
        raise BadListenUrl(f"cannot listen on {url}: a path must follow unix://")
    if not is_path(path):
        path = f"./{path}"
    if len(path.encode()) > PATH_BYTES_MAX:
        raise BadListenUrl(f"cannot listen on {url}: the path is over {PATH_BYTES_MAX} bytes")
    return path
