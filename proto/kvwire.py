"""Bytes of the messages that are many: KeyValue, Event, and the fields that answers are spliced of.

What it is: hand-written encoders for etcd's hot messages, and the splicing of stored bytes into
answers (concatenated protobuf fields are legal protobuf). What it is not: a protobuf library;
whatever is rare is encoded by the generated code in `convert.py`.

Invariants: what is encoded here is byte-equal to what the generated classes serialize (a property
test holds them together); decoding uses the generated classes.

Worked example: `key_value(b"a", 2, 2, 1, b"x", 0)` is `0a 01 61 10 02 18 02 20 01 2a 01 78`.

Field numbers: mvccpb/kv.proto and etcdserverpb/rpc.proto of etcd 3.7.
Tested in tests/unit/proto/test_kvwire.py.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Final

from kubebraid.base.record import Event

from .etcd import kv_pb2

_SHORT: Final = [
    bytes([n]) if n < 128 else bytes([n & 127 | 128, n >> 7])  # what one or two bytes hold
    for n in range(1 << 14)
]

_ROW_HEADS: Final[dict[int, bytes]] = {}  # tag and length of a row, by its length
_ROW_HEADS_MAX: Final = 1 << 14


def varint(n: int) -> bytes:
    """Base-128 form of a non-negative integer below 2**64; negative ones as two's complement."""
    if 0 <= n < 1 << 14:
        return _SHORT[n]
    if 0 < n < 1 << 28:  # revisions: no loop for the first 268 million
        head = (n & 127 | 128, n >> 7 & 127 | 128)
        return bytes((*head, n >> 14) if n < 1 << 21 else (*head, n >> 14 & 127 | 128, n >> 21))
    if n < 0:
        n += 1 << 64
    assert 0 <= n < 1 << 64, n
    out = bytearray()
    while n > 127:
        out.append(n & 127 | 128)
        n >>= 7
    out.append(n)
    return bytes(out)


def integer(field: int, n: int) -> bytes:
    """A varint field; the default 0 is left out, as proto3 has it."""
    return varint(field << 3) + varint(n) if n else b""


def blob(field: int, data: bytes) -> bytes:
    """A bytes or message field that is present even when empty."""
    return varint(field << 3 | 2) + varint(len(data)) + data


def key_value(key: bytes, create: int, mod: int, version: int, value: bytes, lease: int) -> bytes:
    """A serialized mvccpb.KeyValue."""
    if (
        key and value and create and mod and version and not lease
    ):  # most rows: every field but the lease
        written = varint(mod)
        return b"".join(
            (
                b"\x0a",
                varint(len(key)),
                key,
                b"\x10",
                written if create == mod else varint(create),
                b"\x18",
                written,
                b"\x20",
                varint(version),
                b"\x2a",
                varint(len(value)),
                value,
            )
        )
    parts = [b"\x0a", varint(len(key)), key] if key else []
    if create:
        parts += (b"\x10", varint(create))
    if mod:
        parts += (b"\x18", varint(mod))
    if version:
        parts += (b"\x20", varint(version))
    if value:
        parts += (b"\x2a", varint(len(value)), value)
    if lease:
        parts += (b"\x30", varint(lease))
    return b"".join(parts)


def tombstone(key: bytes, revision: int) -> bytes:
    """The KeyValue of a DELETE event: its key and the revision of the deletion."""
    return key_value(key, 0, revision, 0, b"", 0)


def value_of(raw: bytes) -> bytes:
    """The value inside a serialized KeyValue."""
    return kv_pb2.KeyValue.FromString(raw).value


def key_of(raw: bytes) -> bytes:
    """The key inside a serialized KeyValue made by `key_value`: its first field."""
    if raw[:1] != b"\x0a":
        return b""
    size, shift, at = 0, 0, 1
    while True:
        byte = raw[at]
        at += 1
        size |= (byte & 127) << shift
        if byte < 128:
            return raw[at : at + size]
        shift += 7


