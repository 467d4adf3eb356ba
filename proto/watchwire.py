"""WatchResponse bytes: created, canceled, progress and events, spliced from encoded parts.

What it is: the encoders of what a watch stream sends. What it is not: the decision when.

Invariant: a message is byte-equal in meaning to one made by the generated class.

Field numbers: etcdserverpb/rpc.proto, WatchResponse. Tested in tests/unit/proto/test_watchwire.py.
"""

from __future__ import annotations

from typing import Final, Protocol

from .kvwire import Header, blob, integer

BROADCAST_ID: Final = -1  # etcd: progress on behalf of every watcher of the stream, or no watcher

_CREATED: Final = b"\x18\x01"
_CANCELED: Final = b"\x20\x01"
_FRAGMENT: Final = b"\x38\x01"


def created(header: Header, revision: int, watch_id: int) -> bytes:
    """The watch exists; everything after `revision` will follow if it had no start revision."""
    return header.field(revision) + integer(2, watch_id) + _CREATED


def refused(header: Header, revision: int, reason: str) -> bytes:
    """The watch was not created."""
    text = blob(6, reason.encode())
    return header.field(revision) + integer(2, BROADCAST_ID) + _CREATED + _CANCELED + text


def canceled(header: Header, revision: int, watch_id: int) -> bytes:
    """The watch ends, as its client asked."""
    return header.field(revision) + integer(2, watch_id) + _CANCELED


def compacted(header: Header, watch_id: int, compact_revision: int) -> bytes:
    """The watch ends because its history is gone; etcd's header names no revision here."""
    return header.bare() + integer(2, watch_id) + _CANCELED + integer(5, compact_revision)


def progress(header: Header, revision: int, watch_id: int) -> bytes:
    """Nothing at or below `revision` is still to come."""
    return header.field(revision) + integer(2, watch_id)


class Events(Protocol):
    """Encoded events, as `kvwire.watch_events` makes them; shared between watchers."""

    @property
    def last(self) -> int: ...
    @property
    def payload(self) -> bytes: ...
    @property
    def fragment(self) -> bool: ...


def events(header: Header, piece: Events, watch_id: int) -> bytes:
    """The events up to revision `piece.last`, or a fragment of them."""
    flag = _FRAGMENT if piece.fragment else b""
    return header.field(piece.last) + integer(2, watch_id) + flag + piece.payload
