"""What a router says of its cluster, asked as any client would: a read, and its answer's header.

What it is: a question that does not block, to each router. What it is not: a client library; the
two messages are small enough to be written by hand.

Invariants: a question has a deadline; `heard` is the newest answer, None while there is none or
after a failure.

Worked example: `ask(WHOLE)` counts all keys, so an answer says that every shard took part;
`ask(ONE)` reads a key that nobody has, so it costs next to nothing.

Source: etcd api/etcdserverpb/rpc.proto, RangeRequest and ResponseHeader. Tested in
tests/unit/cli/test_dev_probe.py.
"""

from __future__ import annotations

from typing import Any, Final, NamedTuple

import grpc

METHOD: Final = "/etcdserverpb.KV/Range"
ONE: Final = b"\x0a\x01\x00"  # key: a zero byte
WHOLE: Final = b"\x0a\x01\x00\x12\x01\x00\x48\x01"  # from it to the end, count_only
ASK_S_MAX: Final = 2.0
OPTIONS: Final = (
    ("grpc.enable_http_proxy", 0),
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 500),
)
_HEADER, _REVISION, _TERM = 1, 3, 4


class Heard(NamedTuple):
    """Of a header. `reign` is how often the sequencer changed, which is etcd's term."""

    revision: int
    reign: int


class Asker:
    """One router."""

    def __init__(self, address: str) -> None:
        self._channel = grpc.insecure_channel(address, OPTIONS)
        self._call: Any = self._channel.unary_unary(METHOD)
        self._pending: Any = None
        self.heard: Heard | None = None

    def ask(self, request: bytes) -> None:
        """Begin, unless an answer is still awaited."""
        if self._pending is None:
            self._pending = self._call.future(request, timeout=ASK_S_MAX)

    def poll(self) -> bool:
        """Whether an answer, or its failure, has come since the last call; see `heard`."""
        if self._pending is None or not self._pending.done():
            return False
        pending, self._pending = self._pending, None
        self.heard = header(pending.result()) if pending.exception() is None else None
        return True

    def close(self) -> None:
        """What was asked is forgotten."""
        self._channel.close()


def header(answer: bytes) -> Heard:
    """Of any answer of the API: its first field is the header. Raises ValueError."""
    tag, at = _varint(answer, 0)
    if tag != _HEADER << 3 | 2:
        raise ValueError(f"no header in {answer[:16]!r}")
    size, at = _varint(answer, at)
    end = at + size
    found: dict[int, int] = {}
    while at < end:
        tag, at = _varint(answer, at)
        found[tag >> 3], at = _varint(answer, at)
    return Heard(found.get(_REVISION, 0), found.get(_TERM, 0))


def _varint(data: bytes, at: int) -> tuple[int, int]:
    """A number of protobuf, and where it ends."""
    value = shift = 0
    while at < len(data):
        value |= (data[at] & 0x7F) << shift
        at += 1
        if data[at - 1] < 0x80:
            return value, at
        shift += 7
    raise ValueError(f"cut off in {data[:16]!r}")
