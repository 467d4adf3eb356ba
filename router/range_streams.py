"""The open RangeStreams: where their chunks go, and whether their clients are still there.

What it is: the sending end of a streamed read. What it is not: the reading (`gather.py`).

Invariants: a stream is forgotten when it ends, fails or is cancelled; a cancelled one's read ends
at its next chunk; a stream whose client does not read is fed again when its edge says DRAINED.

Tested in tests/unit/router/test_kv.py.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from kubebraid.base.errors import RequestRefused
from kubebraid.proto.server import STREAM_HIGH_WATER_BYTES, Edge

from .answers import Caller
from .gather import ChunkSink


class RangeStreams:
    """All RangeStreams of one router."""

    def __init__(self) -> None:
        self._open: set[tuple[Edge, int]] = set()

    def sink(self, caller: Caller, newest: bool) -> ChunkSink:
        """Where the chunks of a new stream go; `newest`: it names no revision."""
        edge, call_id = caller.edge, caller.call_id
        self._open.add((edge, call_id))
        return ChunkSink(
            lambda: edge.pending_bytes(call_id) <= STREAM_HIGH_WATER_BYTES,
            partial(self._send, caller),
            partial(self._end, edge, call_id),
            partial(self._fail, caller, caller.fail_newest if newest else caller.fail),
        )

    def _send(self, caller: Caller, chunk: bytes) -> bool:
        caller.desk = None  # a part was shown: the rest belongs to the same state
        caller.edge.send(caller.call_id, chunk)
        return (caller.edge, caller.call_id) in self._open

    def _end(self, edge: Edge, call_id: int) -> None:
        self._open.discard((edge, call_id))
        edge.end(call_id)

    def _fail(
        self, caller: Caller, fail: Callable[[RequestRefused], None], refused: RequestRefused
    ) -> None:
        self._open.discard((caller.edge, caller.call_id))
        fail(refused)

    def cancelled(self, edge: Edge, call_id: int) -> None:
        """The client is gone."""
        self._open.discard((edge, call_id))
