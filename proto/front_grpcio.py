"""The front on grpcio alone: slower than the native one, and always there.

What it is: `Front` by grpc.aio for all methods, the fallback where the native package is missing
and the second opinion in the contract tests. `stream_aio.py` does the work.

Invariant: the address tells the real port once `start` has returned.

Worked example: `GrpcioFront("127.0.0.1:0", deliver)`, once started, serves 127.0.0.1:41873, say,
and `deliver` gets the events on asyncio's thread.

Tested in tests/contract/test_front.py.
"""

from __future__ import annotations

from typing import Final

from kubebraid.base.limits import MESSAGE_BYTES_MAX

from .front_rules import target_of, with_port
from .server import Deliver, Shape
from .stream_aio import AioServer

ALL_SHAPES: Final = frozenset(Shape)


class GrpcioFront:
    """A Front; `address` is host:port or the path of a Unix socket."""

    def __init__(
        self, address: str, deliver: Deliver, message_bytes_max: int = MESSAGE_BYTES_MAX
    ) -> None:
        self._address = address
        self._server = AioServer(deliver, ALL_SHAPES, message_bytes_max=message_bytes_max)

    @property
    def address(self) -> str:
        """See Front."""
        return self._address

    async def start(self) -> None:
        """See Front."""
        port = await self._server.start(target_of(self._address))
        self._address = with_port(self._address, port)

    async def stop(self, grace_s: float) -> None:
        """See Front. A second stop does nothing."""
        assert grace_s >= 0, grace_s
        await self._server.stop(grace_s)
