"""One client of the etcd API that asks one router at a time and writes down what came of it.

What it is: records of `records` on the wire and back, and how each error is to be understood. What
it is not: a load (`load`), or a follower of watches (`follow`); it never tries anything again.

Invariants: a call is recorded whatever comes of it; a write without an answer that says so is
`unknown`; behind an unknown outcome the client goes to the next router, under another number,
because the call may still be running, and etcd's model lets a client do one thing at a time.

Worked example: a put that met a dead router is Call(outcome=UNKNOWN); the same client then reads,
at the other router, under a new number.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterator, Sequence
from typing import Any, Final

import grpc
import grpc.aio

from kubebraid.proto.etcd import kv_pb2, rpc_pb2
from tests.robustness.records import (
    Call,
    Compact,
    Delete,
    Done,
    Get,
    Grant,
    History,
    KeepAlive,
    Op,
    Outcome,
    Page,
    Put,
    Range,
    Request,
    Revoke,
    Row,
    Txn,
)

CALL_S_MAX: Final = 5.0
TTL_S: Final = 3_600  # a lease never runs out in a run, so each end of one is somebody's
# One connection for each client, and dialled again soon: the faults are shorter than gRPC's own
# patience.
OPTIONS: Final = (
    ("grpc.use_local_subchannel_pool", 1),
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 1_000),
    ("grpc.max_reconnect_backoff_ms", 1_000),
    ("grpc.max_receive_message_length", -1),
)
# Any other code tells that nothing was done.
_UNSURE: Final = (
    grpc.StatusCode.UNAVAILABLE,
    grpc.StatusCode.DEADLINE_EXCEEDED,
    grpc.StatusCode.CANCELLED,
    grpc.StatusCode.UNKNOWN,
    grpc.StatusCode.INTERNAL,
)


def channel(port: int) -> grpc.aio.Channel:
    """A connection to a router."""
    return grpc.aio.insecure_channel(f"127.0.0.1:{port}", options=OPTIONS)


class Client:
    """Asks `ports[first]` first."""

    def __init__(
        self, ports: Sequence[int], first: int, numbers: Iterator[int], history: History
    ) -> None:
        self._channels = [channel(port) for port in ports]
        self._router = first % len(ports)
        self._numbers = numbers
        self._history = history
        self.number = next(numbers)
        self.revision = 1  # the newest it was told
        self.term = 0  # the newest reign it was told of, which is called Raft's term

    async def close(self) -> None:
        for each in self._channels:
            await each.close()

    async def ask(self, request: Request) -> Call:
        """Send it and wait for what comes, at most CALL_S_MAX."""
        method, message, answer_type = _wire(request)
        call = Call(self.number, request, time.monotonic_ns(), 0, Outcome.UNKNOWN)
        try:
            answer = await self._unary(method, message, answer_type)
        except grpc.aio.AioRpcError as error:
            call.error = f"{error.code().name}: {error.details()}"
            if error.code() not in _UNSURE:
                call.outcome = Outcome.REFUSED
        else:
            call.outcome = Outcome.OK
            call.revision = answer.header.revision
            call.answer = _answer(request, answer)
            self.revision = max(self.revision, call.revision)
            self.term = max(self.term, answer.header.raft_term)
        call.returned = time.monotonic_ns()
        self._history.calls.append(call)
        if call.outcome is Outcome.UNKNOWN:
            self.number = next(self._numbers)
            self._router = (self._router + 1) % len(self._channels)
        return call

    async def _unary(self, method: str, message: Any, answer_type: Any) -> Any:
        chosen = self._channels[self._router]
        path = f"/etcdserverpb.{method}"
        serialize = type(message).SerializeToString
        if method == "Lease/LeaseKeepAlive":
            stream = chosen.stream_stream(path, serialize, answer_type.FromString)
            stream_call: Any = stream(iter([message]), timeout=CALL_S_MAX)
            answer = await stream_call.read()
            stream_call.cancel()
            if answer is grpc.aio.EOF:
                raise _ended()
            return answer
        unary: Any = chosen.unary_unary(path, serialize, answer_type.FromString)
        return await unary(message, timeout=CALL_S_MAX)


def _ended() -> grpc.aio.AioRpcError:
    nothing = grpc.aio.Metadata()
    return grpc.aio.AioRpcError(grpc.StatusCode.UNAVAILABLE, nothing, nothing, "no answer came")


def numbers() -> Iterator[int]:
    """Numbers of clients, each given once."""
    return itertools.count(1)


# -- to the wire -------------------------------------------------------------------------------


def _wire(request: Request) -> tuple[str, Any, Any]:
    """The method, the message, the type of the answer."""
    match request:
        case Range():
            return "KV/Range", _range(request), rpc_pb2.RangeResponse
        case Txn((), (Put() as put,)):
            return "KV/Put", _op(put).request_put, rpc_pb2.PutResponse
        case Txn():
            return "KV/Txn", _txn(request), rpc_pb2.TxnResponse
        case Grant(lease):
            message = rpc_pb2.LeaseGrantRequest(ID=lease, TTL=TTL_S)
            return "Lease/LeaseGrant", message, rpc_pb2.LeaseGrantResponse
        case Revoke(lease):
            revoke = rpc_pb2.LeaseRevokeRequest(ID=lease)
            return "Lease/LeaseRevoke", revoke, rpc_pb2.LeaseRevokeResponse
        case KeepAlive(lease):
            alive = rpc_pb2.LeaseKeepAliveRequest(ID=lease)
            return "Lease/LeaseKeepAlive", alive, rpc_pb2.LeaseKeepAliveResponse
        case Compact(revision):
            compact = rpc_pb2.CompactionRequest(revision=revision)
            return "KV/Compact", compact, rpc_pb2.CompactionResponse


def _range(request: Range) -> rpc_pb2.RangeRequest:
    return rpc_pb2.RangeRequest(
        key=request.key.encode(),
        range_end=request.end.encode(),
        revision=request.revision,
        limit=request.limit,
        count_only=request.count_only,
    )


def _txn(request: Txn) -> rpc_pb2.TxnRequest:
    compares = [
        rpc_pb2.Compare(
            key=key.encode(),
            target=rpc_pb2.Compare.MOD,
            result=rpc_pb2.Compare.EQUAL,
            mod_revision=mod,
        )
        for key, mod in request.compares
    ]
    then, otherwise = map(_op, request.then), map(_op, request.otherwise)
    return rpc_pb2.TxnRequest(compare=compares, success=then, failure=otherwise)


def _op(op: Op) -> rpc_pb2.RequestOp:
    match op:
        case Put(key, value, lease):
            put = rpc_pb2.PutRequest(key=key.encode(), value=value.encode(), lease=lease)
            return rpc_pb2.RequestOp(request_put=put)
        case Delete(key):
            delete = rpc_pb2.DeleteRangeRequest(key=key.encode())
            return rpc_pb2.RequestOp(request_delete_range=delete)
        case Get(key):
            return rpc_pb2.RequestOp(request_range=rpc_pb2.RangeRequest(key=key.encode()))


# -- and back ----------------------------------------------------------------------------------


def row(kv: kv_pb2.KeyValue) -> Row:
    """A key as it is recorded."""
    return Row(
        kv.key.decode(),
        kv.value.decode(),
        kv.create_revision,
        kv.mod_revision,
        kv.version,
        kv.lease,
    )


def _page(answer: rpc_pb2.RangeResponse) -> Page:
    return Page(tuple(map(row, answer.kvs)), answer.count, answer.more)


def _answer(request: Request, answer: Any) -> Page | Done | None:
    match answer:
        case rpc_pb2.RangeResponse():
            return _page(answer)
        case rpc_pb2.PutResponse():
            return Done(True, (0,))
        case rpc_pb2.TxnResponse():
            return Done(answer.succeeded, tuple(map(_result, answer.responses)))
        case _:
            return None


def _result(response: rpc_pb2.ResponseOp) -> Page | int:
    match response.WhichOneof("response"):
        case "response_range":
            return _page(response.response_range)
        case "response_delete_range":
            return response.response_delete_range.deleted
        case _:
            return 0
