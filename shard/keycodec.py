"""Stored keys: what the bytes in an engine mean, and that their order is the order we need.

What it is: encode and decode of every row kind. What it is not: their values' meaning beyond the
fixed row header.

Kinds (first byte):
    n | user key                          newest version of a live key: row header + KeyValue
    h | escaped user key | ~revision | ~sub   a superseded version (as n) or a tombstone (empty)
    l | tablet 4 | revision 8             the keys that this revision changed in this tablet
    f | tablet 4                          fence record
    k | lease 8 | user key                a key that is attached to a lease
    e | lease 8                           lease record
    m | name                              the store's own cells
    i | router 8 | number 8               our share of an undecided transaction (intents.py)
    d | router 8 | number 8               a transaction that this store decided for
    r                                     the id of a row space that shards share

Invariants (tests/property/test_keycodec.py):
- n and h rows sort by user key; h rows of one key sort newest first;
- l rows of one tablet sort by revision; no row of one kind lies inside another kind's range;
- decode(encode(x)) == x. No n, h or k key names a tablet: a moved tablet's rows stay.

Escape: in h keys a 0x00 byte of the user key is stored as 00 FF and the key ends with 00 01, so
that "a" sorts before "a\\0" and neither is a prefix of the other.

The sub revision in an h key: a transaction may change a key twice (etcd allows it in nested ones).
What its own transaction replaced again has its place in the transaction as sub; what was left of
the key at the end of the revision has LAST_SUB, and sorts first among the rows of its revision.

Worked example: `history(b"a", 5)` is `b"ha\\x00\\x01" + be64(2**64 - 1 - 5) + be32(0)`.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import Final, NamedTuple, Protocol

from kubebraid.base.across import TxnId
from kubebraid.base.keyspace import KeyRange
from kubebraid.base.record import Row
from kubebraid.base.revision import LeaseId, Revision, TabletId

_U64: Final = struct.Struct(">Q")
_LOG: Final = struct.Struct(">cIQ")
_TABLET: Final = struct.Struct(">cI")
_LEASE: Final = struct.Struct(">cQ")
_TXN: Final = struct.Struct(">cQQ")
_ROW: Final = struct.Struct(">QQQq")
_STAMP: Final = struct.Struct(">QI")
_CHANGE: Final = struct.Struct(">BIQI")
_MAX: Final = (1 << 64) - 1

LAST_SUB: Final = (1 << 32) - 1
ROW_HEADER_BYTES: Final = _ROW.size

# What belongs to a tablet, whichever shard has it: where shards share rows (on TiKV) it stays where
# it is when a tablet is moved. No key of these kinds names a shard. Leases, intents, decisions and
# cells are a shard's own: two shards write rows of the same key there.
SHARED_KINDS: Final = b"nhklfr"
# A fence says whose the tablet is, and each batch that writes for a tablet writes its fence. The id
# of the space is written once.
GUARDED_KINDS: Final = b"fr"

NEWEST_END: Final = b"o"  # just behind every n row
HISTORY_END: Final = b"i"  # just behind every h row


def newest(key: bytes) -> bytes:
    return b"n" + key


def newest_bounds(span: KeyRange) -> tuple[bytes, bytes]:
    """Start and exclusive end of the n rows of a span."""
    return b"n" + span.start, NEWEST_END if span.end is None else b"n" + span.end


def _escape(key: bytes) -> bytes:
    return key.replace(b"\x00", b"\x00\xff")


def history_prefix(key: bytes) -> bytes:
    """What all h rows of `key` begin with."""
    return b"h" + _escape(key) + b"\x00\x01"


def history(key: bytes, revision: Revision, sub: int = LAST_SUB) -> bytes:
    return history_prefix(key) + _STAMP.pack(_MAX - revision, LAST_SUB - sub)


def history_end(key: bytes) -> bytes:
    """Just behind the last h row of `key`."""
    return history_prefix(key) + b"\xff" * (_STAMP.size + 1)


def history_bounds(span: KeyRange) -> tuple[bytes, bytes]:
    """Start and exclusive end of the h rows of a span."""
    end = HISTORY_END if span.end is None else b"h" + _escape(span.end)
    return b"h" + _escape(span.start), end


def split_history(stored: bytes) -> tuple[bytes, Revision]:
    """(user key, revision) of an h key."""
    assert stored[:1] == b"h"
    assert stored[-14:-12] == b"\x00\x01", stored
    key = stored[1:-14].replace(b"\x00\xff", b"\x00")
    return key, _MAX - int.from_bytes(stored[-12:-4], "big")


def log(tablet: TabletId, revision: Revision) -> bytes:
    return _LOG.pack(b"l", tablet, revision)


def log_revision(stored: bytes) -> Revision:
    return int.from_bytes(stored[5:13], "big")


def fence(tablet: TabletId) -> bytes:
    return _TABLET.pack(b"f", tablet)


def attachment(lease_of: LeaseId, key: bytes) -> bytes:
    return _LEASE.pack(b"k", lease_of & _MAX) + key


def attachment_bounds(lease_of: LeaseId) -> tuple[bytes, bytes]:
    following = (lease_of & _MAX) + 1
    end = _LEASE.pack(b"k", following) if following <= _MAX else b"l"
    return attachment(lease_of, b""), end


def attached_key(stored: bytes) -> bytes:
    return stored[_LEASE.size :]


def lease(of: LeaseId) -> bytes:
    """Lease ids are etcd's int64: negative ones are kept as two's complement."""
    return b"e" + _U64.pack(of & _MAX)


INTENTS: Final = (b"i", b"j")
DECISIONS: Final = (b"d", b"e")
LEASES: Final = (b"e", b"f")
FENCES: Final = (b"f", b"g")
ATTACHMENTS: Final = (b"k", b"l")
CELLS: Final = (b"m", b"n")
ROWS_ID: Final = b"r"  # one row


def lease_id(stored: bytes) -> LeaseId:
    return int.from_bytes(stored[1:9], "big", signed=True)


def intent(txn: TxnId) -> bytes:
    return _TXN.pack(b"i", *txn)


def decision(txn: TxnId) -> bytes:
    return _TXN.pack(b"d", *txn)


def txn_id(stored: bytes) -> TxnId:
    """Of an i or d key."""
    _, router, number = _TXN.unpack(stored)
    return TxnId(router, number)


def cell(name: str) -> bytes:
    return b"m" + name.encode()


class _Packable(Protocol):
    """A row with its revisions and bytes."""

    @property
    def mod(self) -> Revision: ...
    @property
    def create(self) -> Revision: ...
    @property
    def version(self) -> int: ...
    @property
    def lease(self) -> LeaseId: ...
    @property
    def raw(self) -> bytes: ...


def pack_row(row: _Packable) -> bytes:
    """The value of an n or h row."""
    assert row.raw, "only a settled row has bytes"
    return _ROW.pack(row.mod, row.create, row.version, row.lease) + row.raw


def unpack_row(value: bytes) -> Row:
    mod, create, version, lease_of = _ROW.unpack_from(value)
    return Row(mod, create, version, lease_of, value[ROW_HEADER_BYTES:])


def row_revision(value: bytes) -> Revision:
    """The mod revision of an n or h value, without unpacking the rest."""
    return int.from_bytes(value[:8], "big")


class LogChange(NamedTuple):
    """One change in an l row. `before`: the revision of the version that stood before this
    revision, 0 if there was none."""

    key: bytes
    deleted: bool
    sub: int
    before: Revision


def pack_changes(changes: Sequence[LogChange]) -> bytes:
    """The value of an l row, in the order of the operations."""
    assert changes, "a revision without changes has no log row"
    return b"".join([pack_change(*change) for change in changes])


def pack_change(key: bytes, deleted: bool, sub: int, before: Revision) -> bytes:
    """One of them, which is a row's value if it is the only one."""
    return _CHANGE.pack(deleted, sub, before, len(key)) + key


def unpack_changes(value: bytes) -> list[LogChange]:
    changes = []
    at = 0
    while at < len(value):
        deleted, sub, before, size = _CHANGE.unpack_from(value, at)
        at += _CHANGE.size
        changes.append(LogChange(value[at : at + size], bool(deleted), sub, before))
        at += size
    assert at == len(value), "a log row ends with its last key"
    return changes
