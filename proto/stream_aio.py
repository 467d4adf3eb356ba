"""A grpc.aio server that turns calls of any shape into edge events.

What it is: the half of the grpcio front that runs on asyncio. What it is not: fast; the native
front answers unary calls without a task, and streams through `stream_h2.py`.

Invariants:
- what a call has queued is written before its `Ending` takes effect;
- the last event of a BIDI call is CLOSED, however it ended;
- a CALL is followed by CANCELLED exactly when its client left before the answer;
- no task outlives its call: gRPC owns the handler, the handler owns its reader.

Worked example: a watch opens as (OPEN, 9), its create request is (MESSAGE, 9), the loop sends
answers on 9; when the client vanishes gRPC cancels the handler, and (CLOSED, 9) is the last event.

Tested in tests/contract/test_front.py, on both fronts.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection
from functools import partial
from typing import Final, NoReturn, TypeAlias

import grpc
from grpc import aio

from kubebraid.base.limits import MESSAGE_BYTES_MAX

from .calls_aio import AioCall, AioCalls
from .front_rules import Ending, too_large, unknown_method
from .server import METHODS, AddressInUse, Deliver, Edge, Kind, Shape

# gRPC's own limit speaks in other words than etcd's; it lies higher and only bounds the memory.
TRANSPORT_FACTOR: Final = 4
PING_INTERVAL_MS_MIN: Final = 1_000  # etcd lets a client ping every 5 s; we never punish one
STOP_POLL_S: Final = 0.001
OPTIONS: Final = (
    ("grpc.so_reuseport", 0),
    ("grpc.max_concurrent_streams", 2**31 - 1),
    ("grpc.max_send_message_length", -1),
    # gRPC cancels what exceeds about 1,000 calls that wait to be taken: a fleet that reconnects.
    ("grpc.server.max_pending_requests", 2**31 - 1),
    ("grpc.server.max_pending_requests_hard_limit", 2**31 - 1),
    ("grpc.http2.min_ping_interval_without_data_ms", PING_INTERVAL_MS_MIN),
    ("grpc.http2.min_recv_ping_interval_without_data_ms", PING_INTERVAL_MS_MIN),
    ("grpc.http2.max_ping_strikes", 0),
    ("grpc.keepalive_permit_without_calls", 1),
)
CODES: Final = {code.value[0]: code for code in grpc.StatusCode}

Context = aio.ServicerContext[bytes, bytes]
Handler: TypeAlias = "grpc.RpcMethodHandler[bytes, bytes]"  # generic in its stubs only


class AioServer(grpc.GenericRpcHandler):
    """Serves the methods of the given shapes, and refuses every other path."""

    def __init__(
        self,
        deliver: Deliver,
        shapes: Collection[Shape],
        edge: Edge | None = None,
        call_id_first: int = 1,
        message_bytes_max: int = MESSAGE_BYTES_MAX,
    ) -> None:
        self.calls = AioCalls(deliver, edge, call_id_first)
        self._message_bytes_max = message_bytes_max
        self._handlers = {
            spec.path: self._handler(method, spec.shape)
            for method, spec in enumerate(METHODS)
            if spec.shape in shapes
        }

    async def start(self, target: str) -> int:
        """Binds and serves `target`, a gRPC target; returns the port (1 for a Unix socket)."""
        self.calls.attach(asyncio.get_running_loop())
        limit = ("grpc.max_receive_message_length", TRANSPORT_FACTOR * self._message_bytes_max)
        self._server = aio.server(handlers=[self], options=(*OPTIONS, limit))
        try:
            port = self._server.add_insecure_port(target)
        except RuntimeError:  # gRPC tells the cause on its own log only
            reason = "the address is taken, or not one of this machine"
            raise AddressInUse(f"cannot listen on {target}: {reason}") from None
        await self._server.start()
        return port

    async def stop(self, grace_s: float) -> None:
        """Refuses new calls, waits for open ones, cancels the rest; every event is out after it."""
        await self._server.stop(grace_s)
        while self.calls:  # noqa: ASYNC110 - a few turns, until the cancelled handlers have told
            await asyncio.sleep(STOP_POLL_S)
        self.calls.flush()

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> Handler:
        """Finds the handler of a path; gRPC asks once a call."""
        path = handler_call_details.method
        found = self._handlers.get(path)
        if found is not None:
            return found
        # Whatever the client thinks the shape is: this handler neither reads nor writes.
        return grpc.stream_stream_rpc_method_handler(partial(_refuse, unknown_method(path)))

    def _handler(self, method: int, shape: Shape) -> Handler:
        if shape is Shape.UNARY:
            return grpc.unary_unary_rpc_method_handler(partial(self._serve_unary, method))
        if shape is Shape.SERVER_STREAM:
            return grpc.unary_stream_rpc_method_handler(partial(self._serve_stream, method))
        return grpc.stream_stream_rpc_method_handler(partial(self._serve_bidi, method))

    async def _serve_unary(self, method: int, request: bytes, context: Context) -> bytes:
        if len(request) > self._message_bytes_max:
            await _abort(context, too_large(len(request), self._message_bytes_max))
        call = self.calls.open(Kind.CALL, method, request)
        try:
            await call.wake.wait()
        finally:
            self.calls.close(call, None if call.queue else Kind.CANCELLED)
        answer = call.queue.popleft()
        if isinstance(answer, Ending):
            await _abort(context, answer)
        return answer

    async def _serve_stream(self, method: int, request: bytes, context: Context) -> None:
        if len(request) > self._message_bytes_max:
            _set_status(context, too_large(len(request), self._message_bytes_max))
            return
        call = self.calls.open(Kind.CALL, method, request)
        ended = False
        try:
            ended = await self._write(call, context)
        finally:
            self.calls.close(call, None if ended else Kind.CANCELLED)

    async def _serve_bidi(self, method: int, _requests: object, context: Context) -> None:
        call = self.calls.open(Kind.OPEN, method)
        try:
            async with asyncio.TaskGroup() as group:
                reader = group.create_task(self._read(call, context), name=f"read {call.call_id}")
                await self._write(call, context)
                reader.cancel()
        finally:
            self.calls.close(call, Kind.CLOSED)

    async def _read(self, call: AioCall, context: Context) -> None:
        """Hands over every message of the client, until it half-closes or sends too much."""
        while True:
            try:
                message: object = await context.read()  # bytes or EOF, which grpc's types hide
            except aio.BaseError:
                return  # the call is gone: its handler is being cancelled, and tells
            if not isinstance(message, bytes):
                self.calls.emit(Kind.HALF_CLOSED, call)
                return
            if len(message) > self._message_bytes_max:
                call.put(too_large(len(message), self._message_bytes_max))
                return
            self.calls.emit(Kind.MESSAGE, call, message)

    async def _write(self, call: AioCall, context: Context) -> bool:
        """Writes what is sent, up to the call's ending; false: the client left before it."""
        while True:
            while call.queue:
                answer = call.queue.popleft()
                if isinstance(answer, Ending):
                    _set_status(context, answer)
                    return True
                try:
                    await context.write(answer)
                except aio.BaseError:
                    return False
                if call.wrote(len(answer)):
                    self.calls.emit(Kind.DRAINED, call)
            call.wake.clear()
            await call.wake.wait()


async def _refuse(ending: Ending, _requests: object, context: Context) -> None:
    _set_status(context, ending)


async def _abort(context: Context, ending: Ending) -> NoReturn:
    """Ends a unary call by its status alone.

    With a status that is only set, gRPC sends an empty message before it, and there are clients
    (jetcd) that take the first message of a unary call for its answer.
    """
    assert ending.code != 0, ending
    await context.abort(CODES[ending.code], ending.message)


def _set_status(context: Context, ending: Ending) -> None:
    """Sets what the client sees when the handler returns."""
    if ending.code != 0:
        context.set_code(CODES[ending.code])
        context.set_details(ending.message)
