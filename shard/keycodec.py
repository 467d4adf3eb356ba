"""Stored keys: what the bytes in an engine mean, and that their order is the order we need.

What it is: encode and decode of every row kind. What it is not: their values' meaning beyond the
fixed row header.

Kinds (first byte):
    n | user key                          newest version of a live key: row header + KeyValue
    h | escaped user key | ~revision | ~sub   a superseded version (as n; of one that a deletion
                                          ended also at which revision) or a tombstone (empty)
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
- decode(encode(x)) == x. No n, h or k key names a tablet: a moved tablet's rows stay;
- the value of an h row never changes: an n row is never ended, it becomes an h row that is.

Escape: in h keys a 0x00 byte of the user key is stored as 00 FF and the key ends with 00 01, so
that "a" sorts before "a\\0" and neither is a prefix of the other.

The sub revision in an h key: a transaction may change a key twice (etcd allows it in nested ones).
What its own transaction replaced again has its place in the transaction as sub; what was left of
the key at the end of the revision has LAST_SUB, and sorts first among the rows of its revision.

The end of a version: the top bit of `version` in its header says that the revision of its deletion
stands between header and bytes. Then there is no tombstone, and the log row of the deletion says so
as well. Tombstones stand for what one revision changed more than once, and for every deletion that
a program from before wrote (docs/decisions/0019-a-version-tells-its-end.md).

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
_IS_ENDED: Final = 1 << 63  # of the version in a row's header: no key has so many
_DELETED: Final = 1  # of a change in a log row
_ENDED: Final = 2  # ... and no tombstone was written

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


class Superseded(NamedTuple):
    """What an h row holds. `ended`: the revision that deleted this version; 0: the next version or
    a tombstone has a row."""

    row: Row
    ended: Revision


def pack_row(row: _Packable, ended: Revision = 0) -> bytes:
    """The value of an n or h row. `ended`: of an h row, see `Superseded`."""
    assert row.raw, "only a settled row has bytes"
    if not ended:
        return _ROW.pack(row.mod, row.create, row.version, row.lease) + row.raw
    assert row.mod < ended, "what its own revision deletes has a tombstone"
    header = _ROW.pack(row.mod, row.create, row.version | _IS_ENDED, row.lease)
    return header + _U64.pack(ended) + row.raw


def unpack_row(value: bytes) -> Row:
    """The inverse, of a row that was not ended: every n row."""
    mod, create, version, lease_of = _ROW.unpack_from(value)
    assert version < _IS_ENDED, "a version that was ended is read as superseded"
    return Row(mod, create, version, lease_of, value[ROW_HEADER_BYTES:])


def unpack_superseded(value: bytes) -> Superseded:
    """The inverse, of any row that is no tombstone."""
    mod, create, version, lease_of = _ROW.unpack_from(value)
    at, ended = ROW_HEADER_BYTES, 0
    if version & _IS_ENDED:
        (ended,) = _U64.unpack_from(value, at)
        at += _U64.size
    return Superseded(Row(mod, create, version & ~_IS_ENDED, lease_of, value[at:]), ended)


def row_revision(value: bytes) -> Revision:
    """The mod revision of an n or h value, without unpacking the rest."""
    return int.from_bytes(value[:8], "big")


class LogChange(NamedTuple):
    """One change in an l row. `before`: the revision of the version that stood before this
    revision, 0 if there was none. `ended`: of a deletion, whether that version's row tells it, and
    no tombstone does."""

    key: bytes
    deleted: bool
    sub: int
    before: Revision
    ended: bool = False


def pack_changes(changes: Sequence[LogChange]) -> bytes:
    """The value of an l row, in the order of the operations."""
    assert changes, "a revision without changes has no log row"
    return b"".join([pack_change(*change) for change in changes])


def pack_change(
    key: bytes, deleted: bool, sub: int, before: Revision, ended: bool = False
) -> bytes:
    """One of them, which is a row's value if it is the only one."""
    assert not ended or (deleted and before), "a deletion ends what stood before it"
    kind = (_DELETED if deleted else 0) | (_ENDED if ended else 0)
    return _CHANGE.pack(kind, sub, before, len(key)) + key


def unpack_changes(value: bytes) -> list[LogChange]:
    changes = []
    at = 0
    while at < len(value):
        kind, sub, before, size = _CHANGE.unpack_from(value, at)
        at += _CHANGE.size
        deleted, ended = bool(kind & _DELETED), bool(kind & _ENDED)
        changes.append(LogChange(value[at : at + size], deleted, sub, before, ended))
        at += size
    assert at == len(value), "a log row ends with its last key"
    return changes
