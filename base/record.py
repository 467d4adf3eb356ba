"""Rows and events as values: what a key is at one revision, and how it changed.

What it is: the newest form of a key (`Row`) with its serialized `mvccpb.KeyValue` beside the
fields that decisions need, and the change of one key in one revision (`Event`). What it is not:
the encoding (`proto/kvwire.py`) or the stored key (`shard/keycodec.py`).

Invariants:
- create <= mod; version >= 1; `raw` is the serialized KeyValue of exactly these fields;
- a PUT event has `row`; a DELETE event has none; `previous` is None iff the key was absent.

Tested with their users: tests/unit/shard/test_apply.py, tests/unit/proto/test_kvwire.py.
"""

from __future__ import annotations

from typing import NamedTuple

from .revision import LeaseId, Revision


class Row(NamedTuple):
    """A key at one of its versions. `raw` is the serialized mvccpb.KeyValue."""

    mod: Revision
    create: Revision
    version: int
    lease: LeaseId
    raw: bytes


class Event(NamedTuple):
    """One key's change in one revision. `raw` and `previous` are serialized KeyValues.

    `sub` is the change's place among all of its revision (etcd's sub revision), so that what
    several tablets hold of one transaction can be shown in the order of its operations.
    `previous` and its revision `before` are of the version that stood before the whole revision.
    """

    key: bytes
    deleted: bool
    raw: bytes
    previous: bytes | None
    sub: int = 0
    before: Revision = 0


class Commit(NamedTuple):
    """All that one revision changed in one tablet, in the order of the operations."""

    revision: Revision
    events: tuple[Event, ...]

    def joined(self, events: tuple[Event, ...]) -> Commit:
        """This commit with what another tablet holds of the same revision."""
        return Commit(self.revision, tuple(sorted(self.events + events, key=_place)))


def _place(event: Event) -> tuple[int, bytes]:
    """What one operation did in several shards has one sub, and the order of its keys."""
    return event.sub, event.key