def event(item: Event, *, with_previous: bool) -> bytes:
    """A serialized mvccpb.Event."""
    kind = b"\x08\x01" if item.deleted else b""
    kv = kind + b"\x12" + varint(len(item.raw)) + item.raw
    if with_previous and item.previous is not None:
        return kv + b"\x1a" + varint(len(item.previous)) + item.previous
    return kv


def watch_events(encoded: Iterable[bytes]) -> bytes:
    """Events as the repeated field 11 of a WatchResponse."""
    return b"".join([b"\x5a" + varint(len(item)) + item for item in encoded])


def range_rows(raws: Iterable[bytes]) -> bytes:
    """KeyValues as the repeated field 2 of a RangeResponse."""
    # Rows are copied once: heads and rows are joined, not glued pair by pair.
    parts: list[bytes] = []
    for raw in raws:
        parts.append(_ROW_HEADS.get(len(raw)) or _row_head(len(raw)))
        parts.append(raw)
    return b"".join(parts)


def _row_head(size: int) -> bytes:
    head = b"\x12" + varint(size)
    if len(_ROW_HEADS) < _ROW_HEADS_MAX:
        _ROW_HEADS[size] = head
    return head


def row_chunks(raws: Sequence[bytes], bytes_max: int) -> Iterator[Sequence[bytes]]:
    """Runs of at most `bytes_max` bytes, or one KeyValue that is larger."""
    if raws and sum(map(len, raws)) <= bytes_max:
        yield raws
        return
    begin = size = 0
    for at, raw in enumerate(raws):
        if size and size + len(raw) > bytes_max:
            yield raws[begin:at]
            begin, size = at, 0
        size += len(raw)
    if begin < len(raws):
        yield raws[begin:] if begin else raws


def point_body(raw: bytes | None) -> bytes:
    """Fields 2 and 4 of a RangeResponse with one KeyValue or none."""
    return b"" if raw is None else b"\x12" + varint(len(raw)) + raw + b"\x20\x01"


def range_tail(more: bool, count: int) -> bytes:
    """Fields 3 and 4 of a RangeResponse."""
    return (b"\x18\x01" if more else b"") + integer(4, count)


class Header:
    """etcd's ResponseHeader as field 1 of every answer; only revision and term change."""

    def __init__(self, cluster_id: int, member_id: int, raft_term: int) -> None:
        assert cluster_id > 0
        assert member_id > 0
        self.cluster_id = cluster_id
        self.member_id = member_id
        self.told = 0  # the newest revision that any answer had
        self._before = integer(1, cluster_id) + integer(2, member_id) + b"\x18"
        self.begin_term(raft_term)

    def begin_term(self, raft_term: int) -> None:
        """From now on answers tell this term, also those of streams that are open."""
        self.raft_term = raft_term
        self._after = integer(4, raft_term)

    def bare(self) -> bytes:
        """The whole field 1 without a revision, where etcd fills in none."""
        return blob(1, self._before[:-1] + self._after)

    def field(self, revision: int) -> bytes:
        """The whole field 1: tag, length, header."""
        assert revision >= 1, revision
        self.told = max(self.told, revision)
        body = self._before + varint(revision) + self._after
        return b"\x0a" + varint(len(body)) + body


def inner_header(revision: int) -> bytes:
    """Field 1 of an answer inside a TxnResponse: etcd fills in the revision alone."""
    written = varint(revision)
    return b"\x0a" + varint(len(written) + 1) + b"\x18" + written if revision else b"\x0a\x00"


def put_in_txn(revision: int, succeeded: bool) -> bytes:
    """Fields 2 and 3 of a TxnResponse whose one operation is a put without prev_kv."""
    header = inner_header(revision)
    size = len(header)
    assert size < 126, "lengths of one byte"
    head = b"\x10\x01\x1a" if succeeded else b"\x1a"
    return head + _SHORT[size + 2] + b"\x12" + _SHORT[size] + header
