"""Asks routers: the first that answers counts.

What it is: endpoints to channels, one unary call with a deadline, failures as sentences, and
whether a call that failed may have changed something. What it is not: what the answer means.

Invariants:
- a refusal by a router is final: another one would refuse it too;
- NotDone is raised only where nothing can have happened; where a call was sent and no answer came
  it is NotKnown.

Worked example: `Routers(["http://a:2379", "http://b:2379"]).status()`: nothing listens on a, b
answers, and is asked first from then on.

Tested in tests/unit/cli/test_ctl_command.py, tests/unit/cli/test_ctl_ask.py.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final, TypeVar
from urllib.parse import urlsplit

import grpc

from kubebraid.base.errors import OutcomeUnknown, Refused
from kubebraid.proto.adminwire import CLUSTER_STATUS, ClusterStatus, decode_status
from kubebraid.proto.owner_wire import Malformed

ASK_S_MAX: Final = 5.0  # for each endpoint; a router answers in half a second
CHANGE_S_MAX: Final = 20.0  # it tries again, asks the coordinator and the shards: 5 s each
ANSWER_BYTES_MAX: Final = 64 << 20  # 200,000 tablets
OPTIONS: Final = (
    ("grpc.enable_http_proxy", 0),
    ("grpc.max_receive_message_length", ANSWER_BYTES_MAX),
)
OURS: Final = "kubebraid: "
REFUSALS: Final = (
    grpc.StatusCode.FAILED_PRECONDITION,
    grpc.StatusCode.INVALID_ARGUMENT,
    grpc.StatusCode.NOT_FOUND,
    grpc.StatusCode.RESOURCE_EXHAUSTED,
)
T = TypeVar("T")


class BadEndpoint(ValueError):
    """What cannot be a router's URL; the text names it and the reason."""

    definite = True
    hint = "write http://host:port or unix:///path, for example http://127.0.0.1:2379"


class Unreachable(Refused):
    """No endpoint answered, and nothing can have happened; the text says why of each."""

    hint = (
        "check --endpoint and that a router (or serve) runs there; a router begins to listen once "
        "a majority of coordinators serves"
    )


class NotDone(Refused):
    """A router refused it, in its own words."""

    hint = "nothing was changed"


class NotKnown(OutcomeUnknown):
    """It was sent, and no answer came."""

    hint = "look at 'kubebraid ctl reshard list', or repeat the command"


class Routers:
    """Endpoints; the one that answered last is asked first."""

    def __init__(self, endpoints: Sequence[str]) -> None:
        """Raises BadEndpoint."""
        assert endpoints, "there is a default"
        self._targets = [(endpoint, target(endpoint)) for endpoint in endpoints]
        self._first = 0

    def status(self) -> ClusterStatus:
        """Raises Unreachable."""
        return self.call(CLUSTER_STATUS, b"", decode_status, ASK_S_MAX)

    def call(
        self,
        method: str,
        payload: bytes,
        decode: Callable[[bytes], T],
        deadline_s: float,
        changes: bool = False,
    ) -> T:
        """One after the other, until one answers. Raises Unreachable, NotDone, and NotKnown of what
        `changes` something."""
        failures, sent = [], False
        for turn in range(len(self._targets)):
            at = (self._first + turn) % len(self._targets)
            endpoint, address = self._targets[at]
            try:
                answer = decode(_ask(address, method, payload, deadline_s))
            except grpc.RpcError as error:
                if _refuses(error):
                    self._first = at
                    raise _refusal(error, changes and sent) from None
                sent = sent or _may_be_done(error)
                failures.append(f"{endpoint}: {_reason(error, deadline_s)}")
            except Malformed:
                sent = True
                text = f"{endpoint}: its answer is not understood; is it of another version?"
                failures.append(text)
            else:
                self._first = at
                return answer
        told = f"no endpoint answers ({'; '.join(failures)})"
        raise NotKnown(told) if changes and sent else Unreachable(told)


def _refuses(error: grpc.RpcError) -> bool:
    """Whether a router of ours has decided."""
    ours = (error.details() or "").startswith(OURS)
    return error.code() in REFUSALS or (error.code() is grpc.StatusCode.UNIMPLEMENTED and ours)


def _refusal(error: grpc.RpcError, sent: bool) -> NotDone | NotKnown:
    """What another router may have done before stays unknown."""
    text = (error.details() or "").removeprefix(OURS)
    if sent:
        return NotKnown(f"a router gave no answer, and the next one refused: {text}")
    return NotDone(text)


def _may_be_done(error: grpc.RpcError) -> bool:
    """Whether the call may have reached somebody who acts on it."""
    details = error.details() or ""
    if error.code() is grpc.StatusCode.UNAVAILABLE:
        never_left = ("onnection refused", "ailed to connect", "no leader", "nothing was changed")
        return not any(text in details for text in never_left)
    return error.code() is not grpc.StatusCode.UNIMPLEMENTED


def _ask(address: str, method: str, payload: bytes, deadline_s: float) -> bytes:
    """One router, by its gRPC target. Raises grpc.RpcError."""
    with grpc.insecure_channel(address, OPTIONS) as channel:
        call: Any = channel.unary_unary(method)
        answer: bytes = call(payload, timeout=deadline_s)
        return answer


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


def _reason(error: grpc.RpcError, deadline_s: float) -> str:
    code, details = error.code(), error.details() or ""
    if code is grpc.StatusCode.UNIMPLEMENTED:
        return "it is no router of KubeBraid, or one of another version"
    if code is grpc.StatusCode.DEADLINE_EXCEEDED and not details.startswith(OURS):
        return f"no answer in {deadline_s:g} s"
    if code is grpc.StatusCode.UNAVAILABLE and "refused" in details:
        return "connection refused"
    return f"{code.name.lower().replace('_', ' ')}: {details.removeprefix(OURS)}"
