"""The open RangeStreams: where their chunks go, and whether their clients are still there.

What it is: the sending end of a streamed read. What it is not: the reading (`gather.py`).

Invariants: a stream is forgotten when it ends, fails or is cancelled; a cancelled one's read ends
at its next chunk; a stream whose client does not read is fed again when its edge says DRAINED.

Tested in tests/unit/router/test_kv.py.
"""

from __future__ import annotations

from functools import partial

from kubebraid.base.errors import RequestRefused
from kubebraid.proto.server import STREAM_HIGH_WATER_BYTES, Edge

from .answers import Caller
from .gather import ChunkSink


class RangeStreams:
    """All RangeStreams of one router."""

    def __init__(self) -> None:
        self._open: set[tuple[Edge, int]] = set()

    def sink(self, caller: Caller) -> ChunkSink:
        """Where the chunks of a new stream go."""
        edge, call_id = caller.edge, caller.call_id
        self._open.add((edge, call_id))
        return ChunkSink(
            lambda: edge.pending_bytes(call_id) <= STREAM_HIGH_WATER_BYTES,
            partial(self._send, edge, call_id),
            partial(self._end, edge, call_id),
            partial(self._fail, caller),
        )

    def _send(self, edge: Edge, call_id: int, chunk: bytes) -> bool:
        edge.send(call_id, chunk)
        return (edge, call_id) in self._open

    def _end(self, edge: Edge, call_id: int) -> None:
        self._open.discard((edge, call_id))
        edge.end(call_id)

    def _fail(self, caller: Caller, refused: RequestRefused) -> None:
        self._open.discard((caller.edge, caller.call_id))
        caller.fail(refused)

    def cancelled(self, edge: Edge, call_id: int) -> None:
        """The client is gone."""
        self._open.discard((edge, call_id))
