"""Request bytes to values: decode, check, convert; for routers and owners alike.

What it is: the one door through which client messages enter. What it is not: the checks
themselves (`check.py`) or the operations (`convert.py`).

Invariants: a function named after a request answers an operation or etcd's refusal; the
`decode_*` functions are for payloads that a router has checked already. A body that is no such
message raises MalformedMessage.

Tested in tests/unit/proto/test_requests.py.
"""

from __future__ import annotations

from enum import IntEnum
from typing import Final, NamedTuple, TypeAlias, TypeVar

from google.protobuf.message import DecodeError, Message

from kubebraid.base.errors import Code, RequestRefused
from kubebraid.base.limits import TXN_OPS_MAX
from kubebraid.base.ops import DeleteOp, PutOp, RangeOp, TxnOp
from kubebraid.base.revision import LeaseId, Revision

from . import check, convert
from .etcd import election_pb2, health_pb2, lock_pb2, rpc_pb2

KEY_TAG: Final = 0x0A  # field 1, length-delimited: the key of a RangeRequest

M = TypeVar("M", bound=Message)


class MalformedMessage(RequestRefused):
    """The bytes of a request are no protobuf message of its type: grpc-go's code and words."""

    def __init__(self, cause: str, *, streamed: bool) -> None:
        what = "failed to unmarshal the received message" if streamed else _UNMARSHALLING
        why = _BAD_TEXT if "UTF-8" in cause else "proto: cannot parse invalid wire-format data"
        super().__init__(Code.INTERNAL, f"grpc: {what}: {why}")


_UNMARSHALLING = "error unmarshalling request"
_BAD_TEXT = "string field contains invalid UTF-8"


def _parse(kind: type[M], payload: bytes, *, streamed: bool = False) -> M:
    try:
        return kind.FromString(payload)
    except DecodeError as error:
        raise MalformedMessage(str(error), streamed=streamed) from None


# -- KV ----------------------------------------------------------------------------------------


def point_key(payload: bytes) -> bytes | None:
    """The key of a RangeRequest that has nothing but one: a Get without options, which is most of
    what is read. Anything else, also anything malformed, is None and for `range_request`."""
    size = len(payload)
    if size < 3 or payload[0] != KEY_TAG:
        return None
    length = payload[1]
    if length < 128:
        return payload[2:] if length == size - 2 else None
    if payload[2] < 128 and (length & 127 | payload[2] << 7) == size - 3:
        return payload[3:]
    return None


def range_request(payload: bytes) -> RangeOp | RequestRefused:
    request = _parse(rpc_pb2.RangeRequest, payload)
    return check.check_range(request) or convert.range_op(request)


def range_stream_request(payload: bytes) -> RangeOp | RequestRefused:
    request = _parse(rpc_pb2.RangeRequest, payload, streamed=True)
    return check.check_range_stream(request) or convert.range_op(request)


def put_request(payload: bytes) -> PutOp | RequestRefused:
    request = _parse(rpc_pb2.PutRequest, payload)
    return check.check_put(request) or convert.put_op(request)


def delete_request(payload: bytes) -> DeleteOp | RequestRefused:
    request = _parse(rpc_pb2.DeleteRangeRequest, payload)
    return check.check_delete(request) or convert.delete_op(request)


def txn_request(payload: bytes, ops_max: int = TXN_OPS_MAX) -> TxnOp | RequestRefused:
    request = _parse(rpc_pb2.TxnRequest, payload)
    if ops_max > 0:
        op = convert.key_txn(request)
        if op is not None:
            return op
    return check.check_txn(request, ops_max) or convert.txn_op(request)


def compact_request(payload: bytes) -> tuple[Revision, bool]:
    """(revision, physical)."""
    request = _parse(rpc_pb2.CompactionRequest, payload)
    return request.revision, request.physical


def decode_put(payload: bytes) -> PutOp:
    return convert.put_op(rpc_pb2.PutRequest.FromString(payload))


def decode_delete(payload: bytes) -> DeleteOp:
    return convert.delete_op(rpc_pb2.DeleteRangeRequest.FromString(payload))


def decode_txn(payload: bytes) -> TxnOp:
    request = rpc_pb2.TxnRequest.FromString(payload)
    return convert.key_txn(request) or convert.txn_op(request)


# -- leases ------------------------------------------------------------------------------------


def lease_grant(payload: bytes) -> tuple[LeaseId, int]:
    """(id or 0, TTL in seconds)."""
    request = _parse(rpc_pb2.LeaseGrantRequest, payload)
    return request.ID, request.TTL


def encode_lease_grant(lease: LeaseId, ttl_s: int) -> bytes:
    return rpc_pb2.LeaseGrantRequest(ID=lease, TTL=ttl_s).SerializeToString()


