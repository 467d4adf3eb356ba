"""Asks routers for the status of their cluster: the first that answers counts.

What it is: endpoints to channels, one unary call with a deadline, failures as sentences. What it is
not: what the answer means.

Worked example: `first_answer(["http://a:2379", "http://b:2379"])`: nothing listens on a, b answers.

Tested in tests/unit/cli/test_ctl_command.py, tests/e2e/test_ctl_cluster.py.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final
from urllib.parse import urlsplit

import grpc

from kubebraid.base.errors import Refused
from kubebraid.proto.adminwire import CLUSTER_STATUS, ClusterStatus, decode_status
from kubebraid.proto.owner_wire import Malformed

ASK_S_MAX: Final = 5.0  # for each endpoint; a router answers in half a second
ANSWER_BYTES_MAX: Final = 64 << 20  # 200,000 tablets
OPTIONS: Final = (
    ("grpc.enable_http_proxy", 0),
    ("grpc.max_receive_message_length", ANSWER_BYTES_MAX),
)


class BadEndpoint(ValueError):
    """What cannot be a router's URL; the text names it and the reason."""

    definite = True
    hint = "write http://host:port or unix:///path, for example http://127.0.0.1:2379"


class Unreachable(Refused):
    """No endpoint answered; the text says why of each."""

    hint = (
        "check --endpoint and that a router (or serve) runs there; a router begins to listen once "
        "a majority of coordinators serves"
    )


def first_answer(endpoints: Sequence[str]) -> ClusterStatus:
    """The status, from the first endpoint that answers. Raises BadEndpoint, Unreachable."""
    assert endpoints, "there is a default"
    targets = [target(endpoint) for endpoint in endpoints]
    failures = []
    for endpoint, address in zip(endpoints, targets, strict=True):
        try:
            return ask(address)
        except grpc.RpcError as error:
            failures.append(f"{endpoint}: {_reason(error)}")
        except Malformed:
            failures.append(f"{endpoint}: its answer is not understood; is it of another version?")
    raise Unreachable(f"no endpoint answers ({'; '.join(failures)})")


def ask(address: str) -> ClusterStatus:
    """One router, by its gRPC target. Raises grpc.RpcError, Malformed."""
    with grpc.insecure_channel(address, OPTIONS) as channel:
        call: Any = channel.unary_unary(CLUSTER_STATUS)
        return decode_status(call(b"", timeout=ASK_S_MAX))


def target(endpoint: str) -> str:
    """gRPC's name of an endpoint's URL. Raises BadEndpoint."""
    url = endpoint if "://" in endpoint else f"http://{endpoint}"
    parts = urlsplit(url)
    if parts.scheme == "unix" and url.startswith("unix:///"):
        return url
    if parts.scheme in ("https", "unixs"):
        raise BadEndpoint(f"{endpoint}: TLS is not there yet")
    if parts.scheme != "http":
        raise BadEndpoint(f"{endpoint} is no endpoint")
    try:
        port = parts.port
    except ValueError:
        port = None
    if not parts.hostname or not port:
        raise BadEndpoint(f"{endpoint}: host and port are both needed")
    if parts.path not in ("", "/") or parts.query or parts.fragment or parts.username is not None:
        raise BadEndpoint(f"{endpoint}: only host and port may follow http://")
    return parts.netloc


def _reason(error: grpc.RpcError) -> str:
    code, details = error.code(), error.details() or ""
    if code is grpc.StatusCode.UNIMPLEMENTED:
        return "it is no router of KubeBraid, or one of another version"
    if code is grpc.StatusCode.DEADLINE_EXCEEDED:
        return f"no answer in {ASK_S_MAX:g} s"
    if code is grpc.StatusCode.UNAVAILABLE and "refused" in details:
        return "connection refused"
    return f"{code.name.lower().replace('_', ' ')}: {details}"
