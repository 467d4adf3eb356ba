"""The one seam of the client edge: events in, answers out, whatever front carries them.

What it is: the contract between a front (native or grpcio) and the loop that serves it. A front
turns gRPC calls into events and hands them over in batches; the loop answers by call id, from its
own thread. What it is not: it knows no etcd message beyond the table of methods.

Words: a *front* listens on one client URL; an *edge* is the answering half of a front, as the loop
sees it; a *call* is one gRPC call, named by `call_id`, unique for its edge while it is open.

Invariants:
- every CALL gets exactly one `respond` or `fail` (UNARY), or any number of `send` and then one
  `end` or `fail` (SERVER_STREAM); answering a call that is gone is harmless;
- for a BIDI call the order is OPEN, MESSAGE*, then HALF_CLOSED (client finished sending; answers
  may go on) and/or CLOSED (the call is gone: no answer can reach the client any more);
- CANCELLED tells that a unary or server-streaming call is gone;
- `send` never blocks; messages of one call leave in the order of `send`; `fail` and `end` take
  effect after everything sent before;
- DRAINED follows, once, when `pending_bytes` of a call has been above STREAM_HIGH_WATER_BYTES and
  has fallen below STREAM_LOW_WATER_BYTES;
- a payload above the limit never reaches the loop: the front fails it with etcd's own text.

Worked example: an etcdctl get arrives as `(CALL, 7, Method.RANGE, b"\\n\\x01a")`; the loop
answers `edge.respond(7, b"...")`.

Tested in tests/contract/test_front.py, on both fronts.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import IntEnum
from typing import Final, NamedTuple, Protocol

STREAM_HIGH_WATER_BYTES: Final = 8 * 1024 * 1024  # above it a stream's consumer is slow
STREAM_LOW_WATER_BYTES: Final = 1024 * 1024  # below it the stream may be fed again
assert STREAM_LOW_WATER_BYTES < STREAM_HIGH_WATER_BYTES


class Kind(IntEnum):
    """What happened at the edge."""

    CALL = 0
    CANCELLED = 1
    OPEN = 2
    MESSAGE = 3
    HALF_CLOSED = 4
    CLOSED = 5
    DRAINED = 6


class Shape(IntEnum):
    """How many messages go each way."""

    UNARY = 0
    SERVER_STREAM = 1
    BIDI = 2


class EdgeEvent(NamedTuple):
    """One event. `method` indexes METHODS; `payload` is empty but for CALL and MESSAGE."""

    kind: int
    call_id: int
    method: int
    payload: bytes


class Edge(Protocol):
    """The answering half of a front. Every method may be called from any one thread."""

    def respond(self, call_id: int, payload: bytes) -> None:
        """Answer a unary call with one serialized message."""

    def fail(self, call_id: int, code: int, message: str) -> None:
        """End a call of any shape with a gRPC status code (not 0) and its text."""

    def send(self, call_id: int, payload: bytes) -> None:
        """Queue one message on a SERVER_STREAM or BIDI call."""

    def pending_bytes(self, call_id: int) -> int:
        """Bytes queued on the call that the transport has not taken yet; 0 for a call gone."""

    def end(self, call_id: int) -> None:
        """Finish a SERVER_STREAM or BIDI call with status OK, after what was sent."""


Deliver = Callable[[Edge, list[EdgeEvent]], None]
"""How a front hands events to the loop: thread-safe, never blocks for long."""


class Front(Protocol):
    """A listener on one client URL. start and stop run on the asyncio loop's thread."""

    @property
    def address(self) -> str:
        """The address that is served, host:port with the real port."""

    async def start(self) -> None:
        """Bind and serve. Raises `AddressInUse` with the address in its text."""

    async def stop(self, grace_s: float) -> None:
        """Take no new connection, let open calls finish for `grace_s` seconds, then close."""


class AddressInUse(Exception):
    """The address of a listen URL cannot be bound."""

    definite = True
    hint = "stop the other process, or choose another address"


class MethodSpec(NamedTuple):
    """A method of the API: its gRPC path and shape."""

    path: str
    shape: Shape


def _services() -> list[MethodSpec]:
    table = {
        "etcdserverpb.KV": "Range RangeStream:s Put DeleteRange Txn Compact",
        "etcdserverpb.Watch": "Watch:b",
        "etcdserverpb.Lease": "LeaseGrant LeaseRevoke LeaseKeepAlive:b LeaseTimeToLive LeaseLeases",
        "etcdserverpb.Cluster": "MemberAdd MemberRemove MemberUpdate MemberList MemberPromote",
        "etcdserverpb.Maintenance": (
            "Alarm Status Defragment Hash HashKV Snapshot:s MoveLeader Downgrade"
        ),
        "etcdserverpb.Auth": (
            "AuthEnable AuthDisable AuthStatus Authenticate UserAdd UserGet UserList UserDelete "
            "UserChangePassword UserGrantRole UserRevokeRole RoleAdd RoleGet RoleList RoleDelete "
            "RoleGrantPermission RoleRevokePermission"
        ),
        "v3lockpb.Lock": "Lock Unlock",
        "v3electionpb.Election": "Campaign Proclaim Leader Observe:s Resign",
        "grpc.health.v1.Health": "Check List Watch:s",
        "kubebraid.admin.v1.Admin": (
            "ClusterStatus PlanReshard ControlReshard ListReshard RemoveShard HandOverShard"
        ),
    }
    shapes = {"": Shape.UNARY, "s": Shape.SERVER_STREAM, "b": Shape.BIDI}
    found = []
    for service, names in table.items():
        for name in names.split():
            plain, _, shape = name.partition(":")
            found.append(MethodSpec(f"/{service}/{plain}", shapes[shape]))
    return found


METHODS: Final = tuple(_services())
METHOD_BY_PATH: Final = {spec.path: i for i, spec in enumerate(METHODS)}
assert len(METHOD_BY_PATH) == len(METHODS), "a path stands once"