def lease_revoke(payload: bytes) -> LeaseId:
    return _parse(rpc_pb2.LeaseRevokeRequest, payload).ID


def encode_lease_revoke(lease: LeaseId) -> bytes:
    return rpc_pb2.LeaseRevokeRequest(ID=lease).SerializeToString()


def lease_keep_alive(payload: bytes) -> LeaseId:
    return _parse(rpc_pb2.LeaseKeepAliveRequest, payload, streamed=True).ID


def lease_time_to_live(payload: bytes) -> tuple[LeaseId, bool]:
    """(id, whether the keys are asked for)."""
    request = _parse(rpc_pb2.LeaseTimeToLiveRequest, payload)
    return request.ID, request.keys


# -- watches -----------------------------------------------------------------------------------


class CreateWatch(NamedTuple):
    """WatchCreateRequest."""

    key: bytes
    range_end: bytes
    start: Revision
    progress_notify: bool
    no_put: bool
    no_delete: bool
    prev_kv: bool
    watch_id: int
    fragment: bool = False


class CancelWatch(NamedTuple):
    """WatchCancelRequest."""

    watch_id: int


class AskProgress(NamedTuple):
    """WatchProgressRequest."""


WatchMessage: TypeAlias = CreateWatch | CancelWatch | AskProgress | None

_NO_PUT = rpc_pb2.WatchCreateRequest.FilterType.NOPUT
_NO_DELETE = rpc_pb2.WatchCreateRequest.FilterType.NODELETE


def watch_message(payload: bytes) -> WatchMessage:
    """One message of a Watch stream; None for a kind that nobody knows."""
    request = _parse(rpc_pb2.WatchRequest, payload, streamed=True)
    match request.WhichOneof("request_union"):
        case "create_request":
            create = request.create_request
            return CreateWatch(
                create.key,
                create.range_end,
                create.start_revision,
                create.progress_notify,
                _NO_PUT in create.filters,
                _NO_DELETE in create.filters,
                create.prev_kv,
                create.watch_id,
                create.fragment,
            )
        case "cancel_request":
            return CancelWatch(request.cancel_request.watch_id)
        case "progress_request":
            return AskProgress()
        case _:
            return None


# -- locks and elections -----------------------------------------------------------------------


class LeaderKey(NamedTuple):
    """What names a leadership: the election, the leader's key, its creation, its lease."""

    name: bytes
    key: bytes
    created: Revision
    lease: LeaseId


def lock_request(payload: bytes) -> tuple[bytes, LeaseId]:
    """(name, lease or 0)."""
    request = _parse(lock_pb2.LockRequest, payload)
    return request.name, request.lease


def unlock_request(payload: bytes) -> bytes:
    """The key."""
    return _parse(lock_pb2.UnlockRequest, payload).key


def campaign_request(payload: bytes) -> tuple[bytes, LeaseId, bytes]:
    """(name, lease or 0, value)."""
    request = _parse(election_pb2.CampaignRequest, payload)
    return request.name, request.lease, request.value


def proclaim_request(payload: bytes) -> tuple[LeaderKey | None, bytes]:
    """(whose leadership, value)."""
    request = _parse(election_pb2.ProclaimRequest, payload)
    return _leader_key(request), request.value


def resign_request(payload: bytes) -> LeaderKey | None:
    """Whose leadership."""
    return _leader_key(_parse(election_pb2.ResignRequest, payload))


def leader_request(payload: bytes, *, streamed: bool = False) -> bytes:
    """The election's name; `streamed` for Observe."""
    return _parse(election_pb2.LeaderRequest, payload, streamed=streamed).name


def _leader_key(
    request: election_pb2.ProclaimRequest | election_pb2.ResignRequest,
) -> LeaderKey | None:
    if not request.HasField("leader"):
        return None
    leader = request.leader
    return LeaderKey(leader.name, leader.key, leader.rev, leader.lease)


# -- the server --------------------------------------------------------------------------------


class AlarmAction(IntEnum):
    """AlarmRequest.AlarmAction."""

    GET = 0
    ACTIVATE = 1
    DEACTIVATE = 2


def alarm_request(payload: bytes) -> tuple[int, int, int]:
    """(action, member id, kind of alarm)."""
    request = _parse(rpc_pb2.AlarmRequest, payload)
    return request.action, request.memberID, request.alarm


def hash_revision(payload: bytes) -> Revision:
    """The revision of a HashKVRequest; 0 is the newest."""
    return _parse(rpc_pb2.HashKVRequest, payload).revision


def health_service(payload: bytes) -> str:
    """The service that a health check asks for; "" is the server."""
    return _parse(health_pb2.HealthCheckRequest, payload).service


def check_empty(payload: bytes) -> None:
    """A request whose fields decide nothing here: it must be a message all the same."""
    _parse(rpc_pb2.StatusRequest, payload)
